"""Errors of transitions: what happened, who can fix it, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from app.core.errors import (
    DatabaseBusy,
    ErrorCategory,
    SessionNotFound,
    StaleClaim,
    TaskConflict,
    TaskValidationError,
)

if TYPE_CHECKING:
    import uuid

    from app.models.session import SessionTask
    from app.values.claims import Claim

Outcome = TypeVar("Outcome")


def unwrap(outcome: Outcome | Exception) -> Outcome:
    """Return the outcome, or raise it if it is an error."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def stale_claim(claim: Claim) -> StaleClaim:
    """Return the error for a write with a lost claim."""
    return StaleClaim(
        f"The claim on {claim.task_type.value} of session {claim.session_id} is no longer yours",
        next_step="Drop the work: it was cancelled, rescued or released meanwhile.",
        session_id=claim.session_id,
    )


def locked_by_another(session_id: uuid.UUID) -> DatabaseBusy:
    """Return the error for a legal transition of a session that another transaction has locked."""
    return DatabaseBusy(
        f"Another transaction has session {session_id} locked", session_id=session_id
    )


def session_not_found(session_id: uuid.UUID) -> SessionNotFound:
    """Return the error for a session that this owner does not have."""
    return SessionNotFound(
        f"There is no session {session_id}",
        next_step="It was deleted, or it ended some days after its last activity. "
        "Those there are: session-tasks list, or GET /api/v1/sessions.",
        session_id=session_id,
    )


def no_task_yet(session_id: uuid.UUID) -> TaskValidationError:
    """Return the error for a session in which nothing has been started."""
    return TaskValidationError(
        f"Session {session_id} has no task yet",
        next_step="Start processing first.",
        session_id=session_id,
    )


def moved_on(session_id: uuid.UUID, task: SessionTask) -> TaskValidationError:
    """Return the error for a session whose last run is not the expected one."""
    return TaskValidationError(
        f"Session {session_id} has moved on: {task.task_type.value} is {task.status.value}",
        next_step="Look at its state again: it changed meanwhile.",
        session_id=session_id,
    )


def nothing_to_reset(task: SessionTask) -> TaskValidationError:
    """Return the error for a reset of a task that has not failed."""
    return TaskValidationError(
        f"Only the attempts of a failed task can be reset: {task.task_type.value} is "
        f"{task.status.value}",
        next_step="Look at its state again.",
        session_id=task.session_id,
    )


def no_agreement(session_id: uuid.UUID) -> TaskConflict:
    """Return the error for a transition that is refused each time, though the row allows it."""
    return TaskConflict(
        f"Session {session_id} is changing faster than it can be read",
        ErrorCategory.TEMPORARY,
        next_step="Try again in a moment.",
        session_id=session_id,
    )
