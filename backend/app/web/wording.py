"""The words and signs of pages: what a state is called, and how moments and spans are written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.core.wording import age_text, count_text, duration_text, short_id, size_text
from app.models.session import TaskStatus, TaskType
from app.presentation.previews import field_text
from app.presentation.workers import paused_text
from app.tasks.documents.decoding import place_text
from app.tasks.preview import field_label
from app.web.adf_preview import render_adf

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.models.results import Finding, TicketDraft
    from app.repositories.content_repository import TicketTitle
    from app.repositories.session_snapshot import SessionSnapshot


@dataclass(frozen=True, slots=True)
class Sign:
    """A state as people see it: `name` picks icon and colour, `word` says it."""

    name: str
    word: str


NOT_STARTED = Sign("not-started", "Not started")
WAITING = Sign("waiting", "Waiting")
RUNNING = Sign("running", "Running")
RETRYING = Sign("retrying", "Retry due")
COMPLETED = Sign("completed", "Completed")
BETWEEN = Sign("between", "Ready for next")
FAILED = Sign("failed", "Failed")
CANCELLED = Sign("cancelled", "Cancelled")

WORKER_SIGNS = {
    "idle": Sign("not-started", "Idle"),
    "working": Sign("running", "Working"),
    "busy": Sign("running", "Busy"),
    "draining": Sign("cancelled", "Draining"),
}

TASK_NAMES = {
    TaskType.PROCESSING: "Processing",
    TaskType.EXPORT: "Export",
    TaskType.ADF_VALIDATION: "ADF validation",
}


def sign_of(session: SessionSnapshot) -> Sign:
    """The sign of the session's task as it stands."""
    match session.status:
        case None:
            return NOT_STARTED
        case TaskStatus.RUNNING:
            return WAITING if session.claimed_at is None else RUNNING
        case TaskStatus.COMPLETED:
            return COMPLETED if session.next_task_type is None else BETWEEN
        case TaskStatus.FAILED:
            return FAILED if session.retry_at is None else RETRYING
        case TaskStatus.CANCELLED:
            return CANCELLED


def label_of(session: SessionSnapshot) -> str:
    """What people call it; a session without a label goes by its id."""
    return session.label.strip() or f"Session {session.short_id}"


def ago(moment: datetime) -> str:
    """`5 min ago`."""
    return age_text((datetime.now(UTC) - moment).total_seconds())


def since(moment: datetime) -> str:
    """How long ago, as a span: `12.3 s`."""
    return duration_text(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def in_utc(moment: datetime) -> str:
    """`2026-11-23 21:05:09 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def pretty_json(value: Any) -> str:
    """The value as JSON that people can read."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def task_name(task_type: TaskType) -> str:
    """The task's name, as a title has it."""
    return TASK_NAMES[task_type]


def in_count(count: int, one: str) -> str:
    """`1 ticket`, `2,000 tickets`."""
    return count_text(count, one)


def first_capital(text: str) -> str:
    """The text with its first letter as a capital; the others stay."""
    return text[:1].upper() + text[1:]


def source_place(made: TicketDraft | TicketTitle | Finding) -> str:
    """Where a ticket comes from: `notes.md, line 3`, `rows.csv, row 3`."""
    return place_text(made.source_name, made.source_row)


FILTERS: dict[str, Callable[..., object]] = {
    "adf": render_adf,
    "ago": ago,
    "duration": duration_text,
    "field_label": field_label,
    "field_text": field_text,
    "first_capital": first_capital,
    "in_count": in_count,
    "in_utc": in_utc,
    "label_of": label_of,
    "paused_text": paused_text,
    "pretty_json": pretty_json,
    "short_id": short_id,
    "sign_of": sign_of,
    "since": since,
    "source_place": source_place,
    "size": size_text,
    "task_name": task_name,
}
