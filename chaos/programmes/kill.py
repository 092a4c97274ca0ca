"""Kill -9, at random and at every named point between claim and commit."""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from app.engines.sweeper import Sweeper
from chaos import history
from chaos.fleet import NO_CHILD
from chaos.points import POINTS
from chaos.rig import LEASE_SECONDS, SWEEP_SECONDS, Rig, Verdict, WorkerProcess

_CHILD = re.compile(r"\(pid (\d+)\)")
LIVE_SESSIONS = 24
DEATHS_OF_CHILDREN = 6
"""A worker whose children die at a point is replaced after so many, and dies with the last."""

KILLS_THAT_REACH_EVERY_POINT = 200
CHILD_SECONDS = 1.0
WORKER_SECONDS = LEASE_SECONDS + SWEEP_SECONDS * 1.25 + 1.0
"""Lease, the longest pause between sweeps, and a second for a machine that is starting workers."""


@dataclass
class Killer:
    """Keeps a fleet under fire until enough have died.

    Half of the fleet is left alone until it reaches its point; the other half dies at random.
    """

    rig: Rig
    target: int
    points: list[str] = field(default_factory=list)
    random_kills: list[tuple[float, int, str]] = field(default_factory=list)
    doomed: dict[int, str] = field(default_factory=dict)
    fleet: list[WorkerProcess] = field(default_factory=list)

    @property
    def random(self) -> random.Random:
        return self.rig.random

    def run(self, size: int) -> None:
        self.fleet = [self._worker(is_doomed=index % 2 == 0) for index in range(size)]
        next_kill = time.monotonic() + 1.0
        while self.count() < self.target and not self.rig.is_time_up:
            self._top_up()
            self._replace_the_dead()
            if time.monotonic() >= next_kill:
                self._kill_somebody()
                next_kill = time.monotonic() + self.random.uniform(0.02, 0.3)
            time.sleep(0.05)  # the pace of the hostility, not a wait for anything
        for worker in self.fleet:
            worker.kill()

    def count(self) -> int:
        return len(self.random_kills) + len(self.rig.journal("died"))

    def _worker(self, *, is_doomed: bool) -> WorkerProcess:
        options = ("--concurrency", "1")
        if not is_doomed:
            return self.rig.worker(*options, is_forked=True)
        if not self.points:
            self.points = list(POINTS)
            self.random.shuffle(self.points)
        point = self.points.pop()
        arrival = self.random.randint(1, 2)
        worker = self.rig.worker(*options, point=point, arrival=arrival, is_forked=True)
        self.doomed[worker.pid] = point
        return worker

    def _top_up(self) -> None:
        if self.rig.live_count() < LIVE_SESSIONS // 2:
            for number in range(LIVE_SESSIONS // 2):
                behaviour = "stumble" if number % 4 == 0 else "work"
                self.rig.start(behaviour, auto_advance=True, seconds=self.random.uniform(0, 0.4))

    def _replace_the_dead(self) -> None:
        deaths = Counter(entry.parent for entry in self.rig.journal("died"))
        for index, worker in enumerate(self.fleet):
            if worker.is_alive and deaths[worker.pid] >= DEATHS_OF_CHILDREN:
                self._kill(worker.pid, "worker")
                worker.process.wait()
            if not worker.is_alive:
                self.fleet[index] = self._worker(is_doomed=worker.pid in self.doomed)

    def _kill_somebody(self) -> None:
        """A worker that has had work, or its child; one that is still starting, seldom."""
        worker = self.random.choice(self.fleet)
        if worker.pid in self.doomed:
            return
        is_at_work = any(begun.parent == worker.pid for begun in self.rig.journal("begun"))
        if not is_at_work and self.random.random() < 0.95:
            return
        children = worker.children()
        if children and self.random.random() < 0.7:
            self._kill(self.random.choice(children), "child")
        elif worker.is_alive:
            self._kill(worker.pid, "worker")

    def _kill(self, pid: int, kind: str) -> None:
        now = time.time()
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.random_kills.append((now, pid, kind))


def kill(rig: Rig, *, kills: int, fleet: int = 8) -> Verdict:
    """Kill workers and children until so many have died; then let one worker finish the rest."""
    killer = Killer(rig, kills)
    sweeper = Sweeper(rig.database, rig.settings)
    sweeper.start()  # stands for the machine that is still there
    try:
        killer.run(fleet)
        rig.worker()
        broken = [what for what in rig.broken() if NO_CHILD not in what]
    finally:
        sweeper.stop()
    died = rig.journal("died")
    by_child, by_worker = _seconds_to_rescue(rig, killer)
    points = Counter(entry.subject[0] for entry in died)
    broken += _too_slow("a child's death", by_child, CHILD_SECONDS)
    broken += _too_slow("a worker's death", by_worker, WORKER_SECONDS)
    if killer.count() >= KILLS_THAT_REACH_EVERY_POINT:
        broken += [f"never reached: {point}" for point in POINTS if not points[point]]
    counts = rig.outcome_counts()
    return Verdict(
        "kill -9",
        f"{killer.count()} kills",
        {
            "at random": f"{sum(k == 'worker' for *_, k in killer.random_kills)} workers, "
            f"{sum(k == 'child' for *_, k in killer.random_kills)} children",
            **{f"at the point: {point}": str(points[point]) for point in POINTS},
            "runs": ", ".join(f"{status} {n}" for status, n in sorted(counts.items())),
            "until a child's death is in the row": _quantiles(by_child),
            "until a worker's death is in the row": _quantiles(by_worker),
        },
        broken,
    )


def _seconds_to_rescue(rig: Rig, killer: Killer) -> tuple[list[float], list[float]]:
    """From each kill to the moment at which the row of each run that it hit says so."""
    deaths = {pid: at for at, pid, _ in killer.random_kills}
    deaths |= {entry.pid: entry.at for entry in rig.journal("died")}
    processes = {worker.id: worker.pid for worker in rig.workers}
    with rig.database.driver_connection() as connection:
        versions = history.read(connection).tasks
    by_child, by_worker = [], []
    for version in versions:
        if version.new_status != "failed":
            continue
        message = version.message or ""
        child = _CHILD.search(message)
        if message.startswith(history.RESCUED):
            died_at = deaths.get(processes.get(version.worker or "", 0))
            if died_at is not None:
                by_worker.append(version.at.timestamp() - died_at)
        elif child is not None and (died_at := deaths.get(int(child[1]))) is not None:
            by_child.append(version.at.timestamp() - died_at)
    return by_child, by_worker


def _quantiles(seconds: list[float]) -> str:
    if len(seconds) < 2:
        return f"{len(seconds)} measured"
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"p50 {cuts[49]:.2f} s, p99 {cuts[98]:.2f} s, max {max(seconds):.2f} s ({len(seconds)})"


def _too_slow(what: str, seconds: list[float], bound: float) -> list[str]:
    """The median holds even on a machine that is busy with starting workers."""
    if seconds and statistics.median(seconds) > bound:
        return [f"{what} was in the row after {statistics.median(seconds):.2f} s, not {bound:g} s"]
    return []
