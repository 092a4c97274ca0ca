"""Steps that are kept while the claim is lost, on real connections."""

from __future__ import annotations

import uuid
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from chaos.waiting import until
from psycopg import Connection, connect
from sqlalchemy import text

from app.core.database import Database
from app.core.errors import StaleClaim
from app.models.session import TaskType
from app.repositories import steps, transitions
from app.repositories.session_repository import SessionRepository
from app.tasks.steps import Steps, StepsInDatabase
from tests.concurrency.conftest import plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.values.claims import Claim
    from tests.concurrency.conftest import LossyProxy

ROUNDS = 40


def _steps(database: Database, claim: Claim) -> Steps:
    store = StepsInDatabase(claim, lambda: database, patience_seconds=30, check=lambda: None)
    return Steps(claim.task_type, store, check=lambda: None, max_bytes=1_000_000)


def _rescue_and_claim(database: Database, session_id: uuid.UUID) -> dict[str, str]:
    """Take the task over, and return the steps that the new run is handed."""
    claims: list[Claim] = []
    while not claims:
        with database.transaction() as db:
            SessionRepository(db).rescue_expired()  # and begin the next attempt
        with database.transaction() as db:
            claims = SessionRepository(db).claim_next(uuid.uuid4())
    assert [claim.session_id for claim in claims] == [session_id]
    with database.driver_connection() as connection:
        return steps.kept(connection, session_id, TaskType.PROCESSING)


def test_the_next_run_is_handed_all_that_the_last_one_kept_and_no_more(
    database: Database, claimed: Callable[..., Claim], race: Callable[..., list[Any]]
) -> None:
    """A step that is kept while the claim is lost is kept and handed on, or neither."""
    for _ in range(ROUNDS):
        claim = claimed()
        mine = _steps(database, claim)
        with database.transaction() as db:
            db.execute(
                text("UPDATE session_task_leases SET leased_until = now() WHERE session_id = :id"),
                {"id": claim.session_id},
            )

        def keep_until_stale(mine: Steps = mine) -> int:
            for number in range(10_000):
                try:
                    mine.run(str(number), lambda: None)
                except StaleClaim:
                    return number
            return pytest.fail("it was never stale")

        kept_count, handed = race(
            [
                keep_until_stale,
                lambda session_id=claim.session_id: _rescue_and_claim(database, session_id),
            ]
        )
        assert set(handed) == {str(number) for number in range(kept_count)}
        with database.driver_connection() as connection:
            assert steps.kept(connection, claim.session_id, TaskType.PROCESSING) == handed


def test_keeping_never_deadlocks_with_what_ends_the_claim(
    database: Database, claimed: Callable[..., Claim], race: Callable[..., list[Any]]
) -> None:
    ends: list[Callable[[SessionRepository, Claim], Any]] = [
        lambda s, claim: s.cancel_task(claim.session_id),
        lambda s, claim: s.complete_task(claim),
        lambda s, claim: s.delete_session(claim.session_id),
        lambda s, claim: s.heartbeat([claim]),
        lambda s, claim: s.release_task(claim),
    ]
    for number in range(ROUNDS):
        claim = claimed()
        mine = _steps(database, claim)

        def end(claim: Claim = claim, number: int = number) -> None:
            with database.transaction() as db:
                ends[number % len(ends)](SessionRepository(db), claim)

        outcomes = race([end, *(lambda n=n, m=mine: m.run(str(n), lambda: n) for n in range(4))])
        assert [each for each in outcomes[1:] if not isinstance(each, (int, StaleClaim))] == []
        assert outcomes[0] is None


@pytest.mark.parametrize("before", [True, False], ids=["statement lost", "answer lost"])
def test_a_step_whose_commit_is_in_doubt_is_kept_once_and_not_run_again(
    before: bool,
    database: Database,
    through_proxy: Database,
    proxy: LossyProxy,
    claimed: Callable[..., Claim],
) -> None:
    claim = claimed()
    mine = _steps(through_proxy, claim)
    mine.run("first", lambda: 0)
    ran: list[int] = []
    proxy.lose_next(b"session_task_steps", before=before)
    mine.run("second", lambda: ran.append(1))
    assert (ran, proxy.cuts) == ([1], 1)
    assert list(_steps(database, claim).kept()) == ["first", "second"]


@pytest.fixture
def waiter(
    database: Database,
) -> Iterator[Callable[[Connection, Callable[[Connection], Any]], Future[Any]]]:
    """Do something on a connection of its own that must wait for what `holder` has locked."""

    def begin(holder: Connection, act: Callable[[Connection], Any]) -> Future[Any]:
        outcome = pool.submit(act, connection)
        with connect(plain(database.url), autocommit=True) as observer:
            blocked_by = "SELECT %s = ANY(pg_blocking_pids(%s))"
            pids = (holder.info.backend_pid, connection.info.backend_pid)
            until(
                lambda: outcome.done() or observer.execute(blocked_by, pids).fetchall()[0][0],
                "it waits",
            )
        assert not outcome.done(), "it did not wait"
        return outcome

    with connect(plain(database.url), autocommit=True) as connection, ThreadPoolExecutor(1) as pool:
        yield begin


def test_what_ends_a_claim_waits_for_a_step_that_is_being_kept(
    database: Database, claimed: Callable[..., Claim], waiter: Callable[..., Future[Any]]
) -> None:
    claim = claimed()
    with connect(plain(database.url)) as keeping:
        # Not in autocommit, so that the step stays uncommitted.
        assert steps.keep(keeping, claim, "a", "1")
        completed = waiter(keeping, lambda other: transitions.complete(other, [claim]))
        keeping.commit()
        assert [moved.task_id for moved in completed.result(30)] == [claim.task_id]


def test_a_step_that_waited_for_the_end_of_its_claim_is_not_kept(
    database: Database, claimed: Callable[..., Claim], waiter: Callable[..., Future[Any]]
) -> None:
    claim = claimed()
    with connect(plain(database.url)) as ending:
        assert transitions.cancel(ending, [(claim.session_id, None)])
        kept = waiter(ending, lambda other: steps.keep(other, claim, "a", "1"))
        ending.commit()
        assert kept.result(30) is False


def test_a_step_that_waits_for_a_session_locks_nothing_that_its_deletion_needs(
    database: Database, claimed: Callable[..., Claim], waiter: Callable[..., Future[Any]]
) -> None:
    claim = claimed()
    with connect(plain(database.url)) as deleting:
        one = (claim.session_id,)
        deleting.execute("SELECT id FROM sessions WHERE id = %s FOR UPDATE", one)
        kept = waiter(deleting, lambda other: steps.keep(other, claim, "a", "1"))
        deleting.execute("DELETE FROM sessions WHERE id = %s", one)
        deleting.commit()
        assert kept.result(30) is False
