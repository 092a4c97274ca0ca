"""Read sessions as loaded objects, by id; and ids by prefix."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVarTuple

from sqlalchemy import ARRAY, Select, Uuid, any_, bindparam, select
from sqlalchemy.orm import joinedload

from app.models.lease import SessionTaskLease
from app.models.session import Session, SessionTask
from app.repositories.commit_effects import CommitEffects
from app.repositories.transition_errors import session_not_found

if TYPE_CHECKING:
    from collections.abc import Sequence

Columns = TypeVarTuple("Columns")

_HEXADECIMAL = re.compile(r"[0-9a-f]{1,32}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SessionView:
    """A session with its task and its lease, at one moment."""

    session: Session
    task: SessionTask | None
    lease: SessionTaskLease | None


_VIEWS = (
    select(Session, SessionTaskLease)
    .outerjoin(SessionTaskLease, SessionTaskLease.session_id == Session.id)
    .options(joinedload(Session.task))
)
_ANYBODYS = _VIEWS.where(Session.id == bindparam("session_id")).execution_options(
    populate_existing=True
)
_MANY = _VIEWS.where(
    Session.id == any_(bindparam("session_ids", type_=ARRAY(Uuid)))
).execution_options(populate_existing=True)
_OWNED = _ANYBODYS.where(Session.owner == bindparam("owner"))


class SessionViews(CommitEffects):
    """Reads of sessions, each one statement and so one snapshot."""

    def get(self, session_id: uuid.UUID) -> SessionView:
        """Return the session with its task and lease.

        Raises:
            SessionNotFound: there is none, or it is another owner's.

        """
        wanted = {"session_id": session_id, "owner": self._owner}
        statement = _ANYBODYS if self._owner is None else _OWNED
        row = self._db.execute(statement, wanted).one_or_none()
        if row is None:
            raise session_not_found(session_id)
        return SessionView(row[0], row[0].task, row[1])

    def get_many(self, session_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, SessionView]:
        """Return those of these sessions that exist, with their tasks and leases."""
        rows = self._db.execute(self._owned(_MANY), {"session_ids": session_ids})
        return {row[0].id: SessionView(row[0], row[0].task, row[1]) for row in rows}

    def find_by_prefix(self, prefix: str, *, limit: int = 2) -> list[uuid.UUID]:
        """Return up to `limit` ids of sessions that begin with these characters."""
        digits = prefix.strip().lower().replace("-", "")
        if not _HEXADECIMAL.fullmatch(digits):
            return []
        first, last = uuid.UUID(digits.ljust(32, "0")), uuid.UUID(digits.ljust(32, "f"))
        statement = self._owned(select(Session.id)).where(Session.id.between(first, last))
        return list(self._db.scalars(statement.order_by(Session.id).limit(limit)))

    def _owned(self, statement: Select[*Columns]) -> Select[*Columns]:
        return statement if self._owner is None else statement.where(Session.owner == self._owner)
