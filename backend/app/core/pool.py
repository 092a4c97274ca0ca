"""SQLAlchemy's engine and pool over connections of a `Connector`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, create_engine, event, make_url
from sqlalchemy.dialects.postgresql import psycopg as psycopg_dialect
from sqlalchemy.exc import InvalidatePoolError

from app.core.connections import has_news
from app.core.database_errors import READ_ONLY
from app.core.embedded.cluster import CONNECTION_OPTIONS

if TYPE_CHECKING:
    from sqlalchemy import URL
    from sqlalchemy.engine import ExceptionContext
    from sqlalchemy.pool import ConnectionPoolEntry

    from app.core.connections import Connector
    from app.core.driver import ReadTimeoutConnection

TRUSTED_SECONDS = 1.0
"""How long after its last use a pooled connection is trusted, unless its socket is closed."""

PING_SECONDS = 5.0
"""How long a pooled connection may take to respond to a test before use."""

_RETURNED_AT = "returned_at"


def conninfo_of(url: str | URL) -> str:
    """Return libpq's form of SQLAlchemy's URL; for a socket, without what the environment adds.

    Raises:
        psycopg.ProgrammingError: libpq does not know one of its options.

    """
    dialect = psycopg_dialect.dialect()  # type: ignore[no-untyped-call]
    _, parameters = dialect.create_connect_args(make_url(url))  # type: ignore[no-untyped-call]
    if str(parameters.get("host")).startswith("/"):
        parameters = {**CONNECTION_OPTIONS, **parameters}
    return make_conninfo(**parameters)


def pooled_engine(url: str, connector: Connector, **pool: Any) -> Engine:
    """Return an engine whose pool opens its connections by `connector`.

    `pool` as for `create_engine`.
    """
    engine = create_engine(url, hide_parameters=True, **pool)

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, _record: object, _arguments: list[Any], parameters: dict[str, Any]
    ) -> ReadTimeoutConnection:
        return connector.connect(parameters.get("context"))

    @event.listens_for(engine, "handle_error")
    def leave_a_read_only_server(context: ExceptionContext) -> None:
        """Open new connections, which may reach the server that takes writes by now."""
        if getattr(context.original_exception, "sqlstate", None) == READ_ONLY:
            context.is_disconnect = True

    return engine


def test_idle_connections(engine: Engine) -> None:
    """Test pooled connections before use: by a look at the socket, or by a round trip.

    SQLAlchemy's `pool_pre_ping` costs a round trip for every transaction. A
    server that disconnected is noticed on the socket. Only a network that dropped the connection,
    which takes longer than a second, needs a round trip to be noticed.
    """

    @event.listens_for(engine, "checkin")
    def note_the_time(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info[_RETURNED_AT] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def test(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
        returned_at = record.info.get(_RETURNED_AT)
        if returned_at is None:
            return  # it is new
        try:
            if time.monotonic() - returned_at < TRUSTED_SECONDS and not has_news(connection):
                return
            alive = _ping(engine, connection)
        except psycopg.Error as error:
            raise InvalidatePoolError from error
        if not alive:
            raise InvalidatePoolError


def _ping(engine: Engine, connection: ReadTimeoutConnection) -> bool:
    """Make a round trip without work: silence is noticed sooner than in a statement."""
    usual = connection.read_timeout
    connection.read_timeout = PING_SECONDS if usual is None else min(PING_SECONDS, usual)
    try:
        return engine.dialect.do_ping(connection)  # type: ignore[arg-type]
    finally:
        connection.read_timeout = usual
