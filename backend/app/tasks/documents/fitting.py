"""Fit the descriptions of tickets to Jira's limit: refuse, cut or divide longer ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import PydanticSerializationError, from_json, to_json

from app.tasks.adf.inline_text import plain_text
from app.tasks.documents.length import (
    cut,
    divided,
    fitting_split_level,
    length_of,
    longest_section,
    paragraph,
)
from app.values.options import TooLong
from app.values.results import NO_FIELDS, Note, TicketDraft

Node = dict[str, Any]


class Fit(NamedTuple):
    """The limit of a description in characters, and the treatment of longer ones."""

    limit: int
    too_long: TooLong


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket whose description may still be too long.

    Attributes:
        number: its number among the document's tickets before any is divided, from 1.
        row: the row or line that it was made from.
        table: the table below the description, as JSON text.
        fields: as JSON text.
        parent: its parent's number, if it has one.

    """

    title: str
    document: Node
    number: int
    row: int
    table: str = ""
    fields: str = NO_FIELDS
    parent: int | None = None


def fitted(
    tickets: Iterator[Ticket], name: str, where: str, notes: list[str | Note], fit: Fit
) -> Iterator[tuple[int, TicketDraft]]:
    """Yield the tickets' numbers and drafts; descriptions too long for Jira as `fit` says."""
    limit = fit.limit
    for ticket in tickets:
        description = _description(ticket.document, ticket.table)
        # The text is never shorter than what Jira counts of it.
        if len(description.encode()) <= limit or (length := _length(ticket)) <= limit:
            yield ticket.number, _draft(ticket, ticket.title, description, name)
            continue
        said = (
            f"{where} {ticket.row:,}: “{ticket.title}” has {length:,} characters with its structure"
        )
        if fit.too_long is TooLong.REFUSE:
            notes.append(_too_long(ticket, f"{said}, where {limit:,} are allowed", limit))
            yield ticket.number, _draft(ticket, ticket.title, description, name)
        elif fit.too_long is TooLong.CUT:
            notes.append(f"{said}, and was cut after {limit:,}")
            last = f"Cut here: Jira takes {limit:,} characters, {name} has {length:,}."
            document = _document(cut(_blocks(ticket), limit, last))
            yield ticket.number, _draft(ticket, ticket.title, _description(document, ""), name)
        else:
            parts = divided(_blocks(ticket), limit)
            notes.append(f"{said}, and was divided into {len(parts)} tickets")
            for draft in _parts(ticket, parts, name):
                yield ticket.number, draft


def _parts(ticket: Ticket, parts: list[list[Node]], name: str) -> Iterator[TicketDraft]:
    titles = [f"{ticket.title} ({number}/{len(parts)})" for number in range(1, len(parts) + 1)]
    for index, (title, blocks) in enumerate(zip(titles, parts, strict=True)):
        content = list(blocks)
        if index:
            content.insert(0, paragraph(f"Continued from “{titles[index - 1]}”."))
        if index + 1 < len(parts):
            content.append(paragraph(f"Continued in “{titles[index + 1]}”."))
        yield _draft(ticket, title, _description(_document(content), ""), name)


def _draft(ticket: Ticket, title: str, description: str, name: str) -> TicketDraft:
    return TicketDraft(title, description, name, ticket.row, ticket.fields, ticket.parent)


def _too_long(ticket: Ticket, said: str, limit: int) -> Note:
    """Say which section is longest, and which options make the description fit."""
    blocks: list[Node] = ticket.document["content"]
    heading, length, _ = longest_section(blocks, lambda block: plain_text(block["content"]))
    if heading:
        said += f"; its longest section is “{heading}” ({length:,})"
    level = None if ticket.table else fitting_split_level(blocks, limit)
    if level is None:
        return Note(said, ("too_long",))
    return Note(f"{said}; tickets of headings down to level {level} would fit", ("split_level",))


def _length(ticket: Ticket) -> int:
    return length_of(_document(_blocks(ticket)))


def _blocks(ticket: Ticket) -> list[Node]:
    blocks: list[Node] = ticket.document["content"]
    return [*blocks, from_json(ticket.table)] if ticket.table else blocks


def _document(blocks: list[Node]) -> Node:
    return {"type": "doc", "version": 1, "content": blocks}


def _description(document: Node, table: str) -> str:
    """Return the document with the table below it, as JSON text."""
    if not table:
        return _json_of(document)
    if not document["content"]:
        return f'{{"type":"doc","version":1,"content":[{table}]}}'
    above = _json_of(document["content"]).removesuffix("]")
    return f'{{"type":"doc","version":1,"content":{above},{table}]}}'


def _json_of(value: Any) -> str:
    try:
        return to_json(value).decode()
    except PydanticSerializationError:  # nested too deeply for it: it stops at 255 levels
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
