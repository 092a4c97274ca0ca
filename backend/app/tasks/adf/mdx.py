"""MDX, Markdown with components of JSX, written as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.tasks.adf.admonitions import fence_below
from app.tasks.adf.panels import PANEL_TYPES

_MODULE = (
    r"(?:import\s[^\n]*?(?:\sfrom\s|['\"{])"
    r"|export\s+(?:const|let|var|default|function|async|class|type|[{*]))"
)
_BEGINS_WITH_MODULE = re.compile(rf"\s*{_MODULE}")
_VALUE = r"(?:\"[^\"]*\"|'[^']*'|\{(?:[^{}]|\{[^{}]*\})*\})"
_PART = re.compile(
    r"(?P<code>`+)[^`\n]+(?P=code)|(?P<blank>\{['\"] *['\"]\})"
    r"|\{/\*[^*{]*+(?:(?:\*(?!/)|\{(?!/\*))[^*{]*+)*\*/\}"
    rf"|^{_MODULE}.*(?:\n.+)*"
    rf"|(?P<tag>(?:</|(?<!\w)<)(?P<name>[A-Za-z][\w.]*)(?P<said>(?:\s+[\w:.-]+(?:={_VALUE})?)*)\s*/?>)",
    re.MULTILINE,
)
_EXPRESSION = re.compile(rf"([\w-]+)=({_VALUE})")
_QUOTED = re.compile(r"[\"'`]([^\"'`]*)[\"'`]|\{\s*(\d+)\s*\}")
_OPENS = re.compile(r"[ \t]*<([A-Z][\w.]*)(?![^\n]*(?:/>|</\1>))")
_ON_ONE_LINE = re.compile(rf"([ \t]*<([A-Z]\w*)(?:[^<>\"'{{]|{_VALUE})*>)(.+)(</\2>)[ \t]*")
_CLOSES = re.compile(r"[ \t]*(?:</[A-Z][\w.]*>|/>)")
_FOLDED = re.compile(r"accordion|collaps|expand|toggle|disclosure|^details$")
_CALLOUTS = frozenset({"admonition", "alert", "aside", "callout"})
_TITLES = ("title", "label", "summary", "header", "path", "name", "value")
_ADDRESSES = ("href", "to", "src")


def is_mdx(source: str) -> bool:
    """Whether the document begins as those do that import components."""
    return _BEGINS_WITH_MODULE.match(source) is not None


def mdx_to_markdown(source: str) -> tuple[str, list[int]]:
    """Return the Markdown, and for each line the line of the source that it comes from.

    Callouts become admonitions; tabs, steps and cards headings. Imports, exports, comments and
    other components are left out; what stands in these stays.
    """
    lines: list[str] = []
    origins: list[int] = []
    written: list[str] = []
    done, fence = 0, ""
    for number, line in enumerate(_without_indents(source.split("\n"))):
        parts = _ON_ONE_LINE.fullmatch(line) if not fence else None
        pieces = [parts[1], parts[3], parts[4]] if parts else [line]
        below = fence_below(line, fence)
        if below and not fence:
            written.append(_PART.sub(_write, "\n".join(lines[done:])))
            done = len(lines)
        lines += pieces
        origins += [number] * len(pieces)
        if fence and not below:
            written.append("\n".join(lines[done:]))
            done = len(lines)
        fence = below
    rest = "\n".join(lines[done:])
    written.append(rest if fence else _PART.sub(_write, rest))
    return "\n".join(written if lines[done:] else written[:-1]), origins


def _without_indents(lines: list[str]) -> Iterator[str]:
    """Yield the lines as they stand in their components: indented text is no code in MDX."""
    indents: list[int | None] = []
    for line in lines:
        indent = len(line) - len(line.lstrip())
        if indents and indents[-1] is None and line.strip():
            indents[-1] = indent
        if _CLOSES.match(line) is not None and indents:
            indents.pop()
        of_text = next((one for one in reversed(indents) if one is not None), 0)
        yield line[min(indent, of_text) :]
        if _OPENS.match(line) is not None:
            indents.append(None)


def _write(found: re.Match[str]) -> str:
    if found["code"] or found["blank"]:
        return found[0] if found["code"] else " "
    lines = "\n" * found[0].count("\n")
    if found["tag"] is None:
        return lines
    name, is_end = found["name"], found[0][1] == "/"
    said = {
        key: next(filter(None, quoted.groups()), "")
        for key, value in _EXPRESSION.findall(found["said"])
        if (quoted := _QUOTED.search(value)) is not None
    }
    if name[0].islower() or name in {"Link", "Image", "Img"}:
        tag = {"Link": "a", "Image": "img", "Img": "img"}.get(name, name)
        if "{" not in found[0] and tag == name:
            return found[0]
        written = "".join(
            f' {"href" if key == "to" else key}="{value}"' for key, value in said.items()
        )
        return f"</{tag}>" if is_end else f"<{tag}{written}>{lines}"
    line_start = found.string.rfind("\n", 0, found.start()) + 1
    is_alone = not found.string[line_start : found.start()].strip()
    return (_component(name.lower(), said, is_end=is_end) if is_alone else "") + lines


def _component(name: str, said: dict[str, str], *, is_end: bool) -> str:
    kind = said.get("type", said.get("variant", "info")) if name in _CALLOUTS else name
    title = next((said[key] for key in _TITLES if said.get(key)), "")
    if name in _CALLOUTS or name in PANEL_TYPES:
        kind = kind if kind in PANEL_TYPES else "info"
        return ":::" if is_end else f":::{kind} {said.get('title', '')}".rstrip()
    if _FOLDED.search(name) is not None and "group" not in name:
        return ":::" if is_end else f":::details {title}".rstrip()
    if is_end or not title:
        return ""
    address = next((said[key] for key in _ADDRESSES if said.get(key)), "")
    return f"##### [{title}]({address})" if address else f"##### {title}"
