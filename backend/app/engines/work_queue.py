"""A work queue that wakes one consumer at a time."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class WorkQueue(Generic[Item]):
    """A queue for many consumers, which wakes at most one at a time.

    A consumer that leaves items wakes the next, which takes at once, or, with `patience`, once no
    other has taken anything for that long. So light work is done by the few that are awake, and
    heavy work of one consumer delays no other. `queue.SimpleQueue` wakes one consumer for every
    item, and they would only wait for the interpreter lock.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: collections.deque[Item] = collections.deque()
        self._sleepers: list[tuple[threading.Lock, int]] = []  # and the items each needs
        self._is_waking = False
        self._is_reserve = False  # whether the consumer being woken is only a reserve
        self._taken_count = 0
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def sleeper_count(self) -> int:
        """How many consumers are waiting."""
        return len(self._sleepers)

    def put(self, items: Iterable[Item]) -> None:
        """Add them at the end."""
        with self._lock:
            self._items.extend(items)
            self._wake_one()

    def put_back(self, items: Iterable[Item]) -> None:
        """Add them at the front: they have waited before."""
        with self._lock:
            self._items.extendleft(reversed(list(items)))
            self._wake_one()

    def take(self, most: int = 1, *, least: int = 1, patience: float = 0.0) -> list[Item]:
        """Wait for `least` items, and leave as many for each waiting consumer.

        Returns none once it is closed and empty. `patience`, in seconds, applies to the consumer
        woken next for what is left.
        """
        with self._lock:
            if len(self._items) >= least or self._is_closed:
                return self._take(most, patience)
            gate = threading.Lock()
            gate.acquire()
            self._sleepers.append((gate, least))
        while True:
            gate.acquire()
            self._stand_by(patience)
            with self._lock:
                self._is_waking = False
                if len(self._items) >= least or self._is_closed:
                    return self._take(most, patience)
                self._sleepers.append((gate, least))  # another took it
                self._wake_one()  # one for which the rest is sufficient

    def withdraw(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Remove, without waiting, the items for which the condition holds."""
        with self._lock:
            withdrawn = [item for item in self._items if condition(item)]
            if withdrawn:
                kept = [item for item in self._items if not condition(item)]
                self._items.clear()
                self._items.extend(kept)
            return withdrawn

    def close(self) -> None:
        """Let consumers return once the queue is empty."""
        with self._lock:
            self._is_closed = True
            self._wake_one()

    def _take(self, most: int, patience: float) -> list[Item]:
        count = len(self._items)
        if most > 1 and self._sleepers:
            contenders = 1 + sum(least <= count for _, least in self._sleepers)
            count = -(-count // contenders)
        taken = [self._items.popleft() for _ in range(min(most, count))]
        self._taken_count += 1
        self._wake_one(is_reserve=patience > 0)
        return taken

    def _stand_by(self, patience: float) -> None:
        """As a reserve, wait while other consumers take items."""
        while self._is_reserve and self._items and not self._is_closed:
            seen_count = self._taken_count
            time.sleep(patience)
            if self._taken_count == seen_count:
                return

    def _wake_one(self, *, is_reserve: bool = False) -> None:
        """Wake the consumer that began to wait last, unless one is being woken already."""
        if not self._sleepers or self._is_waking:
            return
        for position in range(len(self._sleepers) - 1, -1, -1):
            gate, least = self._sleepers[position]
            if len(self._items) >= least or self._is_closed:
                self._is_waking = True
                self._is_reserve = is_reserve and not self._is_closed
                del self._sleepers[position]
                gate.release()
                return
