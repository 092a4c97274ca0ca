"""The table of commands, each imported only when it is run: help and completion stay fast."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_WORK = "Work"
_SESSIONS = "Sessions"
_OPERATION = "Operation"


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause collections while modules are imported: they make many objects and little garbage.

    It saves a sixth of the run time of `list`.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the tree.

    Attributes:
        panel: its heading in `--help`.
        target: `module:name` of its function, or of the `Typer` that holds its own commands.
        help: the first line of its help.

    """

    panel: str
    target: str
    help: str

    def load(self, name: str) -> Any:
        """Import the command, as typer's own class."""
        module, _, attribute = self.target.partition(":")
        with without_garbage_collection():
            found = getattr(import_module(module), attribute)
        if isinstance(found, typer.Typer):
            found.info.cls = PlainGroup
            for each in found.registered_commands:
                each.cls = PlainCommand
            group = typer.main.get_group(found)
            group.name = name
            return group
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        single.command(name, cls=PlainCommand)(found)
        return typer.main.get_command(single)


COMMANDS: Mapping[str, Command] = {
    "run": Command(
        _WORK, "app.cli.work:run_command", "Convert documents to a validated Jira import."
    ),
    "retry": Command(
        _WORK,
        "app.cli.work:retry_command",
        "Retry a failed, cancelled or abandoned session, and run it to its end.",
    ),
    "list": Command(
        _SESSIONS, "app.cli.session_commands:list_command", "List sessions, the newest first."
    ),
    "show": Command(
        _SESSIONS,
        "app.cli.session_commands:show_command",
        "Show one session: its task, why it failed, and its content.",
    ),
    "watch": Command(
        _SESSIONS,
        "app.cli.session_commands:watch_command",
        "Watch a session until its work ends; Ctrl-C stops watching, not the work.",
    ),
    "export": Command(
        _SESSIONS,
        "app.cli.session_commands:export_command",
        "Write a session's import files (again).",
    ),
    "cancel": Command(
        _SESSIONS,
        "app.cli.session_commands:cancel_command",
        "Cancel a session's running task; it can be retried.",
    ),
    "serve": Command(
        _OPERATION,
        "app.cli.serve:serve_command",
        "Serve the REST API and the dashboard, with a worker inside unless --no-worker.",
    ),
    "login": Command(
        _OPERATION,
        "app.cli.login:login_command",
        "Print a link that signs one browser in, once, within an hour.",
    ),
    "keys": Command(
        _OPERATION, "app.cli.keys:keys_application", "Create, list and revoke API keys."
    ),
    "worker": Command(
        _OPERATION,
        "app.cli.operation_commands:worker_command",
        "Run tasks of any session; SIGTERM or Ctrl-C stops the worker once they end.",
    ),
    "workers": Command(
        _OPERATION,
        "app.cli.workers:workers_application",
        "List, drain or check workers that are alive.",
    ),
    "pause": Command(
        _OPERATION,
        "app.cli.pausing:pause_command",
        "Pause claims of all task types or of these; running tasks continue.",
    ),
    "resume": Command(
        _OPERATION,
        "app.cli.pausing:resume_command",
        "Resume claims of all task types or of these, and notify workers of waiting tasks.",
    ),
    "sweep": Command(
        _OPERATION,
        "app.cli.operation_commands:sweep_command",
        "Rescue lost tasks, retry due ones and delete expired sessions, once; workers do too.",
    ),
    "cleanup": Command(
        _OPERATION,
        "app.cli.operation_commands:cleanup_command",
        "Delete sessions past their retention, and databases whose data directory is gone.",
    ),
    "db": Command(
        _OPERATION,
        "app.cli.database_commands:database_application",
        "Upgrade or check the database schema.",
    ),
    "jira": Command(
        _OPERATION, "app.cli.jira_commands:jira_application", "Check access to Jira."
    ),
    "doctor": Command(
        _OPERATION,
        "app.cli.doctor:doctor_command",
        "Check everything that Session Tasks needs, and say how to fix what is wrong.",
    ),
}  # fmt: skip


class _PlainFlags:
    """Help without Python's types: `--json` and `--owner OWNER`, not `<bool>` and `<str>`."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters; an option is named by its last word, or by its choices."""
        found: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # typer's classes have it
        for each in found:
            if getattr(each, "is_flag", False) or getattr(each, "count", False):
                each.metavar = ""
            elif each.param_type_name == "argument":
                each.display_type_rich = lambda **_: None
            elif each.metavar is None:
                shown = each.display_type(ctx).strip("<>")
                each.metavar = shown if "|" in shown else each.name.rpartition("_")[2].upper()
        return found


class PlainCommand(_PlainFlags, TyperCommand):
    """A command."""


class PlainGroup(_PlainFlags, TyperGroup):
    """A command with commands of its own."""


class CommandTable(PlainGroup):
    """A group that lists commands by `COMMANDS`, and imports the one that is run or completed."""

    def __init__(self, **attributes: Any) -> None:
        attributes["commands"] = {
            name: TyperCommand(name, help=command.help, rich_help_panel=command.panel)
            for name, command in COMMANDS.items()
        }
        super().__init__(**attributes)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the command that the arguments name, imported."""
        if args[:2] == ["worker", "drain"]:
            args = ["workers", *args[1:]]
        name, listed, rest = super().resolve_command(ctx, args)
        found = COMMANDS.get(name or "")
        return name, found.load(name or "") if found else listed, rest
