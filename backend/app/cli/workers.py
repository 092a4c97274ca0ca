"""`workers`: list, drain or check the workers that are alive."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings, opened_database
from app.cli.parameters import AsJson
from app.cli.terminal import Terminal, printable
from app.core.errors import ConfigurationError, ErrorCategory, WorkerNotFound
from app.core.wording import count_text, duration_text, short_id
from app.engines.presence import host_name
from app.presentation.workers import (
    UNREGISTERED,
    holds_text,
    pause_document,
    paused_text,
    worker_document,
)
from app.repositories.pause_repository import read_pauses
from app.repositories.worker_repository import (
    count_unserved,
    live_workers,
    request_drain,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.database import Database
    from app.repositories.worker_repository import LiveWorker

SECONDS_BETWEEN_LOOKS = 0.5

workers_application = typer.Typer(
    invoke_without_command=True,
    help="List, drain or check workers that are alive.",
)


@workers_application.callback()
def list_command(context: typer.Context, as_json: AsJson = False) -> ExitCode | None:
    """List the workers that are alive, of every host and engine, and what each holds."""
    if context.invoked_subcommand is not None:
        return None
    terminal = Terminal(is_json=as_json)
    with (
        opened_database(terminal, load_settings()) as database,
        database.autocommit_connection() as connection,
    ):
        workers, unserved = live_workers(connection), count_unserved(connection)
        pauses = read_pauses(connection)
    if as_json:
        terminal.write_json(
            {
                "workers": [worker_document(worker) for worker in workers],
                "waiting_without_worker": unserved,
                "paused": list(map(pause_document, pauses)),
            }
        )
        return ExitCode.OK
    if workers:
        _print_workers(terminal, workers)
    else:
        terminal.say("No worker is alive. To start one: session-tasks worker")
    if pauses:
        terminal.say(f"! {paused_text(pauses)}: session-tasks resume", style="yellow")
    if unserved:
        waiting = count_text(unserved, "task")
        terminal.say(f"! {waiting} waiting, and no worker takes them", style="yellow")
    return ExitCode.OK


@workers_application.command("drain")
def drain_command(
    worker: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="The worker's id, or enough of its first characters to identify it."
        ),
    ],
    as_json: AsJson = False,
) -> ExitCode:
    """Have one worker finish its tasks and exit; it claims no more."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings()) as database:
        found = _find(database, worker)
        with database.transaction() as db:
            request_drain(db.connection(), found.id)
    if as_json:
        terminal.write_json({"id": str(found.id), "state": "draining"})
    else:
        held = count_text(found.held_count, "task")
        when = f"after {held}" if found.held_count else "with its next heartbeat"
        terminal.say(f"✓ Worker {short_id(found.id)} claims no more; it exits {when}")
    return ExitCode.OK


@workers_application.command("check")
def check_command(
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for a worker that is starting.")
    ] = 0.0,
    as_json: AsJson = False,
) -> ExitCode:
    """Exit with 0 if a worker of this host is alive: a health check for containers and services.

    It is alive while its heartbeats reach the database, and also while it drains.
    """
    terminal = Terminal(is_json=as_json)
    host = host_name()
    end = time.monotonic() + wait
    with opened_database(terminal, load_settings()) as database:
        while not (found := _workers_of(database, host)) and time.monotonic() < end:
            time.sleep(SECONDS_BETWEEN_LOOKS)
    if not found:
        raise WorkerNotFound(
            f"No worker of the host {host} is alive",
            next_step="Look at its log; to start one: session-tasks worker.",
        )
    if as_json:
        terminal.write_json({"host": host, "workers": [worker_document(each) for each in found]})
    else:
        states = ", ".join(f"{short_id(worker.id)} {worker.state}" for worker in found)
        terminal.say(f"✓ {count_text(len(found), 'worker')} of {host}: {states}")
    return ExitCode.OK


def _workers_of(database: Database, host: str) -> list[LiveWorker]:
    with database.autocommit_connection() as connection:
        return [worker for worker in live_workers(connection) if worker.host == host]


def _print_workers(terminal: Terminal, workers: Sequence[LiveWorker]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), show_edge=False, header_style="bold")
    for heading in ("worker", "host", "engine", "state", "holds", "since"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "host")
    for worker in workers:
        host = UNREGISTERED if worker.host is None else f"{worker.host} ({worker.pid})"
        engine = "" if worker.engine is None else f"{worker.engine} {worker.version}"
        since = duration_text((datetime.now(UTC) - worker.started_at).total_seconds())
        table.add_row(
            short_id(worker.id),
            escape(printable(host)),
            escape(printable(engine)),
            worker.state,
            holds_text(worker),
            since,
        )
    terminal.out.print(table)


def _find(database: Database, prefix: str) -> LiveWorker:
    """Return the live worker whose id begins with these characters.

    Raises:
        WorkerNotFound: no id does.
        ConfigurationError: several do (`user_fixable`).

    """
    with database.autocommit_connection() as connection:
        workers = live_workers(connection)
    wanted = prefix.strip().lower().replace("-", "")
    found = [worker for worker in workers if wanted and worker.id.hex.startswith(wanted)]
    if not found:
        raise WorkerNotFound(
            f"No worker that is alive has an id that begins with “{prefix}”",
            next_step="See session-tasks workers.",
        )
    if len(found) > 1:
        names = ", ".join(short_id(worker.id) for worker in found)
        raise ConfigurationError(
            f"Several workers have an id that begins with “{prefix}”: {names}",
            ErrorCategory.USER_FIXABLE,
            next_step="Give more of its characters.",
        )
    return found[0]
