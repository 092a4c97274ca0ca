"""The shapes of charts, which `templates/charts.html` draws as SVG.

A drawing is 100 units high, and `SLICE_WIDTH` wide for each slice of time. It is stretched to the
available room; strokes and text are not. Every chart has its figures as a table too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

HEIGHT = 100.0
SLICE_WIDTH = 10.0
_GAP = 1.5
_LEAST_BAR = 1.5
"""A value that is not zero must be visible."""

_LEVEL = 7.0


@dataclass(frozen=True, slots=True)
class Series:
    """One row of figures: a value, or None, for each slice of time."""

    name: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of a slice's bar; `series` counts from 1, for its colour."""

    x: float
    y: float
    width: float
    height: float
    series: int
    words: str
    index: int = 0


@dataclass(frozen=True, slots=True)
class Line:
    """A series as a path; a short level stroke where a value has no neighbour."""

    path: str
    series: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, ready to be drawn.

    Attributes:
        top: the value of the upper edge, as text.
        rows: the same figures as text: the slice, then one cell for each series.
        moments: when each slice begins, for a script to show in the browser's time zone.

    """

    title: str
    top: str
    width: float
    slices: Sequence[str]
    series: Sequence[str]
    bars: Sequence[Bar]
    lines: Sequence[Line]
    rows: Sequence[tuple[str, Sequence[str]]]
    moments: Sequence[datetime] = ()

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to draw."""
        return not self.bars and not any(line.path for line in self.lines)


def bar_chart(
    title: str, slices: Sequence[str], series: Sequence[Series], words: Callable[[float], str]
) -> Chart:
    """Return a chart of stacked bars, the first series at the bottom."""
    totals = [sum(one.values[index] or 0 for one in series) for index in range(len(slices))]
    top = nice_ceiling(max(totals, default=0))
    bars = []
    for index, slice_name in enumerate(slices):
        y = HEIGHT
        for number, one in enumerate(series, start=1):
            value = one.values[index]
            if not value:
                continue
            height = max(_LEAST_BAR, HEIGHT * value / top)
            y = max(0.0, y - height)
            bars.append(
                Bar(
                    x=round(index * SLICE_WIDTH + _GAP / 2, 2),
                    y=round(y, 2),
                    width=SLICE_WIDTH - _GAP,
                    height=round(height, 2),
                    series=number,
                    words=f"{slice_name}, {one.name}: {words(value)}",
                    index=index,
                )
            )
    return _chart(title, slices, series, words, top, bars=bars)


def line_chart(
    title: str, slices: Sequence[str], series: Sequence[Series], words: Callable[[float], str]
) -> Chart:
    """Return a chart of lines, interrupted where there is no value."""
    known = [value for one in series for value in one.values if value is not None]
    top = nice_ceiling(max(known, default=0))
    lines = [Line(_path(one.values, top), number) for number, one in enumerate(series, start=1)]
    return _chart(title, slices, series, words, top, lines=lines)


def nice_ceiling(value: float) -> float:
    """Return the next 1, 2 or 5 times a power of ten, where an axis may end; 1 for zero."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    # A value read back from a float4 may lie a hair above the edge it means.
    steps = (step * power for step in (1, 2, 5, 10))
    return next(step for step in steps if value <= step * (1 + 1e-6))


def _path(values: Sequence[float | None], top: float) -> str:
    commands = []
    is_drawing = False
    for index, value in enumerate(values):
        if value is None:
            is_drawing = False
            continue
        x, y = (index + 0.5) * SLICE_WIDTH, HEIGHT * (1 - value / top)
        is_alone = not is_drawing and (index + 1 == len(values) or values[index + 1] is None)
        if is_alone:  # a line of one point would not be seen
            commands.append(f"M{x - _LEVEL / 2:g} {y:.2f}h{_LEVEL:g}")
        else:
            commands.append(f"{'L' if is_drawing else 'M'}{x:g} {y:.2f}")
        is_drawing = True
    return "".join(commands)


def _chart(  # noqa: PLR0913 - the parts of a chart
    title: str,
    slices: Sequence[str],
    series: Sequence[Series],
    words: Callable[[float], str],
    top: float,
    *,
    bars: Sequence[Bar] = (),
    lines: Sequence[Line] = (),
) -> Chart:
    rows = [
        (
            name,
            [words(value) if (value := one.values[index]) is not None else "–" for one in series],
        )
        for index, name in enumerate(slices)
    ]
    return Chart(
        title=title,
        top=words(top),
        width=len(slices) * SLICE_WIDTH,
        slices=slices,
        series=[one.name for one in series],
        bars=bars,
        lines=lines,
        rows=rows,
    )
