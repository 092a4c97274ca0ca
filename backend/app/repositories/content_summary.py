"""A summary of a session's content: a consistent read, without the content itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import func, select

from app.models.content import Document, Ticket
from app.repositories.content_reader import ContentCounts
from app.repositories.content_repository import ContentRepository

if TYPE_CHECKING:
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.core.database import Database
    from app.values.results import Finding, JiraIssue, Note

MOST_FINDINGS = 1_000
MOST_ISSUES = 1_000


@dataclass(frozen=True, slots=True)
class DocumentSummary:
    """A document: its name, its size, and the number of its tickets."""

    name: str
    byte_count: int
    ticket_count: int


@dataclass(frozen=True, slots=True)
class ContentSummary:
    """The content of a session; `findings` are limited, `counts` has them all.

    Attributes:
        issues: the first that were created in Jira; `issue_count` is the number of all.

    """

    documents: tuple[DocumentSummary, ...]
    counts: ContentCounts
    notes: tuple[Note, ...]
    findings: tuple[Finding, ...]
    issues: tuple[JiraIssue, ...] = ()
    issue_count: int = 0


def read_content(database: Database, session_id: UUID) -> ContentSummary:
    """Return the session's current content, in a transaction of its own."""
    with database.transaction() as db:
        return summarize_content(db, session_id)


def summarize_content(
    db: DbSession, session_id: UUID, *, most_findings: int = MOST_FINDINGS
) -> ContentSummary:
    """Return the session's content, as this transaction sees it."""
    content = ContentRepository(db)
    counts = content.counts(session_id)
    per_document = (
        select(Ticket.source_name, func.count())
        .where(Ticket.session_id == session_id)
        .group_by(Ticket.source_name)
    )
    tickets: dict[str, int] = {}
    if counts.tickets:
        tickets = {row[0]: row[1] for row in db.execute(per_document)}
    documents = tuple(
        DocumentSummary(name, size, tickets.get(name, 0))
        for name, size in db.execute(
            select(Document.name, func.octet_length(Document.content))
            .where(Document.session_id == session_id)
            .order_by(Document.position)
        )
    )
    issues = tuple(content.issues(session_id, limit=MOST_ISSUES))
    return ContentSummary(
        documents,
        counts,
        tuple(content.notes(session_id)),
        tuple(content.findings(session_id, limit=most_findings)) if counts.findings else (),
        issues,
        content.issue_count(session_id) if issues else 0,
    )
