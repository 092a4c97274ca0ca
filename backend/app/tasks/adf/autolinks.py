"""Bare addresses in text, found as GitHub Flavored Markdown defines them.

Source: GFM specification 0.29, section 6.9 "Autolinks (extension)". Two differences, both wider:
a host may be one word (`http://localhost:8000`), as in cmark-gfm, and an address may follow any
character that is no letter or digit, so that quoted addresses become links too.

Every function here takes time linear in what it reads.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_URL_START = re.compile(r"(?<![^\W_])(?:[hH][tT][tT][pP][sS]?://|[fF][tT][pP]://|www\.)")

_URL = re.compile(
    r"(?P<scheme>[hH][tT][tT][pP][sS]?://|[fF][tT][pP]://)?"
    r"(?P<host>[\w-]+(?:\.[\w-]+)*)"
    # `](` and `][` end an address: there a link's text ends, which the address stands in. So do
    # the commas, stops and closing brackets of Chinese and Japanese.
    r"(?:[^\s<\]\u3001\u3002\u300b\u300d\u300f\u3011\uff01\uff09\uff0c\uff1b\uff1f]|\](?![\[(]))*"
)
_EMAIL = re.compile(
    # The address starts where its run of characters starts: no second look at any of them.
    r"(?<![A-Za-z0-9._+-])(?:mailto:|xmpp:)?[A-Za-z0-9._+-]+"
    r"@[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)+"
)
_ENTITY_AT_THE_END = re.compile(r"&[A-Za-z0-9]{1,40};\Z")
_TRAILING = frozenset("?!.,:*_~'\"[]&\u2026\u2018\u2019\u201c\u201d\u00ab\u00bb\uff1a")
_ENTITY_WINDOW = 42
_LABELS_WITHOUT_UNDERSCORE = 2


def find_addresses(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield each bare address in `text`: where it starts, where it ends, what it links to."""
    position = 0
    has_emails = "@" in text  # asked once: asking for each address takes quadratic time
    if "://" in text or "www." in text:
        for found in _URL_START.finditer(text):
            if found.start() < position:
                continue
            url = match_url(text, found.start(), len(text))
            if url is not None:
                if has_emails:
                    yield from _find_emails(text, position, found.start())
                position, address = url
                yield found.start(), position, address
    if has_emails:
        yield from _find_emails(text, position, len(text))


def match_url(text: str, start: int, end: int) -> tuple[int, str] | None:
    """Where the address at `start` ends and what it links to, or None where there is none."""
    found = _URL.match(text, start, end)
    if found is None:
        return None
    labels = found["host"].split(".")
    if any("_" in label for label in labels[-_LABELS_WITHOUT_UNDERSCORE:]):
        return None
    if found["scheme"] is None and (len(labels) < 2 or not labels[1]):  # noqa: PLR2004 - www.x
        return None
    stop = _without_trailing_punctuation(text, start, found.end())
    if stop < found.end("host"):
        return None
    address = text[start:stop]
    return stop, address if found["scheme"] else f"http://{address}"


def _find_emails(text: str, start: int, end: int) -> Iterator[tuple[int, int, str]]:
    for found in _EMAIL.finditer(text, start, end):
        address = found[0]
        if address[-1] in "-_":
            continue
        is_complete = address.startswith(("mailto:", "xmpp:"))
        yield found.start(), found.end(), address if is_complete else f"mailto:{address}"


def _without_trailing_punctuation(text: str, start: int, stop: int) -> int:
    """Where the address ends once what rather belongs to the sentence is taken off."""
    unmatched = text.count(")", start, stop) - text.count("(", start, stop)
    while stop > start:
        last = text[stop - 1]
        if last in _TRAILING:
            stop -= 1
        elif last == ")" and unmatched > 0:
            unmatched -= 1
            stop -= 1
        elif last == ";":
            entity = _ENTITY_AT_THE_END.search(text[max(start, stop - _ENTITY_WINDOW) : stop])
            stop -= len(entity[0]) if entity else 1
        else:
            break
    return stop
