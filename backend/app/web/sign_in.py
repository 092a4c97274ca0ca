"""Sign a browser in, with a key or by a link, for a limited time; and sign it out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import anyio.to_thread
from fastapi import APIRouter, Form, Query, Request, Response

from app.api import browser_cookies
from app.api.request_guard import LOGIN_PATH, SIGN_IN_PATH, SIGN_OUT_PATH
from app.api.services import Caller, ServicesOf
from app.repositories.sign_in_codes import SignInCodes
from app.web.page import PageOf, local_path

if TYPE_CHECKING:
    from app.api.services import Services
    from app.repositories.access_repository import Principal
    from app.web.page import Page

router = APIRouter(include_in_schema=False)

UNAUTHORIZED = 401
LONGEST_KEY = 300
KEY_REFUSED = "This key is not valid. It may have been revoked, or have expired."
LINK_REFUSED = "This link was used before, or has expired: it signs one browser in, within an hour."
_Secret = Annotated[str, Form(max_length=LONGEST_KEY)]
_SecretInAddress = Annotated[str, Query(max_length=LONGEST_KEY)]


@router.get(SIGN_IN_PATH)
def sign_in_page(page: PageOf, then: str = "/") -> Response:
    """Show the form; `then` is the page to redirect to."""
    return page.render("sign_in.html", then=local_path(then), refused="", is_link=False)


@router.post(SIGN_IN_PATH)
async def sign_in(
    request: Request,
    page: PageOf,
    services: ServicesOf,
    key: _Secret = "",
    then: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Sign this browser in, or say that the key is not valid."""
    principal = await services.api_keys.recognise(key.strip())
    if principal is None:
        return await _refused(request, page, services, key.strip(), then=then)
    answer = page.redirect(then)
    await browser_cookies.sign_in(request, services, principal, answer)
    return answer


@router.get(LOGIN_PATH)
async def follow_link(
    request: Request,
    page: PageOf,
    services: ServicesOf,
    key: _SecretInAddress = "",
    code: _SecretInAddress = "",
) -> Response:
    """Sign in by the link if the user opened it; if another page did, ask first.

    Ask, too, if this browser is signed in as another owner.
    """
    if not key and not code:
        return page.redirect(SIGN_IN_PATH)
    principal = await _looked_at(services, key, code)
    if principal is None:
        return await _refused(request, page, services, key, is_link=bool(code))
    former = await services.api_keys.recognise_browser(browser_cookies.browser_token(request.scope))
    is_change = former is not None and former.owner != principal.owner
    if not _was_opened_by_the_person(request) or is_change:
        return page.render(
            "confirm_sign_in.html", key=key, code=code, wanted=principal, former=former
        )
    return await _signed_in(request, page, services, key, code)


@router.post(LOGIN_PATH)
async def confirm_link(
    request: Request, page: PageOf, services: ServicesOf, key: _Secret = "", code: _Secret = ""
) -> Response:
    """Sign in by the link, after the user has confirmed."""
    return await _signed_in(request, page, services, key, code)


@router.post(SIGN_OUT_PATH)
async def sign_out(
    request: Request, page: PageOf, caller: Caller, services: ServicesOf
) -> Response:
    """End this browser's session; the key itself stays valid."""
    answer = page.redirect(SIGN_IN_PATH, said="Signed out. The key itself is still valid.")
    await browser_cookies.sign_out(request, services, caller, answer)
    return answer


def _was_opened_by_the_person(request: Request) -> bool:
    """Return whether the user opened the link: not another origin's page, and not a prefetch."""
    site = request.headers.get("sec-fetch-site")
    return site in {"none", "same-origin"} and "sec-purpose" not in request.headers


async def _looked_at(services: Services, key: str, code: str) -> Principal | None:
    if not code:
        return await services.api_keys.recognise(key)

    def look() -> Principal | None:
        with services.database.transaction() as db:
            return SignInCodes(db).look_at(code)

    return await anyio.to_thread.run_sync(look)


async def _signed_in(
    request: Request, page: Page, services: Services, key: str, code: str
) -> Response:
    def redeem() -> Principal | None:
        with services.database.transaction() as db:
            return SignInCodes(db).redeem(code)

    if code:
        principal = await anyio.to_thread.run_sync(redeem)
    else:
        principal = await services.api_keys.recognise(key)
    if principal is None:
        return await _refused(request, page, services, key, is_link=bool(code))
    answer = page.redirect("/")
    await browser_cookies.sign_in(request, services, principal, answer)
    return answer


async def _refused(  # noqa: PLR0913 - keywords
    request: Request,
    page: Page,
    services: Services,
    key: str,
    *,
    then: str = "/",
    is_link: bool = False,
) -> Response:
    await services.failed_attempts.count(request.scope, key)
    return page.render(
        "sign_in.html",
        status_code=UNAUTHORIZED,
        then=local_path(then),
        refused=LINK_REFUSED if is_link else KEY_REFUSED,
        is_link=is_link,
    )
