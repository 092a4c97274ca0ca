"""Judge a converter's ADF: is it valid, is it whole, and which constructs are kept."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema_rs

SCHEMA = Path(__file__).parents[2] / "backend/app/tasks/adf/schema/adf-full-57.7.22.json"
VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
BASE = "https://base.example/"
WORD = re.compile(r"\w+")
SOURCE = re.compile(
    r"<!--|</?(?:p|div|img|br|a|details|summary|table|tr|td|th|h[1-6]|b|i|kbd|su[bp]|center|picture"
    r"|source|[ou]l|li|span|strong|em|hr|font|code|pre|blockquote|u|ins|del|s)(?:\s[^<>]*)?/?>",
    re.IGNORECASE,
)
PANELS = {
    "note": "info", "tip": "success", "important": "note", "warning": "warning", "caution": "error",
}  # fmt: skip
MARKS = {
    "strong": "strong", "em": "em", "strike": "strike", "subsup": "sub and sup",
    "underline": "underline", "code": "code",
}  # fmt: skip
LINES = {"paragraph", "heading", "codeBlock", "taskItem", "caption"}

Node = dict[str, Any]
Reference = dict[str, Any]


@dataclass
class Verdict:
    """The judgement on one document.

    Attributes:
        is_valid: Atlassian's schema accepts it.
        missing: words and addresses that it has not, the first of them.
        shows_source: how many tags of HTML it shows that a browser would not.
        kept: by construct, how many there are and how many were kept as such.
        lost: by construct, the keys that were not kept.

    """

    is_valid: bool = False
    missing: list[str] = field(default_factory=list)
    shows_source: int = 0
    kept: dict[str, tuple[int, int]] = field(default_factory=dict)
    lost: dict[str, list[str]] = field(default_factory=dict)


def judge(document: Any, reference: Reference) -> Verdict:
    """Hold a converter's document, or None for a refusal, to what the reference says."""
    is_document = isinstance(document, dict) and isinstance(document.get("content"), list)
    said = Said()
    if is_document:
        try:
            said.walk(document)
        except (AttributeError, KeyError, TypeError):
            is_document = False
            said = Said()
    verdict = Verdict()
    verdict.is_valid = is_document and VALIDATOR.is_valid(document)
    texts = "".join(said.shown)
    shown = Counter(WORD.findall(texts))
    verdict.missing = list((Counter(reference["words"]) - shown).elements())
    addresses = {_plain(address) for address in said.addresses}
    verdict.missing += [
        address
        for address in dict.fromkeys(reference["addresses"])
        if not _has_address(address, addresses, texts)
    ]
    verdict.shows_source = max(
        0, len(SOURCE.findall(texts)) - len(SOURCE.findall(reference["shown"]))
    )
    for construct, keys in reference["said"].items():
        wanted = Counter(keys)
        lost = wanted - Counter(_present(construct, wanted, said))
        verdict.kept[construct] = wanted.total(), wanted.total() - lost.total()
        if lost:
            verdict.lost[construct] = list(lost.elements())
    return verdict


def _present(construct: str, wanted: Counter[str], said: Said) -> list[str]:
    """The keys of a construct that the document has, spelled as the reference spells them."""
    if construct == "alerts":
        found = Counter(said.kinds["panels"])
        return [
            alert
            for alert, count in wanted.items()
            for _ in range(min(count, found[PANELS.get(alert, "")]))
        ]
    if construct in {"images", "badges"}:
        names = said.kinds["pictures"] if construct == "images" else said.kinds["named"]
        return list(_spelled(wanted, names))
    if construct == "links":
        return list(_spelled(wanted, said.kinds["links"]))
    if construct == "headings":  # what a heading says besides its words stands among them
        levels = said.kinds["headings"]
        return [
            key
            for key, count in wanted.items()
            for _ in range(min(count, sum(_is_within(key, each) for each in levels)))
        ]
    if construct == "kbd":
        return said.kinds["code"]
    return said.kinds[construct]


def _spelled(wanted: Counter[str], found: list[str]) -> list[str]:
    """The keys of `wanted` that `found` has; the keys have absolute addresses."""
    plain = Counter(_plain(each) for each in found)
    relative = Counter(_plain(each.removeprefix(BASE)) for each in found)
    spelled: list[str] = []
    for key, count in wanted.items():
        address, _, alternative = key.partition("\n")
        names = {_plain(address), _plain(address.removeprefix(BASE))}
        if alternative:
            names.add(f"named {alternative}".casefold())
        have = sum(plain[name] for name in names) or sum(relative[name] for name in names)
        spelled += [key] * min(count, have)
    return spelled


def _is_within(key: str, heading: str) -> bool:
    """Whether a heading is of the level of the key, and has its words."""
    return key[0] == heading[0] and f" {key[2:]} " in f" {heading[2:]} "


def _plain(address: str) -> str:
    """The address without what is written in several ways."""
    return unquote(unquote(address)).strip().rstrip("/#").casefold()


def _has_address(address: str, addresses: set[str], texts: str) -> bool:
    names = {_plain(address), _plain(address.removeprefix(BASE))}
    return bool(names & addresses) or address in texts or address.removeprefix(BASE) in texts


class Said:
    """The text and constructs of a document of ADF."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.addresses: list[str] = []
        self.kinds = _Kinds()

    def walk(self, document: Node) -> None:
        """Read its nodes in order."""
        waiting: list[tuple[Node | str, tuple[str, ...], str]] = [(document, (), "")]
        while waiting:
            node, around, align = waiting.pop()
            if isinstance(node, str):
                self.shown.append(node)
                continue
            kind = node["type"]
            attributes = node.get("attrs") or {}
            marks = node.get("marks") or []
            for mark in marks:
                if mark["type"] == "alignment":
                    align = mark["attrs"]["align"]
            self.addresses += [
                each
                for place in (attributes, *(mark.get("attrs") or {} for mark in marks))
                for name in ("href", "url")
                if isinstance(each := place.get(name), str)
            ]
            if kind in {"text", "emoji"}:
                text = node["text"] if kind == "text" else attributes["shortName"]
                self._text(text, marks, around, align)
                continue
            self.shown.append(" ")
            self._node(node, kind, attributes)
            waiting.append((" ", (), ""))
            content = node.get("content") or []
            waiting.extend((child, (*around, kind), align) for child in reversed(content))

    def _text(self, text: str, marks: list[Node], around: tuple[str, ...], align: str) -> None:
        self.shown.append(text)
        words = WORD.findall(text)
        for mark in marks:
            if (name := MARKS.get(mark["type"])) is not None:
                self.kinds[name] += words
            elif mark["type"] == "link":
                href = mark["attrs"].get("href") or ""
                self.kinds["links"].append(href)
                self.kinds["named"] += [href, f"named {_key(text)}"]
        if "blockquote" in around or "panel" in around:
            self.kinds["quotes"] += words
        if align:
            self.kinds["alignment"] += [f"{align} {word}" for word in words]

    def _node(self, node: Node, kind: str, attributes: Node) -> None:  # noqa: C901 - one branch a construct
        for name in ("alt", "title", "text"):
            if isinstance(value := attributes.get(name), str):
                self.shown.append(f" {value} ")
        if kind == "panel":
            self.kinds["panels"].append(attributes["panelType"])
        elif kind in {"expand", "nestedExpand"}:
            self.kinds["details"].append(_key(attributes.get("title", "")))
        elif kind == "table":
            rows = node.get("content") or []
            self.kinds["tables"].append(_key(_text_of(rows[0])) if rows else "")
        elif kind in {"taskItem", "blockTaskItem"}:
            text = _text_of({"content": _first_line(node)})
            self.kinds["tasks"].append(f"{attributes.get('state')} {_key(text)}")
        elif kind == "codeBlock":
            self.kinds["code blocks"].append(_key(_text_of(node)))
        elif kind == "heading":
            self.kinds["headings"].append(f"{attributes.get('level')} {_key(_text_of(node), 60)}")
        elif kind == "media" and isinstance(attributes.get("url"), str):
            self.kinds["pictures"].append(attributes["url"])
            self.kinds["named"].append(attributes["url"])
        elif kind == "inlineCard" and isinstance(attributes.get("url"), str):
            self.kinds["links"].append(attributes["url"])
            self.shown.append(f" {attributes['url']} ")


class _Kinds(dict[str, list[str]]):
    def __missing__(self, name: str) -> list[str]:
        self[name] = []
        return self[name]


def _first_line(node: Node) -> list[Node]:
    """The first line of a task: its own, or its first paragraph's; up to the first break."""
    content = node.get("content") or []
    if content and content[0]["type"] == "paragraph":
        content = content[0].get("content") or []
    line = []
    for each in content:
        if each["type"] == "hardBreak":
            break
        line.append(each)
    return line


def _text_of(node: Node) -> str:
    parts: list[str] = []
    waiting: list[Node | str] = [node]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            parts.append(each)
            continue
        if each.get("type") == "text":
            parts.append(each["text"])
            continue
        attributes = each.get("attrs") or {}
        if isinstance(name := attributes.get("shortName"), str):
            parts.append(name)
        if each.get("type") == "inlineCard":
            parts.append(f" {attributes.get('url', '')} ")
        if each.get("type") in LINES or each.get("type") == "hardBreak":
            waiting.append(" ")
            parts.append(" ")
        waiting.extend(reversed(each.get("content") or []))
    return "".join(parts)


def _key(text: str, words: int = 6) -> str:
    return " ".join(WORD.findall(text)[:words])
