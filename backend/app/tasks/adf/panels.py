"""Alerts and admonitions, by whatever name a generator gives them, as the panels of ADF."""

from __future__ import annotations

import re

PANEL_TYPES = {
    "note": "info", "info": "info", "information": "info", "abstract": "info", "summary": "info",
    "tldr": "info", "todo": "info", "question": "info", "help": "info", "faq": "info",
    "example": "info", "seealso": "info",
    "tip": "success", "hint": "success", "success": "success", "check": "success",
    "done": "success",
    "important": "note", "quote": "note",
    "warning": "warning", "attention": "warning", "caution": "error", "danger": "error",
    "error": "error", "failure": "error", "fail": "error", "bug": "error",
}  # fmt: skip
"""The panel's type for each kind of GitHub's, Obsidian's, MkDocs' and Docusaurus' alerts."""

_CONFLUENCE = {
    "confluence-information-macro-information": "info",
    "confluence-information-macro-tip": "success",
    "confluence-information-macro-note": "warning",
    "confluence-information-macro-warning": "error",
}

MACRO_KINDS = {
    "info": "info",
    "note": "warning",
    "tip": "tip",
    "warning": "caution",
    "panel": "info",
}
"""The kind of panel that each macro of Jira's markup and of Confluence's pages is."""

_GROUNDS = {
    "#deebff": "info", "#eae6ff": "important", "#e3fcef": "tip", "#fffae6": "warning",
    "#ffebe6": "caution",
}  # fmt: skip
"""The backgrounds by which Atlassian's own exports tell their panels apart."""


def kind_of_macro(name: str, background: str) -> str:
    """Return the kind of the panel that a macro with this background is."""
    return _GROUNDS.get(background.lower(), MACRO_KINDS[name])


def kind_of_panel(adf_type: str) -> str:
    """Return the kind of a panel by the name that ADF has for it."""
    return {"note": "important", "error": "danger"}.get(adf_type, adf_type)


def panel_type(classes: str) -> str | None:
    """Return the type of the panel that an element with these classes is; None if it is none."""
    if "confluence" in classes:
        return next((kind for name, kind in _CONFLUENCE.items() if name in classes.split()), None)
    if "alert" not in classes and "admonition" not in classes and "callout" not in classes:
        return None
    words = set(re.split(r"[\s-]+", classes.lower()))
    kind = next((kind for name, kind in PANEL_TYPES.items() if name in words), None)
    return kind or ("info" if words & {"callout", "admonition"} else None)
