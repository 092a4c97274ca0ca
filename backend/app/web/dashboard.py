"""The dashboard in an app of the API: `add_dashboard(app)`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.api.gate import STATIC_PREFIX
from app.web import sessions, sign_in
from app.web.errors import ErrorPages
from app.web.static_files import VersionedFiles

if TYPE_CHECKING:
    from fastapi import FastAPI

ROUTERS = (sessions.router, sign_in.router)
LANDING = "/sessions"


def add_dashboard(app: FastAPI) -> None:
    """Serve the pages beside the API, and lead browsers that come in there."""
    for router in ROUTERS:
        app.include_router(router)
    app.mount(STATIC_PREFIX.rstrip("/"), VersionedFiles(), name="static")
    app.add_middleware(ErrorPages)
    app.state.services.landing = LANDING
