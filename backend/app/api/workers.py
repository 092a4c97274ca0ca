"""Routes of workers: list them; for administrators, drain one, and pause claims."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter, Response

from app.api.resources import (
    LiveWorkerResource,
    PauseList,
    PauseRequest,
    PauseResource,
    WorkerList,
)
from app.api.responses import API, json_response
from app.api.services import EVERYWHERE, Administrator, Observer, ServicesOf, problems
from app.engines.pausing import pause_claims, resume_claims
from app.presentation.workers import pause_document, worker_document
from app.repositories.pause_repository import read_pauses
from app.repositories.worker_repository import count_unserved, live_workers, request_drain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.api.services import Services
    from app.repositories.access_repository import Principal
    from app.repositories.pause_repository import Pause
    from app.repositories.worker_repository import LiveWorker

router = APIRouter(prefix=API, tags=["workers"], responses=problems(*EVERYWHERE, 403))


@router.get("/workers", response_model=WorkerList, summary="Workers that are alive")
def list_workers(caller: Observer, services: ServicesOf) -> Response:
    """Of every host and engine, with the first tasks that each holds.

    A viewer sees their number, and not whose they are.
    """
    workers, unserved, pauses = read_workers(services, caller)
    return json_response(
        WorkerList(
            items=[LiveWorkerResource.model_validate(worker_document(each)) for each in workers],
            waiting_without_worker=unserved,
            paused=[PauseResource.model_validate(pause_document(pause)) for pause in pauses],
        )
    )


@router.post(
    "/workers/{worker_id}/drain",
    status_code=204,
    summary="Let a worker finish and leave",
    responses=problems(404),
)
def drain_worker(worker_id: UUID, _caller: Administrator, services: ServicesOf) -> Response:
    """It claims no more tasks, finishes those that it holds, however long that takes, and exits."""
    with services.database.transaction() as db:
        request_drain(db.connection(), worker_id)
    return Response(status_code=204)


@router.get("/pauses", response_model=PauseList, summary="What is paused")
def list_pauses(_caller: Observer, services: ServicesOf) -> Response:
    """The task types whose claims are paused."""
    return _pauses(services)


@router.post(
    "/pause",
    response_model=PauseList,
    summary="Pause claims",
    responses=problems(400, 408, 413),
)
def pause(body: PauseRequest, caller: Administrator, services: ServicesOf) -> Response:
    """No worker claims tasks of these types; running tasks continue.

    After the response, no claim begins.
    """
    pause_claims(services.database, body.task_types, by=caller.owner)
    return _pauses(services)


@router.post(
    "/resume",
    response_model=PauseList,
    summary="Resume claims",
    responses=problems(400, 408, 413),
)
def resume(body: PauseRequest, caller: Administrator, services: ServicesOf) -> Response:
    """Waiting tasks of these types are claimed again; workers are notified."""
    resume_claims(
        services.database,
        body.task_types,
        by=caller.owner,
        dispatch=services.dispatch,
    )
    return _pauses(services)


def read_workers(
    services: Services, caller: Principal
) -> tuple[Sequence[LiveWorker], int, Sequence[Pause]]:
    """Return the live workers, the number of waiting tasks that none takes, and the pauses.

    The sessions that a worker holds are left out for callers that do not see all owners'.
    """
    with services.database.transaction() as db:
        connection = db.connection()
        workers, pauses = live_workers(connection), read_pauses(connection)
        unserved = count_unserved(connection)
    if caller.sees is not None:
        workers = [
            replace(each, held=(), session_ids=None if each.session_ids is None else ())
            for each in workers
        ]
    return workers, unserved, pauses


def _pauses(services: Services) -> Response:
    with services.database.transaction() as db:
        pauses = read_pauses(db.connection())
    return json_response(
        PauseList(items=[PauseResource.model_validate(pause_document(pause)) for pause in pauses])
    )
