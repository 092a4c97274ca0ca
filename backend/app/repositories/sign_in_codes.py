"""Codes that sign one browser in, once, in the links that `serve` and `login` print."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import case, delete, func, insert, select

from app.core.errors import KeyNotFound
from app.models.access import ApiKey, KeyRole, SignInCode
from app.repositories.access_repository import Principal, is_usable
from app.repositories.browser_sessions import TOKEN_BYTES, TOKEN_SHAPE, token_hash

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement
    from sqlalchemy.orm import Session as DbSession

LIFETIME = timedelta(hours=1)


class SignInCodes:
    """Sign-in codes, in the transaction of `db`."""

    def __init__(self, db: DbSession) -> None:
        self._db = db

    def create(self, key_id: str) -> str:
        """Return a new code that signs in with this key, once, within `LIFETIME`."""
        code = secrets.token_urlsafe(TOKEN_BYTES)
        self._db.execute(
            insert(SignInCode).values(
                code_sha256=token_hash(code),
                key_id=key_id,
                expires_at=func.clock_timestamp() + LIFETIME,
            )
        )
        return code

    def create_for(self, owner: str, key_id: str | None = None) -> str:
        """Return a new code for that key, else for the owner's newest, an admin's before others.

        Raises:
            KeyNotFound: there is no such key, or it was revoked, or has expired.

        """
        wanted = ApiKey.owner == owner if key_id is None else ApiKey.id == key_id
        found = self._db.scalar(
            select(ApiKey.id)
            .where(wanted, is_usable())
            .order_by(case((ApiKey.role == KeyRole.ADMIN, 0), else_=1), ApiKey.created_at.desc())
            .limit(1)
        )
        if found is None:
            raise KeyNotFound(
                f"The owner {owner} has no usable key" if key_id is None else "No such usable key",
                next_step="See session-tasks keys list; create one with session-tasks keys create.",
            )
        return self.create(found)

    def look_at(self, code: str) -> Principal | None:
        """Return the caller that the code would sign in; None if it was used, or has expired."""
        if TOKEN_SHAPE.fullmatch(code) is None:
            return None
        return self._caller(self._db.scalar(select(SignInCode.key_id).where(*_is_usable(code))))

    def redeem(self, code: str) -> Principal | None:
        """Return the caller that the code signs in, and delete it; None as for `look_at`.

        If several redeem a code at the same time, only one gets the caller.
        """
        if TOKEN_SHAPE.fullmatch(code) is None:
            return None
        used_up = delete(SignInCode).where(*_is_usable(code)).returning(SignInCode.key_id)
        return self._caller(self._db.scalar(used_up))

    def _caller(self, key_id: str | None) -> Principal | None:
        record = self._db.scalar(select(ApiKey).where(ApiKey.id == key_id, is_usable()))
        return Principal(record.owner, record.role, record.id) if record is not None else None


def _is_usable(code: str) -> tuple[ColumnElement[bool], ...]:
    return (
        SignInCode.code_sha256 == token_hash(code),
        SignInCode.expires_at > func.clock_timestamp(),
    )
