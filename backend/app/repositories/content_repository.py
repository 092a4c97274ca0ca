"""The content of a session: documents, tickets, exports, findings, notes.

All of it is read and written in the caller's transaction; many rows go in by COPY.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import (
    delete,
    func,
    select,
    update,
)

from app.core.database import driver_connection
from app.models.content import (
    DeliveredIssue,
    Document,
    SessionNote,
    Ticket,
    ValidationFinding,
)
from app.repositories.content_reader import ContentReader, IncomingDocument
from app.repositories.results_writer import Produced, write_results
from app.values.results import Finding, JiraIssue, Note, TicketDraft

if TYPE_CHECKING:
    import uuid

    from sqlalchemy.orm import Session as DbSession

    from app.values.results import TaskResults
    from app.values.states import TaskType


@dataclass(frozen=True, slots=True)
class TicketTitle:
    """A ticket in a list: its number (from 1), its source, its parent's number.

    Attributes:
        issue_key, issue_url: the issue that was created in Jira for it, if any.

    """

    number: int
    title: str
    source_name: str
    source_row: int
    parent: int | None = None
    issue_key: str | None = None
    issue_url: str | None = None


_ISSUE = (
    DeliveredIssue.position,
    DeliveredIssue.issue_id,
    DeliveredIssue.key,
    DeliveredIssue.url,
)


class ContentRepository(ContentReader):
    """Reads and writes the content of sessions in the transaction of `db`."""

    def __init__(self, db: DbSession) -> None:
        super().__init__(lambda: driver_connection(db))
        self._db = db

    def document(
        self, session_id: uuid.UUID, name: str, *, most_bytes: int
    ) -> IncomingDocument | None:
        """Return the document of that name; None if there is none, or it is larger than that."""
        row = self._db.execute(
            select(Document.name, Document.content).where(
                Document.session_id == session_id,
                Document.name == name,
                func.octet_length(Document.content) <= most_bytes,
            )
        ).one_or_none()
        return None if row is None else IncomingDocument(*row)

    def document_names(self, session_id: uuid.UUID) -> list[str]:
        """Return the names of the session's documents, in order."""
        return list(
            self._db.scalars(
                select(Document.name)
                .where(Document.session_id == session_id)
                .order_by(Document.position)
            )
        )

    def ticket_titles(
        self, session_id: uuid.UUID, *, after: int = 0, limit: int
    ) -> list[TicketTitle]:
        """Return up to `limit` tickets without their descriptions, after position `after`."""
        rows = self._db.execute(
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
        """Return where the document's next ticket begins, by its place in it; None: nowhere."""
        return self._db.scalar(
            select(func.min(Ticket.source_row)).where(
                Ticket.session_id == session_id,
                Ticket.source_name == ticket.source_name,
                Ticket.source_row > ticket.source_row,
            )
        )

    def issue_of(self, session_id: uuid.UUID, ticket: int) -> JiraIssue | None:
        """Return the issue that was created in Jira for a ticket; None if none is known."""
        row = self._db.execute(
            select(*_ISSUE).where(
                DeliveredIssue.session_id == session_id, DeliveredIssue.position == ticket
            )
        ).first()
        return None if row is None else JiraIssue(*row)

    def issue_count(self, session_id: uuid.UUID) -> int:
        """Return how many issues were created in Jira."""
        counted = select(func.count()).where(DeliveredIssue.session_id == session_id)
        return self._db.scalar(counted) or 0

    def findings(
        self,
        session_id: uuid.UUID,
        *,
        limit: int | None = None,
        tickets: range | None = None,
    ) -> list[Finding]:
        """Return the findings of the last validation, of all tickets or of these, in order."""
        wanted = [ValidationFinding.session_id == session_id]
        if tickets is not None:
            wanted.append(ValidationFinding.ticket.between(tickets.start, tickets.stop - 1))
        rows = self._db.execute(
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

    def notes(self, session_id: uuid.UUID) -> list[Note]:
        """Return the session's notes, in the order in which they were added."""
        rows = self._db.execute(
            select(SessionNote.text, SessionNote.options)
            .where(SessionNote.session_id == session_id)
            .order_by(SessionNote.position)
        )
        return [Note(text, tuple(options)) for text, options in rows]

    def replace_document(self, session_id: uuid.UUID, document: IncomingDocument) -> bool:
        """Replace the bytes of the document of that name; False if there is none."""
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
        """Write the results of a run; see `app.repositories.results_writer.write_results`."""
        write_results(driver_connection(self._db), [Produced(session_id, task_type, results)])
