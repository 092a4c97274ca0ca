"""Giving memory back to the system between tasks."""

from __future__ import annotations

import contextlib
import ctypes
import sys


def give_back_memory() -> None:
    """Have the C library return what large results have left behind (malloc_trim(3), glibc).

    Otherwise every process of a worker stays as big as the biggest task that it ever had.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library: it has its own way
            ctypes.CDLL(None).malloc_trim(0)
