"""The content of a session: documents, tickets, exports, findings, notes.

Reads without a limit stream through a server-side cursor, so a session of any size costs a reader
little memory; writes go in by COPY. All of it happens in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Integer,
    Text,
    Uuid,
    bindparam,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import aggregate_order_by

from app.core.database import driver_connection
from app.models.content import (
    DeliveredIssue,
    Document,
    Export,
    SessionNote,
    Ticket,
    ValidationFinding,
)
from app.models.results import NO_FIELDS, ExportBody, Finding, JiraIssue, TicketDraft
from app.models.session import Session
from app.repositories.results_writer import Produced, copy_rows, copy_statement, write_results

if TYPE_CHECKING:
    import uuid

    from sqlalchemy import Connection, Result, Select
    from sqlalchemy.orm import Session as DbSession

    from app.models.results import TaskResults
    from app.models.session import TaskType

ROWS_PER_FETCH = 500

COPY_DOCUMENTS = copy_statement(
    Document.__tablename__, ("session_id", "position", "name", "content")
)


@dataclass(frozen=True, slots=True)
class IncomingDocument:
    """A document as it was handed in: its name, and its bytes untouched."""

    name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class TicketTitle:
    """A ticket as a list has it: its number (the first is 1), its source, its parent's number.

    Attributes:
        issue_key, issue_url: of the issue that was created in Jira for it, if one was.

    """

    number: int
    title: str
    source_name: str
    source_row: int
    parent: int | None = None
    issue_key: str | None = None
    issue_url: str | None = None


@dataclass(frozen=True, slots=True)
class ContentCounts:
    """How much hangs on a session."""

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


# What handlers read is built once: building a statement takes longer than reading a small session.
_OF_SESSION = bindparam("session_id", type_=Uuid())
_AFTER, _LIMIT = bindparam("after", type_=Integer()), bindparam("limit", type_=Integer())

_COUNTS = [
    select(func.count()).where(table.session_id == _OF_SESSION).select_from(table).scalar_subquery()
    for table in (Document, Ticket, Export, ValidationFinding)
]
_SELECT_COUNTS = select(*_COUNTS)
_SELECT_OVERVIEW = select(
    Session.options,
    select(func.array_agg(aggregate_order_by(Document.name, Document.position)))
    .where(Document.session_id == _OF_SESSION)
    .scalar_subquery(),
    *_COUNTS,
).where(Session.id == _OF_SESSION)

_SIZE = func.octet_length(Document.content)
_DOCUMENTS_BEHIND = (
    select(
        Document.position,
        (func.sum(_SIZE).over(order_by=Document.position) - _SIZE).label("bytes_before"),
    )
    .where(Document.session_id == _OF_SESSION, Document.position > _AFTER)
    .order_by(Document.position)
    .limit(_LIMIT)
    .subquery()
)
_MOST_BYTES = bindparam("most_bytes", type_=BigInteger())
_SELECT_DOCUMENTS = (
    select(Document.name, Document.content)
    .join(_DOCUMENTS_BEHIND, _DOCUMENTS_BEHIND.c.position == Document.position)
    .where(
        Document.session_id == _OF_SESSION,
        or_(_MOST_BYTES.is_(None), _DOCUMENTS_BEHIND.c.bytes_before < _MOST_BYTES),
    )
    .order_by(Document.position)
)

# Descriptions are cast to text: they are handed on as they were written, never parsed here.
_SELECT_TICKETS = (
    select(
        Ticket.title,
        cast(Ticket.description, Text),
        Ticket.source_name,
        Ticket.source_row,
        func.coalesce(cast(Ticket.fields, Text), NO_FIELDS),
        Ticket.parent,
    )
    .where(Ticket.session_id == _OF_SESSION, Ticket.position > _AFTER)
    .order_by(Ticket.position)
    .limit(_LIMIT)
)
_SELECT_EXPORTS = (
    select(cast(Export.body, Text), Export.issue_count)
    .where(Export.session_id == _OF_SESSION, Export.position > _AFTER)
    .order_by(Export.position)
    .limit(_LIMIT)
)

_ISSUE = (
    DeliveredIssue.position,
    DeliveredIssue.issue_id,
    DeliveredIssue.key,
    DeliveredIssue.url,
)
_SELECT_ISSUES = (
    select(*_ISSUE)
    .where(DeliveredIssue.session_id == _OF_SESSION, DeliveredIssue.position > _AFTER)
    .order_by(DeliveredIssue.position)
    .limit(_LIMIT)
)


class ContentReader:
    """Reads the content of sessions, in the transaction of `db` or, in autocommit, without one.

    In autocommit every read needs a limit: a server-side cursor lives in a transaction.
    """

    def __init__(self, db: DbSession | Connection) -> None:
        self._reads = db

    def overview(self, session_id: uuid.UUID) -> SessionOverview | None:
        """The session's options, document names and counts; None if there is no such session."""
        row = self._reads.execute(_SELECT_OVERVIEW, {"session_id": session_id}).one_or_none()
        if row is None:
            return None
        options, document_names, *counts = row
        return SessionOverview(options, document_names or [], ContentCounts(*counts))

    def documents(
        self,
        session_id: uuid.UUID,
        *,
        after: int = 0,
        limit: int | None = None,
        most_bytes: int | None = None,
    ) -> Iterator[IncomingDocument]:
        """The session's documents as they were handed in, from the one behind position `after`.

        The last is the one with which they reach `most_bytes`.
        """
        where = {"after": after, "limit": limit, "most_bytes": most_bytes}
        for row in self._page(_SELECT_DOCUMENTS, session_id, rows_at_once=1, **where):
            yield IncomingDocument(*row)

    def document(
        self, session_id: uuid.UUID, name: str, *, most_bytes: int
    ) -> IncomingDocument | None:
        """The document of that name; None if there is none, or it is larger than that."""
        row = self._reads.execute(
            select(Document.name, Document.content).where(
                Document.session_id == session_id,
                Document.name == name,
                func.octet_length(Document.content) <= most_bytes,
            )
        ).one_or_none()
        return None if row is None else IncomingDocument(*row)

    def document_names(self, session_id: uuid.UUID) -> list[str]:
        """The names of the session's documents, in order."""
        return list(
            self._reads.scalars(
                select(Document.name)
                .where(Document.session_id == session_id)
                .order_by(Document.position)
            )
        )

    def tickets(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int | None = None
    ) -> Iterator[TicketDraft]:
        """The session's tickets in order, from the one behind position `after`."""
        where = {"after": after, "limit": limit}
        for row in self._page(_SELECT_TICKETS, session_id, rows_at_once=ROWS_PER_FETCH, **where):
            yield TicketDraft(*row)

    def ticket_titles(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int
    ) -> list[TicketTitle]:
        """Up to `limit` tickets without what they say, from the one behind position `after`."""
        rows = self._reads.execute(
            select(
                Ticket.position,
                Ticket.title,
                Ticket.source_name,
                Ticket.source_row,
                Ticket.parent,
                DeliveredIssue.key,
                DeliveredIssue.url,
            )
            .outerjoin(
                DeliveredIssue,
                (DeliveredIssue.session_id == Ticket.session_id)
                & (DeliveredIssue.position == Ticket.position),
            )
            .where(Ticket.session_id == session_id, Ticket.position > after)
            .order_by(Ticket.position)
            .limit(limit)
        )
        return [TicketTitle(*row) for row in rows]

    def next_place(self, session_id: uuid.UUID, ticket: TicketDraft) -> int | None:
        """Where the document's next ticket begins, by its place in the document; None: nowhere."""
        return self._reads.scalar(
            select(func.min(Ticket.source_row)).where(
                Ticket.session_id == session_id,
                Ticket.source_name == ticket.source_name,
                Ticket.source_row > ticket.source_row,
            )
        )

    def exports(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int | None = None
    ) -> Iterator[ExportBody]:
        """The session's import bodies in order, from the one behind position `after`."""
        where = {"after": after, "limit": limit}
        for row in self._page(_SELECT_EXPORTS, session_id, rows_at_once=1, **where):
            yield ExportBody(*row)

    def issues(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int | None = None
    ) -> Iterator[JiraIssue]:
        """The issues that were created in Jira for the tickets behind number `after`, in order."""
        where = {"after": after, "limit": limit}
        for row in self._page(_SELECT_ISSUES, session_id, rows_at_once=ROWS_PER_FETCH, **where):
            yield JiraIssue(*row)

    def issue_of(self, session_id: uuid.UUID, ticket: int) -> JiraIssue | None:
        """The issue that was created in Jira for a ticket; None if none is known."""
        row = self._reads.execute(
            select(*_ISSUE).where(
                DeliveredIssue.session_id == session_id, DeliveredIssue.position == ticket
            )
        ).first()
        return None if row is None else JiraIssue(*row)

    def issue_count(self, session_id: uuid.UUID) -> int:
        """How many issues were created in Jira."""
        counted = select(func.count()).where(DeliveredIssue.session_id == session_id)
        return self._reads.scalar(counted) or 0

    def seconds_since_processing(self, session_id: uuid.UUID) -> float:
        """How long ago the session's tickets were made: nothing was exported before."""
        made_at = func.coalesce(Session.processing_completed_at, Session.created_at)
        seconds = self._reads.scalar(
            select(func.extract("epoch", func.clock_timestamp() - made_at)).where(
                Session.id == session_id
            )
        )
        return float(seconds or 0)

    def findings(
        self,
        session_id: uuid.UUID,
        *,
        limit: int | None = None,
        tickets: range | None = None,
    ) -> list[Finding]:
        """The findings of the last validation, of all tickets or of these, in their order."""
        wanted = [ValidationFinding.session_id == session_id]
        if tickets is not None:
            wanted.append(ValidationFinding.ticket.between(tickets.start, tickets.stop - 1))
        rows = self._reads.execute(
            select(
                ValidationFinding.ticket,
                ValidationFinding.title,
                ValidationFinding.source_name,
                ValidationFinding.source_row,
                ValidationFinding.path,
                ValidationFinding.rule,
                ValidationFinding.reason,
            )
            .where(*wanted)
            .order_by(ValidationFinding.position)
            .limit(limit)
        )
        return [Finding(*row) for row in rows]

    def notes(self, session_id: uuid.UUID) -> list[str]:
        """The session's notes, in the order in which they were made."""
        return list(
            self._reads.scalars(
                select(SessionNote.text)
                .where(SessionNote.session_id == session_id)
                .order_by(SessionNote.position)
            )
        )

    def counts(self, session_id: uuid.UUID) -> ContentCounts:
        """How many documents, tickets, bodies and findings the session has."""
        return ContentCounts(*self._reads.execute(_SELECT_COUNTS, {"session_id": session_id}).one())

    def _page(
        self,
        statement: Select[*tuple[Any, ...]],
        session_id: uuid.UUID,
        *,
        rows_at_once: int,
        **where: int | None,
    ) -> Result[*tuple[Any, ...]]:
        """The rows; those without a limit come so many at a time."""
        options = {"yield_per": rows_at_once} if where["limit"] is None else {}
        parameters = {"session_id": session_id, **where}
        return self._reads.execute(statement, parameters, execution_options=options)


class ContentRepository(ContentReader):
    """Reads and writes the content of sessions in the transaction of `db`."""

    def __init__(self, db: DbSession) -> None:
        super().__init__(db)
        self._db = db

    def add_documents(self, session_id: uuid.UUID, documents: Iterable[IncomingDocument]) -> int:
        """Store documents after the existing ones; returns how many were stored."""
        first = self._next_position(Document.position, Document.session_id, session_id)
        rows = [
            (session_id, position, document.name, document.content)
            for position, document in enumerate(documents, first)
        ]
        copy_rows(driver_connection(self._db), COPY_DOCUMENTS, rows)
        return len(rows)

    def replace_document(self, session_id: uuid.UUID, document: IncomingDocument) -> bool:
        """Put new bytes in place of the document of that name; False if there is none."""
        row = self._db.scalar(
            select(Document).where(
                Document.session_id == session_id, Document.name == document.name
            )
        )
        if row is None:
            return False
        row.content = document.content
        self._db.flush()
        return True

    def remove_document(self, session_id: uuid.UUID, name: str) -> bool:
        """Remove the document of that name; False if there is none. Positions stay gapless."""
        of_session = Document.session_id == session_id
        position = self._db.scalar(
            delete(Document).where(of_session, Document.name == name).returning(Document.position)
        )
        if position is None:
            return False
        # In two steps, because the primary key is checked row by row.
        for new_position, behind in (
            (-Document.position, Document.position > position),
            (-Document.position - 1, Document.position < 0),
        ):
            self._db.execute(
                update(Document).where(of_session, behind).values(position=new_position),
                execution_options={"synchronize_session": False},
            )
        return True

    def write_results(
        self, session_id: uuid.UUID, task_type: TaskType, results: TaskResults
    ) -> None:
        """Write what a run produced; see `app.repositories.results_writer.write_results`."""
        write_results(driver_connection(self._db), [Produced(session_id, task_type, results)])

    def _next_position(self, position: Any, owner: Any, session_id: uuid.UUID) -> int:
        highest = self._db.scalar(select(func.max(position)).where(owner == session_id))
        return (highest or 0) + 1
