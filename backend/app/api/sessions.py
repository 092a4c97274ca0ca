"""Routes of sessions: open, list, read, delete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Form, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.paging import session_of_token, session_token
from app.api.resources import (
    ContentCountsResource,
    SafeText,
    SessionDetail,
    SessionPage,
    SessionResource,
)
from app.api.responses import API, idempotent, json_response, stored_response
from app.api.serializers import etag_of, is_known, session_fields, session_resource
from app.api.services import (
    EVERYWHERE,
    Caller,
    IdempotencyKey,
    IfNoneMatch,
    OwnerParameter,
    Services,
    ServicesOf,
    audit_act,
    known_of,
    owner_wanted,
    problems,
)
from app.api.uploads import (
    MOST_BYTES_READ_HERE,
    SMALL_BYTES,
    NewSession,
    UsableDocuments,
    fingerprint,
    usable_documents,
)
from app.engines.reading_apart import problems_apart
from app.presentation.notes import note_texts
from app.repositories.access_repository import Principal
from app.repositories.content_repository import ContentRepository
from app.repositories.creation import SessionDraft
from app.repositories.idempotency_repository import StoredResponse
from app.repositories.session_queries import SessionFilter, SessionQueries
from app.repositories.session_repository import SessionRepository
from app.repositories.session_snapshot import SessionSnapshot
from app.repositories.transition_errors import session_not_found
from app.tasks.intake_check import check_intake
from app.values.states import SessionStage, TaskStatus, TaskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.core.config import Settings
    from app.core.errors import TaskError

router = APIRouter(prefix=API, tags=["sessions"], responses=problems(*EVERYWHERE))

PageSize = Annotated[int, Query(ge=1, le=200, description="how many at most")]
PageToken = Annotated[
    SafeText | None, Query(max_length=200, description="`next_page_token` of the page before")
]


@router.post(
    "/sessions",
    status_code=201,
    response_model=SessionResource,
    summary="Open a session with its documents, and start it if wanted",
    responses=problems(400, 408, 409, 413),
)
async def create_session(
    form: Annotated[NewSession, Form(media_type="multipart/form-data")],
    request: Request,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Store the documents byte for byte, and return the session; `Location` names it.

    With `start`, its first task is started in the same transaction.
    """
    services, caller = known_of(request)
    usable, refused = usable_documents(form, services.settings)
    if idempotency_key is None and usable.are_text_within(SMALL_BYTES):
        async with services.small_uploads.turn(caller.key_id):
            options = _checked_options(form, usable, refused, services.settings)
            return await _store_together(form, usable, options, caller, services)
    async with services.uploads.turn(caller.key_id):
        return await run_in_threadpool(store_session, form, caller, services, idempotency_key)


async def _store_together(
    form: NewSession,
    usable: UsableDocuments,
    options: dict[str, Any],
    caller: Principal,
    services: Services,
) -> Response:
    """Store a small session in one transaction with others that arrive at the same time."""
    draft = SessionDraft(
        caller.owner,
        form.label,
        options,
        form.auto_advance,
        list(usable.read()),
        starts=form.start,
    )
    await services.transitions.create_session(draft)
    snapshot = await services.snapshots.read(draft.session_id, caller.owner)
    if snapshot is None:  # deleted again
        raise session_not_found(draft.session_id)
    return stored_response(_created(snapshot))


def store_session(
    form: NewSession, caller: Principal, services: Services, idempotency_key: str | None
) -> Response:
    """Store a session and start it if requested; called while a turn is held."""
    usable, refused = usable_documents(form, services.settings)
    options = _checked_options(form, usable, refused, services.settings)
    marked = fingerprint(form, usable.names) if idempotency_key is not None else b""
    with (
        services.database.transaction() as db,
        idempotent(db, caller, idempotency_key, marked) as request,
    ):
        if request.response is None:
            sessions = SessionRepository(db, owner=caller.owner)
            session = sessions.create_session(
                usable.read(),
                label=form.label,
                options=options,
                auto_advance=form.auto_advance,
            )
            if form.start:
                sessions.start_task(session.id, TaskType.PROCESSING)
            snapshot = SessionQueries(db, owner=caller.owner).get(session.id)
            request.keep(_created(snapshot))
        answer = request.response
    return stored_response(answer)


def _checked_options(
    form: NewSession, usable: UsableDocuments, refused: Sequence[TaskError], settings: Settings
) -> dict[str, Any]:
    """Return the options to store, after the check of options and documents.

    Raises:
        ConfigurationError, DocumentError, IntakeRefused: what is wrong with form and documents.

    """
    options = check_intake(
        usable.read(),
        usable.names,
        form.options(),
        settings,
        known=refused,
        read=None if usable.are_text_within(MOST_BYTES_READ_HERE) else problems_apart,
    )
    return options.to_json()


def _created(snapshot: SessionSnapshot) -> StoredResponse:
    session_id = snapshot.session_id
    body = session_resource(snapshot).model_dump_json()
    return StoredResponse(session_id, 201, f"{API}/sessions/{session_id}", body)


@router.get(
    "/sessions",
    summary="Your sessions, the newest first; an admin's: all owners'",
    response_model=SessionPage,
    responses=problems(403),
)
def list_sessions(  # noqa: PLR0913, PLR0917 - one filter each
    caller: Caller,
    services: ServicesOf,
    stage: SessionStage | None = None,
    status: TaskStatus | None = None,
    task_type: TaskType | None = None,
    created_after: datetime | None = None,
    created_before: datetime | None = None,
    owner: OwnerParameter = None,
    q: Annotated[
        SafeText | None,
        Query(max_length=200, description="stands in the label, or the id begins with it"),
    ] = None,
    limit: PageSize = 50,
    page_token: PageToken = None,
) -> Response:
    """Filters may be combined; `next_page_token` is unaffected by new sessions."""
    before = session_of_token(page_token)
    wanted = SessionFilter(stage, status, task_type, aware(created_after), aware(created_before), q)
    with services.database.transaction() as db:
        queries = SessionQueries(db, owner=owner_wanted(caller, owner))
        found = queries.page(wanted, limit=limit + 1, before=before)
    items, rest = found[:limit], found[limit:]
    token = session_token(items[-1].created_at, items[-1].session_id) if rest else None
    return json_response(
        SessionPage(items=[session_resource(item) for item in items], next_page_token=token)
    )


@router.get(
    "/sessions/{session_id}",
    response_model=SessionDetail,
    summary="A session, its task, and what hangs on it",
    responses={304: {"description": "Nothing has changed"}, **problems(404)},
)
def get_session(
    session_id: UUID, caller: Caller, services: ServicesOf, if_none_match: IfNoneMatch = None
) -> Response:
    """The whole session; to watch it, its task or its events are cheaper."""
    detail = _detail(services, caller, session_id)
    body, etag = etag_of(detail, detail.task.task_id)
    if is_known(if_none_match, etag):
        return Response(status_code=304, headers=etag_headers(etag))
    return Response(body, media_type="application/json", headers=etag_headers(etag))


@router.delete(
    "/sessions/{session_id}",
    status_code=204,
    summary="Delete a session with all that hangs on it",
    responses=problems(404),
)
def delete_session(session_id: UUID, caller: Caller, services: ServicesOf) -> Response:
    """A running task loses its claim: none of its results will be written."""
    with services.database.transaction(waits_briefly=True) as db:
        session = SessionQueries(db, owner=caller.sees).get(session_id)
        SessionRepository(db, owner=caller.sees).delete_session(session_id)
        audit_act(db, caller, "Session deleted", session)
    return Response(status_code=204)


def etag_headers(etag: str) -> dict[str, str]:
    """Return the headers of a response that clients may revalidate."""
    return {"ETag": etag, "Cache-Control": "private, no-cache"}


def aware(moment: datetime | None) -> datetime | None:
    """The moment, as UTC where it names no zone."""
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _detail(services: Services, caller: Principal, session_id: UUID) -> SessionDetail:
    with services.database.transaction() as db:
        snapshot = SessionQueries(db, owner=caller.sees).get(session_id)
        content = ContentRepository(db)
        counts = content.counts(session_id)
        return SessionDetail(
            **session_fields(snapshot),
            documents=content.document_names(session_id),
            notes=note_texts(content.notes(session_id)),
            counts=ContentCountsResource(
                documents=counts.documents,
                tickets=counts.tickets,
                exports=counts.exports,
                findings=counts.findings,
            ),
        )
