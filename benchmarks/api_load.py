"""Status reads of one `serve` process while clients watch, beside /healthz and a bare SELECT.

Another process sends requests over keep-alive connections, each after the last response: `wrk`
where that is installed, else a client of ours, which uses more of the machine itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

SECONDS = 5.0
CONNECTIONS = 32
WATCHERS = 100
WRK = shutil.which("wrk")
_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}


def measure() -> dict[str, Any]:
    """Measure reads per second and latencies of status, of /healthz and of the bare statement."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        with serving(folder) as (pid, port, key):
            return asyncio.run(_load(pid, port, key, environment_of(folder)))


@contextlib.contextmanager
def serving(folder: str) -> Iterator[tuple[int, int, str]]:
    """Run `serve` without a worker on an embedded database; yield its pid, port and a key."""
    server = subprocess.Popen(
        [
            sys.executable, "-c", "from app.cli import main; main()",
            "serve", "--port", "0", "--no-worker",
        ],
        env=environment_of(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = next(
            int(found[1])
            for line in server.stdout
            if (found := re.search(r"Listening on \S+:(\d+)", line))
        )
        yield server.pid, port, make_key(folder, "local")
    finally:
        server.terminate()
        server.wait(30)


def make_key(folder: str, owner: str) -> str:
    """Make a key of that owner."""
    made = subprocess.run(
        [sys.executable, "-c", "from app.cli import main; main()",
         "keys", "create", "--json", "--owner", owner],
        env=environment_of(folder), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return str(json.loads(made.stdout)["key"])


def environment_of(folder: str) -> dict[str, str]:
    """Where commands find the same database."""
    return {
        **os.environ,
        "SESSION_TASKS_DATA_DIR": os.environ.get("SESSION_TASKS_DATA_DIR", folder),
        "SESSION_TASKS_REQUESTS_PER_MINUTE": "100000000",
        "SESSION_TASKS_JIRA_PROJECT": "DEMO",
        "PYTHONUNBUFFERED": "1",
    }


async def _load(pid: int, port: int, key: str, environment: dict[str, str]) -> dict[str, Any]:
    session = await _open_session(port, key)
    async with _watching(port, key, session) as watchers:
        figures = {
            "status": await _read_for(pid, port, key, f"{session}/task"),
            "healthz": await _read_for(pid, port, key, "/healthz"),
        }
        alive = sum(not watcher.done() for watcher in watchers)
    figures["select"] = await _select_for(session.rsplit("/", 1)[1], environment)
    rates = {name: figure["reads_per_second"] for name, figure in figures.items()}
    return {
        **figures,
        "load_from": "wrk" if WRK else "python",
        "load_average": round(os.getloadavg()[0], 1),
        "connections": CONNECTIONS,
        "watchers_still_connected": alive,
        "status_reads_per_healthz_read": round(rates["status"] / rates["healthz"], 2),
        "status_reads_per_select": round(rates["status"] / rates["select"], 2),
    }


def request(method: str, path: str, key: str, body: bytes = b"", kind: str = "") -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
    if body:
        head += f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def _open_session(port: int, key: str) -> str:
    body = (
        b'--x\r\nContent-Disposition: form-data; name="documents"; filename="a.md"\r\n\r\n'
        b"# A\r\n--x--\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    kind = "multipart/form-data; boundary=x"
    writer.write(request("POST", "/api/v1/sessions", key, body, kind))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    found = re.search(rb"(?i)location: (\S+)", head)
    assert found is not None, head
    return found[1].decode()


@contextlib.asynccontextmanager
async def _watching(port: int, key: str, session: str) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Have all watchers watch the session; start once each has its first event."""
    begun = asyncio.Semaphore(0)

    async def watch() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("GET", f"{session}/events", key))
        await reader.readuntil(b"event: session")
        begun.release()
        while await reader.read(65_536):
            pass
        writer.close()

    watchers = [asyncio.create_task(watch()) for _ in range(WATCHERS)]
    async with asyncio.timeout(60):
        for _ in watchers:
            await begun.acquire()
    yield watchers
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)


async def _read_for(pid: int, port: int, key: str, path: str) -> dict[str, float]:
    """Measure this path as clients see it, and the server's processor time per response."""
    before = _processor_seconds(pid)
    figure = await (_read_with_wrk if WRK else _read_with_python)(port, key, path)
    used = _processor_seconds(pid) - before
    answers = figure["reads_per_second"] * SECONDS
    return {**figure, "server_microseconds_per_read": round(1_000_000 * used / answers)}


def _processor_seconds(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


async def _read_with_wrk(port: int, key: str, path: str) -> dict[str, float]:
    process = await asyncio.create_subprocess_exec(
        str(WRK), "--threads", "1", "--connections", str(CONNECTIONS), "--latency",
        "--duration", f"{SECONDS:.0f}s", "--header", f"Authorization: Bearer {key}",
        f"http://127.0.0.1:{port}{path}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    text = (await process.communicate())[0].decode()
    assert "Non-2xx" not in text, text

    def latency(percent: int) -> float:
        found = re.search(rf"{percent}%\s+([\d.]+)(\w+)", text)
        assert found is not None, text
        return round(float(found[1]) * _UNITS[found[2]], 2)

    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert rate is not None, text
    return _figure(float(rate[1]), latency(50), latency(99))


async def _read_with_python(port: int, key: str, path: str) -> dict[str, float]:
    sent = request("GET", path, key)

    async def open_one() -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", port)

    connections = [await open_one() for _ in range(CONNECTIONS)]
    latencies: list[float] = []
    end = time.perf_counter() + SECONDS

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (begun := time.perf_counter()) < end:
            writer.write(sent)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            latencies.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(read(*connection) for connection in connections))
    return _summary(latencies)


async def _select_for(session_id: str, environment: dict[str, str]) -> dict[str, float]:
    """Read one row by its key on one connection, statement by statement."""
    from app.core.config import Settings  # noqa: PLC0415 - after the environment is known
    from app.core.database import Database  # noqa: PLC0415

    def select() -> list[float]:
        latencies: list[float] = []
        settings = Settings(data_dir=environment["SESSION_TASKS_DATA_DIR"])
        with Database.open(settings) as database, database.driver_connection() as connection:
            end = time.perf_counter() + SECONDS
            while (begun := time.perf_counter()) < end:
                row = connection.execute(
                    "SELECT id, stage FROM sessions WHERE id = %s", [session_id], prepare=True
                ).fetchone()
                assert row is not None
                latencies.append(time.perf_counter() - begun)
        return latencies

    return _summary(await asyncio.to_thread(select))


def _summary(latencies: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(latencies, n=100)
    return _figure(len(latencies) / SECONDS, round(1000 * cuts[49], 2), round(1000 * cuts[98], 2))


def _figure(rate: float, p50: float, p99: float) -> dict[str, float]:
    return {"reads_per_second": round(rate), "p50_milliseconds": p50, "p99_milliseconds": p99}
