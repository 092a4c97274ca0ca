"""The page of live workers; administrators can drain one, and pause claims."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Response

from app.api import workers
from app.api.resources import PauseRequest
from app.api.services import Administrator, Observer, ServicesOf
from app.core.errors import WorkerNotFound
from app.core.wording import short_id
from app.values.states import TaskType
from app.web.page import PageOf
from app.web.wording import TASK_NAMES, WORKER_BADGES

router = APIRouter(include_in_schema=False)

PATH = "/workers"
TaskTypes = Annotated[list[TaskType], Form(min_length=1, max_length=3)]


@router.get(PATH)
def workers_page(caller: Observer, services: ServicesOf, page: PageOf) -> Response:
    """Show all live workers, by host and age."""
    found, unserved, pauses = workers.read_workers(services, caller)
    return page.render(
        "workers.html",
        workers=found,
        unserved=unserved,
        pauses=pauses,
        paused_types={pause.task_type for pause in pauses},
        task_types=tuple(TaskType),
        badges=WORKER_BADGES,
    )


@router.post("/workers/pause")
def pause(
    caller: Administrator, services: ServicesOf, page: PageOf, task_type: TaskTypes
) -> Response:
    """Pause claims of these types."""
    workers.pause(PauseRequest(task_types=task_type), caller, services)
    return page.redirect(PATH, said=f"Paused: {_names(task_type)}. Running tasks continue.")


@router.post("/workers/resume")
def resume(
    caller: Administrator, services: ServicesOf, page: PageOf, task_type: TaskTypes
) -> Response:
    """Resume claims of these types."""
    workers.resume(PauseRequest(task_types=task_type), caller, services)
    return page.redirect(PATH, said=f"Resumed: {_names(task_type)}.")


@router.post("/workers/{worker_id}/drain")
def drain_worker(
    worker_id: UUID, caller: Administrator, services: ServicesOf, page: PageOf
) -> Response:
    """Have the worker finish its tasks and exit."""
    try:
        workers.drain_worker(worker_id, caller, services)
    except WorkerNotFound as error:
        return page.redirect(PATH, refused=f"{error.message}.")
    return page.redirect(
        PATH, said=f"Worker {short_id(worker_id)} drains: it exits once its tasks have ended."
    )


def _names(task_types: list[TaskType]) -> str:
    return ", ".join(TASK_NAMES[task_type] for task_type in task_types)
