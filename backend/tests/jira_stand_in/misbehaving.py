"""Faults on demand: what is done with a request, what is responded, and when."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto


class Does(Enum):
    """How much of the request is carried out."""

    ALL = auto()
    NOTHING = auto()
    SOME = auto()
    """Of a bulk request, the first `count` issues are made; then the server breaks down."""

    LATER = auto()
    """Everything, but `seconds_after` the answer: the client must not believe what it sees."""


class Says(Enum):
    """The response."""

    TRUTH = auto()
    NOTHING = auto()
    """The connection is closed without a byte."""

    HALF = auto()
    """The connection is closed in the middle of the true answer."""

    STATUS = auto()
    """An error status, whatever was done."""

    HTML = auto()
    """A page for people, with status 200."""

    REDIRECT = auto()
    """302 to `location`."""

    FEWER = auto()
    """A lie: one of the created issues is missing in the answer."""


@dataclass(frozen=True)
class Fault:
    """One request gone wrong.

    Attributes:
        operation: which request; "" for any.
        seconds_before: how long it takes before anything is done.
        seconds_after: how long between what is done and the answer.
        refused: of a bulk request, the positions that are refused whatever they are.

    """

    operation: str = "createIssues"
    does: Does = Does.ALL
    says: Says = Says.TRUTH
    seconds_before: float = 0.0
    seconds_after: float = 0.0
    count: int = 0
    status: int = 503
    retry_after: str | None = None
    location: str = ""
    refused: frozenset[int] = frozenset()
