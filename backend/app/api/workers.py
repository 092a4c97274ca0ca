"""Routes for administrators: which workers are alive, and having one drain."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from fastapi import APIRouter, Response

from app.api.resources import LiveWorkerResource, WorkerList
from app.api.responses import API, json_response
from app.api.services import EVERYWHERE, Administrator, ServicesOf, problems
from app.presentation.workers import worker_document
from app.repositories.worker_repository import count_unserved, live_workers, request_drain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.api.services import Services
    from app.repositories.worker_repository import LiveWorker

router = APIRouter(prefix=API, tags=["workers"], responses=problems(*EVERYWHERE, 403))


@router.get("/workers", response_model=WorkerList, summary="Workers that are alive")
def list_workers(_caller: Administrator, services: ServicesOf) -> Response:
    """Of every host and engine, with the first tasks that each holds."""
    workers, unserved = read_workers(services)
    return json_response(
        WorkerList(
            items=[
                LiveWorkerResource.model_validate(worker_document(worker)) for worker in workers
            ],
            waiting_without_worker=unserved,
        )
    )


@router.post(
    "/workers/{worker_id}/drain",
    status_code=204,
    summary="Let a worker finish and leave",
    responses=problems(404),
)
def drain_worker(worker_id: UUID, _caller: Administrator, services: ServicesOf) -> Response:
    """It claims nothing more, ends what it holds however long that takes, and leaves."""
    with services.database.transaction() as db:
        request_drain(db.connection(), worker_id)
    return Response(status_code=204)


def read_workers(services: Services) -> tuple[Sequence[LiveWorker], int]:
    """The workers that are alive, and how many tasks wait that none of them takes."""
    with services.database.transaction() as db:
        connection = db.connection()
        return live_workers(connection), count_unserved(connection)
