"""Notification of the attempts of this process, for metrics and traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from app.core.logging import log_execution

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.values.claims import Claim

STALE = "stale"
"""The outcome of an attempt whose claim the worker had lost: nothing was written."""


class AttemptObserver(Protocol):
    """An observer of attempts, called in the thread that makes them; it must not raise or wait."""

    def attempt_began(self, claim: Claim) -> None:
        """Note that the task was claimed just now."""

    def attempt_ended(self, claim: Claim, outcome: str, seconds: float) -> None:
        """Note how long the attempt took, and the name of its outcome, or `STALE`."""


_observers: list[AttemptObserver] = []


def observe_attempts(observer: AttemptObserver) -> Callable[[], None]:
    """Register the observer; return a function that removes it."""
    _observers.append(observer)
    return lambda: _observers.remove(observer)


def attempt_began(claim: Claim) -> None:
    """Notify the observers that an attempt begins."""
    for observer in tuple(_observers):
        observer.attempt_began(claim)


def attempt_ended(claim: Claim, outcome: str, seconds: float) -> None:
    """Log that an attempt has ended, and notify the observers."""
    for observer in tuple(_observers):
        observer.attempt_ended(claim, outcome, seconds)
    log_execution(
        claim.task_type,
        claim.session_id,
        duration_seconds=seconds,
        retry_count=claim.attempt - 1,
        outcome=outcome,
    )
