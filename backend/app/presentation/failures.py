"""A task's last failure in words: who can fix it now, and what to do next.

The row stores facts: the category, the attempt, what the exception itself advised, the options to
correct. Every sentence about them is made here, for the pages, the command and the API.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.core.errors import ErrorCategory, TaskError
from app.models.session import MAX_RETRY_COUNT
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from app.repositories.session_snapshot import SessionSnapshot

USED_UP = (
    f"All {MAX_RETRY_COUNT} attempts are used up: once the cause is removed, an administrator can "
    "reset them."
)
RETRIED_AUTOMATICALLY = "It will be retried automatically."
_FIELDS = frozenset({
    "error", "message", "category", "next_step", "options", "traceback", "earlier", "attempt",
})  # fmt: skip
_DEFAULT_STEPS = {
    ErrorCategory.USER_FIXABLE: "Correct what the message names, then retry.",
    ErrorCategory.ADMIN_REQUIRED: "Find the cause in the message and the traceback, remove it, "
    "then retry.",
    ErrorCategory.TEMPORARY: "Retry.",
}


@dataclass(frozen=True, slots=True)
class FailureReport:
    """The last failure of a session's task.

    Attributes:
        is_current: the task is failed; otherwise it has been started again, or was cancelled.
        category: who can fix it now: see `SessionSnapshot.fixable_by`.
        next_step: empty where nothing is to be done.
        options: names of the session options to correct.
        context: what else was stored.

    """

    is_current: bool
    error: str
    message: str
    category: ErrorCategory
    next_step: str
    options: tuple[str, ...]
    attempt: int | None
    failed_at: datetime | None
    traceback: str
    earlier: tuple[Mapping[str, Any], ...]
    context: Mapping[str, Any]


def failure_report(
    session: SessionSnapshot, option_name: Callable[[str], str] = str
) -> FailureReport | None:
    """Report the session's last failure; None if its task has not failed.

    `option_name` maps an option to what the reader calls it: `--title-column NAME`, say.
    """
    failure = session.failure
    if not failure or session.status is TaskStatus.COMPLETED:
        return None
    is_current = session.status is TaskStatus.FAILED
    attempt = failure.get("attempt")
    return FailureReport(
        is_current=is_current,
        error=_text(failure, "error") or "Failure",
        message=_text(failure, "message") or "The task gave no reason.",
        category=session.fixable_by,
        next_step=_next_step(session, failure, option_name),
        options=_strings(failure.get("options")),
        attempt=attempt if isinstance(attempt, int) else None,
        failed_at=session.failed_at if is_current else None,
        traceback=_text(failure, "traceback"),
        earlier=tuple(item for item in _items(failure.get("earlier")) if isinstance(item, dict)),
        context={key: value for key, value in failure.items() if key not in _FIELDS},
    )


def error_next_step(error: TaskError, option_name: Callable[[str], str] = str) -> str:
    """Return what to do next about an error, with its options as the reader calls them."""
    return step_text(error.next_step, error.options, option_name)


def _next_step(
    session: SessionSnapshot, failure: Mapping[str, Any], option_name: Callable[[str], str]
) -> str:
    own = step_text(_own_step(failure), _strings(failure.get("options")), option_name)
    if session.status is not TaskStatus.FAILED:
        return own
    if session.retry_at is not None:
        return RETRIED_AUTOMATICALLY
    if session.needs_new_session:
        return own or "Correct the documents and open a new session with them."
    if session.can_be_retried:
        return own or _DEFAULT_STEPS[session.fixable_by]
    return f"{own} {USED_UP}".lstrip()


def _own_step(failure: Mapping[str, Any]) -> str:
    """Return what the exception itself advised.

    Version 0.1.0 stored no `options`, and of every temporary failure a sentence about its attempts
    as they were then.
    """
    is_former = "options" not in failure
    if is_former and failure.get("category") == ErrorCategory.TEMPORARY.value:
        return ""
    return _text(failure, "next_step").strip()


def step_text(step: str, options: Iterable[str], option_name: Callable[[str], str]) -> str:
    """Return a next step, with its options as the reader calls them."""
    names = ", ".join(map(option_name, options))
    return f"{step.removesuffix('.')} ({names})." if step and names else step


def _text(failure: Mapping[str, Any], key: str) -> str:
    value = failure.get(key)
    return "" if value is None else str(value)


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> tuple[str, ...]:
    return tuple(item for item in _items(value) if isinstance(item, str))
