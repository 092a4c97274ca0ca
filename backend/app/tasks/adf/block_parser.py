"""markdown-it-py's block rules, asked only where they can apply.

What is ours is *which* rule is asked, not what it does: markdown-it-py asks every rule at every
line, and nearly all of them look at the line's first character and decline. Here that character
is looked at first. Two more things are ours: nesting that goes too deep is an error (markdown-it-py
drops the text silently), and a table row's surplus cells are kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from markdown_it.common.utils import mdTrim
from markdown_it.parser_block import ParserBlock
from markdown_it.ruler import Ruler
from markdown_it.rules_block import (
    StateBlock,
    blockquote,
    code,
    fence,
    heading,
    hr,
    html_block,
    lheading,
    list_block,
    paragraph,
    reference,
)
from markdown_it.rules_block.table import escapedSplit, table
from mdit_py_plugins.footnote.index import footnote_def

from app.core.errors import DocumentError

if TYPE_CHECKING:
    from collections.abc import Callable

    from markdown_it.token import Token

    BlockRule = Callable[[StateBlock, int, int, bool], bool]

_ONLY_MARKERS = re.compile(r"([*_-])(?:[ \t]*+\1){2,}+[ \t]*+\Z")
_TABLE_DELIMITER_STARTS = frozenset("|-:")


def table_with_surplus_cells(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """GFM's table, but a row's surplus cells join its last one; GFM drops them, and their text."""
    first_token = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    if not silent:
        _append_surplus_cells(state, first_token)
    return True


def _append_surplus_cells(state: StateBlock, first_token: int) -> None:
    columns = 0
    last_cell: Token | None = None
    for token in state.tokens[first_token:]:
        if token.type == "th_open":
            columns += 1
        elif token.type == "inline":
            last_cell = token
        elif token.type == "tr_close" and last_cell is not None and last_cell.map:
            line = last_cell.map[0]
            row = mdTrim(state.src[state.bMarks[line] + state.tShift[line] : state.eMarks[line]])
            if row.count("|") < columns:
                continue
            cells = escapedSplit(row)
            surplus = cells[columns + (cells[0] == "") :]
            text = " | ".join(cell.strip() for cell in surplus if cell.strip())
            if text:
                last_cell.content = f"{last_cell.content} | {text}"


def _thematic_break(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Ask markdown-it-py's rule only about a line that has nothing but markers.

    It looks at each character in turn, and `- - - a` is asked about once per level of its list.
    """
    position = state.bMarks[start] + state.tShift[start]
    if _ONLY_MARKERS.match(state.src, position, state.eMarks[start]) is None:
        return False
    return hr(state, start, end, silent)


_BLOCKS_AT: dict[str, tuple[BlockRule, ...]] = {
    "`": (fence,),
    "~": (fence,),
    ">": (blockquote,),
    "*": (_thematic_break, list_block),
    "-": (_thematic_break, list_block),
    "_": (_thematic_break,),
    "+": (list_block,),
    **dict.fromkeys("0123456789", (list_block,)),
    "[": (footnote_def, reference),
    "<": (html_block,),
    "#": (heading,),
}
_ENDS_PARAGRAPH: dict[str, tuple[BlockRule, ...]] = {**_BLOCKS_AT, "[": (footnote_def,)}
_ENDS_QUOTE: dict[str, tuple[BlockRule, ...]] = {
    character: rules for character, rules in _BLOCKS_AT.items() if character != "["
}
_ENDS_LIST: dict[str, tuple[BlockRule, ...]] = {
    "`": (fence,),
    "~": (fence,),
    ">": (blockquote,),
    "*": (_thematic_break,),
    "-": (_thematic_break,),
    "_": (_thematic_break,),
}


def _may_be_table(state: StateBlock, line: int, end: int) -> bool:
    following = line + 1
    if following >= end:
        return False
    position = state.bMarks[following] + state.tShift[following]
    return position < state.eMarks[following] and state.src[position] in _TABLE_DELIMITER_STARTS


def _terminator(
    rules_at: dict[str, tuple[BlockRule, ...]], *, tables: bool
) -> Callable[[StateBlock, int, int, bool], bool]:
    """One rule that says what markdown-it-py's whole chain of terminating rules would say."""

    def terminates(state: StateBlock, line: int, end: int, silent: bool) -> bool:
        position = state.bMarks[line] + state.tShift[line]
        if position >= state.eMarks[line]:
            return False
        if tables and _may_be_table(state, line, end) and table(state, line, end, silent):
            return True
        rules = rules_at.get(state.src[position])
        return rules is not None and any(rule(state, line, end, silent) for rule in rules)

    return terminates


class _TerminatingRules(Ruler["BlockRule"]):
    """What ends a paragraph, a quote, a list or a reference, by its first character."""

    _chains: dict[str, list[BlockRule]] = {  # noqa: RUF012 - mypy wants no ClassVar of a type variable
        "paragraph": [_terminator(_ENDS_PARAGRAPH, tables=True)],
        "reference": [_terminator(_ENDS_PARAGRAPH, tables=True)],
        "blockquote": [_terminator(_ENDS_QUOTE, tables=False)],
        "list": [_terminator(_ENDS_LIST, tables=False)],
    }

    def getRules(self, chainName: str = "") -> list[BlockRule]:  # noqa: N802, N803 - theirs
        return self._chains[chainName]


class BlockParser(ParserBlock):
    """markdown-it-py's block parser, with a limit on nesting and rules chosen by character."""

    def __init__(self) -> None:
        super().__init__()
        self.ruler = _TerminatingRules()
        self.ruler.push("code", code)  # StateBlock asks whether indented code is on

    def tokenize(self, state: StateBlock, startLine: int, endLine: int) -> None:  # noqa: N803
        """Parse these lines' blocks, and by recursion the blocks in them.

        Raises:
            DocumentError: the blocks nest more than `max_nesting` (in the environment) deep.

        """
        environment = state.env
        nesting = environment["nesting"]
        if nesting > environment["max_nesting"]:
            raise _too_deep(environment["max_nesting"])
        environment["nesting"] = nesting + 1
        line = startLine
        has_empty_lines = False
        while line < endLine:
            state.line = line = state.skipEmptyLines(line)
            if line >= endLine or state.sCount[line] < state.blkIndent:
                break
            self._parse_block(state, line, endLine)
            state.tight = not has_empty_lines
            line = state.line
            if line - 1 < endLine and state.isEmpty(line - 1):
                has_empty_lines = True
            if line < endLine and state.isEmpty(line):
                has_empty_lines = True
                line += 1
                state.line = line
        environment["nesting"] = nesting

    @staticmethod
    def _parse_block(state: StateBlock, line: int, end: int) -> None:
        if state.sCount[line] - state.blkIndent >= 4:  # noqa: PLR2004 - CommonMark's four spaces
            code(state, line, end, False)
            return
        if _may_be_table(state, line, end) and table_with_surplus_cells(state, line, end, False):
            return
        character = state.src[state.bMarks[line] + state.tShift[line]]
        for rule in _BLOCKS_AT.get(character, ()):
            if rule(state, line, end, False):
                return
        if not lheading(state, line, end, False):
            paragraph(state, line, end, False)


def _too_deep(max_nesting: int) -> DocumentError:
    return DocumentError(
        f"The Markdown nests quotes and lists more than {max_nesting} levels deep.",
        next_step="Nest them less deeply, or start a new list or quote.",
    )
