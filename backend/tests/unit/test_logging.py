"""Logging: the specification's words and levels, bound ids, redaction, and nothing that raises."""

# ruff: noqa: TRY301 - exceptions are raised where they are caught, to be logged

from __future__ import annotations

import io
import json
import logging
import re
import sys
from enum import Enum
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
import structlog

from app.core.errors import ConfigurationError
from app.core.logging import (
    AUDIT,
    RecordHandler,
    audit_logger,
    configure_logging,
    log_audit,
    log_cancelled,
    log_completed,
    log_execution,
    log_failed,
    log_started,
    task_context,
)
from app.core.redaction import REDACTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SESSION = UUID("11111111-1111-4111-8111-111111111111")
TASK = UUID("22222222-2222-4222-8222-222222222222")


class TaskType(str, Enum):
    ADF_VALIDATION = "adf_validation"


@pytest.fixture(autouse=True)
def _logging_restored() -> Iterator[None]:
    """Whatever a test configures ends with it."""
    loggers = [logging.getLogger(name) for name in ("", "app", "app.audit", "sqlalchemy")]
    levels = [logger.level for logger in loggers]
    handlers = logging.getLogger().handlers[:]
    yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def only_our_handler() -> None:
    """Take pytest's own log handlers away (until the test ends): they raise on hard records."""
    root = logging.getLogger()
    root.handlers[:] = [handler for handler in root.handlers if isinstance(handler, RecordHandler)]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logging("DEBUG", stream=stream)
    return stream


# ------------------------------------------------------------------------ the specification's words


def test_started_is_logged_to_the_letter(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "app.session_task"):
        log_started(TaskType.ADF_VALIDATION, SESSION, TASK)
    assert caplog.record_tuples == [
        (
            "app.session_task",
            logging.INFO,
            f"SessionTask adf_validation started for session {SESSION}, task_id: {TASK}",
        )
    ]


def test_completed_is_logged_to_the_letter(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "app.session_task"):
        log_completed("export", SESSION, 0.4166)
    assert caplog.record_tuples == [
        (
            "app.session_task",
            logging.INFO,
            f"SessionTask export completed for session {SESSION}, duration: 0.42m",
        )
    ]


def test_failed_is_a_warning_and_an_audit_record(caplog: pytest.LogCaptureFixture) -> None:
    text = f"SessionTask processing failed for session {SESSION}, retry #2"
    with caplog.at_level(logging.INFO):
        log_failed("processing", SESSION, 2, {"error": "ValueError"})
    assert caplog.record_tuples == [
        ("app.session_task", logging.WARNING, text),
        ("app.audit", 35, text),
    ]
    assert caplog.records[1].levelname == "AUDIT"
    assert caplog.records[1].failure_context == {"error": "ValueError"}  # type: ignore[attr-defined]


def test_cancelled_is_logged_as_information(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "app.session_task"):
        log_cancelled("export", SESSION, TASK)
    assert caplog.record_tuples == [
        (
            "app.session_task",
            logging.INFO,
            f"SessionTask export cancelled for session {SESSION}, task_id: {TASK}",
        )
    ]


def test_timing_is_logged_for_debugging_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "app.session_task"):
        log_execution("export", SESSION, duration_seconds=1.23456, retry_count=1, tickets=7)
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert "duration: 1.235s, retry #1" in record.message
    assert record.metrics == {"tickets": 7}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "event",
    [
        lambda value: log_started(value, value, value),
        lambda value: log_completed(value, value, value),
        lambda value: log_cancelled(value, value, value),
        lambda value: log_execution(value, value, duration_seconds=value, retry_count=value),
    ],
)
def test_event_below_the_level_does_nothing_with_its_arguments(
    event: Callable[[Any], None], log: io.StringIO
) -> None:
    class Untouchable:
        def __getattribute__(self, name: str) -> Any:
            raise AssertionError(name)

    configure_logging("WARNING", stream=log)
    event(Untouchable())
    assert log.getvalue() == ""


# ------------------------------------------------------------------------------- shape and context


def test_json_is_one_object_a_line_with_time_level_logger_and_ids(log: io.StringIO) -> None:
    log_started(TaskType.ADF_VALIDATION, SESSION, TASK)
    (record,) = written(log)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", record.pop("timestamp"))
    assert record == {
        "level": "info",
        "logger": "app.session_task",
        "event": f"SessionTask adf_validation started for session {SESSION}, task_id: {TASK}",
        "task_type": "adf_validation",
        "session_id": str(SESSION),
        "task_id": str(TASK),
    }
    assert log.getvalue().startswith('{"timestamp": "')


def test_audit_record_holds_the_failure_context(log: io.StringIO) -> None:
    log_failed("export", SESSION, 1, {"error": "ValueError", "earlier": [{"error": "KeyError"}]})
    warning, audit = written(log)
    assert (warning["level"], warning["retry_count"]) == ("warning", 1)
    assert "failure_context" not in warning
    assert (audit["level"], audit["logger"]) == ("audit", "app.audit")
    assert audit["failure_context"] == {"error": "ValueError", "earlier": [{"error": "KeyError"}]}


def test_task_ids_are_bound_to_every_record_made_inside(log: io.StringIO) -> None:
    with task_context(session_id=SESSION, task_id=TASK, task_type=TaskType.ADF_VALIDATION, run=3):
        logging.getLogger("another.library").warning("from %s", "outside")
        structlog.get_logger("app.tasks").info("ours", tickets=2)
        with task_context(task_id="inner"):
            logging.getLogger("app").info("nested")
    logging.getLogger("app").info("after")
    library, ours, nested, after = written(log)
    for record in (library, ours):
        assert record["session_id"] == str(SESSION)
        assert record["task_id"] == str(TASK)
        assert record["task_type"] == "adf_validation"
        assert record["run"] == 3
    assert (library["event"], library["logger"]) == ("from outside", "another.library")
    assert (ours["event"], ours["tickets"], ours["logger"]) == ("ours", 2, "app.tasks")
    assert (nested["task_id"], nested["session_id"]) == ("inner", str(SESSION))
    assert "session_id" not in after


def test_context_ends_with_an_exception_too(log: io.StringIO) -> None:
    with pytest.raises(ValueError, match="x"), task_context(session_id=SESSION):
        raise ValueError("x")
    logging.getLogger("app").info("after")
    (record,) = written(log)
    assert "session_id" not in record


def test_fields_cannot_replace_the_frame_of_a_record(log: io.StringIO) -> None:
    logging.getLogger("app").info("true", extra={"level": "x", "timestamp": "x", "event": "x"})
    (record,) = written(log)
    assert (record["level"], record["event"]) == ("info", "true")
    assert record["timestamp"] != "x"


def test_exception_is_written_with_its_traceback(log: io.StringIO) -> None:
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("app").exception("standard")
        structlog.get_logger("app").exception("structured")
    for record in written(log):
        assert record["exception"].startswith("Traceback (most recent call last):")
        assert record["exception"].endswith("KeyError: 'lost'")


def test_terminal_gets_words_and_colours_and_files_get_json() -> None:
    terminal, file = Terminal(), io.StringIO()
    for stream in (terminal, file):
        configure_logging(stream=stream)
        log_failed("export", SESSION, 1, {"error": "ValueError"})
    assert "\x1b[" in terminal.getvalue()
    assert "SessionTask export failed for session" in terminal.getvalue()
    assert len(written(file)) == 2


def test_json_can_be_chosen_against_the_stream() -> None:
    terminal, file = Terminal(), io.StringIO()
    configure_logging(json=True, stream=terminal)
    logging.getLogger("app").info("hello")
    configure_logging(json=False, stream=file)
    logging.getLogger("app").info("hello")
    assert written(terminal)[0]["event"] == "hello"
    assert "hello" in file.getvalue()
    assert "\x1b" not in file.getvalue()
    assert not file.getvalue().startswith("{")


# -------------------------------------------------------------------------------------- redaction


@pytest.mark.parametrize("json_output", [True, False])
def test_secrets_are_redacted_where_records_are_written(json_output: bool) -> None:
    stream = io.StringIO()
    configure_logging(json=json_output, stream=stream)
    logger = logging.getLogger("app.x")
    try:
        raise ConnectionError("cannot reach postgresql://app:s3cret@db/x")
    except ConnectionError:
        logger.exception("no %s", "amqp://guest:s3cret@mq", extra={"password": "s3cret"})
    structlog.get_logger("app.y").info("token=s3cret", headers={"Authorization": "s3cret"})
    log_failed("export", SESSION, 1, {"message": "api_key: s3cret", "token": "s3cret"})
    with task_context(dsn="s3cret"):
        logger.info("bound")
    assert "s3cret" not in stream.getvalue()
    assert stream.getvalue().count(REDACTED) >= 7


# ---------------------------------------------------------------------------------- configuration


def test_configuring_again_replaces_the_handler_and_leaves_those_of_others() -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    first, second = io.StringIO(), io.StringIO()
    configure_logging("DEBUG", stream=first)
    configure_logging("INFO", stream=second)
    logging.getLogger("app").info("once")
    logging.getLogger("app").debug("too quiet")
    assert first.getvalue() == ""
    assert len(written(second)) == 1
    assert other in logging.getLogger().handlers
    assert sum(isinstance(h, RecordHandler) for h in logging.getLogger().handlers) == 1


def test_audit_is_written_at_every_level(log: io.StringIO) -> None:
    configure_logging("CRITICAL", stream=log)
    log_failed("export", SESSION, 3, {"error": "ValueError"})
    log_audit("The retry count was reset.", session_id=SESSION, operator="alice", name="x")
    failure, reset = written(log)
    assert failure["level"] == reset["level"] == "audit"
    assert reset["details"] == {"operator": "alice", "name": "x"}


def test_debug_is_for_our_own_loggers(log: io.StringIO) -> None:
    logging.getLogger("markdown_it.rules").debug("chatter")
    logging.getLogger("sqlalchemy.engine").info("INSERT … a person's document")
    logging.getLogger("app.tasks").debug("ours")
    assert [record["event"] for record in written(log)] == ["ours"]


@pytest.mark.parametrize("level", ["warning", "WARNING", " Warning ", logging.WARNING])
def test_level_is_given_by_name_or_number(level: str | int) -> None:
    configure_logging(level, stream=io.StringIO())
    assert logging.getLogger("app").getEffectiveLevel() == logging.WARNING


def test_unknown_level_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ConfigurationError, match="LOUD") as caught:
        configure_logging("loud".upper())
    assert "AUDIT" in caught.value.next_step


def test_audit_is_a_level_by_name_without_patching_loggers() -> None:
    assert logging.getLevelName(AUDIT) == "AUDIT"
    assert logging.WARNING < AUDIT < logging.ERROR
    assert audit_logger is logging.getLogger("app.audit")
    assert not hasattr(logging.Logger, "audit")


def test_without_a_stream_the_standard_error_of_the_moment_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    configure_logging(json=True)
    for _ in range(2):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logging.getLogger("app").info("hello")
        assert len(written(stream)) == 1


# ------------------------------------------------------------------------ nothing fails the program


class Broken:
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


def test_record_whose_arguments_cannot_be_formatted_is_written_all_the_same(
    log: io.StringIO,
) -> None:
    only_our_handler()
    logger, structured = logging.getLogger("app"), structlog.get_logger("app")
    logger.info("broken %s", Broken())
    logger.info("too few %s %s", 1)  # noqa: PLE1206 - on purpose
    logger.info("wrong %d", "x")
    logger.info(Broken())
    logger.info("extra", extra={"thing": Broken(), "bytes": b"\xff", "keys": {1: {2}}})
    structured.info("wrong %d", "x")
    structured.info(Broken(), thing=Broken())
    events = [record["event"] for record in written(log)]
    assert events[0] == "broken %s (its arguments cannot be formatted: RuntimeError)"
    assert events[1] == "too few %s %s (its arguments cannot be formatted: TypeError)"
    assert events[5] == "wrong %d (its arguments cannot be formatted: TypeError)"
    assert len(events) == 7
    assert written(log)[4]["thing"] == "<Broken: cannot be read>"


def test_exception_without_words_is_written_all_the_same(log: io.StringIO) -> None:
    only_our_handler()

    class MuteError(Exception):
        __str__ = Broken.__str__

    try:
        raise MuteError
    except MuteError:
        logging.getLogger("app").exception("it failed")
    assert "MuteError, whose message cannot be read" in written(log)[0]["exception"]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("json_output", [True, False])
def test_any_character_can_be_written_to_any_stream(encoding: str, json_output: bool) -> None:
    raw = io.BytesIO()
    configure_logging(json=json_output, stream=io.TextIOWrapper(raw, encoding=encoding))
    only_our_handler()
    logging.getLogger("app").info(
        "\ud800 \x00 é 漢 😀 \x1b[31m %s", "\udfff", extra={"k": "\ud800"}
    )
    line = raw.getvalue().decode(encoding)
    assert line.endswith("\n")
    assert "\x00" not in line
    assert "\x1b" not in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("problem", [ValueError("closed"), BrokenPipeError(), OSError("full")])
def test_stream_that_cannot_be_written_loses_the_record_only(problem: Exception) -> None:
    class BadStream(io.StringIO):
        def write(self, text: str) -> int:
            raise problem

    configure_logging(stream=BadStream())
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, RecordHandler)]
    logging.getLogger("app").error("lost")
    log_failed("export", SESSION, 1, {})
    assert handler.lost_count == 3


def test_everything_closed_still_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr(sys, "stderr", closed)
    monkeypatch.setattr(sys, "__stderr__", closed)
    configure_logging()
    logging.getLogger("app").error("lost")
    monkeypatch.setattr(sys, "stderr", None)
    configure_logging()
    logging.getLogger("app").error("lost")
