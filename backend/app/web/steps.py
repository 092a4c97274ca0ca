"""A session's three tasks, as a stepper shows them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from app.values.states import TaskStatus, TaskType
from app.web.page import templates
from app.web.wording import COMPLETED, NOT_STARTED, TASK_NAMES, StatusBadge, badge_of

if TYPE_CHECKING:
    from markupsafe import Markup

    from app.repositories.session_snapshot import SessionSnapshot


@dataclass(frozen=True, slots=True)
class Step:
    """One of the three tasks, and its state."""

    name: str
    badge: StatusBadge
    is_present: bool


@cache
def stepper(steps: tuple[Step, ...]) -> Markup:
    """Return the steps as HTML, which is drawn once for all sessions in that state."""
    components: Any = templates().get_template("components.html").make_module()
    drawn: Markup = components.stepper(steps)
    return drawn


def steps_of(session: SessionSnapshot) -> tuple[Step, ...]:
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
    return tuple(steps)
