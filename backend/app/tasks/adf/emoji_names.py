"""`:smile:` and its like as ADF's emoji nodes, by GitHub's names."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

# Not behind a letter or digit: `host:key:value` has none.
_NAME = re.compile(r"(?<![A-Za-z0-9_:]):[a-z0-9_+-]+:")


def find_emoji(text: str) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield where each emoji's name starts and ends in `text`, and the node for it."""
    position = 0
    while (found := _NAME.search(text, position)) is not None:
        node = _emoji(found[0])
        if node is None:
            position = found.end() - 1  # its last colon may begin a name, where a sign is before it
        else:
            yield found.start(), found.end(), node
            position = found.end()


@lru_cache(maxsize=1_024)
def _emoji(name: str) -> dict[str, Any] | None:
    import emoji  # noqa: PLC0415 - a table of thousands, for the documents that need it

    character = emoji.emojize(name, language="alias")
    if character == name:
        return None
    return {"type": "emoji", "attrs": {"shortName": name, "text": character}}
