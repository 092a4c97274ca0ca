"""Workers of this very process, who are handed what is started here with its commit.

Claimed by the statement that starts it, a task need not be found and claimed by another one.
"""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterator, Sequence

    from app.core.database import Database
    from app.models.session import TaskType
    from app.repositories.transitions import Claim, ClaimRequest, Start


class LocalWorker(Protocol):
    """Who runs tasks in this process.

    Attributes:
        id: what claims for it are made under.

    """

    id: uuid.UUID

    def takes(self, session_id: uuid.UUID, task_type: TaskType) -> bool:
        """Whether it runs tasks of this type, of this session."""

    def has_slots_for(self, starts: Sequence[Start]) -> bool:
        """Whether it would begin all of these at once."""

    def dispatch_local(self, claims: Sequence[Claim], *, claimed_at: float) -> None:
        """Run these, which were claimed for it; `claimed_at` as for `RunRegistry.add`."""

    def on_sessions_changed(self, session_ids: frozenset[uuid.UUID]) -> None:
        """Hear that these changed, but for what is handed over."""

    def look_for(self, wishes: Sequence[ClaimRequest]) -> None:
        """Run those of these that were claimed for it, or wait: their starts were not answered."""


_workers: weakref.WeakKeyDictionary[Database, list[LocalWorker]] = weakref.WeakKeyDictionary()


@contextlib.contextmanager
def offering(database: Database, worker: LocalWorker) -> Iterator[None]:
    """While inside, the worker is handed what is started through this `database`."""
    workers = _workers.setdefault(database, [])
    workers.append(worker)
    try:
        yield
    finally:
        workers.remove(worker)


def local_worker_for(database: Database, starts: Sequence[Start]) -> LocalWorker | None:
    """A worker that would begin all of these at once, if there is one."""
    workers = _workers.get(database, ())
    return next((worker for worker in tuple(workers) if worker.has_slots_for(starts)), None)
