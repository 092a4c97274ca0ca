"""Paused task types: their tasks are not claimed, and running ones continue."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import Connection, delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from app.core.logging import log_audit
from app.core.transactions import after_commit
from app.models.pause import ClaimPause
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from sqlalchemy.orm import Session as DbSession


@dataclass(frozen=True, slots=True)
class Pause:
    """A task type whose claims are paused, with the time and the owner of the key that did it."""

    task_type: TaskType
    paused_at: datetime
    paused_by: str


# A claim locks the table before its statement takes its snapshot (PostgreSQL, section 13.3.1), so
# one that does not see the pause is found here until it ends. An idle transaction has ended its
# statement, and its next one sees the pause. A role that may not see the activity of others (no
# member of pg_read_all_stats) waits for their transactions.
_CLAIMS_UNDER_WAY = text("""
SELECT count(*)
  FROM pg_locks JOIN pg_stat_activity AS activity ON activity.pid = pg_locks.pid
 WHERE pg_locks.locktype = 'relation' AND pg_locks.mode = 'RowExclusiveLock' AND pg_locks.granted
   AND pg_locks.relation = 'session_task_leases'::regclass
   AND activity.datname = current_database() AND activity.pid <> pg_backend_pid()
   AND (activity.state IS NULL OR activity.state = 'active')
   AND (activity.query_start IS NULL OR activity.query_start <= :moment)""")


def read_pauses(connection: Connection) -> list[Pause]:
    """Return the task types that are paused, in the order of a session's tasks."""
    rows = connection.execute(
        select(ClaimPause.task_type, ClaimPause.paused_at, ClaimPause.paused_by)
    )
    found = {row.task_type: Pause(row.task_type, row.paused_at, row.paused_by) for row in rows}
    return [found[task_type] for task_type in TaskType if task_type in found]


def insert_pauses(db: DbSession, task_types: Sequence[TaskType], *, by: str) -> None:
    """Pause claims of these types; existing pauses are unchanged. Logged at AUDIT."""
    db.execute(
        insert(ClaimPause).on_conflict_do_nothing(),
        [{"task_type": task_type, "paused_by": by} for task_type in task_types],
    )
    names = ", ".join(task_type.value for task_type in task_types)
    after_commit(db, partial(log_audit, "Claims paused", task_types=names, by=by))


def delete_pauses(db: DbSession, task_types: Sequence[TaskType], *, by: str) -> None:
    """Resume claims of these types. Logged at AUDIT."""
    db.execute(delete(ClaimPause).where(ClaimPause.task_type.in_(task_types)))
    names = ", ".join(task_type.value for task_type in task_types)
    after_commit(db, partial(log_audit, "Claims resumed", task_types=names, by=by))


def database_moment(connection: Connection) -> datetime:
    """Return the present moment, by the database's clock."""
    moment: datetime = connection.scalars(select(func.clock_timestamp())).one()
    return moment


def count_claims_under_way(connection: Connection, moment: datetime) -> int:
    """Count the statements that began by `moment`, are still running, and may claim a task."""
    return int(connection.scalar(_CLAIMS_UNDER_WAY, {"moment": moment}) or 0)
