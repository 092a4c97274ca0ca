"""Pages: templates, the values common to all, and the headers they are sent with."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, Request
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import HTMLResponse, RedirectResponse, Response

from app.api.browser_cookies import cookie_name
from app.models.access import KeyRole
from app.web import wording
from app.web.static_files import address_of

if TYPE_CHECKING:
    from app.repositories.access_repository import Principal

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SAID_COOKIE = "session_tasks_said"
SAID_SECONDS = 30
MOST_SAID = 500


_REFUSED = "! "


@dataclass(frozen=True, slots=True)
class Said:
    """The result of an act, which the next page shows once."""

    text: str
    is_refused: bool = False


@cache
def templates() -> Environment:
    """Return the templates, which escape all values and refuse undefined names."""
    environment = Environment(
        loader=PackageLoader("app.web"),
        autoescape=True,
        auto_reload=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(static=address_of, version=version("session-tasks"))
    environment.filters.update(wording.FILTERS)
    return environment


class Page:
    """The response to one request of a browser."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._caller: Principal | None = getattr(request.state, "principal", None)
        self._is_secure = request.url.scheme == "https"
        self._said_cookie = cookie_name(request.scope, SAID_COOKIE)

    @property
    def server(self) -> str:
        """The address of this server, as the browser uses it."""
        return str(self._request.base_url).rstrip("/")

    def render(self, template: str, *, status_code: int = 200, **values: Any) -> Response:
        """Render the template with these values."""
        text = (
            templates()
            .get_template(template)
            .render(
                path=self._request.url.path,
                now=datetime.now(UTC),
                caller=self._caller,
                may_act=self._caller is not None and self._caller.may_act,
                is_admin=self._caller is not None and self._caller.role is KeyRole.ADMIN,
                said=_said(self._request.cookies.get(self._said_cookie, "")),
                **values,
            )
        )
        answer = HTMLResponse(
            text,
            status_code=status_code,
            headers={
                "Content-Security-Policy": CONTENT_SECURITY_POLICY,
                # With no-referrer, browsers would send `Origin: null` with our own forms.
                "Referrer-Policy": "strict-origin",
            },
        )
        if self._said_cookie in self._request.cookies:
            answer.delete_cookie(
                self._said_cookie, httponly=True, samesite="strict", secure=self._is_secure
            )
        return answer

    def redirect(self, path: str, *, said: str = "", refused: str = "") -> Response:
        """Redirect to another of our pages, which says once what was done, or why nothing was."""
        answer = RedirectResponse(local_path(path), status_code=303)
        if said or refused:
            told = f"{_REFUSED}{refused}" if refused else said
            answer.set_cookie(
                self._said_cookie,
                base64.urlsafe_b64encode(told[:MOST_SAID].encode()).decode("ascii"),
                max_age=SAID_SECONDS,
                httponly=True,
                samesite="strict",
                secure=self._is_secure,
            )
        return answer


def local_path(address: str) -> str:
    """Return the address if it is a path of this server, else the overview's: no open redirect."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    is_ours = not parts.scheme and not parts.netloc and address.startswith("/")
    # Browsers read a backslash as a slash, so "/\host" would lead to another server.
    return address if is_ours and "\\" not in address and address.isprintable() else "/"


async def _page(request: Request) -> Page:
    return Page(request)


PageOf = Annotated[Page, Depends(_page)]


def _said(cookie: str) -> Said:
    try:
        told = base64.urlsafe_b64decode(cookie.encode("ascii")).decode()[:MOST_SAID]
    except (ValueError, binascii.Error):
        return Said("")
    return Said(told.removeprefix(_REFUSED), is_refused=told.startswith(_REFUSED))
