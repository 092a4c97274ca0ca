"""Reads of a session's content, a page at a time or as a stream.

They go through the driver: to build a statement and to take its result apart, SQLAlchemy needs
longer than PostgreSQL does to read a small session. Descriptions are cast to text: they are handed
on as they were written, never parsed here.
"""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.values.results import ExportBody, JiraIssue, TicketDraft

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterator

    import psycopg

ROWS_PER_FETCH = 500


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document as submitted: its name, and its unchanged bytes."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ContentCounts:
    """The size of a session's content."""

    documents: int
    tickets: int
    exports: int
    findings: int


@dataclass(frozen=True, slots=True)
class SessionOverview:
    """The facts of a session that a handler needs before it reads the content."""

    options: dict[str, Any]
    document_names: list[str]
    counts: ContentCounts


_COUNTS = """
(SELECT count(*) FROM documents WHERE session_id = %(session_id)s),
(SELECT count(*) FROM tickets WHERE session_id = %(session_id)s),
(SELECT count(*) FROM exports WHERE session_id = %(session_id)s),
(SELECT count(*) FROM validation_findings WHERE session_id = %(session_id)s)"""

_OVERVIEW = f"""
SELECT options,
       ARRAY(SELECT name FROM documents WHERE session_id = %(session_id)s ORDER BY position),
       {_COUNTS}
  FROM sessions WHERE id = %(session_id)s"""  # noqa: S608 - constants only

_DOCUMENTS = """
SELECT name, content
  FROM (SELECT position, sum(octet_length(content)) OVER (ORDER BY position)
                           - octet_length(content) AS bytes_before
          FROM documents WHERE session_id = %(session_id)s AND position > %(after)s
         ORDER BY position LIMIT %(limit)s) page
  JOIN documents USING (position)
 WHERE session_id = %(session_id)s
   AND (%(most_bytes)s::bigint IS NULL OR bytes_before < %(most_bytes)s::bigint)
 ORDER BY position"""

_PAGE = """
 WHERE session_id = %(session_id)s AND position > %(after)s
 ORDER BY position LIMIT %(limit)s"""

_TICKETS = f"""
SELECT title, description::text, source_name, source_row, coalesce(fields::text, '{{}}'), parent
  FROM tickets {_PAGE}"""  # noqa: S608 - constants only
_EXPORTS = f"SELECT body::text, issue_count FROM exports {_PAGE}"  # noqa: S608 - constants only
_ISSUES = f"SELECT position, issue_id, key, url FROM delivered_issues {_PAGE}"  # noqa: S608 - constants only

_SECONDS_SINCE_PROCESSING = """
SELECT extract(epoch FROM clock_timestamp()
                          - coalesce(processing_completed_at, created_at))::float
  FROM sessions WHERE id = %(session_id)s"""

_stream_numbers = itertools.count(1)


class ContentReader:
    """Reads the content of sessions, in the transaction of a connection or in autocommit.

    Reads without a limit stream through a server-side cursor, so a session of any size costs little
    memory. In autocommit every read needs a limit: a server-side cursor lives in a transaction.

    Args:
        connection: returns the connection to read from; called for every read.

    """

    def __init__(self, connection: Callable[[], psycopg.Connection[Any]]) -> None:
        self._connection = connection

    def overview(self, session_id: uuid.UUID) -> SessionOverview | None:
        """Return the session's options, document names and counts; None if it does not exist."""
        row = self._row(_OVERVIEW, session_id)
        if row is None:
            return None
        options, document_names, *counts = row
        return SessionOverview(options, document_names, ContentCounts(*counts))

    def counts(self, session_id: uuid.UUID) -> ContentCounts:
        """Return the numbers of documents, tickets, bodies and findings of the session."""
        return ContentCounts(*(self._row(f"SELECT {_COUNTS}", session_id) or ()))

    def documents(
        self,
        session_id: uuid.UUID,
        *,
        after: int = 0,
        limit: int | None = None,
        most_bytes: int | None = None,
    ) -> Iterator[IncomingDocument]:
        """Yield the session's documents as submitted, after position `after`.

        The last is the one that reaches `most_bytes`.
        """
        rows = self._page(
            _DOCUMENTS, session_id, after, limit, rows_at_once=1, most_bytes=most_bytes
        )
        return itertools.starmap(IncomingDocument, rows)

    def tickets(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int | None = None
    ) -> Iterator[TicketDraft]:
        """Yield the session's tickets in order, after position `after`."""
        rows = self._page(_TICKETS, session_id, after, limit)
        return itertools.starmap(TicketDraft, rows)

    def exports(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int | None = None
    ) -> Iterator[ExportBody]:
        """Yield the session's import bodies in order, after position `after`."""
        rows = self._page(_EXPORTS, session_id, after, limit, rows_at_once=1)
        return itertools.starmap(ExportBody, rows)

    def issues(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int | None = None
    ) -> Iterator[JiraIssue]:
        """Yield the issues created in Jira for the tickets after number `after`, in order."""
        rows = self._page(_ISSUES, session_id, after, limit)
        return itertools.starmap(JiraIssue, rows)

    def seconds_since_processing(self, session_id: uuid.UUID) -> float:
        """Return how long ago the session's tickets were made; nothing was exported before that."""
        (seconds,) = self._row(_SECONDS_SINCE_PROCESSING, session_id) or (0.0,)
        return float(seconds)

    def _row(self, statement: str, session_id: uuid.UUID) -> tuple[Any, ...] | None:
        parameters = {"session_id": session_id}
        row: tuple[Any, ...] | None = (
            self._connection().execute(statement, parameters, binary=True).fetchone()
        )
        return row

    def _page(
        self,
        statement: str,
        session_id: uuid.UUID,
        after: int,
        limit: int | None,
        *,
        rows_at_once: int = ROWS_PER_FETCH,
        **where: int | None,
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the rows; without a limit, this many at a time."""
        parameters = {"session_id": session_id, "after": after, "limit": limit, **where}
        connection = self._connection()
        if limit is not None:
            return iter(connection.execute(statement, parameters, binary=True).fetchall())
        return _stream(connection, statement, parameters, rows_at_once)


def _stream(
    connection: psycopg.Connection[Any],
    statement: str,
    parameters: dict[str, Any],
    rows_at_once: int,
) -> Iterator[tuple[Any, ...]]:
    name = f"content_{next(_stream_numbers)}"
    with contextlib.closing(connection.cursor(name)) as cursor:
        cursor.itersize = rows_at_once
        yield from cursor.execute(statement, parameters, binary=True)
