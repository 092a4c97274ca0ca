"""A session's issues, read back from Jira: each as it was sent, and none twice."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

from app.tasks.jira.comparing import differs
from app.tasks.jira.delivery import PROPERTY, Status, find_issues
from app.tasks.jira.sites import open_client
from app.tasks.jira_import import project_of
from app.values.results import DIFFERS, DOUBLED, MISSING, Finding, field_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.tasks.context import TaskContext
    from app.tasks.jira.client import JiraClient
    from app.values.results import JiraIssue, TicketDraft

ISSUES_PER_FETCH = 100
"""The most that `issue/bulkfetch` takes."""

_NOT_COMPARED = frozenset(("project",))
"""An issue that was moved is found by its key all the same."""


def read_back(context: TaskContext) -> list[Finding]:
    """Return all that differs between a delivered session and its issues in Jira.

    Raises:
        ConfigurationError: the site's settings cannot be used, or it refuses the account.
        JiraUnavailable: it could not be reached for `JIRA_PATIENCE_SECONDS`.
        TaskCancelled: the task is to stop.

    """
    status = Status(context)
    with open_client(context.settings, context.options.to or "", wait=status.wait) as client:
        return [*_differences(context, client, status), *_doubles(context, client)]


def _differences(context: TaskContext, client: JiraClient, status: Status) -> Iterator[Finding]:
    total = context.counts().tickets
    status.begin(total)
    sent = _sent(context)
    tickets = enumerate(context.tickets(), 1)
    issues = {issue.ticket: issue for issue in context.issues()}
    while page := list(islice(tickets, ISSUES_PER_FETCH)):
        keys = [issues[number].key for number, _ticket in page if number in issues]
        bodies = list(islice(sent, len(page)))
        names = sorted({name for fields in bodies for name in fields} - _NOT_COMPARED)
        found = {
            str(each.get("key")): each
            for each in (client.fetch(keys, fields=names, properties=[PROPERTY]) if keys else [])
        }
        ids = {str(each.get("id")): each for each in found.values()}
        for (number, ticket), fields in zip(page, bodies, strict=True):
            issue = issues.get(number)
            read = None
            if issue is not None:
                read = found.get(issue.key) or ids.get(issue.issue_id)
            yield from _compared(context, number, ticket, fields, issue, read)
        status.report(page[-1][0], "reading the issues back")


def _compared(  # noqa: PLR0913, PLR0917 - a ticket from all sides
    context: TaskContext,
    number: int,
    ticket: TicketDraft,
    fields: dict[str, Any],
    issue: JiraIssue | None,
    read: dict[str, Any] | None,
) -> Iterator[Finding]:
    origin = (number, ticket.title, ticket.source_name, ticket.source_row)
    if issue is None or read is None:
        name = issue.key if issue else "its issue"
        reason = f"{name} is not there, or the account may not see it: restore it in Jira"
        yield Finding(*origin, "", MISSING, reason)
        return
    value = (read.get("properties") or {}).get(PROPERTY) or {}
    if (value.get("session"), value.get("ticket")) != (str(context.session_id), number):
        reason = f"{issue.key} is not this ticket's issue: its property names ticket "
        yield Finding(*origin, "", DIFFERS, f"{reason}{value.get('ticket')}")
        return
    shown = read.get("fields") or {}
    for name, wanted in fields.items():
        if name not in _NOT_COMPARED and differs(wanted, shown.get(name)):
            reason = f"{name} of {issue.key} is not as it was sent: correct it in Jira"
            yield Finding(*origin, field_path(name), DIFFERS, reason)


def _sent(context: TaskContext) -> Iterator[dict[str, Any]]:
    for body in context.exports():
        for issue in json.loads(body.body)["issueUpdates"]:
            yield issue["fields"]


def _doubles(context: TaskContext, client: JiraClient) -> Iterator[Finding]:
    """Find tickets with several issues, and say which of these to delete."""
    projects = {issue.key.rpartition("-")[0] for issue in context.issues()}
    projects.add(project_of(context.options, context.settings))
    found: dict[int, list[tuple[str, str]]] = {}
    for ticket, issue in find_issues(
        client,
        sorted(projects),
        str(context.session_id),
        age_seconds=context.seconds_since_processing(),
    ):
        found.setdefault(ticket, []).append(issue)
    doubled = {
        number: sorted(set(issues), key=lambda issue: int(issue[0]))
        for number, issues in found.items()
        if len(set(issues)) > 1  # a page may repeat an issue, where more are created meanwhile
    }
    if not doubled:
        return
    kept = {issue.ticket: issue.issue_id for issue in context.issues()}
    for number, issues in sorted(doubled.items()):
        draft = next(context.tickets(after=number - 1, limit=1), None)
        if draft is None:
            continue
        right = kept.get(number, issues[0][0])
        stays = next((key for id_, key in issues if id_ == right), issues[0][1])
        surplus = [key for _id, key in issues if key != stays]
        reason = f"it has {len(issues)} issues: delete {', '.join(surplus)} in Jira, keep {stays}"
        yield Finding(number, draft.title, draft.source_name, draft.source_row, "", DOUBLED, reason)
