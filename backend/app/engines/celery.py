"""The Celery engine: `celery -A app.engines.celery worker`, over RabbitMQ or Redis.

Celery carries hints; PostgreSQL decides. So the settings here only avoid losing hints without
need, and nothing else depends on them: no result backend, no pickles, no state in the broker.

The worker's main process runs the sweeper, and keeps the row that says that the worker is
alive. Each process that runs tasks (Celery's children, or with `--pool threads` the main process
itself) has a `CeleryWorker` and a `Publisher` of its own. All of them make spans; metrics are
exposed only with `--pool threads`, where one process has them all.
"""

from __future__ import annotations

import contextlib
import logging
import math
import mmap
import os
import select
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from celery import Celery, concurrency, signals  # type: ignore[import-untyped]
from celery.concurrency.prefork import TaskPool as PreforkPool  # type: ignore[import-untyped]
from kombu.entity import Queue

from app.core.config import EngineName, Settings
from app.core.database import Database
from app.core.errors import ConfigurationError, TaskError
from app.core.logging import configure_logging
from app.engines.celery_worker import CeleryWorker
from app.engines.dispatch import TASK_NAME, Publisher, require_broker
from app.engines.heartbeat import require_timely_heartbeats
from app.engines.loops import Loop
from app.engines.metrics_server import serving_metrics
from app.engines.presence import Presence
from app.engines.sweeper import Sweeper
from app.engines.tracing import traced
from app.models.rights import require_rights
from app.tasks.registry import checked_handlers

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 3
SILENCE_SECONDS = 5.0
"""How long a publisher waits for a silent broker."""

CONSUMER_TIMEOUT_MILLISECONDS = 24 * 60 * 60 * 1000
"""RabbitMQ closes the channel of a consumer that keeps a message for longer than half an hour,
unless its queue says otherwise (RabbitMQ, Consumers, "Delivery Acknowledgement Timeout"). One
constant for everybody: a queue must always be declared with the same arguments."""

SECONDS_TO_START_A_CHILD = 30.0


_ONE_TRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0}
"""Of a publisher's connection: the sweeper repeats messages (kombu, `Connection`)."""


def make_app(load_settings: Callable[[], Settings], *, is_publisher: bool = False) -> Celery:
    """Return a Celery application; the settings are loaded when they are first needed."""
    celery_app = Celery("session_tasks", set_as_current=False)
    celery_app.add_defaults(lambda: configuration(load_settings(), is_publisher=is_publisher))
    return celery_app


def configuration(settings: Settings, *, is_publisher: bool = False) -> dict[str, Any]:
    """Return Celery's configuration, for a worker or for a publisher.

    Raises:
        ConfigurationError: no broker is set.

    """
    url = require_broker(settings)
    return {
        "broker_url": url,
        "broker_connection_timeout": CONNECT_SECONDS,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,  # no limit: no outage ends a worker
        "broker_transport_options": _transport_options(url, settings, is_publisher=is_publisher),
        "result_backend": None,
        "task_ignore_result": True,
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": settings.queue,
        "task_queues": [
            Queue(  # type: ignore[no-untyped-call]
                settings.queue,
                routing_key=settings.queue,
                queue_arguments={"x-consumer-timeout": CONSUMER_TIMEOUT_MILLISECONDS},
            )
        ],
        "task_acks_late": True,
        "task_reject_on_worker_lost": True,
        "worker_prefetch_multiplier": 1,
        # A message that comes again while its task runs is dropped by the claim.
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_proc_alive_timeout": SECONDS_TO_START_A_CHILD,
        # A worker's state is in PostgreSQL, and it takes no commands through the broker.
        "worker_enable_remote_control": False,
        "worker_send_task_events": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
    }


def _transport_options(url: str, settings: Settings, *, is_publisher: bool) -> dict[str, Any]:
    if not url.startswith(("redis", "rediss", "sentinel", "valkey")):
        options: dict[str, Any] = {"confirm_publish": True}
        if is_publisher:  # a consumer is silent for as long as nothing happens
            options |= {"read_timeout": SILENCE_SECONDS, "write_timeout": SILENCE_SECONDS}
            options |= _ONE_TRY
        return options
    options = {
        # Longer than any task: the lease shows a dead worker, and much earlier.
        "visibility_timeout": math.ceil(settings.max_run_seconds + settings.lease_seconds),
        # The keys of unacknowledged messages are the same for all queues of a database.
        "global_keyprefix": f"{settings.queue}:",
        "socket_connect_timeout": CONNECT_SECONDS,
        "socket_keepalive": True,
    }
    if is_publisher:
        options |= {"socket_timeout": SILENCE_SECONDS} | _ONE_TRY
    return options


app = make_app(Settings)
"""The application of `celery -A app.engines.celery`; it reads `SESSION_TASKS_…` variables."""


def run_task(session_id: str, task_id: str) -> None:
    """Run the task that a message names, if it is waiting; a failure is stored in its row.

    A message that names no task is dropped.
    """
    try:
        hint = UUID(session_id), UUID(task_id)
    except (AttributeError, TypeError, ValueError):
        logger.warning("A message that names no task was dropped: %.200r", (session_id, task_id))
        return
    outcome = _process.worker().run(*hint)
    logger.debug("Task %s of session %s: %s", task_id, session_id, outcome)


app.task(run_task, name=TASK_NAME)


MISCONFIGURED = 2
"""The exit status of a worker with invalid settings, the same as the command's."""


@dataclass
class _Process:
    """The state of one process of a Celery worker; call `leave_parent` after a fork.

    Attributes:
        worker_id: the whole worker's, used by all of its processes.
        concurrency: the number of concurrent tasks, in all its processes.
        shutdown_pipe: one byte in it, which is never read, tells all processes that the worker
            stops.
        drains: one byte that all processes share: whether it stops because it was asked to drain,
            and tasks may take as long as they do.

    """

    settings: Settings | None = None
    main_database: Database | None = None
    sweeper: Sweeper | None = None
    presence: Presence | None = None
    presence_loop: Loop | None = None
    worker_id: UUID = field(default_factory=uuid4)
    concurrency: int = 1
    shutdown_pipe: tuple[int, int] = (-1, -1)
    drains: mmap.mmap = field(default_factory=lambda: mmap.mmap(-1, 1))
    observing: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    lock: threading.RLock = field(default_factory=threading.RLock)
    publisher: Publisher | None = None
    hinted: CeleryWorker | None = None
    database: Database | None = None

    def open_main(self) -> None:
        """Open the database, which must be reachable and current, before any fork.

        Raises:
            TaskError: it is not.

        """
        settings = Settings()
        require_broker(settings)
        require_timely_heartbeats(settings)
        checked_handlers(settings)
        self.settings = settings
        self.main_database = Database.open(settings)
        require_rights(self.main_database)
        self.main_database.engine.dispose()  # no open connection goes through a fork
        self.shutdown_pipe = os.pipe()

    def observe(self, *, forks: bool) -> None:
        """Start tracing and metrics of the worker, if the settings ask for them.

        Raises:
            ConfigurationError: an extra is not installed, or the port is not available.

        """
        settings, main_database = self._opened()
        self.observing.enter_context(traced(settings))
        if forks and settings.metrics_port is not None:
            logger.warning(
                "No figures are served on port %d: each process of the pool prefork would have "
                "its own. Use --pool threads, or unset SESSION_TASKS_METRICS_PORT.",
                settings.metrics_port,
            )
            return
        self.observing.enter_context(
            serving_metrics(main_database, host=settings.host, port=settings.metrics_port)
        )

    def start_sweeping(self) -> None:
        """Begin to sweep; retries and rescues are published like starts."""
        settings, main_database = self._opened()
        self.sweeper = Sweeper(main_database, settings, dispatch=self._publisher())
        self.sweeper.start()

    def appear(self) -> None:
        """Begin to report that this worker is alive."""
        settings, main_database = self._opened()
        self.presence = Presence(
            main_database.driver_connection,
            settings,
            worker_id=self.worker_id,
            engine=EngineName.CELERY,
            concurrency=self.concurrency,
            on_drain=self.drain,
        )
        self.presence_loop = Loop("presence", self.presence.step)
        self.presence_loop.start()

    def drain(self) -> None:
        """Stop as on SIGTERM (Celery, "warm shutdown"), but without a time limit for tasks."""
        if self.presence is not None:
            self.presence.drain()
        self.drains[0] = True
        os.kill(os.getpid(), signal.SIGTERM)

    def leave_parent(self) -> None:
        """Drop, in a new child, everything that belongs to the parent's threads."""
        if self.publisher is not None:
            self.publisher.forget()
        self.publisher = self.sweeper = self.presence = self.presence_loop = None
        self.lock = threading.RLock()

    def worker(self) -> CeleryWorker:
        """Return this process's worker, created at the first call."""
        with self.lock:
            if self.hinted is None:
                settings, main_database = self._opened()
                self.database = main_database.second_pool(settings)
                publish = self._publisher().publish
                self.hinted = CeleryWorker(
                    self.database, settings, publish=publish, worker_id=self.worker_id
                )
                self.hinted.start()
                shutdown = threading.Thread(target=self._drain_at_shutdown, args=(self.hinted,))
                shutdown.daemon = True
                shutdown.start()
            return self.hinted

    def announce_shutdown(self) -> None:
        """Notify every process of this worker; from a signal handler, so without a lock."""
        os.write(self.shutdown_pipe[1], b"s")

    def close(self) -> None:
        """Close everything that this process opened for itself."""
        if self.sweeper is not None:
            self.sweeper.stop()
        if self.hinted is not None:
            self.hinted.close()
        if self.publisher is not None:
            self.publisher.close()
        if self.database is not None:
            self.database.close()
        self.observing.close()

    def close_main(self) -> None:
        """Close everything that the main process opened."""
        self.close()
        if self.presence is not None and self.presence_loop is not None:
            self.presence_loop.stop()
            self.presence.leave()
        if self.main_database is not None:
            self.main_database.close()

    def _opened(self) -> tuple[Settings, Database]:
        if self.settings is None or self.main_database is None:
            raise ConfigurationError(
                "This process is no Celery worker of Session Tasks",
                next_step="Start one: celery -A app.engines.celery worker.",
            )
        return self.settings, self.main_database

    def _publisher(self) -> Publisher:
        with self.lock:
            if self.publisher is None:
                self.publisher = Publisher(self._opened()[0])
                self.publisher.start()
            return self.publisher

    def _drain_at_shutdown(self, hinted: CeleryWorker) -> None:
        select.select([self.shutdown_pipe[0]], [], [])
        grace = None if self.drains[0] else self._opened()[0].shutdown_grace_seconds
        hinted.drain(grace_seconds=grace)


_process = _Process()


def _on_worker_init(sender: Any, **_: object) -> None:
    pool = concurrency.get_implementation(sender.pool_cls)
    try:
        _process.open_main()
        _process.observe(forks=issubclass(pool, PreforkPool))
    except TaskError as error:  # Celery ignores any other exception of a signal's receiver
        sys.stderr.write(f"{error.message}. {error.next_step}\n")
        code = MISCONFIGURED if isinstance(error, ConfigurationError) else 1
        raise SystemExit(code) from error


def _on_worker_ready(sender: Any, **_: object) -> None:
    _process.concurrency = sender.controller.concurrency
    _process.start_sweeping()
    _process.appear()


def _on_worker_process_init(**_: object) -> None:
    _process.leave_parent()
    _process.worker()


def _on_setup_logging(loglevel: int | None = None, **_: object) -> None:
    configure_logging(loglevel or logging.INFO)


def _connect_signals() -> None:
    for happening, receiver in (
        (signals.setup_logging, _on_setup_logging),
        (signals.worker_init, _on_worker_init),
        (signals.worker_ready, _on_worker_ready),
        (signals.worker_shutting_down, lambda **_: _process.announce_shutdown()),
        (signals.worker_shutdown, lambda **_: _process.close_main()),
        (signals.worker_process_init, _on_worker_process_init),
        (signals.worker_process_shutdown, lambda **_: _process.close()),
    ):
        happening.connect(receiver, weak=False)


_connect_signals()
