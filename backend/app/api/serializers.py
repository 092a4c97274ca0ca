"""Resources of responses, made from snapshots of rows, and their ETags."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any
from uuid import UUID

from app.api.resources import (
    Action,
    Activity,
    FailureResource,
    ProgressResource,
    SessionResource,
    SessionState,
    TaskResource,
    WorkerResource,
)
from app.models.session import MAX_RETRY_COUNT
from app.presentation.failures import failure_report
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from pydantic import BaseModel

    from app.repositories.session_snapshot import SessionSnapshot


def task_resource(snapshot: SessionSnapshot) -> TaskResource:
    """The session's task, for people and programmes."""
    return TaskResource(
        session_id=snapshot.session_id,
        stage=snapshot.stage,
        task_type=snapshot.task_type,
        task_id=snapshot.task_id,
        status=snapshot.status,
        activity=_activity(snapshot),
        started_at=snapshot.started_at,
        completed_at=snapshot.completed_at,
        failed_at=snapshot.failed_at,
        attempt=_attempt(snapshot),
        max_attempts=MAX_RETRY_COUNT,
        waiting_since=snapshot.enqueued_at if snapshot.claimed_at is None else None,
        worker=_worker(snapshot),
        progress=_progress(snapshot),
        failure=_failure(snapshot),
        retry_at=snapshot.retry_at,
        is_settled=snapshot.is_settled,
        next_task_type=snapshot.next_task_type,
        allowed_actions=_allowed_actions(snapshot),
    )


def session_resource(snapshot: SessionSnapshot) -> SessionResource:
    """The session with its task."""
    return SessionResource(**session_fields(snapshot))


def session_fields(snapshot: SessionSnapshot) -> dict[str, Any]:
    """The fields that every form of a session has."""
    return {
        "id": snapshot.session_id,
        "owner": snapshot.owner,
        "label": snapshot.label,
        "stage": snapshot.stage,
        "auto_advance": snapshot.auto_advance,
        "options": dict(snapshot.options),
        "created_at": snapshot.created_at,
        "updated_at": snapshot.updated_at,
        "task": task_resource(snapshot),
    }


def session_state(snapshot: SessionSnapshot) -> SessionState:
    """How the session stands, for a refusal."""
    return SessionState(
        stage=snapshot.stage,
        task_type=snapshot.task_type,
        task_id=snapshot.task_id,
        status=snapshot.status,
        allowed_actions=_allowed_actions(snapshot),
    )


def etag_of(resource: BaseModel, task_id: UUID | None) -> tuple[bytes, str]:
    """The resource as JSON, and its ETag: the run's id, then a digest of the JSON."""
    body = resource.model_dump_json().encode()
    digest = hashlib.blake2b(body, digest_size=9).hexdigest()
    return body, f'"{task_id.hex if task_id else "none"}-{digest}"'


def run_named_by(if_match: str) -> UUID | None:
    """The run that an ETag of ours names.

    Raises:
        ValueError: it is none of ours, or names no run.

    """
    return UUID(hex=if_match.strip().strip('"').partition("-")[0])


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether If-None-Match names this ETag (RFC 9110, section 13.1.2: weak comparison)."""
    if if_none_match is None:
        return False
    candidates = (item.strip().removeprefix("W/") for item in if_none_match.split(","))
    return any(item in {"*", etag} for item in candidates)


def _activity(snapshot: SessionSnapshot) -> Activity:
    if snapshot.status is None:
        return Activity.NOT_STARTED
    if snapshot.status is not TaskStatus.RUNNING:
        return Activity(snapshot.status.value)
    return Activity.RUNNING if snapshot.claimed_at is not None else Activity.WAITING


def _attempt(snapshot: SessionSnapshot) -> int:
    if snapshot.status is None:
        return 0
    return snapshot.retry_count + (snapshot.status is not TaskStatus.FAILED)


def _worker(snapshot: SessionSnapshot) -> WorkerResource | None:
    if not (snapshot.worker_id and snapshot.claimed_at and snapshot.leased_until):
        return None
    return WorkerResource(
        id=snapshot.worker_id,
        since=snapshot.claimed_at,
        lease_expires_at=snapshot.leased_until,
    )


def _progress(snapshot: SessionSnapshot) -> ProgressResource | None:
    current, total = snapshot.progress_current, snapshot.progress_total
    if current is None:
        return None
    percent = round(min(100.0, 100 * current / total), 1) if total else None
    return ProgressResource(
        current=current, total=total, percent=percent, message=snapshot.progress_message
    )


def _failure(snapshot: SessionSnapshot) -> FailureResource | None:
    report = failure_report(snapshot)
    if report is None:
        return None
    return FailureResource(
        error=report.error,
        message=report.message,
        category=report.category,
        next_step=report.next_step,
        options=list(report.options),
        attempt=report.attempt,
        earlier=[dict(item) for item in report.earlier],
    )


def _allowed_actions(snapshot: SessionSnapshot) -> list[Action]:
    if snapshot.status is TaskStatus.RUNNING:
        return [Action.CANCEL]
    if snapshot.can_be_restarted:
        return [Action.RETRY]
    if snapshot.status in {None, TaskStatus.COMPLETED} and snapshot.next_task_type is not None:
        return [Action.START]
    return []
