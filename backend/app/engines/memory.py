"""Memory of long-lived processes: given back between tasks, and seldom searched for cycles."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys

SECONDS_OF_LIGHT_WORK = 0.2
"""A task that took no longer has left too little behind to be looked for."""


def give_back_memory() -> None:
    """Have the C library return what large results have left behind (malloc_trim(3), glibc).

    Otherwise every process of a worker stays as big as the biggest task that it ever had.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library: it has its own way
            ctypes.CDLL(None).malloc_trim(0)


def collect_garbage_seldom() -> None:
    """Look for cycles less often from now on, and never among what is there already.

    What was imported is hundreds of thousands of objects that stay: going through them takes the
    collector a fifth of a child's time, whose documents are large trees of small objects, and
    holds up a server's answers for 70 ms several times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
