"""Texts of failures: made from the stored facts when shown, the same in API, pages and command."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from app.api.serializers import task_resource
from app.cli.parameters import option_flag
from app.cli.reporting import print_failure, retry_command
from app.cli.session_json import session_document
from app.cli.terminal import Terminal
from app.core.errors import ErrorCategory, TaskError
from app.core.failure import failure_context
from app.models.session import MAX_RETRY_COUNT, SessionStage, TaskStatus, TaskType
from app.presentation.failures import USED_UP, error_next_step, failure_report
from app.repositories.session_snapshot import SessionSnapshot
from app.tasks.adf_validation import DeliveryDiffers, RefusedByJira
from app.values.options import SessionOptions
from app.values.results import Finding
from app.web.retry_form import LABELS, option_label

NOW = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)


def failed(count: int = 1, context: Any = None, **known: Any) -> SessionSnapshot:
    blank: dict[str, Any] = dict.fromkeys(SessionSnapshot.__dataclass_fields__)
    blank |= {
        "session_id": uuid.UUID(int=1),
        "owner": "alice",
        "label": "",
        "stage": SessionStage.PROCESSING,
        "auto_advance": True,
        "options": {},
        "created_at": NOW,
        "updated_at": NOW,
        "task_type": TaskType.PROCESSING,
        "task_id": uuid.UUID(int=7),
        "status": TaskStatus.FAILED,
        "failed_at": NOW,
        "retry_count": count,
        "failure_context": context,
        "moment": NOW,
    }
    return SessionSnapshot(**(blank | known))


def said(snapshot: SessionSnapshot) -> tuple[ErrorCategory, str]:
    """Return the category and next step, which must be the same in the API and the command."""
    report = failure_report(snapshot)
    assert report is not None
    resource = task_resource(snapshot).failure
    assert resource is not None
    assert (resource.category, resource.next_step) == (report.category, report.next_step)
    document = session_document(snapshot)["task"]["failure_context"]
    assert (document["category"], document["next_step"]) == (
        report.category.value,
        report.next_step,
    )
    return report.category, report.next_step


TEMPORARY = failure_context(None, error_name="worker_lost", message="m", category="temporary")


@pytest.mark.parametrize(
    ("count", "retry_at", "category", "step"),
    [
        (1, NOW + timedelta(seconds=5), "temporary", "It will be retried automatically."),
        (0, None, "temporary", "Retry."),
        (MAX_RETRY_COUNT, None, "admin_required", USED_UP),
    ],
)
@pytest.mark.parametrize(
    "context",
    [
        TEMPORARY,
        # As version 0.1.0 stored it: the next step was a sentence, which may be outdated.
        {
            "category": "temporary",
            "next_step": "It will be retried in a moment; look again later.",
        },
        {"category": "temporary", "next_step": "Retry it: its attempts were reset."},
    ],
    ids=["facts", "promise", "reset"],
)
def test_what_is_next_after_a_temporary_failure_follows_from_its_attempts(
    count: int, retry_at: datetime | None, category: str, step: str, context: dict[str, Any]
) -> None:
    assert said(failed(count, context, retry_at=retry_at)) == (ErrorCategory(category), step)


def test_the_advice_of_an_exception_stays_when_its_attempts_are_used_up() -> None:
    context = failure_context(TaskError("m", next_step="Raise the limit."))
    assert said(failed(MAX_RETRY_COUNT, context)) == (
        ErrorCategory.ADMIN_REQUIRED,
        f"Raise the limit. {USED_UP}",
    )


def test_a_failure_without_advice_says_what_its_category_asks_for() -> None:
    assert said(failed(1, failure_context(ValueError("x")))) == (
        ErrorCategory.ADMIN_REQUIRED,
        "Find the cause in the message and the traceback, remove it, then retry.",
    )


def test_a_failure_of_the_run_before_promises_nothing() -> None:
    running = failed(1, TEMPORARY, status=TaskStatus.RUNNING)
    assert said(running) == (ErrorCategory.TEMPORARY, "")
    report = failure_report(running)
    assert report is not None
    assert not report.is_current


def test_findings_of_validation_need_a_new_session_however_many_attempts_are_left() -> None:
    context = {"category": "user_fixable"}
    snapshot = failed(MAX_RETRY_COUNT, context, task_type=TaskType.ADF_VALIDATION)
    assert said(snapshot) == (
        ErrorCategory.USER_FIXABLE,
        "Correct the documents and open a new session with them.",
    )


def test_each_door_names_the_options_its_own_way() -> None:
    context = failure_context(
        TaskError("m", "user_fixable", next_step="Name the column.", options=["title_column"])
    )
    snapshot = failed(1, context)
    steps = [failure_report(snapshot, name) for name in (option_flag, option_label, str)]
    assert [step and step.next_step for step in steps] == [
        "Name the column (--title-column NAME).",
        "Name the column (“Column of the titles”).",
        "Name the column (title_column).",
    ]
    assert retry_command(snapshot) == "session-tasks retry 00000000 --title-column NAME"
    resource = task_resource(snapshot).failure
    assert resource is not None
    assert resource.options == ["title_column"]
    error = TaskError("m", next_step="Name it.", options=["delimiter"])
    assert error_next_step(error, option_flag) == "Name it (--delimiter CHAR)."


def test_issues_that_differ_in_jira_ask_for_no_new_session_which_would_create_them_again() -> None:
    finding = Finding(1, "One", "a.csv", 2, "", "differs in Jira", "Summary: “1” for “One”")
    context = failure_context(DeliveryDiffers([finding]))
    snapshot = failed(1, context, task_type=TaskType.ADF_VALIDATION)
    assert said(snapshot)[1].startswith("Correct it in Jira and retry")
    assert retry_command(snapshot) == "session-tasks retry 00000000"


def test_a_description_that_is_too_long_asks_for_the_option_that_divides_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    finding = Finding(1, "One", "a.csv", 2, "", "text_length", "40,000 characters")
    context = failure_context(RefusedByJira([finding], found=1, refused=1))
    options = {"project_key": "SHOP", "map": ["A=labels", "B C="], "day_first": False}
    options |= {"split_level": 2, "too_long": "refuse", "of_a_handler": "x"}
    snapshot = failed(1, context, task_type=TaskType.ADF_VALIDATION, options=options)
    print_failure(Terminal(), snapshot, "", sources={"a.csv": Path("in/a.csv")}, out=Path("out"))
    shown = capsys.readouterr().out
    assert "(--too-long refuse|split|cut)." in shown
    assert (
        "session-tasks run in/a.csv --project SHOP --map A=labels --map 'B C=' --month-first"
        " --split-level 2 --too-long split --out out\n"
    ) in shown


def test_the_command_for_corrected_documents_has_the_options_of_the_session(
    capsys: pytest.CaptureFixture[str],
) -> None:
    context = failure_context(TaskError("m", "user_fixable"))
    options = {"project_key": "SHOP"}
    snapshot = failed(1, context, task_type=TaskType.ADF_VALIDATION, options=options)
    print_failure(Terminal(), snapshot, "")
    assert "run them: session-tasks run FILES… --project SHOP\n" in capsys.readouterr().out


def test_every_option_of_a_session_has_a_flag_and_a_label() -> None:
    for name in SessionOptions.model_fields:
        assert option_flag(name).startswith("--")
        assert name in LABELS


@pytest.mark.parametrize(
    "context",
    [
        {"earlier": "no list", "attempt": "two", "message": 7, "category": None, "options": "no"},
        {"earlier": [1, {"error": "x"}], "options": [1]},
        ["no", "object"],
        "text",
    ],
)
def test_a_context_that_another_program_wrote_is_shown_all_the_same(context: Any) -> None:
    snapshot = failed(1, context)
    report = failure_report(snapshot)
    assert (report is None) == (not isinstance(context, dict))
    assert task_resource(snapshot)
    assert session_document(snapshot)
    assert retry_command(snapshot) == "session-tasks retry 00000000"
