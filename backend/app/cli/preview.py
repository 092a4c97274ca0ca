"""`run --dry-run`: show the tickets that documents would become, and every problem in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from app.cli.exit_codes import ExitCode
from app.cli.parameters import option_flag
from app.cli.reporting import print_labelled, print_notes
from app.cli.terminal import printable
from app.core.wording import count_text, size_text
from app.presentation.previews import field_text, text_lines, with_option_names
from app.tasks.documents.decoding import place_text
from app.tasks.preview import field_label

if TYPE_CHECKING:
    from app.cli.terminal import Terminal
    from app.tasks.preview import Preview, PreviewDocument, PreviewTicket

LINES_OF_A_DESCRIPTION = 4
LONGEST_LINE = 90


def show_preview(terminal: Terminal, preview: Preview, *, file_count: int) -> ExitCode:
    """Print the preview, and return an exit code that says whether there are problems.

    `file_count` is how many files were given, readable or not.
    """
    preview = with_option_names(preview, option_flag)
    code = ExitCode.USAGE if preview.problem_count else ExitCode.OK
    if terminal.is_json:
        terminal.write_json(preview.model_dump(mode="json") | {"exit_code": int(code)})
        return code
    size = size_text(sum(document.byte_count for document in preview.documents))
    unread = file_count - len(preview.documents)
    documents = count_text(file_count, "document")
    documents = f"{len(preview.documents):,} of {documents}" if unread > 0 else documents
    terminal.say(f"Preview of {documents}, {size}; nothing is stored", style="bold")
    for document in preview.documents:
        _show_document(terminal, document)
    if preview.tickets:
        terminal.say()
        terminal.say("The first tickets, as Jira will show them", style="bold")
    for ticket in preview.tickets:
        _show_ticket(terminal, ticket)
    print_notes(terminal, [note.text for note in preview.notes])
    terminal.say()
    issues = count_text(preview.ticket_count, "issue")
    kinds = ", ".join(f"{count:,} {name}" for name, count in preview.issue_types.items())
    files = count_text(preview.import_file_count, "import file")
    total = f"{issues} ({kinds}) in {files}" if kinds else issues
    if code == ExitCode.OK:
        terminal.say(f"✓ {total}; no problems", style="bold green")
        terminal.say("  To open the session: the same command without --dry-run")
        return code
    terminal.say(f"✗ {total}; {count_text(preview.problem_count, 'problem')}", style="bold red")
    for problem in preview.problems:
        lines = [("  Error", problem.message), ("  Next", problem.next_step)]
        print_labelled(terminal.people, lines, "red")
    more = preview.problem_count - len(preview.problems)
    if more:
        terminal.say(f"  … and {more:,} more", style="dim")
    return code


def _show_document(terminal: Terminal, document: PreviewDocument) -> None:
    terminal.say()
    tickets = count_text(document.ticket_count, "ticket")
    terminal.say(f"{document.name} · {size_text(document.byte_count)} · {tickets}", style="bold")
    for shown in document.tables:
        of = f"an export of {shown.origin}" if shown.origin else ""
        name = shown.name.removeprefix(document.name).lstrip(", ")
        if name or of:
            terminal.say(f"  {' · '.join(filter(None, (name, of)))}", style="dim")
        table = Table(box=None, padding=(0, 2), show_edge=False, header_style="bold")
        table.add_column("  column", overflow="fold")
        table.add_column("becomes", overflow="fold")
        for column in shown.columns:
            becomes = (
                "left out" if column.is_left_out else column.label or "text in the description"
            )
            style = None if column.field else "dim"
            table.add_row(f"  {escape(printable(column.column))}", escape(becomes), style=style)
        terminal.people.print(table)


def _show_ticket(terminal: Terminal, ticket: PreviewTicket) -> None:
    place = place_text(ticket.source_name, ticket.source_row)
    below = f" · below {ticket.parent}" if ticket.parent else ""
    terminal.say(f"  {ticket.number}. {ticket.issue_type} · {ticket.summary}")
    terminal.say(f"     {place}{below}", style="dim")
    for name, value in ticket.fields.items():
        terminal.say(f"     {field_label(name)}: {field_text(value)}")
    lines = list(text_lines(ticket.description))
    for line in lines[:LINES_OF_A_DESCRIPTION]:
        cut = line if len(line) <= LONGEST_LINE else f"{line[: LONGEST_LINE - 1].rstrip()}…"
        terminal.say(f"     │ {cut}")
    if len(lines) > LINES_OF_A_DESCRIPTION:
        terminal.say("     │ …", style="dim")
