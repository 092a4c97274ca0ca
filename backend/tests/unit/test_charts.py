"""Charts: every figure is in its place, visible unless zero, and also given as text."""

from __future__ import annotations

import pytest

from app.web.charts import HEIGHT, Series, bar_chart, line_chart, nice_ceiling
from app.web.page import templates


@pytest.mark.parametrize(
    ("value", "ceiling"),
    [(0, 1), (1, 1), (1.01, 2), (3, 5), (7, 10), (10, 10), (11, 20), (0.03, 0.05), (999, 1000)],
)
def test_axis_ends_at_a_round_figure_above_all(value: float, ceiling: float) -> None:
    assert nice_ceiling(value) == pytest.approx(ceiling)


def test_bars_stand_on_each_other_within_the_drawing() -> None:
    chart = bar_chart("T", ["a", "b"], [Series("x", [3, None]), Series("y", [1, 7])], "{:g}".format)
    lower, upper, alone = chart.bars
    assert upper.y == pytest.approx(lower.y - upper.height, abs=0.01)
    assert lower.y + lower.height == pytest.approx(HEIGHT, abs=0.01)
    assert (alone.x > lower.x, alone.series, alone.words) == (True, 2, "b, y: 7")
    assert chart.top == "10"
    assert chart.rows == [("a", ["3", "1"]), ("b", ["–", "7"])]


def test_one_among_thousands_is_still_seen() -> None:
    chart = bar_chart("T", ["a", "b"], [Series("x", [1, 5_000])], "{:g}".format)
    assert chart.bars[0].height >= 1


def test_line_is_broken_where_nothing_is_known_and_a_lone_value_is_a_level_stroke() -> None:
    chart = line_chart("T", list("abcd"), [Series("x", [1, 2, None, 1])], "{:g}".format)
    assert chart.lines[0].path == "M5 50.00L15 0.00M31.5 50.00h7"


def test_chart_without_figures_says_so() -> None:
    for chart in (
        bar_chart("T", ["a"], [Series("x", [0])], str),
        line_chart("T", ["a"], [Series("x", [None])], str),
    ):
        assert chart.is_empty


def test_drawing_escapes_words_and_brings_no_style_of_its_own() -> None:
    chart = bar_chart("<b>", ["<i>"], [Series("<script>", [1])], "{:g}".format)
    html = templates().get_template("charts.html").make_module().chart(chart, "c")
    assert "<script" not in html
    assert "style=" not in html
    assert "<title>&lt;i&gt;, &lt;script&gt;: 1</title>" in html
