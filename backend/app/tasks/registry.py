"""Which function does the work of a task type: the built-in one, or a team's own.

In this order: the setting `SESSION_TASKS_HANDLERS`, an entry point of the group
`session_tasks.handlers`, the built-in handler. A handler is named by `package.module:function` and
imported in the process that runs it, never in the supervisor.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from app.core.errors import ConfigurationError
from app.models.session import TaskType

if TYPE_CHECKING:
    from app.core.config import Settings
    from app.models.results import TaskResults
    from app.tasks.context import TaskContext

    Handler = Callable[[TaskContext], TaskResults | None]

Function = TypeVar("Function", bound=Callable[..., object])

ENTRY_POINT_GROUP = "session_tasks.handlers"

BUILT_IN_HANDLERS = {
    TaskType.PROCESSING: "app.tasks.processing:process_documents",
    TaskType.EXPORT: "app.tasks.export:export_tickets",
    TaskType.ADF_VALIDATION: "app.tasks.adf_validation:validate_export",
}

_REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_LIMIT_ATTRIBUTE = "max_run_seconds"


def handler_references(settings: Settings) -> dict[TaskType, str]:
    """Return the handler of each task type, as `package.module:function`; nothing is imported.

    Raises:
        ConfigurationError: the setting cannot be read, names an unknown task type, or two
            installed packages offer a handler for the same type.

    """
    return {**BUILT_IN_HANDLERS, **_from_entry_points(), **_from_setting(settings.handlers)}


@functools.cache
def load_handler(reference: str) -> Handler:
    """Import the handler, once.

    Raises:
        ConfigurationError: there is no such module or function in it, or importing it failed.

    """
    module_name, _, path = reference.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise ConfigurationError(
            f"The handler {reference} cannot be imported: {type(error).__name__}: {error}",
            next_step="Correct SESSION_TASKS_HANDLERS, or install the package in every worker.",
        ) from error
    if not callable(found):
        raise ConfigurationError(
            f"The handler {reference} is no function",
            next_step="Name a function that takes a TaskContext.",
        )
    return found


def may_run_for(seconds: float) -> Callable[[Function], Function]:
    """Decorate a handler with its own limit, in place of `SESSION_TASKS_MAX_RUN_SECONDS`."""

    def limited(function: Function) -> Function:
        setattr(function, _LIMIT_ATTRIBUTE, float(seconds))
        return function

    return limited


def max_run_seconds(handler: Handler) -> float | None:
    """Return the limit that the handler has of its own; None: the setting's holds."""
    limit = getattr(handler, _LIMIT_ATTRIBUTE, None)
    return limit if isinstance(limit, float) and limit > 0 else None


def _from_setting(setting: str) -> dict[TaskType, str]:
    handlers = {}
    for part in filter(None, (part.strip() for part in setting.split(","))):
        name, equals, reference = (piece.strip() for piece in part.partition("="))
        if not equals or not _REFERENCE.fullmatch(reference):
            raise ConfigurationError(
                f"SESSION_TASKS_HANDLERS cannot be read at {part!r}",
                next_step="Write processing=package.module:function, several with commas between.",
            )
        handlers[_task_type(name, "SESSION_TASKS_HANDLERS")] = reference
    return handlers


@functools.cache  # reading what is installed opens files of every package
def _from_entry_points() -> dict[TaskType, str]:
    handlers: dict[TaskType, str] = {}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        task_type = _task_type(entry.name, f"the entry point {entry.value}")
        other = handlers.setdefault(task_type, entry.value)
        if other != entry.value:
            raise ConfigurationError(
                f"Two installed packages handle {task_type.value}: {other} and {entry.value}",
                next_step=f"Choose one: SESSION_TASKS_HANDLERS={task_type.value}={other}.",
            )
    return handlers


def _task_type(name: str, source: str) -> TaskType:
    try:
        return TaskType(name)
    except ValueError as error:
        known = ", ".join(task_type.value for task_type in TaskType)
        raise ConfigurationError(
            f"{source} names a task type that does not exist: {name!r}",
            next_step=f"Task types are {known}.",
        ) from error
