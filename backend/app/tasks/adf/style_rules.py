"""The rules for classes of a document's `<style>` elements, written into what they style.

The exports of Notion and Google Docs say so what is bold or red. Only simple selectors count
(`.name`, `td.name`), outside of any `@` rule, and only what ADF has a mark or attribute for.
"""

from __future__ import annotations

import re

import turbohtml

_MOST_CHARACTERS = 262_144
_LONGEST_VALUE = 64
_MOST_CLASSES = 16
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_AT_RULE = re.compile(r"@[^{};@]*(?:;|\{(?:[^{}]*\{[^{}]*\})*+[^{}]*\})")
_RULE = re.compile(r"([^{}]*+)\{([^{}]*+)\}")
_SELECTOR = re.compile(r"([a-z][a-z0-9]*)?\.([\w-]+)")
_PROPERTIES = frozenset({
    "background", "background-color", "color", "font-style", "font-weight", "text-align",
    "text-decoration", "text-decoration-line", "vertical-align",
})  # fmt: skip

_Rules = dict[tuple[str, str], dict[str, str]]


def write_class_rules(root: turbohtml.Element | turbohtml.Document) -> None:
    """Put the declarations of rules for classes before those of the elements' own styles."""
    css = "\n".join(element.text for element in root.select("style"))
    rules = _read_rules(css[:_MOST_CHARACTERS])
    if not rules:
        return
    for element in root.select("[class]"):
        classes = (element.attrs["class"] or [])[:_MOST_CLASSES]
        style: dict[str, str] = {}
        for tag in ("", element.tag):
            for name in classes:
                style |= rules.get((tag, name), {})
        if style:
            written = ";".join(f"{name}:{value}" for name, value in style.items())
            element.attrs["style"] = f"{written};{element.attrs.get('style') or ''}"


def _read_rules(css: str) -> _Rules:
    """Return the declarations by element (often "") and class."""
    rules: _Rules = {}
    for selectors, block in _RULE.findall(_AT_RULE.sub("", _COMMENT.sub("", css))):
        pairs = (part.partition(":") for part in block.split(";"))
        said = {
            name: value.strip()
            for raw, _, value in pairs
            if (name := raw.strip().lower()) in _PROPERTIES and len(value) <= _LONGEST_VALUE
        }
        for selector in selectors.split(",") if said else ():
            if found := _SELECTOR.fullmatch(selector.strip()):
                rules.setdefault((found[1] or "", found[2]), {}).update(said)
    return rules
