"""The values that the page of a session shows, made from its rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from app.api.responses import API
from app.models.session import MAX_RETRY_COUNT
from app.values.states import TaskStatus, TaskType
from app.web.headline import NAMES_IN_SENTENCES
from app.web.steps import Step, steps_of
from app.web.wording import NOT_STARTED, StatusBadge, in_count

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from app.models.session import StageTimes
    from app.repositories.content_reader import ContentCounts
    from app.repositories.session_snapshot import SessionSnapshot


UNKNOWN_SHARE = 0.5
LEAST_SHARE = 0.1
"""The assumed progress of a stage that reports none, or has just begun, so that no bar is full
while its stage runs."""


@dataclass(frozen=True, slots=True)
class StageLine:
    """One task type of the session: its state, and how long it waited and ran.

    Attributes:
        since: start of the time that is still growing: the wait of a task without a worker, else
            the run.
        wait_share, run_share: per cent of the longest of the session's stages.

    """

    name: str
    badge: StatusBadge
    is_present: bool
    waited_seconds: float | None = None
    ran_seconds: float | None = None
    since: datetime | None = None
    is_waiting: bool = False
    ended_at: datetime | None = None
    wait_share: float = 0.0
    run_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Act:
    """An act that the user may do to the session now, and its consequences.

    Attributes:
        name: the last part of the address that it is posted to.
        word: the text of its button.
        consequences: shown before the act.
        curl, command: the same act in a shell; empty where there is none.

    """

    name: str
    word: str
    consequences: tuple[str, ...]
    curl: str
    command: str = ""
    is_dangerous: bool = False
    is_primary: bool = False


def stage_lines(
    session: SessionSnapshot, times: Mapping[TaskType, StageTimes], now: datetime
) -> list[StageLine]:
    """Return one line for each task type, in order."""
    lines = [
        _stage_line(session, step, times.get(task_type), now)
        for task_type, step in zip(TaskType, steps_of(session), strict=True)
    ]
    longest = max((_seconds_expected(line, session) for line in lines), default=0.0) or 1.0
    return [
        replace(
            line,
            wait_share=round(100 * (line.waited_seconds or 0) / longest, 2),
            run_share=round(100 * (line.ran_seconds or 0) / longest, 2),
        )
        for line in lines
    ]


def acts(
    session: SessionSnapshot, counts: ContentCounts, server: str, *, is_admin: bool = False
) -> list[Act]:
    """Return the acts that the session's state allows, the most helpful first."""
    address = f"{server}{API}/sessions/{session.session_id}"
    found = []
    if session.status is TaskStatus.RUNNING:
        found.append(_cancel(session, address))
    elif session.can_be_restarted:
        found.append(_retry(session, counts, address))
    elif session.status is TaskStatus.FAILED and is_admin:
        found.append(_reset(session, address))
    elif session.status is not TaskStatus.FAILED and session.next_task_type is not None:
        found.append(_start(session, session.next_task_type, counts, address))
    found.append(_delete(session, counts, address))
    return found


def run_shown(session: SessionSnapshot) -> str:
    """Return the value by which a form identifies the run that its page showed."""
    return session.task_id.hex if session.task_id is not None else "none"


def _stage_line(
    session: SessionSnapshot, step: Step, kept: StageTimes | None, now: datetime
) -> StageLine:
    line = StageLine(step.name, step.badge, step.is_present)
    if step.is_present and session.status is TaskStatus.RUNNING:
        begun, claimed = session.enqueued_at or session.started_at, session.claimed_at
        return replace(
            line,
            waited_seconds=_between(begun, claimed or now),
            ran_seconds=_between(claimed, now),
            since=claimed or begun,
            is_waiting=claimed is None,
        )
    if step.is_present and session.status is not TaskStatus.COMPLETED:
        ended = session.failed_at or session.updated_at
        return replace(line, ran_seconds=_between(session.started_at, ended), ended_at=ended)
    if kept is None or step.badge is NOT_STARTED:
        return line
    return replace(
        line,
        waited_seconds=kept.waited_seconds,
        ran_seconds=kept.ran_seconds,
        ended_at=kept.completed_at,
    )


def _between(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else max(0.0, (end - start).total_seconds())


def _seconds(line: StageLine) -> float:
    return (line.waited_seconds or 0.0) + (line.ran_seconds or 0.0)


def _seconds_expected(line: StageLine, session: SessionSnapshot) -> float:
    """Return how long the stage will take in all, by its progress; its bar uses this."""
    if not line.is_present or line.since is None or line.is_waiting:
        return _seconds(line)
    total = session.progress_total or 0
    share = min(1.0, (session.progress_current or 0) / total) if total else UNKNOWN_SHARE
    return (line.waited_seconds or 0.0) + (line.ran_seconds or 0.0) / max(share, LEAST_SHARE)


def _what_follows(session: SessionSnapshot, task_type: TaskType) -> str:
    following = task_type.next
    if following is None:
        is_in_jira = session.options.get("to") is not None
        what = (
            "every issue in Jira is as it was sent"
            if is_in_jira
            else "the Jira import is ready to download"
        )
        return f"When it completes, {what}."
    name = NAMES_IN_SENTENCES[following]
    if session.auto_advance:
        return f"When it completes, {name} starts automatically."
    return f"When it completes, {name} waits until you start it."


def _retry(session: SessionSnapshot, counts: ContentCounts, address: str) -> Act:
    task_type = session.task_type or TaskType.PROCESSING
    name, count = NAMES_IN_SENTENCES[task_type], session.retry_count
    attempt = f"attempt {count + 1} of {MAX_RETRY_COUNT}"
    is_delivery = task_type is TaskType.EXPORT and session.options.get("to") is not None
    again = "again" if is_delivery else "again from its beginning"
    said = [f"Runs {name} {again}, as {attempt}, under a new run id."]
    if task_type is TaskType.PROCESSING:
        said.append(
            f"It reads {in_count(counts.documents, 'document')} again; the new tickets replace "
            "any that exist."
        )
    else:
        said.append(f"It uses {in_count(counts.tickets, 'ticket')}, unchanged.")
    if is_delivery:
        said.append("Tickets that are issues in Jira already are not sent again.")
    said.append(_what_follows(session, task_type))
    if count + 1 == MAX_RETRY_COUNT:
        said.append(
            "It is the last attempt: after another failure, an administrator must reset the "
            "attempts."
        )
    is_in_vain = session.needs_new_session
    if is_in_vain:
        said.append(
            "It will find the same problems, as documents cannot be replaced once they are "
            "processed: open a new session with corrected ones."
        )
    return Act(
        "retry", f"Retry {name}", tuple(said),
        curl=_curl(f"{address}/task/retry", session),
        command=f"session-tasks retry {session.short_id}",
        is_primary=not is_in_vain,
    )  # fmt: skip


def _cancel(session: SessionSnapshot, address: str) -> Act:
    name = NAMES_IN_SENTENCES[session.task_type or TaskType.PROCESSING]
    return Act(
        "cancel", f"Cancel {name}",
        (
            f"Marks {name} cancelled now; the worker stops at its next heartbeat.",
            "Nothing of this run is kept; the results of earlier tasks are.",
            "It costs no attempt, and can be run again.",
        ),
        curl=_curl(f"{address}/task/cancel", session),
        command=f"session-tasks cancel {session.short_id}",
    )  # fmt: skip


def _start(
    session: SessionSnapshot, task_type: TaskType, counts: ContentCounts, address: str
) -> Act:
    name = NAMES_IN_SENTENCES[task_type]
    works_on = (
        in_count(counts.documents, "document")
        if task_type is TaskType.PROCESSING
        else in_count(counts.tickets, "ticket")
    )
    return Act(
        "start", f"Start {name}",
        (f"Runs {name} of {works_on}.", _what_follows(session, task_type)),
        curl=_curl(f"{address}/task", None, body=f'{{"task_type": "{task_type.value}"}}'),
        is_primary=True,
    )  # fmt: skip


def _reset(session: SessionSnapshot, address: str) -> Act:
    name = NAMES_IN_SENTENCES[session.task_type or TaskType.PROCESSING]
    return Act(
        "reset", "Reset attempts",
        (
            f"All {MAX_RETRY_COUNT} attempts of {name} count as unused again; nothing runs yet.",
            "Do this once the cause is removed. It is recorded in the audit log.",
        ),
        curl=_curl(f"{address}/task/reset", None),
        command=f"session-tasks retry {session.short_id} --reset",
        is_primary=True,
    )  # fmt: skip


def _delete(session: SessionSnapshot, counts: ContentCounts, address: str) -> Act:
    held = ", ".join(
        in_count(count, one)
        for count, one in (
            (counts.documents, "document"),
            (counts.tickets, "ticket"),
            (counts.exports, "import file"),
        )
        if count
    )
    said = [f"Permanently deletes the session with its content{f': {held}' if held else ''}."]
    if session.status is TaskStatus.RUNNING:
        said.append("The running task loses its claim: none of its results will be written.")
    return Act(
        "delete", "Delete session", tuple(said),
        curl=_curl(address, None, method="DELETE"),
        is_dangerous=True,
    )  # fmt: skip


def _curl(
    address: str, session: SessionSnapshot | None, *, method: str = "POST", body: str = ""
) -> str:
    """Return the request as a shell command; If-Match restricts it to the run that was shown."""
    lines = [f"curl -X {method} {address}", '-H "Authorization: Bearer $SESSION_TASKS_KEY"']
    if session is not None:
        lines.append(f"-H 'If-Match: \"{run_shown(session)}\"'")
    if body:
        lines += ["-H 'Content-Type: application/json'", f"-d '{body}'"]
    return " \\\n  ".join(lines)
