"""Transitions for callers that have no transaction of their own, sent together.

All go through one lane: what arrives while one statement is in flight goes out together as the
next. A caller is answered only after the commit. Where a connection was lost, and
with it the answer to a COMMIT, the same guarded statement is sent again with the same ids: it
moves what is left to be moved, and what it does not move is read back.

What goes out together waits for no lock: whose session another transaction has locked (somebody's
own that is still open, a console that was left) waits for it alone, aside of the lane.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy import select

from app.core.errors import DatabaseBusy, DatabaseUnavailable, StaleClaim
from app.core.failure import sanitize_context
from app.models.session import Session, SessionTask, TaskStatus
from app.repositories import transitions
from app.repositories.async_lane import AsyncLane
from app.repositories.lane import ASIDES_AT_ONCE, Aside, Input, Kind, Lane, Output
from app.repositories.lifecycle_log import log_transitions
from app.repositories.local_workers import local_worker_for
from app.repositories.refusals import locked_by_another, stale_claim
from app.repositories.session_repository import SessionRepository, next_starts, successor_id
from app.repositories.transitions import Beat, Claim, Start, Transition, Wish

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.core.database import Database
    from app.core.notifications import Listener
    from app.models.session import TaskType
    from app.repositories.local_workers import LocalWorker

Answer = TypeVar("Answer")

Failure = tuple[Claim, "Mapping[str, Any]"]

Ending = Transition | StaleClaim | DatabaseBusy
"""What became of a run that was to end: `DatabaseBusy` where another has its session locked."""

logger = logging.getLogger(__name__)

WAITS_AFTER_LOSS = (0.05, 0.5)
"""Seconds before a statement is sent again over a new connection: twice, then it is given up."""


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
        self._kinds = _Transitions(database, waits_for_locks=waits_for_locks)
        self._lane = Lane()

    def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """Start the task under a new task_id.

        Raises:
            SessionNotFound, TaskConflict, TaskValidationError: why it could not be started.

        """
        return _raised(self._lane.send(self._kinds.starts, (session_id, task_type, uuid.uuid4())))

    def claim_task(
        self, session_id: uuid.UUID, task_id: uuid.UUID, worker_id: uuid.UUID
    ) -> Claim | None:
        """The claim of this very task; None if it does not wait (any more)."""
        return self._lane.send(self._kinds.wishes, Wish(session_id, task_id, worker_id))

    def complete_task(self, claim: Claim) -> Transition:
        """Complete a task that has no results to write.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        return _raised(self._lane.send(self._kinds.completions, claim))

    def complete_tasks(
        self, claims: Sequence[Claim], *, but: Listener | None = None
    ) -> list[Ending]:
        """Complete tasks that have no results to write, all by one statement, at once.

        For who gathers them himself; no session twice. Answers what became of each, in order; ask
        again in a moment for those that another has locked. All are told of it `but` that listener,
        who knows.
        """
        return self._kinds.complete(claims, but=but)

    def fail_task(self, claim: Claim, error_context: Mapping[str, Any]) -> Transition:
        """Fail the task, counted.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        return _raised(
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
        if not self._lane.send(self._kinds.beats, Beat(claim, current, total, message)):
            raise stale_claim(claim)


class AsyncTransitionCombiner:
    """The same for callers in one event loop, each a coroutine; see `TransitionCombiner`.

    From many callers it takes half the CPU, as no thread has to be put to sleep and woken for each
    of them. A caller that is cancelled may have moved its task all the same.
    """

    def __init__(self, database: Database) -> None:
        self._kinds = _Transitions(database)
        self._lane = AsyncLane()

    async def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """See `TransitionCombiner.start_task`."""
        start = (session_id, task_type, uuid.uuid4())
        outcome = await self._lane.send(self._kinds.starts, start)
        return _raised(outcome)

    async def claim_task(
        self, session_id: uuid.UUID, task_id: uuid.UUID, worker_id: uuid.UUID
    ) -> Claim | None:
        """See `TransitionCombiner.claim_task`."""
        return await self._lane.send(self._kinds.wishes, Wish(session_id, task_id, worker_id))

    async def complete_task(self, claim: Claim) -> Transition:
        """See `TransitionCombiner.complete_task`."""
        outcome = await self._lane.send(self._kinds.completions, claim)
        return _raised(outcome)

    async def fail_task(self, claim: Claim, error_context: Mapping[str, Any]) -> Transition:
        """See `TransitionCombiner.fail_task`."""
        failure = (claim, sanitize_context(error_context))
        outcome = await self._lane.send(self._kinds.failures, failure)
        return _raised(outcome)

    async def report_progress(
        self,
        claim: Claim,
        current: int | None = None,
        total: int | None = None,
        message: str | None = None,
    ) -> None:
        """See `TransitionCombiner.report_progress`."""
        beat = Beat(claim, current, total, message)
        if not await self._lane.send(self._kinds.beats, beat):
            raise stale_claim(claim)

    def close(self) -> None:
        """End the threads that send, once what is out has been answered."""
        self._lane.close()


class _Transitions:
    """The kinds of transitions that go out together, and what sends a batch of each."""

    def __init__(self, database: Database, *, waits_for_locks: bool = True) -> None:
        self._database = database
        self._waits_for_locks = waits_for_locks
        at_once = max(1, min(ASIDES_AT_ONCE, database.settings.pool_size - 1))
        self._asides = threading.BoundedSemaphore(at_once)
        self.starts: Kind[Start, Transition] = Kind(self._send_starts, lambda start: start[0])
        self.wishes = Kind(self._send_wishes, lambda wish: wish.session_id)
        self.completions: Kind[Claim, Ending] = Kind(
            self._send_completions, lambda claim: claim.session_id
        )
        self.failures: Kind[Failure, Ending] = Kind(
            self._send_failures, lambda failure: failure[0].session_id
        )
        self.beats: Kind[Beat, bool] = Kind(self._send_beats, lambda beat: beat.claim.session_id)

    def _send_starts(self, starts: Sequence[Start]) -> list[Transition | Aside[Transition]]:
        worker = local_worker_for(self._database, starts)
        if worker is None:
            moved, _ = self._moved(
                lambda connection: transitions.start(connection, starts, skips_locked=True)
            )
        else:
            moved = self._started_for(worker, starts)
        return [moved.get(start[2]) or self._aside(self._start_alone, start) for start in starts]

    def _started_for(
        self, worker: LocalWorker, starts: Sequence[Start]
    ) -> dict[uuid.UUID, Transition]:
        """Start them as this worker's, and hand them over before anybody else is told."""

        def start_and_hand_over(connection: psycopg.Connection[Any]) -> list[Transition]:
            asked_at = time.monotonic()
            lease_seconds = self._database.settings.lease_seconds
            moved = transitions.start(
                connection,
                starts,
                claimed_by=worker.id,
                lease_seconds=lease_seconds,
                skips_locked=True,
            )
            claims = [transitions.claim_with_its_start(each, worker.id) for each in moved]
            worker.hand_over(claims, claimed_at=asked_at)
            return moved

        moved: dict[uuid.UUID, Transition] = {}
        is_unsure = True
        try:
            moved, is_unsure = self._moved(start_and_hand_over, but=worker.on_sessions_changed)
        finally:
            if is_unsure:
                worker.look_for(
                    [
                        Wish(session_id, task_id, worker.id, claim_token=task_id)
                        for session_id, _, task_id in starts
                        if task_id not in moved
                    ]
                )
        return moved

    def _start_alone(self, start: Start) -> Transition:
        """What became of a start that moved nothing, or moves now that its session is unlocked."""
        with self._database.transaction() as db:
            outcome = SessionRepository(db).start_as([start])[0]
        return _raised(outcome)

    def _send_wishes(self, wishes: Sequence[Wish]) -> list[Claim | None]:
        claims, _ = self._answered(
            lambda connection: transitions.claim_these(
                connection, wishes, lease_seconds=self._database.settings.lease_seconds
            ),
            lambda claims: [claim.session_id for claim in claims],
        )
        by_token = {claim.claim_token: claim for claim in claims}
        return [by_token.get(wish.claim_token) for wish in wishes]

    def _send_completions(self, claims: Sequence[Claim]) -> list[Ending | Aside[Ending]]:
        return self._or_aside(claims, self.complete(claims), self._complete_alone)

    def _complete_alone(self, claim: Claim) -> Ending:
        return self.complete([claim], skips_locked=False)[0]

    def complete(
        self, claims: Sequence[Claim], *, skips_locked: bool = True, but: Listener | None = None
    ) -> list[Ending]:
        """Complete them; answers what became of each, in order."""

        def complete_and_advance(connection: psycopg.Connection[Any]) -> list[Transition]:
            with connection.transaction():
                completed = transitions.complete(connection, claims, skips_locked=skips_locked)
                starts = next_starts(completed)
                return [*completed, *(transitions.start(connection, starts) if starts else ())]

        moved, is_unsure = self._moved(complete_and_advance, but=but)
        if is_unsure:
            moved |= self._read_back(claims, moved, _as_completed)
        return self._answers(claims, moved, skips_locked=skips_locked)

    def _send_failures(self, failures: Sequence[Failure]) -> list[Ending | Aside[Ending]]:
        return self._or_aside(failures, self._fail(failures, skips_locked=True), self._fail_alone)

    def _fail_alone(self, failure: Failure) -> Ending:
        return self._fail([failure], skips_locked=False)[0]

    def _fail(self, failures: Sequence[Failure], *, skips_locked: bool) -> list[Ending]:
        backoff_seconds = self._database.settings.retry_backoff_seconds
        contexts = {claim.task_id: context for claim, context in failures}
        claims = [claim for claim, _ in failures]

        def fail(connection: psycopg.Connection[Any]) -> list[Transition]:
            with connection.transaction():
                return transitions.fail(
                    connection, failures, backoff_seconds=backoff_seconds, skips_locked=skips_locked
                )

        moved, is_unsure = self._moved(fail)
        if is_unsure:
            moved |= self._read_back(
                claims,
                moved,
                lambda claim, task, advances: _as_failed(
                    claim, task, advances, contexts[claim.task_id]
                ),
            )
        return self._answers(claims, moved, skips_locked=skips_locked)

    def _send_beats(self, beats: Sequence[Beat]) -> list[bool | Aside[bool]]:
        held = self._beat(beats, skips_locked=True)
        left = [beat.claim for beat in beats if beat.claim.session_id not in held]
        locked = self._holding(left)
        return [
            self._aside(self._beat_alone, beat)
            if beat.claim.session_id in locked
            else beat.claim.session_id in held
            for beat in beats
        ]

    def _beat_alone(self, beat: Beat) -> bool:
        return bool(self._beat([beat], skips_locked=False))

    def _beat(self, beats: Sequence[Beat], *, skips_locked: bool) -> set[uuid.UUID]:
        held, _ = self._answered(
            lambda connection: transitions.beat(
                connection,
                beats,
                lease_seconds=self._database.settings.lease_seconds,
                skips_locked=skips_locked,
            ),
            lambda held: held,
        )
        return held

    # -- who is locked by another transaction -----------------------------------------------------

    def _holding(self, claims: Sequence[Claim]) -> set[uuid.UUID]:
        """Those of the sessions whose claim could write, but for a lock."""
        if not claims:
            return set()
        held, _ = self._answered(
            lambda connection: transitions.holding(connection, claims), lambda _held: ()
        )
        return held

    def _answers(
        self, claims: Sequence[Claim], moved: Mapping[uuid.UUID, Transition], *, skips_locked: bool
    ) -> list[Ending]:
        """What became of each, in order; who moved nothing, and was not skipped, is stale."""
        left = [claim for claim in claims if claim.task_id not in moved]
        locked = self._holding(left) if skips_locked else set()
        return [
            moved.get(claim.task_id)
            or (locked_by_another if claim.session_id in locked else stale_claim)(claim)
            for claim in claims
        ]

    def _or_aside(
        self,
        inputs: Sequence[Input],
        answers: Sequence[Ending],
        find_out: Callable[[Input], Ending],
    ) -> list[Ending | Aside[Ending]]:
        if not self._waits_for_locks:
            return list(answers)
        return [
            self._aside(find_out, given) if isinstance(answer, DatabaseBusy) else answer
            for given, answer in zip(inputs, answers, strict=True)
        ]

    def _aside(self, find_out: Callable[[Input], Output], given: Input) -> Aside[Output]:
        """Have the caller find out by himself, when it is his turn: few at once wait for locks."""
        latest = time.monotonic() + self._database.settings.lock_timeout_seconds

        def find_out_in_turn() -> Output:
            if not self._asides.acquire(timeout=max(0.0, latest - time.monotonic())):
                raise DatabaseBusy("Too many transitions wait for sessions that others have locked")
            try:
                return find_out(given)
            finally:
                self._asides.release()

        return Aside(find_out_in_turn)

    # -- sending, and what a lost answer means ----------------------------------------------------

    def _moved(
        self,
        act: Callable[[psycopg.Connection[Any]], list[Transition]],
        *,
        but: Listener | None = None,
    ) -> tuple[dict[uuid.UUID, Transition], bool]:
        moved, is_unsure = self._answered(
            act, lambda moved: [each.session_id for each in moved], but=but
        )
        log_transitions(moved)
        return {transition.task_id: transition for transition in moved}, is_unsure

    def _answered(
        self,
        act: Callable[[psycopg.Connection[Any]], Answer],
        changed: Callable[[Answer], Iterable[uuid.UUID]],
        *,
        but: Listener | None = None,
    ) -> tuple[Answer, bool]:
        """What `act` answers, and whether an earlier try may have taken effect unseen.

        The sessions that its answer says have `changed` are announced to all `but` who knows.
        """
        is_unsure = False
        for wait in (*WAITS_AFTER_LOSS, None):
            try:
                with self._database.driver_connection() as connection:
                    answer = act(connection)
                    self._database.announce(changed(answer), but=but, connection=connection)
                    return answer, is_unsure
            except DatabaseUnavailable as error:
                if wait is None:
                    raise
                logger.warning("%s; trying again in %s s", error, wait)
                is_unsure = True
                time.sleep(wait)
                self._database.revive()
        raise AssertionError  # the last try returns or raises

    def _read_back(
        self,
        claims: Sequence[Claim],
        moved: Mapping[uuid.UUID, Transition],
        meaning: Callable[[Claim, SessionTask, bool], Transition | None],
    ) -> dict[uuid.UUID, Transition]:
        """Those of the claims whose rows show that an unseen commit did what was asked."""
        missing = {claim.session_id: claim for claim in claims if claim.task_id not in moved}
        if not missing:
            return {}
        with self._database.transaction() as db:
            rows = db.execute(
                select(SessionTask, Session.auto_advance)
                .join(Session, Session.id == SessionTask.session_id)
                .where(SessionTask.session_id.in_(missing))
            ).all()
        found = [meaning(missing[task.session_id], task, advances) for task, advances in rows]
        done = [transition for transition in found if transition is not None]
        log_transitions(done)
        self._database.announce(transition.session_id for transition in done)
        return {transition.task_id: transition for transition in done}


def _as_completed(claim: Claim, task: SessionTask, advances: bool) -> Transition | None:
    """The completion that the row shows: under its own task_id, or by the run that followed it."""
    if task.task_id == successor_id(claim.task_id):
        ended_at, seconds = task.started_at, 0.0
    elif task.task_id == claim.task_id and task.completed_at is not None:
        ended_at = task.completed_at
        seconds = (ended_at - task.started_at).total_seconds()
    else:
        return None
    return Transition(
        claim.session_id, claim.task_type, claim.task_id, TaskStatus.COMPLETED,
        task.retry_count, ended_at, seconds, advances, None,
    )  # fmt: skip


def _as_failed(
    claim: Claim, task: SessionTask, advances: bool, context: Mapping[str, Any]
) -> Transition | None:
    """The failure that the row shows, if it is this one: a sweeper may have been quicker."""
    stored = task.failure_context or {}
    is_ours = all(stored.get(key) == context.get(key) for key in ("error", "message", "worker"))
    if task.task_id != claim.task_id or task.failed_at is None or not is_ours:
        return None
    return Transition(
        claim.session_id, claim.task_type, claim.task_id, TaskStatus.FAILED, task.retry_count,
        task.failed_at, (task.failed_at - task.started_at).total_seconds(), advances, stored,
    )  # fmt: skip


def _raised(outcome: Transition | Exception) -> Transition:
    if isinstance(outcome, Exception):
        raise outcome
    return outcome
