"""The documents for users say what the program does: settings, exit codes, commands, links.

Run as a program, this file brings the tables of `docs/operations.md` up to date.
"""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from app.cli.commands import COMMANDS
from app.cli.exit_codes import MEANINGS, ExitCode
from app.core.config import Settings

ROOT = Path(__file__).parents[3]
HOW_TO_MEND = "Run .venv/bin/python backend/tests/integration/test_cli_documentation.py"
OPERATIONS = ROOT / "docs" / "operations.md"
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]
DEFAULT_FACTORIES = {
    "jira_sites": "-",
    "data_dir": "`$XDG_DATA_HOME/session-tasks`, else `~/.local/share/session-tasks`",
}


def _table_below(mark: str) -> str:
    """The table that follows the comment which begins with `mark`."""
    _, _, rest = OPERATIONS.read_text().partition(f"<!-- {mark}:")
    lines = rest.partition("-->\n")[2].lstrip("\n").splitlines()
    table = []
    for line in lines:
        if not line.startswith("|"):
            break
        table.append(line)
    return "\n".join(table)


def _default(name: str) -> str:
    default = Settings.model_fields[name].default
    if default is PydanticUndefined:
        return DEFAULT_FACTORIES[name]
    if default is None or default == "":
        return "-"
    if isinstance(default, Enum):
        default = default.value
    return f"`{str(default).lower()}`" if isinstance(default, bool) else f"`{default}`"


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        assert field.description, f"{name} needs a description in config.py"
        rows.append(f"| `{name.upper()}` | {_default(name)} | {field.description} |")
    return "\n".join(rows)


def exit_code_table() -> str:
    rows = ["| code | means |", "|---|---|"]
    rows += [f"| {int(code)} | {meaning} |" for code, meaning in MEANINGS.items()]
    return "\n".join(rows)


def test_the_table_of_settings_is_that_of_the_code() -> None:
    assert _table_below("settings") == settings_table(), HOW_TO_MEND


def test_the_table_of_exit_codes_is_that_of_the_code() -> None:
    assert set(MEANINGS) == set(ExitCode)
    assert _table_below("exit codes") == exit_code_table(), HOW_TO_MEND


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(document: Path) -> None:
    text = document.read_text()
    links = re.findall(r"\]\((?!https?:)([^)#]+)(#[^)]+)?\)", text)
    for target, anchor in links:
        path = (document.parent / target).resolve()
        assert path.exists(), f"{document.name} links to {target}, which is not there"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            anchors = {
                re.sub(r"[^\w -]", "", h).strip().lower().replace(" ", "-") for h in headings
            }
            assert anchor[1:] in anchors, f"{document.name}: no heading {anchor} in {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_row_of_a_table_stands_below_its_header(document: Path) -> None:
    """An empty line within a table ends it: the rows below are shown as text."""
    tables = re.findall(r"(?:^\|.*\n)+", document.read_text(), re.MULTILINE)
    for table in tables:
        assert re.match(r".*\n\|[-:| ]+\|\n", table), f"{document.name}: {table[:80]}"


def _commands() -> set[str]:
    names = set()
    for name, command in COMMANDS.items():
        inner = getattr(command.load(name), "commands", None)
        names |= {f"{name} {sub}" for sub in inner} if inner else {name}
    return names


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    commands = _commands()
    firsts = {name.split()[0] for name in commands}
    code = re.findall(
        r"`session-tasks( [^`]*)`|^\$ session-tasks( .*)$", document.read_text(), re.MULTILINE
    )
    for words in (" ".join(pair).split() for pair in code):
        named = [word for word in words if not word.startswith("-")]
        if named:
            assert named[0] in firsts, f"{document.name} names session-tasks {named[0]}"


def test_every_file_of_the_three_walks_exists() -> None:
    named = set(re.findall(r"[a-z_]+/[a-z_]+\.py", (ROOT / "docs" / "understand.md").read_text()))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / "backend" / "app" / name).is_file()] == []


def test_every_command_is_in_the_changelog() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    missing = [name for name in _commands() if f"`{name}`" not in text]
    assert not missing


def write_tables() -> None:
    """Put the tables as they should be in place of those that are there."""
    document = OPERATIONS.read_text()
    for mark, table in (("settings", settings_table()), ("exit codes", exit_code_table())):
        document = document.replace(_table_below(mark), table)
    OPERATIONS.write_text(document)


if __name__ == "__main__":
    write_tables()
