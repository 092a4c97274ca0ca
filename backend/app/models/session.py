"""Sessions, and the one row with the state of each: `Session`, `SessionTask`.

The rules of the state machine, which `app.models.task_state` implements once:

========== =========================== ============ ================== ============
from       start(type)                 complete     fail               cancel
========== =========================== ============ ================== ============
no row     processing only → running   –            –                  –
running    TaskConflict                → completed  → failed, retry    → cancelled
                                                    count + 1
completed  the next type → running,    error        error              error
           retry count 0, context gone
failed     the same type, while        error        error              error
           retry count < 3 → running
cancelled  the same type → running     error        error              error
========== =========================== ============ ================== ============

The methods of `SessionTask` apply them to an object in memory, `app.models.orm_events` to every
object that is flushed, and the guarded statements of `app.repositories.statements` to rows.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    REAL,
    CheckConstraint,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column, relationship, validates
from sqlalchemy.orm.attributes import set_committed_value
from sqlalchemy.orm.exc import ObjectDeletedError

from app.core.errors import SessionDeleted, TaskValidationError
from app.core.failure import failure_context
from app.core.transactions import current_db_session
from app.models.base import Base, enum_by_value, utc_now
from app.models.frozen_json import FrozenJson, freeze
from app.models.task_state import MAX_RETRY_COUNT, TaskRules, TaskState
from app.values.states import NEXT_TYPE, SessionStage, TaskStatus, TaskType

__all__ = [
    "LOCAL_OWNER",
    "MAX_RETRY_COUNT",
    "NEXT_TYPE",
    "Session",
    "SessionStage",
    "SessionTask",
    "StageTimes",
    "TaskState",
    "TaskStatus",
    "TaskType",
]


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long a completed task took, in the run that completed it.

    Attributes:
        completed_at: when it completed, by the database's clock.
        waited_seconds: from its start until a worker had claimed it.
        ran_seconds: from the claim to the completion.

    """

    completed_at: datetime
    waited_seconds: float
    ran_seconds: float


LOCAL_OWNER = "local"
"""The owner of the command line's sessions, and of the first key."""


class Session(Base):
    """A session: its documents go through the three tasks, one at a time.

    Attributes:
        owner: the owner; every read of the repository is restricted to it.
        label: the name that is shown.
        stage: follows the task, in the same transaction, at every transition; it is not assigned.
        options: the chosen options (`app.values.options.SessionOptions`, as JSON).
        auto_advance: whether a task that a worker completes starts the next one automatically.
        created_at: never changes; lists are ordered by it.
        updated_at: the last activity; retention counts from here.
        stage_times: how long each task type took that a worker completed. The task row has only
            its present type, so the earlier ones' times are kept here.

    """

    __tablename__ = "sessions"
    __table_args__ = (
        Index("ix_sessions_owner_created_at_id", "owner", "created_at", "id"),
        Index("ix_sessions_created_at_id", "created_at", "id"),
        # Every transition updates its row in place: room for the new version in the same page
        # keeps the update HOT (PostgreSQL, chapter 66.7). One statement may move every row of a
        # page at once, so there is room for as much again.
        {"postgresql_with": {"fillfactor": 45}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    owner: Mapped[str] = mapped_column(String(200), server_default=LOCAL_OWNER)
    label: Mapped[str] = mapped_column(String(200), server_default="")
    stage: Mapped[SessionStage] = mapped_column(
        enum_by_value(SessionStage, "stage"), server_default=SessionStage.CREATED.value
    )
    options: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'::jsonb"))
    auto_advance: Mapped[bool] = mapped_column(server_default=text("true"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    processing_completed_at: Mapped[datetime | None]
    processing_waited_seconds: Mapped[float | None] = mapped_column(REAL)
    processing_ran_seconds: Mapped[float | None] = mapped_column(REAL)
    export_completed_at: Mapped[datetime | None]
    export_waited_seconds: Mapped[float | None] = mapped_column(REAL)
    export_ran_seconds: Mapped[float | None] = mapped_column(REAL)
    adf_validation_completed_at: Mapped[datetime | None]
    adf_validation_waited_seconds: Mapped[float | None] = mapped_column(REAL)
    adf_validation_ran_seconds: Mapped[float | None] = mapped_column(REAL)

    task: Mapped[SessionTask | None] = relationship(
        back_populates="session", cascade="all, delete-orphan", passive_deletes=True
    )

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"id": uuid.uuid4()} | values)

    @validates("stage")
    def _as_stage(self, _key: str, value: object) -> SessionStage | None:
        stage: SessionStage | None = _member(SessionStage, value)
        return stage

    @property
    def stage_times(self) -> dict[TaskType, StageTimes]:
        """Return the times of each task type that a worker completed, in the order of the types."""
        return {
            task_type: StageTimes(
                completed_at,
                getattr(self, f"{task_type.value}_waited_seconds"),
                getattr(self, f"{task_type.value}_ran_seconds"),
            )
            for task_type in TaskType
            if (completed_at := getattr(self, f"{task_type.value}_completed_at")) is not None
        }


class SessionTask(TaskRules, Base):
    """Background task execution tracking for sessions: one row per session.

    `task_id` names one run; a retry or the next type gets a new one. The ten columns are those of
    the specification; volatile data (the worker, its lease, the progress) is in
    `app.models.lease.SessionTaskLease`.

    The methods change the object only. When it is flushed, `app.models.orm_events` applies the
    same transition to the stored row, with the database's clock, and moves stage,
    lease and retry along; a row that has changed since it was read raises `TaskConflict`.
    """

    __tablename__ = "session_tasks"
    __table_args__ = (
        UniqueConstraint("session_id", name="uq_session_tasks_session_id"),
        CheckConstraint(f"retry_count BETWEEN 0 AND {MAX_RETRY_COUNT}", name="retry_count"),
        CheckConstraint(
            "(status = 'completed') = (completed_at IS NOT NULL)",
            name="completed_at_when_completed",
        ),
        CheckConstraint(
            "(status = 'failed') = (failed_at IS NOT NULL)", name="failed_at_when_failed"
        ),
        CheckConstraint(
            "status <> 'failed' OR failure_context IS NOT NULL", name="failure_explained"
        ),
        CheckConstraint(
            "jsonb_typeof(failure_context) = 'object'", name="failure_context_is_object"
        ),
        {"postgresql_with": {"fillfactor": 45}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    session_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("sessions.id", ondelete="CASCADE"))
    # The rules compare with the stored value, so an assignment loads it if it is expired.
    task_type: Mapped[TaskType] = mapped_column(
        enum_by_value(TaskType, "task_type"), active_history=True
    )
    task_id: Mapped[uuid.UUID] = mapped_column(active_history=True)
    status: Mapped[TaskStatus] = mapped_column(
        enum_by_value(TaskStatus, "status"), active_history=True
    )
    started_at: Mapped[datetime] = mapped_column(active_history=True)
    completed_at: Mapped[datetime | None] = mapped_column(active_history=True)
    failed_at: Mapped[datetime | None] = mapped_column(active_history=True)
    retry_count: Mapped[int] = mapped_column(
        default=0, server_default=text("0"), active_history=True
    )
    failure_context: Mapped[dict[str, Any] | None] = mapped_column(FrozenJson, active_history=True)

    session: Mapped[Session | None] = relationship(back_populates="task")

    def __init__(self, **values: Any) -> None:
        super().__init__(**{"retry_count": 0} | values)
        if self.status is not None:  # history compares with the object's first state
            for key in STATE:
                set_committed_value(self, key, getattr(self, key))

    @validates("task_type", "status", "task_id", "session_id", "failure_context")
    def _as_typed(self, key: str, value: Any) -> Any:
        match key:
            case "task_type":
                return _member(TaskType, value)
            case "status":
                return _member(TaskStatus, value)
            case "failure_context":
                return None if value is None else freeze(_object(value))
            case _:
                return _member(uuid.UUID, value)

    @property
    def duration_minutes(self) -> float | None:
        """Return the minutes from start to completion or failure; None before that."""
        ended_at = self.completed_at or self.failed_at
        if ended_at is None:
            return None
        return (ended_at - self.started_at).total_seconds() / 60

    def can_retry(self) -> bool:
        """Return `can_be_retried`, under the specification's name."""
        return self.can_be_retried

    # -- transitions ------------------------------------------------------------------------------

    def mark_started(self, task_id: uuid.UUID) -> None:
        """Set the task as running under a new `task_id`: a first start, or another attempt.

        After a completion, assign `task_type` first: the next type reuses the record,
        with a clean count (see `advance`). The last failure stays visible in `failure_context`
        while the same type is retried.

        Raises:
            TaskConflict: the task is already running.
            TaskValidationError: it completed, its attempts are used up, `task_type` is neither the
                stored one nor the next, or the first start is of another type than `processing`.

        """
        self._become(self._settled().started(self.task_type, task_id, utc_now()))

    def advance(self, task_type: TaskType, task_id: uuid.UUID) -> None:
        """Start the next task type in the completed record, with a clean count.

        Raises:
            TaskConflict: the task is running.
            TaskValidationError: it has not completed, or `task_type` is not the next.

        """
        settled = self._settled()
        if not settled.can_advance(task_type):
            raise settled.start_error(task_type)
        self._become(settled.started(task_type, task_id, utc_now()))

    def mark_completed(self) -> None:
        """Set the task as completed, now; the failure context of earlier attempts is cleared.

        It starts nothing, regardless of the session's `auto_advance`: call `advance`, or complete
        through `SessionRepository`, which applies it.

        Raises:
            TaskValidationError: the task is not running.

        """
        self._become(self._settled().completed(utc_now()))

    def mark_failed(self, error_context: Mapping[str, Any] | BaseException | str) -> None:
        """Set the task as failed, now, with the failure; the retry count increases by one.

        An exception or a text is described as a context of its own. The context is redacted, made
        safe for PostgreSQL and cut (`app.core.failure`); it keeps earlier failures in brief.

        Raises:
            TaskValidationError: the task is not running.

        """
        if isinstance(error_context, BaseException):
            error_context = failure_context(error_context)
        elif isinstance(error_context, str):
            error_context = {"message": error_context}
        self._become(self._settled().failed(error_context, utc_now()))

    def mark_cancelled(self) -> None:
        """Set the task as cancelled; it may be started again, and costs no attempt.

        Raises:
            TaskValidationError: the task is not running.

        """
        self._become(self._settled().cancelled())

    # -- queries in the open transaction ----------------------------------------------------------

    @classmethod
    def find_active_for_session(cls, session_id: uuid.UUID) -> SessionTask | None:
        """Return the running task of the session, or None, from the transaction that is open.

        Raises:
            NoTransaction: none is; see `app.core.database.bound`.

        """
        task = cls._find(session_id)
        return task if task is not None and task.is_running else None

    @classmethod
    def find_failed_retryable(cls, session_id: uuid.UUID) -> SessionTask | None:
        """Return the failed task of the session that can be retried, or None.

        Raises:
            NoTransaction: no transaction is open; see `app.core.database.bound`.

        """
        task = cls._find(session_id)
        return task if task is not None and task.can_be_retried else None

    # -- private ----------------------------------------------------------------------------------

    @classmethod
    def _find(cls, session_id: uuid.UUID) -> SessionTask | None:
        """Return the session's task as stored now; changes that are not flushed are kept."""
        db = current_db_session()
        stored = select(cls).where(cls.session_id == session_id)
        task = db.scalar(stored)
        if task is None or inspect(task).modified:
            return task
        return db.scalar(stored.execution_options(populate_existing=True))

    def _settled(self) -> TaskState:
        """Return the state that the rules compare with: after the last method, else as stored."""
        taken = steps(self)
        try:
            settled = taken[-1] if taken else stored_state(self)
        except ObjectDeletedError as error:
            raise session_deleted(self.__dict__.get("session_id")) from error
        if inspect(self).has_identity:
            return settled
        return replace(settled, retry_count=self.retry_count)  # nothing stored to compare with

    def _become(self, state: TaskState) -> None:
        taken = steps(self)
        if not taken and not inspect(self).has_identity and (began := stored_state(self)).status:
            taken.append(began)
        for key in STATE:
            setattr(self, key, getattr(state, key))
        taken.append(state)
        session = self.__dict__.get("session")  # not loaded here: that would be a query
        if session is not None:
            session.stage = inspect(session).info["stage"] = state.stage


STEPS = "session_task_steps"

STATE = (
    "task_type",
    "task_id",
    "status",
    "retry_count",
    "started_at",
    "completed_at",
    "failed_at",
    "failure_context",
)
"""The columns of the state; `id` and `session_id` never change."""


def steps(task: SessionTask) -> list[TaskState]:
    """The states that the object's methods went through since it was last flushed."""
    taken: list[TaskState] = inspect(task).info.setdefault(STEPS, [])
    return taken


def present_state(task: SessionTask) -> TaskState:
    """Return the state that the object holds now."""
    return TaskState(task.session_id, **{key: getattr(task, key) for key in STATE})


def stored_state(task: SessionTask) -> TaskState:
    """Return the state that the object was loaded with, or began with."""
    attributes = inspect(task).attrs
    values = {}
    for key in STATE:
        added, _, deleted = attributes[key].history
        values[key] = deleted[0] if deleted else None if added else getattr(task, key)
    return TaskState(task.session_id, **values | {"retry_count": values["retry_count"] or 0})


def session_deleted(session_id: uuid.UUID | None) -> SessionDeleted:
    """Return the error for an object whose row is gone."""
    return SessionDeleted(
        f"Session {session_id} was deleted meanwhile",
        next_step="Drop the object: its task went with the session.",
        session_id=session_id,
    )


def _member(kind: type[Any], value: Any) -> Any:
    """Return the value as that enum's member, or as a UUID."""
    try:
        return value if value is None or isinstance(value, kind) else kind(value)
    except (AttributeError, ValueError) as error:  # the former for a UUID from an int
        raise TaskValidationError(f"{value!r} is no {kind.__name__}") from error


def _object(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise TaskValidationError(f"A failure_context is a JSON object, not {value!r:.40}")
    return value
