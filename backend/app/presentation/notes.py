"""Notes in words, with their options as the reader calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


class _Note(Protocol):
    @property
    def text(self) -> str: ...
    @property
    def options(self) -> Sequence[str]: ...


def note_texts(notes: Iterable[_Note], option_name: Callable[[str], str] = str) -> list[str]:
    """Return notes in words: `a.csv: “Text” is read as HTML; --body-format FORMAT changes that`."""
    return [note_text(note, option_name) for note in notes]


def note_text(note: _Note, option_name: Callable[[str], str]) -> str:
    """Return one note in words; an option without a name is left out."""
    names = " or ".join(filter(None, map(option_name, note.options)))
    return f"{note.text}; {names} changes that" if names else note.text
