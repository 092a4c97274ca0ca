"""Access to the API (`ApiKey`, `BrowserSession`, `SignInCode`), and the stored responses."""

from __future__ import annotations

import uuid
from datetime import datetime
from enum import Enum

from sqlalchemy import CheckConstraint, ForeignKey, Index, LargeBinary, String, Text, func
from sqlalchemy.orm import Mapped, mapped_column

from app.models.base import Base, enum_by_value


class KeyRole(str, Enum):
    """The rights of a key."""

    VIEWER = "viewer"
    """See its owner's sessions, and change nothing."""

    USER = "user"
    """See its owner's sessions, and act on them."""

    ADMIN = "admin"
    """See and act on all owners' sessions, create, list and revoke keys, and reset attempts."""


class ApiKey(Base):
    """A key, `st_<id>.<secret>`; only the SHA-256 of the secret (256 bits) is stored.

    A plain hash is sufficient: 256 random bits cannot be guessed, however fast the hash.

    Attributes:
        id: the public part, which may be logged.
        owner: the owner of the sessions that it gives access to.
        name: a name given by its creator.
        last_used_at: to the minute, so that most requests write nothing.

    """

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("octet_length(secret_sha256) = 32", name="secret_sha256"),
        Index("ix_api_keys_owner", "owner"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    secret_sha256: Mapped[bytes] = mapped_column(LargeBinary)
    owner: Mapped[str] = mapped_column(String(200))
    role: Mapped[KeyRole] = mapped_column(enum_by_value(KeyRole, "role"))
    name: Mapped[str] = mapped_column(String(200), server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class BrowserSession(Base):
    """A browser that is signed in with a key; its cookie holds a random token, not the key.

    Attributes:
        token_sha256: SHA-256 of the token (256 random bits), which is stored nowhere else.
        key_id: the key that signed in; the browser session ends with it.
        expires_at: the end, regardless of use.
        last_used_at: to the minute; without use it ends after `BROWSER_IDLE_HOURS`.

    """

    __tablename__ = "browser_sessions"
    __table_args__ = (
        CheckConstraint("octet_length(token_sha256) = 32", name="token_sha256"),
        Index("ix_browser_sessions_key_id", "key_id"),
        Index("ix_browser_sessions_expires_at", "expires_at"),
    )

    token_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    expires_at: Mapped[datetime]
    last_used_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())


class SignInCode(Base):
    """A code that signs one browser in, once; it is deleted when it is used.

    Attributes:
        code_sha256: SHA-256 of the code (256 random bits), which is stored nowhere else.
        key_id: the key as which the browser is signed in.

    """

    __tablename__ = "sign_in_codes"
    __table_args__ = (
        CheckConstraint("octet_length(code_sha256) = 32", name="code_sha256"),
        Index("ix_sign_in_codes_key_id", "key_id"),
        Index("ix_sign_in_codes_expires_at", "expires_at"),
    )

    code_sha256: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    key_id: Mapped[str] = mapped_column(ForeignKey("api_keys.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime]


class IdempotencyRecord(Base):
    """The response to a request with an Idempotency-Key: committed with the effect, or not at all.

    Attributes:
        fingerprint: SHA-256 of the request; another request under the same key is refused.
        session_id: the session of the response, which is deleted with it. None if a version
            before migration 0005 stored it.
        location: the response's Location header, if it had one.
        body: the response's body, as it was sent.

    """

    __tablename__ = "idempotency_records"
    __table_args__ = (
        CheckConstraint("octet_length(fingerprint) = 32", name="fingerprint"),
        Index("ix_idempotency_records_created_at", "created_at"),
        Index("ix_idempotency_records_session_id", "session_id"),
    )

    owner: Mapped[str] = mapped_column(String(200), primary_key=True)
    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    session_id: Mapped[uuid.UUID | None] = mapped_column(
        ForeignKey("sessions.id", ondelete="CASCADE")
    )
    status_code: Mapped[int]
    location: Mapped[str | None] = mapped_column(Text)
    body: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
