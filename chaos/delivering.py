"""The product's export, in a process that kills itself at points between intent and kept keys."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.repositories import steps
from app.tasks.export import export_tickets
from app.tasks.jira import delivery
from app.tasks.jira.client import JiraClient
from chaos import journal
from chaos.bugs import BUG, SEND_FIRST
from chaos.handlers import GATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.tasks.context import TaskContext
    from app.values.results import TaskResults

DEATH_RATE = "CHAOS_DEATH_RATE"

POINTS = (
    "before an intent", "intent kept", "before a request", "response read", "issues kept",
    "before a search", "search read",
)  # fmt: skip

_random = random.SystemRandom()


def export(context: TaskContext) -> TaskResults:
    """Export as the product does, and die at any point, as often as the environment says."""
    _arm()
    return export_tickets(context)


@functools.cache
def _arm() -> None:
    keep, create, search = steps.keep, JiraClient.create, JiraClient.search

    def dying_keep(connection: Any, claim: Any, name: str, result: str, **more: Any) -> bool:
        is_intent = name.startswith("intent")
        if is_intent:
            _perhaps_die("before an intent")
        kept = keep(connection, claim, name, result, **more)
        _perhaps_die("intent kept" if is_intent else "issues kept")
        return kept

    def dying_create(client: JiraClient, body: bytes) -> dict[str, Any]:
        _perhaps_die("before a request")
        session = json.loads(body)["issueUpdates"][0]["properties"][0]["value"]["session"]
        pause = _pause_of(session)
        if pause.endswith("before"):
            _pause(session, pause)
        answer = create(client, body)
        if pause.endswith("after"):
            _pause(session, pause)
        if pause:
            journal.write("sent", session)
        _perhaps_die("response read")
        return answer

    def dying_search(client: JiraClient, *arguments: Any, **options: Any) -> Any:
        _perhaps_die("before a search")
        found = list(search(client, *arguments, **options))
        _perhaps_die("search read")
        return iter(found)

    steps.keep = dying_keep
    JiraClient.create = dying_create  # type: ignore[method-assign, assignment]
    JiraClient.search = dying_search  # type: ignore[method-assign, assignment]
    if os.environ.get(BUG) == SEND_FIRST:
        _plant_send_before_look(delivery._Delivery)  # noqa: SLF001 - the bug is in there


def _plant_send_before_look(place: Any) -> None:
    def nothing(_self: Any, _intent: Mapping[str, Any]) -> dict[str, Any]:
        return {"created": {}, "refused": {}}

    place._look_for = nothing  # noqa: SLF001


def _pause_of(session: str) -> str:
    """Return how this session's first request is to be paused; "" for any other."""
    gate = Path(os.environ[GATES]) / session
    try:
        pause = gate.read_text()
        gate.unlink()
    except FileNotFoundError:
        return ""
    return pause


def _pause(session: str, pause: str) -> None:
    journal.write("paused", session, pause)
    os.kill(os.getppid(), signal.SIGSTOP)
    if pause.startswith("whole"):
        os.kill(os.getpid(), signal.SIGSTOP)


def _perhaps_die(point: str) -> None:
    if _random.random() < float(os.environ.get(DEATH_RATE, "0")):
        journal.write("died", point)
        os.kill(os.getpid(), signal.SIGKILL)
