"""The list of sessions, and bulk acts on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Response

from app.api.paging import session_of_token, session_token
from app.api.services import Caller, Services, ServicesOf
from app.core.errors import ErrorCategory
from app.models.session import MAX_RETRY_COUNT
from app.presentation.labels import CATEGORY_LABELS
from app.repositories.session_queries import SessionOrder, SessionQueries
from app.values.states import SessionStage, TaskStatus, TaskType
from app.web.bulk_acts import MOST_AT_ONCE, BulkAct, act_on
from app.web.expectation import times_left
from app.web.filters import AGES, Filters, FiltersOf
from app.web.overview import RecentFiguresOf
from app.web.page import PageOf
from app.web.steps import stepper, steps_of
from app.web.wording import TASK_NAMES

if TYPE_CHECKING:
    from app.repositories.access_repository import Principal

router = APIRouter(include_in_schema=False)

SESSIONS_PER_PAGE = 25
MOST_OWNERS = 200
"""The most owners in an administrator's list of choices; others can be typed."""
MOST_COUNTED = 10_000
"""The most matches that are counted."""

CHOICES = {
    "status": [(status.value, status.value.capitalize()) for status in TaskStatus],
    "stage": [
        (stage.value, _name)
        for stage, _name in (
            (SessionStage.CREATED, "Created"),
            *((SessionStage(kind.value), TASK_NAMES[kind]) for kind in TaskType),
            (SessionStage.COMPLETED, "Completed"),
        )
    ],
    "category": [(category.value, CATEGORY_LABELS[category]) for category in ErrorCategory],
    "sort": [
        (SessionOrder.OLDEST.value, "Oldest first"),
        (SessionOrder.ACTIVE.value, "Latest activity first"),
        (SessionOrder.SILENT.value, "Longest inactive first"),
    ],
    "age": [(age.value, words) for age, (_, words) in AGES.items()],
}


@router.get("/sessions")
def list_sessions(
    page: PageOf,
    caller: Caller,
    services: ServicesOf,
    filters: FiltersOf,
    page_token: str | None = None,
) -> Response:
    """Show one page of the sessions that the caller may see, by default the newest first."""
    before = session_of_token(page_token)
    with services.database.transaction() as db:
        owner = filters.owner_seen(caller)
        queries = SessionQueries(db, owner=owner)
        found = queries.page(
            filters.wanted(), limit=SESSIONS_PER_PAGE + 1, before=before, order=filters.order
        )
        left = times_left(db, owner, found)
        tickets = queries.ticket_counts([session.session_id for session in found])
    items, rest = found[:SESSIONS_PER_PAGE], found[SESSIONS_PER_PAGE:]
    last = items[-1] if rest else None
    token = session_token(filters.order.key_of(last), last.session_id) if last else None
    return page.render(
        "sessions.html",
        sessions=[(session, stepper(steps_of(session))) for session in items],
        times_left=left,
        tickets=tickets,
        count=len(found) if before is None and len(found) <= SESSIONS_PER_PAGE else None,
        filters=filters,
        choices=CHOICES,
        next_page=filters.page_address(token) if token else "",
        is_first_page=before is None,
        attempts=MAX_RETRY_COUNT,
    )


@router.get("/sessions/count")
def count_sessions(
    page: PageOf, caller: Caller, services: ServicesOf, filters: FiltersOf
) -> Response:
    """Show how many match: the list asks for it, as counting takes longer than the list itself."""
    with services.database.transaction() as db:
        queries = SessionQueries(db, owner=filters.owner_seen(caller))
        count = queries.count(filters.wanted(), most=MOST_COUNTED + 1)
    return page.render(
        "session_count.html", count=count, most_counted=MOST_COUNTED, narrows=filters.narrows
    )


@router.get("/sessions/owners")
def list_owners(page: PageOf, caller: Caller, services: ServicesOf) -> Response:
    """Show the owners to choose from: the list asks for them when its field is used."""
    with services.database.transaction() as db:
        owners = SessionQueries(db, owner=caller.sees).owners(limit=MOST_OWNERS)
    return page.render("owners.html", owners=owners if caller.sees is None else [])


@router.post("/sessions/act")
def act_on_sessions(  # noqa: PLR0913, PLR0917 - the fields of the form
    page: PageOf,
    caller: Caller,
    services: ServicesOf,
    filters: FiltersOf,
    recent: RecentFiguresOf,
    act: Annotated[BulkAct, Form()],
    session: Annotated[list[UUID] | None, Form(max_length=SESSIONS_PER_PAGE)] = None,
    every: Annotated[bool, Form(alias="all")] = False,
    most: Annotated[int, Form(ge=1, le=MOST_AT_ONCE)] = MOST_AT_ONCE,
    confirmed: Annotated[bool, Form()] = False,
) -> Response:
    """Act on the selected sessions, or on all that match; first ask, with their number.

    `most` is the number that was confirmed: what has been opened since is left alone.
    """
    if not (session or every):
        return page.redirect(filters.address, refused="Select sessions first: nothing was done.")
    runs = _runs(services, caller, filters, act, None if every else session, most)
    if not runs:
        return page.redirect(filters.address, refused=_NOTHING_TO[act])
    if not confirmed:
        return page.render(
            "confirm_many.html",
            act=act.value,
            count=len(runs),
            is_at_limit=len(runs) == MOST_AT_ONCE,
            selected=session or [],
            filters=filters,
        )
    said = act_on(services.database, caller, act, runs)
    recent.forget(filters.owner_seen(caller))
    return page.redirect(filters.address, said=said)


_NOTHING_TO = {
    BulkAct.RETRY: "None of them can be retried now: nothing was done.",
    BulkAct.CANCEL: "None of them is running: nothing was done.",
    BulkAct.DELETE: "None of them exists any more: nothing was done.",
}


def _runs(  # noqa: PLR0913, PLR0917 - the fields of the form
    services: Services,
    caller: Principal,
    filters: Filters,
    act: BulkAct,
    selected: list[UUID] | None,
    most: int,
) -> list[tuple[UUID, UUID]]:
    """Return the current runs of the sessions to act on."""
    with services.database.transaction() as db:
        queries = SessionQueries(db, owner=filters.owner_seen(caller))
        if act is BulkAct.DELETE:
            ids = queries.matching(filters.wanted(), limit=most, only=selected)
            return [(session_id, session_id) for session_id in ids]
        find = queries.retryable_runs if act is BulkAct.RETRY else queries.running_runs
        return find(filters.wanted(), limit=most, only=selected)
