"""Workers paused past their lease in the midst of a delivery: what is doubled is reported."""

from __future__ import annotations

import os
import signal
import uuid
from collections import Counter
from contextlib import suppress
from functools import partial

import psutil

from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.tasks.jira.delivery import PROPERTY
from chaos.journal import Entry
from chaos.programmes.delivery import INDEX_SECONDS, TOKEN, Delivering
from chaos.rig import Rig, Verdict
from chaos.waiting import until
from tests.jira_stand_in.server import JiraStandIn

PAUSES = ("whole, before", "whole, after", "supervisor, before", "supervisor, after")
"""Which processes are paused, and whether before the request or after its response was read."""

THE_WINDOW = "whole, before"
TICKETS = 60
IN_A_REQUEST = 50
SPARE_WORKERS = 2


def paused(rig: Rig, *, pauses: int, at_once: int = 8) -> Verdict:
    """Pause deliveries until another worker has finished them; then let them go on.

    Issues may be doubled only where the whole worker was paused between intent and request, and
    only those of that request; the validation names every one to delete.
    """
    counts: Counter[str] = Counter()
    broken: list[str] = []
    with JiraStandIn() as jira:
        jira.site.add_project("SHOP")
        jira.site.add_account("Ann Other", token=TOKEN)
        jira.site.index_delay_seconds = INDEX_SECONDS
        run = Delivering(rig, jira, bug="", is_hostile=False)
        while counts["pauses"] < pauses and not rig.is_time_up:
            fleet = [run.worker(1).until_started() for _ in range(at_once + SPARE_WORKERS)]
            count = min(at_once, pauses - counts["pauses"])
            broken += _one_round(run, count, counts)
            for worker in fleet:
                counts["warnings"] += worker.logged("a run that had lost its claim")
                worker.kill()
        broken += [f"contract: {what}" for what in jira.violations]
    doubled, warnings = counts.pop("doubled", 0), counts.pop("warnings", 0)
    return Verdict(
        "paused delivery",
        f"{counts.pop('pauses')} pauses past the lease",
        {
            "paused": ", ".join(f"{name} {n}" for name, n in sorted(counts.items())),
            "issues doubled, each reported with its key": str(doubled),
            "workers that warned of what they had created": str(warnings),
        },
        broken,
    )


def _one_round(run: Delivering, count: int, counts: Counter[str]) -> list[str]:
    rig = run.rig
    chosen: dict[uuid.UUID, str] = {}
    for at in range(count):
        pause = PAUSES[(counts["pauses"] + at) % len(PAUSES)]
        session_id = run.open(TICKETS, pause=pause)
        chosen[session_id] = pause
    entries: list[Entry] = []
    try:
        entries.extend(
            until(partial(_entry, rig, "paused", session_id), "one is paused")
            for session_id in chosen
        )
        for session_id in chosen:
            until(partial(_has_exported, rig, session_id), "another worker exports it", 120)
        for entry in entries:  # the child alone at first: its worker would kill it
            _let_go(entry.pid)
        for session_id, entry in zip(chosen, entries, strict=True):
            until(partial(_has_sent, rig, session_id, entry), "it has sent its request, or died")
    finally:
        for entry in entries:
            _let_go(entry.pid)
            _let_go(entry.parent)
    broken = []
    for session_id, pause in chosen.items():
        counts["pauses"] += 1
        counts[pause] += 1
        surplus = _surplus(run, session_id)
        counts["doubled"] += len(surplus)
        may_be = set(range(1, IN_A_REQUEST + 1)) if pause == THE_WINDOW else set()
        if not set(surplus) <= may_be:
            broken.append(f"{session_id} ({pause}): doubled outside of the window: {surplus}")
        broken += _wrong_reports(run, session_id, surplus)
    return broken


def _wrong_reports(run: Delivering, session_id: uuid.UUID, surplus: dict[int, str]) -> list[str]:
    """Validate; say what is doubled and not reported, or does not pass once that is deleted."""
    rig = run.rig

    def status() -> str | None:
        now, _count = rig.status(session_id)
        return now if now != "running" else None

    def validate() -> None:
        with rig.database.transaction() as db:
            sessions = SessionRepository(db)
            if sessions.get(session_id).task.task_type is TaskType.EXPORT:  # type: ignore[union-attr]
                sessions.start_task(session_id, TaskType.ADF_VALIDATION)
            else:
                sessions.retry_task(session_id)

    validate()
    until(status, "it is validated")
    reported = {
        row.ticket: row.reason
        for row in rig.rows(
            "SELECT ticket, reason FROM validation_findings WHERE session_id = :id", id=session_id
        )
    }
    broken = [
        f"{session_id}: ticket {ticket} is doubled by {key}, reported: {reported.get(ticket)}"
        for ticket, key in surplus.items()
        if f"delete {key} in Jira" not in reported.get(ticket, "")
    ]
    broken += [f"{session_id}: {reported[ticket]}" for ticket in reported.keys() - surplus.keys()]
    for key in surplus.values():
        del run.jira.site.issues[key]
    if surplus:
        validate()
        until(status, "it is validated again")
    if rig.status(session_id)[0] != "completed":
        broken.append(f"{session_id}: it is not completed without its doubles")
    return broken


def _surplus(run: Delivering, session_id: uuid.UUID) -> dict[int, str]:
    """Return the issues that the session does not know, by ticket."""
    known = {
        row.key
        for row in run.rig.rows(
            "SELECT key FROM delivered_issues WHERE session_id = :id", id=session_id
        )
    }
    return {
        int(issue.properties[PROPERTY]["ticket"]): issue.key
        for issue in list(run.jira.site.issues.values())
        if issue.properties[PROPERTY]["session"] == str(session_id) and issue.key not in known
    }


def _entry(rig: Rig, word: str, session_id: uuid.UUID) -> Entry | None:
    return next((e for e in rig.journal(word) if e.subject[0] == str(session_id)), None)


def _has_exported(rig: Rig, session_id: uuid.UUID) -> bool:
    done = "SELECT FROM sessions WHERE id = :id AND export_completed_at IS NOT NULL"
    return bool(rig.rows(done, id=session_id))


def _has_sent(rig: Rig, session_id: uuid.UUID, entry: Entry) -> bool:
    if _entry(rig, "sent", session_id) is not None or not psutil.pid_exists(entry.pid):
        return True
    return psutil.Process(entry.pid).status() == psutil.STATUS_ZOMBIE


def _let_go(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
