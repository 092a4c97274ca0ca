"""How long a response asks to wait, by the headers that Atlassian documents for rate limits.

See https://developer.atlassian.com/cloud/jira/platform/rate-limiting/: `Retry-After` in seconds
(RFC 9110 also allows a date) and `X-RateLimit-Reset`, an ISO 8601 timestamp to the minute.
"""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_WAIT_SECONDS = 2 * 3600.0
"""Jira's quotas are by the hour; what asks for more is not believed."""

_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0


def requested_wait(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a refusal asks to wait; None where it does not say."""
    now = moment_of(headers.get("Date")) or datetime.now(UTC)
    after = headers.get("Retry-After", "").strip()
    try:
        seconds = float(after)
    except ValueError:
        moment = moment_of(after) or moment_of(headers.get("X-RateLimit-Reset"))
        if moment is None:
            return None
        seconds = (moment - now).total_seconds()
    if not math.isfinite(seconds):
        return None
    return min(max(seconds, 0.0), LONGEST_WAIT_SECONDS)


def exhausted_wait(headers: Mapping[str, str]) -> float:
    """Return how long to wait after a success that used up the last request of its window."""
    if headers.get("X-RateLimit-Remaining", "").strip() != "0":
        return 0.0
    return requested_wait(headers) or 0.0


def backoff(attempt: int) -> float:
    """Return the pause after failure number `attempt` (from 1): it doubles, with some jitter."""
    seconds = min(_FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 10), _LONGEST_BACKOFF_SECONDS)
    return seconds * random.uniform(0.7, 1.0)  # noqa: S311 - no secret


def moment_of(text: str | None) -> datetime | None:
    """Read an HTTP date or an ISO 8601 timestamp; without a zone it is UTC."""
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            moment = read((text or "").strip())
        except ValueError:
            continue
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return None
