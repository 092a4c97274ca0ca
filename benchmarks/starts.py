"""`POST /sessions/{id}/task` from 64 clients, tasks left waiting, beside what it is measured by.

One `serve` without a worker. In turns: starts as they come, which share transactions; starts with
an `Idempotency-Key`, each in a transaction of its own; and `/healthz`, which is the web server's
own work. The clients are a process of their own with keep-alive connections.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import statistics
import tempfile
import time
from typing import TYPE_CHECKING, Any

from benchmarks.api_load import environment_of, request, serving
from benchmarks.rest import percentile

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 64
SECONDS = 4.0
ROUNDS = 3
SESSIONS = 80_000
_SESSIONS = """
INSERT INTO sessions (id, owner, label)
SELECT gen_random_uuid(), 'local', n FROM generate_series(1, %s) AS n RETURNING id"""


def measure() -> dict[str, Any]:
    """Requests per second, as medians of the rounds; their ratios; and the p99 of a start."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        with serving(folder) as (_pid, port, key):
            sessions = iter(_sessions(folder))

            def start(headers: str = "") -> bytes:
                path = f"/api/v1/sessions/{next(sessions)}/task"
                sent = request("POST", path, key, b"{}", "application/json")
                return sent.replace(b"\r\n", f"\r\n{headers}".encode(), 1)

            keys = itertools.count()
            ways: dict[str, Callable[[], bytes]] = {
                "start": start,
                "start in its own transaction": lambda: start(f"Idempotency-Key: {next(keys)}\r\n"),
                "healthz": lambda: request("GET", "/healthz", key),
            }
            seconds: dict[str, list[list[float]]] = {way: [] for way in ways}
            for _ in range(ROUNDS + 1):
                for way, make in ways.items():
                    seconds[way].append(asyncio.run(_send(port, make)))
    rates = {way: statistics.median(len(each) for each in rounds[1:]) / SECONDS
             for way, rounds in seconds.items()}  # fmt: skip
    return {
        "per_second": {way: round(rate) for way, rate in rates.items()},
        "start_p99_ms": round(1_000 * percentile([*itertools.chain(*seconds["start"][1:])], 99), 1),
        "start_per_own_transaction": round(
            rates["start"] / rates["start in its own transaction"], 2
        ),
        "start_per_healthz": round(rates["start"] / rates["healthz"], 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


async def _send(port: int, make: Callable[[], bytes]) -> list[float]:
    """Send requests until the time is over; returns the seconds that each took."""
    took: list[float] = []
    end = time.perf_counter() + SECONDS

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (began := time.perf_counter()) < end:
            writer.write(make())
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            if length is None or not re.match(rb"HTTP/1.1 20[02]", head):
                raise RuntimeError(head.decode())
            await reader.readexactly(int(length[1]))
            took.append(time.perf_counter() - began)
        writer.close()

    async with asyncio.TaskGroup() as clients:
        for _ in range(CLIENTS):
            clients.create_task(client())
    return took


def _sessions(folder: str) -> list[str]:
    """New sessions in that database."""
    from app.core.config import Settings  # noqa: PLC0415 - after the environment is known
    from app.core.database import Database  # noqa: PLC0415

    settings = Settings(data_dir=environment_of(folder)["SESSION_TASKS_DATA_DIR"])
    with Database.open(settings) as database, database.driver_connection() as connection:
        return [str(row[0]) for row in connection.execute(_SESSIONS, [SESSIONS]).fetchall()]
