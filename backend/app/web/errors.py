"""Show the API's problem documents as pages, with the same status and text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import RedirectResponse

from app.api.problems import MEDIA_TYPE, TYPE_PREFIX
from app.api.request_guard import SIGN_IN_PATH
from app.api.responses import API
from app.web.page import Page

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

UNAUTHORIZED = 401
NOT_FOUND = 404
METHOD_NOT_ALLOWED = 405

_SESSION = re.compile(r"(/sessions/[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/.")
_NO_PAGE = {
    "status": NOT_FOUND,
    "title": "There is no such page",
    "detail": "There is no page at this address",
    "next_step": "The address may be mistyped, or from another version.",
}
_NEXT_STEPS = {
    f"{TYPE_PREFIX}session-not-found": {
        "next_step": "It may have been deleted, by a user or some days after its last activity."
    }
}


class ErrorPages:
    """The outermost middleware: turns problem documents into pages for browsers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the app, and translate its response."""
        if scope["type"] != "http" or not _wants_a_page(scope):
            await self.app(scope, receive, send)
            return
        await self.app(scope, receive, _Translator(scope, receive, send))


class _Translator:
    """A `send` that replaces a problem document with a page."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if Headers(raw=message["headers"]).get("content-type") != MEDIA_TYPE:
                await self._send(message)
                return
            self._start = message
        elif self._start is None:
            await self._send(message)
        else:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                answer = _page_of(self._scope, json.loads(self._body))
                kept = Headers(raw=self._start["headers"])
                for name in ("retry-after", "trace-id", "connection", "strict-transport-security"):
                    if name in kept:
                        answer.headers[name] = kept[name]
                answer.headers["Cache-Control"] = "no-store"
                await answer(self._scope, self._receive, self._send)


def _wants_a_page(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    return not scope["path"].startswith(API) and "text/html" in headers.get("accept", "")


def _page_of(scope: Scope, problem: dict[str, Any]) -> Response:
    if problem["status"] == UNAUTHORIZED:
        query = scope["query_string"].decode("latin-1")
        wanted = scope["path"] + (f"?{query}" if query else "")
        after = f"?{urlencode({'then': wanted})}" if wanted != "/" else ""
        return RedirectResponse(SIGN_IN_PATH + after, status_code=303)
    problem |= _in_words(scope["path"], problem)
    session = _SESSION.match(scope["path"])
    return Page(Request(scope)).render(
        "error.html",
        status_code=problem["status"],
        problem=problem,
        session_path=session[1] if session else None,
    )


def _in_words(path: str, problem: dict[str, Any]) -> dict[str, Any]:
    """Return what a page says in other words than the API: about addresses and forms."""
    if problem["status"] == NOT_FOUND and problem["type"] == "about:blank":  # no such route
        return _NO_PAGE
    if problem["status"] == METHOD_NOT_ALLOWED:
        return {
            "title": "There is nothing to show here",
            "detail": "This address only takes what a form sends",
            "next_step": "Go back to the page with the form, and send it again.",
        }
    places = [each["where"].partition(".") for each in problem.get("errors") or []]
    if not places:
        return _NEXT_STEPS.get(problem["type"], {})
    if all(of == "path" for of, _, _ in places):
        first, _, rest = path.strip("/").partition("/")
        if first != "sessions" or "/" in rest:
            return _NO_PAGE
        return {
            "status": NOT_FOUND,
            "title": "There is no such session",
            "detail": f"There is no session “{rest[:80]}”",
            "next_step": "The address is incomplete or mistyped.",
        }
    names = ", ".join(dict.fromkeys(name for _, _, name in places if name))
    thing = "address" if all(of == "query" for of, _, _ in places) else "form"
    return {
        "title": "It cannot be used",
        "detail": f"The {thing} has a value that cannot be used: {names}",
        "next_step": f"Correct it in the {thing}.",
    }
