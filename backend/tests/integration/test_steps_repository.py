"""Which steps are kept, under which claims, and when they go."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.core.errors import StaleClaim
from app.models.session import SessionTask, TaskType
from app.repositories import steps
from app.repositories.session_repository import SessionRepository
from app.tasks.steps import Steps, StepsInDatabase
from tests.integration.test_session_repository import (
    cancelled,
    cancelled_and_retried,
    deleted,
    released,
    released_and_claimed,
    rescued,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database
    from app.models.session import Session
    from app.values.claims import Claim

P, E = TaskType.PROCESSING, TaskType.EXPORT
TEMPORARY = {"error": "Away", "message": "away", "category": "temporary"}


def steps_of(database: Database, claim: Claim) -> Steps:
    store = StepsInDatabase(
        claim, lambda: database, patience_seconds=5, check=lambda: None
    )  # as `TaskContext` makes them
    return Steps(claim.task_type, store, check=lambda: None, max_bytes=1_000_000)


def kept(database: Database, session_id: uuid.UUID, task_type: TaskType = P) -> dict[str, str]:
    with database.driver_connection() as connection:
        return steps.kept(connection, session_id, task_type)


def claim_of(act: Callable[..., Any], session_id: uuid.UUID) -> Claim:
    (claim,) = (
        claim
        for claim in act(lambda s: s.claim_next(uuid.uuid4(), limit=100))
        if claim.session_id == session_id
    )
    return claim  # type: ignore[no-any-return]


def test_the_next_attempt_gets_what_the_last_kept(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    first = steps_of(database, claim)
    assert first.run("b", lambda: {"key": "a\0b"}) == {"key": "a\0b"}
    assert first.run("a", lambda: 2) == 2
    act(lambda s: s.fail_task(claim, TEMPORARY))
    act(lambda s: s.retry_task(claim.session_id))
    second = steps_of(database, claim_of(act, claim.session_id))
    assert second.run("b", lambda: pytest.fail("it ran again")) == {"key": "a\0b"}
    assert second.kept() == {"b": {"key": "a\0b"}, "a": 2}


@pytest.mark.parametrize(
    "lose",
    [rescued, cancelled, cancelled_and_retried, released, released_and_claimed, deleted],
    ids=lambda lose: lose.__name__,
)
def test_a_stale_claim_keeps_nothing(
    lose: Callable[..., None],
    act: Callable[..., Any],
    running: Callable[..., Claim],
    database: Database,
) -> None:
    claim = running()
    of_claim = steps_of(database, claim)
    of_claim.run("before", lambda: 1)
    lose(act, database, claim)
    with pytest.raises(StaleClaim) as caught:
        of_claim.run("after", lambda: 2)
    assert caught.value.session_id == claim.session_id
    assert set(kept(database, claim.session_id)) == ({"before"} if lose is not deleted else set())


def test_a_claim_whose_lease_a_crash_took_keeps_on(
    running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    with database.transaction() as db:
        db.execute(text("TRUNCATE session_task_leases"))
    assert steps_of(database, claim).run("a", lambda: 1) == 1
    assert kept(database, claim.session_id) == {"a": "1"}


def test_the_first_result_stays_where_a_keep_is_repeated(
    running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    with database.driver_connection() as connection:
        assert steps.keep(connection, claim, "a", "1")
        assert steps.keep(connection, claim, "a", "2")
    assert kept(database, claim.session_id) == {"a": "1"}


# -- when they go ---------------------------------------------------------------------------------


def completes(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.complete_task(claim))


def starts_again_after_failure(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.fail_task(claim, TEMPORARY))
    act(lambda s: s.start_task(claim.session_id, P))


def starts_again_after_cancel(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.cancel_task(claim.session_id))
    act(lambda s: s.start_task(claim.session_id, P))


def resets(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.fail_task(claim, TEMPORARY))
    act(lambda s: s.reset_retries(claim.session_id))


def retries(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.fail_task(claim, TEMPORARY))
    act(lambda s: s.retry_task(claim.session_id))


def retries_after_cancel(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.cancel_task(claim.session_id))
    act(lambda s: s.retry_task(claim.session_id))


def completes_as_object(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.get(claim.session_id).task.mark_completed())


def completes_and_advances_as_object(act: Callable[..., Any], claim: Claim) -> None:
    def change(_sessions: SessionRepository) -> None:
        task = SessionTask.find_active_for_session(claim.session_id)
        assert task is not None
        task.mark_completed()
        task.advance(E, uuid.uuid4())

    act(change)


def starts_again_as_object(act: Callable[..., Any], claim: Claim) -> None:
    act(lambda s: s.fail_task(claim, TEMPORARY))

    def change(_sessions: SessionRepository) -> None:
        task = SessionTask.find_failed_retryable(claim.session_id)
        assert task is not None
        task.mark_started(uuid.uuid4())  # the specification's way to retry

    act(change)


@pytest.mark.parametrize(
    ("move", "stays"),
    [
        (completes, ""),
        (starts_again_after_failure, "lasting"),
        (starts_again_after_cancel, "lasting"),
        (resets, "lasting"),
        (completes_as_object, ""),
        (completes_and_advances_as_object, ""),
        (retries, "a lasting"),
        (retries_after_cancel, "a lasting"),
        (starts_again_as_object, "a lasting"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_steps_stay_for_another_attempt_and_lasting_ones_until_the_task_completes(
    move: Callable[..., None],
    stays: str,
    act: Callable[..., Any],
    running: Callable[..., Claim],
    database: Database,
) -> None:
    claim, other = running(), running()
    steps_of(database, claim).run("a", lambda: 1)
    steps_of(database, claim).run("lasting", lambda: 1, lasting=True)
    steps_of(database, other).run("a", lambda: 2)
    move(act, claim)
    assert list(kept(database, claim.session_id)) == stays.split()
    assert kept(database, other.session_id) == {"a": "2"}


def test_the_next_type_begins_without_the_steps_of_the_last(
    act: Callable[..., Any], make_session: Callable[..., Session], database: Database
) -> None:
    """Even where the completion was written past everything, by plain SQL."""
    session_id = make_session().id
    act(lambda s: s.start_task(session_id, P))
    steps_of(database, claim_of(act, session_id)).run("a", lambda: 1)
    with database.transaction() as db:
        db.execute(text("UPDATE session_tasks SET status = 'completed', completed_at = now()"))
        db.execute(text("DELETE FROM session_task_leases"))
    act(lambda s: s.start_task(session_id, E))
    assert kept(database, session_id) == {}
    assert steps_of(database, claim_of(act, session_id)).kept() == {}


def test_steps_go_with_their_session(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    steps_of(database, claim).run("a", lambda: 1)
    act(lambda s: s.delete_session(claim.session_id))
    assert kept(database, claim.session_id) == {}
