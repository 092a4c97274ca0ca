"""Routes for administrators: create, list and revoke API keys."""

from __future__ import annotations

import functools
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import anyio.from_thread
from fastapi import APIRouter, Path, Request, Response

from app.api.problems import NotAllowed
from app.api.resources import CreatedKey, KeyList, KeyResource, NewKeyRequest, SafeText
from app.api.responses import API, json_response
from app.api.services import EVERYWHERE, Administrator, ServicesOf, problems
from app.repositories.access_repository import AccessRepository

if TYPE_CHECKING:
    from app.api.services import Services
    from app.models.access import ApiKey
    from app.repositories.access_repository import Principal

router = APIRouter(prefix=API, tags=["keys"], responses=problems(*EVERYWHERE, 403))


@router.post(
    "/keys",
    status_code=201,
    response_model=CreatedKey,
    summary="Create a key",
    responses=problems(400, 408, 413),
)
def create_key(
    body: NewKeyRequest, request: Request, caller: Administrator, services: ServicesOf
) -> Response:
    """The key itself is only in this response.

    Over plain http, a browser's cookie is not enough: send an API key.
    """
    if must_enter_key(request, caller):
        raise NotAllowed(
            "A browser's cookie over plain http cannot make keys",
            next_step="Send an administrator's API key as a Bearer token, use the page API keys, "
            "or put the server behind https.",
        )
    answer = json_response(made_key(services, body))
    answer.status_code = 201
    return answer


@router.get("/keys", response_model=KeyList, summary="All keys")
def list_keys(_caller: Administrator, services: ServicesOf) -> Response:
    """Revoked and expired ones too; secrets are not stored, so none is shown."""
    with services.database.transaction() as db:
        keys = [KeyResource(**_fields(key)) for key in AccessRepository(db).all_keys()]
    return json_response(KeyList(items=keys))


@router.delete("/keys/{key_id}", status_code=204, summary="Revoke a key", responses=problems(404))
def revoke_key(
    key_id: Annotated[SafeText, Path(max_length=32)], _caller: Administrator, services: ServicesOf
) -> Response:
    """This process refuses it at once, others within seconds.

    Its streams end, and the browsers that it signed in are signed out.
    """
    with services.database.transaction() as db:
        AccessRepository(db).revoke_key(key_id)
    services.api_keys.forget(key_id)
    anyio.from_thread.run_sync(
        functools.partial(services.broadcaster.end_streams_of, key_id=key_id)
    )
    return Response(status_code=204)


def must_enter_key(request: Request, caller: Principal) -> bool:
    """Return whether the caller only has a cookie that other services of the host receive too.

    Such a cookie expires; a key that it created would not.
    """
    return caller.browser_session is not None and request.url.scheme != "https"


def made_key(services: Services, wanted: NewKeyRequest) -> CreatedKey:
    """Return a new key, with its text, which is not stored."""
    lifetime = None if wanted.expires_in_days is None else timedelta(days=wanted.expires_in_days)
    with services.database.transaction() as db:
        made = AccessRepository(db).create_key(
            wanted.owner, role=wanted.role, name=wanted.name, lifetime=lifetime
        )
        return CreatedKey(key=made.text, **_fields(made.record))


def _fields(key: ApiKey) -> dict[str, Any]:
    return {name: getattr(key, name) for name in KeyResource.model_fields}
