"""Spans: one per attempt in its session's trace, linked with the request; nothing unless wanted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from chaos.waiting import until
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from app.engines.attempts import attempt_ended
from app.engines.tracing import ATTEMPT, TRACER, tracing_with
from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.values.claims import Claim
from tests.collector import Collector, collecting

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[3]


@pytest.fixture
def spans() -> Iterator[tuple[Any, InMemorySpanExporter]]:
    """A tracer, and where its spans go."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracer = provider.get_tracer(TRACER)
    with tracing_with(tracer):
        yield tracer, exporter
    provider.shutdown()


def test_request_links_to_the_trace_in_which_every_attempt_has_a_span(
    make_server: Any, open_session: Any, spans: Any
) -> None:
    tracer, exporter = spans
    api = make_server()
    session_id = uuid.UUID(open_session(api.client(api.key())).rsplit("/", 1)[1])
    with tracer.start_as_current_span("request"), api.database.transaction() as db:
        SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
    with Worker(api.database, api.settings, concurrency=1, threads=True):
        until(lambda: len(exporter.get_finished_spans()) == 2, "both spans")
    request, attempt = exporter.get_finished_spans()
    assert [link.context.trace_id for link in request.links] == [session_id.int]
    assert request.context.trace_id != session_id.int
    assert attempt.name == ATTEMPT
    assert attempt.context.trace_id == session_id.int
    assert attempt.parent.span_id == request.links[0].context.span_id
    told = dict(attempt.attributes)
    assert told["session_tasks.task_id"] == request.links[0].attributes["session_tasks.task_id"]
    assert (told["session_tasks.attempt"], told["session_tasks.outcome"]) == (1, "completed")
    assert attempt.start_time < attempt.end_time


def test_failed_attempt_is_an_error_and_takes_as_long_as_it_took(spans: Any) -> None:
    claim = Claim(uuid.uuid4(), uuid.uuid4(), TaskType.EXPORT, 2, uuid.uuid4(), uuid.uuid4(), 0.25)
    attempt_ended(claim, "failed", 1.5)
    (span,) = spans[1].get_finished_spans()
    assert span.status.status_code is StatusCode.ERROR
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(1.5)
    assert span.attributes["session_tasks.waited_seconds"] == 0.25


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as server:
        yield server


def test_serve_sends_its_spans_to_a_collector(
    database_url: str, tmp_path: Path, collector: Collector
) -> None:
    process = serve(
        database_url,
        tmp_path,
        SESSION_TASKS_TELEMETRY="true",
        **collector.environment,
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        link = re.search(r"(http://127\S+)\n.* (st_\S+)\n.*\1/login\?code=\S{43}\n", "".join(lines))
        assert link is not None, lines
        with httpx.Client(
            base_url=link[1], headers={"Authorization": f"Bearer {link[2]}"}, timeout=30
        ) as client:
            session = client.post(
                "/api/v1/sessions",
                files=[("documents", ("a.md", b"# A"))],
                data={"auto_advance": "false", "project_key": "ABC"},
            ).headers["Location"]
            assert client.post(f"{session}/task").status_code == 202
            session_id = uuid.UUID(session.rsplit("/", 1)[1])
            until(lambda: collector.attempts_of(session_id), "the attempt's span")
            until(lambda: requests_linked_to(collector, session_id.bytes), "the request's span")
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors


def requests_linked_to(collector: Collector, trace_id: bytes) -> list[Any]:
    return [s for s in collector.spans if any(link.trace_id == trace_id for link in s.links)]


def serve(database_url: str, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", "0"],
        env={
            **os.environ,
            "SESSION_TASKS_DATABASE_URL": database_url,
            "SESSION_TASKS_DATA_DIR": str(folder),
            "PYTHONPATH": str(ROOT / "backend"),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_nothing_of_it_is_loaded_unless_it_is_wanted() -> None:
    program = """
import sys
from app.core.config import Settings
from app.engines.tracing import traced
import app.engines.worker
with traced(Settings()):
    print(sorted(name for name in sys.modules if "opentelemetry" in name))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT / "backend")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
