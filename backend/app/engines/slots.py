"""The slots of a worker, which run its tasks and write their outcomes.

Claimed tasks wait in `Slots.waiting` for a slot, each a thread with a runner of its own.
`app.engines.worker` says what each thread may wait for.
"""

from __future__ import annotations

import collections
import itertools
import logging
import threading
import time
from typing import TYPE_CHECKING

import psycopg

from app.core.errors import DatabaseBusy, DatabaseUnavailable, TaskError
from app.engines.attempts import attempt_ended
from app.engines.execution import (
    Completed,
    Failed,
    Outcome,
    Released,
    is_light,
    outcome_name,
)
from app.engines.loops import backoff_seconds
from app.engines.memory import SECONDS_OF_LIGHT_WORK, release_memory
from app.engines.outcome_writer import OutcomeWriter, goes_together, log_dropped
from app.engines.runners import ProcessRunner, Runner, ThreadRunner, make_setup
from app.engines.runs import Run, RunRegistry
from app.engines.work_queue import WorkQueue
from app.tasks.registry import checked_handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.core.config import Settings
    from app.core.database import Database

logger = logging.getLogger(__name__)

SECONDS_PER_HANDOVER = 0.02
MOST_PER_HANDOVER = 64
"""A child is assigned light tasks of about so many seconds in all, and at most so many tasks."""

LIGHTEST_SECONDS = 0.001
"""Shorter tasks are done sooner than another thread is awake."""

MOST_TOGETHER = 512
"""The most completions in one statement; more would make each no cheaper."""

DEFERRALS_BEFORE_WARNING = 5
"""A completion deferred this often has waited for some seconds."""


class Slots:
    """Runs tasks, a limited number at a time, and writes their outcomes.

    Args:
        runs: the worker's runs; one is removed once its outcome is written.
        worker: its id, for logs.
        threads: run tasks in threads of this process rather than in child processes.

    Attributes:
        waiting: the queue of runs; add new runs here.
        outcome_counts: by name.
        usual_seconds: the usual duration of a task; the latest count most.

    """

    def __init__(  # noqa: PLR0913 - all that running a task takes
        self,
        database: Database,
        settings: Settings,
        *,
        runs: RunRegistry,
        writer: OutcomeWriter,
        worker: str,
        count: int,
        threads: bool,
    ) -> None:
        self.waiting: WorkQueue[Run] = WorkQueue()
        self.outcome_counts: collections.Counter[str] = collections.Counter()
        self.usual_seconds = 1.0
        self._database = database
        self._settings = settings
        self._references = checked_handlers(settings)
        self._runs = runs
        self._writer = writer
        self._worker = worker
        self._count = count
        self._may_wait_aside = threading.BoundedSemaphore(count)
        self._in_threads = threads
        self._completed: WorkQueue[tuple[Run, Completed]] = WorkQueue()
        self._busy: set[threading.Thread] = set()
        self._threads: list[threading.Thread] = []
        self._numbers = itertools.count(1)
        self._outcomes = [
            threading.Thread(
                target=self._write_completions, args=(least,), name="outcomes", daemon=True
            )
            for least in (1, MOST_TOGETHER)  # the second helps if the first falls behind
        ]

    def start(self) -> None:
        """Begin to run waiting tasks; returns at once."""
        for writer in self._outcomes:
            writer.start()
        for _ in range(self._count):
            self._open_slot()

    def stop(self, patience: float) -> None:
        """Begin nothing more; return when running tasks are written, or after `patience` each."""
        self.waiting.close()
        for slot in tuple(self._threads):
            slot.join(patience)
        self._completed.close()
        for writer in self._outcomes:
            writer.join(patience)

    @property
    def are_all_busy(self) -> bool:
        """Whether waiting tasks wait for a running task to end."""
        return len(self._busy) >= self._count

    def expect_at_least(self, seconds: float) -> None:
        """Assume that tasks take this long, until their pace is measured."""
        self.usual_seconds = max(self.usual_seconds, seconds)

    def conclude(self, run: Run, written: Outcome | None) -> None:
        """Count and log the stored outcome."""
        name = outcome_name(written)
        self.outcome_counts[name] += 1
        attempt_ended(run.claim, name, time.monotonic() - run.started_at)

    def _open_slot(self, inherited: tuple[Run, Outcome] | None = None) -> None:
        """Start a slot; in place of an abandoned one, first write that one's outcome."""
        slot = threading.Thread(
            target=self._serve_slot,
            args=(inherited,),
            name=f"slot {next(self._numbers)}",
            daemon=True,
        )
        self._threads.append(slot)
        slot.start()

    def _serve_slot(self, inherited: tuple[Run, Outcome] | None) -> None:
        """Run tasks, each to its written outcome; no error ends the slot."""
        me = threading.current_thread()

        def replace(run: Run, outcome: Outcome) -> None:
            self._threads.remove(me)
            self._busy.discard(me)
            self._open_slot((run, outcome))

        def give_back(runs: Sequence[Run]) -> None:
            left.difference_update(runs)
            self.waiting.put_back(runs)

        if inherited is not None:
            self._write(*inherited)
        left: set[Run] = set()
        runner = self._make_runner(on_abandoned=replace, give_back=give_back)
        try:
            _warm_up(runner)
            while runs := self.waiting.take(self._at_once(), patience=self._patience()):
                self._busy.add(me)
                left.update(runs)
                self._run(runner, runs, left)
                if runner.is_abandoned:
                    return
                self._busy.discard(me)
                _warm_up(runner)  # start another child, if a task killed it
        finally:
            runner.close()

    def _make_runner(
        self,
        *,
        on_abandoned: Callable[[Run, Outcome], None],
        give_back: Callable[[Sequence[Run]], None],
    ) -> Runner:
        if self._in_threads:
            return ThreadRunner(
                self._database,
                self._settings,
                self._references,
                worker=self._worker,
                on_abandoned=on_abandoned,
            )
        return ProcessRunner(
            make_setup(self._database, self._settings, self._references, worker=self._worker),
            give_back=give_back,
        )

    def _patience(self) -> float:
        """Return how long other slots leave the waiting tasks to this one: only very light ones."""
        return LIGHTEST_SECONDS if self.usual_seconds < LIGHTEST_SECONDS else 0.0

    def _at_once(self) -> int:
        """Return how many tasks a slot takes: one in threads; for a child, several light ones."""
        if self._in_threads:
            return 1
        return max(1, min(MOST_PER_HANDOVER, int(SECONDS_PER_HANDOVER / self.usual_seconds)))

    def _run(self, runner: Runner, runs: list[Run], left: set[Run]) -> None:
        """Run the tasks; write their outcomes, or pass light ones to the batching thread.

        `left` are those whose outcome is not known yet.
        """
        asides: list[threading.Thread] = []
        begun_at = time.monotonic()
        is_heavy = False
        try:
            for run, outcome in runner.run(runs):
                left.discard(run)
                now = time.monotonic()
                is_heavy = is_heavy or now - begun_at > SECONDS_OF_LIGHT_WORK
                if goes_together(outcome):
                    self._note_pace(now - begun_at)
                    self._completed.put(((run, outcome),))
                else:
                    self._note_pace(max(now - begun_at, SECONDS_PER_HANDOVER))
                    if runner.is_busy:  # its deadlines must be enforced while this is written
                        asides.append(self._write_aside(run, outcome))
                    else:
                        self._write(run, outcome)
                del outcome
                begun_at = now
        except Exception:
            logger.exception("A slot failed; its tasks' leases will expire")
            self._runs.remove(left)
            left.clear()
        for aside in asides:
            aside.join()
        if is_heavy:  # only here does nothing hold the results any more
            release_memory()

    def _note_pace(self, seconds: float) -> None:
        self.usual_seconds += 0.1 * (seconds - self.usual_seconds)

    def _write_aside(self, run: Run, outcome: Outcome) -> threading.Thread:
        aside = threading.Thread(
            target=self._write, args=(run, outcome), name="outcome", daemon=True
        )
        aside.start()
        return aside

    def _write(self, run: Run, outcome: Outcome, *, waits_for_locks: bool = False) -> None:
        """Write one outcome, with retries, and remove the run; a locked one is deferred."""
        try:
            with run.writing():
                written = self._writer.write(
                    run.claim,
                    outcome,
                    is_doubtful=waits_for_locks,
                    waits_for_locks=waits_for_locks,
                )
            if time.monotonic() - run.started_at > SECONDS_OF_LIGHT_WORK:
                outcome, written = Released(), _without_results(written)  # frees the results
            self.conclude(run, written)
        except DatabaseBusy:
            self._outwait_lock(run, outcome)
            return
        except Exception:
            logger.exception("An outcome could not be written; the lease will expire")
        self._runs.remove((run,))

    def _outwait_lock(self, run: Run, outcome: Outcome) -> None:
        """Write it when it is unlocked: in another thread, unless as many as slots already wait."""
        if not self._may_wait_aside.acquire(blocking=False):
            self._write(run, outcome, waits_for_locks=True)
            return

        def outwait() -> None:
            try:
                self._write(run, outcome, waits_for_locks=True)
            finally:
                self._may_wait_aside.release()

        self._runs.deferred((run,))
        threading.Thread(target=outwait, name="outcome", daemon=True).start()

    def _write_completions(self, least: int) -> None:
        """Write completions with small results, all that have arrived together."""
        while ended := self._completed.take(MOST_TOGETHER, least=least):
            first_of = {each[0].claim.session_id: each for each in reversed(ended)}
            together = list(first_of.values())
            if len(together) < len(ended):
                self._completed.put_back(
                    each for each in ended if first_of[each[0].claim.session_id] is not each
                )
            try:
                self._write_together(together)
            except Exception:
                logger.exception("Outcomes could not be written; the leases will expire")
                self._runs.remove([run for run, _ in together])

    def _write_together(self, ended: list[tuple[Run, Completed]]) -> None:
        """Write them in one transaction, and remove the runs.

        Those that another transaction has locked are written later, as are all if the database is
        unavailable. If PostgreSQL ended the transaction, those with results may be the cause: each
        is written alone.
        """
        later: list[tuple[Run, Completed]] = []
        alone: list[tuple[Run, Completed]] = []
        try:
            outcomes = self._complete_together(ended)
        except DatabaseUnavailable as error:
            logger.debug("Completions wait for the database: %s", error)
            later = ended
        except DatabaseBusy as error:
            logger.debug("Completions wait for the database: %s", error)
            for each in ended:
                (later if is_light(each[1]) else alone).append(each)
        else:
            later = self._conclude_together(ended, outcomes)
        for run, completed in alone:
            self._runs.deferred((run,))
            self._write_aside(run, completed)
        if later:
            self._write_later(later)

    def _complete_together(
        self, ended: list[tuple[Run, Completed]]
    ) -> Sequence[Outcome | DatabaseBusy | None] | None:
        """Return the result of each; None if one of them is refused, and therefore all."""
        for run, _ in ended:
            run.is_writing = True
        try:
            return self._writer.complete_together([(run.claim, each) for run, each in ended])
        except (DatabaseUnavailable, DatabaseBusy):
            raise
        except (TaskError, psycopg.Error, ValueError) as error:
            logger.debug("Completions could not be written together: %s", error)
            return None
        finally:
            for run, _ in ended:
                run.is_writing = False

    def _conclude_together(
        self,
        ended: list[tuple[Run, Completed]],
        outcomes: Sequence[Outcome | DatabaseBusy | None] | None,
    ) -> list[tuple[Run, Completed]]:
        """Remove the runs, except those whose session another has locked, which it returns."""
        locked: list[tuple[Run, Completed]] = []
        try:
            for number, (run, completed) in enumerate(ended):
                outcome = None if outcomes is None else outcomes[number]
                if isinstance(outcome, DatabaseBusy):
                    locked.append((run, completed))
                    if run.deferral_count == DEFERRALS_BEFORE_WARNING:
                        logger.warning("An outcome waits to be written: %s", outcome)
                    continue
                if outcomes is None or (outcome is None and run.deferral_count):
                    outcome = self._writer.write(run.claim, completed, is_doubtful=True)
                elif outcome is None:
                    log_dropped(run.claim)
                self.conclude(run, outcome)
        finally:
            waiting = {run for run, _ in locked}
            self._runs.remove([run for run, _ in ended if run not in waiting])
        return locked

    def _write_later(self, ended: list[tuple[Run, Completed]]) -> None:
        """Write these a moment later, unless the worker has given up."""
        runs = [run for run, _ in ended]
        if self._writer.has_given_up:
            for run in runs:
                self.conclude(run, None)
            self._runs.remove(runs)
            return
        self._runs.deferred(runs)
        pause = backoff_seconds(max(run.deferral_count for run in runs), longest=2.0)
        timer = threading.Timer(pause, self._completed.put, (ended,))
        timer.daemon = True
        timer.start()


def _without_results(outcome: Outcome | None) -> Outcome | None:
    match outcome:
        case Completed():
            return Completed()
        case Failed(context):
            return Failed(context)
        case _:
            return outcome


def _warm_up(runner: Runner) -> None:
    try:
        runner.warm_up()
    except Exception:
        logger.exception("A slot could not be made ready; its next task tries again")
