"""Prometheus metrics of tasks; no id, owner or name is ever a label."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from app.core.errors import WORKER_LOST
from app.engines.attempts import STALE, observe_attempts
from app.repositories.lifecycle_log import observe_transitions
from app.repositories.worker_repository import WORKER_STATES
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.repositories.live_counts import LiveCounts
    from app.repositories.transitions import Transition
    from app.values.claims import Claim

_TASK_SECONDS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)
_WAIT_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600)


class Metrics:
    """Counters of this process, and gauges that are read on request."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._started = self._counter(
            "session_tasks_started",
            "Tasks started or retried through this process",
            "task_type",
        )
        self._finished = self._counter(
            "session_tasks_finished",
            "Tasks that ended through this process",
            "task_type",
            "outcome",
        )
        self._seconds = self._histogram(
            "session_tasks_duration_seconds",
            "From start to end of a run, its wait for a worker included",
            "task_type",
            "outcome",
            buckets=_TASK_SECONDS,
        )
        self._waits = self._histogram(
            "session_tasks_wait_seconds",
            "From the moment a task was due until a worker of this process began it",
            "task_type",
            buckets=_WAIT_SECONDS,
        )
        self._stale_claims = self._counter(
            "session_tasks_stale_claims",
            "Attempts of this process whose claim was no longer theirs: nothing was written",
        )
        self._rescued = self._counter(
            "session_tasks_rescued",
            "Runs failed because their worker was lost",
        )
        self._running = self._gauge("session_tasks_running", "Tasks that a worker is running")
        self._waiting = self._gauge("session_tasks_waiting", "Tasks that wait for a worker")
        self._oldest = self._gauge(
            "session_tasks_oldest_waiting_seconds", "How long the task waits that waits longest"
        )
        self._unserved = self._gauge(
            "session_tasks_waiting_without_worker",
            "Tasks that wait and that no live worker takes",
        )
        self._paused = self._gauge(
            "session_tasks_paused",
            "Whether claims of the task type are paused: 0 or 1",
            "task_type",
        )
        self._workers = self._gauge("session_tasks_workers", "Workers that are alive", "state")

    def observe(self) -> Callable[[], None]:
        """Count this process's commits from now on; return a function that ends it."""
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
        """Count an attempt that wrote nothing; all others are counted as transitions."""
        if outcome == STALE:
            self._stale_claims.inc()

    def text(self, live: LiveCounts | None) -> bytes:
        """Return everything in Prometheus's text format; without `live`, gauges are unchanged."""
        self.set_gauges(live)
        return generate_latest(self.registry)

    def set_gauges(self, live: LiveCounts | None) -> None:
        """Set the gauges."""
        if live is not None:
            self._running.set(live.running)
            self._waiting.set(live.waiting)
            self._oldest.set(live.oldest_waiting_seconds)
            self._unserved.set(live.unserved)
            for task_type in TaskType:
                self._paused.labels(task_type.value).set(task_type in live.paused)
            for state in WORKER_STATES:
                self._workers.labels(state).set(live.workers.get(state, 0))

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _histogram(
        self, name: str, documentation: str, *labels: str, buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(name, documentation, labels, buckets=buckets, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, registry=self.registry)

    def _on_transitions(self, moved: Sequence[Transition]) -> None:
        for transition in moved:
            task_type, outcome = transition.task_type.value, transition.status.value
            if transition.status is TaskStatus.RUNNING:
                self._started.labels(task_type).inc()
                continue
            self._finished.labels(task_type, outcome).inc()
            self._seconds.labels(task_type, outcome).observe(transition.duration_seconds)
            if (transition.failure_context or {}).get("error") == WORKER_LOST:
                self._rescued.inc()
