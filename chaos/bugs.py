"""Deliberate bugs, each a small change to the product: the checker must catch each of them.

A checker that has never caught a bug proves nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from app.repositories import commit_effects, statements

BUG = "CHAOS_BUG"
"""The environment variable that names the bug to be planted in a worker's processes."""

SEND_FIRST = "send before look"
STALE_CLAIMS_KEEP = "steps are kept without a look at the claim"
WRITE_APART = "writes in a transaction of their own, before the completion"


@dataclass(frozen=True, slots=True)
class Bug:
    """A bug's name, the statements that it changes, and the text that it replaces."""

    name: str
    statements: tuple[str, ...]
    right: str
    wrong: str


@dataclass(frozen=True, slots=True)
class WrongFunction:
    """A bug's name, and the function that replaces one of the product's."""

    name: str
    module: ModuleType
    function: str
    wrong: Callable[..., Any]


def _act_at_once(_db: object, act: Callable[[], None]) -> None:
    act()


BUGS = (
    Bug(
        "fence dropped: any claim of the run may write",
        ("COMPLETE", "FAIL"),
        "AND l.claim_token = w.claim_token",
        "",
    ),
    Bug(
        "run dropped from the fence: the lease's present run is ended by an old claim",
        ("COMPLETE", "FAIL"),
        "AND l.task_id = w.task_id AND l.claim_token = w.claim_token",
        "",
    ),
    Bug(
        "failure not counted",
        ("FAIL", "RESCUE"),
        "retry_count = least(session_tasks.retry_count + 1, 3)",
        "retry_count = session_tasks.retry_count",
    ),
    Bug(
        "stage not moved with the start",
        ("START", "RETRY"),
        "UPDATE sessions SET stage = task.task_type,",
        "UPDATE sessions SET",
    ),
    Bug(
        "retry limit forgotten",
        ("RETRY",),
        "session_tasks.retry_count < 3",
        "true",
    ),
    Bug(
        "running tasks may be started again",
        ("START",),
        "session_tasks.status = 'cancelled'",
        "session_tasks.status IN ('cancelled', 'running')",
    ),
    Bug(
        "a claimed task can be claimed again",
        ("CLAIM_NEXT",),
        "claim_token IS NULL AND",
        "",
    ),
    Bug(
        "any type may follow any other",
        ("START",),
        "session_tasks.task_type = 'processing' AND w.task_type = 'export'",
        "true",
    ),
    Bug(
        "the last completion leaves the stage behind",
        ("COMPLETE",),
        "THEN 'completed'",
        "THEN sessions.stage",
    ),
    Bug(
        "a retry keeps the old task_id",
        ("RETRY",),
        "SET task_id = w.task_id,",
        "SET task_id = session_tasks.task_id,",
    ),
    Bug(
        "child locked first: the lease before its session",
        ("COMPLETE", "FAIL"),
        " FOR NO KEY UPDATE",
        "",
    ),
    Bug(
        "rescue too early: by a moment that is not the lease's own",
        ("RESCUE",),
        "leased_until <",
        "leased_until - interval '1 second' <",
    ),
    WrongFunction(
        "publish before the commit: watchers and brokers are notified of what may be rolled back",
        commit_effects,
        "after_commit",
        _act_at_once,
    ),
)


@contextlib.contextmanager
def planted(bug: Bug | WrongFunction) -> Iterator[None]:
    """Run the block with the bug in the product.

    Raises:
        AttributeError, LookupError: the product no longer has the code that the bug replaces.

    """
    if isinstance(bug, WrongFunction):
        place = bug.module
        before: dict[str, Any] = {bug.function: getattr(place, bug.function)}
        wrong = {bug.function: bug.wrong}
    else:
        place = statements
        before = {name: getattr(place, name) for name in bug.statements}
        wrong = {name: each.replace(bug.right, bug.wrong) for name, each in before.items()}
    if before == wrong:
        message = f"{bug.name}: the text it replaces is missing from {', '.join(before)}"
        raise LookupError(message)
    for name, changed in wrong.items():
        setattr(place, name, changed)
    try:
        yield
    finally:
        for name, original in before.items():
            setattr(place, name, original)
