"""The values and acts that a session's page shows, and the options that a retry may change."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.models.session import SessionStage, StageTimes, TaskStatus, TaskType
from app.repositories.content_reader import ContentCounts
from app.repositories.session_snapshot import SessionSnapshot
from app.web.retry_form import changes, editable_options, takes_documents
from app.web.session_view import acts, stage_lines

NOW = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)
COUNTS = ContentCounts(documents=2, tickets=12, exports=0, findings=0)
SERVER = "http://127.0.0.1:8765"


def session(**known: Any) -> SessionSnapshot:
    """A session of which only this is known."""
    blank: dict[str, Any] = dict.fromkeys(SessionSnapshot.__dataclass_fields__)
    blank |= {
        "session_id": uuid.UUID(int=1),
        "owner": "alice",
        "label": "",
        "stage": SessionStage.CREATED,
        "auto_advance": True,
        "options": {"title_column": "Summary"},
        "created_at": NOW,
        "updated_at": NOW,
        "retry_count": 0,
        "moment": NOW,
    }
    return SessionSnapshot(**(blank | known))


def failed(task_type: TaskType, count: int = 1, category: str = "user_fixable") -> SessionSnapshot:
    return session(
        status=TaskStatus.FAILED,
        task_type=task_type,
        task_id=uuid.UUID(int=7),
        retry_count=count,
        started_at=NOW - timedelta(seconds=9),
        failed_at=NOW - timedelta(seconds=4),
        failure_context={"category": category, "message": "m"},
    )


RUNNING = session(
    status=TaskStatus.RUNNING,
    task_type=TaskType.EXPORT,
    task_id=uuid.UUID(int=7),
    retry_count=0,
    enqueued_at=NOW - timedelta(seconds=8),
    claimed_at=NOW - timedelta(seconds=6),
)
WAITING = replace(RUNNING, claimed_at=None)
DONE = replace(RUNNING, status=TaskStatus.COMPLETED, task_type=TaskType.ADF_VALIDATION)


@pytest.mark.parametrize(
    ("snapshot", "is_admin", "offered"),
    [
        (session(), False, ["start", "delete"]),
        (RUNNING, False, ["cancel", "delete"]),
        (failed(TaskType.EXPORT), False, ["retry", "delete"]),
        (failed(TaskType.EXPORT, 3), False, ["delete"]),
        (failed(TaskType.EXPORT, 3), True, ["reset", "delete"]),
        (replace(RUNNING, status=TaskStatus.CANCELLED), False, ["retry", "delete"]),
        (replace(RUNNING, status=TaskStatus.COMPLETED), False, ["start", "delete"]),
        (DONE, True, ["delete"]),
    ],
)
def test_what_the_state_machine_allows_is_offered_and_nothing_else(
    snapshot: SessionSnapshot, is_admin: bool, offered: list[str]
) -> None:
    assert [act.name for act in acts(snapshot, COUNTS, SERVER, is_admin=is_admin)] == offered


def test_a_retry_says_what_it_would_do_before_it_is_done() -> None:
    (retry, _) = acts(failed(TaskType.EXPORT, 2), COUNTS, SERVER)

    assert retry.consequences[:3] == (
        "Runs export again from its beginning, as attempt 3 of 3, under a new run id.",
        "It uses 12 tickets, unchanged.",
        "When it completes, ADF validation starts automatically.",
    )
    assert retry.consequences[3].startswith("It is the last attempt")
    assert retry.command == "session-tasks retry 00000000"
    assert f"{SERVER}/api/v1/sessions/{uuid.UUID(int=1)}/task/retry" in retry.curl
    assert f'If-Match: "{uuid.UUID(int=7).hex}"' in retry.curl


def test_a_retry_that_would_be_in_vain_says_so_and_is_not_the_first_choice() -> None:
    (retry, _) = acts(failed(TaskType.ADF_VALIDATION), COUNTS, SERVER)

    assert "It will find the same problems" in retry.consequences[-1]
    assert not retry.is_primary


def test_stages_tell_the_wait_beside_the_run() -> None:
    times = {TaskType.PROCESSING: StageTimes(NOW, 1.0, 3.0)}

    processing, export, validation = stage_lines(RUNNING, times, NOW)

    assert (processing.waited_seconds, processing.ran_seconds) == (1.0, 3.0)
    assert (export.waited_seconds, export.ran_seconds) == (2.0, 6.0)
    assert export.since == RUNNING.claimed_at
    assert (export.wait_share, export.run_share) == (14.29, 42.86)  # half done, for all we know
    assert (processing.wait_share, processing.run_share) == (7.14, 21.43)
    assert (validation.badge.word, validation.ran_seconds) == ("Not started", None)


def test_the_bar_of_a_running_stage_says_what_its_progress_says() -> None:
    half = replace(RUNNING, progress_current=3, progress_total=4)

    _, export, _ = stage_lines(half, {}, NOW)

    assert (export.waited_seconds, export.ran_seconds) == (2.0, 6.0)
    assert (export.wait_share, export.run_share) == (20.0, 60.0)  # of 2 s and the 8 s to come


def test_a_cancelled_stage_has_its_times() -> None:
    ended = NOW + timedelta(seconds=9)
    cancelled = replace(RUNNING, status=TaskStatus.CANCELLED, started_at=NOW, updated_at=ended)

    _, export, _ = stage_lines(cancelled, {}, NOW)

    assert (export.ran_seconds, export.ended_at) == (9.0, ended)


def test_a_stage_that_waits_is_all_wait() -> None:
    _, export, _ = stage_lines(WAITING, {}, NOW)

    assert export.is_waiting
    assert (export.wait_share, export.run_share) == (100.0, 0.0)


def test_times_of_an_earlier_life_are_not_shown_for_what_is_ahead() -> None:
    old = {task_type: StageTimes(NOW, 1.0, 3.0) for task_type in TaskType}

    processing, export, validation = stage_lines(failed(TaskType.PROCESSING), old, NOW)

    assert processing.ran_seconds == 5.0
    assert (export.ran_seconds, validation.ran_seconds) == (None, None)


@pytest.mark.parametrize(
    ("task_type", "names"),
    [
        (
            TaskType.PROCESSING,
            [
                *("title_column", "body_column", "body_format", "delimiter", "map"),
                *(
                    "day_first",
                    "parent_type",
                    "base_url",
                    "too_long",
                    "to",
                    "project_key",
                    "issue_type",
                ),
            ],
        ),
        (TaskType.EXPORT, ["to", "project_key", "issue_type"]),
        (TaskType.ADF_VALIDATION, []),
    ],
)
def test_only_what_still_changes_something_may_be_mended(
    task_type: TaskType, names: list[str]
) -> None:
    offered = editable_options(failed(task_type), ["rows.csv", "no suffix"])

    assert [option.name for option in offered] == names
    assert takes_documents(failed(task_type)) == (task_type is TaskType.PROCESSING)
    assert editable_options(RUNNING, ["rows.csv"]) == []


def test_changes_are_what_is_not_as_it_was() -> None:
    offered = editable_options(failed(TaskType.PROCESSING), ["rows.csv"])

    given = {"title_column": "", "body_column": " Text ", "delimiter": "", "project_key": ""}

    assert changes(offered, given) == {"title_column": None, "body_column": "Text"}
    assert changes(offered, {"title_column": "Summary", "run": "x"}) == {}
