"""Task types, task statuses and session stages, as the columns of the same names store them."""

from __future__ import annotations

from enum import Enum


class TaskType(str, Enum):
    """The three background tasks, in the order in which a session goes through them."""

    PROCESSING = "processing"
    EXPORT = "export"
    ADF_VALIDATION = "adf_validation"

    @property
    def next(self) -> TaskType | None:
        """The type that may follow after this one has completed; None after the last."""
        return NEXT_TYPE.get(self)


NEXT_TYPE = {
    TaskType.PROCESSING: TaskType.EXPORT,
    TaskType.EXPORT: TaskType.ADF_VALIDATION,
}


class TaskStatus(str, Enum):
    """The state of the task; `running` means that an engine owns it, claimed or not."""

    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class SessionStage(str, Enum):
    """The stage of a session; one named like a task is entered when that task starts."""

    CREATED = "created"
    PROCESSING = "processing"
    EXPORT = "export"
    ADF_VALIDATION = "adf_validation"
    COMPLETED = "completed"
