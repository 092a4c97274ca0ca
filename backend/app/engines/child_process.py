"""A child process that runs handlers, as seen by the worker that started it.

Each slot has one child, kept warm from task to task, and one socket pair to it. Nothing is shared
between children: a pool with a shared queue must hold a lock while a child writes, and a child
that is killed at that moment never releases it. The other side is `app.engines.child`.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from app.engines.memory import died_of_memory, peak_megabytes
from app.engines.messages import Channel, ControlMessage

if TYPE_CHECKING:
    from app.engines.messages import Setup

SECONDS_TO_START = 60.0

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from app.engines.child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class ChildDied(Exception):  # noqa: N818 - what happened, as StaleClaim
    """The child process has ended; the message says how.

    Attributes:
        is_of_memory: whether it took more memory than it may.

    """

    def __init__(self, message: str, *, is_of_memory: bool = False) -> None:
        super().__init__(message)
        self.is_of_memory = is_of_memory


class ChildProcess:
    """A child process, as its supervisor sees it.

    The thread that starts it must live as long as it does: to the kernel, that thread is its
    parent (prctl(2), PR_SET_PDEATHSIG).
    """

    def __init__(self, setup: Setup) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and code
                [
                    sys.executable,
                    "-P",  # a directory `app` where the worker was started is not this package
                    "-c",
                    _BOOT,
                    json.dumps(sys.path),
                    str(theirs.fileno()),
                    str(os.getpid()),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.__stderr__.fileno() if sys.__stderr__ else subprocess.DEVNULL,
                start_new_session=True,  # so that a handler's own processes end with it
            )
        self._channel = Channel(ours)
        self._exited = _exit_descriptor(self._process.pid)
        self._poll = select.poll()
        self._poll.register(ours, select.POLLIN)
        if self._exited is not None:
            self._poll.register(self._exited, select.POLLIN)
        self._heard: collections.deque[object] = collections.deque()
        self._sending = threading.Lock()
        self._ending = threading.Lock()
        self._memory_limit = setup.settings.max_task_memory_mb
        self._peak_megabytes = 0
        self.is_alive = True
        try:
            self.send(setup)
            self.expect(ControlMessage.READY)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, *messages: object) -> None:
        """Send messages to the child; may be called from any thread.

        Raises:
            ChildDied: it is gone.

        """
        try:
            with self._sending:
                self._channel.send(*messages)
        except OSError as error:
            raise self._death() from error

    def receive(self, seconds: float | None = None) -> object:
        """Return the child's next message; None if there is none within this time.

        Raises:
            ChildDied: it is gone.

        """
        while not self._heard:
            try:
                if not self._channel.has_read and not self._wait(seconds):
                    return None
                self._heard.extend(self._channel.receive())
            except (EOFError, OSError) as error:
                raise self._death() from error
        return self._heard.popleft()

    def _wait(self, seconds: float | None) -> bool:
        """Wait for a message of the child; returns whether there is one.

        Raises:
            ChildDied: it is gone. The socket alone would not tell: what the handler forked may
                hold its other end.

        """
        events = dict(self._poll.poll(None if seconds is None else 1000 * seconds))
        if events and self._channel.fileno() not in events:  # it may have, just before its end
            events = dict(self._poll.poll(0))
            if self._channel.fileno() not in events:
                raise self._death()
        return bool(events)

    def expect(self, word: ControlMessage) -> None:
        """Wait for this message.

        Raises:
            ChildDied: it has ended, is silent, or sent something else.

        """
        message = self.receive(SECONDS_TO_START)
        if message is None:
            self.kill()
            raise ChildDied(f"did not start within {SECONDS_TO_START:.0f} s")
        if message is not word:
            raise ChildDied(f"said {message!r:.100} instead of {word.name}")

    def kill(self) -> None:
        """Kill the child and its process group; may be called from any thread."""
        with self._ending, contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child if it is alive, and close everything."""
        self.kill()
        self._death()
        with self._sending:
            self._channel.close()
        if self._exited is not None:
            os.close(self._exited)
            self._exited = None

    def _death(self) -> ChildDied:
        """Ensure that it and its process group have ended; return how it ended."""
        self._wait_for_exit()
        self.kill()
        with self._ending:
            if self._process.returncode is None:
                self._reap()
            status = self._process.returncode
        self.is_alive = False
        if status is None:
            return ChildDied("is gone; something else waited for it")
        return ChildDied(
            f"was killed by signal {-status} ({_signal_name(-status)})"
            if status < 0
            else f"exited with status {status}",
            is_of_memory=died_of_memory(status, self._peak_megabytes, self._memory_limit),
        )

    def _reap(self) -> None:
        """Wait until it has ended, and record its peak memory."""
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        except ChildProcessError:
            return
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self._peak_megabytes = peak_megabytes(usage)

    def _wait_for_exit(self) -> None:
        """Let a child that is exiting finish, so that the exit status is its own."""
        if self._exited is not None and self._channel.fileno() >= 0:
            poll = select.poll()
            poll.register(self._exited, select.POLLIN)
            poll.poll(200)


def _exit_descriptor(pid: int) -> int | None:
    """Return a descriptor that is readable once the process has ended (pidfd_open(2)), on Linux."""
    if sys.platform != "linux":
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
