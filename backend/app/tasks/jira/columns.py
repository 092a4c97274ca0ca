"""Read the columns of a table as Jira's fields.

A cell that cannot be read as its field stays in the table, and a note tells how many did. Fields
that only a site can resolve stay there too, unless the session goes to a site.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.tasks.jira.column_rules import BODY, TITLE, MappingOptions
from app.tasks.jira.families import Family
from app.tasks.jira.spellings import (
    IDENTITIES,
    FieldName,
    Origin,
    field_named,
    field_of_column,
    folded,
    origin_of,
)
from app.tasks.jira.values import (
    DEFAULT_PRIORITIES,
    FORMULA_ERRORS,
    LONGEST_LABEL,
    NO_PRIORITIES,
    OTHER_PRIORITIES,
    AmbiguousDate,
    make_label,
    read_date,
    read_estimate,
    read_person,
    read_serial_date,
    split_names,
)
from app.values.results import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Rows = Callable[[], Iterator[tuple[int, Sequence[str]]]]
    _Filled = Sequence[tuple[int, str]]

_ISSUE_KEY = re.compile(r"[A-Z][A-Z0-9_]+-\d+")
_EMOJI = " \u26a0\ufe0f"
"""What monday.com writes behind a priority: a warning sign."""

_NUMBERED = re.compile(r"p?\d ?[-–:.] ?(?=[^\W\d])", re.IGNORECASE)
"""What stands before a priority: `2 - High`, `P1: High`."""

_READ_FROM_ONE = frozenset({"duedate", "startdate", "priority", "originalEstimate"})
"""Fields that are read from the first of their columns that says something."""

_TRELLO_COLOUR = re.compile(r" \([a-z_ ]+\)$")
_SECONDS_IN_UNIT = {
    Origin.JIRA: 1, Origin.GITLAB: 1, Origin.AZURE_DEVOPS: 3600, Origin.REDMINE: 3600,
    Origin.CLICKUP: 0.001,
}  # fmt: skip
"""What a bare number of an export's estimate counts."""


@dataclass(slots=True)
class MappedRow:
    """The fields of one row.

    Attributes:
        fields: by field, in values that JSON has; empty where it says nothing.
        shown: the columns that stay in the table, by index.
        keys: its keys, if it has any, as Jira writes them.
        parent_row: its parent is this row of the same table.
        parent_key: its parent has this key.

    """

    fields: dict[str, Any] = field(default_factory=dict)
    shown: set[int] = field(default_factory=set)
    keys: list[str] = field(default_factory=list)
    parent_row: int | None = None
    parent_key: str = ""


@dataclass(frozen=True, slots=True)
class ColumnUse:
    """The use of a column, for a preview: `field` is "" where it becomes none."""

    column: str
    field: str
    is_left_out: bool = False


class ColumnMapping:
    """How the columns of one table become fields; `rows` gives all of them, from the first.

    Attributes:
        name: that of the table, where a document has several; else the document's.
        origin: the program that wrote it.

    Rows are read once more in two cases: to find a row that another names as its parent, and to
    tell the order of day and month by the whole column.
    """

    def __init__(  # noqa: PLR0913 - all that describes a table
        self,
        document: str,
        header: Sequence[str],
        *,
        title: int | None,
        body: int | None,
        options: MappingOptions,
        rows: Rows,
        name: str = "",
        has_rows: bool = True,
    ) -> None:
        self._document = document
        self.name = name or document
        self._has_rows = has_rows
        self._header = header
        self._options = options
        self._rows = rows
        self.origin = origin_of(header)
        self._taken = {
            index: name for index, name in ((body, BODY), (title, TITLE)) if index is not None
        }
        self._left_out: set[int] = set()
        self._kept_title = ""
        self._columns: dict[str, list[int]] = {}
        self._chosen = self._choose()
        self._place()
        self._identities = [
            index
            for name in IDENTITIES
            for index, each in enumerate(header)
            if folded(each) == name and index not in self._taken
        ]
        if self.origin is Origin.ASANA and title is not None:
            self._identities.append(title)
        self._read: dict[str, Callable[[_Filled], Any]] = {
            "labels": self._labels,
            "components": self._names,
            "fixVersions": self._names,
            "versions": self._names,
            "duedate": self._date,
            "startdate": self._date,
            "priority": self._priority,
            "originalEstimate": self._estimate,
            "assignee": self._person,
            "reporter": self._person,
        }
        self._row_number = 0
        self._remarks: dict[Note, tuple[int, int, str]] = {}
        self._day_first: dict[int, bool | None] = {}

    def _choose(self) -> set[str]:
        """Place the columns that rules speak of; return the fields that they fill."""
        for index, name in enumerate(self._header):
            rule = next(
                (rule for rule in self._options.rules if rule.holds_for(self._document, name)), None
            )
            if rule is None:
                continue
            if taken := self._taken.get(index):
                if rule.field != taken:
                    self._kept_title = name
                continue
            if rule.field:
                self._columns.setdefault(rule.field, []).append(index)
            else:
                self._left_out.add(index)
        return set(self._columns)

    def _place(self) -> None:
        """Place all other columns by their names; a field that a rule fills is not filled twice."""
        placed = {index for indices in self._columns.values() for index in indices}
        for index, name in enumerate(self._header):
            found = field_of_column(name, self.origin)
            is_free = index not in self._taken.keys() | self._left_out | placed
            if found is not None and found.id not in self._chosen and is_free:
                self._columns.setdefault(found.id, []).append(index)

    # -- columns and rows -------------------------------------------------------------------------

    @property
    def uses(self) -> list[ColumnUse]:
        """The use of each column, in order."""
        becomes = {
            index: name
            for name, indices in self._columns.items()
            if self._becomes(name)
            for index in indices
        } | self._taken
        return [
            ColumnUse(name, field, index in self._left_out or not (field or self._has_rows))
            for index, name in enumerate(self._header)
            for field in (becomes.get(index, ""),)
        ]

    def _becomes(self, name: str) -> bool:
        """Whether the values of a field leave the table."""
        if name == "status":
            return False
        known: FieldName | None = field_named(name)
        return self._options.has_site or known is None or not known.needs_site

    def row(self, number: int, cells: Sequence[str]) -> MappedRow:
        """Return what a row says."""
        self._row_number = number
        row = MappedRow(shown=set(range(len(cells))) - self._left_out - self._taken.keys())
        for name, indices in self._columns.items():
            filled = [
                (index, value)
                for index in indices
                if index < len(cells) and (value := cells[index].strip())
            ]
            if any(value in FORMULA_ERRORS for _index, value in filled):
                self._remark(f"errors of formulas {self._stay()}", filled[0][1])
                filled = [(index, value) for index, value in filled if value not in FORMULA_ERRORS]
            if not filled:
                continue
            if name == "parent":
                self._parent(row, filled)
            elif not self._becomes(name) or (name == "sprint" and not filled[0][1].isdigit()):
                why = _WHY_NOT[name]
                options = () if self._options.has_site else why.options
                self._remark(
                    f"{self._named(indices)} {self._stay(len(indices))}: {why.text}", "", *options
                )
            else:
                value = self._value(name, filled)
                if value is not None:
                    row.fields[name] = value
                    read = filled[:1] if name in _READ_FROM_ONE else filled
                    row.shown.difference_update(index for index, _value in read)
        row.keys = [
            key
            for index in self._identities
            if index < len(cells) and _ISSUE_KEY.fullmatch(key := cells[index].strip())
        ]
        return row

    def notes(self) -> list[Note]:
        """Return what people should know of the rows so far, one line for each kind."""
        notes = [
            Note(f"{self.name}: {remark.text}{self._where(*where)}", remark.options)
            for remark, where in self._remarks.items()
        ]
        if self._kept_title:
            kept = f"{self.name}: “{self._kept_title}” stays the title"
            notes.insert(0, Note(kept, ("title_column",)))
        return notes

    def _where(self, count: int, first: int, example: str) -> str:
        known = [_rows_text(count, first) if self._has_rows else "", _quoted(example)]
        return f" ({': '.join(filter(None, known))})" if any(known) else ""

    def _stay(self, count: int = 2) -> str:
        """Return the words for values that become no field."""
        if self._has_rows:
            return f"stay{'s' if count == 1 else ''} in the table"
        return f"{'is' if count == 1 else 'are'} left out"  # a document has no table of them

    def _remark(self, text: str, example: str = "", *options: str) -> None:
        remark = Note(text, options)
        count, first, shown = self._remarks.get(remark, (0, self._row_number, example))
        self._remarks[remark] = (count + 1, first, shown)

    def _named(self, indices: Sequence[int]) -> str:
        return "“" + "”, “".join(dict.fromkeys(self._header[index] for index in indices)) + "”"

    # -- values -----------------------------------------------------------------------------------

    def _value(self, name: str, filled: _Filled) -> Any:
        """Return the field's value; None: it cannot be read, and stays in the table."""
        read = self._read.get(name)
        if read is not None:
            return read(filled)
        values = [value for _index, value in filled]
        return values[0] if len(values) == 1 else values

    def _labels(self, filled: _Filled) -> list[str] | None:
        names = [name for _index, value in filled for name in split_names(value)]
        if self.origin is Origin.TRELLO:
            names = [_TRELLO_COLOUR.sub("", name) for name in names]
        labels = list(dict.fromkeys(map(make_label, names)))
        changed = [name for name in names if make_label(name) != name]
        if changed:
            self._remark("blanks in labels became “-”, as Jira takes none", changed[0])
        if any(len(label) > LONGEST_LABEL for label in labels):
            self._remark(f"labels of more than {LONGEST_LABEL} characters {self._stay()}")
            return None
        return labels or None

    def _names(self, filled: _Filled) -> list[str] | None:
        values = [value for _index, value in filled]
        if len(values) > 1 or self.origin is Origin.JIRA:  # one name in each of several columns
            return list(dict.fromkeys(" ".join(value.split()) for value in values))
        return split_names(values[0]) or None

    def _date(self, filled: _Filled) -> str | None:
        column, text = filled[0]
        found = read_date(text, day_first=self._options.day_first)
        if isinstance(found, AmbiguousDate):
            order = self._order_of(column)
            if order is None:
                self._remark(f"dates that can be read two ways {self._stay()}", text, "day_first")
                return None
            return (found.day_first if order else found.month_first).isoformat()
        if found is None and (found := read_serial_date(text)) is not None:
            self._remark(
                "numbers became dates as Excel counts days from 1900; where a workbook counts from "
                "1904, they are four years and a day later",
                f"{text} is {found.isoformat()}",
            )
        if found is None:
            self._remark(f"dates that cannot be read {self._stay()}", text)
            return None
        return found.isoformat()

    def _order_of(self, column: int) -> bool | None:
        """Tell day-first from month-first by the dates of the column that leave no choice."""
        if column not in self._day_first:
            orders = {
                _is_day_first(cells[column])
                for _number, cells in self._rows()
                if column < len(cells)
            } - {None}
            self._day_first[column] = orders.pop() if len(orders) == 1 else None
        return self._day_first[column]

    def _priority(self, filled: _Filled) -> str | None:
        text = " ".join(filled[0][1].split())
        if text.casefold() in NO_PRIORITIES:
            return None
        bare = text.strip(_EMOJI)
        is_trusted = self.origin is Origin.JIRA or "priority" in self._chosen
        if not is_trusted:
            bare = _NUMBERED.sub("", bare, count=1)
        is_known = bare.casefold() in OTHER_PRIORITIES or bare.title() in DEFAULT_PRIORITIES
        if is_known or is_trusted or self._options.has_site:
            return bare if is_known else text
        self._remark(
            f"priorities that are none of Jira's default ones {self._stay()}; if your Jira has"
            f" them, choose {self._header[filled[0][0]]}=priority",
            text,
            "map",
        )
        return None

    def _estimate(self, filled: _Filled) -> str | None:
        text = filled[0][1]
        found = read_estimate(text, seconds_in_unit=_SECONDS_IN_UNIT.get(self.origin))
        if found is None and text.strip(" 0.:hms"):
            self._remark(f"estimates {self._stay()} unless they are like 3d 4h or 90m", text)
        return found

    def _person(self, filled: _Filled) -> str | None:
        people = [read_person(value) for _index, value in filled]
        best = min(people, key=lambda person: (not person.account_id, not person.email))
        if best.account_id or best.email:
            return best.text
        names = split_names(best.text)
        if len(names) > 1:
            self._remark("Jira has one assignee, so the first is taken", best.text)
        return names[0] if names else None

    # -- families ---------------------------------------------------------------------------------

    def _parent(self, row: MappedRow, filled: _Filled) -> None:
        """Find the row's parent by the first of its names that leads somewhere."""
        family = self._family
        found = family.parent_of(self._row_number, filled)
        if self._row_number in family.circles:
            self._remark(f"parents that lead back to the row {self._stay()}", filled[0][1])
            return
        if found is not None:
            row.parent_row = found
            row.shown -= {index for index, name in filled if family.row_of(name) == found}
            return
        for index, name in filled:
            if _ISSUE_KEY.fullmatch(name):
                row.parent_key = name
                row.shown.discard(index)
                return
        self._remark(
            f"parents that are neither a row nor the key of an issue {self._stay()}", filled[0][1]
        )

    @cached_property
    def _family(self) -> Family:
        columns = self._columns.get("parent", ())
        return Family(self._rows(), self._identities, columns)


_WHY_NOT = {
    "status": Note("an issue gets its status from its project's workflow"),
    "assignee": Note("only a site can tell its accounts", ("to",)),
    "reporter": Note("only a site can tell its accounts", ("to",)),
    "storypoints": Note("the field has another id on every site", ("to", "map")),
    "startdate": Note("the field has another id on every site", ("to", "map")),
    "sprint": Note("Jira takes a sprint's number only, and on a site", ("to",)),
}
"""Why a field stays in the table, and the options that change it."""


_LONGEST_EXAMPLE = 60


def _is_day_first(text: str) -> bool | None:
    """Return the order of a date with slashes that has a number above 12."""
    by_day, by_month = read_date(text, day_first=True), read_date(text, day_first=False)
    match = re.match(r"\s*(\d{1,2})[/-](\d{1,2})[/-]", text)
    if match is None or by_day is None or by_day != by_month or match[1] == match[2]:
        return None
    return int(match[1]) > int(match[2])


def _rows_text(count: int, first: int) -> str:
    return f"row {first:,}" if count == 1 else f"{count:,} rows, the first is row {first:,}"


def _quoted(example: str) -> str:
    is_long = len(example) > _LONGEST_EXAMPLE
    return f"“{example[:_LONGEST_EXAMPLE]}{'…' if is_long else ''}”" if example else ""


def fields_of_front_matter(
    document: str, values: Mapping[str, Any], options: MappingOptions
) -> tuple[dict[str, Any], ColumnMapping]:
    """Return the fields that a document's front matter holds, and how its keys become them."""
    names = list(values)
    cells = [_cell(values[name]) for name in names]
    mapping = ColumnMapping(
        document,
        names,
        title=None,
        body=None,
        options=options,
        rows=lambda: iter([(1, cells)]),
        has_rows=False,
    )
    row = mapping.row(1, cells)
    if row.parent_key:
        row.fields["parent"] = row.parent_key
    return row.fields, mapping


def _cell(value: Any) -> str:
    if isinstance(value, list):
        return "; ".join(map(str, value))
    return "" if value is None else str(value)
