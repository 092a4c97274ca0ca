"""`worker` runs tasks, `sweep` rescues lost ones, `cleanup` deletes expired sessions."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings, opened_database
from app.cli.parameters import AsJson
from app.cli.terminal import Terminal
from app.core.config import EngineName, Settings
from app.core.embedded import remove_abandoned
from app.core.errors import ConfigurationError
from app.core.wording import count_text
from app.engines.dispatch import dispatcher
from app.engines.metrics_server import serving_metrics
from app.engines.sweeper import sweep_once
from app.engines.tracing import traced
from app.engines.worker import Worker
from app.models.rights import require_rights
from app.repositories.session_repository import SessionRepository

SESSIONS_PER_DELETION = 100


def worker_command(
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, help="Tasks at a time.")] = 2,
    threads: Annotated[
        bool,
        typer.Option(
            "--threads",
            help="Run tasks in threads, not child processes: for light work that waits a lot.",
        ),
    ] = False,
    metrics_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Serve /metrics there; 0: on any free port."),
    ] = None,
) -> ExitCode:
    """Run tasks of any session; SIGTERM or Ctrl-C stops the worker once they end."""
    terminal = Terminal()
    settings = load_settings()
    _require_embedded_engine(settings)
    port = metrics_port if metrics_port is not None else settings.metrics_port
    with (
        traced(settings),
        opened_database(terminal, settings) as database,
        serving_metrics(database, host=settings.host, port=port) as found,
    ):
        require_rights(database)
        if found is not None:
            terminal.say(f"Metrics: http://{settings.host}:{found}/metrics")
        worker = Worker(database, settings, concurrency=concurrency, threads=threads)
        worker.run_until_stopped()
    return ExitCode.OK


def _require_embedded_engine(settings: Settings) -> None:
    if settings.engine == EngineName.CELERY:
        raise ConfigurationError(
            "SESSION_TASKS_ENGINE is celery, but this is the embedded engine's worker",
            next_step="Start Celery's: celery -A app.engines.celery worker; or unset it.",
        )


def sweep_command(as_json: AsJson = False) -> ExitCode:
    """Rescue lost tasks, retry due ones and delete expired sessions, once; workers do too."""
    terminal = Terminal(is_json=as_json)
    settings = load_settings()
    with dispatcher(settings) as dispatch, opened_database(terminal, settings) as database:
        require_rights(database)
        report = sweep_once(database, settings, dispatch=dispatch)
    if as_json:
        terminal.write_json(asdict(report))
    else:
        done = {
            "rescued from workers that died": report.rescued,
            "retried": report.retried,
            "queued again": report.rebuilt,
            "sessions deleted": report.deleted,
        }
        said = [f"{count:,} {what}" for what, count in done.items() if count]
        terminal.say("✓ Swept: " + (", ".join(said) or "nothing to do"))
    if report.failed_steps:
        terminal.err.print(
            "Some steps failed; run it with --verbose, and see session-tasks doctor."
        )
        return ExitCode.UNEXPECTED
    return ExitCode.OK


def cleanup_command(as_json: AsJson = False) -> ExitCode:
    """Delete sessions past their retention, and databases whose data directory is gone.

    Never a running session, nor a database in use.
    """
    terminal = Terminal(is_json=as_json)
    settings = load_settings()
    retention = timedelta(days=settings.retention_days)
    deleted = 0
    with opened_database(terminal, settings) as database:
        while True:
            with database.transaction() as db:
                batch = SessionRepository(db).delete_expired(
                    retention=retention, limit=SESSIONS_PER_DELETION
                )
            deleted += len(batch)
            if not batch:
                break
    abandoned = remove_abandoned() if settings.database_url is None else []
    if as_json:
        homes = [str(one.home) for one in abandoned]
        terminal.write_json({"deleted": deleted, "databases_deleted": homes})
    else:
        what = count_text(deleted, "session")
        days = f"{settings.retention_days:g} day{'s' if settings.retention_days != 1 else ''}"
        terminal.say(f"✓ Deleted {what} past {days}")
        for one in abandoned:
            terminal.say(f"✓ Deleted {one.home}, the database of {one.data_dir}, which is gone")
    return ExitCode.OK
