"""What a handler hands back, as frozen values; the repository writes them, nobody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

NO_FIELDS = "{}"


@dataclass(frozen=True, slots=True)
class TicketDraft:
    """One ticket made from a document.

    Attributes:
        title: never empty, one line, of any length (the export cuts it to Jira's 255).
        description: the ADF document, as compact JSON text.
        source_name: the document's name.
        source_row: the CSV's data row (first is 1) or the Markdown's line (first is 1).
        fields: what the document says of the issue's other fields, as compact JSON text: an
            object by the names of `app.tasks.jira.spellings`.
        parent: the number of its parent among the session's tickets (first is 1), if it has one.

    """

    title: str
    description: str
    source_name: str
    source_row: int
    fields: str = NO_FIELDS
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class ExportBody:
    """One body of `POST /rest/api/3/issue/bulk`, as compact JSON text, and how many issues it has.

    The issues stand in the order of the tickets: the first issue of the first body is ticket 1.
    """

    body: str
    issue_count: int


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason why Jira would refuse a ticket.

    Attributes:
        ticket: the ticket's number (first is 1).
        title: the ticket's title.
        source_name: the document it came from.
        source_row: the row or line in that document.
        path: JSON Pointer (RFC 6901) into the description.
        rule: the name of the rule that was broken, for grouping: `schema`, `text_length`, ...
        reason: what is wrong and what to do, for people.

    """

    ticket: int
    title: str
    source_name: str
    source_row: int
    path: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class TaskResults:
    """What a run produced; empty for a run that produced nothing.

    `notes` are things a person should know that are not failures (a guessed encoding, say).
    """

    tickets: Sequence[TicketDraft] = field(default=())
    exports: Sequence[ExportBody] = field(default=())
    findings: Sequence[Finding] = field(default=())
    notes: Sequence[str] = field(default=())
