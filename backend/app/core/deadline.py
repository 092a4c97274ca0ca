"""A deadline on the client's side for every wait on PostgreSQL.

`statement_timeout` is the server's, and TCP's timeouts see only a peer that acknowledges nothing.
One that acknowledges and stays silent (a frozen machine behind a proxy, say) is caught here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from sqlalchemy import event

if TYPE_CHECKING:
    from psycopg.abc import PQGen
    from sqlalchemy import Engine

Answer = TypeVar("Answer")

_INTERVAL = 0.1
"""How often a wait looks up, for Ctrl-C and for the deadline; seconds."""


def connect_with_deadline(engine: Engine, seconds: float) -> None:
    """Have every connection of `engine` hang up on a server that is silent for `seconds`.

    The call then raises `psycopg.OperationalError` without an SQLSTATE, as for any lost connection.
    """

    class ReadTimeoutConnection(psycopg.Connection[Any]):
        def wait(
            self, gen: PQGen[Answer], interval: float = _INTERVAL, timeout: float | None = None
        ) -> Answer:
            if timeout is not None:  # somebody waits for notifications: their own affair
                return super().wait(gen, interval, timeout)
            try:
                return super().wait(gen, interval, seconds)
            except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - has no public name
                self.pgconn.finish()
                raise psycopg.OperationalError(
                    f"the server was silent for {seconds:g} seconds"
                ) from error

    @event.listens_for(engine, "do_connect")
    def connect(
        _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
    ) -> ReadTimeoutConnection:
        return ReadTimeoutConnection.connect(*arguments, **options)
