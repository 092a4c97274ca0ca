"""Rules beyond Atlassian's schema: values that Jira or PostgreSQL refuse.

The rules, and what is publicly known of Jira behind each: `docs/decisions/adf-validation.md`.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, TypeAlias

from app.tasks.adf.scan import MAXIMUM_DEPTH, Scan, every_place
from app.tasks.adf.table_shape import find_flaws
from app.tasks.adf.text_cleaning import clean_text
from app.tasks.adf.violation import Place, Violation, is_unsafe, pointer, quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

JIRA_TEXT_LIMIT = 32_767
"""Characters that Jira Cloud takes in one rich text field."""

STRUCTURE_CHARACTERS = 4
"""What each node and mark counts beside its text; measured on Jira Cloud: about 3.5 a block."""

SCRIPTING_SCHEMES = frozenset(
    ("javascript", "vbscript", "livescript", "jscript", "mocha", "data", "blob", "filesystem")
)
"""Schemes whose addresses run or carry a program in the reader's browser."""

_INVISIBLE = re.compile(
    r"[\s\x00-\x20\x7f-\xa0\xad\u180e\u200b-\u200f\u2028-\u202f\u2060-\u206f\ufe00-\ufe0f\ufeff]+"
)
"""What browsers drop before they read the scheme (WHATWG URL), and whatever no eye sees."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*(?=:)")
_PLAIN_SCHEMES = ("https://", "http://")
_REPEATABLE_MARKS = frozenset(("annotation", "fragment", "dataConsumer"))
"""Marks of which a node may carry several; only an exact copy is a duplicate."""

Rule: TypeAlias = "Callable[[Place], Iterator[Violation]]"


def find_broken_rules(noted: Scan, document: object, max_characters: int) -> Iterator[Violation]:
    """Yield every violation of the rules of this module, lazily."""
    for place in noted.not_json:
        what = (
            "an object with keys that are not text"
            if isinstance(place[0], dict)
            else quoted(place[0])
        )
        reason = f"{what} is no JSON value: replace it."
        yield Violation(pointer(place), "schema", reason)
    if noted.too_deep is not None:
        reason = f"nested too deep, over {MAXIMUM_DEPTH} levels of JSON: flatten what stands here."
        yield Violation(pointer(noted.too_deep), "schema", reason)
    text = "".join(noted.texts)
    if is_unsafe(text) or is_unsafe("".join(noted.names)):
        yield from _unsafe_characters(document)
    yield from _text_length(text, noted.structures, max_characters)
    for place in noted.to_judge:
        yield from RULES_BY_TYPE[place[0]["type"]](place)  # type: ignore[index] # the scan saw it
    for place in noted.with_marks:
        yield from _duplicate_marks(place)


def _text_length(text: str, structures: int, max_characters: int) -> Iterator[Violation]:
    units = len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
    length = units + structures * STRUCTURE_CHARACTERS
    if length > max_characters:
        reason = (
            f"the text is too long: {length:,} characters with its structure, where "
            f"{max_characters:,} are allowed (Jira takes {JIRA_TEXT_LIMIT:,}): shorten or split it."
        )
        yield Violation("", "text_length", reason)


def _unsafe_characters(document: object) -> Iterator[Violation]:
    for place in every_place(document):
        value = place[0]
        if isinstance(value, str) and is_unsafe(value):
            yield Violation(pointer(place), "unsafe_character", _what_is_unsafe(value))
        elif isinstance(value, dict):
            for key in value:
                if isinstance(key, str) and is_unsafe(key):
                    reason = f"the key {quoted(key)}: {_what_is_unsafe(key)}"
                    yield Violation(pointer(place), "unsafe_character", reason)


def _what_is_unsafe(text: str) -> str:
    if "\x00" in text:
        return "contains a NUL character, which cannot be stored: remove it."
    first = next((own for own, safe in zip(text, clean_text(text)[0], strict=False) if own != safe))
    if "\ud800" <= first <= "\udfff":
        return "contains half of a surrogate pair, which is no character: remove it."
    return f"contains U+{ord(first):04X}, which is no character of text: remove it."


def _heading_level(place: Place) -> Iterator[Violation]:
    attributes = _attributes(place)
    if "level" in attributes and type(attributes["level"]) is not int:
        reason = (
            f"the heading's level is {quoted(attributes['level'])}: make it a whole number, 1 to 6."
        )
        yield Violation(pointer(place, "attrs", "level"), "heading_level", reason)


def _address(place: Place) -> Iterator[Violation]:
    attributes = _attributes(place)
    for key in ("href", "url"):
        address = attributes.get(key)
        if not isinstance(address, str) or address.startswith(_PLAIN_SCHEMES):
            continue
        bare = _INVISIBLE.sub("", address).lower()
        scheme = _SCHEME.match(bare)
        if not bare:
            reason = "the link leads nowhere, its address is empty: fill it in or remove the link."
            yield Violation(pointer(place, "attrs", key), "link", reason)
        elif scheme and scheme.group() in SCRIPTING_SCHEMES:
            reason = f"a '{scheme.group()}:' address can run a program: remove the link."
            yield Violation(pointer(place, "attrs", key), "link", reason)
        elif key == "url" and not scheme:
            reason = f"{quoted(address)} is no whole address: begin it with https://."
            yield Violation(pointer(place, "attrs", key), "link", reason)


def _ragged_table(place: Place) -> Iterator[Violation]:
    table: Any = place[0]
    for steps, reason in find_flaws(table):
        yield Violation(pointer(place, *steps), "ragged_table", reason)


def _duplicate_marks(place: Place) -> Iterator[Violation]:
    node: Any = place[0]
    seen: set[str] = set()
    for index, mark in enumerate(node["marks"]):
        name = mark.get("type") if isinstance(mark, dict) else None
        if not isinstance(name, str):
            continue
        identity = json.dumps(mark, sort_keys=True) if name in _REPEATABLE_MARKS else name
        if identity in seen:
            reason = f"the mark {quoted(name)} stands here twice: keep one."
            yield Violation(pointer(place, "marks", index), "duplicate_mark", reason)
        seen.add(identity)


def _attributes(place: Place) -> dict[str, Any]:
    node: Any = place[0]
    attributes = node.get("attrs")
    return attributes if isinstance(attributes, dict) else {}


RULES_BY_TYPE: dict[str, Rule] = {
    "heading": _heading_level,
    "table": _ragged_table,
    "link": _address,
    "inlineCard": _address,
    "blockCard": _address,
    "embedCard": _address,
    "media": _address,
}
"""Which rule speaks of which type of node or mark."""
