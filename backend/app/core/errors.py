"""The tree of errors, as far as more than one package knows them; others stand where they arise.

::

    TaskError                      anything that went wrong, and who can fix it
    ├── TaskValidationError        an illegal transition, or the retry limit
    │   └── TaskConflict           another task of the session is running
    ├── StaleClaim                 your claim is no longer yours (a normal outcome)
    ├── TaskCancelled              the task you are running was cancelled (a normal outcome)
    ├── WorkerLost                 the process that ran the task died or stopped answering
    ├── SessionNotFound            no such session
    │   └── SessionDeleted         it was deleted since its object was read (also a TaskConflict)
    ├── KeyNotFound                no such API key
    ├── DocumentError              a document that cannot be used
    │   └── IntakeRefused          several documents or options that cannot be used
    ├── ContentViolation           exported content that Jira would refuse
    ├── ConfigurationError         a setting or an option that cannot be used
    │   └── MissingExtra           an extra that is needed and not installed
    ├── NoTransaction              a query that needs an open transaction met none
    ├── OutputError                a result that cannot be written where it was asked for
    ├── StorageFull                a disk is full: PostgreSQL's, or that of temporary files
    ├── DatabaseBusy               PostgreSQL gave up on a statement: a lock, a timeout
    │   └── DatabaseFull           its disk is full (a StorageFull, too)
    ├── BrokerUnavailable          Celery's broker cannot be reached
    └── DatabaseUnavailable        PostgreSQL cannot be reached, or not be started
        ├── DatabaseOutOfSpace     it cannot be started: its disk is full (a StorageFull, too)
        ├── DatabaseUnsuitable     it is read-only, or its encoding is not UTF8
        └── SchemaOutdated         the database is not at this version's migration

Each error says what happened, *who can fix it* (`category`, section 8 of the specification) and
what to do next (`next_step`). None of them speaks of HTTP or exit codes: those are mapped in one
table each, in `app.api` and `app.cli`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


class ErrorCategory(str, Enum):
    """The kind of person that can fix a failure (specification, section 8)."""

    USER_FIXABLE = "user_fixable"
    """The person who started the work: configuration, documents, illegal transitions."""

    ADMIN_REQUIRED = "admin_required"
    """An operator: database, settings, exhausted retries."""

    TEMPORARY = "temporary"
    """Nobody has to: it passes, and is retried automatically."""

    @classmethod
    def of(cls, value: object) -> ErrorCategory:
        """The category of this name; where it is none, an operator must look at it."""
        try:
            return cls(value)
        except ValueError:
            return cls.ADMIN_REQUIRED


class TaskError(Exception):
    """Something went wrong with background work, and `category` says who can fix it.

    Attributes:
        message: what happened, for people.
        category: who can fix it.
        next_step: the next thing to do, one sentence; empty where the message says it.
        options: names of the session options that `next_step` asks for (`title_column`); each
            door names them its own way: a flag, a field of the form, a key of the JSON.
        session_id: the session it is about, where there is one.

    """

    default_category: ClassVar[ErrorCategory] = ErrorCategory.TEMPORARY
    default_next_step: ClassVar[str] = ""

    def __init__(
        self,
        message: str,
        category: ErrorCategory | str | None = None,
        *,
        next_step: str = "",
        options: Sequence[str] = (),
        session_id: UUID | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.category = ErrorCategory(category) if category is not None else self.default_category
        self.next_step = next_step or self.default_next_step
        self.options = tuple(options)
        self.session_id = session_id


class TaskValidationError(TaskError):
    """An illegal transition, or the retry limit; nothing was changed."""

    default_category = ErrorCategory.USER_FIXABLE


class TaskConflict(TaskValidationError):  # noqa: N818 - the design's name
    """Another task of the session is running; nothing was changed."""


class StaleClaim(TaskError):  # noqa: N818 - an outcome, not a bug
    """Your claim is no longer yours: cancelled, rescued or released meanwhile.

    A normal outcome: drop the work and go on. Nothing of it was written.
    """


class TaskCancelled(TaskError):  # noqa: N818 - an outcome, not a bug
    """The task you are running was cancelled: clean up and return."""

    default_category = ErrorCategory.USER_FIXABLE


WORKER_LOST = "worker_lost"
"""What a failure is called whose worker, or whose own process, died or stopped answering."""


class WorkerLost(TaskError):  # noqa: N818 - the failure's name in `failure_context`
    """The process that ran the task died, or did not renew its lease in time."""


DELIVERY_DIFFERS = "DeliveryDiffers"
"""What a failure is called whose issues in Jira are not as they were sent."""


TOO_LARGE_FOR_MEMORY = "too_large_for_memory"
"""What a failure is called whose task needed more memory than it may have."""


class TooLargeForMemory(TaskError):  # noqa: N818 - the failure's name in `failure_context`
    """The task needed more memory than this worker gives to one.

    The same documents need as much again, so it is not tried again.
    """

    default_category = ErrorCategory.USER_FIXABLE

    def __init__(self, limit_megabytes: int) -> None:
        most = f" of {limit_megabytes:,} MB a task" if limit_megabytes else ""
        super().__init__(
            f"The task is too large for this worker's memory{most}",
            next_step="Split the documents into smaller ones and start a new session; or an"
            " administrator raises SESSION_TASKS_MAX_TASK_MEMORY_MB and you retry.",
        )


class SessionNotFound(TaskError):  # noqa: N818 - the design's name
    """No such session: it never existed, was deleted, or passed its retention."""

    default_category = ErrorCategory.USER_FIXABLE


class SessionDeleted(SessionNotFound, TaskConflict):
    """The session was deleted since it, or its task, was read; nothing was changed."""


class KeyNotFound(TaskError):  # noqa: N818 - reads as the state it names
    """No such API key, or it was revoked before."""

    default_category = ErrorCategory.USER_FIXABLE


class WorkerNotFound(TaskError):  # noqa: N818 - reads as the state it names
    """No worker that is alive and can be asked to drain has that id."""

    default_category = ErrorCategory.USER_FIXABLE


class DocumentError(TaskError):
    """A document that cannot be used, with its name and, where known, the row."""

    default_category = ErrorCategory.USER_FIXABLE

    def __init__(
        self,
        message: str,
        *,
        name: str = "",
        row: int | None = None,
        next_step: str = "",
        options: Sequence[str] = (),
    ) -> None:
        super().__init__(message, next_step=next_step, options=options)
        self.name = name
        self.row = row

    @property
    def details(self) -> dict[str, str | int]:
        """The details that the failure context keeps: `document`, and `row` if known."""
        said: dict[str, str | int | None] = {"document": self.name or None, "row": self.row}
        return {key: value for key, value in said.items() if value is not None}


class IntakeRefused(DocumentError):  # noqa: N818 - reads as the state it names
    """Several documents or options that cannot be used; nothing was stored.

    Attributes:
        problems: each of them; the first speaks for all.

    """

    def __init__(self, problems: Sequence[TaskError]) -> None:
        first, more = problems[0], len(problems) - 1
        super().__init__(
            f"{first.message} (and {more:,} more problem{'s' if more > 1 else ''})",
            name=getattr(first, "name", ""),
            row=getattr(first, "row", None),
            next_step=first.next_step,
            options=first.options,
        )
        self.problems = tuple(problems)


class ContentViolation(TaskError):  # noqa: N818 - what validation finds
    """Exported content that Atlassian's schema or Jira would refuse."""

    default_category = ErrorCategory.USER_FIXABLE


class ConfigurationError(TaskError):
    """A setting or an option that cannot be used."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class MissingExtra(ConfigurationError):  # noqa: N818 - reads as the state it names
    """An optional part of the installation is needed and not installed."""

    def __init__(self, what: str, extra: str, *, otherwise: str = "") -> None:
        super().__init__(
            f"{what} needs the extra “{extra}”, which is not installed",
            next_step=f"pip install 'session-tasks[{extra}]'{otherwise}",
        )


class NoTransaction(TaskError):  # noqa: N818 - reads as the state it names
    """A query that needs an open transaction met none: use `Database.transaction()`."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class OutputError(TaskError):
    """A result that cannot be written where it was asked for."""

    default_category = ErrorCategory.USER_FIXABLE


class DatabaseBusy(TaskError):  # noqa: N818 - reads as the state it names
    """PostgreSQL gave up on a statement (a lock, a timeout); it was undone, and may be repeated.

    Attributes:
        is_of_time: it took too long on its own; else another transaction blocked it.

    """

    default_next_step = (
        "Try again in a moment; if it stays, see what holds the locks: session-tasks doctor."
    )

    def __init__(
        self, message: str, *, session_id: UUID | None = None, is_of_time: bool = False
    ) -> None:
        super().__init__(message, session_id=session_id)
        self.is_of_time = is_of_time


class StorageFull(TaskError):  # noqa: N818 - reads as the state it names
    """A disk is full; nothing was changed."""

    default_category = ErrorCategory.ADMIN_REQUIRED
    default_next_step = "Make room on that disk, then try again."


class DatabaseFull(StorageFull, DatabaseBusy):
    """PostgreSQL's disk is full; the statement was undone, and may be repeated once there is room.

    The database can still be read.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.is_of_time = True  # no other transaction was in its way


class BrokerUnavailable(TaskError):  # noqa: N818 - reads as the state it names
    """Celery's broker cannot be reached, or gives this account nothing to do."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class DatabaseUnavailable(TaskError):  # noqa: N818 - reads as the state it names
    """PostgreSQL cannot be reached, or not be started."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class SchemaOutdated(DatabaseUnavailable):
    """The database is not at the migration that this version needs."""


class DatabaseUnsuitable(DatabaseUnavailable):
    """PostgreSQL responds, but cannot be used: it is read-only, or its encoding is not UTF8."""


class DatabaseOutOfSpace(StorageFull, DatabaseUnavailable):
    """PostgreSQL has stopped, and cannot be started while its disk is full."""
