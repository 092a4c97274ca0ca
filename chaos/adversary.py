"""Threads that misuse the repository concurrently, on few sessions.

They simulate what faults do to correct workers: claims that outlive their lease, workers that wake
up late and still write, double clicks, deletes, many sweepers at once.
"""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psycopg
from sqlalchemy.exc import DBAPIError

from app.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    SessionNotFound,
    StaleClaim,
    TaskConflict,
    TaskValidationError,
)
from app.models.session import TaskType
from app.repositories.batcher import TransitionBatcher
from app.repositories.session_repository import SessionRepository
from app.repositories.transitions import Transition
from app.values.claims import Claim
from chaos.history import Acknowledged

if TYPE_CHECKING:
    from app.core.database import Database
    from app.core.errors import TaskError

REFUSALS = (StaleClaim, TaskConflict, TaskValidationError, SessionNotFound)
SHORT_LEASE_SECONDS = 0.005


@dataclass
class Ledger:
    """The operations acknowledged to the adversaries, and a count of each event."""

    acknowledged: list[Acknowledged] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)


class Adversary:
    """One thread: random operations on shared sessions, with any claim that it ever had."""

    def __init__(
        self, database: Database, session_ids: Sequence[uuid.UUID], seed: int, ledger: Ledger
    ) -> None:
        self._database = database
        self._batcher = TransitionBatcher(database)
        self._session_ids = session_ids
        self._random = random.Random(seed)
        self._ledger = ledger
        self._claims: list[Claim] = []
        self._worker_id = uuid.UUID(int=self._random.getrandbits(128))

    def run(self, rounds: int) -> None:
        """Act `rounds` times; refusals are normal, other errors are recorded in the ledger."""
        acts: list[Callable[[], None]] = [
            self._start, self._start_by_one_call, self._claim, self._claim,
            self._complete, self._complete, self._fail, self._beat, self._cancel,
            self._retry, self._rescue, self._release, self._pass_on, self._pass_on,
        ]  # fmt: skip
        for _ in range(rounds):
            act = self._random.choice(acts)
            try:
                act()
            except REFUSALS as refusal:
                self._ledger.counts[type(refusal).__name__] += 1
            except (DBAPIError, psycopg.Error, DatabaseBusy, DatabaseUnavailable) as error:
                if "lock timeout" in str(error):  # the lock's holder was not scheduled
                    self._ledger.counts["gave up waiting for a lock"] += 1
                else:  # a deadlock, most likely
                    self._ledger.errors.append(error)

    def _some(self) -> list[uuid.UUID]:
        """Return a few sessions in random order, none twice, so that batches overlap."""
        count = self._random.randint(1, min(3, len(self._session_ids)))
        return self._random.sample(list(self._session_ids), count)

    def _old_claims(self) -> list[Claim]:
        """Return claims of any age, most of them superseded; no session twice."""
        chosen = self._random.sample(self._claims, min(3, len(self._claims)))
        return list({claim.session_id: claim for claim in chosen}.values())

    def _acknowledge(self, operation: str, session_id: uuid.UUID, task_id: uuid.UUID,
              token: uuid.UUID | None = None) -> None:  # fmt: skip
        self._ledger.acknowledged.append(Acknowledged(operation, session_id, task_id, token))
        self._ledger.counts[operation] += 1

    def _start(self) -> None:
        starts = [(s, self._random.choice(list(TaskType))) for s in self._some()]
        with self._database.transaction() as db:
            outcomes = SessionRepository(db).start_tasks(starts)
        self._acknowledge_starts(outcomes)

    def _start_by_one_call(self) -> None:
        starts = [(s, self._random.choice(list(TaskType))) for s in self._some()]
        self._acknowledge_starts(self._batcher.start_tasks(starts))

    def _acknowledge_starts(self, outcomes: Sequence[Transition | TaskError]) -> None:
        for outcome in outcomes:
            if not isinstance(outcome, Exception):
                self._acknowledge("started", outcome.session_id, outcome.task_id)

    def _claim(self) -> None:
        with self._database.transaction() as db:
            claims = SessionRepository(db).claim_next(
                self._worker_id, limit=2, lease_seconds=SHORT_LEASE_SECONDS
            )
        self._claims += claims
        self._ledger.claims += claims
        self._ledger.counts["claimed"] += len(claims)

    def _complete(self) -> None:
        claims = self._old_claims()
        if not claims:
            return
        with self._database.transaction() as db:
            outcomes = SessionRepository(db).complete_tasks([(claim, None) for claim in claims])
        for claim, outcome in zip(claims, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                self._acknowledge("completed", claim.session_id, claim.task_id, claim.claim_token)

    def _fail(self) -> None:
        claims = self._old_claims()
        if not claims:
            return
        with self._database.transaction() as db:
            outcomes = SessionRepository(db).fail_tasks(
                [(claim, {"error": "Chaos", "message": "on purpose"}) for claim in claims]
            )
        for claim, outcome in zip(claims, outcomes, strict=True):
            if not isinstance(outcome, Exception):
                self._acknowledge("failed", claim.session_id, claim.task_id, claim.claim_token)

    def _beat(self) -> None:
        """Renew the latest claims, of several workers, in one transaction."""
        latest = self._ledger.claims[-2 * len(self._session_ids) :]
        self._random.shuffle(latest)
        claims = list({claim.session_id: claim for claim in latest}.values())
        if claims:
            with self._database.transaction() as db:
                SessionRepository(db).heartbeat(claims, lease_seconds=SHORT_LEASE_SECONDS)
                if self._random.random() < 0.5:  # others meet the lock and the uncommitted rows
                    threading.Event().wait(SHORT_LEASE_SECONDS)

    def _cancel(self) -> None:
        with self._database.transaction() as db:
            moved = SessionRepository(db).cancel_task(self._some()[0])
        self._acknowledge("cancelled", moved.session_id, moved.task_id)

    def _retry(self) -> None:
        session_id = self._some()[0]
        with self._database.transaction() as db:
            moved = SessionRepository(db).retry_task(session_id)
        self._acknowledge("started", moved.session_id, moved.task_id)

    def _rescue(self) -> None:
        with self._database.transaction() as db:
            SessionRepository(db).rescue_expired(limit=3)

    def _release(self) -> None:
        claims = self._old_claims()
        if claims:
            with self._database.transaction() as db:
                SessionRepository(db).release_task(claims[0])

    def _pass_on(self) -> None:
        """Release a claim, have another worker claim the same run, then write with the old one."""
        with self._database.transaction() as db:
            sessions = SessionRepository(db)
            old = next(
                iter(sessions.claim_next(self._worker_id, lease_seconds=SHORT_LEASE_SECONDS)), None
            )
            if old is None:
                return
            sessions.release_task(old)
            new = sessions.claim_task(
                old.session_id, old.task_id, self._worker_id, lease_seconds=1.0
            )
        if new is not None:
            self._claims.append(new)
        ending = self._random.choice(("completed", "failed"))
        with self._database.transaction() as db:
            sessions = SessionRepository(db)
            if ending == "completed":
                moved = sessions.complete_task(old, None)
            else:
                moved = sessions.fail_task(old, {"error": "Chaos", "message": "on purpose"})
        self._acknowledge(ending, moved.session_id, moved.task_id, old.claim_token)


def race_adversaries(
    database: Database,
    session_ids: Sequence[uuid.UUID],
    *,
    seed: int,
    threads: int = 8,
    rounds: int = 100,
) -> Ledger:
    """Run adversaries on these sessions; return the ledger of what was acknowledged to them."""
    ledger = Ledger()
    crowd = [
        threading.Thread(
            target=Adversary(database, session_ids, seed * 1_000 + number, ledger).run,
            args=(rounds,),
        )
        for number in range(threads)
    ]
    for thread in crowd:
        thread.start()
    for thread in crowd:
        thread.join()
    return ledger
