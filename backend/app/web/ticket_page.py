"""The page of one ticket: as Jira will show it, beside its source and its JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response

from app.api.problems import NotThere
from app.api.services import Caller, ServicesOf
from app.core.errors import ConfigurationError, DocumentError
from app.repositories.content_repository import ContentRepository
from app.tasks.documents.decoding import DocumentKind, decode, kind_of
from app.tasks.documents.tickets import csv_row
from app.tasks.processing import ticket_options
from app.values.options import SessionOptions
from app.values.results import FIELDS_PATH
from app.web.adf_preview import render_adf_text
from app.web.page import PageOf
from app.web.session_page import seen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.config import Settings
    from app.repositories.content_reader import IncomingDocument
    from app.repositories.session_snapshot import SessionSnapshot
    from app.values.results import Finding, TicketDraft

router = APIRouter(include_in_schema=False)

LARGEST_DOCUMENT_BYTES = 2 * 1024 * 1024
MOST_LINES = 400
MOST_CELL_CHARACTERS = 5_000
MOST_SOURCE_CHARACTERS = 60_000


@dataclass(frozen=True, slots=True)
class Excerpt:
    """The lines of a document that a ticket was made from.

    Attributes:
        is_cut: whether more lines follow.

    """

    first_line: int
    text: str
    is_cut: bool


@router.get("/sessions/{session_id}/tickets/{number}")
def ticket_page(
    session_id: UUID,
    number: Annotated[int, Path(ge=1, le=1_000_000_000)],
    caller: Caller,
    services: ServicesOf,
    page: PageOf,
) -> Response:
    """Show one ticket, with links to its neighbours."""
    with services.database.transaction() as db:
        session = seen(db, caller, session_id)
        content = ContentRepository(db)
        found = list(content.tickets(session_id, after=number - 1, limit=1))
        total = content.counts(session_id).tickets
        if not found:
            raise NotThere(
                f"The session has no ticket {number}",
                next_step="Processing may have run again since. Go back to the session: it has "
                f"{total:,} tickets now.",
                session_id=session_id,
            )
        (ticket,) = found
        parents = (
            content.ticket_titles(session_id, after=ticket.parent - 1, limit=1)
            if (ticket.parent)
            else []
        )
        issue = content.issue_of(session_id, number)
        following = content.next_place(session_id, ticket)
        findings = content.findings(session_id, tickets=range(number, number + 1))
        document = content.document(
            session_id, ticket.source_name, most_bytes=LARGEST_DOCUMENT_BYTES
        )
    source, is_cut = pretty_source(ticket.description)
    return page.render(
        "ticket.html",
        session=session,
        number=number,
        total=total,
        ticket=ticket,
        issue=issue,
        parent=parents[0] if parents else None,
        findings=findings,
        preview=render_adf_text(ticket.description, reasons_by_path(findings)),
        source=source,
        is_source_cut=is_cut,
        excerpt=excerpt_of(document, ticket, following) if document is not None else None,
        cells=[] if document is None else cells_of(document, ticket, session, services.settings),
    )


def reasons_by_path(findings: Sequence[Finding]) -> dict[str, str]:
    """Return the findings of the ticket's description, by path."""
    reasons: dict[str, str] = {}
    for finding in findings:
        if finding.path.startswith(FIELDS_PATH):
            continue
        said = reasons.get(finding.path)
        reasons[finding.path] = f"{said}\n{finding.reason}" if said else finding.reason
    return reasons


def pretty_source(description: str) -> tuple[str, bool]:
    """Return the description as indented JSON, and whether it was cut."""
    try:
        text = json.dumps(json.loads(description), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        text = description
    return text[:MOST_SOURCE_CHARACTERS], len(text) > MOST_SOURCE_CHARACTERS


def excerpt_of(
    document: IncomingDocument, ticket: TicketDraft, following: int | None
) -> Excerpt | None:
    """Return a Markdown document's lines from this ticket's to the next; None for other kinds.

    A CSV's rows are not lines of text: `cells_of` returns their cells.
    """
    try:
        if kind_of(document.name) is not DocumentKind.MARKDOWN:
            return None
        lines = decode(document.name, document.content).text.splitlines()
    except DocumentError:  # processing would refuse it now: there is nothing to show
        return None
    first = ticket.source_row - 1
    end = following - 1 if following is not None else len(lines)
    shown = lines[first : min(end, first + MOST_LINES)]
    return Excerpt(ticket.source_row, "\n".join(shown).rstrip(), end - first > MOST_LINES)


def cells_of(
    document: IncomingDocument, ticket: TicketDraft, session: SessionSnapshot, settings: Settings
) -> list[tuple[str, str]]:
    """Return the cells of the CSV row that the ticket was made from, by column; else []."""
    try:
        if kind_of(document.name) is not DocumentKind.CSV:
            return []
        chosen = SessionOptions.from_json(dict(session.options))
        options = ticket_options(chosen, settings, [document.name])
        named = csv_row(document.name, document.content, options, ticket.source_row)
    except (DocumentError, ConfigurationError):  # as in `excerpt_of`
        return []
    return [(column, cell[:MOST_CELL_CHARACTERS]) for column, cell in named if cell.strip()]
