"""How long each page of the dashboard takes where 100,000 sessions are, and how much it weighs.

The time is that of a whole request over a connection that is kept open, so it holds the server's
time and a little more. A bare SELECT of one session in the same run says what the machine gives.
"""

from __future__ import annotations

import os
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from sqlalchemy import text

from app.core.config import Settings
from app.core.database import Database
from benchmarks.api_load import serving

if TYPE_CHECKING:
    from collections.abc import Callable

SESSIONS = 100_000
REPEATS = 40
WARM_UPS = 3

_SESSIONS = """
INSERT INTO sessions (id, owner, label, stage, created_at, updated_at,
    processing_completed_at, processing_waited_seconds, processing_ran_seconds,
    export_completed_at, export_waited_seconds, export_ran_seconds)
SELECT gen_random_uuid(), 'local', 'Import number ' || n,
       CASE WHEN n % 10 = 0 THEN 'processing' WHEN n % 25 = 1 THEN 'created' ELSE 'completed' END,
       moment, moment, moment, random(), random() * 20, moment, random(), random() * 5
  FROM generate_series(1, :sessions) AS n, LATERAL (
       SELECT clock_timestamp() - make_interval(secs => n * 6) AS moment) AS at"""
_TASKS = """
INSERT INTO session_tasks (id, session_id, task_type, task_id, status, started_at, completed_at,
                           failed_at, retry_count, failure_context)
SELECT gen_random_uuid(), id, CASE stage WHEN 'completed' THEN 'adf_validation' ELSE stage END,
       gen_random_uuid(), CASE stage WHEN 'completed' THEN 'completed' ELSE 'failed' END,
       created_at, CASE stage WHEN 'completed' THEN updated_at END,
       CASE stage WHEN 'processing' THEN updated_at END,
       CASE stage WHEN 'processing' THEN 1 ELSE 0 END,
       CASE stage WHEN 'processing' THEN jsonb_build_object(
           'error', 'DocumentError', 'category', 'user_fixable', 'attempt', 1,
           'next_step', 'Mend it.',
           'message', 'notes-' || label || '.csv has no column named summary') END
  FROM sessions WHERE stage <> 'created'"""


def measure() -> dict[str, Any]:
    """Milliseconds and bytes of each page, medians of many requests."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        with (
            serving(folder) as (_pid, port, key),
            Database.open(
                Settings(data_dir=Path(os.environ.get("SESSION_TASKS_DATA_DIR", folder)))
            ) as database,
        ):
            session_id = _fill(database)
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {key}", "Accept": "text/html"},
            ) as browser:
                pages = {
                    path.replace(session_id, "…"): _page(browser, path)
                    for path in (
                        "/",
                        "/sessions",
                        "/sessions?status=failed",
                        "/sessions?q=number+99",
                        f"/sessions/{session_id}",
                        "/new",
                        "/keys",
                    )
                }
                first_load = _first_load(browser)
            select = _median(lambda: _select(database, session_id))
        return {
            "sessions": SESSIONS,
            "pages": pages,
            "first_load_bytes_over_the_wire": first_load,
            "bare_select_ms": select,
            "load_average": round(os.getloadavg()[0], 1),
        }


def _fill(database: Database) -> str:
    with database.transaction() as db:
        db.execute(text("SET LOCAL statement_timeout = 0"))
        db.execute(text(_SESSIONS), {"sessions": SESSIONS})
        db.execute(text(_TASKS))
    with database.autocommit.connect() as connection:
        connection.execute(text("VACUUM ANALYZE sessions, session_tasks"))
        failed = "SELECT session_id FROM session_tasks WHERE status = 'failed' LIMIT 1"
        return str(connection.scalar(text(failed)))


def _page(browser: httpx.Client, path: str) -> dict[str, float]:
    answer = browser.get(path)
    if answer.status_code != httpx.codes.OK:
        message = f"{path} was answered {answer.status_code}"
        raise RuntimeError(message)
    return {
        "median_ms": _median(lambda: browser.get(path)),
        "bytes": answer.num_bytes_downloaded,
    }


def _first_load(browser: httpx.Client) -> int:
    page = browser.get("/")
    addresses = set(re.findall(r'"(/static/[^"]+)"', page.text))
    files = [browser.get(address) for address in addresses]
    return sum(answer.num_bytes_downloaded for answer in (page, *files))


def _select(database: Database, session_id: str) -> None:
    with database.autocommit.connect() as connection:
        connection.execute(text("SELECT * FROM sessions WHERE id = :id"), {"id": session_id}).one()


def _median(act: Callable[[], object]) -> float:
    for _ in range(WARM_UPS):
        act()
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        act()
        took.append(time.perf_counter() - begun)
    return round(statistics.median(took) * 1000, 2)
