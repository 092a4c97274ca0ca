"""The cookie of a signed-in browser: its name, what sets it, what takes it back.

The name depends on the port, since browsers send a host's cookies to all of its ports: two servers
on one machine do not sign each other's browsers out. Under https it begins with `__Host-`, which
browsers accept from this very host only (RFC 6265bis, section 4.1.3.2).
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import anyio.to_thread
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from app.repositories.browser_sessions import BrowserSessions

if TYPE_CHECKING:
    from fastapi import Request, Response
    from starlette.types import Scope

    from app.api.services import Services
    from app.repositories.access_repository import Principal

SESSION_COOKIE = "session_tasks"
FORMER_COOKIE = "session_tasks_key"
"""The cookie of earlier versions, which held an API key: deleted in browsers that still send it."""


def cookie_name(scope: Scope, base: str = SESSION_COOKIE) -> str:
    """The name under which this server, as the browser addresses it, sets a cookie."""
    if scope["scheme"] == "https":
        return f"__Host-{base}"
    return f"{base}_{_port(Headers(scope=scope).get('host', ''))}"


def browser_token(scope: Scope) -> str:
    """The token that the browser sends; empty where it sends none."""
    cookies = Headers(scope=scope).get("cookie")
    return cookie_parser(cookies).get(cookie_name(scope), "") if cookies else ""


async def sign_in(
    request: Request, services: Services, principal: Principal, answer: Response
) -> None:
    """Sign this browser in as `principal`, under a new token; its earlier session is ended.

    Raises:
        KeyNotFound: the key has been revoked, or has expired.

    """
    former = browser_token(request.scope)
    lifetime = timedelta(days=services.settings.browser_session_days)

    def start() -> tuple[str, Principal | None]:
        with services.database.transaction() as db:
            sessions = BrowserSessions(db, idle=services.browser_idle)
            signed_in_before = sessions.recognise(former)
            if signed_in_before is not None and signed_in_before.browser_session is not None:
                sessions.end(signed_in_before.browser_session)
            return sessions.start(principal.key_id, lifetime=lifetime), signed_in_before

    token, signed_in_before = await anyio.to_thread.run_sync(start)
    if signed_in_before is not None:
        _forget(services, signed_in_before)
    answer.set_cookie(
        cookie_name(request.scope),
        token,
        max_age=round(lifetime.total_seconds()),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


async def sign_out(
    request: Request, services: Services, principal: Principal, answer: Response
) -> None:
    """End the browser session for good: here at once, its streams included."""
    digest = principal.browser_session
    if digest is not None:

        def end() -> None:
            with services.database.transaction() as db:
                BrowserSessions(db, idle=services.browser_idle).end(digest)

        await anyio.to_thread.run_sync(end)
        _forget(services, principal)
    answer.delete_cookie(
        cookie_name(request.scope),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def _forget(services: Services, principal: Principal) -> None:
    services.api_keys.forget_browser_session(principal.browser_session)
    services.broadcaster.end_streams_of(browser_session=principal.browser_session)


def _port(host: str) -> int:
    try:
        return urlsplit(f"//{host}").port or 80
    except ValueError:
        return 80
