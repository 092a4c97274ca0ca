"""Write to the terminal: results to standard output, errors to standard error."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.style import Style
from rich.text import Text

WIDTH_OF_A_FILE = 120
"""The width of a table that is written to a file or a pipe."""


def printable(text: str) -> str:
    """Return the text without terminal control sequences, which labels and titles may contain."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\ufffd"
        for character in text
    )


class LastingConsole(Console):
    """A console that discards further output when its pipe is closed (`… | head -1`)."""

    def on_broken_pipe(self) -> None:
        """Discard all further output."""
        self.quiet = True
        nobody = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nobody, self.file.fileno())
        os.close(nobody)


def _console(*, stderr: bool) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    is_wide = not stream.isatty() and "COLUMNS" not in os.environ
    return LastingConsole(
        stderr=stderr, highlight=False, emoji=False, width=WIDTH_OF_A_FILE if is_wide else None
    )


@dataclass(frozen=True, slots=True)
class Terminal:
    """The two output streams of one command.

    Attributes:
        out: results.
        err: errors, and progress if standard output is one JSON document.
        is_json: whether standard output must be one JSON document and nothing else.

    """

    is_json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    @property
    def people(self) -> Console:
        """The stream for progress and other text that is not JSON."""
        return self.err if self.is_json else self.out

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Write a line of text, never wrapped, so that it can be copied.

        With `is_json`, it is written to standard error, and only to a terminal.
        """
        if self.is_json and not self.err.is_terminal:
            return
        self.people.print(printable(text), style=style, markup=False, soft_wrap=True)

    def say_link(self, word: str, address: str) -> None:
        """Write an address on a line of its own, as a link (OSC 8) where the terminal has links.

        Wrapped, or with other text after it, it could not be opened or copied.
        """
        line = Text.assemble((f"{word}: ", "bold"), (address, Style(link=address)))
        self.people.print(line, soft_wrap=True)

    def write_json(self, document: Any, *, is_line: bool = False) -> None:
        """Write a JSON document; `is_line`: on one line, as one of several."""
        indent = None if is_line else 2
        text = json.dumps(document, ensure_ascii=False, indent=indent, default=str)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
