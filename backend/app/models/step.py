"""The durable steps of tasks: `TaskStep`."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import JSON, ForeignKey, String, func, text
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, enum_by_value
from app.values.claims import STEP_NAME_CHARACTERS
from app.values.states import TaskType


class TaskStep(Base):
    """The result of one step of a task that has not completed (`TaskContext.step`).

    Rows outlive a failure, a cancellation and a retry. They are deleted when the task completes;
    unless they are lasting, also when it is started instead of retried, and when its attempts are
    reset.
    """

    __tablename__ = "session_task_steps"

    session_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    task_type: Mapped[TaskType] = mapped_column(
        enum_by_value(TaskType, "task_type"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(STEP_NAME_CHARACTERS), primary_key=True)
    result: Mapped[str] = mapped_column(JSON)
    kept_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    is_lasting: Mapped[bool] = mapped_column(server_default=text("false"))
