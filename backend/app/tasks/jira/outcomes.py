"""The outcome of one request of a delivery, as its step keeps it: created and refused tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def outcome(created: Mapping[int, tuple[str, str]]) -> dict[str, Any]:
    """Return the outcome of a request that created these and refused none."""
    return {"created": {str(ticket): issue for ticket, issue in created.items()}, "refused": {}}


def outcome_of(answer: Mapping[str, Any], tickets: Sequence[int]) -> dict[str, Any] | None:
    """Return what a response says of each ticket; None where it does not say it of all.

    Jira lists the created issues in the order of the request, and refusals by their positions.
    """
    issues, errors = answer.get("issues") or [], answer.get("errors") or []
    refused: dict[int, dict[str, str]] = {}
    for error in errors:
        position = error.get("failedElementNumber")
        if not isinstance(position, int) or not 0 <= position < len(tickets):
            return None
        refused[position] = _reasons(error)
    left = [ticket for position, ticket in enumerate(tickets) if position not in refused]
    if len(left) != len(issues) or not all(issue.get("key") for issue in issues):
        return None
    return {
        "created": {
            str(ticket): [str(issue["id"]), str(issue["key"])]
            for ticket, issue in zip(left, issues, strict=True)
        },
        "refused": {str(tickets[position]): reasons for position, reasons in refused.items()},
    }


def _reasons(error: Mapping[str, Any]) -> dict[str, str]:
    said = error.get("elementErrors") or {}
    reasons = {str(name): str(reason) for name, reason in (said.get("errors") or {}).items()}
    messages = [str(message) for message in said.get("errorMessages") or []]
    if messages or not reasons:
        reasons[""] = "; ".join(messages) or f"refused with status {error.get('status')}"
    return reasons
