"""How runs end, whatever a handler does: in child processes and in threads."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import ConfigurationError, DatabaseUnavailable
from app.engines.outcome_writer import OutcomeWriter
from app.engines.worker import Worker
from app.models.session import TaskStatus
from app.repositories import transitions
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.registry import checked_handlers
from tests.notes import said

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from uuid import UUID

    from app.values.claims import Claim

MODES = pytest.mark.parametrize("threads", [False, True], ids=["processes", "threads"])


@MODES
def test_a_completed_task_has_its_results_written(bench: Any, threads: bool) -> None:
    session_id = bench.session("make_tickets", count=1_234)
    bench.worker(threads=threads)
    bench.until_status(session_id, "completed")
    with bench.database.transaction() as db:
        content = ContentRepository(db)
        tickets = list(content.tickets(session_id))
        assert [ticket.title for ticket in tickets] == [f"Ticket {n}" for n in range(1_234)]
        assert said(content.notes(session_id)) == ["a note"]
    assert bench.lease(session_id) is None


@MODES
def test_a_session_goes_through_all_three_tasks_by_itself(bench: Any, threads: bool) -> None:
    session_id = bench.session(auto_advance=True)
    bench.worker(threads=threads)
    task = bench.until(
        lambda: (
            (task := bench.task(session_id)).task_type.value == "adf_validation"
            and task.status == TaskStatus.COMPLETED
            and task
        )
    )
    assert task.retry_count == 0


@MODES
def test_a_worker_is_not_told_of_what_it_did_itself(
    bench: Any, threads: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[frozenset[UUID]] = []
    monkeypatch.setattr(Worker, "on_sessions_changed", lambda _self, changed: told.append(changed))
    bench.session()
    worker = bench.worker(threads=threads)
    bench.until(lambda: worker.outcome_counts["completed"] == 1)
    assert told == []


@pytest.mark.parametrize("names_sessions", [False, True], ids=["any", "these sessions"])
def test_claims_whose_answer_was_lost_are_the_workers_all_the_same(
    bench: Any, names_sessions: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "claim_these" if names_sessions else "claim_next"
    claim = getattr(transitions, name)
    lost: list[Claim] = []

    def claim_and_lose_the_answer(*arguments: Any, **options: Any) -> list[Claim]:
        claims: list[Claim] = claim(*arguments, **options)
        if claims and not lost:
            lost.extend(claims)
            raise DatabaseUnavailable("the answer was lost")
        return claims

    monkeypatch.setattr(transitions, name, claim_and_lose_the_answer)
    session_ids = [bench.session() for _ in range(3)]
    patient = bench.settings.model_copy(update={"lease_seconds": 3600.0})
    worker = bench.worker(
        threads=True,
        concurrency=3,
        settings=patient,
        session_ids=session_ids if names_sessions else None,
    )
    bench.until(lambda: worker.outcome_counts["completed"] == 3)
    assert len({claim.claim_token for claim in lost}) == 3


def test_claims_whose_answer_was_lost_go_back_with_a_worker_that_stops(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_next = transitions.claim_next

    def claim_and_lose_the_answer(*arguments: Any, **options: Any) -> list[Claim]:
        if claim_next(*arguments, **options):
            raise DatabaseUnavailable("the answer was lost")
        return []

    claims_of_call = transitions.claims_of_call

    def lose_that_as_well(*arguments: Any) -> list[Claim]:
        if threading.current_thread().name == "claim":
            raise DatabaseUnavailable("so was this")
        return claims_of_call(*arguments)

    monkeypatch.setattr(transitions, "claim_next", claim_and_lose_the_answer)
    monkeypatch.setattr(transitions, "claims_of_call", lose_that_as_well)
    session_id = bench.session()
    patient = bench.settings.model_copy(update={"lease_seconds": 3600.0})
    worker = bench.worker(settings=patient)
    bench.until(lambda: bench.lease(session_id).worker_id == worker.id)
    worker.stop()
    assert bench.lease(session_id).claim_token is None
    assert worker.outcome_counts == {}


def test_a_completion_whose_answer_was_lost_to_the_last_counts_as_one(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    complete_together = OutcomeWriter.complete_together

    get = SessionRepository.get
    losses = iter([True])

    def complete_and_lose_the_answer(writer: OutcomeWriter, completions: Any) -> None:
        complete_together(writer, completions)
        monkeypatch.setattr(OutcomeWriter, "complete_together", complete_together)
        monkeypatch.setattr(SessionRepository, "get", lose_and_get)
        raise DatabaseUnavailable("the answer was lost")

    def lose_and_get(sessions: SessionRepository, session_id: UUID) -> object:
        if next(losses, False):
            raise DatabaseUnavailable("so was this")
        return get(sessions, session_id)

    monkeypatch.setattr(OutcomeWriter, "complete_together", complete_and_lose_the_answer)
    bench.session()
    worker = bench.worker(threads=True)
    bench.until(lambda: worker.outcome_counts)
    assert worker.outcome_counts == {"completed": 1}
    assert next(losses, "lost") == "lost"


@pytest.mark.parametrize(
    ("behaviour", "error", "category"),
    [
        ("own_error", "OwnError", "user_fixable"),
        ("unpicklable", "UnpicklableError", "admin_required"),
        ("silent", "SilentError", "admin_required"),
        ("huge", "ValueError", "admin_required"),
        ("nul", "ValueError", "admin_required"),
        ("system_exit", "SystemExit", "admin_required"),
        ("pretend_cancelled", "TaskCancelled", "user_fixable"),
        ("wrong_result", "TypeError", "admin_required"),
        ("unstorable", "", "admin_required"),
    ],
)
@MODES
def test_whatever_a_handler_raises_the_task_fails(
    bench: Any, threads: bool, behaviour: str, error: str, category: str
) -> None:
    session_id = bench.session(behaviour)
    bench.worker(threads=threads)
    task = bench.until_status(session_id, "failed")
    assert error in task.failure_context["error"]
    assert task.failure_context["category"] == category
    assert task.retry_count == 1
    assert task.failure_context["worker"] == str(bench.workers[0].id)


def test_an_exception_brings_findings_and_details_with_it(bench: Any) -> None:
    session_id = bench.session("explained")
    bench.worker()
    task = bench.until_status(session_id, "failed")
    assert task.failure_context["finding_count"] == 1
    with bench.database.transaction() as db:
        findings = ContentRepository(db).findings(session_id)
    assert [finding.reason for finding in findings] == ["no good"]


def test_a_killed_child_fails_its_task_within_a_second_and_is_counted(bench: Any) -> None:
    bench.worker(sweeps=False)
    took = []
    for _ in range(3):  # the best of three: the machine may be busy with other tests
        session_id = bench.session("wait_stubbornly")
        pid = bench.until_handler_runs(session_id)
        killed_at = time.monotonic()
        _kill(pid)
        task = bench.until_status(session_id, "failed")
        took.append(time.monotonic() - killed_at)
        assert task.failure_context["error"] == "worker_lost"
        assert "SIGKILL" in task.failure_context["message"]
        assert task.failure_context["category"] == "temporary"
        assert task.retry_count == 1
    assert min(took) < 1.0


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_a_child_that_exits_fails_its_task(bench: Any) -> None:
    session_id = bench.session("exit")
    bench.worker(sweeps=False)
    task = bench.until_status(session_id, "failed")
    assert "exited with status 3" in task.failure_context["message"]


def test_a_worker_goes_on_after_the_death_of_its_child(bench: Any) -> None:
    first, second = bench.session("die"), bench.session("make_tickets")
    bench.worker(sweeps=False)
    bench.until_status(first, "failed")
    bench.until_status(second, "completed")


def test_a_child_killed_while_idle_costs_no_task_an_attempt(bench: Any) -> None:
    worker = bench.worker(sweeps=False)
    first = bench.session("wait_for_file", file="/dev/null")
    bench.until_status(first, "completed")
    child = worker._slots._threads[0]
    assert child.is_alive()
    _kill(bench.child().pid)
    second = bench.session()
    task = bench.until_status(second, "completed", "failed")
    assert task.status == TaskStatus.COMPLETED


def test_a_task_that_kills_its_process_ends_failed_after_three_attempts(bench: Any) -> None:
    session_id = bench.session("die")
    bench.worker()
    task = bench.until_failed_attempts(session_id, 3)
    assert len(task.failure_context["earlier"]) == 2
    healthy = bench.session()
    bench.until_status(healthy, "completed")
    assert bench.task(session_id).retry_count == 3


@pytest.mark.parametrize("behaviour", ["die_first", "fail_first"])
def test_a_temporary_failure_is_retried_by_itself(bench: Any, behaviour: str) -> None:
    session_id = bench.session(behaviour)
    bench.worker()
    task = bench.until_status(session_id, "completed")
    assert task.retry_count == 1


@MODES
def test_cancel_reaches_a_cooperative_task_within_one_heartbeat(bench: Any, threads: bool) -> None:
    session_id = bench.session("wait_cooperatively")
    worker = bench.worker(threads=threads)
    bench.until_handler_runs(session_id)
    bench.cancel(session_id)
    cancelled_at = time.monotonic()
    bench.until(lambda: worker.run_count == 0)
    assert time.monotonic() - cancelled_at < bench.settings.heartbeat_seconds + 2.0
    assert bench.task(session_id).status == TaskStatus.CANCELLED
    assert worker.outcome_counts["cancelled"] == 1


def test_a_task_that_will_not_listen_is_killed_after_the_grace_period(
    bench: Any, processes_alive: Callable[[int], bool]
) -> None:
    session_id = bench.session("wait_stubbornly")
    worker = bench.worker()
    pid = bench.until_handler_runs(session_id)
    bench.cancel(session_id)
    bench.until(lambda: worker.run_count == 0)
    assert not processes_alive(pid)
    assert bench.task(session_id).retry_count == 0
    bench.until_status(bench.session(), "completed")


def test_a_thread_that_will_not_listen_is_left_behind(bench: Any) -> None:
    session_id = bench.session("wait_stubbornly")
    worker = bench.worker(threads=True)
    bench.until_handler_runs(session_id)
    bench.cancel(session_id)
    bench.until(lambda: worker.run_count == 0)
    bench.until_status(bench.session(), "completed")


def test_what_a_handler_started_ends_with_it(
    bench: Any, tmp_path: Path, processes_alive: Callable[[int], bool]
) -> None:
    noted = tmp_path / "pid"
    session_id = bench.session("start_descendant", file=str(noted))
    bench.worker()
    bench.until_handler_runs(session_id)
    descendant = int(noted.read_text())
    assert processes_alive(descendant)
    bench.cancel(session_id)
    bench.until(lambda: not processes_alive(descendant))


@MODES
def test_a_task_that_takes_too_long_is_stopped_and_fails(bench: Any, threads: bool) -> None:
    settings = bench.settings.model_copy(update={"max_run_seconds": 0.4})
    session_id = bench.session("wait_stubbornly")
    bench.worker(settings=settings, threads=threads, sweeps=False)
    task = bench.until_status(session_id, "failed")
    assert task.failure_context["error"] == "TaskTimeout"
    assert task.failure_context["category"] == "temporary"


def test_a_handler_has_a_limit_of_its_own(bench: Any) -> None:
    settings = bench.settings.model_copy(
        update={"handlers": "processing=sample_handlers:behave_briefly"}
    )
    session_id = bench.session("wait_stubbornly")
    bench.worker(settings=settings, sweeps=False)
    task = bench.until_status(session_id, "failed")
    assert task.failure_context["error"] == "TaskTimeout"


def test_a_handler_that_cannot_be_imported_keeps_the_worker_from_starting(bench: Any) -> None:
    settings = bench.settings.model_copy(update={"handlers": "processing=no.such.module:work"})
    with pytest.raises(ConfigurationError, match=r"no\.such\.module:work"):
        bench.worker(settings=settings)


def test_a_handler_that_is_gone_since_the_worker_started_fails_the_task_and_says_so(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "gone_handler.py"
    module.write_text("def work(context): ...")
    settings = bench.settings.model_copy(update={"handlers": "processing=gone_handler:work"})
    checked_handlers(settings)
    module.unlink()
    session_id = bench.session()
    bench.worker(settings=settings)
    task = bench.until_status(session_id, "failed")
    assert "gone_handler:work" in task.failure_context["message"]
    assert task.failure_context["category"] == "admin_required"


def test_odd_progress_is_made_storable(bench: Any) -> None:
    session_id = bench.session("odd_progress")
    bench.worker()
    assert bench.until_status(session_id, "completed", "failed").status == TaskStatus.COMPLETED


def test_a_worker_for_one_session_leaves_the_others_alone(bench: Any) -> None:
    other, own = bench.session(), bench.session()
    bench.worker(session_ids=[own])
    bench.until_status(own, "completed")
    assert bench.task(other).status == TaskStatus.RUNNING
    assert bench.lease(other).worker_id is None


@MODES
def test_steps_are_kept_for_the_retry_of_a_failure(
    bench: Any, threads: bool, tmp_path: Path
) -> None:
    log = tmp_path / "steps"
    session_id = bench.session("fail_between_steps", file=str(log))
    bench.worker(threads=threads)
    assert bench.until_status(session_id, "completed").retry_count == 1
    assert log.read_text().splitlines() == ["one 1", "two 2"]
