"""Handlers of many steps, killed at random moments: what was kept never runs again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from app.engines.sweeper import Sweeper
from chaos.handlers import STEPS
from chaos.rig import Rig, Verdict, WorkerProcess

LIVE_SESSIONS = 6
SECONDS_OF_A_HANDLER = 0.3
NO_CHILD = "No process for tasks can be started here"

RECORD_STEPS = """
CREATE TABLE history_steps AS
SELECT session_id, name, result::text AS result, kept_at AS at FROM session_task_steps;
CREATE FUNCTION record_step() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO history_steps VALUES (NEW.session_id, NEW.name, NEW.result::text, NEW.kept_at);
    RETURN NULL;
END $$;
CREATE TRIGGER record_step AFTER INSERT ON session_task_steps
FOR EACH ROW EXECUTE FUNCTION record_step()"""


@dataclass
class _Killer:
    rig: Rig
    target: int
    fleet: list[WorkerProcess] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    @property
    def random(self) -> random.Random:
        return self.rig.random

    def run(self, size: int) -> None:
        self.fleet = [self._worker() for _ in range(size)]
        begun = len(self.rig.journal("step ran"))
        while self.kills.total() < self.target and not self.rig.is_time_up:
            for _ in range(LIVE_SESSIONS - self.rig.live_count()):
                self.rig.start("steps", seconds=SECONDS_OF_A_HANDLER)
            self.fleet = [each if each.is_alive else self._worker() for each in self.fleet]
            if begun < (begun := len(self.rig.journal("step ran"))):
                self._kill_somebody()
            time.sleep(self.random.uniform(0.01, 0.2))  # the pace of the hostility
        for worker in self.fleet:
            worker.kill()

    def _worker(self) -> WorkerProcess:
        return self.rig.worker("--concurrency", "1", is_forked=True)

    def _kill_somebody(self) -> None:
        """Kill a child in the middle of its steps, or now and then its worker."""
        worker = self.random.choice(self.fleet)
        children = worker.children()
        kind = "child" if self.random.random() < 0.8 else "worker"
        pid = self.random.choice(children or [worker.pid]) if kind == "child" else worker.pid
        if kind == "child" and not children:
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[kind] += 1


def steps(rig: Rig, *, kills: int, fleet: int = 3) -> Verdict:
    """Kill workers and children so often while they run steps; then let one finish the rest."""
    with rig.database.driver_connection() as connection:
        connection.execute(RECORD_STEPS)
    killer = _Killer(rig, kills)
    sweeper = Sweeper(rig.database, rig.settings)
    sweeper.start()  # stands for the machine that is still there
    try:
        killer.run(fleet)
        rig.worker()
        broken = [what for what in rig.broken() if NO_CHILD not in what]
    finally:
        sweeper.stop()
    ran = rig.journal("step ran")
    given = rig.journal("step given")
    kept = rig.rows("SELECT session_id::text, name, result, at FROM history_steps")
    broken += violations(kept, ran, given, rig)
    return Verdict(
        "steps",
        f"{killer.kills.total()} kills of handlers of {STEPS} steps",
        {
            "killed": ", ".join(f"{kind} {n}" for kind, n in sorted(killer.kills.items())),
            "sessions": str(len({entry.subject[0] for entry in ran})),
            "steps kept": f"{len(kept):,}",
            "steps run": f"{len(ran):,}",
            "handed out again": f"{len(given) - len(kept):,}",
        },
        broken,
    )


def violations(kept: list[Any], ran: list[Any], given: list[Any], rig: Rig) -> list[str]:
    """Return what is wrong: a step that ran after it was kept, a result lost, or two of them."""
    found = []
    times = Counter((row.session_id, row.name) for row in kept)
    found += [f"{step}: kept {n} times" for step, n in times.items() if n > 1]
    results = {(row.session_id, row.name): row for row in kept}
    for entry in ran:
        row = results.get((entry.subject[0], entry.subject[1]))
        if row is not None and entry.at > row.at.timestamp():
            found.append(f"{entry.subject}: ran after it was kept at {row.at}")
    of_run: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in given:
        session_id, task_id, name, result = entry.subject
        of_run[session_id, task_id].append(name)
        row = results.get((session_id, name))
        if row is None or row.result != f'"{result}"':
            found.append(f"{entry.subject}: handed out, but {row.result if row else 'not'} kept")
    order = [f"step {number}" for number in range(STEPS)]
    for run, names in of_run.items():
        if any(name != wanted for name, wanted in zip(names, order, strict=False)):
            found.append(f"{run}: steps out of order: {names}")
    for row in rig.rows(
        "SELECT t.session_id::text, t.status, (SELECT count(*) FROM session_task_steps s"
        " WHERE s.session_id = t.session_id) AS left_over, (SELECT count(*) FROM history_steps h"
        " WHERE h.session_id = t.session_id) AS kept FROM session_tasks t"
    ):
        should_be = (0, STEPS) if row.status == "completed" else (row.kept, row.kept)
        if (row.left_over, row.kept) != should_be:
            found.append(
                f"{row.session_id}: {row.status} with {row.left_over} of {row.kept} steps left"
            )
    return found
