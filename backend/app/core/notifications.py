"""Notifications of changed sessions: NOTIFY, after the commit, coalesced.

NOTIFY inside the hot transaction takes a lock that serialises commits (PostgreSQL, NOTIFY, notes),
so it is sent afterwards: after a quiet moment at once, on the caller's connection, else by
a thread of its own, one for all that changed meanwhile. It is a hint; polling is the guarantee.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import threading
import time
from typing import TYPE_CHECKING, Any
from uuid import UUID

import psycopg

from app.core.errors import DatabaseBusy, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from contextlib import AbstractContextManager

    Listener = Callable[[frozenset[UUID]], None]

logger = logging.getLogger(__name__)

CHANNEL = "session_tasks"
"""The channel; a payload is session ids separated by spaces."""

# A channel is a database's, not a schema's.
CHANNEL_TO_LISTEN = """
SELECT CASE schema WHEN 'public' THEN 'session_tasks'
       ELSE 'session_tasks_' || md5(schema) END AS channel
  FROM (SELECT coalesce((SELECT nspname
                           FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
                          WHERE pg_class.oid = to_regclass('session_task_leases')), 'public')
       ) AS a (schema)
"""
"""Asks for the channel's name, since `LISTEN` takes no expression; another one for tables in
another schema than `public`."""

_NOTIFY = (
    """
SELECT pg_notify(channel, payload)
  FROM ("""
    + CHANNEL_TO_LISTEN
    + """) AS one, unnest(%b::text[]) AS payload"""
)

IDS_PER_NOTIFICATION = 240
"""A payload holds less than 8,000 bytes (PostgreSQL, NOTIFY); an id and its space take 33."""

SECONDS_BETWEEN_NOTIFICATIONS = 0.01
"""The first goes out at once; what follows so soon goes together, at no more than 100 a second."""

BACKENDS_REMEMBERED = 16
"""By its server process an announcer knows its own notifications; so many connections back."""

CLOSING_SECONDS = 5.0
"""How long the last announcement may take; it is only a hint."""


def announced_sessions(notification: psycopg.Notify) -> frozenset[UUID]:
    """Return the sessions that a notification names; none if somebody else wrote it."""
    try:
        return frozenset(map(UUID, notification.payload.split()))
    except ValueError:
        return frozenset()


class Announcer:
    """Sends what changed to this process's listeners at once, and to all others by NOTIFY."""

    def __init__(
        self, connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]]
    ) -> None:
        self._connect = connect
        self._listeners: list[Listener] = []
        self._pending: set[UUID] = set()
        self._changed = threading.Condition()
        self._may_send_at = 0.0  # by the monotonic clock
        self._backends: collections.deque[int] = collections.deque(maxlen=BACKENDS_REMEMBERED)
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    def announce(
        self,
        session_ids: Iterable[UUID],
        *,
        exclude: Listener | None = None,
        connection: psycopg.Connection[Any] | None = None,
    ) -> None:
        """Have these sessions announced; never raises, and returns at once.

        The listener `exclude` is not notified. With a `connection` (in autocommit), the first
        announcement after a quiet moment is sent through it before this returns.
        """
        changed = frozenset(session_ids)
        if not changed:
            return
        for listener in tuple(self._listeners):
            try:
                if listener != exclude:
                    listener(changed)
            except Exception:
                logger.exception("A listener failed; what changed stands all the same")
        with self._changed:
            if self._closing.is_set():
                return
            now = time.monotonic()
            if connection is None or self._pending or now < self._may_send_at:
                self._leave_to_the_thread(changed)
                return
            self._may_send_at = now + SECONDS_BETWEEN_NOTIFICATIONS
        self._send(list(changed), lambda: contextlib.nullcontext(connection))

    def is_own(self, notification: psycopg.Notify) -> bool:
        """Whether this process sent it: its listeners were notified at once."""
        return notification.pid in self._backends

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Have `listener` called, in the announcing thread, with what changes in this process."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def close(self) -> None:
        """Send what is pending, if the database takes it soon; may be called again."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(CLOSING_SECONDS)

    def _leave_to_the_thread(self, changed: frozenset[UUID]) -> None:
        self._pending |= changed
        if self._thread is None or not self._thread.is_alive():  # a fork takes no threads along
            self._thread = threading.Thread(
                target=self._send_until_closed, name="announcer", daemon=True
            )
            self._thread.start()
        self._changed.notify()

    def _send_until_closed(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._closing.is_set())
            self._pause()  # somebody else may just have sent
            with self._changed:
                batch, self._pending = list(self._pending), set()
                self._may_send_at = time.monotonic() + SECONDS_BETWEEN_NOTIFICATIONS
            if not batch:
                return
            self._send(batch, self._connect)
            self._pause()  # what changes meanwhile does not wake this thread, only to sleep again

    def _pause(self) -> None:
        pause = self._may_send_at - time.monotonic()
        if pause > 0:
            self._closing.wait(pause)

    def _send(
        self,
        batch: Sequence[UUID],
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
    ) -> None:
        try:
            with connect() as connection:
                if connection.info.backend_pid not in self._backends:
                    self._backends.append(connection.info.backend_pid)
                payloads = [
                    _joined(batch[start : start + IDS_PER_NOTIFICATION])
                    for start in range(0, len(batch), IDS_PER_NOTIFICATION)
                ]
                connection.execute(_NOTIFY, (payloads,))
        except (psycopg.Error, DatabaseUnavailable, DatabaseBusy) as error:
            # Only a hint was lost: watchers poll as well.
            self._backends.clear()  # a new server may give these numbers to others
            logger.debug("Could not announce %d changed sessions: %s", len(batch), error)


def _joined(session_ids: Sequence[UUID]) -> str:
    """The ids in hexadecimal, with spaces between them: `each.hex` would take twice as long."""
    return b"".join([each.int.to_bytes(16, "big") for each in session_ids]).hex(" ", 16)
