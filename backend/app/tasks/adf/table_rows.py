"""Rows of Markdown's tables whose pipes are no ends of cells.

GitHub ends a cell at a pipe within code, and drops what is beyond the last column; here both stay.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import defaultdict

PIPE = "\ufdd3"
"""Stands for a pipe that is text; a non-character, which no cleaned text has."""

_DASH_AND_PIPE = re.compile(r"-:?[ \t]*\|")
_DELIMITER_ROW = re.compile(r"[ \t>]*(?:\|[ \t]*)?:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*")
_BACKTICKS_OR_PIPE = re.compile(r"`+|\\.|\|")


def with_pipes_shielded(text: str) -> str:
    """Shield the pipes of table rows that stand in code, or beyond the last column."""
    delimiter_rows = _delimiter_rows(text)
    if not delimiter_rows:
        return text
    parts: list[str] = []
    done = 0
    for row in delimiter_rows:
        if row.start() < done:
            continue
        columns = _cell_count(row[0])
        header_start = text.rfind("\n", done, max(row.start() - 1, done)) + 1 or done
        parts += [
            text[done:header_start],
            _shield_row(text[header_start : row.start()], columns, keep_surplus=False),
            row[0],
        ]
        done = row.end()
        while done < len(text):
            end = text.find("\n", done + 1)
            line = text[done : end if end >= 0 else len(text)]
            if not line.strip(" \t\n>"):
                break
            parts.append(_shield_row(line, columns, keep_surplus=True))
            done += len(line)
    parts.append(text[done:])
    return "".join(parts)


def _delimiter_rows(text: str) -> list[re.Match[str]]:
    """Return the lines below the headers of tables, and perhaps some that only look like one."""
    rows: list[re.Match[str]] = []
    position = 0
    while (hint := _DASH_AND_PIPE.search(text, position)) is not None:
        start = text.rfind("\n", 0, hint.start()) + 1
        end = text.find("\n", hint.start())
        position = end if end >= 0 else len(text)
        row = _DELIMITER_ROW.fullmatch(text, start, position)
        if row is not None:
            rows.append(row)
    return rows


def _cell_count(row: str) -> int:
    return row.strip(" \t\n>").removeprefix("|").removesuffix("|").count("|") + 1


def _shield_row(row: str, columns: int, *, keep_surplus: bool) -> str:
    if _cell_count(row) <= columns:
        return row
    shielded, pipes = _pipes(row)
    if keep_surplus and pipes:
        if not row[: pipes[0]].strip(" \t\n>"):
            pipes.pop(0)
        if pipes and not row[pipes[-1] + 1 :].strip():
            pipes.pop()
        shielded += pipes[columns - 1 :]
    characters = list(row)
    for at in shielded:
        characters[at] = PIPE
    return "".join(characters)


def _pipes(row: str) -> tuple[list[int], list[int]]:
    """Return where the pipes within code stand, and where the others."""
    marks = list(_BACKTICKS_OR_PIPE.finditer(row))
    runs: dict[str, list[int]] = defaultdict(list)
    for mark in marks:
        if mark[0][0] == "`":
            runs[mark[0]].append(mark.start())
    in_code: list[int] = []
    others: list[int] = []
    code_end = -1
    for mark in marks:
        at = mark.start()
        if mark[0] == "|":
            (in_code if at < code_end else others).append(at)
        elif mark[0][0] == "`" and at > code_end:
            ends = runs[mark[0]]
            following = bisect_right(ends, at)
            code_end = ends[following] if following < len(ends) else code_end
    return in_code, others
