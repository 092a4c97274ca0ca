"""Reads of sessions: one row each, as values, for many sessions at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Select,
    String,
    and_,
    bindparam,
    case,
    cast,
    exists,
    func,
    null,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.dialects import postgresql

from app.core.database import use_custom_plans
from app.core.errors import DELIVERY_DIFFERS, ErrorCategory
from app.core.wording import short_id
from app.models.content import Document, Ticket
from app.models.lease import SessionTaskLease, SessionTaskRetry
from app.models.session import (
    MAX_RETRY_COUNT,
    Session,
    SessionStage,
    SessionTask,
    TaskStatus,
    TaskType,
)
from app.repositories.transition_errors import session_not_found

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session as DbSession


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
    """The task runs without a lease, after a database crash, say; the sweeper makes a new one."""


@dataclass(frozen=True, slots=True)
class SessionSnapshot:
    """A session, its task, its lease and its coming retry, as they stood at one moment.

    Attributes:
        task_type, task_id, status, started_at: None before the first task starts.
        failure_context: of the last failure; it stays while the task is tried again.
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
        """The short id that people use: see `app.core.wording.short_id`."""
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
        """The task that would start next; None while a task runs, and after the last."""
        if self.task_type is None:
            return TaskType.PROCESSING
        if self.status == TaskStatus.RUNNING:
            return None
        return self.task_type.next if self.status == TaskStatus.COMPLETED else self.task_type

    @property
    def can_be_retried(self) -> bool:
        """Whether the task failed and has attempts left."""
        return self.status == TaskStatus.FAILED and self.retry_count < MAX_RETRY_COUNT

    @property
    def can_be_restarted(self) -> bool:
        """Whether the same task may run again."""
        return self.can_be_retried or self.status == TaskStatus.CANCELLED

    @property
    def failure(self) -> Mapping[str, Any]:
        """The context of the last failure; empty where there is none that can be read."""
        return self.failure_context if isinstance(self.failure_context, dict) else {}

    @property
    def needs_new_session(self) -> bool:
        """Whether only other documents can help, which this session can no longer take.

        Validation checks what was exported; the documents were processed before that. Issues that
        differ are corrected in Jira: a new session would create them again.
        """
        return (
            self.status == TaskStatus.FAILED
            and self.task_type == TaskType.ADF_VALIDATION
            and self.failure.get("category") == ErrorCategory.USER_FIXABLE.value
            and self.failure.get("error") != DELIVERY_DIFFERS
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
        """Whether nothing more happens without an act of a person."""
        return self.status != TaskStatus.RUNNING and self.retry_at is None


def fixable_by_sql(category: ColumnElement[str]) -> ColumnElement[str | None]:
    """`SessionSnapshot.fixable_by` of a task row; `category` is the failure's stored one.

    Null for a task that has not failed.
    """
    temporary = ErrorCategory.TEMPORARY.value
    is_used_up = SessionTask.retry_count >= MAX_RETRY_COUNT
    return case(
        (SessionTask.status != TaskStatus.FAILED, null()),
        (and_(category == temporary, ~is_used_up), temporary),
        (
            and_(
                category == ErrorCategory.USER_FIXABLE.value,
                or_(
                    ~is_used_up,
                    and_(
                        SessionTask.task_type == TaskType.ADF_VALIDATION,
                        SessionTask.failure_context["error"].astext.is_distinct_from(
                            DELIVERY_DIFFERS
                        ),
                    ),
                ),
            ),
            category,
        ),
        else_=ErrorCategory.ADMIN_REQUIRED.value,
    )


_SNAPSHOTS: Select[Any] = (
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

_ANYBODYS = _SNAPSHOTS.where(Session.id == bindparam("session_id"))
_OWNED = _ANYBODYS.where(Session.owner == bindparam("owner"))


class SessionOrder(str, Enum):
    """By what a list of sessions is sorted."""

    NEWEST = "newest"
    OLDEST = "oldest"
    ACTIVE = "active"
    SILENT = "silent"

    @property
    def is_by_activity(self) -> bool:
        """Whether the last activity decides, rather than when the session was opened."""
        return self in {SessionOrder.ACTIVE, SessionOrder.SILENT}

    @property
    def is_descending(self) -> bool:
        """Whether the latest comes first."""
        return self in {SessionOrder.NEWEST, SessionOrder.ACTIVE}

    def key_of(self, session: SessionSnapshot) -> datetime:
        """Return the moment by which this order places the session."""
        return session.updated_at if self.is_by_activity else session.created_at


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """Which sessions a list holds; None: any.

    Attributes:
        text: stands in the label, or the id begins with it.
        category: who can fix the failure of a failed task.
        error: the type of that failure.

    """

    stage: SessionStage | None = None
    status: TaskStatus | None = None
    task_type: TaskType | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    category: ErrorCategory | None = None
    error: str | None = None


_OWNERS = """
WITH RECURSIVE named AS (
    (SELECT owner FROM sessions ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT owner FROM sessions WHERE sessions.owner > named.owner ORDER BY owner LIMIT 1)
      FROM named WHERE named.owner IS NOT NULL)
SELECT owner FROM named WHERE owner IS NOT NULL LIMIT :limit
"""


class SessionQueries:
    """Reads of one owner's sessions (None: of everybody's), in the transaction of `db`."""

    def __init__(self, db: DbSession, *, owner: str | None) -> None:
        self._db = db
        self._owner = owner

    def snapshot(self, session_id: UUID) -> SessionSnapshot | None:
        """The session as it stands here; None if this owner has none of that id."""
        statement = _ANYBODYS if self._owner is None else _OWNED
        found = self._db.execute(statement, {"session_id": session_id, "owner": self._owner})
        row = found.one_or_none()
        return None if row is None else SessionSnapshot(*row)

    def get(self, session_id: UUID) -> SessionSnapshot:
        """The session as it stands here.

        Raises:
            SessionNotFound: this owner has none of that id.

        """
        snapshot = self.snapshot(session_id)
        if snapshot is None:
            raise session_not_found(session_id)
        return snapshot

    def page(
        self,
        wanted: SessionFilter,
        *,
        limit: int,
        before: tuple[datetime, UUID] | None = None,
        order: SessionOrder = SessionOrder.NEWEST,
    ) -> list[SessionSnapshot]:
        """Up to `limit` sessions in this order, from behind `before` (`order.key_of` it, its id).

        Only the first two orders have an index; the others read every session that matches.
        """
        use_custom_plans(self._db)
        moment = Session.updated_at if order.is_by_activity else Session.created_at
        place = tuple_(moment, Session.id)
        columns = (
            [moment.desc(), Session.id.desc()] if order.is_descending else [moment, Session.id]
        )
        statement = _SNAPSHOTS.where(*self._matches(wanted)).order_by(*columns).limit(limit)
        if before is not None:
            statement = statement.where(place < before if order.is_descending else place > before)
        return [SessionSnapshot(*row) for row in self._db.execute(statement)]

    def retryable_runs(
        self, wanted: SessionFilter, *, limit: int, only: Sequence[UUID] | None = None
    ) -> list[tuple[UUID, UUID]]:
        """The runs `(session_id, task_id)` of up to `limit` sessions that may be run again."""
        return self._runs(wanted, SessionTask.can_be_restarted, limit=limit, only=only)

    def running_runs(
        self, wanted: SessionFilter, *, limit: int, only: Sequence[UUID] | None = None
    ) -> list[tuple[UUID, UUID]]:
        """The runs `(session_id, task_id)` of up to `limit` sessions whose task is running."""
        return self._runs(wanted, SessionTask.is_running, limit=limit, only=only)

    def matching(
        self, wanted: SessionFilter, *, limit: int, only: Sequence[UUID] | None = None
    ) -> list[UUID]:
        """The ids of up to `limit` sessions that match, the oldest first."""
        use_custom_plans(self._db)
        statement = (
            select(Session.id)
            .outerjoin(SessionTask, SessionTask.session_id == Session.id)
            .where(*self._matches(wanted))
            .order_by(Session.created_at, Session.id)
            .limit(limit)
        )
        if only is not None:
            statement = statement.where(Session.id.in_(only))
        return list(self._db.scalars(statement))

    def count(self, wanted: SessionFilter, *, most: int) -> int:
        """How many sessions match; not counted on beyond `most`."""
        use_custom_plans(self._db)
        matching = (
            select(Session.id)
            .outerjoin(SessionTask, SessionTask.session_id == Session.id)
            .where(*self._matches(wanted))
            .limit(most)
            .subquery()
        )
        return self._db.scalars(select(func.count()).select_from(matching)).one()

    def ticket_counts(self, session_ids: Collection[UUID]) -> dict[UUID, int]:
        """How many tickets each of these sessions has; those without any are left out."""
        statement = (
            select(Ticket.session_id, func.count())
            .where(Ticket.session_id.in_(session_ids))
            .group_by(Ticket.session_id)
        )
        return {row[0]: row[1] for row in self._db.execute(statement)}

    def _runs(
        self,
        wanted: SessionFilter,
        rule: ColumnElement[bool] | Any,
        *,
        limit: int,
        only: Sequence[UUID] | None,
    ) -> list[tuple[UUID, UUID]]:
        use_custom_plans(self._db)
        statement = (
            select(Session.id, SessionTask.task_id)
            .join(SessionTask, SessionTask.session_id == Session.id)
            .where(*self._matches(wanted), rule)
            .order_by(Session.created_at, Session.id)
            .limit(limit)
        )
        if only is not None:
            statement = statement.where(Session.id.in_(only))
        return [(session_id, task_id) for session_id, task_id in self._db.execute(statement)]

    def _matches(self, wanted: SessionFilter) -> list[ColumnElement[bool]]:
        context = SessionTask.failure_context
        conditions: list[ColumnElement[bool]] = []
        for column, value in (
            (Session.owner, self._owner),
            (Session.stage, wanted.stage),
            (SessionTask.status, wanted.status),
            (SessionTask.task_type, wanted.task_type),
            (fixable_by_sql(context["category"].astext), wanted.category and wanted.category.value),
            (context["error"].astext, wanted.error),
        ):
            if value is not None:
                conditions.append(column == value)
        if wanted.created_after is not None:
            conditions.append(Session.created_at >= wanted.created_after)
        if wanted.created_before is not None:
            conditions.append(Session.created_at < wanted.created_before)
        if wanted.text:
            conditions.append(
                or_(
                    Session.label.icontains(wanted.text, autoescape=True),
                    cast(Session.id, String).startswith(wanted.text.lower(), autoescape=True),
                    *(
                        exists().where(
                            model.session_id == Session.id,
                            words.icontains(wanted.text, autoescape=True),
                        )
                        for model, words in ((Document, Document.name), (Ticket, Ticket.title))
                    ),
                )
            )
        return conditions

    def owners(self, *, limit: int) -> list[str]:
        """Return up to `limit` owners of sessions, by name: one step in the index for each."""
        return list(self._db.scalars(text(_OWNERS), {"limit": limit}))

    def changed_since(self, moment: datetime, *, limit: int) -> list[SessionSnapshot]:
        """Up to `limit` sessions whose last activity is not before `moment`, the oldest first."""
        use_custom_plans(self._db)
        statement = (
            _SNAPSHOTS.where(owned_by(self._owner), Session.updated_at >= moment)
            .order_by(Session.updated_at)
            .limit(limit)
        )
        return [SessionSnapshot(*row) for row in self._db.execute(statement)]


def owned_by(owner: str | None) -> ColumnElement[bool]:
    """Whether the session belongs to this owner; always, for None."""
    return true() if owner is None else Session.owner == owner


def owners_of(
    db: DbSession, session_ids: Collection[UUID], *, exclude: str
) -> list[tuple[UUID, str]]:
    """Return (id, owner) of those of these sessions that belong to others than `exclude`."""
    statement = select(Session.id, Session.owner).where(
        Session.id.in_(session_ids), Session.owner != exclude
    )
    return [(session_id, owner) for session_id, owner in db.execute(statement)]


def read_snapshots_of_owners(
    connection: Connection, session_ids: Collection[UUID], owners: Collection[str | None]
) -> list[SessionSnapshot]:
    """Return those of these sessions that belong to one of these owners; None: to anybody."""
    statement = _SNAPSHOTS.where(Session.id.in_(session_ids))
    if None not in owners:
        statement = statement.where(Session.owner.in_(owners))
    return [SessionSnapshot(*row) for row in connection.execute(statement)]


def _snapshots_sql() -> str:
    """The same statement as text, for a caller that awaits the driver; it says `owner` in WHERE."""
    base = _SNAPSHOTS.compile(
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
    """The snapshot that a row of `SNAPSHOTS_SQL` holds, as the driver read it."""
    values = list(row)
    values[3] = SessionStage(row[3])
    if row[8] is not None:  # there is a task
        values[8], values[10] = TaskType(row[8]), TaskStatus(row[10])
    return SessionSnapshot(*values)
