"""Count requests without a valid key; a valid key is never counted, and never refused.

They are counted by address and by the key's id, so a mistyped key is reported as such, even if
others at the same address exceed the limit.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter

from app.api.problems import TooManyRequests
from app.repositories.access_repository import key_id_of

if TYPE_CHECKING:
    from starlette.types import Scope

IPV6_PREFIX = 64
"""The smallest network of one customer (RFC 6177): all its addresses count as one."""


class FailedAttempts:
    """The failures of the last minute, in this process."""

    def __init__(self, per_minute: int) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._limit = RateLimitItemPerMinute(per_minute)

    async def count(self, scope: Scope, key: str = "") -> None:
        """Count one more failure, with this key or without one.

        Raises:
            TooManyRequests: there were too many.

        """
        address = network_of((scope.get("client") or ("unknown",))[0])
        if not await self._limiter.hit(self._limit, address, key_id_of(key)):
            raise TooManyRequests(
                "Too many requests without a valid key from this address",
                next_step="Wait as long as Retry-After says; a valid key is taken at any time.",
            )


def network_of(address: str) -> str:
    """Return an IPv4 address as it is, the /64 network of an IPv6 one, other text as it is."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_PREFIX), strict=False))
