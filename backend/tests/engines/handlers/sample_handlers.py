"""Handlers that do what their session's option `behaviour` says; run in real child processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from app.core.errors import ErrorCategory, TaskCancelled
from app.tasks.registry import may_run_for
from app.values.results import Finding, TaskResults, TicketDraft

if TYPE_CHECKING:
    from app.tasks.context import TaskContext


class OwnError(Exception):
    """A team's own exception."""

    category = "user_fixable"
    next_step = "Turn it off and on again."


class UnpicklableError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()

    def __reduce__(self) -> NoReturn:
        raise TypeError("never")


class SilentError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class ExplainedError(Exception):
    category = ErrorCategory.USER_FIXABLE

    def __init__(self) -> None:
        super().__init__("explained")
        self.results = TaskResults(
            findings=[Finding(1, "Title", "a.md", 1, "/content/0", "schema", "no good")]
        )
        self.details = {"finding_count": 1}


def behave(context: TaskContext) -> Any:
    extra = context.options.model_extra or {}
    return _BEHAVIOURS[extra.get("behaviour", "succeed")](context, extra)


@may_run_for(0.3)
def behave_briefly(context: TaskContext) -> Any:
    return behave(context)


def no_reading(_context: TaskContext) -> None:
    """Needs nothing of the database."""


def _announce(context: TaskContext) -> None:
    """Say by the progress which process this is, so that a test can find it."""
    context.progress(os.getpid(), None, "waiting")


def _wait_cooperatively(context: TaskContext, _extra: Any) -> None:
    _announce(context)
    while True:
        context.check_cancelled()
        threading.Event().wait(0.01)


def _wait_stubbornly(context: TaskContext, _extra: Any) -> None:
    _announce(context)
    while True:
        try:
            threading.Event().wait(0.05)
            context.check_cancelled()
        except TaskCancelled:
            continue


def _wait_for_file(context: TaskContext, extra: Any) -> None:
    _announce(context)
    while not Path(extra["file"]).exists():
        context.check_cancelled()
        threading.Event().wait(0.01)


def _make_tickets(context: TaskContext, extra: Any) -> TaskResults:
    count = int(extra.get("count", 3))
    for number in range(count):
        context.progress(number + 1, count)
    return TaskResults(
        tickets=[
            TicketDraft(f"Ticket {number}", '{"type":"doc","version":1,"content":[]}', "a.md", 1)
            for number in range(count)
        ],
        notes=["a note"],
    )


def _die_first(context: TaskContext, _extra: Any) -> None:
    if context.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def _die_between_steps(context: TaskContext, extra: Any) -> TaskResults:
    """Run four steps, each of which writes itself down; die in the third, the first time."""

    def act(name: str) -> str:
        with Path(extra["file"]).open("a", encoding="utf-8") as log:
            log.write(f"{name} {context.attempt}\n")
        if name == "three" and context.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return name.upper()

    before = list(context.steps)
    given = [context.step(name, act, name) for name in ("one", "two", "three", "four")]
    return TaskResults(notes=[f"kept before: {before}", f"given: {given}"])


def _fail_between_steps(context: TaskContext, extra: Any) -> None:
    def act(name: str) -> None:
        with Path(extra["file"]).open("a", encoding="utf-8") as log:
            log.write(f"{name} {context.attempt}\n")

    context.step("one", act, "one")
    _fail_first(context, extra)
    context.step("two", act, "two")


def _fail_first(context: TaskContext, _extra: Any) -> None:
    if context.attempt == 1:
        raise ConnectionError("the service is away")


def _start_descendant(context: TaskContext, extra: Any) -> None:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(extra["file"]).write_text(str(child.pid))
    _wait_stubbornly(context, extra)


def _raise(error: BaseException) -> NoReturn:
    raise error


def _take_memory(_context: TaskContext, extra: Any) -> None:
    """Take memory until there is no more, or as much as asked for; end as asked."""
    taken: list[bytes] = []
    while len(taken) < int(extra.get("megabytes", 1_000_000)):
        taken.append(b"x" * 2**20)
    match extra.get("end"):
        case "abort":
            os.abort()
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)


def _unstorable(_context: TaskContext, _extra: Any) -> TaskResults:
    return TaskResults(tickets=[TicketDraft("a", "no JSON", "a.md", 1)])


_BEHAVIOURS: dict[str, Any] = {
    "succeed": lambda _c, _e: None,
    "make_tickets": _make_tickets,
    "wait_cooperatively": _wait_cooperatively,
    "wait_stubbornly": _wait_stubbornly,
    "wait_for_file": _wait_for_file,
    "die": lambda _c, _e: os.kill(os.getpid(), signal.SIGKILL),
    "die_first": _die_first,
    "die_between_steps": _die_between_steps,
    "fail_between_steps": _fail_between_steps,
    "exit": lambda _c, _e: os._exit(3),
    "fail_first": _fail_first,
    "start_descendant": _start_descendant,
    "take_memory": _take_memory,
    "no_memory": lambda _c, _e: _raise(MemoryError()),
    "own_error": lambda _c, _e: _raise(OwnError("bad settings")),
    "unpicklable": lambda _c, _e: _raise(UnpicklableError("cannot travel")),
    "silent": lambda _c, _e: _raise(SilentError()),
    "huge": lambda _c, _e: _raise(ValueError("x" * 10_000_000)),
    "nul": lambda _c, _e: _raise(ValueError("a\0b\ud800c")),
    "system_exit": lambda _c, _e: sys.exit(0),
    "pretend_cancelled": lambda _c, _e: _raise(TaskCancelled("not true")),
    "explained": lambda _c, _e: _raise(ExplainedError()),
    "wrong_result": lambda _c, _e: 42,
    "unstorable": _unstorable,
    "odd_progress": lambda c, _e: c.progress(2**40, -5, "a\0b\ud800" + "x" * 1000),
}
