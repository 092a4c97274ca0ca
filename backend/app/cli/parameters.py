"""Arguments and options that several commands share, declared once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from app.cli.completion import offer_sessions
from app.presentation.labels import OPTION_FLAGS
from app.values.options import BodyFormat, TooLong

SessionId = Annotated[
    str,
    typer.Argument(
        metavar="ID",
        help="The session's id, or enough of its first characters to identify it.",
        autocompletion=offer_sessions,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        "--out", metavar="DIR", help="Write the import files below this directory.", dir_okay=True
    ),
]
AsJson = Annotated[
    bool,
    typer.Option("--json", help="Write one JSON document to standard output, for scripts."),
]
To = Annotated[
    str | None,
    typer.Option(
        "--to",
        metavar="jira[:NAME]",
        help="Create the issues, too: in the Jira site of the settings, or the one of this name.",
    ),
]
Project = Annotated[
    str | None,
    typer.Option("--project", metavar="KEY", help="The Jira project's key, as in KEY-123."),
]
IssueType = Annotated[
    str | None,
    typer.Option("--issue-type", metavar="NAME", help="An issue type of the project: Task, Bug …"),
]
SplitLevel = Annotated[
    int | None,
    typer.Option(
        "--split-level",
        metavar="LEVEL",
        min=1,
        max=3,
        help="Markdown: one ticket per heading of this level or above, not one per file.",
    ),
]
TitleColumn = Annotated[
    str | None,
    typer.Option(
        "--title-column",
        metavar="NAME",
        help="Tables: the column of the titles, if it has no usual name.",
    ),
]
BodyColumn = Annotated[
    str | None,
    typer.Option(
        "--body-column",
        metavar="NAME",
        help="Tables: the column of the descriptions, if it has no usual name.",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHAR",
        help="CSV: what separates cells, if not detected; a character or its name.",
    ),
]
BodyFormatOption = Annotated[
    BodyFormat | None,
    typer.Option("--body-format", help="Tables: the markup of the descriptions, if not detected."),
]
Sheet = Annotated[
    str | None,
    typer.Option("--sheet", metavar="NAME", help="Workbooks: the sheet to read, not all of them."),
]
BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        help="The base address of relative links and pictures; without it they become text.",
    ),
]
TooLongOption = Annotated[
    TooLong | None,
    typer.Option(
        "--too-long",
        help="Descriptions longer than Jira takes: refuse them, split them into several tickets, or"
        " cut them.",
    ),
]
ParentType = Annotated[
    str | None,
    typer.Option(
        "--parent-type",
        metavar="NAME",
        help="The issue type of tickets with others below them: with --split-level, of the highest"
        " headings.",
    ),
]
ColumnMap = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="Read a column as a field of Jira; without FIELD, leave it out; with FILE: before "
        "it, of this file only. May be repeated.",
    ),
]
DayFirst = Annotated[
    bool | None,
    typer.Option(
        "--day-first/--month-first",
        help="Read 03/04/2026 as 3 April, or as 4 March; without either it is left unchanged.",
        show_default=False,
    ),
]


_CORRECTIONS = {"split_level": "--split-level 2", "too_long": "--too-long split"}
"""Options with a value that corrects the failure, whatever the document is."""


def correcting_flag(name: str) -> str:
    """Return the option with a value that corrects a failure: `--too-long split`."""
    return _CORRECTIONS.get(name) or option_flag(name)


def option_flag(name: str) -> str:
    """Return the command line option of a session option: `--title-column NAME`."""
    return OPTION_FLAGS.get(name, name)
