"""A handler that writes down every run before it does what its session asks for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from sample_handlers import behave

if TYPE_CHECKING:
    from app.tasks.context import TaskContext


def record(context: TaskContext) -> Any:
    extra = context.options.model_extra or {}
    log_path = Path(extra["log_folder"], str(context.session_id))
    with log_path.open("a", encoding="utf-8") as log:
        log.write(f"{context.task_type.value} {context.task_id} {context.attempt}\n")
    return behave(context)
