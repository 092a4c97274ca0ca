"""The session as it stands, and what must have happened between two such moments."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.cli.login import LOCAL_OWNER
from app.core.logging import log_audit
from app.models.session import TaskStatus, TaskType
from app.repositories.session_queries import SessionQueries
from app.repositories.session_snapshot import SessionSnapshot

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from app.core.database import Database

TASK_ORDER = tuple(TaskType)


def read_snapshot(database: Database, session_id: UUID) -> SessionSnapshot:
    """The session as it stands now, in a transaction of its own.

    Raises:
        SessionNotFound: there is none.

    """
    with database.transaction() as db:
        return SessionQueries(db, owner=None).get(session_id)


def audit_act(act: str, snapshot: SessionSnapshot) -> None:
    """Log at AUDIT what the command did to a session of another owner, and which account ran it."""
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


def happenings_between(before: SessionSnapshot | None, now: SessionSnapshot) -> list[Happening]:
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
        failure = now.failure_context if now.status == TaskStatus.FAILED else None
        happened.append(Happening(now.task_type, now.status, now.elapsed_seconds, failure=failure))
    return happened


def _attempt(now: SessionSnapshot) -> int:
    return now.retry_count + (now.status != TaskStatus.FAILED)


def _ends_unseen(
    before: SessionSnapshot | None, now: SessionSnapshot, current: TaskType
) -> list[Happening]:
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


def _end_of_a_run(before: SessionSnapshot, now: SessionSnapshot, current: TaskType) -> Happening:
    """How a run ended after which the same task was started again: a failure was counted."""
    failures_before_this_run = now.retry_count - (now.status == TaskStatus.FAILED)
    if failures_before_this_run == before.retry_count:
        return Happening(current, TaskStatus.CANCELLED)
    return Happening(current, TaskStatus.FAILED, failure=now.failure_context)


def _until_the_next_start(before: SessionSnapshot, now: SessionSnapshot) -> float | None:
    """How long a run took whose end is the start of the next task: both are one transaction.

    Had it been broken off and begun anew without being looked at, the time is that of both.
    """
    is_next = before.task_type is not None and before.task_type.next == now.task_type
    is_first_run = before.auto_advance and now.retry_count == 0
    was_running = before.status == TaskStatus.RUNNING
    if not (is_next and is_first_run and was_running) or not (before.started_at and now.started_at):
        return None
    return max(0.0, (now.started_at - before.started_at).total_seconds())
