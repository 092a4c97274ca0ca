"""Vacuum for the table of leases, as often as its rows come and go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.engines.loops import Loop
from app.models.lease import SessionTaskLease
from app.models.session import TaskStatus
from app.repositories.lifecycle_log import observe_transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.core.database import Database
    from app.repositories.transitions import Transition

ENDS_BEFORE_VACUUM = 500
BYTES_PER_LEASE = 512
"""What a lease and its versions take up in the table until it is vacuumed."""

TABLE = SessionTaskLease.__tablename__

VACUUM_LEASES = f"VACUUM (SKIP_LOCKED, TRUNCATE OFF, PARALLEL 0) {TABLE}"
"""Without truncation, which would lock everybody out (PostgreSQL, VACUUM)."""


class LeaseVacuum:
    """Vacuums whenever this process has ended as many runs as the table has room for.

    Every run makes a lease and deletes it. The space is found again only once vacuum has been, and
    until then claims walk past index entries of leases that are gone. Autovacuum comes by once a
    minute, in which the table would grow to a hundred times what it holds. The bigger the table,
    the seldomer: while an old snapshot keeps vacuum from removing anything, it is not in the way.
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
        """End after the vacuum that is under way."""
        self._end_observation()
        self._loop.stop()

    def _count(self, moved: Sequence[Transition]) -> None:
        """Count roughly: threads may overwrite one another's sum, which only delays a vacuum."""
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
