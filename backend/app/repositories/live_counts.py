"""Counts of live tasks and workers, over all owners."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import and_, func, select

from app.models.lease import SessionTaskLease
from app.repositories.pause_repository import read_pauses
from app.repositories.worker_repository import count_unserved, live_workers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import timedelta

    from sqlalchemy import Connection

    from app.values.states import TaskType


@dataclass(frozen=True, slots=True)
class LiveCounts:
    """The numbers of running and waiting tasks, over all owners; the age is in seconds.

    Attributes:
        unserved: the waiting tasks that no live worker takes.
        workers: the number of live workers, by state.
        paused: the task types whose claims are paused.

    """

    running: int
    waiting: int
    oldest_waiting_seconds: float
    unserved: int
    workers: Mapping[str, int]
    paused: Collection[TaskType]


def count_live(connection: Connection) -> LiveCounts:
    """Count leases, which are few, as there is one per live task, and workers."""
    is_due = and_(
        SessionTaskLease.claimed_at.is_(None),
        SessionTaskLease.enqueued_at <= func.clock_timestamp(),
    )
    oldest = func.clock_timestamp() - func.min(SessionTaskLease.enqueued_at).filter(is_due)
    row = connection.execute(
        select(
            func.count().filter(SessionTaskLease.claimed_at.is_not(None)),
            func.count().filter(SessionTaskLease.claimed_at.is_(None)),
            oldest,
        ).select_from(SessionTaskLease)
    ).one()
    age: timedelta | None = row[2]
    return LiveCounts(
        running=row[0],
        waiting=row[1],
        oldest_waiting_seconds=age.total_seconds() if age is not None else 0.0,
        unserved=count_unserved(connection),
        workers=Counter(worker.state for worker in live_workers(connection)),
        paused=[pause.task_type for pause in read_pauses(connection)],
    )


def longest_overdue_seconds(connection: Connection) -> float:
    """Return how long ago the first unrescued lease ended: 0.0 if a sweeper runs."""
    overdue: timedelta | None = connection.scalar(
        select(func.clock_timestamp() - func.min(SessionTaskLease.leased_until))
    )
    return max(0.0, overdue.total_seconds()) if overdue is not None else 0.0
