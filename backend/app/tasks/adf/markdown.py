"""Markdown as ADF, the Atlassian Document Format: one document, or one for each heading.

Markdown is CommonMark 0.31.2 with GitHub's tables, task lists, strikethrough, footnotes and bare
addresses. What comes out is valid against Atlassian's schema (`schema/provenance.json`) whatever
goes in, and keeps every word; `docs/decisions/markdown-to-adf.md` says how.

The way through: `commonmark` parses (with `block_parser`, `inline_parser` and `autolinks`),
`footnotes` takes the notes out, `blocks` and `inlines` build.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markdown_it.token import Token

from app.tasks.adf.blocks import BlockBuilder
from app.tasks.adf.commonmark import parse_blocks, parse_inline
from app.tasks.adf.footnotes import Footnotes, SectionFootnotes
from app.tasks.adf.inlines import is_plain, plain_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Environment = dict[str, Any]

DEFAULT_MAX_NESTING = 100


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a Markdown document that becomes one ticket.

    Attributes:
        title: the heading's text on one line, or None where the part has no heading with text.
        line: where the heading stands (the first line is 1), or 1.
        document: the ADF document of what stands below the heading.

    """

    title: str | None
    line: int
    document: dict[str, Any]


def markdown_to_adf(source: str, *, max_nesting: int = DEFAULT_MAX_NESTING) -> dict[str, Any]:
    """Return the ADF document that says what `source` says.

    Its nodes may share parts: only read it.

    Raises:
        DocumentError: quotes and lists are nested more than `max_nesting` deep (never more
            than 120, however much is asked for).

    """
    tokens, environment = parse_blocks(_clean(source), max_nesting)
    return _build([tokens], environment)[0]


def split_sections(
    source: str, level: int | None, *, max_nesting: int = DEFAULT_MAX_NESTING
) -> list[Section]:
    """Return the document as one section (`level` None), or one for each heading up to `level`.

    With `level` None the first heading that has text gives the title and is taken out of the
    body, wherever it stands. With a level, what stands before the first such heading is a section
    without a title. Headings inside quotes and lists count as text. A heading that says more than
    its title does (a link, an image) stays in the body too, as a paragraph. A section with neither
    title nor body is left out, unless it would be the only one: there is always one at least.

    Raises:
        DocumentError: as for `markdown_to_adf`.

    """
    tokens, environment = parse_blocks(_clean(source), max_nesting)
    if level is None:
        parts = [_with_first_heading_as_title(tokens, environment)]
    else:
        parts = list(_split_at_headings(tokens, level, environment))
    documents = _build([part.body for part in parts], environment)
    sections = [
        Section(part.title, part.line, document)
        for part, document in zip(parts, documents, strict=True)
    ]
    return [one for one in sections if one.title or one.document["content"]] or sections[:1]


@dataclass(frozen=True, slots=True)
class _Part:
    title: str | None
    line: int
    body: list[Token]


def _clean(source: str) -> str:
    """Return `source` as JSON, PostgreSQL and CommonMark want text: no NUL, no half characters."""
    if not source.isascii():
        source = source.removeprefix("\ufeff")
        try:
            source.encode()
        except UnicodeEncodeError:
            # Two surrogates that belong together become their character, any other U+FFFD.
            source = source.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if "\0" in source:
        source = source.replace("\0", "\ufffd")
    if "\r" in source:
        source = source.replace("\r\n", "\n").replace("\r", "\n")
    return source


def _build(bodies: Sequence[list[Token]], environment: Environment) -> list[dict[str, Any]]:
    """Build one ADF document for each body; the footnotes come when it is known who needs them."""
    footnotes = Footnotes()
    taken_out = [footnotes.take_out(body, environment) for body in bodies]
    builders: list[tuple[BlockBuilder, SectionFootnotes]] = []
    for body in taken_out:
        own_footnotes = SectionFootnotes(footnotes)
        builder = BlockBuilder(environment, own_footnotes)
        builder.add_all(body)
        builders.append((builder, own_footnotes))
    for builder, own_footnotes in builders:
        builder.add_footnotes(own_footnotes.in_order())
    return [builder.document for builder, _ in builders]


def _with_first_heading_as_title(tokens: list[Token], environment: Environment) -> _Part:
    for index, token in enumerate(tokens):
        if _is_heading(token):
            title, stays = _read_heading(tokens[index + 1].content, environment)
            if title:
                body = [*tokens[:index], *_as_paragraph(tokens, index, stays), *tokens[index + 3 :]]
                return _Part(title, _line_of(token), body)
    return _Part(None, 1, tokens)


def _split_at_headings(
    tokens: list[Token], level: int, environment: Environment
) -> Iterator[_Part]:
    starts = [
        index
        for index, token in enumerate(tokens)
        if _is_heading(token) and int(token.tag[1]) <= level
    ]
    yield _Part(None, 1, tokens[: starts[0]] if starts else tokens)
    for start, end in pairwise([*starts, len(tokens)]):
        title, stays = _read_heading(tokens[start + 1].content, environment)
        body = [*_as_paragraph(tokens, start, stays), *tokens[start + 3 : end]]
        yield _Part(title or None, _line_of(tokens[start]), body)


def _is_heading(token: Token) -> bool:
    return token.level == 0 and token.type == "heading_open"


def _line_of(token: Token) -> int:
    if token.map is None:
        raise AssertionError("the parser gives every heading its line")
    return token.map[0] + 1


def _read_heading(content: str, environment: Environment) -> tuple[str, bool]:
    """Give a heading's title, and whether it says more than that."""
    tokens = parse_inline(content, environment)
    return " ".join(plain_text(tokens).split()), not is_plain(tokens)


def _as_paragraph(tokens: list[Token], index: int, stays: bool) -> list[Token]:
    """Give the heading at `index` as a paragraph if it stays, else nothing."""
    if not stays:
        return []
    return [Token("paragraph_open", "p", 1), tokens[index + 1], Token("paragraph_close", "p", -1)]
