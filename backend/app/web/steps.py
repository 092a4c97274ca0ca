"""The way of a session through its three tasks, as a stepper shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.models.session import TaskStatus, TaskType
from app.web.wording import COMPLETED, NOT_STARTED, TASK_NAMES, Sign, sign_of

if TYPE_CHECKING:
    from app.repositories.session_snapshot import SessionSnapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One task of the three, and where the session stands with it."""

    name: str
    sign: Sign
    is_present: bool


def steps_of(session: SessionSnapshot) -> list[Step]:
    """The three steps: those behind are completed, those ahead have not started."""
    types = list(TaskType)
    present = types.index(session.task_type) if session.task_type is not None else -1
    steps = []
    for position, task_type in enumerate(types):
        is_present = position == present
        if position > present:
            sign = NOT_STARTED
        elif not is_present or session.status == TaskStatus.COMPLETED:
            sign = COMPLETED
        else:
            sign = sign_of(session)
        steps.append(Step(TASK_NAMES[task_type], sign, is_present))
    return steps
