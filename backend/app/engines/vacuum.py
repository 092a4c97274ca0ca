"""Vacuum the table of leases, as often as its turnover needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engines.loops import Loop
from app.models.lease import SessionTaskLease
from app.repositories.lifecycle_log import observe_transitions
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.core.database import Database
    from app.repositories.transitions import Transition

ENDS_BEFORE_VACUUM = 500
BYTES_PER_LEASE = 512
"""The size of a lease and its versions in the table until a vacuum."""

TABLE = SessionTaskLease.__tablename__

VACUUM_LEASES = f"VACUUM (SKIP_LOCKED, TRUNCATE OFF, PARALLEL 0) {TABLE}"
"""Without truncation, which needs an exclusive lock (PostgreSQL, VACUUM)."""


class LeaseVacuum:
    """Vacuums whenever this process has ended as many runs as fill the table.

    Every run inserts a lease and deletes it. Only vacuum makes the space reusable, and until then
    claims scan index entries of deleted leases. Autovacuum runs once a minute, in which the table
    would grow to a hundred times its content. The larger the table, the rarer the vacuum: while an
    old snapshot prevents vacuum from removing rows, it costs little.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended_count = 0
        self._due_at_count = ENDS_BEFORE_VACUUM
        self._loop = Loop("vacuum", self._step)
        self._end_observation: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Begin to count."""
        self._end_observation = observe_transitions(self._count)
        self._loop.start()

    def stop(self) -> None:
        """End after the current vacuum."""
        self._end_observation()
        self._loop.stop()

    def _count(self, moved: Sequence[Transition]) -> None:
        """Count approximately: a lost update between threads only delays a vacuum."""
        self._ended_count += sum(each.status is not TaskStatus.RUNNING for each in moved)
        if self._ended_count >= self._due_at_count:
            self._loop.wake()

    def _step(self) -> None:
        if self._ended_count < self._due_at_count:
            return
        self._ended_count = 0
        with self._database.driver_connection() as connection:
            connection.execute(VACUUM_LEASES)
            row = connection.execute("SELECT pg_relation_size(%s::regclass)", (TABLE,)).fetchone()
        size = 0 if row is None else int(row[0])
        self._due_at_count = max(ENDS_BEFORE_VACUUM, size // BYTES_PER_LEASE)
