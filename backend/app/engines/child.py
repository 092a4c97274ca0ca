"""The process in which handlers run; a supervisor starts it with `main`.

It writes no task state, only the results of steps, fenced by the claim. The supervisor notices
its death; the supervisor's death ends it in two ways: the kernel kills it (Linux), and the socket
between them closes.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import importlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast
from uuid import UUID

from app.core.connections import SingleConnection
from app.core.logging import configure_logging
from app.engines.execution import Completed, Failed, Released, run_handler
from app.engines.memory import (
    EXIT_TOO_LARGE,
    SECONDS_OF_LIGHT_WORK,
    collect_garbage_seldom,
    limit_memory,
    release_memory,
)
from app.engines.messages import (
    Assignment,
    Assignments,
    Channel,
    ControlMessage,
    Ended,
    Limited,
    ReturnedUnstarted,
    Setup,
    Stop,
    results_in_parts,
)
from app.tasks.context import TaskContext, TaskIdentity
from app.tasks.registry import max_run_seconds
from app.values.claims import Claim
from app.values.states import TaskType

if TYPE_CHECKING:
    from app.tasks.registry import Handler

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"


def main(descriptor: int, supervisor: int) -> None:
    """Serve the supervisor at the other end of the socket until it stops or dies."""
    _die_with(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # sent to the whole process group
    channel = Channel(socket.socket(fileno=descriptor))
    setup = cast("Setup", _next_of(channel)[0])
    if setup.log_level is not None:
        configure_logging(setup.log_level)
    for reference in setup.references.values():
        module = reference.partition(":")[0]
        try:
            importlib.import_module(module)
        except Exception:
            logger.debug("Could not import %s ahead of its first task", module, exc_info=True)
    limit_memory(setup.settings.max_task_memory_mb)
    collect_garbage_seldom()
    channel.send(ControlMessage.READY)
    _Child(channel, setup).serve()


def _next_of(channel: Channel) -> tuple[object, ...]:
    while not (messages := channel.receive()):
        pass
    return messages


class _Task:
    """An assigned task, and whether it must stop."""

    __slots__ = ("_claim_token", "begin_before", "identity", "is_cancelled")

    def __init__(self, assignment: Assignment) -> None:
        self.identity = TaskIdentity(
            UUID(bytes=assignment.session_id),
            UUID(bytes=assignment.task_id),
            TaskType(assignment.task_type),
            assignment.attempt,
        )
        self.begin_before = assignment.begin_before
        self.is_cancelled = False
        self._claim_token = assignment.claim_token

    def claim(self, worker: str) -> Claim:
        """Return the claim that the worker holds on it."""
        return Claim(*self.identity, UUID(bytes=self._claim_token), UUID(worker))


class _Child:
    """Runs one task after another; the thread that reads the socket receives stops meanwhile.

    One lock guards waiting tasks and messages: starts and recalls of tasks are reported in the
    order in which they happen.
    """

    def __init__(self, channel: Channel, setup: Setup) -> None:
        self._channel = channel
        self._setup = setup
        self._changed = threading.Condition()
        self._waiting: collections.deque[_Task] = collections.deque()
        self._current: _Task | None = None
        self._database: SingleConnection | None = None

    def serve(self) -> None:
        threading.Thread(target=self._read, name="supervisor", daemon=True).start()
        task: _Task | None = None
        while True:
            task = task or self._wait_for_task()
            began_at = time.monotonic()
            try:
                task = self._end(self._run(task))
            except MemoryError:  # what it made did not fit in a message
                os._exit(EXIT_TOO_LARGE)
            if time.monotonic() - began_at > SECONDS_OF_LIGHT_WORK:
                release_memory()

    def _wait_for_task(self) -> _Task:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            return self._begin()

    def _end(self, ended: Ended | ControlMessage) -> _Task | None:
        """Report how the last task ended, together with the start of the next waiting one."""
        with self._changed:
            if self._waiting:
                return self._begin(ended)
            self._send(ended)
            return None

    def _begin(self, *ended: Ended | ControlMessage) -> _Task:
        self._current = self._waiting.popleft()
        self._send(*ended, ControlMessage.STARTED)
        return self._current

    def _run(self, task: _Task) -> Ended | ControlMessage:
        """Run it, send its results in parts, and return its outcome."""
        if time.monotonic() > task.begin_before:
            return Ended(Released())
        context = TaskContext(
            task.identity,
            settings=self._setup.settings,
            open_database=self._open_database,
            report=self._send,
            is_cancelled=lambda: task.is_cancelled,
            claim=lambda: task.claim(self._setup.worker),
        )
        outcome = run_handler(
            self._setup.references[task.identity.task_type],
            context,
            worker=self._setup.worker,
            on_loaded=self._report_limit,
        )
        if isinstance(outcome, Completed | Failed):
            for part in results_in_parts(outcome.results):
                self._send(part)
        match outcome:
            case Completed():
                return ControlMessage.COMPLETED
            case Failed(failure):
                return Ended(Failed(failure))
            case _:
                return Ended(outcome)

    def _report_limit(self, handler: Handler) -> None:
        limit = max_run_seconds(handler)
        if limit is not None:
            self._send(Limited(limit))

    def _open_database(self) -> SingleConnection:
        if self._database is None:
            self._database = SingleConnection(self._setup.settings, self._setup.conninfo)
        return self._database

    def _send(self, *messages: object) -> None:
        with self._changed:
            self._channel.send(*messages)

    def _read(self) -> None:
        while True:
            try:
                messages = self._channel.receive()
            except (EOFError, OSError):
                _end_with_descendants()
            except MemoryError:
                os._exit(EXIT_TOO_LARGE)
            for message in messages:
                self._receive(message)

    def _receive(self, message: object) -> None:
        with self._changed:
            match message:
                case Assignments(assigned):
                    self._waiting.extend(map(_Task, assigned))
                    self._changed.notify()
                case Stop(task_id):
                    current = [self._current] if self._current is not None else []
                    for task in (*current, *self._waiting):
                        if task.identity.task_id == task_id:
                            task.is_cancelled = True
                case ControlMessage.RETURN_UNSTARTED:
                    if self._waiting:
                        self._send(ReturnedUnstarted(len(self._waiting)))
                        self._waiting.clear()
                case _:
                    logger.warning("Ignored a message: %s", type(message).__name__)


def _die_with(supervisor: int) -> None:
    """Have the kernel kill this process when the supervisor dies, even inside a C call (prctl(2)).

    On other systems the end of the socket does so, as soon as Python code runs again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # If memory runs out, the kernel should kill a task before the supervisor (proc(5)).
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    if os.getppid() != supervisor:
        os._exit(1)  # it died before we asked


def _end_with_descendants() -> None:
    """End at once, with the handler's own processes: this process leads its process group."""
    with contextlib.suppress(OSError):
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)
