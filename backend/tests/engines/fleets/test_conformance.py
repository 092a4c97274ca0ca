"""Guarantees of both engines: embedded, also in a schema, and Celery over RabbitMQ and Redis."""

from __future__ import annotations

import signal
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import text

from app.engines.dispatch import dispatcher
from app.models.session import TaskStatus, TaskType
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from tests.notes import said

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from uuid import UUID

    from tests.engines.fleets.fleet import Fleet


@pytest.fixture(scope="module", params=["embedded", "embedded in a schema", "rabbitmq", "redis"])
def shared_fleet(request: pytest.FixtureRequest, make_fleet: Callable[[str], Fleet]) -> Fleet:
    """A fleet of each engine with one worker, for all tests that leave it unchanged."""
    fleet = make_fleet(request.param)
    fleet.worker()
    return fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Iterator[Fleet]:
    """The shared fleet; tasks that the test starts are published."""
    with dispatcher(shared_fleet.settings):
        yield shared_fleet


@pytest.fixture(
    params=[
        "rabbitmq",  # `test_worker_life` tries the embedded engine
        pytest.param("embedded", marks=pytest.mark.long),
        pytest.param("redis", marks=pytest.mark.long),
    ]
)
def own_fleet(
    request: pytest.FixtureRequest, make_fleet: Callable[[str], Fleet]
) -> Iterator[Fleet]:
    """A fleet without workers, for one test; tasks that the test starts are published."""
    fleet = make_fleet(request.param)
    with dispatcher(fleet.settings):
        yield fleet
    fleet.stop_workers()


def _ticket_count(fleet: Fleet, session_id: UUID) -> int:
    with fleet.bench.database.transaction() as db:
        return ContentRepository(db).counts(session_id).tickets


def test_a_session_runs_to_its_end_with_its_results(fleet: Fleet) -> None:
    session_id = fleet.session("make_tickets", auto_advance=True, count=7)
    fleet.until_completed(session_id, TaskType.ADF_VALIDATION)
    assert _ticket_count(fleet, session_id) == 7
    assert [run.split()[0] for run in fleet.runs(session_id)] == [each.value for each in TaskType]


def test_a_failure_is_counted_explained_and_retried_by_a_person(fleet: Fleet) -> None:
    session_id = fleet.session("own_error")
    first = fleet.bench.until_failed_attempts(session_id, 1)
    assert first.failure_context["error"] == "OwnError"
    with fleet.bench.database.transaction() as db:
        SessionRepository(db).retry_task(session_id)
    second = fleet.bench.until_failed_attempts(session_id, 2)
    assert second.task_id != first.task_id
    assert [run.split()[2] for run in fleet.runs(session_id)] == ["1", "2"]


def test_a_temporary_failure_is_retried_by_itself(fleet: Fleet) -> None:
    session_id = fleet.session("fail_first")
    task = fleet.bench.until_status(session_id, "completed")
    assert task.retry_count == 1
    assert len(fleet.runs(session_id)) == 2


@pytest.mark.parametrize("behaviour", ["wait_cooperatively", "wait_stubbornly"])
def test_a_cancelled_task_stops_and_the_worker_goes_on(
    fleet: Fleet, behaviour: str, processes_alive: Callable[[int], bool]
) -> None:
    session_id = fleet.session(behaviour)
    handler = fleet.bench.until_handler_runs(session_id)
    fleet.bench.cancel(session_id)
    after = fleet.session()
    fleet.bench.until_status(after, "completed")
    task = fleet.bench.task(session_id)
    assert (task.status, task.retry_count) == (TaskStatus.CANCELLED, 0)
    assert processes_alive(handler) is (behaviour == "wait_cooperatively")


def test_a_handler_that_dies_fails_at_once_and_is_counted(fleet: Fleet) -> None:
    session_id = fleet.session("die_first")
    assert fleet.bench.until_status(session_id, "completed").retry_count == 1


def test_steps_that_were_kept_do_not_run_again(fleet: Fleet, tmp_path: Path) -> None:
    log = tmp_path / "steps"
    session_id = fleet.session("die_between_steps", file=str(log))
    assert fleet.bench.until_status(session_id, "completed").retry_count == 1
    assert log.read_text().splitlines() == ["one 1", "two 1", "three 1", "three 2", "four 2"]
    with fleet.bench.database.transaction() as db:
        notes = ContentRepository(db).notes(session_id)
        assert db.execute(text("SELECT * FROM session_task_steps")).all() == []
    given = "given: ['ONE', 'TWO', 'THREE', 'FOUR']"
    assert said(notes) == ["kept before: ['one', 'two']", given]


def test_a_task_that_takes_too_long_is_stopped(own_fleet: Fleet) -> None:
    fleet = own_fleet
    session_id = fleet.session("wait_stubbornly")
    fleet.worker(max_run_seconds=0.5, retry_backoff_seconds=600.0)
    task = fleet.bench.until_failed_attempts(session_id, 1)
    assert task.failure_context["error"] == "TaskTimeout"


def test_results_that_cannot_be_stored_leave_nothing_behind(fleet: Fleet) -> None:
    session_id = fleet.session("unstorable")
    fleet.bench.until_failed_attempts(session_id, 1)
    assert _ticket_count(fleet, session_id) == 0


def test_a_message_that_comes_again_and_again_runs_the_task_once(
    fleet: Fleet, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    session_id = fleet.session("wait_for_file", file=str(go_on))
    task_id = fleet.bench.task(session_id).task_id
    fleet.hint(session_id)
    fleet.bench.until_handler_runs(session_id)
    for _ in range(3):
        fleet.hint(session_id)  # for a task that is running
    go_on.touch()
    fleet.bench.until_status(session_id, "completed")
    fleet.hint_of(session_id, task_id)  # for one that has ended
    fleet.hint_of(uuid.uuid4(), uuid.uuid4())  # and for one that never existed
    after = fleet.session()
    fleet.bench.until_status(after, "completed")
    assert [run.split()[1] for run in fleet.runs(session_id)].count(str(task_id)) == 1


def test_a_task_whose_message_was_lost_runs_all_the_same(shared_fleet: Fleet) -> None:
    session_id = shared_fleet.session()
    assert shared_fleet.bench.until_status(session_id, "completed").retry_count == 0
    assert len(shared_fleet.runs(session_id)) == 1


def test_a_killed_workers_task_is_rescued_by_another(own_fleet: Fleet, tmp_path: Path) -> None:
    fleet = own_fleet
    go_on = tmp_path / "go on"
    session_id = fleet.session("wait_for_file", file=str(go_on))
    first = fleet.worker()
    fleet.bench.until_handler_runs(session_id)
    fleet.kill(first)
    killed_at = time.monotonic()
    go_on.touch()
    fleet.worker()
    task = fleet.bench.until_status(session_id, "completed")
    assert task.retry_count == 1
    assert time.monotonic() - killed_at > fleet.settings.lease_seconds - 1.0
    assert [run.split()[2] for run in fleet.runs(session_id)] == ["1", "2"]


def test_a_paused_worker_writes_nothing_after_a_takeover(own_fleet: Fleet, tmp_path: Path) -> None:
    fleet = own_fleet
    go_on = tmp_path / "go on"
    session_id = fleet.session("wait_for_file", file=str(go_on))
    paused = fleet.worker()
    fleet.bench.until_handler_runs(session_id)
    tree = fleet.pause(paused)
    fleet.worker()
    fleet.bench.until(lambda: fleet.bench.task(session_id).retry_count == 1)
    go_on.touch()
    finished = fleet.bench.until_status(session_id, "completed")
    fleet.resume(tree)
    paused.send_signal(signal.SIGTERM)  # so that it writes its outcomes, if any
    paused.wait(60)
    task = fleet.bench.task(session_id)
    assert (task.task_id, task.retry_count) == (finished.task_id, 1)
    assert (task.status, task.completed_at) == (TaskStatus.COMPLETED, finished.completed_at)


def test_sigterm_gives_a_task_back_and_spends_no_attempt(own_fleet: Fleet) -> None:
    fleet = own_fleet
    session_id = fleet.session("wait_stubbornly")
    first = fleet.worker()
    fleet.bench.until_handler_runs(session_id)
    task_id = fleet.bench.task(session_id).task_id
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert fleet.bench.lease(session_id).claim_token is None
    fleet.worker()
    fleet.bench.until(lambda: len(fleet.runs(session_id)) == 2)
    task = fleet.bench.task(session_id)
    assert (task.status, task.retry_count, task.task_id) == (TaskStatus.RUNNING, 0, task_id)
