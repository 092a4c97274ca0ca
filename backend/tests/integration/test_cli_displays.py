"""Displays of a session's progress, however rarely it is read. Without a database."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from app.cli.displays import BarsDisplay, LinesDisplay, SilentDisplay, display_for
from app.cli.snapshot import TASK_ORDER, SessionEvent, events_between
from app.cli.terminal import Terminal, printable
from app.core.wording import age_text, count_text, duration_text, size_text
from app.models.session import SessionStage, TaskStatus, TaskType
from app.repositories.content_reader import ContentCounts
from app.repositories.session_snapshot import SessionSnapshot

SESSION_ID = UUID("5e551047-0000-4000-8000-000000000000")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
RUNNING, COMPLETED = TaskStatus.RUNNING, TaskStatus.COMPLETED
FAILED, CANCELLED = TaskStatus.FAILED, TaskStatus.CANCELLED

CREATED = SessionSnapshot(
    **dict.fromkeys(SessionSnapshot.__dataclass_fields__)
    | {
        "session_id": SESSION_ID,
        "label": "",
        "stage": SessionStage.CREATED,
        "created_at": BEGIN,
        "updated_at": BEGIN,
        "auto_advance": True,
        "options": {},
        "retry_count": 0,
        "moment": BEGIN,
    }
)


def lives(ends: list[list[TaskStatus]]) -> tuple[list[SessionSnapshot], list[SessionEvent]]:
    """Return every state of a session whose tasks' runs end like this, and its events."""
    states, truth = [CREATED], []
    now = BEGIN
    run = 0
    for task_type, runs in zip(TASK_ORDER, ends, strict=False):
        retry_count, failure = 0, None
        for end in runs:
            run += 1
            started = replace(
                CREATED,
                stage=SessionStage(task_type.value),
                moment=now,
                task_type=task_type,
                task_id=UUID(int=run),
                status=RUNNING,
                started_at=now,
                retry_count=retry_count,
                failure_context=failure,
                enqueued_at=now,
            )
            states.append(started)
            truth.append(SessionEvent(task_type, RUNNING, attempt=retry_count + 1))
            now += timedelta(seconds=run)
            if end == RUNNING:
                break
            if end == FAILED:
                retry_count += 1
                failure = {"message": f"failure {retry_count}"}
            ended = replace(
                started,
                moment=now,
                status=end,
                completed_at=now if end == COMPLETED else None,
                failed_at=now if end == FAILED else None,
                retry_count=retry_count,
                failure_context=None if end == COMPLETED else failure,
                enqueued_at=None,
            )
            states.append(ended)
            seconds = None if end == CANCELLED else float(run)
            truth.append(
                SessionEvent(task_type, end, seconds, failure=failure if end == FAILED else None)
            )
    return states, truth


stumbles = st.lists(st.sampled_from([FAILED, CANCELLED]), max_size=2)
whole = stumbles.map(lambda before: [*before, COMPLETED])
last = st.tuples(stumbles, st.sampled_from([RUNNING, FAILED, CANCELLED, COMPLETED])).map(
    lambda both: [*both[0], both[1]]
)
ways = st.integers(0, 2).flatmap(
    lambda done: st.tuples(*[whole] * done, last).map(lambda runs: [list(run) for run in runs])
)


def observed(states: list[SessionSnapshot]) -> list[SessionEvent]:
    told: list[SessionEvent] = []
    before: SessionSnapshot | None = None
    for state in states:
        told += events_between(before, state)
        before = state
    return told


@given(ways)
def test_who_sees_every_state_is_told_everything_once(ends: list[list[TaskStatus]]) -> None:
    states, truth = lives(ends)

    assert observed(states) == truth


@given(ways, st.data())
def test_rare_reads_report_no_event_that_did_not_happen(
    ends: list[list[TaskStatus]], data: st.DataObject
) -> None:
    states, truth = lives(ends)
    kept = data.draw(st.lists(st.booleans(), min_size=len(states) - 1, max_size=len(states) - 1))
    seen = [state for state, keep in zip(states, [*kept, True], strict=True) if keep]

    told = observed(seen)

    kinds = [(event.task_type, event.status) for event in told]
    rest = iter((event.task_type, event.status) for event in truth)
    assert all(kind in rest for kind in kinds), "out of order, or invented"
    assert kinds[-1:] == [(truth[-1].task_type, truth[-1].status)]
    for task_type in TASK_ORDER[: len(ends) - 1]:
        assert kinds.count((task_type, COMPLETED)) == 1
    for event in told:
        if event.status == COMPLETED and event.seconds is not None:
            # Runs that were not seen are counted in, never left out.
            (true,) = (
                one.seconds
                for one in truth
                if (one.task_type, one.status) == (event.task_type, COMPLETED)
            )
            assert true is not None
            assert event.seconds >= true


def test_looking_twice_at_one_state_tells_nothing_new() -> None:
    states, _ = lives([[COMPLETED]])
    for state in states:
        assert events_between(state, replace(state, progress_current=1)) == []


@pytest.fixture
def terminal() -> Terminal:
    """A terminal of 100 columns that records its output."""
    return Terminal(out=Console(file=io.StringIO(), force_terminal=True, width=100))


def last_frame(terminal: Terminal) -> list[str]:
    file = terminal.out.file
    assert isinstance(file, io.StringIO)
    text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", file.getvalue())
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()][-3:]


def test_bars_end_with_what_each_task_came_to(terminal: Terminal) -> None:
    states, _ = lives([[FAILED, COMPLETED], [COMPLETED], [COMPLETED]])

    with BarsDisplay(terminal) as display:
        for state in states:
            display.show(state)
        display.show_counts(ContentCounts(documents=1, tickets=120, exports=3, findings=0))

    processing, export, validation = last_frame(terminal)
    assert re.fullmatch(r"✓ processing ━+ 120 tickets 2.00 s", processing)
    assert re.fullmatch(r"✓ export ━+ 3 files 3.00 s", export)
    assert re.fullmatch(r"✓ adf_validation ━+ 120 checked 4.00 s", validation)


def test_bars_tell_waiting_from_working_from_failing(terminal: Terminal) -> None:
    waiting = lives([[RUNNING]])[0][-1]
    working = replace(
        waiting,
        leased_until=waiting.moment + timedelta(seconds=30),
        progress_current=7,
        progress_total=9,
        progress_message="a.csv",
    )
    overdue = replace(waiting, leased_until=waiting.moment - timedelta(seconds=1))
    failed = lives([[FAILED]])[0][-1]
    soon = replace(failed, retry_at=failed.moment + timedelta(seconds=9))
    seen = []
    for state in (waiting, working, overdue, failed, soon):
        own = Terminal(out=Console(file=io.StringIO(), force_terminal=True, width=100))
        with BarsDisplay(own) as display:
            display.show(state)
        seen.append(last_frame(own)[0])

    assert "waiting for a worker" in seen[0]
    assert "7 of 9" in seen[1]
    assert "a.csv" in seen[1]
    assert "does not respond" in seen[2]
    assert seen[3].startswith("✗ processing")
    assert "retried in 9.00 s" in seen[4]


def test_the_display_suits_who_reads() -> None:
    def to_a(*, terminal: bool) -> Console:
        return Console(file=io.StringIO(), force_terminal=terminal)

    assert isinstance(display_for(Terminal(out=to_a(terminal=True))), BarsDisplay)
    assert isinstance(display_for(Terminal(out=to_a(terminal=False))), LinesDisplay)
    json_to_file = Terminal(is_json=True, err=to_a(terminal=False))
    assert isinstance(display_for(json_to_file), SilentDisplay)
    json_watched = Terminal(is_json=True, err=to_a(terminal=True))
    assert isinstance(display_for(json_watched), BarsDisplay)


def test_times_and_sizes_are_what_people_write() -> None:
    assert [duration_text(s) for s in (None, 0, 0.844, 9.999, 59.97, 245, 7620)] == [
        "-", "0.00 s", "0.84 s", "10.0 s", "1 min 00 s", "4 min 05 s", "2 h 07 min",
    ]  # fmt: skip
    assert [age_text(s) for s in (0, 59, 61, 7200, 86_400, 200_000)] == [
        "just now", "just now", "1 min ago", "2 h ago", "1 day ago", "2 days ago",
    ]  # fmt: skip
    assert [size_text(n) for n in (0, 999, 1_000, 9_960, 96_400, 999_600, 1_400_000)] == [
        "0 bytes", "999 bytes", "1.0 KB", "10 KB", "96 KB", "1.0 MB", "1.4 MB",
    ]  # fmt: skip
    assert [count_text(n, "ticket") for n in (0, 1, 2_000)] == [
        "0 tickets", "1 ticket", "2,000 tickets",
    ]  # fmt: skip


@given(st.text())
def test_nothing_that_is_printed_can_steer_the_terminal(text: str) -> None:
    assert all(character.isprintable() or character in "\n\t" for character in printable(text))


def test_task_types_are_those_of_the_model() -> None:
    assert TASK_ORDER == (TaskType.PROCESSING, TaskType.EXPORT, TaskType.ADF_VALIDATION)
