"""Any Python value whatsoever, as JSON that PostgreSQL, logs and terminals accept.

JSONB refuses NUL and lone surrogates (PostgreSQL, section 8.14), JSON has no NaN and no
Infinity (RFC 8259, section 6), and values that come from handlers may be cyclic, endless or
hostile: their own methods may raise. Nothing here raises because of the value it is given.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Final, TypeAlias, TypeVar
from uuid import UUID

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None

WINDOW_CHARACTERS: Final = 32 * 1024
"""How much of one text is looked at; of a longer one, the beginning and the end."""

_TOTAL_CHARACTERS: Final = 4 * WINDOW_CHARACTERS
_MAX_NODES: Final = 2_000
_MAX_NODES_OF_ONE: Final = 200
_MAX_ITEMS: Final = 200
_MAX_DEPTH: Final = 20
_EDGE_CHARACTERS: Final = 8 * 1024
_SMALLEST_WINDOW: Final = 256
_MAX_INTEGER_BITS: Final = 63
_PLAIN_FLOATS: Final = (1e-17, 1e17)

_UNSAFE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")

_Answer = TypeVar("_Answer")


def ask(question: Callable[[], _Answer], otherwise: _Answer) -> _Answer:
    """Return the result of the foreign code, or `otherwise` if it raises anything at all.

    For the methods of values that others hand us (`__str__`, `__repr__`, iteration). Even
    SystemExit and KeyboardInterrupt are caught: a broken `__str__` may raise them, and a failure
    that could not be written down would leave its task running.
    """
    try:
        return question()
    except BaseException:  # noqa: BLE001 - that is the purpose, see above
        return otherwise


def type_name(value: object) -> str:
    """Return the name of the value's real class, whatever the value says of itself."""
    return class_name(type(value))


def class_name(kind: type) -> str:
    """Return the name of the class, past any metaclass that would tell another."""
    real_name: str = type.__dict__["__name__"].__get__(kind)
    return safe_text(real_name)


def safe_text(text: str) -> str:
    r"""Return the text, what JSONB refuses or a terminal obeys written as `\x00` or `\ud800`.

    That is: the control characters (C0 but for tab and line ends, DEL, C1) and lone surrogates.
    """
    plain = str.__str__(text)  # a subclass of str may have methods of its own
    return plain if plain.isprintable() else _UNSAFE.sub(_escaped, plain)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}"  # noqa: PLR2004 - one byte


def window(text: str, limit: int = WINDOW_CHARACTERS) -> str:
    """Return the text, or of one longer than `limit` characters its beginning and its end.

    It is there to bound the work *before* secrets are redacted, so it never leaves the end of a
    secret whose beginning, by which it is recognised, was cut away: the cuts lie at white space
    (before the gap) and at line ends (after it), and what has none of those is dropped.
    """
    if len(text) <= limit:
        return text
    if limit < _SMALLEST_WINDOW:
        return f"… {len(text):,} characters left out …"
    edge = min(_EDGE_CHARACTERS, limit // 8)
    head = text[: limit * 3 // 4]
    space = next((n for n in range(1, edge) if head[-n].isspace()), edge)
    head = head[:-space]
    tail = text[-(limit // 4) :]
    line_end = tail.find("\n", 0, edge)
    tail = tail[line_end + 1 :] if line_end >= 0 else tail[edge:]
    tail = _without_half_a_private_key(tail)
    left_out = len(text) - len(head) - len(tail)
    return f"{head}\n… {left_out:,} characters left out …\n{tail}"


def _without_half_a_private_key(tail: str) -> str:
    end, begin = tail.find("-----END "), tail.find("-----BEGIN ")
    if end >= 0 and (begin < 0 or end < begin):
        return tail[end:]
    return tail


def json_safe(value: object) -> JsonValue:
    """Return the value as JSON of equal meaning, or, where it has none, as text that names it.

    Mappings, sequences and sets keep their shape up to 20 levels, 200 entries each and 2,000
    entries in all; text is kept up to 32 Ki characters each and 128 Ki in all. What repeats
    itself, is broken or is beyond those bounds says so in its place. Never raises.
    """
    return _SafeCopy().of(value)


def json_safe_items(items: Iterable[tuple[object, object]]) -> dict[str, JsonValue]:
    """Return the pairs as a JSON object, each made safe as `json_safe` does it. Never raises.

    Each value may have 200 entries in all, so that a huge one leaves room for those after it.
    """
    return _SafeCopy().mapping(items, nodes_each=_MAX_NODES_OF_ONE)


class _SafeCopy:
    """One copy in the making: what is left of its bounds, and where in the value it stands."""

    def __init__(self) -> None:
        self._nodes_left = _MAX_NODES
        self._characters_left = _TOTAL_CHARACTERS
        self._path: set[int] = set()

    def of(self, value: object) -> JsonValue:
        if value is None or value is True or value is False:
            return value
        if type(value) is str:  # by far the most frequent
            return self.text(value)
        try:
            return self._of_type(value)
        except BaseException:  # noqa: BLE001 - foreign code, see `ask`
            return f"<{type_name(value)}: cannot be read>"

    def text(self, text: str) -> str:
        plain = str.__str__(text)
        room = min(WINDOW_CHARACTERS, self._characters_left // 2)  # half stays for what follows
        plain = window(plain, room)
        self._characters_left = max(0, self._characters_left - len(plain))
        return safe_text(plain)

    def _of_type(self, value: object) -> JsonValue:  # noqa: PLR0911 - one line per type
        kind = type(value)
        if issubclass(kind, Enum):
            return self.of(value.value)  # type: ignore[attr-defined]
        if issubclass(kind, str):
            return self.text(value)  # type: ignore[arg-type]
        if issubclass(kind, int):
            return _integer(int.__int__(value))  # type: ignore[arg-type]
        if issubclass(kind, float):
            return _number(float.__float__(value))  # type: ignore[arg-type]
        if issubclass(kind, (bytes, bytearray)):
            return self.text(bytes(value[:_TOTAL_CHARACTERS]).decode(errors="backslashreplace"))  # type: ignore[index]
        if issubclass(kind, (datetime, date, time)):
            return self.text(value.isoformat())  # type: ignore[attr-defined]
        if issubclass(kind, (UUID, Decimal, PurePath)):
            return self.text(str(value))
        if issubclass(kind, BaseException):
            return self.text(f"{type_name(value)}: {value!s}")
        if issubclass(kind, (list, tuple, set, frozenset, Mapping)):
            return self._container(value)
        return self.text(repr(value))

    def _container(self, value: object) -> JsonValue:
        if id(value) in self._path:
            return "<repeats itself>"
        if len(self._path) >= _MAX_DEPTH:
            return "<nested too deep>"
        self._path.add(id(value))
        try:
            if isinstance(value, dict):  # its own `items`, not that of a hostile subclass
                return self.mapping(dict.items(value))
            if isinstance(value, Mapping):
                return self.mapping(value.items())
            if isinstance(value, (set, frozenset)):
                return sorted(self._sequence(value), key=json.dumps)
            return self._sequence(value)  # type: ignore[arg-type]
        finally:
            self._path.discard(id(value))

    def _sequence(self, items: Iterable[object]) -> list[JsonValue]:
        copied: list[JsonValue] = []
        for item in islice(items, _MAX_ITEMS + 1):
            if not self._has_room(len(copied)):
                copied.append("… and more")
                break
            copied.append(self.of(item))
        return copied

    def mapping(
        self, items: Iterable[tuple[object, object]], nodes_each: int = 0
    ) -> dict[str, JsonValue]:
        copied: dict[str, JsonValue] = {}
        for key, item in islice(items, _MAX_ITEMS + 1):
            self._nodes_left = nodes_each or self._nodes_left
            if not self._has_room(len(copied)):
                copied["…"] = "and more"
                break
            name = self.of(key)
            copied[name if isinstance(name, str) else json.dumps(name)] = self.of(item)
        return copied

    def _has_room(self, item_count: int) -> bool:
        self._nodes_left -= 1
        return item_count < _MAX_ITEMS and self._nodes_left > 0


def _integer(number: int) -> JsonValue:
    """Return the number; as text where a reader of JSON could not hold it in 64 bits."""
    bits = number.bit_length()
    if bits <= _MAX_INTEGER_BITS:
        return number
    return str(number) if bits <= 4 * _MAX_INTEGER_BITS else f"<integer of {bits:,} bits>"


def _number(number: float) -> JsonValue:
    """Return the number; as text where JSON has none or JSONB would write it out in 300 digits."""
    smallest, largest = _PLAIN_FLOATS
    if number == 0 or (math.isfinite(number) and smallest <= abs(number) < largest):
        return number
    return repr(number)


# ------------------------------------------------------------------ cutting to a size in bytes


def json_bytes(value: JsonValue) -> int:
    """Return the size as UTF-8 JSON, as PostgreSQL writes JSONB out (`, ` and `: `)."""
    return len(json.dumps(value, ensure_ascii=False).encode())


def cut_end(text: str, limit: int) -> str:
    """Return the text, or its beginning and `…`, as at most `limit` bytes of UTF-8 JSON."""
    if json_bytes(text) <= limit:
        return text
    return _longest(lambda kept: text[:kept] + "…", limit)


def cut_middle(text: str, limit: int) -> str:
    """Return the text, or its first and last lines, as at most `limit` bytes of UTF-8 JSON."""
    if json_bytes(text) <= limit:
        return text
    mark = "\n… cut here …\n"
    room = max(0, limit - json_bytes(mark))
    head = _longest(lambda kept: text[:kept], room * 2 // 5)
    tail = _longest(lambda kept: text[len(text) - kept :], room - room * 2 // 5)
    last_line = head.rfind("\n", len(head) // 2)
    first_line = tail.find("\n", 0, len(tail) // 2)
    return (head[:last_line] if last_line >= 0 else head) + mark + tail[first_line + 1 :]


def _longest(make: Callable[[int], str], limit: int) -> str:
    """Return the longest of `make(0)`, `make(1)`, … that has at most `limit` bytes; none: empty."""
    if json_bytes(make(0)) > limit:
        return ""
    fits, too_long = 0, limit + 1
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if json_bytes(make(middle)) <= limit:
            fits = middle
        else:
            too_long = middle
    return make(fits)


_SMALLEST_SHARE: Final = 64
_KEY_BYTES: Final = 120


def cut_to_fit(value: JsonValue, limit: int) -> JsonValue:
    """Return the value, cut where it is longest, as at most `limit` (≥ 64) bytes of UTF-8 JSON.

    Entries share the room evenly, and what the short ones leave goes to those after them.
    """
    if json_bytes(value) <= limit:
        return value
    if isinstance(value, str):
        return cut_end(value, limit)
    if isinstance(value, list):
        return _cut_list(value, limit)
    if isinstance(value, dict):
        return _cut_mapping(value, limit)
    return "…"  # a number that has no room


def _cut_list(value: list[JsonValue], limit: int) -> list[JsonValue]:
    kept: list[JsonValue] = []
    room = limit - _SMALLEST_SHARE // 2  # brackets and the mark
    for index, item in enumerate(value):
        if room < _SMALLEST_SHARE:
            kept.append(f"… {len(value) - index} more")
            break
        share = max(_SMALLEST_SHARE, room // (len(value) - index))
        kept.append(cut_to_fit(item, share - 2))
        room -= json_bytes(kept[-1]) + 2
    return kept


def _cut_mapping(value: dict[str, JsonValue], limit: int) -> dict[str, JsonValue]:
    kept: dict[str, JsonValue] = {}
    room = limit - _SMALLEST_SHARE // 2
    for index, (key, item) in enumerate(value.items()):
        if room < _SMALLEST_SHARE + _KEY_BYTES:
            kept["…"] = f"{len(value) - index} more"
            break
        name = cut_end(key, _KEY_BYTES)
        share = max(_SMALLEST_SHARE + _KEY_BYTES, room // (len(value) - index))
        kept[name] = cut_to_fit(item, share - json_bytes(name) - 4)
        room -= json_bytes(name) + json_bytes(kept[name]) + 4
    return kept
