"""Effects of a repository's statements after the caller's commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import inspect

from app.core.database import after_commit
from app.models.lease import SessionTaskLease
from app.models.session import Session, SessionTask
from app.repositories.lifecycle_log import log_transitions

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Sequence

    from sqlalchemy.orm import Session as DbSession

    from app.repositories.transitions import Transition


class CommitEffects:
    """Refreshes what `db` has loaded, and logs and notifies after the commit.

    `owner`, if given, restricts every read and every user's act: another owner's session is as
    if it did not exist.
    """

    def __init__(self, db: DbSession, *, owner: str | None = None) -> None:
        self._db = db
        self._owner = owner

    def _after(self, moved: Sequence[Transition]) -> None:
        if not moved:
            return
        session_ids = {transition.session_id for transition in moved}
        self._reload(session_ids)
        after_commit(self._db, lambda: log_transitions(moved))
        self._announce(session_ids)

    def _announce(self, session_ids: Collection[uuid.UUID]) -> None:
        announce = self._db.info.get("announce")
        if announce is not None and session_ids:
            after_commit(self._db, lambda: announce(session_ids))

    def _reload(self, session_ids: Collection[uuid.UUID]) -> None:
        """Refresh objects of these sessions that were loaded before a statement moved them."""
        for instance in list(self._db.identity_map.values()):
            match instance:
                case SessionTaskLease() if instance.session_id in session_ids:
                    self._db.expunge(instance)  # it may be gone; a read finds the new one
                case SessionTask() if instance.session_id in session_ids:
                    self._db.refresh(instance)
                case Session() if instance.id in session_ids:
                    had_task = "task" in inspect(instance).dict
                    self._db.refresh(instance, None if not had_task else [*_COLUMNS, "task"])
                case _:
                    pass


_COLUMNS = [attribute.key for attribute in inspect(Session).column_attrs]
