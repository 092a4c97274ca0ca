"""The embedded engine: a supervisor that claims tasks, renews their leases, and ends their runs.

Threads, and what each may wait for::

    main / caller    stop requests only
    watch            nothing: it enforces every task's deadlines (`Run.enforce`), and kills
    heart            the database, by a connection of its own: leases and progress, and that
                     this worker is alive
    claim            the database, by a connection of its own: work
    listener         the database, by a connection of its own: hints that something changed
    slot 1 … N       its task, then the database, to write an outcome that is not a completion,
                     or has large results
    outcome          the database: such an outcome while its slot has tasks in a child
    outcomes         the database: completions with small results, as many at once as there are
                     (two threads: the second helps where the first falls behind)
    sweeper          the database: lost and due tasks, of any worker

No transaction is open while a task works.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Self
from uuid import uuid4

from app.core.config import EngineName
from app.core.errors import DatabaseBusy, DatabaseUnavailable
from app.core.wording import count_text
from app.engines.change_listener import ChangeListener
from app.engines.claims import ClaimSource
from app.engines.connections import HeldConnection, vital_database
from app.engines.execution import Released
from app.engines.heartbeat import LeaseRenewer, require_timely_heartbeats
from app.engines.loops import Loop
from app.engines.memory import collect_garbage_seldom
from app.engines.outcome_writer import OutcomeWriter
from app.engines.presence import Presence
from app.engines.runs import RunRegistry, StopReason
from app.engines.slots import Slots
from app.engines.stop_requests import Request, StopRequests
from app.engines.sweeper import Sweeper
from app.repositories import transitions
from app.repositories.local_dispatch import offering
from app.repositories.session_repository import ALL_TASK_TYPES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from uuid import UUID

    from app.core.config import Settings
    from app.core.database import Database
    from app.repositories.transitions import ClaimRequest, Start
    from app.values.claims import Claim
    from app.values.states import TaskType

logger = logging.getLogger(__name__)

SECONDS_TO_WRITE_AT_STOP = 5.0
"""How long a stopping worker tries to write outcomes and releases after its tasks have ended."""

SECONDS_AHEAD = 0.25
MOST_AHEAD = 2_048
"""Light tasks are claimed ahead of free slots, so many that the last waits about this long."""

CLAIMS_AHEAD = 8
"""The fraction of these in one claim: smaller claims cost more, larger ones leave slots idle."""

LONGEST_AHEAD_SECONDS = 1.0
"""Seconds after which a task claimed ahead that still waits is released."""

SECONDS_FOR_NOTHING = 0.1
TIMES_FOR_NOTHING = 10
"""Many hints cause at most a hundred claims a second; a few cause no delay."""


class Worker:
    """Runs tasks until it is stopped; each worker has a new id.

    `with worker:` runs it beside the caller's own work; `run_until_stopped()` runs it as the
    process's main job, with signals.

    Args:
        concurrency: the number of concurrent tasks.
        threads: run them in threads of this process rather than in child processes.
        task_types: the only types that it runs.
        session_ids: the only sessions whose tasks it runs.
        sweeps: whether it also runs the sweeper.

    Raises:
        ConfigurationError: a heartbeat would come too late for the lease, or the handlers' setting
            cannot be used.

    """

    def __init__(  # noqa: PLR0913 - the options of a worker are these
        self,
        database: Database,
        settings: Settings,
        *,
        concurrency: int = 2,
        threads: bool = False,
        task_types: Sequence[TaskType] = ALL_TASK_TYPES,
        session_ids: Collection[UUID] | None = None,
        sweeps: bool = True,
    ) -> None:
        require_timely_heartbeats(settings)
        self.id = uuid4()
        self._database = database
        self._settings = settings
        self._concurrency = concurrency
        self._task_types = tuple(task_types)
        self._session_ids = None if session_ids is None else frozenset(session_ids)
        self._give_up = threading.Event()
        self._requests: StopRequests | None = None
        self._empty_handed_at = collections.deque[float](maxlen=TIMES_FOR_NOTHING)
        self._is_started = False
        self._is_claiming = False
        self._handing_over = threading.Lock()
        self._stopping = threading.Lock()

        self._runs = RunRegistry(
            settings,
            on_clock=self._on_clock,
            on_first=self._on_first_run,
            on_room=self._on_room,
        )
        self._writer = OutcomeWriter(
            database,
            worker=str(self.id),
            give_up=self._give_up,
            local_worker=self,
        )
        self._slots = Slots(
            database,
            settings,
            runs=self._runs,
            writer=self._writer,
            worker=str(self.id),
            count=concurrency,
            threads=threads,
        )
        self._vital = vital_database(database, settings)
        self._claim_connection = HeldConnection(self._vital)
        self._claims = ClaimSource(
            self._claim_connection,
            self.id,
            task_types=self._task_types,
            session_ids=self._session_ids,
            lease_seconds=settings.lease_seconds,
        )
        self._heart = LeaseRenewer(self._vital, settings, self._runs, database)
        self._presence = Presence(
            self._heart.connection.use,
            settings,
            worker_id=self.id,
            engine=EngineName.EMBEDDED,
            concurrency=concurrency,
            task_types=self._task_types,
            session_ids=self._session_ids,
            on_drain=self.drain,
        )
        self._watch_loop = Loop("watch", self._runs.enforce)
        self._heart_loop = Loop("heart", self._beat, longest_pause=settings.heartbeat_seconds / 2)
        self._claim_loop = Loop("claim", self._claim)
        self._listener = ChangeListener(database, self._vital, self.on_sessions_changed)
        self._sweeper = Sweeper(database, settings) if sweeps else None
        self._offering = contextlib.ExitStack()

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to claim and run tasks, in threads; returns at once."""
        self._is_started = self._is_claiming = True
        self._watch_loop.start()
        self._heart_loop.start()
        self._slots.start()
        self._listener.start()
        self._claim_loop.start()
        self._offering.enter_context(offering(self._database, self))
        if self._sweeper is not None:
            self._sweeper.start()
        logger.info("Worker %s started with %s", self.id, count_text(self._concurrency, "slot"))

    def stop(self, *, grace_seconds: float | None = None) -> None:
        """Claim nothing more, let tasks end, release the others; return when all is done.

        `grace_seconds` replaces the setting. Releasing spends no attempt.
        """
        grace = self._settings.shutdown_grace_seconds if grace_seconds is None else grace_seconds
        with self._stopping:
            self._stop(grace)

    def drain(self) -> None:
        """Claim nothing more, and stop after all running tasks have ended; return at once.

        Tasks run as long as they may. A `run_until_stopped` returns then.
        """
        threading.Thread(target=self._drain, name="drain", daemon=True).start()

    def _drain(self) -> None:
        logger.info("Worker %s drains: it ends what it holds, and claims nothing more", self.id)
        self._presence.drain()
        self._heart_loop.wake()
        with self._stopping:
            self._stop_claiming()
        self._runs.wait_until_empty(None)
        if self._requests is not None:
            self._requests.leave()
        else:
            self.stop()

    def _stop_claiming(self) -> None:
        self._offering.close()
        with self._handing_over:
            self._is_claiming = False
        self._claim_loop.stop()
        try:  # a worker that is stopping takes it, and releases it
            self._take_unanswered(self._claims.recover(self._database.driver_connection))
        except (DatabaseUnavailable, DatabaseBusy) as error:
            logger.warning("Claims whose response was lost could not be released: %s", error)

    def _stop(self, grace: float) -> None:
        if not self._is_started:
            self._close()
            return
        self._stop_claiming()
        self._is_started = False
        if self._sweeper is not None:
            self._sweeper.stop()
        if not self._runs.wait_until_empty(grace):
            self._runs.stop_all(StopReason.SHUTDOWN, grace_seconds=0)
            if not self._runs.wait_until_empty(SECONDS_TO_WRITE_AT_STOP):
                self._give_up.set()
                # For example, one whose process is still starting: it cannot be stopped yet.
                self._writer.release([run.claim for run in self._runs.all()])
                self._runs.wait_until_empty(1.0)
        self._slots.stop(SECONDS_TO_WRITE_AT_STOP)
        self._heart_loop.stop()
        self._watch_loop.stop()
        self._listener.stop()
        self._presence.leave()
        self._close()
        logger.info("Worker %s stopped", self.id)

    def request_stop(self) -> None:
        """Have a running `run_until_stopped` stop and return; may be called from any thread.

        A second request ends the process at once.
        """
        requests = self._requests
        if requests is not None:
            requests.stop()

    def run_until_stopped(self) -> None:
        """Run until `request_stop`, SIGTERM or SIGINT; a second of these exits at once.

        Signals are handled if this is called in the main thread, and their former handlers are
        restored at the end.
        """
        with StopRequests() as requests:
            self._requests = requests
            collect_garbage_seldom()
            self.start()
            stop_count, is_stopping = 0, False
            while (heard := requests.wait()) is not Request.DONE:
                stop_count += heard is Request.STOP
                if stop_count > 1:
                    logger.warning("Second stop signal: exiting now")
                    os._exit(1)  # the children end with this process
                if not is_stopping:
                    is_stopping = True
                    self._stop_aside(requests)
            self._requests = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def outcome_counts(self) -> collections.Counter[str]:
        """The number of tasks by the outcome's name."""
        return self._slots.outcome_counts

    @property
    def idle_slot_count(self) -> int:
        """How many slots are ready and waiting for a task."""
        return self._slots.waiting.sleeper_count

    @property
    def run_count(self) -> int:
        """How many tasks it holds."""
        return len(self._runs)

    def _stop_aside(self, requests: StopRequests) -> None:
        """Stop in a thread, so that the main thread still receives a second request."""

        def stop_and_say_so() -> None:
            try:
                self.stop()
            finally:
                requests.done()

        threading.Thread(target=stop_and_say_so, name="stop", daemon=True).start()

    def _close(self) -> None:
        self._heart.close()
        self._claim_connection.close()
        self._vital.close()

    # -- hints ------------------------------------------------------------------------------------

    def _beat(self) -> float:
        """Renew leases, then this worker's own row, if due."""
        leases = self._heart.step()
        own = self._presence.step()
        return own if leases is None else min(leases, own)

    def _on_clock(self) -> None:
        self._watch_loop.wake()

    def _on_first_run(self) -> None:
        self._heart_loop.wake()

    def _on_room(self) -> None:
        if self._room() > 0:
            self._claim_loop.wake()

    # -- what is started in this process ----------------------------------------------------------

    def has_slots_for(self, starts: Sequence[Start]) -> bool:
        """Return whether all of these would begin at once; see `LocalWorker`."""
        if len(starts) > self._slots.waiting.sleeper_count - len(self._slots.waiting):
            return False
        return all(self.takes(session_id, task_type) for session_id, task_type, _ in starts)

    def takes(self, session_id: UUID, task_type: TaskType) -> bool:
        """Return whether it claims tasks of this type, of this session; see `LocalWorker`."""
        wanted = self._session_ids
        return (
            self._is_claiming
            and task_type in self._task_types
            and (wanted is None or session_id in wanted)
        )

    def on_sessions_changed(self, session_ids: frozenset[UUID]) -> None:
        """Look for work, and check whether a running task must stop; see `LocalWorker`."""
        if self._heart.ask_about(session_ids):
            self._heart_loop.wake()
        self._on_room()

    def dispatch_local(self, claims: Sequence[Claim], *, claimed_at: float) -> None:
        """Run these; if this worker is stopping, release them."""
        with self._handing_over:
            if self._is_claiming:
                self._runs.add(claims, claimed_at=claimed_at, hand_out=self._slots.waiting.put)
                if self._slots.are_all_busy:  # others came first: it may have to be released
                    self._claim_loop.wake()
                return
        self._writer.release(claims)

    def look_for(self, wishes: Sequence[ClaimRequest]) -> None:
        """Have the claim loop request these, as soon as the database responds."""
        with self._handing_over:
            if self._is_claiming:
                self._claims.look_for(wishes)
                self._claim_loop.wake()
                return
        self._writer.release(wishes)

    # -- claiming ---------------------------------------------------------------------------------

    def _claim(self) -> float | None:
        """Claim as many tasks as there is room for, and queue them."""
        self._take_unanswered(self._claims.recover())
        self._release_waiting()
        room = self._room()
        if room <= 0 or self._claim_loop.is_stopping:
            return LONGEST_AHEAD_SECONDS if self._slots.waiting else None
        asked_at = time.monotonic()
        claims = self._claims.claim(room)
        self._runs.add(claims, claimed_at=asked_at, hand_out=self._slots.waiting.put)
        self._database.announce(
            (claim.session_id for claim in claims), exclude=self.on_sessions_changed
        )
        if len(claims) == room:
            return 0.0
        if not claims:
            now = time.monotonic()
            self._empty_handed_at.append(now)
            pause = self._empty_handed_at[0] + SECONDS_FOR_NOTHING - now
            if len(self._empty_handed_at) == TIMES_FOR_NOTHING and pause > 0:
                self._give_up.wait(pause)
        return self._settings.poll_seconds * random.uniform(0.75, 1.25)  # noqa: S311 - jitter

    def _take_unanswered(self, found: Iterable[tuple[list[Claim], float]]) -> None:
        for claims, claimed_at in found:
            self.dispatch_local(claims, claimed_at=claimed_at)

    def _room(self) -> int:
        """Return how many tasks to claim now: none while there are nearly enough."""
        ahead = min(MOST_AHEAD, int(self._concurrency * SECONDS_AHEAD / self._slots.usual_seconds))
        room = self._concurrency + ahead - self._runs.occupied_count
        return room if room > ahead // CLAIMS_AHEAD else 0

    def _release_waiting(self) -> None:
        """Release tasks claimed ahead that have waited for too long: other workers may be free."""
        if not self._slots.are_all_busy:
            return  # a slot is about to take it
        latest = time.monotonic() - LONGEST_AHEAD_SECONDS
        late = self._slots.waiting.withdraw(lambda run: run.started_at <= latest)
        if not late:
            return
        self._slots.expect_at_least(LONGEST_AHEAD_SECONDS)
        try:
            with self._claim_connection.use() as connection:
                claims = [run.claim for run in late]
                given_back = transitions.release(connection, claims, skips_locked=True)
                locked = transitions.still_valid(
                    connection, [each for each in claims if each.claim_token not in given_back]
                )
        except BaseException:
            self._slots.waiting.put_back(late)
            raise
        self._slots.waiting.put_back(run for run in late if run.claim.claim_token in locked)
        gone = [run for run in late if run.claim.claim_token not in locked]
        self._database.announce(run.claim.session_id for run in gone)
        for run in gone:
            self._slots.conclude(run, Released())
        self._runs.remove(gone)
