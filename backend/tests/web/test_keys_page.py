"""The page of keys: for administrators, and a key is shown once."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from app.models.access import KeyRole

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.live_server import LiveServer

KEY = re.compile(r"st_[0-9a-f]{16}\.[\w-]+")


@pytest.fixture
def admin(server: LiveServer) -> httpx.Client:
    browser = server.client(None, accept="text/html", origin=server.url)
    browser.post("/sign-in", data={"key": server.key(role=KeyRole.ADMIN)})
    return browser


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    admin: httpx.Client, server: LiveServer
) -> None:
    owner = f"owner-{uuid.uuid4()}"
    made = admin.post(
        "/keys", data={"owner": owner, "role": "user", "name": "<b>", "expires_in_days": "30"}
    )
    (key,) = KEY.findall(made.text)
    assert made.status_code == 200
    assert server.client(key).get("/api/v1/sessions").status_code == 200

    listed = admin.get("/keys").text
    assert owner in listed
    assert "&lt;b&gt;" in listed
    assert not KEY.search(listed)
    key_id = key[3:19]
    answer = admin.post(f"/keys/{key_id}/revoke")

    assert answer.status_code == 303
    assert "Revoked the key" in admin.get("/keys").text
    assert server.client(key).get("/api/v1/sessions").status_code == 401
    again = admin.post(f"/keys/{key_id}/revoke")
    assert "revoked before" in admin.get(again.headers["location"]).text


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"owner": " "}, "owner", "Say whose sessions"),
        ({"owner": "x" * 201}, "owner", "at most 200"),
        ({"owner": "a", "expires_in_days": "soon"}, "expires_in_days", "number"),
        ({"owner": "a", "expires_in_days": "-1"}, "expires_in_days", "more than 0"),
        ({"owner": "a", "role": "emperor"}, "role", "user"),
    ],
)
def test_what_is_wrong_is_said_beside_its_field(
    admin: httpx.Client, form: dict[str, str], field: str, words: str
) -> None:
    answer = admin.post("/keys", data=form)

    assert answer.status_code == 422
    found = re.search(rf'id="{field}-problem">.*?</svg>(.*?)</p>', answer.text)
    assert found is not None
    assert words in found.group(1)
    assert not KEY.search(answer.text)


def test_keys_are_the_business_of_administrators(
    sign_in: Callable[[str], httpx.Client], admin: httpx.Client
) -> None:
    user = sign_in(f"owner-{uuid.uuid4()}")

    assert user.get("/keys").status_code == 403
    assert user.post("/keys", data={"owner": "mallory"}).status_code == 403
    assert user.post("/keys/0123456789abcdef/revoke").status_code == 403
    assert "mallory" not in admin.get("/keys").text
