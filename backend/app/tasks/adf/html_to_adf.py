"""HTML as ADF: pieces of it, as other tools export them in cells, and whole documents."""

from __future__ import annotations

from typing import Any

from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.document_builder import DocumentBuilder
from app.tasks.adf.html_reader import read_html
from app.tasks.adf.html_source import balanced_document, balanced_fragment
from app.tasks.adf.markdown import DEFAULT_MAX_NESTING, DEFAULT_MAX_NODES
from app.tasks.adf.sections import Section, make_sections, whole_document
from app.tasks.adf.text_cleaning import clean_text


def html_to_adf(
    source: str,
    *,
    base_url: str | None = None,
    max_nesting: int = DEFAULT_MAX_NESTING,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> dict[str, Any]:
    """Return the ADF document that shows what a browser would show of `source`, a piece of HTML.

    Its nodes may share parts: only read it. The limits are those of `markdown_to_adf`.

    Raises:
        DocumentError: it nests too deeply or has too many nodes.

    """
    text, _ = clean_text(source)
    builder = DocumentBuilder(AddressResolver(base_url), max_nesting=max_nesting)
    return whole_document(read_html(builder, balanced_fragment(text), max_nodes=max_nodes))


def split_html(
    source: str,
    level: int | None,
    *,
    base_url: str | None = None,
    max_nesting: int = DEFAULT_MAX_NESTING,
    max_nodes: int = DEFAULT_MAX_NODES,
) -> list[Section]:
    """Return a whole HTML document as one section, or one for each heading up to `level`.

    Its title is its first `<h1>`, else its `<title>`, else its first heading. Lines are not known:
    they are 1.

    Raises:
        DocumentError: as for `html_to_adf`.

    """
    text, _ = clean_text(source)
    builder = DocumentBuilder(AddressResolver(base_url), max_nesting=max_nesting)
    read_html(builder, balanced_document(text), max_nodes=max_nodes)
    first = next((heading.title for heading in builder.headings if heading.level == 1), "")
    return make_sections(builder, level, title=first or builder.title, line_of=lambda _: 1)
