"""Writes the outcomes of runs, each at most once; `app.engines.execution` has the outcomes."""

from __future__ import annotations

import logging
from dataclasses import fields
from typing import TYPE_CHECKING, TypeGuard

import psycopg

from app.core.database_errors import driver_error
from app.core.errors import DatabaseBusy, DatabaseUnavailable, SessionNotFound, StaleClaim
from app.core.failure import failure_context
from app.core.wording import count_text
from app.engines.execution import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    has_results,
    is_empty,
    is_light,
)
from app.engines.loops import backoff_seconds
from app.engines.messages import PickledItems
from app.repositories import transitions
from app.repositories.batcher import TransitionBatcher
from app.repositories.results_writer import PARTS_WRITTEN
from app.repositories.session_repository import SessionRepository
from app.repositories.transitions import Transition
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from app.core.database import Database
    from app.models.session import SessionTask
    from app.repositories.local_dispatch import LocalWorker
    from app.repositories.transitions import ClaimRequest
    from app.values.claims import Claim

logger = logging.getLogger(__name__)

ATTEMPTS_TO_WRITE_RESULTS = 5
"""How many passing errors (a timeout, a full disk) the results may meet before they are blamed."""

_TOO_LARGE = "54"
"""Program limits (PostgreSQL, appendix A), which psycopg classes as operational errors."""

MOST_BYTES_TOGETHER = 64 * 1024
"""Results larger than this are written in a transaction of their own."""


class OutcomeWriter:
    """Writes outcomes, each at most once; thread-safe.

    While the database is unavailable, it retries until `give_up` is set: the results of a finished
    task are kept, and written if the claim still holds then.

    Args:
        local_worker: claims the tasks that `complete_together` starts next, without a notification.

    """

    def __init__(
        self,
        database: Database,
        *,
        worker: str,
        give_up: threading.Event,
        local_worker: LocalWorker | None = None,
    ) -> None:
        self._database = database
        self._local_worker = local_worker
        self._batcher = TransitionBatcher(database, waits_for_locks=False)
        self._worker = worker
        self._give_up = give_up

    def write(
        self,
        claim: Claim,
        outcome: Outcome,
        *,
        is_doubtful: bool = False,
        waits_for_locks: bool = True,
    ) -> Outcome | None:
        """Write the outcome, and return the one that is stored; None if the claim was lost.

        `is_doubtful`: it may be stored already, by a commit whose response was lost.

        Also None if `give_up` was set first: then the lease expires, and the task is rescued.
        Results that the database refuses (a value it cannot store) fail the task. If another
        transaction has locked the session, it waits as long as the claim holds.

        Raises:
            DatabaseBusy: the session is locked, and this call does not wait for locks.

        """
        failures = refusals = 0
        while True:
            try:
                is_written = self._writes(claim, outcome, is_doubtful=is_doubtful)
            except DatabaseUnavailable as error:
                is_doubtful = True
                failures += 1
                logger.debug("An outcome waits for the database: %s", error)
            except Exception as error:
                is_of_a_lock = isinstance(error, DatabaseBusy) and not error.is_of_time
                if is_of_a_lock and not waits_for_locks:
                    raise
                is_doubtful = True  # the lock may be an earlier, lost attempt's
                failures += 1
                refusals += not is_of_a_lock
                is_too_much = refusals >= ATTEMPTS_TO_WRITE_RESULTS and has_results(outcome)
                if is_too_much or not _passes(error):
                    outcome = self._unwritable(claim, outcome, error)
                    failures = refusals = 0
                elif failures == 1:
                    logger.warning("An outcome waits to be written: %s", error)
            else:
                return outcome if is_written else None
            if isinstance(outcome, Cancelled) or (
                failures and self._give_up.wait(backoff_seconds(failures, longest=2.0))
            ):
                logger.warning(
                    "The outcome of %s of session %s could not be written; it will be rescued",
                    claim.task_type.value,
                    claim.session_id,
                )
                return None

    def _writes(self, claim: Claim, outcome: Outcome, *, is_doubtful: bool) -> bool:
        """Write it once, or find it written; return whether the claim still held."""
        try:
            self._write_once(claim, outcome)
        except StaleClaim:
            if is_doubtful and self._is_written(claim, outcome):
                return True
            log_dropped(claim)
            return False
        return True

    def complete_together(
        self, completions: Sequence[tuple[Claim, Completed]]
    ) -> list[Completed | DatabaseBusy | None]:
        """Write these in one transaction; None for a lost claim.

        The tasks started next in their sessions are claimed for the local worker, and passed to it.
        `DatabaseBusy` for one that another transaction has locked: write it in a moment. No session
        twice. Raises what the transaction raises.
        """
        done = Completed()
        answers = self._batcher.complete_tasks(
            [(claim, completed.results) for claim, completed in completions],
            local_worker=self._local_worker,
        )
        outcomes = [done if isinstance(answer, Transition) else answer for answer in answers]
        return [None if isinstance(outcome, StaleClaim) else outcome for outcome in outcomes]

    @property
    def has_given_up(self) -> bool:
        """Whether retries have ended."""
        return self._give_up.is_set()

    def release(self, claims: Sequence[Claim | ClaimRequest]) -> None:
        """Release claims in one statement, even of unfinished runs; costs no attempt.

        For a worker that cannot wait for them: later writes of such runs are stale. If the database
        does not accept it, the leases expire, and the tasks are rescued.
        """
        if not claims:
            return
        try:
            with self._database.driver_connection() as connection:
                transitions.release(connection, claims, skips_locked=True)
        except (DatabaseUnavailable, DatabaseBusy) as error:
            logger.warning("Not released: %s: %s", count_text(len(claims), "task"), error)

    def _write_once(self, claim: Claim, outcome: Outcome) -> None:
        match outcome:
            case Completed() if is_light(outcome):
                self._batcher.complete_task(claim)
            case Completed(results):
                with self._database.transaction(waits_briefly=True) as db:
                    SessionRepository(db).complete_task(claim, results)
            case Failed(context, results) if is_empty(results):
                self._batcher.fail_task(claim, context)
            case Failed(context, results):
                with self._database.transaction(waits_briefly=True) as db:
                    SessionRepository(db).fail_task(
                        claim,
                        context,
                        results,
                        backoff_seconds=self._database.settings.retry_backoff_seconds,
                    )
            case Released():
                with self._database.transaction(waits_briefly=True) as db:
                    SessionRepository(db).release_task(claim)
            case Cancelled():
                pass

    def _unwritable(self, claim: Claim, outcome: Outcome, error: Exception) -> Outcome:
        """Return the outcome to write instead of one that the database refuses."""
        logger.error(
            "The outcome of %s of session %s was refused by the database",
            claim.task_type.value,
            claim.session_id,
            exc_info=error,
        )
        if isinstance(outcome, Completed) or has_results(outcome):
            return Failed(failure_context(error, worker=self._worker))
        return Cancelled()  # nothing smaller is left: the lease ends, and is rescued

    def _is_written(self, claim: Claim, outcome: Outcome) -> bool:
        """Return whether a commit whose outcome was unknown took effect.

        If the next type has begun, this one was completed: there is no other way.
        """
        try:
            with self._database.transaction() as db:
                task = SessionRepository(db).get(claim.session_id).task
        except SessionNotFound:
            return False
        return task is not None and _shows(task, claim, outcome)


def log_dropped(claim: Claim) -> None:
    """Log that an outcome was not written, because the claim was lost."""
    logger.info(
        "The claim on %s of session %s was no longer ours; its work was dropped",
        claim.task_type.value,
        claim.session_id,
    )


def _shows(task: SessionTask, claim: Claim, outcome: Outcome) -> bool:
    if task.task_id != claim.task_id:
        order = list(TaskType)
        is_later = order.index(task.task_type) > order.index(claim.task_type)
        return isinstance(outcome, Completed) and is_later
    match outcome:
        case Completed():
            return task.status == TaskStatus.COMPLETED
        case Failed():
            return task.status == TaskStatus.FAILED
        case Released() | Cancelled():
            return False


def _passes(error: Exception) -> bool:
    """Return whether the same write may soon succeed: after a lock, a deadlock, a failover."""
    if isinstance(error, DatabaseBusy):
        return True
    original = driver_error(error)
    passing = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
    return isinstance(original, passing) and not (original.sqlstate or "").startswith(_TOO_LARGE)


def goes_together(outcome: Outcome) -> TypeGuard[Completed]:
    """Return whether it is a completion with results small enough to be written with others'."""
    if not isinstance(outcome, Completed):
        return False
    size = 0
    for part in fields(outcome.results):
        items = getattr(outcome.results, part.name)
        if not len(items):
            continue
        if part.name not in PARTS_WRITTEN or not isinstance(items, PickledItems):
            return False
        size += items.byte_count
    return size <= MOST_BYTES_TOGETHER
