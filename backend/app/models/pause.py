"""Task types whose claims are paused."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import String, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, enum_by_value
from app.values.states import TaskType


class ClaimPause(Base):
    """While the row exists, no task of this type is claimed; running tasks continue.

    Every claim reads the table, which has at most three rows. It is an operator's decision, so
    unlike leases it survives a crash.

    Attributes:
        paused_by: the owner of the key that requested it, or `local` for the command.

    """

    __tablename__ = "session_task_pauses"

    task_type: Mapped[TaskType] = mapped_column(
        enum_by_value(TaskType, "task_type"), primary_key=True
    )
    paused_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    paused_by: Mapped[str] = mapped_column(String(200))
