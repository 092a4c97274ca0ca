"""The workloads of the race: the acts of each adapter, their order and repetitions.

Rounds are interleaved: in each, every adapter does everything once, in a database created for it,
and the report has the median over the rounds. Other load on the machine affects all adapters
equally, so only ratios within a run are results.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.race import limit
from benchmarks.race.environment import PEERS, ROOT, PeerEnvironment
from benchmarks.race.fixtures import RaceServer

OURS = "session_tasks"
LIMIT = "pgbench"
CALLERS = 64
TRANSACTION_CALLERS = 8
LIVES_PER_SESSION = 3
SECONDS_PER_ACT = 600
PART = 2_000
"""How many tasks a peer is given at once where its caller must split what our call splits."""


@dataclass(frozen=True, slots=True)
class Size:
    """The size of the race; a short race shows that everything runs, not how fast.

    Attributes:
        rounds: rounds, of which the median is taken.
        sessions: sessions for whole lives, three each.
        singles: tasks enqueued one by one.
        bulk: tasks enqueued at once and drained.
        slow: both of these, for peers that would take minutes.
        pickups: tasks on a quiet system.

    """

    rounds: int
    sessions: int
    singles: int
    bulk: int
    slow: int
    pickups: int


FULL = Size(rounds=3, sessions=3_200, singles=2_000, bulk=20_000, slow=1_000, pickups=100)
SHORT = Size(rounds=1, sessions=320, singles=200, bulk=2_000, slow=200, pickups=20)

SLOW_PEERS = ("saq", "procrastinate", "dbos", "celery")
"""Ten times slower than the fastest, whatever their caller does: they get fewer tasks."""


@dataclass(slots=True)
class Figures:
    """The measurements: a value per round, by adapter and figure.

    Attributes:
        failures: the reason for each adapter that could not run, or is missing.

    """

    values: dict[str, dict[str, list[float]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    failures: dict[str, str] = field(default_factory=dict)

    def add(self, adapter: str, **figures: float) -> None:
        """Add the figures of one round."""
        for name, value in figures.items():
            self.values[adapter][name].append(value)

    def medians(self) -> dict[str, dict[str, float]]:
        """Return the median of each figure over the rounds."""
        return {
            adapter: {name: statistics.median(values) for name, values in figures.items()}
            for adapter, figures in self.values.items()
        }

    @contextmanager
    def attempt(self, adapter: str) -> Iterator[None]:
        """Record why the block failed, if it did; the other adapters still run."""
        try:
            yield
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            self.failures[adapter] = str(error).strip()[-500:]


def act(python: Path | str, adapter: str, *arguments: object) -> dict[str, Any]:
    """Run one act of an adapter, in a process of its own.

    Raises:
        RuntimeError: it failed; the message has the end of its output.

    """
    done = subprocess.run(
        [
            str(python), "-m", f"benchmarks.race.adapters.{adapter}",
            *(str(argument) for argument in arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=SECONDS_PER_ACT,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        message = f"{arguments[0]}: {done.stderr.strip()[-400:]}"
        raise RuntimeError(message)
    answer: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return answer


def ours(url: str, *arguments: object) -> dict[str, Any]:
    """Run one act of our own adapter."""
    return act(sys.executable, OURS, *arguments, "--url", url)


def run(
    server: RaceServer, environment: PeerEnvironment, size: Size, say: Callable[[str], None]
) -> Figures:
    """Run all rounds."""
    figures = Figures(failures=dict(environment.missing))
    pgbench = limit.find_pgbench()
    if pgbench is None:
        figures.failures[LIMIT] = "no pgbench on this machine"
    for number in range(1, size.rounds + 1):
        if pgbench is not None:
            say(f"round {number} of {size.rounds}: {LIMIT}")
            with figures.attempt(LIMIT):
                _race_limit(server, size, figures, pgbench)
        say(f"round {number} of {size.rounds}: {OURS}")
        _race_ours(server, size, figures)
        for peer in PEERS:
            if peer not in figures.failures:
                say(f"round {number} of {size.rounds}: {peer}")
                with figures.attempt(peer):
                    _race_peer(server, size, figures, environment.python, peer)
    return figures


def _race_limit(server: RaceServer, size: Size, figures: Figures, pgbench: str) -> None:
    url = server.fresh(LIMIT)
    ours(url, "prepare")
    ours(url, "plant", "--count", size.sessions)
    with server.wal() as written:
        rate = limit.lives_per_second(pgbench, url)
    lives = size.sessions * LIVES_PER_SESSION
    figures.add(LIMIT, lives_per_second=rate, wal_bytes_per_life=written.bytes / lives)
    server.drop(LIMIT)


def _race_ours(server: RaceServer, size: Size, figures: Figures) -> None:
    url = server.fresh(OURS)
    ours(url, "prepare")
    for name, how, callers in (
        ("combined", "lives-in-a-loop", CALLERS),
        ("combined_from_threads", "lives", CALLERS),
        ("transactions", "lives-in-transactions", TRANSACTION_CALLERS),
    ):
        ours(url, "plant", "--count", size.sessions)
        with server.wal() as written:
            done = ours(url, how, "--callers", callers)
        lives = done["lives"]
        figures.add(
            OURS,
            **{
                f"{name}_lives_per_second": lives / done["seconds"],
                f"{name}_client_microseconds_per_life": 1e6 * done["cpu_seconds"] / lives,
                f"{name}_wal_bytes_per_life": written.bytes / lives,
                f"{name}_full_page_images": written.full_page_images,
            },
        )
    ours(url, "plant", "--count", size.singles)
    single = ours(url, "singles", "--callers", CALLERS)
    figures.add(OURS, singles_per_second=size.singles / single["seconds"])
    for how in ("threads", "processes"):
        ours(url, "plant", "--count", size.bulk)
        with server.wal() as written:
            done = ours(url, f"bulk-and-drain-{how}")
        figures.add(
            OURS,
            **{
                f"{how}_bulk_per_second": size.bulk / done["bulk_seconds"],
                f"{how}_drain_per_second": size.bulk / done["drain_seconds"],
                f"{how}_client_microseconds_per_task": 1e6 * done["cpu_seconds"] / size.bulk,
                f"{how}_wal_bytes_per_task": written.bytes / size.bulk,
            },
        )
        ours(url, "plant", "--count", size.bulk + 1)
        beside = ours(url, f"whole-{how}")
        figures.add(
            OURS,
            **_whole(
                size.bulk,
                f"{how}_",
                {
                    "one_after_another": done["bulk_seconds"] + done["drain_seconds"],
                    "beside": beside["seconds"],
                },
            ),
        )
    for how in ("same-process", "threads", "processes"):
        ours(url, "plant", "--count", size.pickups + 10)
        quantiles = ours(url, f"pickup-{how}", "--count", size.pickups)
        figures.add(
            OURS,
            **{f"pickup_{how}_p50": quantiles["p50"], f"pickup_{how}_p99": quantiles["p99"]},
        )
    server.drop(OURS)


def _race_peer(server: RaceServer, size: Size, figures: Figures, python: Path, peer: str) -> None:
    singles, bulk = (size.slow, size.slow) if peer in SLOW_PEERS else (size.singles, size.bulk)

    def do(*arguments: object) -> dict[str, Any]:
        return act(python, peer, *arguments, "--url", url)

    # Each part in a database of its own: the next would count tasks that one left unfinished.
    url = server.fresh(peer)
    do("prepare")
    single = do("singles", "--count", singles, "--callers", CALLERS)
    drained = do("drain", "--count", singles)
    figures.add(
        peer,
        singles_per_second=singles / single["seconds"],
        fed_one_by_one_per_second=singles / (single["seconds"] + drained["seconds"]),
    )
    url = server.fresh(peer)
    do("prepare")
    with server.wal() as written:
        begun = do("bulk", "--count", bulk)
        done = do("drain", "--count", bulk)
    figures.add(
        peer,
        bulk_per_second=bulk / begun["seconds"],
        drain_per_second=bulk / done["seconds"],
        client_microseconds_per_task=1e6 * done["cpu_seconds"] / bulk,
        wal_bytes_per_task=written.bytes / bulk,
    )
    seconds = {"one_after_another": begun["seconds"] + done["seconds"]}
    for way, part in () if peer in SLOW_PEERS else (("beside", 0), ("in_parts", PART)):
        url = server.fresh(peer)
        do("prepare")
        seconds[way] = do("whole", "--count", bulk, "--part", part)["seconds"]
    figures.add(peer, **_whole(bulk, "", seconds))
    url = server.fresh(peer)
    do("prepare")
    quantiles = do("pickup", "--count", size.pickups)
    figures.add(peer, pickup_p50=quantiles["p50"], pickup_p99=quantiles["p99"])
    server.drop(peer)


def _whole(count: int, prefix: str, seconds: Mapping[str, float]) -> dict[str, float]:
    """Return whole tasks a second in each way, and `whole`: in the fastest way."""
    return {
        f"{prefix}{way}_per_second": count / took
        for way, took in {**seconds, "whole": min(seconds.values())}.items()
    }
