"""The short way to the one answer that is polled: `GET /api/v1/sessions/{id}/task`.

Finding the route, its exit stacks and its parameters takes FastAPI longer than the read itself
takes. A request in the usual form is served here, by the function that the route calls;
anything unusual goes the long way, where it is validated and, if need be, refused in full.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.datastructures import Headers

from app.api import tasks
from app.api.problems import problem_response
from app.api.responses import API
from app.api.services import LONGEST_IF_NONE_MATCH
from app.core.errors import TaskError

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from app.api.services import Services

_PATH = re.compile(
    rf"{API}/sessions/([0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}})/task",
    re.ASCII,
)
_ROUTE = next(
    route for route in tasks.router.routes if getattr(route, "endpoint", None) is tasks.get_task
)


class StatusReads:
    """The ASGI middleware behind the request guard: its requests are authenticated."""

    def __init__(self, app: ASGIApp, *, services: Services) -> None:
        self.app = app
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a status read; pass on everything else."""
        is_get = scope["type"] == "http" and scope["method"] == "GET"
        found = _PATH.fullmatch(scope["path"]) if is_get else None
        if found is None:
            await self.app(scope, receive, send)
            return
        if_none_match = Headers(scope=scope).get("if-none-match")
        if if_none_match is not None and len(if_none_match) > LONGEST_IF_NONE_MATCH:
            await self.app(scope, receive, send)
            return
        scope["route"] = _ROUTE  # what it is counted under
        state = scope["state"]
        try:
            response = await tasks.status_answer(
                self._services, state["principal"], UUID(found[1]), if_none_match
            )
        except TaskError as error:
            response = problem_response(error, state["trace_id"])
        await response(scope, receive, send)
