"""HTML as ADF's blocks: one pass over its tags, no recursion.

What is read is HTML with balanced tags (`html_source`). Every element that ADF has a node or mark
for becomes that; `block_tree` sees to where it may stand. Any other element is a wrapper: what is
in it counts, the element does not.

Reading is the hot part of a conversion: the tags and texts are cut apart by one regular expression,
which takes an element of nothing but text (`<code>x</code>`) as one piece, and a dictionary says
what each is.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from app.core.errors import DocumentError
from app.tasks.adf.addresses import AddressResolver
from app.tasks.adf.block_tree import PLAIN_LISTS, BlockTree
from app.tasks.adf.code_languages import language_of
from app.tasks.adf.inline_text import InlineText, link_to, plain, plain_text
from app.tasks.adf.panels import panel_type
from app.tasks.adf.pictures import (
    picture_node,
    split_at_pictures,
    text_of_picture,
    title_and_extras,
    without_flag,
)
from app.tasks.adf.styles import HIGHLIGHT, alignment, hex_colour, marks_of

Node = dict[str, Any]
Closing = Callable[[], object]

_PIECE = re.compile(r'<(/?[a-zA-Z][^\s/>]*)((?:[^>"]|"[^"]*")*+)>(?:([^<]*+)</\1>)?')
_ATTRIBUTE = re.compile(r'([^\s=/"]+)(?:="([^"]*)")?')
_CHUNK_CHARACTERS = 65_536
"""So much HTML is cut apart at once."""

_HEADING_ATTRIBUTES = re.compile(r"\s*\{:?\s*[#.][^{}\n]*\}\s*\Z")
_LARGEST_SPAN = 65_534
_LARGEST_NUMBER = 2**31 - 1
_MARKS: dict[str, Node] = {
    **dict.fromkeys(("strong", "b"), {"type": "strong"}),
    **dict.fromkeys(("em", "i", "cite", "dfn"), {"type": "em"}),
    **dict.fromkeys(("del", "s", "strike"), {"type": "strike"}),
    **dict.fromkeys(("u", "ins"), {"type": "underline"}),
    "sub": {"type": "subsup", "attrs": {"type": "sub"}},
    "sup": {"type": "subsup", "attrs": {"type": "sup"}},
    "mark": HIGHLIGHT,
}
_SUPERSCRIPT = _MARKS["sup"]
_CELL_ALIGNMENTS = {
    "": "",
    ' style="text-align: left"': "",
    ' style="text-align: center"': "center",
    ' style="text-align: right"': "end",
}


@dataclass(slots=True)
class Heading:
    """A heading of the document itself, not of a list, quote or cell in it.

    Attributes:
        index: where it stands among the document's blocks.
        level: 1 to 6.
        mark: the value of its `data-heading` attribute.
        title: its text, without pictures and footnotes; may be empty.
        extras: blocks that say what the title does not: links, pictures, footnotes.

    """

    index: int
    level: int
    mark: str
    title: str
    extras: list[Node]


@dataclass(slots=True)
class Footnotes:
    """The footnotes of a document.

    Attributes:
        references: the place, the node to number and the label of each reference: the place is the
            index of a block of the document, or the label of the footnote that it stands in.
        definitions: blocks by label, with the place of each.

    """

    references: list[tuple[int | str, Node, str]] = field(default_factory=list)
    definitions: dict[str, tuple[int, list[Node]]] = field(default_factory=dict)


class HtmlReader:
    """Reads one document; `blocks`, `headings`, `footnotes` and `title` are what it found.

    Args:
        addresses: resolves links and pictures.
        max_nesting: how deep lists and quotes may nest.
        max_nodes: how many ADF nodes the document may become, or a few thousand more.
        hard_breaks: whether a line's end in a paragraph is a line's end.

    """

    def __init__(
        self,
        addresses: AddressResolver,
        *,
        max_nesting: int,
        max_nodes: int,
        hard_breaks: bool = False,
    ) -> None:
        self.addresses = addresses
        self.tree = BlockTree(max_nesting)
        self.blocks = self.tree.root.content
        self.headings: list[Heading] = []
        self.footnotes = Footnotes()
        self.title = ""
        self._max_nodes = max_nodes
        self._inline = InlineText(addresses, hard_breaks=hard_breaks)
        self._closing: dict[str, list[Closing]] = {}
        self._align = ""
        self._heading: tuple[int, str] | None = None
        self._code: list[str] | None = None
        self._language = ""
        self._has_picture = False
        self._footnote: str | None = None

    def read(self, html: str) -> None:
        """Read the whole of it.

        Raises:
            DocumentError: it nests too deeply, or becomes too many nodes.

        """
        position, end = 0, len(html)
        with without_collection():
            while position < end:
                stop = html.find("<", position + _CHUNK_CHARACTERS)
                stop = end if stop < 0 else stop
                self._read_chunk(html[position:stop])
                if self.tree.node_count + self._inline.node_count > self._max_nodes:
                    raise _too_many_nodes(self._max_nodes)
                position = stop
            self._flush()
            self.tree.finish()

    def _read_chunk(self, html: str) -> None:
        pieces = _PIECE.split(html)
        inline = self._inline
        if pieces[0]:
            self._add_text(pieces[0])
        for name, attributes, leaf, text in zip(
            pieces[1::4], pieces[2::4], pieces[3::4], pieces[4::4], strict=True
        ):
            if leaf is None:
                if (handle := _AT_TAG.get(name)) is not None:
                    handle(self, attributes)
            elif (handle_leaf := _AT_LEAF.get(name)) is not None and self._code is None:
                handle_leaf(self, attributes, leaf)
            else:
                self._read_element(name, attributes, leaf)
            if text and (text != "\n" or inline.nodes or self._code is not None):
                self._add_text(text)

    def _read_element(self, name: str, attributes: str, leaf: str) -> None:
        """Read an element of nothing but text as any other element is read."""
        for tag, text in ((name, leaf), (f"/{name}", "")):
            if (handle := _AT_TAG.get(tag)) is not None:
                handle(self, attributes)
            if text:
                self._add_text(text)

    def _add_text(self, text: str) -> None:
        if self._code is None:
            self._inline.add_markup(text)
        else:
            self._code.append(plain(text))

    # Elements that open and close

    def _later(self, tag: str, closing: Closing) -> None:
        """Have `closing` called when this element closes."""
        self._closing.setdefault(tag, []).append(closing)

    def _close_element(self, tag: str) -> None:
        if waiting := self._closing.get(tag):
            waiting.pop()()

    def _open_wrapper(self, attributes: str, tag: str) -> None:
        """Begin a block that is none of ADF's, but may be a panel, or align what it holds."""
        self._flush()
        said = read_attributes(attributes)
        kind = panel_type(said.get("class", ""))
        if kind is not None:
            self._open_frame(tag, "panel", {"panelType": kind})
        elif "data-footnote" in said:
            self._open_footnote(tag, said["data-footnote"])
        else:
            self._language = language_of(said) or self._language
            self._open_aligned(tag, said)

    def _open_aligned(self, tag: str, attributes: dict[str, str]) -> None:
        before, aligned = self._align, alignment(attributes)
        if aligned is not None:
            self._align = aligned

        def close() -> None:
            self._flush()
            self._align = before

        self._later(tag, close)

    def _open_frame(self, tag: str, kind: str, attributes: Node | None = None) -> None:
        if self._inline.nodes:
            self._flush()
        frame = self.tree.open(kind, attributes)

        def close() -> None:
            if self._inline.nodes:
                self._flush()
            self.tree.close(frame)

        self._later(tag, close)

    def _open_group(self, tag: str, take: Callable[[list[Node]], None]) -> None:
        """Have `take` called with the blocks of this element when it closes."""
        self._flush()
        group = self.tree.detach("group")

        def close() -> None:
            self._flush()
            take(self.tree.take(group))

        self._later(tag, close)

    def _hide(self, _attributes: str, tag: str) -> None:
        """Drop what the element holds, without breaking the line it stands in."""
        aside, code = self._inline.put_aside(), self._code
        frame = self.tree.detach("group")
        self._code = None

        def close() -> None:
            self._flush()
            self.tree.take(frame)
            self._inline.restore(aside)
            self._code = code

        self._later(tag, close)

    # Lines

    def _flush(self, _attributes: str = "") -> None:
        """Finish the line at hand, as a paragraph or heading."""
        if not self._inline.nodes:
            return
        line = self._inline.take()
        if self._has_picture:
            self._has_picture = False
            self._add_line_with_pictures(line)
        elif self._heading is not None:
            self._add_heading(line, [])
        elif line:
            self.tree.add(self._paragraph(line))

    def _paragraph(self, line: list[Node]) -> Node:
        if len(line) == 1 and "marks" in line[0]:
            line = [_as_card(line[0])]
        if self._align and self.tree.may_align:
            marks = [{"type": "alignment", "attrs": {"align": self._align}}]
            return {"type": "paragraph", "content": line, "marks": marks}
        return {"type": "paragraph", "content": line}

    def _add_heading(self, line: list[Node], pictures: list[Node]) -> None:
        level, mark = self._heading or (1, "")
        tree = self.tree
        if line and line[-1].get("text", "")[-1:] == "}":
            line[-1]["text"] = _HEADING_ATTRIBUTES.sub("", line[-1]["text"])
            line = [node for node in line if node.get("text") != ""]
        if line:
            if tree.top is tree.root:
                title, extras = title_and_extras(line)
                self.headings.append(
                    Heading(len(self.blocks), level, mark, title, extras + pictures)
                )
            heading: Node = {"type": "heading", "content": line, "attrs": {"level": level}}
            if self._align and tree.may_align:
                heading["marks"] = [{"type": "alignment", "attrs": {"align": self._align}}]
            tree.add(heading)
        tree.add_all(pictures)

    def _add_line_with_pictures(self, line: list[Node]) -> None:
        parts = split_at_pictures(line, self._align, may_split=not self.tree.is_in_task)
        if self._heading is not None:
            words: list[Node] = []
            for part in parts:
                if isinstance(part, list):
                    words += [{"type": "text", "text": " "}, *part] if words else part
            self._add_heading(words, [part for part in parts if isinstance(part, dict)])
            without_flag(words)
            return
        for part in parts:
            if isinstance(part, dict):
                self.tree.add(part)
            else:
                self.tree.add(self._paragraph(without_flag(part)))

    # Blocks

    def _open_paragraph(self, attributes: str) -> None:
        if self._inline.nodes:
            self._flush()
        if attributes:
            self._open_aligned("p", read_attributes(attributes))
        else:
            self._later("p", self._flush)

    def _read_paragraph(self, attributes: str, text: str) -> None:
        if attributes or self._inline.nodes:
            self._read_element("p", attributes, text)
        elif text:
            self._inline.add_markup(text)
            self._flush()

    def _open_heading(self, attributes: str, tag: str) -> None:
        if self._inline.nodes:
            self._flush()
        said = read_attributes(attributes) if attributes else {}
        before, align = self._heading, self._align
        self._heading = int(tag[1]), said.get("data-heading", "")
        self._align = alignment(said) or align

        def close() -> None:
            self._flush()
            self._heading, self._align = before, align

        self._later(tag, close)

    def _open_list(self, attributes: str, tag: str) -> None:
        kind, given = "bulletList", None
        said = read_attributes(attributes) if attributes else {}
        if tag == "ol":
            kind, given = "orderedList", {"order": _number(said.get("start"), 1, 0)}
        elif "data-tasks" in said and self.tree.top.kind not in {"blockquote", "bulletList"}:
            kind, given = "taskList", {"localId": self.tree.next_local_id()}
        self._open_frame(tag, kind, given)

    def _open_item(self, attributes: str) -> None:
        if self._inline.nodes:
            self._flush()
        tree = self.tree
        stray = None if tree.in_list else tree.open("bulletList")
        state = read_attributes(attributes).get("data-task", "") if attributes else ""
        item = tree.open_item({"done": "DONE", "open": "TODO"}.get(state))

        def close() -> None:
            if self._inline.nodes:
                self._flush()
            tree.close(stray or item)

        self._later("li", close)

    def _read_item(self, attributes: str, text: str) -> None:
        """Read an item of nothing but text."""
        top = self.tree.top
        if (
            attributes
            or self._inline.nodes
            or self._heading is not None
            or top.kind not in PLAIN_LISTS
            or not text.strip()
        ):
            self._read_element("li", attributes, text)
            return
        self._inline.add_markup(text)
        top.content.append({"type": "listItem", "content": [self._paragraph(self._inline.take())]})
        self.tree.node_count += 2

    def _add_check_box(self, attributes: str) -> None:
        said = read_attributes(attributes)
        if said.get("type", "").lower() == "checkbox" and self._code is None:
            self._inline.add_text("☑ " if "checked" in said else "☐ ")

    def _open_quote(self, attributes: str) -> None:
        kind = panel_type(read_attributes(attributes).get("class", "")) if attributes else None
        if kind is None:
            self._open_frame("blockquote", "blockquote")
        else:
            self._open_frame("blockquote", "panel", {"panelType": kind})

    def _add_rule(self, _attributes: str) -> None:
        self._flush()
        self.tree.add({"type": "rule"})

    def _open_code_block(self, attributes: str) -> None:
        self._flush()
        if attributes:
            self._language = language_of(read_attributes(attributes)) or self._language
        self._code = []
        self._later("pre", self._close_code_block)

    def _close_code_block(self) -> None:
        text = "".join(self._code or ()).removesuffix("\n")
        self._code = None
        node: Node = {"type": "codeBlock", "content": [{"type": "text", "text": text}]}
        if not text:
            node["content"] = []
        if self._language:
            node["attrs"] = {"language": self._language}
        self._language = ""
        self.tree.add(node)
        self._flush()  # links that stood in it

    def _open_details(self, _attributes: str) -> None:
        self._open_frame("details", "expand", {"title": "Details"})

    def _open_summary(self, _attributes: str) -> None:
        """Read the title of a `details`; what a title cannot carry begins its content."""
        expand = self.tree.top.attributes

        def take(blocks: list[Node]) -> None:
            if expand is not None and "title" in expand:
                lines = (plain_text(block.get("content", [])) for block in blocks)
                expand["title"] = " ".join(filter(None, lines)) or expand["title"]
                blocks = [block for block in blocks if _says_more_than_text(block)]
            self.tree.add_all(blocks)

        self._open_group("summary", take)

    def _open_caption(self, _attributes: str, tag: str) -> None:
        """Read the caption of a picture or table."""

        def take(blocks: list[Node]) -> None:
            last = (self.tree.top.content or [{"type": ""}])[-1]
            if tag == "caption" and self.tree.top.kind == "table":
                self.tree.add_above(blocks)
            elif last["type"] == "mediaSingle" and all(
                block["type"] == "paragraph" for block in blocks
            ):
                words = [node for block in blocks for node in block["content"]]
                last["content"] = [last["content"][0], {"type": "caption", "content": words}]
            else:
                self.tree.add_all(blocks)

        self._open_group(tag, take)

    def _open_definitions(self, _attributes: str) -> None:
        self._open_frame("dl", "bulletList")

    def _open_definition(self, _attributes: str, tag: str) -> None:
        """Begin a term, or what is said of it: an item for each term holds both."""
        self._flush()
        tree = self.tree
        if tree.top.kind == "listItem" and tag == "dt" and tree.top.content:
            tree.close(tree.top)
        if tree.in_list:
            tree.open_item(None)
        if tag == "dd":
            self._later(tag, self._flush)
            return
        self._inline.open_mark(_MARKS["b"])

        def close() -> None:
            self._flush()
            self._inline.close_mark("strong")

        self._later(tag, close)

    # Tables

    def _open_table(self, _attributes: str) -> None:
        self._open_frame("table", "table")

    def _open_row(self, _attributes: str) -> None:
        self._flush()
        if self.tree.top.kind == "table":
            self._open_frame("tr", "tableRow")
        else:
            self._later("tr", self._flush)

    def _open_cell(self, attributes: str, tag: str) -> None:
        self._flush()
        if self.tree.top.kind != "tableRow":
            self._later(tag, self._flush)
            return
        said = read_attributes(attributes) if attributes else {}
        given: Node = {
            name: span
            for name in ("colspan", "rowspan")
            if (span := _number(said.get(name), 1, 1, _LARGEST_SPAN)) > 1
        }
        if colour := hex_colour(said.get("bgcolor", "")):
            given["background"] = colour
        frame = self.tree.open("tableHeader" if tag == "th" else "tableCell", given or None)
        before, self._align = self._align, alignment(said) or ""
        heading, self._heading = self._heading, None

        def close() -> None:
            self._flush()
            self.tree.close(frame)
            self._align, self._heading = before, heading

        self._later(tag, close)

    def _read_cell(self, attributes: str, text: str, tag: str) -> None:
        """Read a cell of nothing but text, as pulldown-cmark writes them."""
        top, align = self.tree.top, _CELL_ALIGNMENTS.get(attributes)
        if align is None or top.kind != "tableRow" or not text.strip():
            self._read_element(tag, attributes, text)
            return
        self._inline.add_markup(text)
        paragraph: Node = {"type": "paragraph", "content": self._inline.take()}
        if len(paragraph["content"]) == 1 and "marks" in paragraph["content"][0]:
            paragraph["content"] = [_as_card(paragraph["content"][0])]
        if align:
            paragraph["marks"] = [{"type": "alignment", "attrs": {"align": align}}]
        kind = "tableHeader" if tag == "th" else "tableCell"
        top.content.append({"type": kind, "content": [paragraph]})
        self.tree.node_count += 2

    # Footnotes

    def _add_footnote_reference(self, attributes: str) -> None:
        label = read_attributes(attributes).get("name", "")
        node: Node = {"type": "text", "text": "[?]", "marks": [_SUPERSCRIPT], "label": label}
        place = len(self.blocks) if self._footnote is None else self._footnote
        self.footnotes.references.append((place, node, label))
        self._inline.add_node(node)

    def _open_footnote(self, tag: str, label: str) -> None:
        place, outer = len(self.blocks), self._footnote
        self._footnote = label

        def take(blocks: list[Node]) -> None:
            self._footnote = outer
            while label in self.footnotes.definitions:
                return  # nothing refers to the second of one label
            self.footnotes.definitions[label] = place, blocks

        self._open_group(tag, take)

    # Inlines

    def _open_mark(self, _attributes: str, tag: str) -> None:
        self._inline.open_mark(_MARKS[tag])

    def _close_mark(self, tag: str) -> None:
        self._inline.close_mark(_MARKS[tag]["type"])

    def _read_mark(self, _attributes: str, text: str, tag: str) -> None:
        mark = _MARKS[tag]
        self._inline.open_mark(mark)
        if text:
            self._inline.add_markup(text)
        self._inline.close_mark(mark["type"])

    def _open_code(self, attributes: str) -> None:
        if self._code is None:
            self._inline.open_code()
        elif attributes and not self._language:
            self._language = language_of(read_attributes(attributes))

    def _close_code(self, _attributes: str) -> None:
        if self._code is None:
            self._inline.close_code()

    def _read_code(self, _attributes: str, text: str) -> None:
        self._inline.add_code(text)

    def _open_span(self, attributes: str, tag: str) -> None:
        marks = marks_of(read_attributes(attributes)) if attributes else []
        for mark in marks:
            self._inline.open_mark(mark)

        def close() -> None:
            for mark in marks:
                self._inline.close_mark(mark["type"])

        self._later(tag, close)

    def _open_link(self, attributes: str) -> None:
        said = read_attributes(attributes) if attributes else {}
        href = said.get("href", "")
        if self._code is not None:
            self._open_link_in_code(href)
        elif _is_permalink(said):
            self._hide("", "a")
        else:
            self._inline.open_link(href, said.get("title", "").strip())
            self._later("a", self._inline.close_link)

    def _open_link_in_code(self, href: str) -> None:
        """A code block holds text only: its links stand below it."""
        resolved, start = self.addresses.resolve(href), len(self._code or ())

        def close() -> None:
            name = " ".join("".join((self._code or [])[start:]).split())
            if resolved and name:
                if self._inline.nodes:
                    self._inline.add_hard_break()
                marks = [link_to(resolved)]
                self._inline.add_node({"type": "text", "text": name, "marks": marks})

        self._later("a", close)

    def _read_link(self, attributes: str, text: str) -> None:
        href = attributes[7:-1]
        if attributes[:7] != ' href="' or '"' in href or "&" in href or not text.strip():
            self._read_element("a", attributes, text)
            return
        self._inline.add_link(text, href)

    def _add_break(self, _attributes: str) -> None:
        if self._code is None:
            self._inline.add_hard_break()
        else:
            self._code.append("\n")

    def _add_picture(self, attributes: str) -> None:
        said = read_attributes(attributes)
        source = said.get("src") or said.get("data-src") or said.get("srcset", "").split(" ")[0]
        if self._code is not None:
            self._code.append(said.get("alt", ""))
            return
        url = self.addresses.resolve_picture(source) if source else None
        picture = picture_node(source, url or "", said, self._inline.link)
        if url is None:
            text = picture["alt"] or ("" if source[:5] == "data:" else picture["file"])
            if not text:
                return
            picture = text_of_picture(text, self._inline.marks)
        self._has_picture = True
        self._inline.add_node(picture)

    def _open_embedded(self, attributes: str, tag: str) -> None:
        """Link to a video or the like; what stands in it is for browsers that cannot show it."""
        said = read_attributes(attributes)
        href = self.addresses.resolve(said.get("src") or said.get("data") or "")
        if href is not None:
            self._inline.open_link(href, "")
            self._inline.add_text(said.get("title", "").strip() or href)
            self._inline.close_link()
            if tag != "embed":
                self._hide("", tag)

    def _open_title(self, _attributes: str) -> None:
        """Read the title of an HTML document, which is no part of its text."""
        aside = self._inline.put_aside()

        def close() -> None:
            self.title = self.title or plain_text(self._inline.take())
            self._inline.restore(aside)

        self._later("title", close)


@contextmanager
def without_collection() -> Iterator[None]:
    """Have the cyclic garbage collector rest: it took two fifths of the time and found nothing.

    Nodes hold no circles, and their number has a bound. In whatever order threads begin and end
    this, the last one leaves the collector as the first one found it.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_attributes(written: str) -> dict[str, str]:
    """Return the attributes of a tag by name, in lower case; of one without a value, ""."""
    found = _ATTRIBUTE.findall(written)
    if "&" in written:
        return {name.lower(): unescape(value) for name, value in found}
    return {name.lower(): value for name, value in found}


def _number(written: str | None, otherwise: int, least: int, most: int = _LARGEST_NUMBER) -> int:
    if written is None or not written.strip().lstrip("+-").isdecimal():
        return otherwise
    return min(max(int(written[:12]), least), most)


def _as_card(node: Node) -> Node:
    """Return the card that an address alone in its paragraph becomes, or the node itself."""
    marks = node["marks"]
    if len(marks) == 1 and marks[0]["type"] == "link":
        href, text = marks[0]["attrs"]["href"], node["text"]
        if href[:4] == "http" and text in {href, href.removeprefix("http://"), href[:-1]}:
            return {"type": "inlineCard", "attrs": {"url": href}}
    return node


def _says_more_than_text(block: Node) -> bool:
    """Whether a summary's block has what a plain title cannot carry."""
    return block["type"] not in {"paragraph", "heading"} or any(
        mark["type"] == "link" for node in block["content"] for mark in node.get("marks", ())
    )


def _is_permalink(attributes: dict[str, str]) -> bool:
    """Whether the link is the “¶” beside a heading by which generators link to it."""
    classes = attributes.get("class", "").split()
    return not _PERMALINKS.isdisjoint(classes)


_PERMALINKS = frozenset({"headerlink", "header-anchor", "anchor-link", "anchorjs-link"})


def _too_many_nodes(most: int) -> DocumentError:
    return DocumentError(
        f"The document becomes more than {most:,} nodes of ADF, far more than Jira takes.",
        next_step="Split it into several documents, or raise the limit: SESSION_TASKS_MAX_NODES.",
    )


_AT_TAG: dict[str, Callable[[HtmlReader, str], None]] = {
    "a": HtmlReader._open_link,
    "blockquote": HtmlReader._open_quote,
    "br": HtmlReader._add_break,
    "center": lambda reader, _: reader._open_wrapper(' align="center"', "center"),
    "details": HtmlReader._open_details,
    "dl": HtmlReader._open_definitions,
    "footnote-reference": HtmlReader._add_footnote_reference,
    "hr": HtmlReader._add_rule,
    "img": HtmlReader._add_picture,
    "input": HtmlReader._add_check_box,
    "li": HtmlReader._open_item,
    "p": HtmlReader._open_paragraph,
    "pre": HtmlReader._open_code_block,
    "q": lambda reader, _: reader._add_text("“"),
    "/q": lambda reader, _: reader._add_text("”"),
    "summary": HtmlReader._open_summary,
    "table": HtmlReader._open_table,
    "title": HtmlReader._open_title,
    "tr": HtmlReader._open_row,
}
"""What to do at each tag; any other is passed over."""

_AT_LEAF: dict[str, Callable[[HtmlReader, str, str], None]] = {
    "a": HtmlReader._read_link,
    "li": HtmlReader._read_item,
    "p": HtmlReader._read_paragraph,
    "td": lambda reader, written, text: reader._read_cell(written, text, "td"),
    "th": lambda reader, written, text: reader._read_cell(written, text, "th"),
}
"""What to do with an element of nothing but text, where that is quicker than its tags."""

_OPENED_BY_NAME: dict[Callable[[HtmlReader, str, str], None], tuple[str, ...]] = {
    HtmlReader._hide: ("svg", "rp", "annotation", "annotation-xml"),
    HtmlReader._open_caption: ("caption", "figcaption"),
    HtmlReader._open_cell: ("td", "th"),
    HtmlReader._open_definition: ("dt", "dd"),
    HtmlReader._open_embedded: ("video", "audio", "iframe", "embed", "object"),
    HtmlReader._open_heading: ("h1", "h2", "h3", "h4", "h5", "h6"),
    HtmlReader._open_list: ("ul", "ol", "menu", "dir"),
    HtmlReader._open_span: ("span", "font"),
    HtmlReader._open_wrapper: (
        *("div", "section", "article", "aside", "main", "header", "footer", "nav", "address"),
        *("fieldset", "form", "figure", "hgroup", "legend", "dialog", "search"),
    ),
}


def _fill_tables() -> None:
    for handle, tags in _OPENED_BY_NAME.items():
        for tag in tags:
            _AT_TAG[tag] = lambda reader, written, _do=handle, _tag=tag: _do(reader, written, _tag)  # type: ignore[misc] # the defaults bind now
    for tag in [tag for tag in _AT_TAG if f"/{tag}" not in _AT_TAG and tag[0] != "/"]:
        _AT_TAG[f"/{tag}"] = lambda reader, _, _tag=tag: reader._close_element(_tag)  # type: ignore[misc] # as above
    for tag in _MARKS:
        _AT_TAG[tag] = lambda reader, written, _tag=tag: reader._open_mark(written, _tag)  # type: ignore[misc] # as above
        _AT_TAG[f"/{tag}"] = lambda reader, _, _tag=tag: reader._close_mark(_tag)  # type: ignore[misc] # as above
        _AT_LEAF[tag] = lambda reader, written, text, _tag=tag: reader._read_mark(
            written, text, _tag
        )  # type: ignore[misc] # as above
    for tag in ("code", "kbd", "samp", "tt", "var"):
        _AT_TAG[tag], _AT_TAG[f"/{tag}"] = HtmlReader._open_code, HtmlReader._close_code
        _AT_LEAF[tag] = HtmlReader._read_code
    for tag in ("thead", "tbody", "tfoot", "body", "optgroup", "option"):
        _AT_TAG[tag] = _AT_TAG[f"/{tag}"] = HtmlReader._flush


_fill_tables()
