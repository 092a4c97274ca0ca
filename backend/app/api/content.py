"""Routes of the results of tasks: tickets, findings, and the Jira import."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from app.api.paging import position_of_token, position_token
from app.api.problems import NotReady
from app.api.resources import ExportResource, FindingList, FindingResource, TicketPage
from app.api.responses import API, json_response, reporting_state
from app.api.services import EVERYWHERE, Caller, ServicesOf, problems
from app.api.sessions import PageSize, PageToken
from app.core.wording import short_id
from app.presentation.import_files import SessionImport
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.api.services import Services
    from app.repositories.access_repository import Principal
    from app.values.results import JiraIssue, TicketDraft

router = APIRouter(prefix=API, tags=["results"], responses=problems(*EVERYWHERE))

BODIES_PER_READ = 10
MOST_FINDINGS = 1_000


@router.get(
    "/sessions/{session_id}/tickets",
    response_model=TicketPage,
    summary="The tickets that processing made",
    responses=problems(404),
)
def list_tickets(
    session_id: UUID,
    caller: Caller,
    services: ServicesOf,
    limit: PageSize = 50,
    page_token: PageToken = None,
) -> Response:
    """Descriptions are ADF, as they were stored."""
    after = position_of_token(page_token)
    with services.database.transaction() as db:
        SessionRepository(db, owner=caller.sees).get(session_id)
        content = ContentRepository(db)
        found = list(content.tickets(session_id, after=after, limit=limit + 1))
        created = content.issues(session_id, after=after, limit=limit)
        issues = {each.ticket: each for each in created}
    items = ",".join(
        _ticket(number, ticket, issues.get(number))
        for number, ticket in enumerate(found[:limit], after + 1)
    )
    token = position_token(after + limit) if len(found) > limit else None
    return Response(
        f'{{"items":[{items}],"next_page_token":{json.dumps(token)}}}',
        media_type="application/json",
    )


@router.get(
    "/sessions/{session_id}/findings",
    response_model=FindingList,
    summary="Why Jira would refuse tickets, by the last validation",
    responses=problems(404),
)
def list_findings(session_id: UUID, caller: Caller, services: ServicesOf) -> Response:
    """In order of the tickets."""
    with services.database.transaction() as db:
        SessionRepository(db, owner=caller.sees).get(session_id)
        content = ContentRepository(db)
        found = content.findings(session_id, limit=MOST_FINDINGS)
        total = content.counts(session_id).findings
    items = [
        FindingResource(
            ticket=finding.ticket,
            title=finding.title,
            source_name=finding.source_name,
            source_row=finding.source_row,
            path=finding.path,
            rule=finding.rule,
            reason=finding.reason,
        )
        for finding in found
    ]
    return json_response(FindingList(items=items, total=total))


@router.get(
    "/sessions/{session_id}/export",
    response_model=ExportResource,
    summary="The whole Jira import",
    responses=problems(404, 409),
)
def get_export(session_id: UUID, caller: Caller, services: ServicesOf) -> Response:
    """Streamed, at any size; 409 until the task export has completed."""
    first = _bodies(services, caller, session_id, after=0, limit=BODIES_PER_READ)
    return StreamingResponse(
        _export(services, caller, session_id, first),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="jira-import-{session_id}.json"'},
    )


@router.get(
    "/sessions/{session_id}/export.zip",
    response_class=StreamingResponse,
    summary="The whole Jira import as files, with a report and a script that sends them",
    responses={
        200: {
            "description": "The archive",
            "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
        },
        **problems(404, 409),
    },
)
def get_export_archive(session_id: UUID, caller: Caller, services: ServicesOf) -> Response:
    """A streamed ZIP archive of the files that the command writes; README.txt has the next step."""
    _bodies(services, caller, session_id, after=0, limit=1)
    made = SessionImport(
        services.database, session_id, owner=caller.sees, site=services.settings.jira_url
    )
    name = f"jira-import-{short_id(session_id)}.zip"
    return StreamingResponse(
        made.zipped(),
        media_type="application/zip",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )


@router.get(
    "/sessions/{session_id}/export/{number}",
    response_model=dict[str, object],
    summary="One body of the import, ready to be sent to Jira",
    responses=problems(404, 409),
)
def get_export_body(
    session_id: UUID,
    number: Annotated[int, Path(ge=1, le=1_000_000, description="the first is 1")],
    caller: Caller,
    services: ServicesOf,
) -> Response:
    """One body of `POST /rest/api/3/issue/bulk`: at most 50 issues."""
    found = _bodies(services, caller, session_id, after=number - 1, limit=1)
    return Response(found[0], media_type="application/json")


def _bodies(
    services: Services, caller: Principal, session_id: UUID, *, after: int, limit: int
) -> list[str]:
    with reporting_state(services, caller, session_id), services.database.transaction() as db:
        SessionRepository(db, owner=caller.sees).get(session_id)
        exports = ContentRepository(db).exports(session_id, after=after, limit=limit)
        found = [export.body for export in exports]
        if not found:
            raise NotReady(
                "There is no such part of an export (yet)",
                next_step="It is there once the task export has completed.",
                session_id=session_id,
            )
    return found


def _export(
    services: Services, caller: Principal, session_id: UUID, first: list[str]
) -> Iterator[str]:
    """Page by page: no transaction is open while a slow client reads."""
    yield f'{{"session_id":"{session_id}","bodies":[' + ",".join(first)
    after, bodies = len(first), first
    while len(bodies) == BODIES_PER_READ:
        with services.database.transaction() as db:
            SessionRepository(db, owner=caller.sees).get(session_id)
            exports = ContentRepository(db).exports(session_id, after=after, limit=BODIES_PER_READ)
            bodies = [export.body for export in exports]
        for body in bodies:
            yield "," + body
        after += len(bodies)
    yield "]}"


def _ticket(number: int, ticket: TicketDraft, issue: JiraIssue | None) -> str:
    created = None if issue is None else {"key": issue.key, "url": issue.url}
    return (
        f'{{"number":{number},"title":{json.dumps(ticket.title)},'
        f'"description":{ticket.description},"source_name":{json.dumps(ticket.source_name)},'
        f'"source_row":{ticket.source_row},"fields":{ticket.fields},'
        f'"parent":{json.dumps(ticket.parent)},"issue":{json.dumps(created)}}}'
    )
