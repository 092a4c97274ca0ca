"""HTML as ADF's blocks: one pass over its tags, no recursion.

What is read is HTML with balanced tags (`html_source`). Every element that ADF has a node or mark
for becomes that; `block_tree` decides where it may stand. Any other element is a wrapper: what is
in it counts, the element does not.

Reading is the hot part of a conversion: the tags and texts are cut apart by one regular expression,
which takes an element of nothing but text (`<code>x</code>`) as one piece, and a dictionary says
what to do with each.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from app.core.errors import DocumentError
from app.tasks.adf import block_elements as blocks
from app.tasks.adf import inline_elements as inlines
from app.tasks.adf.adf_element import add_adf
from app.tasks.adf.document_builder import DocumentBuilder
from app.tasks.adf.inline_text import plain

_PIECE = re.compile(r'<(/?[a-zA-Z][^\s/>]*)([^>"]*+(?:"[^"]*"[^>"]*+)*)>(?:([^<]*+)</\1>)?')
_CHUNK_CHARACTERS = 65_536
"""So much HTML is cut apart at once."""


def read_html(builder: DocumentBuilder, html: str, *, max_nodes: int) -> DocumentBuilder:
    """Read the whole of `html`; return the builder, which has it.

    Raises:
        DocumentError: it nests too deeply, or becomes more than about `max_nodes` nodes.

    """
    position, end = 0, len(html)
    is_styled = _is_styled(html)
    with _without_collection():
        while position < end:
            stop = html.find("<", position + _CHUNK_CHARACTERS)
            stop = end if stop < 0 else stop
            _read_chunk(builder, html[position:stop], is_styled=is_styled)
            if builder.tree.node_count + builder.inline.node_count > max_nodes:
                raise too_many_nodes(max_nodes)
            position = stop
        builder.flush()
        builder.tree.finish()
    return builder


def _is_styled(html: str) -> bool:
    """Whether any element may have a style, the alignment of Markdown's cells left aside."""
    aligned = html.count(' style="text-align: ')
    return ' color="' in html or html.count(' style="') > aligned


def _read_chunk(  # noqa: C901 - the hot loop
    builder: DocumentBuilder, html: str, *, is_styled: bool
) -> None:
    pieces = iter(_PIECE.split(html))
    inline, at_tag, at_text_element = builder.inline, _AT_TAG, _AT_TEXT_ELEMENT
    add_markup = inline.add_markup
    if text := next(pieces):
        builder.add_text(text)
    for name, attributes, only_text, text in zip(pieces, pieces, pieces, pieces, strict=True):
        if builder.code is not None:
            _read_piece_in_code(builder, name, attributes, only_text, text)
            continue
        if is_styled and (attributes or only_text is None) and name not in _WITHOUT_STYLE:
            _read_styled(builder, name, attributes, only_text)
        elif only_text is None:
            if (handle := at_tag.get(name)) is not None:
                handle(builder, attributes)
        elif (read := at_text_element.get(name)) is None or not read(
            builder, attributes, only_text
        ):
            _read_tag_by_tag(builder, name, attributes, only_text)
        if text:
            if builder.code is not None:
                builder.code.append(plain(text))
            elif text != "\n" or inline.nodes:
                add_markup(text)


def _read_styled(
    builder: DocumentBuilder, name: str, attributes: str, only_text: str | None
) -> None:
    """Read a tag, or an element of nothing but text, with the marks of its style."""
    if name[0] == "/":
        builder.close_style(name[1:])
    if (handle := _AT_TAG.get(name)) is not None:
        handle(builder, attributes)
    if name[0] != "/":
        builder.open_style(name, attributes)
    if only_text is not None:
        if only_text:
            builder.inline.add_markup(only_text)
        _read_styled(builder, f"/{name}", "", None)


def _read_piece_in_code(
    builder: DocumentBuilder, name: str, attributes: str, only_text: str | None, text: str
) -> None:
    if only_text and name == "code" and builder.code is not None:
        inlines.open_code(builder, attributes)
        builder.code.append(plain(only_text))
    elif only_text is not None:
        _read_tag_by_tag(builder, name, attributes, only_text)
    elif (handle := _AT_TAG_IN_CODE.get(name)) is not None:
        handle(builder, attributes)
    if text and (text != "\n" or builder.inline.nodes or builder.code is not None):
        builder.add_text(text)


def _read_tag_by_tag(builder: DocumentBuilder, name: str, attributes: str, text: str) -> None:
    handlers = _AT_TAG if builder.code is None else _AT_TAG_IN_CODE
    if (handle := handlers.get(name)) is not None:
        handle(builder, attributes)
    if text:
        builder.add_text(text)
    handlers = _AT_TAG if builder.code is None else _AT_TAG_IN_CODE
    if (handle := handlers.get(f"/{name}")) is not None:
        handle(builder, "")


@contextmanager
def _without_collection() -> Iterator[None]:
    """Pause the cyclic garbage collector: it took two fifths of the time and found nothing.

    Nodes hold no circles, and their number has a bound. Where threads overlap, it may run again
    before the last of them is done; it is never left paused.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def too_many_nodes(most: int) -> DocumentError:
    """Return the error for a document of more nodes than allowed."""
    return DocumentError(
        f"The document becomes more than {most:,} nodes of ADF, far more than Jira takes",
        next_step="Split it into several documents, or raise the limit: SESSION_TASKS_MAX_NODES.",
    )


def _close_element(builder: DocumentBuilder, _attributes: str, tag: str) -> None:
    builder.close_element(tag)


def _flush(builder: DocumentBuilder, _attributes: str) -> None:
    builder.flush()


def _named(handle: Callable[..., None], *tags: str) -> dict[str, _TagHandler]:
    """Return the handler for each of several elements; it is given the element's name."""
    return {tag: partial(handle, tag=tag) for tag in tags}


_TagHandler = Callable[[DocumentBuilder, str], None]
_LISTS = ("ul", "ol", "menu", "dir")
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_OPENING: dict[str, _TagHandler] = {
    "a": inlines.open_link,
    "blockquote": blocks.open_quote,
    "details": blocks.open_details,
    "dl": blocks.open_definitions,
    "pre": blocks.open_code_block,
    "summary": blocks.open_summary,
    "table": blocks.open_table,
    "title": inlines.open_title,
    "tr": blocks.open_row,
    **_named(blocks.open_caption, "caption", "figcaption"),
    **_named(blocks.open_cell, "td", "th"),
    **_named(blocks.open_definition, "dt", "dd"),
    **_named(
        blocks.open_wrapper,
        *("div", "section", "article", "aside", "main", "header", "footer", "nav", "address"),
        *("fieldset", "form", "figure", "hgroup", "legend", "dialog", "search", "center"),
    ),
    **_named(inlines.hide, "svg", "rp", "annotation", "annotation-xml"),
    **_named(inlines.open_embedded, "video", "audio", "iframe", "embed", "object"),
    "span": inlines.open_span,
}
_AT_TAG: dict[str, _TagHandler] = {
    **_OPENING,
    **{f"/{tag}": partial(_close_element, tag=tag) for tag in _OPENING},
    **_named(blocks.open_list, *_LISTS),
    **dict.fromkeys((f"/{tag}" for tag in _LISTS), blocks.close_list),
    "li": blocks.open_item,
    "/li": blocks.close_item,
    "p": blocks.open_paragraph,
    "/p": blocks.close_paragraph,
    **_named(blocks.open_heading, *_HEADINGS),
    **{f"/{tag}": blocks.close_heading for tag in _HEADINGS},
    "adf-node": add_adf,
    "br": inlines.add_break,
    "footnote-reference": blocks.add_footnote_reference,
    "hr": blocks.add_rule,
    "img": inlines.add_picture,
    "input": blocks.add_check_box,
    "q": lambda builder, _: builder.add_text("“"),
    "/q": lambda builder, _: builder.add_text("”"),
    **_named(inlines.open_mark, *inlines.MARKS),
    **{f"/{tag}": partial(inlines.close_mark, tag=tag) for tag in inlines.MARKS},
    **dict.fromkeys(inlines.CODE, inlines.open_code),
    **dict.fromkeys((f"/{tag}" for tag in inlines.CODE), inlines.close_code),
    **dict.fromkeys(("thead", "tbody", "tfoot", "body", "optgroup", "option"), _flush),
    **dict.fromkeys(("/thead", "/tbody", "/tfoot", "/body", "/optgroup", "/option"), _flush),
}
"""What to do at each tag; any other is passed over."""

_WITHOUT_STYLE = frozenset({
    "adf-node", "area", "br", "col", "embed", "footnote-reference", "hr", "img", "input", "link",
    "meta", "param", "source", "track", "wbr", "pre", "/pre",
})  # fmt: skip
"""Elements without an end tag, and code blocks, which hold text only."""

_AT_TAG_IN_CODE: dict[str, _TagHandler] = {
    **{tag: _AT_TAG[tag] for tag in ("a", "/a", "br", "code", "img", "/pre")},
    "pre": blocks.open_code_in_code,
    **dict.fromkeys(("/div", "/li", "/p", "/tr"), blocks.end_code_line),
}
"""What to do at each tag within a code block, which holds text only."""

_AT_TEXT_ELEMENT: dict[str, Callable[[DocumentBuilder, str, str], bool]] = {
    "a": inlines.read_link,
    "li": blocks.read_item,
    "p": blocks.read_paragraph,
    **{tag: partial(blocks.read_heading, tag=tag) for tag in _HEADINGS},
    "td": partial(blocks.read_cell, tag="td"),
    "th": partial(blocks.read_cell, tag="th"),
    **{tag: partial(inlines.read_mark, tag=tag) for tag in inlines.MARKS},
    **dict.fromkeys(inlines.CODE, inlines.read_code),
}
"""How to read an element of nothing but text, where that is faster than tag by tag."""
