"""Links of a workbook's cells, and what else the library that reads the cells does not tell.

They are collected while the sheets are measured, so no sheet is parsed for them alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Place: TypeAlias = "tuple[int, int]"
"""Row and column; both begin at 1."""

Address: TypeAlias = "tuple[str | Place, ...]"
"""Texts, and cells whose texts stand in between."""

MOST_LINKS = 100_000
"""Of one sheet."""

_MOST_CELLS_OF_RANGE = 1_000
_LONGEST_FORMULA = 8_192
"""Characters, as Excel has it."""

_BEGINNING = re.compile(r"\s*(?:[a-z]+:)?=?\s*HYPERLINK\(", re.IGNORECASE)
_PART = re.compile(
    r'\s*(?:"((?:[^"]|"")*)"|\[?\.?(\$?)([A-Z]{1,3})(\$?)(\d{1,7})\]?)\s*([&,;)])', re.IGNORECASE
)
_REFERENCE = re.compile(r"([A-Z]{1,3})(\d{1,10})", re.IGNORECASE | re.ASCII)


def column_number(letters: str) -> int:
    """Return the number of a column that is called by letters."""
    number = 0
    for letter in letters.upper():
        number = number * 26 + ord(letter) - 64
    return number


def place_of(reference: str) -> Place | None:
    """Return the place of a cell that is called `B2`."""
    found = _REFERENCE.fullmatch(reference)
    return (int(found[2]), column_number(found[1])) if found else None


@dataclass(slots=True)
class SheetLinks:
    """The links of a sheet, and what else its cells say.

    Attributes:
        addresses: by the place of the cell; several are separated by line ends.
        texts: of cells whose text the library reads without its line ends, or not at all.
        unread: how many links could not be read: formulas that compute them otherwise.
        errors: how many cells show the error of a formula.
        hidden_rows: how many rows with content are hidden.
        hidden_columns: the numbers of the columns with content that are.

    """

    addresses: dict[Place, Address] = field(default_factory=dict)
    texts: dict[Place, str] = field(default_factory=dict)
    unread: int = 0
    errors: int = 0
    hidden_rows: int = 0
    hidden_columns: set[int] = field(default_factory=set)
    _formulas: dict[str, tuple[Place, Address]] = field(default_factory=dict)

    def add(self, place: Place, address: Address) -> None:
        """Add the address of a cell's link, below the one that it has."""
        if len(self.addresses) >= MOST_LINKS:
            self.unread += 1
            return
        before = self.addresses.get(place)
        if before != address:
            self.addresses[place] = (*before, "\n", *address) if before else address

    def add_error(self, place: Place, error: str) -> None:
        """Add a cell that shows the error of a formula."""
        self.errors += 1
        if len(self.texts) < MOST_LINKS:
            self.texts[place] = error

    def add_range(self, reference: str, address: str) -> None:
        """Add the address of all cells of a range, `A1` or `A1:B2`."""
        first, _, last = reference.partition(":")
        start = place_of(first)
        end = place_of(last) or start
        if start is None or end is None:
            return
        rows, columns = end[0] - start[0] + 1, end[1] - start[1] + 1
        if rows * columns > _MOST_CELLS_OF_RANGE:
            rows = columns = 1
        for row in range(start[0], start[0] + rows):
            for column in range(start[1], start[1] + columns):
                self.add((row, column), (address,))

    def add_formula(self, place: Place, formula: str, shared: str = "") -> None:
        """Add the address that a formula links to, if it is `HYPERLINK`.

        Cells that share a formula have its number; all but the first have no formula of their own.
        """
        if shared and not formula.strip():
            if shared in self._formulas:
                start, address = self._formulas[shared]
                down, right = place[0] - start[0], place[1] - start[1]
                self.add(place, tuple(_moved(part, down, right) for part in address))
            return
        if len(formula) > _LONGEST_FORMULA or (begun := _BEGINNING.match(formula)) is None:
            return
        linked = _address_of(formula, begun.end())
        if linked is None:
            self.unread += 1
            return
        if shared:
            self._formulas[shared] = place, linked
        self.add(place, tuple(_fixed(part) for part in linked))


def _address_of(formula: str, position: int) -> Address | None:
    """Return what the first argument says, joined by `&`; fixed places of cells are negative."""
    parts: list[str | Place] = []
    while (found := _PART.match(formula, position)) is not None:
        text, fixed_column, letters, fixed_row, row, sign = found.groups()
        if text is not None:
            parts.append(text.replace('""', '"'))
        else:
            column = column_number(letters)
            parts.append(
                (-int(row) if fixed_row else int(row), -column if fixed_column else column)
            )
        position = found.end()
        if sign != "&":
            return tuple(parts)
    return None


def _moved(part: str | Place, down: int, right: int) -> str | Place:
    if isinstance(part, str):
        return part
    row, column = part
    return _fixed((row if row < 0 else row + down, column if column < 0 else column + right))


def _fixed(part: str | Place) -> str | Place:
    return part if isinstance(part, str) else (abs(part[0]), abs(part[1]))


def with_links(
    rows: Sequence[list[str]], links: SheetLinks, first_row: int, first_column: int
) -> None:
    """Give `rows`, whose first is the header, a column of addresses for each column with links.

    It is called `Name (link)`. A link that its cell shows already is left out. `first_row` and
    `first_column` are those of the first cell.
    """
    for (row, column), text in links.texts.items():
        if 0 <= row - first_row < len(rows) and 0 <= column - first_column < len(rows[0]):
            rows[row - first_row][column - first_column] = text

    def cell(place: Place) -> str:
        row, column = place[0] - first_row, place[1] - first_column
        return rows[row][column] if 0 <= row < len(rows) and 0 <= column < width else ""

    width = len(rows[0]) if rows else 0
    by_column: dict[int, dict[int, str]] = {}
    for place, parts in links.addresses.items():
        address = "".join(part if isinstance(part, str) else cell(part) for part in parts)
        shown = cell(place).strip()
        if address and shown and address.removeprefix("mailto:").rstrip("/") != shown.rstrip("/"):
            by_column.setdefault(place[1] - first_column, {})[place[0] - first_row] = address
    header = next((index for index, row in enumerate(rows) if any(row)), 0)
    for column, addresses in sorted(by_column.items()):
        for index, cells in enumerate(rows):
            cells.append(addresses.get(index, "") if index > header else "")
        rows[header][-1] = f"{rows[header][column].strip() or f'column {column + 1}'} (link)"
