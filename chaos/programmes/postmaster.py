"""The embedded server's postmaster is killed; its users are to start it again, not the harness."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import httpx
import psycopg
from sqlalchemy import make_url

from chaos.programmes.database import load
from chaos.rig import Rig, Verdict, WorkerProcess, own_server
from chaos.waiting import on_this_machine, until

BACK_SECONDS = 5.0
"""How long the database may be away, on a machine that has a processor for it."""

SERVE = ("-c", "from app.cli import main; main()", "serve", "--port", "0")
POSTMASTER = "postgresql/cluster/postmaster.pid"


@dataclass
class _Kills:
    """Measurements, in seconds."""

    until_started: list[float] = field(default_factory=list)
    until_database: list[float] = field(default_factory=list)
    away: list[float] = field(default_factory=list)
    too_long: list[float] = field(default_factory=list)
    until_rebuilt: list[float] = field(default_factory=list)


class _Killer:
    """Kills the postmaster, and watches by connections that cannot start it again."""

    def __init__(self, rig: Rig, folder: Path) -> None:
        self._rig = rig
        self._folder = folder
        self._url = _plain_url(rig)

    def kill(self, kills: _Kills, address: str, *, is_under_load: bool) -> None:
        """Kill it at some moment, and wait until database, API and leases are there again."""
        if is_under_load:
            until(lambda: self._count("session_task_leases WHERE claim_token IS NOT NULL") >= 2,
                  "work is under way")  # fmt: skip
        time.sleep(self._rig.random.uniform(0, 0.3))  # where in the work it falls
        with psycopg.connect(self._url) as connection:
            before = connection.execute("SELECT clock_timestamp()").fetchone()
        killed = _postmaster(self._folder)
        began = time.monotonic()
        os.kill(killed, signal.SIGKILL)
        until(lambda: not Path(f"/proc/{killed}").exists(), "the postmaster dies")
        until(lambda: _postmaster(self._folder) not in {0, killed}, "its users start another")
        kills.until_started.append(time.monotonic() - began)
        until(lambda: self._count("sessions") >= 0, "the database is back")
        kills.until_database.append(time.monotonic() - began)
        until(lambda: _reaches_database(address), "the API is back")
        away = time.monotonic() - began
        kills.away.append(away)
        if away > on_this_machine(BACK_SECONDS):
            kills.too_long.append(away)
        if is_under_load:
            until(
                lambda: self._count(
                    "session_task_lease_sentinel WHERE created_at > %s", before or ()
                ) > 0,
                "leases are rebuilt",
            )  # fmt: skip
            kills.until_rebuilt.append(time.monotonic() - began)

    def _count(self, rows: str, parameters: tuple[object, ...] = ()) -> int:
        return _count(self._url, rows, parameters)


def kill_postmaster(rig: Rig, folder: Path) -> None:
    """Kill the embedded server, and wait until its users have started it again."""
    killed = _postmaster(folder)
    os.kill(killed, signal.SIGKILL)
    until(lambda: _postmaster(folder) not in {0, killed}, "its users start another")
    until(lambda: _count(_plain_url(rig), "sessions") >= 0, "the database is back")


def _plain_url(rig: Rig) -> str:
    return make_url(rig.url).set(drivername="postgresql").render_as_string()


def _postmaster(folder: Path) -> int:
    """Return the number in its file; 0 where there is none."""
    try:
        lines = (folder / POSTMASTER).read_text().splitlines()
    except FileNotFoundError:
        return 0
    return int(lines[0]) if lines else 0


def _count(url: str, rows: str, parameters: tuple[object, ...] = ()) -> int:
    """Count rows; -1 where there is no server."""
    try:
        with psycopg.connect(url) as connection:
            found = connection.execute(f"SELECT count(*) FROM {rows}".encode(), parameters)
            (count,) = found.fetchone() or (0,)
            return int(count)
    except psycopg.OperationalError:
        return -1


def _reaches_database(address: str) -> bool:
    """Whether the API says so; that it has no worker it may say, too."""
    try:
        checks = httpx.get(f"{address}/readyz", timeout=BACK_SECONDS).json()["checks"]
    except httpx.TransportError:
        return False
    return all(check["ok"] for check in checks if check["name"] in {"database", "migrations"})


@contextmanager
def _serving(rig: Rig, *options: str, workers: int = 0) -> Iterator[str]:
    """Run `serve` and so many workers, and stop them as people do; gives the API's address."""
    server = rig.worker(*options, command=SERVE)
    processes = [server, *(rig.worker() for _ in range(workers))]
    found = until(
        lambda: re.search(r"Listening on (http://\S+)", server.log.read_text(errors="replace")),
        "the API listens",
    )
    for worker in processes[1:]:
        worker.until_started()
    yield found[1]
    for process in processes:
        process.process.terminate()
    for process in processes:
        process.process.wait(30)


KINDS = {"idle": ("--no-worker", 0), "two workers": ("--no-worker", 2), "serve": ("--worker", 0)}
"""The kinds of users: `serve` with or without its worker, and so many workers beside it."""


def restarts(outer: Rig, *, times: int, among: Sequence[str] = tuple(KINDS)) -> Verdict:
    """Kill the postmaster so often beside each kind of user: they start it again and lose nothing.

    An idle `serve --no-worker`, the same with two workers under load, `serve` under load.
    """
    kills = {name: _Kills() for name in among}
    doubts = 0
    with (
        own_server() as (server, folder),
        Rig(server.url, outer.random.randrange(1 << 30), data_dir=folder) as rig,
    ):
        killer = _Killer(rig, folder)
        for name in among:
            option, workers = KINDS[name]
            is_under_load = name != "idle"
            with (
                _serving(rig, option, workers=workers) as address,
                load(rig, rig.database) if is_under_load else nullcontext(lambda: 0) as doubtful,
            ):
                for _ in range(times):
                    if outer.is_time_up:
                        break
                    killer.kill(kills[name], address, is_under_load=is_under_load)
            doubts += doubtful()
        broken = _after_all(rig)
        counts = rig.outcome_counts()
    for name, measured in kills.items():
        broken += [f"{name}: back after {seconds:.1f} s" for seconds in measured.too_long]
    figures = {
        f"{name}: back after": f"median {median(measured.away):.1f} s,"
        f" max {max(measured.away):.1f} s of {len(measured.away)}"
        for name, measured in kills.items()
        if measured.away
    }
    for name, measured in kills.items():
        if measured.away:
            figures[f"{name}: of these"] = _parts(measured)
    rebuilt = [seconds for measured in kills.values() for seconds in measured.until_rebuilt]
    figures |= {
        "leases rebuilt after": f"max {max(rebuilt, default=0):.1f} s of {len(rebuilt)}",
        "runs completed": str(counts.get("completed", 0)),
        "starts left in doubt": str(doubts),
    }
    total = sum(len(measured.away) for measured in kills.values())
    return Verdict("killed postmasters", f"{total} kills", figures, broken)


def _parts(kills: _Kills) -> str:
    """Say what each part of the time took: detection, the server's start and recovery, the API."""
    database = zip(kills.until_started, kills.until_database, strict=True)
    api = zip(kills.until_database, kills.away, strict=True)
    parts = {
        "until another postmaster": kills.until_started,
        "its start and recovery": [end - start for start, end in database],
        "until the API says so": [end - start for start, end in api],
    }
    return "; ".join(
        f"{name} median {median(part):.2f} s, max {max(part):.2f} s" for name, part in parts.items()
    )


def _after_all(rig: Rig) -> list[str]:
    """Broken promises, once a worker has finished all that is left."""
    codes = {w.log.name: w.process.poll() for w in rig.workers}
    broken = [f"{name}: exit {code} after SIGTERM" for name, code in codes.items() if code != 0]
    finisher: WorkerProcess = rig.worker("--concurrency", "4").until_started()
    broken += rig.broken()
    if not finisher.is_alive:
        broken.append(f"the last worker ended: {finisher.process.poll()}")
    return broken
