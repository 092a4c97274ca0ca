"""Live workers: their rows, and whether one takes a waiting task."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from app.core.errors import WorkerNotFound
from app.core.wording import short_id
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    import psycopg

MOST_SESSIONS_NAMED = 20
"""The most sessions named for a worker; all are counted."""

SECONDS_TO_FIND_A_WORKER = 3.0
"""A worker with room takes a waiting task at once; if it waits longer, no worker takes it."""


WORKER_STATES = ("idle", "working", "busy", "draining")
"""It holds no task; it has tasks and a free slot; it has no free slot; it claims no more."""


@dataclass(frozen=True, slots=True)
class WorkerDescription:
    """A worker's description of itself; see `WorkerPresence`."""

    id: UUID
    host: str
    pid: int
    version: str
    engine: str
    concurrency: int
    task_types: Sequence[TaskType]
    session_ids: Sequence[UUID] | None


@dataclass(frozen=True, slots=True)
class HeldTask:
    """A task that a worker holds."""

    session_id: UUID
    task_type: TaskType
    seconds: float


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A live worker, and its tasks.

    Attributes:
        host, pid, version, engine: None for a program that claims tasks without a row; the
            rest is derived from the tasks that it holds.
        held_count: tasks that it holds; those claimed ahead of free slots are among them.
        held_types: their number by type.
        held: the first `MOST_SESSIONS_NAMED`, in the order of their starts.
        seen_seconds: since its last heartbeat.

    """

    id: UUID
    host: str | None
    pid: int | None
    version: str | None
    engine: str | None
    concurrency: int
    task_types: tuple[TaskType, ...]
    session_ids: tuple[UUID, ...] | None
    started_at: datetime
    seen_seconds: float
    is_draining: bool
    held_count: int
    held_types: Mapping[TaskType, int]
    held: tuple[HeldTask, ...]

    @property
    def state(self) -> str:
        """One of `WORKER_STATES`."""
        if self.is_draining:
            return "draining"
        if not self.has_room:
            return "busy"
        return "working" if self.held_count else "idle"

    @property
    def has_room(self) -> bool:
        """Whether a slot is free."""
        return self.held_count < self.concurrency

    def takes(self, task_type: TaskType, session_id: UUID | None = None) -> bool:
        """Return whether it would claim a task of that type, of that session or of any (None)."""
        if self.is_draining or task_type not in self.task_types:
            return False
        return self.session_ids is None or session_id in self.session_ids


# It waits for no lock: a locked row is left until the next heartbeat. Rows of others that
# have not been renewed for a whole lease, and are no longer shown, are deleted.
_RENEW = """
WITH mine AS MATERIALIZED (
    SELECT id, drain_requested_at FROM session_task_workers
     WHERE id = %(id)s FOR UPDATE SKIP LOCKED),
renewed AS (
    UPDATE session_task_workers AS worker
       SET seen_at = clock_timestamp(), is_draining = %(is_draining)s,
           leased_until = clock_timestamp() + make_interval(secs => %(lease_seconds)s)
      FROM mine WHERE worker.id = mine.id),
inserted AS (
    INSERT INTO session_task_workers
           (id, host, pid, version, engine, concurrency, task_types, session_ids, started_at,
            leased_until, is_draining)
    SELECT %(id)s, %(host)s, %(pid)s, %(version)s, %(engine)s, %(concurrency)s, %(task_types)s,
           %(session_ids)s::uuid[], clock_timestamp() - make_interval(secs => %(age_seconds)s),
           clock_timestamp() + make_interval(secs => %(lease_seconds)s), %(is_draining)s
     WHERE NOT EXISTS (SELECT FROM mine)
    ON CONFLICT (id) DO NOTHING),
lost AS (
    DELETE FROM session_task_workers
     WHERE id IN (SELECT id FROM session_task_workers
                   WHERE leased_until < clock_timestamp() AND id <> %(id)s
                     FOR UPDATE SKIP LOCKED))
SELECT drain_requested_at IS NOT NULL FROM mine"""

# A program of a user may claim tasks without a row: it is shown by the tasks that it holds.
_LIVE = text("""
SELECT coalesce(worker.id, lease.worker_id) AS id, worker.host, worker.pid, worker.version,
       worker.engine, worker.concurrency, worker.task_types, worker.session_ids,
       coalesce(worker.started_at, lease.claimed_at) AS started_at,
       extract(epoch FROM clock_timestamp() - worker.seen_at)::float8 AS seen_seconds,
       worker.is_draining OR worker.drain_requested_at IS NOT NULL AS is_draining,
       lease.session_id, lease.task_type,
       extract(epoch FROM clock_timestamp() - lease.claimed_at)::float8 AS held_seconds
  FROM (SELECT * FROM session_task_workers WHERE leased_until > clock_timestamp()) AS worker
  FULL JOIN (SELECT * FROM session_task_leases
              WHERE leased_until > clock_timestamp()) AS lease ON lease.worker_id = worker.id
 ORDER BY worker.host, worker.started_at, 1, lease.claimed_at, lease.session_id""")

NO_WORKER_TAKES_IT = f"""
    lease.claim_token IS NULL
    AND lease.enqueued_at < clock_timestamp() - make_interval(secs => {SECONDS_TO_FIND_A_WORKER})
    AND NOT EXISTS (
        SELECT FROM session_task_workers AS worker
         WHERE worker.leased_until > clock_timestamp()
           AND NOT worker.is_draining AND worker.drain_requested_at IS NULL
           AND lease.task_type = ANY(worker.task_types)
           AND (worker.session_ids IS NULL OR lease.session_id = ANY(worker.session_ids)))
    AND NOT EXISTS (
        SELECT FROM session_task_leases AS other
         WHERE other.leased_until > clock_timestamp()
           AND other.worker_id NOT IN (SELECT id FROM session_task_workers))"""  # noqa: S608 - a constant
"""The SQL condition that the row `lease` has waited for longer than any live worker lets it.

`LiveWorker.takes` says the same of one worker in memory.
"""

_COUNT_UNSERVED = text(
    f"SELECT count(*) FROM session_task_leases AS lease WHERE {NO_WORKER_TAKES_IT}"  # noqa: S608
)
_COUNT_UNSERVED_OF_OWNER = text(
    "SELECT count(*) FROM session_task_leases AS lease"  # noqa: S608 - constants only
    " JOIN sessions ON sessions.id = lease.session_id AND sessions.owner = :owner"
    f" WHERE {NO_WORKER_TAKES_IT}"
)

# A worker of a single command ends with it: without its worker the command would wait.
_REQUEST_DRAIN = text("""
UPDATE session_task_workers
   SET drain_requested_at = coalesce(drain_requested_at, clock_timestamp())
 WHERE id = :id AND leased_until > clock_timestamp() AND session_ids IS NULL
RETURNING id""")


def renew_presence(
    connection: psycopg.Connection[Any],
    worker: WorkerDescription,
    *,
    age_seconds: float,
    lease_seconds: float,
    is_draining: bool,
) -> bool:
    """Record that the worker is alive; return whether it was asked to drain.

    Args:
        age_seconds: how long it has been running.
        lease_seconds: how long the row is valid without another call.

    """
    row = connection.execute(
        _RENEW,
        {
            "id": worker.id,
            "host": worker.host,
            "pid": worker.pid,
            "version": worker.version,
            "engine": worker.engine,
            "concurrency": worker.concurrency,
            "task_types": [task_type.value for task_type in worker.task_types],
            "session_ids": None if worker.session_ids is None else list(worker.session_ids),
            "age_seconds": age_seconds,
            "lease_seconds": lease_seconds,
            "is_draining": is_draining,
        },
    ).fetchone()
    return row is not None and bool(row[0])


def forget_worker(connection: psycopg.Connection[Any], worker_id: UUID) -> None:
    """Delete the row of a worker that exits."""
    connection.execute("DELETE FROM session_task_workers WHERE id = %s", (worker_id,))


def live_workers(connection: Connection) -> list[LiveWorker]:
    """Return the live workers, by host and age, with their tasks."""
    found: dict[UUID, list[Any]] = {}
    for row in connection.execute(_LIVE):
        found.setdefault(row.id, []).append(row)
    return [_worker_of(rows) for rows in found.values()]


def count_unserved(connection: Connection, owner: str | None = None) -> int:
    """Count the waiting tasks, of one owner or of all, that no live worker takes."""
    if owner is None:
        return int(connection.scalar(_COUNT_UNSERVED) or 0)
    return int(connection.scalar(_COUNT_UNSERVED_OF_OWNER, {"owner": owner}) or 0)


def request_drain(connection: Connection, worker_id: UUID) -> None:
    """Ask a worker to finish its tasks and exit; it learns of it with its next heartbeat.

    Raises:
        WorkerNotFound: it has exited, has no row, or works for a single command (`run`, `retry`),
            which it ends with.

    """
    if connection.scalar(_REQUEST_DRAIN, {"id": worker_id}) is None:
        raise WorkerNotFound(
            f"Worker {short_id(worker_id)} cannot be drained: it has left, keeps no row of its "
            "own, or works for one command only",
            next_step="Stop its program instead, if it still runs.",
        )


def types_without_worker(workers: Sequence[LiveWorker]) -> list[TaskType]:
    """Return the task types that none of the workers takes for any session."""
    return [
        task_type
        for task_type in TaskType
        if not any(worker.takes(task_type) for worker in workers)
    ]


def _worker_of(rows: Sequence[Any]) -> LiveWorker:
    first = rows[0]
    held = [
        HeldTask(row.session_id, TaskType(row.task_type), row.held_seconds)
        for row in rows
        if row.session_id is not None
    ]
    return LiveWorker(
        id=first.id,
        host=first.host,
        pid=first.pid,
        version=first.version,
        engine=first.engine,
        concurrency=first.concurrency or len(held),
        task_types=tuple(TaskType(value) for value in first.task_types or TaskType),
        session_ids=None if first.session_ids is None else tuple(first.session_ids),
        started_at=first.started_at,
        seen_seconds=first.seen_seconds or 0.0,
        is_draining=bool(first.is_draining),
        held_count=len(held),
        held_types=Counter(task.task_type for task in held),
        held=tuple(held[:MOST_SESSIONS_NAMED]),
    )
