"""Where a task's handler runs: a child process of its slot's own, or a thread.

Each slot has one child, kept warm from task to task, and one socket pair to it. Nothing is shared
between children: a pool with a common queue must hold a lock while a child writes, and a child
that is killed just then takes the lock with it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Protocol

from app.core.errors import ErrorCategory, TaskError, WorkerLost
from app.core.failure import failure_context
from app.core.logging import RecordHandler
from app.engines.execution import Cancelled, Completed, Failed, Outcome, Released, run_handler
from app.engines.loops import backoff_seconds
from app.engines.messages import (
    Assignment,
    Begun,
    Ended,
    Limited,
    Produced,
    Ready,
    ResultParts,
    Setup,
    Stop,
)
from app.engines.runs import Run, StopReason
from app.tasks.context import Progress, TaskContext, TaskIdentity
from app.tasks.registry import max_run_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from app.core.config import Settings
    from app.core.database import Database
    from app.models.session import TaskType

logger = logging.getLogger(__name__)

SECONDS_TO_START = 60.0
STARTS_BEFORE_RELEASE = 3
LONGEST_PAUSE_BETWEEN_STARTS = 10.0

_BOOT = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from app.engines.child import main; main(int(sys.argv[2]), int(sys.argv[3]))"
)


class TaskTimeout(TaskError):  # noqa: N818 - the failure's name in `failure_context`
    """The task ran longer than it may.

    Temporary: it is tried again by itself, as a hung connection or a stalled machine passes. The
    attempts bound what a task that is simply too big can cost.
    """

    default_category = ErrorCategory.TEMPORARY


class ChildDied(Exception):  # noqa: N818 - what happened, as StaleClaim
    """The child process is gone; the message says how it ended."""


class Runner(Protocol):
    """Runs one task after another to its outcome."""

    def warm_up(self) -> None:
        """Prepare for the first task."""

    def run(self, run: Run) -> Outcome:
        """Run the task; never raises for anything that its handler does."""

    def close(self) -> None:
        """Let go of what is kept between tasks."""


class ChildProcess:
    """A child process, from the supervisor's side.

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
        self._connection: Connection[Any, Any] = Connection(ours.detach())
        self._exited = _exit_descriptor(self._process.pid)
        self._sending = threading.Lock()
        self._ending = threading.Lock()
        self.is_alive = True
        try:
            self.send(setup)
            self.expect(Ready)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def send(self, message: object) -> None:
        """Say something to the child; may be called from any thread.

        Raises:
            ChildDied: it is gone.

        """
        try:
            with self._sending:
                self._connection.send(message)
        except OSError as error:
            raise ChildDied(self._end()) from error

    def receive(self, seconds: float | None = None) -> object:
        """Return what the child says next.

        Raises:
            ChildDied: it is gone, or said nothing for so long.

        """
        watched = [self._connection, *([self._exited] if self._exited is not None else ())]
        try:
            # The socket alone would not do: what the handler forked may hold its other end.
            ready = wait(watched, seconds)
            if self._connection in ready or (ready and self._connection.poll(0)):
                message: object = self._connection.recv()
                return message
        except (EOFError, OSError) as error:
            raise ChildDied(self._end()) from error
        if not ready:
            self.kill()
            raise ChildDied(f"did not start within {seconds:.0f} s")
        raise ChildDied(self._end())

    def expect(self, kind: type[object]) -> None:
        """Wait for a message of this kind.

        Raises:
            ChildDied: it is gone, silent, or said something else.

        """
        message = self.receive(SECONDS_TO_START)
        if not isinstance(message, kind):
            raise ChildDied(f"said {type(message).__name__} instead of {kind.__name__}")

    def kill(self) -> None:
        """Kill the child with all that it started; may be called from any thread."""
        with self._ending, contextlib.suppress(ProcessLookupError):
            if self._process.returncode is None:
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Kill the child if it lives, and let go of everything."""
        self._end()
        with self._sending:
            self._connection.close()
        if self._exited is not None:
            os.close(self._exited)
            self._exited = None

    def _end(self) -> str:
        """Make sure that it and what it started are gone; answers how it ended."""
        self._wait_for_exit()
        self.kill()
        with self._ending:
            status = self._process.wait()
        self.is_alive = False
        if status < 0:
            return f"was killed by signal {-status} ({_signal_name(-status)})"
        return f"exited with status {status}"

    def _wait_for_exit(self) -> None:
        """Let a child that is ending reach its end, so that the status is its own."""
        if self._exited is not None and not self._connection.closed:
            select.select([self._exited], [], [], 0.2)


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


class ProcessRunner:
    """Runs tasks in a child process that is started once and kept while it lives."""

    def __init__(self, setup: Setup, references: Mapping[TaskType, str], *, worker: str) -> None:
        self._setup = setup
        self._references = references
        self._worker = worker
        self._child: ChildProcess | None = None
        self._failed_starts = 0

    def warm_up(self) -> None:
        """Start the child ahead of the first task; a failure to is met again by that task."""
        try:
            self._living_child()
        except (ChildDied, OSError) as error:
            logger.warning("A process for tasks could not be started ahead: %s", error)

    def run(self, run: Run) -> Outcome:
        """Run the task in the child; if the child dies, so does the task, at once and counted.

        Where no child can be started, the task is released: another worker may be better off.
        """
        assignment = _assignment(run, self._references, self._worker)
        for _ in range(STARTS_BEFORE_RELEASE):
            try:
                child = self._living_child()
                child.send(assignment)
                child.expect(Begun)
            except (ChildDied, OSError) as error:  # it died idle: that is not the task's doing
                self.close()
                self._failed_starts += 1
                logger.warning("A process for tasks %s; starting another", error)
                pause = backoff_seconds(self._failed_starts, longest=LONGEST_PAUSE_BETWEEN_STARTS)
                if run.wait_for_stop(pause):
                    break
                continue
            self._failed_starts = 0
            return self._oversee(child, run)
        logger.error("No process for tasks can be started here; the task is given back")
        return Released()

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _living_child(self) -> ChildProcess:
        if self._child is None or not self._child.is_alive:
            self.close()
            self._child = ChildProcess(self._setup)
        return self._child

    def _oversee(self, child: ChildProcess, run: Run) -> Outcome:
        parts = ResultParts()

        def tell() -> None:
            with contextlib.suppress(ChildDied):
                child.send(Stop(run.claim.task_id))

        with run.running(tell=tell, kill=child.kill):
            try:
                while True:
                    match child.receive():
                        case Progress() as progress:
                            run.note(progress)
                        case Limited(seconds):
                            run.limit_to(seconds)
                        case Produced() as produced:
                            parts.add(produced)
                        case Ended(outcome):
                            return _settled(run, _with_results(outcome, parts), self._worker)
                        case other:
                            logger.warning("Ignored a message: %s", type(other).__name__)
            except ChildDied as death:
                self.close()
                return _settled(run, None, self._worker, f"(pid {child.pid}) {death}")
            except Exception as error:
                logger.exception("The child's message could not be read")
                self.close()
                ended = Failed(failure_context(error, worker=self._worker))
                return _settled(run, ended, self._worker)


class _WorkingThread:
    """A thread that does one thing after another until it is told that there is no more."""

    def __init__(self, name: str) -> None:
        self._given: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def do(self, work: Callable[[], None]) -> None:
        """Have it done next; returns at once."""
        self._given.put(work)

    def end(self) -> None:
        """End when what is under way is done."""
        self._given.put(None)

    def _serve(self) -> None:
        while (work := self._given.get()) is not None:
            work()


class ThreadRunner:
    """Runs each task in a thread of this process: for light work that waits rather than computes.

    A thread cannot be killed. One that will not listen is left behind: its task is settled without
    it, nothing that it returns is used, and it goes on until it ends by itself. Else the thread is
    kept from task to task.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        references: Mapping[TaskType, str],
        *,
        worker: str,
    ) -> None:
        self._database = database
        self._settings = settings
        self._references = references
        self._worker = worker
        self._thread: _WorkingThread | None = None

    def warm_up(self) -> None:
        """Nothing to do ahead."""

    def run(self, run: Run) -> Outcome:
        """Run the task in a thread that nothing else runs in."""
        assignment = _assignment(run, self._references, self._worker)
        cancelled = threading.Event()
        settled: queue.SimpleQueue[None] = queue.SimpleQueue()
        outcomes: list[Outcome] = []

        def work() -> None:
            outcomes.append(self._work(run, assignment, cancelled))
            settled.put(None)

        def abandon() -> None:
            cancelled.set()
            settled.put(None)

        thread, self._thread = self._thread or _WorkingThread(f"task of {self._worker}"), None
        with run.running(tell=cancelled.set, kill=abandon):
            thread.do(work)
            settled.get()
        if outcomes:
            self._thread = thread
        else:
            thread.end()
            logger.warning("A thread does not stop and is left behind; use processes for such work")
        return _settled(run, outcomes[0] if outcomes else None, self._worker)

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._thread.end()

    def _work(self, run: Run, assignment: Assignment, cancelled: threading.Event) -> Outcome:
        context = TaskContext(
            assignment.identity,
            settings=self._settings,
            open_database=lambda: self._database,
            report=run.note,
            is_cancelled=cancelled.is_set,
        )

        def on_loaded(handler: Any) -> None:
            limit = max_run_seconds(handler)
            if limit is not None:
                run.limit_to(limit)

        return run_handler(assignment.reference, context, worker=self._worker, on_loaded=on_loaded)


def make_setup(database: Database, settings: Settings, references: Mapping[TaskType, str]) -> Setup:
    """Return what the children of a worker are told once."""
    has_logging = any(isinstance(each, RecordHandler) for each in logging.getLogger().handlers)
    return Setup(
        settings=settings,
        url=database.url,
        warm_up=tuple(reference.partition(":")[0] for reference in references.values()),
        log_level=logging.getLogger("app").getEffectiveLevel() if has_logging else None,
    )


def _assignment(run: Run, references: Mapping[TaskType, str], worker: str) -> Assignment:
    claim = run.claim
    identity = TaskIdentity(claim.session_id, claim.task_id, claim.task_type, claim.attempt)
    return Assignment(identity, references[claim.task_type], worker)


def _with_results(outcome: Outcome, parts: ResultParts) -> Outcome:
    match outcome:
        case Completed():
            return Completed(parts.results())
        case Failed(context):
            return Failed(context, parts.results())
        case _:
            return outcome


def _settled(run: Run, ended: Outcome | None, worker: str, death: str = "") -> Outcome:
    """Return what a run comes to: how it ended (None: by force), and why it was stopped.

    A run that completed before it heard is complete, whatever it was told: the claim decides.
    """
    if isinstance(ended, Completed):
        return ended
    match run.stop_reason:
        case StopReason.CLAIM_LOST:
            return Cancelled()
        case StopReason.SHUTDOWN | StopReason.NOT_RENEWED if not isinstance(ended, Failed):
            return Released()
        case StopReason.OUT_OF_TIME:
            return Failed(failure_context(_timeout(run), worker=worker))
        case _:
            pass
    if ended is not None:
        return ended
    error = WorkerLost(f"The process that ran the task {death}")
    return Failed(failure_context(error, error_name="worker_lost", worker=worker))


def _timeout(run: Run) -> TaskTimeout:
    return TaskTimeout(
        f"The task ran for more than {run.max_run_seconds:,.0f} s and was stopped",
        next_step="If it needs longer, raise SESSION_TASKS_MAX_RUN_SECONDS.",
    )
