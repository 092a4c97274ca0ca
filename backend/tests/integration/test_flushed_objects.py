"""Objects flushed in ways that need tests of their own; `concurrency/test_every_orm_write.py` has
random ones. One file of more than 450 lines: a test for each such way.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, delete, event, select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm import load_only, make_transient_to_detached

from app.core.database import Database, bound
from app.core.errors import (
    ConfigurationError,
    NoTransaction,
    SessionDeleted,
    SessionNotFound,
    TaskConflict,
    TaskValidationError,
)
from app.core.logging import AUDIT
from app.models.session import Session, SessionStage, SessionTask, TaskStatus, TaskType
from app.repositories.session_repository import SessionRepository

P, E = TaskType.PROCESSING, TaskType.EXPORT
BROKEN = {"error": "Broken", "message": "it broke", "category": "user_fixable"}


@pytest.fixture
def engine(database: Database) -> Iterator[Engine]:
    """An engine as any application makes one: no settings of ours."""
    engine = create_engine(database.url)
    yield engine
    engine.dispose()


@pytest.fixture
def started(engine: Engine) -> Callable[[], uuid.UUID]:
    """Make sessions whose first task runs, by objects alone."""

    def make() -> uuid.UUID:
        with DbSession(engine) as db:
            task = SessionTask(session=Session(), task_type=P)
            task.mark_started(uuid.uuid4())
            db.add(task)
            db.commit()
            return task.session_id

    return make


def task_of(db: DbSession, session_id: uuid.UUID) -> SessionTask:
    return db.scalars(select(SessionTask).where(SessionTask.session_id == session_id)).one()


def stored(engine: Engine, session_id: uuid.UUID) -> tuple[str, str, str, int]:
    """Stage, task type, status and count, as they are committed."""
    query = text(
        "SELECT stage, task_type, status, retry_count FROM sessions"
        " JOIN session_tasks ON session_id = sessions.id WHERE sessions.id = :id"
    )
    with engine.connect() as connection:
        return tuple(connection.execute(query, {"id": session_id}).one())  # type: ignore[return-value]


# -- logs -----------------------------------------------------------------------------------------


def test_the_log_speaks_the_specification_s_words_once_it_is_true(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "app")
    runs = [uuid.uuid4(), uuid.uuid4()]
    with DbSession(engine) as db:
        task = SessionTask(session=Session(), task_type=P, status="running", task_id=runs[0])
        db.add(task)
        db.flush()
        task.mark_failed(BROKEN)
        task.mark_started(runs[1])
        db.flush()
        task.mark_completed()
        assert caplog.records == [], "the transaction may still be rolled back"
        db.commit()
        session_id = task.session_id
    lines = [(record.levelno, record.getMessage()) for record in caplog.records]
    start = f"SessionTask processing started for session {session_id}, task_id: "
    failed = f"SessionTask processing failed for session {session_id}, retry #1"
    executed = f"SessionTask processing executed for session {session_id}, duration: 0."
    completed = f"SessionTask processing completed for session {session_id}, duration: 0.00m"
    assert [line for line in lines if line[0] != logging.DEBUG] == [
        (logging.INFO, start + str(runs[0])),
        (logging.WARNING, failed),
        (AUDIT, failed),
        (logging.INFO, start + str(runs[1])),
        (logging.INFO, completed),
    ]
    debug = [message for level, message in lines if level == logging.DEBUG]
    assert [message.startswith(executed) for message in debug] == [True, True]
    assert [message.endswith("retry #1") for message in debug] == [True, True]


def test_what_was_rolled_back_is_not_logged(
    engine: Engine, started: Callable[[], uuid.UUID], caplog: pytest.LogCaptureFixture
) -> None:
    session_id = started()
    caplog.set_level(logging.DEBUG, "app")
    with DbSession(engine) as db:
        task = task_of(db, session_id)
        savepoint = db.begin_nested()
        task.mark_failed(BROKEN)
        db.flush()
        savepoint.rollback()
        task.mark_cancelled()
        db.commit()
        task.mark_started(uuid.uuid4())
        db.flush()
        db.rollback()
    assert {record.getMessage().split()[2] for record in caplog.records} == {
        "cancelled",
        "executed",
    }
    assert stored(engine, session_id) == ("processing", "processing", "cancelled", 0)


# -- several at once, and parts -------------------------------------------------------------------


def test_tasks_of_several_sessions_move_in_one_flush(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    first, second, third = started(), started(), started()
    with DbSession(engine) as db:
        task_of(db, first).mark_completed()
        task_of(db, second).mark_failed(BROKEN)
        task_of(db, third).mark_completed()
        task_of(db, third).advance(E, uuid.uuid4())
        db.add(new := SessionTask(session=Session(), task_type=P))
        new.mark_started(uuid.uuid4())
        db.commit()
    assert stored(engine, first) == ("processing", "processing", "completed", 0)
    assert stored(engine, second) == ("processing", "processing", "failed", 1)
    assert stored(engine, third) == ("export", "export", "running", 0)


def test_one_illegal_change_keeps_all_others_of_the_flush_from_being_written(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    first, second = started(), started()
    with DbSession(engine) as db:
        tasks = [task_of(db, first), task_of(db, second)]
        tasks[0].mark_completed()
        tasks[1].task_id = uuid.uuid4()
        with db.no_autoflush, pytest.raises(TaskConflict, match="already running"):
            db.flush()
        written = "SELECT count(*) FROM session_tasks WHERE xmin = pg_current_xact_id()::xid"
        with db.no_autoflush:
            assert db.scalar(text(written)) == 0
    assert stored(engine, first)[2] == "running"


@pytest.mark.filterwarnings("ignore:The `objects` parameter")
def test_a_task_that_is_flushed_alone_takes_the_stage_along(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine) as db:
        session = db.get_one(Session, session_id)
        assert session.task is not None
        session.task.mark_completed()
        session.task.advance(E, uuid.uuid4())
        db.flush([session.task])
        session.task.mark_failed(BROKEN)
        db.flush([session.task])
        db.commit()
        assert session.stage == SessionStage.EXPORT
    assert stored(engine, session_id) == ("export", "export", "failed", 1)


# -- objects that are not what they seem ----------------------------------------------------------


@pytest.mark.parametrize("by", ["before_flush", "task", "session"])
def test_what_another_listener_changes_during_the_flush_is_refused(
    by: str, engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()

    def meddle(_mapper: Any, _connection: Any, target: Any) -> None:
        if isinstance(target, Session):
            target.stage = SessionStage.COMPLETED
        else:
            target.retry_count = 3

    def meddle_before(db: DbSession, *_: Any) -> None:
        task_of(db, session_id).retry_count = 3

    with DbSession(engine) as db:
        task = task_of(db, session_id)
        target = {"before_flush": db, "task": SessionTask, "session": Session}[by]
        name = by if by == "before_flush" else "before_update"
        listener = meddle_before if by == "before_flush" else meddle
        event.listen(target, name, listener)
        try:
            db.get_one(Session, session_id).label = "other"
            task.mark_completed()
            with pytest.raises(TaskValidationError, match="listener changed"):
                db.commit()
        finally:
            event.remove(target, name, listener)
    assert stored(engine, session_id) == (P, P, "running", 0)


def test_a_copy_that_was_merged_unread_is_held_against_the_row(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine, expire_on_commit=False) as db:
        old = task_of(db, session_id)
    with DbSession(engine) as db:
        task_of(db, session_id).mark_cancelled()
        db.commit()
    with DbSession(engine) as db:
        task = db.merge(old, load=False)
        task.mark_completed()
        with pytest.raises(TaskConflict, match="moved on"):
            db.commit()
    assert stored(engine, session_id)[2] == "cancelled"


def test_an_object_known_by_its_id_alone_is_held_against_the_row(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine) as db:
        task_id = task_of(db, session_id).id
    for status, is_legal in (("completed", True), ("failed", False)):
        task = SessionTask(id=task_id)
        make_transient_to_detached(task)
        with DbSession(engine) as db:
            db.add(task)
            task.status = status  # type: ignore[assignment]
            if is_legal:
                db.commit()
            else:
                with pytest.raises(TaskValidationError):
                    db.commit()
    assert stored(engine, session_id)[2] == "completed"


def test_an_object_that_was_loaded_in_part_moves_as_a_whole(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine) as db:
        task = db.scalars(
            select(SessionTask)
            .where(SessionTask.session_id == session_id)
            .options(load_only(SessionTask.status))
        ).one()
        task.mark_failed(BROKEN)
        db.commit()
    assert stored(engine, session_id) == ("processing", "processing", "failed", 1)


def test_what_was_marked_and_then_expired_is_forgotten(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine) as db:
        session = db.get_one(Session, session_id)
        task = session.task
        assert task is not None
        task.mark_completed()
        task.advance(E, uuid.uuid4())
        db.expire(task)
        task.mark_cancelled()
        db.commit()
        assert session.stage == SessionStage.PROCESSING
    assert stored(engine, session_id) == ("processing", "processing", "cancelled", 0)


def test_a_context_that_was_flushed_among_several_states_is_frozen_too(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine, expire_on_commit=False) as db:
        task = task_of(db, session_id)
        task.mark_cancelled()
        task.mark_started(uuid.uuid4())
        task.mark_failed(BROKEN)
        db.commit()
        assert task.failure_context is not None
        with pytest.raises(TaskValidationError, match="cannot be changed in place"):
            task.failure_context["message"] = "another"


@pytest.mark.parametrize(("category", "is_retried"), [("temporary", True), ("user_fixable", False)])
def test_an_explanation_after_the_flush_keeps_the_attempt_and_decides_about_the_retry(
    engine: Engine, started: Callable[[], uuid.UUID], category: str, is_retried: bool
) -> None:
    """Assigning the status first, any query flushes; the context that follows belongs to it."""
    session_id = started()
    other = "user_fixable" if is_retried else "temporary"
    with DbSession(engine) as db:
        task = task_of(db, session_id)
        task.mark_failed({"error": "Away", "category": other})
        db.commit()
        failed_at = (task.failure_context or {})["failed_at"]
        task.failure_context = {"message": "Nobody is there", "category": category}
        db.commit()
        context = task.failure_context or {}
        retries = db.execute(
            text("SELECT task_id FROM session_task_retries WHERE session_id = :id"),
            {"id": session_id},
        ).all()
        assert [retry.task_id for retry in retries] == [task.task_id] * is_retried
    assert (context["attempt"], context["failed_at"]) == (1, failed_at)
    assert (context["message"], context["category"]) == ("Nobody is there", category)


def test_a_session_that_was_deleted_under_its_objects_is_our_error(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    def relabel(session: Session, _task: SessionTask) -> None:
        session.label = "gone"

    def cancel(_session: Session, task: SessionTask) -> None:
        task.mark_cancelled()

    def assign(_session: Session, task: SessionTask) -> None:
        task.status = TaskStatus.CANCELLED

    for change in (relabel, cancel, assign):
        session_id = started()
        with DbSession(engine) as db:
            task = task_of(db, session_id)
            session = db.get_one(Session, session_id)
            with engine.begin() as connection:
                connection.execute(delete(Session).where(Session.id == session_id))
            change(session, task)
            with pytest.raises(SessionDeleted) as caught:
                db.commit()
        assert isinstance(caught.value, SessionNotFound)
        assert isinstance(caught.value, TaskConflict)
        assert caught.value.session_id == session_id
    with DbSession(engine) as db:
        db.add(task := SessionTask(session_id=uuid.uuid4(), task_type=P))
        task.mark_started(uuid.uuid4())
        with pytest.raises(SessionNotFound):
            db.commit()


def test_an_expired_object_whose_row_is_gone_is_our_error_too(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine) as db:
        task = task_of(db, session_id)
        db.commit()  # it expires
        with engine.begin() as connection:
            connection.execute(delete(Session).where(Session.id == session_id))
        with pytest.raises(SessionDeleted):
            task.mark_cancelled()


# -- locks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["select", "get", "refresh"])
def test_a_lock_on_a_task_begins_with_its_session(
    engine: Engine, started: Callable[[], uuid.UUID], how: str
) -> None:
    """As every statement does: else two transactions could wait for each other."""
    session_id = started()
    with DbSession(engine) as db:
        wanted = select(SessionTask).where(SessionTask.session_id == session_id)
        if how == "select":
            task = db.scalars(wanted.with_for_update()).one()
        else:
            task = db.scalars(wanted).one()
            if how == "get":
                db.get_one(SessionTask, task.id, with_for_update=True, populate_existing=True)
            else:
                db.refresh(task, with_for_update=True)
        with DbSession(engine) as other, pytest.raises(OperationalError, match="could not obtain"):
            other.get_one(Session, session_id, with_for_update={"nowait": True, "key_share": True})
        task.mark_completed()
        db.commit()
    with DbSession(engine) as db:
        assert db.scalars(wanted.with_for_update(skip_locked=True)).one().status == "completed"


# -- finders, in any session ----------------------------------------------------------------------


def test_finders_work_in_any_session_and_leave_what_is_not_flushed(
    engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    find, find_failed = SessionTask.find_active_for_session, SessionTask.find_failed_retryable
    with DbSession(engine) as db, bound(db):
        task = find(session_id)
        assert task is not None
        with db.no_autoflush:
            task.mark_failed(BROKEN)
            assert find(session_id) is None
            assert find_failed(session_id) is task
            assert task.retry_count == 1
        db.commit()
    assert stored(engine, session_id)[2] == "failed"


def test_the_one_transaction_that_has_begun_here_needs_no_binding(
    engine: Engine, database: Database, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    find = SessionTask.find_active_for_session
    with pytest.raises(NoTransaction, match="No transaction"):
        find(session_id)
    with DbSession(engine) as db, DbSession(engine) as other:
        task = task_of(db, session_id)
        assert find(session_id) is task
        other.get(Session, session_id)
        with pytest.raises(NoTransaction, match="Several") as caught:
            find(session_id)
        assert "bound(db)" in caught.value.next_step
        with bound(other):
            assert find(session_id) is not task
        db.rollback()
        found = find(session_id)
        assert found is not None
        assert found is not task
    with database.transaction() as db:
        inside = find(session_id)
        assert inside is not None
        assert inside in db
    with pytest.raises(NoTransaction):
        find(session_id)


def test_a_transaction_may_be_entered_in_one_context_and_left_in_another(
    database: Database, started: Callable[[], uuid.UUID]
) -> None:
    """As FastAPI does with a dependency that is a generator."""
    session_id = started()

    def get_db() -> Iterator[DbSession]:
        with database.transaction() as db:
            yield db

    async def request(error: Exception | None) -> None:
        dependency = get_db()
        db = await asyncio.to_thread(next, dependency)
        with bound(db):
            task = await asyncio.to_thread(SessionTask.find_active_for_session, session_id)
        assert task is not None
        if error is None:
            await asyncio.to_thread(next, dependency, None)
        else:
            await asyncio.to_thread(dependency.throw, error)
        with pytest.raises(NoTransaction):
            SessionTask.find_active_for_session(session_id)

    asyncio.run(request(None))
    with pytest.raises(ZeroDivisionError):
        asyncio.run(request(ZeroDivisionError()))


def test_an_async_session_marks_and_finds(engine: Engine, started: Callable[[], uuid.UUID]) -> None:
    session_id = started()

    async def use(url: Any) -> None:
        async_engine = create_async_engine(url)
        async with AsyncSession(async_engine, expire_on_commit=False) as db:
            wanted = select(SessionTask).where(SessionTask.session_id == session_id)
            task = (await db.scalars(wanted)).one()
            task.mark_failed(ValueError("it broke"))
            await db.commit()
            task.mark_started(uuid.uuid4())
            with bound(db):
                found = await db.run_sync(
                    lambda _db: SessionTask.find_active_for_session(session_id)
                )
            assert found is task
            await db.commit()
            task.mark_completed()
            task.task_type = E
            task.mark_started(uuid.uuid4())
            await db.commit()
            task.retry_count = 2
            with pytest.raises(TaskValidationError):
                await db.commit()
            await db.rollback()
            with pytest.raises(ConfigurationError, match="needs a synchronous engine"):
                await db.run_sync(lambda inside: SessionRepository(inside).cancel_task(session_id))
        await async_engine.dispose()

    asyncio.run(use(engine.url))
    assert stored(engine, session_id) == ("export", "export", "running", 0)


# -- beside the repository ------------------------------------------------------------------------


def test_the_repository_moves_what_objects_have_loaded(
    database: Database, engine: Engine, started: Callable[[], uuid.UUID]
) -> None:
    session_id = started()
    with DbSession(engine) as db:
        task = task_of(db, session_id)
        SessionRepository(db).cancel_task(session_id)
        assert task.status == TaskStatus.CANCELLED
        task.mark_started(uuid.uuid4())
        db.commit()
    assert stored(engine, session_id)[2] == "running"
