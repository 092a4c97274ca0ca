"""A fleet of workers that are killed and paused while they work, and replaced."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from chaos.rig import LEASE_SECONDS, SWEEP_SECONDS, Rig, WorkerProcess

BLOWS = {"child": 12, "worker": 4, "group": 3, "pause": 5}
"""How a process is struck, and how often in proportion; a group is a worker with its children."""

MOST_PAUSED = 4
NO_CHILD = "No process for tasks can be started here"
"""A worker logs this, as an error, when three children in a row were killed: so they were."""


@dataclass
class Fleet:
    """Workers under fire.

    Attributes:
        start: starts one more worker.
        size: how many work at a time.
        sign: the word by which a handler's process shows in the journal that it is at work.
        kills: how many have been killed, by kind.
        pauses: how many have been paused past the lease: a worker with its child, without it, or a
            child whose worker is killed meanwhile.

    """

    rig: Rig
    start: Callable[[], WorkerProcess]
    size: int
    sign: str
    kills: Counter[str] = field(default_factory=Counter)
    pauses: Counter[str] = field(default_factory=Counter)
    _workers: list[WorkerProcess] = field(default_factory=list)
    _paused: list[tuple[float, int]] = field(default_factory=list)
    _seen: int = 0

    @property
    def random(self) -> random.Random:
        return self.rig.random

    def fill_up(self) -> None:
        """Replace the dead, and resume those whose pause is over."""
        self._workers = [each for each in self._workers if each.is_alive]
        while len(self._workers) < self.size:
            self._workers.append(self.start())
        self._resume(until=time.monotonic())

    def strike(self) -> None:
        """Kill or pause a process that has worked since the last blow; none if none has."""
        at_work = self.rig.journal(self.sign)
        fresh, self._seen = at_work[self._seen :], len(at_work)
        alive = {worker.pid: worker for worker in self._workers if worker.is_alive}
        victims = [entry for entry in fresh if entry.parent in alive]
        if not victims:
            return
        victim = self.random.choice(victims)
        kind = self.random.choices(list(BLOWS), list(BLOWS.values()))[0]
        if kind == "pause":
            self._pause(victim.parent, victim.pid)
        elif kind == "group":
            alive[victim.parent].kill()
            self.kills[kind] += 1
        elif _sent(signal.SIGKILL, victim.pid if kind == "child" else victim.parent):
            self.kills[kind] += 1

    def end(self) -> None:
        """Resume all, and kill all."""
        self._resume(until=float("inf"))
        for worker in self._workers:
            worker.kill()

    def figures(self) -> dict[str, str]:
        """Return the blows, for a verdict."""
        return {
            "killed": ", ".join(f"{kind} {n}" for kind, n in sorted(self.kills.items())),
            "paused past the lease": ", ".join(
                f"{kind} {n}" for kind, n in sorted(self.pauses.items())
            ),
        }

    def _pause(self, worker: int, child: int) -> None:
        """Stop them until another has their run; a child is resumed before its worker."""
        if len(self._paused) >= MOST_PAUSED or worker in {pid for _, pid in self._paused}:
            return
        kind = self.random.choice(("whole", "supervisor", "orphan"))
        resumed_at = time.monotonic() + LEASE_SECONDS + 2 * SWEEP_SECONDS
        resumed_at += self.random.uniform(0, 1.5)
        for pid, at in ((child, resumed_at), (worker, resumed_at + 0.2)):
            if pid == worker and kind == "orphan":
                self.kills["worker"] += _sent(signal.SIGKILL, worker)
            elif (pid == worker or kind != "supervisor") and _sent(signal.SIGSTOP, pid):
                self._paused.append((at, pid))
        self.pauses[kind] += 1

    def _resume(self, *, until: float) -> None:
        for at, pid in self._paused:
            if at <= until:
                _sent(signal.SIGCONT, pid)
        self._paused = [each for each in self._paused if each[0] > until]


def _sent(what: signal.Signals, pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, what)
        return True
    return False
