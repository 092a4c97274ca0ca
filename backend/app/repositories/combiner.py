"""Transitions for callers that have no transaction of their own, sent together.

All go through one lane: what arrives while one statement is in flight goes out together as the
next. A caller is answered only after the commit. What is sent, and what a lost answer means, is in
`app.repositories.transition_kinds`.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from app.core.failure import sanitize_context
from app.repositories.async_lane import AsyncLane
from app.repositories.lane import Lane
from app.repositories.transition_errors import stale_claim, unwrap
from app.repositories.transition_kinds import Ending, StartRequest, TransitionKinds
from app.repositories.transitions import Claim, ClaimRequest, Heartbeat, Transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.core.database import Database
    from app.core.errors import TaskError
    from app.models.results import TaskResults
    from app.models.session import TaskType
    from app.repositories.local_dispatch import LocalWorker


class TransitionCombiner:
    """The named transitions, each answered after its commit; safe to call from many threads.

    Raises, each of its methods: `DatabaseUnavailable` where the database stays away; whether the
    transition took effect is then unknown, and repeating it does no harm. `DatabaseBusy` where
    somebody else keeps the session locked for longer than `lock_timeout_seconds`.

    Args:
        waits_for_locks: without it, a run that is to end and whose session somebody else has locked
            raises `DatabaseBusy` at once.

    """

    def __init__(self, database: Database, *, waits_for_locks: bool = True) -> None:
        self._kinds = TransitionKinds(database, waits_for_locks=waits_for_locks)
        self._lane = Lane()

    def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """Start the task under a new task_id.

        Raises:
            SessionNotFound, TaskConflict, TaskValidationError: why it could not be started.

        """
        start = StartRequest((session_id, task_type, uuid.uuid4()))
        return unwrap(self._lane.send(self._kinds.starts, start))

    def start_tasks(
        self, starts: Iterable[tuple[uuid.UUID, TaskType]]
    ) -> list[Transition | TaskError]:
        """Start many tasks, each under a new task_id; answers what became of each, in order.

        They are committed in parts, two at a time: workers begin with the first while the last are
        still being started, and no session stays locked for long. (To start all of them or none,
        and with rows of one's own: `SessionRepository.start_tasks`.) A session named twice gets one
        start and one conflict; ask again in a moment for those that are answered `DatabaseBusy`:
        another has them locked, or PostgreSQL gave up on their part.

        Raises:
            DatabaseUnavailable: it stays away. Parts may have been started all the same; named
                again, their tasks are answered with a `TaskConflict`.

        """
        return self._kinds.start_many([(*start, uuid.uuid4()) for start in starts])

    def claim_task(
        self, session_id: uuid.UUID, task_id: uuid.UUID, worker_id: uuid.UUID
    ) -> Claim | None:
        """The claim of this very task; None if it does not wait (any more)."""
        return self._lane.send(self._kinds.wishes, ClaimRequest(session_id, task_id, worker_id))

    def complete_task(self, claim: Claim) -> Transition:
        """Complete a task that has no results to write.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        return unwrap(self._lane.send(self._kinds.completions, claim))

    def complete_tasks(
        self,
        completions: Sequence[tuple[Claim, TaskResults]],
        *,
        local_worker: LocalWorker | None = None,
    ) -> list[Ending]:
        """Complete a batch that the caller collected, with its results, in one transaction.

        Returns the result of each, in order; complete those again in a moment that another
        transaction has locked. No session twice. What is started next is claimed for
        `local_worker` and handed to it; it is not notified.
        """
        return self._kinds.complete(completions, local_worker=local_worker)

    def fail_task(self, claim: Claim, error_context: Mapping[str, Any]) -> Transition:
        """Fail the task, counted.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        return unwrap(
            self._lane.send(self._kinds.failures, (claim, sanitize_context(error_context)))
        )

    def report_progress(
        self,
        claim: Claim,
        current: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        """Renew the lease and note how far the task is.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        if not self._lane.send(self._kinds.beats, Heartbeat(claim, current, total, message)):
            raise stale_claim(claim)


class AsyncTransitionCombiner:
    """The same for callers in one event loop, each a coroutine; see `TransitionCombiner`.

    From many callers it takes half the CPU, as no thread has to be put to sleep and woken for each
    of them. A caller that is cancelled may have moved its task all the same.

    Args:
        waits_briefly: a start whose session another transaction has locked waits no longer than
            `Database.transaction(waits_briefly=True)` does.

    """

    def __init__(self, database: Database, *, waits_briefly: bool = False) -> None:
        self._kinds = TransitionKinds(database, waits_briefly=waits_briefly)
        self._lane = AsyncLane()

    async def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """See `TransitionCombiner.start_task`."""
        start = StartRequest((session_id, task_type, uuid.uuid4()))
        outcome = await self._lane.send(self._kinds.starts, start)
        return unwrap(outcome)

    async def claim_task(
        self, session_id: uuid.UUID, task_id: uuid.UUID, worker_id: uuid.UUID
    ) -> Claim | None:
        """See `TransitionCombiner.claim_task`."""
        return await self._lane.send(
            self._kinds.wishes, ClaimRequest(session_id, task_id, worker_id)
        )

    async def complete_task(self, claim: Claim) -> Transition:
        """See `TransitionCombiner.complete_task`."""
        outcome = await self._lane.send(self._kinds.completions, claim)
        return unwrap(outcome)

    async def fail_task(self, claim: Claim, error_context: Mapping[str, Any]) -> Transition:
        """See `TransitionCombiner.fail_task`."""
        failure = (claim, sanitize_context(error_context))
        outcome = await self._lane.send(self._kinds.failures, failure)
        return unwrap(outcome)

    async def report_progress(
        self,
        claim: Claim,
        current: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        """See `TransitionCombiner.report_progress`."""
        beat = Heartbeat(claim, current, total, message)
        if not await self._lane.send(self._kinds.beats, beat):
            raise stale_claim(claim)

    def close(self) -> None:
        """End the threads that send, once what is out has been answered; what waits is refused."""
        self._lane.close()
