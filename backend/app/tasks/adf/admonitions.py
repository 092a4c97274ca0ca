"""Blocks of Markdown's dialects: `!!! note`, `??? note`, `:::note`, `$$`, `%%` and others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from app.tasks.adf.panels import PANEL_TYPES

_START = (
    r"[ \t]*+(?=[:!?/`~{>=+$%])(?::{3,}|!!!|\?\?\?|/{3,}[ \t]*\w|(?:`{3,}|~{3,})\{|\{[{%]"
    r"|(?:>>>|\$\$|%%)[ \t]*+(?:\n|\Z)|===[!+]?[ \t]|\+\+\+[ \t]*\S)"
)
_STARTS_WITH = re.compile(_START)
_HAS = re.compile(rf"\n{_START}")
_INDENTED = re.compile(r"([ \t]*)(!!!|\?\?\?\+?)[ \t]*([\w-]+)[^\"\n]*(?:\"([^\"\n]*)\")?[ \t]*")
_FENCED = re.compile(
    r"([ \t]*)(:{3,}|/{3,}|`{3,}|~{3,})[ \t]*"
    r"(?:\{\.?([\w-]+)([^}\n]*)\}|([\w-]+)(?![\w.]))[ \t]*(?:\|[ \t]*)?"
    r"(?:\[([^\]\n]*)\]|(.*?))[ \t]*"
)
_TAB = re.compile(r"([ \t]*)===[!+]?[ \t]+\"([^\"\n]+)\"[ \t]*")
_FOLD = re.compile(r"([ \t]*)\+\+\+[ \t]+(\S.*)")
_TEMPLATE = re.compile(
    r"([ \t]*)\{(?:\{[<%]|%-?)[ \t]*(/|end)?([A-Za-z][\w-]*)([^{}\n]*?)"
    r"/?[ \t]*(?:[>%]\}|-?%)\}[ \t]*"
)
_OPTION = re.compile(r"(?:([\w-]+)=)?(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'=]+))")
_SILENT = frozenset({
    "code", "content-ref", "include", "raw", "step", "stepper", "tab", "tabpane", "tabs", "toc",
})  # fmt: skip
"""Tags of templates that only frame what stands between them."""

_TITLE = re.compile(r"title=[\"']([^\"'\n]*)")
_DIRECTIVE_OPTION = re.compile(r"[ \t]*:(?:class|name|open):.*")
_CODE_FENCE = re.compile(r"[ \t]*(`{3,}|~{3,})")
_PAIRED = {">>>": "blockquote", "$$": "```", "%%": "template"}
"""What a line begins that one like it ends: a quote, a formula, a comment."""

_MOST_OPEN = 200
_ENDS = frozenset({"+++", *_PAIRED})

_FOLDED = frozenset({"details", "dropdown", "toggle"})
_CALLOUTS = frozenset({
    "admonition", "alert", "callout", "caution", "danger", "hint", "important", "info", "note",
    "tip", "warning",
})  # fmt: skip
_FOLDED_TEMPLATES = _FOLDED | {"collapse", "expand"}
_KINDS = frozenset({*PANEL_TYPES, "admonition", *_FOLDED})


def has_admonitions(text: str) -> bool:
    """Say whether there may be any; most texts have none."""
    return _STARTS_WITH.match(text) is not None or _HAS.search(text) is not None


def with_admonitions_as_html(lines: list[str]) -> tuple[list[str], list[int]]:
    """Write admonitions as elements around their Markdown; return the lines and their origins.

    `!!! note "Title"` holds what is indented by four (MkDocs); `:::note Title`, `/// note | Title`,
    `{% hint style="info" %}`, `{{< note >}}` and a fence named `{note}` what stands before the line
    that ends it (Docusaurus, VuePress, Pandoc, Quarto; MkDocs; GitBook; Hugo; MyST). Others that
    begin with `:::` are text. So are read quotes between lines of `>>>` (GitLab), `=== "Tab"` with
    what is indented (MkDocs), diagrams below `::: mermaid` (Azure DevOps), what is folded from
    `+++ Title` to `+++` (Linear), formulas between lines of `$$`, comments between lines of `%%`
    (Obsidian), and code and pictures of templates (Jekyll, Hugo).
    """
    writer = _Writer(Counter(_ends(lines)))
    for number, line in enumerate(lines):
        before = len(writer.lines)
        writer.add(line)
        writer.origins += [number] * (len(writer.lines) - before)
    while writer.open:
        writer.close()
    writer.origins += [len(lines) - 1] * (len(writer.lines) - len(writer.origins))
    return writer.lines, writer.origins


def _ends(lines: list[str]) -> Iterator[str]:
    """Yield the lines outside of code that may end what nothing but a line like it ends."""
    fence = ""
    for line in lines:
        fence = fence_below(line, fence)
        if not fence and (mark := line.strip()) in _ENDS:
            yield mark


def fence_below(line: str, fence: str) -> str:
    """Return the fence of the code that is open below the line; empty where none is."""
    code = _CODE_FENCE.match(line)
    if code is None or not fence:
        return code[1] if code else fence
    is_end = code[1].startswith(fence) and not line[code.end() :].strip()
    return "" if is_end else fence


class _Writer:
    """Writes line after line; `open` are the blocks that are open, the innermost last."""

    def __init__(self, ends: Counter[str]) -> None:
        self._ends = ends  # still to come
        self.lines: list[str] = []
        self.origins: list[int] = []
        self.open: list[_Block] = []
        self._fence = ""
        self._is_below_start = False

    def add(self, line: str) -> None:
        indent = len(line) - len(line.lstrip(" "))
        while line.strip() and self.open and self.open[-1].ends_before(indent):
            self.close()
        line = line[4 * sum(block.indent is not None for block in self.open) :]
        is_below_start, self._is_below_start = self._is_below_start, False
        if not self._fence and self.open and self.open[-1].ends_with(line):
            self.close(line)
        elif self._fence or len(self.open) == _MOST_OPEN or not self._begins(line, indent):
            self._fence = fence_below(line, self._fence)
            if not (is_below_start and _DIRECTIVE_OPTION.fullmatch(line)):
                self.lines.append(line)

    def close(self, line: str | None = None) -> None:
        block = self.open.pop()
        if block.tag == "```":
            self.lines.append(f"{block.lead}```")
        elif block.tag:
            self.lines += ["", f"{block.lead}</{block.tag}>", ""]
        elif line is not None:
            self.lines.append(line)

    def _begins(self, line: str, indent: int) -> bool:
        """Begin the admonition that the line begins; False where it begins none."""
        if (mark := line.strip()) in _PAIRED and self._ends[mark] > 1:
            lead, tag = line[: -len(line.lstrip())], _PAIRED[mark]
            self._ends[mark] -= 2
            self.open.append(_Block(None, lead, tag, mark))
            is_code = tag == "```"
            self.lines += [f"{lead}```latex"] if is_code else ["", f"{lead}<{tag}>", ""]
        elif self._ends["+++"] > 0 and (found := _FOLD.fullmatch(line)):
            self._ends["+++"] -= 1
            block = _Block(None, found[1], "", "+++")
            self._begin(block, "details", found[2], is_folded=True)
        elif found := _TAB.fullmatch(line):
            self.open.append(_Block(indent, found[1], "", ""))
            self.lines += ["", f"{found[1]}**{found[2].strip()}**", ""]
        elif found := _INDENTED.fullmatch(line):
            self._begin(_Block(indent, found[1], "", ""), found[3], found[4], found[2][0] == "?")
        elif found := _TEMPLATE.fullmatch(line):
            return self._follow_template(*found.groups())
        elif found := _FENCED.fullmatch(line):
            lead, fence, in_braces, options, word, in_brackets, rest = found.groups()
            kind = (in_braces or word).lower().removeprefix("callout-")
            block = _Block(None, lead, "", fence)
            title = _TITLE.search(options or "")
            if kind in _KINDS and (in_braces or fence[0] in ":/"):
                self._begin(
                    block, kind, title[1] if title else in_brackets or rest, kind in _FOLDED
                )
                self._is_below_start = in_braces is not None
                return True
            if fence[0] == ":":
                is_diagram = kind == "mermaid"
                self.open.append(block._replace(tag="```") if is_diagram else block)
                self.lines.append(f"{lead}```mermaid" if is_diagram else line)
                return True
            return False
        else:
            return False
        return True

    def _follow_template(self, lead: str, end: str | None, name: str, written: str) -> bool:
        """Write what a tag of GitBook, Hugo or Jekyll begins; False where it is none of theirs."""
        said = {key or "": a or b or c for key, a, b, c in reversed(_OPTION.findall(written))}
        title = said.get("title") or said.get("summary") or said.get("name") or said.get("", "")
        kinds = (*(said.get(key, "") for key in ("style", "type", "color", "")), name)
        kind = next((one.lower() for one in kinds if one.lower() in PANEL_TYPES), "info")
        block = _Block(None, lead, "", f"{{%{name}")
        address = said.get("url") or said.get("src")
        if not end and name in _CALLOUTS:
            self._begin(block, kind, title if title.lower() != kind else "", is_folded=False)
        elif not end and name in _FOLDED_TEMPLATES:
            self._begin(block, "details", title, is_folded=True)
        elif not end and name == "highlight":
            self.open.append(block._replace(tag="```"))
            self.lines.append(f"{lead}```{said.get('', '')}")
        elif name in {"embed", "figure"} and address:
            alt = said.get("alt") or said.get("caption") or ""
            self.lines.append(
                f"{lead}<{address}>" if name == "embed" else f"{lead}![{alt}]({address})"
            )
        elif name not in _SILENT:
            return False
        elif not end and title and name in {"code", "step", "tab"}:
            self.lines += ["", f"{lead}**{title}**", ""]
        else:
            self.lines.append("")
        return True

    def _begin(self, block: _Block, kind: str, title: str | None, is_folded: bool) -> None:
        title = (title or "").strip()
        self.open.append(block._replace(tag="details" if is_folded else "div"))
        lead = block.lead
        if is_folded:
            title = title or kind.capitalize()
            self.lines += ["", f"{lead}<details><summary>{title}</summary>", ""]
            return
        self.lines += ["", f'{lead}<div class="admonition {kind}">', ""]
        if title:
            self.lines += [f"{lead}**{title}**", ""]


class _Block(NamedTuple):
    """An admonition that is open.

    Attributes:
        indent: what it is indented by; None where a line ends it.
        lead: the blanks before it.
        tag: the element that it becomes; empty for text that only looks like one.
        fence: what ends it.

    """

    indent: int | None
    lead: str
    tag: str
    fence: str

    def ends_before(self, indent: int) -> bool:
        """Whether a line indented like this is no part of it."""
        return self.indent is not None and indent < self.indent + 4

    def ends_with(self, line: str) -> bool:
        """Whether the line ends it."""
        if self.indent is not None:
            return False
        if self.fence[:2] == "{%":
            found = _TEMPLATE.fullmatch(line)
            return found is not None and found[2] is not None and found[3] == self.fence[2:]
        line = line.strip()
        least = len(self.fence) if self.fence[0] in "`~$%" else 3
        return len(line) >= least and line == self.fence[0] * len(line)
