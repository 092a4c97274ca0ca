"""The embedded engine: a supervisor that claims tasks, keeps their leases, and sees them end.

Threads, and what each may wait for::

    main / caller    stop requests only
    watch            nothing: it keeps every task's clocks (`Run.enforce`), and kills
    heart            the database, by a connection of its own: leases and progress
    claim            the database, by a connection of its own: work
    listener         the database, by a connection of its own: hints that something changed
    slot 1 … N       its task, then the database, to write an outcome with results
    outcome          the database: such an outcome while its slot has tasks in a child
    outcomes         the database: completions without results, as many at once as there are
                     (two threads: the second helps where the first falls behind)
    sweeper          the database: what was left behind, here or elsewhere

No transaction is open while a task works.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import os
import random
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple, Self
from uuid import UUID, uuid4

import psycopg

from app.core.errors import DatabaseBusy, DatabaseUnavailable, SessionNotFound, TaskError
from app.engines.attempts import STALE, attempt_ended
from app.engines.connections import HeldConnection, vital_database
from app.engines.execution import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
    OutcomeWriter,
    Released,
    is_light,
)
from app.engines.handout import Handout
from app.engines.heartbeat import Heart, require_timely_heartbeats
from app.engines.loops import Loop
from app.engines.memory import SECONDS_OF_LIGHT_WORK, collect_garbage_seldom, give_back_memory
from app.engines.pool import ProcessRunner, Runner, ThreadRunner, make_setup
from app.engines.runs import Run, RunTable, StopReason
from app.engines.stop_requests import Request, StopRequests
from app.engines.sweeper import Sweeper
from app.engines.wakeups import Wakeups
from app.repositories import transitions
from app.repositories.local_workers import offering
from app.repositories.session_repository import ALL_TASK_TYPES, SessionRepository
from app.tasks.registry import handler_references

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager

    from app.core.config import Settings
    from app.core.database import Database
    from app.models.session import TaskType
    from app.repositories.transitions import Claim, Start, Wish

logger = logging.getLogger(__name__)

SECONDS_TO_WRITE_AT_STOP = 5.0
"""How long a stopping worker tries to write outcomes and releases once its tasks have ended."""

SECONDS_AHEAD = 0.25
MOST_AHEAD = 1_024
"""Light tasks are claimed ahead of free slots: so many that the last waits about this long."""

SECONDS_PER_HANDOVER = 0.02
MOST_PER_HANDOVER = 64
"""A child is handed so many light tasks at once: about this much work."""

LIGHTEST_SECONDS = 0.001
"""Tasks that take less are sooner done than another thread is awake."""

MOST_TOGETHER = 256
"""So many completions are written by one statement at most: each costs it the same."""

LONGEST_AHEAD_SECONDS = 1.0
"""A task that was claimed ahead, and waits this long all the same, is given back."""

SECONDS_FOR_NOTHING = 0.1
TIMES_FOR_NOTHING = 10
"""Hints that come in a storm cost no more than a hundred questions a second; a few cost no wait."""


class _Inquiry(NamedTuple):
    """How to find out what a call claimed whose answer was lost.

    Attributes:
        claimed_at: the moment before the call; None where asking renews the lease.

    """

    claimed_at: float | None
    ask: Callable[[psycopg.Connection[Any]], list[Claim]]


class Worker:
    """Runs tasks until it is stopped; its id is new with every one that is made.

    `with worker:` runs it beside the caller's own work; `run_until_stopped()` runs it as the
    process's main job, with signals.

    Args:
        concurrency: tasks at a time.
        threads: run them in threads of this process rather than in child processes.
        task_types: only these.
        session_ids: only these sessions' tasks.
        sweeps: whether it also looks after what others left behind.

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
        self.outcome_counts: collections.Counter[str] = collections.Counter()
        self._database = database
        self._settings = settings
        self._concurrency = concurrency
        self._task_types = tuple(task_types)
        self._session_ids = None if session_ids is None else frozenset(session_ids)
        self._references = handler_references(settings)
        self._threads = threads
        self._give_up = threading.Event()
        self._requests: StopRequests | None = None
        self._waiting: Handout[Run] = Handout()
        self._completed: Handout[Run] = Handout()
        self._empty_handed_at = collections.deque[float](maxlen=TIMES_FOR_NOTHING)
        self._busy: set[threading.Thread] = set()
        self._usual_seconds = 1.0  # of a task, the latest counting most
        self._is_started = False
        self._handing_over = threading.Lock()

        self._vital = vital_database(database, settings)
        self._runs = RunTable(
            settings,
            on_clock=self._on_clock,
            on_first=self._on_first_run,
            on_room=self._on_room,
        )
        self._writer = OutcomeWriter(database, worker=str(self.id), give_up=self._give_up)
        self._claim_connection = HeldConnection(self._vital)
        self._heart = Heart(self._vital, settings, self._runs, database)
        self._watch_loop = Loop("watch", self._runs.enforce)
        self._heart_loop = Loop(
            "heart", self._heart.step, longest_pause=settings.heartbeat_seconds / 2
        )
        self._claim_loop = Loop("claim", self._claim)
        self._wakeups = Wakeups(database, self._vital, self.on_sessions_changed)
        self._sweeper = Sweeper(database, settings) if sweeps else None
        self._offering = contextlib.ExitStack()
        self._inquiries: list[_Inquiry] = []
        self._slots: list[threading.Thread] = []
        self._slot_numbers = itertools.count(1)
        self._outcomes = [
            threading.Thread(
                target=self._write_completions, args=(least,), name="outcomes", daemon=True
            )
            for least in (1, MOST_TOGETHER)  # the second helps where the first falls behind
        ]

    # -- life -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to claim and run tasks, in threads; returns at once."""
        self._is_started = True
        self._watch_loop.start()
        self._heart_loop.start()
        for writer in self._outcomes:
            writer.start()
        for _ in range(self._concurrency):
            self._open_slot()
        self._wakeups.start()
        self._claim_loop.start()
        self._offering.enter_context(offering(self._database, self))
        if self._sweeper is not None:
            self._sweeper.start()
        logger.info("Worker %s started with %d slots", self.id, self._concurrency)

    def stop(self, *, grace_seconds: float | None = None) -> None:
        """Claim nothing more, let tasks end, release what has not ended; returns when all is done.

        `grace_seconds` stands in place of the setting. Releasing spends no attempt.
        """
        if not self._is_started:
            self._close()
            return
        self._offering.close()
        with self._handing_over:
            self._is_started = False
        grace = self._settings.shutdown_grace_seconds if grace_seconds is None else grace_seconds
        self._claim_loop.stop()
        self._give_back_what_was_not_answered()
        if self._sweeper is not None:
            self._sweeper.stop()
        if not self._runs.wait_until_empty(grace):
            self._runs.stop_all(StopReason.SHUTDOWN, grace_seconds=0)
            if not self._runs.wait_until_empty(SECONDS_TO_WRITE_AT_STOP):
                self._give_up.set()
                # One whose process is still starting, say: it has not begun, and cannot be told.
                self._writer.release([run.claim for run in self._runs.all()])
                self._runs.wait_until_empty(1.0)
        self._waiting.close()
        for slot in tuple(self._slots):
            slot.join(SECONDS_TO_WRITE_AT_STOP)
        self._completed.close()
        for writer in self._outcomes:
            writer.join(SECONDS_TO_WRITE_AT_STOP)
        self._heart_loop.stop()
        self._watch_loop.stop()
        self._wakeups.stop()
        self._close()
        logger.info("Worker %s stopped", self.id)

    def request_stop(self) -> None:
        """Have a `run_until_stopped` that is under way stop and return; from anywhere.

        A second request ends the process at once.
        """
        requests = self._requests
        if requests is not None:
            requests.stop()

    def run_until_stopped(self) -> None:
        """Run until `request_stop`, SIGTERM or SIGINT; a second of these exits at once.

        Signals are handled where this is called in the main thread, and their former handlers put
        back at the end.
        """
        with StopRequests() as requests:
            self._requests = requests
            collect_garbage_seldom()
            self.start()
            requests.wait()
            self._stop_aside(requests)
            if requests.wait() == Request.STOP:
                logger.warning("Told to stop again: exiting now")
                os._exit(1)  # the children end with us
            self._requests = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.stop()

    @property
    def idle_slot_count(self) -> int:
        """How many slots are ready and wait for a task."""
        return self._waiting.sleeper_count

    @property
    def run_count(self) -> int:
        """How many tasks it has in hand."""
        return len(self._runs)

    def _stop_aside(self, requests: StopRequests) -> None:
        """Stop in a thread, so that the main thread still hears a second request."""

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

    def _on_clock(self) -> None:
        self._watch_loop.wake()

    def _on_first_run(self) -> None:
        self._heart_loop.wake()

    def _on_room(self) -> None:
        if self._room() > 0:
            self._claim_loop.wake()

    # -- what is started in this process ----------------------------------------------------------

    def has_slots_for(self, starts: Sequence[Start]) -> bool:
        """Whether all of these would begin at once; see `LocalWorker`."""
        if len(starts) > self._waiting.sleeper_count - len(self._waiting):
            return False
        wanted = self._session_ids
        return all(
            task_type in self._task_types and (wanted is None or session_id in wanted)
            for session_id, task_type, _ in starts
        )

    def on_sessions_changed(self, session_ids: frozenset[UUID]) -> None:
        """Look for work, and whether a task in hand is to stop; see `LocalWorker`."""
        if self._heart.ask_about(session_ids):
            self._heart_loop.wake()
        self._on_room()

    def hand_over(self, claims: Sequence[Claim], *, claimed_at: float) -> None:
        """Run these; where this worker has been told to stop meanwhile, give them back."""
        with self._handing_over:
            if self._is_started:
                self._runs.add(claims, claimed_at=claimed_at, hand_out=self._waiting.put)
                return
        self._writer.release(claims)

    def look_for(self, wishes: Sequence[Wish]) -> None:
        """Have the claim loop ask for these, as soon as the database answers."""

        def ask(connection: psycopg.Connection[Any]) -> list[Claim]:
            return transitions.claim_these(
                connection, wishes, lease_seconds=self._settings.lease_seconds
            )

        with self._handing_over:
            if self._is_started:
                self._inquiries.append(_Inquiry(None, ask))
                self._claim_loop.wake()
                return
        self._writer.release(wishes)

    # -- claiming ---------------------------------------------------------------------------------

    def _claim(self) -> float | None:
        """Claim as many tasks as there is room for, and hand them out."""
        self._take_what_was_not_answered(self._claim_connection.use)
        self._give_back_what_waits()
        room = self._room()
        if room <= 0 or self._claim_loop.is_stopping:
            return LONGEST_AHEAD_SECONDS if self._waiting else None
        asked_at = time.monotonic()
        claims = self._claims(room)
        self._runs.add(claims, claimed_at=asked_at, hand_out=self._waiting.put)
        self._database.announce(
            (claim.session_id for claim in claims), but=self.on_sessions_changed
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

    def _take_what_was_not_answered(
        self, connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]]
    ) -> None:
        """Take in hand what calls claimed whose answer was lost: nobody else would."""
        for inquiry in tuple(self._inquiries):
            asked_at = time.monotonic()
            with connect() as connection:
                claims = inquiry.ask(connection)
            self._inquiries.remove(inquiry)
            self.hand_over(claims, claimed_at=inquiry.claimed_at or asked_at)

    def _give_back_what_was_not_answered(self) -> None:
        """Take it as a worker that has been told to stop does: it goes back."""
        try:
            self._take_what_was_not_answered(self._database.driver_connection)
        except (DatabaseUnavailable, DatabaseBusy) as error:
            logger.warning("Claims whose answer was lost could not be given back: %s", error)

    def _room(self) -> int:
        """How many tasks to claim now: none while there are about enough."""
        ahead = min(MOST_AHEAD, int(self._concurrency * SECONDS_AHEAD / self._usual_seconds))
        room = self._concurrency + ahead - len(self._runs)
        return room if room > ahead // 2 else 0

    def _give_back_what_waits(self) -> None:
        """Give back what was claimed ahead and has waited for too long: others may be free."""
        if len(self._busy) < self._concurrency:
            return  # a slot is about to take it
        latest = time.monotonic() - LONGEST_AHEAD_SECONDS
        late = self._waiting.withdraw(lambda run: run.started_at <= latest)
        if not late:
            return
        self._usual_seconds = max(self._usual_seconds, LONGEST_AHEAD_SECONDS)
        try:
            with self._claim_connection.use() as connection:
                transitions.release(connection, [run.claim for run in late])
        except BaseException:
            self._waiting.put_back(late)
            raise
        self._database.announce(run.claim.session_id for run in late)
        for run in late:
            self._conclude(run, Released())
        self._runs.remove(late)

    def _claims(self, limit: int) -> list[Claim]:
        if self._session_ids is not None:
            return self._claims_of_sessions(self._session_ids, limit)
        call_id = uuid4()
        inquiry = _Inquiry(
            time.monotonic(),
            lambda connection: transitions.claims_of_call(connection, self.id, call_id),
        )
        self._inquiries.append(inquiry)
        with self._claim_connection.use() as connection:
            claims = transitions.claim_next(
                connection,
                self.id,
                task_types=self._task_types,
                limit=limit,
                lease_seconds=self._settings.lease_seconds,
                call_id=call_id,
            )
        self._inquiries.remove(inquiry)
        return claims

    def _claims_of_sessions(self, session_ids: Collection[UUID], limit: int) -> list[Claim]:
        claims: list[Claim] = []
        with self._vital.transaction() as db:
            sessions = SessionRepository(db)
            for session_id in session_ids:
                try:
                    lease = sessions.get(session_id).lease
                except SessionNotFound:
                    continue
                if lease is None or lease.claim_token is not None or len(claims) >= limit:
                    continue
                claim = sessions.claim_task(
                    session_id, lease.task_id, self.id, lease_seconds=self._settings.lease_seconds
                )
                if claim is not None:
                    claims.append(claim)
        return claims

    # -- running ----------------------------------------------------------------------------------

    def _open_slot(self, inherited: tuple[Run, Outcome] | None = None) -> None:
        """Begin a slot; in place of one that was left behind, by writing what that one had."""
        slot = threading.Thread(
            target=self._serve_slot,
            args=(inherited,),
            name=f"slot {next(self._slot_numbers)}",
            daemon=True,
        )
        self._slots.append(slot)
        slot.start()

    def _serve_slot(self, inherited: tuple[Run, Outcome] | None) -> None:
        """Run tasks, each to its written outcome; no error ends the slot."""
        me = threading.current_thread()

        def replace(run: Run, outcome: Outcome) -> None:
            self._slots.remove(me)
            self._busy.discard(me)
            self._open_slot((run, outcome))

        def give_back(runs: Sequence[Run]) -> None:
            left.difference_update(runs)
            self._waiting.put_back(runs)

        if inherited is not None:
            self._write(*inherited)
        left: set[Run] = set()
        runner = self._make_runner(on_abandoned=replace, give_back=give_back)
        runner.warm_up()
        try:
            while runs := self._waiting.take(self._at_once(), patience=self._patience()):
                self._busy.add(me)
                left.update(runs)
                self._run(runner, runs, left)
                if runner.is_abandoned:
                    return
                self._busy.discard(me)
                runner.warm_up()  # another child, if a task took its own with it
        finally:
            runner.close()

    def _make_runner(
        self,
        *,
        on_abandoned: Callable[[Run, Outcome], None],
        give_back: Callable[[Sequence[Run]], None],
    ) -> Runner:
        if self._threads:
            return ThreadRunner(
                self._database,
                self._settings,
                self._references,
                worker=str(self.id),
                on_abandoned=on_abandoned,
            )
        return ProcessRunner(
            make_setup(self._database, self._settings, self._references, worker=str(self.id)),
            give_back=give_back,
        )

    def _patience(self) -> float:
        """How long another slot lets this one work through what waits: if it is the lightest."""
        return LIGHTEST_SECONDS if self._usual_seconds < LIGHTEST_SECONDS else 0.0

    def _at_once(self) -> int:
        """How many tasks a slot takes: of threads, each has one; a child's are soon done."""
        if self._threads:
            return 1
        return max(1, min(MOST_PER_HANDOVER, int(SECONDS_PER_HANDOVER / self._usual_seconds)))

    def _run(self, runner: Runner, runs: list[Run], left: set[Run]) -> None:
        """Run the tasks; write their outcomes, or leave that to who writes light ones together.

        `left` are those whose outcome nobody knows yet.
        """
        asides: list[threading.Thread] = []
        begun_at = time.monotonic()
        try:
            for run, outcome in runner.run(runs):
                left.discard(run)
                now = time.monotonic()
                if is_light(outcome):
                    self._note_pace(now - begun_at)
                    self._completed.put((run,))
                else:
                    self._note_pace(max(now - begun_at, SECONDS_PER_HANDOVER))
                    if runner.is_busy:  # whose clocks must be kept while this is written
                        asides.append(self._write_aside(run, outcome))
                    else:
                        self._write(run, outcome)
                begun_at = now
        except Exception:
            logger.exception("A slot stumbled; its tasks' leases will end by themselves")
            self._runs.remove(left)
            left.clear()
        for aside in asides:
            aside.join()

    def _note_pace(self, seconds: float) -> None:
        self._usual_seconds += 0.1 * (seconds - self._usual_seconds)

    def _write_aside(self, run: Run, outcome: Outcome) -> threading.Thread:
        aside = threading.Thread(
            target=self._write, args=(run, outcome), name="outcome", daemon=True
        )
        aside.start()
        return aside

    def _write(self, run: Run, outcome: Outcome) -> None:
        """Write one outcome, patiently, and let go of the run."""
        try:
            written = self._writer.write(run.claim, outcome, attempt=run.writing)
            if time.monotonic() - run.started_at > SECONDS_OF_LIGHT_WORK:
                outcome, written = Released(), _without_results(written)  # lets go of the results
                give_back_memory()
            self._conclude(run, written)
        except Exception:
            logger.exception("An outcome could not be written; the lease will end by itself")
        finally:
            self._runs.remove((run,))

    def _write_completions(self, least: int) -> None:
        """Write completions without results, those that came meanwhile together."""
        while runs := self._completed.take(MOST_TOGETHER, least=least):
            first_of = {run.claim.session_id: run for run in reversed(runs)}
            together = list(first_of.values())
            self._completed.put_back(run for run in runs if first_of[run.claim.session_id] != run)
            try:
                self._write_together(together)
            except Exception:
                logger.exception("Outcomes could not be written; the leases will end by themselves")
            finally:
                self._runs.remove(together)

    def _write_together(self, runs: list[Run]) -> None:
        """Write by one statement; where that fails, each by itself, patiently."""
        for run in runs:
            run.is_writing = True
        try:
            outcomes = self._writer.complete_together([run.claim for run in runs])
        except (TaskError, psycopg.Error) as error:
            logger.debug("Completions could not be written together: %s", error)
            outcomes = None
        finally:
            for run in runs:
                run.is_writing = False
        for number, run in enumerate(runs):
            if outcomes is not None:
                written = outcomes[number]
            else:
                written = self._writer.write(
                    run.claim, Completed(), attempt=run.writing, is_doubtful=True
                )
            self._conclude(run, written)

    def _conclude(self, run: Run, written: Outcome | None) -> None:
        """Count and log what is in the database now."""
        self.outcome_counts[_name_of(written)] += 1
        attempt_ended(run.claim, _name_of(written), time.monotonic() - run.started_at)


def _without_results(outcome: Outcome | None) -> Outcome | None:
    match outcome:
        case Completed():
            return Completed()
        case Failed(context):
            return Failed(context)
        case _:
            return outcome


def _name_of(outcome: Outcome | None) -> str:
    """Return the outcome's name in counts and logs; `stale` where nothing was written."""
    match outcome:
        case Completed():
            return "completed"
        case Failed():
            return "failed"
        case Released():
            return "released"
        case Cancelled():
            return "cancelled"
        case None:
            return STALE
