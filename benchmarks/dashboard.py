"""Time and size of each dashboard page among 100,000 sessions.

The time is that of a whole request over a connection that is kept open: the server's time and a
little more. A bare SELECT of one session in the same run shows the machine's speed. Another
checkout is measured in alternation with this one: `SESSION_TASKS_BENCH_BASELINE` names the Python
of its environment.
"""

from __future__ import annotations

import contextlib
import os
import re
import statistics
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from benchmarks.machine import baseline_python
from benchmarks.rest import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import psycopg

SESSIONS = 100_000
REPEATS = 40
WARM_UPS = 3
PATHS = (
    "/",
    "/sessions",
    "/sessions?status=failed",
    "/sessions?q=number+99",
    "/sessions/…",
    "/new",
    "/keys",
)
"""Pages that the baseline has as well."""

_SESSIONS = """
INSERT INTO sessions (id, owner, label, stage, created_at, updated_at,
    processing_completed_at, processing_waited_seconds, processing_ran_seconds,
    export_completed_at, export_waited_seconds, export_ran_seconds)
SELECT gen_random_uuid(), 'local', 'Import number ' || n,
       CASE WHEN n %% 10 = 0 THEN 'processing' WHEN n %% 25 = 1 THEN 'created' ELSE 'completed' END,
       moment, moment, moment, random(), random() * 20, moment, random(), random() * 5
  FROM generate_series(1, %(sessions)s) AS n, LATERAL (
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
           'next_step', 'Correct it.',
           'message', 'notes-' || label || '.csv has no column named summary') END
  FROM sessions WHERE stage <> 'created'"""


def measure() -> dict[str, Any]:
    """Measure milliseconds and bytes of each page, as medians; ratios to a baseline."""
    pythons = {"ours": sys.executable}
    if baseline := baseline_python():
        pythons["baseline"] = baseline
    with contextlib.ExitStack() as at_end:
        sites = {name: at_end.enter_context(_site(python)) for name, python in pythons.items()}
        figures = {name: {"pages": site.sizes()} for name, site in sites.items()}
        for path in PATHS:  # in alternation, so that other load affects all of them
            for name, milliseconds in _medians(sites, path).items():
                figures[name]["pages"][path]["median_ms"] = milliseconds
        ours = sites["ours"]
        summary: dict[str, Any] = {
            "sessions": SESSIONS,
            **figures,
            "first_load_bytes_over_the_wire": _first_load(ours.browser),
            "bare_select_ms": _median(ours.select),
            "load_average": round(os.getloadavg()[0], 1),
        }
    if "baseline" in figures:
        summary["ours_per_baseline"] = {
            path: round(page["median_ms"] / figures["baseline"]["pages"][path]["median_ms"], 2)
            for path, page in figures["ours"]["pages"].items()
        }
    return summary


@dataclass(frozen=True)
class Site:
    """A `serve` process over a full database, and an administrator's browser."""

    browser: httpx.Client
    database: psycopg.Connection[Any]
    session_id: str

    def get(self, path: str) -> httpx.Response:
        """Get a page; `…` in its path stands for a session whose task failed."""
        answer = self.browser.get(path.replace("…", self.session_id))
        if answer.status_code != httpx.codes.OK:
            message = f"{path} returned {answer.status_code}"
            raise RuntimeError(message)
        return answer

    def sizes(self) -> dict[str, dict[str, float]]:
        """Return the bytes of each page over the wire."""
        return {path: {"bytes": self.get(path).num_bytes_downloaded} for path in PATHS}

    def select(self) -> None:
        """Read one session by its id, and nothing else."""
        self.database.execute("SELECT * FROM sessions WHERE id = %s", (self.session_id,)).fetchone()


@contextlib.contextmanager
def _site(python: str) -> Iterator[Site]:
    with serving(python, "--owner", "local", "--role", "admin") as server:
        session_id = _fill(server.database)
        with httpx.Client(
            base_url=f"http://127.0.0.1:{server.ports[0]}",
            headers={"Authorization": f"Bearer {server.key}", "Accept": "text/html"},
            timeout=60,
        ) as browser:
            yield Site(browser, server.database, session_id)


def _fill(database: psycopg.Connection[Any]) -> str:
    with database.transaction():
        database.execute("SET LOCAL statement_timeout = 0")
        database.execute(_SESSIONS, {"sessions": SESSIONS})
        database.execute(_TASKS)
    database.execute("VACUUM ANALYZE sessions, session_tasks")
    failed = "SELECT session_id FROM session_tasks WHERE status = 'failed' LIMIT 1"
    (session_id,) = database.execute(failed).fetchone() or ("",)
    return str(session_id)


def _medians(sites: Mapping[str, Site], path: str) -> dict[str, float]:
    took: dict[str, list[float]] = {name: [] for name in sites}
    for repeat in range(WARM_UPS + REPEATS):
        for name, site in sites.items():
            begun = time.perf_counter()
            site.get(path)
            if repeat >= WARM_UPS:
                took[name].append(time.perf_counter() - begun)
    return {name: round(statistics.median(each) * 1000, 2) for name, each in took.items()}


def _first_load(browser: httpx.Client) -> int:
    page = browser.get("/")
    addresses = set(re.findall(r'"(/static/[^"]+)"', page.text))
    files = [browser.get(address) for address in addresses]
    return sum(answer.num_bytes_downloaded for answer in (page, *files))


def _median(act: Callable[[], object]) -> float:
    for _ in range(WARM_UPS):
        act()
    took = []
    for _ in range(REPEATS):
        begun = time.perf_counter()
        act()
        took.append(time.perf_counter() - begun)
    return round(statistics.median(took) * 1000, 2)
