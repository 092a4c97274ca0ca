"""A CSV becomes a table whatever its form, or an error that names the next step."""

from __future__ import annotations

import csv
import threading
import time
import tracemalloc
from typing import Any

import pytest

from app.core.errors import DocumentError
from app.tasks.documents.csv_table import Table, read_csv


def table_of(text: str, *, name: str = "issues.csv", **options: Any) -> Table:
    limits = {"max_rows": 1000, "max_columns": 100}
    return read_csv(name, text, **(limits | options))


def rows_of(text: str, **options: Any) -> list[tuple[int, list[str]]]:
    table = table_of(text, **options)
    rows = list(table.rows)
    assert len(rows) == table.row_count
    return rows


@pytest.mark.parametrize(
    ("header", "title", "body"),
    [
        ("Key,SUMMARY,Description", 1, 2),
        ("name,title,summary,body,description", 2, 4),
        ("name,title", 1, None),
        ("Body, Name ", 1, 0),
        ('"Summary","Body"', 0, 1),
        ('"Sum\nmary",Title', 1, None),
    ],
)
def test_the_usual_names_are_found_in_any_case_and_in_their_order(
    header: str, title: int, body: int | None
) -> None:
    table = table_of(f"{header}\n1,2,3,4,5\n")
    assert (table.title, table.body) == (title, body)


def test_columns_can_be_asked_for_in_any_case() -> None:
    table = table_of("Id,What to do,Why\n1,2,3\n", title_column="what TO do", body_column=" why ")
    assert (table.title, table.body) == (1, 2)


def test_without_a_title_column_the_error_lists_the_columns_and_asks_for_the_option() -> None:
    with pytest.raises(DocumentError) as caught:
        table_of("Id,Grund\n1,2\n")
    assert "“Id”, “Grund”" in caught.value.message
    assert caught.value.options == ("title_column",)
    assert caught.value.name == "issues.csv"


@pytest.mark.parametrize("option", ["title_column", "body_column"])
def test_an_unknown_column_is_an_error_that_lists_the_columns(option: str) -> None:
    with pytest.raises(DocumentError, match=r"“Nope”.*“Summary”, “Id”") as caught:
        table_of("Summary,Id\n1,2\n", **{option: "Nope"})
    assert caught.value.options == (option,)


def test_a_long_list_of_columns_is_cut_short() -> None:
    header = ",".join(f"{number}" + "x" * 500 for number in range(90))
    with pytest.raises(DocumentError, match="and 60 more") as caught:
        table_of(header + "\n1\n")
    assert len(caught.value.message) < 2000


def test_rows_are_numbered_from_one_and_blank_ones_are_not_counted() -> None:
    text = "\n , \nname,b\n\n1,x\n,\n \n2,y\n\r\n"
    assert rows_of(text) == [(1, ["1", "x"]), (2, ["2", "y"])]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_line_end_is_one(line_end: str) -> None:
    text = line_end.join(["name,b", "1,2", f'"3{line_end}4",5'])
    assert rows_of(text) == [(1, ["1", "2"]), (2, [f"3{line_end}4", "5"])]


def test_separators_of_other_alphabets_end_no_line() -> None:
    assert rows_of("name,b\nx\u2028y\x0bz\x85,2\n") == [(1, ["x\u2028y\x0bz\x85", "2"])]


def test_rows_can_be_read_again() -> None:
    table = table_of("name\nA\nB\n")
    assert list(table.rows) == list(table.rows)


def test_ragged_rows_are_kept_as_they_are_and_the_longer_ones_counted() -> None:
    table = table_of("name,b,c\n1\n1,2,3,4\n1,2,3,,,\n1,2,3,,5\n")
    assert [len(cells) for _, cells in table.rows] == [1, 4, 6, 5]
    assert (table.longer_rows, table.first_longer_row) == (2, 2)
    assert table.column_name(4) == "column 5"


def test_columns_without_a_name_get_their_number() -> None:
    assert table_of("name,,c,\n1,2,3,4\n").header == ("name", "column 2", "c", "column 4")


def test_repeated_names_stay() -> None:
    assert table_of("Summary,Labels,Labels\n1,2,3\n").header == ("Summary", "Labels", "Labels")


def test_a_cell_may_be_as_long_as_the_document() -> None:
    long = "x" * 1_000_000
    assert rows_of(f'name,b\n1,"{long}"\n') == [(1, ["1", long])]


def test_no_thread_lowers_the_limit_of_cells_under_another() -> None:
    text = 'name,b\n1,"' + "y" * 300_000 + '"\n'
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(20):
                rows_of(text)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            failures.append(error)

    csv.field_size_limit(131_072)  # the module's default
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("text", ["name,b\n", "name", "name\n\n \n"])
def test_a_header_alone_is_refused(text: str) -> None:
    with pytest.raises(DocumentError, match="no rows"):
        table_of(text)


def test_commas_alone_are_no_header() -> None:
    with pytest.raises(DocumentError, match="no header"):
        table_of(",,,\n,,\n")


@pytest.mark.parametrize(
    ("text", "row", "line"),
    [
        ('name,b\n1,2\n3,"4\n5,6\n7,8', 2, 3),
        ('name,b\n"1\n2",3\n"', 2, 4),
        ('name,"b\n1,2\n', None, 1),
        ('sep=,\nname,b\n1,"', 1, 3),
    ],
)
def test_a_quote_that_never_closes_is_an_error_that_says_where(
    text: str, row: int | None, line: int
) -> None:
    with pytest.raises(DocumentError, match=rf"line {line}\b.*never closed") as caught:
        table_of(text)
    assert caught.value.row == row
    assert '""' in caught.value.next_step


def test_quotes_within_a_cell_are_read_leniently() -> None:
    text = 'name,b\n5" disk,a"b"\n"x"y,"he said ""no"""\n'
    assert rows_of(text) == [(1, ['5" disk', 'a"b"']), (2, ["xy", 'he said "no"'])]


def test_too_many_rows_are_refused_before_any_is_given() -> None:
    with pytest.raises(DocumentError, match="more than 3 rows") as caught:
        table_of("name\n1\n\n2\n3\n4\n", max_rows=3)
    assert "SESSION_TASKS_MAX_ROWS" in caught.value.next_step
    assert len(rows_of("name\n1\n\n2\n3\n", max_rows=3)) == 3


WIDE = {
    "header": ("name,b,c,d\n1\n", None),
    "quoted header": ('name,"b\n",c,d\n1\n', None),
    "row": ("name,b\n1\n1,2,3,4\n", 2),
    "quoted row": ('name,b\n1\n"1",",,","3","4"\n', 2),
    "row over lines": ('name,b\n1\n"1\n","2\n","3\n","4\n"\n', 2),
    "empty cells": ("name,b\n1\n1,,,\n", 2),
    "only commas": (",,,\n", None),
}


@pytest.mark.parametrize(("text", "row"), WIDE.values(), ids=WIDE)
def test_too_many_columns_are_refused(text: str, row: int | None) -> None:
    with pytest.raises(DocumentError, match="more than 3 columns") as caught:
        table_of(text, max_columns=3)
    assert "SESSION_TASKS_MAX_COLUMNS" in caught.value.next_step
    assert caught.value.row == row


@pytest.mark.parametrize(
    "text",
    [
        "name,b,c\n1,2,3\n",
        'name,b\n"a,b,c,d,e","f,g,h,i"\n',
        'name,b\n"a,b,\n,,c,d,\n,,""e,,,"x,"f,g,h,i"\n',
        'name,b\n5" x,"a,b,c,d,e"\n',
    ],
)
def test_delimiters_within_quotes_are_no_columns(text: str) -> None:
    assert len(rows_of(text, max_columns=3)) == 1


@pytest.mark.parametrize(
    "text",
    [
        ",".join(f"column{number}" for number in range(1_000_000)) + "\n1\n",
        "name,b\n" + '"a",' * 2_000_000 + "\n",
        "name,b\n" + '"\n",' * 1_000_000 + "\n",
        "," * 10_000_000,
        'name,b\n1,"' + "," * 2_000_000 + '"\n' + '"ab",' * 1_500_000 + "\n",
    ],
    ids=["header", "row", "row over lines", "only commas", "row after many quoted commas"],
)
def test_a_million_columns_are_refused_quickly_and_never_built(text: str) -> None:
    started = time.process_time()
    with pytest.raises(DocumentError, match="columns"):
        table_of(text, max_columns=1000, max_rows=100_000)
    assert time.process_time() - started < 2
    tracemalloc.start()
    try:
        with pytest.raises(DocumentError):
            table_of(text, max_columns=1000, max_rows=100_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(text) + 20_000_000  # a million cells take 60 MB and more


def test_a_tree_of_titles_is_read_as_one_column_with_parents() -> None:
    text = (
        "ID,Work Item Type,Title 1,Title 2,Title 3,State\n"
        "1,Epic,Shop,,,New\n"
        "2,Feature,,Cart,,New\n"
        "3,Story,,,Pay,New\n"
        "4,Story,,,Ship\n"
        "5,Feature,,Search,,New\n"
        "6,Epic,Help,,,New\n"
        "7,Story,,,Alone,New\n"
    )
    table = read_csv("tree.csv", text, max_rows=100, max_columns=100)
    assert table.header == ("ID", "Work Item Type", "Title", "State", "Parent")
    for _ in range(2):
        rows = [cells for _, cells in table.rows]
        assert [(cells[table.title], cells[-1]) for cells in rows] == [
            ("Shop", ""), ("Cart", "1"), ("Pay", "2"), ("Ship", "2"), ("Search", "1"),
            ("Help", ""), ("Alone", ""),
        ]  # fmt: skip
    assert rows[3] == ["4", "Story", "Ship", "", "2"]


def test_a_tree_that_names_its_parents_gets_no_others() -> None:
    text = "ID,Title 1,Title 2,Parent\n1,Shop,,\n2,,Cart,9\n"
    table = read_csv("tree.csv", text, max_rows=100, max_columns=100)
    assert table.header == ("ID", "Title", "Parent")
    assert [cells for _, cells in table.rows] == [["1", "Shop", ""], ["2", "Cart", "9"]]
    chosen = read_csv("tree.csv", text, title_column="Title 2", max_rows=100, max_columns=100)
    assert chosen.header == ("ID", "Title 1", "Title 2", "Parent")
