"""The app, whole: `create_app(database, settings)`."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.middleware.cors import CORSMiddleware

from app.api import content, events, keys, operations, previews, sessions, tasks, workers
from app.api.api_key_cache import ApiKeyCache
from app.api.event_broadcaster import EventBroadcaster
from app.api.failed_attempts import FailedAttempts
from app.api.fair_queue import FairQueue
from app.api.http_metrics import HttpMetrics
from app.api.polling import StatusReads
from app.api.problems import Problem, add_problem_handlers
from app.api.request_guard import RequestGuard
from app.api.responses import API
from app.api.services import Services
from app.api.snapshot_loader import SnapshotLoader
from app.core.config import EngineName
from app.engines.broker import BrokerProbe
from app.repositories.batcher import AsyncTransitionBatcher
from app.values.options import MOST_RULES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from app.core.config import Settings
    from app.core.database import Database
    from app.engines.sweeper import Dispatch

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
MOST_FORM_FIELDS = MOST_RULES + 50
"""A form has a field for each rule about a column."""

LARGEST_FORM_FIELD = 64 * 1024

SMALL_UPLOADS_AT_ONCE = 64
"""They are stored in batches, so many of one key while it is alone."""

SMALL_UPLOADS_OF_EACH = 1
"""While several keys upload: another key's upload waits for one of each in the batch before it."""

REQUESTS_RECEIVED_AT_ONCE = 2
"""Of the largest size; smaller ones as many as come to as much, one key's to half of it."""


def create_app(
    database: Database,
    settings: Settings,
    *,
    hosts: Sequence[str] = LOOPBACK_NAMES,
    dispatch: Dispatch | None = None,
) -> FastAPI:
    """The ASGI app over an open database, which stays the caller's to close.

    Args:
        database: open, at the current migration.
        settings: limits and intervals.
        hosts: Host headers that are accepted; none: any.
        dispatch: of a `dispatcher` that is open, where Celery runs the work.

    """
    services = Services(
        database=database,
        settings=settings,
        api_keys=ApiKeyCache(database),
        metrics=HttpMetrics(),
        snapshots=SnapshotLoader(database),
        transitions=AsyncTransitionBatcher(database, waits_briefly=True),
        broadcaster=EventBroadcaster(database, settings),
        receiving=FairQueue(
            REQUESTS_RECEIVED_AT_ONCE * settings.max_request_bytes, settings.max_request_bytes
        ),
        uploads=FairQueue(settings.max_uploads_at_once),
        small_uploads=FairQueue(SMALL_UPLOADS_AT_ONCE, crowded_share=SMALL_UPLOADS_OF_EACH),
        previews=FairQueue(settings.max_uploads_at_once),
        failed_attempts=FailedAttempts(settings.refusals_per_minute),
        dispatch=dispatch,
        broker=BrokerProbe(settings) if settings.engine is EngineName.CELERY else None,
    )

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as at_end:
            at_end.callback(services.metrics.observe())
            at_end.push_async_callback(services.snapshots.stop)
            at_end.callback(services.transitions.close)
            background = await at_end.enter_async_context(anyio.create_task_group())
            background.start_soon(services.broadcaster.run)
            yield
            services.broadcaster.end_streams()
            background.cancel_scope.cancel()

    app = FastAPI(
        title="Session Tasks",
        version=version("session-tasks"),
        description="Documents in, a validated Jira import out; and one row per session that "
        "always says where the work is.",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        form_limits={
            "max_fields": MOST_FORM_FIELDS,
            "max_files": settings.max_documents,
            "max_part_size": LARGEST_FORM_FIELD,
        },
        telemetry={
            "tracing": settings.telemetry,
            "metrics": settings.telemetry,
            "logs": settings.telemetry,
        },
    )
    app.state.services = services
    for module in (
        tasks,
        sessions,
        content,
        events,
        previews,
        keys,
        workers,
        operations,
    ):  # the hottest first
        app.router.routes.extend(module.router.routes)  # an included router matches them twice
    add_problem_handlers(app)
    app.add_middleware(StatusReads, services=services)
    app.add_middleware(
        RequestGuard,
        services=services,
        hosts=tuple(hosts),
    )
    origins = [origin.strip() for origin in settings.cors_origins.split(",") if origin.strip()]
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "Idempotency-Key",
                "If-Match",
                "If-None-Match",
            ],
            expose_headers=["ETag", "Location", "Retry-After", "Trace-Id"],
        )
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]  # FastAPI's own way
    return app


_API_KEY = {
    "type": "http",
    "description": "An API key, `st_<id>.<secret>`: make one with `session-tasks keys create`.",
    "scheme": "bearer",
    "bearerFormat": "st_<id>.<secret>",
}


def openapi_document(app: FastAPI) -> dict[str, Any]:
    """The app's OpenAPI document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title=app.title,
            version=app.version,
            description=app.description,
            routes=app.routes,
        )
        document["components"]["securitySchemes"] = {"api_key": _API_KEY}
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path.startswith(API):  # `RequestGuard` asks for a key there
                    operation["security"] = [{"api_key": []}]
        schemas = document["components"]["schemas"]
        problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(problem.pop("$defs", {}))
        schemas["Problem"] = problem
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        app.openapi_schema = document
    return app.openapi_schema
