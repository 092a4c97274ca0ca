"""Publish waiting tasks to a broker after the commit, for Celery's workers.

A message is a hint: (session_id, task_id), two strings as JSON. The claim in PostgreSQL decides
whether there is work. So a doubled message does nothing, and a lost one only costs time: the
sweeper publishes a task again that has waited for a whole lease.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from app.core.config import EngineName
from app.core.errors import ConfigurationError, MissingExtra
from app.core.wording import count_text
from app.repositories.lifecycle_log import observe_transitions
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from uuid import UUID

    from app.core.config import Settings
    from app.engines.sweeper import Dispatch
    from app.repositories.transitions import Transition

logger = logging.getLogger(__name__)

MOST_UNSENT = 10_000
"""The most hints kept in memory while the broker is slow; more are left to the sweeper."""

LONG_QUEUE = 1_000
"""With more messages than this in the queue, tasks wait for workers: repeating does not help."""

CLOSING_SECONDS = 5.0
"""How long an exiting process may take to send its remaining messages."""

ATTEMPTS_TO_SEND = 2
"""The first may use a connection that was lost unnoticed; the second opens another."""

TASK_NAME = "session_tasks.run"

TaskMessage = tuple["UUID", "UUID"]


@contextlib.contextmanager
def dispatcher(settings: Settings) -> Iterator[Dispatch | None]:
    """Yield the argument `dispatch` of `sweep_once` and `Sweeper`; None for the embedded engine.

    While the context lasts, every task that this process starts is published after its commit:
    by a user, as a retry, or because the previous task completed. Publishing runs in a thread of
    its own and never fails a start: if the broker is unavailable, the sweeper repeats it.

    Raises:
        ConfigurationError: Celery is not installed, or `SESSION_TASKS_BROKER_URL` is not set.

    """
    if settings.engine is not EngineName.CELERY:
        yield None
        return
    with Publisher(settings) as publisher:
        yield publisher


class Publisher:
    """Publishes hints from a thread of its own; thread-safe, never waits.

    Do not use it after a fork: `forget` it in the child, and create another.

    Attributes:
        sent_count: messages that the broker has confirmed (RabbitMQ) or stored (Redis).

    """

    def __init__(self, settings: Settings) -> None:
        try:
            from app.engines.celery import make_app  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtra("The engine celery", "celery") from error
        self.sent_count = 0
        self._app = make_app(lambda: settings, is_publisher=True)
        self._queue_name = settings.queue
        self._unsent: queue.Queue[tuple[TaskMessage, bool] | None] = queue.Queue(MOST_UNSENT)
        self._connection: Any = None
        self._producer: Any = None
        self._is_away = False
        self._thread: threading.Thread | None = None
        self._unobserve: Callable[[], None] = lambda: None
        require_broker(settings)

    def start(self) -> None:
        """Begin to publish the tasks that this process starts."""
        self._unobserve = observe_transitions(self._on_transitions)
        self._thread = threading.Thread(
            target=self._send_until_closed, name="publisher", daemon=True
        )
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()

    def __call__(self, tasks: Sequence[TaskMessage]) -> None:
        """Publish unclaimed tasks again, unless the queue is long."""
        self._put(tasks, is_repeated=True)

    def publish(self, tasks: Sequence[TaskMessage]) -> None:
        """Publish tasks that are waiting now; returns at once."""
        self._put(tasks, is_repeated=False)

    def forget(self) -> None:
        """Stop observing: for a child that inherited its parent's publisher by a fork."""
        self._unobserve()
        self._unobserve = lambda: None

    def close(self) -> None:
        """Send the remaining messages, if the broker accepts them soon; may be called again."""
        self.forget()
        thread, self._thread = self._thread, None
        if thread is None:
            return
        end = time.monotonic() + CLOSING_SECONDS
        with contextlib.suppress(queue.Full):
            self._unsent.put(None, timeout=CLOSING_SECONDS)
        thread.join(max(0.0, end - time.monotonic()))

    def _on_transitions(self, moved: Sequence[Transition]) -> None:
        self.publish([(t.session_id, t.task_id) for t in moved if t.status is TaskStatus.RUNNING])

    def _put(self, tasks: Sequence[TaskMessage], *, is_repeated: bool) -> None:
        for count, hint in enumerate(tasks):
            try:
                self._unsent.put_nowait((hint, is_repeated))
            except queue.Full:
                logger.warning(
                    "Not published, since the broker is too slow: %s; the sweeper repeats",
                    count_text(len(tasks) - count, "task"),
                )
                return

    # -- in the thread ----------------------------------------------------------------------------

    def _send_until_closed(self) -> None:
        while (entry := self._unsent.get()) is not None:
            batch = [entry]
            with contextlib.suppress(queue.Empty):
                while len(batch) < MOST_UNSENT:
                    following = self._unsent.get_nowait()
                    if following is None:
                        self._send(batch)
                        self._disconnect()
                        return
                    batch.append(following)
            self._send(batch)
        self._disconnect()

    def _send(self, batch: list[tuple[TaskMessage, bool]]) -> None:
        """Send the batch, each hint once if there is no error; skip those that cannot be sent."""
        for attempt in range(1, ATTEMPTS_TO_SEND + 1):
            try:
                self._connect()
                is_long = any(is_repeated for _, is_repeated in batch) and self._is_queue_long()
                while batch:
                    (session_id, task_id), is_repeated = batch[0]
                    if not (is_repeated and is_long):
                        self._publish(session_id, task_id)
                    batch.pop(0)
            except Exception as error:  # noqa: BLE001 - drivers raise their own; none may propagate
                self._disconnect()
                if attempt == ATTEMPTS_TO_SEND:
                    self._note_away(error, len(batch))
            else:
                if self._is_away:
                    logger.info("The broker takes messages again")
                self._is_away = False
                return

    def _publish(self, session_id: UUID, task_id: UUID) -> None:
        self._app.send_task(
            TASK_NAME,
            args=[str(session_id), str(task_id)],
            producer=self._producer,
            queue=self._queue_name,
            retry=False,
            ignore_result=True,
        )
        self.sent_count += 1

    def _is_queue_long(self) -> bool:
        declared = self._app.amqp.queues[self._queue_name].bind(self._producer.channel)
        return int(declared.queue_declare().message_count) > LONG_QUEUE

    def _connect(self) -> None:
        if self._connection is None:
            self._connection = self._app.connection_for_write()
            self._producer = self._app.amqp.Producer(self._connection, auto_declare=False)

    def _disconnect(self) -> None:
        connection, self._connection, self._producer = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except Exception:
                logger.debug("A broker's connection did not close", exc_info=True)

    def _note_away(self, error: Exception, count: int) -> None:
        logger.log(
            logging.DEBUG if self._is_away else logging.WARNING,
            "Not published: %s (%s: %s); the sweeper repeats",
            count_text(count, "task"),
            type(error).__name__,
            error,
        )
        self._is_away = True


def require_broker(settings: Settings) -> str:
    """Return the broker's URL.

    Raises:
        ConfigurationError: there is none.

    """
    if settings.broker_url is None:
        raise ConfigurationError(
            "The Celery engine needs a broker, and SESSION_TASKS_BROKER_URL is not set",
            next_step="Set it: amqp://user:password@host:5672// or redis://host:6379/0.",
        )
    return settings.broker_url.get_secret_value()
