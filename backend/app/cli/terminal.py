"""Where words go: standard output for what was asked for, standard error for what went wrong."""

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
"""Columns of a table that is written to a file or a pipe, where no terminal says how wide it is."""


def printable(text: str) -> str:
    """Give the text without what would steer a terminal: labels and titles are other people's."""
    return "".join(
        character if character.isprintable() or character in "\n\t" else "\ufffd"
        for character in text
    )


class LastingConsole(Console):
    """A console whose reader may leave (`… | head -1`): what was begun goes on, in silence."""

    def on_broken_pipe(self) -> None:
        """Write to nobody from now on."""
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
    """The two streams of one command, as they are when it starts.

    Attributes:
        out: what was asked for.
        err: errors, and progress where standard output belongs to a JSON document.
        is_json: whether standard output is to hold one JSON document and nothing else.

    """

    is_json: bool = False
    out: Console = field(default_factory=lambda: _console(stderr=False))
    err: Console = field(default_factory=lambda: _console(stderr=True))

    @property
    def people(self) -> Console:
        """The stream that people read while a command works."""
        return self.err if self.is_json else self.out

    def say(self, text: str = "", *, style: str | None = None) -> None:
        """Write a line for people, as it is: never wrapped, so that it can be copied.

        Nothing, where standard output belongs to a JSON document and nobody is watching.
        """
        if self.is_json and not self.err.is_terminal:
            return
        self.people.print(printable(text), style=style, markup=False, soft_wrap=True)

    def say_link(self, word: str, address: str) -> None:
        """Write an address on a line of its own, whole; terminals that can make it a link (OSC 8).

        Wrapped, or with anything behind it, it could not be opened or copied.
        """
        line = Text.assemble((f"{word}: ", "bold"), (address, Style(link=address)))
        self.people.print(line, soft_wrap=True)

    def write_json(self, document: Any, *, is_line: bool = False) -> None:
        """Write the JSON document that was asked for; `is_line`: on one line, one of several."""
        indent = None if is_line else 2
        text = json.dumps(document, ensure_ascii=False, indent=indent, default=str)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
