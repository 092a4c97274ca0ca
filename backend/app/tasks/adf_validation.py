"""The task `adf_validation`: checks every exported description against Jira's rules."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from app.core.errors import ContentViolation
from app.tasks.adf.validation import find_violations
from app.tasks.jira.errors import FINDINGS_IN_CONTEXT, MAX_FINDINGS, RefusedByJira
from app.tasks.jira.reading_back import read_back
from app.values.results import Finding, TaskResults

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from app.tasks.adf.violation import Violation
    from app.tasks.context import TaskContext

FINDINGS_PER_TICKET = 20


class DeliveryDiffers(ContentViolation):  # its name is `DELIVERY_DIFFERS`
    """Issues in Jira that are not as they were sent, missing or doubled.

    Attributes:
        results: the findings, which the engine writes with the failure.
        details: the first of them and how many there are, for the failure context.

    """

    def __init__(self, findings: Sequence[Finding]) -> None:
        first = findings[0]
        more = f" ({len(findings) - 1:,} more findings)" if len(findings) > 1 else ""
        super().__init__(
            f"Ticket {first.ticket} “{first.title}” is not in Jira as it was sent: "
            f"{first.reason}{more}",
            next_step="Correct it in Jira and retry. Every finding is listed with the session.",
        )
        self.results = TaskResults(findings=findings[:MAX_FINDINGS])
        self.details = {
            "refused_ticket_count": len({finding.ticket for finding in findings}),
            "finding_count": len(findings),
            "findings": [asdict(finding) for finding in findings[:FINDINGS_IN_CONTEXT]],
        }


def validate_export(context: TaskContext) -> None:
    """Return if Jira would take every exported description; progress counts issues.

    The issues of a session that was delivered to Jira are also read back and compared.

    Raises:
        RefusedByJira: it would not; each reason is a finding.
        DeliveryDiffers: issues differ from what was sent, are missing or doubled.

    """
    total = context.counts().tickets
    limit = context.settings.max_description_characters
    findings: list[Finding] = []
    found = refused = 0
    for number, (summary, description) in enumerate(_issues(context), 1):
        violations = find_violations(description, max_characters=limit, limit=FINDINGS_PER_TICKET)
        if violations:
            found += len(violations)
            refused += 1
            if len(findings) < MAX_FINDINGS:
                origin = _origin_of(context, number, summary)
                findings.extend(Finding(number, *origin, *_parts(each)) for each in violations)
        context.progress(number, total)
    if not refused and context.options.to is not None:
        different = read_back(context)
        if different:
            raise DeliveryDiffers(different)
    if refused:
        raise RefusedByJira(findings[:MAX_FINDINGS], found=found, refused=refused)


def _issues(context: TaskContext) -> Iterator[tuple[str, Any]]:
    for body in context.exports():
        for issue in json.loads(body.body)["issueUpdates"]:
            yield issue["fields"]["summary"], issue["fields"]["description"]


def _origin_of(context: TaskContext, number: int, summary: str) -> tuple[str, str, int]:
    """Return the ticket's title, document and row; read only where something is wrong.

    A team's own export may have issues that come from no ticket: then the summary stands for it.
    """
    ticket = next(context.tickets(after=number - 1, limit=1), None)
    if ticket is None:
        return summary, "", 0
    return ticket.title, ticket.source_name, ticket.source_row


def _parts(violation: Violation) -> tuple[str, str, str]:
    return violation.path, violation.rule, violation.reason
