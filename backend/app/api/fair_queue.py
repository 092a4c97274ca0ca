"""Share turns fairly among API keys: requests wait for a turn instead of being refused."""

from __future__ import annotations

import asyncio
import collections
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from app.api.problems import Busy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

LONGEST_WAIT_SECONDS = 60.0
CROWDED_SECONDS = 1.0


class _Waiter:
    """A request that is waiting for its turn."""

    def __init__(self, weight: int) -> None:
        self.weight = weight
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class FairQueue:
    """Shares a bounded capacity fairly among the waiting keys; for one event loop.

    The next turn goes to the key that holds least, among equals in rotation: however many
    requests others have waiting, a key that holds nothing waits for one turn to end, and for one of
    each such key. A key never holds more than its share, so slow requests of one key leave room.

    Args:
        capacity: the total of all turns held at a time, in any unit.
        share: the most that one key may hold.
        crowded_share: the same while several keys come, or did within `CROWDED_SECONDS`.

    """

    def __init__(
        self, capacity: int, share: int | None = None, *, crowded_share: int | None = None
    ) -> None:
        self._capacity = capacity
        self._usual_share = capacity if share is None else share
        self._crowded_share = crowded_share
        self._crowded_until = 0.0
        self._latest_key: str | None = None
        self._held: collections.Counter[str] = collections.Counter()
        self._waiting: collections.OrderedDict[str, collections.deque[_Waiter]] = (
            collections.OrderedDict()
        )

    @asynccontextmanager
    async def turn(self, key: str, weight: int = 1) -> AsyncIterator[None]:
        """Hold `weight` of the capacity within the block; a weight above the share is held alone.

        Raises:
            Busy: there was no turn for a minute.

        """
        if key != self._latest_key:
            if self._latest_key is not None:
                self._crowded_until = asyncio.get_running_loop().time() + CROWDED_SECONDS
            self._latest_key = key
        waiter = _Waiter(weight)
        self._waiting.setdefault(key, collections.deque()).append(waiter)
        self._grant()
        try:
            async with asyncio.timeout(LONGEST_WAIT_SECONDS):
                await waiter.granted
        except BaseException as error:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._release(key, weight)
            else:
                waiter.granted.cancel()
                self._grant()
            if isinstance(error, TimeoutError):
                raise Busy(
                    "Others' documents are being stored right now",
                    next_step="Try again in a moment.",
                ) from None
            raise
        try:
            yield
        finally:
            self._release(key, weight)

    @property
    def _share(self) -> int:
        if self._crowded_share is None:
            return self._usual_share
        is_crowded = asyncio.get_running_loop().time() < self._crowded_until
        return self._crowded_share if is_crowded else self._usual_share

    def _has_used_up(self, key: str, weight: int) -> bool:
        """Return whether the key's share has no room for this; if it holds none, it has."""
        return key in self._held and self._held[key] + weight > self._share

    def _fits(self, key: str, weight: int) -> bool:
        if self._has_used_up(key, weight):
            return False
        return not self._held.total() or self._held.total() + weight <= self._capacity

    def _grant(self) -> None:
        while (waiter := self._next()) is not None:
            waiter.granted.set_result(None)

    def _next(self) -> _Waiter | None:
        """Return the next waiter that there is room for, of the key that holds least.

        A key whose share is used up is skipped; a turn that only waits for room is not, so
        that small ones do not starve a large one.
        """
        for key, waiters in sorted(self._waiting.items(), key=lambda item: self._held[item[0]]):
            while waiters and waiters[0].granted.done():  # cancelled, and not gone yet
                waiters.popleft()
            if not waiters:
                del self._waiting[key]
            elif self._fits(key, waiters[0].weight):
                self._held[key] += waiters[0].weight
                self._waiting.move_to_end(key)
                return waiters.popleft()
            elif not self._has_used_up(key, waiters[0].weight):
                break
        return None

    def _release(self, key: str, weight: int) -> None:
        self._held[key] -= weight
        if not self._held[key]:
            del self._held[key]
        self._grant()
