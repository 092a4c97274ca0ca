"""Cells as people write them, and the values that Jira takes."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tasks.jira.values import (
    AmbiguousDate,
    make_label,
    read_date,
    read_estimate,
    read_number,
    read_person,
    read_serial_date,
    split_names,
)

CHRISTMAS_EVE = date(2026, 12, 24)


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-24", "2026/12/24", "2026-12-24T10:00:00Z", "2026-12-24 10:00",
        "2026-12-24T10:00:00.000+0100", "24.12.2026", "24.12.26", "24/Dec/26 10:00 AM",
        "24/Dec/2026", "24-Dec-2026", "24 December 2026", "24th December, 2026", "24. Dez. 2026",
        "24/déc./26", "24 de diciembre de 2026", "24 dezembro 2026", "Dec 24, 2026",
        "December 24th, 2026", "12/24/2026", "24/12/2026", "12-24-2026", "Thursday, 24 Dec 2026",
        "Dec 24, 2026, 5:00 PM", "12/24/2026 5:00:00 PM", "2026年12月24日", "1798070400",
        "1798070400000", "Thu Dec 24 2026 00:00:00 GMT+0000 (GMT)", "Do, 24.12.2026",
        "Thursday, December 24, 2026", "12/24/2026 5pm", "20261224", "20261224T101500Z",
        "2026-12-24Z", "2026-12-24+02:00", "2026-12-24 +0200", "2026-W52-4", "2026W524",
        "2026-Dec-24", "2026 December 24", "Dec-24-2026", "Thu Dec 24 10:00:00 UTC 2026",
        "24. 12. 2026", "2026. 12. 24.", "24 Dec 2026", "24. Dezember 2026",
        "Dec 24, 2026 5:00 PM", "Thu, 24 Dec 2026 10:00:00 GMT", "24 dicembre 2026",
        "24 december 2026", "24.12.2026 17:00 Uhr",
    ],
)  # fmt: skip
def test_dates_are_read_in_the_usual_spellings(text: str) -> None:
    assert read_date(text) == CHRISTMAS_EVE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "soon",
        "2026-13-01",
        "30/02/2026",
        "24.12.",
        "Q4",
        "5",
        "1/1",
        "next Monday",
        "46380",
        "2026-W52",
        "20261324",
        "2026-12-24-25",
        "Sprint 24 2026",
    ],
)
def test_what_is_no_date_is_none(text: str) -> None:
    assert read_date(text) is None


def test_numbers_are_days_as_excel_counts_them_within_this_century() -> None:
    assert read_serial_date("46380") == read_serial_date(" 46380.75 ") == CHRISTMAS_EVE
    assert {read_serial_date(text) for text in ("5", "12345", "99999", "46380 days")} == {None}


def test_a_date_of_two_readings_is_ambiguous_until_it_is_decided() -> None:
    assert read_date("03/04/2026") == AmbiguousDate(date(2026, 4, 3), date(2026, 3, 4))
    assert read_date("03/04/2026", day_first=True) == date(2026, 4, 3)
    assert read_date("03/04/2026", day_first=False) == date(2026, 3, 4)
    assert read_date("04/04/2026") == date(2026, 4, 4)
    assert read_date("03.04.2026", day_first=False) == date(2026, 4, 3)


@given(st.dates(date(2000, 1, 1), date(2099, 12, 31)))
def test_every_date_is_read_back(day: date) -> None:
    assert read_date(day.isoformat()) == day
    assert read_date(f"{day:%d/%m/%Y}", day_first=True) == day
    assert read_date(f"{day:%m/%d/%y}", day_first=False) == day
    assert read_date(f"{day:%d %B %Y}") == day


@given(st.text(max_size=40))
def test_no_text_breaks_a_reader(text: str) -> None:
    read_date(text)
    read_estimate(text, seconds_in_unit=3600)
    read_person(text)
    number = read_number(text)
    assert number is None or abs(number) < float("inf")
    assert all(names.strip() for names in split_names(text))
    assert not any(character.isspace() for character in make_label(text))


@pytest.mark.parametrize(
    ("text", "unit", "estimate"),
    [
        ("3d 4h", None, "3d 4h"), ("3D4H", None, "3d 4h"), ("90m", None, "90m"),
        ("1.5h", None, "1.5h"), ("2 hours", None, "2h"), ("1 day, 4 hours", None, "1d 4h"),
        ("1:30", None, "1h 30m"), ("28800", 1, "8h"), ("2,5", 3600, "2h 30m"), ("8", None, None),
        ("0", 1, None), ("soon", 1, None), ("", 1, None),
    ],
)  # fmt: skip
def test_estimates_are_written_as_jira_does(
    text: str, unit: int | None, estimate: str | None
) -> None:
    assert read_estimate(text, seconds_in_unit=unit) == estimate


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("bug, ui", ["bug", "ui"]), ("bug; ui;", ["bug", "ui"]), ("bug\nui", ["bug", "ui"]),
        ("good first issue", ["good first issue"]), ("bug, bug", ["bug"]), (" , ", []),
        ('["bug", "ui"]', ["bug", "ui"]), ('[{"name": "bug"}]', ["bug"]),
        ("[bug,ui]", ["bug", "ui"]),
    ],
)  # fmt: skip
def test_cells_list_names_in_several_ways(text: str, names: list[str]) -> None:
    assert split_names(text) == names


@pytest.mark.parametrize(
    ("text", "account_id", "email", "name"),
    [
        ("Ann Other <ann@example.com>", "", "ann@example.com", "Ann Other"),
        ("ann@example.com", "", "ann@example.com", ""),
        ("5b10a2844c20165700ede21a", "5b10a2844c20165700ede21a", "", ""),
        ("712020:0b3c0f0e-1111-2222-3333-444444444444",
         "712020:0b3c0f0e-1111-2222-3333-444444444444", "", ""),
        ("Ann Other", "", "", "Ann Other"),
        ("@ann", "", "", "ann"),
    ],
)  # fmt: skip
def test_people_are_named_in_several_ways(
    text: str, account_id: str, email: str, name: str
) -> None:
    person = read_person(text)
    assert (person.account_id, person.email, person.name) == (account_id, email, name)


@pytest.mark.parametrize(
    ("text", "number"), [("5", 5), ("2.5", 2.5), ("2,5", 2.5), ("1_000", None), ("nan", None),
                         ("inf", None), ("", None), ("five", None)]
)  # fmt: skip
def test_numbers_are_read(text: str, number: float | None) -> None:
    assert read_number(text) == number
