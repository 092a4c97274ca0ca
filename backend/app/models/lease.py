"""Volatile rows: leases of live tasks, waiting retries, and the sentinel.

All three tables are UNLOGGED (PostgreSQL, CREATE TABLE): they cost no WAL and are empty after a
database crash or on a promoted standby. That is intended: they can be rebuilt from
`session_tasks`, and the sentinel's absence says when that is due.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    String,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, enum_by_value
from app.values.states import TaskType


class SessionTaskLease(Base):
    """The claim of a live task and its expiry: one row per running task, deleted at its end.

    A trigger deletes it with its session (migration 0004). A foreign key would be checked for each
    start without need: a writer of a lease has locked its session, or its task's row.

    Attributes:
        task_type, attempt: needed by a worker to begin, so that a claim touches only
            this table and waits for no disk.
        worker_id: one per worker process start; None while the task waits for a worker.
        claim_token: the fencing token, one per claim; every write of a worker must have it.
        enqueued_at: when it may be claimed; never changes in the life of a row, so the index on
            it costs no HOT update.
        dispatched_at: when a message or notification about it was last sent.
        leased_until: when the claim ends unless a heartbeat renews it.

    """

    __tablename__ = "session_task_leases"
    __table_args__ = (
        Index("ix_session_task_leases_enqueued_at", "enqueued_at"),
        # A claim makes the row half as long again: room for that, for all rows of a page at once.
        {"prefixes": ["UNLOGGED"], "postgresql_with": {"fillfactor": 30}},
    )

    session_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    task_id: Mapped[uuid.UUID]
    task_type: Mapped[TaskType] = mapped_column(enum_by_value(TaskType, "task_type"))
    attempt: Mapped[int] = mapped_column(Integer, server_default=text("1"))
    worker_id: Mapped[uuid.UUID | None]
    claim_token: Mapped[uuid.UUID | None]
    enqueued_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    dispatched_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    claimed_at: Mapped[datetime | None]
    leased_until: Mapped[datetime | None]
    progress_current: Mapped[int | None] = mapped_column(BigInteger)
    progress_total: Mapped[int | None] = mapped_column(BigInteger)
    progress_message: Mapped[str | None] = mapped_column(String(500))


RETRY_BACKOFF_SECONDS = 10.0
"""Seconds before the first automatic retry, by default."""

RETRY_WAIT = """make_interval(secs =>
             {backoff_seconds} * power(2, {retry_count} - 1) * (0.75 + random() / 2))"""
"""The SQL of the wait: doubled each time, ± a quarter."""


class SessionTaskRetry(Base):
    """A temporary failure that will be retried automatically: one row until it is.

    A hint: the retry itself is guarded by the task row. A table of its own, so that no statement
    has to search `session_tasks`, which has no index on changing columns.
    """

    __tablename__ = "session_task_retries"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    session_id: Mapped[uuid.UUID] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True
    )
    task_id: Mapped[uuid.UUID]
    retry_at: Mapped[datetime]


class LeaseSentinel(Base):
    """One row that a database crash deletes together with the leases."""

    __tablename__ = "session_task_lease_sentinel"
    __table_args__ = ({"prefixes": ["UNLOGGED"]},)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
