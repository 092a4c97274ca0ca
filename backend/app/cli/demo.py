"""`serve --demo`: sample sessions in every state, in a database that is deleted at the end.

Sample documents go through the real handlers: at full speed for sessions in the past, slowly (each
progress report takes a moment) for those that run while the demo is open. Only the times of past
sessions are moved back, so that the charts cover some hours.
"""

from __future__ import annotations

import itertools
import random
import tempfile
import threading
import time
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from app.cli.demo_documents import backlog, handbook, list_without_titles, overlong
from app.core.config import EngineName
from app.core.errors import ConfigurationError, DatabaseUnavailable, ErrorCategory, TaskError
from app.core.failure import failure_context
from app.engines.loops import Loop
from app.engines.worker import Worker
from app.models.session import LOCAL_OWNER, MAX_RETRY_COUNT
from app.repositories.session_repository import SessionRepository
from app.tasks.adf_validation import validate_export
from app.tasks.export import export_tickets
from app.tasks.processing import process_documents
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.core.config import Settings
    from app.core.database import Database
    from app.repositories.content_reader import IncomingDocument
    from app.tasks.context import TaskContext
    from app.values.results import TaskResults

PROJECT = "DEMO"
HOURS_BEHIND = 5.5
ROUNDS = 6
MOST_LIVE = 4
SECONDS_BETWEEN_SESSIONS = 5.0
SECONDS_TO_PREPARE = 60.0
SECONDS_PER_TICKET = 0.25
SECONDS_PER_FILE = 3.0
SECONDS_TO_RETRY = 3_600

_THIS = "app.cli.demo"
_SLOW_HANDLERS = ",".join((
    f"processing={_THIS}:process_slowly",
    f"export={_THIS}:export_slowly",
    f"adf_validation={_THIS}:validate_slowly",
))  # fmt: skip
_NAMES = (
    ("Platform handbook", "platform-handbook.md", handbook, 9),
    ("Backlog of the payments team", "payments-backlog.csv", backlog, 24),
    ("Onboarding of new colleagues", "onboarding.md", handbook, 6),
    ("Support: what customers ask for", "customer-requests.csv", backlog, 31),
    ("Checklist for releases", "release-checklist.md", handbook, 12),
)


@dataclass(frozen=True, slots=True)
class Made:
    """The sessions that screenshots of each kind of page need."""

    completed: uuid.UUID
    failed: uuid.UUID
    too_long: uuid.UUID
    used_up: uuid.UUID
    retrying: uuid.UUID
    cancelled: uuid.UUID
    created: uuid.UUID
    running: uuid.UUID
    waiting: uuid.UUID


@contextmanager
def demo_settings(settings: Settings) -> Iterator[Settings]:
    """Return settings with a database of their own, which is deleted at the end.

    The user's database, data directory, engine, handlers and Jira are not used, even if set.
    """
    with tempfile.TemporaryDirectory(prefix="session-tasks-demo-") as place:
        Path(place).chmod(0o711)  # as root, the server's account must pass through it
        yield settings.model_copy(
            update={
                "database_url": None,
                "data_dir": Path(place),
                "engine": EngineName.EMBEDDED,
                "handlers": "",
                "jira_project": PROJECT,
                "jira_url": None,
                "jira_sites": {},
            }
        )


def prepare_demo(database: Database, settings: Settings) -> Made:
    """Open sessions in every state, the finished ones spread over the last hours.

    Raises:
        DatabaseUnavailable: they were not finished within a minute.

    """
    completed = [
        _open(database, f"{label}, week {number}", make(name, count + number))
        for number in range(1, ROUNDS + 1)
        for label, name, make, count in _NAMES
    ]
    untitled = [
        _open(database, f"Price list of supplier {n}", list_without_titles(f"supplier-{n}.csv"))
        for n in range(1, 4)
    ]
    too_long = _open(database, "Minutes of the board", overlong("minutes.md"))
    with Worker(database, settings, concurrency=2, threads=True):
        _wait_until_settled(database)
    _spread(database)
    used_up = _fail_with(
        database,
        "Backlog of the mobile team",
        ConfigurationError(
            "The project's issue type “Story” is not there any more",
            ErrorCategory.ADMIN_REQUIRED,
            next_step="Have it added to the project DEMO, or choose another.",
        ),
        times=MAX_RETRY_COUNT,
    )
    retrying = _fail_with(
        database,
        "Glossary",
        TaskError("The network was down for a moment", ErrorCategory.TEMPORARY),
        times=1,
    )
    cancelled = _open(database, "Handbook of the old office", handbook("old-office.md", 7))
    with database.transaction() as db:
        SessionRepository(db, owner=LOCAL_OWNER).cancel_task(cancelled)
    with database.transaction() as db:
        sessions = SessionRepository(db, owner=LOCAL_OWNER)
        created = sessions.create_session(
            [handbook("ideas.md", 4)], label="Ideas for next year", options=_options("ideas.md")
        ).id
    live = [_open_live(database) for _ in range(MOST_LIVE)]
    return Made(
        completed=completed[-1],
        failed=untitled[-1],
        too_long=too_long,
        used_up=used_up,
        retrying=retrying,
        cancelled=cancelled,
        created=created,
        running=live[0],
        waiting=live[-1],
    )


def slow_worker(settings: Settings) -> Settings:
    """Return the settings of a worker whose handlers are the real ones, made slow.

    Only the worker has them: the API and the pages check and preview as for the real ones.
    """
    return settings.model_copy(update={"handlers": _SLOW_HANDLERS})


@contextmanager
def running_demo(database: Database) -> Iterator[None]:
    """While the context lasts, open new sessions whenever few are running."""
    loop = Loop("demo", lambda: _top_up(database))
    loop.start()
    try:
        yield
    finally:
        loop.stop()


# ------------------------------------------------------------------ the real handlers, made slow


def process_slowly(context: TaskContext) -> TaskResults | None:
    """Process documents; each ticket takes a moment longer."""
    return _slowly(process_documents, context, SECONDS_PER_TICKET)


def export_slowly(context: TaskContext) -> TaskResults | None:
    """Export tickets; each file takes a moment longer."""
    return _slowly(export_tickets, context, SECONDS_PER_FILE)


def validate_slowly(context: TaskContext) -> TaskResults | None:
    """Validate the export; each description takes a moment longer."""
    return _slowly(validate_export, context, SECONDS_PER_TICKET)


def _slowly(
    handler: Callable[[TaskContext], TaskResults | None], context: TaskContext, seconds: float
) -> TaskResults | None:
    report = context.progress

    def report_and_wait(current: int, total: int | None = None, message: str | None = None) -> None:
        report(current, total, message)
        time.sleep(seconds)

    context.progress = report_and_wait  # type: ignore[method-assign]  # of this one run
    return handler(context)


# ------------------------------------------------------------------------------- sample sessions


def _options(name: str) -> dict[str, object]:
    return {"project_key": PROJECT} | ({"split_level": 2} if name.endswith(".md") else {})


def _open(database: Database, label: str, document: IncomingDocument) -> uuid.UUID:
    with database.transaction() as db:
        sessions = SessionRepository(db, owner=LOCAL_OWNER)
        session_id = sessions.create_session(
            [document], label=label, options=_options(document.name)
        ).id
        sessions.start_task(session_id, TaskType.PROCESSING)
    return session_id


_live_numbers = itertools.count(1)


def _open_live(database: Database) -> uuid.UUID:
    number = next(_live_numbers)
    label, name, make, count = _NAMES[number % len(_NAMES)]
    return _open(database, f"{label}, today ({number})", make(f"{number}-{name}", 2 * count + 20))


def _top_up(database: Database) -> float:
    with database.transaction() as db:
        running = db.scalar(text("SELECT count(*) FROM session_tasks WHERE status = 'running'"))
    if running is not None and running < MOST_LIVE:
        _open_live(database)
    return SECONDS_BETWEEN_SESSIONS


def _fail_with(database: Database, label: str, error: TaskError, *, times: int) -> uuid.UUID:
    session_id = _open(database, label, backlog("sample.csv", 12))
    for attempt in range(1, times + 1):
        with database.transaction() as db:
            sessions = SessionRepository(db, owner=LOCAL_OWNER)
            if attempt > 1:
                sessions.retry_task(session_id)
            task = sessions.get(session_id).task
        if task is None:
            break
        with database.transaction() as db:
            sessions = SessionRepository(db, owner=LOCAL_OWNER)
            claim = sessions.claim_task(session_id, task.task_id, uuid.uuid4())
            if claim is not None:
                context = failure_context(error)
                sessions.fail_task(claim, context, backoff_seconds=SECONDS_TO_RETRY)
    return session_id


def _wait_until_settled(database: Database) -> None:
    changed = threading.Event()
    end_subscription = database.subscribe(lambda _ids: changed.set())
    deadline = time.monotonic() + SECONDS_TO_PREPARE
    running = text("SELECT count(*) FROM session_tasks WHERE status = :running")
    try:
        while time.monotonic() < deadline:
            changed.clear()
            with database.transaction() as db:
                if not db.scalar(running, {"running": TaskStatus.RUNNING.value}):
                    return
            changed.wait(0.5)
    finally:
        end_subscription()
    raise DatabaseUnavailable(
        f"The sample sessions were not ready within {SECONDS_TO_PREPARE:g} s",
        next_step="This machine is busy; try again later.",
    )


def _spread(database: Database) -> None:
    """Move each session back by up to some hours, as a whole."""
    chance = random.Random(1)  # noqa: S311 - sample times
    by = "interval '1 s' * :seconds"
    ends = ", ".join(
        f"{kind.value}_completed_at = {kind.value}_completed_at - {by}" for kind in TaskType
    )
    of_session = text(
        f"UPDATE sessions SET created_at = created_at - {by}, updated_at = updated_at - {by}, "  # noqa: S608
        f"{ends} WHERE id = :id"
    )
    of_task = text(
        f"UPDATE session_tasks SET started_at = started_at - {by}, "  # noqa: S608
        f"completed_at = completed_at - {by}, failed_at = failed_at - {by} WHERE session_id = :id"
    )
    with database.transaction() as db:
        ids = list(db.scalars(text("SELECT id FROM sessions ORDER BY created_at")))
        for position, session_id in enumerate(ids):
            share = 1 - (position + chance.random()) / len(ids)
            values = {"seconds": HOURS_BEHIND * 3_600 * share + 60, "id": session_id}
            db.execute(of_session, values)
            db.execute(of_task, values)
