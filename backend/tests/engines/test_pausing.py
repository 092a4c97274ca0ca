"""Paused claims: nothing that waits is claimed, in either engine, and nothing is lost."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.core.database import Database
from app.engines.pausing import pause_claims, resume_claims
from app.engines.sweeper import sweep_once
from app.models.session import TaskStatus, TaskType
from app.repositories.batcher import TransitionBatcher
from app.repositories.pause_repository import read_pauses
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from app.values.claims import Claim

WAITING_FOR_ADVISORY = """
SELECT count(*) FROM pg_locks JOIN pg_database AS d ON d.oid = pg_locks.database
 WHERE locktype = 'advisory' AND NOT granted AND d.datname = current_database()"""

P, EXPORT = TaskType.PROCESSING, TaskType.EXPORT


def pause(bench: Any, *task_types: TaskType) -> int:
    return pause_claims(bench.database, task_types or list(TaskType), by="alice")


def resume(bench: Any, *task_types: TaskType) -> int:
    return resume_claims(bench.database, task_types or list(TaskType), by="alice")


def paused(database: Database) -> list[TaskType]:
    with database.autocommit_connection() as connection:
        return [each.task_type for each in read_pauses(connection)]


def test_a_running_task_goes_on_and_what_waits_waits_until_it_is_resumed(
    bench: Any, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    worker = bench.worker(concurrency=2)
    running = bench.session("wait_for_file", file=str(go_on), auto_advance=True)
    bench.until_handler_runs(running)
    assert pause(bench) == 0
    waiting = bench.session()
    by_batcher = bench.new_session()
    bench.until(lambda: worker.idle_slot_count)
    TransitionBatcher(bench.database).start_task(by_batcher, P)  # beside an idle worker
    go_on.touch()
    bench.until(lambda: bench.task(running).task_type is EXPORT, "the running one has completed")
    bench.until(lambda: worker.run_count == 0)
    for session_id in (running, waiting, by_batcher):
        assert bench.task(session_id).status is TaskStatus.RUNNING
        assert bench.lease(session_id).claim_token is None
    assert resume(bench) == 3
    for session_id in (running, waiting, by_batcher):
        bench.until_status(session_id, "completed")


def test_one_type_is_paused_and_the_others_are_claimed(bench: Any) -> None:
    pause(bench, EXPORT)
    pause(bench, EXPORT)
    bench.worker()
    session_id = bench.session(auto_advance=True)
    bench.until(lambda: bench.task(session_id).task_type is EXPORT)
    bench.until_status(bench.session(), "completed")
    assert bench.lease(session_id).claim_token is None
    assert paused(bench.database) == [EXPORT]
    resume(bench, P)
    assert paused(bench.database) == [EXPORT]
    resume(bench, EXPORT)
    bench.until(lambda: bench.task(session_id).task_type is TaskType.ADF_VALIDATION)
    assert paused(bench.database) == []


def test_a_claim_of_one_named_task_is_refused_and_an_old_one_is_told_again(bench: Any) -> None:
    session_id, worker_id = bench.session(), uuid.uuid4()
    task_id = bench.task(session_id).task_id
    with bench.database.transaction() as db:
        (held,) = SessionRepository(db).claim_next(worker_id)
    other = bench.session()
    pause(bench)
    with bench.database.transaction() as db:
        sessions = SessionRepository(db)
        assert sessions.claim_task(other, bench.task(other).task_id, worker_id) is None
        assert sessions.claim_next(worker_id) == []
        assert sessions.heartbeat([held]) == {session_id}, "what is held stays held"
        sessions.complete_task(held)
    assert bench.task(session_id).task_id == task_id
    assert bench.task(session_id).status is TaskStatus.COMPLETED


def test_lost_tasks_are_rescued_while_claims_are_paused(bench: Any) -> None:
    session_id = bench.session()
    with bench.database.transaction() as db:
        SessionRepository(db).claim_next(uuid.uuid4(), lease_seconds=0.001)
    pause(bench)
    bench.until(lambda: sweep_once(bench.database, bench.settings).rescued)
    task = bench.task(session_id)
    assert (task.status, task.retry_count) == (TaskStatus.RUNNING, 1)
    assert bench.lease(session_id).claim_token is None
    resume(bench)
    bench.worker()
    bench.until_status(session_id, "completed")


def test_pausing_waits_for_claims_that_are_under_way_and_for_nothing_else(bench: Any) -> None:
    bench.session()
    under_way = (
        "UPDATE session_task_leases SET attempt = attempt WHERE pg_advisory_xact_lock(7) IS NULL"
    )
    with (
        Database(bench.settings, bench.url) as others,
        others.transaction() as holder,
        others.transaction() as idle,
        ThreadPoolExecutor(2) as threads,
    ):
        holder.execute(text("SELECT pg_advisory_lock(7)"))
        idle.execute(text("UPDATE session_task_leases SET attempt = attempt WHERE false"))

        def claim() -> None:
            with others.transaction() as db:
                db.execute(text(under_way))

        def is_waiting() -> bool:
            with others.autocommit_connection() as connection:
                return bool(connection.scalar(text(WAITING_FOR_ADVISORY)))

        claiming = threads.submit(claim)
        bench.until(is_waiting, "a statement that began before the pause")
        pausing = threads.submit(pause, bench)
        bench.until(lambda: paused(bench.database) == list(TaskType), "it is written")
        assert not pausing.done()
        holder.execute(text("SELECT pg_advisory_unlock(7)"))
        assert pausing.result(30) == 0
        claiming.result(30)


def test_no_claim_begins_once_pause_has_returned(bench: Any) -> None:
    """Four claimers against the pause, over and over: each claim is older than its return."""
    stop = threading.Event()
    attempts = [0] * 4

    def claim(index: int) -> None:
        while not stop.is_set():
            with bench.database.transaction() as db:
                SessionRepository(db).claim_next(uuid.uuid4())
            attempts[index] += 1

    with ThreadPoolExecutor(4) as threads:
        claiming = [threads.submit(claim, index) for index in range(4)]
        try:
            for _ in range(15):
                sessions = [bench.session() for _ in range(6)]
                assert pause(bench) == 0
                returned_at = _moment(bench.database)
                before = list(attempts)
                bench.until(
                    lambda before=before: all(
                        now >= then + 3 for now, then in zip(attempts, before, strict=True)
                    ),
                    "every claimer has tried again",
                )
                assert all(at < returned_at for at in _claimed_at(bench.database))
                resume(bench)
                bench.until(
                    lambda sessions=sessions: all(
                        bench.lease(each).claim_token is not None for each in sessions
                    ),
                    "all are claimed",
                )
        finally:
            stop.set()
        for each in claiming:
            each.result(30)


def _moment(database: Database) -> datetime:
    with database.autocommit_connection() as connection:
        moment: datetime = connection.scalar(text("SELECT clock_timestamp()"))
        return moment


def _claimed_at(database: Database) -> Iterator[datetime]:
    with database.autocommit_connection() as connection:
        yield from connection.scalars(
            text("SELECT claimed_at FROM session_task_leases WHERE claimed_at IS NOT NULL")
        )


@pytest.mark.parametrize("threads", [True, False])
def test_a_worker_with_sessions_of_its_own_heeds_the_pause(
    bench: Any, monkeypatch: pytest.MonkeyPatch, *, threads: bool
) -> None:
    session_id = bench.session()
    pause(bench)
    worker = bench.worker(session_ids=[session_id], threads=threads)
    asked: list[int] = []
    claim = worker._claims.claim

    def counted(limit: int) -> list[Claim]:
        asked.append(limit)
        return claim(limit)

    monkeypatch.setattr(worker._claims, "claim", counted)
    bench.until(lambda: len(asked) >= 3, "it has asked")
    assert bench.lease(session_id).claim_token is None
    resume(bench)
    bench.until_status(session_id, "completed")
