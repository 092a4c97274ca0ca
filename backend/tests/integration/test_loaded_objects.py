"""Loaded objects have the same guarantees: stage, lease and clock, under concurrency too."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import (
    NoTransaction,
    TaskConflict,
)
from app.models import session as session_module
from app.models.session import Session, SessionStage, SessionTask, TaskStatus, TaskType
from app.repositories.session_repository import SessionRepository
from tests.leases import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database
    from app.values.claims import Claim

P, E, V = TaskType.PROCESSING, TaskType.EXPORT, TaskType.ADF_VALIDATION
TEMPORARY = {"error": "Away", "message": "away", "category": "temporary"}


def test_an_object_that_is_marked_moves_stage_row_and_lease_by_the_database_s_clock(
    act: Callable[..., Any],
    running: Callable[..., Claim],
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hours_off = datetime.now(UTC) + timedelta(hours=5)
    monkeypatch.setattr(session_module, "utc_now", lambda: hours_off)
    caplog.set_level(logging.INFO, "app")
    claim = running()
    for task_type in (E, V):
        run = uuid.uuid4()
        with database.transaction():
            task = SessionTask.find_active_for_session(claim.session_id)
            assert task is not None
            task.mark_completed()
            task.advance(task_type, run)
        view = act(lambda s: s.get(claim.session_id))
        assert (view.task.task_type, view.task.task_id) == (task_type, run)
        assert view.stage == SessionStage(task_type.value)
        lease = act(lambda s: lease_of(s, claim.session_id))
        assert (lease.task_id, lease.claim_token) == (run, None)
    line = f"adf_validation completed for session {claim.session_id}, duration: 0.00m"
    with database.transaction():
        task = SessionTask.find_active_for_session(claim.session_id)
        assert task is not None
        task.mark_completed()
        assert line not in caplog.text, "not yet: the transaction may still be rolled back"
    assert line in caplog.text
    view = act(lambda s: s.get(claim.session_id))
    assert view.stage == SessionStage.COMPLETED
    assert act(lambda s: lease_of(s, claim.session_id)) is None
    for moment in (view.task.started_at, view.task.completed_at, view.updated_at):
        assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)


def test_an_object_made_outside_a_transaction_takes_the_database_s_clock_when_it_is_stored(
    database: Database, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "utc_now", lambda: datetime.now(UTC) + timedelta(hours=5))
    task = SessionTask(session_id=make_session().id, task_type=P)
    task.mark_started(uuid.uuid4())
    with database.transaction() as db:
        db.add(task)
    with database.transaction() as db:
        stored = SessionRepository(db).get(task.session_id)
        assert lease_of(SessionRepository(db), task.session_id) is not None
    assert stored.task is not None
    assert abs(stored.task.started_at - datetime.now(UTC)) < timedelta(minutes=1)


@pytest.mark.parametrize("is_added_first", [True, False])
def test_an_object_that_knows_only_its_session_s_id_takes_the_stage_along(
    database: Database, make_session: Callable[..., Session], is_added_first: bool
) -> None:
    session_id = make_session().id
    with database.transaction() as db:
        before = db.get_one(Session, session_id)
        task = SessionTask(session_id=session_id, task_type=P)
        if is_added_first:
            db.add(task)
            task.mark_started(uuid.uuid4())
        else:
            task.mark_started(uuid.uuid4())
            db.add(task)
        db.flush()
        assert before.stage == SessionStage.PROCESSING
    with database.transaction() as db:
        stored = db.get_one(Session, session_id)
        assert stored.stage == SessionStage.PROCESSING
        assert stored.updated_at > stored.created_at


def test_a_session_whose_tasks_were_marked_without_it_ends_completed(
    database: Database, make_session: Callable[..., Session]
) -> None:
    task = SessionTask(session_id=make_session().id, task_type=P)
    task.mark_started(uuid.uuid4())
    for task_type in (E, V):
        task.mark_completed()
        task.advance(task_type, uuid.uuid4())
    task.mark_completed()
    with database.transaction() as db:
        db.add(task)
    with database.transaction() as db:
        assert SessionRepository(db).get(task.session_id).stage == SessionStage.COMPLETED


def test_a_session_that_comes_to_a_marked_task_is_taken_to_its_stage(
    database: Database, make_session: Callable[..., Session]
) -> None:
    task = SessionTask(session_id=make_session().id, task_type=P)
    task.mark_started(uuid.uuid4())
    with database.transaction() as db:
        task.session = db.get_one(Session, task.session_id)
        db.add(task)
        task.mark_completed()
        assert task.session.stage == SessionStage.PROCESSING
    with database.transaction() as db:
        assert db.get_one(Session, task.session_id).stage == SessionStage.PROCESSING


def test_an_object_whose_storing_was_rolled_back_takes_the_stage_along_the_next_time(
    database: Database, make_session: Callable[..., Session]
) -> None:
    task = SessionTask(session_id=make_session().id, task_type=P)
    task.mark_started(uuid.uuid4())
    with pytest.raises(ZeroDivisionError), database.transaction() as db:
        db.add(task)
        db.flush()
        raise ZeroDivisionError
    with database.transaction() as db:
        db.add(task)
    with database.transaction() as db:
        assert db.get_one(Session, task.session_id).stage == SessionStage.PROCESSING


def test_no_moment_that_is_stored_is_the_application_s(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "utc_now", lambda: datetime.now(UTC) + timedelta(hours=5))
    task = SessionTask(session=Session(), task_type=P)
    task.mark_started(uuid.uuid4())
    task.mark_failed(TEMPORARY)
    with database.transaction() as db:
        db.add(task)
    with database.transaction() as db:
        stored = SessionRepository(db).get(task.session_id)
    assert stored.task is not None
    assert stored.task.failed_at is not None
    in_context = datetime.fromisoformat((stored.task.failure_context or {})["failed_at"])
    for moment in (stored.updated_at, stored.task.failed_at, in_context):
        assert abs(moment - datetime.now(UTC)) < timedelta(minutes=1)


def test_whoever_begins_with_a_session_second_is_told_so(
    database: Database, make_session: Callable[..., Session]
) -> None:
    session_id = make_session().id
    with database.transaction() as db:
        db.add(first := SessionTask(session_id=session_id, task_type=P))
        first.mark_started(uuid.uuid4())
    with pytest.raises(TaskConflict, match="has its task already"), database.transaction() as db:
        db.add(second := SessionTask(session_id=session_id, task_type=P))
        second.mark_started(uuid.uuid4())


def test_an_object_that_failed_for_a_while_is_retried_by_itself(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    with database.transaction() as db:
        db.info["retry_backoff_seconds"] = 0.0
        task = SessionTask.find_active_for_session(claim.session_id)
        assert task is not None
        task.mark_failed(TEMPORARY)
    (retried,) = act(lambda s: s.retry_due())
    assert (retried.session_id, retried.status) == (claim.session_id, TaskStatus.RUNNING)


def test_what_is_found_is_as_it_is_now(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    with database.transaction():
        before = SessionTask.find_active_for_session(claim.session_id)
        assert before is not None
        act(lambda s: s.fail_task(claim, TEMPORARY))  # in another transaction
        assert SessionTask.find_active_for_session(claim.session_id) is None
        found = SessionTask.find_failed_retryable(claim.session_id)
        assert found is before
        assert (found.status, found.retry_count) == (TaskStatus.FAILED, 1)


def test_an_object_that_was_overtaken_writes_nothing(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    with pytest.raises(TaskConflict, match="moved on"), database.transaction():
        task = SessionTask.find_active_for_session(claim.session_id)
        assert task is not None
        act(lambda s: s.complete_task(claim))  # in another transaction
        task.mark_cancelled()
    view = act(lambda s: s.get(claim.session_id))
    assert (view.task.status, view.stage) == (TaskStatus.COMPLETED, SessionStage.PROCESSING)


def test_failures_that_can_be_retried_are_found(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    with database.transaction():
        assert SessionTask.find_failed_retryable(claim.session_id) is None
    act(lambda s: s.fail_task(claim, TEMPORARY))
    with database.transaction():
        found = SessionTask.find_failed_retryable(claim.session_id)
        assert found is not None
        assert found.can_retry()
        assert SessionTask.find_active_for_session(claim.session_id) is None
    with database.transaction():
        for _ in range(2):
            found = SessionTask.find_failed_retryable(claim.session_id)
            assert found is not None
            found.mark_started(uuid.uuid4())
            found.mark_failed(TEMPORARY)
        assert SessionTask.find_failed_retryable(claim.session_id) is None
    with pytest.raises(NoTransaction):
        SessionTask.find_active_for_session(claim.session_id)
