"""A worker's own life and death: signals, loss of its database, and of itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from sqlalchemy import text

from app.core.errors import DatabaseUnavailable
from app.engines import outcome_writer
from app.engines import worker as worker_module
from app.engines.child_process import ChildDied, ChildProcess
from app.engines.outcome_writer import OutcomeWriter
from app.engines.runners import ProcessRunner
from app.models.session import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WORKER_PROCESS = """
import sys
sys.path[:0] = sys.argv[2:]
from app.core.config import Settings
from app.core.database import Database
from app.engines.worker import Worker
settings = Settings.model_validate_json(sys.argv[1])
from app.core.logging import configure_logging
configure_logging("INFO")
database = Database(settings, settings.database_url.get_secret_value())
Worker(database, settings, concurrency=1, sweeps=False).run_until_stopped()
database.close()
print("stopped", flush=True)
"""


@contextmanager
def _worker_process(bench: Any, **settings: Any) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own, as `session-tasks worker` is."""
    data = bench.settings.model_copy(update=settings).model_dump(mode="json")
    data["database_url"] = bench.url
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER_PROCESS, json.dumps(data), *sys.path],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_a_killed_workers_task_is_rescued_and_retried_by_another(
    bench: Any, tmp_path: Path, processes_alive: Callable[[int], bool]
) -> None:
    go_on = tmp_path / "go on"
    session_id = bench.session("wait_for_file", file=str(go_on))
    with _worker_process(bench) as process:
        handler = bench.until_handler_runs(session_id)
        first_task_id = bench.task(session_id).task_id
        bench.worker()
        bench.until_status(bench.session(), "completed")  # the other worker is there and warm
        process.kill()
        killed_at = time.monotonic()
        bench.until(lambda: not processes_alive(handler))
        assert time.monotonic() - killed_at < 1.0
    go_on.touch()
    task = bench.until_status(session_id, "completed")
    took = time.monotonic() - killed_at
    assert took < bench.settings.lease_seconds + bench.settings.sweep_seconds + 3.0
    assert task.task_id != first_task_id
    assert task.retry_count == 1


def test_the_death_of_the_supervisor_ends_a_child_that_never_lets_go_of_python(
    bench: Any, processes_alive: Callable[[int], bool]
) -> None:
    session_id = bench.session("wait_stubbornly")
    with _worker_process(bench) as process:
        handler = bench.until_handler_runs(session_id)
        os.kill(handler, signal.SIGSTOP)  # it cannot read its socket now
        process.kill()
        bench.until(lambda: not processes_alive(handler))


def test_sigterm_lets_a_task_end_and_exits_with_0(bench: Any, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    session_id = bench.session("wait_for_file", file=str(go_on))
    with _worker_process(bench) as process:
        bench.until_handler_runs(session_id)
        process.terminate()
        waiting = bench.session()
        go_on.touch()
        assert process.wait(60) == 0
        assert process.stdout is not None
        assert "stopped" in process.stdout.read()
    assert bench.task(session_id).status == TaskStatus.COMPLETED
    assert bench.lease(waiting).worker_id is None


def test_sigterm_releases_what_does_not_end_and_spends_no_attempt(bench: Any) -> None:
    session_id = bench.session("wait_stubbornly")
    with _worker_process(bench, shutdown_grace_seconds=0.2) as process:
        bench.until_handler_runs(session_id)
        process.terminate()
        assert process.wait(60) == 0
    task, lease = bench.task(session_id), bench.lease(session_id)
    assert (task.status, task.retry_count) == (TaskStatus.RUNNING, 0)
    assert lease.claim_token is None


def test_a_stop_gives_back_a_task_whose_process_is_still_starting(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_start = threading.Event()

    def start_late(_runner: ProcessRunner) -> ChildProcess:
        may_start.wait(60)
        raise ChildDied("was not needed any more")

    monkeypatch.setattr(ProcessRunner, "_living_child", start_late)
    monkeypatch.setattr(worker_module, "SECONDS_TO_WRITE_AT_STOP", 0.2)
    session_id = bench.session()
    worker = bench.worker(sweeps=False)
    bench.until(lambda: bench.lease(session_id).claim_token)
    worker.stop(grace_seconds=0)
    lease, task = bench.lease(session_id), bench.task(session_id)
    may_start.set()
    for slot in worker._slots._threads:  # ends before its database does
        slot.join(60)
    assert (lease.claim_token, lease.task_id) == (None, task.task_id)
    assert (task.status, task.retry_count) == (TaskStatus.RUNNING, 0)


def test_a_second_signal_exits_now(bench: Any, processes_alive: Callable[[int], bool]) -> None:
    session_id = bench.session("wait_stubbornly")
    with _worker_process(bench, shutdown_grace_seconds=600.0) as process:
        handler = bench.until_handler_runs(session_id)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGINT)
        process.wait(60)
        bench.until(lambda: not processes_alive(handler))
    assert bench.task(session_id).status == TaskStatus.RUNNING


def test_a_paused_worker_writes_nothing_after_a_takeover(bench: Any, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"
    session_id = bench.session("wait_for_file", file=str(go_on))
    with _worker_process(bench) as process:
        bench.until_handler_runs(session_id)
        process.send_signal(signal.SIGSTOP)
        rescuer = bench.worker()
        bench.until(lambda: bench.task(session_id).retry_count == 1)
        go_on.touch()
        bench.until_status(session_id, "completed")
        finished = bench.task(session_id)
        process.send_signal(signal.SIGCONT)
        next_one = bench.session()
        bench.until_status(next_one, "completed")
        process.terminate()
        process.wait(60)
    task = bench.task(session_id)
    assert (task.task_id, task.completed_at) == (finished.task_id, finished.completed_at)
    assert rescuer.outcome_counts["completed"] >= 1


def test_leases_that_cannot_be_renewed_stop_their_tasks_before_they_end(
    bench: Any, processes_alive: Callable[[int], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = bench.session("wait_stubbornly")
    worker = bench.worker(sweeps=False)
    pid = bench.until_handler_runs(session_id)

    def fail() -> None:
        raise ConnectionError("the network is gone")

    monkeypatch.setattr(worker._heart, "beat", fail)
    lease = bench.lease(session_id)
    bench.until(lambda: not processes_alive(pid))
    with bench.database.transaction() as db:
        now = db.scalar(text("SELECT clock_timestamp()"))
    assert now < lease.leased_until
    bench.until(lambda: worker.outcome_counts["released"] == 1)
    assert bench.task(session_id).retry_count == 0


class _Outage:
    """The database, away for outcomes only; everything else still reaches it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: list[Any] = []
        self.is_over = False
        write_once = OutcomeWriter._write_once

        def refuse(writer: Any, claim: Any, outcome: Any) -> None:
            if not self.is_over:
                self.refused.append(outcome)
                raise DatabaseUnavailable("away")
            write_once(writer, claim, outcome)

        complete_together = OutcomeWriter.complete_together

        def refuse_together(writer: Any, completions: Any) -> Any:
            if not self.is_over:
                self.refused.append(completions)
                raise DatabaseUnavailable("away")
            return complete_together(writer, completions)

        monkeypatch.setattr(OutcomeWriter, "_write_once", refuse)
        monkeypatch.setattr(OutcomeWriter, "complete_together", refuse_together)


def test_results_are_held_and_their_lease_renewed_while_the_database_is_away(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = _Outage(monkeypatch)
    session_id = bench.session("make_tickets")
    worker = bench.worker(sweeps=False)
    bench.until(lambda: outage.refused)
    leased_until = bench.lease(session_id).leased_until
    bench.until(lambda: bench.lease(session_id).leased_until > leased_until)
    outage.is_over = True
    bench.until_status(session_id, "completed")
    bench.until(lambda: worker.outcome_counts["completed"] == 1)


def test_a_lease_that_vanished_with_the_database_is_taken_back_for_held_results(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = _Outage(monkeypatch)
    session_id = bench.session("make_tickets")
    bench.worker()
    bench.until(lambda: outage.refused)
    token = bench.lease(session_id).claim_token
    with bench.database.transaction() as db:  # what crash recovery does to unlogged tables
        db.execute(
            text("TRUNCATE session_task_leases, session_task_retries, session_task_lease_sentinel")
        )
    bench.until(lambda: (lease := bench.lease(session_id)) and lease.claim_token == token)
    outage.is_over = True
    task = bench.until_status(session_id, "completed", "failed")
    assert (task.status, task.retry_count) == (TaskStatus.COMPLETED, 0)


@pytest.mark.parametrize("how", ["_write_once", "complete_together"])
def test_a_commit_whose_outcome_is_unknown_is_read_back(
    bench: Any, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The commit took effect, but its acknowledgement was lost."""
    write = getattr(OutcomeWriter, how)
    lost = []

    def lose_the_answer(writer: Any, *written: Any) -> Any:
        answer = write(writer, *written)
        if not lost:
            lost.append(written)
            raise DatabaseUnavailable("connection lost after COMMIT")
        return answer

    monkeypatch.setattr(OutcomeWriter, how, lose_the_answer)
    if how == "_write_once":
        monkeypatch.setattr(outcome_writer, "MOST_BYTES_TOGETHER", 0)
    session_id = bench.session("make_tickets", auto_advance=True)
    worker = bench.worker(concurrency=1)
    bench.until(lambda: bench.task(session_id).task_type.value == "adf_validation")
    bench.until_status(session_id, "completed")
    bench.until(lambda: worker.outcome_counts["completed"] == 3)
    assert worker.outcome_counts["stale"] == 0


def test_a_worker_survives_the_loss_of_all_its_connections(bench: Any) -> None:
    bench.worker()
    bench.until_status(bench.session(), "completed")
    for _ in range(3):
        with bench.database.transaction() as db:
            db.execute(
                text(
                    # Waits until they are gone: else the next statement may meet one that is going.
                    "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
        bench.until_status(bench.session(), "completed")


def test_an_idle_worker_costs_next_to_nothing(bench: Any) -> None:
    settings = bench.settings.model_copy(
        update={"poll_seconds": 1.0, "sweep_seconds": 5.0, "heartbeat_seconds": 1.0}
    )
    with _worker_process(bench, **{
        name: getattr(settings, name) for name in ("poll_seconds", "sweep_seconds")
    }) as process:  # fmt: skip
        bench.until_status(bench.session(), "completed")
        watched = psutil.Process(process.pid)
        before = sum(watched.cpu_times()[:2])
        began_at = time.monotonic()
        bench.until(lambda: time.monotonic() - began_at > 3.0)
        spent = sum(watched.cpu_times()[:2]) - before
        assert spent / (time.monotonic() - began_at) < 0.03


def test_many_tasks_are_shared_by_several_workers_and_each_runs_once(bench: Any) -> None:
    sessions = [bench.session("make_tickets", count=1) for _ in range(60)]
    workers = [bench.worker(concurrency=4, threads=True) for _ in range(3)]
    for session_id in sessions:
        bench.until_status(session_id, "completed")
    bench.until(lambda: sum(w.outcome_counts["completed"] for w in workers) == len(sessions))
    assert all(worker.outcome_counts["failed"] == 0 for worker in workers)
