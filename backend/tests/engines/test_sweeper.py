"""Lost tasks are rescued once, however many sweepers run."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.engines import sweeper, vacuum
from app.engines.sweeper import SweepReport, sweep_once
from app.models.session import TaskStatus
from app.repositories.batcher import TransitionBatcher
from app.repositories.idempotency_repository import IdempotencyRepository, StoredResponse
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


def _claim(bench: Any, count: int = 1) -> None:
    with bench.database.transaction() as db:
        assert len(SessionRepository(db).claim_next(uuid4(), limit=count)) == count


def _expire(bench: Any, *session_ids: UUID) -> None:
    with bench.database.transaction() as db:
        db.execute(
            text(
                "UPDATE session_task_leases "
                "SET leased_until = clock_timestamp() - interval '1 second' "
                "WHERE session_id = ANY(:ids) AND claim_token IS NOT NULL"
            ),
            {"ids": list(session_ids)},
        )


def _sweep(bench: Any, **options: Any) -> SweepReport:
    return sweep_once(bench.database, bench.settings, **options)


EVERY_SWEEP = pytest.mark.parametrize("is_thorough", [True, False], ids=["thorough", "quick"])


@EVERY_SWEEP
def test_an_expired_lease_is_rescued_counted_and_retried(bench: Any, is_thorough: bool) -> None:
    session_id = bench.session()
    before = bench.task(session_id).task_id
    _claim(bench)
    _sweep(bench)  # inserts the sentinel
    assert _sweep(bench, is_thorough=is_thorough).rescued == 0
    _expire(bench, session_id)
    report = _sweep(bench, is_thorough=is_thorough)
    assert (report.rescued, report.retried, report.failed_steps) == (1, 1, ())
    task = bench.task(session_id)
    assert (task.status, task.retry_count) == (TaskStatus.RUNNING, 1)
    assert task.task_id != before
    assert task.failure_context["error"] == "worker_lost"


def test_many_sweepers_at_once_rescue_each_run_once(bench: Any) -> None:
    session_ids = [bench.session() for _ in range(30)]
    _claim(bench, 30)
    _expire(bench, *session_ids)
    reports: list[SweepReport] = []
    gate = threading.Barrier(6)

    def sweep() -> None:
        gate.wait()
        reports.append(_sweep(bench))

    threads = [threading.Thread(target=sweep) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reports.append(_sweep(bench))  # tasks that one skipped because another had locked them
    assert sum(report.rescued for report in reports) == 30
    assert not any(report.failed_steps for report in reports)
    assert {bench.task(session_id).retry_count for session_id in session_ids} == {1}


def test_a_rescue_that_fails_hides_none_behind_it(bench: Any) -> None:
    session_ids = [bench.session() for _ in range(3)]
    _claim(bench, 3)
    _expire(bench, *session_ids)
    with bench.database.transaction() as db:
        db.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$BEGIN RAISE 'a bad row'; END$$"
            )
        )
        db.execute(
            text(
                "CREATE TRIGGER bad_row BEFORE UPDATE ON session_tasks FOR EACH ROW"
                f" WHEN (NEW.session_id = '{session_ids[0]}') EXECUTE FUNCTION refuse()"
            )
        )
    assert _sweep(bench).rescued == 2
    assert bench.task(session_ids[0]).retry_count == 0


def test_answers_that_were_kept_for_a_day_are_forgotten(bench: Any) -> None:
    with bench.database.transaction() as db:
        session_id = SessionRepository(db).create_session().id
        for key, age in (("old", "25 hours"), ("young", "23 hours")):
            answer = StoredResponse(session_id, 201, None, "{}")
            IdempotencyRepository(db, owner="me").keep(key, bytes(32), answer)
            db.execute(
                text(
                    "UPDATE idempotency_records SET created_at = now() - CAST(:age AS interval)"
                    " WHERE key = :key"
                ),
                {"age": age, "key": key},
            )
    _sweep(bench)
    with bench.database.transaction() as db:
        assert list(db.scalars(text("SELECT key FROM idempotency_records"))) == ["young"]


def test_a_step_that_fails_does_not_keep_the_others_from_being_taken(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_arguments: Any, **_options: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setattr(SessionRepository, "rebuild_leases", fail)
    session_id = bench.session()
    _claim(bench)
    _expire(bench, session_id)
    report = _sweep(bench)
    assert (report.rescued, report.failed_steps) == (1, ("rebuild",))


@EVERY_SWEEP
def test_only_temporary_failures_are_retried_by_themselves(bench: Any, is_thorough: bool) -> None:
    _sweep(bench)
    temporary, lasting = bench.session(), bench.session()
    with bench.database.transaction() as db:
        sessions = SessionRepository(db)
        for claim in sessions.claim_next(uuid4(), limit=2):
            category = "temporary" if claim.session_id == temporary else "user_fixable"
            sessions.fail_task(claim, {"message": "x", "category": category}, backoff_seconds=0.001)
    bench.until(lambda: _sweep(bench, is_thorough=is_thorough).retried == 1)
    assert bench.task(temporary).status == TaskStatus.RUNNING
    assert bench.task(lasting).status == TaskStatus.FAILED


@EVERY_SWEEP
def test_leases_lost_with_the_database_are_made_anew(bench: Any, is_thorough: bool) -> None:
    _sweep(bench)
    session_id = bench.session()
    with bench.database.transaction() as db:  # as crash recovery does with unlogged tables
        db.execute(
            text("TRUNCATE session_task_leases, session_task_retries, session_task_lease_sentinel")
        )
    assert _sweep(bench, is_thorough=is_thorough).rebuilt == 1
    assert _sweep(bench, is_thorough=is_thorough).rebuilt == 0
    bench.worker()
    bench.until_status(session_id, "completed")


def test_a_task_that_runs_without_a_lease_is_put_back_in_line_and_completes(bench: Any) -> None:
    _sweep(bench)
    session_id = bench.session()
    with bench.database.transaction() as db:
        db.execute(text("DELETE FROM session_task_leases"))
    assert _sweep(bench).rebuilt == 0, "it has not run for a lease yet"
    with bench.database.transaction() as db:
        db.execute(text("UPDATE session_tasks SET started_at = now() - interval '1 hour'"))
    assert _sweep(bench).rebuilt == 1
    assert _sweep(bench).rebuilt == 0
    with bench.database.transaction() as db:
        db.execute(text("UPDATE session_task_leases SET enqueued_at = now()"))
    bench.worker()
    bench.until_status(session_id, "completed")


def test_a_task_that_waits_too_long_is_published_again(bench: Any) -> None:
    session_id = bench.session()
    task_id = bench.task(session_id).task_id
    published: list[Any] = []
    assert _sweep(bench, dispatch=published.extend).redispatched == 0
    with bench.database.transaction() as db:
        db.execute(
            text("UPDATE session_task_leases SET dispatched_at = dispatched_at - interval '1 day'")
        )
    assert _sweep(bench, dispatch=published.extend).redispatched == 1
    assert published == [(session_id, task_id)]


def test_ten_thousand_lost_messages_are_repeated_in_one_sweep(bench: Any) -> None:
    _make_forgotten(bench, 10_000)
    published: list[tuple[UUID, UUID]] = []
    # A message is repeated after a lease time, and the sweep may take longer than the bench's.
    settings = bench.settings.model_copy(update={"lease_seconds": 600.0})
    report = sweep_once(bench.database, settings, dispatch=published.extend)
    assert report.redispatched == 10_000
    assert len(set(published)) == len(published) == 10_000
    assert sweep_once(bench.database, settings, dispatch=published.extend).redispatched == 0


def test_a_batch_that_cannot_be_published_hides_none_behind_it(bench: Any) -> None:
    _make_forgotten(bench, 250)
    published: list[tuple[UUID, UUID]] = []

    def publish_but_the_first(tasks: Sequence[tuple[UUID, UUID]]) -> None:
        if not refused:
            refused.extend(tasks)
            raise ValueError("no")
        published.extend(tasks)

    refused: list[tuple[UUID, UUID]] = []
    report = _sweep(bench, dispatch=publish_but_the_first)
    assert report.failed_steps == ("redispatch",)
    assert len(refused) + len(published) == 250
    assert len(published) == 150


def _make_forgotten(bench: Any, count: int) -> None:
    """Create waiting tasks whose message was sent a day ago."""
    with bench.database.transaction() as db:
        db.execute(
            text(
                "WITH one AS (INSERT INTO sessions (id, stage)"
                " SELECT gen_random_uuid(), 'processing' FROM generate_series(1, :count)"
                " RETURNING id), task AS (INSERT INTO session_tasks"
                " (id, session_id, task_type, task_id, status, started_at, retry_count)"
                " SELECT gen_random_uuid(), id, 'processing', gen_random_uuid(), 'running',"
                " now(), 0 FROM one RETURNING session_id, task_id)"
                " INSERT INTO session_task_leases (session_id, task_id, task_type, dispatched_at)"
                " SELECT session_id, task_id, 'processing', now() - interval '1 day' FROM task"
            ),
            {"count": count},
        )


def test_sessions_past_their_retention_are_deleted_but_never_while_they_run(bench: Any) -> None:
    running, done, young = bench.session(), bench.session(), bench.session()
    with bench.database.transaction() as db:
        sessions = SessionRepository(db)
        for session_id in (done, young):
            sessions.cancel_task(session_id)
        db.execute(
            text("UPDATE sessions SET created_at = :then, updated_at = :then WHERE id <> :young"),
            {"then": datetime.now(UTC) - timedelta(days=8), "young": young},
        )
    assert _sweep(bench).deleted == 1
    with bench.database.transaction() as db:
        left = set(db.scalars(text("SELECT id FROM sessions")))
    assert left == {running, young}


def test_the_table_of_leases_does_not_grow_with_what_comes_and_goes(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vacuum, "ENDS_BEFORE_VACUUM", 30)
    vacuums = vacuum.LeaseVacuum(bench.database)
    batcher = TransitionBatcher(bench.database)
    sessions = [bench.session() for _ in range(40)]

    def vacuum_count() -> int:
        with bench.database.transaction() as db:
            db.execute(text("SELECT pg_stat_force_next_flush()"))
            return db.scalar(
                text("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = :name"),
                {"name": vacuum.TABLE},
            )

    vacuums.start()
    before = vacuum_count()
    for session_id in sessions:
        claim = batcher.claim_task(session_id, bench.lease(session_id).task_id, uuid4())
        assert claim is not None
        batcher.complete_task(claim)
    bench.until(lambda: vacuum_count() > before)
    vacuums.stop()


def test_the_table_of_leases_is_vacuumed_when_it_needs_it(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweeper, "DEAD_ROWS_BEFORE_VACUUM", 20)
    for _ in range(30):
        bench.cancel(bench.session())
    bench.until(lambda: _sweep(bench).vacuumed)


def test_the_sweeper_gives_workers_a_heartbeat_after_an_outage(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweeps: list[str] = []

    def away(*_arguments: Any, **_options: Any) -> SweepReport:
        sweeps.append("away")
        raise DatabaseUnavailable("away")

    def back(*_arguments: Any, **_options: Any) -> SweepReport:
        sweeps.append("back")
        return SweepReport()

    one = sweeper.Sweeper(bench.database, bench.settings)
    monkeypatch.setattr(sweeper, "sweep_once", away)
    with pytest.raises(DatabaseUnavailable):
        one._step()
    monkeypatch.setattr(sweeper, "sweep_once", back)
    assert one._step() == bench.settings.heartbeat_seconds
    assert sweeps == ["away"]
    one._step()
    assert sweeps == ["away", "back"]
