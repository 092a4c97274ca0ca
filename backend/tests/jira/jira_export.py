"""A CSV export of Jira's, of any length, and the issues that it is to become."""

from __future__ import annotations

import csv
import io
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.jira_stand_in.site import Site

HEADER = (
    "Summary", "Issue key", "Issue id", "Parent id", "Issue Type", "Status", "Priority",
    "Assignee", "Created", "Due Date", "Component/s", "Component/s", "Fix Version/s", "Labels",
    "Labels", "Labels", "Description", "Environment", "Original Estimate", "Comment",
)  # fmt: skip
PRIORITIES = ("Highest", "High", "Medium", "Low", "Lowest")
DESCRIPTION = (
    "h2. Part {n}\n\nIt is *urgent*, see {{{{pay.py}}}}.\n\n* one\n** two\n\n"
    "{{code:java}}\nint n = {n};\n{{code}}\n"
)


def jira_export(count: int) -> tuple[str, dict[str, dict[str, Any]]]:
    """Return an export with so many rows in no order, and what each is to become, by summary."""
    expected: dict[str, dict[str, Any]] = {}
    rows: list[list[str]] = []
    for n in range(1, count + 1):
        kind, parent = _place(n)
        day = 1 + n % 28
        labels = [f"team-{n % 4}", "two words"][: 1 + n % 2]
        components = ["Cart", "Search"][: 1 + n % 2]
        summary = f"{kind} {n}, with “quotes” and = signs"
        rows.append([
            summary, f"OLD-{n}", str(10_000 + n), str(10_000 + parent) if parent else "", kind,
            "Open", PRIORITIES[n % 5], "Ann Other" if n % 3 else "", "02/Jan/26 3:04 PM",
            f"{day:02}/Dec/26 12:00 AM", *_padded(components, 2), "1.0" if n % 2 else "",
            *_padded(labels, 3), DESCRIPTION.format(n=n), "Linux" if n % 2 else "",
            str(3600 * (1 + n % 7)), f"02/Jan/26 3:04 PM;ann;Said {n}",
        ])  # fmt: skip
        expected[summary] = {
            "issuetype": kind,
            "priority": PRIORITIES[n % 5],
            "assignee": "Ann Other" if n % 3 else None,
            "duedate": f"2026-12-{day:02}",
            "components": components,
            "fixVersions": ["1.0"] if n % 2 else [],
            "labels": ["-".join(label.split()) for label in labels],
            "estimate": f"{1 + n % 7}h",
            "parent": f"{_place(parent)[0]} {parent}, with “quotes” and = signs" if parent else "",
            "heading": f"Part {n}",
            "code": f"int n = {n};",
        }
    random.Random(25).shuffle(rows)
    written = io.StringIO()
    csv.writer(written).writerows([HEADER, *rows])
    return written.getvalue(), expected


def issues_of(site: Site) -> dict[str, dict[str, Any]]:
    """Return the site's issues in the words of `jira_export`, by summary."""
    found: dict[str, dict[str, Any]] = {}
    for issue in list(site.issues.values()):
        of = issue.fields
        parent = of.get("parent")
        blocks = of["description"]["content"]
        found[of["summary"]] = {
            "issuetype": issue.issue_type.name,
            "priority": of["priority"]["name"],
            "assignee": (of.get("assignee") or {}).get("displayName"),
            "duedate": of["duedate"],
            "components": [each["name"] for each in of["components"]],
            "fixVersions": [each["name"] for each in of.get("fixVersions") or []],
            "labels": of["labels"],
            "estimate": of["timetracking"]["originalEstimate"],
            "parent": site.issues[parent["key"]].fields["summary"] if parent else "",
            "heading": _text(next(each for each in blocks if each["type"] == "heading")),
            "code": _text(next(each for each in blocks if each["type"] == "codeBlock")),
        }
    return found


def _place(n: int) -> tuple[str, int]:
    """Return the issue type of a row, and the row of its parent (0: none)."""
    if n % 10 == 1:
        return "Epic", 0
    epic = n - (n - 1) % 10
    return ("Sub-task", epic + 1) if n % 10 == 0 else ("Bug" if n % 2 else "Story", epic)


def _padded(values: list[str], count: int) -> list[str]:
    return [*values, *[""] * (count - len(values))]


def _text(block: dict[str, Any]) -> str:
    return "".join(each.get("text", "") for each in block["content"])
