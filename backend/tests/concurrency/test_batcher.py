"""The batcher on a real database: overlapping batches, bad rows, and lost responses.

One file of more than 450 lines: its tests share locks, cut connections and workers.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import importlib
import sys
import threading
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from chaos.waiting import until
from sqlalchemy import make_url, text

from app.core.config import Settings
from app.core.database import Database
from app.core.errors import (
    DatabaseBusy,
    DatabaseUnavailable,
    SessionNotFound,
    StaleClaim,
    TaskConflict,
    TaskValidationError,
)
from app.engines.connections import vital_database
from app.models.session import Session, TaskStatus, TaskType
from app.repositories import operations, transitions
from app.repositories.batcher import AsyncTransitionBatcher, TransitionBatcher
from app.repositories.batching import DeferredResult
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.creation import SessionDraft
from app.repositories.lifecycle_log import observe_transitions
from app.repositories.local_dispatch import offering
from app.repositories.session_repository import SessionRepository, successor_id
from app.repositories.transitions import ClaimRequest, Heartbeat, Transition, claim_these
from app.values.results import TaskResults

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from app.values.claims import Claim

P = TaskType.PROCESSING
SECONDS = 60


class WorkerHere:
    """A worker that accepts any run, and records the runs it is given and those it must look up."""

    def __init__(self) -> None:
        self.id = uuid.uuid4()
        self.claims: list[Claim] = []
        self.wishes: list[ClaimRequest] = []

    def takes(self, session_id: uuid.UUID, task_type: TaskType) -> bool:
        return True

    def has_slots_for(self, starts: object) -> bool:
        return True

    def dispatch_local(self, claims: Sequence[Claim], *, claimed_at: float) -> None:
        self.claims.extend(claims)

    def look_for(self, wishes: Sequence[ClaimRequest]) -> None:
        self.wishes.extend(wishes)

    def on_sessions_changed(self, session_ids: frozenset[uuid.UUID]) -> None:
        pass


def raw(database: Database) -> psycopg.Connection[Any]:
    url = make_url(database.url).set(drivername="postgresql").render_as_string(False)
    return psycopg.connect(url, autocommit=True)


def wait_until(connection: psycopg.Connection[Any], condition: str) -> None:
    pause = threading.Event()
    for _ in range(SECONDS * 100):
        row = connection.execute(condition).fetchone()
        if row is not None and row[0]:
            return
        pause.wait(0.01)
    pytest.fail(f"did not happen in time: {condition}")


IS_HELD_UP = """SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND wait_event = 'advisory' AND datname = current_database())"""


def hold_up_commits(holder: psycopg.Connection[Any], condition: str) -> None:
    """Block the first commit of such a start until the holder releases its lock."""
    holder.execute(
        "CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql AS "
        "$$BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END$$"
    )
    holder.execute(
        "CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT ON session_tasks DEFERRABLE"
        f" INITIALLY DEFERRED FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION wait_at_commit()"
    )
    holder.execute("SELECT pg_advisory_lock(4711)")


def task_of(database: Database, session_id: uuid.UUID) -> Any:
    with database.transaction() as db:
        return SessionRepository(db).get(session_id).task


def test_a_claim_that_is_completed_by_many_callers_at_once_completes_once(
    database: Database, claimed: Callable[..., Claim], race: Callable[..., list[Any]]
) -> None:
    batcher, claim = TransitionBatcher(database), claimed()
    outcomes = race([lambda: batcher.complete_task(claim)] * 8)
    assert Counter(map(type, outcomes)) == {Transition: 1, StaleClaim: 7}


def test_each_caller_gets_the_answer_that_is_its_own(
    database: Database, make_session: Callable[..., Session], race: Callable[..., list[Any]]
) -> None:
    batcher = TransitionBatcher(database)
    ids = [make_session().id for _ in range(12)]
    with database.transaction() as db:
        SessionRepository(db).start_task(ids[0], P)
    wanted = [(session_id, P) for session_id in ids] + [(ids[1], TaskType.EXPORT)]
    outcomes = race([lambda w=w: batcher.start_task(*w) for w in wanted])
    assert isinstance(outcomes[0], TaskConflict)
    assert isinstance(outcomes[-1], (TaskValidationError, TaskConflict))
    for session_id, outcome in zip(ids[1:], outcomes[1:-1], strict=True):
        assert outcome.session_id == session_id
        assert task_of(database, session_id).task_id == outcome.task_id


def test_callers_in_an_event_loop_live_whole_lives_and_each_hears_of_its_own(
    database: Database, make_session: Callable[..., Session]
) -> None:
    batcher = AsyncTransitionBatcher(database)
    worker_id = uuid.uuid4()

    async def live(session_id: uuid.UUID) -> Transition:
        started = await batcher.start_task(session_id, P)
        claim = await batcher.claim_task(session_id, started.task_id, worker_id)
        assert claim is not None
        await batcher.report_progress(claim, 1, 2)
        return await batcher.complete_task(claim)

    async def live_all() -> list[Any]:
        ids = [make_session().id for _ in range(20)]
        unknown = uuid.uuid4()
        return await asyncio.gather(*map(live, [*ids, unknown]), return_exceptions=True)

    *done, refused = asyncio.run(live_all())
    batcher.close()
    assert [each.status for each in done] == [TaskStatus.COMPLETED] * 20
    assert isinstance(refused, SessionNotFound)


def test_a_failure_and_a_stale_claim_are_told_in_an_event_loop_too(
    database: Database, claimed: Callable[..., Claim]
) -> None:
    batcher, claim = AsyncTransitionBatcher(database), claimed()
    failed = asyncio.run(batcher.fail_task(claim, {"error": "E", "message": "m"}))
    assert (failed.status, failed.retry_count) == (TaskStatus.FAILED, 1)
    for act in (batcher.complete_task, batcher.report_progress):
        with pytest.raises(StaleClaim):
            asyncio.run(act(claim))
    batcher.close()


def test_a_start_is_observed_in_the_context_of_its_own_caller(
    database: Database, make_session: Callable[..., Session]
) -> None:
    """Log lines and spans belong to their own request, though one statement serves many."""
    caller: contextvars.ContextVar[uuid.UUID | None] = contextvars.ContextVar("caller")
    observed: dict[uuid.UUID, uuid.UUID | None] = {}
    ids = [make_session().id for _ in range(8)]
    batcher = AsyncTransitionBatcher(database)

    async def start(session_id: uuid.UUID) -> None:
        caller.set(session_id)
        await batcher.start_task(session_id, P)

    async def start_all() -> None:
        await asyncio.gather(*(start(session_id) for session_id in ids))

    def on_transitions(moved: Sequence[Transition]) -> None:
        observed.update({each.session_id: caller.get(None) for each in moved})

    unobserve = observe_transitions(on_transitions)
    with Database(database.settings, database.url) as elsewhere, elsewhere.transaction() as db:
        db.execute(text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": ids[0]})
        started = threading.Thread(target=asyncio.run, args=[start_all()])
        started.start()
        until(lambda: len(observed) == len(ids) - 1, "those that nobody has locked")
    started.join()
    unobserve()
    batcher.close()
    assert observed == {session_id: session_id for session_id in ids}


@pytest.mark.parametrize(
    ("module", "name", "current"),
    [
        ("app.repositories.combiner", "TransitionCombiner", TransitionBatcher),
        ("app.repositories.combiner", "AsyncTransitionCombiner", AsyncTransitionBatcher),
        ("app.models.results", "TaskResults", TaskResults),
    ],
)
def test_the_former_names_are_the_same_classes_and_warn(
    module: str, name: str, current: type
) -> None:
    sys.modules.pop(module, None)
    with pytest.deprecated_call():
        former = importlib.import_module(module)
    assert getattr(former, name) is current


def test_one_bad_row_fails_for_its_own_caller_only(
    database: Database, make_session: Callable[..., Session], race: Callable[..., list[Any]]
) -> None:
    batcher = TransitionBatcher(database)
    ids = [make_session().id for _ in range(12)]
    with database.transaction() as db:
        db.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                f"$$BEGIN IF NEW.session_id = '{ids[5]}' THEN RAISE 'a bad row'; END IF; "
                "RETURN NEW; END$$"
            )
        )
        db.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON session_tasks "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        )
    outcomes = race([lambda s=s: batcher.start_task(s, P) for s in ids])
    assert "a bad row" in str(outcomes.pop(5))
    assert all(isinstance(outcome, Transition) for outcome in outcomes), outcomes


def test_batches_of_two_batchers_cross_without_harm(
    database: Database, claimed: Callable[..., Claim], race: Callable[..., list[Any]],
    observer: object,
) -> None:  # fmt: skip
    batchers = [TransitionBatcher(database) for _ in range(2)]
    claims = [claimed(auto_advance=True) for _ in range(24)]
    for _ in range(3):
        acts = [
            lambda one=one, claim=claim: one.complete_task(claim)
            for claims_in_order, one in zip((claims, claims[::-1]), batchers, strict=True)
            for claim in claims_in_order
        ]
        outcomes = race(acts)
        won = [outcome for outcome in outcomes if isinstance(outcome, Transition)]
        assert Counter(t.session_id for t in won) == Counter(c.session_id for c in claims)
        assert all(isinstance(o, (Transition, StaleClaim)) for o in outcomes), outcomes
        with database.transaction() as db:
            claims = SessionRepository(db).claim_next(uuid.uuid4(), limit=100)
    with database.transaction() as db:
        stages = db.execute(text("SELECT DISTINCT stage FROM sessions")).scalars().all()
    assert stages == ["completed"]


def test_a_caller_is_answered_only_after_the_commit(
    database: Database, make_session: Callable[..., Session]
) -> None:
    session_id = make_session().id
    with raw(database) as holder:
        hold_up_commits(holder, "true")
        answers: list[Any] = []
        batcher = TransitionBatcher(database)
        caller = threading.Thread(target=lambda: answers.append(batcher.start_task(session_id, P)))
        caller.start()
        wait_until(holder, IS_HELD_UP)
        assert answers == [], "returned before the commit"
        assert holder.execute("SELECT count(*) FROM session_tasks").fetchone() == (0,)
        holder.execute("SELECT pg_advisory_unlock(4711)")
        caller.join(SECONDS)
        assert len(answers) == 1
        assert holder.execute("SELECT task_id FROM session_tasks").fetchone() == (
            answers[0].task_id,
        )


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transitions, "STARTS_PER_STATEMENT", 4)


@pytest.mark.usefixtures("small_parts")
class TestManyStarts:
    """Call `start_tasks`, which commits in parts."""

    def test_each_is_answered_in_order_whatever_became_of_it(
        self, database: Database, make_session: Callable[..., Session],
        claimed: Callable[..., Claim], lock: Callable[[uuid.UUID], psycopg.Connection[Any]],
    ) -> None:  # fmt: skip
        new = [make_session().id for _ in range(21)]
        running, locked, unknown = claimed().session_id, make_session().id, uuid.uuid4()
        lock(locked)
        wanted = [(each, P) for each in (new[0], running, *new[1:20], locked, unknown, new[7])]
        outcomes = TransitionBatcher(database).start_tasks([*wanted, (new[20], TaskType.EXPORT)])
        expected = dict.fromkeys(new[:20], Transition) | {
            running: TaskConflict, locked: DatabaseBusy, unknown: SessionNotFound,
        }  # fmt: skip
        assert [type(each) for each in outcomes] == [
            *(expected[session_id] for session_id, _ in wanted[:-1]), TaskConflict,
            TaskValidationError,
        ]  # fmt: skip
        for (session_id, _), outcome in zip(wanted[:-1], outcomes, strict=False):
            if isinstance(outcome, Transition):
                assert task_of(database, session_id).task_id == outcome.task_id
        assert task_of(database, locked) is None

    def test_none_are_answered_with_nothing(self, database: Database) -> None:
        assert TransitionBatcher(database).start_tasks([]) == []

    def test_what_is_committed_can_be_claimed_while_the_rest_is_still_being_started(
        self, database: Database, make_session: Callable[..., Session]
    ) -> None:
        ids = sorted(make_session().id for _ in range(20))
        with raw(database) as holder, ThreadPoolExecutor(1) as caller:
            hold_up_commits(holder, f"NEW.session_id = '{ids[-1]}'")
            call = caller.submit(
                TransitionBatcher(database).start_tasks, [(each, P) for each in ids]
            )
            wait_until(holder, "SELECT count(*) = 16 FROM session_tasks")
            with database.transaction() as db:
                claims = SessionRepository(db).claim_next(uuid.uuid4(), limit=100)
            assert {claim.session_id for claim in claims} == set(ids[:16])
            assert not call.done()
            holder.execute("SELECT pg_advisory_unlock(4711)")
            assert all(isinstance(each, Transition) for each in call.result(SECONDS))

    @pytest.mark.parametrize("before", [True, False], ids=["request lost", "answer lost"])
    def test_a_part_whose_connection_breaks_is_started_once(
        self, before: bool, database: Database, through_proxy: Database, proxy: Any,
        make_session: Callable[..., Session],
    ) -> None:  # fmt: skip
        ids = [make_session().id for _ in range(12)]
        proxy.lose_next(b"INSERT INTO session_tasks", before=before)
        outcomes = TransitionBatcher(through_proxy).start_tasks([(each, P) for each in ids])
        assert proxy.cuts >= 1
        for session_id, outcome in zip(ids, outcomes, strict=True):
            assert isinstance(outcome, Transition)
            assert task_of(database, session_id).task_id == outcome.task_id

    def test_a_database_that_stays_away_is_told_and_what_was_started_stands(
        self, database: Database, make_session: Callable[..., Session],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:  # fmt: skip
        ids = sorted(make_session().id for _ in range(8))
        real = transitions.start

        def start(connection: Any, starts: Sequence[Any], **options: Any) -> list[Transition]:
            if starts[0][0] == ids[4]:
                raise DatabaseUnavailable("gone")
            return real(connection, starts, **options)

        monkeypatch.setattr(operations, "WAITS_AFTER_LOSS", ())
        monkeypatch.setattr(transitions, "start", start)
        batcher = TransitionBatcher(database)
        with pytest.raises(DatabaseUnavailable):
            batcher.start_tasks([(each, P) for each in ids])
        monkeypatch.undo()
        again = batcher.start_tasks([(each, P) for each in ids])
        assert [type(each) for each in again] == [TaskConflict] * 4 + [Transition] * 4


@pytest.mark.parametrize("before", [True, False], ids=["request lost", "answer lost"])
class TestLostConnections:
    """The connection breaks before the commit arrives at the server, or before its response."""

    def test_a_start_is_found_to_have_happened_once(
        self, before: bool, database: Database, through_proxy: Database, proxy: Any,
        make_session: Callable[..., Session],
    ) -> None:  # fmt: skip
        session_id = make_session().id
        proxy.lose_next(b"INSERT INTO session_tasks", before=before)
        started = TransitionBatcher(through_proxy).start_task(session_id, P)
        assert proxy.cuts == 1
        task = task_of(database, session_id)
        assert (task.status, task.task_id) == (TaskStatus.RUNNING, started.task_id)

    def test_a_start_for_a_worker_of_this_process_reaches_it_once(
        self, before: bool, database: Database, through_proxy: Database, proxy: Any,
        make_session: Callable[..., Session],
    ) -> None:  # fmt: skip
        worker, session_id = WorkerHere(), make_session().id
        proxy.lose_next(b"INSERT INTO session_tasks", before=before)
        with offering(through_proxy, worker):
            started = TransitionBatcher(through_proxy).start_task(session_id, P)
        assert proxy.cuts == 1
        with database.driver_connection() as connection:
            found = claim_these(connection, worker.wishes, lease_seconds=60)
        (claim,) = found + worker.claims
        assert (claim.task_id, claim.worker_id) == (started.task_id, worker.id)
        assert len(found) == (not before)
        TransitionBatcher(database).complete_task(claim)

    def test_a_session_is_created_once_with_its_documents_and_its_start(
        self, before: bool, database: Database, through_proxy: Database, proxy: Any
    ) -> None:
        worker = WorkerHere()
        documents = [IncomingDocument("b.md", b"\x00\xff# B"), IncomingDocument("a.md", b"# A")]
        draft = SessionDraft("ann", "two", {"to": "x"}, True, documents, starts=True)
        proxy.lose_next(b"COMMIT", before=before)

        async def create() -> None:
            batcher = AsyncTransitionBatcher(through_proxy)
            await batcher.create_session(draft)
            batcher.close()

        with offering(through_proxy, worker):
            asyncio.run(create())
        assert proxy.cuts == 1
        with database.transaction() as db:
            session = db.get_one(Session, draft.session_id)
            assert (session.owner, session.label, session.options) == ("ann", "two", {"to": "x"})
            assert list(ContentRepository(db).documents(session.id)) == documents
            assert session.task is not None
            assert session.task.task_id == draft.task_id
        with database.driver_connection() as connection:
            found = claim_these(connection, worker.wishes, lease_seconds=60)
        (claim,) = found + worker.claims
        assert claim.worker_id == worker.id

    @pytest.mark.parametrize("auto_advance", [False, True])
    def test_a_completion_is_found_to_have_happened_once(  # noqa: PLR0913, PLR0917 - fixtures
        self, before: bool, auto_advance: bool, database: Database, through_proxy: Database,
        proxy: Any, claimed: Callable[..., Claim],
    ) -> None:  # fmt: skip
        claim = claimed(auto_advance=auto_advance)
        proxy.lose_next(b"COMMIT", before=before)
        done = TransitionBatcher(through_proxy).complete_task(claim)
        assert proxy.cuts == 1
        assert (done.task_id, done.status) == (claim.task_id, TaskStatus.COMPLETED)
        task = task_of(database, claim.session_id)
        if auto_advance:
            assert (task.task_type, task.status) == (TaskType.EXPORT, TaskStatus.RUNNING)
            assert task.task_id == successor_id(claim.task_id)
        else:
            assert (task.task_id, task.status) == (claim.task_id, TaskStatus.COMPLETED)

    def test_a_failure_is_found_to_have_been_counted_once(
        self, before: bool, database: Database, through_proxy: Database, proxy: Any,
        claimed: Callable[..., Claim],
    ) -> None:  # fmt: skip
        claim = claimed()
        proxy.lose_next(b"retry_count = least(", before=before)
        failed = TransitionBatcher(through_proxy).fail_task(claim, {"message": "broke"})
        assert proxy.cuts == 1
        task = task_of(database, claim.session_id)
        assert (failed.retry_count, task.retry_count) == (1, 1)
        assert task.failure_context["message"] == "broke"

    def test_a_start_stands_whatever_becomes_of_its_announcement(  # noqa: PLR0913, PLR0917
        self, before: bool, database: Database, through_proxy: Database, proxy: Any,
        make_session: Callable[..., Session], caplog: pytest.LogCaptureFixture,
    ) -> None:  # fmt: skip
        first, second = make_session().id, make_session().id
        proxy.lose_next(b"pg_notify", before=before)
        batcher = TransitionBatcher(through_proxy)
        started = [batcher.start_task(first, P), batcher.start_task(second, P)]
        assert proxy.cuts == 1
        assert caplog.records == []
        ids = [task_of(database, session_id).task_id for session_id in (first, second)]
        assert ids == [each.task_id for each in started]

    def test_completions_of_which_some_are_stale_are_written_where_taking_them_back_was_cut(
        self, before: bool, database: Database, through_proxy: Database, proxy: Any,
        claimed: Callable[..., Claim],
    ) -> None:  # fmt: skip
        good, stale = claimed(), claimed()
        with database.transaction() as db:
            SessionRepository(db).cancel_task(stale.session_id)
        proxy.lose_next(b"live AS MATERIALIZED", before=before)
        done, refused = TransitionBatcher(through_proxy).complete_tasks(
            [(good, TaskResults()), (stale, TaskResults())]
        )
        assert proxy.cuts == 1
        assert isinstance(done, Transition)
        assert isinstance(refused, StaleClaim)
        assert task_of(database, good.session_id).status == TaskStatus.COMPLETED


@pytest.fixture
def lock(database: Database) -> Iterator[Callable[[uuid.UUID], psycopg.Connection[Any]]]:
    """Lock a session as another transaction does, until its connection is closed."""
    with contextlib.ExitStack() as connections:

        def lock(session_id: uuid.UUID) -> psycopg.Connection[Any]:
            connection = connections.enter_context(raw(database))
            connection.execute("BEGIN")
            connection.execute("SELECT FROM sessions WHERE id = %s FOR UPDATE", [session_id])
            return connection

        yield lock


ACTS: dict[str, Callable[[TransitionBatcher, Claim], Any]] = {
    "complete": lambda batcher, claim: batcher.complete_task(claim),
    "fail": lambda batcher, claim: batcher.fail_task(claim, {"message": "broke"}),
    "start": lambda batcher, claim: batcher.start_task(claim.session_id, P),
}


class TestLockedSessions:
    """A session is locked: by a transaction left open, or a forgotten console."""

    @pytest.mark.parametrize("act", ACTS)
    def test_a_lock_holds_up_only_who_asks_for_what_is_locked(
        self, act: str, database: Database, claimed: Callable[..., Claim],
        lock: Callable[[uuid.UUID], psycopg.Connection[Any]],
    ) -> None:  # fmt: skip
        patient = database.settings.model_copy(update={"lock_timeout_seconds": SECONDS})
        claims = [claimed() for _ in range(12)]
        if act == "start":
            with database.transaction() as db:
                for claim in claims:
                    SessionRepository(db).cancel_task(claim.session_id)
        with Database(patient, database.url) as patient_database:
            batcher = TransitionBatcher(patient_database)
            holder = lock(claims[0].session_id)
            with ThreadPoolExecutor(len(claims)) as callers:
                calls = [callers.submit(ACTS[act], batcher, claim) for claim in claims]
                for call in calls[1:]:
                    assert isinstance(call.result(SECONDS), Transition)
                assert not calls[0].done()
                holder.execute("COMMIT")
                assert isinstance(calls[0].result(SECONDS), Transition)

    def test_callers_in_an_event_loop_go_on_beside_one_who_waits(
        self, database: Database, claimed: Callable[..., Claim],
        lock: Callable[[uuid.UUID], psycopg.Connection[Any]],
    ) -> None:  # fmt: skip
        claims = [claimed() for _ in range(12)]
        holder = lock(claims[0].session_id)

        async def complete_all() -> list[Transition]:
            batcher = AsyncTransitionBatcher(database)
            waiting, *others = [asyncio.create_task(batcher.complete_task(each)) for each in claims]
            done = await asyncio.gather(*others)
            assert not waiting.done()
            await asyncio.to_thread(holder.execute, "COMMIT")
            done.append(await waiting)
            batcher.close()
            return done

        done = asyncio.run(asyncio.wait_for(complete_all(), SECONDS))
        assert {each.task_id for each in done} == {claim.task_id for claim in claims}

    def test_who_gathers_completions_is_told_what_is_locked_and_what_is_stale(
        self, database: Database, claimed: Callable[..., Claim],
        lock: Callable[[uuid.UUID], psycopg.Connection[Any]],
    ) -> None:  # fmt: skip
        claims = good, locked, stale, leaseless = [claimed() for _ in range(4)]
        with database.transaction() as db:
            SessionRepository(db).cancel_task(stale.session_id)
            db.execute(  # as a database crash does
                text("DELETE FROM session_task_leases WHERE session_id = ANY(:ids)"),
                {"ids": [leaseless.session_id, good.session_id]},
            )
        holders = [lock(locked.session_id), lock(leaseless.session_id)]
        batcher = TransitionBatcher(database)
        answers = batcher.complete_tasks([(claim, TaskResults()) for claim in claims])
        assert list(map(type, answers)) == [Transition, DatabaseBusy, StaleClaim, DatabaseBusy]
        for holder in holders:
            holder.execute("COMMIT")
        answers = batcher.complete_tasks([(locked, TaskResults()), (leaseless, TaskResults())])
        assert list(map(type, answers)) == [Transition, Transition]
        assert task_of(database, good.session_id).status == TaskStatus.COMPLETED

    def test_progress_is_written_beside_a_cancel_that_is_not_committed(
        self, database: Database, claimed: Callable[..., Claim]
    ) -> None:
        claims = [claimed() for _ in range(8)]
        batcher = TransitionBatcher(database)
        with pytest.raises(ZeroDivisionError), database.transaction() as db:
            SessionRepository(db).cancel_task(claims[0].session_id)
            answers = batcher._operations.beats.send([Heartbeat(claim, 3, 7) for claim in claims])
            assert isinstance(answers[0], DeferredResult)
            assert answers[1:] == [True] * 7
            raise ZeroDivisionError  # the cancel is rolled back
        assert answers[0].resolve() is True
        with database.driver_connection() as connection:
            noted = connection.execute("SELECT progress_current FROM session_task_leases")
            assert noted.fetchall() == [(3,)] * 8

    def test_no_more_than_a_few_wait_at_once_and_none_for_ever(
        self, database: Database, claimed: Callable[..., Claim],
        lock: Callable[[uuid.UUID], psycopg.Connection[Any]], race: Callable[..., list[Any]],
    ) -> None:  # fmt: skip
        hasty = database.settings.model_copy(update={"lock_timeout_seconds": 0.3})
        claims = [claimed() for _ in range(8)]
        for claim in claims:
            lock(claim.session_id)
        with Database(hasty, database.url) as hasty_database:
            batcher = TransitionBatcher(hasty_database)
            outcomes = race([lambda c=claim: batcher.complete_task(c) for claim in claims])
        assert {type(outcome) for outcome in outcomes} == {DatabaseBusy}
        assert any("Too many" in outcome.message for outcome in outcomes)


def test_a_completion_lost_to_a_cancel_is_not_taken_for_done(
    database: Database, through_proxy: Database, proxy: Any, claimed: Callable[..., Claim]
) -> None:
    claim = claimed()
    with database.transaction() as db:
        SessionRepository(db).cancel_task(claim.session_id)
    proxy.lose_next(b"COMMIT", before=False)
    with pytest.raises(StaleClaim):
        TransitionBatcher(through_proxy).complete_task(claim)
    assert proxy.cuts == 1
    assert task_of(database, claim.session_id).status == TaskStatus.CANCELLED


def test_a_database_that_stays_away_is_said_so_and_the_batcher_recovers(
    through_proxy: Database,
    proxy: Any,
    make_session: Callable[..., Session],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(operations, "WAITS_AFTER_LOSS", (0.01, 0.01))
    session_id = make_session().id
    batcher = TransitionBatcher(through_proxy)
    proxy.is_shut = True
    with pytest.raises(DatabaseUnavailable):
        batcher.start_task(session_id, P)
    proxy.is_shut = False
    assert batcher.start_task(session_id, P).status == TaskStatus.RUNNING


@pytest.mark.parametrize("status", [TaskStatus.COMPLETED, TaskStatus.FAILED])
def test_an_end_that_waited_for_its_own_earlier_try_is_no_stale_claim(
    database: Database,
    through_proxy: Database,
    proxy: Any,
    claimed: Callable[..., Claim],
    status: TaskStatus,
) -> None:
    """The connection was lost during COMMIT, which continues in the server."""
    claim, batcher = claimed(), TransitionBatcher(through_proxy)
    context = {"error": "Broken", "message": "it broke"}

    def end(to: Any) -> Any:
        if status == TaskStatus.COMPLETED:
            return to.complete_task(claim)
        return to.fail_task(claim, context)

    with ThreadPoolExecutor(1) as threads, raw(database) as eyes:
        with database.transaction() as db:
            end(SessionRepository(db))  # the part of the lost attempt that the server executes
            proxy.lose_next(b"BEGIN", before=True)
            again = threads.submit(end, batcher)
            wait_until(eyes, IS_WAITING)
        transition = again.result(SECONDS)
    assert proxy.cuts == 1
    assert (transition.task_id, transition.status) == (claim.task_id, status)


IS_WAITING = """SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'
    AND datname = current_database())"""


def test_a_part_that_postgres_gives_up_on_costs_the_other_parts_nothing(
    database: Database, make_session: Callable[..., Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transitions, "STARTS_PER_STATEMENT", 2)
    ids = sorted((make_session().id for _ in range(4)), key=lambda each: each.bytes)
    with raw(database) as holder:
        holder.execute(
            "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS"
            " $$BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NEW; END$$"
        )
        holder.execute(
            "CREATE TRIGGER wait BEFORE INSERT ON session_tasks FOR EACH ROW"
            f" WHEN (NEW.session_id = '{ids[0]}') EXECUTE FUNCTION wait()"
        )
        holder.execute("SELECT pg_advisory_lock(4711)")
        short = database.settings.model_copy(update={"statement_timeout_seconds": 0.3})
        with Database(short, database.url) as impatient:
            outcomes = TransitionBatcher(impatient).start_tasks([(each, P) for each in ids])
    assert [type(outcome) for outcome in outcomes] == [DatabaseBusy] * 2 + [Transition] * 2
    assert [task_of(database, each) is None for each in ids] == [True, True, False, False]


def test_a_worker_s_own_connections_are_given_up_long_before_its_leases_end(
    settings: Settings, proxy: Any
) -> None:
    quick = settings.model_copy(update={"lease_seconds": 1.2, "heartbeat_seconds": 0.3})
    with (
        Database(quick, proxy.url) as database,
        vital_database(database, quick) as vital,
        pytest.raises(DatabaseUnavailable, match=r"silent for 0\.4"),
        vital.transaction() as db,
    ):
        db.execute(text("SELECT 1"))
        proxy.is_silent = True
        db.execute(text("SELECT 2"))


def test_a_server_that_goes_silent_is_hung_up_on(
    settings: Any, proxy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.core.connections.SILENCE_SECONDS", 0.2)
    short = settings.model_copy(update={"statement_timeout_seconds": 0.3})
    with Database(short, proxy.url) as database:
        with pytest.raises(DatabaseUnavailable, match="silent"), database.transaction() as db:
            db.execute(text("SELECT 1"))
            proxy.is_silent = True
            db.execute(text("SELECT 2"))
        proxy.is_silent = False
        assert database.check_server() >= 15
