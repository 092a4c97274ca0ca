"""No cell of a CSV that we write begins a formula, and every cell can be read again."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.core.spreadsheet import csv_line

FORMULA = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"


@pytest.mark.parametrize("character", FORMULA)
def test_what_could_begin_a_formula_follows_an_apostrophe(character: str) -> None:
    line = csv_line([f"{character}cmd|' /C calc'!A1", "5 - 3", -5, ""])
    assert next(csv.reader(io.StringIO(line, newline=""))) == [
        f"'{character}cmd|' /C calc'!A1", "5 - 3", "'-5", "",
    ]  # fmt: skip


@example(cells=["a", ';"='])
@given(cells=st.lists(st.text(st.sampled_from(f'ab;,"{FORMULA}'), max_size=8), min_size=1))
def test_no_region_splits_a_line_into_a_formula(cells: list[str]) -> None:
    line = csv_line(cells)
    for delimiter in ",;\t":
        for row in csv.reader(io.StringIO(line, newline=""), delimiter=delimiter):
            assert not [cell for cell in row if cell.startswith(tuple("=+-@"))]
