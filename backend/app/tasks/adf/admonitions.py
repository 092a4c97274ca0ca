"""Admonitions of Markdown's dialects: `!!! note`, `??? note`, `:::note`."""

from __future__ import annotations

import re
from typing import NamedTuple

_ADMONITION = re.compile(r"^[ \t]*(?::{3,}|!!!|\?\?\?)", re.MULTILINE)
_INDENTED = re.compile(r"([ \t]*)(!!!|\?\?\?\+?)[ \t]*([\w-]+)[^\"\n]*(?:\"([^\"\n]*)\")?[ \t]*")
_FENCED = re.compile(r"([ \t]*)(:{3,})[ \t]*\{?\.?([\w-]+)\}?[ \t]*(?:\[([^\]\n]*)\]|(.*?))[ \t]*")
_FENCE_END = re.compile(r"[ \t]*:{3,}[ \t]*")
_CODE_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")


def has_admonitions(text: str) -> bool:
    """Say whether there may be any; most texts have none."""
    return (":::" in text or "!!!" in text or "???" in text) and (
        _ADMONITION.search(text) is not None
    )


def with_admonitions_as_html(lines: list[str]) -> tuple[list[str], list[int]]:
    """Write admonitions as elements around their Markdown; return the lines and their origins.

    `!!! note "Title"` holds what is indented by four (MkDocs), `:::note Title` what stands before
    `:::` (Docusaurus, VuePress, Pandoc).
    """
    writer = _Writer()
    for number, line in enumerate(lines):
        before = len(writer.lines)
        writer.add(line)
        writer.origins += [number] * (len(writer.lines) - before)
    while writer.open:
        writer.close()
    writer.origins += [len(lines) - 1] * (len(writer.lines) - len(writer.origins))
    return writer.lines, writer.origins


class _Writer:
    """Writes line after line; `open` are the blocks that are open, the innermost last."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.origins: list[int] = []
        self.open: list[_Block] = []
        self._fence = ""

    def add(self, line: str) -> None:
        indent = len(line) - len(line.lstrip(" "))
        while line.strip() and self.open and self.open[-1].ends_before(indent):
            self.close()
        line = line[4 * sum(block.indent is not None for block in self.open) :]
        code = _CODE_FENCE.match(line)
        if self._fence or code:
            if not self._fence and code:
                self._fence = code[1]
            elif code and code[1].startswith(self._fence) and not line[code.end() :].strip():
                self._fence = ""
            self.lines.append(line)
        elif found := _INDENTED.fullmatch(line):
            tag = "details" if found[2].startswith("?") else "div"
            self._begin(_Block(indent, found[1], tag), found[3], found[4])
        elif self.open and self.open[-1].indent is None and _FENCE_END.fullmatch(line):
            self.close()
        elif found := _FENCED.fullmatch(line):
            tag = "details" if found[3] == "details" else "div"
            self._begin(_Block(None, found[1], tag), found[3], found[4] or found[5])
        else:
            self.lines.append(line)

    def close(self) -> None:
        block = self.open.pop()
        self.lines += ["", f"{block.lead}</{block.tag}>", ""]

    def _begin(self, block: _Block, kind: str, title: str | None) -> None:
        self.open.append(block)
        lead = block.lead
        if block.tag == "details":
            self.lines += ["", f"{lead}<details><summary>{title or kind}</summary>", ""]
            return
        self.lines += ["", f'{lead}<div class="admonition {kind}">', ""]
        if title and title.strip():
            self.lines += [f"{lead}**{title.strip()}**", ""]


class _Block(NamedTuple):
    """An admonition that is open: what it is indented by (None: it ends with `:::`), its tag."""

    indent: int | None
    lead: str
    tag: str

    def ends_before(self, indent: int) -> bool:
        """Whether a line indented like this is no part of it."""
        return self.indent is not None and indent < self.indent + 4
