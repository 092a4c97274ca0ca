"""A session's tickets as one site takes them, resolved and checked before anything is sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.tasks.adf.validation import find_violations
from app.tasks.jira.project import missing_rights_error, read_project, read_screens
from app.tasks.jira.resolving import Resolver
from app.tasks.jira_import import issue_fields
from app.values.results import MISFIT, NO_FIELDS, Finding, TicketDraft, field_path

if TYPE_CHECKING:
    from app.tasks.context import TaskContext
    from app.tasks.jira.client import JiraClient
    from app.tasks.jira.project import SiteIssueType, SiteProject
    from app.tasks.jira.resolving import Mismatch

FINDINGS_PER_TICKET = 20

_PEOPLE = ("assignee", "reporter")


@dataclass(frozen=True, slots=True)
class PlannedTicket:
    """A ticket with the fields that the site takes, but for project, summary, description, parent.

    Attributes:
        number: the ticket's (first is 1).

    """

    number: int
    ticket: TicketDraft
    fields: dict[str, Any]

    def fields_json(self, project_key: str, *, parent_key: str | None) -> str:
        """Return the `fields` of the request for it.

        Raises:
            ContentViolation: the description is no ADF document.

        """
        before = {"project": {"key": project_key}, "issuetype": self.fields["issuetype"]}
        after = {name: value for name, value in self.fields.items() if name != "issuetype"}
        if parent_key is not None:
            after["parent"] = {"key": parent_key}
        return issue_fields(self.number, self.ticket, before, after)


@dataclass(frozen=True, slots=True)
class Plan:
    """The tickets of a session, against one site.

    Attributes:
        findings: everything that the site, or Jira, would not take, of tickets without an issue.
        tickets: yields all of them in order; with findings, those that cannot be sent are missing.

    """

    project: SiteProject
    findings: list[Finding]
    tickets: Callable[[], Iterator[PlannedTicket]]


def plan_tickets(
    context: TaskContext,
    client: JiraClient,
    project_key: str,
    *,
    has_issue: Callable[[int], bool] = lambda _number: False,
) -> Plan:
    """Resolve all tickets against the site, and check their descriptions.

    Tickets that have an issue already are not checked again.

    Raises:
        ConfigurationError: there is no such project, or the account lacks a right in it.
        JiraDenied, JiraUnavailable: as every request.

    """
    project = read_project(client, project_key)
    if project.missing_rights:
        raise missing_rights_error(project)
    resolver = Resolver(client, project, default_type=context.options.issue_type)
    types: list[SiteIssueType | None] = []
    people: dict[str, None] = {}
    parents: dict[str, None] = {}
    for ticket in context.tickets():
        fields = _fields_of(ticket)
        types.append(resolver.issue_type_of(fields))
        people |= dict.fromkeys(str(fields[name]) for name in _PEOPLE if name in fields)
        if "parent" in fields:
            parents[str(fields["parent"])] = None
    with ThreadPoolExecutor(1) as pool:
        looked_up = pool.submit(resolver.prepare, people, parents)
        known = [each for each in types if each is not None]
        is_any_unknown = len(known) < len(types)
        wanted = project.issue_types if is_any_unknown else known
        read_screens(client, project, {each.name for each in wanted})
        looked_up.result()

    def resolved() -> Iterator[tuple[PlannedTicket, tuple[Mismatch, ...]]]:
        for number, ticket in enumerate(context.tickets(), 1):
            parent = ticket.parent
            made = resolver.resolve(
                _fields_of(ticket),
                parent_type=None if parent is None else types[parent - 1],
                has_parent=parent is not None,
            )
            yield PlannedTicket(number, ticket, made.fields), made.mismatches

    findings: list[Finding] = []
    limit = context.settings.max_description_characters
    for planned, mismatches in resolved():
        if has_issue(planned.number):
            continue
        ticket = planned.ticket
        origin = (planned.number, ticket.title, ticket.source_name, ticket.source_row)
        findings += [
            Finding(*origin, field_path(each.field_id), MISFIT, f"{each.field}: {each.reason}")
            for each in mismatches
        ]
        violations = find_violations(
            json.loads(ticket.description), max_characters=limit, limit=FINDINGS_PER_TICKET
        )
        findings += [Finding(*origin, each.path, each.rule, each.reason) for each in violations]
    return Plan(
        project,
        findings,
        lambda: (planned for planned, _mismatches in resolved() if planned.fields),
    )


def _fields_of(ticket: TicketDraft) -> dict[str, Any]:
    fields: dict[str, Any] = {} if ticket.fields == NO_FIELDS else json.loads(ticket.fields)
    return fields
