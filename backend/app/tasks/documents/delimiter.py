"""Detect the character that separates the cells of a CSV."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

from app.core.errors import ConfigurationError, ErrorCategory

if TYPE_CHECKING:
    from collections.abc import Iterable

CANDIDATES = (",", ";", "\t", "|")
_NAMES = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}

ONE_COLUMN = "\x1f"
"""The delimiter of a table of one column: a character that no text has, so that a comma in a
sentence separates nothing."""

_SAMPLE_CHARACTERS = 64 * 1024
_SAMPLE_RECORDS = 100

# Excel writes and obeys a first line such as `sep=;`.
_SEPARATOR_LINE = re.compile(r'"?sep=([^\w\s"]|\t)"?[ \t]*(?:\r\n|\r|\n|\Z)', re.IGNORECASE)


def delimiter_from(option: str) -> str:
    r"""Return the delimiter of an option: a character, or `comma`, `semicolon`, `tab`, `pipe`.

    Raises:
        ConfigurationError: it is not a single character, or one that cannot separate cells.

    """
    delimiter = _NAMES.get(option.lower(), option)
    if len(delimiter) != 1 or delimiter in '"\r\n \0':
        raise ConfigurationError(
            f"“{option}” cannot be a delimiter",
            ErrorCategory.USER_FIXABLE,
            next_step="Use one character, or comma, semicolon, tab or pipe.",
            options=["delimiter"],
        )
    return delimiter


def choose_delimiter(
    text: str, *, given: str | None, is_tab_separated: bool, title_columns: Iterable[str]
) -> tuple[str, int]:
    """Return the delimiter, and where the table begins (after Excel's `sep=` line, if any).

    Candidates are the delimiters in the first line. Preferred is one that makes a title column
    there; then the one for which most records are as wide as the header; then the wider one.

    Raises:
        ConfigurationError: the given one cannot be a delimiter.

    """
    separator_line = _SEPARATOR_LINE.match(text)
    start = separator_line.end() if separator_line else 0
    if given is not None:
        return delimiter_from(given), start
    if separator_line:
        return separator_line[1], start
    sample = text[start : start + _SAMPLE_CHARACTERS]
    is_whole = start + len(sample) == len(text)
    titles = {column_name(column).casefold() for column in title_columns}
    best, best_score = "\t" if is_tab_separated else ONE_COLUMN, 0.0
    for candidate in CANDIDATES:
        score = _score(_records(sample, candidate, is_whole=is_whole), titles)
        if score and candidate == "\t" and is_tab_separated:
            return candidate, start
        if score > best_score:
            best, best_score = candidate, score
    return best, start


def has_content(record: list[str]) -> bool:
    """Return whether any cell is not blank; spreadsheets also export blank rows."""
    return any(map(str.strip, record))


def column_name(cell: str) -> str:
    """Return a header's cell as one line: spreadsheets break long names."""
    return " ".join(cell.split())


def _records(sample: str, delimiter: str, *, is_whole: bool) -> list[list[str]]:
    """Read the first records, without a last one that may be cut, unless it is the header."""
    lines = re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", sample)
    every_record = list(filter(None, csv.reader(lines, delimiter=delimiter)))
    records = list(filter(has_content, every_record)) or every_record[:1]
    if not is_whole and len(records) > 1:
        records.pop()
    return records[:_SAMPLE_RECORDS]


def _score(records: list[list[str]], titles: set[str]) -> float:
    if not records or len(records[0]) == 1:
        return 0.0
    header = records[0]
    width = len(header)
    as_wide = sum(len(record) == width for record in records) / len(records)
    names_a_title = any(column_name(cell).casefold() in titles for cell in header)
    return names_a_title + as_wide * (1 - 1 / width)
