"""Uploads of one owner while two others post without pause, beside the same on a quiet server.

Quiet and loud parts take turns in one run. The abusers are a process of their own, of the lowest
priority, as they would be other machines. What does not depend on the processor: how many of their
uploads end while one of the honest owner's is under way; and how many bytes of unfinished
requests under one key the server holds.
"""

from __future__ import annotations

import bisect
import contextlib
import http.client
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.api_load import make_key, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

UPLOADS = 200
ROUNDS = 4
ABUSERS = 2
THREADS = 16
UNFINISHED = 30
UNFINISHED_BYTES = 20 * 1000 * 1000
HELD_SECONDS = 3.0

_FORM = (
    b'--x\r\nContent-Disposition: form-data; name="documents"; filename="a.md"\r\n\r\n'
    b"# A\n\r\n--x--\r\n"
)


def measure(uploads: int = UPLOADS, rounds: int = ROUNDS) -> dict[str, Any]:
    """Latencies of the honest owner's uploads, and what was refused."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        with serving(folder) as (pid, port, _key):
            keys = [make_key(folder, f"owner{number}") for number in range(ABUSERS + 1)]
            honest, abusers = keys[0], keys[1:]
            _upload(port, honest, 20)  # code, plans and connections are there from now on
            quiet: list[tuple[float, float]] = []
            loud: list[tuple[float, float]] = []
            refused: Counter[str] = Counter()
            theirs: list[float] = []
            for _ in range(rounds):
                quiet += _upload(port, honest, uploads // rounds, refused)
                with _abuse(port, abusers) as ends:
                    loud += _upload(port, honest, uploads // rounds, refused)
                theirs += ends
            held = _unfinished(pid, port, abusers[0])
    theirs.sort()
    meanwhile = [bisect.bisect(theirs, end) - bisect.bisect(theirs, start) for start, end in loud]
    seconds = {name: [end - start for start, end in part]
               for name, part in (("quiet", quiet), ("loud", loud))}  # fmt: skip
    p95 = {name: statistics.quantiles(values, n=20)[-1] for name, values in seconds.items()}
    return {
        "honest_uploads": len(loud),
        "honest_refused": dict(refused),
        "quiet_p95_ms": round(1_000 * p95["quiet"], 1),
        "loud_p95_ms": round(1_000 * p95["loud"], 1),
        "loud_p95_per_quiet_p95": round(p95["loud"] / p95["quiet"], 2),
        "abusers_uploads": len(theirs),
        "uploads_per_second_then": round((len(theirs) + len(loud)) / sum(seconds["loud"])),
        "abusers_uploads_while_one_is_under_way": {
            "median": statistics.median(meanwhile),
            "p95": round(statistics.quantiles(meanwhile, n=20)[-1], 1),
        },
        "unfinished_requests": UNFINISHED,
        "unfinished_bytes_sent_mb": round(UNFINISHED * UNFINISHED_BYTES / 1e6),
        "unfinished_bytes_held_mb": round(held / 1e6, 1),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _upload(
    port: int, key: str, count: int, refused: Counter[str] | None = None
) -> list[tuple[float, float]]:
    """Post so many, one after the other; returns when each began and ended."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "multipart/form-data; boundary=x"}
    took = []
    for _ in range(count):
        began = time.monotonic()
        connection.request("POST", "/api/v1/sessions", _FORM, headers)
        response = connection.getresponse()
        response.read()
        took.append((began, time.monotonic()))
        if refused is not None and response.status != 201:
            refused[str(response.status)] += 1
    connection.close()
    return took


@contextlib.contextmanager
def _abuse(port: int, keys: list[str]) -> Iterator[list[float]]:
    """Have the abusers post while the block runs; then gives when each of their uploads ended."""
    ends: list[float] = []
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fairness", str(port), *keys],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()  # all are at it
        yield ends
        told, _ = process.communicate()
        ends += json.loads(told)


def _post_without_pause(port: int, keys: list[str]) -> None:
    os.nice(19)
    ends: list[float] = []
    is_over = threading.Event()
    has_begun = threading.Barrier(len(keys) * THREADS + 1)

    def post(key: str) -> None:
        ends.append(_upload(port, key, 1)[0][1])
        has_begun.wait()
        while not is_over.is_set():
            ends.extend(end for _, end in _upload(port, key, 1))

    threads = [threading.Thread(target=post, args=[key]) for key in keys for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    has_begun.wait()
    print("at it", flush=True)
    sys.stdin.read()
    is_over.set()
    for thread in threads:
        thread.join()
    print(json.dumps(ends))


def _unfinished(pid: int, port: int, key: str) -> int:
    """Send most of so many large requests at once; returns the bytes that the server holds."""
    head = (
        f"POST /api/v1/sessions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {UNFINISHED_BYTES}\r\n\r\n"
    ).encode() + _FORM[: _FORM.index(b"# A")]
    body = head + b"x" * (UNFINISHED_BYTES - len(head) - 1_000)
    with contextlib.ExitStack() as open_ones:
        connections = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", port)))
            for _ in range(UNFINISHED)
        ]
        unsent = dict.fromkeys(connections, body)
        for connection in connections:
            connection.setblocking(False)
        most, quiet_since = 0, time.monotonic()
        while time.monotonic() - quiet_since < HELD_SECONDS and any(unsent.values()):
            for connection, rest in unsent.items():
                with contextlib.suppress(BlockingIOError):
                    sent = connection.send(rest[:1_000_000]) if rest else 0
                    if sent:
                        unsent[connection] = rest[sent:]
                        quiet_since = time.monotonic()
            most = max(most, _temporary_bytes(pid))
        return most


def _temporary_bytes(pid: int) -> int:
    """Bytes in the server's open files that have no name: bodies on their way."""
    total = 0
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if str(descriptor.readlink()).endswith("(deleted)"):
                total += descriptor.stat().st_size
    return total


if __name__ == "__main__":
    _post_without_pause(int(sys.argv[1]), sys.argv[2:])
