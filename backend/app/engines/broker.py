"""Check that Celery's broker accepts messages, for `doctor` and `/readyz`."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from app.core.errors import BrokerUnavailable, MissingExtra
from app.core.redaction import redact_text
from app.engines.dispatch import require_broker

if TYPE_CHECKING:
    from app.core.config import Settings

SECONDS_REMEMBERED = 2.0
"""How long a result is cached: `/readyz` needs no key, and a silent broker takes seconds."""


class BrokerProbe:
    """Connects to the broker as a publisher does; safe to call from many threads.

    Raises:
        ConfigurationError: Celery is not installed, or `SESSION_TASKS_BROKER_URL` is not set.

    """

    def __init__(self, settings: Settings) -> None:
        try:
            from app.engines.celery import make_app  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise MissingExtra("The engine celery", "celery") from error
        self._address = redact_text(require_broker(settings))
        self._app = make_app(lambda: settings, is_publisher=True)
        self._queue = settings.queue
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._answer: int | BrokerUnavailable = 0

    def count_messages(self) -> int:
        """Return how many messages the queue holds; it is declared, as publishers declare it.

        Raises:
            BrokerUnavailable: it cannot be reached, or refuses this account.

        """
        with self._lock:
            if time.monotonic() - self._asked_at >= SECONDS_REMEMBERED:
                self._answer = self._ask()
                self._asked_at = time.monotonic()
            answer = self._answer
        if isinstance(answer, BrokerUnavailable):
            raise answer
        return answer

    def _ask(self) -> int | BrokerUnavailable:
        try:
            with self._app.connection_for_write() as connection:
                queue = self._app.amqp.queues[self._queue].bind(connection.channel())
                return int(queue.queue_declare().message_count)
        except Exception as error:  # noqa: BLE001 - every transport raises errors of its own
            reason = redact_text(str(error)) or "no reason given"
            return BrokerUnavailable(
                f"The broker {self._address} cannot be reached: {type(error).__name__}: {reason}",
                next_step="See that it runs and that SESSION_TASKS_BROKER_URL is right; tasks "
                "that were started wait meanwhile, and none is lost.",
            )
