"""What is counted, in Prometheus's words; never an id, an owner or a name as a label."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.engines.attempts import STALE, observe_attempts
from app.models.session import TaskStatus
from app.repositories.lifecycle_log import observe_transitions

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.repositories.session_queries import LiveCounts
    from app.repositories.transitions import Claim, Transition

_TASK_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
_WAIT_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class Metrics:
    """Counters of this process, and gauges that are set when they are asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._started = Counter(
            "session_tasks_started",
            "Tasks started or retried through this process",
            ["task_type"],
            registry=self.registry,
        )
        self._finished = Counter(
            "session_tasks_finished",
            "Tasks that ended through this process",
            ["task_type", "outcome"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "session_tasks_duration_seconds",
            "From start to end of a run, its wait for a worker included",
            ["task_type", "outcome"],
            buckets=_TASK_SECONDS,
            registry=self.registry,
        )
        self._waits = Histogram(
            "session_tasks_wait_seconds",
            "From the moment a task was due until a worker of this process took it in hand",
            ["task_type"],
            buckets=_WAIT_SECONDS,
            registry=self.registry,
        )
        self._stale_claims = Counter(
            "session_tasks_stale_claims",
            "Attempts of this process whose claim was no longer theirs: nothing was written",
            registry=self.registry,
        )
        self._rescued = Counter(
            "session_tasks_rescued",
            "Runs failed because their worker was lost",
            registry=self.registry,
        )
        self._running = self._gauge("session_tasks_running", "Tasks that a worker has in hand")
        self._waiting = self._gauge("session_tasks_waiting", "Tasks that wait for a worker")
        self._oldest = self._gauge(
            "session_tasks_oldest_waiting_seconds", "How long the task waits that waits longest"
        )
        self._streams = self._gauge("session_tasks_sse_clients", "Streams of events that are open")
        self._answers = Counter(
            "session_tasks_http_requests",
            "Requests answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._answer_seconds = Histogram(
            "session_tasks_http_request_duration_seconds",
            "From a request's first byte to the last of its answer; streams not counted",
            ["method", "route"],
            buckets=_REQUEST_SECONDS,
            registry=self.registry,
        )

        # Finding a label's child costs as much as counting it: every answer is counted.
        self._answers_of = cache(
            lambda method, route, status: self._answers.labels(method, route, str(status))
        )
        self._answer_seconds_of = cache(self._answer_seconds.labels)

    def observe(self) -> Callable[[], None]:
        """Count what this process commits from now on; returns a function that ends it."""
        stop_transitions = observe_transitions(self._on_transitions)
        stop_attempts = observe_attempts(self)

        def stop() -> None:
            stop_transitions()
            stop_attempts()

        return stop

    def attempt_began(self, claim: Claim) -> None:
        """Count how long the task had waited."""
        self._waits.labels(claim.task_type.value).observe(max(0.0, claim.waited_seconds))

    def attempt_ended(self, _claim: Claim, outcome: str, _seconds: float) -> None:
        """Count an attempt that came to nothing; all others are counted as transitions."""
        if outcome == STALE:
            self._stale_claims.inc()

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        name = method if method in _METHODS else "other"
        self._answers_of(name, route, status).inc()
        if not route.endswith("/events"):
            self._answer_seconds_of(name, route).observe(seconds)

    def text(self, live: LiveCounts | None, streams: int) -> bytes:
        """Write everything in Prometheus's text format; without `live`, those gauges stay."""
        self.set_gauges(live, streams=streams)
        return generate_latest(self.registry)

    def set_gauges(self, live: LiveCounts | None, *, streams: int) -> None:
        """Set what is not counted but looked at."""
        self._streams.set(streams)
        if live is not None:
            self._running.set(live.running)
            self._waiting.set(live.waiting)
            self._oldest.set(live.oldest_waiting_seconds)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)

    def _on_transitions(self, moved: Sequence[Transition]) -> None:
        for transition in moved:
            task_type, outcome = transition.task_type.value, transition.status.value
            if transition.status is TaskStatus.RUNNING:
                self._started.labels(task_type).inc()
                continue
            self._finished.labels(task_type, outcome).inc()
            self._seconds.labels(task_type, outcome).observe(transition.duration_seconds)
            if (transition.failure_context or {}).get("error") in _LOST_WORKER:
                self._rescued.inc()


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LOST_WORKER = frozenset({"WorkerLost", "worker_lost"})
