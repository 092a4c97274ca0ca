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
    from app.repositories.transitions import Claim

Outcome = TypeVar("Outcome")


def unwrap(outcome: Outcome | Exception) -> Outcome:
    """The outcome, unless it is an error: that is raised."""
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


def stale_claim(claim: Claim) -> StaleClaim:
    """The normal outcome of writing with a claim that is no longer one's own."""
    return StaleClaim(
        f"The claim on {claim.task_type.value} of session {claim.session_id} is no longer yours",
        next_step="Drop the work: it was cancelled, rescued or released meanwhile.",
        session_id=claim.session_id,
    )


def locked_by_another(session_id: uuid.UUID) -> DatabaseBusy:
    """The transition is legal, but another transaction has the session locked."""
    return DatabaseBusy(
        f"Another transaction has session {session_id} locked", session_id=session_id
    )


def session_not_found(session_id: uuid.UUID) -> SessionNotFound:
    """No such session, for this owner."""
    return SessionNotFound(
        f"There is no session {session_id}",
        next_step="It was deleted, or it ended some days after its last activity. "
        "Those there are: session-tasks list, or GET /api/v1/sessions.",
        session_id=session_id,
    )


def no_task_yet(session_id: uuid.UUID) -> TaskValidationError:
    """The session is there, and nothing has been started in it."""
    return TaskValidationError(
        f"Session {session_id} has no task yet",
        next_step="Start processing first.",
        session_id=session_id,
    )


def moved_on(session_id: uuid.UUID, task: SessionTask) -> TaskValidationError:
    """Another run than the expected one is the last."""
    return TaskValidationError(
        f"Session {session_id} has moved on: {task.task_type.value} is {task.status.value}",
        next_step="Look at its state again: it changed meanwhile.",
        session_id=session_id,
    )


def nothing_to_reset(task: SessionTask) -> TaskValidationError:
    """Attempts are reset for failed tasks only."""
    return TaskValidationError(
        f"Only the attempts of a failed task can be reset: {task.task_type.value} is "
        f"{task.status.value}",
        next_step="Look at its state again.",
        session_id=task.session_id,
    )


def no_agreement(session_id: uuid.UUID) -> TaskConflict:
    """The row, read back, said each time that what had just been refused was legal."""
    return TaskConflict(
        f"Session {session_id} is changing faster than it can be read",
        ErrorCategory.TEMPORARY,
        next_step="Try again in a moment.",
        session_id=session_id,
    )
