"""`jira check`: check that a Jira site is ready for a session's issues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings
from app.cli.parameters import AsJson, Project
from app.cli.reporting import print_error
from app.cli.terminal import Terminal
from app.tasks.jira.project import (
    RIGHTS,
    SiteProject,
    missing_rights_error,
    read_project,
    read_screens,
)
from app.tasks.jira.sites import open_client
from app.tasks.jira_import import check_project_key

if TYPE_CHECKING:
    from app.tasks.jira.client import JiraClient

PATIENCE_SECONDS = 5.0
"""Short, because a user waits for the result."""

jira_application = typer.Typer(no_args_is_help=True, help="Check access to Jira.")


@jira_application.command("check")
def check_command(
    project: Project = None,
    to: Annotated[
        str, typer.Option("--to", metavar="jira[:NAME]", help="The site, if it is not the default.")
    ] = "jira",
    as_json: AsJson = False,
) -> ExitCode:
    """Check the account, its permissions, and the fields that a project's issues need."""
    terminal = Terminal(is_json=as_json)
    if project is not None:
        check_project_key(project)
    with open_client(load_settings(), to, patience_seconds=PATIENCE_SECONDS) as client:
        if project is None:
            return _check_site(terminal, client)
        found = read_project(client, project)
        read_screens(client, found, [each.name for each in found.issue_types])
    if as_json:
        terminal.write_json(project_document(found))
    else:
        _print_project(terminal, found)
    if not found.missing_rights:
        return ExitCode.OK
    print_error(terminal.err, missing_rights_error(found))
    return ExitCode.USAGE


def _check_site(terminal: Terminal, client: JiraClient) -> ExitCode:
    account, info = client.myself(), client.server_info()
    name, url = account.get("displayName", "?"), info.get("baseUrl", client.site.url)
    if terminal.is_json:
        terminal.write_json({"site": url, "account": name, "exit_code": 0})
    else:
        terminal.say(f"{url} · signed in as {name}", style="bold")
        terminal.say("  Add --project KEY to see rights, issue types and fields.")
    return ExitCode.OK


def project_document(found: SiteProject) -> dict[str, Any]:
    """Return what the site reports about a project, as JSON."""
    return {
        "site": found.base_url,
        "account": found.account_name,
        "project": found.key,
        "rights": found.rights,
        "components": found.components,
        "versions": found.versions,
        "issue_types": [
            {
                "name": each.name,
                "level": each.level,
                "required": [f.name for f in each.screen.values() if f.is_required],
                "settable": [f.name for f in each.screen.values()],
            }
            for each in found.issue_types
        ],
        "exit_code": int(ExitCode.USAGE if found.missing_rights else ExitCode.OK),
    }


def _print_project(terminal: Terminal, found: SiteProject) -> None:
    terminal.say(
        f"{found.base_url} · project {found.key} · signed in as {found.account_name}", style="bold"
    )
    for name, words in RIGHTS.items():
        mark, style = ("✓", "green") if found.rights.get(name) else ("✗", "yellow")
        terminal.say(f"  {mark} may {words}", style=style)
    table = Table(box=None, padding=(0, 2), show_edge=False, header_style="bold")
    for heading in ("issue type", "needs", "takes"):
        table.add_column(heading, overflow="fold")
    for each in found.issue_types:
        named = [(f, f"{f.name} ({f.id})" if f.custom else f.name) for f in each.screen.values()]
        needs = [name for f, name in named if f.is_required]
        takes = [name for f, name in named if not f.is_required]
        table.add_row(*(escape(text) for text in (each.name, ", ".join(needs), ", ".join(takes))))
    terminal.say()
    terminal.out.print(table)
    for label, names in (("components", found.components), ("versions", found.versions)):
        terminal.say(f"  {label}: {', '.join(names) or 'none'}", style="dim")
