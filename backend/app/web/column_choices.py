"""The choices for each column of a preview, made from the document's own header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.tasks.jira.spellings import FIELDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.tasks.preview import Preview, PreviewColumn, PreviewDocument

MOST_CHOICES = 200
"""The most columns with choices on one page; the others are only listed."""

_NOT_IN_FILES = frozenset(("status",))
_FIELDS = (
    ("summary", "Title"),
    ("description", "Description"),
    *((field.id, field.label) for field in FIELDS if field.id not in _NOT_IN_FILES),
)


@dataclass(frozen=True, slots=True)
class ColumnChoice:
    """A column, and the rules that may be chosen for it.

    Attributes:
        found: its use without a rule.
        choices: (rule, text, whether it is chosen); the first is no rule. None: only shown.

    """

    column: str
    found: str
    choices: tuple[tuple[str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class TableChoices:
    """The columns of one table of a document."""

    name: str
    origin: str
    columns: list[ColumnChoice]


@dataclass(frozen=True, slots=True)
class Columns:
    """All tables, by document; `other_rules` are rules that no list shows, one per line."""

    by_document: dict[str, list[TableChoices]]
    other_rules: str


def columns_of(preview: Preview, rules: Sequence[str]) -> Columns:
    """Return the choices for each column, with the present choice."""
    chosen = set(rules)
    offered: set[str] = set()
    by_document: dict[str, list[TableChoices]] = {}
    for document in preview.documents:
        tables = by_document.setdefault(document.name, [])
        for table in document.tables:
            columns = [
                _choice(document, column, chosen, offered)
                for column in {column.column: column for column in table.columns}.values()
            ]
            tables.append(TableChoices(table.name, table.origin, columns))
    return Columns(by_document, "\n".join(rule for rule in rules if rule not in offered))


def _choice(
    document: PreviewDocument, column: PreviewColumn, chosen: set[str], offered: set[str]
) -> ColumnChoice:
    found = "Left out" if column.is_left_out else column.label or "Text in the description"
    left = f"{document.name}:{column.column}="
    if left in offered or len(offered) >= MOST_CHOICES * (len(_FIELDS) + 1):
        return ColumnChoice(column.column, found, ())
    rules = [*((f"{left}{name}", label) for name, label in _FIELDS), (left, "Left out")]
    offered.update(rule for rule, _label in rules)
    is_ruled = not chosen.isdisjoint(rule for rule, _label in rules)
    first = "As found" if is_ruled else f"{found} (found)"
    options = [("", first, not is_ruled), *((rule, label, rule in chosen) for rule, label in rules)]
    return ColumnChoice(column.column, found, tuple(options))
