"""Run a task's handler: in a child process of its slot, or in the slot's thread."""

from __future__ import annotations

import collections
import contextlib
import logging
from typing import TYPE_CHECKING, Any, Protocol

from app.core.errors import (
    TOO_LARGE_FOR_MEMORY,
    WORKER_LOST,
    ErrorCategory,
    TaskError,
    TooLargeForMemory,
    WorkerLost,
)
from app.core.failure import failure_context
from app.core.logging import RecordHandler
from app.engines.child_process import ChildDied, ChildProcess
from app.engines.execution import (
    Cancelled,
    Completed,
    Failed,
    Outcome,
    Released,
    is_light,
    run_handler,
)
from app.engines.loops import backoff_seconds
from app.engines.messages import (
    Assignment,
    Assignments,
    ControlMessage,
    Ended,
    Limited,
    Produced,
    ResultParts,
    ReturnedUnstarted,
    Setup,
    Stop,
)
from app.engines.runs import Run, StopReason
from app.tasks.context import Progress, TaskContext, TaskIdentity
from app.tasks.registry import max_run_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from app.core.config import Settings
    from app.core.database import Database
    from app.values.states import TaskType

logger = logging.getLogger(__name__)

STARTS_BEFORE_RELEASE = 3
LONGEST_PAUSE_BETWEEN_STARTS = 10.0

SECONDS_BEFORE_RETURN = 0.1
"""The longest time that assigned tasks wait behind a slow one before they are recalled."""


class TaskTimeout(TaskError):  # noqa: N818 - the failure's name in `failure_context`
    """The task ran longer than allowed.

    Temporary: it is retried automatically, as a hung connection or a stalled machine recovers. The
    attempts limit the cost of a task that is simply too large.
    """

    default_category = ErrorCategory.TEMPORARY


class Runner(Protocol):
    """Runs tasks to their outcomes.

    Attributes:
        is_busy: whether another task has begun with the last reported outcome.
        is_abandoned: whether it reports nothing more, and its thread must end.

    """

    is_busy: bool
    is_abandoned: bool

    def warm_up(self) -> None:
        """Prepare for the first task."""

    def run(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome]]:
        """Run one after another, and yield the outcome of each before waiting for the next.

        Never raises for anything that a handler does.
        """

    def close(self) -> None:
        """Close everything that is kept between tasks."""


class ProcessRunner:
    """Runs tasks in a child process that is started once and kept while it lives.

    Several tasks are assigned at once; the child begins the next without asking, and reports that
    with the end of the previous one. Unstarted tasks are not affected: if the child dies, another
    gets them, and if a task is slow, those behind it are recalled and passed to `give_back`.
    """

    def __init__(
        self, setup: Setup, *, give_back: Callable[[Sequence[Run]], None] = lambda _runs: None
    ) -> None:
        self._setup = setup
        self._give_back = give_back
        self.is_busy = self.is_abandoned = False
        self._child: ChildProcess | None = None
        self._failed_starts = 0

    def warm_up(self) -> None:
        """Start the child before the first task; if that fails, the task tries again."""
        try:
            self._living_child()
        except (ChildDied, OSError) as error:
            logger.warning("A process for tasks could not be started ahead: %s", error)

    def run(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome]]:
        """Run them in the child; if it dies, its current task fails at once, and is counted.

        If no child can be started, they are released, for another worker.
        """
        waiting = collections.deque(runs)
        failed_starts = 0
        while waiting and failed_starts < STARTS_BEFORE_RELEASE:
            try:
                child = self._living_child()
                child.send(Assignments([_assignment(run) for run in waiting]))
                child.expect(ControlMessage.STARTED)
            except (ChildDied, OSError) as error:  # it died while idle: no task is the cause
                self.close()
                failed_starts += 1
                self._failed_starts += 1
                logger.warning("A process for tasks %s; starting another", error)
                pause = backoff_seconds(self._failed_starts, longest=LONGEST_PAUSE_BETWEEN_STARTS)
                if waiting[0].wait_for_stop(pause):
                    yield waiting.popleft(), Released()
                continue
            failed_starts = self._failed_starts = 0
            yield from self._oversee(child, waiting)
        for run in waiting:
            logger.error("No process for tasks can be started here; the task is released")
            yield run, Released()

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

    def _oversee(
        self, child: ChildProcess, waiting: collections.deque[Run]
    ) -> Iterator[tuple[Run, Outcome]]:
        """Remove ended tasks from `waiting`, whose first has begun, until it is empty."""
        while True:
            outcome = self._outcome_of_first(child, waiting)
            run = waiting.popleft()
            self.is_busy = bool(waiting) and child.is_alive
            if self.is_busy and not is_light(outcome):
                _ask_back_unstarted(child)  # others may be as slow
            yield run, outcome
            del outcome
            if not self.is_busy:
                return
            try:
                child.expect(ControlMessage.STARTED)
            except ChildDied as death:
                logger.warning("A process for tasks %s; starting another", death)
                self.close()
                return

    def _outcome_of_first(self, child: ChildProcess, waiting: collections.deque[Run]) -> Outcome:
        run = waiting[0]
        parts = ResultParts()
        is_asked_back = False

        def tell() -> None:
            with contextlib.suppress(ChildDied):
                child.send(Stop(run.claim.task_id))

        with run.running(tell=tell, kill=child.kill):
            try:
                while True:
                    may_ask_back = len(waiting) > 1 and not is_asked_back
                    match child.receive(SECONDS_BEFORE_RETURN if may_ask_back else None):
                        case ControlMessage.COMPLETED:
                            return Completed(parts.results()) if parts else Completed()
                        case Ended(outcome):
                            if isinstance(outcome, Failed) and parts:
                                outcome = Failed(outcome.context, parts.results())
                            return _settled(run, outcome, self._setup.worker)
                        case ReturnedUnstarted(count):
                            self._give_back([waiting.pop() for _ in range(count)][::-1])
                        case None:
                            _ask_back_unstarted(child)
                            is_asked_back = True
                        case message:
                            _take_note(run, parts, message)
            except ChildDied as death:
                self.close()
                failure = _as_failure(death, child.pid, self._setup.settings)
                return _settled(run, None, self._setup.worker, failure)
            except Exception as error:
                logger.exception("The child's message could not be read")
                self.close()
                ended = Failed(failure_context(error, worker=self._setup.worker))
                return _settled(run, ended, self._setup.worker)


class ThreadRunner:
    """Runs tasks in the calling thread: for light work that waits rather than computes.

    A thread cannot be killed. One that does not stop is abandoned: `on_abandoned` gets the outcome
    of its task, at once, in the thread that enforces deadlines. A later result of the task is
    ignored, `is_abandoned` is true, and the thread must end.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        references: Mapping[TaskType, str],
        *,
        worker: str,
        on_abandoned: Callable[[Run, Outcome], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._references = references
        self._worker = worker
        self._on_abandoned = on_abandoned
        self.is_busy = self.is_abandoned = False

    def warm_up(self) -> None:
        """Do nothing."""

    def run(self, runs: Sequence[Run]) -> Iterator[tuple[Run, Outcome]]:
        """Run them; an abandoned one has no outcome, and is the last."""
        for run in runs:
            ended = self._run(run)
            if self.is_abandoned:
                return
            yield run, _settled(run, ended, self._worker)

    def close(self) -> None:
        """Do nothing: nothing is kept."""

    def _run(self, run: Run) -> Outcome:
        def abandon() -> None:
            """Abandon the thread, once; `run.running` ensures that it has not ended."""
            if self.is_abandoned:
                return
            self.is_abandoned = True
            logger.warning("A thread does not stop and is left behind; use processes for such work")
            self._on_abandoned(run, _settled(run, None, self._worker))

        with run.running(kill=abandon):
            return self._work(run)

    def _work(self, run: Run) -> Outcome:
        claim = run.claim
        context = TaskContext(
            TaskIdentity(claim.session_id, claim.task_id, claim.task_type, claim.attempt),
            settings=self._settings,
            open_database=lambda: self._database,
            report=run.note,
            is_cancelled=run.must_stop,
            claim=lambda: claim,
        )

        def on_loaded(handler: Any) -> None:
            limit = max_run_seconds(handler)
            if limit is not None:
                run.limit_to(limit)

        return run_handler(
            self._references[claim.task_type], context, worker=self._worker, on_loaded=on_loaded
        )


def make_setup(
    database: Database, settings: Settings, references: Mapping[TaskType, str], *, worker: str
) -> Setup:
    """Return the first message to the children of a worker."""
    has_logging = any(isinstance(each, RecordHandler) for each in logging.getLogger().handlers)
    return Setup(
        settings=settings,
        conninfo=database.conninfo,
        references=references,
        worker=worker,
        log_level=logging.getLogger("app").getEffectiveLevel() if has_logging else None,
    )


def _assignment(run: Run) -> Assignment:
    claim = run.claim
    return Assignment(
        claim.session_id.bytes,
        claim.task_id.bytes,
        claim.task_type.value,
        claim.attempt,
        claim.claim_token.bytes,
        run.fenced_at,
    )


def _ask_back_unstarted(child: ChildProcess) -> None:
    with contextlib.suppress(ChildDied):  # reported again by the next read
        child.send(ControlMessage.RETURN_UNSTARTED)


def _take_note(run: Run, parts: ResultParts, message: object) -> None:
    """Record a child's message about its current task."""
    match message:
        case Progress():
            run.note(message)
        case Limited(seconds):
            run.limit_to(seconds)
        case Produced():
            parts.add(message)
        case _:
            logger.warning("Ignored a message: %s", type(message).__name__)


def _settled(
    run: Run, ended: Outcome | None, worker: str, death: TaskError | None = None
) -> Outcome:
    """Return a run's outcome from how it ended (None: by force), and why it was stopped.

    A run that completed before it received the message is complete: the claim decides.
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
    error = death or WorkerLost("The process that ran the task is gone")
    name = TOO_LARGE_FOR_MEMORY if isinstance(error, TooLargeForMemory) else WORKER_LOST
    return Failed(failure_context(error, error_name=name, worker=worker))


def _as_failure(death: ChildDied, pid: int, settings: Settings) -> TaskError:
    """Return the failure of a task whose process died."""
    if death.is_of_memory:
        return TooLargeForMemory(settings.max_task_memory_mb)
    return WorkerLost(f"The process that ran the task (pid {pid}) {death}")


def _timeout(run: Run) -> TaskTimeout:
    return TaskTimeout(
        f"The task ran for more than {run.max_run_seconds:,.0f} s and was stopped",
        next_step="If it needs longer, raise SESSION_TASKS_MAX_RUN_SECONDS.",
    )
