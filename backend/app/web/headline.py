"""A session's state in one sentence: what it is doing, since when, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from app.models.session import MAX_RETRY_COUNT
from app.presentation.failures import USED_UP, failure_report
from app.presentation.labels import CAN_FIX_IT
from app.presentation.workers import why_not_taken
from app.repositories.worker_repository import SECONDS_TO_FIND_A_WORKER
from app.values.states import SessionStage, TaskStatus, TaskType
from app.web.retry_form import option_label

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from app.repositories.pause_repository import Pause
    from app.repositories.session_snapshot import SessionSnapshot
    from app.repositories.worker_repository import LiveWorker

NAMES_IN_SENTENCES = {
    TaskType.PROCESSING: "processing",
    TaskType.EXPORT: "export",
    TaskType.ADF_VALIDATION: "ADF validation",
}
_COUNTS = (
    "no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve",
)  # fmt: skip
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


class Counting(Enum):
    """How the time between a moment and now is written."""

    AGO = "ago"
    FOR = "for"
    IN = "in"


@dataclass(frozen=True, slots=True)
class Headline:
    """The sentence, in parts, so that a page can keep its time up to date.

    Attributes:
        before, after: the text around the time; without a time, `before` is the whole sentence.
        moment: the moment that the time is counted from, or to.

    """

    before: str
    after: str = ""
    moment: datetime | None = None
    counting: Counting = Counting.AGO

    def time_text(self, now: datetime) -> str:
        """Return the time in words: `four minutes ago`, `12 s`; empty where there is none."""
        if self.moment is None:
            return ""
        seconds = max(0.0, abs((now - self.moment).total_seconds()))
        return ago_text(seconds) if self.counting is Counting.AGO else span_text(seconds)

    def text(self, now: datetime) -> str:
        """Return the whole sentence, as of `now`."""
        return f"{self.before}{self.time_text(now)}{self.after}"


def headline(
    session: SessionSnapshot,
    now: datetime,
    *,
    workers: Sequence[LiveWorker] | None = None,
    pauses: Sequence[Pause] = (),
) -> Headline:
    """Return the sentence for a session at `now`, by the database's clock.

    Args:
        session: its state.
        now: the moment that times are compared with.
        workers: all that are alive; None: not known.
        pauses: the task types whose claims are paused.

    """
    if session.status is None or session.task_type is None:
        return Headline("Nothing has run yet: start processing when you are ready.")
    name = NAMES_IN_SENTENCES[session.task_type]
    if session.status is TaskStatus.RUNNING:
        return _of_running(session, now, name, workers, pauses)
    if session.status is TaskStatus.FAILED:
        return _of_failed(session, name)
    if session.status is TaskStatus.CANCELLED:
        return Headline(
            f"Cancelled in {name}, ",
            "; nothing of that run was kept, and it can be run again.",
            session.updated_at,
        )
    return _of_completed(session, name)


def ago_text(seconds: float) -> str:
    """Return `just now`, `12 seconds ago`, `four minutes ago` or `two days ago`."""
    if seconds < 2:  # noqa: PLR2004 - "one second ago" is outdated before it is read
        return "just now"
    for size, unit in ((_DAY, "day"), (_HOUR, "hour"), (_MINUTE, "minute"), (1, "second")):
        if seconds >= size:
            count = int(seconds // size)
            said = _COUNTS[count] if count < len(_COUNTS) and size > 1 else str(count)
            return f"{said} {unit}{'s' if count != 1 else ''} ago"
    return "just now"


def span_text(seconds: float) -> str:
    """Return `12 s`, `4 min 05 s` or `2 h 05 min`: whole seconds, as the time is shown growing."""
    whole = int(seconds)
    if whole < _MINUTE:
        return f"{whole} s"
    if whole < _HOUR:
        return f"{whole // _MINUTE} min {whole % _MINUTE:02} s"
    return f"{whole // _HOUR} h {whole % _HOUR // _MINUTE:02} min"


def _of_running(
    session: SessionSnapshot,
    now: datetime,
    name: str,
    workers: Sequence[LiveWorker] | None,
    pauses: Sequence[Pause],
) -> Headline:
    if session.claimed_at is None:
        return _of_waiting(session, now, name, workers, pauses)
    if session.leased_until is not None and session.leased_until < now:
        return Headline(
            f"Running {name}, but its worker has not responded for ",
            "; the next sweep rescues it.",
            session.leased_until,
            Counting.FOR,
        )
    running = Headline(
        f"Running {name} for ",
        f"{_attempt_text(session)}.",
        session.claimed_at,
        Counting.FOR,
    )
    total = session.progress_total
    if total:
        far = f": {session.progress_current or 0:,} of {total:,}"
        return replace(running, after=f"{_attempt_text(session)}{far}.")
    return running


def _of_waiting(
    session: SessionSnapshot,
    now: datetime,
    name: str,
    workers: Sequence[LiveWorker] | None,
    pauses: Sequence[Pause],
) -> Headline:
    since = session.enqueued_at
    if since is None:
        return Headline(f"Waiting in {name}: the next sweep queues it again.")
    if since > now:
        return Headline("Waiting: it begins in ", ".", since, Counting.IN)
    why = ""
    has_waited = now - since > timedelta(seconds=SECONDS_TO_FIND_A_WORKER)
    if workers is not None and session.task_type is not None and has_waited:
        why = f": {why_not_taken(workers, pauses, session.task_type, session.session_id)}"
    return Headline(
        "Waiting for a worker for ", f"{why}{_attempt_text(session)}.", since,
        Counting.FOR,
    )  # fmt: skip


def _of_failed(session: SessionSnapshot, name: str) -> Headline:
    count = session.retry_count
    attempt = f", attempt {count} of {MAX_RETRY_COUNT}" if count else ""
    failed = f"Failed in {name}{attempt}"
    if session.retry_at is not None:
        before = f"{failed}; it will be retried automatically in "
        return Headline(before, ".", session.retry_at, Counting.IN)
    failure = failure_report(session, option_label)
    if failure is None:
        after = "."
    elif session.can_be_retried or session.needs_new_session:
        after = f". {CAN_FIX_IT[failure.category]}: {failure.next_step}"
    else:
        after = f". {USED_UP}"
    return Headline(f"{failed}, ", after, session.failed_at)


def _of_completed(session: SessionSnapshot, name: str) -> Headline:
    if session.stage is SessionStage.COMPLETED:
        is_in_jira = session.options.get("to") is not None
        after = (
            ": the issues are in Jira, each read back."
            if is_in_jira
            else ": the Jira import is ready, every description checked."
        )
        return Headline("Done ", after, session.completed_at)
    following = session.next_task_type
    then = f"; {NAMES_IN_SENTENCES[following]} is next, when you start it" if following else ""
    if session.auto_advance and following:
        then = f"; {NAMES_IN_SENTENCES[following]} starts automatically"
    return Headline(
        f"Completed {name} ", f"{then}.", session.completed_at
    )  # fmt: skip


def _attempt_text(session: SessionSnapshot) -> str:
    """Return which attempt it is; empty for the first."""
    count = session.retry_count
    return f", attempt {count + 1} of {MAX_RETRY_COUNT}" if count else ""
