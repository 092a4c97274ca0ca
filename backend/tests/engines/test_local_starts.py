"""A task started in a worker's process is claimed by that worker in the same commit."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import DatabaseUnavailable
from app.models.session import TaskStatus, TaskType
from app.repositories import transitions
from app.repositories.batcher import TransitionBatcher
from app.repositories.local_dispatch import LocalStarts, local_worker_for
from app.repositories.transitions import ClaimRequest

if TYPE_CHECKING:
    from pathlib import Path
    from uuid import UUID

    from app.engines.worker import Worker

P = TaskType.PROCESSING


@pytest.fixture
def nothing_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent workers from finding waiting tasks by polling."""
    monkeypatch.setattr(transitions, "claim_next", lambda *_arguments, **_options: [])


def idle(bench: Any, **options: Any) -> Worker:
    worker: Worker = bench.worker(sweeps=False, **options)
    bench.until(lambda: worker.idle_slot_count)
    return worker


def start_for(bench: Any, worker: Worker, session_id: UUID) -> transitions.Transition:
    """Start its task with the worker's claim, without notifying the worker."""
    with bench.database.driver_connection() as connection:
        starts = [(session_id, P, uuid.uuid4())]
        (started,), _ = transitions.start_claimed(
            connection, starts, worker_id=worker.id, lease_seconds=30.0
        )
        return started


@pytest.mark.parametrize("threads", [True, False])
@pytest.mark.usefixtures("nothing_is_found")
def test_a_start_beside_an_idle_worker_need_not_be_found(bench: Any, *, threads: bool) -> None:
    worker = idle(bench, threads=threads)
    session_id = bench.new_session()
    started = TransitionBatcher(bench.database).start_task(session_id, P)
    task = bench.until_status(session_id, "completed")
    assert task.task_id == started.task_id
    bench.until(lambda: worker.outcome_counts)  # counted when it is notified
    assert worker.outcome_counts == {"completed": 1}


@pytest.mark.usefixtures("nothing_is_found")
def test_the_next_tasks_of_a_session_stay_with_the_worker_that_completed_the_first(
    bench: Any,
) -> None:
    worker = idle(bench)
    session_id = bench.new_session("make_tickets", auto_advance=True)
    TransitionBatcher(bench.database).start_task(session_id, P)
    bench.until(lambda: bench.task(session_id).task_type == TaskType.ADF_VALIDATION)
    bench.until_status(session_id, "completed")
    bench.until(lambda: worker.outcome_counts == {"completed": 3})
    assert bench.lease(session_id) is None


@pytest.mark.usefixtures("nothing_is_found")
def test_a_next_task_that_a_commit_without_an_answer_claimed_is_found(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dispatch = LocalStarts.dispatch
    losses = iter([True])

    def lose_the_answer(starts: Any) -> Any:
        if next(losses, False):
            raise DatabaseUnavailable("connection lost after COMMIT")
        return dispatch(starts)

    monkeypatch.setattr(LocalStarts, "dispatch", lose_the_answer)
    worker = idle(bench)
    session_id = bench.new_session("make_tickets", auto_advance=True)
    TransitionBatcher(bench.database).start_task(session_id, P)
    bench.until(lambda: bench.task(session_id).task_type == TaskType.ADF_VALIDATION)
    bench.until_status(session_id, "completed")
    bench.until(lambda: worker.outcome_counts == {"completed": 3})
    assert next(losses, "lost") == "lost"


def test_what_a_worker_has_no_slot_for_waits_for_anybody(bench: Any, tmp_path: Path) -> None:
    worker, go_on = idle(bench), tmp_path / "go on"
    batcher = TransitionBatcher(bench.database)
    busy = bench.new_session("wait_for_file", file=str(go_on))
    batcher.start_task(busy, P)
    waiting = bench.new_session()
    batcher.start_task(waiting, P)
    assert bench.lease(busy).worker_id == worker.id
    assert bench.lease(waiting).claim_token is None
    go_on.touch()
    bench.until_status(waiting, "completed")


def test_a_worker_is_handed_only_what_it_would_claim(bench: Any) -> None:
    mine = bench.new_session()
    worker = idle(bench, task_types=[P], session_ids=[mine], concurrency=2, threads=True)
    bench.until(lambda: worker.idle_slot_count == 2)

    def taker(*tasks: tuple[UUID, TaskType]) -> object:
        starts = [(session_id, task_type, uuid.uuid4()) for session_id, task_type in tasks]
        return local_worker_for(bench.database, starts)

    assert taker((mine, P)) is worker
    assert taker((mine, TaskType.EXPORT)) is None
    assert taker((uuid.uuid4(), P)) is None
    assert taker((mine, P), (uuid.uuid4(), P)) is None
    worker.stop()
    assert taker((mine, P)) is None


@pytest.mark.usefixtures("nothing_is_found")
def test_a_start_whose_answer_was_lost_is_looked_for(bench: Any) -> None:
    worker = idle(bench)
    session_id, never_started = bench.new_session(), bench.new_session()
    started = start_for(bench, worker, session_id)
    worker.look_for(
        [
            ClaimRequest(session_id, started.task_id, worker.id, started.task_id),
            ClaimRequest(never_started, nobody := uuid.uuid4(), worker.id, nobody),
        ]
    )
    bench.until_status(session_id, "completed")
    bench.until(lambda: worker.outcome_counts)  # counted when it is notified
    assert worker.outcome_counts == {"completed": 1}


@pytest.mark.parametrize("is_heard_of", [True, False])
def test_what_a_stopped_worker_is_handed_goes_back(bench: Any, *, is_heard_of: bool) -> None:
    worker = idle(bench)
    worker.stop()
    session_id = bench.new_session()
    started = start_for(bench, worker, session_id)
    assert bench.lease(session_id).worker_id == worker.id
    if is_heard_of:
        worker.dispatch_local(
            [transitions.claim_with_its_start(started, worker.id)], claimed_at=0.0
        )
    else:
        worker.look_for([ClaimRequest(session_id, started.task_id, worker.id, started.task_id)])
    assert bench.lease(session_id).claim_token is None
    assert bench.task(session_id).status == TaskStatus.RUNNING
    bench.worker()
    bench.until_status(session_id, "completed")


def test_a_claim_that_is_fresh_is_not_renewed(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[object] = []
    monkeypatch.setattr(transitions, "heartbeat", lambda *arguments, **_o: beats.append(arguments))
    patient = bench.settings.model_copy(update={"heartbeat_seconds": 600, "lease_seconds": 3600})
    worker = idle(bench, settings=patient)
    sessions = [bench.new_session() for _ in range(3)]
    for count, session_id in enumerate(sessions, 1):
        TransitionBatcher(bench.database).start_task(session_id, P)
        bench.until(lambda count=count: worker.outcome_counts["completed"] == count)
        bench.until(lambda: worker.run_count == 0)
    assert beats == []
