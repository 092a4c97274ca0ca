"""Transitions for callers without a transaction of their own, sent in batches.

Calls that arrive while one statement is being executed share the next one. Each returns after its
commit. `app.repositories.operations` has the statements, and what a lost response means.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from app.core.failure import sanitize_context
from app.repositories.async_batching import AsyncBatcher
from app.repositories.batching import Batcher
from app.repositories.operations import Ending, Operations, StartRequest
from app.repositories.transition_errors import stale_claim, unwrap
from app.repositories.transitions import ClaimRequest, Heartbeat, Transition
from app.values.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.core.database import Database
    from app.core.errors import TaskError
    from app.repositories.creation import SessionDraft
    from app.repositories.local_dispatch import LocalWorker
    from app.values.results import TaskResults
    from app.values.states import TaskType


class TransitionBatcher:
    """The named transitions, each returning after its commit; safe to call from many threads.

    Every method raises `DatabaseUnavailable` if the database stays unavailable; whether the
    transition took effect is then unknown, and repeating it does no harm. It raises `DatabaseBusy`
    if another transaction keeps the session locked for longer than `lock_timeout_seconds`.

    Args:
        waits_for_locks: False makes a completion or failure whose session another transaction has
            locked raise `DatabaseBusy` at once.

    """

    def __init__(self, database: Database, *, waits_for_locks: bool = True) -> None:
        self._operations = Operations(database, waits_for_locks=waits_for_locks)
        self._batcher = Batcher()

    def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """Start the task under a new task_id.

        Raises:
            SessionNotFound, TaskConflict, TaskValidationError: the task cannot be started.

        """
        start = StartRequest((session_id, task_type, uuid.uuid4()))
        return unwrap(self._batcher.send(self._operations.starts, start))

    def start_tasks(
        self, starts: Iterable[tuple[uuid.UUID, TaskType]]
    ) -> list[Transition | TaskError]:
        """Start many tasks, each under a new task_id; returns one result per start, in order.

        They are committed in parts, two at a time: workers begin with the first while the last are
        still being started, and no session stays locked for long. (To start all of them or none,
        in a transaction with other rows, use `SessionRepository.start_tasks`.) A session named
        twice gets one start and one conflict. Repeat those whose result is `DatabaseBusy`: another
        transaction has their session locked, or PostgreSQL cancelled their part.

        Raises:
            DatabaseUnavailable: some parts may have been started all the same; starting their
                tasks again results in a `TaskConflict`.

        """
        return self._operations.start_many([(*start, uuid.uuid4()) for start in starts])

    def claim_task(
        self, session_id: uuid.UUID, task_id: uuid.UUID, worker_id: uuid.UUID
    ) -> Claim | None:
        """Claim this task; None if it is not waiting, or no longer."""
        return self._batcher.send(
            self._operations.claims, ClaimRequest(session_id, task_id, worker_id)
        )

    def complete_task(self, claim: Claim) -> Transition:
        """Complete a task without results.

        Raises:
            StaleClaim: the claim no longer holds.

        """
        return unwrap(self._batcher.send(self._operations.completions, claim))

    def complete_tasks(
        self,
        completions: Sequence[tuple[Claim, TaskResults]],
        *,
        local_worker: LocalWorker | None = None,
    ) -> list[Ending]:
        """Complete a batch the caller collected, with its results, in one transaction.

        Returns one result per completion, in order; repeat those that are `DatabaseBusy`. No
        session twice. The tasks that are started next are claimed for `local_worker` and
        dispatched to it; it is not notified.
        """
        return self._operations.complete(completions, local_worker=local_worker)

    def fail_task(self, claim: Claim, error_context: Mapping[str, Any]) -> Transition:
        """Fail the task, and count the attempt.

        Raises:
            StaleClaim: the claim no longer holds.

        """
        return unwrap(
            self._batcher.send(self._operations.failures, (claim, sanitize_context(error_context)))
        )

    def report_progress(
        self,
        claim: Claim,
        current: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        """Renew the lease and record the progress.

        Raises:
            StaleClaim: the claim no longer holds.

        """
        if not self._batcher.send(
            self._operations.beats, Heartbeat(claim, current, total, message)
        ):
            raise stale_claim(claim)


class AsyncTransitionBatcher:
    """The same for the coroutines of one event loop; see `TransitionBatcher`.

    With many callers it takes half the CPU, as no thread is put to sleep and woken for each of
    them. The transition of a cancelled call may take effect all the same.

    Args:
        waits_briefly: a start whose session another transaction has locked waits no longer than
            `Database.transaction(waits_briefly=True)` does.

    """

    def __init__(self, database: Database, *, waits_briefly: bool = False) -> None:
        self._operations = Operations(database, waits_briefly=waits_briefly)
        self._batcher = AsyncBatcher()

    async def create_session(self, draft: SessionDraft) -> None:
        """Create the session with its documents, and start its processing if it is to start.

        Several share a transaction, so keep this for documents of a few KiB.
        """
        await self._batcher.send(self._operations.creations, draft)

    async def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """See `TransitionBatcher.start_task`."""
        start = StartRequest((session_id, task_type, uuid.uuid4()))
        outcome = await self._batcher.send(self._operations.starts, start)
        return unwrap(outcome)

    async def claim_task(
        self, session_id: uuid.UUID, task_id: uuid.UUID, worker_id: uuid.UUID
    ) -> Claim | None:
        """See `TransitionBatcher.claim_task`."""
        return await self._batcher.send(
            self._operations.claims, ClaimRequest(session_id, task_id, worker_id)
        )

    async def complete_task(self, claim: Claim) -> Transition:
        """See `TransitionBatcher.complete_task`."""
        outcome = await self._batcher.send(self._operations.completions, claim)
        return unwrap(outcome)

    async def fail_task(self, claim: Claim, error_context: Mapping[str, Any]) -> Transition:
        """See `TransitionBatcher.fail_task`."""
        failure = (claim, sanitize_context(error_context))
        outcome = await self._batcher.send(self._operations.failures, failure)
        return unwrap(outcome)

    async def report_progress(
        self,
        claim: Claim,
        current: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        """See `TransitionBatcher.report_progress`."""
        beat = Heartbeat(claim, current, total, message)
        if not await self._batcher.send(self._operations.beats, beat):
            raise stale_claim(claim)

    def close(self) -> None:
        """End the threads once the batch being sent has returned; waiting calls are refused."""
        self._batcher.close()
