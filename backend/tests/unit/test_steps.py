"""Steps of a handler that runs without a worker, and what they refuse."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from app.core.config import Settings
from app.core.errors import ErrorCategory, TaskCancelled
from app.models.session import TaskType
from app.tasks.context import TaskContext, TaskIdentity
from app.tasks.steps import BYTES_BESIDE_RESULT, StepError

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def context() -> TaskContext:
    return _context()


def _context(*, max_step_bytes: int = 10_000, cancelled: list[bool] | None = None) -> TaskContext:
    def open_database() -> Any:
        pytest.fail("a handler without a worker opens no database")

    return TaskContext(
        TaskIdentity(uuid4(), uuid4(), TaskType.EXPORT, 1),
        settings=Settings(max_step_bytes=max_step_bytes),
        open_database=open_database,
        report=lambda _progress: None,
        is_cancelled=lambda: bool(cancelled),
    )


def test_a_step_runs_once_and_its_result_is_handed_out_again(context: TaskContext) -> None:
    calls: list[int] = []

    def add(left: int, right: int) -> dict[str, Any]:
        calls.append(left)
        return {"sum": left + right, "pair": (left, right)}

    first = context.step("add", add, 1, 2)
    second = context.step("add", add, 3, 4)
    assert first == second == {"sum": 3, "pair": [1, 2]}  # as JSON has it, the first time too
    assert calls == [1]
    assert context.step("nothing", lambda: None) is None
    assert context.step("nothing", lambda: pytest.fail("it ran")) is None
    assert list(context.steps.items()) == [("add", first), ("nothing", None)]


def test_a_step_that_raises_keeps_nothing_and_runs_again(context: TaskContext) -> None:
    with pytest.raises(ZeroDivisionError):
        context.step("divide", lambda: 1 / 0)
    assert context.steps == {}
    assert context.step("divide", lambda: 1 / 4) == 0.25


def test_what_a_handler_changes_in_a_result_changes_nothing_that_is_kept(
    context: TaskContext,
) -> None:
    context.step("list", lambda: [1])[0] = 2
    context.steps["list"].append(3)
    assert context.step("list", list) == [1]


@pytest.mark.parametrize(
    "make",
    [
        object,
        lambda: float("nan"),
        lambda: float("-inf"),
        lambda: b"bytes",
        lambda: {("a", "tuple"): 1},
        lambda: {1, 2},
        lambda: (loop := [], loop.append(loop))[0],
    ],
)
def test_what_is_no_json_is_refused_with_the_step_and_who_corrects_it(
    make: Callable[[], object], context: TaskContext
) -> None:
    with pytest.raises(StepError, match="“odd” returned what is no JSON") as caught:
        context.step("odd", make)
    assert caught.value.category == ErrorCategory.ADMIN_REQUIRED
    assert "the handler of export" in caught.value.next_step
    assert context.steps == {}


@pytest.mark.parametrize("name", ["", "a\0b", "\ud800", "x" * 201, "\x1b[2J", 1])
def test_a_name_that_cannot_be_kept_is_refused_before_the_step_runs(
    name: Any, context: TaskContext
) -> None:
    with pytest.raises(StepError) as caught:
        context.step(name, lambda: pytest.fail("it ran"))
    assert "the handler of export" in caught.value.next_step


def test_names_and_texts_of_any_script_are_kept(context: TaskContext) -> None:
    name = "Ä" * 100 + "😀" * 100
    assert context.step(name, lambda: "a\0b\ud800😀") == "a\0b\ud800😀"
    assert context.steps == {name: "a\0b\ud800😀"}


def test_steps_take_no_more_than_the_setting_allows() -> None:
    one = len("a") + len('"x"') + BYTES_BESIDE_RESULT
    context = _context(max_step_bytes=2 * one)
    context.step("a", lambda: "x")
    context.step("b", lambda: "x")
    with pytest.raises(StepError, match="more than the 208 that are allowed") as caught:
        context.step("c", lambda: "x")
    assert "SESSION_TASKS_MAX_STEP_BYTES" in caught.value.next_step
    assert list(context.steps) == ["a", "b"]


def test_a_step_cannot_contain_itself(context: TaskContext) -> None:
    with pytest.raises(StepError, match="running already"):
        context.step("a", lambda: context.step("a", lambda: 1))
    assert context.step("a", lambda: context.step("b", lambda: 1) + 1) == 2
    assert context.steps == {"b": 1, "a": 2}


def test_threads_of_one_handler_may_run_steps_at_once(context: TaskContext) -> None:
    together = threading.Barrier(8, timeout=30)

    def run(number: int) -> None:
        context.step(f"step {number}", lambda: together.wait() and number)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(context.steps) == 8


def test_a_task_that_is_to_stop_runs_no_further_step_and_keeps_the_one_that_ran() -> None:
    cancelled: list[bool] = []
    context = _context(cancelled=cancelled)
    context.step("last", lambda: cancelled.append(True))
    with pytest.raises(TaskCancelled):
        context.step("next", lambda: pytest.fail("it ran"))
    assert list(context.steps) == ["last"]
