"""Things that wait for whoever is free, handed out with as few awakenings as there can be."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Handout(Generic[Item]):
    """A queue for many takers, of whom at most one at a time is being woken up.

    Who wakes up and takes leaves it to the next, if there is more: light work is then done by the
    few who are awake anyhow, and whoever is held up by his has already seen to it that another
    follows. `queue.SimpleQueue` wakes one for every item; they would only stand in line for the
    interpreter.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._items: collections.deque[Item] = collections.deque()
        self._sleepers: list[threading.Lock] = []
        self._is_waking = False
        self._is_closed = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def sleeper_count(self) -> int:
        """How many takers wait."""
        return len(self._sleepers)

    def put(self, items: Iterable[Item]) -> None:
        """Add them at the end."""
        with self._lock:
            self._items.extend(items)
            self._wake_one()

    def put_back(self, items: Iterable[Item]) -> None:
        """Add them in front: they have waited before."""
        with self._lock:
            self._items.extendleft(reversed(list(items)))
            self._wake_one()

    def take(self, most: int = 1) -> list[Item]:
        """Wait for some, and take no more than leaves as much for each who waits.

        Answers nothing once it is closed and all are gone.
        """
        gate: threading.Lock | None = None
        while True:
            with self._lock:
                if gate is not None:
                    self._is_waking = False
                if self._items or self._is_closed:
                    share = -(-len(self._items) // (1 + len(self._sleepers)))
                    taken = [self._items.popleft() for _ in range(min(most, share))]
                    self._wake_one()
                    return taken
                gate = threading.Lock()
                gate.acquire()
                self._sleepers.append(gate)
            gate.acquire()

    def withdraw(self, condition: Callable[[Item], bool]) -> list[Item]:
        """Take away, without waiting, those for which the condition holds."""
        with self._lock:
            withdrawn = [item for item in self._items if condition(item)]
            if withdrawn:
                kept = [item for item in self._items if not condition(item)]
                self._items.clear()
                self._items.extend(kept)
            return withdrawn

    def close(self) -> None:
        """Have takers go, once all is taken."""
        with self._lock:
            self._is_closed = True
            self._wake_one()

    def _wake_one(self) -> None:
        """Wake who went to sleep last, and is warmest, unless one is waking up already."""
        if self._sleepers and not self._is_waking and (self._items or self._is_closed):
            self._is_waking = True
            self._sleepers.pop().release()
