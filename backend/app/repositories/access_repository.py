"""API keys: create, list, revoke and recognise them."""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Double,
    SQLColumnExpression,
    and_,
    cast,
    delete,
    func,
    or_,
    select,
    update,
)

from app.core.database import after_commit
from app.core.errors import KeyNotFound
from app.core.logging import log_audit
from app.models.access import ApiKey, BrowserSession, KeyRole, SignInCode

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy.orm import Session as DbSession

SECRET_BYTES = 32
_KEY_SHAPE = re.compile(r"st_([0-9a-f]{16})\.([A-Za-z0-9_-]{43})", re.ASCII)
_NOBODYS_HASH = hashlib.sha256(b"no such key").digest()


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request: its owner, its role and its key.

    Attributes:
        browser_session: the hash of the browser session's token; None if the key itself was sent.
        usable_seconds: for how long the key, and the browser session, will be valid.

    """

    owner: str
    role: KeyRole
    key_id: str
    browser_session: bytes | None = None
    usable_seconds: float = field(default=math.inf, compare=False)

    @property
    def sees(self) -> str | None:
        """The owner whose sessions this caller sees; None for an administrator: all owners."""
        return None if self.role is KeyRole.ADMIN else self.owner

    @property
    def may_act(self) -> bool:
        """Whether this caller may change anything."""
        return self.role is not KeyRole.VIEWER


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key; `text` is shown once and not stored."""

    text: str
    record: ApiKey


class AccessRepository:
    """Keys, in the transaction of `db`; every act of an operator is logged at AUDIT."""

    def __init__(self, db: DbSession) -> None:
        self._db = db

    def create_key(
        self,
        owner: str,
        *,
        role: KeyRole = KeyRole.USER,
        name: str = "",
        lifetime: timedelta | None = None,
    ) -> NewKey:
        """Create a key of this owner, without expiry or for `lifetime`."""
        secret = secrets.token_urlsafe(SECRET_BYTES)
        record = ApiKey(
            id=secrets.token_hex(8),
            secret_sha256=_hash(secret),
            owner=owner,
            role=role,
            name=name[:200],
        )
        if lifetime is not None:
            record.expires_at = func.clock_timestamp() + lifetime
        self._db.add(record)
        self._db.flush()
        self._db.refresh(record)
        after_commit(
            self._db,
            lambda: log_audit("API key created", key_id=record.id, owner=owner, role=role.value),
        )
        return NewKey(f"st_{record.id}.{secret}", record)

    def all_keys(self) -> Sequence[ApiKey]:
        """Return all keys of all owners, the newest first; revoked and expired ones too."""
        return self._db.scalars(select(ApiKey).order_by(ApiKey.created_at.desc(), ApiKey.id)).all()

    def has_usable_key(self) -> bool:
        """Return whether there is a valid key."""
        return self._db.scalar(select(select(ApiKey.id).where(is_usable()).exists())) or False

    def revoke_key(self, key_id: str) -> ApiKey:
        """Revoke the key; other processes' caches drop it within seconds.

        The browsers that it signed in are signed out with it.

        Raises:
            KeyNotFound: there is none, or it was revoked before.

        """
        record: ApiKey | None = self._db.scalar(
            update(ApiKey)
            .where(ApiKey.id == key_id, ApiKey.revoked_at.is_(None))
            .values(revoked_at=func.clock_timestamp())
            .returning(ApiKey)
        )
        if record is None:
            raise KeyNotFound(
                "There is no such key that could be revoked",
                next_step="See session-tasks keys list.",
            )
        for dependent in (BrowserSession, SignInCode):
            self._db.execute(delete(dependent).where(dependent.key_id == key_id))
        after_commit(
            self._db, lambda: log_audit("API key revoked", key_id=key_id, owner=record.owner)
        )
        return record

    def recognise(self, text: str) -> Principal | None:
        """Return the caller with this key; None if it is malformed, unknown, expired or revoked.

        Secrets are compared in constant time, and an unknown id takes the same path.
        """
        shape = _KEY_SHAPE.fullmatch(text)
        if shape is None:
            return None
        key_id, secret = shape.groups()
        found = self._db.execute(
            select(ApiKey, seconds_until(ApiKey.expires_at)).where(ApiKey.id == key_id, is_usable())
        ).one_or_none()
        record, seconds = found if found is not None else (None, None)
        known = record.secret_sha256 if record is not None else _NOBODYS_HASH
        if not hmac.compare_digest(known, _hash(secret)) or record is None:
            return None
        self._note_use(key_id)
        return Principal(
            record.owner,
            record.role,
            record.id,
            usable_seconds=math.inf if seconds is None else seconds,
        )

    def usable(self, key_ids: Collection[str]) -> set[str]:
        """Return the keys among these that are neither expired nor revoked."""
        return set(self._db.scalars(select(ApiKey.id).where(ApiKey.id.in_(key_ids), is_usable())))

    def _note_use(self, key_id: str) -> None:
        now = func.clock_timestamp()
        self._db.execute(
            update(ApiKey)
            .where(
                ApiKey.id == key_id,
                or_(
                    ApiKey.last_used_at.is_(None),
                    ApiKey.last_used_at < now - timedelta(minutes=1),
                ),
            )
            .values(last_used_at=now)
        )


def key_id_of(text: str) -> str:
    """Return the id in a key's text; empty for text that does not have the form of a key."""
    shape = _KEY_SHAPE.fullmatch(text)
    return shape[1] if shape is not None else ""


def is_usable() -> ColumnElement[bool]:
    """Whether the row of `ApiKey` is neither revoked nor expired, by the database's clock."""
    return and_(
        ApiKey.revoked_at.is_(None),
        or_(ApiKey.expires_at.is_(None), ApiKey.expires_at > func.clock_timestamp()),
    )


def seconds_until(moment: SQLColumnExpression[Any]) -> ColumnElement[float]:
    """Return the seconds left until then, by the database's clock; NULL for never."""
    return cast(func.extract("epoch", moment - func.clock_timestamp()), Double)


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("ascii")).digest()
