"""Show a session's snapshots: as bars on a terminal, as lines elsewhere, or not at all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn
from rich.text import Text

from app.cli.snapshot import TASK_ORDER, SessionEvent, events_between
from app.core.wording import count_text, duration_text
from app.repositories.session_snapshot import LeaseState, SessionSnapshot
from app.values.states import TaskStatus, TaskType

if TYPE_CHECKING:
    from types import TracebackType

    from app.cli.terminal import Terminal
    from app.repositories.content_reader import ContentCounts


class Display(Protocol):
    """A context manager that shows one snapshot after the other."""

    def show(self, snapshot: SessionSnapshot) -> None:
        """Show the changes since the last snapshot."""

    def show_counts(self, counts: ContentCounts) -> None:
        """Show how much the completed tasks produced."""

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Restore the terminal."""


def display_for(terminal: Terminal) -> Display:
    """Return the display for this terminal."""
    if terminal.people.is_terminal:
        return BarsDisplay(terminal)
    return SilentDisplay() if terminal.is_json else LinesDisplay(terminal)


class SilentDisplay:
    """Shows nothing: standard output is one JSON document, and no terminal is attached."""

    def show(self, snapshot: SessionSnapshot) -> None:
        """Show nothing."""

    def show_counts(self, counts: ContentCounts) -> None:
        """Show nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        return None


class LinesDisplay:
    """One plain line per transition, for logs and pipes."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._last: SessionSnapshot | None = None

    def show(self, snapshot: SessionSnapshot) -> None:
        """Write a line for each event since the last snapshot."""
        for event in events_between(self._last, snapshot):
            self._terminal.say(f"{snapshot.short_id} {event_text(event)}")
        self._last = snapshot

    def show_counts(self, counts: ContentCounts) -> None:
        """Show nothing: the summary has the counts."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        return None


def event_text(event: SessionEvent) -> str:
    """Return the event as one line: `processing completed in 1.20 s`."""
    name = event.task_type.value
    if event.status == TaskStatus.RUNNING:
        again = f" again (attempt {event.attempt})" if event.attempt > 1 else ""
        return f"{name} started{again}"
    took = "" if event.seconds is None else f" in {duration_text(event.seconds)}"
    if event.status == TaskStatus.FAILED:
        message = str((event.failure or {}).get("message", "")).strip()
        why = f": {message.splitlines()[0]}" if message else ""
        return f"{name} failed{took.replace(' in ', ' after ')}{why}"
    return f"{name} {event.status.value}{took}"


class BarsDisplay:
    """One bar per task, with counts and the time it takes."""

    def __init__(self, terminal: Terminal) -> None:
        self._last: SessionSnapshot | None = None
        self._progress = Progress(
            _MarkColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30, complete_style="cyan", finished_style="green"),
            _CountColumn(),
            _ClockColumn(),
            TextColumn("{task.fields[remark]}", style="dim"),
            console=terminal.people,
            refresh_per_second=12,
        )
        self._bars = {
            task_type: self._progress.add_task(
                task_type.value,
                total=1.0,
                status=None,
                seconds=None,
                since=None,
                count="",
                remark="",
            )
            for task_type in TASK_ORDER
        }

    def show(self, snapshot: SessionSnapshot) -> None:
        """Update the bars."""
        for event in events_between(self._last, snapshot):
            self._apply(event)
        self._last = snapshot
        if snapshot.task_type is not None:
            self._show_current(snapshot, snapshot.task_type)

    def _apply(self, event: SessionEvent) -> None:
        bar = self._bars[event.task_type]
        if event.status == TaskStatus.RUNNING:
            self._progress.reset(bar, start=False, total=1.0)  # pulses until a count is reported
            self._progress.update(bar, status=event.status, seconds=None, count="", remark="")
            return
        fields: dict[str, Any] = {
            "status": event.status,
            "seconds": event.seconds,
            "remark": "",
        }
        self._progress.start_task(bar)
        if event.status == TaskStatus.COMPLETED:
            fields |= {"total": 1.0, "completed": 1.0}
        self._progress.update(bar, **fields)

    def _show_current(self, snapshot: SessionSnapshot, task_type: TaskType) -> None:
        bar = self._bars[task_type]
        fields: dict[str, Any] = {"remark": _remark(snapshot)}
        if snapshot.status == TaskStatus.RUNNING:
            fields["since"] = time.monotonic() - (snapshot.elapsed_seconds or 0.0)
            if snapshot.progress_total:
                total = snapshot.progress_total
                current = min(snapshot.progress_current or 0, total)
                count = f"{current:,} of {total:,}"
                self._progress.start_task(bar)
                self._progress.update(bar, total=total, completed=current, count=count)
        self._progress.update(bar, **fields)

    def show_counts(self, counts: ContentCounts) -> None:
        """Show how much the completed tasks produced, in place of their progress."""
        came_to = {
            TaskType.PROCESSING: count_text(counts.tickets, "ticket"),
            TaskType.EXPORT: count_text(counts.exports, "file"),
            TaskType.ADF_VALIDATION: f"{counts.tickets:,} checked",
        }
        for task_type, bar in self._bars.items():
            if self._progress.tasks[bar].fields["status"] == TaskStatus.COMPLETED:
                self._progress.update(bar, count=came_to[task_type])

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._progress.stop()


def _remark(snapshot: SessionSnapshot) -> str:
    if snapshot.retry_at is not None:
        wait = (snapshot.retry_at - snapshot.moment).total_seconds()
        return f"retried in {duration_text(wait)}" if wait > 0 else "about to be retried"
    match snapshot.lease_state:
        case LeaseState.UNCLAIMED:
            return "waiting for a worker"
        case LeaseState.EXPIRED:
            return "its worker does not respond; to be rescued"
        case LeaseState.MISSING:
            return "to be queued again"
        case _:
            attempt = f"attempt {snapshot.retry_count + 1}" if snapshot.retry_count else ""
            is_running = snapshot.status == TaskStatus.RUNNING
            return (snapshot.progress_message or attempt) if is_running else ""


class _MarkColumn(ProgressColumn):
    """A spinner while the task runs, then a mark for how it ended."""

    _MARKS: ClassVar = {
        TaskStatus.COMPLETED: Text("✓", style="bold green"),
        TaskStatus.FAILED: Text("✗", style="bold red"),
        TaskStatus.CANCELLED: Text("■", style="bold yellow"),
    }

    def __init__(self) -> None:
        super().__init__()
        self._spinner = SpinnerColumn("dots", style="cyan")

    def render(self, task: Task) -> Text:
        status = task.fields["status"]
        if status == TaskStatus.RUNNING:
            return Text.assemble("  ", self._spinner.render(task))  # type: ignore[arg-type]
        return Text.assemble("  ", self._MARKS.get(status, Text("·", style="dim")))


class _CountColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(task.fields["count"].rjust(15))


class _ClockColumn(ProgressColumn):
    def render(self, task: Task) -> Text:
        fields = task.fields
        if fields["status"] == TaskStatus.RUNNING and fields["since"] is not None:
            return Text(duration_text(time.monotonic() - fields["since"]).rjust(10), style="cyan")
        text = duration_text(fields["seconds"]) if fields["status"] is not None else ""
        return Text(text.rjust(10))
