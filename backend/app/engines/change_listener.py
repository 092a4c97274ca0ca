"""Notifications that sessions changed, in any process: hints, not a guarantee."""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING
from uuid import UUID

from app.core.notifications import CHANNEL_TO_LISTEN, announced_sessions
from app.engines.loops import Loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database

SECONDS_BETWEEN_TESTS = 30.0


class ChangeListener:
    """Calls `on_change` with the sessions that this process, or any other, reports as changed.

    This process's own changes arrive once: by its subscription, and not as a notification too.

    A loop of its own listens (PostgreSQL, LISTEN) on a connection of its own, and tests it now and
    then: a connection that stays silent looks just like one without notifications.
    """

    def __init__(
        self, database: Database, vital: Database, on_change: Callable[[frozenset[UUID]], None]
    ) -> None:
        self._database = database
        self._vital = vital
        self._on_change = on_change
        self._unsubscribe = database.subscribe(on_change)
        self._loop = Loop("listener", self._listen)

    def start(self) -> None:
        """Begin to listen to other processes."""
        self._running, self._stopping = socket.socketpair()
        self._loop.start()

    def stop(self) -> None:
        """Stop listening."""
        self._unsubscribe()
        self._running.close()  # ends the wait for notifications
        self._loop.stop()
        self._stopping.close()

    def _listen(self) -> float:
        with self._vital.driver_connection() as connection:
            try:
                (channel,) = connection.execute(CHANNEL_TO_LISTEN).fetchone() or ("",)
                connection.execute(f"LISTEN {channel}")
                poll = select.poll()
                poll.register(connection.fileno(), select.POLLIN)
                poll.register(self._stopping, select.POLLIN)
                while not self._loop.is_stopping:
                    for notification in connection.notifies(timeout=0):
                        if not self._database.is_own(notification):
                            self._on_change(announced_sessions(notification))
                    if not poll.poll(1_000 * SECONDS_BETWEEN_TESTS):
                        connection.execute("SELECT 1")
                connection.execute(f"UNLISTEN {channel}")
            except BaseException:
                connection.close()  # a listening connection must not return to the pool
                raise
        return 0.0
