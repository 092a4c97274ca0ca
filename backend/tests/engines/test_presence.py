"""Workers that are alive say so: a row each, kept by heartbeat, true after crashes, and cheap."""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.core.config import Settings
from app.core.database import Database
from app.core.errors import WorkerNotFound
from app.engines import sweeper
from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.repositories.worker_repository import (
    LiveWorker,
    count_unserved,
    live_workers,
    request_drain,
)

if TYPE_CHECKING:
    from pathlib import Path

MOST_TRANSACTIONS_PER_SECOND = 2.0
FASTER = 4


def _live(database: Database) -> list[LiveWorker]:
    with database.autocommit_connection() as connection:
        return live_workers(connection)


def _drain(database: Database, worker_id: uuid.UUID) -> None:
    with database.transaction() as db:
        request_drain(db.connection(), worker_id)


def _execute(database: Database, statement: str) -> None:
    with database.transaction() as db:
        db.execute(text(statement))


FORBIDDEN = """
CREATE FUNCTION forbid() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'permission denied' USING ERRCODE = '42501'; END $$;
CREATE TRIGGER forbid BEFORE UPDATE ON session_task_workers EXECUTE FUNCTION forbid()"""


def test_a_right_that_is_revoked_is_logged_once_until_it_is_granted_again(
    bench: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    worker = bench.worker(concurrency=1)
    bench.until(lambda: _live(bench.database))
    _execute(bench.database, FORBIDDEN)
    heart = worker._heart_loop
    bench.until(lambda: heart.error_count >= 3)
    _execute(bench.database, "DROP FUNCTION forbid CASCADE")
    bench.until(lambda: "heart: working again" in caplog.text)
    assert caplog.text.count("permission denied") == 1


def test_a_worker_says_that_it_is_alive_and_what_it_holds_until_it_stops(
    bench: Any, tmp_path: Path
) -> None:
    worker = bench.worker(concurrency=2)
    (idle,) = bench.until(lambda: _live(bench.database))
    assert (idle.id, idle.engine, idle.concurrency) == (worker.id, "embedded", 2)
    assert (idle.state, idle.held_count, idle.session_ids) == ("idle", 0, None)
    go_on = tmp_path / "go on"
    session_id = bench.session("wait_for_file", file=str(go_on))
    bench.until_handler_runs(session_id)
    (working,) = _live(bench.database)
    assert working.state == "working"
    assert [(task.session_id, task.task_type) for task in working.held] == [
        (session_id, TaskType.PROCESSING)
    ]
    go_on.touch()
    bench.until_status(session_id, "completed")
    worker.stop()
    assert _live(bench.database) == []


def test_a_row_that_a_crash_took_away_comes_back(bench: Any) -> None:
    worker = bench.worker()
    (before,) = bench.until(lambda: _live(bench.database))
    _execute(bench.database, "DELETE FROM session_task_workers")
    (after,) = bench.until(lambda: _live(bench.database))
    assert after.id == worker.id
    assert abs((after.started_at - before.started_at).total_seconds()) < 1.0


def test_a_worker_that_is_not_heard_of_is_gone_after_a_lease(bench: Any) -> None:
    bench.worker()
    bench.until(lambda: _live(bench.database))
    bench.workers[0].stop()
    _execute(
        bench.database,
        "INSERT INTO session_task_workers (id, host, pid, version, engine, concurrency,"
        " task_types, started_at, leased_until) VALUES (gen_random_uuid(), 'lost', 1, '1',"
        " 'embedded', 1, '{processing}', now(), clock_timestamp() - interval '1 second')",
    )
    assert _live(bench.database) == []
    worker = bench.worker()

    def hosts() -> list[str]:
        with bench.database.transaction() as db:
            return list(db.scalars(text("SELECT host FROM session_task_workers")))

    bench.until(lambda: len(hosts()) == 1 and hosts() != ["lost"], "its row is deleted")
    assert [live.id for live in _live(bench.database)] == [worker.id]


def test_a_program_that_claims_without_a_row_is_shown_by_what_it_holds(bench: Any) -> None:
    session_id, waiting, own = bench.session(), bench.session(), uuid.uuid4()
    with bench.database.transaction() as db:
        (claim,) = SessionRepository(db).claim_next(own, lease_seconds=30)
    assert claim.session_id == session_id
    (found,) = _live(bench.database)
    assert (found.id, found.host, found.state) == (own, None, "busy")
    assert found.takes(TaskType.PROCESSING, waiting)


def test_tasks_that_no_worker_takes_are_counted(bench: Any) -> None:
    session_id = bench.session()
    _execute(
        bench.database,
        "UPDATE session_task_leases SET enqueued_at = clock_timestamp() - interval '1 minute'",
    )

    def unserved(owner: str | None = None) -> int:
        with bench.database.autocommit_connection() as connection:
            return count_unserved(connection, owner)

    assert (unserved(), unserved("local"), unserved("somebody else")) == (1, 1, 0)
    others = Worker(
        bench.database, bench.settings, session_ids=[uuid.uuid4()], concurrency=1, sweeps=False
    )
    with others:
        bench.until(lambda: _live(bench.database))
        assert unserved() == 1, "it works for another session"
        (live,) = _live(bench.database)
        assert not live.takes(TaskType.PROCESSING, session_id)
        with pytest.raises(WorkerNotFound):  # it ends with its command
            _drain(bench.database, others.id)
    bench.worker()
    bench.until_status(session_id, "completed")
    assert unserved() == 0


def test_a_worker_that_drains_ends_what_it_holds_claims_nothing_more_and_leaves(
    bench: Any, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    worker = bench.worker(concurrency=2)
    held = bench.session("wait_for_file", file=str(go_on))
    bench.until_handler_runs(held)
    _drain(bench.database, worker.id)
    (draining,) = _live(bench.database)
    assert (draining.state, draining.takes(TaskType.PROCESSING)) == ("draining", False)
    bench.until(lambda: not worker._is_claiming, "it has heard of it")
    waiting = bench.session()
    other = bench.worker()
    bench.until_status(waiting, "completed")
    assert worker.run_count == 1, "it has a slot free, and has not taken it"
    go_on.touch()
    bench.until_status(held, "completed")
    bench.until(lambda: [each.id for each in _live(bench.database)] == [other.id], "it has left")
    with pytest.raises(WorkerNotFound):
        _drain(bench.database, worker.id)


def test_an_idle_worker_takes_two_transactions_a_second_at_most(
    bench: Any, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the default settings, all periods divided by four: polls, sweeps and heartbeats."""
    sweeps: list[bool] = []
    sweep_once = sweeper.sweep_once

    def counted(*arguments: Any, is_thorough: bool, **options: Any) -> Any:
        sweeps.append(is_thorough)
        return sweep_once(*arguments, is_thorough=is_thorough, **options)

    monkeypatch.setattr(sweeper, "sweep_once", counted)
    settings = Settings(database_url=empty_database_url, data_dir=tmp_path)
    periods = ("lease_seconds", "heartbeat_seconds", "sweep_seconds", "poll_seconds")
    settings = settings.model_copy(
        update={period: getattr(settings, period) / FASTER for period in periods}
    )
    with Database(settings, empty_database_url) as database:

        def transactions() -> int:
            with bench.database.autocommit_connection() as connection:  # beside the one measured
                return int(
                    connection.scalar(
                        text(
                            "SELECT xact_commit + xact_rollback FROM pg_stat_database"
                            " WHERE datname = :name"
                        ),
                        {"name": database.engine.url.database},
                    )
                    or 0
                )

        with Worker(database, settings, concurrency=1, threads=True):
            # PostgreSQL tells of what idle connections did ten seconds late at most.
            bench.until(lambda: len(sweeps) > 10, "what the start took has been counted")
            count, begun = transactions(), time.monotonic()
            end = len(sweeps) + 2 * sweeper.SWEEPS_PER_THOROUGH_ONE
            bench.until(lambda: len(sweeps) >= end, "two rounds of sweeps, two of them thorough")
            per_second = (transactions() - count) / (time.monotonic() - begun)
    assert 0 < per_second / FASTER <= MOST_TRANSACTIONS_PER_SECOND
