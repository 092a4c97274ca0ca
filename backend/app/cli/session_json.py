"""A session as JSON, for scripts: every command writes the same keys."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.cli.parameters import option_flag
from app.core.errors import IntakeRefused, TaskError
from app.presentation.failures import error_next_step, failure_report
from app.presentation.notes import note_texts
from app.repositories.session_snapshot import LeaseState

if TYPE_CHECKING:
    from datetime import datetime

    from app.cli.exit_codes import ExitCode
    from app.cli.output_directory import WrittenExport
    from app.repositories.content_summary import ContentSummary
    from app.repositories.session_snapshot import SessionSnapshot

_FORMER_LEASE_STATES = {
    LeaseState.NONE: "nobody",
    LeaseState.UNCLAIMED: "queue",
    LeaseState.HELD: "worker",
    LeaseState.EXPIRED: "overdue",
    LeaseState.MISSING: "lost",
}
"""The former name of `lease_state`; kept for one release."""


def session_document(snapshot: SessionSnapshot) -> dict[str, Any]:
    """The session, its task and its progress."""
    return {
        "session": {
            "id": str(snapshot.session_id),
            "owner": snapshot.owner,
            "label": snapshot.label,
            "stage": snapshot.stage.value,
            "options": dict(snapshot.options),
            "created_at": _moment(snapshot.created_at),
            "updated_at": _moment(snapshot.updated_at),
        },
        "task": _task(snapshot),
    }


def _task(snapshot: SessionSnapshot) -> dict[str, Any] | None:
    if snapshot.task_type is None or snapshot.status is None:
        return None
    return {
        "task_id": str(snapshot.task_id),
        "task_type": snapshot.task_type.value,
        "status": snapshot.status.value,
        "started_at": _moment(snapshot.started_at),
        "ended_at": _moment(snapshot.ended_at),
        "elapsed_seconds": snapshot.elapsed_seconds,
        "retry_count": snapshot.retry_count,
        "can_be_retried": snapshot.can_be_retried,
        "retry_at": _moment(snapshot.retry_at),
        "failure_context": _failure(snapshot),
        "lease_state": snapshot.lease_state.value,
        "in_the_hands_of": _FORMER_LEASE_STATES[snapshot.lease_state],
        "worker_id": str(snapshot.worker_id) if snapshot.worker_id else None,
        "progress": {
            "current": snapshot.progress_current,
            "total": snapshot.progress_total,
            "message": snapshot.progress_message,
        },
    }


def _failure(snapshot: SessionSnapshot) -> dict[str, Any] | None:
    """Return the stored failure, with who can fix it and the next step, as of now."""
    report = failure_report(snapshot, option_flag)
    if report is None:
        return None
    return {
        **snapshot.failure,
        "category": report.category.value,
        "next_step": report.next_step,
    }


def whole_document(
    snapshot: SessionSnapshot,
    content: ContentSummary,
    *,
    written: WrittenExport | None = None,
    exit_code: ExitCode | None = None,
    retry: str = "",
) -> dict[str, Any]:
    """Return the session with its content, and the command's exit code."""
    document = session_document(snapshot) | {
        "counts": asdict(content.counts),
        "documents": [asdict(document) for document in content.documents],
        "notes": note_texts(content.notes, option_flag),
        "findings": [asdict(finding) for finding in content.findings],
        "issues": [asdict(issue) for issue in content.issues],
        "issue_count": content.issue_count,
    }
    if written is not None:
        document["export"] = {
            "directory": str(written.directory),
            "files": [str(file) for file in written.files],
            "report": str(written.report),
            "readme": str(written.readme),
            "script": str(written.script) if written.script else None,
            "issues": str(written.issues) if written.issues else None,
            "issue_count": written.issue_count,
            "byte_count": written.byte_count,
        }
    if retry:
        document["retry_command"] = retry
    if exit_code is not None:
        document["exit_code"] = int(exit_code)
    return document


def error_document(error: BaseException, exit_code: ExitCode) -> dict[str, Any]:
    """Return an error that ended a command."""
    said: dict[str, Any] = {"error": type(error).__name__, "message": str(error)}
    if isinstance(error, TaskError):
        next_step = error_next_step(error, option_flag)
        said |= {"category": error.category.value, "next_step": next_step}
    if isinstance(error, IntakeRefused):
        said["problems"] = [
            {"message": each.message, "next_step": error_next_step(each, option_flag)}
            for each in error.problems
        ]
    return {"error": said, "exit_code": int(exit_code)}


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
