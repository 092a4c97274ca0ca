"""The interface of handlers: the session's content, progress, cancellation and steps.

A handler is a function that takes a `TaskContext` and returns `TaskResults` or None. It does not
handle task state: the task completes if it returns, and fails if it raises.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from app.core.errors import TaskCancelled
from app.tasks.session_content import SessionContent
from app.tasks.steps import Steps, StepsInDatabase, StepsInMemory
from app.values.claims import MESSAGE_CHARACTERS
from app.values.options import SessionOptions

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable, Iterator

    from app.core.config import Settings
    from app.core.connections import ConnectionSource
    from app.repositories.content_reader import ContentCounts, IncomingDocument
    from app.tasks.steps import StepStore
    from app.values.claims import Claim
    from app.values.results import ExportBody, JiraIssue, TicketDraft
    from app.values.states import TaskType

Item = TypeVar("Item")

SECONDS_BETWEEN_REPORTS = 0.2
"""Progress is stored at most this often, however often a handler reports it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a task; `app.repositories.transitions` converts it for storage."""

    current: int
    total: int | None
    message: str | None


class TaskIdentity(NamedTuple):
    """The identity of a run; `attempt` is 1 for the first."""

    session_id: uuid.UUID
    task_id: uuid.UUID
    task_type: TaskType
    attempt: int


class TaskContext:
    """One run of one task, as its handler sees it.

    Attributes:
        session_id, task_id, task_type: the identity of the run.
        attempt: 1 for the first, plus one for each earlier failure.
        settings: the worker's settings.

    Args:
        claim: the run's claim, which allows it to store steps; without one (in a handler's test)
            steps are kept in memory for the life of the context.

    """

    def __init__(  # noqa: PLR0913 - what a worker gives
        self,
        identity: TaskIdentity,
        *,
        settings: Settings,
        open_database: Callable[[], ConnectionSource],
        report: Callable[[Progress], None],
        is_cancelled: Callable[[], bool],
        claim: Callable[[], Claim] | None = None,
    ) -> None:
        self.session_id = identity.session_id
        self.task_id = identity.task_id
        self.task_type = identity.task_type
        self.attempt = identity.attempt
        self.settings = settings
        self._open_database = open_database
        self._report = report
        self._is_cancelled = is_cancelled
        self._claim = claim
        self._reported_at = float("-inf")

    @cached_property
    def _content(self) -> SessionContent:
        return SessionContent(
            self.session_id,
            self._open_database,
            patience_seconds=self.settings.lease_seconds,
            check=self.check_cancelled,
        )

    @cached_property
    def _steps(self) -> Steps:
        store: StepStore = StepsInMemory()
        if self._claim is not None:
            store = StepsInDatabase(
                self._claim(),
                self._open_database,
                patience_seconds=self.settings.lease_seconds,
                check=self.check_cancelled,
            )
        return Steps(
            self.task_type,
            store,
            check=self.check_cancelled,
            max_bytes=self.settings.max_step_bytes,
        )

    @cached_property
    def options(self) -> SessionOptions:
        """The options of this session.

        Raises:
            ConfigurationError: a stored option is invalid.
            SessionNotFound: the session was deleted.

        """
        return SessionOptions.from_json(self._content.options())

    @property
    def is_cancelled(self) -> bool:
        """Return whether the task must stop; `check_cancelled` is the usual way to check."""
        return self._is_cancelled()

    def document_names(self) -> list[str]:
        """Return the names of the session's documents, in order."""
        return self._content.document_names()

    def documents(self) -> Iterator[IncomingDocument]:
        """Read the session's documents in order, about a megabyte in memory at a time."""
        return self._watched(self._content.documents())

    def tickets(self, *, after: int = 0, limit: int | None = None) -> Iterator[TicketDraft]:
        """Read the session's tickets in order, after number `after`, page by page."""
        return self._watched(self._content.tickets(after=after, limit=limit))

    def exports(self) -> Iterator[ExportBody]:
        """Read the session's import bodies in order, page by page."""
        return self._watched(self._content.exports())

    def issues(self) -> Iterator[JiraIssue]:
        """Read the issues that the export created in Jira, in the order of their tickets."""
        return self._watched(self._content.issues())

    def seconds_since_processing(self) -> float:
        """Return how long ago the session's tickets were made; nothing was exported before that."""
        return self._content.seconds_since_processing()

    def counts(self) -> ContentCounts:
        """Return the numbers of documents, tickets, import bodies and findings of the session."""
        return self._content.counts()

    def step(
        self, name: str, function: Callable[..., Any], *arguments: Any, lasting: bool = False
    ) -> Any:
        """Return the step's stored result; if there is none, run the function and store its result.

        A step runs once for each session and task type: the next attempt, after a crash, a kill or
        a retry, gets the stored result. A step that was interrupted before that runs again. The
        result is JSON, and is returned as JSON has it (a tuple as a list), the first time too.
        Steps are deleted when the task completes; unless they are lasting, also when it is started
        instead of retried, and when an operator resets its attempts.

        Args:
            name: up to 200 characters, unique within the task.
            function: called with `arguments`; if it raises, nothing is stored.
            lasting: whether the result is kept even if the task begins again.

        Raises:
            StepError: the name or the result cannot be stored, or the results are too large.
            StaleClaim: the run has lost its claim; do not catch it.
            TaskCancelled: the task must stop, and the step did not run; do not catch it.

        """
        return self._steps.run(name, function, *arguments, lasting=lasting)

    @property
    def steps(self) -> dict[str, Any]:
        """Return the stored results of steps by name, in the order in which they were stored."""
        return self._steps.kept()

    def progress(self, current: int, total: int | None = None, message: str | None = None) -> None:
        """Report the task's progress; cheap enough to call for every row.

        A report within 0.2 s of the last one is dropped, except the final one (`current` equals
        `total`).

        Raises:
            TaskCancelled: the task must stop; do not catch it.

        """
        self.check_cancelled()
        now = time.monotonic()
        if now - self._reported_at < SECONDS_BETWEEN_REPORTS and current != total:
            return
        self._reported_at = now
        self._report(
            Progress(
                int(current),
                None if total is None else int(total),
                None if message is None else message[:MESSAGE_CHARACTERS],
            )
        )

    def check_cancelled(self) -> None:
        """Return if the task may continue; call it between two pieces of work.

        Raises:
            TaskCancelled: the task must stop; clean up, and do not suppress it.

        """
        if self._is_cancelled():
            raise TaskCancelled(
                f"Task {self.task_type.value} was asked to stop",
                next_step="Start it again at any time.",
                session_id=self.session_id,
            )

    def _watched(self, items: Iterator[Item]) -> Iterator[Item]:
        for item in items:
            self.check_cancelled()
            yield item
