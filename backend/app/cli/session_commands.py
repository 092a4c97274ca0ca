"""Commands on existing sessions: `list`, `show`, `export`, `watch`, `cancel`."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.exit_codes import ExitCode
from app.cli.following import WaitingHint, follow, why_waiting
from app.cli.opening import find_session, load_settings, opened_database
from app.cli.output_directory import OutputDirectory, WrittenExport
from app.cli.parameters import AsJson, SessionId
from app.cli.reporting import (
    print_failed_session,
    print_issues,
    print_session,
    print_sessions,
    print_tickets,
    print_written,
    retry_command,
    state_text,
)
from app.cli.session_json import session_document, whole_document
from app.cli.snapshot import audit_act, read_snapshot
from app.cli.terminal import Terminal
from app.core.database import Database
from app.core.errors import ErrorCategory, TaskValidationError
from app.core.wording import age_text, count_text
from app.presentation.import_files import SessionImport
from app.presentation.workers import paused_text
from app.repositories.content_repository import ContentRepository
from app.repositories.content_summary import read_content
from app.repositories.pause_repository import read_pauses
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.session_repository import SessionRepository
from app.repositories.session_snapshot import SessionSnapshot
from app.repositories.worker_repository import count_unserved
from app.values.states import SessionStage, TaskStatus

if TYPE_CHECKING:
    from uuid import UUID

    from app.core.config import Settings

TICKETS_SHOWN = 10
MOST_LISTED = 100_000

POLL_SECONDS = 0.5
"""How often `watch` reads the session: other processes do not notify this one."""


def list_command(
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=MOST_LISTED, help="How many to list.")
    ] = 20,
    owner: Annotated[
        str | None, typer.Option(help="Only sessions of this owner.  [default: all owners]")
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """List sessions, the newest first."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings()) as database, database.transaction() as db:
        found = SessionQueries(db, owner=owner).page(SessionFilter(), limit=limit + 1)
        unserved, pauses = count_unserved(db.connection()), read_pauses(db.connection())
    snapshots = found[:limit]
    if as_json:
        terminal.write_json({"sessions": [session_document(snapshot) for snapshot in snapshots]})
    elif not snapshots and owner is not None:
        terminal.say(f"{owner} has no sessions. Without --owner, those of all owners are listed.")
    elif not snapshots:
        terminal.say("There are no sessions. Open one: session-tasks run FILES…")
    else:
        ages = [age_text((s.moment - s.created_at).total_seconds()) for s in snapshots]
        print_sessions(terminal, snapshots, ages)
        if len(found) > limit:
            terminal.say(f"… and older ones: --limit {limit * 5}", style="dim")
        if pauses:
            terminal.say(f"! {paused_text(pauses)}: session-tasks resume", style="yellow")
        if unserved:
            waiting = count_text(unserved, "task")
            terminal.say(
                f"! {waiting} waiting, and no worker takes them: session-tasks worker",
                style="yellow",
            )
    return ExitCode.OK


def show_command(
    session: SessionId,
    all_tickets: Annotated[
        bool, typer.Option("--tickets", help="List all tickets, not the first ten.")
    ] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Show one session: its task, why it failed, and its content."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings()) as database:
        session_id = find_session(database, session)
        snapshot = read_snapshot(database, session_id)
        content = read_content(database, session_id)
        with database.transaction() as db:
            tickets = ContentRepository(db).ticket_titles(
                session_id, limit=content.counts.tickets if all_tickets else TICKETS_SHOWN
            )
        reason = why_waiting(database, snapshot)
    command = retry_command(snapshot, document_count=len(content.documents))
    if as_json:
        document = whole_document(snapshot, content, retry=command)
        terminal.write_json(document | {"tickets": [asdict(ticket) for ticket in tickets]})
        return ExitCode.OK
    print_session(terminal, snapshot, content, why_waiting=reason)
    print_tickets(terminal, tickets, content.counts.tickets)
    if snapshot.status == TaskStatus.FAILED:
        print_failed_session(terminal, snapshot, content, command)
        return ExitCode.OK
    if content.issue_count:
        terminal.say()
        print_issues(terminal, content, short_id=snapshot.short_id)
    if snapshot.status == TaskStatus.CANCELLED:
        terminal.say()
        terminal.say(f"To retry it: {command}")
    elif snapshot.stage == SessionStage.COMPLETED and not content.issue_count:
        terminal.say()
        terminal.say(f"To write the import: session-tasks export {snapshot.short_id} --out DIR")
    return ExitCode.OK


def export_command(
    session: SessionId,
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Write the import files below it.")
    ],
    as_json: AsJson = False,
) -> ExitCode:
    """Write a session's import files (again)."""
    terminal = Terminal(is_json=as_json)
    directory = OutputDirectory(out)
    settings = load_settings()
    with opened_database(terminal, settings) as database:
        session_id = find_session(database, session)
        snapshot = read_snapshot(database, session_id)
        if snapshot.stage != SessionStage.COMPLETED:
            raise TaskValidationError(
                f"Session {snapshot.short_id} has no validated import yet: "
                f"{snapshot.task_type.value if snapshot.task_type else 'processing'} is "
                f"{state_text(snapshot)}",
                ErrorCategory.USER_FIXABLE,
                next_step=retry_command(snapshot, out=out)
                or f"See session-tasks show {snapshot.short_id}.",
                session_id=session_id,
            )
        written = write_export(database, settings, session_id, directory)
        if as_json:
            content = read_content(database, session_id)
            terminal.write_json(whole_document(snapshot, content, written=written))
        else:
            issues = count_text(written.issue_count, "issue")
            state = "ready for" if written.script else "written, all created in"
            terminal.say(f"✓ {issues} {state} Jira", style="bold green")
            print_written(terminal, written, site=settings.jira_url)
    return ExitCode.OK


def write_export(
    database: Database, settings: Settings, session_id: UUID, directory: OutputDirectory
) -> WrittenExport:
    """Write the session's import from the database to the directory, file by file.

    Raises:
        OutputError: it cannot be written; no file was.

    """
    made = SessionImport(database, session_id, site=settings.jira_url)
    return directory.write(session_id, made.files())


def watch_command(session: SessionId, as_json: AsJson = False) -> ExitCode:
    """Watch a session until its work ends; Ctrl-C stops watching, not the work.

    With --json, each new state is one line; the last line is the whole session, with the exit
    code.
    """
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings()) as database:
        session_id = find_session(database, session)
        try:
            snapshot = _watch(terminal, database, session_id)
        except KeyboardInterrupt:
            terminal.err.print("No longer watching; the session continues.")
            return ExitCode.INTERRUPTED
        content = read_content(database, session_id)
    code = exit_code_of_session(snapshot)
    command = retry_command(snapshot, document_count=len(content.documents))
    if as_json:
        whole = whole_document(snapshot, content, exit_code=code, retry=command)
        terminal.write_json(whole, is_line=True)
    elif code == ExitCode.TASK_FAILED:
        print_failed_session(terminal, snapshot, content, command)
    elif code == ExitCode.OK and content.issue_count:
        print_issues(terminal, content, short_id=snapshot.short_id)
    elif code == ExitCode.OK and snapshot.stage == SessionStage.COMPLETED:
        terminal.say(f"✓ To write the import: session-tasks export {snapshot.short_id} --out DIR")
    elif command:
        terminal.say(f"To retry it: {command}")
    return code


def _watch(terminal: Terminal, database: Database, session_id: UUID) -> SessionSnapshot:
    from app.cli.displays import display_for  # noqa: PLC0415 - `list` and `show` need no bars

    last: SessionSnapshot | None = None
    written: SessionSnapshot | None = None
    hint = WaitingHint(terminal, database)
    with display_for(terminal) as display:
        for last in follow(database, session_id, poll_seconds=POLL_SECONDS):
            display.show(last)
            if terminal.is_json and not last.is_settled:
                state = replace(last, moment=last.created_at)
                if state != written:  # a poll that found nothing new is not written
                    terminal.write_json(session_document(last), is_line=True)
                written = state
            hint.show(last)
        with database.transaction() as db:
            display.show_counts(ContentRepository(db).counts(session_id))
    assert last is not None  # noqa: S101 - `follow` yields at least one, or raises
    return last


def exit_code_of_session(snapshot: SessionSnapshot) -> ExitCode:
    """Return the exit code for the state of the session's task."""
    match snapshot.status:
        case TaskStatus.FAILED:
            return ExitCode.TASK_FAILED
        case TaskStatus.CANCELLED:
            return ExitCode.CANCELLED
        case _:
            return ExitCode.OK


def cancel_command(session: SessionId, as_json: AsJson = False) -> ExitCode:
    """Cancel a session's running task; it can be retried."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings()) as database:
        session_id = find_session(database, session)
        with database.transaction() as db:
            moved = SessionRepository(db).cancel_task(session_id)
        snapshot = read_snapshot(database, session_id)
        audit_act("Task cancelled", snapshot)
    if as_json:
        terminal.write_json(session_document(snapshot))
    else:
        terminal.say(f"■ {moved.task_type.value} of session {snapshot.short_id} is cancelled")
        terminal.say(f"  To retry it: {retry_command(snapshot)}")
    return ExitCode.OK
