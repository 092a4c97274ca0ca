"""The headline of a session says what it is doing, since when, and what to do next."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.models.session import SessionStage, TaskStatus, TaskType
from app.repositories.session_snapshot import SessionSnapshot
from app.repositories.worker_repository import LiveWorker
from app.web.headline import ago_text, headline, span_text

NOW = datetime(2026, 11, 23, 21, 0, tzinfo=UTC)


def before(**parts: float) -> datetime:
    return NOW - timedelta(**parts)


def session(**known: Any) -> SessionSnapshot:
    """Return a session with these values; all others are those of a new session."""
    blank: dict[str, Any] = dict.fromkeys(SessionSnapshot.__dataclass_fields__)
    blank |= {
        "session_id": uuid.UUID(int=1),
        "owner": "alice",
        "label": "",
        "stage": SessionStage.CREATED,
        "auto_advance": True,
        "options": {},
        "created_at": before(hours=1),
        "updated_at": before(minutes=4),
        "retry_count": 0,
        "moment": NOW,
    }
    return SessionSnapshot(**(blank | known))


def running(**known: Any) -> SessionSnapshot:
    base = {"status": TaskStatus.RUNNING, "task_type": TaskType.EXPORT, "retry_count": 0}
    return session(**(base | known))


def failed(category: str = "user_fixable", count: int = 2, **known: Any) -> SessionSnapshot:
    base = {
        "status": TaskStatus.FAILED,
        "task_type": TaskType.EXPORT,
        "retry_count": count,
        "failed_at": before(minutes=4, seconds=20),
        "failure_context": {"category": category, "next_step": "Give the project's key."},
    }
    return session(**(base | known))


def completed(task_type: TaskType, stage: SessionStage, **known: Any) -> SessionSnapshot:
    base = {
        "status": TaskStatus.COMPLETED,
        "task_type": task_type,
        "retry_count": 0,
        "completed_at": before(minutes=2),
        "stage": stage,
    }
    return session(**(base | known))


def workers(count: int, *, held: int = 1, **known: Any) -> list[LiveWorker]:
    """Return workers of one slot, each of which holds this many tasks."""
    worker: dict[str, Any] = {
        "id": uuid.uuid4(), "host": "alpha", "pid": 1, "version": "1", "engine": "embedded",
        "concurrency": 1, "task_types": tuple(TaskType), "session_ids": None,
        "started_at": before(hours=1), "seen_seconds": 1.0, "is_draining": False,
        "held_count": held, "held_types": {}, "held": (),
    }  # fmt: skip
    return [LiveWorker(**(worker | known)) for _ in range(count)]


LEASED = {"claimed_at": before(seconds=65), "leased_until": NOW + timedelta(seconds=20)}

SENTENCES = [
    (session(), None, "Nothing has run yet: start processing when you are ready."),
    (running(enqueued_at=before(seconds=1)), [], "Waiting for a worker for 1 s."),
    (running(enqueued_at=before(seconds=12)), None, "Waiting for a worker for 12 s."),
    (running(enqueued_at=before(seconds=12)), [], "Waiting for a worker for 12 s: none is alive."),
    (
        running(enqueued_at=before(seconds=12)),
        workers(1, held=0),
        "Waiting for a worker for 12 s: a worker has room, and takes it soon.",
    ),
    (
        running(enqueued_at=before(seconds=12)),
        workers(2, held=0, is_draining=True),
        "Waiting for a worker for 12 s: every one that is alive is draining.",
    ),
    (
        running(enqueued_at=before(seconds=12)),
        workers(1, held=0, session_ids=(uuid.uuid4(),)),
        "Waiting for a worker for 12 s: none that is alive takes it.",
    ),
    (
        running(enqueued_at=before(seconds=12), retry_count=1),
        workers(1),
        "Waiting for a worker for 12 s: the one that is alive is busy, attempt 2 of 3.",
    ),
    (
        running(enqueued_at=before(minutes=15)),
        workers(4),
        "Waiting for a worker for 15 min 00 s: all 4 that are alive are busy.",
    ),
    (
        running(enqueued_at=NOW + timedelta(seconds=30)),
        [],
        "Waiting: it begins in 30 s.",
    ),
    (running(), [], "Waiting in export: the next sweep queues it again."),
    (running(**LEASED), None, "Running export for 1 min 05 s."),
    (
        running(**LEASED, retry_count=2, progress_current=120, progress_total=2_000),
        None,
        "Running export for 1 min 05 s, attempt 3 of 3: 120 of 2,000.",
    ),
    (
        running(claimed_at=before(minutes=5), leased_until=before(seconds=12)),
        None,
        ("Running export, but its worker has not responded for 12 s; the next sweep rescues it."),
    ),
    (
        failed(),
        None,
        (
            "Failed in export, attempt 2 of 3, four minutes ago. You can fix it: Give the "
            "project's key."
        ),
    ),
    (
        failed("admin_required", 1),
        None,
        (
            "Failed in export, attempt 1 of 3, four minutes ago. An administrator can fix it: "
            "Give the project's key."
        ),
    ),
    (
        failed("of another programme", failure_context={"category": 7}),
        None,
        (
            "Failed in export, attempt 2 of 3, four minutes ago. An administrator can fix it: "
            "Find the cause in the message and the traceback, remove it, then retry."
        ),
    ),
    (
        failed("temporary", 1, retry_at=NOW + timedelta(seconds=5)),
        None,
        "Failed in export, attempt 1 of 3; it will be retried automatically in 5 s.",
    ),
    (
        failed(count=3),
        None,
        (
            "Failed in export, attempt 3 of 3, four minutes ago. All 3 attempts are used up: "
            "once the cause is removed, an administrator can reset them."
        ),
    ),
    (
        failed("temporary", 0),
        None,
        "Failed in export, four minutes ago. It is temporary: Retry.",
    ),
    (
        failed(task_type=TaskType.ADF_VALIDATION, failure_context={"category": "user_fixable"}),
        None,
        (
            "Failed in ADF validation, attempt 2 of 3, four minutes ago. You can fix it: "
            "Correct the documents and open a new session with them."
        ),
    ),
    (
        running(status=TaskStatus.CANCELLED),
        None,
        (
            "Cancelled in export, four minutes ago; nothing of that run was kept, and it can "
            "be run again."
        ),
    ),
    (
        completed(TaskType.PROCESSING, SessionStage.PROCESSING, auto_advance=False),
        None,
        "Completed processing two minutes ago; export is next, when you start it.",
    ),
    (
        completed(TaskType.EXPORT, SessionStage.EXPORT),
        None,
        "Completed export two minutes ago; ADF validation starts automatically.",
    ),
    (
        completed(TaskType.ADF_VALIDATION, SessionStage.COMPLETED),
        None,
        "Done two minutes ago: the Jira import is ready, every description checked.",
    ),
    (
        replace(completed(TaskType.ADF_VALIDATION, SessionStage.COMPLETED), options={"to": "jira"}),
        None,
        "Done two minutes ago: the issues are in Jira, each read back.",
    ),
]


@pytest.mark.parametrize(
    ("snapshot", "alive", "sentence"), SENTENCES, ids=[sentence for _, _, sentence in SENTENCES]
)
def test_a_session_is_summed_up_in_one_sentence(
    snapshot: SessionSnapshot, alive: list[LiveWorker] | None, sentence: str
) -> None:
    assert headline(snapshot, NOW, workers=alive).text(NOW) == sentence


def test_the_time_in_a_sentence_goes_on() -> None:
    said = headline(failed(), NOW)

    assert said.moment == before(minutes=4, seconds=20)
    assert "two hours ago" in said.text(NOW + timedelta(hours=2))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "just now"),
        (1.9, "just now"),
        (2, "2 seconds ago"),
        (60, "one minute ago"),
        (12 * 60, "twelve minutes ago"),
        (13 * 60, "13 minutes ago"),
        (3_600, "one hour ago"),
        (49 * 3_600, "two days ago"),
    ],
)
def test_how_long_ago_is_said_as_people_say_it(seconds: float, text: str) -> None:
    assert ago_text(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.9, "59 s"),
        (60, "1 min 00 s"),
        (600, "10 min 00 s"),
        (3_599, "59 min 59 s"),
        (7_500, "2 h 05 min"),
    ],
)
def test_a_growing_span_is_said_in_whole_seconds(seconds: float, text: str) -> None:
    assert span_text(seconds) == text
