"""The tree of commands, and the one place where errors end: in words and an exit code."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from typer.exceptions import TyperException

from app.cli.commands import CommandTable
from app.cli.exit_codes import ExitCode, exit_code_of
from app.core.errors import ConfigurationError, ErrorCategory, OutputError, TaskError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import FrameType

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

logger = logging.getLogger(__name__)

COMMAND = "session-tasks"

application = typer.Typer(
    name=COMMAND,
    cls=CommandTable,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Convert documents to a validated Jira import; one row always says how far it is.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415 - `--help` does without it

        sys.stdout.write(f"{COMMAND} {version(COMMAND)}\n")
        raise typer.Exit


@application.callback()
def _common(
    context: typer.Context,
    verbose: Annotated[
        int,
        typer.Option(
            "--verbose", "-v", count=True, help="Log what happens; twice (-vv): every detail."
        ),
    ] = 0,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    from app.core.logging import configure_logging  # noqa: PLC0415 - `--help` needs no log

    command = context.invoked_subcommand
    levels = ("INFO" if command in _SERVICES else "WARNING", "INFO", "DEBUG")
    handler = configure_logging(levels[min(verbose, 2)])
    if not verbose and command not in (*_SERVICES, "sweep"):
        handler.addFilter(_is_news)
        if sys.stderr.isatty():
            handler.addFilter(_is_for_logs)


_SERVICES = ("serve", "worker")
"""Commands that show by nothing but their log what becomes of tasks."""


def _is_for_logs(record: logging.LogRecord) -> bool:
    """Whether the record says what the command does not: no audit line beside its own words."""
    return record.name != "app.audit"


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the record says what the command does not tell by itself: tasks' events it shows."""
    return record.name != "app.session_task" and not hasattr(record, "failure_context")


def run_command(arguments: Sequence[str]) -> int:
    """Run the command that these arguments name; answers its exit code and never raises."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no name that a terminal lacks letters for
            stream.reconfigure(errors="backslashreplace")  # may end a command
    with _sigterm_like_ctrl_c():
        try:
            code = typer.main.get_command(application)(
                args=list(arguments), prog_name=COMMAND, standalone_mode=False
            )
            sys.stdout.flush()
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except (BrokenPipeError, SystemExit):  # typer exits by itself when a pipe breaks
            return _reader_is_gone()
        except (typer.Abort, typer.Exit) as ended:
            return int(getattr(ended, "exit_code", ExitCode.INTERRUPTED))
        except Exception as error:  # noqa: BLE001 - the last place where an error can be told
            return _told(_known(error), is_json="--json" in arguments)
    return int(code or ExitCode.OK)


def _known(error: Exception) -> Exception:
    """Return an error in our words where it arose in a library: a full disk, an unusable option."""
    if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
        _write_to_nobody(sys.stdout)
        return OutputError(
            f"Standard output cannot be written: {error.strerror}",
            next_step="Make room there, or write to somewhere else.",
        )
    if isinstance(error, TyperException) and error.__cause__ is not None:
        from pydantic import ValidationError  # noqa: PLC0415 - imported already where one arose

        from app.core.validation_text import problem_text  # noqa: PLC0415

        if isinstance(error.__cause__, ValidationError):
            error.message = problem_text(error.__cause__.errors(include_url=False)[0])
    return error


def _told(error: Exception, *, is_json: bool) -> int:
    """Say what went wrong, on standard error; scripts find it on standard output as well."""
    from typer import rich_utils  # noqa: PLC0415 - most commands end well, and need none of these

    from app.cli.reporting import print_error  # noqa: PLC0415
    from app.cli.session_json import error_document  # noqa: PLC0415
    from app.cli.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal(is_json=is_json)
    is_usage = isinstance(error, TyperException)  # how the command was typed
    code = ExitCode.USAGE if is_usage else exit_code_of(error)
    try:
        if is_usage:
            rich_utils.rich_format_error(error)  # type: ignore[arg-type]  # its type is private
        elif isinstance(error, TaskError):
            logger.debug("The command failed", exc_info=error)
            print_error(terminal.err, error)
        else:
            logger.debug("The command failed", exc_info=error)
            print_error(
                terminal.err,
                f"{type(error).__name__}: {_first_line(error)}",
                who="an administrator of this installation",
                next_step=f"See {COMMAND} doctor; {COMMAND} -vv … shows where it happened.",
            )
        if is_json:
            terminal.write_json(error_document(_usage(error), code), is_line=True)
    except OSError:  # standard error is full as well, or closed: the exit code is what is left
        _write_to_nobody(sys.stdout)
        _write_to_nobody(sys.stderr)
    return int(code)


def _usage(error: Exception) -> Exception:
    """Return how the command was typed wrongly as an error of our tree; any other as it is."""
    if not isinstance(error, TyperException):
        return error
    context = getattr(error, "ctx", None)
    return ConfigurationError(
        error.format_message(),
        ErrorCategory.USER_FIXABLE,
        next_step=f"See {context.command_path if context else COMMAND} --help.",
    )


def _first_line(error: Exception) -> str:
    original = getattr(error, "orig", None) or error  # SQLAlchemy's errors wrap the driver's
    lines = str(original).strip().splitlines()
    return lines[0] if lines else "(no message)"


def _reader_is_gone() -> int:
    """`session-tasks list | head`: nothing went wrong, and nobody reads any more."""
    _write_to_nobody(sys.stdout)
    return ExitCode.OK


def _write_to_nobody(stream: TextIO) -> None:
    """Send what the stream still holds to `/dev/null`: the interpreter flushes it in the end."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, stream.fileno())
    os.close(nobody)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """End on SIGTERM as on Ctrl-C: the task is given back, the embedded server is let go."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)
