"""`session-tasks workers` lists the workers that are alive, and drains one."""

from __future__ import annotations

import json
import os
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.cli.application import run_command
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database

EVERY_TYPE = "'{processing,export,adf_validation}'"


@pytest.fixture
def workers(
    database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `workers …` in this process; returns its exit code, and its output or the error."""
    for name in [name for name in os.environ if name.startswith("SESSION_TASKS_TEST_")]:
        monkeypatch.delenv(name)  # the tests' own, and no setting
    monkeypatch.setenv("SESSION_TASKS_DATABASE_URL", database_url)

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = run_command(["workers", *arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return code, out if code == 0 else err

    return run


@pytest.fixture
def make_worker(database: Database) -> Callable[..., uuid.UUID]:
    """Inserts the row of a worker, as its heartbeat does."""

    def make(*, host: str = "alpha", session_ids: str = "NULL") -> uuid.UUID:
        worker_id = uuid.uuid4()
        with database.transaction() as db:
            db.execute(
                text(
                    "INSERT INTO session_task_workers (id, host, pid, version, engine, concurrency,"
                    " task_types, session_ids, started_at, leased_until) VALUES (:id, :host, 4711,"
                    f" '1.2.3', 'celery', 2, {EVERY_TYPE}, {session_ids},"
                    " now() - interval '2 hours', now() + interval '1 minute')"
                ),
                {"id": worker_id, "host": host},
            )
        return worker_id

    return make


def test_workers_are_listed_with_what_they_hold(
    workers: Any, make_worker: Any, make_session: Any, act: Any
) -> None:
    worker_id = make_worker()
    session_id = make_session().id
    act(lambda sessions: sessions.start_task(session_id, TaskType.PROCESSING))
    act(lambda sessions: sessions.claim_next(worker_id))
    code, table = workers()
    assert code == 0
    for shown in (worker_id.hex[:8], "alpha", "celery 1.2.3", "working", "1 of 2 (1 processing)"):
        assert shown in table
    document = json.loads(workers("--json")[1])
    (listed,) = document["workers"]
    assert (listed["id"], listed["state"], listed["held_count"]) == (str(worker_id), "working", 1)
    assert listed["held"][0]["session_id"] == str(session_id)
    assert document["waiting_without_worker"] == 0


def test_tasks_that_wait_for_a_worker_that_does_not_exist_are_told(
    workers: Any, make_session: Any, act: Any, database: Database
) -> None:
    assert "No worker is alive" in workers()[1]
    session_id = make_session().id
    with database.transaction() as db:
        SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
        db.execute(text("UPDATE session_task_leases SET enqueued_at = now() - interval '1 min'"))
    assert "1 task waiting, and no worker takes" in workers()[1]
    assert json.loads(workers("--json")[1])["waiting_without_worker"] == 1


def test_a_worker_is_drained_by_the_beginning_of_its_id(
    workers: Any, make_worker: Any, database: Database
) -> None:
    worker_id = make_worker()
    code, said = workers("drain", worker_id.hex[:8])
    assert (code, "claims no more" in said) == (0, True)
    (listed,) = json.loads(workers("--json")[1])["workers"]
    assert listed["state"] == "draining"
    assert json.loads(workers("drain", str(worker_id), "--json")[1])["state"] == "draining"


def test_what_cannot_be_drained_is_refused_with_the_reason(workers: Any, make_worker: Any) -> None:
    code, said = workers("drain", "0123")
    assert (code, "No worker that is alive" in said) == (3, True)
    own = make_worker(session_ids="ARRAY[gen_random_uuid()]")
    code, said = workers("drain", own.hex)
    assert (code, "one command only" in said) == (3, True)
    make_worker(host="beta")
    code, said = workers("drain", "")
    assert code == 3
