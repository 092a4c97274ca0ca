"""Memory of processes: bounded, released between tasks, and seldom searched for cycles."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import threading

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
    delays a server's responses by 70 ms several times a second.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


EXIT_TOO_LARGE = 77
"""The status of a process that ended itself because it took too much memory."""

_SECONDS_BETWEEN_LOOKS = 0.1
_KILOBYTE = 1_024
_MEGABYTE = 1_024 * _KILOBYTE


def limit_memory(megabytes: int) -> None:
    """Have this process get no more memory than so much; 0: no limit.

    On Linux allocations fail beyond it: Python raises MemoryError, and most libraries abort. What
    counts is written memory (RLIMIT_DATA), not address space: threads reserve 64 MB of that each
    and use little of it. Elsewhere the kernel does not keep to such limits; there the process
    looks at its peak ten times a second, and ends with `EXIT_TOO_LARGE`.
    """
    if not megabytes:
        return
    if sys.platform == "linux":
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        wanted = megabytes * _MEGABYTE
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
    else:
        watch_memory(megabytes)


def watch_memory(megabytes: int) -> None:
    """End this process once it has taken more; where the kernel does not (`limit_memory`)."""

    def look() -> None:
        pause = threading.Event()
        while peak_megabytes(resource.getrusage(resource.RUSAGE_SELF)) <= megabytes:
            pause.wait(_SECONDS_BETWEEN_LOOKS)
        os._exit(EXIT_TOO_LARGE)

    threading.Thread(target=look, name="memory", daemon=True).start()


def peak_megabytes(usage: resource.struct_rusage) -> int:
    """Return the largest size that a process had (getrusage(2): in bytes on macOS)."""
    unit = 1 if sys.platform == "darwin" else _KILOBYTE
    return usage.ru_maxrss * unit // _MEGABYTE


def died_of_memory(status: int, peak: int, limit: int) -> bool:
    """Say whether a process died because it took too much memory.

    Args:
        status: its return code, as `subprocess` gives it.
        peak: the largest size that it had, in megabytes.
        limit: what it was allowed.

    Libraries abort where an allocation fails, which may be a large one long before the limit.
    Others crash, or the kernel ends the process, when it is near.

    """
    if status == EXIT_TOO_LARGE:
        return True
    if not limit:
        return False
    return peak >= limit * (_PART_AT_ABORT if status == -signal.SIGABRT else _PART_AT_DEATH)


_PART_AT_ABORT = 0.25
_PART_AT_DEATH = 0.75
