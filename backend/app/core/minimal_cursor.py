"""A cursor whose `description` holds only what SQLAlchemy reads: names and type oids."""

from __future__ import annotations

from typing import Any, TypeVar

import psycopg
from psycopg.pq import ExecStatus

_UNKNOWN = (None,) * 5
"""Display size, internal size, precision, scale and nullability, which PEP 249 lets be None."""

Row = TypeVar("Row")


class MinimalDescriptionCursor(psycopg.Cursor[Row]):
    """Describes columns by name and type oid only.

    SQLAlchemy reads the description of every result, and of it these two. psycopg's own also looks
    up each column's type: of 661 Python calls to read a session, with its forty columns, that took
    184.
    """

    @property
    def description(self) -> list[tuple[Any, ...]] | None:  # type: ignore[override]
        """The result's columns as in PEP 249; None where it returns no rows."""
        result = self.pgresult
        if result is None or not (result.nfields or result.status == ExecStatus.TUPLES_OK):
            return None
        return [
            ((result.fname(index) or b"").decode(), result.ftype(index), *_UNKNOWN)
            for index in range(result.nfields)
        ]
