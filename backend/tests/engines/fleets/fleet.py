"""Workers of one engine as processes, as an operator starts them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import kombu
import psutil
import redis

from app.core.config import EngineName, Settings
from app.engines.dispatch import Publisher
from app.models.session import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

BACKEND = Path(__file__).parents[3]
HANDLERS = Path(__file__).parents[1] / "handlers"

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


class Fleet:
    """Sessions, and worker processes of one engine; everything it opened is closed at the end."""

    def __init__(self, bench: Any, settings: Settings, folder: Path) -> None:
        self.bench = bench
        self.settings = settings
        self.folder = folder
        self.workers: list[subprocess.Popen[bytes]] = []
        self.queues = [settings.queue]

    @property
    def is_celery(self) -> bool:
        return self.settings.engine is EngineName.CELERY

    @property
    def environment(self) -> dict[str, str]:
        """Return this fleet's settings as an environment for a process."""
        return _environment_of(self.settings, self.bench.url)

    @property
    def broker_url(self) -> str:
        assert self.settings.broker_url is not None
        return self.settings.broker_url.get_secret_value()

    def session(self, behaviour: str = "succeed", **options: Any) -> UUID:
        """Create a session and start its first task, which is published if a dispatcher is open."""
        session_id: UUID = self.bench.session(behaviour, log_folder=str(self.folder), **options)
        return session_id

    def worker(
        self, *options: str, log: IO[bytes] | None = None, **settings: Any
    ) -> subprocess.Popen[bytes]:
        given = self.settings.model_copy(update=settings)
        command = [sys.executable, "-c", EMBEDDED_WORKER]
        if self.is_celery:
            command = [sys.executable, "-m", "celery", "-A", "app.engines.celery", "worker"]
            command += ["--concurrency", "1", "--without-gossip", "--without-mingle", *options]
            if given.queue not in self.queues:
                self.queues.append(given.queue)
        process = subprocess.Popen(
            command,
            env=os.environ | _environment_of(given, self.bench.url),
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
        self.workers.append(process)
        return process

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command line with this fleet's settings; return the result."""
        return subprocess.run(
            [*COMMAND, *arguments],
            env=os.environ | self.environment,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )

    def hint(self, session_id: UUID) -> None:
        """Publish the session's task again, whatever its state."""
        self.hint_of(session_id, self.bench.task(session_id).task_id)

    def hint_of(self, session_id: UUID, task_id: UUID) -> None:
        if not self.is_celery:
            self.bench.database.announce([session_id])
            return
        with Publisher(self.settings) as publisher:
            publisher.publish([(session_id, task_id)])
        assert publisher.sent_count == 1

    def runs(self, session_id: UUID) -> list[str]:
        """Return each run of a handler for this session, as `<type> <task_id> <attempt>`."""
        log = self.folder / str(session_id)
        return log.read_text(encoding="utf-8").splitlines() if log.exists() else []

    def until_completed(self, session_id: UUID, task_type: TaskType) -> None:
        def is_completed() -> bool:
            task = self.bench.task(session_id)
            return (task.task_type, task.status) == (task_type, TaskStatus.COMPLETED)

        self.bench.until(is_completed)

    def pause(self, process: subprocess.Popen[bytes]) -> list[psutil.Process]:
        """Stop the worker and its children with SIGSTOP, as on a suspended machine."""
        tree = [psutil.Process(process.pid)]
        tree += tree[0].children(recursive=True)
        for each in tree:
            each.suspend()
        return tree

    def resume(self, tree: Sequence[psutil.Process]) -> None:
        """Resume a paused worker, children first.

        A worker that resumes after its lease kills its children at once: one that is still to be
        resumed would be gone.
        """
        for each in reversed(tree):
            each.resume()

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """`kill -9` the worker and its children, as if the machine had failed.

        Parents first: the kernel kills some of the children before we do.
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
                _delete_queue(self.broker_url, queue)


def _environment_of(settings: Settings, url: str) -> dict[str, str]:
    """Return the settings as an environment, with this database."""
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


def _delete_queue(url: str, queue: str) -> None:
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            keys = list(client.scan_iter(f"{queue}*"))
            if keys:
                client.delete(*keys)
        return
    with kombu.Connection(url, connect_timeout=2) as connection:
        connection.default_channel.queue_delete(queue)
        connection.default_channel.exchange_delete(queue)


def fast_settings(engine: str, broker_url: str | None, data_dir: Path) -> Settings:
    if engine == "embedded in a schema":
        return Settings(**FAST, data_dir=data_dir, database_schema="our_tasks")
    celery = {
        "engine": EngineName.CELERY,
        "broker_url": broker_url,
        "queue": f"test-{uuid.uuid4().hex}",
    }
    return Settings(**FAST, data_dir=data_dir, **({} if engine == "embedded" else celery))
