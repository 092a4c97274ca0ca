"""Routes for operators (`/healthz`, `/readyz`, `/metrics`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from sqlalchemy.exc import SQLAlchemyError

from app.api.resources import Check, Health, Readiness
from app.api.responses import json_response
from app.api.services import Services, ServicesOf
from app.core.config import EngineName
from app.core.errors import BrokerUnavailable, TaskError
from app.core.schema_version import require_current_schema
from app.engines.metrics_server import live_counts
from app.models.rights import require_rights
from app.presentation.workers import paused_text
from app.repositories.live_counts import LiveCounts, count_live, longest_overdue_seconds
from app.repositories.pause_repository import read_pauses
from app.repositories.worker_repository import live_workers, types_without_worker
from app.values.states import TaskType

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.engines.broker import BrokerProbe

router = APIRouter(tags=["operations"])


@router.get("/healthz", response_model=Health, summary="Does the process answer?")
async def healthz() -> Response:
    """It checks nothing else: a restart would not help with an unavailable database."""
    return json_response(Health(status="ok"))


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Can work be taken?",
    responses={503: {"description": "Not now", "model": Readiness}},
)
def readyz(services: ServicesOf) -> Response:
    """Whether the database, its migrations, sweeps and workers allow work to be done."""
    checks = [
        _check("database", lambda: _live(services)),
        _check("migrations", lambda: _schema(services)),
        _check("sweep", lambda: _sweep(services)),
        _check("workers", lambda: _workers(services)),
        _check("claims", lambda: _paused(services)),
    ]
    if (broker := services.broker) is not None:
        checks.append(_check("broker", lambda: _broker(services, broker)))
    ready = all(check.ok for check in checks)
    answer = json_response(Readiness(ready=ready, checks=checks))
    answer.status_code = 200 if ready else 503
    return answer


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response)
def metrics(services: ServicesOf) -> Response:
    """Counters of this process, and gauges over all; no label is an id."""
    services.metrics.set_streams(len(services.broadcaster))
    return Response(
        services.metrics.text(live_counts(services.database)),
        media_type="text/plain; version=0.0.4; charset=utf-8",
    )


def _check(name: str, look: Callable[[], object]) -> Check:
    """Run the check; return a detail of a check that passes."""
    try:
        found = look()
    except (TaskError, SQLAlchemyError) as error:
        detail = error.message if isinstance(error, TaskError) else type(error).__name__
        return Check(name=name, ok=False, detail=detail)
    return Check(name=name, ok=True, detail=found if isinstance(found, str) else "")


def _live(services: Services) -> LiveCounts:
    services.database.check_server()
    services.database.check_disk()
    require_rights(services.database)
    with services.database.autocommit_connection() as connection:
        return count_live(connection)


def _schema(services: Services) -> None:
    if not services.is_schema_current:  # checked only until it is: it does not become outdated
        with services.database.translated_errors():
            require_current_schema(services.database.engine)
        services.is_schema_current = True


def _workers(services: Services) -> None:
    """Raise if no worker takes a task type: no session can be finished."""
    with services.database.autocommit_connection() as connection:
        missing = types_without_worker(live_workers(connection))
    if len(missing) == len(TaskType):
        raise TaskError("No worker is alive that takes tasks of any session")
    if missing:
        names = ", ".join(task_type.value for task_type in missing)
        raise TaskError(f"No worker that is alive takes tasks of these types: {names}")


def _broker(services: Services, broker: BrokerProbe) -> str:
    """Raise if the broker accepts no messages and all workers are Celery's."""
    try:
        broker.count_messages()
    except BrokerUnavailable as error:  # its message has the broker's address
        with services.database.autocommit_connection() as connection:
            workers = live_workers(connection)
        without = [worker for worker in workers if worker.engine != EngineName.CELERY]
        said = "Celery's broker cannot be reached"
        if types_without_worker(without):
            raise TaskError(said) from error
        return f"{said}; embedded workers take every type of task"
    return ""


def _paused(services: Services) -> str:
    """Return the pauses: an operator's decision, so work is accepted, and waits."""
    with services.database.autocommit_connection() as connection:
        return paused_text(read_pauses(connection))


def _sweep(services: Services) -> None:
    """Raise if a lease ended long ago and was not rescued: no sweeper runs anywhere."""
    patience = 3 * services.settings.sweep_seconds + 5
    with services.database.autocommit_connection() as connection:
        overdue = longest_overdue_seconds(connection)
    if overdue > patience:
        raise TaskError(f"A lease ended {overdue:.0f} s ago and nobody has swept it up")
