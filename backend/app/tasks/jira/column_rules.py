"""Rules that a user sets for columns: `[FILE:]COLUMN=FIELD`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.errors import ConfigurationError, ErrorCategory
from app.tasks.jira.spellings import field_named, folded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

TITLE = "summary"
BODY = "description"
_TITLE_NAMES = frozenset(("summary", "title"))
_BODY_NAMES = frozenset(("description", "body"))


@dataclass(frozen=True, slots=True)
class MapRule:
    """A rule for a column: `[FILE:]COLUMN=FIELD`.

    Attributes:
        file: the document that it applies to; "": all.
        column: its name.
        field: a field's id; `summary` and `description` too; "": the column is left out.

    """

    file: str
    column: str
    field: str

    def holds_for(self, document: str, column: str) -> bool:
        """Return whether it applies to this column of this document."""
        return self.file in {"", document} and folded(self.column) == folded(column)


def read_rules(texts: Iterable[str], documents: Iterable[str]) -> tuple[MapRule, ...]:
    """Return the rules of `--map` for a session of these documents, those for one file first.

    Raises:
        ConfigurationError: one cannot be used (`user_fixable`).

    """
    rules, problems = _read(texts, documents)
    for problem in problems.values():
        raise problem
    return rules


def rule_problems(texts: Iterable[str], documents: Iterable[str]) -> dict[str, ConfigurationError]:
    """Return, by its text, why a rule cannot be read, or that it contradicts an earlier one."""
    return _read(texts, documents)[1]


def _read(
    texts: Iterable[str], documents: Iterable[str]
) -> tuple[tuple[MapRule, ...], dict[str, ConfigurationError]]:
    names = sorted(documents, key=len, reverse=True)
    rules: dict[tuple[str, str], MapRule] = {}
    problems: dict[str, ConfigurationError] = {}
    for text in texts:
        try:
            rule = _rule(text, names)
            if rules.setdefault((rule.file, folded(rule.column)), rule).field != rule.field:
                raise _unusable(
                    f"Two rules say what “{rule.column}” becomes",
                    "Choose one field for each column.",
                )
        except ConfigurationError as error:
            problems[text] = error
    return tuple(sorted(rules.values(), key=lambda rule: not rule.file)), problems


def _rule(text: str, documents: Sequence[str]) -> MapRule:
    left, equals, wanted = text.rpartition("=")
    file = next((name for name in documents if left.startswith(f"{name}:")), "")
    column = left[len(file) + 1 :] if file else left
    if not equals or not column.strip():
        raise _unusable(
            f"{text!r} cannot be read", "Write COLUMN=FIELD, or COLUMN= to leave it out."
        )
    wanted = wanted.strip()
    if wanted.casefold() in _TITLE_NAMES:
        return MapRule(file, column, TITLE)
    if wanted.casefold() in _BODY_NAMES:
        return MapRule(file, column, BODY)
    found = field_named(wanted) if wanted else None
    if wanted and found is None:
        raise _unusable(
            f"{text!r}: there is no field {wanted!r}",
            "Name a field as Jira does (priority, labels, due date, …), or by its id, such as "
            "customfield_10016.",
        )
    return MapRule(file, column, found.id if found else "")


def _unusable(message: str, next_step: str) -> ConfigurationError:
    return ConfigurationError(
        message, ErrorCategory.USER_FIXABLE, next_step=next_step, options=("map",)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MappingOptions:
    """How columns are read.

    Attributes:
        day_first: the order of `03/04/2026`; None: it stays in the table, and a note asks for the
            order.
        has_site: whether the issues are created in a site, which resolves users, for example.

    """

    rules: tuple[MapRule, ...] = ()
    day_first: bool | None = None
    has_site: bool = False

    def frees_body(self, document: str, column: str) -> bool:
        """Return whether a rule makes something else of the column of the descriptions."""
        rules = (rule for rule in self.rules if rule.holds_for(document, column))
        return next((rule.field != BODY for rule in rules), False)

    def column_for(self, document: str, wanted: str) -> str | None:
        """Return the column that a rule for this document makes its title or its body."""
        return self._column(document, wanted)

    def columns_like(self, wanted: str) -> tuple[str, ...]:
        """Return the columns that rules for all documents make titles or bodies, where present."""
        column = self._column("", wanted)
        return () if column is None else (column,)

    def _column(self, file: str, wanted: str) -> str | None:
        rules = (rule for rule in self.rules if (rule.file, rule.field) == (file, wanted))
        return next((rule.column for rule in rules), None)
