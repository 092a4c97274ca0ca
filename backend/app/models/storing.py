"""What is seen to when loaded objects are stored, as the set-based statements see to it for rows.

The methods of `SessionTask` change an object in memory; here its session comes along, the database
tells the time, nobody is overwritten, and the lease is in step. In the order in which it happens.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, delete, event, func, insert, inspect, select, text, update
from sqlalchemy.orm import Mapper, object_session
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.util import identity_key

from app.core.errors import ErrorCategory, TaskConflict
from app.models.base import format_utc
from app.models.lease import RETRY_BACKOFF_SECONDS, RETRY_WAIT, SessionTaskLease
from app.models.session import LEFT_BEHIND, STAMPED, Session, SessionTask, TaskStatus

_TAKEN_ALONG = "_taken_along"


@event.listens_for(DbSession, "before_flush")
def _lock_sessions_left_behind_in_order(db: DbSession, _context: object, _some: object) -> None:
    """Several are locked in id order, as by every statement (`app.repositories.statements`)."""
    left_behind = [
        task.session_id
        for task in (*db.new, *db.dirty)
        if isinstance(task, SessionTask) and LEFT_BEHIND in task.__dict__
    ]
    if len(left_behind) > 1:
        wanted = select(Session.id).where(Session.id.in_(left_behind)).order_by(Session.id)
        db.execute(wanted.with_for_update(key_share=True))


@event.listens_for(Session, "before_insert")
@event.listens_for(Session, "before_update")
@event.listens_for(SessionTask, "before_insert")
@event.listens_for(SessionTask, "before_update")
def _let_the_database_tell_the_time(
    _mapper: Mapper[Any], connection: Connection, target: Session | SessionTask
) -> None:
    columns = target.__dict__.pop(STAMPED, ())
    if not columns:
        return
    moment = cast("datetime", connection.scalar(select(func.clock_timestamp())))
    for column in columns:
        if getattr(target, column) is not None:
            setattr(target, column, moment)
    if isinstance(target, SessionTask) and target.failed_at == moment:
        target.failure_context = {**(target.failure_context or {}), "failed_at": format_utc(moment)}


@event.listens_for(SessionTask, "before_insert")
@event.listens_for(SessionTask, "before_update")
def _take_along_the_session_left_behind(
    _mapper: Mapper[SessionTask], connection: Connection, task: SessionTask
) -> None:
    """Move the session of a task that was given its `session_id` alone; so it is locked first."""
    changes = task.__dict__.pop(LEFT_BEHIND, None)
    if changes is None:
        return
    task.__dict__[_TAKEN_ALONG] = changes
    connection.execute(update(Session).where(Session.id == task.session_id).values(changes))
    db = object_session(task)
    session = db and db.identity_map.get(identity_key(Session, task.session_id))
    if session is not None and "stage" in changes:
        set_committed_value(session, "stage", changes["stage"])


@event.listens_for(SessionTask, "before_insert")
def _refuse_a_second_task(
    _mapper: Mapper[SessionTask], connection: Connection, task: SessionTask
) -> None:
    """A session has one row for all its tasks; whoever began with it just now has it locked."""
    is_there = select(SessionTask.id).where(SessionTask.session_id == task.session_id)
    if connection.execute(is_there).first() is not None:
        raise TaskConflict(
            f"Session {task.session_id} has its task already",
            ErrorCategory.TEMPORARY,
            next_step="Read it; somebody was quicker.",
            session_id=task.session_id,
        )


@event.listens_for(SessionTask, "before_update")
def _refuse_what_has_moved_on(
    _mapper: Mapper[SessionTask], connection: Connection, task: SessionTask
) -> None:
    """The guard of the set-based statements, for objects: write only over what was read.

    The session's row was written just before (`_touch_session`), so it is locked first here too.
    """
    attributes = inspect(task).attrs
    if not (attributes.status.history.has_changes() or attributes.task_id.history.has_changes()):
        return
    read = [
        next(iter(attribute.history.deleted or attribute.history.unchanged))
        for attribute in (attributes.status, attributes.task_id)
    ]
    stands = connection.execute(
        select(SessionTask.status, SessionTask.task_id)
        .where(SessionTask.id == task.id)
        .with_for_update(key_share=True)
    ).one_or_none()
    if stands is None or list(stands) != read:
        raise TaskConflict(
            f"The task of session {task.session_id} has moved on since it was read",
            ErrorCategory.TEMPORARY,
            next_step="Read it again; somebody was quicker.",
            session_id=task.session_id,
        )


_TEMPORARY = ErrorCategory.TEMPORARY.value
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


@event.listens_for(SessionTask, "after_insert")
@event.listens_for(SessionTask, "after_update")
def _keep_the_lease_in_step(
    _mapper: Mapper[SessionTask], connection: Connection, task: SessionTask
) -> None:
    """Do for objects what the set-based statements do: one lease per running task, and no other.

    And a retry for a temporary failure that has attempts left.
    """
    attributes = inspect(task).attrs
    if not (attributes.status.history.has_changes() or attributes.task_id.history.has_changes()):
        return
    connection.execute(
        delete(SessionTaskLease).where(SessionTaskLease.session_id == task.session_id)
    )
    if task.status == TaskStatus.RUNNING:
        connection.execute(
            insert(SessionTaskLease).values(
                session_id=task.session_id,
                task_id=task.task_id,
                task_type=task.task_type,
                attempt=task.retry_count + 1,
            )
        )
    if task.can_be_retried and (task.failure_context or {}).get("category") == _TEMPORARY:
        in_transaction = getattr(object_session(task), "info", {})
        connection.execute(
            _RETRY_LATER,
            {
                "session_id": task.session_id,
                "task_id": task.task_id,
                "retry_count": task.retry_count,
                "backoff_seconds": in_transaction.get(
                    "retry_backoff_seconds", RETRY_BACKOFF_SECONDS
                ),
            },
        )


@event.listens_for(DbSession, "persistent_to_transient")
def _leave_the_session_behind_again(_db: DbSession, instance: object) -> None:
    """It was stored, and that was rolled back: it may be stored again."""
    if isinstance(instance, SessionTask) and _TAKEN_ALONG in instance.__dict__:
        instance.__dict__[LEFT_BEHIND] = instance.__dict__.pop(_TAKEN_ALONG)
