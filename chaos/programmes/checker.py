"""Run the adversaries on the unchanged product, then on one with one deliberate bug at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence

from app.core.database import Database
from app.models.session import TaskStatus
from app.repositories.lifecycle_log import observe_transitions
from app.repositories.session_repository import SessionRepository
from app.repositories.transitions import Transition
from chaos import history
from chaos.adversary import race_adversaries
from chaos.bugs import BUGS, Bug, WrongFunction, planted
from chaos.rig import Rig, Verdict

SESSIONS = 4
THREADS = 8
ROUNDS_TO_CATCH = (20, 40, *(120,) * 10)
FORGET = "TRUNCATE history_tasks, history_leases, history_commits, sessions CASCADE"


def adversaries(rig: Rig, *, rounds: int, seeds: int = 1) -> Verdict:
    """Race on the unchanged product: there must be no violation and no deadlock."""
    broken: list[str] = []
    acts: dict[str, int] = {}
    done = 0
    for _ in range(seeds):
        if rig.is_time_up:
            break
        done += 1
        found, counts = _race_adversaries(rig, rounds)
        broken += found
        for act, count in counts.items():
            acts[act] = acts.get(act, 0) + count
    figures = {act: str(count) for act, count in sorted(acts.items())}
    trials = f"{done * THREADS * rounds} acts by {THREADS} threads on {SESSIONS} sessions"
    return Verdict("adversaries", trials, figures, broken)


def caught(rig: Rig, bug: Bug | WrongFunction) -> str:
    """Return what the checker reports for the product with this bug; empty if nothing.

    Short races come first: most bugs show at once, and few need sessions in late stages.
    """
    with planted(bug):
        for rounds in ROUNDS_TO_CATCH:
            found, _ = _race_adversaries(rig, rounds)
            if found:
                return found[0]
    return ""


def deliberate_bugs(rig: Rig) -> Verdict:
    """Check that the checker catches every deliberate bug."""
    broken = []
    figures = {}
    for bug in BUGS:
        began = time.monotonic()
        what = caught(rig, bug)
        figures[bug.name] = f"caught in {time.monotonic() - began:.1f} s" if what else "NOT CAUGHT"
        if not what:
            broken.append(f"not caught: {bug.name}")
    return Verdict("deliberate bugs", f"{len(BUGS)} bugs", figures, broken)


@contextlib.contextmanager
def published_too_early(database: Database) -> Iterator[list[str]]:
    """Yield a list of the runs that were published to brokers before their start was committed.

    A separate connection checks what is committed at the moment of publishing.
    """
    too_early: list[str] = []

    def listen(moved: Sequence[Transition]) -> None:
        started = [t.task_id for t in moved if t.status is TaskStatus.RUNNING]
        with database.driver_connection() as connection:
            seen = connection.execute(
                "SELECT new_task_id FROM history_tasks"
                " WHERE new_status = 'running' AND new_task_id = ANY(%s)",
                (started,),
            ).fetchall()
        unseen = set(started) - {task_id for (task_id,) in seen}
        too_early.extend(f"run {task_id} was published before its commit" for task_id in unseen)

    stop = observe_transitions(listen)
    try:
        yield too_early
    finally:
        stop()


def _race_adversaries(rig: Rig, rounds: int) -> tuple[list[str], dict[str, int]]:
    with rig.database.driver_connection() as connection:
        connection.execute(FORGET.encode())
    with rig.database.transaction() as db:
        sessions = SessionRepository(db)
        ids = [sessions.create_session(auto_advance=False).id for _ in range(SESSIONS)]
    seed = rig.random.randrange(1 << 20)
    with published_too_early(rig.database) as too_early:
        ledger = race_adversaries(rig.database, ids, seed=seed, threads=THREADS, rounds=rounds)
    with rig.database.driver_connection() as connection:
        recorded = history.read(connection)
    found = [f"{type(error).__name__}: {error}" for error in ledger.errors]
    found += too_early
    return found + history.violations(recorded, ledger.acknowledged), dict(ledger.counts)
