"""The tree of errors that several packages use; others are defined where they are raised.

::

    TaskError                      any failure, and who can fix it
    ├── TaskValidationError        an illegal transition, or the retry limit
    │   └── TaskConflict           another task of the session is running
    ├── StaleClaim                 you have lost your claim (a normal outcome)
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
    ├── NoTransaction              a query needs an open transaction, and there is none
    ├── OutputError                a result that cannot be written where it was asked for
    ├── StorageFull                a disk is full
    ├── DatabaseBusy               PostgreSQL gave up on a statement: a lock, a timeout
    │   ├── DatabaseFailing        it lacks memory or locks, or cannot use its files
    │   │   └── DatabaseForbidden  the role lacks a right
    │   └── DatabaseFull           its disk is full (a StorageFull, too)
    ├── BrokerUnavailable          Celery's broker cannot be reached
    └── DatabaseUnavailable        PostgreSQL cannot be reached or started
        ├── DatabaseUnsuitable     it is read-only, or its encoding is not UTF8
        └── SchemaOutdated         the database is not at this version's migration

Each error says what happened, *who can fix it* (`category`, section 8 of the specification) and
what to do next (`next_step`). HTTP statuses and exit codes are mapped in one
table each, in `app.api` and `app.cli`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID


class ErrorCategory(str, Enum):
    """The category of a failure: who can fix it (specification, section 8)."""

    USER_FIXABLE = "user_fixable"
    """The user that started the work: configuration, documents, illegal transitions."""

    ADMIN_REQUIRED = "admin_required"
    """An operator: database, settings, exhausted retries."""

    TEMPORARY = "temporary"
    """It passes, and is retried automatically."""

    @classmethod
    def of(cls, value: object) -> ErrorCategory:
        """Return the category of this name; `admin_required` for an unknown name."""
        try:
            return cls(value)
        except ValueError:
            return cls.ADMIN_REQUIRED


class TaskError(Exception):
    """A failure of background work; `category` says who can fix it.

    Attributes:
        message: what happened, as text.
        category: who can fix it.
        next_step: what to do next, one sentence; empty if the message says it.
        options: names of the session options that `next_step` asks for (`title_column`); each
            interface has its own name for them: a flag, a field of the form, a key of the JSON.
        session_id: the session concerned, if any.

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
    """You have lost your claim: the task was cancelled, rescued or released.

    A normal outcome: drop the work and continue. Nothing of it was written.
    """


class TaskCancelled(TaskError):  # noqa: N818 - an outcome, not a bug
    """The task you are running was cancelled: clean up and return."""

    default_category = ErrorCategory.USER_FIXABLE


WORKER_LOST = "worker_lost"
"""The name of a failure whose worker or process died or stopped responding."""


class WorkerLost(TaskError):  # noqa: N818 - the failure's name in `failure_context`
    """The process that ran the task died, or did not renew its lease in time."""


REFUSED_BY_JIRA = "RefusedByJira"
"""The name of a failure whose descriptions Jira would refuse: they are made of the documents."""

DELIVERY_DIFFERS = "DeliveryDiffers"
"""The name of a failure whose issues in Jira differ from those that were sent."""


TOO_LARGE_FOR_MEMORY = "too_large_for_memory"
"""The name of a failure whose task needed more memory than its limit."""


class TooLargeForMemory(TaskError):  # noqa: N818 - the failure's name in `failure_context`
    """The task needed more memory than a task may have in this worker.

    The same documents would need as much again, so it is not retried.
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
        problems: each of them; the error has the message of the first.

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
    """A query needs an open transaction, and there is none: use `Database.transaction()`."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class OutputError(TaskError):
    """A result that cannot be written to its target."""

    default_category = ErrorCategory.USER_FIXABLE


class DatabaseBusy(TaskError):  # noqa: N818 - reads as the state it names
    """PostgreSQL cancelled a statement (a lock, a timeout); it was undone, and may be repeated.

    Attributes:
        is_of_time: it took too long on its own; else another transaction blocked it.

    """

    default_next_step = (
        "Try again in a moment; if it stays, an operator can see what holds the locks: "
        "session-tasks doctor."
    )

    def __init__(
        self,
        message: str,
        *,
        next_step: str = "",
        session_id: UUID | None = None,
        is_of_time: bool = False,
    ) -> None:
        super().__init__(message, next_step=next_step, session_id=session_id)
        self.is_of_time = is_of_time


class DatabaseFailing(DatabaseBusy):
    """PostgreSQL lacks memory, locks or temporary space, or cannot use its files.

    The statement was undone, and may be repeated.
    """

    default_category = ErrorCategory.ADMIN_REQUIRED
    default_next_step = (
        "See PostgreSQL's log, and its memory, disk and limits (such as max_locks_per_transaction)."
    )

    def __init__(self, message: str, *, next_step: str = "") -> None:
        # No other transaction was in its way.
        super().__init__(message, next_step=next_step, is_of_time=True)


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


class DatabaseForbidden(DatabaseFailing):
    """PostgreSQL refused a statement to the role; it was undone."""

    default_next_step = (
        "As the tables' owner: GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA … TO "
        "the role of SESSION_TASKS_DATABASE_URL; session-tasks doctor names what is missing. To "
        "change tables (db upgrade), connect as their owner."
    )


class BrokerUnavailable(TaskError):  # noqa: N818 - reads as the state it names
    """Celery's broker cannot be reached, or refuses this account."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class DatabaseUnavailable(TaskError):  # noqa: N818 - reads as the state it names
    """PostgreSQL cannot be reached or started."""

    default_category = ErrorCategory.ADMIN_REQUIRED


class SchemaOutdated(DatabaseUnavailable):
    """The database is not at the migration that this version needs."""


class DatabaseUnsuitable(DatabaseUnavailable):
    """PostgreSQL cannot be used: read-only, not UTF8, or behind a pool in transaction mode."""
