"""Add the dashboard to an app of the API: `add_dashboard(app)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.middleware.gzip import GZipMiddleware

from app.api.request_guard import STATIC_PREFIX
from app.api.responses import API
from app.web import (
    keys_page,
    new_session,
    overview,
    session_page,
    sessions,
    sign_in,
    ticket_page,
    workers_page,
)
from app.web.errors import ErrorPages
from app.web.static_files import VersionedFiles

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send

ROUTERS = (
    overview.router,
    sessions.router,
    session_page.router,
    ticket_page.router,
    new_session.router,
    keys_page.router,
    workers_page.router,
    sign_in.router,
)


class CompressedPages:
    """gzip for pages and their files; the API's responses are small, or streams."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._compressed = GZipMiddleware(app, minimum_size=1_000, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, compressed if the browser accepts it."""
        is_page = scope["type"] == "http" and not scope["path"].startswith(API)
        await (self._compressed if is_page else self.app)(scope, receive, send)


def add_dashboard(app: FastAPI) -> None:
    """Add the pages to the API's app."""
    for router in ROUTERS:
        app.router.routes.extend(router.routes)
    app.mount(STATIC_PREFIX.rstrip("/"), VersionedFiles(), name="static")
    app.add_middleware(CompressedPages)
    app.add_middleware(ErrorPages)
