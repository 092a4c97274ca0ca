"""The table of live workers; volatile, like leases."""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import Integer, String, Uuid, false, func
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base


class WorkerPresence(Base):
    """A live worker: one row, renewed with each heartbeat, void after its lease.

    The table is UNLOGGED: after a database crash it is empty, and each worker inserts its row
    again with its next heartbeat. A worker's tasks are in the leases, not here.

    Attributes:
        id: the `worker_id` of the leases that it holds.
        engine: `embedded` or `celery`.
        concurrency: the number of concurrent tasks.
        task_types: the task types that it takes.
        session_ids: the only sessions whose tasks it takes (a `run` works for one); None: any.
        is_draining: whether it claims no more, and exits after its tasks have ended.
        drain_requested_at: when it was asked to drain.

    """

    __tablename__ = "session_task_workers"
    # No renewed column has an index, so every renewal is a HOT update.
    __table_args__ = ({"prefixes": ["UNLOGGED"], "postgresql_with": {"fillfactor": 50}},)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    pid: Mapped[int] = mapped_column(Integer)
    version: Mapped[str] = mapped_column(String(100))
    engine: Mapped[str] = mapped_column(String(20))
    concurrency: Mapped[int] = mapped_column(Integer)
    task_types: Mapped[list[str]] = mapped_column(ARRAY(String(20)))
    session_ids: Mapped[list[uuid.UUID] | None] = mapped_column(ARRAY(Uuid))
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    leased_until: Mapped[datetime]
    is_draining: Mapped[bool] = mapped_column(server_default=false())
    drain_requested_at: Mapped[datetime | None]
