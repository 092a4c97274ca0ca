"""Lines with pictures: ADF shows a picture as a block, so a line is split at it.

A badge, a small picture that stands among others or in a link, becomes a link named by its
alternative text instead: a column of badges would push everything else off the page.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from app.tasks.adf.inline_text import link_to, plain_text

Node = dict[str, Any]

PICTURE = "picture"
"""The type of the node that stands for a picture until its line is finished; never in ADF."""

_BADGE = re.compile(
    r"badge|badgen|shields?\.io|travis-ci|circleci\.com|appveyor\.com|codecov\.io|coveralls\.io"
    r"|codeclimate\.com|david-dm\.org|deps\.rs|snyk\.io|packagephobia|bundlephobia"
    r"|isitmaintained|gitter\.im|github\.com/[^?]+/workflows/|opencollective\.com/.+/avatar"
)
_DRAWING = re.compile(r"\.svg(?:[?#]|$)")
_TO_BE_LOOKED_AT = re.compile(r"logo|banner|wordmark|landscape|sponsors/|asciinema")
_LARGEST_ICON = 48
"""Pixels: a drawing that is said to be larger is a logo or a diagram, to be looked at."""
_LAYOUTS = {"center": "center", "end": "align-end"}


def picture_node(source: str, url: str, attributes: dict[str, str], link: Node | None) -> Node:
    """Return the node for an `img`: its address as written, resolved, and what it may say."""
    title = " ".join(attributes.get("title", "").split())
    width = attributes.get("width", "").strip().removesuffix("px")
    return {
        "type": PICTURE,
        "url": url,
        "alt": " ".join(attributes.get("alt", "").split()) or title,
        "title": title,
        "link": link,
        "width": int(width) if width.isdecimal() and len(width) < 5 else 0,  # noqa: PLR2004 - wider than any screen
        "file": source.rpartition("/")[2],
        "is_large": any(_is_large(attributes.get(side, "")) for side in ("width", "height")),
    }


def text_of_picture(text: str, marks: list[Node] | None) -> Node:
    """Return the node for a picture that cannot be shown: what it says, which is no title.

    Its list of marks is its own, so that no text is added to the node.
    """
    return {"type": "text", "text": text, PICTURE: True, "marks": list(marks or ())}


def split_at_pictures(line: list[Node], align: str, *, may_split: bool) -> list[list[Node] | Node]:
    """Return the line's parts in order: lines of text and badges, and blocks for pictures.

    Text nodes that stand for a badge have the key `picture`: see `without_flag`.
    """
    has_company = sum(node["type"] == PICTURE for node in line) > 1 or any(
        node["type"] != PICTURE and node.get("text", "x").strip() for node in line
    )
    words: list[Node] = []
    parts: list[list[Node] | Node] = [words]
    for node in _with_words_apart(line):
        if node["type"] != PICTURE:
            words.append(node)
        elif not may_split or _is_badge(node, has_company=has_company):
            words.append(_as_link(node))
        else:
            words = []
            parts += [_media(node, align), words]
    lines = (trimmed(part) if isinstance(part, list) else part for part in parts)
    return [part for part in lines if part]


def _with_words_apart(line: list[Node]) -> list[Node]:
    """Return the line with blanks between words and the texts that stand for pictures."""
    apart = line[:1]
    for before, node in pairwise(line):
        if any(PICTURE in one or one["type"] == PICTURE for one in (before, node)):
            ends = _text_of(before)[-1], _text_of(node)[0]
            if ends[0].isalnum() and ends[1].isalnum():
                apart.append({"type": "text", "text": " "})
        apart.append(node)
    return apart


def _text_of(node: Node) -> str:
    """Return a node's text; for a picture a word, for any other a blank."""
    return str(node.get("text", "a" if node["type"] == PICTURE else " "))


def without_flag(line: list[Node]) -> list[Node]:
    """Return the line without the keys that tell badges apart."""
    for node in line:
        if node.pop(PICTURE, None) and not node["marks"]:
            del node["marks"]
    return line


def title_and_extras(line: list[Node]) -> tuple[str, list[Node]]:
    """Return a heading's title, and a paragraph of what it says besides, if it does.

    Badges and footnotes are no part of a title. Besides it stand all of a heading with a link or a
    footnote, else its badges.
    """
    if len(line) == 1 and "marks" not in (only := line[0]) and only["type"] == "text":
        return " ".join(only["text"].split()), []
    title = plain_text([node for node in line if "label" not in node and PICTURE not in node])
    says_more = any(
        "label" in node or any(mark["type"] == "link" for mark in node.get("marks", ()))
        for node in line
        if PICTURE not in node
    )
    badges = [node for node in line if PICTURE in node]
    content = line
    if not says_more:
        space: Node = {"type": "text", "text": " "}
        content = [node for badge in badges for node in (space, badge)][1:]
    return title, [{"type": "paragraph", "content": content}] if content else []


def trimmed(line: list[Node]) -> list[Node]:
    """Return the line without blanks and breaks at its ends."""
    line = list(line)
    for end, strip in ((0, str.lstrip), (-1, str.rstrip)):
        while line:
            node = line[end]
            text = strip(node["text"], " ") if node["type"] == "text" else None
            if text:
                node["text"] = text
                break
            if text is None and node["type"] != "hardBreak":
                break
            line.pop(end)
    return line


def _is_badge(picture: Node, *, has_company: bool) -> bool:
    url = picture["url"].lower()
    if not has_company and picture["link"] is None:
        return False
    return _BADGE.search(url) is not None or (
        _DRAWING.search(url) is not None
        and _TO_BE_LOOKED_AT.search(url) is None
        and not picture["is_large"]
    )


def _is_large(size: str) -> bool:
    number = size.strip().removesuffix("px")
    return "%" in size or (number.isdecimal() and int(number[:5]) > _LARGEST_ICON)


def _as_link(picture: Node) -> Node:
    link = picture["link"] or link_to(picture["url"], picture["title"])
    text = picture["alt"] or picture["file"] or picture["url"]
    return {"type": "text", "text": text, "marks": [link], PICTURE: True}


def _media(picture: Node, align: str) -> Node:
    attributes: Node = {"type": "external", "url": picture["url"]}
    if picture["alt"]:
        attributes["alt"] = picture["alt"]
    media: Node = {"type": "media", "attrs": attributes}
    if picture["link"] is not None:
        media["marks"] = [picture["link"]]
    layout: Node = {"layout": _LAYOUTS.get(align, "align-start")}
    if picture["width"]:
        layout |= {"width": picture["width"], "widthType": "pixel"}
    content = [media]
    if picture["title"] and picture["title"] != picture["alt"]:
        caption = [{"type": "text", "text": picture["title"]}]
        content.append({"type": "caption", "content": caption})
    return {"type": "mediaSingle", "attrs": layout, "content": content}
