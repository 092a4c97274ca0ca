"""Receive requests to stop the process, from signals and from other threads.

A signal may arrive in any thread, at any point, and Python runs its handler only when the main
thread next runs Python code; one that blocks in a system call may never get there. So the main
thread waits on a socket, into which the interpreter itself writes each signal's number at once
(`signal.set_wakeup_fd`); no handler does any work, and no lock is taken.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from enum import Enum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Request(Enum):
    """The signals received."""

    STOP = "stop"
    LEAVE = "leave"
    DONE = "done"


_DONE = b"\0"  # not a signal's number
_LEAVE = b"\xff"  # nor is this
_STOPS = {bytes([number]) for number in SIGNALS}


class StopRequests:
    """Receives SIGTERM and SIGINT while entered in the main thread; elsewhere only `stop()`."""

    def __enter__(self) -> Self:
        self._hears, self._tells = socket.socketpair()
        self._tells.setblocking(False)
        self._former_handlers: dict[int, signal._HANDLER] = {}
        self._hears_signals = threading.current_thread() is threading.main_thread()
        if self._hears_signals:
            self._former_descriptor = signal.set_wakeup_fd(
                self._tells.fileno(), warn_on_full_buffer=False
            )
            for number in SIGNALS:
                self._former_handlers[number] = signal.signal(number, _do_nothing)
        return self

    def __exit__(self, *_exc_info: object) -> None:
        for number, handler in self._former_handlers.items():
            signal.signal(number, handler)
        if self._hears_signals:
            signal.set_wakeup_fd(self._former_descriptor)
        self._hears.close()
        self._tells.close()

    def stop(self) -> None:
        """Request a stop, as a signal does; may be called from any thread."""
        self._write(bytes([signal.SIGTERM]))

    def leave(self) -> None:
        """Report that there is nothing left to do: a stop, but not a repeated one."""
        self._write(_LEAVE)

    def done(self) -> None:
        """Report that the stop is done."""
        self._write(_DONE)

    def wait(self) -> Request:
        """Wait for the next request."""
        while True:
            heard = self._hears.recv(1)
            if heard in _STOPS:
                return Request.STOP
            if heard == _LEAVE:
                return Request.LEAVE
            if heard == _DONE:
                return Request.DONE

    def _write(self, word: bytes) -> None:
        with contextlib.suppress(OSError):  # it is closed, or full of requests
            self._tells.send(word)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: a handler must exist for the signal to be written to the socket."""
