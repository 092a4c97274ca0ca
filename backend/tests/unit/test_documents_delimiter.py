"""The delimiter is found by what the header and the rows have in common."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.errors import ConfigurationError, ErrorCategory
from app.tasks.documents.column_names import TITLE_COLUMNS
from app.tasks.documents.delimiter import ONE_COLUMN, choose_delimiter, delimiter_from


def chosen(text: str, *, given: str | None = None, tab_separated: bool = False) -> tuple[str, str]:
    delimiter, start = choose_delimiter(
        text, given=given, is_tab_separated=tab_separated, title_columns=TITLE_COLUMNS
    )
    return delimiter, text[start:]


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b;c\n1;2;3\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ("a|b|c\n1|2|3\n", "|"),
        # decimal commas, which outnumber the semicolons
        ("Name;Preis;Rabatt\nTisch;1,50;0,10\nStuhl;2,25;0,20\n", ";"),
        # a description full of commas
        ("Summary;Description\nFix;one, two, three, four\nTest;a, b\n", ";"),
        ('Summary,Description\nFix,"one; two; three; four; five"\n', ","),
        # a pipe in the header's own words
        ("id,yes|no,note\n1,yes,a\n2,no,b\n", ","),
        # a quoted cell that holds lines of another delimiter
        ('Title;Body\nA;"x,y\nx,y\nx,y\nx,y"\n', ";"),
        # the header's title decides, however ragged the rows
        ("Summary,a;b\n1;2\n3;4\n5;6\n", ","),
        ("\n\na;b\n1;2\n", ";"),
        ("a\r\n", ONE_COLUMN),
        # nobody meant a table here
        ("Summary\nFix a, b and c\nTest d, e\n", ONE_COLUMN),
    ],
)
def test_the_delimiter_that_fits_is_chosen(text: str, delimiter: str) -> None:
    assert chosen(text) == (delimiter, text)


def test_a_tsv_is_tab_separated_where_that_is_possible() -> None:
    assert chosen("a,b\tc,d\n1,2\t3,4\n", tab_separated=True)[0] == "\t"
    assert chosen("a,b\n1,2\n", tab_separated=True)[0] == ","
    assert chosen("a\n1,2\n", tab_separated=True)[0] == "\t"


@pytest.mark.parametrize("line", ["sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
def test_excels_separator_line_is_obeyed_and_left_out(line: str) -> None:
    assert chosen(line + "a;b,c\n1;2,3\n") == (";", "a;b,c\n1;2,3\n")


def test_the_separator_line_may_name_what_is_never_guessed() -> None:
    assert chosen("sep=^\na^b\n1^2\n") == ("^", "a^b\n1^2\n")
    assert chosen("sep=\t\na\tb\n") == ("\t", "a\tb\n")


def test_a_given_delimiter_wins_over_everything() -> None:
    assert chosen("sep=;\na;b\n", given="|") == ("|", "a;b\n")
    assert chosen("a;b\n1;2\n", given="comma") == (",", "a;b\n1;2\n")


@pytest.mark.parametrize(
    ("option", "delimiter"), [("tab", "\t"), ("\\t", "\t"), ("Semicolon", ";"), ("~", "~")]
)
def test_a_delimiter_can_be_given_by_name(option: str, delimiter: str) -> None:
    assert delimiter_from(option) == delimiter


@pytest.mark.parametrize("option", ["", ";;", '"', "\n", " ", "\0"])
def test_what_cannot_separate_cells_is_refused(option: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        delimiter_from(option)
    assert caught.value.category is ErrorCategory.USER_FIXABLE
    assert "tab" in caught.value.next_step


words = st.text(st.characters(categories=["Ll", "Nd"], max_codepoint=0x250), min_size=1, max_size=8)
sentences = st.lists(words, min_size=1, max_size=6).flatmap(
    lambda parts: st.sampled_from([", ", "; ", " | ", " "]).map(lambda joint: joint.join(parts))
)


@given(
    st.sampled_from([",", ";", "\t", "|"]),
    st.integers(2, 6).flatmap(
        lambda width: st.lists(
            st.lists(sentences, min_size=width, max_size=width), min_size=1, max_size=20
        )
    ),
)
def test_what_the_csv_module_wrote_is_read_with_the_delimiter_it_was_written_with(
    delimiter: str, rows: list[list[str]]
) -> None:
    header = ["Summary", *(f"field {number}" for number in range(1, len(rows[0])))]
    written = io.StringIO()
    csv.writer(written, delimiter=delimiter).writerows([header, *rows])
    assert chosen(written.getvalue())[0] == delimiter
