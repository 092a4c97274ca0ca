"""Notes as the command shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.cli.parameters import option_flag
from app.presentation.notes import note_texts
from app.values.results import Note

if TYPE_CHECKING:
    from collections.abc import Iterable


def said(notes: Iterable[str | Note]) -> list[str]:
    """Return the notes in words."""
    return note_texts(map(Note.of, notes), option_flag)
