"""A session's three tasks, as a stepper shows them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.models.session import TaskStatus, TaskType
from app.web.wording import COMPLETED, NOT_STARTED, TASK_NAMES, StatusBadge, badge_of

if TYPE_CHECKING:
    from app.repositories.session_snapshot import SessionSnapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One of the three tasks, and its state."""

    name: str
    badge: StatusBadge
    is_present: bool


def steps_of(session: SessionSnapshot) -> list[Step]:
    """Return the three steps: earlier ones are completed, later ones have not started."""
    types = list(TaskType)
    present = types.index(session.task_type) if session.task_type is not None else -1
    steps = []
    for position, task_type in enumerate(types):
        is_present = position == present
        if position > present:
            badge = NOT_STARTED
        elif not is_present or session.status == TaskStatus.COMPLETED:
            badge = COMPLETED
        else:
            badge = badge_of(session)
        steps.append(Step(TASK_NAMES[task_type], badge, is_present))
    return steps
