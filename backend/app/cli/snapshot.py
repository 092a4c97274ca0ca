"""Read a session's state, and derive the events between two states."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.logging import log_audit
from app.models.session import LOCAL_OWNER
from app.repositories.session_queries import SessionQueries
from app.repositories.session_snapshot import SessionSnapshot
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from app.core.database import Database

TASK_ORDER = tuple(TaskType)


def read_snapshot(database: Database, session_id: UUID) -> SessionSnapshot:
    """Return the session's current state, read in a transaction of its own.

    Raises:
        SessionNotFound: there is none.

    """
    with database.transaction() as db:
        return SessionQueries(db, owner=None).get(session_id)


def audit_act(act: str, snapshot: SessionSnapshot) -> None:
    """Log at AUDIT the command's act on another owner's session, and the account that ran it."""
    if snapshot.owner != LOCAL_OWNER:
        log_audit(
            f"{act} by the command",
            session_id=snapshot.session_id,
            owner=snapshot.owner,
            by_user=_account(),
        )


def _account() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user id without an entry
        return f"uid {os.getuid()}"


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """The start or the end of a task of the session.

    Attributes:
        seconds: how long the run took; None for a start, and where the run was not seen.
        attempt: the number of the attempt that started, from 1; 0 for an end.
        failure: the failure, if it failed.

    """

    task_type: TaskType
    status: TaskStatus
    seconds: float | None = None
    attempt: int = 0
    failure: Mapping[str, Any] | None = None


def events_between(before: SessionSnapshot | None, now: SessionSnapshot) -> list[SessionEvent]:
    """Return the events from one snapshot to the next, in order.

    Tasks can start and end between two reads of a row that keeps no history. Their order is known
    all the same: a session that is at the export has completed processing.
    """
    if now.task_type is None or now.status is None:
        return []
    events: list[SessionEvent] = []
    if before is None or before.task_id != now.task_id:
        events += _ends_unseen(before, now, now.task_type)
        events.append(SessionEvent(now.task_type, TaskStatus.RUNNING, attempt=_attempt(now)))
    elif before.status == now.status:
        return []
    if now.status != TaskStatus.RUNNING:
        failure = now.failure_context if now.status == TaskStatus.FAILED else None
        events.append(SessionEvent(now.task_type, now.status, now.elapsed_seconds, failure=failure))
    return events


def _attempt(now: SessionSnapshot) -> int:
    return now.retry_count + (now.status != TaskStatus.FAILED)


def _ends_unseen(
    before: SessionSnapshot | None, now: SessionSnapshot, current: TaskType
) -> list[SessionEvent]:
    """Return the end of the run that was seen last, and of the tasks that ran unseen since."""
    if before is not None and before.task_type == current:
        return [_end_of_a_run(before, now, current)] if before.status == TaskStatus.RUNNING else []
    first = 0 if before is None or before.task_type is None else TASK_ORDER.index(before.task_type)
    ends = []
    for task_type in TASK_ORDER[first : TASK_ORDER.index(current)]:
        seconds = None
        if before is not None and before.task_type == task_type:
            if before.status == TaskStatus.COMPLETED:
                continue  # already reported
            seconds = _until_the_next_start(before, now)
        ends.append(SessionEvent(task_type, TaskStatus.COMPLETED, seconds))
    return ends


def _end_of_a_run(before: SessionSnapshot, now: SessionSnapshot, current: TaskType) -> SessionEvent:
    """Return how a run ended after which the same task was started again.

    If the failure count has not grown, it was cancelled.
    """
    failures_before_this_run = now.retry_count - (now.status == TaskStatus.FAILED)
    if failures_before_this_run == before.retry_count:
        return SessionEvent(current, TaskStatus.CANCELLED)
    return SessionEvent(current, TaskStatus.FAILED, failure=now.failure_context)


def _until_the_next_start(before: SessionSnapshot, now: SessionSnapshot) -> float | None:
    """Return how long a run took, if it ended as the next task started, in one transaction.

    If it was interrupted and started again between two reads, the time covers both runs.
    """
    is_next = before.task_type is not None and before.task_type.next == now.task_type
    is_first_run = before.auto_advance and now.retry_count == 0
    was_running = before.status == TaskStatus.RUNNING
    if not (is_next and is_first_run and was_running) or not (before.started_at and now.started_at):
        return None
    return max(0.0, (now.started_at - before.started_at).total_seconds())
