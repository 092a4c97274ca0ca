"""Dispatch tasks to workers of the process that starts them, at their commit.

The statement that starts a task also claims it: no other statement has to find and claim it.
"""

from __future__ import annotations

import contextlib
import time
import weakref
from typing import TYPE_CHECKING, Any, Protocol

from app.repositories import transitions
from app.repositories.transitions import ClaimRequest, Start, Transition
from app.values.claims import Claim

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Sequence

    import psycopg

    from app.core.database import Database
    from app.values.states import TaskType


class LocalWorker(Protocol):
    """A worker of this process.

    Attributes:
        id: the `worker_id` of its claims.

    """

    id: uuid.UUID

    def takes(self, session_id: uuid.UUID, task_type: TaskType) -> bool:
        """Return whether it runs tasks of this type, of this session."""

    def has_slots_for(self, starts: Sequence[Start]) -> bool:
        """Return whether it would begin all of these at once."""

    def dispatch_local(self, claims: Sequence[Claim], *, claimed_at: float) -> None:
        """Run these claims, made for it; `claimed_at` as for `RunRegistry.add`."""

    def on_sessions_changed(self, session_ids: frozenset[uuid.UUID]) -> None:
        """Receive the ids of changed sessions, except for tasks dispatched to it."""

    def look_for(self, wishes: Sequence[ClaimRequest]) -> None:
        """Run those that were claimed for it or wait; the responses to their starts were lost."""


_workers: weakref.WeakKeyDictionary[Database, list[LocalWorker]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def offering(database: Database, worker: LocalWorker) -> Iterator[None]:
    """Dispatch tasks started through this `database` to the worker while the context lasts."""
    workers = _workers.setdefault(database, [])
    workers.append(worker)
    try:
        yield
    finally:
        workers.remove(worker)


def local_worker_for(database: Database, starts: Sequence[Start]) -> LocalWorker | None:
    """Return a worker that would begin all of these at once, if there is one."""
    workers = _workers.get(database, ())
    return next((worker for worker in tuple(workers) if worker.has_slots_for(starts)), None)


class LocalStarts:
    """Starts that are claimed for the local worker, if it accepts them, and dispatched to it."""

    def __init__(self, worker: LocalWorker | None, lease_seconds: float) -> None:
        self._worker = worker
        self._lease_seconds = lease_seconds
        self._asked_at = 0.0
        self._started: list[Transition] = []
        self._claims: list[Claim] = []
        self._wanted: dict[uuid.UUID, uuid.UUID] = {}
        """The session of each task that any attempt tried to claim."""

    def start(
        self,
        connection: psycopg.Connection[Any],
        starts: Sequence[Start],
        *,
        skips_locked: bool = False,
    ) -> None:
        """Start them, in the caller's transaction or in autocommit."""
        worker = self._worker
        own = [each for each in starts if worker is not None and worker.takes(each[0], each[1])]
        others = [each for each in starts if each not in own] if len(own) < len(starts) else []
        self._wanted |= {task_id: session_id for session_id, _, task_id in own}
        self._asked_at = time.monotonic()
        self._started = (
            transitions.start(connection, others, skips_locked=skips_locked) if others else []
        )
        self._claims = []
        if worker is not None and own:
            moved, self._claims = transitions.start_claimed(
                connection,
                own,
                worker_id=worker.id,
                lease_seconds=self._lease_seconds,
                skips_locked=skips_locked,
            )
            self._started = [*self._started, *moved]

    def dispatch(self) -> list[Transition]:
        """Dispatch the claims to the worker, after their commit; return all starts."""
        if self._worker is not None and self._claims:
            self._worker.dispatch_local(self._claims, claimed_at=self._asked_at)
        return self._started

    def look_for(self) -> None:
        """Let the worker find the tasks that a commit with a lost response started for it."""
        if self._worker is None:
            return
        seen = {each.task_id for each in self._claims}
        wishes = [
            ClaimRequest(session_id, task_id, self._worker.id, claim_token=task_id)
            for task_id, session_id in self._wanted.items()
            if task_id not in seen
        ]
        if wishes:
            self._worker.look_for(wishes)
