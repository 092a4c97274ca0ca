"""Sessions through REST: small documents in, three completed tasks out, from one `serve`.

The clients are a process of their own with keep-alive connections. Each opens a session with one
small Markdown document and starts it, by two requests or, with `start`, by one, and goes on with
the next after the response; the clock stops when the last session has completed. Beside this
checkout's server another one can be measured in turns, in the same run:
`SESSION_TASKS_BENCH_BASELINE` names the Python of its environment. That one gets two requests,
as 7d606b2 has no other way, and both ways of ours are compared with it. In each round stands what
a team would write itself (`benchmarks.rest_peer`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import psycopg

from benchmarks import rest_peer
from benchmarks.machine import baseline_python

if TYPE_CHECKING:
    from collections.abc import Iterator

CLIENTS = (2, 16, 32)
SECONDS = 6.0
ROUNDS = 3
ALONE = 60
ONE_REQUEST = ", one request"
PEER = "bare FastAPI and PgQueuer"
DOCUMENT = (
    b"# Kettle\n\nThe *kettle* does not switch off.\n\n- fill it\n- wait\n\n"
    b"```python\nprint('steam')\n```\n"
)
COUNT_COMPLETED = "SELECT count(*) FROM sessions WHERE stage = 'completed'"


@dataclass
class Figures:
    """The counts and latencies of one measurement, as the clients saw them."""

    opened: int = 0
    refused: int = 0
    open_seconds: list[float] = field(default_factory=list)
    start_seconds: list[float] = field(default_factory=list)


def measure() -> dict[str, Any]:
    """Sessions per second through REST, by the number of clients; and one session alone."""
    servers = {"ours": sys.executable}
    if baseline := baseline_python():
        servers["baseline"] = baseline
    rounds: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        figures = {}
        for name, python in servers.items():
            with serving(python) as server:
                figures[name] = asyncio.run(server.measure(one_request=name == "ours"))
        with rest_peer.serving() as (process, port, database):
            bare = Server([], {}, [port], "", process, database)
            figures[PEER] = asyncio.run(bare.measure_load([ONE_REQUEST]))
        rounds.append(figures)
    return _summary(rounds)


def _summary(rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The median of each figure over the rounds, and ours as a ratio to the baseline's."""
    names = list(rounds[0])
    summary: dict[str, Any] = {
        name: {
            figure: round(statistics.median(each[name][figure] for each in rounds), 2)
            for figure in rounds[0][name]
        }
        for name in names
    }
    if "baseline" in names:
        summary["ours_per_baseline"] = {
            figure: round(value / compared, 2)
            for figure, value in summary["ours"].items()
            if (compared := summary["baseline"].get(figure.replace(ONE_REQUEST, "")))
        }
    summary["ours_per_peer"] = {
        figure: round(summary["ours"][figure] / value, 2)
        for figure, value in summary[PEER].items()
        if value and "CPU" not in figure  # its worker's is not known
    }
    return summary


@dataclass
class Server:
    """A `serve` process under load.

    Attributes:
        command: of this product, run by that Python.
        environment: where its commands find the database.
        ports: where it listens; of all processes, where it has several.
        key: an API key of it.
        process: its process.
        database: a connection to its database, in autocommit.

    """

    command: list[str]
    environment: dict[str, str]
    ports: list[int]
    key: str
    process: psutil.Process
    database: psycopg.Connection[Any]

    async def measure(self, *, one_request: bool) -> dict[str, float]:
        """Figures by name; latencies in milliseconds."""
        figures = await self.measure_load(["", ONE_REQUEST] if one_request else [""])
        if one_request:
            figures |= await self._measure_two_processes()
        alone = [await self._one_alone() for _ in range(ALONE)]
        figures["alone: p50 ms"] = 1_000 * percentile(alone, 50)
        figures["alone: p99 ms"] = 1_000 * percentile(alone, 99)
        return figures

    async def measure_load(self, ways: list[str]) -> dict[str, float]:
        """Figures of sessions opened in these ways, by each number of clients."""
        one_request = ways[0] == ONE_REQUEST
        await self._load(2, 2.0, one_request=one_request)  # children started, connections open
        figures: dict[str, float] = {}
        for clients, way in itertools.product(CLIENTS, ways):
            before = self._processor_seconds()
            done_before = self._completed()
            began = time.perf_counter()
            seen = await self._load(clients, SECONDS, one_request=way == ONE_REQUEST)
            await self._until_completed(done_before + seen.opened)
            took = time.perf_counter() - began
            used = {
                part: seconds - before[part] for part, seconds in self._processor_seconds().items()
            }
            at = f"{clients} clients{way}"
            figures |= {
                f"{at}: sessions/s": seen.opened / took,
                f"{at}: refused": seen.refused,
                f"{at}: POST /sessions p99 ms": 1_000 * percentile(seen.open_seconds, 99),
            } | {
                f"{at}: CPU ms a session, {part}": 1_000 * seconds / max(1, seen.opened)
                for part, seconds in used.items()
            }
            if seen.start_seconds:
                figures[f"{at}: POST task p99 ms"] = 1_000 * percentile(seen.start_seconds, 99)
        return figures

    async def _measure_two_processes(self) -> dict[str, float]:
        """Sessions per second from one process and from two on the same database."""
        figures = {}
        with _listening(self.command, self.environment) as (_, second_port):
            ports = [self.ports[0], second_port]
            for name, used in (("one process", ports[:1]), ("two processes", ports)):
                self.ports = used
                await self._load(16, 2.0, one_request=True)
                done_before, began = self._completed(), time.perf_counter()
                seen = await self._load(16, SECONDS, one_request=True)
                await self._until_completed(done_before + seen.opened)
                figures[f"{name}: sessions/s"] = seen.opened / (time.perf_counter() - began)
            self.ports = ports[:1]
        (figures["sessions with more than one ticket"],) = self.database.execute(
            "SELECT count(*) FROM (SELECT FROM tickets GROUP BY session_id HAVING count(*) > 1) s"
        ).fetchone()  # type: ignore[misc]
        return figures

    async def _load(self, clients: int, seconds: float, *, one_request: bool = False) -> Figures:
        seen = Figures()
        until = time.perf_counter() + seconds
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                port = self.ports[number % len(self.ports)]
                group.create_task(self._client(port, seen, until, one_request=one_request))
        return seen

    async def _client(self, port: int, seen: Figures, until: float, *, one_request: bool) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        form = _FORM_THAT_STARTS if one_request else _FORM
        while (asked := time.perf_counter()) < until:
            status, location = await self._post(reader, writer, "/api/v1/sessions", form, _KIND)
            opened = time.perf_counter()
            if status != 201:
                seen.refused += 1
                continue
            seen.open_seconds.append(opened - asked)
            if not one_request:
                status, _ = await self._post(reader, writer, f"{location}/task", b"{}", _JSON)
                if status != 202:
                    raise RuntimeError(f"A task was not started: {status}")
                seen.start_seconds.append(time.perf_counter() - opened)
            seen.opened += 1
        writer.close()

    async def _post(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        path: str,
        body: bytes,
        kind: str,
    ) -> tuple[int, str]:
        writer.write(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {self.key}\r\n"
            f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = re.search(r"(?i)content-length: (\d+)", head)
        await reader.readexactly(int(length[1]) if length else 0)
        location = re.search(r"(?i)location: (\S+)", head)
        return int(head.split(" ", 2)[1]), location[1] if location else ""

    async def _one_alone(self) -> float:
        """Seconds from the start of a session's first task until its last completed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[0])
        _, location = await self._post(reader, writer, "/api/v1/sessions", _FORM, _KIND)
        await self._post(reader, writer, f"{location}/task", b"{}", _JSON)
        writer.close()
        session_id = location.rsplit("/", 1)[1]
        took = None
        while took is None:
            (took,) = self.database.execute(
                "SELECT date_part('epoch', adf_validation_completed_at - processing_completed_at)"
                " + processing_ran_seconds + processing_waited_seconds"
                " FROM sessions WHERE id = %s",
                (session_id,),
            ).fetchone()  # type: ignore[misc]
            await asyncio.sleep(0.02)
        return float(took)

    def _completed(self) -> int:
        (count,) = self.database.execute(COUNT_COMPLETED).fetchone()  # type: ignore[misc]
        return int(count)

    async def _until_completed(self, count: int) -> None:
        until = time.perf_counter() + 20
        while self._completed() < count:
            if time.perf_counter() > until:
                stages = self.database.execute(
                    "SELECT stage, count(*) FROM sessions GROUP BY stage"
                ).fetchall()
                raise TimeoutError(f"{count} sessions were to complete; there are {stages}")
            await asyncio.sleep(0.02)

    def _processor_seconds(self) -> dict[str, float]:
        parts = {"serve": 0.0, "children": 0.0, "PostgreSQL": 0.0}
        for process in [self.process, *self.process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                part = (
                    "serve" if process == self.process
                    else "PostgreSQL" if process.name().startswith("postgres")
                    else "children"
                )  # fmt: skip
                times = process.cpu_times()
                parts[part] += times.user + times.system
        postgres = self.database.info.backend_pid
        parts["PostgreSQL"] += _tree_seconds(psutil.Process(postgres).parent())
        return parts


def _tree_seconds(root: psutil.Process | None) -> float:
    total = 0.0
    for process in [root, *root.children(recursive=True)] if root is not None else []:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] if ordered else 0.0


@contextlib.contextmanager
def serving(python: str, *key_options: str) -> Iterator[Server]:
    """That Python's `serve` as it comes, over an embedded database of its own; with a new key."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        os.chmod(folder, 0o711)  # noqa: PTH101
        environment = {
            **os.environ,
            "SESSION_TASKS_DATA_DIR": folder,
            "SESSION_TASKS_REQUESTS_PER_MINUTE": "100000000",
            "SESSION_TASKS_JIRA_PROJECT": "DEMO",
            "PYTHONUNBUFFERED": "1",
        }
        command = [python, "-c", "from app.cli import main; main()"]
        with _listening(command, environment) as (process, port):
            made = subprocess.run(
                [*command, "keys", "create", "--json", *key_options],
                env=environment, capture_output=True, text=True, check=True,
            )  # fmt: skip
            key = json.loads(made.stdout)["key"]
            with psycopg.connect(_url(python, environment), autocommit=True) as database:
                yield Server(command, environment, [port], key, process, database)


@contextlib.contextmanager
def _listening(
    command: list[str], environment: dict[str, str]
) -> Iterator[tuple[psutil.Process, int]]:
    """Run `serve`; yield its process and its port."""
    process = subprocess.Popen(
        [*command, "serve", "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = next(
            int(found[1])
            for line in process.stdout
            if (found := re.search(r"127\.0\.0\.1:(\d+)", line))
        )
        yield psutil.Process(process.pid), port
    finally:
        process.terminate()
        process.wait(60)


def _url(python: str, environment: dict[str, str]) -> str:
    """The address of the embedded server, as psycopg takes it."""
    code = (
        "from app.core.config import Settings; from app.core.database import Database\n"
        "database = Database.open(Settings()); print(database.url); database.close()"
    )
    found = subprocess.run(
        [python, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    return found.stdout.strip().replace("postgresql+psycopg://", "postgresql://")


_KIND = "multipart/form-data; boundary=x"
_JSON = "application/json"
_FORM = (
    b'--x\r\nContent-Disposition: form-data; name="documents"; filename="kettle.md"\r\n\r\n'
    + DOCUMENT
    + b'\r\n--x\r\nContent-Disposition: form-data; name="project_key"\r\n\r\nDEMO\r\n--x--\r\n'
)
_FORM_THAT_STARTS = b'--x\r\nContent-Disposition: form-data; name="start"\r\n\r\ntrue\r\n' + _FORM
