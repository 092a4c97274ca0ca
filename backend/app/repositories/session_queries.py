"""Reads of sessions: one row each, as values, for many sessions at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    String,
    bindparam,
    cast,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
)

from app.core.database import driver_connection, use_custom_plans
from app.core.errors import ErrorCategory
from app.models.content import Document, Ticket
from app.models.session import Session, SessionTask
from app.repositories.session_snapshot import SNAPSHOTS, SessionSnapshot, fixable_by_sql
from app.repositories.transition_errors import session_not_found
from app.values.states import SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime
    from uuid import UUID

    from sqlalchemy import Connection
    from sqlalchemy.orm import Session as DbSession


_ANYBODYS = SNAPSHOTS.where(Session.id == bindparam("session_id"))
_OWNED = _ANYBODYS.where(Session.owner == bindparam("owner"))


class SessionOrder(str, Enum):
    """The order of a list of sessions."""

    NEWEST = "newest"
    OLDEST = "oldest"
    ACTIVE = "active"
    SILENT = "silent"

    @property
    def is_by_activity(self) -> bool:
        """Whether it sorts by last activity, rather than by creation."""
        return self in {SessionOrder.ACTIVE, SessionOrder.SILENT}

    @property
    def is_descending(self) -> bool:
        """Whether the latest comes first."""
        return self in {SessionOrder.NEWEST, SessionOrder.ACTIVE}

    def key_of(self, session: SessionSnapshot) -> datetime:
        """Return the moment by which this order sorts the session."""
        return session.updated_at if self.is_by_activity else session.created_at


@dataclass(frozen=True, slots=True)
class SessionFilter:
    """The filter of a list of sessions; None: any.

    Attributes:
        text: part of the label, or the beginning of the id.
        category: who can fix the failure of a failed task.
        error: the type of that failure.

    """

    stage: SessionStage | None = None
    status: TaskStatus | None = None
    task_type: TaskType | None = None
    created_after: datetime | None = None
    created_before: datetime | None = None
    text: str | None = None
    category: ErrorCategory | None = None
    error: str | None = None


_OWNERS = """
WITH RECURSIVE named AS (
    (SELECT owner FROM sessions ORDER BY owner LIMIT 1)
    UNION ALL
    SELECT (SELECT owner FROM sessions WHERE sessions.owner > named.owner ORDER BY owner LIMIT 1)
      FROM named WHERE named.owner IS NOT NULL)
SELECT owner FROM named WHERE owner IS NOT NULL LIMIT %s
"""

_TICKET_COUNTS = """
SELECT session_id, count(*) FROM tickets WHERE session_id = ANY(%s::uuid[]) GROUP BY session_id
"""


class SessionQueries:
    """Reads of one owner's sessions (None: all owners'), in the transaction of `db`."""

    def __init__(self, db: DbSession, *, owner: str | None) -> None:
        self._db = db
        self._owner = owner

    def snapshot(self, session_id: UUID) -> SessionSnapshot | None:
        """Return the session's state in this transaction; None if the owner has no such session."""
        statement = _ANYBODYS if self._owner is None else _OWNED
        found = self._db.execute(statement, {"session_id": session_id, "owner": self._owner})
        row = found.one_or_none()
        return None if row is None else SessionSnapshot(*row)

    def get(self, session_id: UUID) -> SessionSnapshot:
        """The session as it stands here.

        Raises:
            SessionNotFound: this owner has none of that id.

        """
        snapshot = self.snapshot(session_id)
        if snapshot is None:
            raise session_not_found(session_id)
        return snapshot

    def page(
        self,
        wanted: SessionFilter,
        *,
        limit: int,
        before: tuple[datetime, UUID] | None = None,
        order: SessionOrder = SessionOrder.NEWEST,
    ) -> list[SessionSnapshot]:
        """Return up to `limit` sessions in this order, after `before` (its `order.key_of`, its id).

        Only the first two orders have an index; the others read every session that matches.
        """
        use_custom_plans(self._db)
        moment = Session.updated_at if order.is_by_activity else Session.created_at
        place = tuple_(moment, Session.id)
        columns = (
            [moment.desc(), Session.id.desc()] if order.is_descending else [moment, Session.id]
        )
        statement = SNAPSHOTS.where(*self._matches(wanted)).order_by(*columns).limit(limit)
        if before is not None:
            statement = statement.where(place < before if order.is_descending else place > before)
        return [SessionSnapshot(*row) for row in self._db.execute(statement)]

    def retryable_runs(
        self, wanted: SessionFilter, *, limit: int, only: Sequence[UUID] | None = None
    ) -> list[tuple[UUID, UUID]]:
        """Return the runs `(session_id, task_id)` of up to `limit` sessions that may be retried."""
        return self._runs(wanted, SessionTask.can_be_restarted, limit=limit, only=only)

    def running_runs(
        self, wanted: SessionFilter, *, limit: int, only: Sequence[UUID] | None = None
    ) -> list[tuple[UUID, UUID]]:
        """Return the runs `(session_id, task_id)` of up to `limit` sessions that are running."""
        return self._runs(wanted, SessionTask.is_running, limit=limit, only=only)

    def matching(
        self, wanted: SessionFilter, *, limit: int, only: Sequence[UUID] | None = None
    ) -> list[UUID]:
        """Return the ids of up to `limit` matching sessions, the oldest first."""
        use_custom_plans(self._db)
        statement = (
            select(Session.id)
            .outerjoin(SessionTask, SessionTask.session_id == Session.id)
            .where(*self._matches(wanted))
            .order_by(Session.created_at, Session.id)
            .limit(limit)
        )
        if only is not None:
            statement = statement.where(Session.id.in_(only))
        return list(self._db.scalars(statement))

    def count(self, wanted: SessionFilter, *, most: int) -> int:
        """Return how many sessions match, counted up to `most`."""
        use_custom_plans(self._db)
        matching = (
            select(Session.id)
            .outerjoin(SessionTask, SessionTask.session_id == Session.id)
            .where(*self._matches(wanted))
            .limit(most)
            .subquery()
        )
        return self._db.scalars(select(func.count()).select_from(matching)).one()

    def ticket_counts(self, session_ids: Collection[UUID]) -> dict[UUID, int]:
        """Return the number of tickets of each of these sessions that has any."""
        rows = driver_connection(self._db).execute(_TICKET_COUNTS, [list(session_ids)])
        return dict(rows.fetchall())

    def _runs(
        self,
        wanted: SessionFilter,
        rule: ColumnElement[bool] | Any,
        *,
        limit: int,
        only: Sequence[UUID] | None,
    ) -> list[tuple[UUID, UUID]]:
        use_custom_plans(self._db)
        statement = (
            select(Session.id, SessionTask.task_id)
            .join(SessionTask, SessionTask.session_id == Session.id)
            .where(*self._matches(wanted), rule)
            .order_by(Session.created_at, Session.id)
            .limit(limit)
        )
        if only is not None:
            statement = statement.where(Session.id.in_(only))
        return [(session_id, task_id) for session_id, task_id in self._db.execute(statement)]

    def _matches(self, wanted: SessionFilter) -> list[ColumnElement[bool]]:
        context = SessionTask.failure_context
        conditions: list[ColumnElement[bool]] = []
        for column, value in (
            (Session.owner, self._owner),
            (Session.stage, wanted.stage),
            (SessionTask.status, wanted.status),
            (SessionTask.task_type, wanted.task_type),
            (context["error"].astext, wanted.error),
        ):
            if value is not None:
                conditions.append(column == value)
        if wanted.category is not None:
            category = fixable_by_sql(context["category"].astext)
            conditions.append(category == wanted.category.value)
        if wanted.created_after is not None:
            conditions.append(Session.created_at >= wanted.created_after)
        if wanted.created_before is not None:
            conditions.append(Session.created_at < wanted.created_before)
        if wanted.text:
            conditions.append(
                or_(
                    Session.label.icontains(wanted.text, autoescape=True),
                    cast(Session.id, String).startswith(wanted.text.lower(), autoescape=True),
                    *(
                        exists().where(
                            model.session_id == Session.id,
                            words.icontains(wanted.text, autoescape=True),
                        )
                        for model, words in ((Document, Document.name), (Ticket, Ticket.title))
                    ),
                )
            )
        return conditions

    def owners(self, *, limit: int) -> list[str]:
        """Return up to `limit` owners of sessions, by name: one step in the index for each."""
        return [owner for (owner,) in driver_connection(self._db).execute(_OWNERS, [limit])]

    def changed_since(self, moment: datetime, *, limit: int) -> list[SessionSnapshot]:
        """Return up to `limit` sessions last active at `moment` or later, the oldest first."""
        use_custom_plans(self._db)
        statement = (
            SNAPSHOTS.where(owned_by(self._owner), Session.updated_at >= moment)
            .order_by(Session.updated_at)
            .limit(limit)
        )
        return [SessionSnapshot(*row) for row in self._db.execute(statement)]


def owned_by(owner: str | None) -> ColumnElement[bool]:
    """Return the condition that the session belongs to this owner; true for None."""
    return true() if owner is None else Session.owner == owner


def owners_of(
    db: DbSession, session_ids: Collection[UUID], *, exclude: str
) -> list[tuple[UUID, str]]:
    """Return (id, owner) of those of these sessions that do not belong to `exclude`."""
    statement = select(Session.id, Session.owner).where(
        Session.id.in_(session_ids), Session.owner != exclude
    )
    return [(session_id, owner) for session_id, owner in db.execute(statement)]


def read_snapshots_of_owners(
    connection: Connection, session_ids: Collection[UUID], owners: Collection[str | None]
) -> list[SessionSnapshot]:
    """Return those of these sessions that belong to one of these owners; None: to any."""
    statement = SNAPSHOTS.where(Session.id.in_(session_ids))
    if None not in owners:
        statement = statement.where(Session.owner.in_(owners))
    return [SessionSnapshot(*row) for row in connection.execute(statement)]
