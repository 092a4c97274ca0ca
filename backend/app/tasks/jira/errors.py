"""Errors of a conversation with Jira.

::

    ConfigurationError
    └── JiraDenied          the site refuses the account, or is no Jira (for an operator to fix)
    JiraUnavailable         it cannot be reached, or asks for patience (passes)
    └── OutcomeUnknown      a request was sent and its response never came
    ContentViolation
    └── JiraRefused         it refuses what it was asked (for the user to fix)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.errors import ConfigurationError, ContentViolation, TaskError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class JiraDenied(ConfigurationError):  # noqa: N818 - reads as the state it names
    """The site refuses the account, or does not speak Jira's REST API."""


class JiraUnavailable(TaskError):  # noqa: N818 - reads as the state it names
    """The site cannot be reached, or asks for more patience than there is."""

    default_next_step = (
        "See whether the site is up (https://jira-software.status.atlassian.com), and its address "
        "right."
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
