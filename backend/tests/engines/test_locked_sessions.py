"""Somebody has a session locked: its own run waits for that, and nothing else does."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import text

from app.core.database_errors import translated_errors
from app.engines import worker as worker_module
from app.engines.outcome_writer import ATTEMPTS_TO_WRITE_RESULTS
from app.repositories import operations, session_repository
from app.repositories.results_writer import write_results
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

IS_WAITING = "An outcome waits to be written"


@pytest.fixture
def hasty(bench: Any, bench_class: Any) -> Iterator[Any]:
    """A bench whose statements wait for a lock only briefly."""
    hasty = bench_class(
        bench.settings.model_copy(update={"lock_timeout_seconds": 0.1}), bench.database.url
    )
    yield hasty
    hasty.close()


@contextmanager
def locked(bench: Any, session_id: UUID) -> Iterator[None]:
    """Have a transaction open that has locked the session, as a forgotten console does."""
    with bench.database.transaction() as db:
        db.execute(text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": session_id})
        yield


@pytest.mark.parametrize(
    ("behaviour", "status", "failures"),
    [("succeed", "completed", 0), ("make_tickets", "completed", 0), ("own_error", "failed", 1)],
)
@pytest.mark.parametrize("threads", [False, True], ids=["processes", "threads"])
def test_an_outcome_is_written_once_the_lock_is_gone(  # noqa: PLR0913, PLR0917 - fixtures
    hasty: Any,
    caplog: pytest.LogCaptureFixture,
    behaviour: str,
    status: str,
    failures: int,
    threads: bool,
) -> None:
    session_id = hasty.session(behaviour)
    with locked(hasty, session_id):
        worker = hasty.worker(threads=threads)
        hasty.until(lambda: IS_WAITING in caplog.text)
        hasty.until_status(other := hasty.session(), "completed")
    task = hasty.until_status(session_id, "completed", "failed")
    assert (task.status.value, task.retry_count) == (status, failures)
    assert hasty.task(other).retry_count == 0
    hasty.until(lambda: worker.outcome_counts.total() == 2)
    assert worker.outcome_counts[status] >= 1
    assert worker.outcome_counts["stale"] == 0
    if status == "failed":
        assert task.failure_context is not None
        assert task.failure_context["error"] == "OwnError"


def test_leases_are_renewed_beside_a_cancel_that_is_not_committed(hasty: Any) -> None:
    cancelled, other = hasty.session("wait_cooperatively"), hasty.session("wait_cooperatively")
    worker = hasty.worker(concurrency=2, threads=True)
    for session_id in (cancelled, other):
        hasty.until_handler_runs(session_id)
    claim_token = hasty.lease(cancelled).claim_token

    def until_renewed(session_id: UUID) -> None:
        leased_until = hasty.lease(session_id).leased_until
        hasty.until(lambda: hasty.lease(session_id).leased_until > leased_until)

    with pytest.raises(ZeroDivisionError), hasty.database.transaction() as db:
        SessionRepository(db).cancel_task(cancelled)
        until_renewed(other)
        until_renewed(other)
        raise ZeroDivisionError  # the cancel is taken back
    until_renewed(cancelled)
    assert hasty.lease(cancelled).claim_token == claim_token
    assert worker.outcome_counts == {}


def test_a_worker_that_stops_gives_back_what_is_locked(
    hasty: Any, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "SECONDS_TO_WRITE_AT_STOP", 0.2)
    session_id = hasty.session()
    with locked(hasty, session_id):
        worker = hasty.worker(threads=True)
        hasty.until(lambda: IS_WAITING in caplog.text)
        worker.stop(grace_seconds=0)
    assert hasty.lease(session_id).claim_token is None
    assert hasty.task(session_id).retry_count == 0


@pytest.mark.parametrize(
    ("refusal", "tries"),
    [
        (psycopg.errors.QueryCanceled("it took too long"), ATTEMPTS_TO_WRITE_RESULTS),
        (psycopg.errors.ProgramLimitExceeded("it is too large"), 1),
    ],
)
def test_results_that_the_server_never_takes_fail_their_task_at_last(
    bench: Any, monkeypatch: pytest.MonkeyPatch, refusal: psycopg.Error, tries: int
) -> None:
    tried = []

    def refuse_tickets(connection: Any, produced: Any) -> None:
        if any(each.results.tickets for each in produced):
            tried.append(produced)
            with translated_errors():
                raise refusal
        write_results(connection, produced)

    for module in (operations, session_repository):
        monkeypatch.setattr(module, "write_results", refuse_tickets)
    session_id = bench.session("make_tickets")
    bench.worker(sweeps=False)
    task = bench.until_status(session_id, "failed")
    assert str(refusal) in task.failure_context["message"]
    assert len(tried) == 1 + tries  # together with what else completed, then alone
