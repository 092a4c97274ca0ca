"""Memory of processes: limited, released between tasks, and rarely searched for cycles."""

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
"""A shorter task leaves too little memory to be worth a release."""


def release_memory() -> None:
    """Have the C library return the freed memory of large results (malloc_trim(3), glibc).

    Otherwise every process of a worker stays as large as its largest task.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)


def collect_garbage_seldom() -> None:
    """Collect cycles less often from now on, and never among existing objects.

    Imported modules are hundreds of thousands of permanent objects: scanning them takes a fifth
    of the time of a child, whose documents are large trees of small objects, and delays a server's
    responses by 70 ms several times a second.
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


EXIT_TOO_LARGE = 77
"""The exit status of a process that used too much memory."""

_SECONDS_BETWEEN_LOOKS = 0.1
_KILOBYTE = 1_024
_MEGABYTE = 1_024 * _KILOBYTE


def limit_memory(megabytes: int) -> None:
    """Limit this process's memory; 0: no limit.

    On Linux, allocations beyond it fail: Python raises MemoryError, and most libraries abort.
    Written memory counts (RLIMIT_DATA), not address space: each thread reserves 64 MB of that
    and uses little of it. Other kernels do not enforce such limits; there the process checks its
    peak ten times a second, and exits with `EXIT_TOO_LARGE`.
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
    """End this process once it exceeds the limit, if the kernel does not (`limit_memory`)."""

    def look() -> None:
        pause = threading.Event()
        while peak_megabytes(resource.getrusage(resource.RUSAGE_SELF)) <= megabytes:
            pause.wait(_SECONDS_BETWEEN_LOOKS)
        os._exit(EXIT_TOO_LARGE)

    threading.Thread(target=look, name="memory", daemon=True).start()


def peak_megabytes(usage: resource.struct_rusage) -> int:
    """Return a process's peak size (getrusage(2): in bytes on macOS)."""
    unit = 1 if sys.platform == "darwin" else _KILOBYTE
    return usage.ru_maxrss * unit // _MEGABYTE


def died_of_memory(status: int, peak: int, limit: int) -> bool:
    """Return whether a process died because it used too much memory.

    Args:
        status: its return code, as in `subprocess`.
        peak: its peak size in megabytes.
        limit: its limit in megabytes.

    Libraries abort if an allocation fails, which may be a large one far below the limit. Others
    crash, or the kernel kills the process, near the limit.

    """
    if status == EXIT_TOO_LARGE:
        return True
    if not limit:
        return False
    return peak >= limit * (_PART_AT_ABORT if status == -signal.SIGABRT else _PART_AT_DEATH)


_PART_AT_ABORT = 0.25
_PART_AT_DEATH = 0.75
