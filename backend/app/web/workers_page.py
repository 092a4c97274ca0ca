"""The page of workers, for administrators: which are alive, what they hold, and draining one."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from app.api import workers
from app.api.services import Administrator, ServicesOf
from app.core.errors import WorkerNotFound
from app.core.wording import short_id
from app.web.page import PageOf
from app.web.wording import WORKER_SIGNS

router = APIRouter(include_in_schema=False)

PATH = "/workers"


@router.get(PATH)
def workers_page(_caller: Administrator, services: ServicesOf, page: PageOf) -> Response:
    """All workers that are alive, by host and age."""
    found, unserved = workers.read_workers(services)
    return page.render("workers.html", workers=found, unserved=unserved, signs=WORKER_SIGNS)


@router.post("/workers/{worker_id}/drain")
def drain_worker(
    worker_id: UUID, caller: Administrator, services: ServicesOf, page: PageOf
) -> Response:
    """Have the worker finish and leave."""
    try:
        workers.drain_worker(worker_id, caller, services)
    except WorkerNotFound as error:
        return page.redirect(PATH, refused=f"{error.message}.")
    return page.redirect(
        PATH, said=f"Worker {short_id(worker_id)} drains: it leaves once its tasks have ended."
    )
