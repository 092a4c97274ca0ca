"""`serve --demo`: sessions in every state, by the real handlers, in a database of their own."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import text

from app.cli import demo
from app.cli.serve import QuietStart
from app.engines.worker import Worker
from app.models.session import TaskStatus
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.session_snapshot import LeaseState
from app.tasks.jira.sites import configured_targets
from app.tasks.preview import preview
from app.values.options import SessionOptions

if TYPE_CHECKING:
    import pytest

    from app.core.config import Settings
    from app.core.database import Database
    from app.repositories.session_snapshot import SessionSnapshot

DEADLINE_SECONDS = 60.0


def test_the_persons_own_database_is_never_used(settings: Settings) -> None:
    theirs = settings.model_copy(
        update={"data_dir": Path("/never/made"), "jira_url": "https://x.example"}
    )
    assert theirs.database_url is not None
    with demo.demo_settings(theirs) as changed:
        assert changed.database_url is None
        assert configured_targets(changed) == []
        assert changed.data_dir.is_dir()
        assert not list(changed.data_dir.iterdir())
        assert preview([], [], SessionOptions(), changed).notes == []  # it previews as usual
    assert not changed.data_dir.exists()
    assert not Path("/never").exists()


def _all(database: Database) -> list[SessionSnapshot]:
    with database.transaction() as db:
        return SessionQueries(db, owner="local").page(SessionFilter(), limit=1_000)


def test_there_is_a_session_in_every_state(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "ROUNDS", 1)

    made = demo.prepare_demo(database, settings)

    found = _all(database)
    states = {session.status for session in found}
    assert states == {None, *TaskStatus}
    assert {s.fixable_by.value for s in found if s.status is TaskStatus.FAILED} == {
        "user_fixable",
        "admin_required",
        "temporary",
    }
    assert any(s.retry_at for s in found)
    assert sum(s.lease_state is LeaseState.UNCLAIMED for s in found) == demo.MOST_LIVE
    by_id = {session.session_id: session for session in found}
    assert by_id[made.completed].stage.value == "completed"
    assert by_id[made.cancelled].status is TaskStatus.CANCELLED
    ages = [(s.moment - s.created_at).total_seconds() for s in found]
    assert max(ages) > 3_600


def test_sessions_that_run_go_through_the_real_handlers_with_moving_progress(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "SECONDS_PER_TICKET", 0.0)
    monkeypatch.setattr(demo, "SECONDS_PER_FILE", 0.0)
    session_id = demo._open_live(database)
    slow = demo.slow_worker(settings)
    ended = threading.Event()
    with database.transaction() as db:
        session = SessionQueries(db, owner="local").get(session_id)

    def look(_ids: object) -> None:
        nonlocal session
        with database.transaction() as db:
            session = SessionQueries(db, owner="local").get(session_id)
        if session.is_settled:
            ended.set()

    end_subscription = database.subscribe(look)
    with Worker(database, slow, concurrency=1, threads=True):
        assert ended.wait(DEADLINE_SECONDS)
    end_subscription()
    assert session.stage.value == "completed"
    with database.transaction() as db:
        assert db.scalar(text("SELECT count(*) FROM tickets")) > demo.MOST_LIVE


def test_failures_of_samples_do_not_come_before_the_link() -> None:
    failure = logging.makeLogRecord({"levelno": logging.WARNING, "name": "app.session_task"})
    start = QuietStart(is_demo=True)
    assert not start.filter(failure)
    start.is_over = True
    assert start.filter(failure)
    assert QuietStart(is_demo=False).filter(failure)
