"""Named points between claim and commit at which a process kills itself.

The environment sets the point (`CHAOS_POINT`) and the arrival at it (`CHAOS_ARRIVAL`). `arm` adds
the supervisor's points around the product's functions; the product itself has no such points.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable
from typing import Any

from app.engines import outcome_writer
from app.engines.child_process import ChildProcess
from app.engines.heartbeat import LeaseRenewer
from app.engines.messages import Assignments
from app.repositories import transitions
from chaos import journal

POINT = "CHAOS_POINT"
ARRIVAL = "CHAOS_ARRIVAL"

IN_SUPERVISOR = (
    "claimed, not handed out",
    "handed to the child",
    "outcome known, nothing written",
    "completion sent, not committed",
    "committed, not announced",
    "failure written, not announced",
    "before a heartbeat",
    "after a heartbeat",
    "rescue sent, not committed",
    "rescued and retried, not committed",
)
IN_CHILD = ("handler begun", "handler half way", "handler done")
POINTS = (*IN_SUPERVISOR, *IN_CHILD)

_arrivals = 0


def reach(point: str) -> None:
    """Kill this process, if the environment names this point and this arrival."""
    global _arrivals  # noqa: PLW0603 - one process, one point
    if not point or os.environ.get(POINT) != point:
        return
    _arrivals += 1
    if _arrivals >= int(os.environ.get(ARRIVAL, "1")):
        journal.write("died", point)
        os.kill(os.getpid(), signal.SIGKILL)


def arm() -> None:
    """Add the supervisor's points to this process."""
    _around(transitions, "claim_next", after="claimed, not handed out", only_if_answered=True)
    _around(transitions, "complete", after="completion sent, not committed", only_if_answered=True)
    _around(transitions, "fail", after="failure written, not announced", only_if_answered=True)
    _around(transitions, "rescue", after="rescue sent, not committed", only_if_answered=True)
    _around(transitions, "retry", after="rescued and retried, not committed", only_if_answered=True)
    _around(LeaseRenewer, "beat", before="before a heartbeat", after="after a heartbeat")
    for write in ("_write_once", "complete_together"):
        _around(
            outcome_writer.OutcomeWriter,
            write,
            before="outcome known, nothing written",
            after="committed, not announced",
        )
    send = ChildProcess.send

    def send_and_die(child: ChildProcess, *messages: object) -> None:
        send(child, *messages)
        if any(isinstance(message, Assignments) for message in messages):
            reach("handed to the child")

    ChildProcess.send = send_and_die  # type: ignore[method-assign,assignment]


def _around(
    place: Any, name: str, *, before: str = "", after: str = "", only_if_answered: bool = False
) -> None:
    act: Callable[..., Any] = getattr(place, name)

    @functools.wraps(act)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        reach(before)
        answer = act(*arguments, **options)
        if answer or not only_if_answered:
            reach(after)
        return answer

    setattr(place, name, wrapped)
