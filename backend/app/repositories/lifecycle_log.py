"""Log lines of committed transitions, in the words of the specification, section 7."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.core.logging import (
    log_audit,
    log_cancelled,
    log_completed,
    log_failed,
    log_started,
)
from app.values.states import TaskStatus

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Sequence

    from app.repositories.transitions import Transition


_observers: list[Callable[[Sequence[Transition]], None]] = []


def observe_transitions(
    observer: Callable[[Sequence[Transition]], None],
) -> Callable[[], None]:
    """Call `observer` with the transitions that this process commits; it must not raise.

    Returns a function that ends it.
    """
    _observers.append(observer)
    return lambda: _observers.remove(observer)


def log_transitions(moved: Sequence[Transition]) -> None:
    """Log each transition; call it after the commit, as earlier ones may be rolled back."""
    for observer in tuple(_observers):
        observer(moved)
    for transition in moved:
        match transition.status:
            case TaskStatus.RUNNING:
                log_started(transition.task_type, transition.session_id, transition.task_id)
            case TaskStatus.COMPLETED:
                log_completed(
                    transition.task_type,
                    transition.session_id,
                    transition.duration_seconds / 60,
                )
            case TaskStatus.FAILED:
                log_failed(
                    transition.task_type,
                    transition.session_id,
                    transition.retry_count,
                    transition.failure_context or {},
                )
            case TaskStatus.CANCELLED:
                log_cancelled(transition.task_type, transition.session_id, transition.task_id)


def log_reset(session_id: uuid.UUID, task_id: uuid.UUID) -> None:
    """Log that an operator reset a task's attempts."""
    log_audit(
        f"Retry count reset for session {session_id}, task_id: {task_id}",
        session_id=session_id,
        task_id=task_id,
    )
