"""A session's content as a handler reads it: page by page, each by one statement of its own.

No transaction stays open while a task works: it would hold back vacuum and be cut by the server's
timeout. A page that meets a lost connection is read again: reading changes nothing.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from app.repositories.content_reader import ContentReader
from app.repositories.transition_errors import session_not_found
from app.tasks.patience import patiently

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterator

    from app.core.connections import ConnectionSource
    from app.repositories.content_reader import ContentCounts, IncomingDocument, SessionOverview
    from app.values.results import ExportBody, JiraIssue, TicketDraft

DOCUMENTS_PER_PAGE = 100
DOCUMENT_BYTES_PER_PAGE = 1024 * 1024
"""A page of documents ends with the one that reaches this."""

TICKETS_PER_PAGE = 500
EXPORTS_PER_PAGE = 10

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class SessionContent:
    """Reads of one session; `open_database` is called at the first of them, and not before.

    A lost connection is waited for, up to `patience_seconds` in each read, while `check` (which
    may raise) is asked whether to go on.
    """

    def __init__(
        self,
        session_id: uuid.UUID,
        open_database: Callable[[], ConnectionSource],
        *,
        patience_seconds: float,
        check: Callable[[], None],
    ) -> None:
        self._session_id = session_id
        self._open_database = open_database
        self._patience_seconds = patience_seconds
        self._check = check

    @cached_property
    def _overview(self) -> SessionOverview:
        overview = self._read(lambda content: content.overview(self._session_id))
        if overview is None:
            raise session_not_found(self._session_id)
        return overview

    def options(self) -> dict[str, Any]:
        """Read what `sessions.options` holds.

        Raises:
            SessionNotFound: the session was deleted meanwhile.

        """
        return self._overview.options

    def counts(self) -> ContentCounts:
        """How much hung on the session when it was first read.

        Raises:
            SessionNotFound: the session was deleted meanwhile.

        """
        return self._overview.counts

    def document_names(self) -> list[str]:
        """Return the names of the documents, in order.

        Raises:
            SessionNotFound: the session was deleted meanwhile.

        """
        return list(self._overview.document_names)

    def documents(self) -> Iterator[IncomingDocument]:
        """Read the documents in order, about a megabyte at a time."""
        read = 0
        while read < self._overview.counts.documents:
            page = self._page(
                lambda content, after: content.documents(
                    self._session_id,
                    after=after,
                    limit=DOCUMENTS_PER_PAGE,
                    most_bytes=DOCUMENT_BYTES_PER_PAGE,
                ),
                read,
            )
            if not page:
                return  # the session was deleted meanwhile
            read += len(page)
            page.reverse()
            while page:
                yield page.pop()  # and let go of it

    def tickets(self, *, after: int = 0, limit: int | None = None) -> Iterator[TicketDraft]:
        """Read the tickets in order, from behind number `after`."""
        size = TICKETS_PER_PAGE if limit is None else min(limit, TICKETS_PER_PAGE)
        tickets = self._pages(
            lambda content, start: content.tickets(self._session_id, after=start, limit=size),
            size,
            after,
        )
        if limit is None:
            return tickets
        return (ticket for _, ticket in zip(range(limit), tickets, strict=False))

    def exports(self) -> Iterator[ExportBody]:
        """Read the import bodies in order."""
        return self._pages(
            lambda content, after: content.exports(
                self._session_id, after=after, limit=EXPORTS_PER_PAGE
            ),
            EXPORTS_PER_PAGE,
        )

    def issues(self) -> Iterator[JiraIssue]:
        """Read the issues that were created in Jira, in the order of their tickets."""
        after = 0
        while page := self._page(
            lambda content, last: content.issues(
                self._session_id, after=last, limit=TICKETS_PER_PAGE
            ),
            after,
        ):
            yield from page
            after = page[-1].ticket

    def seconds_since_processing(self) -> float:
        """Read how long ago the session's tickets were made."""
        return self._read(lambda content: content.seconds_since_processing(self._session_id))

    def _pages(
        self,
        page_behind: Callable[[ContentReader, int], Iterator[Item]],
        size: int,
        after: int = 0,
    ) -> Iterator[Item]:
        """All items behind position `after`; positions are whole: 1, 2, 3, ..."""
        while True:
            page = self._page(page_behind, after)
            yield from page
            if len(page) < size:
                return
            after += len(page)

    def _page(
        self, page_behind: Callable[[ContentReader, int], Iterator[Item]], after: int
    ) -> list[Item]:
        return self._read(lambda content: list(page_behind(content, after)))

    def _read(self, query: Callable[[ContentReader], Answer]) -> Answer:
        def read() -> Answer:
            database = self._open_database()
            with database.driver_connection() as connection:
                return query(ContentReader(lambda: connection))

        return patiently(read, seconds=self._patience_seconds, check=self._check)
