"""Tests of Celery's fleet alone: brokers, messages, pools."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import kombu
import psutil
import pytest
import redis
from sqlalchemy import text

from app.core.config import EngineName, Settings
from app.engines import celery as celery_engine
from app.engines import dispatch
from app.engines.dispatch import TASK_NAME, Publisher, dispatcher
from app.engines.pausing import pause_claims, resume_claims
from app.models.session import TaskStatus, TaskType
from app.repositories.worker_repository import LiveWorker, live_workers, request_drain
from tests.collector import collecting
from tests.engines.fleets.fleet import COMMAND, Fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

NOBODY_LISTENS = "amqp://guest:guest@127.0.0.1:1//"


def test_threads_in_place_of_celerys_processes_do_the_same(
    make_fleet: Callable[[str], Fleet],
) -> None:
    fleet = make_fleet("rabbitmq")
    with dispatcher(fleet.settings):
        fleet.worker("--pool", "threads")
        sessions = [fleet.session("make_tickets", auto_advance=True) for _ in range(3)]
        for session_id in sessions:
            fleet.until_completed(session_id, TaskType.ADF_VALIDATION)
        hanging = fleet.session("wait_stubbornly")
        fleet.bench.until_handler_runs(hanging)
        fleet.workers[0].send_signal(signal.SIGTERM)
        assert fleet.workers[0].wait(20) == 0
    assert fleet.bench.lease(hanging).claim_token is None


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_an_attempt_has_its_span_in_either_pool(
    pool: str, make_fleet: Callable[[str], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet("redis")
    with dispatcher(fleet.settings), collecting() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        session_id = fleet.session()
        fleet.worker("--pool", pool, telemetry=True)
        fleet.bench.until(lambda: collector.attempts_of(session_id), "the attempt's span")
        fleet.stop_workers()


def test_figures_are_told_where_one_process_has_them_all(
    make_fleet: Callable[[str], Fleet],
) -> None:
    fleet = make_fleet("redis")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = fleet.worker("--pool", "threads", metrics_port=port)
        assert refused.wait(60) != 0
    completed = 'session_tasks_finished_total{outcome="completed",task_type="processing"} 1.0'
    with dispatcher(fleet.settings):
        session_id = fleet.session()
        fleet.worker("--pool", "threads", metrics_port=port)
        fleet.bench.until_status(session_id, "completed")
        url = f"http://127.0.0.1:{port}/metrics"
        fleet.bench.until(lambda: completed in httpx.get(url).text, "the figure")


def test_prefork_says_that_it_tells_no_figures(
    make_fleet: Callable[[str], Fleet], tmp_path: Path
) -> None:
    fleet = make_fleet("redis")
    with socket.create_server(("127.0.0.1", 0)) as taken:  # which it does not use
        port = taken.getsockname()[1]
        with dispatcher(fleet.settings), (tmp_path / "log").open("wb") as log:
            session_id = fleet.session()
            fleet.worker("--pool", "prefork", log=log, metrics_port=port)
            fleet.bench.until_status(session_id, "completed")
    assert f"No figures are served on port {port}" in (tmp_path / "log").read_text()


@pytest.mark.parametrize("broker", ["rabbitmq", pytest.param("redis", marks=pytest.mark.long)])
def test_a_killed_process_of_celerys_costs_one_attempt(
    make_fleet: Callable[[str], Fleet], broker: str, tmp_path: Path
) -> None:
    fleet = make_fleet(broker)
    go_on = tmp_path / "go on"
    with dispatcher(fleet.settings):
        worker = fleet.worker()
        session_id = fleet.session("wait_for_file", file=str(go_on))
        handler = psutil.Process(fleet.bench.until_handler_runs(session_id))
        celerys_child = handler.parent()
        assert celerys_child.ppid() == worker.pid
        celerys_child.kill()
        go_on.touch()
        task = fleet.bench.until_status(session_id, "completed")
    assert task.retry_count == 1
    assert [run.split()[2] for run in fleet.runs(session_id)] == ["1", "2"]
    assert worker.poll() is None
    assert not handler.is_running()


@pytest.mark.parametrize("broker", ["rabbitmq", pytest.param("redis", marks=pytest.mark.long)])
def test_the_commands_leave_the_work_to_celery(
    make_fleet: Callable[[str], Fleet], broker: str, tmp_path: Path
) -> None:
    """`run` waits for the fleet's worker; `retry` and `sweep` publish tasks that it then runs."""
    fleet = make_fleet(broker)
    failed, forgotten = fleet.session("fail_first"), fleet.session()  # neither was published
    with fleet.bench.database.transaction() as db:
        db.execute(text("UPDATE session_task_leases SET dispatched_at = to_timestamp(0)"))
    worker = fleet.worker(retry_backoff_seconds=600.0, sweep_seconds=600.0)

    swept = fleet.command("sweep")
    assert swept.returncode == 0, swept.stderr
    fleet.bench.until_status(forgotten, "completed")
    fleet.bench.until_failed_attempts(failed, 1)

    retried = fleet.command("retry", str(failed))
    assert retried.returncode == 0, retried.stderr
    fleet.bench.until_status(failed, "completed")
    fleet.kill(worker)

    fleet.worker(handlers="")
    (tmp_path / "notes.md").write_text("# One ticket\n\nWith a body.\n")
    out = tmp_path / "out"
    ran = fleet.command("run", str(tmp_path / "notes.md"), "--project", "DEMO", "--out", str(out))
    assert ran.returncode == 0, ran.stderr
    assert list(out.iterdir())


@pytest.mark.parametrize("broker", ["rabbitmq", pytest.param("redis", marks=pytest.mark.long)])
def test_what_the_api_starts_is_published_at_once(
    make_fleet: Callable[[str], Fleet], broker: str
) -> None:
    fleet = make_fleet(broker)
    fleet.worker(handlers="", sweep_seconds=600.0)  # so that nothing is repeated
    server = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        env=os.environ | fleet.environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        address, key = (server.stdout.readline().split()[-1] for _ in range(2))
        with httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as client:
            note = ("notes.md", b"# One ticket\n", "text/markdown")
            session = client.post(
                "/api/v1/sessions", files={"documents": note}, data={"project_key": "DEMO"}
            )
            started = client.post(f"{session.headers['Location']}/task")
        assert started.status_code == 202, started.text
        fleet.until_completed(uuid.UUID(session.json()["id"]), TaskType.ADF_VALIDATION)
    finally:
        server.terminate()
        server.communicate(timeout=30)


def test_a_mistyped_handler_keeps_a_worker_from_starting(
    make_fleet: Callable[[str], Fleet],
) -> None:
    fleet = make_fleet("redis")
    started = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "app.engines.celery", "worker", "--pool", "solo"],
        env=os.environ | fleet.environment | {"SESSION_TASKS_HANDLERS": "export=os:exprot"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert started.returncode == 2, started.stderr
    assert "The handler os:exprot cannot be imported" in started.stderr


def test_a_broker_that_is_away_fails_no_start(bench: Any) -> None:
    settings = bench.settings.model_copy(
        update={
            "engine": EngineName.CELERY,
            "broker_url": Settings(broker_url=NOBODY_LISTENS).broker_url,
        }
    )
    began_at = time.monotonic()
    with dispatcher(settings):
        session_id = bench.session()
        took = time.monotonic() - began_at
    assert bench.task(session_id).status is TaskStatus.RUNNING
    assert took < 1.0


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_a_message_is_two_ids_as_json_and_nothing_else(
    make_fleet: Callable[[str], Fleet], broker: str
) -> None:
    fleet = make_fleet(broker)
    with dispatcher(fleet.settings):
        session_id = fleet.session(secret="the person's own words")
    options = {"global_keyprefix": f"{fleet.settings.queue}:"} if broker == "redis" else {}
    with kombu.Connection(fleet.broker_url, transport_options=options) as connection:
        message = connection.default_channel.basic_get(fleet.settings.queue, no_ack=True)
        assert connection.default_channel.basic_get(fleet.settings.queue) is None
    assert message.content_type == "application/json"
    arguments, _, _ = json.loads(message.body)
    assert arguments == [str(session_id), str(fleet.bench.task(session_id).task_id)]
    assert "own words" not in str(message.body)


def test_nonsense_in_the_queue_is_dropped(make_fleet: Callable[[str], Fleet]) -> None:
    fleet = make_fleet("rabbitmq")
    with (
        celery_engine.make_app(lambda: fleet.settings, is_publisher=True) as app,
        dispatcher(fleet.settings),
    ):
        for arguments in (["not an id", "nor this"], [None, 1], ["alone"]):
            app.send_task(TASK_NAME, args=arguments, queue=fleet.settings.queue)
        session_id = fleet.session()
        fleet.worker()
        fleet.bench.until_status(session_id, "completed")


def test_what_waits_in_a_long_queue_is_not_told_again(
    make_fleet: Callable[[str], Fleet], monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = make_fleet("rabbitmq")
    monkeypatch.setattr(dispatch, "LONG_QUEUE", 1)

    def sent(hints: Sequence[tuple[UUID, UUID]]) -> int:
        with Publisher(fleet.settings) as publisher:
            publisher(hints)
        return publisher.sent_count

    hints = [(uuid.uuid4(), uuid.uuid4()) for _ in range(2)]
    with kombu.Connection(fleet.broker_url) as connection:
        assert sent(hints) == 2
        queue = connection.SimpleQueue(_declared(fleet.settings))
        fleet.bench.until(lambda: queue.qsize() == 2)
        assert sent(hints) == 0
        queue.clear()
        assert sent(hints) == 2
        queue.close()


def _declared(settings: Settings) -> Any:
    return celery_engine.configuration(settings)["task_queues"][0]


@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_a_celery_worker_is_one_row_and_leaves_when_it_is_drained(
    pool: str, make_fleet: Callable[[str], Fleet]
) -> None:
    fleet = make_fleet("redis")

    def live() -> list[LiveWorker]:
        with fleet.bench.database.autocommit_connection() as connection:
            return live_workers(connection)

    with dispatcher(fleet.settings):
        fleet.worker("--pool", pool, "--concurrency", "2")
        (idle,) = fleet.bench.until(live, "the worker's row")
        assert (idle.engine, idle.concurrency, idle.state) == ("celery", 2, "idle")
        go_on = fleet.folder / "go on"
        held = fleet.session("wait_for_file", file=str(go_on))
        fleet.bench.until_handler_runs(held)
        (working,) = live()
        assert (working.id, working.state) == (idle.id, "working")
        with fleet.bench.database.transaction() as db:
            request_drain(db.connection(), idle.id)
        seconds_of_grace = fleet.settings.shutdown_grace_seconds
        begun = time.monotonic()
        fleet.bench.until(
            lambda: time.monotonic() - begun > 4 * seconds_of_grace, "longer than a stop lets it"
        )
        assert fleet.bench.task(held).status is TaskStatus.RUNNING
        go_on.touch()
        assert fleet.workers[-1].wait(60) == 0
    assert fleet.bench.task(held).status is TaskStatus.COMPLETED
    assert live() == []


def test_a_message_of_a_paused_task_is_dropped_and_published_again_at_resume(
    make_fleet: Callable[[str], Fleet],
) -> None:
    fleet = make_fleet("redis")
    database, every = fleet.bench.database, list(TaskType)
    queue = fleet.settings.queue

    def messages() -> int:
        with redis.Redis.from_url(fleet.broker_url) as client:
            return int(client.llen(f"{queue}:{queue}")) + int(client.hlen(f"{queue}:unacked"))

    with dispatcher(fleet.settings) as dispatch:
        fleet.worker("--pool", "threads", lease_seconds=600.0)  # no sweep repeats it meanwhile
        fleet.until_completed(fleet.session(), TaskType.PROCESSING)
        pause_claims(database, every, by="alice")
        waiting = fleet.session()
        fleet.hint(waiting)
        fleet.bench.until(lambda: messages() == 0, "the message is dropped")
        assert fleet.bench.lease(waiting).claim_token is None
        resume_claims(database, every, by="alice", dispatch=dispatch)
        fleet.until_completed(waiting, TaskType.PROCESSING)
