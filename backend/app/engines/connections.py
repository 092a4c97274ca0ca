"""A worker's own connections, separate from the pool for its tasks' outcomes.

A worker whose heartbeats had to queue behind the writing of results would lose its claims just
when it is busiest.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from app.core.config import Settings
    from app.core.database import Database

CONNECTIONS = 3
"""Heartbeats, claims, notifications."""


def vital_database(database: Database, settings: Settings) -> Database:
    """Open the same database with a small pool of its own, for short statements.

    No statement takes more than a quarter of the lease, and no server may be silent for a third.
    """
    statement_seconds = min(settings.statement_timeout_seconds, settings.lease_seconds / 4)
    return database.second_pool(
        settings.model_copy(
            update={
                "pool_size": CONNECTIONS,
                "statement_timeout_seconds": statement_seconds,
                "lock_timeout_seconds": min(settings.lock_timeout_seconds, statement_seconds),
                "connect_timeout_seconds": max(2, min(settings.connect_timeout_seconds, 5)),
            }
        ),
        read_timeout=settings.lease_seconds / 3,
    )


class HeldConnection:
    """One driver connection, kept open; after an error the next use opens another.

    For one thread. It needs no test before each use: an idle worker sends one statement per poll,
    not two.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stack = contextlib.ExitStack()
        self._connection: psycopg.Connection[Any] | None = None

    @contextlib.contextmanager
    def use(self) -> Iterator[psycopg.Connection[Any]]:
        """Lend the connection, in autocommit.

        Raises:
            DatabaseUnavailable: it cannot be opened, or was lost in use.

        """
        if self._connection is None:
            self._connection = self._stack.enter_context(self._database.driver_connection())
        try:
            yield self._connection
        except BaseException as error:
            stack, self._stack, self._connection = self._stack, contextlib.ExitStack(), None
            stack.__exit__(type(error), error, error.__traceback__)  # translates connection loss
            raise

    def close(self) -> None:
        """Close the connection; a later use opens another."""
        self._connection = None
        self._stack.close()
