"""Maintenance: expired leases, due retries, lost leases, old sessions.

`sweep_once` is one sweep, `Sweeper` a loop of them. Any number of sweepers may run concurrently,
in any number of processes: each step is guarded by the rows themselves, and skips rows that
another sweeper has locked.
"""

from __future__ import annotations

import functools
import logging
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from app.core.errors import DatabaseUnavailable
from app.core.wording import count_text
from app.engines.loops import Loop
from app.engines.vacuum import TABLE, VACUUM_LEASES, LeaseVacuum
from app.repositories import maintenance_statements
from app.repositories.browser_sessions import forget_ended
from app.repositories.idempotency_repository import forget_old_answers
from app.repositories.session_repository import SessionRepository
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from app.core.config import Settings
    from app.core.database import Database

logger = logging.getLogger(__name__)

BATCH_SIZE = 100
MAX_BATCHES = 50
"""The most in one sweep; the rest waits for the next."""

MOST_REDISPATCHED = 10_000
"""The most in one sweep: as many as a publisher accepts at once (`MOST_UNSENT`)."""

DEAD_ROWS_BEFORE_VACUUM = 1_000

SWEEPS_PER_THOROUGH_ONE = 6

Dispatch = Callable[[Sequence[tuple[UUID, UUID]]], None]
"""Publishes (session_id, task_id) to a broker; if it raises, it is called again later."""


@dataclass(frozen=True, slots=True)
class SweepReport:
    """The result of one sweep.

    Attributes:
        rescued: runs failed because their worker was lost.
        retried: tasks retried after a rescue or a temporary failure.
        rebuilt: leases rebuilt, after a database crash or where a running task had none.
        redispatched: waiting tasks announced again.
        deleted: sessions past their retention.
        vacuumed: whether the table of leases was vacuumed.
        failed_steps: steps that failed; the log has the errors.

    """

    rescued: int = 0
    retried: int = 0
    rebuilt: int = 0
    redispatched: int = 0
    deleted: int = 0
    vacuumed: bool = False
    failed_steps: tuple[str, ...] = ()

    @property
    def did_something(self) -> bool:
        """Whether there was anything to do."""
        return self != SweepReport(vacuumed=self.vacuumed)


def sweep_once(
    database: Database,
    settings: Settings,
    *,
    dispatch: Dispatch | None = None,
    is_thorough: bool = True,
) -> SweepReport:
    """Find everything that was lost or is due, and handle it, once.

    A sweep that is not thorough handles only what users wait for, leases and retries, and first
    checks whether there is anything to do. A failing step does not prevent the others.

    Raises:
        DatabaseUnavailable: the database cannot be reached.

    """
    report = SweepReport()
    if not is_thorough and not _is_anything_urgent(database):
        return report
    urgent = (("rebuild", _rebuild), ("rescue", _rescue), ("retry", _retry))
    other = (
        ("heal", _heal),
        ("redispatch", functools.partial(_redispatch, dispatch=dispatch)),
        ("vacuum", _vacuum),
        ("delete", _delete_expired),
    )
    for name, step in (*urgent, *other) if is_thorough else urgent:
        try:
            done = step(database, settings)
        except DatabaseUnavailable:
            raise
        except Exception:
            logger.exception("Sweep: %s went wrong; going on with the rest", name)
            done = SweepReport(failed_steps=(name,))
        report = _sum(report, done)
    if report.did_something:
        logger.info("Swept: %s", report)
    return report


class Sweeper:
    """Sweeps every `sweep_seconds`, or up to a quarter sooner, so that many sweepers spread out.

    After an outage of the database it waits one heartbeat before it sweeps, so that live workers
    can renew their leases first.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        dispatch: Dispatch | None = None,
    ) -> None:
        self._database = database
        self._settings = settings
        self._dispatch = dispatch
        self._was_away = False
        self._sweep_count = 0
        self._loop = Loop("sweeper", self._step)
        self._vacuum = LeaseVacuum(database)

    def start(self) -> None:
        """Begin to sweep."""
        self._loop.start()
        self._vacuum.start()

    def stop(self) -> None:
        """End after the current sweep."""
        self._vacuum.stop()
        self._loop.stop()

    def _step(self) -> float:
        try:
            if self._was_away:
                self._database.check_server()
                self._was_away = False
                return self._settings.heartbeat_seconds
            sweep_once(
                self._database,
                self._settings,
                dispatch=self._dispatch,
                is_thorough=self._sweep_count % SWEEPS_PER_THOROUGH_ONE == 0,
            )
            self._sweep_count += 1
        except DatabaseUnavailable:
            self._was_away = True
            raise
        return self._settings.sweep_seconds * random.uniform(0.75, 1.0)  # noqa: S311 - jitter


def _is_anything_urgent(database: Database) -> bool:
    with database.driver_connection() as connection:
        row = connection.execute(maintenance_statements.IS_ANYTHING_URGENT).fetchone()
    return row is None or bool(row[0])


def _rebuild(database: Database, settings: Settings) -> SweepReport:
    with database.transaction() as db:
        rebuilt = SessionRepository(db).rebuild_leases(
            lease_seconds=settings.lease_seconds,
            backoff_seconds=settings.retry_backoff_seconds,
        )
    return SweepReport(rebuilt=max(0, rebuilt))  # -1: nothing was lost


def _heal(database: Database, settings: Settings) -> SweepReport:
    """Rebuild single missing leases; it reads every task, so not in each sweep."""
    with database.transaction() as db:
        healed = SessionRepository(db).heal_leases(lease_seconds=settings.lease_seconds)
    return SweepReport(rebuilt=healed)


def _rescue(database: Database, settings: Settings) -> SweepReport:  # noqa: ARG001 - as every step
    report = SweepReport()
    for _ in range(MAX_BATCHES):
        with database.transaction() as db:
            moved = SessionRepository(db).rescue_expired(limit=BATCH_SIZE)
        statuses = [transition.status for transition in moved]
        rescued = statuses.count(TaskStatus.FAILED)
        retried = statuses.count(TaskStatus.RUNNING)
        report = _sum(report, SweepReport(rescued=rescued, retried=retried))
        if rescued < BATCH_SIZE:
            break
    return report


def _retry(database: Database, settings: Settings) -> SweepReport:  # noqa: ARG001 - as every step
    report = SweepReport()
    for _ in range(MAX_BATCHES):
        with database.transaction() as db:
            moved = SessionRepository(db).retry_due(limit=BATCH_SIZE)
        report = _sum(report, SweepReport(retried=len(moved)))
        if len(moved) < BATCH_SIZE:
            break
    return report


def _redispatch(
    database: Database, settings: Settings, *, dispatch: Dispatch | None
) -> SweepReport:
    """Publish all tasks again that have waited for a whole lease: the message may be lost."""
    return redispatch(database, older_than_seconds=settings.lease_seconds, dispatch=dispatch)


def redispatch(
    database: Database, *, older_than_seconds: float, dispatch: Dispatch | None
) -> SweepReport:
    """Publish all waiting tasks again that were last published this long before the call.

    A batch that cannot be published delays nothing: its tasks are published again after
    another lease, and those behind it now.
    """
    report = SweepReport()
    begun = time.monotonic()
    for _ in range(math.ceil(MOST_REDISPATCHED / BATCH_SIZE)):
        with database.transaction() as db:
            waiting = SessionRepository(db).redispatch(
                older_than_seconds=older_than_seconds + time.monotonic() - begun, limit=BATCH_SIZE
            )
        if waiting and dispatch is not None:
            try:
                dispatch(waiting)
            except Exception:
                logger.exception("Not published again: %s", count_text(len(waiting), "task"))
                report = _sum(report, SweepReport(failed_steps=("redispatch",)))
        database.announce(session_id for session_id, _ in waiting)
        report = _sum(report, SweepReport(redispatched=len(waiting)))
        if len(waiting) < BATCH_SIZE:
            break
    return report


def _delete_expired(database: Database, settings: Settings) -> SweepReport:
    """Delete sessions past their retention, and expired rows: see docs/operations.md.

    These are responses under an Idempotency-Key, browser sessions, and sign-in codes.
    """
    retention = timedelta(days=settings.retention_days)
    deleted = 0
    for _ in range(MAX_BATCHES):
        with database.transaction() as db:
            forgotten = max(
                forget_old_answers(db, limit=BATCH_SIZE), forget_ended(db, limit=BATCH_SIZE)
            )
            batch = SessionRepository(db).delete_expired(retention=retention, limit=BATCH_SIZE)
        deleted += len(batch)
        if max(len(batch), forgotten) < BATCH_SIZE:
            break
    return SweepReport(deleted=deleted)


def _vacuum(database: Database, settings: Settings) -> SweepReport:  # noqa: ARG001 - as every step
    """Vacuum the table of leases after other processes' runs (`LeaseVacuum`)."""
    with database.driver_connection() as connection:
        row = connection.execute(
            "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = %s::regclass", (TABLE,)
        ).fetchone()
        if row is None or row[0] < DEAD_ROWS_BEFORE_VACUUM:
            return SweepReport()
        connection.execute(VACUUM_LEASES)
    return SweepReport(vacuumed=True)


def _sum(one: SweepReport, other: SweepReport) -> SweepReport:
    return replace(
        one,
        rescued=one.rescued + other.rescued,
        retried=one.retried + other.retried,
        rebuilt=one.rebuilt + other.rebuilt,
        redispatched=one.redispatched + other.redispatched,
        deleted=one.deleted + other.deleted,
        vacuumed=one.vacuumed or other.vacuumed,
        failed_steps=one.failed_steps + other.failed_steps,
    )
