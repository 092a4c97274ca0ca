"""`pause` and `resume`: stop and restart claims, of all task types or of some."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings, opened_database
from app.cli.parameters import AsJson
from app.cli.terminal import Terminal
from app.core.wording import count_text
from app.engines.dispatch import dispatcher
from app.engines.pausing import pause_claims, resume_claims
from app.presentation.workers import pause_document, paused_text
from app.repositories.pause_repository import read_pauses
from app.values.states import TaskType

BY_COMMAND = "local"

TaskTypes = Annotated[
    list[TaskType] | None,
    typer.Argument(metavar="TASK_TYPE", help="processing, export, adf_validation; none: all."),
]


def pause_command(task_types: TaskTypes = None, as_json: AsJson = False) -> ExitCode:
    """Pause claims of all task types or of these; running tasks continue."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings()) as database:
        under_way = pause_claims(database, task_types or list(TaskType), by=BY_COMMAND)
        with database.autocommit_connection() as connection:
            pauses = read_pauses(connection)
    if as_json:
        terminal.write_json({"paused": list(map(pause_document, pauses))})
        return ExitCode.OK
    terminal.say(f"✓ {paused_text(pauses)}; running tasks continue")
    if under_way:
        late = count_text(under_way, "statement")
        terminal.say(f"! {late} that began before may still claim a task", style="yellow")
    terminal.say("  To resume: session-tasks resume")
    return ExitCode.OK


def resume_command(task_types: TaskTypes = None, as_json: AsJson = False) -> ExitCode:
    """Resume claims of all task types or of these, and notify workers of waiting tasks."""
    terminal = Terminal(is_json=as_json)
    settings = load_settings()
    with dispatcher(settings) as dispatch, opened_database(terminal, settings) as database:
        wanted = task_types or list(TaskType)
        told = resume_claims(database, wanted, by=BY_COMMAND, dispatch=dispatch)
        with database.autocommit_connection() as connection:
            pauses = read_pauses(connection)
    if as_json:
        terminal.write_json({"paused": list(map(pause_document, pauses)), "waiting": told})
        return ExitCode.OK
    left = f"; {paused_text(pauses)[0].lower()}{paused_text(pauses)[1:]}" if pauses else ""
    terminal.say(f"✓ Resumed: {count_text(told, 'task')} waiting{left}")
    return ExitCode.OK
