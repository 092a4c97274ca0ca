"""A session's tickets as issues of a Jira site, each created once.

Jira has no idempotency keys: a request whose response is lost may have created its issues. So each
request is two lasting steps (`TaskContext.step`), between which it is sent::

    intent N    the tickets that the request is for, kept before it is sent
    issues N    what was created, and what Jira refused

Steps that last until the export completes tell all that was ever sent, so that nothing is searched
for but the issues of an intent without its issues. An attempt that finds one looks for them before
it sends anything: each issue carries the property `PROPERTY`, which names session and ticket, and
`search/jql` finds what this account created since the intent. A request may be carried out late
(`JIRA_TIMEOUT_SECONDS`), and the index may lag (`JIRA_INDEX_SECONDS`): an issue counts as not
created only when it is not found until both have passed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import quote

from app.core.errors import ContentViolation, StaleClaim
from app.core.wording import count_text
from app.tasks.documents.decoding import place_text
from app.tasks.jira.errors import (
    FINDINGS_IN_CONTEXT,
    MAX_FINDINGS,
    JiraDenied,
    JiraRefused,
    JiraUnavailable,
    OutcomeUnknown,
    RefusedByJira,
)
from app.tasks.jira.outcomes import outcome, outcome_of
from app.tasks.jira.planning import PlannedTicket, plan_tickets
from app.tasks.jira.sites import open_client
from app.tasks.jira.waiting import moment_of
from app.tasks.jira_import import MAXIMUM_ISSUES_PER_BODY, bulk_body, project_of
from app.values.results import (
    MISFIT,
    REFUSED,
    ExportBody,
    Finding,
    JiraIssue,
    TaskResults,
    field_path,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from app.tasks.context import TaskContext
    from app.tasks.jira.client import JiraClient
    from app.tasks.jira.planning import Plan

logger = logging.getLogger(__name__)

PROPERTY = "session-tasks"
"""The entity property by which an issue is known: `{"session", "ticket", "digest"}`."""

_SECONDS_BETWEEN_CHECKS = 0.2
_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 5.0
_MOST_LOST_REQUESTS = 5
_SLACK_SECONDS = 10.0
"""How far the clocks of Jira's `Date` and `created` may differ."""

_Found: TypeAlias = dict[int, tuple[str, str]]
"""Id and key of issues, by ticket."""

_compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


class DeliveryRefused(ContentViolation):
    """Tickets that the site does not take; those that it took are created.

    Attributes:
        results: the findings, and the issues that were created.
        details: the first findings and how many there are, for the failure context.

    """

    def __init__(
        self,
        findings: Sequence[Finding],
        issues: Sequence[JiraIssue],
        *,
        next_step: str,
        options: Sequence[str] = (),
    ) -> None:
        tickets = len({finding.ticket for finding in findings})
        first = findings[0]
        more = f" (and {count_text(tickets - 1, 'more ticket')})" if tickets > 1 else ""
        super().__init__(
            f"Jira does not take ticket {first.ticket} “{first.title}” "
            f"({place_text(first.source_name, first.source_row)}): {first.reason}{more}",
            next_step=next_step,
            options=options,
        )
        self.results = TaskResults(findings=findings[:MAX_FINDINGS], issues=issues)
        self.details = {
            "refused_ticket_count": tickets,
            "finding_count": len(findings),
            "findings": [asdict(finding) for finding in findings[:FINDINGS_IN_CONTEXT]],
        }


def deliver_tickets(context: TaskContext) -> TaskResults:
    """Create an issue for each ticket that has none yet; progress counts issues.

    Raises:
        RefusedByJira: descriptions are invalid; nothing was sent.
        DeliveryRefused: the site does not take some of them; the others are created, unless a
            value does not fit the site, which is found before anything is sent.
        ConfigurationError: the site's settings cannot be used, or it refuses the account.
        JiraUnavailable: it could not be reached for `JIRA_PATIENCE_SECONDS`.
        TaskCancelled: the task is to stop.

    """
    status = Status(context)
    with open_client(context.settings, context.options.to or "", wait=status.wait) as client:
        delivery = _Delivery(context, client, status)
        try:
            return delivery.run()
        except (JiraDenied, JiraRefused, JiraUnavailable) as error:
            error.results = delivery.results()  # type: ignore[union-attr]  # what was created
            raise


class Status:
    """How far a task that speaks with Jira is, and what it waits for."""

    def __init__(self, context: TaskContext) -> None:
        self._context = context
        self._total: int | None = None
        self._done = 0

    def begin(self, total: int) -> None:
        """Count up to `total`."""
        self._total = total

    def report(self, done: int, message: str) -> None:
        """Report how many are done."""
        self._done = done
        self._context.progress(done, self._total, message)

    def wait(self, seconds: float, reason: str) -> None:
        """Wait, show until when, and keep listening for a cancellation.

        Raises:
            TaskCancelled: the task is to stop.

        """
        until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%H:%M:%S")
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self._context.progress(self._done, self._total, f"{reason}; goes on at {until} UTC")
            threading.Event().wait(min(left, _SECONDS_BETWEEN_CHECKS))


class _Delivery:
    def __init__(self, context: TaskContext, client: JiraClient, status: Status) -> None:
        self._context = context
        self._client = client
        self._status = status
        self._session = str(context.session_id)
        self._project = project_of(context.options, context.settings)
        self._total = context.counts().tickets
        self._issues: dict[int, tuple[str, str]] = {}
        """Id and key of each ticket's issue."""
        self._refused: dict[int, dict[str, str]] = {}
        self._created: list[str] = []
        """Keys of the last response."""
        self._request_count = 0
        self._stopped_by: Exception | None = None
        self._base_url = client.site.url

    def run(self) -> TaskResults:
        self._status.begin(self._total)
        self._read_steps()
        plan = plan_tickets(
            self._context, self._client, self._project, has_issue=self._issues.__contains__
        )
        if plan.project.base_url.startswith(("https://", "http://")):
            self._base_url = plan.project.base_url
        is_invalid = any(finding.rule != MISFIT for finding in plan.findings)
        if is_invalid and not self._request_count:  # none was ever sent
            tickets = {finding.ticket for finding in plan.findings}
            raise RefusedByJira(
                plan.findings[:MAX_FINDINGS], found=len(plan.findings), refused=len(tickets)
            )
        if plan.findings:
            raise DeliveryRefused(
                plan.findings,
                self.results().issues,
                next_step="Correct it in Jira, or choose another project or issue type, and "
                f"retry{self._instead_of_a_retry()} Nothing of these was sent.",
                options=self._mending_options(plan.findings),
            )
        self._settle_open_requests()
        self._send_the_rest(plan)
        if self._refused:
            raise DeliveryRefused(
                self._findings(plan),
                self.results().issues,
                next_step="Correct it in Jira, or choose another issue type, and retry: only what "
                "was refused is sent again.",
            )
        return TaskResults(exports=list(self._bodies(plan)), issues=self.results().issues)

    def _instead_of_a_retry(self) -> str:
        """Return the rest of the sentence: a new session would create the others again."""
        if self._issues:
            return ": the others are created, and a new session would create them again."
        return (
            "; or open a new session with corrected documents, other fields for their columns "
            "or another type of parents."
        )

    def _mending_options(self, findings: Sequence[Finding]) -> tuple[str, ...]:
        """Return the options that correct all of this: the type of issues that name none."""
        unknown = f"“{self._context.options.issue_type}”"
        is_of_type = all(
            finding.path == field_path("issuetype") and unknown in finding.reason
            for finding in findings
        )
        return ("issue_type",) if is_of_type else ()

    def results(self) -> TaskResults:
        """Return the issues so far."""
        return TaskResults(
            issues=[
                JiraIssue(ticket, id_, key, f"{self._base_url}/browse/{quote(key)}")
                for ticket, (id_, key) in sorted(self._issues.items())
            ]
        )

    # -- what earlier attempts did ----------------------------------------------------------------

    def _read_steps(self) -> None:
        kept = self._context.steps
        for found in self._outcomes(kept):
            if found is not None:
                self._note(found)
        self._refused.clear()  # they are sent again

    def _outcomes(self, kept: Mapping[str, Any]) -> Iterator[Any]:
        while f"intent {self._request_count + 1}" in kept:
            self._request_count += 1
            yield kept.get(f"issues {self._request_count}")

    def _settle_open_requests(self) -> None:
        """Look for the issues of requests that were broken off."""
        kept = self._context.steps
        for number in range(1, self._request_count + 1):
            if f"issues {number}" not in kept:
                intent = kept[f"intent {number}"]
                self._note(self._keep(f"issues {number}", self._look_for, intent))

    # -- sending ----------------------------------------------------------------------------------

    def _send_the_rest(self, plan: Plan) -> None:
        batch: list[PlannedTicket] = []
        for planned in plan.tickets():
            if planned.number in self._issues:
                continue
            parent = planned.ticket.parent
            if parent is not None and any(each.number == parent for each in batch):
                self._send(batch)
                batch = []
            if parent is not None and parent not in self._issues:
                reason = f"its parent, ticket {parent}, was not created"
                self._refused[planned.number] = {"parent": reason}
                continue
            batch.append(planned)
            if len(batch) == MAXIMUM_ISSUES_PER_BODY:
                self._send(batch)
                batch = []
        if batch:
            self._send(batch)

    def _send(self, batch: list[PlannedTicket]) -> None:
        """Send a request for these tickets, and again for those of a lost one.

        Raises:
            JiraUnavailable: one request after the other was lost.

        """
        for _ in range(_MOST_LOST_REQUESTS):
            self._send_once(batch)
            batch = [
                planned
                for planned in batch
                if planned.number not in self._issues and planned.number not in self._refused
            ]
            if not batch:
                return
        raise JiraUnavailable(
            f"{self._client.site.url} gave no valid response to {_MOST_LOST_REQUESTS} requests in "
            "a row, and created none of their issues"
        )

    def _send_once(self, batch: Sequence[PlannedTicket]) -> None:
        self._request_count += 1
        numbers = [planned.number for planned in batch]
        intent = self._keep(
            f"intent {self._request_count}",
            lambda: {
                "tickets": numbers,
                "project": self._project,
                "since": self._client.site_time(),
            },
        )
        body = bulk_body([self._issue(planned) for planned in batch]).body.encode()
        try:
            self._note(self._keep(f"issues {self._request_count}", self._create, body, intent))
        except StaleClaim:
            if self._created:
                logger.warning(
                    "Session %s: Jira created issues for a run that had lost its claim; delete"
                    " those of them that the session does not list: %s",
                    self._session,
                    ", ".join(self._created),
                )
            raise
        if self._stopped_by is not None:
            raise self._stopped_by

    def _keep(self, name: str, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        result: dict[str, Any] = self._context.step(name, function, *arguments, lasting=True)
        return result

    def _create(self, body: bytes, intent: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and return which of its tickets were created, and which refused."""
        try:
            answer = self._client.create(body)
        except OutcomeUnknown as error:
            if error.wait_seconds:
                self._status.wait(error.wait_seconds, error.message)
            return self._look_for(intent)
        except (JiraDenied, JiraRefused, JiraUnavailable) as error:
            self._stopped_by = error  # nothing was created: that is kept before it is raised
            return outcome({})
        self._created = [str(issue.get("key")) for issue in answer.get("issues") or []]
        found = outcome_of(answer, intent["tickets"])
        return self._look_for(intent) if found is None else found

    def _issue(self, planned: PlannedTicket) -> str:
        parent = planned.ticket.parent
        key = None if parent is None else self._issues[parent][1]
        fields = planned.fields_json(self._project, parent_key=key)
        value = {
            "session": self._session,
            "ticket": planned.number,
            "digest": hashlib.sha256(fields.encode()).hexdigest()[:16],
        }
        properties = _compact([{"key": PROPERTY, "value": value}])
        return f'{{"fields":{fields},"properties":{properties}}}'

    def _bodies(self, plan: Plan) -> Iterator[ExportBody]:
        """Return all issues as they were sent, in the order of the tickets."""
        issues: list[str] = []
        for planned in plan.tickets():
            issues.append(self._issue(planned))
            if len(issues) == MAXIMUM_ISSUES_PER_BODY:
                yield bulk_body(issues)
                issues = []
        if issues:
            yield bulk_body(issues)

    # -- looking ----------------------------------------------------------------------------------

    def _look_for(self, intent: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a request created whose response is unknown."""
        project = intent.get("project", self._project)  # a retry may have named another
        return outcome(self._look(project, float(intent["since"]), set(intent["tickets"])))

    def _look(self, project: str, since: float, wanted: Collection[int]) -> _Found:
        """Search until all these tickets are found, or the index must have them."""
        settings = self._context.settings
        # A request may still be carried out for as long as its response would have been waited for.
        longest = settings.jira_timeout_seconds + settings.jira_index_seconds
        ends_at = time.monotonic() + longest
        pause = _FIRST_PAUSE
        while True:
            is_last = time.monotonic() >= ends_at
            age = self._client.site_time() - since
            found: _Found = {}
            for ticket, issue in find_issues(
                self._client, [project], self._session, age_seconds=age
            ):
                if ticket in wanted:
                    found[ticket] = issue
                if len(found) == len(wanted):
                    return found
            if is_last:
                return found
            left = max(ends_at - time.monotonic(), 0.01)
            self._status.wait(min(pause, left), "Looking for issues whose response was lost")
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _note(self, found: Mapping[str, Any]) -> None:
        created = {int(ticket): (id_, key) for ticket, (id_, key) in found["created"].items()}
        self._issues |= created
        self._refused |= {int(ticket): each for ticket, each in found["refused"].items()}
        self._status.report(len(self._issues), f"creating issues in {self._project}")

    def _findings(self, plan: Plan) -> list[Finding]:
        labels = {"parent": "Parent"} | {
            place.id: place.name
            for issue_type in plan.project.issue_types
            for place in issue_type.screen.values()
        }
        findings = []
        for number, errors in sorted(self._refused.items()):
            ticket = next(self._context.tickets(after=number - 1, limit=1), None)
            if ticket is None:
                continue
            findings += [
                Finding(
                    number, ticket.title, ticket.source_name, ticket.source_row, field_path(name),
                    REFUSED, f"{labels.get(name, name)}: {reason}" if name else reason,
                )
                for name, reason in errors.items()
            ]  # fmt: skip
        return findings


def find_issues(
    client: JiraClient, projects: Iterable[str], session: str, *, age_seconds: float
) -> Iterator[tuple[int, tuple[str, str]]]:
    """Yield ticket, and id and key, of this account's issues of a session, the newest first.

    Those that are older than `age_seconds` are passed over.
    """
    age_seconds += _SLACK_SECONDS
    since = client.site_time() - age_seconds
    minutes = math.ceil(age_seconds / 60) + 1  # JQL counts in minutes
    these = ", ".join(f'"{project}"' for project in projects)
    jql = (
        f'project in ({these}) AND creator = currentUser() AND created >= "-{minutes}m"'
        " ORDER BY created DESC"
    )
    for issue in client.search(jql, fields=["created"], properties=[PROPERTY]):
        created_at = moment_of((issue.get("fields") or {}).get("created"))
        if created_at is not None and created_at.timestamp() < since:
            return
        value = (issue.get("properties") or {}).get(PROPERTY)
        if isinstance(value, dict) and value.get("session") == session:
            yield int(value["ticket"]), (str(issue["id"]), str(issue["key"]))
