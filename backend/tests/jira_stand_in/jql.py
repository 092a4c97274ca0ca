"""The part of JQL that the stand-in reads: clauses joined by AND, and ORDER BY."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.jira_stand_in.site import Account, Issue

_CLAUSE = re.compile(
    r"""\s*(?P<field>\w+)\s*
        (?:(?P<operator>>=|<=|!=|=|>|<)\s*(?P<value>"[^"]*"|[\w./:-]+(?:\(\))?)
          |(?P<in>in)\s*\((?P<values>[^)]*)\))\s*""",
    re.VERBOSE | re.IGNORECASE,
)
_AND = re.compile(r"\s+and\s+", re.IGNORECASE)
_ORDER_BY = re.compile(r"\border\s+by\b", re.IGNORECASE)
_ORDER = re.compile(r"(created|key|id|issuekey)(\s+(asc|desc))?", re.IGNORECASE)
_RELATIVE = re.compile(r"-(\d+)([wdhm])")
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes"}


class UnreadableJql(Exception):  # noqa: N818 - what is wrong with it
    """JQL that Jira would refuse, or that this stand-in does not know."""


@dataclass(frozen=True)
class Query:
    """JQL that was read: which issues, in which order."""

    tests: list[Callable[[Issue], bool]]
    is_descending: bool

    def matches(self, issue: Issue) -> bool:
        """Whether the issue is among those sought."""
        return all(test(issue) for test in self.tests)


def read_jql(jql: str, account: Account, now: float) -> Query:
    """Return the query.

    Raises:
        UnreadableJql: Jira would refuse it, or it is more than the stand-in knows.

    """
    conditions, *orders = (part.strip() for part in _ORDER_BY.split(jql, maxsplit=1))
    order = orders[0] if orders else "key"
    if not conditions:
        raise UnreadableJql("Unbounded JQL queries are not allowed here.")
    match = re.fullmatch(r"(created|key|id|issuekey)(\s+(asc|desc))?", order, re.IGNORECASE)
    if match is None:
        raise UnreadableJql(f"Unknown order: {order}")
    tests = [
        _test(clause, account, now)
        for clause in re.split(r"\s+and\s+", conditions, flags=re.IGNORECASE)
    ]
    return Query(tests, (match.group(3) or "").lower() == "desc")


def _test(clause: str, account: Account, now: float) -> Callable[[Issue], bool]:
    match = _CLAUSE.fullmatch(clause)
    if match is None:
        raise UnreadableJql(f"Error in the JQL Query: {clause!r} cannot be read.")
    field = match["field"].lower()
    values = match["values"].split(",") if match["in"] else [match["value"]]
    wanted = [value.strip().strip('"') for value in values]
    operator = match["operator"] or "="
    if field == "project" and operator == "=":
        return lambda issue: issue.project.key in wanted
    if field in {"key", "issuekey", "id"} and operator == "=":
        return lambda issue: issue.key in wanted or issue.id in wanted
    if field in {"creator", "reporter"} and operator == "=":
        ids = [account.account_id if value == "currentUser()" else value for value in wanted]
        return lambda issue: issue.creator.account_id in ids
    if field == "created" and operator in {">=", ">"}:
        since = _moment(wanted[0], now)
        return lambda issue: issue.created_at >= since
    raise UnreadableJql(f"Field '{field}' with {operator} is not known to the stand-in.")


def _moment(text: str, now: float) -> float:
    relative = _RELATIVE.fullmatch(text)
    if relative:
        span = dt.timedelta(**{_UNITS[relative[2]]: int(relative[1])})
        return now - span.total_seconds()
    for form in ("%Y-%m-%d %H:%M", "%Y/%m/%d %H:%M", "%Y-%m-%d", "%Y/%m/%d"):
        try:
            return dt.datetime.strptime(text, form).replace(tzinfo=dt.UTC).timestamp()
        except ValueError:
            continue
    raise UnreadableJql(f"Date value '{text}' is invalid.")
