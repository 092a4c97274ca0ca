"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

DEADLINE_SECONDS = 60.0

Answer = TypeVar("Answer")


class TooLate(Exception):  # noqa: N818 - what happened
    """A condition did not come about in time: that is a finding, not an accident."""


def on_this_machine(seconds: float) -> float:
    """So many seconds, or more in proportion where there is more to do than processors for it."""
    return seconds * max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))


def until(
    condition: Callable[[], Answer | None], what: str, seconds: float = DEADLINE_SECONDS
) -> Answer:
    """Wait until the condition holds, and answer with what it said.

    How fast things are is measured elsewhere; here it is asked only whether they happen.

    Raises:
        TooLate: it did not in so many seconds.

    """
    seconds = on_this_machine(seconds)
    end = time.monotonic() + seconds
    while not (answer := condition()):
        if time.monotonic() > end:
            message = f"did not happen in {seconds:g} s: {what}"
            raise TooLate(message)
        threading.Event().wait(0.02)
    return answer
