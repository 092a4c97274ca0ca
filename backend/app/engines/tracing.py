"""OpenTelemetry tracing, if the extra `telemetry` is installed and enabled by the setting.

A session's id is its trace's id: both are 128 bits. So no row and no message needs a trace
context: the worker that makes an attempt, on any machine, opens its span in that
trace; and a request that starts, retries or cancels a task links its own span to it.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.core.errors import MissingExtra
from app.engines.attempts import observe_attempts
from app.repositories.lifecycle_log import observe_transitions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from uuid import UUID

    from opentelemetry.trace import SpanContext, Tracer

    from app.core.config import Settings
    from app.repositories.transitions import Transition
    from app.values.claims import Claim

TRACER = "session-tasks"
ATTEMPT = "session_tasks.attempt"
LOW_64_BITS = (1 << 64) - 1


@contextmanager
def traced(settings: Settings) -> Iterator[None]:
    """Make and export spans while the context lasts, if the settings ask for that.

    OpenTelemetry's own variables set the target (`OTEL_EXPORTER_OTLP_ENDPOINT`, …).

    Raises:
        ConfigurationError: the extra is not installed.

    """
    if not settings.telemetry:
        yield
        return
    try:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError as error:
        raise MissingExtra(
            "SESSION_TASKS_TELEMETRY", "telemetry", otherwise=", or unset it"
        ) from error
    name = os.environ.get("OTEL_SERVICE_NAME", "session-tasks")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    try:
        with tracing_with(provider.get_tracer(TRACER)):
            yield
    finally:
        provider.shutdown()


@contextmanager
def tracing_with(tracer: Tracer) -> Iterator[None]:
    """While the context lasts, make a span for every attempt, and link every request's."""
    stop_linking = observe_transitions(_link_request)
    stop_spanning = observe_attempts(AttemptSpans(tracer))
    try:
        yield
    finally:
        stop_spanning()
        stop_linking()


class AttemptSpans:
    """Makes a span for each attempt after its end, so that no unfinished span is lost."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def attempt_began(self, claim: Claim) -> None:
        """Do nothing until it ends."""

    def attempt_ended(self, claim: Claim, outcome: str, seconds: float) -> None:
        """Make the span, in the session's trace."""
        from opentelemetry import trace  # noqa: PLC0415 - an extra

        ended_at = time.time_ns()
        parent = trace.NonRecordingSpan(session_context(claim.session_id))
        span = self._tracer.start_span(
            ATTEMPT,
            context=trace.set_span_in_context(parent),
            kind=trace.SpanKind.CONSUMER,
            start_time=ended_at - round(seconds * 1_000_000_000),
            attributes={
                "session_tasks.session_id": str(claim.session_id),
                "session_tasks.task_id": str(claim.task_id),
                "session_tasks.task_type": claim.task_type.value,
                "session_tasks.attempt": claim.attempt,
                "session_tasks.worker_id": str(claim.worker_id),
                "session_tasks.waited_seconds": claim.waited_seconds,
                "session_tasks.outcome": outcome,
            },
        )
        if outcome == "failed":
            span.set_status(trace.StatusCode.ERROR)
        span.end(ended_at)


def session_context(session_id: UUID) -> SpanContext:
    """Return the parent of all attempts in the session's trace."""
    from opentelemetry.trace import SpanContext, TraceFlags  # noqa: PLC0415 - an extra

    return SpanContext(
        trace_id=session_id.int,
        span_id=session_id.int & LOW_64_BITS,
        is_remote=True,
        trace_flags=TraceFlags(TraceFlags.SAMPLED),
    )


def _link_request(moved: Sequence[Transition]) -> None:
    from opentelemetry import trace  # noqa: PLC0415 - an extra

    span = trace.get_current_span()
    if not span.is_recording():
        return
    for transition in moved:
        span.add_link(
            session_context(transition.session_id),
            {
                "session_tasks.task_id": str(transition.task_id),
                "session_tasks.task_type": transition.task_type.value,
                "session_tasks.status": transition.status.value,
            },
        )
