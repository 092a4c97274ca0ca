"""Access to PostgreSQL: `Database` opens it, `transaction()` is the unit of work.

To distinguish our `Session` from SQLAlchemy's, the latter is named `DbSession` here and
everywhere else.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, cast

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from sqlalchemy import URL, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session as DbSession

from app.core.connections import Connector, session_settings, silence_seconds
from app.core.database_errors import DatabaseDisk, read_only, translated_errors
from app.core.embedded import OLDEST_MAJOR, EmbeddedServer
from app.core.errors import ConfigurationError, DatabaseFull, DatabaseUnavailable
from app.core.notifications import Announcer
from app.core.pool import conninfo_of, pooled_engine, test_idle_connections
from app.core.schema_version import bring_schema_up_to_date, require_current_schema
from app.core.transactions import after_commit, bound, current_db_session

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from app.core.config import Settings

__all__ = ["Database", "after_commit", "bound", "current_db_session", "driver_connection"]

logger = logging.getLogger(__name__)

BRIEF_LOCK_SECONDS = 0.5
_DESCRIBE_SERVER = text(
    "SELECT current_setting('server_version_num'), current_setting('transaction_read_only')::bool"
)
_LIMIT_LOCK_WAIT = text("SELECT set_config('lock_timeout', :milliseconds, true)")

LEAST_FREE_BYTES = 16 * 1024 * 1024
"""The size of a segment of PostgreSQL's write-ahead log, for which the disk needs room."""

INTERRUPTIONS = (KeyboardInterrupt, SystemExit)


def driver_connection(db: DbSession) -> psycopg.Connection[Any]:
    """Return the psycopg connection of `db`, inside its transaction; flush pending objects.

    Raises:
        ConfigurationError: the session's engine has another driver.

    """
    connection = db.connection().connection.driver_connection
    if not isinstance(connection, psycopg.Connection):
        raise ConfigurationError(
            "SessionRepository needs a synchronous engine of the driver psycopg, not "
            f"{type(connection).__module__}.{type(connection).__name__}",
            next_step="Use objects of SessionTask in this session; or call the repository in a "
            "thread, within `with database.transaction() as db:`.",
        )
    db.flush()
    return connection


def database_now(db: DbSession) -> datetime:
    """Return the present moment by the database's clock, in UTC, even within a transaction."""
    return cast("datetime", db.scalar(text("SELECT clock_timestamp()"))).astimezone(UTC)


_USE_CUSTOM_PLANS = (
    "SELECT set_config('enable_seqscan', 'on', true), set_config('plan_cache_mode', 'auto', true)"
)


def use_custom_plans(db: DbSession) -> None:
    """Let PostgreSQL plan this transaction's statements freely, for their values.

    For searches: a rare status among many sessions needs another plan than a common one.
    """
    driver_connection(db).execute(_USE_CUSTOM_PLANS)


def _is_of_use(connection: psycopg.Connection[Any]) -> bool:
    """Return whether the connection can be reused: a Ctrl-C may leave a query running on it."""
    is_in_flight = connection.info.transaction_status == TransactionStatus.ACTIVE
    return not (connection.broken or connection.closed or is_in_flight)


class Database:
    """A PostgreSQL database with Session Tasks in it.

    Attributes:
        conninfo: libpq's form of the URL.
        engine: the engine for transactions of the ORM.
        server: the embedded server that it started or joined, if any.
        announce, is_own, subscribe: notifications of changed sessions; see
            `Announcer`. Call `announce` once the change is committed.

    If a connection to the embedded server cannot be opened, the server is started again if
    it died, and the connection is retried automatically.

    Args:
        read_timeout: how many seconds the server may be silent before a connection is given up;
            by default `silence_seconds`.
        releases_server: whether `close` releases the embedded server.

    """

    def __init__(
        self,
        settings: Settings,
        url: str,
        server: EmbeddedServer | None = None,
        *,
        read_timeout: float | None = None,
        releases_server: bool = True,
    ) -> None:
        self.settings = settings
        self.url = url
        self.server = server
        self._releases_server = releases_server
        self.disk = DatabaseDisk(_disk_name(url, server))
        self.conninfo = conninfo_of(url)
        self._connector = Connector(
            self.conninfo,
            session_settings(settings),
            connect_timeout=settings.connect_timeout_seconds,
            read_timeout=silence_seconds(settings) if read_timeout is None else read_timeout,
            revive=self.revive,
        )
        self.engine = pooled_engine(
            url,
            self._connector,
            pool_size=settings.pool_size,
            max_overflow=0,
            # The last used one, and its server process, are in the processor's caches: a third of
            # the client's CPU of a transaction.
            pool_use_lifo=True,
            pool_timeout=settings.lock_timeout_seconds,
        )
        test_idle_connections(self.engine)
        self._autocommit = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        self._announcer = Announcer(self.driver_connection)
        self.announce = self._announcer.announce
        self.is_own = self._announcer.is_own
        self.subscribe = self._announcer.subscribe

    @classmethod
    def open(cls, settings: Settings, *, require_current: bool = True) -> Database:
        """Return a database that responds and whose schema is current.

        The embedded one is upgraded automatically, a given one only by `db upgrade`.

        Raises:
            DatabaseUnavailable: it cannot be reached or started.
            SchemaOutdated: a given database is not at this version's migration.
            ConfigurationError: the URL cannot be used, or the server is older than 15.

        """
        if settings.database_url is not None:
            server = None
            url = _psycopg_url(settings.database_url.get_secret_value())
        else:
            server = EmbeddedServer.acquire(settings.data_dir)
            url = server.url
        database = cls(settings, url, server)
        try:
            database.check_server()
            if server is not None:
                with database.translated_errors():
                    bring_schema_up_to_date(database.engine, settings.database_schema)
            elif require_current:
                require_current_schema(database.engine)
        except BaseException:
            database.close()
            raise
        return database

    def check_server(self) -> int:
        """Return the server's major version.

        Raises:
            DatabaseUnavailable: it does not respond.
            DatabaseUnsuitable: it is read-only, or its encoding is not UTF8.
            ConfigurationError: it is older than 15.

        """
        with self.translated_errors(), self.engine.connect() as connection:
            number, is_read_only = connection.execute(_DESCRIBE_SERVER).one()
        version = int(number) // 10_000
        if version < OLDEST_MAJOR:
            raise ConfigurationError(
                f"This is PostgreSQL {version}; Session Tasks needs {OLDEST_MAJOR}",
                next_step="Point SESSION_TASKS_DATABASE_URL at a newer server.",
            )
        if is_read_only:
            raise read_only("default_transaction_read_only is on")
        return version

    def check_disk(self) -> None:
        """Check that the database's disk has room.

        Raises:
            DatabaseFull: a statement recently failed for lack of space, or the embedded server
                has no room for its next log segment.

        """
        if self.disk.is_full or (
            self.server is not None and self.server.free_bytes < LEAST_FREE_BYTES
        ):
            raise DatabaseFull(f"The database's disk is full ({self.disk.name})")

    @contextlib.contextmanager
    def translated_errors(self) -> Iterator[None]:
        """`translated_errors`, which names the full disk, and the pool's own timeout.

        Raises:
            DatabaseUnavailable: as there, or all connections of the pool are in use.

        """
        try:
            with translated_errors(self.disk):
                yield
        except PoolTimeout as error:
            raise DatabaseUnavailable(
                "All database connections of this process are in use",
                next_step="Raise SESSION_TASKS_POOL_SIZE, or lower the concurrency.",
            ) from error

    @contextlib.contextmanager
    def transaction(self, *, waits_briefly: bool = False) -> Iterator[DbSession]:
        """A transaction that commits at the end of the block, or rolls back on any error.

        It is bound to the block: `current_db_session()` and the model's queries use it.
        With `waits_briefly`, it waits for locks no longer than `BRIEF_LOCK_SECONDS`: for requests
        of many callers that share the connections.

        Raises:
            DatabaseBusy: see `translated_errors`.
            DatabaseUnavailable: the server cannot be reached. If this happened during a commit,
                whether it took effect is unknown: read the rows.

        """
        with self.translated_errors(), DbSession(self.engine, expire_on_commit=False) as db:
            db.info["announce"] = self.announce
            db.info["retry_backoff_seconds"] = self.settings.retry_backoff_seconds
            with bound(db), db.begin():
                if waits_briefly:
                    longest = min(BRIEF_LOCK_SECONDS, self.settings.lock_timeout_seconds)
                    db.execute(_LIMIT_LOCK_WAIT, {"milliseconds": str(round(longest * 1_000))})
                try:
                    yield db
                except INTERRUPTIONS:  # a statement may still be under way on the connection
                    db.invalidate()
                    raise

    @contextlib.contextmanager
    def autocommit_connection(self) -> Iterator[Connection]:
        """SQLAlchemy's connection from the pool, in autocommit: for reads outside a transaction.

        Raises:
            DatabaseUnavailable: the server cannot be reached.

        """
        with self.translated_errors(), self._autocommit.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def driver_connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A psycopg connection from the pool, in autocommit.

        Raises:
            DatabaseUnavailable: the server cannot be reached.

        """
        # The pool's own: an engine's `Connection` around it would double the time.
        with self.translated_errors(), contextlib.closing(self.engine.raw_connection()) as pooled:
            raw = cast("psycopg.Connection[Any]", pooled.driver_connection)
            raw.autocommit = True
            try:
                yield raw
            except psycopg.errors.ReadOnlySqlTransaction:
                raw.close()  # the next may reach the server that takes writes
                raise
            finally:
                if _is_of_use(raw):
                    raw.rollback()  # nothing, unless a transaction was left open
                    raw.autocommit = False
                elif raw.closed:
                    # The cause, such as a silent network, may affect all connections: they
                    # are replaced when next used, as after an error of an engine's transaction.
                    self.engine.pool._invalidate(pooled)  # noqa: SLF001 - as `Engine` does
                else:
                    pooled.invalidate()

    async def connect_async(self, application_name: str) -> psycopg.AsyncConnection[Any]:
        """A connection beside the pool, in autocommit; the caller closes it.

        Raises:
            psycopg.OperationalError, DatabaseUnavailable: the server cannot be reached.

        """
        return await self._connector.connect_async(application_name)

    def second_pool(self, settings: Settings, *, read_timeout: float | None = None) -> Database:
        """Return the same database with another pool; close it before this one."""
        other = Database(
            settings,
            self.url,
            self.server,
            read_timeout=read_timeout,
            releases_server=False,
        )
        other.disk = self.disk
        return other

    def revive(self) -> bool:
        """Start the embedded server again if it died; False if that is not this process's task.

        It waits no longer than a connection may take: recovery goes on without it.

        Raises:
            DatabaseUnavailable: it cannot be started, or still recovers.

        """
        if self.server is None or not self.server.is_acquired:
            return False
        self.server.ensure_running(self.settings.connect_timeout_seconds)
        return True

    def close(self) -> None:
        """Close all connections, and release the embedded server; may be called again."""
        self._announcer.close()
        # A thread that still uses a connection returns it to the pool as it was: it is closed then.
        event.listen(self.engine.pool, "checkin", lambda _connection, record: record.invalidate())
        self.engine.dispose()
        if self.server is not None and self._releases_server:
            self.server.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.close()


def _disk_name(url: str, server: EmbeddedServer | None) -> str:
    if server is not None:
        return str(server.home)
    parsed = make_url(url)
    return f"PostgreSQL's on {parsed.host or parsed.query.get('host') or 'this machine'}"


def _parsed(url: str) -> URL:
    """Return SQLAlchemy's form of its own URL, or of libpq's with several hosts and ports."""
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        if "," not in url:
            raise
    parts = {k: str(v) for k, v in conninfo_to_dict(url.replace("+psycopg", "", 1)).items()}
    user, password, database = (parts.pop(name, None) for name in ("user", "password", "dbname"))
    return URL.create("postgresql", user, password, database=database, query=parts)


def _psycopg_url(url: str) -> str:
    """Return the URL with psycopg as its driver, from any spelling of a PostgreSQL URL."""
    try:
        parsed = _parsed(url)
    except Exception as error:
        raise ConfigurationError(
            "SESSION_TASKS_DATABASE_URL is not a database URL",
            next_step="Write postgresql://user:password@host:5432/database.",
        ) from error
    if parsed.drivername not in {"postgres", "postgresql", "postgresql+psycopg"}:
        raise ConfigurationError(
            f"SESSION_TASKS_DATABASE_URL is for {parsed.drivername}, not PostgreSQL",
            next_step="Write postgresql://user:password@host:5432/database.",
        )
    parsed = parsed.set(drivername="postgresql+psycopg")
    try:
        conninfo_of(parsed)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            f"SESSION_TASKS_DATABASE_URL cannot be used: {error}",
            next_step="Write postgresql://user:password@host:5432/database; after a question mark "
            "it takes libpq's parameters, such as sslmode=require.",
        ) from error
    return parsed.render_as_string(hide_password=False)
