"""The transitions of sessions and their tasks, in the caller's transaction.

`SessionRepository(db)` joins the transaction of `db`, so that callers can write rows of their own
with a transition. Callers without a transaction use `app.repositories.batcher`, which sends what
arrives at the same time as one statement. Both build on `app.repositories.transitions`.

One class, and so one file of more than 450 lines: half of it documents the interface.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import ARRAY, Uuid, any_, bindparam, delete, func, literal, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import joinedload

from app.core.database import after_commit, driver_connection
from app.core.errors import StaleClaim, TaskError
from app.core.failure import sanitize_context
from app.core.json_safety import safe_text
from app.models.lease import RETRY_BACKOFF_SECONDS
from app.models.session import LOCAL_OWNER, Session, SessionTask
from app.models.step import TaskStep
from app.repositories import transitions
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.creation import SessionDraft, create_sessions
from app.repositories.lifecycle_log import log_reset
from app.repositories.maintenance import Maintenance
from app.repositories.own_writes import run_writes
from app.repositories.results_writer import Produced, write_results
from app.repositories.transition_errors import (
    moved_on,
    no_agreement,
    no_task_yet,
    nothing_to_reset,
    session_not_found,
    stale_claim,
    unwrap,
)
from app.repositories.transitions import ClaimRequest, Heartbeat, Start, Transition
from app.values.claims import Claim
from app.values.results import TaskResults
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALL_TASK_TYPES", "SessionRepository"]

ATTEMPTS_TO_AGREE = 10
"""How often a start is repeated if the row, read back, shows that it was legal."""

ALL_TASK_TYPES = tuple(TaskType)


LABEL_CHARACTERS = 200

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,32}", re.ASCII)


class SessionRepository(Maintenance):
    """Named transitions and reads, in the transaction of `db`; it never commits."""

    # -- sessions ---------------------------------------------------------------------------------

    def get(self, session_id: uuid.UUID) -> Session:
        """Return the session with its task, as one statement reads them.

        Raises:
            SessionNotFound: there is none, or it is another owner's.

        """
        session = self._read([session_id]).get(session_id)
        if session is None:
            raise session_not_found(session_id)
        return session

    def find_by_prefix(self, prefix: str, *, limit: int = 2) -> list[uuid.UUID]:
        """Return up to `limit` ids of sessions that begin with these characters."""
        digits = prefix.strip().lower().replace("-", "")
        if not _HEXADECIMAL.fullmatch(digits):
            return []
        first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
        found = select(Session.id).where(Session.id.between(first, last), *self._owned())
        return list(self._db.scalars(found.order_by(Session.id).limit(limit)))

    def create_session(
        self,
        documents: Iterable[IncomingDocument] = (),
        *,
        label: str = "",
        options: Mapping[str, Any] | None = None,
        auto_advance: bool = True,
    ) -> Session:
        """Create a session with its documents, at stage `created`; nothing runs yet."""
        draft = SessionDraft(
            LOCAL_OWNER if self._owner is None else self._owner,
            safe_text(label)[:LABEL_CHARACTERS],
            options or {},
            auto_advance,
            list(documents),
        )
        create_sessions(driver_connection(self._db), [draft])
        self._announce([draft.session_id])
        return self._db.get_one(Session, draft.session_id)

    def change_options(self, session_id: uuid.UUID, changes: Mapping[str, Any]) -> None:
        """Set these options of the session, leaving the others.

        Raises:
            SessionNotFound: there is none, or it is another owner's.

        """
        changed = self._db.scalar(
            update(Session)
            .where(*self._is(session_id))
            .values(
                options=Session.options.op("||")(literal(dict(changes), JSONB)),
                updated_at=func.clock_timestamp(),
            )
            .returning(Session.id)
            .execution_options(synchronize_session=False)
        )
        if changed is None:
            raise session_not_found(session_id)
        self._reload([session_id])

    # -- acts of people ---------------------------------------------------------------------------

    def start_task(self, session_id: uuid.UUID, task_type: TaskType) -> Transition:
        """Start one task; see `start_tasks`.

        Raises:
            SessionNotFound, TaskConflict, TaskValidationError: why it could not be started.

        """
        return unwrap(self.start_tasks([(session_id, task_type)])[0])

    def start_tasks(
        self, starts: Sequence[tuple[uuid.UUID, TaskType]]
    ) -> list[Transition | TaskError]:
        """Start tasks, each under a new task_id; return one result per start, in order.

        A session named twice gets one start and one conflict.
        """
        return self.start_as([(*start, uuid.uuid4()) for start in starts])

    def start_as(self, starts: Sequence[Start]) -> list[Transition | TaskError]:
        """Start tasks under the given task_ids; return one result per start, in order.

        May be repeated if the outcome of a commit is unknown: a task already started under its
        task_id is reported as started.
        """
        outcomes: dict[uuid.UUID, Transition | TaskError] = {}
        waiting = list(starts)
        for _ in range(ATTEMPTS_TO_AGREE):
            batch = list({start[0]: start for start in reversed(waiting)}.values())
            moved = transitions.start(driver_connection(self._db), batch, owner=self._owner)
            self._after(moved)
            outcomes |= {transition.task_id: transition for transition in moved}
            outcomes |= self.starts_read_back([each for each in batch if each[2] not in outcomes])
            waiting = [start for start in waiting if start[2] not in outcomes]
            if not waiting:
                break
        return [
            outcomes.get(task_id) or no_agreement(session_id) for session_id, _, task_id in starts
        ]

    def starts_read_back(self, starts: Sequence[Start]) -> dict[uuid.UUID, Transition | TaskError]:
        """Return the results, by task_id, of starts that moved nothing: started before, or illegal.

        A start that was committed before, with its response lost, is logged and announced now.
        Starts that are legal as the rows stand are left out: the session has moved on since, or
        another transaction has locked it.
        """
        if not starts:
            return {}
        sessions = self._read([session_id for session_id, _, _ in starts])
        meanings = {start[2]: _meaning(start, sessions.get(start[0])) for start in starts}
        self._after([each for each in meanings.values() if isinstance(each, Transition)])
        return {task_id: meaning for task_id, meaning in meanings.items() if meaning is not None}

    def retry_task(
        self, session_id: uuid.UUID, *, expected_task_id: uuid.UUID | None = None
    ) -> Transition:
        """Retry the failed or cancelled task, under a new task_id.

        With `expected_task_id`, only if that run is still the last one.

        Raises:
            SessionNotFound, TaskConflict, TaskValidationError: why it could not be retried.

        """
        return self._agreed(
            session_id,
            expected_task_id,
            lambda: transitions.retry(
                driver_connection(self._db),
                [(session_id, expected_task_id, uuid.uuid4())],
                owner=self._owner,
            ),
            lambda task: None if task.can_be_restarted else task.start_error(task.task_type),
        )

    def cancel_task(
        self, session_id: uuid.UUID, *, expected_task_id: uuid.UUID | None = None
    ) -> Transition:
        """Cancel the running task; its worker learns of it by the next heartbeat.

        Raises:
            SessionNotFound, TaskValidationError: why it could not be cancelled.

        """
        return self._agreed(
            session_id,
            expected_task_id,
            lambda: transitions.cancel(
                driver_connection(self._db), [(session_id, expected_task_id)], owner=self._owner
            ),
            lambda task: None if task.is_running else task.end_error("cancel"),
        )

    def retry_tasks(self, runs: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> list[Transition]:
        """Retry these `(session_id, task_id)` if that run is the last and may be retried.

        Returns those that moved; no session twice in one call. Sessions that another transaction
        has locked are left out.
        """
        moved = transitions.retry(
            driver_connection(self._db),
            [(session_id, task_id, uuid.uuid4()) for session_id, task_id in runs],
            owner=self._owner,
            skips_locked=True,
        )
        self._after(moved)
        return moved

    def cancel_tasks(self, runs: Sequence[tuple[uuid.UUID, uuid.UUID]]) -> list[Transition]:
        """Cancel these `(session_id, task_id)` if that run is the last and still running.

        Returns those that moved; no session twice in one call. Sessions that another transaction
        has locked are left out.
        """
        moved = transitions.cancel(
            driver_connection(self._db), runs, owner=self._owner, skips_locked=True
        )
        self._after(moved)
        return moved

    def reset_retries(self, session_id: uuid.UUID) -> None:
        """Reset a failed task's attempts: an operator's act, logged at AUDIT.

        Its steps are deleted, except lasting ones.

        Raises:
            SessionNotFound, TaskValidationError: there is no failed task.

        """
        locked = self._db.scalar(
            update(Session)
            .where(*self._is(session_id))
            .values(updated_at=func.clock_timestamp())
            .returning(Session.id)
            .execution_options(synchronize_session=False)
        )
        if locked is None:
            raise session_not_found(session_id)
        task_id = self._db.scalar(
            update(SessionTask)
            .where(SessionTask.session_id == session_id, SessionTask.status == TaskStatus.FAILED)
            .values(retry_count=0)
            .returning(SessionTask.task_id)
            .execution_options(synchronize_session=False)
        )
        if task_id is None:
            raise nothing_to_reset(self._read_back(session_id))
        self._db.execute(
            delete(TaskStep)
            .where(TaskStep.session_id == session_id, ~TaskStep.is_lasting)
            .execution_options(synchronize_session=False)
        )
        self._reload([session_id])
        after_commit(self._db, lambda: log_reset(session_id, task_id))
        self._announce([session_id])

    def delete_session(self, session_id: uuid.UUID) -> None:
        """Delete the session with its content; a running task loses its claim.

        Raises:
            SessionNotFound: there is none, or it is another owner's.

        """
        deleted = self._db.scalar(
            delete(Session).where(*self._is(session_id)).returning(Session.id)
        )
        if deleted is None:
            raise session_not_found(session_id)
        self._announce([session_id])

    # -- acts of workers --------------------------------------------------------------------------

    def claim_task(
        self,
        session_id: uuid.UUID,
        task_id: uuid.UUID,
        worker_id: uuid.UUID,
        *,
        lease_seconds: float = 30.0,
    ) -> Claim | None:
        """Claim this task; None if it is not waiting, or no longer."""
        claims = transitions.claim_these(
            driver_connection(self._db),
            [ClaimRequest(session_id, task_id, worker_id)],
            lease_seconds=lease_seconds,
        )
        self._announce([claim.session_id for claim in claims])
        return claims[0] if claims else None

    def claim_next(
        self,
        worker_id: uuid.UUID,
        *,
        limit: int = 1,
        task_types: Sequence[TaskType] = ALL_TASK_TYPES,
        lease_seconds: float = 30.0,
    ) -> list[Claim]:
        """Claim up to `limit` waiting tasks, the longest waiting first; never waits."""
        claims = transitions.claim_next(
            driver_connection(self._db),
            worker_id,
            task_types=task_types,
            limit=limit,
            lease_seconds=lease_seconds,
        )
        self._announce([claim.session_id for claim in claims])
        return claims

    def heartbeat(self, claims: Sequence[Claim], *, lease_seconds: float = 30.0) -> set[uuid.UUID]:
        """Renew the claims; return the sessions whose claim still holds."""
        held = transitions.heartbeat(
            driver_connection(self._db),
            [Heartbeat(claim) for claim in claims],
            lease_seconds=lease_seconds,
        )
        return {claim.session_id for claim in claims if claim.claim_token in held}

    def report_progress(
        self,
        claim: Claim,
        current: int,
        total: int | None = None,
        message: str | None = None,
        *,
        lease_seconds: float = 30.0,
    ) -> None:
        """Record the task's progress, and renew its lease.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        held = transitions.heartbeat(
            driver_connection(self._db),
            [Heartbeat(claim, current, total, message)],
            lease_seconds=lease_seconds,
        )
        if not held:
            raise stale_claim(claim)
        self._announce([claim.session_id])

    def complete_task(self, claim: Claim, results: TaskResults | None = None) -> Transition:
        """Complete the task and write its results, or neither.

        If the session advances automatically, the next task starts in the same transaction.

        Raises:
            StaleClaim: the claim is no longer yours; nothing was written.

        """
        return unwrap(self.complete_tasks([(claim, results)])[0])

    def complete_tasks(
        self, completions: Sequence[tuple[Claim, TaskResults | None]]
    ) -> list[Transition | StaleClaim]:
        """Complete tasks and write their results; return one result per task, in order."""
        connection = driver_connection(self._db)
        claims = [claim for claim, _ in completions]
        moved = _ended(claims, lambda some: transitions.complete(connection, some))
        for claim, results in completions:  # a session may be here with several claims
            if results is not None and claim in moved:
                produced = Produced(claim.session_id, claim.task_type, results)
                write_results(connection, [produced])
                run_writes(self._db, claim.session_id, results.writes)
        self._after(list(moved.values()))
        self._advance(list(moved.values()))
        return [moved.get(claim) or stale_claim(claim) for claim in claims]

    def fail_task(
        self,
        claim: Claim,
        error_context: Mapping[str, Any],
        results: TaskResults | None = None,
        *,
        backoff_seconds: float = RETRY_BACKOFF_SECONDS,
    ) -> Transition:
        """Fail the task, and count the attempt; `results` explain the failure (findings).

        Raises:
            StaleClaim: the claim is no longer yours; nothing was written.

        """
        transition = unwrap(
            self.fail_tasks([(claim, error_context)], backoff_seconds=backoff_seconds)[0]
        )
        if results is not None:
            ContentRepository(self._db).write_results(claim.session_id, claim.task_type, results)
        return transition

    def fail_tasks(
        self,
        failures: Sequence[tuple[Claim, Mapping[str, Any]]],
        *,
        backoff_seconds: float = RETRY_BACKOFF_SECONDS,
    ) -> list[Transition | StaleClaim]:
        """Fail tasks, and count each attempt; return one result per task, in order.

        A temporary failure with attempts left is recorded for the sweeper, which retries it after
        `backoff_seconds`, twice that the second time, give or take a quarter.
        """
        connection = driver_connection(self._db)
        safe = {claim: sanitize_context(context) for claim, context in failures}
        moved = _ended(
            list(safe),
            lambda some: transitions.fail(
                connection,
                [(claim, safe[claim]) for claim in some],
                backoff_seconds=backoff_seconds,
            ),
        )
        self._after(list(moved.values()))
        return [moved.get(claim) or stale_claim(claim) for claim, _ in failures]

    def release_task(self, claim: Claim) -> None:
        """Release the claim; the task waits for a worker again, and no attempt is spent.

        Raises:
            StaleClaim: the claim is no longer yours.

        """
        if not transitions.release(driver_connection(self._db), [claim]):
            raise stale_claim(claim)
        self._announce([claim.session_id])

    # -- private ----------------------------------------------------------------------------------

    def _agreed(
        self,
        session_id: uuid.UUID,
        expected_task_id: uuid.UUID | None,
        act: Callable[[], list[Transition]],
        refusal: Callable[[SessionTask], TaskError | None],
    ) -> Transition:
        """Return the rows that `act` moved, or raise the reason that the row, read back, shows.

        If the row now allows it, the obstacle is gone: act again.
        """
        for _ in range(ATTEMPTS_TO_AGREE):
            moved = act()
            if moved:
                self._after(moved)
                return moved[0]
            task = self._read_back(session_id)
            if expected_task_id is not None and task.task_id != expected_task_id:
                raise moved_on(session_id, task)
            error = refusal(task)
            if error is not None:
                raise error
        raise no_agreement(session_id)

    def _owned(self) -> list[Any]:
        return [] if self._owner is None else [Session.owner == self._owner]

    def _is(self, session_id: uuid.UUID) -> list[Any]:
        return [Session.id == session_id, *self._owned()]

    def _read(self, session_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Session]:
        sessions = self._db.scalars(_SESSIONS.where(*self._owned()), {"session_ids": session_ids})
        return {session.id: session for session in sessions}

    def _read_back(self, session_id: uuid.UUID) -> SessionTask:
        task = self.get(session_id).task
        if task is None:
            raise no_task_yet(session_id)
        return task

    def _advance(self, completed: Sequence[Transition]) -> None:
        starts = next_starts(completed)
        if starts:
            self._after(transitions.start(driver_connection(self._db), starts))


_SESSIONS = (
    select(Session)
    .where(Session.id == any_(bindparam("session_ids", type_=ARRAY(Uuid))))
    .options(joinedload(Session.task))
    .execution_options(populate_existing=True)
)


def _ended(
    claims: Sequence[Claim], end: Callable[[Sequence[Claim]], list[Transition]]
) -> dict[Claim, Transition]:
    """Return the transitions of `end`, by claim; claims on the same session are sent separately."""
    ended: dict[Claim, Transition] = {}
    left = list(dict.fromkeys(claims))
    while left:
        of_session = {claim.session_id: claim for claim in reversed(left)}
        of_task = {claim.task_id: claim for claim in of_session.values()}
        ended |= {of_task[moved.task_id]: moved for moved in end(list(of_session.values()))}
        left = [claim for claim in left if of_session[claim.session_id] != claim]
    return ended


def next_starts(completed: Sequence[Transition]) -> list[Start]:
    """Return the next starts of sessions that advance automatically."""
    return [
        (transition.session_id, transition.task_type.next, successor_id(transition.task_id))
        for transition in completed
        if transition.auto_advance and transition.task_type.next is not None
    ]


def successor_id(task_id: uuid.UUID) -> uuid.UUID:
    """Return the task_id of the run that automatically follows a completed one.

    It derives from its predecessor's, so that a caller that lost the response to a commit can
    read back that its own completion started the run.
    """
    return uuid.uuid5(task_id, "next")


def _meaning(start: Start, session: Session | None) -> Transition | TaskError | None:
    """Return the result of a start that moved nothing; None if it is legal by now."""
    session_id, task_type, task_id = start
    if session is None:
        return session_not_found(session_id)
    task = session.task
    if task is None:
        if task_type == TaskType.PROCESSING:
            return None
        task = SessionTask(session_id=session_id, task_type=task_type)
    if task.task_id not in {task_id, successor_id(task_id)}:
        return None if task.can_start(task_type) else task.start_error(task_type)
    return Transition(
        session_id,
        task_type,
        task_id,
        TaskStatus.RUNNING,
        task.retry_count,
        task.started_at,
        0.0,
        session.auto_advance,
        None,
    )
