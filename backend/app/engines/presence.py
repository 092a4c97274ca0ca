"""A worker's row in the table of live workers, renewed by heartbeats."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import psycopg

from app.core.errors import DatabaseBusy, DatabaseUnavailable
from app.repositories.worker_repository import (
    WorkerDescription,
    forget_worker,
    renew_presence,
)
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from app.core.config import EngineName, Settings

logger = logging.getLogger(__name__)

BEATS_PER_LEASE = 3


def host_name() -> str:
    """Return the host name that workers of this machine, or container, report."""
    return socket.gethostname()[:255]


class Presence:
    """Maintains a worker's row in the table of live workers (`WorkerPresence`).

    `step` is the body of a `Loop`, or a part of one: it waits for no lock. After a database crash,
    which empties the table, the next beat inserts the row again.

    Args:
        connect: a context manager that yields a connection in autocommit.
        on_drain: called once, by `step`, when the worker is asked to drain; it must not wait.
        session_ids: the only sessions whose tasks the worker takes; None: any.

    """

    def __init__(  # noqa: PLR0913 - what a worker says of itself
        self,
        connect: Callable[[], AbstractContextManager[psycopg.Connection[Any]]],
        settings: Settings,
        *,
        worker_id: UUID,
        engine: EngineName,
        concurrency: int,
        on_drain: Callable[[], None],
        task_types: Sequence[TaskType] = tuple(TaskType),
        session_ids: Collection[UUID] | None = None,
    ) -> None:
        self._connect = connect
        self._lease_seconds = settings.lease_seconds
        self._worker = WorkerDescription(
            id=worker_id,
            host=host_name(),
            pid=os.getpid(),
            version=version("session-tasks")[:100],
            engine=engine.value,
            concurrency=concurrency,
            task_types=task_types,
            session_ids=None if session_ids is None else tuple(session_ids),
        )
        self._on_drain = on_drain
        self._is_draining = False
        self._is_written = False
        self._is_refused = False
        self._started_at = time.monotonic()
        self._due_at = self._started_at

    def drain(self) -> None:
        """Have the next step report that the worker takes no more tasks."""
        self._is_draining = True
        self._due_at = time.monotonic()

    def step(self) -> float:
        """Renew the row if it is due; return the seconds until the next renewal."""
        now = time.monotonic()
        if now < self._due_at:
            return self._due_at - now
        self._due_at = now + self._lease_seconds / BEATS_PER_LEASE
        self._is_written = False
        try:
            with self._connect() as connection:
                is_asked_to_drain = renew_presence(
                    connection,
                    self._worker,
                    age_seconds=now - self._started_at,
                    lease_seconds=self._lease_seconds,
                    is_draining=self._is_draining,
                )
        except (DatabaseUnavailable, DatabaseBusy):
            self._due_at = now
            raise
        except psycopg.Error:  # it is for display only
            if not self._is_refused:
                logger.exception("The row that says that this worker is alive cannot be written")
            self._is_refused = True
            return self._due_at - now
        self._is_written = True
        if is_asked_to_drain and not self._is_draining:
            self._is_draining = True
            logger.info("Worker %s was asked to drain", self._worker.id)
            self._on_drain()
        return self._due_at - now

    def leave(self) -> None:
        """Delete the row, after the last step; if the database is unavailable, its lease ends."""
        if not self._is_written:
            return
        with (
            contextlib.suppress(DatabaseUnavailable, DatabaseBusy, psycopg.Error),
            self._connect() as connection,
        ):
            forget_worker(connection, self._worker.id)
