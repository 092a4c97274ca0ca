"""Logging: structlog's rendering behind the standard library's loggers and handlers.

`configure_logging` sets up the process once; `task_context` binds a task's ids to every record
made inside it, those of other libraries included; the `log_*` functions write the specification's
task events (section 7), to the letter and in one place:

======== ======================================================================================
INFO     ``SessionTask {task_type} started for session {session_id}, task_id: {task_id}``
INFO     ``SessionTask {task_type} completed for session {session_id}, duration: {minutes}m``
INFO     ``SessionTask {task_type} cancelled for session {session_id}, task_id: {task_id}``
WARNING  ``SessionTask {task_type} failed for session {session_id}, retry #{retry_count}``
AUDIT    the same words on ``app.audit``, with the failure context in `failure_context`
DEBUG    ``SessionTask {task_type} executed for session {session_id}, …`` with timing figures
======== ======================================================================================

Secrets are redacted once, where records are written; and no record, whatever it holds and
whatever the state of the stream, ever fails the program.
"""

from __future__ import annotations

import json as json_module
import logging
import os
import sys
from contextlib import suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TextIO
from uuid import UUID

import structlog
from structlog.dev import ConsoleRenderer, plain_traceback
from structlog.stdlib import ProcessorFormatter

from app.core.errors import ConfigurationError
from app.core.exception_text import exception_traceback
from app.core.json_safety import ask, json_safe_items, type_name
from app.core.redaction import redact

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from structlog.typing import EventDict, Processor, WrappedLogger

AUDIT: Final = 35
"""Between WARNING and ERROR: what must be found again later. Written at every set level."""

logging.addLevelName(AUDIT, "AUDIT")

audit_logger: Final = logging.getLogger("app.audit")
_task_logger: Final = logging.getLogger("app.session_task")


# ------------------------------------------------------------------------------- the task events


def log_started(task_type: Enum | str, session_id: UUID, task_id: UUID) -> None:
    """Log that a task started (INFO)."""
    if _task_logger.isEnabledFor(logging.INFO):
        name = _value_of(task_type)
        _task_logger.info(
            "SessionTask %s started for session %s, task_id: %s",
            name,
            session_id,
            task_id,
            extra={"task_type": name, "session_id": session_id, "task_id": task_id},
        )


def log_completed(task_type: Enum | str, session_id: UUID, duration_minutes: float) -> None:
    """Log that a task completed (INFO), with its duration in minutes to two decimals (`0.42m`)."""
    if _task_logger.isEnabledFor(logging.INFO):
        name = _value_of(task_type)
        _task_logger.info(
            "SessionTask %s completed for session %s, duration: %.2fm",
            name,
            session_id,
            duration_minutes,
            extra={
                "task_type": name,
                "session_id": session_id,
                "duration_minutes": duration_minutes,
            },
        )


def log_cancelled(task_type: Enum | str, session_id: UUID, task_id: UUID) -> None:
    """Log that a task was cancelled (INFO; our wording, the specification has none)."""
    if _task_logger.isEnabledFor(logging.INFO):
        name = _value_of(task_type)
        _task_logger.info(
            "SessionTask %s cancelled for session %s, task_id: %s",
            name,
            session_id,
            task_id,
            extra={"task_type": name, "session_id": session_id, "task_id": task_id},
        )


def log_failed(
    task_type: Enum | str, session_id: UUID, retry_count: int, context: Mapping[str, Any]
) -> None:
    """Log that a task failed: a short WARNING, and AUDIT with the whole failure context."""
    text = "SessionTask %s failed for session %s, retry #%s"
    name = _value_of(task_type)
    ids = {"task_type": name, "session_id": session_id, "retry_count": retry_count}
    if _task_logger.isEnabledFor(logging.WARNING):
        _task_logger.warning(text, name, session_id, retry_count, extra=ids)
    if audit_logger.isEnabledFor(AUDIT):
        with_context = {**ids, "failure_context": context}
        audit_logger.log(AUDIT, text, name, session_id, retry_count, extra=with_context)


def log_execution(
    task_type: Enum | str,
    session_id: UUID,
    *,
    duration_seconds: float,
    retry_count: int,
    **metrics: Any,
) -> None:
    """Log how a run went (DEBUG): its duration, the retries before it, figures of the caller's."""
    if _task_logger.isEnabledFor(logging.DEBUG):
        name = _value_of(task_type)
        _task_logger.debug(
            "SessionTask %s executed for session %s, duration: %.3fs, retry #%s",
            name,
            session_id,
            duration_seconds,
            retry_count,
            extra={
                "task_type": name,
                "session_id": session_id,
                "duration_seconds": duration_seconds,
                "retry_count": retry_count,
                "metrics": metrics,
            },
        )


def log_audit(message: str, *, session_id: UUID | None = None, **details: Any) -> None:
    """Log what an operator did (AUDIT, on `app.audit`), such as resetting a retry count."""
    if audit_logger.isEnabledFor(AUDIT):
        audit_logger.log(AUDIT, "%s", message, extra={"session_id": session_id, "details": details})


def _value_of(task_type: Enum | str) -> str:
    return str(task_type.value) if isinstance(task_type, Enum) else task_type


# --------------------------------------------------------------------------------- bound context

_bound: ContextVar[Mapping[str, Any]] = ContextVar("bound", default={})  # noqa: B039 - never changed


def task_context(
    *,
    session_id: UUID | str | None = None,
    task_id: UUID | str | None = None,
    task_type: Enum | str | None = None,
    **more: Any,
) -> AbstractContextManager[None]:
    """Bind the ids to every record made inside, in this thread or asyncio task.

    Contexts nest; the inner one wins and its end brings the outer one back. What is None is not
    bound. A record's own fields stand before bound ones.
    """
    given = {"session_id": session_id, "task_id": task_id, "task_type": task_type, **more}
    return _Binding({key: value for key, value in given.items() if value is not None})


class _Binding:
    """The binding of `task_context`, as a class: a generator would cost more for each task."""

    __slots__ = ("_given", "_token")

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._given = given

    def __enter__(self) -> None:
        self._token = _bound.set({**_bound.get(), **self._given})

    def __exit__(self, *_exc_info: object) -> None:
        _bound.reset(self._token)


def _add_bound(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add what `task_context` has bound; ids become text only here, as most tasks say nothing."""
    for key, value in _bound.get().items():
        if isinstance(value, Enum | UUID):
            event.setdefault(key, _value_of(value) if isinstance(value, Enum) else str(value))
        else:
            event.setdefault(key, value)
    return event


# --------------------------------------------------------------------------------- configuration


def configure_logging(
    level: str | int = "INFO", *, json: bool | None = None, stream: TextIO | None = None
) -> logging.Handler:
    """Set up logging for this process: one handler on the root logger, which is returned.

    Args:
        level: of this product's own loggers. Other libraries speak from INFO upwards at most,
            and SQLAlchemy from WARNING: its INFO prints the parameters of statements, which are
            people's documents. A level that someone set on a logger stays. AUDIT is always written.
        json: one JSON object a line; by default where the stream is no terminal.
        stream: by default standard error, as it is at the time of each record, so that a
            progress display that takes it over gets the records too.

    May be called again, and then only the last call counts. Handlers of others stay.

    Raises:
        ConfigurationError: there is no such level.

    """
    number = _level_number(level)
    is_terminal = _is_terminal(stream or sys.stderr)
    handler = RecordHandler(stream)
    handler.setFormatter(
        _formatter(as_json=not is_terminal if json is None else json, colours=is_terminal)
    )

    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, RecordHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(number, logging.INFO))
    logging.getLogger("app").setLevel(number)
    audit_logger.setLevel(min(number, AUDIT))
    statements = logging.getLogger("sqlalchemy")
    if statements.level == logging.NOTSET:
        statements.setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            _add_bound,
            structlog.contextvars.merge_contextvars,
            _with_arguments,
            ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=_standard_logger,
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    return handler


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def _standard_logger(*names: Any) -> logging.Logger:
    return logging.getLogger(names[0] if names else "app")


def _level_number(level: str | int) -> int:
    if isinstance(level, int):
        return level
    levels = logging.getLevelNamesMapping()
    number = levels.get(level.strip().upper())
    if number is None:
        raise ConfigurationError(
            f"There is no log level {level!r}",
            next_step="Use DEBUG, INFO, WARNING, AUDIT, ERROR or CRITICAL.",
        )
    return number


def _formatter(*, as_json: bool, colours: bool) -> logging.Formatter:
    renderer: Processor = _render_json
    if not as_json:
        styles = ConsoleRenderer.get_default_level_styles(colors=colours)
        styles["audit"] = styles["warning"]
        renderer = ConsoleRenderer(
            colors=colours and not os.environ.get("NO_COLOR"),
            level_styles=styles,
            exception_formatter=plain_traceback,
        )
    return _SafeFormatter(
        foreign_pre_chain=[_add_bound, structlog.contextvars.merge_contextvars, _add_extra],
        processors=[_as_safe_record, renderer],
    )


# Attributes of a record that are no fields of its own: logging's, `message` and `asctime` that
# another handler's formatter leaves on it, and those that structlog keeps for itself.
_NO_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {
    "message",
    "asctime",
    "event",
    "_record",
    "_from_structlog",
    "color_message",  # uvicorn's, the message again with colours
}


def _add_extra(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Add what the standard library's `extra` brought along."""
    fields = vars(event["_record"])
    event.update({key: value for key, value in fields.items() if key not in _NO_FIELDS})
    return event


def _as_safe_record(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Return what is written of a record: its frame first, then its fields, safe and redacted."""
    record: logging.LogRecord = event.pop("_record")
    event.pop("_from_structlog", None)
    moment = datetime.fromtimestamp(record.created, UTC)
    error = _exception_of(event.pop("exc_info", None))
    message = event.pop("event", "")
    frame = {
        "timestamp": moment.isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": message if isinstance(message, str) else ask(lambda: str(message), "<message>"),
    }
    whole: dict[str, Any] = {**frame, **event, **frame}  # the frame stands first, and wins
    if error is not None:
        whole["exception"] = exception_traceback(error)
    if whole.get("stack_info"):
        whole["stack"] = whole.pop("stack_info")
    redacted = redact(json_safe_items(whole.items()))
    assert isinstance(redacted, dict)  # noqa: S101 - `redact` keeps the shape
    return redacted


def _with_arguments(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put `%` arguments into a structlog event, as the standard library does; never raise."""
    arguments = event.pop("positional_args", None)
    if arguments:
        event["event"] = _inserted(event.get("event", ""), lambda: event["event"] % arguments)
    return event


def _inserted(template: object, insert: Callable[[], str]) -> str:
    """Return the message; where its arguments cannot be put in, the template and the reason."""
    try:
        return insert()
    except Exception as error:  # noqa: BLE001 - the arguments' own code runs in there
        text = ask(lambda: str(template), "<message>")
        return f"{text} (its arguments cannot be formatted: {type_name(error)})"


def _exception_of(exc_info: object) -> BaseException | None:
    """Return the exception that any of logging's ways to name one names."""
    if isinstance(exc_info, BaseException):
        return exc_info
    if isinstance(exc_info, tuple):
        return next((part for part in exc_info if isinstance(part, BaseException)), None)
    return sys.exception() if exc_info else None


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json_module.dumps(event, ensure_ascii=False)


class _SafeFormatter(ProcessorFormatter):
    """A formatter that always returns a line that can be written.

    For the standard library's records structlog would make two copies of each first: a third of
    the time that a line takes.
    """

    def format(self, record: logging.LogRecord) -> str:
        if isinstance(record.msg, dict):  # made by structlog: see wrap_for_formatter
            return super().format(record)
        event: Any = {"event": _inserted(record.msg, record.getMessage), "_record": record}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        if record.stack_info:
            event["stack_info"] = record.stack_info
        for processor in (*(self.foreign_pre_chain or ()), *self.processors):
            event = processor(None, record.levelname.lower(), event)
        return str(event)


class RecordHandler(logging.Handler):
    """Writes each record as one piece of text, and never raises.

    Attributes:
        lost_count: records that could not be written, because the stream is closed, full or gone.

    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__()
        self._stream = stream
        self.lost_count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record; a character that the stream's encoding has not is escaped."""
        try:
            text = self.format(record) + "\n"
            stream = self._stream or sys.stderr
            encoding = getattr(stream, "encoding", None) or "utf-8"
            stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            stream.flush()
        except Exception:  # noqa: BLE001 - what cannot be logged must not fail the program
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Count the record as lost, and say so where standard error still works."""
        self.lost_count += 1
        with suppress(Exception):
            name = type_name(sys.exception())
            sys.__stderr__.write(f"A record of {record.name} could not be written: {name}\n")  # type: ignore[union-attr]
