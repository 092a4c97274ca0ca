"""The runs of a worker, and the deadlines of each.

No method here blocks: a database must never delay a deadline.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from enum import Enum
from typing import TYPE_CHECKING

from app.engines.attempts import attempt_began
from app.repositories.transitions import Heartbeat

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Collection, Iterator, Sequence
    from contextlib import AbstractContextManager

    from app.core.config import Settings
    from app.tasks.context import Progress
    from app.values.claims import Claim

logger = logging.getLogger(__name__)

NEVER = float("inf")

MAX_DEFERRED = 2_048
"""How many runs may be ended and unwritten before they occupy slots."""

FENCE_SHARE = 0.9
"""A task is stopped when this much of its lease has passed without a renewal."""


class StopReason(Enum):
    """The reason to stop a run."""

    CLAIM_LOST = "its claim is no longer ours: it was cancelled, deleted or rescued"
    NOT_RENEWED = "its lease could not be renewed in time"
    OUT_OF_TIME = "it ran for too long"
    SHUTDOWN = "the worker stops"


class Run:
    """One claimed task of this worker; thread-safe.

    Attributes:
        claim: the claim for its writes.
        started_at: by the monotonic clock, like every moment here.
        leased_at: the moment before its lease was last requested; the lease begins then or later.
        max_run_seconds: how long it may run.
        stop_reason: the first reason to stop; None: it may continue.
        is_writing: whether its outcome is being written, so that notifications of it are ignored.
        deferral_count: how often its outcome could not be written yet.

    """

    def __init__(
        self,
        claim: Claim,
        *,
        claimed_at: float,
        settings: Settings,
        on_clock: Callable[[float], None],
    ) -> None:
        self.claim = claim
        self.started_at = time.monotonic()
        self.leased_at = claimed_at
        self.stop_reason: StopReason | None = None
        self.is_writing = False
        self.deferral_count = 0
        self._settings = settings
        self._on_clock = on_clock
        self._lock = threading.RLock()
        self._fenced_at = claimed_at + settings.lease_seconds * FENCE_SHARE
        self.max_run_seconds = settings.max_run_seconds
        self._killed_at: float | None = None
        self._is_running = False
        self._stop_told: threading.Event | None = None
        self._progress: Progress | None = None
        self._tell = self._kill = _do_nothing

    # -- called by the thread that runs it --------------------------------------------------------

    def running(
        self, *, kill: Callable[[], None], tell: Callable[[], None] = lambda: None
    ) -> AbstractContextManager[None]:
        """While the context lasts, a stop calls `tell` and, after the grace period, `kill`."""
        return _Running(self, tell, kill)

    def begin(self, tell: Callable[[], None], kill: Callable[[], None]) -> None:
        """Enter `running`."""
        with self._lock:
            self._tell, self._kill, self._is_running = tell, kill, True
            if self.stop_reason is not None:
                tell()
            due_at = self._due_at()
        self._on_clock(due_at)

    def end(self) -> None:
        """Leave `running`."""
        with self._lock:
            self._is_running = False
            self._tell = self._kill = _do_nothing  # they refer to this run, which is a cycle

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Set `is_writing` while the context lasts."""
        self.is_writing = True
        try:
            yield
        finally:
            self.is_writing = False

    def must_stop(self) -> bool:
        """Whether it must stop."""
        return self.stop_reason is not None

    def wait_for_stop(self, seconds: float) -> bool:
        """Wait this long, or until it must stop; return whether it must."""
        with self._lock:
            if self._stop_told is None:
                self._stop_told = threading.Event()
                if self.stop_reason is not None:
                    self._stop_told.set()
        return self._stop_told.wait(seconds)

    @property
    def fenced_at(self) -> float:
        """The moment by which it must end, or after which it must not begin, by its lease."""
        return self._fenced_at

    def limit_to(self, max_run_seconds: float) -> None:
        """Limit it to this time from its start, instead of the setting."""
        with self._lock:
            self.max_run_seconds = max_run_seconds
            due_at = self._due_at()
        self._on_clock(due_at)

    def note(self, progress: Progress) -> None:
        """Keep its progress for the next heartbeat."""
        with self._lock:
            self._progress = progress

    # -- by the heart -----------------------------------------------------------------------------

    @property
    def has_news(self) -> bool:
        """Whether there is progress that no heartbeat has sent."""
        return self._progress is not None

    def take_heartbeat(self) -> tuple[Heartbeat, Progress | None]:
        """Return the next heartbeat, and its progress."""
        with self._lock:
            progress, self._progress = self._progress, None
        if progress is None:
            return Heartbeat(self.claim), None
        return Heartbeat(self.claim, progress.current, progress.total, progress.message), progress

    def give_back(self, progress: Progress | None) -> None:
        """Keep the progress of a heartbeat that was not sent, unless there is newer."""
        with self._lock:
            self._progress = self._progress or progress

    def renewed(self, sent_at: float) -> None:
        """Note that the lease runs from at least `sent_at`, the moment before the beat was sent."""
        with self._lock:
            self.leased_at = sent_at
            self._fenced_at = sent_at + self._settings.lease_seconds * FENCE_SHARE

    # -- called by the thread that watches deadlines ----------------------------------------------

    def stop(self, reason: StopReason, *, grace_seconds: float) -> None:
        """Ask it to stop, and kill it when the grace period is over."""
        with self._lock:
            is_first = self.stop_reason is None
            if is_first:
                self.stop_reason = reason
                if self._stop_told is not None:
                    self._stop_told.set()
            killed_at = time.monotonic() + grace_seconds
            self._killed_at = min(killed_at, self._killed_at or killed_at)
            if is_first and self._is_running:
                self._tell()
            is_news = is_first and self._is_running  # else it ended during a heartbeat
            due_at = self._due_at()
        self._on_clock(due_at)
        if is_news:
            logger.info(
                "Stopping %s of session %s: %s",
                self.claim.task_type.value,
                self.claim.session_id,
                reason.value,
            )

    def _due_at(self) -> float:
        """Return when the next deadline is due."""
        if self._killed_at is not None:
            return self._killed_at
        return min(self._fenced_at, self.started_at + self.max_run_seconds)

    def enforce(self, now: float) -> float | None:
        """Enforce deadlines that have passed; return when the next may be due, or None."""
        with self._lock:
            if not self._is_running:  # it is waiting, or has ended: it has no deadline
                due_at = self._due_at()
                return due_at if due_at > now else None
            ends_at = self.started_at + self.max_run_seconds
            if self.stop_reason is None and now >= self._fenced_at:
                self.stop(StopReason.NOT_RENEWED, grace_seconds=0)
            elif self.stop_reason is None and now >= ends_at:
                self.stop(StopReason.OUT_OF_TIME, grace_seconds=0)
            if self._killed_at is None or time.monotonic() < self._killed_at:
                return self._due_at()
            self._kill()
            return None


class _Running:
    """The context manager of `Run.running`: a class, as a generator costs more per task."""

    __slots__ = ("_kill", "_run", "_tell")

    def __init__(self, run: Run, tell: Callable[[], None], kill: Callable[[], None]) -> None:
        self._run, self._tell, self._kill = run, tell, kill

    def __enter__(self) -> None:
        self._run.begin(self._tell, self._kill)

    def __exit__(self, *_exc_info: object) -> None:
        self._run.end()


def _do_nothing() -> None:
    """Do nothing: it is not running."""


class RunRegistry:
    """All runs, by the token of their claim; thread-safe.

    A released task may be claimed again before its old run is removed.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_clock: Callable[[], None],
        on_first: Callable[[], None],
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._on_clock = on_clock
        self._on_first = on_first
        self._on_room = on_room
        self._due_at = NEVER  # when deadlines are checked next
        self._news: list[float] | None = None  # of runs that began during a check
        self._runs: dict[uuid.UUID, Run] = {}
        self._deferred: set[uuid.UUID] = set()
        self._changed = threading.Condition()

    def __len__(self) -> int:
        return len(self._runs)

    @property
    def occupied_count(self) -> int:
        """How many occupy slots: all but deferred ones, unless these are too many."""
        return len(self._runs) - min(len(self._deferred), MAX_DEFERRED)

    def deferred(self, runs: Sequence[Run]) -> None:
        """Note that these have ended and cannot be written yet; others may take their slots."""
        with self._changed:
            for run in runs:
                run.deferral_count += 1
                self._deferred.add(run.claim.claim_token)
        self._on_room()

    def add(
        self,
        claims: Sequence[Claim],
        *,
        claimed_at: float,
        hand_out: Callable[[list[Run]], None] = lambda _runs: None,
    ) -> list[Run]:
        """Add the claims; `claimed_at` is the moment before they were requested.

        They are queued before other threads are woken. Known claims are left out.
        """
        runs = [
            Run(claim, claimed_at=claimed_at, settings=self._settings, on_clock=self._watch)
            for claim in claims
            if claim.claim_token not in self._runs
        ]
        with self._changed:
            is_first = bool(runs) and not self._runs
            self._runs.update((run.claim.claim_token, run) for run in runs)
        for run in runs:
            attempt_began(run.claim)
        hand_out(runs)
        if is_first:
            self._on_first()
        return runs

    def remove(self, runs: Collection[Run]) -> None:
        """Remove runs that are written."""
        with self._changed:
            for run in runs:
                self._runs.pop(run.claim.claim_token, None)
            if self._deferred:
                self._deferred.difference_update(run.claim.claim_token for run in runs)
            if not self._runs:
                self._changed.notify_all()
        self._on_room()

    def all(self) -> list[Run]:
        """Return the present runs."""
        with self._changed:
            return list(self._runs.values())

    def has_session_of(self, session_ids: Collection[uuid.UUID]) -> bool:
        """Return whether an unfinished run is of one of these sessions."""
        return any(run.claim.session_id in session_ids for run in self.all() if not run.is_writing)

    def stop_all(self, reason: StopReason, *, grace_seconds: float) -> None:
        """Ask every run to stop."""
        for run in self.all():
            run.stop(reason, grace_seconds=grace_seconds)

    def wait_until_empty(self, seconds: float | None) -> bool:
        """Wait for the last run to end; return whether it did in time (None: no limit)."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._runs, seconds)

    def enforce(self) -> float | None:
        """Enforce due deadlines; return the seconds until the next, None without runs."""
        news: list[float] = []
        self._news = news
        now = time.monotonic()
        moments = [moment for run in self.all() if (moment := run.enforce(now)) is not None]
        self._due_at = min(moments, default=NEVER)  # a run with an earlier one wakes us
        self._news = None
        self._due_at = due_at = min([self._due_at, *news])
        return None if due_at == NEVER else max(due_at - now, 0.001)

    def _watch(self, moment: float) -> None:
        """Have deadlines checked by then; thousands of runs a second nearly always have later ones.

        During a check it is only noted: else, with runs that begin all the time, checks would never
        end.
        """
        news = self._news
        if news is not None:
            news.append(moment)
        if moment < self._due_at:
            self._due_at = moment
            self._on_clock()
