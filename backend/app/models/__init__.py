"""All tables; importing this package completes the metadata."""

import app.models.ddl
import app.models.orm_events  # noqa: F401 - they register listeners for flushes and created tables
from app.models.access import ApiKey, IdempotencyRecord, KeyRole
from app.models.base import Base
from app.models.content import (
    DeliveredIssue,
    Document,
    Export,
    SessionNote,
    Ticket,
    ValidationFinding,
)
from app.models.lease import LeaseSentinel, SessionTaskLease, SessionTaskRetry
from app.models.pause import ClaimPause
from app.models.presence import WorkerPresence
from app.models.session import Session, SessionStage, SessionTask, TaskStatus, TaskType
from app.models.step import TaskStep

__all__ = [
    "ApiKey",
    "Base",
    "ClaimPause",
    "DeliveredIssue",
    "Document",
    "Export",
    "IdempotencyRecord",
    "KeyRole",
    "LeaseSentinel",
    "Session",
    "SessionNote",
    "SessionStage",
    "SessionTask",
    "SessionTaskLease",
    "SessionTaskRetry",
    "TaskStatus",
    "TaskStep",
    "TaskType",
    "Ticket",
    "ValidationFinding",
    "WorkerPresence",
]
