"""The outcome of a run: a value, made by `run_handler` and written by `OutcomeWriter`.

=============== ========================================= ======================================
outcome         what happened                             what is written
=============== ========================================= ======================================
`Completed`     the handler returned                      results and completion, in one transaction
`Failed`        it raised, died or took too long          the failure, counted, and its findings
`Released`      the worker stops, or lost its database    the claim is released; no attempt spent
`Cancelled`     the claim is no longer the worker's       nothing: the row says so already
=============== ========================================= ======================================
"""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from app.core.errors import (
    TOO_LARGE_FOR_MEMORY,
    DatabaseUnavailable,
    ErrorCategory,
    SchemaOutdated,
    TaskCancelled,
    TooLargeForMemory,
)
from app.core.exception_text import exception_attribute
from app.core.failure import failure_context
from app.core.logging import task_context
from app.engines.attempts import STALE
from app.tasks.registry import load_handler
from app.values.results import TaskResults

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.tasks.context import TaskContext
    from app.tasks.registry import Handler

logger = logging.getLogger(__name__)

NO_RESULTS = TaskResults()


@dataclass(frozen=True, slots=True)
class Completed:
    """The handler returned these results."""

    results: TaskResults = NO_RESULTS


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed; `results` explain it (findings)."""

    context: Mapping[str, Any]
    results: TaskResults = NO_RESULTS


@dataclass(frozen=True, slots=True)
class Released:
    """The run was interrupted for a reason outside of it."""


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The run was interrupted because this worker lost its claim."""


Outcome = Completed | Failed | Released | Cancelled


def outcome_name(written: Outcome | None) -> str:
    """Return the outcome's name in counts and logs; `stale` if nothing was written."""
    return STALE if written is None else type(written).__name__.lower()


def run_handler(
    reference: str,
    context: TaskContext,
    *,
    worker: str,
    on_loaded: Callable[[Handler], None] = lambda _handler: None,
) -> Outcome:
    """Run the handler and return its outcome, whatever it raises."""
    with task_context(
        session_id=context.session_id, task_id=context.task_id, task_type=context.task_type
    ):
        try:
            handler = load_handler(reference)
            on_loaded(handler)
            return _completed(reference, handler(context))
        except BaseException as error:  # noqa: BLE001 - SystemExit of a handler fails its task
            return _broken_off(error, context, worker)


def _completed(reference: str, results: object) -> Completed:
    if results is None:
        return Completed()
    if not isinstance(results, TaskResults):
        kind = type(results).__name__
        raise TypeError(f"The handler {reference} returned {kind}, not TaskResults or None")
    return Completed(results)


def _broken_off(error: BaseException, context: TaskContext, worker: str) -> Outcome:
    if isinstance(error, TaskCancelled) and context.is_cancelled:
        return Cancelled()
    if isinstance(error, MemoryError):
        # The frames refer to the large objects, and describing the failure needs memory.
        traceback.clear_frames(error.__traceback__)
        too_large = TooLargeForMemory(context.settings.max_task_memory_mb)
        return Failed(failure_context(too_large, error_name=TOO_LARGE_FOR_MEMORY, worker=worker))
    logger.debug("The handler raised", exc_info=error)
    category = None
    if isinstance(error, DatabaseUnavailable) and not isinstance(error, SchemaOutdated):
        category = ErrorCategory.TEMPORARY  # it was reachable when the task was claimed
    details = exception_attribute(error, "details")
    results = exception_attribute(error, "results")
    return Failed(
        failure_context(
            error,
            category=category,
            worker=worker,
            extra=details if isinstance(details, dict) else None,
        ),
        results if isinstance(results, TaskResults) else TaskResults(),
    )


def is_light(outcome: Outcome) -> bool:
    """Return whether it is a completion without results."""
    return isinstance(outcome, Completed) and not has_results(outcome)


def has_results(outcome: Outcome) -> bool:
    """Return whether there are results to write with it."""
    return isinstance(outcome, (Completed, Failed)) and not is_empty(outcome.results)


def is_empty(results: TaskResults) -> bool:
    """Return whether there is nothing in the results."""
    return results is NO_RESULTS or not any(
        len(getattr(results, part.name)) for part in fields(results)
    )
