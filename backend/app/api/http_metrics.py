"""Metrics of requests and streams, beside those of tasks that every process has."""

from __future__ import annotations

from functools import cache

from app.engines.metrics import Metrics

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class HttpMetrics(Metrics):
    """The counters of a process that serves the API."""

    def __init__(self) -> None:
        super().__init__()
        self._streams = self._gauge("session_tasks_sse_clients", "Streams of events that are open")
        answers = self._counter(
            "session_tasks_http_requests", "Requests served", "method", "route", "status"
        )
        seconds = self._histogram(
            "session_tasks_http_request_duration_seconds",
            "From a request's first byte to the last of its answer; streams not counted",
            "method",
            "route",
            buckets=_REQUEST_SECONDS,
        )
        # Finding a label's child costs as much as counting it: every answer is counted.
        self._answers_of = cache(
            lambda method, route, status: answers.labels(method, route, str(status))
        )
        self._seconds_of = cache(seconds.labels)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        name = method if method in _METHODS else "other"
        self._answers_of(name, route, status).inc()
        if not route.endswith("/events"):
            self._seconds_of(name, route).observe(seconds)

    def set_streams(self, count: int) -> None:
        """Set how many streams of events are open."""
        self._streams.set(count)
