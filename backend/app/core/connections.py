"""Opens every connection to PostgreSQL, with one set of session settings; revives a dead server.

A connection inherits settings from the role, the database, the server's configuration, the URL and
the environment (`PGCLIENTENCODING`, `PGDATESTYLE`, `PGTZ`, `PGOPTIONS`). What the code relies on is
pinned here, for the pool, the driver, LISTEN, child processes and Alembic. What belongs to
the operator is left alone: `synchronous_commit`, `default_transaction_read_only`, `work_mem` and
all else; `search_path`, too, unless a schema is set.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict

from app.core.database_errors import read_only, translated_errors
from app.core.driver import MinimalDescriptionCursor, ReadTimeoutConnection
from app.core.errors import DatabaseUnsuitable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from psycopg.abc import AdaptContext

    from app.core.config import Settings

PINNED_SETTINGS: Mapping[str, str] = {
    # Encoding of values and statements
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "extra_float_digits": "1",
    "array_nulls": "on",
    "transform_null_equals": "off",
    # Transactions
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "idle_session_timeout": "0",  # connections of the pool, and those that listen, are idle
    # Planning: by index, and once (`use_custom_plans` for searches). A plan
    # that was made while a table was small would read all of it after it has grown, until
    # it is next analysed: a start of 256 tasks among 20,000 took 3.7 s. And if a generic plan looks
    # more expensive than earlier ones, as it may after any vacuum, PostgreSQL plans each execution
    # again, which takes 0.4 ms.
    "enable_seqscan": "off",
    # Before PostgreSQL 18, a table without an index that fits costs 10^10 then, for which the
    # statement would be compiled: half a second for every sign of life of a worker.
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""Session settings that no role, database or environment may change."""

PINNED_FROM_17: Mapping[str, str] = {"transaction_timeout": "0"}
"""The same for settings that PostgreSQL before 17 does not know, and would refuse in `options`."""

KEEPALIVE: Mapping[str, int] = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

SILENCE_SECONDS = 5.0
"""How long after its own timeout a silent server is waited for before we disconnect."""

LEAST_SILENCE_SECONDS = 10.0
"""A lease shorter than this does not shorten the tolerated silence."""

MOST_ATTEMPTS = 3
"""Attempts to connect: as usual, without `options`, and after the server was revived."""

_SET = """
SELECT pg_catalog.current_setting('session_replication_role'),
       (SELECT pg_catalog.count(pg_catalog.set_config(name, value, false))
          FROM unnest(%s::text[], %s::text[]) AS wanted (name, value))"""
_POSTGRESQL_17 = 170_000


def timeouts(settings: Settings) -> dict[str, str]:
    """Return the server's timeouts for a session of the program, in milliseconds."""
    seconds = {
        "statement_timeout": settings.statement_timeout_seconds,
        "lock_timeout": settings.lock_timeout_seconds,
        "idle_in_transaction_session_timeout": settings.idle_in_transaction_timeout_seconds,
    }
    return {name: str(round(1_000 * limit)) for name, limit in seconds.items()}


def session_settings(settings: Settings) -> dict[str, str]:
    """Return the timeouts, and the only schema to search, if the settings name one."""
    schema = settings.database_schema
    return timeouts(settings) | ({} if schema is None else {"search_path": schema})


def silence_seconds(settings: Settings) -> float:
    """Return how long the server may be silent before a connection is given up.

    Some seconds longer than a statement may take, and no longer than a lease.
    """
    return min(
        settings.statement_timeout_seconds + SILENCE_SECONDS,
        max(settings.lease_seconds, LEAST_SILENCE_SECONDS),
    )


class Connector:
    """Opens connections of all kinds to one database, with the same session settings.

    The settings are sent in the startup packet (`options`), without a round trip. PgBouncer before
    1.20 refuses `options`: there they are set by one statement instead, which lasts as long as the
    pooler keeps the server connection (session pooling).

    Args:
        conninfo: libpq's; its `options`, or PGOPTIONS, are kept as far as they are not pinned.
        session_settings: settings in addition to the pinned ones.
        read_timeout: how many seconds the server may be silent before a connection is given up.
        revive: called when a connection cannot be opened; returns whether to try again.

    """

    def __init__(
        self,
        conninfo: str,
        session_settings: Mapping[str, str],
        *,
        connect_timeout: int,
        read_timeout: float | None = None,
        revive: Callable[[], bool] = lambda: False,
    ) -> None:
        self._conninfo = conninfo
        self._settings = {**PINNED_SETTINGS, **session_settings}
        self._read_timeout = read_timeout
        self._revive = revive
        self._takes_options = True
        self._is_first = True
        self._parameters: dict[str, Any] = {
            "connect_timeout": connect_timeout,
            "application_name": "session-tasks",
            "client_encoding": self._settings["client_encoding"],
            **KEEPALIVE,
        }

    def connect(self, context: AdaptContext | None = None) -> ReadTimeoutConnection:
        """Return a connection, not in autocommit, which converts values as `context` says.

        Raises:
            psycopg.OperationalError: the server cannot be reached.
            DatabaseUnsuitable: the server or the database cannot be used.

        """
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                connection = ReadTimeoutConnection.connect(
                    self._conninfo,
                    context=context,
                    cursor_factory=MinimalDescriptionCursor,
                    **self._accepted(self._parameters),
                )
                break
            except psycopg.OperationalError as error:
                if attempt == MOST_ATTEMPTS or not self._may_try_again(error):
                    raise
        require_suitable(connection)
        connection.read_timeout = self._read_timeout
        if (missing := self._missing(connection)) or self._is_first:
            try:
                connection.autocommit = True
                cursor = connection.execute(_SET, [list(missing), list(missing.values())])
                _require_triggers(cursor.fetchone())
                connection.autocommit = False
            except BaseException:
                connection.close()
                raise
            self._is_first = False
        return connection

    async def connect_async(self, application_name: str) -> psycopg.AsyncConnection[Any]:
        """Return a connection outside of the pool, in autocommit; the caller closes it.

        Raises:
            psycopg.OperationalError: the server cannot be reached.

        """
        parameters = {**self._parameters, "application_name": application_name}
        for attempt in range(1, MOST_ATTEMPTS + 1):
            try:
                connection = await psycopg.AsyncConnection.connect(
                    self._conninfo, autocommit=True, **self._accepted(parameters)
                )
                break
            except psycopg.OperationalError as error:
                if attempt == MOST_ATTEMPTS or not await asyncio.to_thread(
                    self._may_try_again, error
                ):
                    raise
        require_suitable(connection)
        if (missing := self._missing(connection)) or self._is_first:
            try:
                cursor = await connection.execute(_SET, [list(missing), list(missing.values())])
                _require_triggers(await cursor.fetchone())
            except BaseException:
                await connection.close()
                raise
            self._is_first = False
        return connection

    @cached_property
    def _inherited(self) -> object:
        """The options of the URL or the environment; ours come after them, and count."""
        return conninfo_to_dict(self._conninfo).get("options") or os.environ.get("PGOPTIONS", "")

    def _accepted(self, parameters: dict[str, Any]) -> dict[str, Any]:
        options = ""  # libpq sends none then, neither the URL's nor those of PGOPTIONS
        if self._takes_options:
            options = f"{self._inherited} {startup_options(self._settings)}".strip()
        return {**parameters, "options": options}

    def _may_try_again(self, error: psycopg.OperationalError) -> bool:
        if self._takes_options and "startup parameter" in str(error):  # PgBouncer's refusal
            self._takes_options = False
            return True
        return self._revive()

    def _missing(self, connection: psycopg.BaseConnection[Any]) -> dict[str, str]:
        """Return the settings that the server reports with wrong values; it reports only a few.

        libpq sends PGDATESTYLE and PGTZ in a way that overrides `options`.
        """
        info = connection.info
        newer = PINNED_FROM_17 if info.server_version >= _POSTGRESQL_17 else {}
        unsent = {name: value for name, value in newer.items() if name not in info.options}
        # From now on `options` has them; other threads may be reading the former ones.
        self._settings = {**self._settings, **newer}
        if not self._takes_options:
            return self._settings
        report = info.parameter_status
        return {
            **unsent,
            **{
                name: value
                for name, value in self._settings.items()
                if report(name) not in {None, value}
            },
        }


def require_suitable(connection: psycopg.BaseConnection[Any]) -> None:
    """Check that the server can be used, by what it reports on connecting.

    Raises:
        DatabaseUnsuitable: it is read-only, or the database's encoding is not UTF8.

    """
    report = connection.info.parameter_status
    error: DatabaseUnsuitable | None = None
    encoding = report("server_encoding")
    if encoding not in {None, "UTF8"}:
        name = connection.info.dbname
        error = DatabaseUnsuitable(
            f"The database {name} is encoded in {encoding}; Session Tasks needs UTF8",
            next_step="Create one (createdb --encoding=UTF8 --template=template0 NAME), move what "
            f"you need there (pg_dump {name} | psql NAME), and name it in "
            "SESSION_TASKS_DATABASE_URL.",
        )
    elif report("in_hot_standby") == "on":
        error = read_only("it is a standby")
    elif report("default_transaction_read_only") == "on":
        error = read_only("default_transaction_read_only is on")
    if error is not None:
        connection.pgconn.finish()
        raise error


def _require_triggers(row: tuple[Any, ...] | None) -> None:
    """Check that foreign keys and triggers act, once for each program.

    Raises:
        DatabaseUnsuitable: the role or the database has them switched off.

    """
    if row is not None and row[0] == "replica":
        raise DatabaseUnsuitable(
            "Foreign keys and triggers do not act here: session_replication_role is replica",
            next_step="ALTER ROLE … RESET session_replication_role (or ALTER DATABASE …), and "
            "remove it from PGOPTIONS and the URL.",
        )


def startup_options(settings: Mapping[str, str]) -> str:
    """Return the settings as command-line options, blanks escaped (libpq, `options`)."""
    pairs = (f"{name}={value}" for name, value in settings.items())
    return " ".join("-c" + pair.replace(" ", "\\ ") for pair in pairs)


class ConnectionSource(Protocol):
    """Lends connections, in autocommit: a `Database`, or a `SingleConnection`."""

    def driver_connection(self) -> AbstractContextManager[psycopg.Connection[Any]]:
        """Lend a connection for the block."""


class SingleConnection:
    """One connection to the database, opened when it is first used; its threads take turns.

    For processes that run handlers: they need no pool, and no SQLAlchemy.
    """

    def __init__(self, settings: Settings, conninfo: str) -> None:
        self._connector = Connector(
            conninfo,
            session_settings(settings),
            connect_timeout=settings.connect_timeout_seconds,
            read_timeout=silence_seconds(settings),
        )
        self._turn = threading.RLock()
        self._connection: psycopg.Connection[Any] | None = None

    @contextlib.contextmanager
    def driver_connection(self) -> Iterator[psycopg.Connection[Any]]:
        """The connection, in autocommit; one that was lost, or left by an error, is replaced.

        Raises:
            DatabaseUnavailable: the server cannot be reached.

        """
        with translated_errors(), self._turn:
            if self._connection is None or has_news(self._connection):
                self.close()
                self._connection = self._connector.connect()
                self._connection.autocommit = True
            try:
                yield self._connection
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """Close it, if it is open."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def has_news(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the server has sent something since the last use, such as a disconnect."""
    if connection.closed:
        return True
    socket = select.poll()
    socket.register(connection.fileno(), select.POLLIN)
    return bool(socket.poll(0))
