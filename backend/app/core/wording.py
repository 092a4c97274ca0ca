"""Times, sizes and names as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

_MINUTE = 60
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_KILO = 1000


def duration_text(seconds: float | None) -> str:
    """Return `0.84 s`, `12.3 s`, `4 min 05 s` or `2 h 07 min`; a dash if unknown."""
    if seconds is None:
        return "-"
    if seconds < 9.995:  # noqa: PLR2004 - from here on, hundredths are noise
        return f"{seconds:.2f} s"
    if seconds < _MINUTE - 0.05:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def age_text(seconds: float) -> str:
    """Return `just now`, `5 min ago`, `3 h ago` or `2 days ago`."""
    if seconds < _MINUTE:
        return "just now"
    if seconds < _HOUR:
        return f"{seconds / _MINUTE:.0f} min ago"
    if seconds < _DAY:
        return f"{seconds / _HOUR:.0f} h ago"
    days = round(seconds / _DAY)
    return f"{days} day{'s' if days != 1 else ''} ago"


def size_text(byte_count: int) -> str:
    """Return `512 bytes`, `96 KB` or `1.4 MB`, in powers of 1,000."""
    if byte_count < _KILO:
        return f"{byte_count} bytes"
    size, unit = byte_count / _KILO, "KB"
    for larger in ("MB", "GB", "TB"):
        if size < _KILO - 0.5:
            break
        size, unit = size / _KILO, larger
    return f"{size:.0f} {unit}" if size >= 9.95 else f"{size:.1f} {unit}"  # noqa: PLR2004


def short_id(session_id: UUID) -> str:
    """Return the first eight digits, which are enough for display and the command line."""
    return session_id.hex[:8]


def count_text(count: int, one: str) -> str:
    """Return `1 ticket` or `2,000 tickets`."""
    return f"{count:,} {one if count == 1 else one + 's'}"


def names_text(names: Sequence[str], *, most: int = 2) -> str:
    """Return `a.md, b.md and 4 more`."""
    more = len(names) - most
    return ", ".join(names[:most]) + (f" and {more:,} more" if more > 0 else "")
