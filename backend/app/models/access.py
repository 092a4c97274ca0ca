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
    """A key, `st_<id>.<secret>`; of the secret (256 bits) only the SHA-256 is kept.

    A plain hash is enough: a secret of 256 random bits cannot be guessed, however fast the hash.

    Attributes:
        id: the public part; it may stand in logs.
        owner: whose sessions the key opens.
        name: what people call it.
        last_used_at: to the minute, so that reading costs no write.

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
        key_id: the key that signed in; without it, the browser session is worth nothing.
        expires_at: the end, however much it is used.
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
    """The answer that was given under an Idempotency-Key: committed with the effect, or not at all.

    Attributes:
        fingerprint: SHA-256 of the request; another request under the same key is refused.
        session_id: which session the answer is about: with it the answer goes. None where a version
            before migration 0005 kept it.
        location: the answer's Location header, where it had one.
        body: the answer's body, as it was sent.

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
