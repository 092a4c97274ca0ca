"""The process in which handlers run: `main` is what a supervisor starts it with.

It writes to no table. Its death is the supervisor's to notice; the supervisor's death it notices
itself, twice over: the kernel kills it (Linux), and the socket between them ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import logging
import os
import queue
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.database import Database
from app.core.logging import configure_logging
from app.engines.execution import Completed, Failed, Outcome, run_handler
from app.engines.memory import collect_garbage_seldom, give_back_memory
from app.engines.messages import (
    Assignment,
    Begun,
    Ended,
    Limited,
    Ready,
    Setup,
    Stop,
    results_in_parts,
)
from app.tasks.context import TaskContext
from app.tasks.registry import max_run_seconds

if TYPE_CHECKING:
    from app.tasks.registry import Handler

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_OOM_SCORE = "500"

SECONDS_OF_LIGHT_WORK = 0.2


def main(descriptor: int, supervisor: int) -> None:
    """Serve the supervisor at the other end of the socket until it stops or dies."""
    _die_with(supervisor)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # a terminal's or a service manager's, for us all
    connection: Connection[Any, Any] = Connection(descriptor)
    setup: Setup = connection.recv()
    if setup.log_level is not None:
        configure_logging(setup.log_level)
    for module in setup.warm_up:
        try:
            importlib.import_module(module)
        except Exception:
            logger.debug("Could not import %s ahead of its first task", module, exc_info=True)
    collect_garbage_seldom()
    connection.send(Ready())
    _Child(connection, setup).serve()


class _Child:
    """Runs one task after another; the thread that reads the socket hears a stop meanwhile."""

    def __init__(self, connection: Connection[Any, Any], setup: Setup) -> None:
        self._connection = connection
        self._setup = setup
        self._sending = threading.Lock()
        self._assigned: queue.SimpleQueue[tuple[Assignment, threading.Event]] = queue.SimpleQueue()
        self._current: tuple[Assignment, threading.Event] | None = None
        self._database: Database | None = None

    def serve(self) -> None:
        threading.Thread(target=self._read, name="supervisor", daemon=True).start()
        while True:
            assignment, cancelled = self._assigned.get()
            began_at = time.monotonic()
            self._send(Begun())
            self._send_outcome(self._run(assignment, cancelled))
            if time.monotonic() - began_at > SECONDS_OF_LIGHT_WORK:
                give_back_memory()

    def _send_outcome(self, outcome: Outcome) -> None:
        """Send the results in parts, then the outcome without them."""
        if isinstance(outcome, Completed | Failed):
            for part in results_in_parts(outcome.results):
                self._send(part)
            outcome = Completed() if isinstance(outcome, Completed) else Failed(outcome.context)
        self._send(Ended(outcome))

    def _run(self, assignment: Assignment, cancelled: threading.Event) -> Outcome:
        context = TaskContext(
            assignment.identity,
            settings=self._setup.settings,
            open_database=self._open_database,
            report=self._send,
            is_cancelled=cancelled.is_set,
        )
        return run_handler(
            assignment.reference, context, worker=assignment.worker, on_loaded=self._tell_limit
        )

    def _tell_limit(self, handler: Handler) -> None:
        limit = max_run_seconds(handler)
        if limit is not None:
            self._send(Limited(limit))

    def _open_database(self) -> Database:
        if self._database is None:
            settings = self._setup.settings.model_copy(update={"pool_size": 1})
            self._database = Database(settings, self._setup.url)
        return self._database

    def _send(self, message: object) -> None:
        with self._sending:
            self._connection.send(message)

    def _read(self) -> None:
        while True:
            try:
                message = self._connection.recv()
            except (EOFError, OSError):
                _end_with_descendants()
            match message:
                case Assignment():
                    self._current = (message, threading.Event())
                    self._assigned.put(self._current)
                case Stop(task_id) if self._current is not None:
                    assignment, cancelled = self._current
                    if assignment.identity.task_id == task_id:
                        cancelled.set()
                case _:
                    logger.warning("Ignored a message: %s", type(message).__name__)


def _die_with(supervisor: int) -> None:
    """Have the kernel kill this process when the supervisor dies, even inside a C call (prctl(2)).

    Elsewhere than on Linux the end of the socket does it, as soon as Python code runs again.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # Where memory runs out, a task is to die before the supervisor does (proc(5)).
        with contextlib.suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    if os.getppid() != supervisor:
        os._exit(1)  # it died before we asked


def _end_with_descendants() -> None:
    """End at once, with whatever the handler started: we lead a process group of our own."""
    with contextlib.suppress(OSError):
        if os.getpgid(0) == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)
