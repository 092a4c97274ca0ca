"""Routes of a session's task: start, read, retry, cancel."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from app.api.chosen_options import RetryTask
from app.api.problems import PreconditionFailed
from app.api.resources import StartTask, TaskResource
from app.api.responses import (
    API,
    attach_state,
    idempotent,
    is_conflict,
    json_response,
    reporting_state,
    stored_response,
)
from app.api.serializers import etag_of, is_known, run_named_by, task_resource
from app.api.services import (
    EVERYWHERE,
    Administrator,
    Caller,
    IdempotencyKey,
    IfMatch,
    IfNoneMatch,
    Services,
    ServicesOf,
    audit_act,
    known_of,
    log_act,
    problems,
)
from app.api.sessions import etag_headers
from app.core.errors import TaskError
from app.engines.reading_apart import problems_apart
from app.repositories.idempotency_repository import StoredResponse
from app.repositories.session_queries import SessionQueries
from app.repositories.session_repository import SessionRepository
from app.repositories.session_snapshot import SessionSnapshot
from app.repositories.transition_errors import no_task_yet, session_not_found
from app.tasks.retrying import Changes, check_retry, retry_changed

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.orm import Session as DbSession

    from app.repositories.access_repository import Principal
    from app.values.states import TaskType

router = APIRouter(prefix=API, tags=["tasks"], responses=problems(*EVERYWHERE))


@router.get(
    "/sessions/{session_id}/task",
    response_model=TaskResource,
    summary="What the session is doing now",
    responses={304: {"description": "Nothing has changed"}, **problems(404)},
)
async def get_task(
    session_id: UUID, caller: Caller, services: ServicesOf, if_none_match: IfNoneMatch = None
) -> Response:
    """For polling: requests that arrive together share one query."""
    return await status_answer(services, caller, session_id, if_none_match)


async def status_answer(
    services: Services, caller: Principal, session_id: UUID, if_none_match: str | None
) -> Response:
    """Return the task's current state, or that it is unchanged for the caller.

    Raises:
        SessionNotFound: the caller has no such session.
        DatabaseUnavailable: the database does not respond.

    """
    snapshot = await _read(services, caller, session_id)
    body, etag = etag_of(task_resource(snapshot), snapshot.task_id)
    if is_known(if_none_match, etag):
        return Response(status_code=304, headers=etag_headers(etag))
    return Response(body, media_type="application/json", headers=etag_headers(etag))


@router.post(
    "/sessions/{session_id}/task",
    status_code=202,
    response_model=TaskResource,
    summary="Start a task",
    responses=problems(400, 404, 408, 409, 413),
)
async def start_task(
    session_id: UUID,
    request: Request,
    body: StartTask | None = None,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Start the named task, or the next one; `Location` and `Retry-After` are for polling."""
    services, caller = known_of(request)
    wanted = body.task_type if body is not None else None
    if idempotency_key is None:
        return stored_response(await start(services, caller, session_id, wanted))
    return await run_in_threadpool(
        _start_once, services, caller, session_id, wanted, idempotency_key
    )


async def start(
    services: Services, caller: Principal, session_id: UUID, wanted: TaskType | None = None
) -> StoredResponse:
    """Start the task in one statement with others that start at the same time."""
    before = await _read(services, caller, session_id)
    try:
        await services.transitions.start_task(session_id, _task_type(before, wanted))
    except TaskError as error:
        if is_conflict(error):
            attach_state(error, await services.snapshots.read(session_id, caller.sees))
        raise
    log_act(caller, "Task started", before)
    return _started(task_resource(await _read(services, caller, session_id)))


def _start_once(
    services: Services,
    caller: Principal,
    session_id: UUID,
    wanted: TaskType | None,
    idempotency_key: str,
) -> Response:
    """Start the task in the transaction that stores the response under its Idempotency-Key."""
    marked = hashlib.sha256(f"start {session_id} {wanted}".encode()).digest()
    with (
        reporting_state(services, caller, session_id),
        services.database.transaction(waits_briefly=True) as db,
        idempotent(db, caller, idempotency_key, marked) as request,
    ):
        if request.response is None:
            before = _seen(db, caller, session_id)
            sessions = SessionRepository(db, owner=caller.sees)
            sessions.start_task(session_id, _task_type(before, wanted))
            audit_act(db, caller, "Task started", before)
            request.keep(_started(task_resource(_seen(db, caller, session_id))))
        answer = request.response
    return stored_response(answer)


def _task_type(session: SessionSnapshot, wanted: TaskType | None) -> TaskType:
    """Return the requested task, else the next, else the last, which is then refused."""
    task_type = wanted or session.next_task_type or session.task_type
    if task_type is None:
        raise session_not_found(session.session_id)
    return task_type


def _started(task: TaskResource) -> StoredResponse:
    location = f"{API}/sessions/{task.session_id}/task"
    return StoredResponse(task.session_id, 202, location, task.model_dump_json())


@router.post(
    "/sessions/{session_id}/task/retry",
    status_code=202,
    response_model=TaskResource,
    summary="Run the failed or cancelled task again",
    responses=problems(400, 404, 408, 409, 412, 413),
)
async def retry_task(
    session_id: UUID,
    caller: Caller,
    services: ServicesOf,
    body: RetryTask | None = None,
    if_match: IfMatch = None,
) -> Response:
    """It runs again under a new task id, with the changes in the body, if any.

    Options and documents are checked as those of a new session are. With If-Match only while that
    run is the last one.
    """
    changes = Changes(body.given(), without=body.without) if body is not None else Changes()
    async with services.uploads.turn(caller.key_id):
        return await run_in_threadpool(_retry, services, caller, session_id, changes, if_match)


def _retry(
    services: Services,
    caller: Principal,
    session_id: UUID,
    changes: Changes,
    if_match: str | None,
) -> Response:
    with reporting_state(services, caller, session_id):
        with services.database.transaction() as db:
            session = _seen(db, caller, session_id)
        _expected_run(if_match, session)
        if session.can_be_restarted:
            settings = services.settings
            check_retry(services.database, session, changes, settings, read=problems_apart)

    def retry(db: DbSession, before: SessionSnapshot, expected: UUID | None) -> None:
        retry_changed(
            db,
            before,
            changes,
            owner=caller.sees,
            expected_task_id=expected or session.task_id,
        )

    after = _acted(services, caller, session_id, if_match, retry, "Task retried")
    return stored_response(_started(after))


@router.post(
    "/sessions/{session_id}/task/cancel",
    response_model=TaskResource,
    summary="Cancel the running task",
    responses=problems(404, 409, 412),
)
def cancel_task(
    session_id: UUID, caller: Caller, services: ServicesOf, if_match: IfMatch = None
) -> Response:
    """It is cancelled when this returns; its worker learns of it by the next heartbeat."""

    def cancel(db: DbSession, _before: SessionSnapshot, expected: UUID | None) -> None:
        SessionRepository(db, owner=caller.sees).cancel_task(session_id, expected_task_id=expected)

    return json_response(_acted(services, caller, session_id, if_match, cancel, "Task cancelled"))


@router.post(
    "/sessions/{session_id}/task/reset",
    status_code=204,
    summary="Reset a failed task's attempts (admin)",
    responses=problems(403, 404, 409),
)
def reset_task(session_id: UUID, caller: Administrator, services: ServicesOf) -> Response:
    """An operator's act, on any owner's session; it is logged at AUDIT."""
    with services.database.transaction(waits_briefly=True) as db:
        SessionRepository(db).reset_retries(session_id)
        audit_act(db, caller, "Attempts reset", _seen(db, caller, session_id))
    return Response(status_code=204)


def _acted(  # noqa: PLR0913, PLR0917 - what a route is given, and the act
    services: Services,
    caller: Principal,
    session_id: UUID,
    if_match: str | None,
    act: Callable[[DbSession, SessionSnapshot, UUID | None], None],
    name: str,
) -> TaskResource:
    """Act, if the run in If-Match is still the last, and return the task."""
    with (
        reporting_state(services, caller, session_id),
        services.database.transaction(waits_briefly=True) as db,
    ):
        before = _seen(db, caller, session_id)
        if before.task_id is None:
            raise no_task_yet(session_id)
        expected = _expected_run(if_match, before)
        try:
            act(db, before, expected)
        except TaskError as error:
            if expected is not None and _seen(db, caller, session_id).task_id != expected:
                raise _moved_on(session_id) from error
            raise
        audit_act(db, caller, name, before)
        return task_resource(_seen(db, caller, session_id))


def _expected_run(if_match: str | None, now: SessionSnapshot) -> UUID | None:
    """Return the run in If-Match, if it is the last one; progress does not make it stale."""
    if if_match is None or if_match.strip() == "*":
        return None
    for candidate in if_match.split(","):
        try:
            run = run_named_by(candidate)
        except ValueError:
            continue
        if run == now.task_id:
            return run
    raise _moved_on(now.session_id)


async def _read(services: Services, caller: Principal, session_id: UUID) -> SessionSnapshot:
    snapshot = await services.snapshots.read(session_id, caller.sees)
    if snapshot is None:
        raise session_not_found(session_id)
    return snapshot


def _seen(db: DbSession, caller: Principal, session_id: UUID) -> SessionSnapshot:
    return SessionQueries(db, owner=caller.sees).get(session_id)


def _moved_on(session_id: UUID) -> PreconditionFailed:
    return PreconditionFailed(
        "Another run has begun since this ETag was given",
        next_step="Look at the task again, and decide again.",
        session_id=session_id,
    )
