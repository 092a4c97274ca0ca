"""The guard: PostgreSQL refuses illegal changes of tasks and stages by any program."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import delete, text, update
from sqlalchemy.exc import IntegrityError

from app.core.errors import TaskError
from app.models.guard import LEGAL_UPDATE, has_guard, install_guard, remove_guard
from app.models.session import Session, SessionStage, SessionTask, TaskState, TaskStatus, TaskType
from app.repositories.batcher import TransitionBatcher
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.core.database import Database

MOMENT = datetime(2026, 3, 1, tzinfo=UTC)
LATER = MOMENT + timedelta(minutes=1)
FIRST, SECOND = uuid.UUID(int=1), uuid.UUID(int=2)

Key = tuple[TaskType, TaskStatus, int, bool]


@pytest.fixture
def guarded(database: Database) -> Iterator[Database]:
    """A database with the guard."""
    with database.engine.begin() as connection:
        install_guard(connection)
    yield database
    with database.engine.begin() as connection:
        remove_guard(connection)


def states() -> list[TaskState]:
    """Every combination of type, status and retry count."""
    return [
        TaskState(
            uuid.UUID(int=9), task_type, FIRST, status, count, MOMENT,
            MOMENT if status is TaskStatus.COMPLETED else None,
            MOMENT if status is TaskStatus.FAILED else None,
        )
        for task_type, status, count in itertools.product(TaskType, TaskStatus, range(4))
    ]  # fmt: skip


def reachable(state: TaskState) -> set[Key]:
    """The states that the model allows next: (type, status, count, whether the same run)."""
    acts: list[Callable[[], TaskState]] = [
        lambda: state.completed(LATER),
        lambda: state.failed({"error": "E"}, LATER),
        state.cancelled,
        *(
            lambda task_type=task_type: state.started(task_type, SECOND, LATER)  # type: ignore[misc]
            for task_type in TaskType
        ),
    ]
    found = [state]
    if state.status is TaskStatus.FAILED:
        found.append(replace(state, retry_count=0))  # an operator's reset
    for act in acts:
        try:
            found.append(act())
        except TaskError:
            continue
    return {
        (each.task_type, each.status, each.retry_count, each.task_id == FIRST) for each in found
    }  # type: ignore[misc]


def test_the_law_in_sql_is_that_of_the_model_for_every_pair_of_states(database: Database) -> None:
    rows = [
        {"type": s.task_type.value, "status": s.status.value, "count": s.retry_count}  # type: ignore[union-attr]
        for s in states()
    ]
    statement = f"""
        WITH state AS (
            SELECT *, date '2026-03-01' AS started_at,
                   CASE WHEN status = 'completed' THEN date '2026-03-01' END AS completed_at,
                   CASE WHEN status = 'failed' THEN date '2026-03-01' END AS failed_at
              FROM unnest(%s::text[], %s::text[], %s::int[])
                   AS state(task_type, status, retry_count)),
        row AS (
            SELECT 1 AS id, 1 AS session_id, task_id, state.*
              FROM state, generate_series(1, 2) task_id)
        SELECT old.task_type, old.status, old.retry_count,
               new.task_type, new.status, new.retry_count, new.task_id = old.task_id,
               {LEGAL_UPDATE}
          FROM row AS old, row AS new WHERE old.task_id = 1"""
    given = [[row[name] for row in rows] for name in ("type", "status", "count")]
    with database.driver_connection() as connection:
        pairs = connection.execute(statement, given).fetchall()
    assert len(pairs) == 48 * 48 * 2
    by_state = {(s.task_type, s.status, s.retry_count): reachable(s) for s in states()}
    wrong = [
        pair
        for pair in pairs
        if pair[7] is not (
            (TaskType(pair[3]), TaskStatus(pair[4]), pair[5], pair[6])
            in by_state[TaskType(pair[0]), TaskStatus(pair[1]), pair[2]]
        )
    ]  # fmt: skip
    assert wrong == []


def test_whole_lives_through_every_door_are_legal(
    guarded: Database, make_session: Callable[..., Session]
) -> None:
    first, second, third = (make_session().id for _ in range(3))
    batcher = TransitionBatcher(guarded)
    for task_type in TaskType:
        batcher.start_task(first, task_type)
        with guarded.transaction() as db:
            sessions = SessionRepository(db)
            task = sessions.get(first).task
            assert task is not None
            claim = sessions.claim_task(first, task.task_id, uuid.uuid4())
        assert claim is not None
        batcher.complete_task(claim)
    with guarded.transaction() as db:
        sessions = SessionRepository(db)
        sessions.start_task(second, TaskType.PROCESSING)
        sessions.cancel_task(second)
        sessions.retry_task(second)
    with guarded.transaction() as db:
        task = SessionTask(session_id=third, task_type=TaskType.PROCESSING)
        task.mark_started(uuid.uuid4())
        db.add(task)
        db.flush()
        task.mark_failed({"error": "E", "message": "m"})
        db.flush()
        task.mark_started(uuid.uuid4())
        task.mark_completed()
    with guarded.transaction() as db:
        stages = [db.get_one(Session, each).stage for each in (first, second, third)]
        db.delete(db.get_one(Session, first))
    assert stages == [SessionStage.COMPLETED, SessionStage.PROCESSING, SessionStage.PROCESSING]


@pytest.mark.parametrize(
    "lie",
    [
        update(SessionTask).values(task_type="adf_validation"),
        update(SessionTask).values(task_id=uuid.uuid4()),
        update(SessionTask).values(started_at=MOMENT),
        update(SessionTask).values(retry_count=3),
        update(SessionTask).values(status="completed", completed_at=MOMENT, retry_count=1),
        delete(SessionTask),
        update(Session).values(stage="completed"),
        text("INSERT INTO sessions (id, stage) VALUES (gen_random_uuid(), 'export')"),
        text(
            "INSERT INTO session_tasks (id, session_id, task_type, task_id, status, started_at,"
            " completed_at) SELECT gen_random_uuid(), id, 'export', gen_random_uuid(), 'completed',"
            " now(), now() FROM sessions WHERE stage = 'created'"
        ),
    ],
)
def test_sql_that_never_meets_the_models_cannot_store_a_lie(
    lie: Any, guarded: Database, make_session: Callable[..., Session]
) -> None:
    session_id, _ = make_session().id, make_session().id
    with guarded.transaction() as db:
        SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
    with (
        pytest.raises((IntegrityError, psycopg.errors.CheckViolation), match=r"illegal|not follow"),
        guarded.engine.begin() as connection,
    ):
        connection.execute(lie)
    with guarded.transaction() as db:
        session = db.get_one(Session, session_id)
        assert (session.stage, session.task.status) == (  # type: ignore[union-attr]
            SessionStage.PROCESSING,
            TaskStatus.RUNNING,
        )


def test_the_guard_comes_and_goes(database: Database, make_session: Callable[..., Session]) -> None:
    with database.engine.begin() as connection:
        assert not has_guard(connection)
        install_guard(connection)
        install_guard(connection)
        assert has_guard(connection)
        remove_guard(connection)
        assert not has_guard(connection)
        functions = "SELECT count(*) FROM pg_proc WHERE proname = 'refuse_task_transition'"
        assert connection.scalar(text(functions)) == 0
    make_session()
    with database.engine.begin() as connection:
        connection.execute(update(Session).values(stage="export"))
