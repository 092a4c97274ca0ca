"""Callers by key or cookie, cached for a few seconds so that not every request is a query."""

from __future__ import annotations

import asyncio
import hashlib
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import anyio.to_thread

from app.repositories.access_repository import AccessRepository, Principal
from app.repositories.browser_sessions import BrowserSessions

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database

    _Question = Callable[[], Principal | None]

SECONDS_REMEMBERED = 5.0
"""A key that is revoked elsewhere works here for at most this long."""

MOST_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class _Known:
    principal: Principal
    until: float


class ApiKeyCache:
    """Recognises keys, and browsers by their cookie; only valid ones are kept, by their hash.

    However many requests show a key at once, it is asked for once; and a key in use is asked for
    again before its time is up, so that its requests never wait for that.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[bytes, _Known] = {}
        self._lookups: dict[bytes, asyncio.Task[Principal | None]] = {}
        self._revocation_count = 0

    async def recognise(self, key: str) -> Principal | None:
        """The caller with this key; None if the key is not valid, or no longer.

        Raises:
            DatabaseUnavailable: nobody can be recognised now.

        """
        return await self._recognise(_digest("key", key), lambda: self._ask(key))

    async def recognise_browser(self, token: str) -> Principal | None:
        """The caller of the browser session of this token; None if it has ended.

        Raises:
            DatabaseUnavailable: nobody can be recognised now.

        """
        return await self._recognise(_digest("browser", token), lambda: self._ask_browser(token))

    def forget(self, key_id: str) -> None:
        """Have a key that was revoked here refused here from now on."""
        self._revocation_count += 1  # what is being read now may be what stood before
        for digest, known in tuple(self._known.items()):
            if known.principal.key_id == key_id:
                self._known.pop(digest, None)

    def forget_browser_session(self, browser_session: bytes | None) -> None:
        """Have a browser that was signed out here refused here from now on."""
        self._revocation_count += 1
        for digest, known in tuple(self._known.items()):
            if known.principal.browser_session == browser_session is not None:
                self._known.pop(digest, None)

    async def _recognise(self, digest: bytes, ask: _Question) -> Principal | None:
        known = self._known.get(digest)
        seconds_left = known.until - time.monotonic() if known is not None else 0.0
        if known is None or seconds_left <= 0:
            return await asyncio.shield(self._lookup(digest, ask))
        if seconds_left < SECONDS_REMEMBERED / 2:
            self._lookup(digest, ask)
        return known.principal

    def _lookup(self, digest: bytes, ask: _Question) -> asyncio.Task[Principal | None]:
        """The lookup that is under way, begun if none is."""
        lookup = self._lookups.get(digest)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(digest, ask))
            self._lookups[digest] = lookup
            lookup.add_done_callback(lambda done: self._looked_up(digest, done))
        return lookup

    def _looked_up(self, digest: bytes, lookup: asyncio.Task[Principal | None]) -> None:
        del self._lookups[digest]
        if not lookup.cancelled():
            lookup.exception()  # a request may wait for it; an early lookup has none

    async def _look_up(self, digest: bytes, ask: _Question) -> Principal | None:
        asked_at = time.monotonic()
        revocation_count = self._revocation_count
        principal = await anyio.to_thread.run_sync(ask)
        if principal is None:
            self._known.pop(digest, None)
        elif revocation_count == self._revocation_count:
            if len(self._known) >= MOST_REMEMBERED:
                self._known.clear()
            seconds = min(SECONDS_REMEMBERED, principal.usable_seconds)
            self._known[digest] = _Known(principal, asked_at + seconds)
        return principal

    def _ask(self, key: str) -> Principal | None:
        with self._database.transaction() as db:
            return AccessRepository(db).recognise(key)

    def _ask_browser(self, token: str) -> Principal | None:
        with self._database.transaction() as db:
            idle = timedelta(hours=self._database.settings.browser_idle_hours)
            return BrowserSessions(db, idle=idle).recognise(token)


def _digest(kind: str, credential: str) -> bytes:
    """The digest that is kept in place of the credential; keys and tokens never match."""
    return hashlib.sha256(f"{kind} {credential}".encode("utf-8", "replace")).digest()
