"""The task `processing`: documents become tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.models.results import TaskResults, TicketDraft
from app.tasks.documents.tickets import TicketOptions, tickets_from

if TYPE_CHECKING:
    from app.tasks.context import TaskContext


def process_documents(context: TaskContext) -> TaskResults:
    """Make tickets of all documents of the session, in order, with notes for people.

    Progress counts tickets: those made, of those in the documents read so far.

    Raises:
        DocumentError: a document cannot be used; nothing of the session is kept.
        ConfigurationError: an option cannot be used.

    """
    options = _ticket_options(context)
    tickets: list[TicketDraft] = []
    notes: list[str] = []
    for document in context.documents():
        made = tickets_from(document.name, document.content, options)
        notes.extend(made.notes)
        expected = len(tickets) + len(made)
        for ticket in made:
            tickets.append(ticket)
            context.progress(len(tickets), expected, document.name)
    return TaskResults(tickets=tickets, notes=notes)


def _ticket_options(context: TaskContext) -> TicketOptions:
    chosen, limits = context.options, context.settings
    return TicketOptions(
        max_rows=limits.max_rows,
        max_columns=limits.max_columns,
        max_nesting=limits.max_nesting,
        max_nodes=limits.max_nodes,
        split_level=chosen.split_level,
        title_column=chosen.title_column,
        body_column=chosen.body_column,
        delimiter=chosen.delimiter,
    )
