"""What a session's rows say at one moment, and what must have happened between two such moments."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select

from app.models.lease import SessionTaskRetry
from app.models.session import SessionStage, SessionTask, TaskStatus, TaskType
from app.repositories.session_repository import SessionRepository, SessionView

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.core.database import Database

TASK_ORDER = tuple(TaskType)
SHORT_ID_LENGTH = 8


class Hold(Enum):
    """Who has a running task in hand, by its lease; people are shown the difference."""

    NOBODY = "nobody"
    """The task is not running."""

    QUEUE = "queue"
    """It waits for a worker."""

    WORKER = "worker"
    """A worker has it, and its lease lasts."""

    OVERDUE = "overdue"
    """Its worker has not renewed the lease in time: the next sweep takes the task back."""

    LOST = "lost"
    """The lease is gone, after a database crash, say: the next sweep puts the task back in line."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A session, its task and its lease as they stood at one moment of the database's clock.

    Attributes:
        task_type, task_id, status, started_at: None before the first task starts.
        ended_at: when the task completed or failed; None while it runs, and for a cancelled one.
        failure: the last failure's context; it stays visible while the task is tried again.
        retry_at: when a temporary failure is tried again by itself; None if it is not.

    """

    session_id: UUID
    label: str
    stage: SessionStage
    created_at: datetime
    updated_at: datetime
    auto_advance: bool
    options: Mapping[str, Any]
    moment: datetime
    task_type: TaskType | None = None
    task_id: UUID | None = None
    status: TaskStatus | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    retry_count: int = 0
    can_be_retried: bool = False
    can_be_restarted: bool = False
    failure: Mapping[str, Any] | None = None
    retry_at: datetime | None = None
    hold: Hold = Hold.NOBODY
    worker_id: UUID | None = None
    progress_current: int | None = None
    progress_total: int | None = None
    progress_message: str | None = None

    @property
    def short_id(self) -> str:
        """The first characters of the session's id: enough to name it."""
        return str(self.session_id)[:SHORT_ID_LENGTH]

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will happen by itself."""
        return self.status != TaskStatus.RUNNING and self.retry_at is None

    @property
    def elapsed_seconds(self) -> float | None:
        """How long the task has been running, or ran; None if that cannot be known."""
        until = self.moment if self.status == TaskStatus.RUNNING else self.ended_at
        if until is None or self.started_at is None:
            return None
        return max(0.0, (until - self.started_at) / timedelta(seconds=1))


def read_snapshot(database: Database, session_id: UUID) -> Snapshot:
    """The session as it stands now, in a transaction of its own.

    Raises:
        SessionNotFound: there is none.

    """
    with database.transaction() as db:
        return snapshot_of(db, SessionRepository(db).get(session_id))


def snapshot_of(db: DbSession, view: SessionView) -> Snapshot:
    """The view as a snapshot; `db` is asked for the time, and for a retry that is due."""
    session, task, lease = view.session, view.task, view.lease
    moment = db.scalars(select(func.clock_timestamp())).one()
    base: dict[str, Any] = {
        "session_id": session.id,
        "label": session.label,
        "stage": session.stage,
        "created_at": session.created_at,
        "updated_at": session.updated_at,
        "auto_advance": session.auto_advance,
        "options": dict(session.options),
        "moment": moment,
    }
    if task is None:
        return Snapshot(**base)
    hold = Hold.NOBODY
    if task.is_running:
        # A lease of another run than the row's says nothing about this one.
        if lease is None or lease.task_id != task.task_id:
            hold, lease = Hold.LOST, None
        elif lease.leased_until is None:
            hold = Hold.QUEUE
        else:
            hold = Hold.WORKER if lease.leased_until > moment else Hold.OVERDUE
    else:
        lease = None
    return Snapshot(
        **base,
        task_type=task.task_type,
        task_id=task.task_id,
        status=task.status,
        started_at=task.started_at,
        ended_at=task.completed_at or task.failed_at,
        retry_count=task.retry_count,
        can_be_retried=task.can_be_retried,
        can_be_restarted=task.can_be_restarted,
        failure=task.failure_context,
        retry_at=_retry_at(db, task),
        hold=hold,
        worker_id=None if lease is None else lease.worker_id,
        progress_current=None if lease is None else lease.progress_current,
        progress_total=None if lease is None else lease.progress_total,
        progress_message=None if lease is None else lease.progress_message,
    )


def _retry_at(db: DbSession, task: SessionTask) -> datetime | None:
    """When the sweeper tries this failure again; a retry noted for an earlier run is void."""
    if not task.can_be_retried:
        return None
    return db.scalar(
        select(SessionTaskRetry.retry_at).where(
            SessionTaskRetry.session_id == task.session_id,
            SessionTaskRetry.task_id == task.task_id,
        )
    )


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened to a task of the session.

    Attributes:
        seconds: how long the run took; None for a start, and where it was not seen.
        attempt: which attempt started, the first being 1; 0 for an end.
        failure: why, for a failure.

    """

    task_type: TaskType
    status: TaskStatus
    seconds: float | None = None
    attempt: int = 0
    failure: Mapping[str, Any] | None = None


def happenings_between(before: Snapshot | None, now: Snapshot) -> list[Happening]:
    """What happened from one snapshot to the next, in order.

    Tasks can start and end between two looks at a row that keeps no history. Their order is known
    all the same: a session that is at the export has completed processing.
    """
    if now.task_type is None or now.status is None:
        return []
    happened: list[Happening] = []
    if before is None or before.task_id != now.task_id:
        happened += _ends_unseen(before, now, now.task_type)
        happened.append(Happening(now.task_type, TaskStatus.RUNNING, attempt=_attempt(now)))
    elif before.status == now.status:
        return []
    if now.status != TaskStatus.RUNNING:
        failure = now.failure if now.status == TaskStatus.FAILED else None
        happened.append(Happening(now.task_type, now.status, now.elapsed_seconds, failure=failure))
    return happened


def _attempt(now: Snapshot) -> int:
    return now.retry_count + (now.status != TaskStatus.FAILED)


def _ends_unseen(before: Snapshot | None, now: Snapshot, current: TaskType) -> list[Happening]:
    """How the run that was seen last ended, and which tasks came and went since."""
    if before is not None and before.task_type == current:
        return [_end_of_a_run(before, now, current)] if before.status == TaskStatus.RUNNING else []
    first = 0 if before is None or before.task_type is None else TASK_ORDER.index(before.task_type)
    ends = []
    for task_type in TASK_ORDER[first : TASK_ORDER.index(current)]:
        seconds = None
        if before is not None and before.task_type == task_type:
            if before.status == TaskStatus.COMPLETED:
                continue  # it was told when it was seen
            seconds = _until_the_next_start(before, now)
        ends.append(Happening(task_type, TaskStatus.COMPLETED, seconds))
    return ends


def _end_of_a_run(before: Snapshot, now: Snapshot, current: TaskType) -> Happening:
    """How a run ended after which the same task was started again: a failure was counted."""
    failures_before_this_run = now.retry_count - (now.status == TaskStatus.FAILED)
    if failures_before_this_run == before.retry_count:
        return Happening(current, TaskStatus.CANCELLED)
    return Happening(current, TaskStatus.FAILED, failure=now.failure)


def _until_the_next_start(before: Snapshot, now: Snapshot) -> float | None:
    """How long a run took whose end is the start of the next task: both are one transaction.

    Had it been broken off and begun anew without being looked at, the time is that of both.
    """
    is_next = before.task_type is not None and before.task_type.next == now.task_type
    is_first_run = before.auto_advance and now.retry_count == 0
    was_running = before.status == TaskStatus.RUNNING
    if not (is_next and is_first_run and was_running) or not (before.started_at and now.started_at):
        return None
    return max(0.0, (now.started_at - before.started_at) / timedelta(seconds=1))
