"""The numbers of a Word document's lists, which go on where a paragraph stands in between."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_LARGEST = 100_000


class Numbers:
    """Counts items as Word does.

    Its definitions come from the parts of numbers and styles, which are read first.
    """

    def __init__(self) -> None:
        self._of_list: dict[str, str] = {}  # the definition of each list
        self._of_style: dict[str, str] = {}
        self._starts: dict[tuple[str, int], int] = {}
        self._restarts: dict[tuple[str, int], int] = {}
        self._counts: dict[tuple[str, int], int] = {}
        self._definition = self._list = ""
        self._level = 0

    def note(self, name: str, style: str, attributes: Mapping[str, str]) -> None:
        """Take a definition from an element; `style` is the style that it stands in."""
        value = attributes.get("w:val", "")
        match name:
            case "w:abstractNum":
                self._definition = attributes.get("w:abstractNumId", "")
                self._list = ""
            case "w:num":
                self._list = attributes.get("w:numId", "")
            case "w:lvl" | "w:lvlOverride":
                self._level = _number(attributes.get("w:ilvl", ""))
            case "w:start" if not self._list:
                self._starts[self._definition, self._level] = _number(value)
            case "w:startOverride":
                self._restarts[self._list, self._level] = _number(value)
            case "w:abstractNumId":
                self._of_list[self._list] = value
            case "w:numId" if style:
                self._of_style[style] = value

    def count(self, number: str, level: str, style: str) -> int:
        """Return the number of the next item of a list, or of a style's; 0 where there is none."""
        number = number or self._of_style.get(style, "")
        definition = self._of_list.get(number)
        if definition is None:
            return 0
        depth = _number(level)
        place = definition, depth
        restart = self._restarts.pop((number, depth), None)
        if restart is not None:
            self._counts[place] = restart
        else:
            self._counts[place] = self._counts.get(place, self._starts.get(place, 1) - 1) + 1
        for deeper in [at for at in self._counts if at[0] == definition and at[1] > depth]:
            del self._counts[deeper]
        return self._counts[place]


def _number(written: str) -> int:
    return min(int(written), _LARGEST) if written.isdecimal() and len(written) < 9 else 0  # noqa: PLR2004 - digits
