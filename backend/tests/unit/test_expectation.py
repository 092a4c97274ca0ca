"""How long is left is said as a range, and only where that says something."""

from __future__ import annotations

import pytest

from app.repositories.statistics import LikelySeconds
from app.web.expectation import left_text


@pytest.mark.parametrize(
    ("low", "high", "elapsed", "said"),
    [
        (10, 20, 2, "8 to 18 s left"),
        (10, 20, 12, "less than 8 s left"),
        (10, 20, 25, "longer than most like it"),
        (30, 150, 0, "30 s to 2 min 30 s left"),
        (0.2, 0.9, 0.1, ""),
    ],
)
def test_time_left_is_a_range(low: float, high: float, elapsed: float, said: str) -> None:
    assert left_text(LikelySeconds(low, high, 9), elapsed) == said
