"""The command starts fast: it imports what it needs, and not before."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from app.cli.commands import COMMANDS

HEAVY = {
    "alembic",
    "fastapi",
    "httpx",
    "jsonschema_rs",
    "mammoth",
    "psycopg",
    "pydantic",
    "pydantic_settings",
    "python_calamine",
    "pyromark",
    "rich.progress",
    "sqlalchemy",
    "structlog",
    "turbohtml",
    "uvicorn",
    "yaml",
}
FOR_LISTS = {"psycopg", "pydantic", "pydantic_settings", "sqlalchemy", "structlog"}

_PROGRAM = """
import json, sys
from app.cli.application import run_command
code = run_command(sys.argv[1:])
sys.stderr.write(json.dumps([code, sorted(sys.modules)]))
"""


def _imported_by(*arguments: str) -> set[str]:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    code, modules = json.loads(ended.stderr)
    assert code == 0, ended.stdout
    return HEAVY & set(modules)


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_and_version_import_neither_database_nor_readers(argument: str) -> None:
    assert _imported_by(argument) == set()


def test_the_list_of_sessions_imports_no_document_reader_and_no_server() -> None:
    assert _imported_by("list", "--help") <= FOR_LISTS


def test_a_process_that_runs_handlers_imports_no_tables() -> None:
    """They take 20 MB and half of the time to start (`app.values`)."""
    program = """
import sys
import app.engines.child, app.tasks.adf_validation, app.tasks.export, app.tasks.processing
print([name for name in sys.modules if name in {"sqlalchemy", "app.models"}])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout == "[]\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_the_tree_is_that_of_each_command(name: str) -> None:
    loaded = COMMANDS[name].load(name)
    assert loaded.name == name
    assert (loaded.help or "").splitlines()[0] == COMMANDS[name].help
