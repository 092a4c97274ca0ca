"""Words of pages: badges of states, times and counts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from app.core.wording import age_text, count_text, duration_text, short_id, size_text
from app.presentation.previews import field_text
from app.presentation.workers import paused_text
from app.tasks.documents.decoding import place_text
from app.tasks.preview import field_label
from app.values.results import RULES_OF_SITES
from app.values.states import TaskStatus, TaskType
from app.web.adf_preview import render_adf
from app.web.headline import NAMES_IN_SENTENCES

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.repositories.content_repository import TicketTitle
    from app.repositories.session_snapshot import SessionSnapshot
    from app.values.results import Finding, TicketDraft


@dataclass(frozen=True, slots=True)
class StatusBadge:
    """A state as pages show it: `name` selects icon and colour, `word` is its text."""

    name: str
    word: str


NOT_STARTED = StatusBadge("not-started", "Not started")
WAITING = StatusBadge("waiting", "Waiting")
RUNNING = StatusBadge("running", "Running")
RETRYING = StatusBadge("retrying", "Retry due")
COMPLETED = StatusBadge("completed", "Completed")
BETWEEN = StatusBadge("between", "Ready for next")
FAILED = StatusBadge("failed", "Failed")
CANCELLED = StatusBadge("cancelled", "Cancelled")

WORKER_BADGES = {
    "idle": StatusBadge("not-started", "Idle"),
    "working": StatusBadge("running", "Working"),
    "busy": StatusBadge("running", "Busy"),
    "draining": StatusBadge("cancelled", "Draining"),
}

TASK_NAMES = {
    TaskType.PROCESSING: "Processing",
    TaskType.EXPORT: "Export",
    TaskType.ADF_VALIDATION: "ADF validation",
}


def rule_label(rule: str) -> str:
    """Return what a finding of this rule says of its ticket."""
    return first_capital(rule) if rule in RULES_OF_SITES else "Jira would refuse it"


def badge_of(session: SessionSnapshot) -> StatusBadge:
    """Return the badge of the session's task."""
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
    """Return the session's label, or its short id if it has none."""
    return session.label.strip() or f"Session {session.short_id}"


def ago(moment: datetime) -> str:
    """Return `5 min ago`."""
    return age_text((datetime.now(UTC) - moment).total_seconds())


def since(moment: datetime) -> str:
    """Return how long ago, as a duration: `12.3 s`."""
    return duration_text(max(0.0, (datetime.now(UTC) - moment).total_seconds()))


def in_utc(moment: datetime) -> str:
    """Return `2026-11-23 21:05:09 UTC`."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def pretty_json(value: Any) -> str:
    """Return the value as indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)


def task_name(task_type: TaskType) -> str:
    """Return the task's name, as in a title."""
    return TASK_NAMES[task_type]


def task_in_sentence(task_type: TaskType) -> str:
    """Return the task's name, as within a sentence."""
    return NAMES_IN_SENTENCES[task_type]


def in_count(count: int, one: str) -> str:
    """Return `1 ticket` or `2,000 tickets`."""
    return count_text(count, one)


def first_capital(text: str) -> str:
    """Return the text with its first letter in upper case, the others unchanged."""
    return text[:1].upper() + text[1:]


def source_place(made: TicketDraft | TicketTitle | Finding) -> str:
    """Return where a ticket comes from: `notes.md, line 3`, `rows.csv, row 3`."""
    name, _, place = place_text(made.source_name, made.source_row).rpartition(" ")
    return f"{name}\u00a0{place}"  # "row 3" stays on one line


FILTERS: dict[str, Callable[..., object]] = {
    "adf": render_adf,
    "ago": ago,
    "duration": duration_text,
    "field_label": field_label,
    "field_text": field_text,
    "first_capital": first_capital,
    "rule_label": rule_label,
    "in_count": in_count,
    "in_utc": in_utc,
    "label_of": label_of,
    "paused_text": paused_text,
    "pretty_json": pretty_json,
    "short_id": short_id,
    "badge_of": badge_of,
    "since": since,
    "source_place": source_place,
    "size": size_text,
    "task_in_sentence": task_in_sentence,
    "task_name": task_name,
}
