"""A session as a value: its row, its task, its lease and its due retry, read at one moment."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    case,
    func,
    null,
    or_,
    select,
)
from sqlalchemy.dialects import postgresql

from app.core.errors import DELIVERY_DIFFERS, REFUSED_BY_JIRA, ErrorCategory
from app.core.wording import short_id
from app.models.lease import SessionTaskLease, SessionTaskRetry
from app.models.session import Session, SessionTask
from app.models.task_state import TaskRules
from app.values.states import SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID


class LeaseState(Enum):
    """The state of a session's lease: whether a worker has the running task."""

    NONE = "none"
    """The task is not running, and has no lease."""

    UNCLAIMED = "unclaimed"
    """The task waits for a worker."""

    HELD = "held"
    """A worker runs the task, and its lease is valid."""

    EXPIRED = "expired"
    """The worker did not renew its lease in time; the next sweep fails the run."""

    MISSING = "missing"
    """The task runs without a lease, after a database crash; the sweeper creates a new one."""


@dataclass(frozen=True, slots=True)
class SessionSnapshot(TaskRules):
    """A session, its task, its lease and its due retry, at one moment; with the task's rules.

    Attributes:
        task_type, task_id, status, started_at: None before the first task starts.
        failure_context: of the last failure; it is kept while the task is retried.
        enqueued_at, claimed_at, leased_until, worker_id, progress_*: of the running task only.
        retry_at: when a temporary failure is retried automatically.
        moment: when it was read, by the database's clock.

    """

    session_id: UUID
    owner: str
    label: str
    stage: SessionStage
    auto_advance: bool
    options: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    task_type: TaskType | None
    task_id: UUID | None
    status: TaskStatus | None
    started_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    retry_count: int
    failure_context: Mapping[str, Any] | None
    enqueued_at: datetime | None
    claimed_at: datetime | None
    leased_until: datetime | None
    worker_id: UUID | None
    progress_current: int | None
    progress_total: int | None
    progress_message: str | None
    retry_at: datetime | None
    moment: datetime

    @property
    def short_id(self) -> str:
        """The short id that is shown; see `app.core.wording.short_id`."""
        return short_id(self.session_id)

    @property
    def lease_state(self) -> LeaseState:
        """Whether a worker has the task, by its lease."""
        if self.status != TaskStatus.RUNNING:
            return LeaseState.NONE
        if self.enqueued_at is None:
            return LeaseState.MISSING
        if self.leased_until is None:
            return LeaseState.UNCLAIMED
        return LeaseState.HELD if self.leased_until > self.moment else LeaseState.EXPIRED

    @property
    def ended_at(self) -> datetime | None:
        """When the task completed or failed; None while it runs, and for a cancelled one."""
        return self.completed_at or self.failed_at

    @property
    def elapsed_seconds(self) -> float | None:
        """How long the task has been running, or ran; None if that cannot be known."""
        until = self.moment if self.status == TaskStatus.RUNNING else self.ended_at
        if until is None or self.started_at is None:
            return None
        return max(0.0, (until - self.started_at).total_seconds())

    @property
    def next_task_type(self) -> TaskType | None:
        """The next task to start; None while a task runs, and after the last."""
        if self.task_type is None:
            return TaskType.PROCESSING
        if self.status == TaskStatus.RUNNING:
            return None
        return self.task_type.next if self.status == TaskStatus.COMPLETED else self.task_type

    @property
    def failure(self) -> Mapping[str, Any]:
        """The context of the last failure; empty if there is none that can be read."""
        return self.failure_context if isinstance(self.failure_context, dict) else {}

    @property
    def needs_new_session(self) -> bool:
        """Whether only other documents would help, which this session no longer accepts.

        Validation checks what was exported; the documents were processed before that. Issues that
        differ are corrected in Jira: a new session would create them again.
        """
        return (
            self.status == TaskStatus.FAILED
            and self.failure.get("category") == ErrorCategory.USER_FIXABLE.value
            and (
                self.failure.get("error") == REFUSED_BY_JIRA
                or (
                    self.task_type == TaskType.ADF_VALIDATION
                    and self.failure.get("error") != DELIVERY_DIFFERS
                )
            )
        )

    @property
    def fixable_by(self) -> ErrorCategory:
        """The category of the last failure: an administrator's, once the attempts are used up.

        Only an administrator can reset them; where a new session is needed, nobody has to.
        `fixable_by_sql` says the same of rows.
        """
        category = ErrorCategory.of(self.failure.get("category"))
        is_used_up = self.status == TaskStatus.FAILED and not self.can_be_retried
        if is_used_up and not self.needs_new_session:
            return ErrorCategory.ADMIN_REQUIRED
        return category

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens without a user's act."""
        return self.status != TaskStatus.RUNNING and self.retry_at is None


def fixable_by_sql(category: ColumnElement[str]) -> ColumnElement[str | None]:
    """`SessionSnapshot.fixable_by` of a task row; `category` is the failure's stored one.

    Null for a task that has not failed.
    """
    temporary = ErrorCategory.TEMPORARY.value
    error = SessionTask.failure_context["error"].astext
    return case(
        (SessionTask.status != TaskStatus.FAILED, null()),
        (and_(category == temporary, SessionTask.can_be_retried), temporary),
        (
            and_(
                category == ErrorCategory.USER_FIXABLE.value,
                or_(
                    SessionTask.can_be_retried,
                    error == REFUSED_BY_JIRA,
                    and_(
                        SessionTask.task_type == TaskType.ADF_VALIDATION,
                        error.is_distinct_from(DELIVERY_DIFFERS),
                    ),
                ),
            ),
            category,
        ),
        else_=ErrorCategory.ADMIN_REQUIRED.value,
    )


SNAPSHOTS: Select[Any] = (
    select(
        Session.id,
        Session.owner,
        Session.label,
        Session.stage,
        Session.auto_advance,
        Session.options,
        Session.created_at,
        Session.updated_at,
        SessionTask.task_type,
        SessionTask.task_id,
        SessionTask.status,
        SessionTask.started_at,
        SessionTask.completed_at,
        SessionTask.failed_at,
        func.coalesce(SessionTask.retry_count, 0),
        SessionTask.failure_context,
        SessionTaskLease.enqueued_at,
        SessionTaskLease.claimed_at,
        SessionTaskLease.leased_until,
        SessionTaskLease.worker_id,
        SessionTaskLease.progress_current,
        SessionTaskLease.progress_total,
        SessionTaskLease.progress_message,
        SessionTaskRetry.retry_at,
        func.clock_timestamp(),
    )
    .select_from(Session)
    .outerjoin(SessionTask, SessionTask.session_id == Session.id)
    .outerjoin(
        SessionTaskLease,
        and_(
            SessionTaskLease.session_id == Session.id,
            SessionTaskLease.task_id == SessionTask.task_id,
            SessionTask.status == TaskStatus.RUNNING,
        ),
    )
    .outerjoin(
        SessionTaskRetry,
        and_(
            SessionTaskRetry.session_id == Session.id,
            SessionTaskRetry.task_id == SessionTask.task_id,
            SessionTask.status == TaskStatus.FAILED,
        ),
    )
)
"""All columns of `SessionSnapshot`, in its order; a lease or retry of another run is void."""


def _snapshots_sql() -> str:
    """The same statement as text, for asynchronous use of the driver; `owner` is in its WHERE."""
    base = SNAPSHOTS.compile(
        dialect=postgresql.dialect(),  # type: ignore[no-untyped-call]  # SQLAlchemy's
        compile_kwargs={"literal_binds": True},
    )
    return (
        f"{base}\n JOIN unnest(%(session_ids)s::uuid[], %(owners)s::text[]) AS wanted(id, owner)\n"
        "   ON true\nWHERE sessions.id = wanted.id"
        " AND (wanted.owner IS NULL OR sessions.owner = wanted.owner)"
    )


SNAPSHOTS_SQL = _snapshots_sql()


def snapshot_of_row(row: Sequence[Any]) -> SessionSnapshot:
    """Return the snapshot in a row of `SNAPSHOTS_SQL`, as the driver read it."""
    values = list(row)
    values[3] = SessionStage(row[3])
    if row[8] is not None:  # there is a task
        values[8], values[10] = TaskType(row[8]), TaskStatus(row[10])
    return SessionSnapshot(*values)
