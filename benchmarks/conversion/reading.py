"""Read a document by software that none of the converters uses: comrak and Lexbor.

comrak renders Markdown as GitHub does; Lexbor parses the HTML as browsers do. The result is
the measure for the converters. Runs in an environment of its own.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

import comrak
from selectolax.lexbor import LexborHTMLParser

BASE = "https://base.example/"
WORD = re.compile(r"\w+")
BADGE = re.compile(
    r"shields\.io|badge|codecov|coveralls|travis-ci|circleci|appveyor|snyk\.io|/workflows/"
    r"|gitpod|opencollective\.com|api\.netlify|packagephobia|bundlephobia|isitmaintained",
    re.IGNORECASE,
)
"""Addresses of the small pictures that stand side by side in a line."""

NEVER_SHOWN = {
    *("head", "script", "style", "template", "title", "noscript", "iframe", "object", "video"),
    *("audio", "canvas", "svg", "rp", "datalist", "-comment"),
}
BLOCKS = {
    *("p", "div", "li", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "ul"),
    *("ol", "table", "tr", "dl", "dt", "dd", "hr", "br", "details", "summary", "center", "section"),
    *("article", "aside", "header", "footer", "nav", "main", "figure", "figcaption", "form", "img"),
    *("caption", "thead", "tbody", "tfoot", "fieldset", "legend", "address", "input", "option"),
    *("picture", "button", "select", "textarea"),
}
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}
MARKS = {
    **dict.fromkeys(("strong", "b"), "strong"),
    **dict.fromkeys(("em", "i"), "em"),
    **dict.fromkeys(("del", "s", "strike"), "strike"),
    **dict.fromkeys(("sub", "sup"), "sub and sup"),
    **dict.fromkeys(("u", "ins"), "underline"),
    **dict.fromkeys(("code", "samp", "tt", "var"), "code"),
    "kbd": "kbd",
}
CANNOT_ALIGN = {"li", "dd", "dt", "blockquote", "details", "figcaption", "pre", "caption"}
FRONT_MATTER = re.compile(r"\A---[ \t]*\n(.*?\n)---[ \t]*\n", re.DOTALL)


def to_html(source: str) -> str:
    """The document as GitHub renders it, before GitHub takes out what it does not allow."""
    extensions = comrak.ExtensionOptions()
    for name in ("alerts", "autolink", "footnotes", "strikethrough", "table", "tasklist"):
        setattr(extensions, name, True)
    extensions.front_matter_delimiter = "---"
    rendering = comrak.RenderOptions()
    rendering.unsafe_ = True
    return str(
        comrak.render_markdown(source, extension_options=extensions, render_options=rendering)
    )


def read(source: str) -> dict[str, Any]:
    """Words, addresses and constructs of the document."""
    reading = Reading()
    page = LexborHTMLParser(f"<!DOCTYPE html><body>{to_html(source)}")
    reading.walk(page.body)
    if (matter := FRONT_MATTER.match(source)) is not None:
        found = re.search(r"^title:[ \t]*(\S.*)$", matter[1], re.MULTILINE)
        if found is not None:
            reading.title = found[1].strip().strip("\"'")
    return {
        "words": WORD.findall("".join(reading.shown)),
        "shown": "".join(reading.shown),
        "addresses": reading.addresses,
        "title": " ".join(reading.title.split()),
        "said": reading.said,
    }


class Reading:
    """The text read so far, and a list of keys for each construct."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.addresses: list[str] = []
        self.title = ""
        self.said: dict[str, list[str]] = {}

    def say(self, construct: str, *keys: str) -> None:
        self.said.setdefault(construct, []).extend(keys)

    def walk(self, body: Any) -> None:
        """Read the elements in order; the stack holds a node, or what to do after one."""
        waiting: list[tuple[Any, tuple[Any, ...], str]] = [(body, (), "")]
        while waiting:
            node, around, align = waiting.pop()
            if isinstance(node, str):
                self.shown.append(node)
                continue
            if node.tag == "-text":
                self._text(node.text_content or "", around, align)
                continue
            attributes = node.attributes
            if node.tag in NEVER_SHOWN or _is_hidden(attributes):
                continue
            if (node.tag, attributes.get("class")) in {
                ("a", "footnote-backref"),
                ("p", "markdown-alert-title"),
            }:
                continue
            align = _alignment(node.tag, attributes, align)
            if node.tag in BLOCKS:
                self.shown.append(" ")
                waiting.append((" ", (), ""))
            self._element(node, attributes, around)
            around = (*around, node.tag)
            children = []
            child = node.child
            while child is not None:
                children.append((child, around, align))
                child = child.next
            waiting.extend(reversed(children))

    def _text(self, text: str, around: tuple[str, ...], align: str) -> None:
        self.shown.append(text)
        if "pre" in around:
            return
        words = WORD.findall(text)
        kinds = {MARKS[tag] for tag in around if tag in MARKS and "summary" not in around}
        if kinds & {"code", "kbd"}:  # ADF has no code in bold
            kinds &= {"code", "kbd"}
        for kind in kinds:
            self.say(kind, *words)
        if "blockquote" in around and not {"table", "details"} & set(around):
            self.say("quotes", *words)
        if align and not CANNOT_ALIGN & set(around):
            self.say("alignment", *(f"{align} {word}" for word in words))

    def _element(  # noqa: C901 - one branch a construct
        self, node: Any, attributes: dict[str, Any], around: tuple[str, ...]
    ) -> None:
        tag = node.tag
        if tag == "a" and attributes.get("href"):
            self._link(node, attributes)
        elif tag == "img":
            self._picture(attributes, around)
        elif tag == "div" and "markdown-alert" in (attributes.get("class") or ""):
            self.say("alerts", attributes["class"].rpartition("-")[2])
        elif tag == "details":
            summary = node.css_first("summary")
            self.say("details", _key(summary.text() if summary is not None else "") or "Details")
        elif tag == "table" and "table" not in around:
            row = node.css_first("tr")
            if row is not None and _key(row.text(separator=" ")):
                self.say("tables", _key(row.text(separator=" ")))
        elif tag == "input" and attributes.get("type") == "checkbox" and "li" in around:
            state = "DONE" if "checked" in attributes else "TODO"
            self.say("tasks", f"{state} {_key(_line_of(node))}")
        elif tag == "pre":
            self.say("code blocks", _key(node.text()))
        elif tag in HEADINGS and not {"li", "blockquote", "table", "details", "dd"} & set(around):
            text = " ".join(node.text().split())
            if text:
                self.say("headings", f"{tag[1]} {_key(text)}")
                self.title = self.title or text

    def _link(self, node: Any, attributes: dict[str, Any]) -> None:
        href = attributes["href"].strip()
        if "footnote-ref" in (node.parent.attributes.get("class") or ""):
            self.shown.append(" ")
            return
        if re.match(r"(?i)\s*(javascript|data|file|vbscript):", href):
            return
        address = _joined(href)
        self.addresses.append(address)
        if node.text().strip():
            self.say("links", address)

    def _picture(self, attributes: dict[str, Any], around: tuple[str, ...]) -> None:
        self.shown.append(f" {attributes.get('alt') or ''} ")
        source = (attributes.get("src") or "").strip()
        if not source or source.startswith("data:"):
            return
        address = _joined(source)
        is_badge = BADGE.search(source) or ("a" in around and ".svg" in source)
        name = attributes.get("alt") or attributes.get("title") or source.rpartition("/")[2]
        self.say("badges" if is_badge else "images", f"{address}\n{_key(name)}")


def _line_of(box: Any) -> str:
    """The text behind a check box, up to the end of its line."""
    words = []
    node = box.next
    while node is not None and node.tag not in {"ul", "ol", "p", "br", "pre", "div"}:
        words.append(node.text_content or "" if node.tag == "-text" else node.text())
        node = node.next
    return "".join(words)


def _key(text: str) -> str:
    return " ".join(WORD.findall(text)[:6])


def _joined(address: str) -> str:
    try:
        return urljoin(BASE, address)
    except ValueError:
        return address


def _is_hidden(attributes: dict[str, Any]) -> bool:
    style = (attributes.get("style") or "").replace(" ", "").lower()
    return "hidden" in attributes or "display:none" in style


def _alignment(tag: str, attributes: dict[str, Any], inherited: str) -> str:
    """How the text in an element is aligned: `center`, `end` or empty."""
    if tag == "table":
        return ""
    if tag == "center":
        return "center"
    style = (attributes.get("style") or "").replace(" ", "").lower()
    said = re.search(r"text-align:(\w+)", style)
    value = said[1] if said else (attributes.get("align") or "").lower()
    if not value or tag in {"img", "span", "a"}:
        return inherited
    return {"center": "center", "middle": "center", "right": "end", "end": "end"}.get(value, "")
