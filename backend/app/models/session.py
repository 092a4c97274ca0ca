"""Sessions and the one row that says what each of them is doing: `Session`, `SessionTask`.

The rules of the state machine stand here once. Each has two faces: on an object in memory it
answers `True` or `False`, on the class it is an SQL expression (a SQLAlchemy hybrid), and the
guarded statements of `app.repositories.transitions` are built from the latter.

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
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import (
    REAL,
    CheckConstraint,
    ColumnElement,
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
    and_,
    event,
    func,
    or_,
    select,
    text,
)
from sqlalchemy.ext.hybrid import hybrid_method, hybrid_property
from sqlalchemy.orm import Mapped, mapped_column, object_session, relationship
from sqlalchemy.orm import Session as DbSession

from app.core.database import after_commit, current_db_session, database_now
from app.core.errors import ErrorCategory, TaskConflict, TaskValidationError
from app.core.failure import MAX_EARLIER, brief_of, sanitize_context
from app.core.logging import log_cancelled, log_completed, log_failed, log_started
from app.models.base import Base, enum_by_value, format_utc, utc_now

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


MAX_RETRY_COUNT = 3
"""Three failures, of whatever cause, and a task can no longer be retried."""


class TaskType(str, Enum):
    """The three background tasks, in the order in which a session goes through them."""

    PROCESSING = "processing"
    EXPORT = "export"
    ADF_VALIDATION = "adf_validation"

    @property
    def next(self) -> TaskType | None:
        """The type that may take over once this one has completed; None after the last."""
        return NEXT_TYPE.get(self)


NEXT_TYPE = {
    TaskType.PROCESSING: TaskType.EXPORT,
    TaskType.EXPORT: TaskType.ADF_VALIDATION,
}


class TaskStatus(str, Enum):
    """What became of the task; `running` means that an engine owns it, picked up or not."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SessionStage(str, Enum):
    """How far a session has come; a stage named like a task is entered when that task starts."""

    CREATED = "created"
    PROCESSING = "processing"
    EXPORT = "export"
    ADF_VALIDATION = "adf_validation"
    COMPLETED = "completed"


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long a completed task took, of the run that completed it.

    Attributes:
        completed_at: when it completed, by the database's clock.
        waited_seconds: from its start until a worker had claimed it.
        ran_seconds: from the claim to the completion.

    """

    completed_at: datetime
    waited_seconds: float
    ran_seconds: float


class Session(Base):
    """A session that a person opened: its documents go through the three tasks.

    Attributes:
        owner: who may see it; every read of the repository is scoped by it.
        label: what people call it.
        stage: moved in the same transaction as the task row, at every transition.
        options: what the person chose (`app.models.options.SessionOptions`, as JSON).
        auto_advance: whether a completed task starts the next one by itself.
        created_at: never changes, and is what lists are ordered by.
        updated_at: the last activity; retention counts from here.
        stage_times: of each task type that a worker completed, how long that took. The task row
            knows only its present type, so the times of the earlier ones are kept here.

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
    owner: Mapped[str] = mapped_column(String(200), server_default="local")
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

    @property
    def stage_times(self) -> dict[TaskType, StageTimes]:
        """The times of each task type that a worker has completed, in the order of the types."""
        return {
            task_type: StageTimes(
                completed_at,
                getattr(self, f"{task_type.value}_waited_seconds"),
                getattr(self, f"{task_type.value}_ran_seconds"),
            )
            for task_type in TaskType
            if (completed_at := getattr(self, f"{task_type.value}_completed_at")) is not None
        }


class SessionTask(Base):
    """Background task execution tracking for sessions: one row per session, for ever.

    `task_id` names one run; a retry or the next type gets a new one. The ten columns are those of
    the specification; what is volatile (who runs it, until when, how far it is) is the lease's:
    `app.models.lease.SessionTaskLease`.
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
    task_type: Mapped[TaskType] = mapped_column(enum_by_value(TaskType, "task_type"))
    # The old value is always loaded: a change is guarded by it (`app.models.storing`).
    task_id: Mapped[uuid.UUID] = mapped_column(active_history=True)
    status: Mapped[TaskStatus] = mapped_column(
        enum_by_value(TaskStatus, "status"), active_history=True
    )
    started_at: Mapped[datetime]
    completed_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    retry_count: Mapped[int] = mapped_column(default=0, server_default=text("0"))
    failure_context: Mapped[dict[str, Any] | None]

    session: Mapped[Session | None] = relationship(back_populates="task")

    # -- the rules: one in Python, one in SQL, both from the same words ---------------------------

    @hybrid_property
    def is_running(self) -> bool:
        """Whether an engine owns the task."""
        return self.status == TaskStatus.RUNNING

    @hybrid_property
    def can_be_retried(self) -> bool:
        """Whether the task failed and has attempts left."""
        return self.status == TaskStatus.FAILED and self.retry_count < MAX_RETRY_COUNT

    @can_be_retried.inplace.expression
    @classmethod
    def _can_be_retried_expression(cls) -> ColumnElement[bool]:
        return and_(cls.status == TaskStatus.FAILED, cls.retry_count < MAX_RETRY_COUNT)

    @hybrid_property
    def can_be_restarted(self) -> bool:
        """Whether the same type may run again: after a failure with attempts left, or a cancel."""
        return self.can_be_retried or self.status == TaskStatus.CANCELLED

    @can_be_restarted.inplace.expression
    @classmethod
    def _can_be_restarted_expression(cls) -> ColumnElement[bool]:
        return or_(cls.can_be_retried, cls.status == TaskStatus.CANCELLED)

    @hybrid_method
    def can_start(self, task_type: TaskType) -> bool:
        """Whether `start(task_type)` is legal on this record."""
        if self.status == TaskStatus.COMPLETED:
            return self.task_type.next == task_type
        return self.task_type == task_type and self.can_be_restarted

    @can_start.inplace.expression  # type: ignore[attr-defined, untyped-decorator]  # SQLAlchemy's
    @classmethod
    def _can_start_expression(cls, task_type: ColumnElement[TaskType]) -> ColumnElement[bool]:
        is_next = or_(
            *(and_(cls.task_type == done, task_type == after) for done, after in NEXT_TYPE.items())
        )
        return or_(
            and_(cls.status == TaskStatus.COMPLETED, is_next),
            and_(cls.task_type == task_type, cls.can_be_restarted),
        )

    @property
    def duration_minutes(self) -> float | None:
        """Minutes from start to completion or failure; None while neither has happened."""
        ended_at = self.completed_at or self.failed_at
        if ended_at is None:
            return None
        return (ended_at - self.started_at).total_seconds() / 60

    def can_retry(self) -> bool:
        """Whether the task failed and has attempts left: `can_be_retried` by its other name."""
        return self.can_be_retried

    # -- the transitions of an object in memory ---------------------------------------------------

    def mark_started(self, task_id: uuid.UUID) -> None:
        """Run the record's own type under a new `task_id`: a first start, or another attempt.

        The last failure stays visible in `failure_context` until the task completes.

        Raises:
            TaskConflict: the task is already running.
            TaskValidationError: it completed, its attempts are used up, or it is a first start of
                another type than `processing`.

        """
        is_first = self.status is None and self.task_type == TaskType.PROCESSING
        if not is_first and not (self.status and self.can_start(self.task_type)):
            raise self.refusal_to_start(self.task_type)
        self._run(self.task_type, task_id)

    def advance(self, task_type: TaskType, task_id: uuid.UUID) -> None:
        """Hand the completed record over to the next task type, with a clean count.

        Raises:
            TaskConflict: the task is running.
            TaskValidationError: it has not completed, or `task_type` is not the next.

        """
        if self.status != TaskStatus.COMPLETED or not self.can_start(task_type):
            raise self.refusal_to_start(task_type)
        self.retry_count = 0
        self.failure_context = None
        self._run(task_type, task_id)

    def mark_completed(self) -> None:
        """Set the task as completed, now; the failure context of earlier attempts is cleared.

        Raises:
            TaskValidationError: the task is not running.

        """
        self._require_running("complete")
        self._stamp("completed_at", self._now())
        self.status = TaskStatus.COMPLETED
        self.failure_context = None
        if self.task_type.next is None:
            self._take_the_session_to(SessionStage.COMPLETED)
        duration = self.duration_minutes or 0.0
        self._tell(log_completed, duration)

    def mark_failed(self, error_context: Mapping[str, Any]) -> None:
        """Set the task as failed, now, with what went wrong; the retry count goes up by one.

        `error_context` is redacted, made safe for PostgreSQL and cut (`app.core.failure`);
        earlier failures of the same task stay inside it in brief.

        Raises:
            TaskValidationError: the task is not running.

        """
        self._require_running("fail")
        moment = self._now()
        self._stamp("failed_at", moment)
        earlier = self.failure_context
        self.status = TaskStatus.FAILED
        self.retry_count = count = min(self.retry_count + 1, MAX_RETRY_COUNT)
        context = {
            **sanitize_context(error_context),
            "attempt": count,
            "failed_at": format_utc(moment),
        }
        if earlier is not None:
            briefs = [*earlier.get("earlier", ()), brief_of(earlier)]
            context["earlier"] = briefs[-MAX_EARLIER:]
        self.failure_context = context
        self._tell(log_failed, count, context)

    def mark_cancelled(self) -> None:
        """Set the task as cancelled; it may be started again, and costs no attempt.

        Raises:
            TaskValidationError: the task is not running.

        """
        self._require_running("cancel")
        self._touch_session(self._now())
        self.status = TaskStatus.CANCELLED
        self._tell(log_cancelled, self.task_id)

    def refusal_to_start(self, task_type: TaskType | None) -> TaskConflict | TaskValidationError:
        """The error that says why `start(task_type)` is illegal here, and what to do instead."""
        if not self.status or task_type is None:
            given = task_type.value if task_type else "a task without a type"
            return TaskValidationError(
                f"A session begins with {TaskType.PROCESSING.value}, not {given}",
                next_step=f"Start {TaskType.PROCESSING.value} first.",
                session_id=self.session_id,
            )
        if self.status == TaskStatus.RUNNING:
            return TaskConflict(
                f"Task {self.task_type.value} is already running",
                next_step="Wait for it, or cancel it first.",
                session_id=self.session_id,
            )
        if self.status == TaskStatus.COMPLETED:
            following = self.task_type.next
            return TaskValidationError(
                "Cannot modify completed task",
                ErrorCategory.USER_FIXABLE,
                next_step=f"The next task is {following.value}."
                if following
                else "All tasks are done; open a new session for new documents.",
                session_id=self.session_id,
            )
        if self.status == TaskStatus.FAILED and not self.can_be_retried:
            return TaskValidationError(
                "Maximum retry attempts exceeded",
                ErrorCategory.ADMIN_REQUIRED,
                next_step="An operator can reset the count: session-tasks retry ID --reset.",
                session_id=self.session_id,
            )
        return TaskValidationError(
            f"Cannot start {task_type.value}: {self.task_type.value} {self.status.value}",
            next_step=f"Retry {self.task_type.value} first.",
            session_id=self.session_id,
        )

    def refusal_to_end(self, action: str) -> TaskValidationError:
        """The error that says why `action` (complete, fail, cancel) is illegal here."""
        if self.status == TaskStatus.COMPLETED:
            return TaskValidationError(
                "Cannot modify completed task",
                ErrorCategory.USER_FIXABLE,
                next_step="Nothing is left to do: it has ended.",
                session_id=self.session_id,
            )
        state = self.status.value if self.status else "not started"
        kind = self.task_type.value if self.task_type else "without a type"
        return TaskValidationError(
            f"Cannot {action} task {kind}: it is {state}, not running",
            next_step="Look at its state again; somebody may have been quicker.",
            session_id=self.session_id,
        )

    # -- queries in the open transaction ----------------------------------------------------------

    @classmethod
    def find_active_for_session(cls, session_id: uuid.UUID) -> SessionTask | None:
        """The running task of the session, or None; in the transaction that is open.

        Raises:
            NoTransaction: no `Database.transaction()` is open.

        """
        return cls._find(session_id, cls.status == TaskStatus.RUNNING)

    @classmethod
    def find_failed_retryable(cls, session_id: uuid.UUID) -> SessionTask | None:
        """The failed task of the session that can be retried, or None; in the open transaction.

        Raises:
            NoTransaction: no `Database.transaction()` is open.

        """
        return cls._find(session_id, cls.can_be_retried)  # type: ignore[arg-type]  # the hybrid

    # -- private ----------------------------------------------------------------------------------

    @classmethod
    def _find(cls, session_id: uuid.UUID, rule: ColumnElement[bool]) -> SessionTask | None:
        """The session's task, as it is now, if the rule holds for it."""
        return current_db_session().scalar(
            select(cls)
            .where(cls.session_id == session_id, rule)
            .execution_options(populate_existing=True)
        )

    def _run(self, task_type: TaskType, task_id: uuid.UUID) -> None:
        self._stamp("started_at", self._now())
        self.task_type = task_type
        self.task_id = task_id
        self.status = TaskStatus.RUNNING
        self.completed_at = None
        self.failed_at = None
        self._take_the_session_to(SessionStage(task_type.value))
        self._tell(log_started, task_id)

    def _require_running(self, action: str) -> None:
        if self.status != TaskStatus.RUNNING:
            raise self.refusal_to_end(action)

    def _known_session(self) -> Session | None:
        """The session, if it is loaded: an object without a database cannot load it."""
        return cast("Session | None", self.__dict__.get("session"))

    def _db(self) -> DbSession | None:
        session = self._known_session()
        return object_session(self) or (object_session(session) if session else None)

    def _now(self) -> datetime:
        """The present moment: by the database's clock where the object belongs to one."""
        db = self._db()
        if db is None:
            return utc_now()
        with db.no_autoflush:
            moment = database_now(db)
            _ = self.session  # loaded now: a load half-way would flush half of a change
        return moment

    def _stamp(self, column: str, moment: datetime) -> None:
        setattr(self, column, moment)
        self._touch_session(moment)
        if self._db() is None:
            _have_the_database_stamp(self, column)

    def _touch_session(self, moment: datetime) -> None:
        session = self._known_session()
        if session is None:
            self.__dict__.setdefault(LEFT_BEHIND, {})["updated_at"] = func.clock_timestamp()
            return
        if "stage" in (left := self.__dict__.pop(LEFT_BEHIND, {})):
            session.stage = left["stage"]
        session.updated_at = moment
        if self._db() is None:
            _have_the_database_stamp(session, "updated_at")

    def _take_the_session_to(self, stage: SessionStage) -> None:
        session = self._known_session()
        if session is None:
            self.__dict__[LEFT_BEHIND]["stage"] = stage
        else:
            session.stage = stage

    def _tell(self, log: Callable[..., None], *details: Any) -> None:
        """Log what happened, once it is true: after the commit, where there is one to come."""
        task_type, db = self.task_type, self._db()

        def tell() -> None:
            log(task_type, self.session_id, *details)

        if db is None:
            tell()
        else:
            after_commit(db, tell)


STAMPED = "_stamped"
LEFT_BEHIND = "_left_behind"
"""What `app.models.storing` has to see to when the object is stored."""


@event.listens_for(SessionTask, "init")
def _count_from_zero(_task: SessionTask, _args: object, values: dict[str, Any]) -> None:
    values.setdefault("retry_count", 0)


def _have_the_database_stamp(target: Session | SessionTask, column: str) -> None:
    """Note that this is our own clock's moment: the database puts its own in when it is written."""
    target.__dict__.setdefault(STAMPED, set()).add(column)
