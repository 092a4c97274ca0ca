"""Markdown as ADF, the Atlassian Document Format: one document, or one for each heading.

Markdown is CommonMark 0.31.2 with GitHub's tables, task lists, strikethrough, footnotes, alerts and
bare addresses, and with what is common elsewhere: front matter, admonitions, definition lists and
HTML. What comes out is valid against Atlassian's schema (`schema/provenance.json`) whatever goes
in, and keeps every word; `docs/decisions/markdown-to-adf.md` says how.

The way through: `markdown_source` prepares, pyromark (pulldown-cmark) makes HTML, `html_source`
balances the HTML that people write into their Markdown, `html_reader` builds, `sections` divides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.document_builder import DocumentBuilder
from app.tasks.adf.front_matter import read_front_matter
from app.tasks.adf.html_reader import read_html
from app.tasks.adf.markdown_source import prepare_markdown
from app.tasks.adf.mdx import is_mdx, mdx_to_markdown
from app.tasks.adf.sections import Section, make_sections, whole_document
from app.tasks.adf.text_cleaning import clean_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.tasks.adf.document_builder import Heading

TITLE_KEYS = ("title", "summary")
"""The keys of front matter that give a document's title, the first before the second."""

DEFAULT_MAX_NESTING = 100
DEFAULT_MAX_NODES = 200_000


def markdown_to_adf(
    source: str,
    *,
    base_url: str | None = None,
    hard_breaks: bool = False,
    max_nesting: int = DEFAULT_MAX_NESTING,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> dict[str, Any]:
    """Return the ADF document that says what `source` says.

    Its nodes may share parts: only read it.

    Args:
        source: the Markdown; what stands before it as front matter is left out.
        base_url: what relative links and pictures are relative to; None: they become text.
        hard_breaks: whether a line's end in a paragraph is one, as in the comments of GitHub.
        max_nesting: how deep quotes and lists may nest, never more than 120.
        max_nodes: how many nodes the document may have.

    Raises:
        DocumentError: it nests too deeply or has too many nodes.

    """
    text = _clean(source)
    text = text[read_front_matter(text).end :]
    builder = DocumentBuilder(
        AddressResolver(base_url), max_nesting=max_nesting, hard_breaks=hard_breaks
    )
    html = prepare_markdown(text, is_message=hard_breaks).html(number_headings=False)
    return whole_document(read_html(builder, html, max_nodes=max_nodes))


@dataclass(frozen=True, slots=True)
class MarkdownDocument:
    """A Markdown document that was read.

    Attributes:
        sections: one or more; see `split_sections`.
        front_matter: its data but for the title, by key: text, number, bool, list, object or None.
        has_broken_front_matter: it is no valid YAML or TOML, and was read line by line.
        unresolved: how many links and pictures were relative, where no base was given.

    """

    sections: list[Section]
    front_matter: Mapping[str, Any]
    has_broken_front_matter: bool
    unresolved: int


def split_sections(
    source: str,
    level: int | None,
    *,
    base_url: str | None = None,
    max_nesting: int = DEFAULT_MAX_NESTING,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> list[Section]:
    """Return the document as one section (`level` None), or one for each heading up to `level`.

    With `level` None the front matter's `title`, else the first heading that has text gives the
    title; a heading that gives it, or repeats it, is taken out of the body. With a level, what
    stands before the first such heading is a section of its own. Headings inside quotes, lists and
    tables count as text. What a heading says besides its title (a link, a picture) stays in the
    body. A section with neither title nor body is left out, unless it would be the only one.

    Raises:
        DocumentError: as for `markdown_to_adf`.

    """
    return read_markdown(
        source, level, base_url=base_url, max_nesting=max_nesting, max_nodes=max_nodes
    ).sections


def read_markdown(  # noqa: PLR0913 - the options of Markdown are these
    source: str,
    level: int | None,
    *,
    base_url: str | None = None,
    is_of_mdx: bool = False,
    max_nesting: int = DEFAULT_MAX_NESTING,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> MarkdownDocument:
    """Return the document's sections, as `split_sections` does, and what else it says.

    One that imports components is MDX, as is one that is said to be (`is_of_mdx`).
    """
    text = _clean(source)
    front_matter = read_front_matter(text)
    lines_before = text.count("\n", 0, front_matter.end)
    body = text[front_matter.end :]
    origins: list[int] | None = None
    if is_of_mdx or is_mdx(body):
        body, origins = mdx_to_markdown(body)
    prepared = prepare_markdown(body)
    addresses = AddressResolver(base_url)
    builder = DocumentBuilder(addresses, max_nesting=max_nesting)
    read_html(builder, prepared.html(number_headings=True), max_nodes=max_nodes)
    lines = prepared.heading_lines()
    known: list[int] = []

    def line_of(heading: Heading) -> int:
        wanted = int(heading.mark)
        known.extend(islice(lines, max(0, wanted + 1 - len(known))))
        line = known[wanted]
        return lines_before + (line if origins is None else origins[line - 1] + 1)

    values = dict(front_matter.values)
    keys = {key.lower(): key for key in reversed(values)}
    title_key = next((keys[key] for key in TITLE_KEYS if key in keys), None)
    title = None if title_key is None else values.pop(title_key)
    title = " ".join(str(title).split()) if isinstance(title, (str, int, float)) else ""
    return MarkdownDocument(
        make_sections(builder, level, title=title, line_of=line_of),
        values,
        front_matter.is_broken,
        addresses.unresolved,
    )


def _clean(source: str) -> str:
    """Return `source` as CommonMark wants it: usable characters, one kind of line end."""
    text, _ = clean_text(source.removeprefix("\ufeff"))
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
