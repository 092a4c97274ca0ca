"""Run a command, and turn the error it ends with into a message and an exit code."""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TextIO

import typer
from typer.exceptions import TyperException

from app.cli.commands import CommandTable
from app.cli.exit_codes import ExitCode, exit_code_of
from app.core.errors import ConfigurationError, ErrorCategory, OutputError, TaskError
from app.core.signals import handled

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
            "--verbose", "-v", count=True, help="Log events; twice (-vv): log every detail."
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
"""Commands whose only output about tasks is their log."""


def _is_for_logs(record: logging.LogRecord) -> bool:
    """Whether a terminal should show the record: an audit line repeats the command's output."""
    return record.name != "app.audit"


def _is_news(record: logging.LogRecord) -> bool:
    """Whether the record is new to the reader: the command itself shows the events of tasks."""
    return record.name != "app.session_task" and not hasattr(record, "failure_context")


def run_command(arguments: Sequence[str]) -> int:
    """Run the command that these arguments name, and return its exit code; never raises."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a name that the terminal cannot encode
            stream.reconfigure(errors="backslashreplace")  # must not end a command
    with _sigterm_like_ctrl_c():
        try:
            code = typer.main.get_command(application)(
                args=list(arguments), prog_name=COMMAND, standalone_mode=False
            )
            sys.stdout.flush()
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        except (BrokenPipeError, SystemExit):  # typer exits on its own when a pipe breaks
            _discard(sys.stdout)  # `session-tasks list | head`: nothing went wrong
            return ExitCode.OK
        except (typer.Abort, typer.Exit) as ended:
            return int(getattr(ended, "exit_code", ExitCode.INTERRUPTED))
        except Exception as error:  # noqa: BLE001 - the last place where an error can be shown
            return _report(_translated(error), is_json="--json" in arguments)
    return int(code or ExitCode.OK)


def _translated(error: Exception) -> Exception:
    """Return our own error in place of a library's: for a full disk, or an invalid option."""
    if isinstance(error, OSError) and error.errno in _UNWRITABLE and error.filename is None:
        _discard(sys.stdout)
        return OutputError(
            f"Standard output cannot be written: {error.strerror}",
            next_step="Free some space there, or write elsewhere.",
        )
    if isinstance(error, TyperException) and error.__cause__ is not None:
        from pydantic import ValidationError  # noqa: PLC0415 - imported already where one arose

        from app.core.validation_text import problem_text  # noqa: PLC0415

        if isinstance(error.__cause__, ValidationError):
            error.message = problem_text(error.__cause__.errors(include_url=False)[0])
    return error


def _report(error: Exception, *, is_json: bool) -> int:
    """Print the error on standard error, and with `is_json` on standard output as well."""
    from typer import rich_utils  # noqa: PLC0415 - needed only where a command fails

    from app.cli.reporting import print_error  # noqa: PLC0415
    from app.cli.session_json import error_document  # noqa: PLC0415
    from app.cli.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal(is_json=is_json)
    is_usage = isinstance(error, TyperException)  # the command line is wrong
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
    except OSError:  # standard error is full as well, or closed: only the exit code is left
        _discard(sys.stdout)
        _discard(sys.stderr)
    return int(code)


def _usage(error: Exception) -> Exception:
    """Return typer's error as one of our own; any other error unchanged."""
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


def _discard(stream: TextIO) -> None:
    """Redirect the stream to `/dev/null`, because the interpreter flushes it at exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


@contextmanager
def _sigterm_like_ctrl_c() -> Iterator[None]:
    """End on SIGTERM, or when the terminal closes, as on Ctrl-C.

    That releases the task and the embedded server.
    """

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handled((signal.SIGTERM, signal.SIGHUP), interrupt):
        yield
