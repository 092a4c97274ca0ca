"""Checks of every request before its body is read: host, key, limits, then a bounded body.

Deny by default: whatever is not in `OPEN_PATHS`, a file of the dashboard or a page where a key is
shown needs a valid key, routes that do not exist included, so a route that is added tomorrow is
closed without anybody thinking of it.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import random
import re
import time
from typing import TYPE_CHECKING

import anyio
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter
from starlette.datastructures import Headers

from app.api.browser_cookies import FORMER_COOKIE, browser_token
from app.api.origins import check_host, require_same_origin
from app.api.problems import (
    BodyTooLarge,
    BodyTooSlow,
    NotAuthenticated,
    RequestMalformed,
    TooManyRequests,
    problem_response,
)
from app.api.services import require_act
from app.core.errors import TaskError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from app.api.services import Services
    from app.repositories.access_repository import Principal

logger = logging.getLogger(__name__)

HEALTH_PATH = "/healthz"
"""A probe names an address of the process, not a name of the service, and learns nothing else."""

OPEN_PATHS = frozenset({HEALTH_PATH, "/readyz", "/metrics"})
LOGIN_PATH = "/login"
SIGN_IN_PATH = "/sign-in"
SIGN_OUT_PATH = "/sign-out"
SIGN_IN_PATHS = frozenset({LOGIN_PATH, SIGN_IN_PATH})
"""Where a key or a code is shown: these routes look at it, and count failures."""

STATIC_PREFIX = "/static/"
LARGE_ANSWER_BYTES = 64 * 1024
SMALL_BODY_BYTES = 64 * 1024
"""Larger bodies wait for room before they are received."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_SECURITY_HEADERS = tuple(
    (name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items()
)
_HSTS = (b"strict-transport-security", b"max-age=31536000")
_FORGET_FORMER_COOKIE = (b"set-cookie", f"{FORMER_COOKIE}=; Max-Age=0; Path=/".encode())
_TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


class RequestGuard:
    """The ASGI middleware around everything."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        services: Services,
        hosts: Sequence[str],
    ) -> None:
        self.app = app
        self._settings = services.settings
        self._api_keys = services.api_keys
        self._failed_attempts = services.failed_attempts
        self._metrics = services.metrics
        self._receiving = services.receiving
        self._hosts = frozenset(host.lower() for host in hosts)
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._per_key = RateLimitItemPerMinute(services.settings.requests_per_minute)
        self._at_once: collections.Counter[str] = collections.Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on what may pass."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        await _GuardedRequest(self, scope, receive, send).pass_through()

    async def principal(self, scope: Scope, headers: Headers) -> Principal:
        """Return the caller.

        Raises:
            NotAuthenticated: nobody known.
            NotAllowed: a page of another origin uses the browser's cookie, or a viewer would act.
            TooManyRequests: too many guesses from this address.

        """
        key = _key_shown(headers)
        token = browser_token(scope) if key is None else ""
        if key:
            principal = await self._api_keys.recognise(key)
        else:
            principal = await self._api_keys.recognise_browser(token) if token else None
        if principal is None:
            await self._failed_attempts.count(scope, key or "")
            raise NotAuthenticated(
                "This API key is not valid" if key else _nothing_valid(token),
                next_step="Send one as a Bearer token, in the header Authorization; make one with "
                "session-tasks keys create.",
            )
        if scope["method"] not in SAFE_METHODS:
            if key is None:
                require_same_origin(scope, headers)
            if scope["path"] != SIGN_OUT_PATH:
                require_act(principal)
        return principal

    def check_head(self, scope: Scope, headers: Headers) -> None:
        """Refuse malformed requests before the key is looked up.

        Raises:
            RequestMalformed: it names no host or several, or wants a WebSocket.
            RequestInvalid: the host is not ours.

        """
        hosts = frozenset[str]() if scope["path"] == HEALTH_PATH else self._hosts
        check_host(scope, headers, hosts)
        if headers.get("upgrade", "").lower() == "websocket":
            raise RequestMalformed(
                "This server has no WebSockets",
                next_step="Listen to server-sent events instead: GET /api/v1/events.",
            )

    async def enter(self, principal: Principal, path: str) -> None:
        """Count one more request of this key.

        Raises:
            TooManyRequests: its limit per minute, or at once, is reached.

        """
        if not await self._limiter.hit(self._per_key, "key", principal.key_id):
            raise _too_many("This key has made too many requests in the last minute")
        if path.endswith("/events"):
            return
        if self._at_once[principal.key_id] >= self._settings.requests_at_once:
            raise _too_many("This key has too many requests in flight")
        self._at_once[principal.key_id] += 1

    def leave(self, principal: Principal, path: str) -> None:
        """Count one request less."""
        if path.endswith("/events"):
            return
        self._at_once[principal.key_id] -= 1
        if not self._at_once[principal.key_id]:
            del self._at_once[principal.key_id]

    def bounded(self, receive: Receive, headers: Headers) -> Receive:
        """`receive`, with an end to how much comes and how long that takes.

        Raises:
            BodyTooLarge: the request itself says that it will be.

        """
        most = self._settings.max_request_bytes
        announced = headers.get("content-length", "0")
        if not announced.isdecimal() or int(announced) > most:
            raise _too_large(most)
        return _BoundedBody(receive, most, self._settings.request_body_seconds)

    def room_for_body(
        self, principal: Principal, scope: Scope, headers: Headers
    ) -> AbstractAsyncContextManager[None]:
        """Hold room for the whole body of a large request, or of one that tells no size."""
        announced = int(headers.get("content-length", "0"))
        if scope["method"] in SAFE_METHODS or (
            announced <= SMALL_BODY_BYTES and "transfer-encoding" not in headers
        ):
            return contextlib.nullcontext()
        size = self._settings.max_request_bytes if "transfer-encoding" in headers else announced
        return self._receiving.turn(principal.key_id, size)

    def done(self, scope: Scope, status: int, seconds: float) -> None:
        """Count an answer, under the route's template: never under an id."""
        route = getattr(scope.get("route"), "path", None) or "none"
        self._metrics.answered(scope["method"], str(route), status, seconds)


class _GuardedRequest:
    """One request on its way through the guard."""

    def __init__(self, guard: RequestGuard, scope: Scope, receive: Receive, send: Send) -> None:
        self._guard = guard
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = Headers(scope=scope)
        self._trace_id = _trace_id(self._headers)
        self._status = 0
        scope.setdefault("state", {})["trace_id"] = self._trace_id

    async def pass_through(self) -> None:
        started_at = time.perf_counter()
        try:
            await self._admit()
        except TaskError as error:
            await self._refuse(error)
        except Exception as error:
            logger.exception("Request failed, trace %s", self._trace_id)
            await self._refuse(error)
        finally:
            self._guard.done(self._scope, self._status or 499, time.perf_counter() - started_at)

    async def _admit(self) -> None:
        guard, scope = self._guard, self._scope
        path = scope["path"]
        guard.check_head(scope, self._headers)
        receive = guard.bounded(self._receive, self._headers)
        if path in OPEN_PATHS or path.startswith(STATIC_PREFIX):
            await guard.app(scope, receive, self._answer)
            return
        if path in SIGN_IN_PATHS:
            if scope["method"] not in SAFE_METHODS:
                require_same_origin(scope, self._headers)
            await guard.app(scope, receive, self._answer)
            return
        principal = await guard.principal(scope, self._headers)
        scope["state"]["principal"] = principal
        await guard.enter(principal, path)
        try:
            async with guard.room_for_body(principal, scope, self._headers):
                await guard.app(scope, receive, self._answer)
        finally:
            guard.leave(principal, path)

    async def _refuse(self, error: Exception) -> None:
        if self._status:  # the answer has begun: closing the connection is all that is left
            return
        response = problem_response(error, self._trace_id)
        response.headers["Connection"] = "close"  # its body may never come, or never end
        await response(self._scope, self._receive, self._answer)

    async def _answer(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            headers: list[tuple[bytes, bytes]] = list(message.get("headers", ()))
            present = {name.lower() for name, _ in headers}
            headers += [item for item in _SECURITY_HEADERS if item[0] not in present]
            headers.append((b"trace-id", self._trace_id.encode()))
            if self._scope["scheme"] == "https" and _HSTS[0] not in present:
                headers.append(_HSTS)
            if f"{FORMER_COOKIE}=" in self._headers.get("cookie", ""):
                headers.append(_FORGET_FORMER_COOKIE)
            message = {**message, "headers": headers}
        elif len(message.get("body", b"")) > LARGE_ANSWER_BYTES and not message.get("more_body"):
            # The server waits for the client before the next part, not after the last: with this
            # one an answer that lies unread counts among its key's requests in flight.
            await self._send({**message, "more_body": True})
            message = {"type": "http.response.body", "body": b""}
        await self._send(message)


class _BoundedBody:
    """A request's body that ends: in bytes, and in seconds from the first question for it."""

    def __init__(self, receive: Receive, most: int, seconds: float) -> None:
        self._receive = receive
        self._most = most
        self._seconds = seconds
        self._count = 0
        self._deadline: float | None = None
        self._has_ended = False

    async def __call__(self) -> Message:
        if self._has_ended:  # what comes now is the client's leaving
            return await self._receive()
        if self._deadline is None:
            self._deadline = anyio.current_time() + self._seconds
        try:
            with anyio.fail_after(max(0.0, self._deadline - anyio.current_time())):
                message = await self._receive()
        except TimeoutError:
            raise BodyTooSlow(
                f"The request did not arrive within {self._seconds:g} s",
                next_step="Send it faster, or in smaller parts.",
            ) from None
        if message["type"] != "http.request":
            self._has_ended = True
            return message
        self._count += len(message.get("body", b""))
        if self._count > self._most:
            raise _too_large(self._most)
        self._has_ended = not message.get("more_body", False)
        return message


def _key_shown(headers: Headers) -> str | None:
    """The key that is shown as such; None where there is at most a browser's cookie."""
    scheme, _, credentials = headers.get("authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else None


def _nothing_valid(token: str) -> str:
    return "This browser is no longer signed in" if token else "No API key was shown"


def _trace_id(headers: Headers) -> str:
    """The caller's trace id (W3C Trace Context), or one of our own."""
    given = _TRACEPARENT.fullmatch(headers.get("traceparent", ""))
    # Unique, not secret: the system's random source would cost a switch of threads each time.
    return given.group(1) if given else f"{random.getrandbits(128):032x}"


def _too_many(message: str) -> TooManyRequests:
    return TooManyRequests(message, next_step="Wait as long as Retry-After says.")


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"The request is larger than the {most:,} bytes that are taken",
        next_step="Use several sessions, or raise the limit: SESSION_TASKS_MAX_REQUEST_BYTES.",
    )
