"""The history of figures: every number of a run is kept, and a slide is seen."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import history
from rich.console import Console

if TYPE_CHECKING:
    from pathlib import Path


def test_every_number_is_kept_and_the_last_is_compared_with_those_before(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    for ratio in (4.0, 4.2, 2.0):
        measured = {"ours_per_baseline": {"/": ratio}, "ok": True, "all_rounds": {"/": [1, 2]}}
        history.append("dashboard", measured, to=file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["figures"] for line in lines] == [
        {"ours_per_baseline / /": ratio} for ratio in (4.0, 4.2, 2.0)
    ]
    assert {line["programme"] for line in lines} == {"dashboard"}
    assert all(line["commit"] and line["machine"] for line in lines)
    console = Console(width=200, record=True)
    console.print(history.chart(of=file))
    drawn = console.export_text()
    assert "▇█▁" in drawn
    assert "0.49" in drawn  # 2.0 over the median of 4.0 and 4.2


def test_a_flat_series_is_drawn_flat() -> None:
    assert history.sparkline([3.0, 3.0]) == "▁▁"
