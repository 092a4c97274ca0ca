"""The repository's guarantees: refusals, fencing, and atomic writes.

One file of more than 450 lines: one section for each guarantee of the class.
"""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import delete, func, insert, select, text, update

from app.core.errors import (
    ErrorCategory,
    SessionNotFound,
    StaleClaim,
    TaskConflict,
    TaskError,
    TaskValidationError,
)
from app.models.lease import SessionTaskLease
from app.models.session import Session, SessionStage, SessionTask, TaskStatus, TaskType
from app.repositories import transitions
from app.repositories.content_repository import ContentRepository
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.session_repository import SessionRepository
from app.values.results import TaskResults, TicketDraft
from tests.leases import lease_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database
    from app.repositories.transitions import Transition
    from app.values.claims import Claim

P, E, V = TaskType.PROCESSING, TaskType.EXPORT, TaskType.ADF_VALIDATION
TICKETS = TaskResults(
    tickets=[TicketDraft(f"Ticket {n}", '{"type":"doc"}', "a.md", n) for n in range(1, 4)]
)
TEMPORARY = {"error": "Away", "message": "away", "category": "temporary"}


def expire(database: Database, session_id: uuid.UUID) -> None:
    with database.transaction() as db:
        db.execute(
            text(
                "UPDATE session_task_leases SET leased_until = now() - interval '1 s'"
                " WHERE session_id = :id"
            ),
            {"id": session_id},
        )


def everything(database: Database) -> dict[str, list[Any]]:
    tables = ("sessions", "session_tasks", "session_task_leases", "session_task_retries", "tickets")
    with database.transaction() as db:
        return {
            name: list(db.scalars(text(f"SELECT CAST(t AS text) FROM {name} t ORDER BY 1")))
            for name in tables
        }


@pytest.mark.parametrize("has_row", [True, False])
def test_a_start_asks_the_row_and_not_the_stage(
    has_row: bool, act: Callable[..., Any], make_session: Callable[..., Session], database: Database
) -> None:
    """Rows that were written, or deleted, without the session's stage."""
    session_id = make_session().id
    with database.transaction() as db:
        if has_row:
            db.execute(insert(SessionTask).values(
                session_id=session_id, task_type=P, task_id=uuid.uuid4(),
                status=TaskStatus.CANCELLED, started_at=func.now(), retry_count=1,
            ))  # fmt: skip
        else:
            db.execute(update(Session).values(stage=SessionStage.EXPORT))
    started = act(lambda s: s.start_task(session_id, P))
    view = act(lambda s: s.get(session_id))
    assert (started.task_id, started.retry_count) == (view.task.task_id, int(has_row))
    assert view.stage == SessionStage.PROCESSING
    assert act(lambda s: lease_of(s, session_id)).task_id == started.task_id


def test_leases_go_with_their_sessions(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    stays, *others = (running() for _ in range(4))
    act(lambda s: s.delete_session(others[0].session_id))
    with database.transaction() as db:
        db.execute(delete(Session).where(Session.id != stays.session_id))
        assert db.scalars(select(SessionTaskLease.session_id)).all() == [stays.session_id]
    with database.transaction() as db:
        db.execute(text("TRUNCATE sessions CASCADE"))
        assert db.scalars(select(SessionTaskLease.session_id)).all() == []


# -- fencing --------------------------------------------------------------------------------------


def rescued(act: Callable[..., Any], database: Database, claim: Claim) -> None:
    expire(database, claim.session_id)
    assert act(lambda s: s.rescue_expired())


def cancelled(act: Callable[..., Any], _database: Database, claim: Claim) -> None:
    act(lambda s: s.cancel_task(claim.session_id))


def cancelled_and_retried(act: Callable[..., Any], _database: Database, claim: Claim) -> None:
    act(lambda s: s.cancel_task(claim.session_id))
    act(lambda s: s.retry_task(claim.session_id))


def released(act: Callable[..., Any], _database: Database, claim: Claim) -> None:
    act(lambda s: s.release_task(claim))


def released_and_claimed(act: Callable[..., Any], _database: Database, claim: Claim) -> None:
    act(lambda s: s.release_task(claim))
    assert act(lambda s: s.claim_next(uuid.uuid4()))


def deleted(act: Callable[..., Any], _database: Database, claim: Claim) -> None:
    act(lambda s: s.delete_session(claim.session_id))


@pytest.mark.parametrize(
    "lose",
    [rescued, cancelled, cancelled_and_retried, released, released_and_claimed, deleted],
    ids=lambda lose: lose.__name__,
)
@pytest.mark.parametrize(
    "write",
    [
        lambda s, claim: s.complete_task(claim, TICKETS),
        lambda s, claim: s.fail_task(claim, {"message": "late"}, TICKETS),
        lambda s, claim: s.report_progress(claim, 5, 10, "late"),
        lambda s, claim: s.release_task(claim),
    ],
    ids=["complete", "fail", "beat", "release"],
)
def test_a_stale_worker_can_write_nothing(
    lose: Callable[..., None],
    write: Callable[[SessionRepository, Claim], Any],
    act: Callable[..., Any],
    running: Callable[..., Claim],
    database: Database,
) -> None:
    claim = running()
    lose(act, database, claim)
    before = everything(database)
    with pytest.raises(StaleClaim) as caught:
        act(lambda s: write(s, claim))
    assert caught.value.session_id == claim.session_id
    assert everything(database) == before


def test_a_released_task_waits_again_and_has_cost_no_attempt(
    act: Callable[..., Any], running: Callable[..., Claim]
) -> None:
    claim = running()
    act(lambda s: s.report_progress(claim, 5, 10, "half"))
    act(lambda s: s.release_task(claim))
    view = act(lambda s: s.get(claim.session_id))
    assert (view.task.status, view.task.retry_count) == (TaskStatus.RUNNING, 0)
    lease = act(lambda s: lease_of(s, claim.session_id))
    assert (lease.claim_token, lease.progress_current) == (None, None)
    (again,) = act(lambda s: s.claim_next(uuid.uuid4()))
    assert (again.task_id, again.attempt) == (claim.task_id, 1)
    assert again.claim_token != claim.claim_token


def test_three_lost_workers_in_a_row_end_failed_and_never_in_a_loop(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    seen = [claim.task_id]
    for attempt in (1, 2, 3):
        expire(database, claim.session_id)
        moved: list[Transition] = act(lambda s: s.rescue_expired())
        again = [TaskStatus.RUNNING] if attempt < 3 else []
        assert [t.status for t in moved] == [TaskStatus.FAILED, *again]
        if attempt < 3:
            (claim,) = act(lambda s: s.claim_next(uuid.uuid4()))
            assert claim.attempt == attempt + 1
            assert claim.task_id not in seen
            seen.append(claim.task_id)
    view = act(lambda s: s.get(claim.session_id))
    assert (view.task.status, view.task.retry_count) == (TaskStatus.FAILED, 3)
    assert act(lambda s: lease_of(s, claim.session_id)) is None
    context = view.task.failure_context
    assert context["error"] == "worker_lost"
    assert [earlier["error"] for earlier in context["earlier"]] == ["worker_lost", "worker_lost"]
    assert all("earlier" not in earlier for earlier in context["earlier"])
    assert act(lambda s: s.rescue_expired()) == []
    assert act(lambda s: s.claim_next(uuid.uuid4())) == []
    with pytest.raises(TaskValidationError, match="Maximum retry attempts") as caught:
        act(lambda s: s.retry_task(claim.session_id))
    assert caught.value.category == ErrorCategory.ADMIN_REQUIRED
    act(lambda s: s.reset_retries(claim.session_id))
    assert act(lambda s: s.retry_task(claim.session_id)).retry_count == 0


# -- written together, or not at all --------------------------------------------------------------


def test_completion_results_and_the_next_start_are_one_transaction(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running(auto_advance=True)
    done = act(lambda s: s.complete_task(claim, TICKETS))
    assert (done.status, done.task_type) == (TaskStatus.COMPLETED, P)
    with database.transaction() as db:
        assert list(ContentRepository(db).tickets(claim.session_id)) == list(TICKETS.tickets)
    view = act(lambda s: s.get(claim.session_id))
    assert (view.task.task_type, view.task.status) == (E, TaskStatus.RUNNING)
    assert view.stage == SessionStage.EXPORT
    assert act(lambda s: lease_of(s, view.id)).task_id == view.task.task_id


def test_a_session_keeps_how_long_each_task_took(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running(auto_advance=True)
    with database.transaction() as db:
        db.execute(text("UPDATE session_tasks SET started_at = started_at - interval '7 s'"))
        db.execute(text("UPDATE session_task_leases SET claimed_at = claimed_at - interval '5 s'"))
    act(lambda s: s.complete_task(claim))
    of_processing = act(lambda s: s.get(claim.session_id)).stage_times[P]
    assert 2 <= of_processing.waited_seconds < 3
    assert 5 <= of_processing.ran_seconds < 60

    later = act(lambda s: s.claim_next(uuid.uuid4(), lease_seconds=30))
    act(lambda s: s.fail_task(later[0], TEMPORARY))
    assert list(act(lambda s: s.get(claim.session_id)).stage_times) == [P]
    act(lambda s: s.retry_task(claim.session_id))
    again = act(lambda s: s.claim_next(uuid.uuid4(), lease_seconds=30))
    act(lambda s: s.complete_task(again[0]))
    times = act(lambda s: s.get(claim.session_id)).stage_times
    assert list(times) == [P, E]
    assert times[P] == of_processing


def test_where_the_results_cannot_be_written_nothing_has_moved(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running(auto_advance=True)
    before = everything(database)
    bad = TicketDraft("A description", "no JSON", "a.md", 4)
    with pytest.raises(psycopg.DataError):
        act(lambda s: s.complete_task(claim, TaskResults(tickets=[*TICKETS.tickets, bad])))
    assert everything(database) == before
    assert act(lambda s: s.complete_task(claim, TICKETS)).status == TaskStatus.COMPLETED


def test_sessions_go_on_by_themselves_only_where_they_should(
    act: Callable[..., Any], running: Callable[..., Claim]
) -> None:
    claim = running(auto_advance=False)
    act(lambda s: s.complete_task(claim))
    view = act(lambda s: s.get(claim.session_id))
    assert (view.task.status, view.stage) == (TaskStatus.COMPLETED, SessionStage.PROCESSING)
    claim = running(auto_advance=True)
    for expected in (E, V):
        act(lambda s, c=claim: s.complete_task(c))
        (claim,) = act(lambda s: s.claim_next(uuid.uuid4()))
        assert claim.task_type == expected
    act(lambda s: s.complete_task(claim))
    view = act(lambda s: s.get(claim.session_id))
    assert (view.task.status, view.stage) == (TaskStatus.COMPLETED, SessionStage.COMPLETED)
    assert act(lambda s: lease_of(s, view.id)) is None


class ChangedMyMind(Exception):  # noqa: N818 - not an error of the product
    pass


@pytest.mark.parametrize(
    "write",
    [
        lambda s, claim: s.complete_task(claim, TICKETS),
        lambda s, claim: s.fail_task(claim, TEMPORARY),
        lambda s, claim: s.cancel_task(claim.session_id),
        lambda s, claim: s.report_progress(claim, 1),
        lambda s, claim: s.release_task(claim),
        lambda s, claim: s.delete_session(claim.session_id),
        lambda s, claim: s.heartbeat([claim]),
    ],
    ids=["complete", "fail", "cancel", "progress", "release", "delete", "heartbeat"],
)
def test_a_transaction_that_is_rolled_back_leaves_nothing_and_tells_nobody(
    write: Callable[[SessionRepository, Claim], Any],
    running: Callable[..., Claim],
    database: Database,
    caplog: pytest.LogCaptureFixture,
) -> None:
    claim = running(auto_advance=True)
    before = everything(database)
    told: list[frozenset[uuid.UUID]] = []
    end = database.subscribe(told.append)
    caplog.set_level(logging.DEBUG, "app")
    caplog.clear()
    with pytest.raises(ChangedMyMind), database.transaction() as db:
        write(SessionRepository(db), claim)
        raise ChangedMyMind
    end()
    assert everything(database) == before
    assert told == []
    assert [r for r in caplog.records if r.name in {"app.session_task", "app.audit"}] == []


def test_logs_and_watchers_hear_of_a_transition_after_its_commit(
    make_session: Callable[..., Session], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    session_id = make_session().id
    told: list[frozenset[uuid.UUID]] = []
    end = database.subscribe(told.append)
    caplog.set_level(logging.INFO, "app")
    with database.transaction() as db:
        with db.begin_nested():
            started = SessionRepository(db).start_task(session_id, P)
        assert told == [], "a savepoint is not a commit"
        assert "started" not in caplog.text
    end()
    assert told == [frozenset({session_id})]
    line = f"SessionTask processing started for session {session_id}, task_id: {started.task_id}"
    assert line in caplog.text


def test_a_savepoint_that_is_rolled_back_takes_its_news_along(
    make_session: Callable[..., Session], database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = make_session().id, make_session().id
    caplog.set_level(logging.INFO, "app")
    with database.transaction() as db:
        sessions = SessionRepository(db)
        sessions.start_task(first, P)
        savepoint = db.begin_nested()
        sessions.start_task(second, P)
        savepoint.rollback()
    assert f"started for session {first}" in caplog.text
    assert f"started for session {second}" not in caplog.text


# -- access ---------------------------------------------------------------------------------------


def test_another_owner_s_session_is_as_absent_as_none(database: Database) -> None:
    with database.transaction() as db:
        hers = SessionRepository(db, owner="ada")
        theirs = hers.create_session().id
        hers.start_task(theirs, P)
    with database.transaction() as db:
        mine = SessionRepository(db, owner="bob")
        for attempt in (
            lambda: mine.get(theirs),
            lambda: mine.start_task(theirs, P),
            lambda: mine.cancel_task(theirs),
            lambda: mine.retry_task(theirs),
            lambda: mine.reset_retries(theirs),
            lambda: mine.delete_session(theirs),
            lambda: mine.change_options(theirs, {"split_level": 1}),
        ):
            with pytest.raises(SessionNotFound):
                attempt()
        assert SessionQueries(db, owner="bob").page(SessionFilter(), limit=9) == []
        assert mine.find_by_prefix(str(theirs)[:8]) == []
        hers = SessionRepository(db, owner="ada")
        assert hers.get(theirs).task is not None
        assert hers.find_by_prefix(str(theirs)[:13]) == [theirs]
        assert hers.cancel_task(theirs).status == TaskStatus.CANCELLED


def test_an_act_on_what_was_seen_happens_only_while_it_is_so(
    act: Callable[..., Any], running: Callable[..., Claim]
) -> None:
    claim = running()
    with pytest.raises(TaskValidationError, match="moved on"):
        act(lambda s: s.cancel_task(claim.session_id, expected_task_id=uuid.uuid4()))
    act(lambda s: s.cancel_task(claim.session_id, expected_task_id=claim.task_id))
    with pytest.raises(TaskValidationError, match="moved on"):
        act(lambda s: s.retry_task(claim.session_id, expected_task_id=uuid.uuid4()))
    assert act(lambda s: s.retry_task(claim.session_id, expected_task_id=claim.task_id))


def test_a_session_that_is_named_twice_gets_one_start_and_one_conflict(
    act: Callable[..., Any], make_session: Callable[..., Session]
) -> None:
    one, other = make_session().id, make_session().id
    outcomes = act(lambda s: s.start_tasks([(one, P), (one, P), (uuid.uuid4(), P), (other, E)]))
    kinds = [type(outcome).__name__ for outcome in outcomes]
    assert kinds == ["Transition", "TaskConflict", "SessionNotFound", "TaskValidationError"]


def test_starts_of_more_than_one_statement_are_answered_in_the_order_they_were_asked(
    act: Callable[..., Any],
    make_session: Callable[..., Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(transitions, "STARTS_PER_STATEMENT", 3)
    ids = [make_session().id for _ in range(7)]
    unknown = uuid.uuid4()
    outcomes = act(lambda s: s.start_tasks([(each, P) for each in [*ids[:4], unknown, *ids[4:]]]))
    assert isinstance(outcomes.pop(4), SessionNotFound)
    assert [outcome.session_id for outcome in outcomes] == ids


def test_a_start_that_stands_under_its_task_id_may_be_repeated(
    act: Callable[..., Any], make_session: Callable[..., Session]
) -> None:
    session_id, task_id = make_session().id, uuid.uuid4()
    first, second = (act(lambda s: s.start_as([(session_id, P, task_id)]))[0] for _ in range(2))
    assert first.task_id == second.task_id == task_id
    assert isinstance(act(lambda s: s.start_as([(session_id, P, uuid.uuid4())]))[0], TaskConflict)


def test_a_start_that_is_repeated_begins_nothing_that_has_ended_since(
    act: Callable[..., Any], make_session: Callable[..., Session]
) -> None:
    session_id, task_id = make_session().id, uuid.uuid4()
    act(lambda s: s.start_as([(session_id, P, task_id)]))
    act(lambda s: s.cancel_task(session_id))
    (repeated,) = act(lambda s: s.start_as([(session_id, P, task_id)]))
    assert repeated.task_id == task_id
    assert act(lambda s: s.get(session_id)).task.status == TaskStatus.CANCELLED
    assert act(lambda s: lease_of(s, session_id)) is None


def test_a_start_that_is_repeated_after_the_session_went_on_counts_as_started(
    act: Callable[..., Any], running: Callable[..., Claim]
) -> None:
    claim = running(auto_advance=True)
    act(lambda s: s.complete_task(claim))
    (repeated,) = act(lambda s: s.start_as([(claim.session_id, P, claim.task_id)]))
    assert repeated.task_id == claim.task_id
    assert act(lambda s: s.get(claim.session_id)).task.task_type == E


def test_every_refusal_says_what_to_do_next(
    act: Callable[..., Any], running: Callable[..., Claim], make_session: Callable[..., Session]
) -> None:
    claim, fresh = running(), make_session().id
    for attempt in (
        lambda s: s.start_task(claim.session_id, P),
        lambda s: s.start_task(fresh, E),
        lambda s: s.start_task(uuid.uuid4(), P),
        lambda s: s.cancel_task(fresh),
        lambda s: s.reset_retries(claim.session_id),
    ):
        with pytest.raises(TaskError) as caught:
            act(attempt)
        assert caught.value.next_step


# -- reads ----------------------------------------------------------------------------------------


def test_what_was_loaded_before_a_transition_is_true_after_it(
    database: Database, make_session: Callable[..., Session]
) -> None:
    session_id = make_session().id
    with database.transaction() as db:
        sessions = SessionRepository(db)
        view = sessions.get(session_id)
        started = sessions.start_task(session_id, P)
        claim = sessions.claim_task(session_id, started.task_id, uuid.uuid4())
        assert claim is not None
        during = sessions.get(session_id)
        assert lease_of(sessions, session_id) is not None
        sessions.complete_task(claim)
        assert view.stage == SessionStage.PROCESSING
        assert during.task is not None
        assert during.task.status == TaskStatus.COMPLETED
        assert lease_of(sessions, session_id) is None
    assert view.id == session_id, "readable after the transaction"
    assert during.task.status == TaskStatus.COMPLETED


def test_options_change_one_by_one(
    act: Callable[..., Any], make_session: Callable[..., Session]
) -> None:
    session_id = make_session(options={"a": 1, "b": 2}).id
    act(lambda s: s.change_options(session_id, {"b": 3}))
    assert act(lambda s: s.get(session_id)).options == {"a": 1, "b": 3}


@pytest.mark.parametrize("prefix", ["", "xyz", "%", "_", "0" * 40, "-"])
def test_a_prefix_that_is_none_finds_nothing(
    prefix: str, act: Callable[..., Any], make_session: Callable[..., Session]
) -> None:
    make_session()
    assert act(lambda s: s.find_by_prefix(prefix)) == []


@pytest.mark.parametrize("owner", [None, "ada"])
def test_lists_go_from_the_newest_to_the_oldest_page_by_page(
    database: Database, owner: str | None
) -> None:
    with database.transaction() as db:
        sessions = SessionRepository(db, owner="ada")
        ids = [sessions.create_session(label=f"{n}").id for n in range(5)]
    seen: list[uuid.UUID] = []
    before = None
    with database.transaction() as db:
        queries = SessionQueries(db, owner=owner)
        while page := queries.page(SessionFilter(), limit=2, before=before):
            seen += [session.session_id for session in page]
            before = (page[-1].created_at, page[-1].session_id)
    assert seen == ids[::-1]


def test_progress_that_postgres_could_not_hold_costs_nobody_a_lease(
    act: Callable[..., Any], running: Callable[..., Claim]
) -> None:
    claim = running()
    act(lambda s: s.report_progress(claim, 2**70, -5, "\x00\ud800" + "é" * 900))
    lease = act(lambda s: lease_of(s, claim.session_id))
    assert lease.progress_current == 2**63 - 1
    assert lease.progress_total == 0
    assert len(lease.progress_message) == 500


def test_of_two_claims_on_one_run_the_one_that_holds_writes(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    for in_order in (lambda pair: pair, reversed):
        old = running()
        act(lambda s, old=old: s.release_task(old))
        new = act(lambda s, old=old: s.claim_task(old.session_id, old.task_id, uuid.uuid4()))
        wanted = list(in_order([(old, TaskResults()), (new, TICKETS)]))
        outcomes = dict(
            zip(
                [claim for claim, _ in wanted],
                act(lambda s, wanted=wanted: s.complete_tasks(wanted)),
                strict=True,
            )
        )
        assert isinstance(outcomes[old], StaleClaim)
        assert outcomes[new].status == TaskStatus.COMPLETED
        with database.transaction() as db:
            assert ContentRepository(db).counts(old.session_id).tickets == 3


def test_a_stored_failure_says_nothing_of_attempts_that_may_change(
    act: Callable[..., Any], running: Callable[..., Claim], database: Database
) -> None:
    claim = running()
    for attempt in (1, 2, 3):
        context = act(lambda s, claim=claim: s.fail_task(claim, TEMPORARY)).failure_context
        assert (context["attempt"], context["next_step"]) == (attempt, "")
        if attempt < 3:
            again = act(lambda s, claim=claim: s.retry_task(claim.session_id))
            claim = act(
                lambda s, again=again: s.claim_task(again.session_id, again.task_id, uuid.uuid4())
            )
    act(lambda s: s.reset_retries(claim.session_id))
    assert act(lambda s: s.get(claim.session_id)).task.failure_context == context


def test_acts_on_many_leave_out_what_another_transaction_has_locked(
    database: Database, act: Callable[..., Any], running: Callable[..., Claim]
) -> None:
    claims = [running() for _ in range(3)]
    runs = [(claim.session_id, claim.task_id) for claim in claims]
    locked, *others = [claim.session_id for claim in claims]
    with database.transaction() as db:
        db.execute(text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": locked})
        moved = act(lambda s: s.cancel_tasks(runs))
        assert {each.session_id for each in moved} == set(others)
        moved = act(lambda s: s.retry_tasks(runs))
        assert {each.session_id for each in moved} == set(others)
    assert [each.session_id for each in act(lambda s: s.cancel_tasks(runs))] == [locked]
