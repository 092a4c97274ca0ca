"""Waiting for a database that is away, while a handler runs."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from app.core.errors import DatabaseBusy, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PAUSE_SECONDS = 2.0

Answer = TypeVar("Answer")


def patiently(
    act: Callable[[], Answer],
    *,
    seconds: float,
    check: Callable[[], None],
    waits_for: tuple[type[Exception], ...] = (DatabaseUnavailable,),
) -> Answer:
    """Return what `act` returns; where the database is away, try again for up to `seconds`.

    `check` is called between two attempts, and may raise. `act` must bear repeating: whether a
    commit under way took effect is unknown.

    Raises:
        DatabaseUnavailable, DatabaseBusy: it still failed for one of the reasons in `waits_for`.

    """
    given_up_at = time.monotonic() + seconds
    pause = 0.05
    while True:
        try:
            return act()
        except waits_for:
            if time.monotonic() + pause > given_up_at:
                raise
        check()
        threading.Event().wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - jitter
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


AWAY_OR_BUSY = (DatabaseUnavailable, DatabaseBusy)
"""For what must not be lost to a lock or a full disk that passes."""
