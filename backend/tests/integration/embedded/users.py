"""Processes that use an embedded server, and checks of the server from outside."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy

from app.core.embedded.locks import is_held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.core.embedded import EmbeddedServer

BACKEND = Path(__file__).parents[3]
DEADLINE = 60.0

PYTHON_ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": f"{BACKEND}:{Path(psycopg.__file__).parents[1]}",
    "PYTHONDONTWRITEBYTECODE": "1",
}
USER_PROCESS = """
import sys
from pathlib import Path
from app.core.embedded import EmbeddedServer
server = EmbeddedServer.acquire(Path(sys.argv[1]))
print(server.url, flush=True)
sys.stdin.readline()
server.release()
print("released", flush=True)
"""


def query(server: EmbeddedServer, statement: str) -> Any:
    engine = sqlalchemy.create_engine(server.url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        result = connection.execute(sqlalchemy.text(statement))
        return result.scalar() if result.returns_rows else None


def is_running(server: EmbeddedServer) -> bool:
    return is_held(server._directory.server_lock)


def started_at(server: EmbeddedServer) -> Any:
    return query(server, "SELECT pg_postmaster_start_time()")


@contextmanager
def user_process(
    data_dir: Path, code: str = USER_PROCESS, python: str = sys.executable, **options: Any
) -> Iterator[Any]:
    with subprocess.Popen(
        [python, "-c", code, str(data_dir)],
        env=PYTHON_ENVIRONMENT,
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def leave(process: Any) -> None:
    process.stdin.write("\n")
    process.stdin.close()
    assert process.stdout.readline() == "released\n"
    assert process.wait(DEADLINE) == 0
