"""Errors of a conversation with Jira.

::

    ConfigurationError
    └── JiraDenied          the site refuses the account, or is no Jira (for an operator to fix)
    JiraUnavailable         it cannot be reached, or asks for patience (passes)
    └── OutcomeUnknown      a request was sent and its response never came
    ContentViolation
    ├── JiraRefused         it refuses what it was asked (for the user to fix)
    └── RefusedByJira       it would refuse descriptions (for the user to fix, by a new session)
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from app.core.errors import ConfigurationError, ContentViolation, TaskError
from app.core.wording import count_text
from app.tasks.documents.decoding import place_text
from app.values.results import TaskResults

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from app.values.results import Finding

MAX_FINDINGS = 1_000
"""Findings that are kept; all are counted."""

FINDINGS_IN_CONTEXT = 10
"""Findings that the failure context repeats."""


class JiraDenied(ConfigurationError):  # noqa: N818 - reads as the state it names
    """The site refuses the account, or does not speak Jira's REST API."""


class JiraUnavailable(TaskError):  # noqa: N818 - reads as the state it names
    """The site cannot be reached, or asks for more patience than there is."""

    default_next_step = (
        "See whether the site is up (https://jira-software.status.atlassian.com), and whether its "
        "address is right."
    )


class OutcomeUnknown(JiraUnavailable):
    """A request that changes something was sent, and no valid response came back.

    Attributes:
        wait_seconds: how long the site asked to wait, if it did.

    """

    def __init__(self, message: str, *, wait_seconds: float | None = None) -> None:
        super().__init__(message)
        self.wait_seconds = wait_seconds


class JiraRefused(ContentViolation):
    """The site refuses a request.

    Attributes:
        status: of the response.
        errors: its reasons by field.
        messages: its other reasons.

    """

    default_next_step = (
        "Correct what Jira names, then retry. If it names nothing, check the site's address and "
        "the account's rights."
    )

    def __init__(
        self, message: str, status: int, errors: Mapping[str, str], messages: Sequence[str]
    ) -> None:
        super().__init__(message)
        self.status = status
        self.errors = dict(errors)
        self.messages = list(messages)


class RefusedByJira(ContentViolation):  # its name is `REFUSED_BY_JIRA`
    """Descriptions that Jira would refuse, of tickets without an issue.

    Attributes:
        results: the findings, which the engine writes with the failure.
        details: the first of them and how many there are, for the failure context.

    """

    def __init__(self, findings: Sequence[Finding], *, found: int, refused: int) -> None:
        is_of_length = all(finding.rule == "text_length" for finding in findings)
        super().__init__(
            _message(findings[0], found, refused),
            next_step="Open a new session that splits or cuts what is too long."
            if is_of_length
            else "Correct the documents and open a new session with them. Every finding is listed "
            "with this one.",
            options=("too_long",) if is_of_length else (),
        )
        self.results = TaskResults(findings=findings)
        self.details = {
            "refused_ticket_count": refused,
            "finding_count": found,
            "findings": [asdict(finding) for finding in findings[:FINDINGS_IN_CONTEXT]],
        }


def _message(first: Finding, found: int, refused: int) -> str:
    more = (
        f" ({count_text(found - 1, 'more finding')} in {count_text(refused, 'ticket')})"
        if found > 1
        else ""
    )
    where = f" at {first.path}" if first.path else ""
    origin = f" ({place_text(first.source_name, first.source_row)})" if first.source_name else ""
    return (
        f"Jira would refuse ticket {first.ticket} “{first.title}”{origin}{where}: "
        f"{first.reason}{more}"
    )
