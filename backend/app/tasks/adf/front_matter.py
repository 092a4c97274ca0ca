"""Front matter: the data before a Markdown document, in YAML (`---`) or TOML (`+++`)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

import yaml

LONGEST = 16_384
"""Characters; what is longer is no front matter."""

_DEEPEST = 3

# Blank lines and comments may stand above it, as licences do.
_START = re.compile(
    r"(?:[ \t]*\n|[ \t]*<!--(?:(?!-->).){0,4000}-->[ \t]*\n)*"
    r"(---|\+\+\+)(yaml|toml|json)?[ \t]*\n",
    re.DOTALL,
)
_PAIR = re.compile(r"([A-Za-z_][\w .-]{0,80}?)[ \t]*[:=][ \t]*(.*)")


class _AsWritten(yaml.SafeLoader):
    """Loads scalars as text: `1.10` is a version, `yes` a title."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as in PyYAML
        first: [pair for pair in pairs if pair[0].endswith((":null", ":merge"))]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The data before a document, and where the document starts.

    Attributes:
        values: each key's value: text as it is written (`1.10`, `yes`), list, object or None; of
            TOML also number and bool.
        end: how many characters of the source it takes; 0 where there is none.
        is_broken: it is no valid YAML or TOML, and was read line by line.

    """

    values: Mapping[str, Any] = field(default_factory=dict)
    end: int = 0
    is_broken: bool = False


def read_front_matter(source: str) -> FrontMatter:
    r"""Return the front matter that `source` (line ends: `\n`) begins with.

    Between the marks must stand pairs of keys and values, as the marks alone are also how Markdown
    draws a line or underlines a heading.
    """
    start = _START.match(source)
    if start is None:
        return FrontMatter()
    mark = start[1]
    is_toml = mark == "+++" or start[2] == "toml"
    closing = re.compile(rf"^(?:{re.escape(mark)}|\.\.\.)[ \t]*(?:\n|\Z)", re.MULTILINE)
    end = closing.search(source, start.end(), start.end() + LONGEST)
    if end is None:
        return FrontMatter()
    values, is_broken = _values(source[start.end() : end.start()], is_toml=is_toml)
    return FrontMatter() if values is None else FrontMatter(values, end.end(), is_broken=is_broken)


def _values(written: str, *, is_toml: bool) -> tuple[dict[str, Any] | None, bool]:
    """Return the pairs, or None where there are none, and whether they had to be guessed."""
    if not written.strip():
        return {}, False
    try:
        if is_toml:
            values = tomllib.loads(written, parse_float=str)
        else:
            values = yaml.load(written, _AsWritten)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, ValueError, RecursionError):
        pairs = [_PAIR.fullmatch(line.strip()) for line in written.splitlines()]
        if pairs[0] is None:
            return None, True
        return {pair[1].strip(): pair[2].strip(" \t\"'") for pair in pairs if pair}, True
    if not isinstance(values, dict):
        return None, False
    return {str(key): _as_json(value) for key, value in values.items()}, False


def _as_json(value: object, depth: int = 0) -> Any:
    """Return the value with dates and keys as text; what nests too deep is left out.

    YAML's anchors can nest a list of ten in a list of ten, and so on, or a list in itself.
    """
    if isinstance(value, Mapping) and depth < _DEEPEST:
        return {str(key): _as_json(item, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)) and depth < _DEEPEST:
        return [_as_json(item, depth + 1) for item in value]
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, (Mapping, list, tuple, set)):
        return "…"
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
