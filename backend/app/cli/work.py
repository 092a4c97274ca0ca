"""`run` and `retry`: run a session to its end in this process, with a worker of its own."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.displays import display_for
from app.cli.exit_codes import ExitCode
from app.cli.following import WaitingHint, follow
from app.cli.opening import find_session, load_settings, opened_database
from app.cli.output_directory import OutputDirectory
from app.cli.parameters import (
    AsJson,
    BaseUrl,
    BodyColumn,
    BodyFormatOption,
    ColumnMap,
    DayFirst,
    Delimiter,
    IssueType,
    Out,
    ParentType,
    Project,
    SessionId,
    Sheet,
    SplitLevel,
    TitleColumn,
    To,
    TooLongOption,
    option_flag,
)
from app.cli.preview import show_preview
from app.cli.reporting import (
    print_error,
    print_failed_session,
    print_summary,
)
from app.cli.reporting import retry_command as command_to_retry
from app.cli.session_commands import exit_code_of_session, write_export
from app.cli.session_json import whole_document
from app.cli.snapshot import audit_act, read_snapshot
from app.cli.terminal import Terminal
from app.core.config import EngineName, Settings
from app.core.database import Database
from app.core.errors import (
    OutputError,
    TaskConflict,
    TaskError,
    TaskValidationError,
)
from app.core.signals import handled
from app.core.wording import count_text, names_text, short_id, size_text
from app.engines.dispatch import dispatcher
from app.engines.sweeper import sweep_once
from app.engines.worker import Worker
from app.models.rights import require_rights
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.content_summary import read_content
from app.repositories.session_repository import SessionRepository
from app.repositories.session_snapshot import LeaseState, SessionSnapshot
from app.tasks.documents.intake import read_files, read_usable_files
from app.tasks.intake_check import check_intake
from app.tasks.preview import preview
from app.tasks.registry import checked_handlers
from app.tasks.retrying import Changes, check_retry, no_document_named, retry_changed
from app.values.options import SessionOptions
from app.values.states import SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from uuid import UUID

POLL_SECONDS = 0.25
"""How often the row is read without a notification of a change."""


@dataclass(frozen=True, slots=True)
class Job:
    """A session that this process runs to its end, and where to write its import.

    Attributes:
        sources: the files that the documents were read from, by the documents' names.

    """

    database: Database
    settings: Settings
    terminal: Terminal
    session_id: UUID
    out: Path | None = None
    output: OutputDirectory | None = None
    sources: Mapping[str, Path] = field(default_factory=dict)

    @property
    def short_id(self) -> str:
        """The session's short id."""
        return short_id(self.session_id)


def run_command(  # noqa: PLR0913, PLR0917 - the options of the command are these
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILES", help="Markdown, CSV, HTML, plain text, workbooks and Word."
        ),
    ],
    out: Out = None,
    to: To = None,
    project: Project = None,
    issue_type: IssueType = None,
    split_level: SplitLevel = None,
    title_column: TitleColumn = None,
    body_column: BodyColumn = None,
    delimiter: Delimiter = None,
    parent_type: ParentType = None,
    column_map: ColumnMap = None,
    day_first: DayFirst = None,
    body_format: BodyFormatOption = None,
    sheet: Sheet = None,
    base_url: BaseUrl = None,
    too_long: TooLongOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Read the documents, show the tickets they would become and every problem; store"
            " nothing.",
        ),
    ] = False,
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="A name for the session in lists.")
    ] = "",
    as_json: AsJson = False,
) -> ExitCode:
    """Convert documents to a validated Jira import."""
    terminal = Terminal(is_json=as_json)
    settings = load_settings()
    chosen = _chosen(
        to=to,
        project_key=project,
        issue_type=issue_type,
        split_level=split_level,
        title_column=title_column,
        body_column=body_column,
        delimiter=delimiter,
        parent_type=parent_type,
        map=column_map,
        day_first=day_first,
        body_format=body_format,
        sheet=sheet,
        base_url=base_url,
        too_long=too_long,
    )
    read, problems = read_usable_files(
        files, max_bytes=settings.max_document_bytes, max_documents=settings.max_documents
    )
    documents = [document for _path, document in read]
    names = [document.name for document in documents]
    wanted = SessionOptions.from_json(chosen)
    if dry_run:
        return show_preview(
            terminal,
            preview(documents, names, wanted, settings, problems=problems),
            file_count=len(files),
        )
    _check_handlers(settings)
    options = check_intake(documents, names, wanted, settings, known=problems).to_json()
    output = None if out is None else OutputDirectory(out)
    with dispatcher(settings), opened_database(terminal, settings) as database:
        require_rights(database)
        called = label or names_text(names)
        with database.transaction() as db:
            sessions = SessionRepository(db)
            session_id = sessions.create_session(
                documents, label=called, options=options, auto_advance=True
            ).id
            sessions.start_task(session_id, TaskType.PROCESSING)
        sources = {document.name: path for path, document in read}
        job = Job(database, settings, terminal, session_id, out, output, sources)
        size = size_text(sum(len(document.content) for document in documents))
        terminal.say(
            f"Session {job.short_id} · {count_text(len(documents), 'document')}, {size}",
            style="bold",
        )
        return finish(job)


def retry_command(  # noqa: PLR0913, PLR0917 - the options of the command are these
    session: SessionId,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILES", help="Replace the documents of the same names with these."),
    ] = None,
    out: Out = None,
    to: To = None,
    project: Project = None,
    issue_type: IssueType = None,
    split_level: SplitLevel = None,
    title_column: TitleColumn = None,
    body_column: BodyColumn = None,
    delimiter: Delimiter = None,
    parent_type: ParentType = None,
    column_map: ColumnMap = None,
    day_first: DayFirst = None,
    without: Annotated[
        list[str] | None,
        typer.Option("--without", metavar="FILE", help="Leave this document out; may be repeated."),
    ] = None,
    body_format: BodyFormatOption = None,
    sheet: Sheet = None,
    base_url: BaseUrl = None,
    too_long: TooLongOption = None,
    reset: Annotated[
        bool,
        typer.Option("--reset", help="Reset the task's attempts first (for operators)."),
    ] = False,
    as_json: AsJson = False,
) -> ExitCode:
    """Retry a failed, cancelled or abandoned session, and run it to its end."""
    terminal = Terminal(is_json=as_json)
    settings = load_settings()
    options = _chosen(
        to=to,
        project_key=project,
        issue_type=issue_type,
        split_level=split_level,
        title_column=title_column,
        body_column=body_column,
        delimiter=delimiter,
        parent_type=parent_type,
        map=column_map,
        day_first=day_first,
        body_format=body_format,
        sheet=sheet,
        base_url=base_url,
        too_long=too_long,
    )
    documents = (
        read_files(
            files, max_bytes=settings.max_document_bytes, max_documents=settings.max_documents
        )
        if files
        else []
    )
    output = None if out is None else OutputDirectory(out)
    _check_handlers(settings)
    with dispatcher(settings), opened_database(terminal, settings) as database:
        require_rights(database)
        session_id = find_session(database, session)
        _rescue(database, settings, session_id)
        snapshot = read_snapshot(database, session_id)
        with database.transaction() as db:
            names = ContentRepository(db).document_names(session_id)
        sources = {
            _name_in_session(path, document.name, names): path
            for path, document in zip(files or [], documents, strict=True)
        }
        changes = Changes(
            options,
            [
                IncomingDocument(name, document.content)
                for name, document in zip(sources, documents, strict=True)
            ],
            [_name_in_session(Path(name), name, names) for name in without or ()],
        )
        check_retry(
            database,
            snapshot,
            changes,
            settings,
            option_name=lambda name: option_flag(name).split()[0],
            resets=reset,
        )
        with database.transaction() as db:
            if reset:
                SessionRepository(db).reset_retries(session_id)
            if snapshot.lease_state != LeaseState.UNCLAIMED or changes:
                run = snapshot.task_id
                retry_changed(db, snapshot, changes, owner=None, expected_task_id=run)
        audit_act("Attempts reset and task retried" if reset else "Task retried", snapshot)
        job = Job(database, settings, terminal, session_id, out, output, sources)
        task = snapshot.task_type.value if snapshot.task_type else ""
        terminal.say(f"Session {job.short_id} · {task} is retried", style="bold")
        return finish(job)


def _chosen(**options: Any) -> dict[str, Any]:
    """Return the options that were given, checked.

    Raises:
        ConfigurationError: one of them is invalid (`user_fixable`).

    """
    given = SessionOptions.from_json(
        {name: value for name, value in options.items() if value is not None}
    )
    return given.to_json()


def _check_handlers(settings: Settings) -> None:
    """Check the handlers before anything is stored, if this process runs them.

    Raises:
        ConfigurationError: one of them is invalid.

    """
    if settings.engine == EngineName.EMBEDDED:
        checked_handlers(settings)


def _rescue(database: Database, settings: Settings, session_id: UUID) -> None:
    """Sweep once if the session's worker died or its lease was lost."""
    if read_snapshot(database, session_id).lease_state in {LeaseState.EXPIRED, LeaseState.MISSING}:
        sweep_once(database, settings)


def _name_in_session(path: Path, given: str, names: Sequence[str]) -> str:
    """Return the session's name for a file: `README.md`, or `api/README.md` if several match."""
    parts = path.absolute().parts
    fitting = [
        name for name in names if parts[-len(PurePath(name).parts) :] == PurePath(name).parts
    ]
    if fitting:
        return max(fitting, key=len)
    raise no_document_named(given, names)


def finish(job: Job) -> ExitCode:
    """Run the session until its work has ended, and print the result."""
    try:
        last = _work(job)
    except KeyboardInterrupt:
        with _no_second_interrupt():
            return _interrupted(job)
    code = exit_code_of_session(last)
    if code == ExitCode.OK and last.stage == SessionStage.COMPLETED:
        return _deliver(job, last)
    content = read_content(job.database, job.session_id)
    command = command_to_retry(last, out=job.out, document_count=len(content.documents))
    if job.terminal.is_json:
        job.terminal.write_json(whole_document(last, content, exit_code=code, retry=command))
    elif code == ExitCode.TASK_FAILED:
        print_failed_session(job.terminal, last, content, command, sources=job.sources, out=job.out)
    else:
        job.terminal.say()
        job.terminal.say("■ It was cancelled by someone else; nothing is lost.", style="yellow")
        job.terminal.say(f"  To retry it: {command}")
    return code


def _work(job: Job) -> SessionSnapshot:
    """Run the session's tasks, showing each change, and return its last state."""
    last: SessionSnapshot | None = None
    hint = WaitingHint(job.terminal, job.database)
    with _worker_for(job), display_for(job.terminal) as display:
        for last in follow(job.database, job.session_id, poll_seconds=POLL_SECONDS):
            display.show(last)
            hint.show(last)
        with job.database.transaction() as db:
            display.show_counts(ContentRepository(db).counts(job.session_id))
    assert last is not None  # noqa: S101 - `follow` yields at least one, or raises
    return last


@contextmanager
def _worker_for(job: Job) -> Iterator[None]:
    """Run a worker for this session while the context lasts, unless Celery's workers do."""
    if job.settings.engine == EngineName.CELERY:
        yield
        return
    worker = Worker(job.database, job.settings, concurrency=1, session_ids=[job.session_id])
    worker.start()
    try:
        yield
    finally:
        # However it ended, no task must be left running without a worker.
        with _no_second_interrupt():
            worker.stop(grace_seconds=0)


def _deliver(job: Job, last: SessionSnapshot) -> ExitCode:
    """Write the import to `--out`, and print where it is."""
    content = read_content(job.database, job.session_id)
    written = None
    code = ExitCode.OK
    if job.output is not None:
        try:
            written = write_export(job.database, job.settings, job.session_id, job.output)
        except OutputError as error:
            print_error(job.terminal.err, error)
            code = ExitCode.USAGE
    if job.terminal.is_json:
        job.terminal.write_json(whole_document(last, content, written=written, exit_code=code))
    else:
        site = job.settings.jira_url
        print_summary(job.terminal, content, written, short_id=job.short_id, site=site)
    return code


def _interrupted(job: Job) -> ExitCode:
    """Cancel the task, and print the command that retries it."""
    try:
        with job.database.transaction() as db:
            SessionRepository(db).cancel_task(job.session_id)
    except TaskError as error:
        # An illegal transition means that the task has ended: there is nothing to cancel.
        if not isinstance(error, TaskValidationError) or isinstance(error, TaskConflict):
            print_error(job.terminal.err, error)
    snapshot = read_snapshot(job.database, job.session_id)
    command = command_to_retry(snapshot, out=job.out)
    if snapshot.status == TaskStatus.COMPLETED:
        command = f"session-tasks export {job.short_id} --out {job.out or 'DIR'}"
    if job.terminal.is_json:
        content = read_content(job.database, job.session_id)
        job.terminal.write_json(
            whole_document(snapshot, content, exit_code=ExitCode.INTERRUPTED, retry=command)
        )
    job.terminal.err.print(
        f"\nInterrupted. The session is kept; to retry it:\n  {command}",
        markup=False,
        soft_wrap=True,
    )
    return ExitCode.INTERRUPTED


@contextmanager
def _no_second_interrupt() -> Iterator[None]:
    """Ignore Ctrl-C and SIGTERM while the context lasts, which is a moment."""
    with handled((signal.SIGINT, signal.SIGTERM), signal.SIG_IGN):
        yield
