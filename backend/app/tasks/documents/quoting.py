"""Quotes in a CSV that would silently move text into other cells, or out of the document."""

from __future__ import annotations

import re
from itertools import pairwise

from app.core.errors import DocumentError

# `"a \"b\" c"`: a backslash before a quote that does not end its cell. In RFC 4180 the quote ends
# the cell there, and what follows would move into other cells.
_BACKSLASH_QUOTE = re.compile(r'(?<!\\)(?:\\\\)*\\"(?=[^"\r\n])')


def blanks_follow_delimiters(text: str, start: int, delimiter: str) -> bool:
    """Whether cells begin behind a blank (`a, "b"`), as the header and a quoted cell show."""
    header = re.match(r"[^\r\n]*", text[start : start + 100_000])
    cells = header[0].split(delimiter) if header is not None else []
    return (
        delimiter != " "
        and len(cells) > 1
        and all(after[:1] == " " for _, after in pairwise(cells))
        and f'{delimiter} "' in text
    )


def refuse_misplaced_quotes(
    name: str, record: str, delimiter: str, *, row: int | None, line: int
) -> None:
    r"""Refuse a record with a quote escaped by a backslash, or one within a quoted cell.

    Args:
        name: the document's.
        record: as it is written.
        delimiter: of its cells.
        row: its number; None: it is the header.
        line: where it begins.

    Raises:
        DocumentError: it names row and line.

    """
    if '"' not in record:
        return
    where = f"row {row:,}" if row else "the header"
    place = f"{name}: a quote in {where} (which begins in line {line:,})"
    if _has_backslash_quote(record, delimiter):
        raise DocumentError(
            f'{place} is escaped by a backslash (\\"), which a CSV does not know',
            name=name,
            row=row,
            next_step='Write quotes within cells twice ("5"" disk"), or export the file again'
            " with quotes doubled, not escaped.",
        )
    if _has_single_quote_within(record, delimiter):
        raise DocumentError(
            f"{place} stands within a quoted cell, and ends it",
            name=name,
            row=row,
            next_step='Write quotes within quoted cells twice ("5"" disk").',
        )


def _has_backslash_quote(record: str, delimiter: str) -> bool:
    if '\\"' not in record:
        return False
    return any(
        not record[found.end() :].lstrip(" ").startswith(delimiter)
        and record.count('"', 0, found.end() - 1) % 2 == 1
        for found in _BACKSLASH_QUOTE.finditer(record)
    )


def _has_single_quote_within(record: str, delimiter: str) -> bool:
    """Whether quotes stand within a quoted cell: `"a "b", c"`. A tail (`"a"b`) does no harm."""
    sign = re.escape(delimiter)
    if re.search(rf'"[^"\s{sign}]', record) is None:
        return False
    cells = re.finditer(
        rf'(?:(?<={sign})|\A) *"[^"]*+(?:""[^"]*+)*+"([^{sign}\r\n]*)'
        rf'|(?<={sign})(?! *")[^{sign}]+',
        record,
    )
    return any('"' in (cell[1] or "") for cell in cells)
