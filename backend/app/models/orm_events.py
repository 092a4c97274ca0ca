"""ORM events that give flushed objects the guarantees of the set-based statements.

One `before_flush` listener compares what each `SessionTask` and `Session` holds with what is
stored, under the locks that every statement takes: the session's first, in id order, then the
task's. A change is applied as a transition of `TaskState`, by the database's clock, or refused with
a `TaskValidationError` before anything is written. Stage, lease and a due retry are written
along with it; the log follows the commit.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import delete, event, inspect, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import InstanceState, ORMExecuteState, UOWTransaction
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from app.core.database import database_now
from app.core.errors import ErrorCategory, TaskConflict, TaskValidationError
from app.core.logging import (
    log_cancelled,
    log_completed,
    log_execution,
    log_failed,
    log_started,
)
from app.core.transactions import after_commit
from app.models.frozen_json import freeze
from app.models.lease import RETRY_BACKOFF_SECONDS, RETRY_WAIT, SessionTaskLease
from app.models.session import (
    STATE,
    STEPS,
    Session,
    SessionTask,
    TaskState,
    present_state,
    session_deleted,
    steps,
    stored_state,
)
from app.values.states import SessionStage, TaskStatus

_CHANGES = "session_task_changes"
_STAGES = "session_stages"
_LOCKED = "session_tasks_locked"
_MOMENTS = ("started_at", "completed_at", "failed_at")


@dataclass(frozen=True, slots=True)
class _Change:
    """One task in one flush: its stored state, and the states that it goes through."""

    task: SessionTask
    stored: TaskState
    states: list[TaskState]
    moment: datetime

    @property
    def transitions(self) -> list[TaskState]:
        before = [self.stored, *self.states]
        return [new for old, new in zip(before, self.states, strict=False) if _moves(old, new)]


@event.listens_for(DbSession, "before_flush")
def _apply_transitions(db: DbSession, flush: UOWTransaction, objects: Sequence[Any] | None) -> None:
    deleted = {each.id for each in db.deleted if isinstance(each, Session)}
    _refuse_removal(db, deleted)
    tasks, sessions = _changed(db, objects)
    if not (tasks or sessions or deleted):
        return
    pending = {each.id for each in db.new if isinstance(each, Session)}
    staged = {key for key, each in sessions.items() if _has_changed(each, "stage")}
    _lock_sessions(db, (tasks.keys() | sessions.keys()) - pending, deleted)
    stored = _lock_tasks(db, (tasks.keys() | staged) - pending)
    moment = database_now(db) if tasks else None

    changes = {key: _change(task, stored.get(key), moment) for key, task in tasks.items() if moment}
    stages = {key: stored[key].stage if key in stored else SessionStage.CREATED for key in staged}
    stages |= {key: change.states[-1].stage for key, change in changes.items()}
    for key in staged:
        _require_stage(sessions[key], stages[key])

    # Illegal changes have been refused; the rest is written.
    for key, stage in stages.items():
        is_moved = key in changes and bool(changes[key].transitions)
        session = sessions.get(key) or db.identity_map.get(identity_key(Session, key))
        if isinstance(session, Session) and (objects is None or session in objects):
            session.stage = stage
            if is_moved:
                session.updated_at = changes[key].moment
        elif is_moved:
            db.execute(
                update(Session.__table__)  # type: ignore[arg-type]  # a Table, as declared
                .where(Session.id == key)
                .values(stage=stage, updated_at=changes[key].moment)
            )
    for change in changes.values():
        _assign(change.task, change.states[0])
        steps(change.task)[:] = change.states
    flush.attributes[_STAGES] = stages
    flush.attributes[_CHANGES] = [each for key, each in changes.items() if key not in deleted]


@event.listens_for(DbSession, "after_flush")
def _follow_up(db: DbSession, flush: UOWTransaction) -> None:
    changes: list[_Change] = flush.attributes.pop(_CHANGES, [])
    _refuse_changes_since(db, flush, changes, flush.attributes.pop(_STAGES, {}))
    for change in changes:
        for state in change.states[1:]:
            db.execute(
                update(SessionTask.__table__)  # type: ignore[arg-type]  # a Table, as declared
                .where(SessionTask.id == change.task.id)
                .values({key: getattr(state, key) for key in STATE})
            )
            for key in STATE:
                set_committed_value(change.task, key, freeze(getattr(state, key)))
        steps(change.task).clear()
        if change.transitions:
            _write_lease(db, change.task)
            statuses = {state.status for state in (change.stored, *change.states)}
            if TaskStatus.COMPLETED in statuses:
                db.execute(_NO_STEPS, {"session_id": change.task.session_id})
            for state in change.transitions:
                after_commit(db, partial(_log, change.task.session_id, state, change.moment))
            if (announce := db.info.get("announce")) is not None:
                after_commit(db, partial(announce, [change.task.session_id]))
        elif change.task.failure_context != change.stored.failure_context:
            db.execute(_NO_RETRY, {"session_id": change.task.session_id})
            _write_retry(db, change.task)


@event.listens_for(SessionTask, "expire", raw=True)
def _forget_steps(state: InstanceState[Any], attributes: Collection[str] | None) -> None:
    """Drop the states that the object's methods recorded, when its state will be read again."""
    if attributes is None or "status" in attributes:
        state.info.pop(STEPS, None)


@event.listens_for(SessionTask, "refresh", raw=True)
def _forget_overwritten_steps(
    state: InstanceState[Any], _context: object, attributes: Collection[str] | None
) -> None:
    _forget_steps(state, attributes)


@event.listens_for(DbSession, "do_orm_execute")
def _lock_sessions_before_tasks(execution: ORMExecuteState) -> None:
    """Before `select(SessionTask).with_for_update()`, lock the sessions of those tasks.

    Every statement locks the session first: a lock on the task first could deadlock with it.
    """
    statement: Any = execution.statement
    locking = getattr(statement, "_for_update_arg", None)
    if (
        locking is None
        or _LOCKED in execution.execution_options
        or inspect(SessionTask) not in execution.all_mappers
    ):
        return
    session_ids = statement.with_only_columns(SessionTask.session_id).order_by(None)
    session_ids._for_update_arg = None  # noqa: SLF001 - there is no public way to undo it
    execution.session.execute(
        select(Session.id)
        .where(Session.id.in_(session_ids))
        .order_by(Session.id)
        .with_for_update(
            nowait=locking.nowait, skip_locked=locking.skip_locked, key_share=not locking.read
        ),
        execution.parameters,
    )


# -- what has changed -----------------------------------------------------------------------------


def _changed(
    db: DbSession, objects: Sequence[Any] | None
) -> tuple[dict[uuid.UUID, SessionTask], dict[uuid.UUID, Session]]:
    """Return the tasks that are flushed, by their session's id, and the sessions."""
    tasks: dict[uuid.UUID, SessionTask] = {}
    sessions: dict[uuid.UUID, Session] = {}
    for instance in (*db.new, *db.dirty):
        if objects is not None and instance not in objects:
            continue
        is_changed = instance in db.new or db.is_modified(instance)
        match instance:
            case Session() if is_changed:
                sessions[instance.id] = instance
            case SessionTask() if is_changed:
                session_id = _session_id_of(instance)
                if tasks.setdefault(session_id, instance) is not instance:
                    raise _has_its_task(session_id)
            case SessionTask():
                steps(instance).clear()
    return tasks, sessions


def _refuse_removal(db: DbSession, deleted: Collection[uuid.UUID]) -> None:
    removed = [each for each in db.deleted if isinstance(each, SessionTask)]
    for session in db.dirty:
        if isinstance(session, Session):
            removed += filter(None, inspect(session).attrs.task.history.deleted)
    for task in removed:
        if task.session_id not in deleted:
            raise _refusal("A task is deleted only with its session", task.session_id)


def _session_id_of(task: SessionTask) -> uuid.UUID:
    """Return the id of the session that the task is flushed for; it is never another one."""
    state = inspect(task)
    session_id = task.session_id
    if state.attrs.session.history.added or not state.has_identity:
        session = task.__dict__.get("session")
        if session is not None:
            session_id = session.id
        elif state.has_identity:
            raise _refusal("A task is deleted only with its session", session_id)
    if session_id is None:
        raise _refusal("A task belongs to a session", None)
    moved = [*state.attrs.session_id.history.deleted, *state.attrs.id.history.deleted]
    if state.has_identity and (moved or session_id != task.session_id):
        raise _refusal("A task stays with its session, under its id", session_id)
    return session_id


def _refuse_changes_since(
    db: DbSession,
    flush: UOWTransaction,
    changes: Sequence[_Change],
    stages: Mapping[uuid.UUID, SessionStage],
) -> None:
    """Refuse what other listeners of this flush changed after the rules were applied."""
    decided = {change.task: change.states[0] for change in changes}
    for instance in (*db.new, *db.dirty):
        if inspect(instance) not in flush.states:
            continue
        match instance:
            case SessionTask() if any(_has_changed(instance, key) for key in STATE):
                is_decided = decided.get(instance) == present_state(instance)
            case Session() if _has_changed(instance, "stage"):
                is_decided = stages.get(instance.id) == instance.stage
            case _:
                continue
        if not is_decided:
            raise _refusal("A listener changed a task or stage during the flush", None)


def _has_changed(instance: Session | SessionTask, key: str) -> bool:
    state: InstanceState[Any] = inspect(instance)
    return bool(state.attrs[key].history.has_changes())


# -- what is stored -------------------------------------------------------------------------------


def _lock_sessions(
    db: DbSession, needed: Collection[uuid.UUID], deleted: Collection[uuid.UUID]
) -> None:
    """Lock these sessions in id order, as every statement does (`app.repositories.statements`)."""
    if not needed and not deleted:
        return
    rows = db.scalars(
        select(Session.id)
        .where(Session.id.in_({*needed, *deleted}))
        .order_by(Session.id)
        .with_for_update(key_share=True)
    )
    for session_id in set(needed).difference(rows):
        raise session_deleted(session_id)


def _lock_tasks(db: DbSession, session_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, TaskState]:
    if not session_ids:
        return {}
    columns = [SessionTask.session_id, *(getattr(SessionTask, key) for key in STATE)]
    rows = db.execute(
        select(*columns)
        .where(SessionTask.session_id.in_(session_ids))
        .order_by(SessionTask.session_id)
        .with_for_update(key_share=True)
        .execution_options(**{_LOCKED: True})
    )
    return {row.session_id: TaskState(**row._asdict()) for row in rows}


# -- what follows from it -------------------------------------------------------------------------


def _change(task: SessionTask, stored: TaskState | None, moment: datetime) -> _Change:
    """Return the states that the task goes through, from the stored one.

    Raises:
        TaskConflict: the row has changed since the object read it.
        TaskValidationError: a state does not follow from the one before.

    """
    is_new = not inspect(task).has_identity
    if is_new and stored is not None:
        raise _has_its_task(task.session_id)
    if not is_new and stored != stored_state(task):
        raise TaskConflict(
            f"The task of session {task.session_id} has moved on since it was read",
            ErrorCategory.TEMPORARY,
            next_step="Read it again, then decide.",
            session_id=task.session_id,
        )
    old = state = began = stored or TaskState(task.session_id)
    wanted = [*steps(task)]
    if not wanted or wanted[-1] != present_state(task):
        wanted.append(present_state(task))
    states = []
    for new in wanted:
        state = _next(state, old, new, moment)
        states.append(state)
        old = new
    return _Change(task, began, states, moment)


def _next(state: TaskState, old: TaskState, new: TaskState, moment: datetime) -> TaskState:
    """Return the state that follows from `state` by what was changed from `old` to `new`."""
    is_other_run = (new.task_type, new.task_id) != (old.task_type, old.task_id)
    is_explained = new.failure_context != old.failure_context
    if new.status is None:
        raise _refusal("A task is stored once it has started", old.session_id)
    if new.status == TaskStatus.RUNNING and (old.status != TaskStatus.RUNNING or is_other_run):
        after = state.started(new.task_type, new.task_id, moment)
    elif is_other_run and old.status is not None:
        raise _refusal("task_type and task_id change only with a start", old.session_id)
    elif new.status == old.status:
        after = state
        if any(getattr(new, key) != getattr(old, key) for key in _MOMENTS):
            raise _refusal(f"{', '.join(_MOMENTS)} are set by transitions", old.session_id)
    elif new.status == TaskStatus.FAILED:
        context = new.failure_context if is_explained else None
        return _counted(state.failed(context or {}, moment), old, new)
    else:
        after = state.completed(moment) if new.status == TaskStatus.COMPLETED else state.cancelled()
    if is_explained and new.failure_context != after.failure_context:
        context = new.failure_context
        if after.failure_context is None or (not context and after.status == TaskStatus.FAILED):
            raise _refusal("A failure_context describes a failure", old.session_id)
        after = after.explained(context) if context else replace(after, failure_context=None)
    return _counted(after, old, new)


def _counted(after: TaskState, old: TaskState, new: TaskState) -> TaskState:
    if new.retry_count not in {old.retry_count, after.retry_count}:
        raise _refusal("retry_count is counted by transitions", old.session_id)
    return after


def _moves(old: TaskState, new: TaskState) -> bool:
    return (old.status, old.task_id) != (new.status, new.task_id)


def _require_stage(session: Session, stage: SessionStage) -> None:
    """Refuse a stage that was assigned by hand, unless it is the one that follows from the task."""
    followed = inspect(session).info.pop("stage", None)
    if session.stage not in {None, stage, followed}:
        raise _refusal("stage follows the session's task", session.id)


def _refusal(message: str, session_id: uuid.UUID | None) -> TaskValidationError:
    return TaskValidationError(
        message,
        next_step="Use mark_started, advance, mark_completed, mark_failed or mark_cancelled; "
        "an operator resets the count by SessionRepository.reset_retries.",
        session_id=session_id,
    )


def _has_its_task(session_id: uuid.UUID) -> TaskConflict:
    return TaskConflict(
        f"Session {session_id} has its task already",
        ErrorCategory.TEMPORARY,
        next_step="Read it, and go on with that.",
        session_id=session_id,
    )


# -- what is written ------------------------------------------------------------------------------


def _assign(task: SessionTask, state: TaskState) -> None:
    for key in STATE:
        if getattr(task, key) != getattr(state, key):
            setattr(task, key, getattr(state, key))


_RETRY_LATER = text(
    f"""INSERT INTO session_task_retries (session_id, task_id, retry_at)
    VALUES (:session_id, :task_id, clock_timestamp() + {
        RETRY_WAIT.format(
            backoff_seconds="cast(:backoff_seconds AS float)", retry_count=":retry_count"
        )
    })
    ON CONFLICT (session_id) DO UPDATE
       SET task_id = excluded.task_id, retry_at = excluded.retry_at"""  # noqa: S608 - constants only
)

_NO_STEPS = text("DELETE FROM session_task_steps WHERE session_id = :session_id")

_NO_RETRY = text("DELETE FROM session_task_retries WHERE session_id = :session_id")


def _write_lease(db: DbSession, task: SessionTask) -> None:
    """Write one unclaimed lease for a running task, none for another, and a due retry."""
    of_session = SessionTaskLease.session_id == task.session_id
    db.execute(delete(SessionTaskLease.__table__).where(of_session))  # type: ignore[arg-type]
    if task.is_running:
        db.execute(
            insert(SessionTaskLease.__table__).values(  # type: ignore[arg-type]
                session_id=task.session_id,
                task_id=task.task_id,
                task_type=task.task_type,
                attempt=task.retry_count + 1,
            )
        )
    _write_retry(db, task)


def _write_retry(db: DbSession, task: SessionTask) -> None:
    """Write the retry of a task that failed for a temporary reason."""
    context: Mapping[str, Any] = task.failure_context or {}
    if task.can_be_retried and context.get("category") == ErrorCategory.TEMPORARY.value:
        db.execute(
            _RETRY_LATER,
            {
                "session_id": task.session_id,
                "task_id": task.task_id,
                "retry_count": task.retry_count,
                "backoff_seconds": db.info.get("retry_backoff_seconds", RETRY_BACKOFF_SECONDS),
            },
        )


def _log(session_id: uuid.UUID, state: TaskState, moment: datetime) -> None:
    """Log one transition, in the words of the specification (section 7)."""
    assert state.task_type and state.task_id and state.started_at  # noqa: PT018, S101 - it was stored
    seconds = (moment - state.started_at).total_seconds()
    match state.status:
        case TaskStatus.RUNNING:
            log_started(state.task_type, session_id, state.task_id)
            return
        case TaskStatus.COMPLETED:
            log_completed(state.task_type, session_id, seconds / 60)
        case TaskStatus.FAILED:
            log_failed(state.task_type, session_id, state.retry_count, state.failure_context or {})
        case _:
            log_cancelled(state.task_type, session_id, state.task_id)
    log_execution(
        state.task_type, session_id, duration_seconds=seconds, retry_count=state.retry_count
    )
