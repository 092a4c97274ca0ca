"""What helps a session that stands still: the same task again, or only other documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from app.core.errors import ErrorCategory
from app.models.session import TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Mapping


def needs_new_session(
    status: TaskStatus | None, task_type: TaskType | None, failure: Mapping[str, Any] | None
) -> bool:
    """Whether only other documents can help, and those can no longer be handed in.

    Validation judges what was exported. The documents it finds fault with were processed before.
    """
    return (
        status == TaskStatus.FAILED
        and task_type == TaskType.ADF_VALIDATION
        and (failure or {}).get("category") == ErrorCategory.USER_FIXABLE.value
    )
