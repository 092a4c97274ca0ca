"""Print errors, failed tasks and sessions as text."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from app.cli.parameters import correcting_flag, option_flag
from app.cli.terminal import printable
from app.core.errors import ErrorCategory, IntakeRefused, TaskError
from app.core.wording import count_text, duration_text, size_text
from app.models.session import MAX_RETRY_COUNT
from app.presentation.failures import error_next_step, failure_report
from app.presentation.import_files import import_command
from app.presentation.labels import OPTION_FLAGS, WHO_CAN_FIX
from app.presentation.notes import note_texts
from app.repositories.session_snapshot import LeaseState, SessionSnapshot
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from rich.console import Console

    from app.cli.output_directory import WrittenExport
    from app.cli.terminal import Terminal
    from app.repositories.content_repository import TicketTitle
    from app.repositories.content_summary import ContentSummary

DOCUMENTS_SHOWN = 15
ISSUES_SHOWN = 5
FINDINGS_SHOWN = 10
NOTES_SHOWN = 10

LEASE_STATES = {
    LeaseState.UNCLAIMED: "waiting for a worker",
    LeaseState.EXPIRED: "its worker does not respond",
    LeaseState.MISSING: "to be queued again",
}


def print_error(
    console: Console, error: TaskError | str, *, next_step: str = "", who: str = ""
) -> None:
    """Print what went wrong, who can fix it and what to do next: three lines, no traceback."""
    if isinstance(error, IntakeRefused):
        for problem in error.problems:
            step = error_next_step(problem, option_flag)
            print_labelled(console, [("Error", problem.message), ("Next", step)], "red")
        error, next_step = f"{len(error.problems):,} problems; nothing was started", ""
        who = WHO_CAN_FIX[ErrorCategory.USER_FIXABLE]
    if isinstance(error, TaskError):
        next_step = error_next_step(error, option_flag)
        who = WHO_CAN_FIX[error.category]
    print_labelled(
        console, [("Error", str(error)), ("Who can fix it", who), ("Next", next_step)], "red"
    )


def print_labelled(console: Console, lines: Sequence[tuple[str, str]], style: str) -> None:
    """Write the lines that have a text, each after its label; the first label in this style."""
    shown = [(label, text) for label, text in lines if text]
    width = max(len(label) for label, _ in shown) + 1
    for label, text in shown:
        console.print(f"{label}:".ljust(width), style=f"bold {style}", end=" ", markup=False)
        console.print(printable(text), markup=False, soft_wrap=True)
        style = "default"


def retry_command(
    snapshot: SessionSnapshot, *, out: Path | None = None, document_count: int = 0
) -> str:
    """Return the command that retries the session; empty where no command would help.

    Where the failure asks for an option, the command has it. Where it names one of several
    documents, the command leaves that document out: unchanged, it would fail again.
    """
    if snapshot.needs_new_session or snapshot.status not in {
        TaskStatus.FAILED,
        TaskStatus.CANCELLED,
    }:
        return ""
    words = ["session-tasks", "retry", snapshot.short_id]
    failure = failure_report(snapshot)
    document = _unusable_document(snapshot)
    if failure and failure.options:
        words += _option_words(failure.options)
    elif document:
        if document_count <= 1:
            return ""
        words += ["--without", document]
    if not snapshot.can_be_restarted:
        words.append("--reset")
    if out is not None:
        words += ["--out", str(out)]
    return shlex.join(words)


def _option_words(options: Sequence[str]) -> list[str]:
    return " ".join(map(correcting_flag, options)).split()


def _unusable_document(snapshot: SessionSnapshot) -> str:
    """Return the document that processing failed for; empty if it failed for anything else."""
    failure = failure_report(snapshot)
    if failure is None or not failure.is_current or snapshot.task_type != TaskType.PROCESSING:
        return ""
    return str(failure.context.get("document") or "")


def print_failure(
    terminal: Terminal,
    snapshot: SessionSnapshot,
    command: str,
    *,
    sources: Mapping[str, Path] | None = None,
    out: Path | None = None,
) -> None:
    """Print what failed, who can fix it, and the commands that retry the session.

    `sources` are the files that the documents were read from.
    """
    failure = failure_report(snapshot, option_flag)
    if failure is None:
        return
    task = snapshot.task_type.value if snapshot.task_type else "the session"
    attempts = f"{snapshot.retry_count} of {MAX_RETRY_COUNT}" if snapshot.retry_count else ""
    lines = [
        (f"✗ {task} failed", failure.message),
        ("  Who can fix it", WHO_CAN_FIX[failure.category]),
        ("  Next", failure.next_step),
        ("  Attempt", attempts if snapshot.can_be_retried else f"{attempts}: all are used up"),
    ]
    document = _unusable_document(snapshot)
    if document:
        file = str((sources or {}).get(document, document))
        words = ["session-tasks", "retry", snapshot.short_id, file]
        words += ["--out", str(out)] if out is not None else []
        lines.append(("  Once it is fixed", shlex.join(words)))
    if command:
        is_fixed = bool(failure.options) or failure.category == ErrorCategory.TEMPORARY
        label = "  Then" if is_fixed else "  Once it is fixed"
        lines.append(("  Or without it" if document and not failure.options else label, command))
    elif snapshot.needs_new_session:
        lines.append(("  Then", _run_command(snapshot, failure.options, sources or {}, out)))
    terminal.say()
    print_labelled(terminal.people, lines, "red")


def _run_command(
    snapshot: SessionSnapshot,
    options: Sequence[str],
    sources: Mapping[str, Path],
    out: Path | None,
) -> str:
    """Return how to open a new session: with this one's options, and those that correct it."""
    files = shlex.join(map(str, sources.values())) or "FILES…"
    words = [
        word
        for name, value in snapshot.options.items()
        if name in OPTION_FLAGS and name not in options
        for word in _words_of(name, value)
    ]
    words += _option_words(options)
    words += ["--out", str(out)] if out is not None else []
    command = f"session-tasks run {files} {shlex.join(words)}".rstrip()
    return command if options else f"correct the documents, and run them: {command}"


def _words_of(name: str, value: Any) -> list[str]:
    """Return a session option as it is given on the command line."""
    flag = option_flag(name).partition(" ")[0]
    if isinstance(value, bool):
        return [flag if value else "--month-first"]
    given = value if isinstance(value, list | tuple) else [value]
    return [word for each in given for word in (flag, str(each))]


def print_failed_session(  # noqa: PLR0913 - keywords
    terminal: Terminal,
    snapshot: SessionSnapshot,
    content: ContentSummary,
    command: str,
    *,
    sources: Mapping[str, Path] | None = None,
    out: Path | None = None,
) -> None:
    """Print the issues that were created all the same, what failed, and the findings."""
    if content.issue_count:
        terminal.say()
        print_issues(terminal, content, short_id=snapshot.short_id)
    print_failure(terminal, snapshot, command, sources=sources, out=out)
    print_findings(terminal, content, short_id=snapshot.short_id)


def print_findings(terminal: Terminal, content: ContentSummary, *, short_id: str) -> None:
    """List the tickets that Jira would refuse, with file, row, path and reason."""
    if not content.findings:
        return
    terminal.say()
    for finding in content.findings[:FINDINGS_SHOWN]:
        where = f"{finding.source_name}:{finding.source_row}"
        terminal.say(
            f"  ticket {finding.ticket} “{_cut(finding.title, 60)}” ({where})", style="bold"
        )
        terminal.say(f"    {finding.reason}")
        place = f"at {finding.path} · rule " if finding.path else ""
        terminal.say(f"    {place}{finding.rule}", style="dim")
    more = content.counts.findings - min(len(content.findings), FINDINGS_SHOWN)
    if more > 0:
        terminal.say(f"  … and {more:,} more: session-tasks show {short_id} --json", style="dim")


def print_summary(
    terminal: Terminal,
    content: ContentSummary,
    written: WrittenExport | None,
    *,
    short_id: str,
    site: str | None,
) -> None:
    """Print the result of each document, the notes, and where the import is.

    `site` is the address of the Jira site, where one is known.
    """
    terminal.say()
    terminal.people.print(_documents_table(content))
    print_notes(terminal, note_texts(content.notes, option_flag))
    terminal.say()
    issues = count_text(content.counts.tickets, "issue")
    if content.issue_count:
        print_issues(terminal, content, short_id=short_id)
        if written is not None:
            terminal.say(f"  {written.issues} (which ticket is which issue)")
        return
    if written is None:
        files = count_text(content.counts.exports, "file")
        terminal.say(f"✓ {issues} ready for Jira, in {files}, kept in the database.", style="green")
        terminal.say(f"  To write them: session-tasks export {short_id} --out DIR")
        return
    terminal.say(f"✓ {issues} ready for Jira, every description checked", style="bold green")
    print_written(terminal, written, site=site)


def print_issues(terminal: Terminal, content: ContentSummary, *, short_id: str) -> None:
    """List the issues that were created in Jira: the first few, with links."""
    created = count_text(content.issue_count, "issue")
    is_whole = content.issue_count >= content.counts.tickets
    of_all = "" if is_whole else f" of {content.counts.tickets:,}"
    terminal.say(f"✓ {created}{of_all} created in Jira", style="bold green" if is_whole else "bold")
    for issue in content.issues[:ISSUES_SHOWN]:
        terminal.say(f"  {issue.key}  {issue.url}")
    more = content.issue_count - ISSUES_SHOWN
    if more > 0:
        terminal.say(f"  … and {more:,} more: session-tasks show {short_id} --tickets", style="dim")


def _documents_table(content: ContentSummary) -> Table:
    """Return the results of the documents as a table, with a total where there are several."""
    total_size = sum(document.byte_count for document in content.documents)
    table = Table(
        box=None,
        padding=(0, 2),
        show_edge=False,
        header_style="bold",
        footer_style="bold",
        show_footer=len(content.documents) > 1,
    )
    table.add_column("document", "all", overflow="fold")
    table.add_column("size", size_text(total_size), justify="right")
    table.add_column("tickets", f"{content.counts.tickets:,}", justify="right")
    for document in content.documents[:DOCUMENTS_SHOWN]:
        name = escape(printable(document.name))
        table.add_row(name, size_text(document.byte_count), f"{document.ticket_count:,}")
    more = len(content.documents) - DOCUMENTS_SHOWN
    if more > 0:
        table.add_row(f"… and {more:,} more", "", "")
    return table


def print_written(terminal: Terminal, written: WrittenExport, *, site: str | None) -> None:
    """Print where the import was written, and how to send it to Jira."""
    size = size_text(written.byte_count)
    for file in written.files[:3]:
        terminal.say(f"  {file}")
    if len(written.files) > 4:  # noqa: PLR2004 - "and 1 more" would be longer than its name
        terminal.say(f"  … {len(written.files) - 4:,} more …", style="dim")
    for file in written.files[3:][-1:]:
        terminal.say(f"  {file}")
    files = count_text(len(written.files), "file")
    use = (
        "each is the body of one POST /rest/api/3/issue/bulk"
        if written.script
        else "what was sent: sent again, it would create the issues again"
    )
    terminal.say(f"  ({files}, {size}; {use})", style="dim")
    terminal.say(f"  {written.report} (where each ticket is)")
    if written.script is None:
        terminal.say(f"  {written.issues} (which ticket is which issue: all are in Jira)")
        return
    terminal.say()
    terminal.say("  To create the issues in Jira (see also README.txt beside them):")
    terminal.say(f"    {import_command(site, shlex.quote(str(written.script)))}")


def print_notes(terminal: Terminal, notes: Sequence[str]) -> None:
    """Print notes about the documents: no failures, but worth knowing."""
    if not notes:
        return
    terminal.say()
    for note in notes[:NOTES_SHOWN]:
        terminal.say(f"  note: {note}", style="yellow")
    if len(notes) > NOTES_SHOWN:
        terminal.say(f"  … and {len(notes) - NOTES_SHOWN:,} more notes", style="dim")


def state_text(snapshot: SessionSnapshot) -> str:
    """Return the session's current state in a few words."""
    if snapshot.status is None or snapshot.task_type is None:
        return "nothing has been started"
    if snapshot.status != TaskStatus.RUNNING:
        is_tried_again = snapshot.retry_at is not None
        return "failed; retried automatically" if is_tried_again else str(snapshot.status.value)
    if snapshot.lease_state in LEASE_STATES:
        return LEASE_STATES[snapshot.lease_state]
    total = snapshot.progress_total
    far = f", {snapshot.progress_current or 0:,} of {total:,}" if total else ""
    return f"running for {duration_text(snapshot.elapsed_seconds)}{far}"


def print_sessions(
    terminal: Terminal, snapshots: Sequence[SessionSnapshot], ages: Sequence[str]
) -> None:
    """Print sessions as a table, with their owners where there are several.

    On a narrow terminal, each session is a paragraph.
    """
    has_owners = len({snapshot.owner for snapshot in snapshots}) > 1
    rows = [
        (
            snapshot.short_id,
            *((_cut(snapshot.owner, 20),) if has_owners else ()),
            age,
            snapshot.task_type.value if snapshot.task_type else "-",
            state_text(snapshot),
            _cut(snapshot.label, 40),
        )
        for snapshot, age in zip(snapshots, ages, strict=True)
    ]
    owner_heading = ("owner",) if has_owners else ()
    headings = ("session", *owner_heading, "opened", "task", "state", "label")
    print_rows(terminal, headings, rows)


def print_rows(terminal: Terminal, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table without breaking words.

    If it is wider than the terminal, each row is a paragraph: its first cell, then the others
    below, wrapped between words.
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(headings, *shown, strict=True)]
    if sum(widths) + 4 * len(widths) <= terminal.out.width:
        table = Table(box=None, padding=(0, 2), show_edge=False, header_style="bold")
        for heading in headings:
            table.add_column(heading, no_wrap=True)
        for row in shown:
            table.add_row(*map(escape, row))
        terminal.out.print(table)
        return
    for first, *others in shown:
        terminal.say(first, style="bold")
        text = " · ".join(
            f"{heading} {cell}" if heading in _NAMED_CELLS else cell
            for heading, cell in zip(headings[1:], others, strict=True)
            if cell
        )
        terminal.out.print(Padding(Text(text), (0, 0, 0, 2)))


_NAMED_CELLS = {"owner", "expires", "last used"}
"""Cells that mean nothing without their heading."""


def print_session(
    terminal: Terminal, snapshot: SessionSnapshot, content: ContentSummary, *, why_waiting: str = ""
) -> None:
    """Print the details of one session.

    `why_waiting` says why no worker takes its task.
    """
    state = state_text(snapshot) + (f" ({why_waiting})" if why_waiting else "")
    task = "-" if snapshot.task_type is None else snapshot.task_type.value
    counts = content.counts
    lines = [
        ("Session", str(snapshot.session_id)),
        ("Owner", snapshot.owner),
        ("Label", snapshot.label),
        ("Opened", f"{snapshot.created_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("Stage", snapshot.stage.value),
        ("Task", f"{task}: {state}"),
        ("Progress", snapshot.progress_message or ""),
        ("Run", str(snapshot.task_id or "")),
        ("Worker", str(snapshot.worker_id or "")),
        (
            "Failures",
            f"{snapshot.retry_count} of {MAX_RETRY_COUNT}" if snapshot.retry_count else "",
        ),
        ("Options", ", ".join(f"{k}={v}" for k, v in snapshot.options.items() if v is not None)),
        (
            "Holds",
            ", ".join(
                (
                    count_text(counts.documents, "document"),
                    count_text(counts.tickets, "ticket"),
                    count_text(counts.exports, "import file"),
                    count_text(counts.findings, "finding"),
                )
            ),
        ),
    ]
    print_labelled(terminal.out, lines, "default")
    terminal.say()
    for document in content.documents[:DOCUMENTS_SHOWN]:
        tickets = count_text(document.ticket_count, "ticket")
        terminal.say(f"  {document.name} · {size_text(document.byte_count)} · {tickets}")
    if len(content.documents) > DOCUMENTS_SHOWN:
        terminal.say(f"  … and {len(content.documents) - DOCUMENTS_SHOWN:,} more", style="dim")
    print_notes(terminal, note_texts(content.notes, option_flag))


def print_tickets(terminal: Terminal, tickets: Sequence[TicketTitle], total: int) -> None:
    """List tickets by number and title, with the document and row that each was made from."""
    if not tickets:
        return
    terminal.say()
    width = len(f"{tickets[-1].number:,}")
    for ticket in tickets:
        where = f"  {ticket.source_name}:{ticket.source_row}" if ticket.source_name else ""
        key = f"  {ticket.issue_key}" if ticket.issue_key else ""
        terminal.say(f"  {ticket.number:>{width},}  {_cut(ticket.title, 70)}{where}{key}")
    if total > len(tickets):
        terminal.say(
            f"  … and {count_text(total - len(tickets), 'more ticket')}: --tickets", style="dim"
        )


def _cut(text: str, length: int) -> str:
    if len(text) <= length:
        return text
    head, _, _ = text[:length].rpartition(" ")
    return (head if len(head) > length // 2 else text[: length - 1]).rstrip(" ,") + " …"
