"""Status reads per second of one `serve` process while clients watch; /healthz beside.

The load comes from a process of its own, over keep-alive connections, as fast as answers come.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any

SECONDS = 5.0
CONNECTIONS = 32
WATCHERS = 100


def measure() -> dict[str, Any]:
    """Reads per second and latencies, of status and, in the same run, of /healthz."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        environment = {
            **os.environ,
            "SESSION_TASKS_DATA_DIR": os.environ.get("SESSION_TASKS_DATA_DIR", folder),
            "SESSION_TASKS_REQUESTS_PER_MINUTE": "100000000",
        }
        server = subprocess.Popen(
            [
                sys.executable, "-c", "from app.cli import main; main()",
                "serve", "--port", "0", "--no-worker",
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        try:
            port, key = _where(server)
            return asyncio.run(_load(port, key))
        finally:
            server.terminate()
            server.wait(30)


def _where(server: subprocess.Popen[str]) -> tuple[int, str]:
    assert server.stdout is not None
    for line in server.stdout:
        found = re.search(r"127\.0\.0\.1:(\d+)/login\?key=(\S+)", line)
        if found is not None:
            return int(found[1]), found[2]
    raise RuntimeError("serve did not start")


async def _load(port: int, key: str) -> dict[str, Any]:
    session = await _open_session(port, key)
    watchers = [asyncio.create_task(_watch(port, key, session)) for _ in range(WATCHERS)]
    await asyncio.sleep(1)
    figures = {
        "status": await _read_for(port, key, f"{session}/task"),
        "healthz": await _read_for(port, key, "/healthz"),
    }
    alive = sum(not watcher.done() for watcher in watchers)
    for watcher in watchers:
        watcher.cancel()
    await asyncio.gather(*watchers, return_exceptions=True)
    rates = {name: figure["reads_per_second"] for name, figure in figures.items()}
    return {
        **figures,
        "connections": CONNECTIONS,
        "watchers_still_connected": alive,
        "status_reads_per_healthz_read": round(rates["status"] / rates["healthz"], 2),
    }


def _request(method: str, path: str, key: str, body: bytes = b"", kind: str = "") -> bytes:
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
    writer.write(_request("POST", "/api/v1/sessions", key, body, kind))
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    found = re.search(rb"(?i)location: (\S+)", head)
    assert found is not None, head
    return found[1].decode()


async def _watch(port: int, key: str, session: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_request("GET", f"{session}/events", key))
    while await reader.read(65_536):
        pass
    writer.close()


async def _read_for(port: int, key: str, path: str) -> dict[str, float]:
    latencies: list[float] = []
    end = time.perf_counter() + SECONDS

    async def one() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        request = _request("GET", path, key)
        while time.perf_counter() < end:
            begun = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None
            await reader.readexactly(int(length[1]))
            latencies.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    cuts = statistics.quantiles(latencies, n=100)
    return {
        "reads_per_second": round(len(latencies) / SECONDS),
        "p50_milliseconds": round(1000 * cuts[49], 2),
        "p99_milliseconds": round(1000 * cuts[98], 2),
    }
