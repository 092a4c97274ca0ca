"""Read cells as the values that Jira takes: dates, estimates, labels, users."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

DEFAULT_PRIORITIES = ("Highest", "High", "Medium", "Low", "Lowest")
OTHER_PRIORITIES = {
    "blocker": "Highest", "critical": "Highest", "show-stopper": "Highest",
    "immediate": "Highest", "urgent": "Highest",
    "major": "High", "important": "High", "normal": "Medium", "moderate": "Medium",
    "minor": "Low", "trivial": "Lowest",
    "1": "Highest", "2": "High", "3": "Medium", "4": "Low", "5": "Lowest",
    "p0": "Highest", "p1": "High", "p2": "Medium", "p3": "Low", "p4": "Lowest",
    "sehr hoch": "Highest", "höchste": "Highest", "niedrigste": "Lowest",
    "hoch": "High", "mittel": "Medium", "niedrig": "Low",
}  # fmt: skip
"""Other programs' priorities, and those of older Jira, by the names of Jira's default five."""

NO_PRIORITIES = frozenset(("no priority", "none", "0", "-"))

FORMULA_ERRORS = frozenset({
    "#N/A", "#REF!", "#DIV/0!", "#NAME?", "#VALUE!", "#NUM!", "#NULL!", "#SPILL!", "#CALC!",
})  # fmt: skip
"""What spreadsheets show for a formula that came to nothing."""

OTHER_ISSUE_TYPES = {
    "user story": "Story", "product backlog item": "Story", "requirement": "Story",
    "subtask": "Sub-task", "sub task": "Sub-task", "unteraufgabe": "Sub-task",
    "fehler": "Bug", "aufgabe": "Task", "defect": "Bug", "support": "Task",
}  # fmt: skip
"""Other programs' issue types, by the names of Jira's default ones."""

LONGEST_LABEL = 255

_MONTHS = {
    month: number
    for number, names in enumerate(
        (
            "jan january januar jänner janv janvier ene enero janeiro gen gennaio januari",
            "feb february februar febr févr fév février febrero fev fevereiro febbraio februari",
            "mar march mär märz mrz mars marzo março maart mrt",
            "apr april avr avril abr abril aprile",
            "may mai mayo maio mag maggio mei",
            "jun june juni juin junio junho giu giugno",
            "jul july juli juil juillet julio julho lug luglio",
            "aug august août ago agosto augustus",
            "sep sept september septembre septiembre set setembro settembre",
            "oct october okt oktober octobre octubre out outubro ott ottobre",
            "nov november novembre noviembre novembro",
            "dec december dez dezember déc décembre dic diciembre dezembro dicembre",
        ),
        start=1,
    )
    for month in names.split()
}
_TIME = r"(?:[T ,]+(?:at +)?\d{1,2}(?::\d\d.*| ?[ap]m))?"
_ZONE = r"(?: ?(?:Z|[+-]\d\d:?\d\d))?"
_YEAR_FIRST = re.compile(
    rf"(\d{{4}})(?:[-/年]|\. ?)(\d{{1,2}})(?:[-/月]|\. ?)(\d{{1,2}})[日.]?(?:{_TIME}|{_ZONE})",
    re.IGNORECASE,
)
_NAMED_YEAR_FIRST = re.compile(
    rf"(\d{{4}})[-/ .]+([^\W\d_]+)\.?[-/ ]+(\d{{1,2}})\.?(?:{_TIME}|{_ZONE})", re.IGNORECASE
)
_NAMED_DAY_FIRST = re.compile(
    rf"(?:\w+,? +)?(\d{{1,2}})(?:st|nd|rd|th|\.)?[-/ .]+(?:de +)?([^\W\d_]+)\.?[-/ ,]*(?:de +)?"
    rf"(\d{{4}}|\d\d){_TIME}",
    re.IGNORECASE,
)
_NAMED_MONTH_FIRST = re.compile(
    rf"(?:[^\W\d_]+\.?,? +)?([^\W\d_]+)\.?[- ]+(\d{{1,2}})(?:st|nd|rd|th)?(?:,? +|-)"
    rf"(?:[\d:]+ (?:[A-Z]{{3,5}} )?)?(\d{{4}}){_TIME}",
    re.IGNORECASE,
)
_DOTS = re.compile(rf"(?:[^\W\d_]+\.?,? +)?(\d{{1,2}})\. ?(\d{{1,2}})\. ?(\d{{4}}|\d\d){_TIME}")
_SLASHES = re.compile(rf"(\d{{1,2}})[/-](\d{{1,2}})[/-](\d{{4}}|\d\d){_TIME}")
_ORDERS = (
    (_YEAR_FIRST, 1, 2, 3),
    (_NAMED_YEAR_FIRST, 1, 2, 3),
    (_DOTS, 3, 2, 1),
    (_NAMED_DAY_FIRST, 3, 2, 1),
    (_NAMED_MONTH_FIRST, 3, 1, 2),
)
"""Ways to write a date that can be read one way only: where year, month and day stand."""

_WEEK = re.compile(r"\d{4}-?W\d\d")
"""It has seven days; `2026-W52-4` is a date."""

_SERIAL = re.compile(r"\d{5}(?:[.]\d+)?")
_SERIALS_BEGIN = date(1899, 12, 30)
_YEARS_OF_SERIALS = range(2000, 2100)

_EPOCH = re.compile(r"\d{10}|\d{13}")
_MILLISECONDS_FROM = 10**12


@dataclass(frozen=True, slots=True)
class AmbiguousDate:
    """A date that two orders read differently."""

    day_first: date
    month_first: date


def read_date(text: str, *, day_first: bool | None = None) -> date | AmbiguousDate | None:
    """Return the date that a text is; None where it is none.

    `03/04/2026` is ambiguous unless `day_first` decides; `24.12.2026` has its day first anyway.
    A time after the date is not looked at, as it names no zone that the date could be read in.
    """
    text = text.rpartition("→")[2].strip()  # the end of a range of Notion
    if match := _SLASHES.fullmatch(text):
        return _slashed(match, day_first)
    for pattern, year, month, day in _ORDERS:
        if match := pattern.fullmatch(text):
            return _date(match[year], _month(match[month]), match[day])
    if _EPOCH.fullmatch(text):
        seconds = int(text) / (1000 if int(text) >= _MILLISECONDS_FROM else 1)
        return datetime.fromtimestamp(seconds, UTC).date()
    try:
        return None if _WEEK.fullmatch(text) else datetime.fromisoformat(text).date()
    except ValueError:
        return None


def read_serial_date(text: str) -> date | None:
    """Return the date that a number is in Excel, which counts days since 1900; None if it is none.

    Numbers of this century only: others are hardly dates.
    """
    if not _SERIAL.fullmatch(text.strip()):
        return None
    day = _SERIALS_BEGIN + timedelta(days=int(float(text)))
    return day if day.year in _YEARS_OF_SERIALS else None


def _slashed(match: re.Match[str], day_first: bool | None) -> date | AmbiguousDate | None:
    by_day = _date(match[3], int(match[2]), match[1])
    by_month = _date(match[3], int(match[1]), match[2])
    if by_day is None or by_month is None or by_day == by_month:
        return by_day or by_month
    if day_first is None:
        return AmbiguousDate(by_day, by_month)
    return by_day if day_first else by_month


def _month(name: str) -> int:
    return int(name) if name.isdigit() else _MONTHS.get(name.casefold(), 0)


def _date(year: str, month: int, day: str) -> date | None:
    whole_year = int(year) + (2000 if len(year) == 2 else 0)  # noqa: PLR2004 - 26 is 2026
    try:
        return date(whole_year, month, int(day))
    except ValueError:
        return None


_ESTIMATE = re.compile(r"(?:\d+(?:\.\d+)? ?[wdhm] ?)+", re.IGNORECASE)
_WORDS = re.compile(r"(\d+(?:[.,]\d+)?) ?(weeks?|days?|hours?|hrs?|minutes?|mins?)", re.IGNORECASE)
_CLOCK = re.compile(r"(\d+):(\d\d)(?::\d\d)?")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)?")


def read_estimate(text: str, *, seconds_in_unit: float | None = None) -> str | None:
    """Return an estimate as Jira writes it (`3d 4h`); None where it is none.

    A bare number means something only where its unit is known: `seconds_in_unit`.
    """
    text = " ".join(text.split())
    if _ESTIMATE.fullmatch(text):
        return " ".join(re.sub(r"([wdhm])", r"\1 ", text.lower().replace(" ", "")).split())
    spelled = _WORDS.findall(text)
    if spelled and not _WORDS.sub("", text).replace(",", "").replace("and", "").strip():
        return " ".join(f"{number.replace(',', '.')}{unit[0].lower()}" for number, unit in spelled)
    if match := _CLOCK.fullmatch(text):
        return _in_minutes(int(match[1]) * 60 + int(match[2]))
    if seconds_in_unit is not None and _NUMBER.fullmatch(text):
        return _in_minutes(round(float(text.replace(",", ".")) * seconds_in_unit / 60))
    return None


def _in_minutes(minutes: int) -> str | None:
    hours, rest = divmod(minutes, 60)
    return (
        " ".join(f"{count}{unit}" for count, unit in ((hours, "h"), (rest, "m")) if count) or None
    )


def read_number(text: str) -> float | int | None:
    """Return the number that a text is, as JSON would have it; None where it is none."""
    plain = text.strip().replace(",", ".") if re.fullmatch(r"\s*-?\d+,\d+\s*", text) else text
    try:
        number = float(plain.strip().replace("_", "x"))
    except ValueError:
        return None
    if number != number or number in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return None
    return int(number) if number.is_integer() else number


_BETWEEN_NAMES = re.compile(r"[,;\n\r]+")


def split_names(text: str) -> list[str]:
    """Return the names that a cell lists: comma, semicolon or line separated, or as JSON."""
    text = text.strip()
    if text.startswith("{") and text.endswith("}") and (listed := _json_names(f"[{text}]")):
        return listed
    if text.startswith("[") and text.endswith("]"):
        listed = _json_names(text)
        if listed is not None:
            return listed
        text = text[1:-1]
    names = (" ".join(part.split()) for part in _BETWEEN_NAMES.split(text))
    return list(dict.fromkeys(name for name in names if name))


def _json_names(text: str) -> list[str] | None:
    try:
        items = json.loads(text)
    except ValueError:
        return None
    names = [_name_of(item) if isinstance(item, dict) else item for item in items]
    return [" ".join(str(name).split()) for name in names if name not in {None, ""}]


def _name_of(item: dict[str, object]) -> object:
    return next((item[key] for key in ("name", "login", "title") if key in item), None)


def make_label(name: str) -> str:
    """Return a name as a label: Jira takes no blanks in one."""
    return "-".join(name.split())


_PERSON = re.compile(r"(.*?)\s*<([^<>@\s]+@[^<>\s]+)>")
_ACCOUNT_ID = re.compile(
    r"[0-9a-f]{24}|\d+:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|qm:[\w-]+:[\w:-]+"
)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone that a cell names: by account id, by email address, or by name."""

    text: str
    account_id: str = ""
    email: str = ""
    name: str = ""


def read_person(text: str) -> Person:
    """Return the person that a cell names.

    By `Ann Other <ann@example.com>`, by an address, an account id or a name.
    """
    text = " ".join(text.split())
    if _ACCOUNT_ID.fullmatch(text):
        return Person(text, account_id=text)
    if match := _PERSON.fullmatch(text):
        return Person(text, email=match[2], name=match[1].strip('"'))
    if "@" in text[1:] and " " not in text:
        return Person(text, email=text)
    return Person(text, name=text.lstrip("@"))
