"""The model's rules in memory, against the design's table written out by hand."""

from __future__ import annotations

import copy
import logging
import pickle
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import (
    ErrorCategory,
    NoTransaction,
    TaskConflict,
    TaskError,
    TaskValidationError,
)
from app.models.session import Session, SessionStage, SessionTask, TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

P, E, V = TaskType.PROCESSING, TaskType.EXPORT, TaskType.ADF_VALIDATION
FAILURE = {"error": "Broken", "message": "it broke", "category": "temporary"}


def a_task(
    task_type: TaskType = P, status: TaskStatus | None = TaskStatus.RUNNING, retry_count: int = 0
) -> SessionTask:
    session = Session(id=uuid.uuid4(), stage=SessionStage(task_type.value))
    task = SessionTask(
        session_id=session.id,
        session=session,
        task_type=task_type,
        task_id=uuid.uuid4(),
        status=status,
        retry_count=retry_count,
        started_at=datetime.now(UTC),
    )
    if status is TaskStatus.COMPLETED:
        task.completed_at = datetime.now(UTC)
    if status is TaskStatus.FAILED:
        task.failed_at = datetime.now(UTC)
        task.failure_context = dict(FAILURE)
    return task


def test_the_specification_s_life_of_a_session() -> None:
    task = a_task(status=None)
    for task_type in TaskType:
        run = uuid.uuid4()
        if task_type is P:
            task.mark_started(run)
        else:
            task.advance(task_type, run)
        assert (task.task_type, task.task_id, task.status) == (task_type, run, TaskStatus.RUNNING)
        assert task.session is not None
        assert task.session.stage == SessionStage(task_type.value)
        assert task.is_running
        task.mark_completed()
        assert task.status == TaskStatus.COMPLETED
    assert task.session.stage == SessionStage.COMPLETED


def test_a_new_record_has_no_failures_and_what_it_lacks_is_said() -> None:
    task = SessionTask(session_id=uuid.uuid4())
    assert task.retry_count == 0
    assert not task.can_be_retried
    for act in (lambda: task.mark_started(uuid.uuid4()), task.mark_completed, task.mark_cancelled):
        with pytest.raises(TaskValidationError, match="without a type") as caught:
            act()
        assert caught.value.next_step


@pytest.mark.parametrize("status", [s for s in TaskStatus if s is not TaskStatus.RUNNING])
@pytest.mark.parametrize(
    "act",
    [
        SessionTask.mark_completed,
        SessionTask.mark_cancelled,
        lambda task: task.mark_failed(FAILURE),
    ],
    ids=["complete", "cancel", "fail"],
)
def test_only_a_running_task_can_end(
    status: TaskStatus, act: Callable[[SessionTask], None]
) -> None:
    task = a_task(status=status)
    before = {**task.__dict__}
    with pytest.raises(TaskValidationError) as caught:
        act(task)
    assert caught.value.category == ErrorCategory.USER_FIXABLE
    if status is TaskStatus.COMPLETED:
        assert caught.value.message == "Cannot modify completed task"
    assert {**task.__dict__} == before


def test_a_running_task_is_not_started_again() -> None:
    with pytest.raises(TaskConflict):
        a_task().mark_started(uuid.uuid4())
    with pytest.raises(TaskConflict):
        a_task().advance(E, uuid.uuid4())


@pytest.mark.parametrize(("done", "wanted"), [(P, V), (P, P), (E, E), (E, P), (V, P), (V, V)])
def test_only_the_next_type_takes_over_a_completed_record(done: TaskType, wanted: TaskType) -> None:
    with pytest.raises(TaskValidationError, match="Cannot modify completed task") as caught:
        a_task(done, TaskStatus.COMPLETED).advance(wanted, uuid.uuid4())
    assert caught.value.category == ErrorCategory.USER_FIXABLE


def test_advance_needs_a_completed_record() -> None:
    for status in (TaskStatus.FAILED, TaskStatus.CANCELLED):
        with pytest.raises(TaskError):
            a_task(P, status).advance(E, uuid.uuid4())


def test_advance_wipes_the_slate() -> None:
    task = a_task(P, TaskStatus.COMPLETED, retry_count=2)
    task.failure_context = dict(FAILURE)
    task.advance(E, uuid.uuid4())
    assert (task.retry_count, task.failure_context, task.completed_at) == (0, None, None)


def test_three_failures_and_no_more() -> None:
    task = a_task()
    for count in (1, 2, 3):
        task.mark_failed({**FAILURE, "message": f"failure {count}"})
        assert task.retry_count == count
        assert task.can_retry() == task.can_be_retried == (count < 3)
        if count < 3:
            task.mark_started(uuid.uuid4())
            assert task.failure_context is not None, "a retry keeps the last failure visible"
            assert task.failed_at is None
    with pytest.raises(TaskValidationError, match="Maximum retry attempts exceeded") as caught:
        task.mark_started(uuid.uuid4())
    assert caught.value.category == ErrorCategory.ADMIN_REQUIRED
    assert task.failure_context is not None
    earlier = [entry["message"] for entry in task.failure_context["earlier"]]
    assert earlier == ["failure 1", "failure 2"]


def test_at_most_two_earlier_failures_are_kept() -> None:
    task = a_task()
    for count in range(1, 7):  # an operator resets the count in between
        task.mark_failed({**FAILURE, "message": f"failure {count}"})
        task.retry_count = 0
        task.mark_started(uuid.uuid4())
    assert task.failure_context is not None
    assert [e["message"] for e in task.failure_context["earlier"]] == ["failure 4", "failure 5"]
    assert all("earlier" not in entry for entry in task.failure_context["earlier"])


def test_a_completion_clears_the_failure_and_a_cancel_keeps_it() -> None:
    task = a_task()
    task.mark_failed(FAILURE)
    task.mark_started(uuid.uuid4())
    task.mark_cancelled()
    assert task.failure_context is not None
    assert task.retry_count == 1, "a cancel costs no attempt"
    task.mark_started(uuid.uuid4())
    task.mark_completed()
    assert task.failure_context is None


@pytest.mark.parametrize(
    "context",
    [
        {"message": "NUL \x00 and \ud800"},
        {"value": float("nan")},
        {"message": "x" * 10_000_000},
        {"nested": {"password": "hunter2"}},
        {},
    ],
    ids=["unsafe text", "NaN", "huge", "secret", "empty"],
)
def test_a_state_change_never_fails_because_of_its_context(context: dict[str, object]) -> None:
    task = a_task()
    task.mark_failed(context)
    assert task.status == TaskStatus.FAILED
    assert task.failure_context is not None
    assert {"error", "message", "category", "traceback", "worker", "attempt"} <= set(
        task.failure_context
    )
    assert "hunter2" not in str(task.failure_context)


def test_duration_is_from_start_to_end_in_minutes() -> None:
    task = a_task()
    assert task.duration_minutes is None
    task.status = TaskStatus.COMPLETED
    task.completed_at = task.started_at + timedelta(seconds=90)
    assert task.duration_minutes == pytest.approx(1.5)


def test_an_object_that_no_database_knows_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "app")
    task = a_task(status=None)
    task.mark_started(uuid.uuid4())
    task.mark_failed(FAILURE)
    assert caplog.records == []


@pytest.mark.parametrize(
    ("status", "assigned", "accepted"),
    [
        (TaskStatus.FAILED, V, False),
        (TaskStatus.FAILED, E, False),
        (TaskStatus.CANCELLED, E, False),
        (TaskStatus.COMPLETED, E, True),
        (TaskStatus.COMPLETED, V, False),
        (TaskStatus.FAILED, P, True),
    ],
)
def test_the_rule_compares_with_the_type_that_the_record_had(
    status: TaskStatus, assigned: TaskType, accepted: bool
) -> None:
    task = a_task(P, status, retry_count=1)
    task.task_type = assigned
    if not accepted:
        with pytest.raises(TaskValidationError):
            task.mark_started(uuid.uuid4())
        return
    task.mark_started(uuid.uuid4())
    assert (task.status, task.task_type) == (TaskStatus.RUNNING, assigned)
    assert task.retry_count == (0 if status is TaskStatus.COMPLETED else 1)
    assert task.session is not None
    assert task.session.stage == SessionStage(assigned.value)


def test_a_run_needs_an_id_of_its_own() -> None:
    task = a_task(P, TaskStatus.FAILED)
    with pytest.raises(TaskValidationError, match="task_id of its own"):
        task.mark_started(task.task_id)


def test_values_may_be_given_as_strings() -> None:
    session_id, run = uuid.uuid4(), uuid.uuid4()
    task = SessionTask(
        session_id=str(session_id), task_type="export", status="completed", task_id=str(run)
    )
    assert (task.session_id, task.task_id) == (session_id, run)
    assert task.task_type is E
    assert task.status is TaskStatus.COMPLETED
    wrong = (("status", "paused"), ("task_type", "import"), ("task_id", "one"), ("task_id", 1))
    for key, value in wrong:
        with pytest.raises(TaskValidationError):
            setattr(task, key, value)


@pytest.mark.parametrize(
    ("error", "name", "message", "category"),
    [
        (ValueError("no such column"), "ValueError", "no such column", "admin_required"),
        (ConnectionResetError("away"), "ConnectionResetError", "away", "temporary"),
        ("the printer is on fire", "Failure", "the printer is on fire", "admin_required"),
    ],
)
def test_a_failure_may_be_an_exception_or_a_text(
    error: BaseException | str, name: str, message: str, category: str
) -> None:
    task = a_task()
    task.mark_failed(error)
    context = task.failure_context
    assert context is not None
    assert (context["error"], context["message"], context["category"]) == (name, message, category)


def test_a_failure_context_is_not_changed_in_place() -> None:
    task = a_task()
    task.mark_failed({**FAILURE, "seen": {"by": ["ann"]}})
    assert task.failure_context is not None
    assert_frozen(task.failure_context)
    assert_frozen(pickle.loads(pickle.dumps(task)).failure_context)


def assert_frozen(context: dict[str, Any]) -> None:
    for change in (
        lambda: context.update(error="another"),
        lambda: context["seen"].__setitem__("by", []),
        lambda: context["seen"]["by"].append("bob"),
        lambda: context.pop("seen"),
    ):
        with pytest.raises(TaskValidationError, match="in place"):
            change()
    mine = copy.deepcopy(context)
    mine["seen"]["by"].append("bob")
    assert context["seen"] == {"by": ["ann"]}


def test_queries_need_an_open_transaction() -> None:
    for find in (SessionTask.find_active_for_session, SessionTask.find_failed_retryable):
        with pytest.raises(NoTransaction) as caught:
            find(uuid.uuid4())
        assert "transaction()" in caught.value.next_step
