"""Signing a browser in with a key, for a time, and out again."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from app.api import browser_cookies
from app.api.request_guard import SIGN_IN_PATH
from app.api.services import Caller, ServicesOf
from app.web.page import PageOf, local_path

router = APIRouter(include_in_schema=False)

UNAUTHORIZED = 401
LONGEST_KEY = 300


@router.get(SIGN_IN_PATH)
def sign_in_page(page: PageOf, then: str = "/") -> Response:
    """The form; `then` is where it leads."""
    return page.render("sign_in.html", then=local_path(then), refused="")


@router.post(SIGN_IN_PATH)
async def sign_in(
    request: Request,
    page: PageOf,
    services: ServicesOf,
    key: Annotated[str, Form(max_length=LONGEST_KEY)] = "",
    then: Annotated[str, Form(max_length=2000)] = "/",
) -> Response:
    """Let this browser in, or say that the key is not valid."""
    principal = await services.api_keys.recognise(key.strip())
    if principal is None:
        return page.render(
            "sign_in.html",
            status_code=UNAUTHORIZED,
            then=local_path(then),
            refused="This key is not valid. It may have been revoked, or have expired.",
        )
    answer = page.redirect(then)
    await browser_cookies.sign_in(request, services, principal, answer)
    return answer


@router.post("/sign-out")
async def sign_out(
    request: Request, page: PageOf, caller: Caller, services: ServicesOf
) -> Response:
    """End this browser's session; the key itself stays valid."""
    answer = page.redirect(SIGN_IN_PATH, said="Signed out. The key itself is still valid.")
    await browser_cookies.sign_out(request, services, caller, answer)
    return answer
