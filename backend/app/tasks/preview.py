"""Preview a session: read all documents, store nothing, and return everything that is wrong."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from app.core.errors import ConfigurationError, DocumentError, IntakeRefused, TaskError
from app.tasks.adf.validation import find_violations
from app.tasks.documents.decoding import place_text
from app.tasks.documents.tickets import tickets_from
from app.tasks.intake_check import option_problems, unknown_columns, without_unusable_rules
from app.tasks.jira.families import arrange_families
from app.tasks.jira.payload import default_issue_type, named_fields, text_document
from app.tasks.jira.spellings import field_named
from app.tasks.jira_import import build_bodies, make_summary
from app.tasks.processing import behind, ticket_options
from app.tasks.registry import BUILT_IN_HANDLERS, handler_references
from app.values.results import NO_FIELDS, Note
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from app.core.config import Settings
    from app.repositories.content_reader import IncomingDocument
    from app.tasks.documents.tickets import TicketOptions
    from app.tasks.jira.columns import ColumnMapping
    from app.values.options import SessionOptions
    from app.values.results import TicketDraft

TICKETS_SHOWN = 10
TICKETS_SHOWN_OF_A_DOCUMENT = 3
MOST_PROBLEMS = 200
"""Problems that are listed; all are counted."""

FINDINGS_PER_TICKET = 3
MOST_NOTES = 100
MOST_COLUMNS = 2_000
"""Columns that are shown, of all documents together."""

LONGEST_TEXT = 1_000
LARGEST_DESCRIPTION = 256 * 1024
LARGEST_FIELDS = 64 * 1024
"""What is longer is cut, or left out: a preview has a bounded size."""

_NO_PROJECT = "KEY"
_LABELS = {
    "summary": "Title", "description": "Description", "timetracking": "Original estimate",
}  # fmt: skip


class PreviewColumn(BaseModel):
    """The use of a column: `field` is empty where it stays in the table, or is left out."""

    column: str
    field: str
    label: str
    is_left_out: bool


class PreviewTable(BaseModel):
    """A table of a document, or its front matter; `origin` is the program that wrote it."""

    name: str
    origin: str
    columns: list[PreviewColumn]


class PreviewDocument(BaseModel):
    """A document that can be read, and how it is read."""

    name: str
    byte_count: int
    ticket_count: int
    tables: list[PreviewTable]


class PreviewTicket(BaseModel):
    """A ticket as an issue of Jira.

    Attributes:
        fields: the issue's fields but for project, issue type, summary and description.
        parent: the number of the ticket that it stands below.

    """

    number: int
    summary: str
    issue_type: str
    fields: dict[str, Any]
    description: dict[str, Any]
    source_name: str
    source_row: int
    parent: int | None


class PreviewProblem(BaseModel):
    """Something to put right before a session is opened; `options` are those that correct it."""

    message: str
    next_step: str
    options: list[str]
    document: str
    row: int | None


class PreviewNote(BaseModel):
    """Something to know that is no problem; `options` are those that change it."""

    text: str
    options: list[str]


class Preview(BaseModel):
    """A session as it would become; `tickets` are the first ones, the counts are of all."""

    documents: list[PreviewDocument]
    tickets: list[PreviewTicket]
    problems: list[PreviewProblem]
    notes: list[PreviewNote]
    ticket_count: int
    problem_count: int
    import_file_count: int
    issue_types: dict[str, int]
    options: dict[str, Any]


def preview(
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
    *,
    problems: Sequence[TaskError] = (),
) -> Preview:
    """Return what a session of these documents would become, and all that keeps it from that.

    Every document is read as a whole, whatever is wrong with others, and every description is
    validated. `problems` are those of documents that could not be handed over at all.
    """
    found: list[TaskError] = [*problems, *option_problems(options, settings)]
    reader = _Reader(found)
    if options.to:
        reader.notes.append(
            "A preview does not ask the Jira site: the export checks fields and people there before"
            " it sends anything"
        )
    if handler_references(settings)[TaskType.PROCESSING] != BUILT_IN_HANDLERS[TaskType.PROCESSING]:
        reader.notes.append("This installation makes tickets in its own way: none can be shown")
    else:
        usable, of_rules = without_unusable_rules(options, names)
        found += of_rules
        reading = ticket_options(usable, settings, names)
        for document in documents:
            reader.read(document, reading)
        if len(reader.documents) == len(names):
            found += unknown_columns(reading.mapping.rules, reader.columns)
    tickets, notes = arrange_families(
        reader.tickets,
        reader.keys,
        issue_type=options.issue_type,
        parent_type=options.parent_type,
    )
    told = problems_of(found)
    told += _findings(tickets, settings)
    bodies = build_bodies(
        tickets, project_key=_NO_PROJECT, issue_type=options.issue_type.strip() or _NO_PROJECT
    )
    issue_types = Counter(_issue_type(ticket, options) for ticket in tickets)
    return Preview(
        documents=reader.documents,
        tickets=_shown(tickets, options),
        problems=told[:MOST_PROBLEMS],
        notes=[
            PreviewNote(text=note.text[:LONGEST_TEXT], options=list(note.options))
            for note in dict.fromkeys(map(Note.of, [*reader.notes, *notes]))
        ][:MOST_NOTES],
        ticket_count=len(tickets),
        problem_count=len(told),
        import_file_count=sum(1 for _body in bodies),
        issue_types=dict(issue_types.most_common()),
        options=options.to_json(),
    )


class _Reader:
    """Reads one document after another; each failure is one more problem."""

    def __init__(self, problems: list[TaskError]) -> None:
        self._problems = problems
        self.documents: list[PreviewDocument] = []
        self.tickets: list[TicketDraft] = []
        self.keys: dict[str, int] = {}
        self.notes: list[str | Note] = []
        self.columns: list[tuple[str, str]] = []
        self._shown = 0

    def read(self, document: IncomingDocument, reading: TicketOptions) -> None:
        before = len(self.tickets)
        try:
            made = tickets_from(document.name, document.content, reading)
            tickets = [behind(before, ticket) for ticket in made]
        except (ConfigurationError, DocumentError) as error:
            self._problems.append(error)
            return
        self.tickets += tickets
        self.keys |= {key: before + number for key, number in made.keys.items()}
        self.notes += made.notes
        self.columns += [
            (document.name, use.column) for mapping in made.mappings for use in mapping.uses
        ]
        self.documents.append(
            PreviewDocument(
                name=document.name,
                byte_count=len(document.content),
                ticket_count=len(tickets),
                tables=[self._table(mapping) for mapping in made.mappings],
            )
        )

    def _table(self, mapping: ColumnMapping) -> PreviewTable:
        uses = mapping.uses[: MOST_COLUMNS - self._shown]
        self._shown += len(uses)
        if len(uses) < len(mapping.uses):
            self.notes.append(f"{mapping.name}: not all of its columns are shown")
        return PreviewTable(
            name=mapping.name,
            origin=mapping.origin.value,
            columns=[
                PreviewColumn(
                    column=use.column[:LONGEST_TEXT],
                    field=use.field,
                    label=field_label(use.field),
                    is_left_out=use.is_left_out,
                )
                for use in uses
            ],
        )


def field_label(name: str) -> str:
    """Return what people call a field: `Due date` for `duedate`; "" for none."""
    known = field_named(name) if name else None
    return _LABELS.get(name) or (known.label if known else name)


def problems_of(errors: Iterable[TaskError]) -> list[PreviewProblem]:
    """Return errors as a preview lists them, each of several that came as one."""
    return [
        PreviewProblem(
            message=each.message[:LONGEST_TEXT],
            next_step=each.next_step[:LONGEST_TEXT],
            options=list(each.options),
            document=getattr(each, "name", ""),
            row=getattr(each, "row", None),
        )
        for error in errors
        for each in (error.problems if isinstance(error, IntakeRefused) else (error,))
    ]


def _findings(tickets: Sequence[TicketDraft], settings: Settings) -> list[PreviewProblem]:
    """Return why Jira would refuse descriptions."""
    limit = settings.max_description_characters
    return [
        PreviewProblem(
            message=f"{place_text(ticket.source_name, ticket.source_row)}: Jira would refuse"
            f" “{make_summary(ticket.title)[0]}”: {violation.reason}"[:LONGEST_TEXT],
            next_step="Correct the document.",
            options=["too_long"] if violation.rule == "text_length" else [],
            document=ticket.source_name,
            row=ticket.source_row,
        )
        for ticket in tickets
        for violation in find_violations(
            json.loads(ticket.description), max_characters=limit, limit=FINDINGS_PER_TICKET
        )
    ]


def _shown(tickets: Sequence[TicketDraft], options: SessionOptions) -> list[PreviewTicket]:
    """Return the first tickets, some of each document."""
    of_document: Counter[str] = Counter()
    shown: list[PreviewTicket] = []
    for number, ticket in enumerate(tickets, start=1):
        of_document[ticket.source_name] += 1
        if of_document[ticket.source_name] > TICKETS_SHOWN_OF_A_DOCUMENT:
            continue
        summary, _whole = make_summary(ticket.title)
        shown.append(
            PreviewTicket(
                number=number,
                summary=summary,
                issue_type=_issue_type(ticket, options),
                fields=_fields(ticket),
                description=_description(ticket),
                source_name=ticket.source_name,
                source_row=ticket.source_row,
                parent=ticket.parent,
            )
        )
        if len(shown) == TICKETS_SHOWN:
            break
    return shown


def _fields(ticket: TicketDraft) -> dict[str, Any]:
    return named_fields(json.loads(ticket.fields)) if len(ticket.fields) <= LARGEST_FIELDS else {}


def _description(ticket: TicketDraft) -> dict[str, Any]:
    if len(ticket.description) > LARGEST_DESCRIPTION:
        return text_document("This description is too long for a preview.")
    description: dict[str, Any] = json.loads(ticket.description)
    return description


def _issue_type(ticket: TicketDraft, options: SessionOptions) -> str:
    named = json.loads(ticket.fields).get("issuetype") if ticket.fields != NO_FIELDS else None
    return default_issue_type(named) if named else options.issue_type
