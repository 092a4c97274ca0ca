"""The transitions that are sent in batches: one function each, from inputs to results.

If a connection is lost, and with it the response to a COMMIT, the same guarded statement is sent
again with the same ids: it moves the rows that are left, and the others are read back.

A batch waits for no lock. An input whose session another transaction has locked (an open
transaction of the application's, a forgotten console) waits alone, as a `DeferredResult`.

One file of more than 450 lines: all operations share the handling of lost responses and locks.
"""

from __future__ import annotations

import contextvars
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy import select

from app.core.errors import DatabaseBusy, DatabaseUnavailable, StaleClaim, TaskError
from app.models.session import Session, SessionTask
from app.repositories import transitions
from app.repositories.batching import DEFERRED_AT_ONCE, DeferredResult, Input, Operation, Output
from app.repositories.creation import SessionDraft, create_sessions
from app.repositories.lifecycle_log import log_transitions
from app.repositories.local_dispatch import LocalStarts, local_worker_for
from app.repositories.results_writer import Produced, write_results
from app.repositories.session_repository import SessionRepository, next_starts, successor_id
from app.repositories.transition_errors import locked_by_another, stale_claim, unwrap
from app.repositories.transitions import ClaimRequest, Heartbeat, Start, Transition
from app.values.claims import Claim
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from app.core.database import Database
    from app.core.notifications import Listener
    from app.repositories.local_dispatch import LocalWorker
    from app.values.results import TaskResults

Answer = TypeVar("Answer")

Failure = tuple[Claim, Mapping[str, Any]]

Contexts = Mapping[uuid.UUID, contextvars.Context]
"""The callers' contexts, by task_id."""

Ending = Transition | StaleClaim | DatabaseBusy
"""The result of ending a run: `DatabaseBusy` where another transaction has its session locked."""

logger = logging.getLogger(__name__)

PARTS_AT_ONCE = 2
"""How many parts of a bulk start run at once: the server executes one while the other is read."""

WAITS_AFTER_LOSS = (0.05, 0.5)
"""Seconds before a statement is sent again over a new connection: twice, then it fails."""


@dataclass(frozen=True, slots=True)
class StartRequest:
    """A start, and the context of its caller, which its log line and span belong to."""

    start: Start
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


class Operations:
    """The operations of a batcher over one database."""

    def __init__(
        self, database: Database, *, waits_for_locks: bool = True, waits_briefly: bool = False
    ) -> None:
        self._database = database
        self._waits_for_locks = waits_for_locks
        self._waits_briefly = waits_briefly
        at_once = max(1, min(DEFERRED_AT_ONCE, database.settings.pool_size - 1))
        self._deferred_slots = threading.BoundedSemaphore(at_once)
        self.creations: Operation[SessionDraft, None] = Operation(
            self._send_creations, lambda draft: draft.session_id
        )
        self.starts: Operation[StartRequest, Transition] = Operation(
            self._send_starts, lambda request: request.start[0]
        )
        self.claims = Operation(self._send_claims, lambda wish: wish.session_id)
        self.completions: Operation[Claim, Ending] = Operation(
            self._send_completions, lambda claim: claim.session_id
        )
        self.failures: Operation[Failure, Ending] = Operation(
            self._send_failures, lambda failure: failure[0].session_id
        )
        self.beats: Operation[Heartbeat, bool] = Operation(
            self._send_beats, lambda beat: beat.claim.session_id
        )

    def _send_creations(self, drafts: Sequence[SessionDraft]) -> list[None]:
        starts = [draft.start for draft in drafts if draft.starts]
        worker = local_worker_for(self._database, starts) if starts else None
        own = LocalStarts(worker, self._database.settings.lease_seconds)

        def create_and_start(connection: psycopg.Connection[Any]) -> list[Transition]:
            with connection.transaction():
                create_sessions(connection, drafts)
                if starts:
                    own.start(connection, starts)
            return own.dispatch()

        is_unsure = True
        try:
            moved, is_unsure = self._answered(
                create_and_start,
                lambda _moved: [draft.session_id for draft in drafts],
                exclude=None if worker is None else worker.on_sessions_changed,
            )
        finally:
            if is_unsure:
                own.look_for()
        _log(moved, {draft.task_id: draft.context for draft in drafts})
        return [None] * len(drafts)

    def _send_starts(
        self, requests: Sequence[StartRequest]
    ) -> list[Transition | DeferredResult[Transition]]:
        contexts = {each.start[2]: each.context for each in requests}
        moved = self._started([each.start for each in requests], contexts)
        return [
            moved.get(each.start[2]) or self._deferred(self._start_alone, each) for each in requests
        ]

    def start_many(self, starts: Sequence[Start]) -> list[Transition | TaskError]:
        """Start them in parts, each in its own transaction; one result per start, in order."""
        first_of = {start[0]: start for start in reversed(starts)}
        in_order = sorted(first_of.values(), key=lambda start: start[0].bytes)
        size = transitions.STARTS_PER_STATEMENT
        parts = [in_order[first : first + size] for first in range(0, len(in_order), size)]
        with ThreadPoolExecutor(PARTS_AT_ONCE, thread_name_prefix="starts") as threads:
            answers: dict[uuid.UUID, Transition | TaskError] = {
                task_id: outcome
                for outcomes in threads.map(self._started_or_busy, parts)
                for task_id, outcome in outcomes.items()
            }
        if left := [each for each in starts if not isinstance(answers.get(each[2]), Transition)]:
            with self._database.transaction() as db:
                answers |= SessionRepository(db).starts_read_back(left)
        return [answers.get(start[2]) or locked_by_another(start[0]) for start in starts]

    def _started_or_busy(
        self, starts: Sequence[Start]
    ) -> Mapping[uuid.UUID, Transition | DatabaseBusy]:
        try:
            return self._started(starts)
        except DatabaseBusy as error:  # the part was rolled back; the others go on
            return dict.fromkeys((task_id for _, _, task_id in starts), error)

    def _started(
        self, starts: Sequence[Start], contexts: Contexts | None = None
    ) -> dict[uuid.UUID, Transition]:
        worker = local_worker_for(self._database, starts)
        if worker is not None:
            return self._started_for(worker, starts, contexts)
        moved, _ = self._moved(
            lambda connection: transitions.start(connection, starts, skips_locked=True),
            contexts=contexts,
        )
        return moved

    def _started_for(
        self, worker: LocalWorker, starts: Sequence[Start], contexts: Contexts | None
    ) -> dict[uuid.UUID, Transition]:
        """Start them claimed for this worker, and dispatch them before others are notified."""
        own = LocalStarts(worker, self._database.settings.lease_seconds)

        def start_and_dispatch(connection: psycopg.Connection[Any]) -> list[Transition]:
            own.start(connection, starts, skips_locked=True)
            return own.dispatch()

        is_unsure = True
        try:
            moved, is_unsure = self._moved(
                start_and_dispatch, exclude=worker.on_sessions_changed, contexts=contexts
            )
        finally:
            if is_unsure:
                own.look_for()
        return moved

    def _start_alone(self, request: StartRequest) -> Transition:
        """Start a task that its batch did not move, waiting for the lock of its session."""
        return request.context.run(self._start_in_transaction, request.start)

    def _start_in_transaction(self, start: Start) -> Transition:
        with self._database.transaction(waits_briefly=self._waits_briefly) as db:
            outcome = SessionRepository(db).start_as([start])[0]
        return unwrap(outcome)

    def _send_claims(self, wishes: Sequence[ClaimRequest]) -> list[Claim | None]:
        claims, _ = self._answered(
            lambda connection: transitions.claim_these(
                connection, wishes, lease_seconds=self._database.settings.lease_seconds
            ),
            lambda claims: [claim.session_id for claim in claims],
        )
        by_token = {claim.claim_token: claim for claim in claims}
        return [by_token.get(wish.claim_token) for wish in wishes]

    def _send_completions(self, claims: Sequence[Claim]) -> list[Ending | DeferredResult[Ending]]:
        endings, is_unsure = self._complete([(claim, None) for claim in claims])

        def complete_alone(claim: Claim) -> Ending:
            endings, _ = self._complete([(claim, None)], skips_locked=False, is_unsure=is_unsure)
            return endings[0]

        return self._or_deferred(claims, endings, complete_alone)

    def complete(
        self,
        completions: Sequence[tuple[Claim, TaskResults | None]],
        *,
        local_worker: LocalWorker | None = None,
    ) -> list[Ending]:
        """Complete them and write their results; one result per completion, in order."""
        return self._complete(completions, local_worker=local_worker)[0]

    def _complete(
        self,
        completions: Sequence[tuple[Claim, TaskResults | None]],
        *,
        skips_locked: bool = True,
        is_unsure: bool = False,
        local_worker: LocalWorker | None = None,
    ) -> tuple[list[Ending], bool]:
        """Return each result, and whether an earlier attempt may have been committed unnoticed."""
        claims = [claim for claim, _ in completions]
        if any(results is not None and len(results.writes) for _, results in completions):
            raise TypeError("Complete a run with writes of its own by SessionRepository")
        produced = {
            claim.task_id: Produced(claim.session_id, claim.task_type, results)
            for claim, results in completions
            if results is not None
        }

        def complete_and_advance(connection: psycopg.Connection[Any]) -> list[Transition]:
            with connection.transaction():
                completed = transitions.complete(connection, claims, skips_locked=skips_locked)
                written = [each.task_id for each in completed if each.task_id in produced]
                write_results(connection, [produced[task_id] for task_id in written])
                successors.start(connection, next_starts(completed))
            return [*completed, *successors.dispatch()]

        successors = LocalStarts(local_worker, self._database.settings.lease_seconds)
        exclude = None if local_worker is None else local_worker.on_sessions_changed
        was_lost = True
        try:
            moved, was_lost = self._moved(complete_and_advance, exclude=exclude)
        finally:
            if was_lost:
                successors.look_for()
        if is_unsure or was_lost:
            moved |= self._read_back(claims, moved, _as_completed)
        return self._answers(claims, moved, skips_locked=skips_locked), was_lost

    def _send_failures(self, failures: Sequence[Failure]) -> list[Ending | DeferredResult[Ending]]:
        endings, is_unsure = self._fail(failures)

        def fail_alone(failure: Failure) -> Ending:
            return self._fail([failure], skips_locked=False, is_unsure=is_unsure)[0][0]

        return self._or_deferred(failures, endings, fail_alone)

    def _fail(
        self, failures: Sequence[Failure], *, skips_locked: bool = True, is_unsure: bool = False
    ) -> tuple[list[Ending], bool]:
        """See `_complete`."""
        backoff_seconds = self._database.settings.retry_backoff_seconds
        contexts = {claim.task_id: context for claim, context in failures}
        claims = [claim for claim, _ in failures]

        def fail(connection: psycopg.Connection[Any]) -> list[Transition]:
            with connection.transaction():
                return transitions.fail(
                    connection, failures, backoff_seconds=backoff_seconds, skips_locked=skips_locked
                )

        moved, was_lost = self._moved(fail)
        if is_unsure or was_lost:
            moved |= self._read_back(
                claims,
                moved,
                lambda claim, task, advances: _as_failed(
                    claim, task, advances, contexts[claim.task_id]
                ),
            )
        return self._answers(claims, moved, skips_locked=skips_locked), was_lost

    def _send_beats(self, beats: Sequence[Heartbeat]) -> list[bool | DeferredResult[bool]]:
        held = self._beat(beats, skips_locked=True)
        left = [beat.claim for beat in beats if beat.claim.claim_token not in held]
        locked = self._still_valid(left)
        return [
            self._deferred(self._beat_alone, beat)
            if beat.claim.claim_token in locked
            else beat.claim.claim_token in held
            for beat in beats
        ]

    def _beat_alone(self, beat: Heartbeat) -> bool:
        return bool(self._beat([beat], skips_locked=False))

    def _beat(self, beats: Sequence[Heartbeat], *, skips_locked: bool) -> set[uuid.UUID]:
        held, _ = self._answered(
            lambda connection: transitions.heartbeat(
                connection,
                beats,
                lease_seconds=self._database.settings.lease_seconds,
                skips_locked=skips_locked,
            ),
            lambda held: [
                beat.claim.session_id for beat in beats if beat.claim.claim_token in held
            ],
        )
        return held

    # -- sessions that another transaction has locked ---------------------------------------------

    def _still_valid(self, claims: Sequence[Claim]) -> set[uuid.UUID]:
        """Return the tokens of claims that still hold, even if their sessions are locked."""
        if not claims:
            return set()
        held, _ = self._answered(
            lambda connection: transitions.still_valid(connection, claims), lambda _held: ()
        )
        return held

    def _answers(
        self, claims: Sequence[Claim], moved: Mapping[uuid.UUID, Transition], *, skips_locked: bool
    ) -> list[Ending]:
        """Return a result per claim, in order; neither moved nor skipped means stale."""
        endings: list[Ending | None] = [moved.get(claim.task_id) for claim in claims]
        left = [claim for claim, ending in zip(claims, endings, strict=True) if ending is None]
        locked = self._still_valid(left) if skips_locked else set()
        return [
            ending
            or (
                locked_by_another(claim.session_id)
                if claim.claim_token in locked
                else stale_claim(claim)
            )
            for claim, ending in zip(claims, endings, strict=True)
        ]

    def _or_deferred(
        self,
        inputs: Sequence[Input],
        answers: Sequence[Ending],
        resolve: Callable[[Input], Ending],
    ) -> list[Ending | DeferredResult[Ending]]:
        if not self._waits_for_locks:
            return list(answers)
        return [
            self._deferred(resolve, given) if isinstance(answer, DatabaseBusy) else answer
            for given, answer in zip(inputs, answers, strict=True)
        ]

    def _deferred(self, resolve: Callable[[Input], Output], given: Input) -> DeferredResult[Output]:
        """Let the caller wait for the lock, outside the batch; few callers do so at once."""
        latest = time.monotonic() + self._database.settings.lock_timeout_seconds

        def resolve_in_turn() -> Output:
            if not self._deferred_slots.acquire(timeout=max(0.0, latest - time.monotonic())):
                raise DatabaseBusy("Too many transitions wait for sessions that others have locked")
            try:
                return resolve(given)
            finally:
                self._deferred_slots.release()

        return DeferredResult(resolve_in_turn)

    # -- sending, and what a lost response means --------------------------------------------------

    def _moved(
        self,
        act: Callable[[psycopg.Connection[Any]], list[Transition]],
        *,
        exclude: Listener | None = None,
        contexts: Contexts | None = None,
    ) -> tuple[dict[uuid.UUID, Transition], bool]:
        """Return the transitions by task_id, each logged in its caller's context."""
        moved, is_unsure = self._answered(
            act, lambda moved: [each.session_id for each in moved], exclude=exclude
        )
        _log(moved, contexts)
        return {transition.task_id: transition for transition in moved}, is_unsure

    def _answered(
        self,
        act: Callable[[psycopg.Connection[Any]], Answer],
        changed: Callable[[Answer], Iterable[uuid.UUID]],
        *,
        exclude: Listener | None = None,
    ) -> tuple[Answer, bool]:
        """Return `act`'s result, and whether an earlier attempt may have been committed unnoticed.

        The sessions that have `changed` by its result are announced to all listeners but `exclude`.
        """
        is_unsure = False
        for wait in (*WAITS_AFTER_LOSS, None):
            try:
                with self._database.driver_connection() as connection:
                    answer = act(connection)
                    self._database.announce(changed(answer), exclude=exclude, connection=connection)
                    return answer, is_unsure
            except DatabaseUnavailable as error:
                if wait is None:
                    raise
                logger.warning("%s; trying again in %s s", error, wait)
                is_unsure = True
                time.sleep(wait)
        raise AssertionError  # the last try returns or raises

    def _read_back(
        self,
        claims: Sequence[Claim],
        moved: Mapping[uuid.UUID, Transition],
        meaning: Callable[[Claim, SessionTask, bool], Transition | None],
    ) -> dict[uuid.UUID, Transition]:
        """Return by task_id the transitions that, by the rows, were committed unnoticed.

        That includes a commit that was still under way when its connection was lost, and that the
        repeated statement then waited for.
        """
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


def _log(moved: Sequence[Transition], contexts: Contexts | None) -> None:
    if contexts is None:
        log_transitions(moved)
    else:
        for transition in moved:
            contexts[transition.task_id].run(log_transitions, [transition])


def _as_completed(claim: Claim, task: SessionTask, advances: bool) -> Transition | None:
    """Return the completion that the row shows, by its task_id or by the run that followed."""
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
    """Return the failure that the row shows, if it is this one and not a sweeper's."""
    stored = task.failure_context or {}
    is_ours = all(stored.get(key) == context.get(key) for key in ("error", "message", "worker"))
    if task.task_id != claim.task_id or task.failed_at is None or not is_ours:
        return None
    return Transition(
        claim.session_id, claim.task_type, claim.task_id, TaskStatus.FAILED, task.retry_count,
        task.failed_at, (task.failed_at - task.started_at).total_seconds(), advances, stored,
    )  # fmt: skip
