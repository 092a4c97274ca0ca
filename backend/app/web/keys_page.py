"""The page of API keys, for administrators: create a key, which is shown once; revoke a key."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import anyio.from_thread
from fastapi import APIRouter, Form, Path, Request, Response
from pydantic import ValidationError

from app.api import keys
from app.api.resources import NewKeyRequest, SafeText
from app.api.services import Administrator, ServicesOf
from app.core.errors import KeyNotFound
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository
from app.web.new_session import UNUSABLE, field_problems
from app.web.page import PageOf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from app.api.resources import CreatedKey
    from app.api.services import Services
    from app.web.page import Page

router = APIRouter(include_in_schema=False)

PATH = "/keys"
Field = Annotated[str, Form(max_length=1_000)]


@router.get(PATH)
def keys_page(
    request: Request, caller: Administrator, services: ServicesOf, page: PageOf
) -> Response:
    """Show all keys, the newest first, and the form for another."""
    return _render(page, services, asks_for_key=keys.must_enter_key(request, caller))


@router.post(PATH)
def make_key(  # noqa: PLR0913, PLR0917 - one for each field
    request: Request,
    caller: Administrator,
    services: ServicesOf,
    page: PageOf,
    owner: Field = "",
    role: Field = "",
    name: Field = "",
    expires_in_days: Field = "",
    key: Field = "",
) -> Response:
    """Create a key and show it, in this response only.

    Over plain http, an administrator's key must be entered: see `keys.must_enter_key`.
    """
    render = partial(_render, page, services, asks_for_key=keys.must_enter_key(request, caller))
    given = {"owner": owner, "role": role, "name": name, "expires_in_days": expires_in_days}
    wanted: dict[str, Any] = {field: said.strip() for field, said in given.items() if said.strip()}
    try:
        body = NewKeyRequest.model_validate(wanted)
    except ValidationError as error:
        problems = field_problems(error)
        if "owner" not in wanted:
            problems["owner"] = "Enter the owner of the sessions it gives access to."
        return render(given=given, problems=problems, status_code=UNUSABLE)
    if keys.must_enter_key(request, caller) and not _is_administrators(request, services, key):
        problems = {"key": "Enter a valid key with the role admin."}
        return render(given=given, problems=problems, status_code=UNUSABLE)
    return render(made=keys.made_key(services, body))


@router.post("/keys/{key_id}/revoke")
def revoke_key(
    key_id: Annotated[SafeText, Path(max_length=32)],
    caller: Administrator,
    services: ServicesOf,
    page: PageOf,
) -> Response:
    """Revoke the key."""
    try:
        keys.revoke_key(key_id, caller, services)
    except KeyNotFound:
        return page.redirect(PATH, refused="That key was revoked before.")
    return page.redirect(PATH, said=f"Revoked the key {key_id}. Requests with it are refused.")


def _is_administrators(request: Request, services: Services, key: str) -> bool:
    """Return whether this is an administrator's key; a wrong one counts as a failed sign-in.

    Raises:
        TooManyRequests: there were too many.

    """
    principal = anyio.from_thread.run(services.api_keys.recognise, key.strip())
    if principal is not None and principal.role is KeyRole.ADMIN:
        return True
    anyio.from_thread.run(services.failed_attempts.count, request.scope, key.strip())
    return False


def _render(  # noqa: PLR0913 - one for each part of the page
    page: Page,
    services: Services,
    *,
    asks_for_key: bool,
    made: CreatedKey | None = None,
    given: Mapping[str, str] | None = None,
    problems: Mapping[str, str] | None = None,
    status_code: int = 200,
) -> Response:
    with services.database.transaction() as db:
        records = AccessRepository(db).all_keys()
        return page.render(
            "keys.html",
            status_code=status_code,
            keys=records,
            made=made,
            asks_for_key=asks_for_key,
            given=given or {},
            problems=problems or {},
        )
