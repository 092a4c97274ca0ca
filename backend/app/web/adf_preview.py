"""Render ADF as HTML, as Jira will show it: `render_adf(document)`.

It never raises, and the HTML can neither run scripts nor load anything: it has only the elements
and attributes of `adf_markup`, no style, no image, and links to http, https and mailto only. An
unknown node is a box with its name and content; a misplaced node is shown as text in such a box.
Depth and size are limited, and the preview says so where it ends.

Source: Atlassian's schema of the Document Format, the copy in `app/tasks/adf/schema`.

One file of more than 450 lines: a method for each type of node, which call one another.
"""

from __future__ import annotations

import json
import re
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from app.web.adf_markup import LINK_RELATION, Full, MarkupWriter, link_address, nearest_colour
from app.web.adf_nodes import (
    Node,
    attribute,
    children_of,
    compact_json,
    date_of,
    marks_of,
    number,
    scalar_text,
    texts_in,
    type_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from markupsafe import Markup

MOST_DEPTH = 40
MOST_CHARACTERS = 400_000
LONGEST_SHOWN_ADDRESS = 80

_POINTER_TO_NODE = re.compile(r"(?:/content/[0-9]+)*", re.ASCII)
_PLAIN_MARKS = {"strong": "strong", "em": "em", "strike": "s", "underline": "u", "code": "code"}
_INVISIBLE_MARKS = frozenset({
    "alignment", "border", "breakout", "dataConsumer", "fontSize", "fragment", "indentation",
})  # fmt: skip
_PANELS = {
    "info": ("i", "Info"),
    "note": ("✎", "Note"),
    "tip": ("✦", "Tip"),
    "warning": ("!", "Warning"),
    "error": ("✕", "Error"),
    "success": ("✓", "Success"),
}
_BLOCK_LEAVES = frozenset({
    "blockCard", "embedCard", "extension", "media", "rule", "syncBlock",
})  # fmt: skip
_STATUS_COLOURS = {"neutral": "grey"} | {
    name: name for name in ("purple", "blue", "red", "yellow", "green")
}


def render_adf_text(text: str, findings: Mapping[str, str] | None = None) -> Markup:
    """Return the preview of a document in JSON; for invalid JSON, a box that says so."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = {"type": "text that is not JSON", "text": text}
    return render_adf(document, findings)


def render_adf(
    document: object,
    findings: Mapping[str, str] | None = None,
    *,
    most_characters: int = MOST_CHARACTERS,
) -> Markup:
    """Return the document as HTML of at most about `most_characters`; never raise.

    Args:
        document: the result of `json.loads`: an ADF document, or anything else.
        findings: violations by JSON Pointer (RFC 6901): the nodes there are marked.
        most_characters: where the preview ends, and says so.

    """
    writer = MarkupWriter(most_characters)
    preview = _Preview(writer, {_node_of(path): said for path, said in (findings or {}).items()})
    try:
        preview.document(document)
    except Full:
        writer.say_at_the_end("The preview ends here; the source has the rest.")
    return writer.markup


def _node_of(path: str) -> str:
    """Return the pointer to the node at this pointer, or around it."""
    found = _POINTER_TO_NODE.match(path)
    return found.group() if found else ""


class _Preview:
    """Writes one document. A method named for a node's type writes that node."""

    def __init__(self, writer: MarkupWriter, findings: Mapping[str, str]) -> None:
        self._out = writer
        self._findings = findings
        self._path: list[str] = []
        self._blocks: dict[str, Callable[[Node], None]] = {
            "blockCard": self._card_block,
            "blockTaskItem": self._stray_item,
            "blockquote": lambda node: self._container(node, "blockquote", "adf-quote"),
            "bodiedExtension": self._extension_block,
            "bodiedSyncBlock": self._extension_block,
            "bulletList": lambda node: self._list(node, "ul", "adf-list"),
            "caption": lambda node: self._line(node, "adf-caption"),
            "codeBlock": self._code_block,
            "decisionItem": self._stray_item,
            "decisionList": lambda node: self._list(node, "ul", "adf-decisions"),
            "doc": lambda node: self._container(node, "div", "adf-nested-document"),
            "embedCard": self._card_block,
            "expand": self._expand,
            "extension": self._extension_block,
            "heading": self._heading,
            "layoutColumn": lambda node: self._container(node, "div", "adf-column"),
            "layoutSection": lambda node: self._container(node, "div", "adf-columns"),
            "listItem": self._stray_item,
            "media": self._media_block,
            "mediaGroup": lambda node: self._container(node, "div", "adf-media-group"),
            "mediaSingle": lambda node: self._container(node, "div", "adf-media-single"),
            "nestedExpand": self._expand,
            "orderedList": self._ordered_list,
            "panel": self._panel,
            "paragraph": lambda node: self._line(node, "adf-paragraph"),
            "rule": lambda _node: self._out.void("hr", "adf-rule"),
            "syncBlock": self._extension_block,
            "table": self._table,
            "taskItem": self._stray_item,
            "taskList": lambda node: self._list(node, "ul", "adf-tasks"),
        }
        self._inlines: dict[str, Callable[[Node], None]] = {
            "date": self._date,
            "emoji": self._emoji,
            "hardBreak": lambda _node: self._out.void("br"),
            "inlineCard": self._card,
            "inlineExtension": self._extension,
            "mediaInline": self._media,
            "mention": self._mention,
            "placeholder": lambda node: self._chip(attribute(node, "text"), "adf-placeholder"),
            "status": self._status,
            "text": lambda node: self._out.text(scalar_text(node.get("text"))),
        }

    def document(self, document: object) -> None:
        """Write the whole document."""
        if self._findings.get("") is not None:
            self._out.flag_next(self._findings[""])
        with self._out.element("div", "adf"):
            if type_of(document) == "doc" and isinstance(document, dict):
                self._block_sequence(children_of(document))
                if not children_of(document):
                    self._note("It has no text.")
            else:
                self._note("This is not an ADF document; its content:")
                self._block_sequence([document])

    # ------------------------------------------------------------------ sequences of nodes

    def _block_sequence(self, nodes: Sequence[Any]) -> None:
        """Write blocks; inline nodes in a row among them become a paragraph."""
        at = 0
        while at < len(nodes):
            if type_of(nodes[at]) in self._inlines:
                end = at
                while end < len(nodes) and type_of(nodes[end]) in self._inlines:
                    end += 1
                with self._out.element("p", "adf-paragraph"):
                    self._inline_sequence(nodes[at:end], first=at)
                at = end
            else:
                with self._at(at):
                    self._block(nodes[at])
                at += 1

    def _inline_sequence(self, nodes: Sequence[Any], *, first: int = 0) -> None:
        for index, node in enumerate(nodes, first):
            with self._at(index):
                self._inline(node)

    @contextmanager
    def _at(self, index: int) -> Iterator[None]:
        """Enter a child, and mark it if there is a finding for it."""
        self._path.append(f"/content/{index}")
        said = self._findings.get("".join(self._path)) if self._findings else None
        if said is not None:
            self._out.flag_next(said)
        try:
            yield
        finally:
            self._path.pop()

    # ------------------------------------------------------------------------------- blocks

    def _block(self, node: object) -> None:
        if len(self._path) > MOST_DEPTH:
            self._box("Nested too deeply: its text", " ".join(texts_in(node)))
        elif not isinstance(node, dict):
            self._box("Not a node", " ".join(texts_in(node)))
        elif (write := self._blocks.get(type_of(node))) is not None:
            write(node)
            if type_of(node) in _BLOCK_LEAVES and children_of(node):
                self._box("Not expected here", " ".join(texts_in(children_of(node))))
        else:
            with self._out.element("div", "adf-unknown"):
                self._label(f"Unknown node: {type_of(node) or 'without a type'}")
                self._details_of(node)
                self._block_sequence(children_of(node))

    def _box(self, label: str, text: str) -> None:
        with self._out.element("div", "adf-unknown"):
            self._label(label)
            with self._out.element("p", "adf-paragraph"):
                self._out.text(text)

    def _container(self, node: Node, tag: str, css: str) -> None:
        with self._out.element(tag, css):
            self._block_sequence(children_of(node))

    def _line(self, node: Node, css: str) -> None:
        with self._out.element("p", f"{css}{_layout_classes(node)}"):
            self._inline_sequence(children_of(node))

    def _heading(self, node: Node) -> None:
        """Write a line that looks like a heading; real headings are the page's own."""
        level = number(node, "level", least=1, most=6, otherwise=6)
        self._line(node, f"adf-heading adf-heading-{level}")

    def _code_block(self, node: Node) -> None:
        with self._out.element("div", "adf-code"):
            if language := attribute(node, "language"):
                self._label(language)
            with self._out.element("pre"), self._out.element("code"):
                self._out.text("".join(texts_in(children_of(node))))

    def _panel(self, node: Node) -> None:
        kind = attribute(node, "panelType")
        icon, word = _PANELS.get(kind, ("", ""))
        css = f"adf-panel adf-panel-{kind}" if word else "adf-panel"
        with self._out.element("div", css):
            own = attribute(node, "panelIconText") or attribute(node, "panelIcon")
            self._label(f"{icon or own} {word or 'Panel'}".strip())
            self._block_sequence(children_of(node))

    def _expand(self, node: Node) -> None:
        with self._out.element("details", "adf-expand", open="open"):
            with self._out.element("summary"):
                self._out.text(attribute(node, "title") or "Show more")
            self._block_sequence(children_of(node))

    # -------------------------------------------------------------------------------- lists

    def _ordered_list(self, node: Node) -> None:
        start = number(node, "order", least=0, most=10**9, otherwise=1)
        self._list(node, "ol", "adf-list", **({} if start == 1 else {"start": str(start)}))

    def _list(self, node: Node, tag: str, css: str, **attributes: str) -> None:
        with self._out.element(tag, css, **attributes):
            for index, child in enumerate(children_of(node)):
                with self._at(index):
                    self._item(child)

    def _item(self, node: object) -> None:
        """Write a list's item; anything else (a list within a task list) is put into an item."""
        kind = type_of(node)
        if len(self._path) > MOST_DEPTH or not isinstance(node, dict):
            with self._out.element("li", "adf-bare"):
                self._block(node)
        elif kind == "listItem":
            self._container(node, "li", "")
        elif kind in {"taskItem", "blockTaskItem", "decisionItem"}:
            with self._out.element("li", "adf-bare"):
                self._stated_item(node)
        elif kind in self._inlines:
            with self._out.element("li", "adf-bare"), self._out.element("p", "adf-paragraph"):
                self._inline(node)
        else:
            with self._out.element("li", "adf-bare"):
                self._block(node)

    def _stray_item(self, node: Node) -> None:
        """Write an item that is not in a list."""
        with self._out.element("ul", "adf-list"):
            self._item(node)

    def _stated_item(self, node: Node) -> None:
        state = attribute(node, "state")
        if type_of(node) == "decisionItem":
            sign, word, css = "⤷", "Decision", "adf-decision"
        elif state == "DONE":
            sign, word, css = "☑", "Done", "adf-task-done"
        else:
            sign, word, css = "☐", "To do", "adf-task-open"
        with self._out.element("span", f"adf-state {css}", role="img", aria_label=word, title=word):
            self._out.text(sign)
        with self._out.element("div", "adf-item"):
            self._block_sequence(children_of(node))

    # ------------------------------------------------------------------------------- tables

    def _table(self, node: Node) -> None:
        is_numbered = isinstance(node.get("attrs"), dict) and bool(
            node["attrs"].get("isNumberColumnEnabled")
        )
        with (
            self._out.element(
                "div", "adf-table", role="group", aria_label="Table", tabindex="0"
            ),
            self._out.element("table"),
            self._out.element("tbody"),
        ):  # fmt: skip
            for index, row in enumerate(children_of(node)):
                with self._at(index), self._out.element("tr"):
                    if is_numbered:
                        with self._out.element("td", "adf-row-number"):
                            self._out.text(str(index + 1))
                    self._cells(row)

    def _cells(self, row: object) -> None:
        is_row = type_of(row) == "tableRow" and isinstance(row, dict)
        for index, cell in enumerate(children_of(row) if is_row else ()):  # type: ignore[arg-type]
            with self._at(index):
                self._cell(cell)
        if not is_row:
            with self._out.element("td"):
                self._block(row)

    def _cell(self, cell: object) -> None:
        kind = type_of(cell)
        if kind not in {"tableCell", "tableHeader"} or not isinstance(cell, dict):
            with self._out.element("td"):
                self._block_sequence([cell]) if kind in self._inlines else self._block(cell)
            return
        spans = {
            name: str(span)
            for name in ("colspan", "rowspan")
            if (span := number(cell, name, least=1, most=100, otherwise=1)) > 1
        }
        colour = nearest_colour(attribute(cell, "background"))
        css = f"adf-ground-{colour}" if colour else ""
        with self._out.element("th" if kind == "tableHeader" else "td", css, **spans):
            self._block_sequence(children_of(cell))

    # ------------------------------------------------------------------- cards, media, boxes

    def _card_block(self, node: Node) -> None:
        with self._out.element("p", "adf-card-line"):
            self._card(node)

    def _media_block(self, node: Node) -> None:
        with self._out.element("p", "adf-card-line"):
            self._media(node)

    def _card(self, node: Node) -> None:
        attributes = node.get("attrs")
        data = attributes.get("data") if isinstance(attributes, dict) else None
        name = scalar_text(data.get("name")) if isinstance(data, dict) else ""
        address = scalar_text(data.get("url")) if isinstance(data, dict) else ""
        with self._out.element("span", "adf-card"):
            self._label("Link")
            self._link(attribute(node, "url") or address, name)
            if isinstance(attributes, dict) and "datasource" in attributes:
                self._chip(compact_json(attributes["datasource"]), "adf-json")

    def _media(self, node: Node) -> None:
        """Write a card in place of the picture: a preview loads nothing."""
        kind = attribute(node, "type")
        with self._out.element("span", "adf-card"):
            self._label("Image, not loaded" if kind in {"external", "image"} else "Attachment")
            if alternative := attribute(node, "alt"):
                self._out.text(alternative + " ")
            if address := attribute(node, "url"):
                self._link(address, "")
            elif identity := attribute(node, "id"):
                self._chip(identity, "adf-json")
            if (mark := marks_of(node).get("link")) is not None:
                self._out.text(" → ")
                self._link(attribute(mark, "href"), "")

    def _extension_block(self, node: Node) -> None:
        with self._out.element("div", "adf-extension"):
            self._extension_head(node)
            if type_of(node) not in _BLOCK_LEAVES:
                self._block_sequence(children_of(node))

    def _extension(self, node: Node) -> None:
        with self._out.element("span", "adf-extension"):
            self._extension_head(node)

    def _extension_head(self, node: Node) -> None:
        names = ("extensionType", "extensionKey", "resourceId")
        self._label(" / ".join(filter(None, (attribute(node, name) for name in names))) or "?")
        if text := attribute(node, "text"):
            self._out.text(text + " ")
        attributes = node.get("attrs")
        if isinstance(attributes, dict) and attributes.get("parameters"):
            self._chip(compact_json(attributes["parameters"]), "adf-json")

    def _details_of(self, node: Node) -> None:
        """Write an unknown node's attributes and text."""
        if text := scalar_text(node.get("text")):
            self._chip(text, "adf-unknown-text")
        if attributes := node.get("attrs"):
            self._chip(compact_json(attributes), "adf-json")

    def _note(self, text: str) -> None:
        with self._out.element("p", "adf-note"):
            self._out.text(text)

    def _label(self, text: str) -> None:
        self._chip(text, "adf-label")

    def _chip(self, text: str, css: str) -> None:
        with self._out.element("span", css):
            self._out.text(text)
        self._out.text(" ")

    # ------------------------------------------------------------------------------ inlines

    def _inline(self, node: object) -> None:
        write = self._inlines.get(type_of(node))
        if write is None or not isinstance(node, dict):
            self._misplaced(f"Not expected here: {type_of(node) or 'no node'}", node)
            return
        with ExitStack() as marks:
            for kind, mark in marks_of(node).items():
                self._mark(marks, kind, mark, is_text=type_of(node) == "text")
            if "".join(self._path) in self._findings:
                marks.enter_context(self._out.element("span"))
            write(node)
        if children_of(node):
            self._misplaced("Not expected here", children_of(node))

    def _misplaced(self, label: str, node: object) -> None:
        with self._out.element("span", "adf-unknown"):
            self._label(label)
            self._out.text(" ".join(texts_in(node)))

    def _mark(self, stack: ExitStack, kind: str, mark: Node, *, is_text: bool) -> None:
        """Open the element of the mark; a link only around text, as links do not nest."""
        out = self._out
        if kind in _PLAIN_MARKS:
            stack.enter_context(out.element(_PLAIN_MARKS[kind]))
        elif kind == "subsup":
            tag = "sub" if attribute(mark, "type") == "sub" else "sup"
            stack.enter_context(out.element(tag))
        elif kind == "link" and is_text:
            self._open_link(stack, attribute(mark, "href"), attribute(mark, "title"))
        elif kind in {"textColor", "backgroundColor"}:
            said = attribute(mark, "color")
            use = "ink" if kind == "textColor" else "ground"
            title = f"{'Text' if use == 'ink' else 'Background'} colour {said}"
            colour = nearest_colour(said)
            css = f"adf-{use}-{colour}" if colour else "adf-colour"
            stack.enter_context(out.element("span", css, title=title))
        elif kind == "annotation":
            stack.enter_context(out.element("span", "adf-annotation", title="Inline comment"))
        elif kind not in _INVISIBLE_MARKS and kind != "link":
            title = f"Unknown mark: {kind or 'without a type'}"
            stack.enter_context(out.element("span", "adf-unknown-mark", title=title))

    def _open_link(self, stack: ExitStack, href: str, title: str) -> None:
        address = link_address(href)
        said = f"{title}\n{href}" if title else href
        stack.enter_context(
            self._out.element("a", "adf-link", href=address, rel=LINK_RELATION, title=said)
            if address is not None
            else self._out.element("span", "adf-no-link", title=f"Not a link here: {said}")
        )

    def _link(self, href: str, name: str) -> None:
        shown = href if len(href) <= LONGEST_SHOWN_ADDRESS else href[:LONGEST_SHOWN_ADDRESS] + "…"
        with ExitStack() as stack:
            self._open_link(stack, href, "")
            self._out.text(name or shown or "no address")

    def _mention(self, node: Node) -> None:
        said = attribute(node, "text") or attribute(node, "id")
        self._chip(said if said.startswith("@") else f"@{said}", "adf-mention")

    def _emoji(self, node: Node) -> None:
        name = attribute(node, "shortName")
        with self._out.element("span", "adf-emoji", title=name):
            self._out.text(attribute(node, "text") or name or "emoji")

    def _date(self, node: Node) -> None:
        said = attribute(node, "timestamp")
        day = date_of(said)
        if day is None:
            self._chip(said or "date", "adf-date")
        else:
            with self._out.element("time", "adf-date", datetime=day.date().isoformat()):
                self._out.text(f"{day.day} {day:%b} {day.year}")

    def _status(self, node: Node) -> None:
        said = attribute(node, "color")
        colour = _STATUS_COLOURS.get(said) or nearest_colour(said) or "grey"
        self._chip(attribute(node, "text"), f"adf-status adf-status-{colour}")


def _layout_classes(node: Node) -> str:
    """Return the classes for the position and size that a block's marks set."""
    marks = marks_of(node)
    css = ""
    align = attribute(marks.get("alignment", {}), "align")
    if align in {"center", "end"}:
        css += f" adf-align-{align}"
    if "indentation" in marks:
        level = number(marks["indentation"], "level", least=1, most=6, otherwise=1)
        css += f" adf-indent-{level}"
    if "fontSize" in marks:
        css += " adf-small"
    return css
