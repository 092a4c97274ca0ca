"""From a commit to its line at every watcher, with 500 streams of events and 100 changes a second.

One `serve` without a worker; each session has five watchers. A process of its own starts, cancels
and retries tasks through the repository at an even rate, and notes when each commit had returned;
the watchers note when the line that holds that change, or a later one, has arrived. Both read the
system's monotonic clock. Meanwhile one client reads a session's status and the list of sessions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.api_load import environment_of, request, serving
from benchmarks.rest import percentile

if TYPE_CHECKING:
    from collections.abc import Iterator

SESSIONS = 100
WATCHERS_OF_EACH = 5
CHANGES_PER_SECOND = 100
SECONDS = 20.0
SECONDS_BETWEEN_READS = 0.1

Change = tuple[str, str, float]
"""A session's id, its `updated_at`, and when the commit had returned, or the line had arrived."""


def measure() -> dict[str, Any]:
    """Latencies of lines and reads in milliseconds, and the server's share of one processor."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        os.environ["SESSION_TASKS_STREAMS_PER_KEY"] = str(SESSIONS * WATCHERS_OF_EACH)
        with serving(folder) as (pid, port, key), _writer(folder) as writer:
            sessions = json.loads(_line(writer))
            return asyncio.run(_watch(psutil.Process(pid), port, key, sessions, writer))


async def _watch(
    server: psutil.Process,
    port: int,
    key: str,
    sessions: list[str],
    writer: subprocess.Popen[str],
) -> dict[str, Any]:
    arrived: list[Change] = []
    begun = asyncio.Semaphore(0)
    reads: dict[str, list[float]] = {f"/api/v1/sessions/{sessions[0]}/task": [],
                                     "/api/v1/sessions": []}  # fmt: skip
    watched = [session for session in sessions for _ in range(WATCHERS_OF_EACH)]
    tasks = [
        asyncio.create_task(_one_watcher(port, key, session, begun, arrived)) for session in watched
    ]
    async with asyncio.timeout(60):
        for _ in tasks:
            await begun.acquire()
    arrived.clear()
    tasks += [asyncio.create_task(_read(port, key, path, took)) for path, took in reads.items()]
    before, began = server.cpu_times(), time.monotonic()
    print("go", file=writer.stdin, flush=True)
    committed: list[Change] = json.loads(await asyncio.to_thread(_line, writer))
    used, took = server.cpu_times(), time.monotonic() - began
    await asyncio.sleep(1)  # the last lines
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    late, missed = _latencies(committed, arrived)
    status, listed = reads.values()
    return {
        "watchers": len(watched),
        "changes_per_second": round(len(committed) / took, 1),
        "lines_per_second": round(len(arrived) / took, 1),
        "missed": missed,
        "commit_to_line_p50_ms": round(percentile(late, 50), 1),
        "commit_to_line_p99_ms": round(percentile(late, 99), 1),
        "status_read_p99_ms": round(percentile(status, 99), 1),
        "list_read_p99_ms": round(percentile(listed, 99), 1),
        "server_percent_of_a_processor": round(
            100 * (used.user + used.system - before.user - before.system) / took, 1
        ),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _latencies(committed: list[Change], arrived: list[Change]) -> tuple[list[float], int]:
    """Milliseconds from each commit to its line at each watcher; and how many never came.

    A line of a later change stands for those before: each is a whole snapshot.
    """
    lines: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for session, version, moment in arrived:
        lines[session].append((version, moment))
    late, missed = [], 0
    for session, version, committed_at in committed:
        moments = [moment for seen, moment in lines[session] if seen >= version]
        first = sorted(moments)[:WATCHERS_OF_EACH]
        missed += WATCHERS_OF_EACH - len(first)
        late += [1_000 * (moment - committed_at) for moment in first]
    return late, missed


async def _one_watcher(
    port: int, key: str, session: str, begun: asyncio.Semaphore, arrived: list[Change]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request("GET", f"/api/v1/sessions/{session}/events", key))
    while line := await reader.readline():
        if found := re.match(rb'data: .*"updated_at":"([^"]+)"', line):
            arrived.append((session, found[1].decode(), time.monotonic()))
            begun.release()


async def _read(port: int, key: str, path: str, took: list[float]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    while True:
        began = time.monotonic()
        writer.write(request("GET", path, key))
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length is None or not head.startswith(b"HTTP/1.1 200"):
            raise RuntimeError(head.decode())
        await reader.readexactly(int(length[1]))
        took.append(1_000 * (time.monotonic() - began))
        await asyncio.sleep(SECONDS_BETWEEN_READS)


# -- the process that changes sessions ----------------------------------------------------------


@contextlib.contextmanager
def _writer(folder: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.watchers"],
        env=environment_of(folder), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def _change_sessions() -> None:
    """Print the ids of new sessions; after a line on stdin, change them and print the changes."""
    from app.core.config import Settings  # noqa: PLC0415 - in the process that writes only
    from app.core.database import Database  # noqa: PLC0415
    from app.models.session import TaskType  # noqa: PLC0415
    from app.repositories.session_queries import SessionQueries  # noqa: PLC0415
    from app.repositories.session_repository import SessionRepository  # noqa: PLC0415

    with Database.open(Settings()) as database:
        with database.transaction() as db:
            repository = SessionRepository(db, owner="local")
            sessions = [repository.create_session().id for _ in range(SESSIONS)]
            repository.start_tasks([(each, TaskType.PROCESSING) for each in sessions])
        print(json.dumps([str(each) for each in sessions]), flush=True)
        sys.stdin.readline()
        changes: list[Change] = []
        begin, rest = time.monotonic(), threading.Event()
        for number in range(int(SECONDS * CHANGES_PER_SECOND)):
            rest.wait(max(0.0, begin + number / CHANGES_PER_SECOND - time.monotonic()))
            session_id = sessions[number % SESSIONS]
            is_running = number // SESSIONS % 2 == 0
            with database.transaction() as db:
                repository = SessionRepository(db)
                act = repository.cancel_task if is_running else repository.retry_task
                act(session_id)
                version = SessionQueries(db, owner=None).get(session_id).updated_at
            text = version.isoformat().replace("+00:00", "Z")
            changes.append((str(session_id), text, time.monotonic()))
        print(json.dumps(changes), flush=True)


if __name__ == "__main__":
    _change_sessions()
