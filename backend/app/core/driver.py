"""psycopg's connection and cursor as Session Tasks uses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.pq import ExecStatus

if TYPE_CHECKING:
    from psycopg.abc import PQGen

Answer = TypeVar("Answer")
Row = TypeVar("Row")

_INTERVAL = 0.1
"""The seconds between checks for Ctrl-C and the timeout during a wait."""

_UNKNOWN = (None,) * 5
"""Display size, internal size, precision, scale and nullability: PEP 249 allows None."""


class ReadTimeoutConnection(psycopg.Connection[Any]):
    """Closes itself when the server is silent for `read_timeout` seconds.

    `statement_timeout` is the server's, and TCP's timeouts only notice a peer that acknowledges
    nothing. One that acknowledges and stays silent (a frozen machine behind a proxy) is noticed
    here. The call then raises `psycopg.OperationalError` without an SQLSTATE, as for any lost
    connection.
    """

    read_timeout: float | None = None

    def wait(
        self, gen: PQGen[Answer], interval: float = _INTERVAL, timeout: float | None = None
    ) -> Answer:
        """Wait for the server; `timeout` is that of a caller that waits for notifications."""
        if timeout is not None:
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval, self.read_timeout)
        except psycopg.errors._WaitTimeout as error:  # noqa: SLF001 - has no public name
            self.pgconn.finish()
            raise psycopg.OperationalError(
                f"the server was silent for {self.read_timeout:g} seconds"
            ) from error


class MinimalDescriptionCursor(psycopg.Cursor[Row]):
    """Describes columns by name and type oid only.

    SQLAlchemy reads only these two of the description of every result. psycopg's own also looks
    up each column's type: of 661 Python calls to read a session, with its forty columns, that took
    184.
    """

    @property
    def description(self) -> list[tuple[Any, ...]] | None:  # type: ignore[override]
        """The result's columns as in PEP 249; None if it returns no rows."""
        result = self.pgresult
        if result is None or not (result.nfields or result.status == ExecStatus.TUPLES_OK):
            return None
        return [
            ((result.fname(index) or b"").decode(), result.ftype(index), *_UNKNOWN)
            for index in range(result.nfields)
        ]
