"""Real files, from packages that others test their readers with, and the ones in `examples/`."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema_rs
import pytest

import app.tasks.adf
from app.core.errors import DocumentError
from app.tasks.documents.csv_table import read_csv
from app.tasks.documents.decoding import decode
from app.tasks.documents.delimiter import choose_delimiter
from app.tasks.documents.tickets import TicketOptions, tickets_from

OPTIONS = TicketOptions(max_rows=100_000, max_columns=1000, max_nesting=100)
CSV_FOLDER = Path(__file__).parents[1] / "data" / "csv"
EXAMPLES = Path(__file__).parents[3] / "examples"
CSV_FILES = sorted(
    path
    for folder in ("csvkit", "agate")
    for path in (CSV_FOLDER / folder).iterdir()
    if path.name != "COPYING"
)
BINARIES = {".xls", ".xlsx", ".gz", ".bz2", ".dbf"}
TITLED = {
    "acs2012_5yr_population.csv": 93,
    "foo1.csv": 2,
    "foo2.csv": 2,
    "realdata-README.csv": 3,
    "test_geo.csv": 17,
}


def shown(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def test_the_files_are_there() -> None:
    assert len(CSV_FILES) > 70


@pytest.mark.parametrize("path", CSV_FILES, ids=shown)
def test_a_real_file_gives_tickets_or_a_clear_error(path: Path) -> None:
    name = path.name if path.suffix in {".csv", ".tsv"} else f"{path.name}.csv"
    try:
        document = tickets_from(name, path.read_bytes(), OPTIONS)
    except DocumentError as error:
        assert path.name not in TITLED
        assert name in error.message  # noqa: PT017 - either outcome is right
        assert error.next_step  # noqa: PT017 - as above
    else:
        assert path.suffix not in BINARIES
        assert len(list(document)) == len(document) == TITLED[path.name]


@pytest.mark.parametrize(
    "path",
    [path for path in CSV_FILES if path.suffix not in BINARIES and path.name != "empty.csv"],
    ids=shown,
)
def test_a_real_table_keeps_every_word_once_its_title_column_is_named(path: Path) -> None:
    content = path.read_bytes()
    text = decode(path.name, content).text.replace("\0", "\ufffd")
    delimiter, start = choose_delimiter(
        text, given=None, is_tab_separated=path.suffix == ".tsv", title_columns=()
    )
    records = csv.reader(io.StringIO(text[start:], newline=""), delimiter=delimiter)
    first_column = next(filter(any, records))[0]
    options = TicketOptions(
        max_rows=9**9,
        max_columns=1000,
        max_nesting=100,
        title_column=first_column,
        body_column=first_column,
    )
    try:
        drafts = list(tickets_from(path.name, content, options))
    except DocumentError as error:
        assert "no rows" in error.message  # noqa: PT017 - the only way out
        return
    table = read_csv(path.name, text, title_column=first_column, max_rows=9**9, max_columns=1000)
    assert len(drafts) == table.row_count
    for draft, (number, cells) in zip(drafts, table.rows, strict=True):
        assert draft.source_row == number
        written = f"{draft.title} {_text_of(json.loads(draft.description))}".split()
        for index, cell in enumerate(cells):
            if index != table.title:
                assert set(cell.split()) <= set(written)


def _text_of(node: dict[str, object]) -> str:
    content = node.get("content", [])
    assert isinstance(content, list)
    between = "" if node["type"] == "paragraph" else " "
    return str(node.get("text", "\n")) + between.join(map(_text_of, content))


@pytest.mark.parametrize(
    ("name", "encoding", "delimiter_of_header"),
    [
        ("agate/test_csv_sniff.csv", "utf-8", "number"),
        ("agate/test_cr.csv", "utf-8", "number"),
        ("agate/test_latin1.csv", "windows-1252", "a"),
        ("agate/test_utf16_big.csv", "utf-16-be", "a"),
        ("agate/test_utf16_little.csv", "utf-16-le", "a"),
        ("csvkit/sniff_limit.csv", "utf-8", "a"),
        ("csvkit/dummy.tsv", "utf-8", "a"),
        ("csvkit/mac_newlines.csv", "utf-8", "a"),
        ("csvkit/null_byte.csv", "utf-8", "a"),
        ("csvkit/test_utf8_bom.csv", "utf-8", "foo"),
        ("csvkit/event-notification-rpt-lastmonth.csv", "utf-8", "Event Desc"),
    ],
)
def test_encodings_and_delimiters_of_real_files(
    name: str, encoding: str, delimiter_of_header: str
) -> None:
    path = CSV_FOLDER / name
    decoded = decode(path.name, path.read_bytes())
    assert decoded.encoding == encoding
    table = read_csv(
        path.name,
        decoded.text,
        title_column=delimiter_of_header,
        max_rows=100_000,
        max_columns=1000,
    )
    assert len(table.header) > 2
    assert table.header[0] == delimiter_of_header


def test_a_real_pipe_separated_report_with_unquoted_quotes() -> None:
    content = (CSV_FOLDER / "csvkit" / "event-notification-rpt-lastmonth.csv").read_bytes()
    options = TicketOptions(
        max_rows=100,
        max_columns=100,
        max_nesting=100,
        title_column="Site Name",
        body_column="Event Text",
    )
    document = tickets_from("events.csv", content, options)
    assert len(document) == 72
    assert next(iter(document)).title == "PILGRIM"


@pytest.mark.parametrize(
    "path", sorted([*EXAMPLES.glob("*.md"), *EXAMPLES.glob("*.csv")]), ids=shown
)
def test_the_examples_become_valid_tickets(path: Path) -> None:
    document = tickets_from(path.name, path.read_bytes(), OPTIONS)
    drafts = list(document)
    assert len(drafts) == len(document) > 0
    schema = Path(app.tasks.adf.__file__).parent / "schema" / "adf-full-57.7.22.json"
    validator = jsonschema_rs.validator_for(json.loads(schema.read_text(encoding="utf-8")))
    assert all(validator.is_valid(json.loads(draft.description)) for draft in drafts)
    assert path.name in (EXAMPLES / "SOURCES.txt").read_text(encoding="utf-8")


def test_there_are_examples_of_both_kinds() -> None:
    assert len(list(EXAMPLES.glob("*.md"))) >= 2
    assert len(list(EXAMPLES.glob("*.csv"))) >= 2
