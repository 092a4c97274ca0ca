"""Previews as each door words them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.presentation.failures import step_text
from app.presentation.notes import note_text
from app.tasks.adf.inline_text import plain_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from app.tasks.preview import Preview


_BLOCKS_OF_TEXT = frozenset(("paragraph", "heading", "codeBlock"))


def with_option_names(preview: Preview, option_name: Callable[[str], str]) -> Preview:
    """Return the preview; next steps and notes name options as the reader calls them."""
    problems = [
        each.model_copy(update={"next_step": step_text(each.next_step, each.options, option_name)})
        for each in preview.problems
    ]
    notes = [
        note.model_copy(update={"text": note_text(note, option_name)}) for note in preview.notes
    ]
    return preview.model_copy(update={"problems": problems, "notes": notes})


def field_text(value: Any) -> str:
    """Return a field's value in a request as people read it: the names in it."""
    if isinstance(value, list):
        return ", ".join(map(field_text, value))
    if isinstance(value, dict):
        if value.get("type") == "doc":
            return " ".join(text_lines(value))
        return ", ".join(map(field_text, value.values()))
    return str(value)


def text_lines(node: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of a description, without its structure."""
    content = node.get("content", [])
    if node["type"] in _BLOCKS_OF_TEXT:
        yield plain_text(content)
        return
    if node["type"] == "tableRow":
        yield " | ".join(" ".join(text_lines(cell)) for cell in content)
        return
    for inner in content:
        yield from text_lines(inner)
