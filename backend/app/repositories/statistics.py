"""Figures of one owner's sessions: counts by state, groups of failures, durations of tasks.

These reads have no index, on purpose: an index on changing columns would cost every
transition its HOT update. Each is one scan of one snapshot; a frequent caller should
cache the result for a few seconds (`app.web.overview` does).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Row,
    String,
    Text,
    and_,
    case,
    cast,
    column,
    func,
    literal,
    null,
    or_,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.orm import aliased

from app.core.database import use_custom_plans
from app.core.errors import ErrorCategory
from app.models.base import UtcDateTime
from app.models.content import Document
from app.models.lease import SessionTaskLease
from app.models.session import Session, SessionTask
from app.repositories.pause_repository import Pause, read_pauses
from app.repositories.session_queries import owned_by
from app.repositories.session_snapshot import fixable_by_sql
from app.repositories.worker_repository import count_unserved, live_workers
from app.values.states import SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.repositories.worker_repository import LiveWorker

ELLIPSIS = "…"
_VARIABLE_PARTS = (
    r"\"[^\"]*\"|“[^”]*”|`[^`]*`|\Y'[^']*'\Y"  # what is quoted
    r"|[[:alnum:]_.:-]*[0-9](?:[[:alnum:]_.,:-]*[[:alnum:]])?"  # numbers, ids, times
)
"""The varying parts of similar messages (PostgreSQL, section 9.7.3)."""

_MOST_CHARACTERS_COMPARED = 300
MOST_GROUPS = 50

_RECENT_SESSIONS = 300
_FEWEST_RUNS = 4
_SIMILAR = 2.0
"""A past run is similar if its documents are at most this many times larger or smaller."""


@dataclass(frozen=True, slots=True)
class SessionCounts:
    """The number of sessions by their tasks' state; `waiting` are among `running`."""

    total: int = 0
    not_started: int = 0
    running: int = 0
    waiting: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """A group of similar failures: same task type, error and kind of message.

    Attributes:
        message: what their messages have in common, with `…` for what may vary: the group's key.
        shown: their message if all have the same, else what they have in common.
        retryable_count: how many of them have attempts left.

    """

    task_type: TaskType
    error: str
    message: str
    shown: str
    category: ErrorCategory
    count: int
    retryable_count: int
    first_seen_at: datetime
    last_seen_at: datetime


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of all of an owner's sessions at one moment."""

    counts: SessionCounts
    failed_by_category: Mapping[ErrorCategory, int]
    failure_groups: tuple[FailureGroup, ...]


@dataclass(frozen=True, slots=True)
class OldestTask:
    """The live task that has waited, or run, for longest."""

    session_id: UUID
    label: str
    task_type: TaskType
    seconds: float


@dataclass(frozen=True, slots=True)
class Live:
    """Counts of live tasks and workers.

    Attributes:
        workers: all live workers, whichever owner's tasks they hold.
        unserved_count: the owner's waiting tasks that no worker takes.
        pauses: the task types whose claims are paused.

    """

    workers: Sequence[LiveWorker]
    unserved_count: int
    pauses: Sequence[Pause]
    oldest_waiting: OldestTask | None
    oldest_running: OldestTask | None


@dataclass(frozen=True, slots=True)
class RunTimes:
    """The completed tasks of one type in one slice of time; times in seconds."""

    task_type: TaskType
    begins_at: datetime
    count: int
    ran_median: float
    ran_p95: float


@dataclass(frozen=True, slots=True)
class LikelySeconds:
    """The durations of the middle half of similar past runs."""

    low: float
    high: float
    run_count: int


def normalised(message: ColumnElement[str]) -> ColumnElement[str]:
    """Return the message with varying parts replaced by `…`."""
    cut = func.left(message, _MOST_CHARACTERS_COMPARED)
    return func.regexp_replace(cut, _VARIABLE_PARTS, ELLIPSIS, "g", type_=String)


class Statistics:
    """Figures of one owner's sessions, or of all (None), in the transaction of `db`.

    They may read whole tables.
    """

    def __init__(self, db: DbSession, *, owner: str | None) -> None:
        use_custom_plans(db)
        self._db = db
        self._owner = owner

    def standing(self) -> Standing:
        """Return counts by status, failures by who can fix them, and groups of similar failures."""
        rows = self._db.execute(self._standing()).all()
        sessions = next(row for row in rows if row.status is None)
        by_status: Counter[TaskStatus] = Counter()
        for row in rows:
            if row.status is not None:
                by_status[TaskStatus(row.status)] += row.session_count
        groups = [_group_of(row) for row in rows if row.status == TaskStatus.FAILED.value]
        groups.sort(key=lambda group: (group.count, group.last_seen_at), reverse=True)
        by_category = dict.fromkeys(ErrorCategory, 0)
        for group in groups:
            by_category[group.category] += group.count
        counts = SessionCounts(
            total=sessions.session_count,
            not_started=sessions.special_count,
            # A session leaves `created` with its first start, so the rest has completed.
            completed=sessions.session_count - sessions.special_count - by_status.total(),
            running=by_status[TaskStatus.RUNNING],
            waiting=sum(r.special_count for r in rows if r.status == TaskStatus.RUNNING.value),
            failed=by_status[TaskStatus.FAILED],
            cancelled=by_status[TaskStatus.CANCELLED],
        )
        return Standing(counts, by_category, tuple(groups[:MOST_GROUPS]))

    def failed_like(
        self, task_type: TaskType, error: str, message: str, *, limit: int
    ) -> list[tuple[UUID, UUID]]:
        """Return up to `limit` runs (session, task id) of a `FailureGroup` with attempts left."""
        statement = (
            select(Session.id, SessionTask.task_id)
            .join(SessionTask, SessionTask.session_id == Session.id)
            .where(
                owned_by(self._owner),
                SessionTask.can_be_retried,
                SessionTask.task_type == task_type,
                _context("error") == error,
                normalised(_context("message")) == message,
            )
            .order_by(SessionTask.failed_at)
            .limit(limit)
        )
        return [(row[0], row[1]) for row in self._db.execute(statement)]

    def live(self) -> Live:
        """Return the live workers, and the tasks that have waited and run for longest."""
        lease = SessionTaskLease
        now = func.clock_timestamp()
        rows = self._db.execute(
            union_all(
                *(
                    select(
                        literal(name).label("kind"),
                        lease.session_id,
                        Session.label,
                        lease.task_type,
                        func.extract("epoch", now - since).label("seconds"),
                    )
                    .join(Session, Session.id == lease.session_id)
                    .where(owned_by(self._owner), condition)
                    .order_by(since)
                    .limit(1)
                    .subquery()
                    .select()
                    for name, since, condition in (
                        (
                            "waiting",
                            lease.enqueued_at,
                            and_(lease.claimed_at.is_(None), lease.enqueued_at <= now),
                        ),
                        ("running", lease.claimed_at, lease.claimed_at.is_not(None)),
                    )
                )
            )
        )
        oldest = {
            row.kind: OldestTask(
                row.session_id, row.label, TaskType(row.task_type), float(row.seconds)
            )
            for row in rows
        }
        connection = self._db.connection()
        return Live(
            live_workers(connection),
            count_unserved(connection, self._owner),
            read_pauses(connection),
            oldest.get("waiting"),
            oldest.get("running"),
        )

    def run_times(self, *, since: datetime, slice_length: timedelta) -> list[RunTimes]:
        """Return completions since then, by task type and slice of time, the earliest first."""
        rows = []
        for task_type in TaskType:
            completed_at, ran = _times_of(task_type)
            begins_at = func.date_bin(slice_length, completed_at, datetime(2020, 1, 1, tzinfo=UTC))
            statement = (
                select(
                    begins_at,
                    func.count(),
                    func.percentile_cont(0.5).within_group(ran),
                    func.percentile_cont(0.95).within_group(ran),
                )
                .where(owned_by(self._owner), completed_at >= since)
                .group_by(begins_at)
                .order_by(begins_at)
            )
            rows += [RunTimes(task_type, *row) for row in self._db.execute(statement)]
        return rows

    def likely_seconds(self, session_ids: Collection[UUID]) -> dict[UUID, LikelySeconds]:
        """Return for running sessions among these how long similar past runs took.

        Similar runs have the same type and documents of about the same size, among the last
        sessions. A session with too few such runs is left out.
        """
        running = (
            select(SessionTaskLease.session_id, SessionTaskLease.task_type, _document_bytes())
            .join(Session, Session.id == SessionTaskLease.session_id)
            .where(owned_by(self._owner), Session.id.in_(session_ids))
            .cte("running")
        )
        recent = (
            select(Session)
            .where(owned_by(self._owner))
            .order_by(Session.created_at.desc(), Session.id.desc())
            .limit(_RECENT_SESSIONS)
            .subquery()
        )
        past_session = aliased(Session, recent)
        past = union_all(
            *(
                select(
                    literal(task_type.value).label("task_type"),
                    _times_of(task_type, past_session)[1].label("ran"),
                    _document_bytes(past_session).label("bytes"),
                ).where(_times_of(task_type, past_session)[1].is_not(None))
                for task_type in TaskType
            )
        ).cte("past")
        ran = past.c.ran
        statement = (
            select(
                running.c.session_id,
                func.percentile_cont(0.25).within_group(ran),
                func.percentile_cont(0.75).within_group(ran),
                func.count(),
            )
            .join(
                past,
                and_(
                    past.c.task_type == running.c.task_type,
                    past.c.bytes.between(running.c.bytes / _SIMILAR, running.c.bytes * _SIMILAR),
                ),
            )
            .group_by(running.c.session_id)
            .having(func.count() >= _FEWEST_RUNS)
        )
        return {
            row[0]: LikelySeconds(row[1], row[2], row[3]) for row in self._db.execute(statement)
        }

    def _standing(self) -> CompoundSelect[Any]:
        """One row about all sessions (status null), then one for each group of relevant tasks.

        Completed tasks, nearly all, are not read: their number is the rest.
        """
        sessions = select(
            null().label("status"),
            null().label("task_type"),
            null().label("error"),
            null().label("message"),
            null().label("only_message"),
            null().label("category"),
            func.count().label("session_count"),
            func.count().filter(Session.stage == SessionStage.CREATED).label("special_count"),
            cast(null(), UtcDateTime).label("first_seen_at"),
            cast(null(), UtcDateTime).label("last_seen_at"),
        ).where(owned_by(self._owner))
        # Read once as a whole: each `->>` would decompress a long context again.
        failure = (
            func.jsonb_to_record(
                case((SessionTask.status == TaskStatus.FAILED, SessionTask.failure_context))
            )
            .table_valued(column("error", Text), column("message", Text), column("category", Text))
            .render_derived(with_types=True)
        )
        is_special = or_(SessionTask.can_be_retried, SessionTaskLease.session_id.is_not(None))
        groups = (
            select(
                cast(SessionTask.status, String),
                cast(SessionTask.task_type, String),
                failure.c.error,
                normalised(failure.c.message),
                _only_message(failure.c.message),
                fixable_by_sql(failure.c.category),
                func.count(),
                func.count().filter(is_special),
                func.min(SessionTask.failed_at),
                func.max(SessionTask.failed_at),
            )
            .join(Session, Session.id == SessionTask.session_id)
            .outerjoin(
                SessionTaskLease,
                and_(
                    SessionTaskLease.session_id == SessionTask.session_id,
                    SessionTaskLease.task_id == SessionTask.task_id,
                    SessionTaskLease.claimed_at.is_(None),
                ),
            )
            .outerjoin(failure, true())
            .where(owned_by(self._owner), SessionTask.status != TaskStatus.COMPLETED)
            .group_by(text("1, 2, 3, 4, 6"))
        )
        return union_all(sessions, groups)


def _only_message(message: ColumnElement[str]) -> ColumnElement[str]:
    """Return the message that all of a group have, or null."""
    first = func.min(message.collate("C"))
    return case((first == func.max(message.collate("C")), first))


def _context(key: str) -> ColumnElement[str]:
    value: ColumnElement[str] = SessionTask.failure_context[key].astext
    return value


def _group_of(row: Row[Any]) -> FailureGroup:
    return FailureGroup(
        task_type=TaskType(row.task_type),
        error=row.error or "",
        message=row.message or "",
        shown=row.only_message or row.message or "",
        category=ErrorCategory.of(row.category),
        count=row.session_count,
        retryable_count=row.special_count,
        first_seen_at=row.first_seen_at,
        last_seen_at=row.last_seen_at,
    )


def _times_of(
    task_type: TaskType, session: type[Session] = Session
) -> tuple[ColumnElement[datetime], ColumnElement[float]]:
    """Return the columns for when a task of this type completed, and how long it ran."""
    name = task_type.value
    return getattr(session, f"{name}_completed_at"), getattr(session, f"{name}_ran_seconds")


def _document_bytes(session: type[Session] = Session) -> ColumnElement[int]:
    """Return the size of a session's documents, read from their headers only."""
    return (
        select(func.coalesce(func.sum(func.octet_length(Document.content)), 0))
        .where(Document.session_id == session.id)
        .scalar_subquery()
        .label("bytes")
    )
