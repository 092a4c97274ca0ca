"""Families of tickets: parents first, in tables and in a whole session."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from app.core.wording import count_text
from app.tasks.documents.decoding import place_text
from app.tasks.jira.payload import default_issue_type
from app.values.results import Note, TicketDraft

Filled = Sequence[tuple[int, str]]
"""The cells of a row that say something, with their columns."""

_NAMES_A_PARENT = '"parent":'
_NAMES_A_TYPE = '"issuetype":'


class Family:
    """Which row of a table is whose parent; all rows are read for it.

    Attributes:
        circles: the rows whose parents lead back to themselves.

    """

    def __init__(
        self,
        rows: Iterator[tuple[int, Sequence[str]]],
        identities: Sequence[int],
        columns: Sequence[int],
    ) -> None:
        self._rows: dict[str, int] = {}
        named: dict[int, Filled] = {}
        for number, cells in rows:
            for index in identities:
                if index < len(cells) and (own := cells[index].strip()):
                    self._rows.setdefault(own, number)
            filled = [(index, cells[index].strip()) for index in columns if index < len(cells)]
            if any(name for _index, name in filled):
                named[number] = filled
        parents = {number: self.parent_of(number, filled) for number, filled in named.items()}
        self.circles = circles_of(parents) | {
            number
            for number, filled in named.items()
            if parents[number] is None and any(self.row_of(name) == number for _, name in filled)
        }

    def row_of(self, name: str) -> int | None:
        """Return the row that a name belongs to."""
        return self._rows.get(name)

    def parent_of(self, number: int, filled: Filled) -> int | None:
        """Return the row that the first of the names means which is not the row's own."""
        rows = (self.row_of(name) for _index, name in filled if name)
        return next((row for row in rows if row not in {None, number}), None)


def circles_of(parents: Mapping[int, int | None]) -> set[int]:
    """Return all whose parents lead back to themselves."""
    circles: set[int] = set()
    seen: set[int] = set()
    for start in parents:
        path: dict[int, int] = {}
        at: int | None = start
        while at is not None and at not in seen:
            seen.add(at)
            path[at] = len(path)
            at = parents.get(at)
        if at in path:
            circles.update(list(path)[path[at] :])
    return circles


@dataclass(slots=True)
class _Remark:
    """Something to know about several tickets: the first of them, and how many they are."""

    first: TicketDraft
    example: str
    count: int = 0


@dataclass(slots=True)
class _Remarks:
    of: dict[tuple[str, Note], _Remark] = field(default_factory=dict)

    def add(self, ticket: TicketDraft, text: str, example: str, *options: str) -> None:
        """Note this of the ticket; what is said of several tickets of a document is one note."""
        remark = self.of.setdefault(
            (ticket.source_name, Note(text, options)), _Remark(ticket, example)
        )
        remark.count += 1

    def notes(self) -> list[Note]:
        """Return the notes, each with its first ticket's document and row."""
        return [
            Note(
                f"{place_text(remark.first.source_name, remark.first.source_row)}: {note.text}"
                f" ({count_text(remark.count, 'ticket')}: “{remark.example}”)",
                note.options,
            )
            for (_document, note), remark in self.of.items()
        ]


def arrange_families(
    tickets: Sequence[TicketDraft],
    keys: Mapping[str, int],
    *,
    issue_type: str,
    parent_type: str | None,
) -> tuple[list[TicketDraft], list[Note]]:
    """Return a session's tickets, each behind its parent, and notes about families.

    Generation by generation, and otherwise in order: so the import needs the fewest files in which
    no issue stands beside its parent. Parents that name no issue type get `parent_type`.

    Args:
        tickets: in order, parents by their numbers among them (first is 1), or in their fields, by
            keys that others have.
        keys: the numbers of the tickets that have keys.
        issue_type: that of tickets whose document names none.
        parent_type: the issue type of parents whose document names none, if they get one.

    """
    remarks = _Remarks()
    linked = _linked(tickets, keys, remarks)
    parents = {at: ticket.parent for at, ticket in enumerate(linked, start=1)}
    for number in sorted(circles_of(parents)):
        ticket = linked[number - 1]
        remarks.add(ticket, "its parents lead back to it, so it gets none", ticket.title)
        linked[number - 1] = replace(ticket, parent=None)
        parents[number] = None
    if parent_type is not None:
        _name_types(linked, parents, parent_type, remarks)
    if not any(parents.values()):
        return linked, remarks.notes()
    _note_equal_types(linked, parents, issue_type, remarks)
    order = sorted(parents, key=_generations(parents).__getitem__)
    moved = {number: at for at, number in enumerate(order, start=1)}
    arranged = (linked[number - 1] for number in order)
    return [
        each if each.parent is None else replace(each, parent=moved[each.parent])
        for each in arranged
    ], remarks.notes()


def _linked(
    tickets: Sequence[TicketDraft], keys: Mapping[str, int], remarks: _Remarks
) -> list[TicketDraft]:
    """Return the tickets; parents that are named by key and stand in another document are found."""
    linked = []
    for at, ticket in enumerate(tickets, start=1):
        fields = json.loads(ticket.fields) if _NAMES_A_PARENT in ticket.fields else {}
        key = fields.pop("parent", None)
        parent = keys.get(key) if key is not None else None
        if parent is not None and parent != at:
            linked.append(replace(ticket, fields=_written(fields), parent=parent))
            continue
        if key is not None:
            text = "the parent stands in no document, so Jira must have an issue of its key already"
            remarks.add(ticket, text, key)
        linked.append(ticket)
    return linked


def _name_types(
    tickets: list[TicketDraft],
    parents: Mapping[int, int | None],
    parent_type: str,
    remarks: _Remarks,
) -> None:
    """Give the parent type to the eldest of each family, unless their document names another."""
    eldest = {parent for parent in parents.values() if parent and parents[parent] is None}
    if not eldest and tickets:
        text = f"no ticket has others below it, so none becomes {_a(parent_type)}"
        remarks.add(tickets[0], text, tickets[0].title)
    for number in eldest:
        ticket = tickets[number - 1]
        if _NAMES_A_TYPE not in ticket.fields:
            fields = json.loads(ticket.fields) | {"issuetype": parent_type}
            tickets[number - 1] = replace(ticket, fields=_written(fields))


def _note_equal_types(
    tickets: Sequence[TicketDraft],
    parents: Mapping[int, int | None],
    issue_type: str,
    remarks: _Remarks,
) -> None:
    """Note children of their parents' own issue type: Jira takes no such family."""
    types = [_type_of(ticket) or issue_type for ticket in tickets]
    for number, parent in parents.items():
        if parent is not None and types[number - 1] == types[parent - 1]:
            name = types[parent - 1]
            text = f"Jira takes no {name} as the parent of {_a(name)}, but an Epic, say"
            remarks.add(tickets[number - 1], text, tickets[number - 1].title, "parent_type")


def _type_of(ticket: TicketDraft) -> str:
    if _NAMES_A_TYPE not in ticket.fields:
        return ""
    return default_issue_type(str(json.loads(ticket.fields).get("issuetype", "")))


def _generations(parents: Mapping[int, int | None]) -> dict[int, int]:
    """Return how many ancestors each has."""
    generations: dict[int, int] = {}
    for start in parents:
        line = []
        at: int | None = start
        while at is not None and at not in generations:
            line.append(at)
            at = parents[at]
        generation = -1 if at is None else generations[at]
        for each in reversed(line):
            generation += 1
            generations[each] = generation
    return generations


def _written(fields: Mapping[str, object]) -> str:
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":"))


def _a(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
