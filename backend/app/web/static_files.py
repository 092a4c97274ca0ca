"""Files that browsers may keep for ever: each address names the content it stands for."""

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
_FOR_EVER = "public, max-age=31536000, immutable"
_ASK_AGAIN = "public, no-cache"


class VersionedFiles(StaticFiles):
    """The folder `static`; what is asked for under its content's version never changes."""

    def __init__(self) -> None:
        super().__init__(directory=str(FOLDER))

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with the file, and with how long it may be kept."""
        answer = await super().get_response(path, scope)
        is_versioned = scope["query_string"].startswith(b"v=")
        answer.headers["Cache-Control"] = _FOR_EVER if is_versioned else _ASK_AGAIN
        return answer


@cache
def address_of(name: str) -> str:
    """The address of a file of `static`, with the version of its content."""
    digest = hashlib.sha256((FOLDER / name).read_bytes()).hexdigest()
    return f"{STATIC_PREFIX}{name}?v={digest[:12]}"
