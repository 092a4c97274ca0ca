"""Real documents through the three real tasks, in real child processes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.models.session import SessionStage, TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.tasks.adf.validation import find_violations

MARKDOWN = b"# Login is slow\n\nIt takes **ten** seconds.\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
CSV = (
    b"Summary;Description;Owner\nFirst;Do *this*;Ann\nSecond;`code`;Bob\n"
    + "".join(f"Row {number};text {number};Eve\n" for number in range(100)).encode()
)


@pytest.fixture
def built_in(bench: Any) -> Any:
    """The bench with the built-in handlers."""
    bench.settings = bench.settings.model_copy(update={"handlers": "", "jira_project": "TASK"})
    return bench


def _run_to_the_end(bench: Any, session_id: Any) -> Any:
    return bench.until(
        lambda: (
            (task := bench.task(session_id)).status.value != "running" and task
            if bench.task(session_id).task_type == TaskType.ADF_VALIDATION
            or bench.task(session_id).status.value == "failed"
            else None
        )
    )


@pytest.mark.parametrize("threads", [False, True], ids=["processes", "threads"])
def test_documents_become_a_validated_import(built_in: Any, threads: bool) -> None:
    session_id = built_in.session(
        documents=(IncomingDocument("slow.md", MARKDOWN), IncomingDocument("rows.csv", CSV)),
        auto_advance=True,
        project_key="ABC",
        issue_type="Bug",
    )
    built_in.worker(threads=threads)
    task = _run_to_the_end(built_in, session_id)
    assert task.status.value == "completed", task.failure_context
    with built_in.database.transaction() as db:
        view = SessionRepository(db).get(session_id)
        bodies = list(ContentRepository(db).exports(session_id))
        counts = ContentRepository(db).counts(session_id)
    assert view.stage == SessionStage.COMPLETED
    assert counts.tickets == 103
    assert [body.issue_count for body in bodies] == [50, 50, 3]
    issues = [issue["fields"] for body in bodies for issue in json.loads(body.body)["issueUpdates"]]
    assert [issue["summary"] for issue in issues[:3]] == ["Login is slow", "First", "Second"]
    assert {issue["project"]["key"] for issue in issues} == {"ABC"}
    assert {issue["issuetype"]["name"] for issue in issues} == {"Bug"}
    assert not any(find_violations(issue["description"]) for issue in issues)


def test_a_document_that_cannot_be_used_fails_processing_and_says_why(built_in: Any) -> None:
    session_id = built_in.session(
        documents=(IncomingDocument("rows.csv", b"a,b\n1,2\n"),), auto_advance=True
    )
    built_in.worker()
    task = _run_to_the_end(built_in, session_id)
    assert task.task_type == TaskType.PROCESSING
    assert task.failure_context["category"] == "user_fixable"
    assert "rows.csv" in task.failure_context["message"]
    assert task.failure_context["next_step"] == "Name the column that holds the titles."


def test_descriptions_that_jira_would_refuse_fail_validation_and_are_named(built_in: Any) -> None:
    rows = "".join(f"Row {n},{'x' * (200 if n % 2 else 10)}\n" for n in range(30))
    session_id = built_in.session(
        documents=(IncomingDocument("rows.csv", b"Title,Body\n" + rows.encode()),),
        auto_advance=True,
    )
    built_in.settings = built_in.settings.model_copy(update={"max_description_characters": 100})
    built_in.worker()
    task = _run_to_the_end(built_in, session_id)
    context = task.failure_context
    assert task.task_type == TaskType.ADF_VALIDATION
    assert context["category"] == "user_fixable"
    assert "Row 1" in context["message"]
    assert "rows.csv, row 2" in context["message"]
    assert context["refused_ticket_count"] == 15
    assert len(context["findings"]) >= 1
    with built_in.database.transaction() as db:
        findings = ContentRepository(db).findings(session_id)
    assert [finding.ticket for finding in findings] == list(range(2, 31, 2))
    assert findings[0].source_row == 2


def test_a_no_op_handler_opens_no_database(bench: Any) -> None:
    """A child that reads nothing holds no socket but the one to its supervisor.

    Seen from the child: how many connections its supervisor has open varies from moment to moment.
    """
    bench.settings = bench.settings.model_copy(
        update={"handlers": "processing=sample_handlers:no_reading"}
    )

    def connections() -> int:
        return len(bench.child().net_connections("all"))

    worker = bench.worker()
    for _ in range(3):
        bench.until_status(bench.session(), "completed")
    without = connections()
    worker.stop()
    bench.settings = bench.settings.model_copy(
        update={"handlers": "processing=sample_handlers:behave"}
    )
    bench.worker()
    for _ in range(3):
        bench.until_status(bench.session(), "completed")
    assert connections() == without + 1
