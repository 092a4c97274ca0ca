"""One reason why Jira would refuse an ADF document, and where in the document it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from app.tasks.adf.text_cleaning import clean_text

Step: TypeAlias = str | int
"""An object's key or a list's index."""

Place: TypeAlias = tuple[object, "Place | None", Step]
"""A value of the document, the place that holds it (none: it is the document), and the step there.

A plain tuple, because a walk makes one for every object and list it meets, and paths are spelled
only where something is wrong.
"""

_LONGEST_QUOTE = 60
_LONGEST_NUMBER_BITS = 128
_JSON_WORDS = {"None": "null", "True": "true", "False": "false"}
_KINDS: dict[type, str] = {dict: "an object", list: "a list"}


@dataclass(frozen=True, slots=True)
class Violation:
    """One reason why Jira would refuse a document.

    Attributes:
        path: JSON Pointer (RFC 6901) to the value at fault, or to the object that lacks something.
            It always leads somewhere in the document, and is itself safe to store: a key that
            holds an unsafe character is not spelled out, the pointer ends at the object with it.
        rule: the rule that was broken: `schema`, `text_length`, `link`, `ragged_table`,
            `duplicate_mark`, `unsafe_character` or `heading_level`.
        reason: what is wrong and what to do, for people.

    """

    path: str
    rule: str
    reason: str


def pointer(place: Place, *further: Step) -> str:
    """Return the JSON Pointer (RFC 6901) to `place` and `further`, up to the first unsafe key."""
    steps = list(further[::-1])
    here: Place | None = place
    while here is not None and here[1] is not None:
        steps.append(here[2])
        here = here[1]
    spelled = []
    for step in reversed(steps):
        text = str(step)
        if is_unsafe(text):
            break
        spelled.append("/" + text.replace("~", "~0").replace("/", "~1"))
    return "".join(spelled)


def is_unsafe(text: str) -> bool:
    """Say whether `text` holds what cannot be used: see `clean_text`."""
    return clean_text(text)[0] != text


def quoted(value: object) -> str:
    """Return `value` as a reason may quote it: short, on one line, safe to store and to print."""
    if isinstance(value, str):
        short = value if len(value) <= _LONGEST_QUOTE else value[:_LONGEST_QUOTE] + "…"
        return "'" + "".join(map(_printable, short)) + "'"
    if isinstance(value, int) and value.bit_length() > _LONGEST_NUMBER_BITS:
        return "a very large number"
    if value is None or isinstance(value, (bool, int, float)):
        return _JSON_WORDS.get(repr(value), repr(value))
    return _KINDS.get(type(value), f"a Python {type(value).__name__}")


def _printable(character: str) -> str:
    if character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
