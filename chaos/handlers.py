"""Handlers for chaos tests: they do what their session's options say, and record it.

Selected by `SESSION_TASKS_HANDLERS`. The journal (an append-only file) records for the harness
which process executed which run, and when; the product does not use it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.core.errors import ErrorCategory, StaleClaim, TaskError
from app.models.session import TaskType
from app.repositories import steps
from app.values.results import ExportBody, TaskResults, TicketDraft
from chaos import journal
from chaos.bugs import BUG, STALE_CLAIMS_KEEP
from chaos.points import reach

if TYPE_CHECKING:
    from app.tasks.context import TaskContext

TICKETS = 3
STEPS = 50
GATES = "CHAOS_GATES"


def behave(context: TaskContext) -> TaskResults:
    """Do what the session's option `behaviour` says, then return fixed results."""
    options: dict[str, Any] = context.options.model_extra or {}
    run = (str(context.session_id), str(context.task_id), context.attempt)
    journal.write("begun", *run)
    reach("handler begun")
    _BEHAVIOURS[options.get("behaviour", "work")](context, options)
    reach("handler done")
    journal.write("returned", *run)
    return _results(context.task_type)


def _results(task_type: TaskType) -> TaskResults:
    match task_type:
        case TaskType.PROCESSING:
            empty = '{"type":"doc","version":1,"content":[]}'
            return TaskResults(
                tickets=[TicketDraft(f"{n}", empty, "a.md", n) for n in range(1, TICKETS + 1)]
            )
        case TaskType.EXPORT:
            return TaskResults(exports=[ExportBody('{"issueUpdates":[]}', TICKETS)])
        case _:
            return TaskResults()


def _work(context: TaskContext, options: dict[str, Any]) -> None:
    """Take `seconds`, in ten steps, each of which checks for cancellation."""
    for step in range(10):
        if step == 5:
            reach("handler half way")
        context.progress(step, 10)
        threading.Event().wait(float(options.get("seconds", 0.1)) / 10)


def _hold(context: TaskContext, _options: dict[str, Any]) -> None:
    """Wait until the session's gate opens, ignoring cancellation; only in the first attempt."""
    gate = Path(os.environ[GATES]) / str(context.session_id)
    while context.attempt == 1 and not gate.exists():
        threading.Event().wait(0.01)


def _listen(context: TaskContext, _options: dict[str, Any]) -> None:
    """Wait until cancelled."""
    while True:
        context.check_cancelled()
        threading.Event().wait(0.01)


def _stumble(context: TaskContext, options: dict[str, Any]) -> None:
    """Fail once with a temporary error, and succeed the next time."""
    if context.attempt == 1:
        raise TaskError("Stumbled, on purpose", category=ErrorCategory.TEMPORARY)
    _work(context, options)


def _steps(context: TaskContext, options: dict[str, Any]) -> None:
    """Run this many steps, and record each run and each result that was returned."""
    if os.environ.get(BUG) == STALE_CLAIMS_KEEP:
        steps.KEEP = steps.KEEP.replace("AND l.claim_token = %(claim_token)s", "").replace(
            "l.task_id = %(task_id)s", "%(task_id)s::uuid IS NOT NULL"
        )
    seconds = float(options.get("seconds", 0.1)) / STEPS
    for number in range(STEPS):
        name = f"step {number}"
        try:
            result = context.step(name, _run_step, context, name, seconds)
        except StaleClaim:
            journal.write("step refused", context.session_id, context.task_id, name)
            raise
        journal.write("step given", context.session_id, context.task_id, name, result)


def _run_step(context: TaskContext, name: str, seconds: float) -> str:
    result = uuid.uuid4().hex
    journal.write("step ran", context.session_id, name, result, context.task_id)
    threading.Event().wait(seconds)
    return result


def _poison(_context: TaskContext, options: dict[str, Any]) -> None:
    """Kill this process, or the whole worker, in one of several ways."""
    match options["way"]:
        case "exit":
            os._exit(3)
        case "segmentation fault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "whole worker":
            os.kill(os.getppid(), signal.SIGKILL)
        case _:
            os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait(60)


_BEHAVIOURS = {
    "work": _work,
    "hold": _hold,
    "listen": _listen,
    "stumble": _stumble,
    "poison": _poison,
    "steps": _steps,
}
