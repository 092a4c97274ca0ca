"""The task `processing`: documents become tickets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from app.tasks.documents.tickets import TicketOptions, tickets_from
from app.tasks.jira.column_rules import MappingOptions, read_rules
from app.tasks.jira.families import arrange_families
from app.values.results import Note, TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Iterable

    from app.core.config import Settings
    from app.tasks.context import TaskContext
    from app.values.options import SessionOptions


def process_documents(context: TaskContext) -> TaskResults:
    """Make tickets of all documents of the session, parents first, with notes for people.

    Progress counts tickets: those made, of those in the documents read so far.

    Raises:
        DocumentError: a document cannot be used; nothing of the session is kept.
        ConfigurationError: an option cannot be used.

    """
    options = ticket_options(context.options, context.settings, context.document_names())
    tickets: list[TicketDraft] = []
    notes: list[str | Note] = []
    keys: dict[str, int] = {}
    for document in context.documents():
        made = tickets_from(document.name, document.content, options)
        before = len(tickets)
        for ticket in made:
            tickets.append(behind(before, ticket))
            expected = max(before + len(made), len(tickets))  # more, where some are divided
            context.progress(len(tickets), expected, document.name)
        notes.extend(made.notes)
        keys |= {key: before + number for key, number in made.keys.items()}
    arranged, more_notes = arrange_families(
        tickets,
        keys,
        issue_type=context.options.issue_type,
        parent_type=context.options.parent_type,
    )
    return TaskResults(tickets=arranged, notes=[*notes, *more_notes])


def behind(before: int, ticket: TicketDraft) -> TicketDraft:
    """Return a ticket that stands behind so many others, with its parent's number among all."""
    return ticket if ticket.parent is None else replace(ticket, parent=before + ticket.parent)


def ticket_options(
    options: SessionOptions, settings: Settings, names: Iterable[str]
) -> TicketOptions:
    """Return how the documents of these names become tickets.

    Raises:
        ConfigurationError: a rule of `map` cannot be used (`user_fixable`).

    """
    return TicketOptions(
        max_rows=settings.max_rows,
        max_columns=settings.max_columns,
        max_nesting=settings.max_nesting,
        max_nodes=settings.max_nodes,
        max_description_characters=settings.max_description_characters,
        split_level=options.split_level,
        parent_type=options.parent_type,
        title_column=options.title_column,
        body_column=options.body_column,
        delimiter=options.delimiter,
        body_format=options.body_format,
        sheet=options.sheet,
        base_url=options.base_url,
        too_long=options.too_long,
        mapping=MappingOptions(
            rules=read_rules(options.map, names),
            day_first=options.day_first,
            has_site=options.to is not None,
        ),
    )
