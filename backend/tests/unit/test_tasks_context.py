"""The handler's context, without a database."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.config import Settings
from app.core.errors import ConfigurationError, ErrorCategory, TaskCancelled
from app.models.session import TaskType
from app.tasks.context import Progress, TaskContext, TaskIdentity
from app.values.options import SessionOptions


def _context(reports: list[Progress], *, cancelled: list[bool] | None = None) -> TaskContext:
    def open_database() -> Any:
        pytest.fail("a handler that reads nothing opens no database")

    return TaskContext(
        TaskIdentity(uuid4(), uuid4(), TaskType.PROCESSING, 1),
        settings=Settings(),
        open_database=open_database,
        report=reports.append,
        is_cancelled=lambda: bool(cancelled),
    )


@given(
    current=st.integers() | st.floats(allow_nan=False, allow_infinity=False),
    total=st.none() | st.integers(),
    message=st.none() | st.text(st.characters(codec=None, exclude_categories=()), max_size=700),
)
def test_progress_is_reported_in_whole_numbers_and_few_words(
    current: Any, total: int | None, message: str | None
) -> None:
    reports: list[Progress] = []
    _context(reports).progress(current, total, message)
    (progress,) = reports
    assert (progress.current, progress.total) == (int(current), total)
    assert progress.message == (None if message is None else message[:500])


def test_progress_in_a_tight_loop_is_reported_seldom_and_its_end_always() -> None:
    reports: list[Progress] = []
    context = _context(reports)
    for number in range(1, 10_001):
        context.progress(number, 10_000)
    assert len(reports) < 100
    assert reports[0].current == 1
    assert reports[-1].current == 10_000


def test_a_context_nobody_read_from_leaves_nothing_for_the_garbage_collector() -> None:
    gc.disable()
    try:
        context = _context([])
        context.check_cancelled()
        gone = weakref.ref(context)
        del context
        assert gone() is None
    finally:
        gc.enable()


def test_progress_and_check_tell_a_cancelled_task_to_stop() -> None:
    cancelled: list[bool] = []
    context = _context([], cancelled=cancelled)
    context.check_cancelled()
    cancelled.append(True)
    for ask in (context.check_cancelled, lambda: context.progress(1)):
        with pytest.raises(TaskCancelled):
            ask()


def test_options_keep_what_own_handlers_need_and_refuse_what_cannot_be() -> None:
    options = SessionOptions.from_json({"project_key": "ABC", "mine": 1})
    assert options.issue_type == "Task"
    assert options.model_extra == {"mine": 1}
    assert options.to_json() == {"project_key": "ABC", "mine": 1}
    with pytest.raises(ConfigurationError, match="split_level") as caught:
        SessionOptions.from_json({"split_level": 7})
    assert caught.value.category == ErrorCategory.USER_FIXABLE
