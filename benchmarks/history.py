"""The history of all figures: a line of `history.jsonl` for each programme that was run.

`python -m benchmarks history` draws them, so that a slide is seen. Only lines of one machine are
compared, and of them only what is a ratio within one run says much.
"""

from __future__ import annotations

import json
import os
import statistics
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.table import Table

from benchmarks.machine import where_this_ran

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HISTORY = Path(__file__).with_name("history.jsonl")
BARS = "▁▂▃▄▅▆▇█"
MOST_DRAWN = 40
LEFT_OUT = {"all_rounds", "size", "seed", "peers"}


def append(programme: str, measured: Mapping[str, Any], *, to: Path = HISTORY) -> None:
    """Add what a programme measured: when, where, of which commit, and every number of it."""
    place = where_this_ran()
    line = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": place["commit"],
        "machine": f"{place['machine']}, Python {place['python']}",
        "load": round(os.getloadavg()[0], 1),
        "programme": programme,
        "figures": dict(_numbers(measured)),
    }
    with to.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _numbers(value: object, path: str = "") -> Iterator[tuple[str, float]]:
    """Every number below `value`, by its path."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, value
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in LEFT_OUT:
                yield from _numbers(item, f"{path} / {name}" if path else str(name))


def chart(machine: str | None = None, *, of: Path = HISTORY) -> Table:
    """Draw every figure of a machine (by default the last line's), the oldest run first.

    The last column is the last value over the median of those before it.
    """
    lines = [json.loads(line) for line in of.read_text(encoding="utf-8").splitlines()]
    machine = machine or (lines[-1]["machine"] if lines else "")
    series: dict[tuple[str, str], list[float]] = {}
    for line in lines:
        if line["machine"] == machine:
            for name, value in line["figures"].items():
                series.setdefault((line["programme"], name), []).append(value)
    table = Table("programme", "figure", "runs", "last", "over the median before", title=machine)
    for (programme, name), values in series.items():
        *before, last = values
        usual = statistics.median(before) if before else 0
        change = f"{last / usual:.2f}" if usual else "–"
        table.add_row(programme, name, sparkline(values[-MOST_DRAWN:]), f"{last:g}", change)
    return table


def sparkline(values: list[float]) -> str:
    """One bar for each value, from the least to the greatest of them."""
    low, high = min(values), max(values)
    step = (high - low) / (len(BARS) - 1)
    return "".join(BARS[round((value - low) / step) if step else 0] for value in values)
