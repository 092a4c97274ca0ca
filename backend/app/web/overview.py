"""The overview: the state of all sessions, and which need attention first."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response

from app.api.resources import SafeText
from app.api.services import Caller, ServicesOf
from app.core.database import database_now
from app.core.errors import ErrorCategory
from app.core.wording import duration_text
from app.presentation.labels import CATEGORY_LABELS
from app.repositories.statistics import Live, RunTimes, Standing, Statistics
from app.values.states import TaskType
from app.web.bulk_acts import MOST_AT_ONCE, BulkAct, act_on
from app.web.charts import Chart, Series, bar_chart, line_chart
from app.web.page import PageOf, templates
from app.web.wording import TASK_NAMES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from markupsafe import Markup

    from app.core.database import Database

router = APIRouter(include_in_schema=False)

LEAST_SECONDS_KEPT = 1.0
MOST_SECONDS_KEPT = 30.0
SHARE_OF_TIME = 20
"""Figures are kept for this many times as long as they took to read, so one owner's open overviews
use at most a twentieth of one connection, however many sessions and browsers there are."""

MOST_KEPT = 1_000

FIX_ORDER = (ErrorCategory.USER_FIXABLE, ErrorCategory.ADMIN_REQUIRED, ErrorCategory.TEMPORARY)
FIX_WORDS = {
    ErrorCategory.USER_FIXABLE: "Correct what the message names, then retry.",
    ErrorCategory.ADMIN_REQUIRED: "Remove the cause or reset the attempts, then retry.",
    ErrorCategory.TEMPORARY: "Retried automatically.",
}


class Window(str, Enum):
    """The period that the charts cover."""

    HOURS_2 = "2h"
    HOURS_6 = "6h"
    DAY = "1d"
    WEEK = "7d"


@dataclass(frozen=True, slots=True)
class Span:
    """A window's slices: their number and length."""

    words: str
    slice_length: timedelta
    count: int
    label: str


SPANS = {
    Window.HOURS_2: Span("2 hours", timedelta(minutes=5), 24, "%H:%M"),
    Window.HOURS_6: Span("6 hours", timedelta(minutes=15), 24, "%H:%M"),
    Window.DAY: Span("24 hours", timedelta(hours=1), 24, "%H:%M"),
    Window.WEEK: Span("7 days", timedelta(hours=6), 28, "%d %b %H:%M"),
}


@dataclass(frozen=True, slots=True)
class Figures:
    """The overview of one owner at one moment."""

    taken_at: datetime
    standing: Standing
    live: Live
    charts: Sequence[Markup]

    @property
    def needs_worker(self) -> bool:
        """Whether there are waiting tasks that no worker takes."""
        return self.live.unserved_count > 0

    @property
    def idle_worker_count(self) -> int:
        """How many workers are idle and would take a task."""
        return sum(worker.state == "idle" for worker in self.live.workers)


def read_figures(database: Database, owner: str | None, window: Window) -> Figures:
    """Read the figures of this owner, or of all owners (None)."""
    span = SPANS[window]
    with database.transaction() as db:
        now = database_now(db)
        begins = slice_beginnings(now, span)
        statistics = Statistics(db, owner=owner)
        return Figures(
            taken_at=now,
            standing=statistics.standing(),
            live=statistics.live(),
            charts=_drawn(
                charts_of(
                    statistics.run_times(since=begins[0], slice_length=span.slice_length),
                    begins,
                    span,
                )
            ),
        )


def _drawn(charts: Sequence[Chart]) -> list[Markup]:
    """Return the charts as HTML: drawing them takes longer than the rest of the page."""
    draw = templates().get_template("charts.html").make_module().chart  # type: ignore[attr-defined]
    return [draw(chart, f"chart-{number}") for number, chart in enumerate(charts, 1)]


def slice_beginnings(now: datetime, span: Span) -> list[datetime]:
    """Return when each slice begins; the last slice contains `now`."""
    length = span.slice_length
    origin = datetime(2020, 1, 1, tzinfo=UTC)
    last = origin + (now - origin) // length * length
    return [last - length * back for back in reversed(range(span.count))]


def charts_of(times: Sequence[RunTimes], begins: Sequence[datetime], span: Span) -> list[Chart]:
    """Return charts of the tasks completed, and of the run times of each task type."""
    slices = [f"{moment:{span.label}}" for moment in begins]
    found = {(run.task_type, run.begins_at): run for run in times}

    def values(task_type: TaskType, of: Callable[[RunTimes], float]) -> list[float | None]:
        runs = [found.get((task_type, moment)) for moment in begins]
        return [of(run) if run is not None else None for run in runs]

    throughput = bar_chart(
        "Tasks completed",
        slices,
        [Series(TASK_NAMES[kind], values(kind, lambda run: run.count)) for kind in TaskType],
        lambda count: f"{count:,.0f}",
    )
    durations = [
        line_chart(
            f"{TASK_NAMES[kind]}: time to run",
            slices,
            [
                Series("Median", values(kind, lambda run: run.ran_median)),
                Series("95 % took at most", values(kind, lambda run: run.ran_p95)),
            ],
            duration_text,
        )
        for kind in TaskType
    ]
    return [replace(chart, moments=begins) for chart in (throughput, *durations)]


class RecentFigures:
    """A thread-safe cache that keeps each owner's figures for a few seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._kept: dict[tuple[str | None, Window], tuple[float, Figures]] = {}
        self._locks: dict[str | None, threading.Lock] = {}

    def of(self, owner: str | None, window: Window) -> Figures:
        """Return the owner's figures, at most `MOST_SECONDS_KEPT` old."""
        with self._locks.setdefault(owner, threading.Lock()):
            kept = self._kept.get((owner, window))
            began_at = time.monotonic()
            if kept is not None and began_at < kept[0]:
                return kept[1]
            figures = read_figures(self._database, owner, window)
            now = time.monotonic()
            seconds = max(LEAST_SECONDS_KEPT, SHARE_OF_TIME * (now - began_at))
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[owner, window] = now + min(MOST_SECONDS_KEPT, seconds), figures
            return figures

    def forget(self, owner: str | None) -> None:
        """Forget the owner's figures, and those of all owners, after a bulk act."""
        for window in Window:
            self._kept.pop((owner, window), None)
            self._kept.pop((None, window), None)


async def _recent_figures(request: Request, services: ServicesOf) -> RecentFigures:
    state = request.app.state
    if not hasattr(state, "recent_figures"):
        state.recent_figures = RecentFigures(services.database)
    figures: RecentFigures = state.recent_figures
    return figures


RecentFiguresOf = Annotated[RecentFigures, Depends(_recent_figures)]


@router.get("/")
def overview(
    page: PageOf,
    caller: Caller,
    recent: RecentFiguresOf,
    window: Annotated[str, Query(max_length=5)] = Window.HOURS_6.value,
    owner: Annotated[SafeText, Query(max_length=200)] = "",
) -> Response:
    """Show the overview; administrators see all owners or one.

    An owner without sessions is shown how to begin.
    """
    seen = caller.sees or owner or None
    chosen = next((one for one in Window if one.value == window), Window.HOURS_6)
    return page.render(
        "overview.html",
        figures=recent.of(seen, chosen),
        owner=seen if caller.sees is None and seen else "",
        window=chosen,
        spans=SPANS,
        fix_order=FIX_ORDER,
        fix_words=FIX_WORDS,
        categories=CATEGORY_LABELS,
    )


@router.post("/failures/retry")
def retry_group(  # noqa: PLR0913, PLR0917 - the fields of the form
    page: PageOf,
    caller: Caller,
    services: ServicesOf,
    recent: RecentFiguresOf,
    task_type: Annotated[TaskType, Form()],
    error: Annotated[SafeText, Form(max_length=1_000)] = "",
    message: Annotated[SafeText, Form(max_length=1_000)] = "",
    shown: Annotated[SafeText, Form(max_length=1_000)] = "",
    owner: Annotated[SafeText, Form(max_length=200)] = "",
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Retry all of a group that may be retried; first ask, with their number."""
    seen = caller.sees or owner or None
    with services.database.transaction() as db:
        runs = Statistics(db, owner=seen).failed_like(task_type, error, message, limit=MOST_AT_ONCE)
    if not runs:
        return page.redirect("/", refused="None of them can be retried now: nothing was done.")
    if not confirmed:
        return page.render(
            "confirm_group.html",
            count=len(runs),
            is_at_limit=len(runs) == MOST_AT_ONCE,
            task_type=task_type,
            error=error,
            message=message,
            shown=shown,
            owner=owner,
        )
    said = act_on(services.database, caller, BulkAct.RETRY, runs)
    recent.forget(seen)
    return page.redirect("/", said=said)
