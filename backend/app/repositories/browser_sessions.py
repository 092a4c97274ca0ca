"""Browser sessions: sign in with a key, recognise the cookie, sign out."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, delete, func, insert, select, text, update

from app.core.database import after_commit
from app.core.errors import KeyNotFound
from app.core.logging import log_audit
from app.models.access import ApiKey, BrowserSession
from app.repositories.access_repository import Principal, is_usable, seconds_until

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.orm import Session as DbSession

TOKEN_BYTES = 32
TOKEN_SHAPE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
MOST_PER_KEY = 100
"""The most browsers signed in with one key; one more signs out the oldest."""

USE_IS_NOTED_EVERY = timedelta(minutes=1)


class BrowserSessions:
    """Browser sessions, in the transaction of `db`.

    Args:
        db: the transaction.
        idle: how long an unused browser session is valid.

    """

    def __init__(self, db: DbSession, *, idle: timedelta) -> None:
        self._db = db
        self._idle = idle

    def start(self, key_id: str, *, lifetime: timedelta) -> str:
        """Sign a browser in with this key; return the token for its cookie, which is not stored.

        Raises:
            KeyNotFound: the key was revoked, or has expired.

        """
        token = secrets.token_urlsafe(TOKEN_BYTES)
        key = self._db.scalar(select(ApiKey).where(ApiKey.id == key_id, is_usable()))
        if key is None:
            raise KeyNotFound(
                "This key was revoked, or has expired",
                next_step="Ask an operator for another: session-tasks keys create.",
            )
        self._db.execute(
            insert(BrowserSession).values(
                token_sha256=token_hash(token),
                key_id=key_id,
                expires_at=func.clock_timestamp() + lifetime,
            )
        )
        self._end_oldest(key_id)
        owner = key.owner
        after_commit(self._db, lambda: log_audit("Browser signed in", key_id=key_id, owner=owner))
        return token

    def recognise(self, token: str) -> Principal | None:
        """Return the caller of this token; None for an unknown, ended or idle one.

        The token's hash is compared, so the time that takes reveals nothing about a token.
        """
        if TOKEN_SHAPE.fullmatch(token) is None:
            return None
        digest = token_hash(token)
        found = self._db.execute(
            select(
                ApiKey.owner,
                ApiKey.role,
                ApiKey.id,
                func.least(  # ignores NULL: a key without an end
                    seconds_until(ApiKey.expires_at), seconds_until(BrowserSession.expires_at)
                ),
            )
            .join(BrowserSession, BrowserSession.key_id == ApiKey.id)
            .where(BrowserSession.token_sha256 == digest, self._is_usable())
        ).one_or_none()
        if found is None:
            return None
        self._note_use(digest)
        owner, role, key_id, seconds = found
        return Principal(owner, role, key_id, browser_session=digest, usable_seconds=seconds)

    def usable(self, token_hashes: Collection[bytes]) -> set[bytes]:
        """Return the hashes of these browser sessions that have not ended."""
        return set(
            self._db.scalars(
                select(BrowserSession.token_sha256)
                .join(ApiKey, BrowserSession.key_id == ApiKey.id)
                .where(BrowserSession.token_sha256.in_(token_hashes), self._is_usable())
            )
        )

    def end(self, digest: bytes) -> None:
        """Sign the browser out; no effect if it is already signed out."""
        key_id = self._db.scalar(
            delete(BrowserSession)
            .where(BrowserSession.token_sha256 == digest)
            .returning(BrowserSession.key_id)
        )
        if key_id is not None:
            after_commit(self._db, lambda: log_audit("Browser signed out", key_id=key_id))

    # -- private ----------------------------------------------------------------------------------

    def _is_usable(self) -> ColumnElement[bool]:
        now = func.clock_timestamp()
        return (
            (BrowserSession.expires_at > now)
            & (BrowserSession.last_used_at > now - self._idle)
            & is_usable()
        )

    def _note_use(self, digest: bytes) -> None:
        now = func.clock_timestamp()
        self._db.execute(
            update(BrowserSession)
            .where(
                BrowserSession.token_sha256 == digest,
                BrowserSession.last_used_at < now - min(USE_IS_NOTED_EVERY, self._idle / 10),
            )
            .values(last_used_at=now)
        )

    def _end_oldest(self, key_id: str) -> None:
        newest = (
            select(BrowserSession.token_sha256)
            .where(BrowserSession.key_id == key_id)
            .order_by(BrowserSession.created_at.desc())
            .limit(MOST_PER_KEY)
        )
        self._db.execute(
            delete(BrowserSession).where(
                BrowserSession.key_id == key_id, BrowserSession.token_sha256.not_in(newest)
            )
        )


def token_hash(token: str) -> bytes:
    """Return the hash under which a token is stored."""
    return hashlib.sha256(token.encode("utf-8", "replace")).digest()


_FORGET = """
WITH ended AS (
    SELECT token_sha256 FROM browser_sessions WHERE expires_at < clock_timestamp()
     LIMIT :limit FOR UPDATE SKIP LOCKED),
unused AS (
    SELECT code_sha256 FROM sign_in_codes WHERE expires_at < clock_timestamp()
     LIMIT :limit FOR UPDATE SKIP LOCKED),
forgotten_codes AS (
    DELETE FROM sign_in_codes WHERE code_sha256 IN (SELECT code_sha256 FROM unused) RETURNING 1),
forgotten_sessions AS (
    DELETE FROM browser_sessions WHERE token_sha256 IN (SELECT token_sha256 FROM ended) RETURNING 1)
SELECT greatest((SELECT count(*) FROM forgotten_codes), (SELECT count(*) FROM forgotten_sessions))
"""


def forget_ended(db: DbSession, *, limit: int) -> int:
    """Delete up to `limit` expired browser sessions, and as many codes.

    Returns the larger of the two numbers.
    """
    return int(db.scalar(text(_FORGET), {"limit": limit}) or 0)
