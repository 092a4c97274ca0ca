"""The deadlines of a worker's runs: none is missed, and checks are few."""

from __future__ import annotations

import gc
import time
import weakref
from contextlib import ExitStack
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from app.core.config import Settings
from app.engines.runs import Run, RunRegistry
from app.models.session import TaskType
from app.values.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Iterator


class Table:
    """A table of runs, and the number of wake-ups for its deadlines."""

    def __init__(self) -> None:
        self.wake_count = 0
        self.runs = RunRegistry(Settings(), on_clock=self._count, on_first=lambda: None)

    def _count(self) -> None:
        self.wake_count += 1

    def add(self, count: int) -> list[Run]:
        claims = [
            Claim(uuid4(), uuid4(), TaskType.PROCESSING, 1, uuid4(), uuid4()) for _ in range(count)
        ]
        return self.runs.add(claims, claimed_at=time.monotonic())


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def _begin(run: Run, stack: ExitStack) -> None:
    stack.enter_context(run.running(tell=lambda: None, kill=lambda: None))


def test_who_begins_first_wakes_the_clocks(table: Table, stack: ExitStack) -> None:
    assert table.runs.enforce() is None
    first, second = table.add(2)
    _begin(first, stack)
    _begin(second, stack)
    assert table.wake_count == 1


def test_clocks_that_were_looked_at_between_two_runs_are_not_woken_by_the_next(
    table: Table, stack: ExitStack
) -> None:
    first, second = table.add(2)
    with ExitStack() as until_it_ends:
        _begin(first, until_it_ends)
    pause = table.runs.enforce()
    assert pause is not None
    assert pause > 0
    _begin(second, stack)
    assert table.wake_count == 1


def test_a_deadline_that_is_nearer_wakes_them(table: Table, stack: ExitStack) -> None:
    first, second = table.add(2)
    _begin(first, stack)
    table.runs.enforce()
    _begin(second, stack)
    second.limit_to(1.0)
    assert table.wake_count == 2


def test_who_begins_while_they_are_looked_at_is_seen_by_that_look(
    table: Table, stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, late = table.add(2)
    look_at = late.enforce

    def begin_another_and_look(now: float) -> float | None:
        _begin(early, stack)  # it has been checked by now
        early.limit_to(1.0)
        return look_at(now)

    monkeypatch.setattr(late, "enforce", begin_another_and_look)
    _begin(late, stack)
    pause = table.runs.enforce()
    assert pause is not None
    assert pause <= 1.0


def test_what_waits_or_has_ended_keeps_nobody_busy(table: Table) -> None:
    waiting, ended = table.add(2)
    waiting.renewed(time.monotonic() - 3600)
    with ended.running(tell=lambda: None, kill=lambda: None):
        ended.renewed(time.monotonic() - 3600)
    assert table.runs.enforce() is None


def test_a_run_that_is_let_go_of_takes_no_later_one_of_its_task_along(table: Table) -> None:
    (old,) = table.add(1)
    claimed_anew = old.claim._replace(claim_token=uuid4())
    (new,) = table.runs.add([claimed_anew], claimed_at=time.monotonic())
    table.runs.remove([old])
    assert table.runs.all() == [new]


def test_what_is_in_hand_is_not_taken_twice(table: Table) -> None:
    (run,) = table.add(1)
    assert table.runs.add([run.claim], claimed_at=time.monotonic()) == []
    assert table.runs.all() == [run]


def test_a_run_that_is_over_leaves_nothing_for_the_garbage_collector(table: Table) -> None:
    (run,) = table.add(1)
    gc.disable()
    try:
        with run.running(tell=lambda: None, kill=lambda run=run: run.renewed(0.0)):  # type: ignore[misc]
            pass
        table.runs.remove([run])
        gone = weakref.ref(run)
        del run
        assert gone() is None
    finally:
        gc.enable()
