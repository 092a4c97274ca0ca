"""The elements of HTML that are blocks of ADF.

A function takes the builder and the attributes as written, and the element's name where it serves
several. Those named `read_…` take the text of an element that holds nothing else, and return False
where it has to be read tag by tag.
"""

from __future__ import annotations

from typing import Any

from app.tasks.adf.attributes import number, read_attributes
from app.tasks.adf.block_tree import PLAIN_LISTS
from app.tasks.adf.code_languages import language_of
from app.tasks.adf.document_builder import DocumentBuilder, as_card
from app.tasks.adf.inline_text import plain_text
from app.tasks.adf.panels import panel_type
from app.tasks.adf.styles import WHITE, alignment, background_of

Node = dict[str, Any]

_LARGEST_SPAN = 65_534
_STRONG: Node = {"type": "strong"}
_SUPERSCRIPT: Node = {"type": "subsup", "attrs": {"type": "sup"}}
_STATES = {"done": "DONE", "open": "TODO"}
_CELL_ALIGNMENTS = {
    "": "",
    ' style="text-align: left"': "",
    ' style="text-align: center"': "center",
    ' style="text-align: right"': "end",
}


def open_wrapper(builder: DocumentBuilder, attributes: str, tag: str) -> None:
    """Begin a block that is none of ADF's, but may be a panel, or align what it holds."""
    builder.flush()
    said = read_attributes(attributes) if tag != "center" else {"align": "center"}
    kind = panel_type(said.get("class", ""))
    if kind is not None:
        builder.open_frame(tag, "panel", {"panelType": kind})
    elif "data-footnote" in said:
        _open_footnote(builder, tag, said["data-footnote"])
    else:
        builder.language = language_of(said) or builder.language
        builder.open_aligned(tag, said)


def open_paragraph(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a paragraph."""
    if builder.inline.nodes:
        builder.flush()
    builder.outer_aligns.append(builder.align)
    if attributes:
        aligned = alignment(read_attributes(attributes))
        builder.align = builder.align if aligned is None else aligned


def close_paragraph(builder: DocumentBuilder, _attributes: str) -> None:
    """End a paragraph."""
    if builder.inline.nodes:
        builder.flush()
    if builder.outer_aligns:
        builder.align = builder.outer_aligns.pop()


def read_paragraph(builder: DocumentBuilder, attributes: str, text: str) -> bool:
    """Read a paragraph."""
    if attributes or builder.inline.nodes or not text:
        return False
    builder.inline.add_markup(text)
    builder.flush()
    return True


def open_heading(builder: DocumentBuilder, attributes: str, tag: str) -> None:
    """Begin a heading."""
    if builder.inline.nodes:
        builder.flush()
    said = read_attributes(attributes) if attributes else {}
    builder.outer_headings.append((builder.heading, builder.align))
    builder.heading = int(tag[1]), said.get("data-heading", "")
    if said:
        builder.align = alignment(said) or builder.align


def close_heading(builder: DocumentBuilder, _attributes: str) -> None:
    """End a heading."""
    if builder.inline.nodes:
        builder.flush()
    if builder.outer_headings:
        builder.heading, builder.align = builder.outer_headings.pop()


def read_heading(builder: DocumentBuilder, attributes: str, text: str, tag: str) -> bool:
    """Read a heading."""
    open_heading(builder, attributes, tag)
    if text:
        builder.inline.add_markup(text)
    close_heading(builder, "")
    return True


def open_list(builder: DocumentBuilder, attributes: str, tag: str) -> None:
    """Begin a list; one whose first item is a task is a task list, where it may be one."""
    kind = "bulletList"
    given: Node | None = None
    said = read_attributes(attributes) if attributes else {}
    if tag == "ol":
        kind, given = "orderedList", {"order": number(said.get("start"), 1, 0)}
    elif "data-tasks" in said and builder.tree.top.kind not in {"blockquote", "bulletList"}:
        kind, given = "taskList", {"localId": builder.tree.next_local_id()}
    if builder.inline.nodes:
        builder.flush()
    builder.lists.append(builder.tree.open(kind, given))


def close_list(builder: DocumentBuilder, _attributes: str) -> None:
    """End a list."""
    if builder.inline.nodes:
        builder.flush()
    if builder.lists:
        builder.tree.close(builder.lists.pop())


def open_item(builder: DocumentBuilder, attributes: str) -> None:
    """Begin an item, or a task."""
    if builder.inline.nodes:
        builder.flush()
    tree = builder.tree
    stray = None if tree.in_list else tree.open("bulletList")
    state = _STATES.get(read_attributes(attributes).get("data-task", "")) if attributes else None
    item = tree.open_item(state)
    builder.items.append(stray or item)


def close_item(builder: DocumentBuilder, _attributes: str) -> None:
    """End an item."""
    if builder.inline.nodes:
        builder.flush()
    if builder.items:
        builder.tree.close(builder.items.pop())


def read_item(builder: DocumentBuilder, attributes: str, text: str) -> bool:
    """Read an item of nothing but text."""
    top = builder.tree.top
    if (
        attributes
        or builder.inline.nodes
        or builder.heading is not None
        or top.kind not in PLAIN_LISTS
        or not text.strip()
    ):
        return False
    builder.inline.add_markup(text)
    top.content.append({"type": "listItem", "content": [builder.paragraph(builder.inline.take())]})
    builder.tree.node_count += 2
    return True


def add_check_box(builder: DocumentBuilder, attributes: str) -> None:
    """Show a check box that is no task."""
    said = read_attributes(attributes)
    if said.get("type", "").lower() == "checkbox" and builder.code is None:
        builder.inline.add_text("☑ " if "checked" in said else "☐ ")


def open_quote(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a quote, or an alert."""
    kind = panel_type(read_attributes(attributes).get("class", "")) if attributes else None
    if kind is None:
        builder.open_frame("blockquote", "blockquote")
    else:
        builder.open_frame("blockquote", "panel", {"panelType": kind})


def add_rule(builder: DocumentBuilder, _attributes: str) -> None:
    """Add a rule."""
    builder.flush()
    builder.tree.add({"type": "rule"})


def open_code_block(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a code block."""
    builder.flush()
    if attributes:
        builder.language = language_of(read_attributes(attributes)) or builder.language
    builder.code = []
    builder.later("pre", lambda: _close_code_block(builder))


def open_code_in_code(builder: DocumentBuilder, _attributes: str) -> None:
    """Begin code within a code block: more of it."""
    builder.later("pre", lambda: None)


def end_code_line(builder: DocumentBuilder, _attributes: str) -> None:
    """End a line of code that is an element of its own."""
    if builder.code and not builder.code[-1].endswith("\n"):
        builder.code.append("\n")


def _close_code_block(builder: DocumentBuilder) -> None:
    """Add the code block, and below it the links that stood in it."""
    text = "".join(builder.code or ()).removesuffix("\n")
    builder.code = None
    node: Node = {"type": "codeBlock", "content": [{"type": "text", "text": text}]}
    if not text:
        node["content"] = []
    if builder.language:
        node["attrs"] = {"language": builder.language}
    builder.language = ""
    builder.tree.add(node)
    builder.flush()  # links that stood in it


def open_details(builder: DocumentBuilder, _attributes: str) -> None:
    """Begin an expand."""
    builder.open_frame("details", "expand", {"title": "Details"})


def open_summary(builder: DocumentBuilder, _attributes: str) -> None:
    """Read the title of a `details`; what a title cannot carry begins its content."""
    expand = builder.tree.top.attributes

    def take(blocks: list[Node]) -> None:
        if expand is not None and "title" in expand:
            lines = (plain_text(block.get("content", [])) for block in blocks)
            expand["title"] = " ".join(filter(None, lines)) or expand["title"]
            blocks = [block for block in blocks if _says_more_than_text(block)]
        builder.tree.add_all(blocks)

    builder.open_group("summary", take)


def open_caption(builder: DocumentBuilder, _attributes: str, tag: str) -> None:
    """Read the caption of a picture or table."""

    def take(blocks: list[Node]) -> None:
        last = (builder.tree.top.content or [{"type": ""}])[-1]
        if tag == "caption" and builder.tree.top.kind == "table":
            builder.tree.add_above(blocks)
        elif last["type"] == "mediaSingle" and all(
            block["type"] == "paragraph" for block in blocks
        ):
            words = [node for block in blocks for node in block["content"]]
            last["content"] = [last["content"][0], {"type": "caption", "content": words}]
        else:
            builder.tree.add_all(blocks)

    builder.open_group(tag, take)


def open_definitions(builder: DocumentBuilder, _attributes: str) -> None:
    """Begin a list of definitions."""
    builder.open_frame("dl", "bulletList")


def open_definition(builder: DocumentBuilder, _attributes: str, tag: str) -> None:
    """Begin a term, or what is said of it: an item for each term holds both."""
    builder.flush()
    tree = builder.tree
    if tree.top.kind == "listItem" and tag == "dt" and tree.top.content:
        tree.close(tree.top)
    if tree.in_list:
        tree.open_item(None)
    if tag == "dd":
        builder.later(tag, builder.flush)
        return
    builder.inline.open_mark(_STRONG)

    def close() -> None:
        builder.flush()
        builder.inline.close_mark("strong")

    builder.later(tag, close)


def open_table(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a table."""
    before = builder.background, builder.row_background
    if attributes and (background := background_of(read_attributes(attributes))):
        builder.background = background
    builder.open_frame("table", "table", closing=lambda: builder.set_backgrounds(*before))


def open_row(builder: DocumentBuilder, attributes: str) -> None:
    """Begin a row."""
    builder.flush()
    said = read_attributes(attributes) if attributes else {}
    builder.row_align = alignment(said) or ""
    builder.row_background = background_of(said) if said else None
    if builder.tree.top.kind == "table":
        builder.open_frame("tr", "tableRow")
    else:
        builder.later("tr", builder.flush)


def open_cell(builder: DocumentBuilder, attributes: str, tag: str) -> None:
    """Begin a cell."""
    builder.flush()
    if builder.tree.top.kind != "tableRow":
        builder.later(tag, builder.flush)
        return
    said = read_attributes(attributes) if attributes else {}
    given: Node = {
        name: span
        for name in ("colspan", "rowspan")
        if (span := number(said.get(name), 1, 1, _LARGEST_SPAN)) > 1
    }
    backgrounds = builder.background, builder.row_background
    colour = background_of(said) or builder.row_background or builder.background
    builder.background = None if colour == WHITE else colour
    if builder.background is not None:
        given["background"] = builder.background
    frame = builder.tree.open("tableHeader" if tag == "th" else "tableCell", given or None)
    before, aligned = builder.align, alignment(said)
    builder.align = builder.row_align if aligned is None else aligned
    heading, builder.heading = builder.heading, None

    def close() -> None:
        builder.flush()
        builder.set_backgrounds(*backgrounds)
        builder.tree.close(frame)
        builder.align, builder.heading = before, heading

    builder.later(tag, close)


def read_cell(builder: DocumentBuilder, attributes: str, text: str, tag: str) -> bool:
    """Read a cell of nothing but text, as pulldown-cmark writes them."""
    top, align = builder.tree.top, _CELL_ALIGNMENTS.get(attributes)
    if (
        align is None
        or top.kind != "tableRow"
        or builder.row_align
        or builder.row_background
        or builder.background
        or not text.strip()
    ):
        return False
    builder.inline.add_markup(text)
    paragraph: Node = {"type": "paragraph", "content": builder.inline.take()}
    if len(paragraph["content"]) == 1 and "marks" in paragraph["content"][0]:
        paragraph["content"] = [as_card(paragraph["content"][0])]
    if align:
        paragraph["marks"] = [{"type": "alignment", "attrs": {"align": align}}]
    kind = "tableHeader" if tag == "th" else "tableCell"
    top.content.append({"type": kind, "content": [paragraph]})
    builder.tree.node_count += 2
    return True


def add_footnote_reference(builder: DocumentBuilder, attributes: str) -> None:
    """Refer to a footnote; its number is known when the document is."""
    label = read_attributes(attributes).get("name", "")
    node: Node = {"type": "text", "text": "[?]", "marks": [_SUPERSCRIPT], "label": label}
    place = len(builder.blocks) if builder.footnote is None else builder.footnote
    builder.footnotes.references.append((place, node, label))
    builder.inline.add_node(node)


def _open_footnote(builder: DocumentBuilder, tag: str, label: str) -> None:
    """Set a footnote aside."""
    place, outer = len(builder.blocks), builder.footnote
    builder.footnote = label

    def take(blocks: list[Node]) -> None:
        builder.footnote = outer
        while label in builder.footnotes.definitions:
            return  # nothing refers to the second of one label
        builder.footnotes.definitions[label] = place, blocks

    builder.open_group(tag, take)


def _says_more_than_text(block: Node) -> bool:
    """Whether a summary's block has what a plain title cannot carry."""
    return block["type"] not in {"paragraph", "heading"} or any(
        mark["type"] == "link" for node in block["content"] for mark in node.get("marks", ())
    )
