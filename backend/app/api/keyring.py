"""Who shows which key, remembered for a few seconds so that not every request asks the database."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

import anyio.to_thread

from app.repositories.access_repository import AccessRepository, Principal

if TYPE_CHECKING:
    from app.core.database import Database

SECONDS_REMEMBERED = 5.0
"""A key that is revoked elsewhere works here for at most this long."""

MOST_REMEMBERED = 10_000


class Keyring:
    """Recognises keys; only valid ones are remembered, by their hash, never by themselves."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, tuple[float, Principal]] = {}

    async def recognise(self, key: str) -> Principal | None:
        """Who shows this key; None for one that is not valid (any more).

        Raises:
            DatabaseUnavailable: nobody can be recognised now.

        """
        digest = hashlib.sha256(key.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        principal = await anyio.to_thread.run_sync(self._ask, key)
        if principal is None:
            self._known.pop(digest, None)
            return None
        if len(self._known) >= MOST_REMEMBERED:
            self._known.clear()
        self._known[digest] = (time.monotonic() + SECONDS_REMEMBERED, principal)
        return principal

    def forget(self, key_id: str) -> None:
        """Have a key that was revoked here refused here from now on."""
        for digest, (_, principal) in tuple(self._known.items()):
            if principal.key_id == key_id:
                self._known.pop(digest, None)

    def _ask(self, key: str) -> Principal | None:
        with self._database.transaction() as db:
            return AccessRepository(db).recognise(key)
