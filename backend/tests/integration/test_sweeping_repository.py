"""The sweeper's work: lost workers, due retries, lost leases, lost messages, old sessions.

One file of more than 450 lines: one section for each of these.
"""

from __future__ import annotations

import threading
import uuid
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.models.session import TaskStatus, TaskType
from app.repositories.transitions import Transition
from app.values.claims import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.core.database import Database
    from app.models.session import Session

P = TaskType.PROCESSING
TEMPORARY = {"error": "Away", "message": "away", "category": "temporary"}
SECONDS = 60


@pytest.fixture
def claims(
    act: Callable[..., Any], make_session: Callable[..., Session]
) -> Callable[..., list[Claim]]:
    """Make sessions whose tasks are claimed, in the order of their ids."""

    def make(count: int, *, lease_seconds: float = 30) -> list[Claim]:
        ids = [make_session().id for _ in range(count)]
        act(lambda s: s.start_tasks([(session_id, P) for session_id in ids]))
        got: list[Claim] = act(
            lambda s: s.claim_next(uuid.uuid4(), limit=count, lease_seconds=lease_seconds)
        )
        assert len(got) == count
        return sorted(got, key=lambda claim: claim.session_id)

    return make


@pytest.fixture
def due(
    act: Callable[..., Any], claims: Callable[..., list[Claim]]
) -> Callable[[int], list[Claim]]:
    """Make sessions whose temporary failure is due to be retried."""

    def make(count: int) -> list[Claim]:
        made = claims(count)
        act(lambda s: s.fail_tasks([(claim, TEMPORARY) for claim in made], backoff_seconds=0))
        return made

    return make


def run_sql(database: Database, statement: str, **parameters: Any) -> list[Any]:
    with database.transaction() as db:
        result: Any = db.execute(text(statement), parameters)
        return list(result) if result.returns_rows else []


def refuse_to_touch(database: Database, session_ids: Sequence[uuid.UUID]) -> None:
    """Make rows that cannot be written, as a fault or a user's trigger might."""
    listed = ", ".join(f"'{session_id}'" for session_id in session_ids)
    run_sql(
        database,
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN "
        f"IF NEW.session_id IN ({listed}) THEN RAISE 'a bad row'; END IF; RETURN NEW; END$$",
    )
    run_sql(
        database,
        "CREATE TRIGGER refuse BEFORE UPDATE ON session_tasks "
        "FOR EACH ROW EXECUTE FUNCTION refuse()",
    )


def at_once(acts: Sequence[Callable[[], Any]]) -> list[Any]:
    results: list[Any] = [None] * len(acts)
    barrier = threading.Barrier(len(acts), timeout=SECONDS)

    def one(index: int) -> None:
        barrier.wait()
        try:
            results[index] = acts[index]()
        except Exception as error:  # noqa: BLE001 - shown to the test
            results[index] = error

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive()
    assert not [result for result in results if isinstance(result, Exception)], results
    return results


def statuses(moved: Sequence[Transition]) -> Counter[TaskStatus]:
    return Counter(transition.status for transition in moved)


# -- workers that died ----------------------------------------------------------------------------


def test_only_tasks_whose_lease_has_ended_are_rescued(
    act: Callable[..., Any], claims: Callable[..., list[Claim]]
) -> None:
    (alive,), (lost,) = claims(1), claims(1, lease_seconds=-1)
    moved = act(lambda s: s.rescue_expired())
    assert [t.session_id for t in moved] == [lost.session_id] * 2
    assert moved[0].failure_context["error"] == "worker_lost"
    assert moved[0].failure_context["worker"] == str(lost.worker_id)
    assert moved[1].task_id != lost.task_id
    assert act(lambda s: s.heartbeat([alive, lost])) == {alive.session_id}


@pytest.mark.parametrize("earlier", ["null", '"once"', "{}", "3", "[1]"])
def test_a_history_that_is_no_list_of_failures_keeps_no_run_from_being_rescued(
    act: Callable[..., Any],
    claims: Callable[..., list[Claim]],
    database: Database,
    earlier: str,
) -> None:
    (claim,) = claims(1, lease_seconds=0)
    run_sql(
        database,
        "UPDATE session_tasks SET failure_context = jsonb_build_object('earlier',"
        " cast(:earlier AS jsonb)) WHERE session_id = :id",
        earlier=earlier,
        id=claim.session_id,
    )
    rescued = act(lambda s: s.rescue_expired(limit=10))
    assert [run.session_id for run in rescued] == [claim.session_id] * 2


def test_bad_rows_hide_no_row_behind_them_from_rescue(
    act: Callable[..., Any],
    claims: Callable[..., list[Claim]],
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    lost = claims(8, lease_seconds=-1)
    bad = [claim.session_id for claim in lost[:4]]
    refuse_to_touch(database, bad)
    moved = act(lambda s: s.rescue_expired(limit=3))
    assert statuses(moved) == {TaskStatus.FAILED: 3, TaskStatus.RUNNING: 3}
    assert not {t.session_id for t in moved} & set(bad)
    moved = act(lambda s: s.rescue_expired(limit=3))
    assert statuses(moved) == {TaskStatus.FAILED: 1, TaskStatus.RUNNING: 1}
    for session_id in bad:
        assert f"Session {session_id} cannot be swept up" in caplog.text


def test_rows_that_somebody_holds_hide_no_row_behind_them(
    act: Callable[..., Any], claims: Callable[..., list[Claim]], database: Database
) -> None:
    lost = claims(6, lease_seconds=-1)
    held = [claim.session_id for claim in lost[:3]]
    with database.transaction() as db:
        db.execute(text("SELECT FROM sessions WHERE id = ANY(:ids) FOR UPDATE"), {"ids": held})
        moved = act(lambda s: s.rescue_expired(limit=3))
    assert {t.session_id for t in moved} == {claim.session_id for claim in lost[3:]}


# -- retries that wait ----------------------------------------------------------------------------


def test_a_temporary_failure_is_retried_when_its_time_has_come_and_not_before(
    act: Callable[..., Any], claims: Callable[..., list[Claim]], database: Database
) -> None:
    (claim,) = claims(1)
    act(lambda s: s.fail_task(claim, TEMPORARY, backoff_seconds=100))
    assert act(lambda s: s.retry_due()) == []
    ((wait,),) = run_sql(
        database,
        "SELECT extract(epoch FROM r.retry_at - t.failed_at) FROM session_task_retries r "
        "JOIN session_tasks t USING (session_id)",
    )
    assert 75 <= wait <= 125
    run_sql(database, "UPDATE session_task_retries SET retry_at = now()")
    (retried,) = act(lambda s: s.retry_due())
    assert (retried.session_id, retried.status) == (claim.session_id, TaskStatus.RUNNING)
    assert act(lambda s: s.retry_due()) == []
    assert run_sql(database, "SELECT * FROM session_task_retries") == []


@pytest.mark.parametrize("category", ["user_fixable", "admin_required"])
def test_failures_that_wait_for_a_person_are_not_retried(
    category: str, act: Callable[..., Any], claims: Callable[..., list[Claim]]
) -> None:
    (claim,) = claims(1)
    context = {**TEMPORARY, "category": category}
    act(lambda s: s.fail_task(claim, context, backoff_seconds=0))
    assert act(lambda s: s.retry_due()) == []


def test_the_third_failure_is_not_retried(
    act: Callable[..., Any], due: Callable[[int], list[Claim]]
) -> None:
    due(1)
    for _ in range(2):
        assert len(act(lambda s: s.retry_due())) == 1
        (claim,) = act(lambda s: s.claim_next(uuid.uuid4()))
        act(lambda s, c=claim: s.fail_task(c, TEMPORARY, backoff_seconds=0))
    assert act(lambda s: s.retry_due()) == []


def test_a_hint_that_is_out_of_date_retries_nothing_and_is_forgotten(
    act: Callable[..., Any], due: Callable[[int], list[Claim]], database: Database
) -> None:
    (claim,) = due(1)
    act(lambda s: s.retry_task(claim.session_id))  # a user retried it first
    act(lambda s: s.cancel_task(claim.session_id))
    assert act(lambda s: s.retry_due()) == []
    assert run_sql(database, "SELECT * FROM session_task_retries") == []
    assert act(lambda s: s.get(claim.session_id)).task.status == TaskStatus.CANCELLED


def test_bad_rows_hide_no_row_behind_them_from_retry(
    act: Callable[..., Any],
    due: Callable[[int], list[Claim]],
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = due(8)
    bad = [claim.session_id for claim in made[:4]]
    run_sql(
        database,
        "UPDATE session_task_retries SET retry_at = now() - interval '1 h'"
        " WHERE session_id = ANY(:ids)",
        ids=bad,
    )
    refuse_to_touch(database, bad)
    assert len(act(lambda s: s.retry_due(limit=3))) == 3
    assert len(act(lambda s: s.retry_due(limit=3))) == 1
    assert len(run_sql(database, "SELECT * FROM session_task_retries")) == 4
    assert f"Session {bad[0]} cannot be swept up" in caplog.text


def test_many_sweepers_retry_each_failure_once(
    act: Callable[..., Any], due: Callable[[int], list[Claim]]
) -> None:
    made = due(30)
    results = at_once([lambda: act(lambda s: s.retry_due())] * 8)
    retried = Counter(t.session_id for result in results for t in result)
    retried += Counter(t.session_id for t in act(lambda s: s.retry_due()))
    assert retried == Counter(claim.session_id for claim in made)


# -- leases that a database crash took ------------------------------------------------------------


def crash(database: Database) -> None:
    """Empty the UNLOGGED tables, as crash recovery does."""
    run_sql(
        database,
        "TRUNCATE session_task_leases, session_task_retries, session_task_lease_sentinel",
    )


def test_leases_and_waiting_retries_are_rebuilt_once_after_a_crash(
    act: Callable[..., Any],
    claims: Callable[..., list[Claim]],
    due: Callable[[int], list[Claim]],
    make_session: Callable[..., Session],
    database: Database,
) -> None:
    assert act(lambda s: s.rebuild_leases(lease_seconds=30)) == -1, "nothing was lost"
    held, failed, (done,) = claims(5), due(2), claims(1)
    act(lambda s: s.complete_task(done))
    waiting = make_session().id
    act(lambda s: s.start_task(waiting, P))
    crash(database)
    results = at_once([lambda: act(lambda s: s.rebuild_leases(lease_seconds=30))] * 6)
    assert sorted(results) == [-1, -1, -1, -1, -1, 6]
    rows = run_sql(database, "SELECT session_id FROM session_task_leases")
    assert {row.session_id for row in rows} == {c.session_id for c in held} | {waiting}
    assert act(lambda s: s.claim_next(uuid.uuid4(), limit=10)) == [], "kept for their owners"
    assert act(lambda s: s.retry_due()) == [], "their wait begins with the failure"
    run_sql(database, "UPDATE session_task_retries SET retry_at = now()")
    assert {t.session_id for t in act(lambda s: s.retry_due())} == {c.session_id for c in failed}


def test_a_session_that_is_locked_after_a_crash_holds_up_no_other(
    act: Callable[..., Any],
    claims: Callable[..., list[Claim]],
    due: Callable[[int], list[Claim]],
    database: Database,
) -> None:
    held, failed = claims(3), due(2)
    crash(database)
    with database.transaction() as db:
        for claim in (held[1], failed[1]):
            db.execute(
                text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": claim.session_id}
            )
        assert act(lambda s: s.rebuild_leases(lease_seconds=30)) == 2
    assert act(lambda s: s.rebuild_leases(lease_seconds=30)) == 1, "it is free now"
    assert act(lambda s: s.rebuild_leases(lease_seconds=30)) == -1, "all is there"
    for table, expected in (("session_task_leases", held), ("session_task_retries", failed)):
        rows = run_sql(database, f"SELECT session_id FROM {table}")
        assert {row.session_id for row in rows} == {claim.session_id for claim in expected}


def test_living_workers_take_their_own_back_and_the_rest_is_anybody_s_after_one_lease(
    act: Callable[..., Any], claims: Callable[..., list[Claim]], database: Database
) -> None:
    alive, dead = claims(2)
    crash(database)
    act(lambda s: s.rebuild_leases(lease_seconds=30))
    assert act(lambda s: s.claim_task(dead.session_id, dead.task_id, uuid.uuid4())) is None
    assert act(lambda s: s.heartbeat([alive])) == {alive.session_id}
    run_sql(database, "UPDATE session_task_leases SET enqueued_at = now() - interval '1 s'")
    (taken,) = act(lambda s: s.claim_next(uuid.uuid4(), limit=10))
    assert (taken.session_id, taken.task_id) == (dead.session_id, dead.task_id)
    assert act(lambda s: s.heartbeat([alive, dead])) == {alive.session_id}, "its time is over"
    assert act(lambda s: s.complete_task(alive)).status == TaskStatus.COMPLETED


@pytest.mark.parametrize("is_rebuilt", [False, True])
@pytest.mark.parametrize(
    "end",
    [lambda s, claim: s.complete_task(claim), lambda s, claim: s.fail_task(claim, TEMPORARY)],
    ids=["complete", "fail"],
)
def test_work_that_is_done_just_after_a_crash_is_not_lost(
    is_rebuilt: bool,
    end: Callable[..., Transition],
    act: Callable[..., Any],
    claims: Callable[..., list[Claim]],
    database: Database,
) -> None:
    (claim,) = claims(1)
    crash(database)
    if is_rebuilt:
        act(lambda s: s.rebuild_leases(lease_seconds=30))
    assert act(lambda s: end(s, claim)).task_id == claim.task_id
    assert run_sql(database, "SELECT * FROM session_task_leases") == []


# -- single leases that are missing ---------------------------------------------------------------


def lose_leases(database: Database, claims: Sequence[Claim], *, started: str) -> None:
    ids = [claim.session_id for claim in claims]
    run_sql(database, "DELETE FROM session_task_leases WHERE session_id = ANY(:ids)", ids=ids)
    run_sql(
        database,
        "UPDATE session_tasks SET started_at = now() - CAST(:started AS text)::interval "
        "WHERE session_id = ANY(:ids)",
        ids=ids,
        started=started,
    )


def test_a_task_that_runs_without_a_lease_gets_one_once_and_loses_no_attempt(
    act: Callable[..., Any], claims: Callable[..., list[Claim]], database: Database
) -> None:
    (kept,), lost, (young,) = claims(1), claims(2), claims(1)
    lose_leases(database, lost, started="31 s")
    lose_leases(database, [young], started="20 s")
    run_sql(
        database,
        "UPDATE session_tasks SET retry_count = 1 WHERE session_id = :id",
        id=lost[1].session_id,
    )
    results = at_once([lambda: act(lambda s: s.heal_leases(lease_seconds=30))] * 4)
    assert sum(results) == 2
    assert act(lambda s: s.heal_leases(lease_seconds=30)) == 0
    assert act(lambda s: s.claim_next(uuid.uuid4(), limit=10)) == [], "kept for their owners"
    assert act(lambda s: s.heartbeat([kept])) == {kept.session_id}
    run_sql(
        database,
        "UPDATE session_task_leases SET enqueued_at = now() - interval '1 s' "
        "WHERE claim_token IS NULL",
    )
    taken = act(lambda s: s.claim_next(uuid.uuid4(), limit=10))
    assert {(c.session_id, c.task_id, c.task_type, c.attempt) for c in taken} == {
        (claim.session_id, claim.task_id, P, attempt)
        for claim, attempt in zip(lost, (1, 2), strict=True)
    }
    for claim in taken:
        assert act(lambda s, c=claim: s.complete_task(c)).status == TaskStatus.COMPLETED


def test_a_worker_that_lives_takes_its_healed_lease_back(
    act: Callable[..., Any], claims: Callable[..., list[Claim]], database: Database
) -> None:
    (alive,) = claims(1)
    lose_leases(database, [alive], started="1 hour")
    assert act(lambda s: s.heal_leases(lease_seconds=30)) == 1
    assert act(lambda s: s.heartbeat([alive])) == {alive.session_id}
    assert act(lambda s: s.complete_task(alive)).status == TaskStatus.COMPLETED


@pytest.mark.parametrize(
    "lock",
    [
        "SELECT FROM sessions WHERE id = :id FOR UPDATE",
        "SELECT FROM session_tasks WHERE session_id = :id FOR UPDATE",
    ],
    ids=["session", "task"],
)
def test_a_row_without_a_lease_that_is_locked_holds_up_no_other(
    lock: str, act: Callable[..., Any], claims: Callable[..., list[Claim]], database: Database
) -> None:
    lost = claims(2)
    lose_leases(database, lost, started="1 hour")
    with database.transaction() as db:
        db.execute(text(lock), {"id": lost[0].session_id})
        assert act(lambda s: s.heal_leases(lease_seconds=30)) == 1
    assert act(lambda s: s.heal_leases(lease_seconds=30)) == 1, "it is free now"


# -- messages that were lost ----------------------------------------------------------------------


def test_tasks_that_nobody_picked_up_are_told_of_again_once(
    act: Callable[..., Any],
    make_session: Callable[..., Session],
    claims: Callable[..., list[Claim]],
    database: Database,
) -> None:
    claims(1)
    session_id = make_session().id
    started = act(lambda s: s.start_task(session_id, P))
    assert act(lambda s: s.redispatch(older_than_seconds=30)) == []
    run_sql(database, "UPDATE session_task_leases SET dispatched_at = now() - interval '1 min'")
    told = at_once([lambda: act(lambda s: s.redispatch(older_than_seconds=30))] * 4)
    assert [pair for pairs in told for pair in pairs] == [(session_id, started.task_id)]


def test_a_released_task_is_told_of_at_the_next_sweep(
    act: Callable[..., Any], claims: Callable[..., list[Claim]]
) -> None:
    (claim,) = claims(1)
    act(lambda s: s.release_task(claim))
    told = act(lambda s: s.redispatch(older_than_seconds=30))
    assert told == [(claim.session_id, claim.task_id)]


# -- sessions past their time ---------------------------------------------------------------------

WEEK = timedelta(days=7)


def age(database: Database, session_ids: Sequence[uuid.UUID], *, active: str = "8 days") -> None:
    run_sql(
        database,
        "UPDATE sessions SET created_at = now() - interval '9 days', "
        "updated_at = now() - CAST(:active AS text)::interval WHERE id = ANY(:ids)",
        ids=list(session_ids),
        active=active,
    )


def test_old_sessions_are_deleted_with_all_that_hangs_on_them_and_running_ones_never(
    act: Callable[..., Any],
    claims: Callable[..., list[Claim]],
    due: Callable[[int], list[Claim]],
    make_session: Callable[..., Session],
    database: Database,
) -> None:
    running, failed, done = claims(2), due(2), claims(1)
    act(lambda s: s.complete_task(done[0]))
    young, active, untouched = (make_session().id for _ in range(3))
    over = {*(claim.session_id for claim in (*failed, *done)), untouched}
    age(database, [*over, *(claim.session_id for claim in running)])
    age(database, [active], active="6 days")
    assert set(act(lambda s: s.delete_expired(retention=WEEK))) == over
    left = {row[0] for row in run_sql(database, "SELECT id FROM sessions")}
    assert left == {*(claim.session_id for claim in running), young, active}
    for table in ("session_tasks", "session_task_retries", "session_task_leases"):
        rows = run_sql(database, f"SELECT session_id FROM {table}")
        assert {row[0] for row in rows} <= left
    act(lambda s: s.complete_tasks([(claim, None) for claim in running]))
    assert act(lambda s: s.delete_expired(retention=WEEK)) == [], "its end was activity"


def test_deleting_survives_starts_and_other_sweepers(
    act: Callable[..., Any], make_session: Callable[..., Session], database: Database
) -> None:
    ids = [make_session().id for _ in range(60)]
    age(database, ids)
    started: list[uuid.UUID] = []

    def start(some: Sequence[uuid.UUID]) -> None:
        for session_id in some:
            (outcome,) = act(lambda s, i=session_id: s.start_tasks([(i, P)]))
            if isinstance(outcome, Transition):
                started.append(session_id)

    def delete() -> list[uuid.UUID]:
        return [
            gone
            for _ in range(12)
            for gone in act(lambda s: s.delete_expired(retention=WEEK, limit=7))
        ]

    results = at_once(
        [delete, delete, delete, lambda: start(ids[::-1][:40]), lambda: start(ids[:40])]
    )
    deleted = [session_id for gone in results[:3] for session_id in gone]
    deleted += delete()
    assert len(set(deleted)) == len(deleted)
    assert not set(deleted) & set(started), "a session was deleted while its task was running"
    left = {row[0] for row in run_sql(database, "SELECT id FROM sessions")}
    assert left == set(started) == set(ids) - set(deleted)
