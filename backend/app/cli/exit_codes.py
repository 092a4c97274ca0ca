"""The exit code of each error; scripts rely on these values (design, 6)."""

from __future__ import annotations

from enum import IntEnum

from app.core.errors import (
    ConfigurationError,
    ContentViolation,
    DatabaseFailing,
    DatabaseUnavailable,
    DocumentError,
    KeyNotFound,
    OutputError,
    SessionNotFound,
    StaleClaim,
    StorageFull,
    TaskCancelled,
    TaskError,
    TaskValidationError,
    WorkerLost,
    WorkerNotFound,
)


class ExitCode(IntEnum):
    """The exit status of a command, `$?`."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    NOT_FOUND = 3
    CONFLICT = 4
    DATABASE_UNREACHABLE = 5
    TASK_FAILED = 6
    CANCELLED = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.UNEXPECTED: "unexpected error",
    ExitCode.USAGE: "an option, a setting, a document or `--out` cannot be used",
    ExitCode.NOT_FOUND: "there is no such session, key or worker",
    ExitCode.CONFLICT: "the session's state does not allow it: its task is running, or done",
    ExitCode.DATABASE_UNREACHABLE: "the database cannot be reached, is read-only, is not in "
    "UTF8, refuses the role, has a full disk, lacks memory, or is not at this version's migration",
    ExitCode.TASK_FAILED: "the task failed",
    ExitCode.CANCELLED: "the task was cancelled",
    ExitCode.INTERRUPTED: "interrupted, by Ctrl-C or SIGTERM",
}

_BY_ERROR: tuple[tuple[type[TaskError], ExitCode], ...] = (
    (SessionNotFound, ExitCode.NOT_FOUND),
    (KeyNotFound, ExitCode.NOT_FOUND),
    (WorkerNotFound, ExitCode.NOT_FOUND),
    (TaskValidationError, ExitCode.CONFLICT),
    (StaleClaim, ExitCode.CONFLICT),
    (DatabaseUnavailable, ExitCode.DATABASE_UNREACHABLE),
    (DatabaseFailing, ExitCode.DATABASE_UNREACHABLE),
    (StorageFull, ExitCode.DATABASE_UNREACHABLE),
    (DocumentError, ExitCode.USAGE),
    (ConfigurationError, ExitCode.USAGE),
    (OutputError, ExitCode.USAGE),
    (ContentViolation, ExitCode.TASK_FAILED),
    (WorkerLost, ExitCode.TASK_FAILED),
    (TaskCancelled, ExitCode.CANCELLED),
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code of a command that ended with this error."""
    if isinstance(error, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    return next((code for kind, code in _BY_ERROR if isinstance(error, kind)), ExitCode.UNEXPECTED)
