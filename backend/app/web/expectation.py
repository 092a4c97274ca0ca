"""Estimate how long a running task may still take, as a range: a single figure would mislead."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from app.core.wording import duration_text
from app.repositories.statistics import Statistics
from app.values.states import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from sqlalchemy.orm import Session as DbSession

    from app.repositories.session_snapshot import SessionSnapshot
    from app.repositories.statistics import LikelySeconds

_WORTH_SAYING_SECONDS = 2.0
_MINUTE = 60


def times_left(
    db: DbSession, owner: str | None, sessions: Sequence[SessionSnapshot]
) -> dict[UUID, str]:
    """Return `8 to 20 s left` for each running session, estimated from similar past runs.

    A session with too few similar runs is left out, and so is one that will end in a moment.
    """
    run_for = {
        session.session_id: (session.moment - session.claimed_at).total_seconds()
        for session in sessions
        if session.status is TaskStatus.RUNNING and session.claimed_at is not None
    }
    if not run_for:
        return {}
    likely = Statistics(db, owner=owner).likely_seconds(list(run_for))
    words = {
        session_id: left_text(expected, run_for[session_id])
        for session_id, expected in likely.items()
    }
    return {session_id: said for session_id, said in words.items() if said}


def left_text(likely: LikelySeconds, elapsed: float) -> str:
    """Return `8 to 20 s left`, or that it takes longer than most; empty if it ends in a moment."""
    if likely.high < _WORTH_SAYING_SECONDS:
        return ""
    low, high = math.floor(max(0.0, likely.low - elapsed)), math.ceil(likely.high - elapsed)
    if high <= 0:
        return "longer than most like it"
    if low <= 0:
        return f"less than {_span(high)} left"
    if high < _MINUTE:
        return f"{low} to {high} s left"
    return f"{_span(low)} to {_span(high)} left"


def _span(seconds: int) -> str:
    return f"{seconds} s" if seconds < _MINUTE else duration_text(seconds)
