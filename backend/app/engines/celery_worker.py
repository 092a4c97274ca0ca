"""A worker that claims the tasks named in messages, and otherwise works like the embedded one.

The claim decides; deadlines (`RunRegistry`) and heartbeats are the same; the handler runs in a
child process of its slot (`ProcessRunner`), and the same writer writes the outcome.
Only the source of work differs: messages instead of the table of leases.

Threads::

    slots           as many as call `run`: its task, then the database, to write the outcome
    watch           nothing: it keeps every task's clocks, and kills
    heart           the database, by a connection of its own: leases and progress
    listener        the database, by a connection of its own: what was cancelled
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from app.core.errors import DatabaseBusy, DatabaseUnavailable
from app.core.failure import failure_context
from app.engines.attempts import attempt_ended
from app.engines.change_listener import ChangeListener
from app.engines.connections import vital_database
from app.engines.execution import Failed, Released, outcome_name
from app.engines.heartbeat import LeaseRenewer, require_timely_heartbeats
from app.engines.loops import Loop, backoff_seconds
from app.engines.memory import SECONDS_OF_LIGHT_WORK, release_memory
from app.engines.outcome_writer import OutcomeWriter
from app.engines.runners import ProcessRunner, make_setup
from app.engines.runs import Run, RunRegistry, StopReason
from app.repositories import transitions
from app.tasks.registry import checked_handlers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from app.core.config import Settings
    from app.core.database import Database
    from app.values.claims import Claim

logger = logging.getLogger(__name__)

SECONDS_TO_WRITE_AT_STOP = 5.0
LONGEST_PAUSE_SECONDS = 5.0


class CeleryWorker:
    """Runs the tasks that messages name, each in the calling thread's own child process.

    Args:
        publish: sends messages for tasks that this worker has released.
        worker_id: the Celery worker's of which this process is a part, used in its claims.

    Raises:
        ConfigurationError: a heartbeat would come too late for the lease, or the handlers' setting
            cannot be used.

    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        publish: Callable[[Sequence[tuple[UUID, UUID]]], None],
        worker_id: UUID,
    ) -> None:
        require_timely_heartbeats(settings)
        self.id = worker_id
        self._database = database
        self._settings = settings
        self._publish = publish
        self._setup = make_setup(
            database, settings, checked_handlers(settings), worker=str(self.id)
        )
        self._stopping = threading.Event()
        self._give_up = threading.Event()
        self._slot = threading.local()
        self._runners: list[ProcessRunner] = []
        self._vital = vital_database(database, settings)
        self._runs = RunRegistry(
            settings,
            on_clock=self._on_clock,
            on_first=self._on_first_run,
        )
        self._writer = OutcomeWriter(database, worker=str(self.id), give_up=self._give_up)
        self._heart = LeaseRenewer(self._vital, settings, self._runs, database)
        self._watch_loop = Loop("watch", self._runs.enforce)
        self._heart_loop = Loop(
            "heart", self._heart.step, longest_pause=settings.heartbeat_seconds / 2
        )
        self._listener = ChangeListener(database, self._vital, self._on_sessions_changed)

    def start(self) -> None:
        """Begin to enforce deadlines; opens no connection before the first task."""
        self._watch_loop.start()
        self._heart_loop.start()
        self._listener.start()

    def run(self, session_id: UUID, task_id: UUID) -> str:
        """Claim the task, run it and write its outcome; returns the outcome's name.

        `nothing` if there was nothing to claim: it is done, claimed by another, or outdated.
        While the database is unavailable, this waits: else an outage would use up every message.
        """
        asked_at, claim = self._claim(session_id, task_id)
        if claim is None:
            return "nothing"
        (run,) = self._runs.add([claim], claimed_at=asked_at)
        try:
            return self._run(run)
        finally:
            self._runs.remove([run])

    def drain(self, *, grace_seconds: float | None) -> None:
        """Give running tasks this long to end (None: no limit), then release them.

        Returns when that is done.
        """
        if not self._runs.wait_until_empty(grace_seconds):
            self._stopping.set()
            self._runs.stop_all(StopReason.SHUTDOWN, grace_seconds=0)
            if not self._runs.wait_until_empty(SECONDS_TO_WRITE_AT_STOP):
                self._give_up.set()
                # For example, one whose process is still starting: it cannot be stopped yet.
                self._writer.release([run.claim for run in self._runs.all()])
        self._stopping.set()

    def close(self) -> None:
        """End the children and close the connections; call it when no task is running."""
        self._stopping.set()
        self._give_up.set()
        self._heart_loop.stop()
        self._watch_loop.stop()
        self._listener.stop()
        for runner in self._runners:
            runner.close()
        self._heart.close()
        self._vital.close()

    def _claim(self, session_id: UUID, task_id: UUID) -> tuple[float, Claim | None]:
        failures = 0
        wish = transitions.ClaimRequest(session_id, task_id, self.id)
        while not self._stopping.is_set():
            asked_at = time.monotonic()
            try:
                with self._database.driver_connection() as connection:
                    claims = transitions.claim_these(
                        connection, [wish], lease_seconds=self._settings.lease_seconds
                    )
            except (DatabaseUnavailable, DatabaseBusy) as error:
                failures += 1
                if failures == 1:
                    logger.warning("A task waits for the database: %s", error)
                pause = backoff_seconds(failures, longest=LONGEST_PAUSE_SECONDS)
                self._stopping.wait(pause)
                continue
            self._database.announce(claim.session_id for claim in claims)
            return asked_at, claims[0] if claims else None
        self._publish([(session_id, task_id)])  # for another worker
        return 0.0, None

    def _run(self, run: Run) -> str:
        claim = run.claim
        try:
            ((_, outcome),) = self._runner().run([run])
        except Exception as error:
            logger.exception("A task could not be run")
            outcome = Failed(failure_context(error, worker=str(self.id)))
        with run.writing():
            written = self._writer.write(claim, outcome)
        name = outcome_name(written)
        if isinstance(written, Released):
            self._publish([(claim.session_id, claim.task_id)])
        seconds = time.monotonic() - run.started_at
        del outcome, written
        if seconds > SECONDS_OF_LIGHT_WORK:
            release_memory()
        attempt_ended(claim, name, seconds)
        return name

    def _runner(self) -> ProcessRunner:
        """The calling thread's runner: to the kernel, the thread is its child process's parent."""
        runner: ProcessRunner | None = getattr(self._slot, "runner", None)
        if runner is None:
            runner = ProcessRunner(self._setup)
            self._slot.runner = runner
            self._runners.append(runner)
        return runner

    def _on_clock(self) -> None:
        self._watch_loop.wake()

    def _on_first_run(self) -> None:
        self._heart_loop.wake()

    def _on_sessions_changed(self, session_ids: frozenset[UUID]) -> None:
        if self._heart.ask_about(session_ids):
            self._heart_loop.wake()
