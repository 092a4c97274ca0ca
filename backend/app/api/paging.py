"""Opaque page tokens: where the next page begins. Made up ones are refused, and open nothing."""

from __future__ import annotations

import base64
import binascii
import struct
from datetime import UTC, datetime, timedelta
from uuid import UUID

from app.api.problems import RequestInvalid

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SESSION = struct.Struct(">cq16s")
_POSITION = struct.Struct(">ci")
_MICROSECOND = timedelta(microseconds=1)


def session_token(created_at: datetime, session_id: UUID) -> str:
    """The token of what lies behind this session in a list."""
    microseconds = (created_at - _EPOCH) // _MICROSECOND
    return _text(_SESSION.pack(b"s", microseconds, session_id.bytes))


def session_of_token(token: str | None) -> tuple[datetime, UUID] | None:
    """The session that the token names; None without a token.

    Raises:
        RequestInvalid: it is no token of a list of sessions.

    """
    if token is None:
        return None
    try:
        kind, microseconds, raw = _SESSION.unpack(_bytes(token))
        created_at = _EPOCH + timedelta(microseconds=microseconds)
    except (struct.error, binascii.Error, ValueError, OverflowError) as error:
        raise _invalid() from error
    if kind != b"s":
        raise _invalid()
    return created_at, UUID(bytes=raw)


def position_token(position: int) -> str:
    """The token of what lies behind this position."""
    return _text(_POSITION.pack(b"p", position))


def position_of_token(token: str | None) -> int:
    """The position that the token names; 0 without a token.

    Raises:
        RequestInvalid: it is no token of a numbered list.

    """
    if token is None:
        return 0
    try:
        kind, position = _POSITION.unpack(_bytes(token))
    except (struct.error, binascii.Error, ValueError) as error:
        raise _invalid() from error
    if kind != b"p" or position < 0:
        raise _invalid()
    return int(position)


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _bytes(token: str) -> bytes:
    padded = token.encode("ascii") + b"=" * (-len(token) % 4)
    return base64.b64decode(padded, altchars=b"-_", validate=True)


def _invalid() -> RequestInvalid:
    return RequestInvalid(
        "This page token is not one of ours",
        next_step="Begin at the first page, or take next_page_token from the page before.",
    )
