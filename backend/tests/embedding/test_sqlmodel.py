"""SQLModel beside our models: its tables refer to our sessions, and its sessions move our tasks."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import sqlmodel
from sqlalchemy import ForeignKey

from app.core.database import bound
from app.models import Session, SessionTask, TaskType
from app.models.session import SessionStage, TaskStatus

if TYPE_CHECKING:
    from app.core.database import Database


class Invoice(sqlmodel.SQLModel, table=True):
    """A row of theirs that goes with a session of ours."""

    number: int | None = sqlmodel.Field(default=None, primary_key=True)
    session_id: uuid.UUID = sqlmodel.Field(
        sa_column_args=[ForeignKey(Session.id, ondelete="CASCADE")]
    )


def test_a_session_of_sqlmodel_moves_our_tasks_along_with_its_own_rows(database: Database) -> None:
    sqlmodel.SQLModel.metadata.create_all(database.engine)
    with sqlmodel.Session(database.engine) as db:
        session = Session(label="theirs")
        db.add(session)
        db.flush()
        task = SessionTask(session_id=session.id, task_type=TaskType.PROCESSING)
        task.mark_started(uuid.uuid4())
        db.add_all([task, Invoice(session_id=session.id)])
        db.commit()
        session_id = session.id
    with sqlmodel.Session(database.engine) as db:
        with bound(db):
            active = SessionTask.find_active_for_session(session_id)
        assert active is not None
        active.mark_failed("no paper")
        db.commit()
        db.refresh(active)
        assert (active.status, active.retry_count) == (TaskStatus.FAILED, 1)
        assert db.get_one(Session, session_id).stage is SessionStage.PROCESSING
        db.delete(db.get_one(Session, session_id))
        db.commit()
        assert db.exec(sqlmodel.select(Invoice)).all() == []
