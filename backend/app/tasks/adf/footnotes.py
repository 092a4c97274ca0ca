"""Footnotes: taken out where they are defined, numbered and put at the end where they are used.

A document may become several tickets. Each has the footnotes that it refers to, numbered from 1
in order of first reference. One that nothing refers to stays with the ticket it was written in:
no word of it is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from markdown_it.token import Token

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Footnotes:
    """The footnotes of a whole document."""

    def __init__(self) -> None:
        self.definitions: list[Sequence[Token]] = []
        self.by_label: dict[str, int] = {}
        self.referenced: set[int] = set()

    def take_out(self, tokens: list[Token], environment: dict[str, Any]) -> list[Token]:
        """Give `tokens` with a mark in the place of each definition, whose tokens are kept here.

        Of two definitions with one label the first counts; the second is never referred to.
        """
        if "footnotes" not in environment:
            return tokens
        body: list[Token] = []
        outer: list[tuple[str, list[Token]]] = []
        for token in tokens:
            if token.type == "footnote_reference_open":
                outer.append((token.meta["label"], body))
                body = []
            elif token.type == "footnote_reference_close":
                label, surrounding = outer.pop()
                definition = len(self.definitions)
                self.definitions.append(body)
                self.by_label.setdefault(label, definition)
                body = surrounding
                body.append(Token("footnote_definition", "", 0, meta={"definition": definition}))
            else:
                body.append(token)
        return body


class SectionFootnotes:
    """The footnotes of one section, numbered."""

    def __init__(self, footnotes: Footnotes) -> None:
        self._footnotes = footnotes
        self._numbers: dict[int, int] = {}
        self._order: list[int] = []
        self.defined_here: list[int] = []

    def number_of(self, label: str) -> int:
        """Give the number of a footnote that the document defines, first referred to or not."""
        definition = self._footnotes.by_label[label]
        self._footnotes.referenced.add(definition)
        return self._number(definition)

    def _number(self, definition: int) -> int:
        number = self._numbers.get(definition)
        if number is None:
            self._order.append(definition)
            number = self._numbers[definition] = len(self._order)
        return number

    def in_order(self) -> Iterator[Sequence[Token]]:
        """Give the footnotes by number, those included that are referred to meanwhile.

        Then come those defined here that nothing refers to: call it when all sections are built.
        """
        unreferenced = (one for one in self.defined_here if one not in self._footnotes.referenced)
        done = 0
        while True:
            while done < len(self._order):
                yield self._footnotes.definitions[self._order[done]]
                done += 1
            following = next(unreferenced, None)
            if following is None:
                return
            self._number(following)
