"""Static files that browsers may cache forever: each address contains its content's version."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

from starlette.staticfiles import StaticFiles

from app.api.request_guard import STATIC_PREFIX

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

FOLDER = resources.files("app.web") / "static"
_IMMUTABLE = "public, max-age=31536000, immutable"
_REVALIDATE = "public, no-cache"


class VersionedFiles(StaticFiles):
    """The folder `static`; a file requested with its content's version never changes."""

    def __init__(self) -> None:
        super().__init__(directory=str(FOLDER))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return the file, and how long it may be cached."""
        answer = await super().get_response(path, scope)
        is_versioned = scope["query_string"].startswith(b"v=")
        answer.headers["Cache-Control"] = _IMMUTABLE if is_versioned else _REVALIDATE
        return answer


@cache
def address_of(name: str) -> str:
    """Return the address of a file of `static`, with the version of its content."""
    digest = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    return f"{STATIC_PREFIX}{name}?v={digest[:12]}"
