"""Confluence's storage format, which is XML, written as HTML.

Source: Atlassian's "Confluence Storage Format". Its macros, links, pictures and tasks are elements
of their own (`ac:…`, `ri:…`), and any element may close itself; a parser of HTML would have the
one swallow what follows the other, and take `CDATA` for a comment. Takes time linear in the source.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from html import escape

from app.tasks.adf.panels import MACRO_KINDS, kind_of_macro, kind_of_panel

_PIECE = re.compile(
    r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)"
    r"|<(/?)([A-Za-z][\w:.-]*)((?:[^<>\"']++|\"[^\"<]*\"|'[^'<]*')*)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(?:\w+:)?([\w-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source",
    "track", "wbr",
})  # fmt: skip
_EMOTICONS = {
    "smile": "slightly_smiling_face", "sad": "disappointed", "cheeky": "stuck_out_tongue",
    "laugh": "smiley", "wink": "wink", "thumbs-up": "thumbsup", "thumbs-down": "thumbsdown",
    "information": "information_source", "tick": "white_check_mark", "cross": "x",
    "warning": "warning", "plus": "heavy_plus_sign", "minus": "heavy_minus_sign",
    "question": "question", "light-on": "bulb", "light-off": "bulb", "yellow-star": "star",
    "red-star": "star", "green-star": "star", "blue-star": "star", "heart": "heart",
    "broken-heart": "broken_heart",
}  # fmt: skip
_NAMING = (
    *("value", "filename", "content-title", "username", "account-id", "userkey", "space-key"),
    *("parameter", "content-id"),
)
"""The attributes of resources by which a reader knows them, the first before the next."""

_SHOWN_PARAMETERS = ("title", "key", "jqlQuery", "diagramName", "resource")
"""What a macro without a body shows: the first of these."""

_NEAR = 9
"""An element that says something of another is not deeper in it than this."""

_LISTS = {"decision-list": "ul", "decision-item": "li"}
_EXPANDS = frozenset({"expand", "ui-expand"})


def is_storage_format(source: str) -> bool:
    """Whether this is Confluence's storage format, or another XML document."""
    return "<ac:" in source or "<ri:" in source or source[:64].lstrip("\ufeff \n")[:5] == "<?xml"


def storage_to_html(source: str) -> str:
    """Return it as HTML, whose tags are balanced as far as the source's are.

    Pages, files and people are shown by name. Macros that only collect what is elsewhere (`toc`,
    `children`) are nothing.
    """
    writer = _Writer()
    done = 0
    for found in _PIECE.finditer(source):
        writer.written.append(source[done : found.start()])
        done = found.end()
        data, slash, name, attributes = found.groups()
        if data is not None:
            writer.written.append(escape(data, quote=False))
        elif name is None:
            continue
        elif slash:
            writer.close(name)
        else:
            is_closed = attributes.endswith("/")
            is_empty = is_closed or source.startswith(f"</{name}>", done)
            writer.open(name, attributes.removesuffix("/"), is_empty=is_empty)
            if is_closed and name not in _VOID:
                writer.close(name)
    writer.written.append(source[done:])
    writer.close_all()
    return "".join(writer.written)


@dataclass(slots=True)
class _Element:
    """An element of Confluence's own that is open.

    Attributes:
        name: its tag's.
        attributes: without their prefixes, their values as written.
        slot: where in the HTML it begins: what opens it is known when it ends.
        said: what elements within say of it.

    """

    name: str
    attributes: dict[str, str]
    slot: int
    said: dict[str, str] = field(default_factory=dict)


class _Writer:
    """Writes HTML tag after tag."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self._open: list[_Element] = []
        self._names: Counter[str] = Counter()

    def open(self, name: str, attributes: str, *, is_empty: bool) -> None:
        """Open an element."""
        said = {key: one or other for key, one, other in _ATTRIBUTE.findall(attributes)}
        if name[:3] in {"ac:", "ri:"}:
            self._open.append(_Element(name, said, len(self.written)))
            self._names[name] += 1
            self.written.append(_TAGS[name][0] if name in _TAGS else "")
            if name == "ac:emoticon":
                self.written.append(_emoticon(said))
            elif name[:3] == "ri:":
                self._add_resource(name, said)
            return
        self.written.append(f"<{name}{attributes}>")
        if name == "time" and is_empty:
            self.written.append(said.get("datetime", ""))

    def close(self, name: str) -> None:
        """Close the innermost element of this name, and what is open in it."""
        if name[:3] not in {"ac:", "ri:"}:
            self.written.append(f"</{name}>")
        elif self._names[name]:
            while self._close_innermost() != name:
                pass

    def close_all(self) -> None:
        """Close what is open."""
        while self._open:
            self._close_innermost()

    def _close_innermost(self) -> str:
        element = self._open.pop()
        self._names[element.name] -= 1
        if (finish := _CLOSING.get(element.name)) is not None:
            finish(self, element)
        return element.name

    def _add_resource(self, name: str, said: dict[str, str]) -> None:
        shown = next((said[key] for key in _NAMING if said.get(key)), "")
        holder = self._open[-2] if len(self._open) > 1 else None
        if holder is not None and holder.name[:3] == "ri:":
            return  # the page that an attachment is one of
        if holder is not None and holder.name == "ac:image":
            holder.said["src"] = shown
            return
        if name == "ri:user":
            shown = f"@{shown}"
        if name == "ri:url":
            shown = f'<a href="{shown}">{shown}</a>'
        if holder is not None and holder.name == "ac:link":
            holder.said["resource"] = shown
            return
        self.written.append(shown)
        if holder is not None and holder.name == "ac:parameter":
            holder.said["resource"] = shown

    def _holder(self, *names: str) -> _Element:
        """Return the innermost open element of these names, or one that nothing is shown of."""
        near = self._open[:-_NEAR:-1]
        return next((one for one in near if one.name in names), _Element("", {}, 0))

    def _take(self, element: _Element) -> str:
        """Return what the element holds, and write nothing of it."""
        held = "".join(self.written[element.slot :])
        del self.written[element.slot :]
        return held.strip()

    # What is to be done at an end tag

    def end_parameter(self, element: _Element) -> None:
        value = self._take(element)
        said = self._holder("ac:structured-macro", "ac:macro", "ac:adf-node").said
        said[element.attributes.get("name", element.attributes.get("key", ""))] = value
        if "resource" in element.said:
            said["resource"] = value

    def end_body(self, element: _Element) -> None:
        if element.name == "ac:plain-text-body":
            self.written[element.slot :] = ["".join(self.written[element.slot :]).strip("\n")]
        self._holder("ac:structured-macro", "ac:macro").said["body"] = element.name

    def end_macro(self, element: _Element) -> None:
        name, said = element.attributes.get("name", ""), element.said
        title, body = said.get("title", ""), said.get("body")
        heading = f"<p><strong>{title}</strong></p>" if title else ""
        opening, closing = heading, ""
        if name == "status":
            colour = said.get("colour", said.get("color", "")).lower()
            opening, closing = f'<span class="status-macro status-{colour}">{title}', "</span>"
        elif body is None:
            opening = next((said[key] for key in _SHOWN_PARAMETERS if said.get(key)), "")
        elif body == "ac:plain-text-body":
            language = said.get("language", said.get("", ""))
            opening, closing = f'{heading}<pre lang="{language}">\n', "</pre>"
        elif name in _EXPANDS:
            opening, closing = f"<details><summary>{title}</summary>", "</details>"
        elif name in MACRO_KINDS:
            kind = kind_of_macro(name, said.get("bgColor", ""))
            opening, closing = f'<div class="admonition {kind}">{heading}', "</div>"
        self._enclose(element, opening, closing)

    def _enclose(self, element: _Element, opening: str, closing: str) -> None:
        self.written[element.slot] = opening
        self.written.append(closing)

    def end_link(self, element: _Element) -> None:
        if "body" not in element.said:
            self.written.append(
                element.said.get("resource") or element.attributes.get("anchor", "")
            )
        if (holder := self._holder("ac:parameter")).name:
            holder.said["resource"] = "link"

    def end_link_body(self, _element: _Element) -> None:
        self._holder("ac:link").said["body"] = "link"

    def end_image(self, element: _Element) -> None:
        said = element.attributes
        picture = "".join(
            f' {name}="{value}"'
            for name in ("alt", "title", "width", "height")
            if (value := said.get(name))
        )
        picture = f'<img src="{element.said.get("src", "")}"{picture}>'
        if "caption" in element.said:
            self._enclose(element, f"<figure>{picture}", "</figure>")
        else:
            self._enclose(element, picture, "")

    def end_caption(self, element: _Element) -> None:
        self._holder("ac:image").said["caption"] = "caption"
        self._enclose(element, "<figcaption>", "</figcaption>")

    def end_task_status(self, element: _Element) -> None:
        self._holder("ac:task").said["status"] = self._take(element)

    def end_task(self, element: _Element) -> None:
        state = "done" if element.said.get("status") == "complete" else "open"
        self._enclose(element, f'<li data-task="{state}">', "</li>")

    def end_node(self, element: _Element) -> None:
        kind = element.attributes.get("type", "")
        if kind == "panel":
            said = element.said.get("panel-type", "info")
            panel = f'<div class="admonition {kind_of_panel(said)}">'
            self._enclose(element, panel, "</div>")
        elif kind in _LISTS:
            self._enclose(element, f"<{_LISTS[kind]}>", f"</{_LISTS[kind]}>")

    def end_content(self, _element: _Element) -> None:
        self._holder("ac:adf-extension").said["content"] = "shown"

    def end_fallback(self, element: _Element) -> None:
        if "content" in self._holder("ac:adf-extension").said:
            self._take(element)

    def end_tag(self, element: _Element) -> None:
        self.written.append(_TAGS[element.name][1])

    def end_hidden(self, element: _Element) -> None:
        self._take(element)


def _emoticon(said: dict[str, str]) -> str:
    fallback, name = said.get("emoji-fallback", ""), said.get("name", "")
    if fallback and fallback[0] != ":":
        return fallback
    return fallback or f":{_EMOTICONS.get(name, name)}:"


_TAGS = {
    "ac:task-list": ("<ul data-tasks>", "</ul>"),
    **dict.fromkeys(("ac:layout", "ac:layout-section", "ac:layout-cell"), ("<div>", "</div>")),
    "ac:placeholder": ("<em>", "</em>"),
}
_CLOSING: dict[str, Callable[[_Writer, _Element], None]] = {
    **dict.fromkeys(("ac:structured-macro", "ac:macro"), _Writer.end_macro),
    **dict.fromkeys(
        ("ac:parameter", "ac:default-parameter", "ac:adf-attribute", "ac:adf-parameter"),
        _Writer.end_parameter,
    ),
    **dict.fromkeys(("ac:rich-text-body", "ac:plain-text-body"), _Writer.end_body),
    **dict.fromkeys(("ac:plain-text-link-body", "ac:link-body"), _Writer.end_link_body),
    **dict.fromkeys(("ac:task-id", "ac:task-uuid"), _Writer.end_hidden),
    **dict.fromkeys(_TAGS, _Writer.end_tag),
    "ac:link": _Writer.end_link,
    "ac:image": _Writer.end_image,
    "ac:caption": _Writer.end_caption,
    "ac:task-status": _Writer.end_task_status,
    "ac:task": _Writer.end_task,
    "ac:adf-node": _Writer.end_node,
    "ac:adf-content": _Writer.end_content,
    "ac:adf-fallback": _Writer.end_fallback,
}
