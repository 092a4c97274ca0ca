"""The check of a session's options and documents before anything of it is stored.

The command, the API and the pages all call it, so that what could never be processed is refused
where it is handed in, all problems at once.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from app.core.errors import (
    ConfigurationError,
    DocumentError,
    ErrorCategory,
    IntakeRefused,
    TaskError,
)
from app.core.wording import names_text
from app.tasks.documents.tickets import check_document
from app.tasks.jira.column_rules import rule_problems
from app.tasks.jira.sites import find_site
from app.tasks.jira_import import check_issue_type, project_of
from app.tasks.processing import ticket_options
from app.tasks.registry import BUILT_IN_HANDLERS, handler_references
from app.values.options import SessionOptions
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import TypeAlias

    from app.core.config import Settings
    from app.repositories.content_reader import IncomingDocument
    from app.tasks.jira.column_rules import MapRule

    ReadProblems: TypeAlias = Callable[
        [Iterable[IncomingDocument], Sequence[str], SessionOptions, Settings], list[TaskError]
    ]


def check_intake(  # noqa: PLR0913 - what is handed in, and how it is read
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
    *,
    known: Sequence[TaskError] = (),
    read: ReadProblems | None = None,
) -> SessionOptions:
    """Return the options as they are to be stored: with the project of the setting, if need be.

    `known` are problems that were found before: with them, nothing is taken. `read` is called in
    place of `document_problems`, for documents that this process is not to read.

    Raises:
        ConfigurationError, DocumentError: what is wrong, if it is one thing.
        IntakeRefused: everything that is wrong.

    """
    problems: list[TaskError] = [*known, *option_problems(options, settings)]
    if handler_references(settings)[TaskType.PROCESSING] == BUILT_IN_HANDLERS[TaskType.PROCESSING]:
        usable, of_rules = without_unusable_rules(options, names)
        problems += [*of_rules, *(read or document_problems)(documents, names, usable, settings)]
    raise_problems(problems)
    if options.project_key is None and settings.jira_project is not None:
        options = SessionOptions.from_json(
            options.to_json() | {"project_key": settings.jira_project}
        )
    return options


def raise_problems(problems: Sequence[TaskError]) -> None:
    """Return if there are none.

    Raises:
        TaskError: the only one.
        IntakeRefused: all of several.

    """
    if len(problems) > 1:
        raise IntakeRefused(problems)
    if problems:
        raise problems[0]


def option_problems(options: SessionOptions, settings: Settings) -> list[TaskError]:
    """Return what is wrong with project and issue types, if the built-in export is to use them."""
    if handler_references(settings)[TaskType.EXPORT] != BUILT_IN_HANDLERS[TaskType.EXPORT]:
        return []
    return _problems(
        partial(project_of, options, settings),
        partial(_check_target, options, settings),
        partial(check_issue_type, options.issue_type),
        partial(check_issue_type, options.parent_type or options.issue_type),
    )


def without_unusable_rules(
    options: SessionOptions, names: Sequence[str]
) -> tuple[SessionOptions, list[ConfigurationError]]:
    """Return the options with those rules for columns that can be used; and why others cannot."""
    problems = rule_problems(options.map, names)
    usable = tuple(text for text in options.map if text not in problems)
    return options.model_copy(update={"map": usable}), list(problems.values())


def _check_target(options: SessionOptions, settings: Settings) -> None:
    """Return if the Jira site that the issues go to has settings.

    Raises:
        ConfigurationError: it has none (`admin_required`), or there is no such (`user_fixable`).

    """
    if options.to is None:
        return
    try:
        find_site(settings, options.to)
    except ConfigurationError as error:
        if error.category == ErrorCategory.USER_FIXABLE:
            error.options = ("to",)
        raise


def document_problems(
    documents: Iterable[IncomingDocument],
    names: Sequence[str],
    options: SessionOptions,
    settings: Settings,
) -> list[TaskError]:
    """Return what is wrong with the documents, and with rules that speak of no column.

    Raises:
        ConfigurationError: a rule of `map` cannot be used.

    """
    reading = ticket_options(options, settings, names)
    problems: list[TaskError] = []
    columns: list[tuple[str, str]] = []
    has_other_names = False
    for document in documents:
        try:
            header = check_document(document.name, document.content, reading)
        except (ConfigurationError, DocumentError) as error:
            problems.append(error)
        else:
            columns += [(document.name, name) for name in header]
            has_other_names = has_other_names or not header  # keys of front matter
    if problems or has_other_names:
        return problems
    return unknown_columns(reading.mapping.rules, columns)


def unknown_columns(
    rules: Iterable[MapRule], columns: Sequence[tuple[str, str]]
) -> list[TaskError]:
    """Return a problem for each rule that speaks of no column; each is a document and a name."""
    known = names_text(list(dict.fromkeys(name for _document, name in columns)), most=20)
    return [
        ConfigurationError(
            f"No document has a column “{rule.column}”",
            ErrorCategory.USER_FIXABLE,
            next_step=f"Correct its name, or leave it out; the columns are {known}.",
            options=("map",),
        )
        for rule in rules
        if not any(rule.holds_for(document, name) for document, name in columns)
    ]


def _problems(*checks: Callable[[], object]) -> list[TaskError]:
    """Return the errors of those checks that fail, each once."""
    found: dict[str, TaskError] = {}
    for check in checks:
        try:
            check()
        except (ConfigurationError, DocumentError) as error:
            found.setdefault(error.message, error)
    return list(found.values())
