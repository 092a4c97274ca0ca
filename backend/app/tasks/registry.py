"""Which function does the work of a task type: the built-in one, or a team's own.

In this order: the setting `SESSION_TASKS_HANDLERS`, an entry point of the group
`session_tasks.handlers`, the built-in handler. A handler is named by `package.module:function` and
imported in the process that runs it, never in the supervisor. A worker checks all of them
before it claims anything, in a process that ends with the check.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from app.core.errors import ConfigurationError
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.config import Settings
    from app.tasks.context import TaskContext
    from app.values.results import TaskResults

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

SECONDS_TO_IMPORT = 60.0

_NEXT_STEP = (
    "Correct SESSION_TASKS_HANDLERS (or the package's entry point), or install the package where "
    "tasks run."
)

_CHECK = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from app.tasks.registry import report_handlers; report_handlers(sys.argv[2:])"
)


def handler_references(settings: Settings) -> dict[TaskType, str]:
    """Return the handler of each task type, as `package.module:function`; nothing is imported.

    Raises:
        ConfigurationError: the setting cannot be read, names an unknown task type, or two
            installed packages offer a handler for the same type.

    """
    return {**BUILT_IN_HANDLERS, **_from_entry_points(), **_from_setting(settings.handlers)}


def checked_handlers(settings: Settings) -> dict[TaskType, str]:
    """Return what `handler_references` does, after each handler could be loaded.

    Those that are not built in are imported in a process of their own; once in this process, unless
    that fails.

    Raises:
        ConfigurationError: the setting cannot be used, or a handler cannot.

    """
    references = handler_references(settings)
    own = tuple(sorted(set(references.values()) - set(BUILT_IN_HANDLERS.values())))
    if own:
        _check_apart(own, tuple(sys.path))
    return references


@functools.cache
def _check_apart(references: tuple[str, ...], path: tuple[str, ...]) -> None:
    """Load the handlers in another process.

    Raises:
        ConfigurationError: one of them cannot be loaded, or ends the process that imports it.

    """
    names = ", ".join(references)
    try:
        checked = subprocess.run(  # noqa: S603 - our own interpreter and code
            [sys.executable, "-P", "-c", _CHECK, json.dumps(path), *references],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
            timeout=SECONDS_TO_IMPORT,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ConfigurationError(
            f"The handlers cannot be imported within {SECONDS_TO_IMPORT:.0f} s: {names}",
            next_step="Leave long work for the function: importing its module is to take a moment.",
        ) from error
    if checked.returncode != 0 or not checked.stdout:
        raise ConfigurationError(
            f"Importing the handlers ends the process (status {checked.returncode}): {names}",
            next_step=_NEXT_STEP,
        )
    refused = json.loads(checked.stdout)
    if refused is not None:
        raise ConfigurationError(refused["message"], next_step=refused["next_step"])


def report_handlers(references: Sequence[str]) -> None:
    """Load each, and write why the first one cannot be used to standard output, as JSON.

    What the handlers' modules write there while they are imported goes to standard error.
    """
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    refused = None
    for reference in references:
        try:
            load_handler(reference)
        except ConfigurationError as error:
            refused = {"message": error.message, "next_step": error.next_step}
            break
    with answer:
        json.dump(refused, answer)


@functools.cache
def load_handler(reference: str) -> Handler:
    """Import the handler, once.

    Raises:
        ConfigurationError: there is no such module or function in it, importing it failed, or it
            is no function of one argument.

    """
    module_name, _, path = reference.partition(":")
    try:
        found: object = importlib.import_module(module_name)
        for name in path.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise ConfigurationError(
            f"The handler {reference} cannot be imported: {type(error).__name__}: {error}",
            next_step=_NEXT_STEP,
        ) from error
    if not callable(found) or inspect.iscoroutinefunction(found) or not _takes_one(found):
        raise ConfigurationError(
            f"The handler {reference} is no plain function of one argument",
            next_step="Name in SESSION_TASKS_HANDLERS, or the package's entry point, a function "
            "that takes a TaskContext and returns TaskResults or None.",
        )
    return found


def _takes_one(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # it has no signature that could be read
        return True
    return True


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
