"""The page of keys: for administrators, and a key is shown once."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

from app.models.access import KeyRole
from tests.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

KEY = re.compile(r"st_[0-9a-f]{16}\.[\w-]+")


@pytest.fixture
def own_key(server: LiveServer) -> str:
    return server.key(role=KeyRole.ADMIN)


@pytest.fixture
def admin(server: LiveServer, own_key: str) -> httpx.Client:
    browser = server.client(None, accept="text/html", origin=server.url)
    browser.post("/sign-in", data={"key": own_key})
    return browser


def test_a_key_is_shown_once_and_works_until_it_is_revoked(
    admin: httpx.Client, own_key: str, server: LiveServer
) -> None:
    owner = f"owner-{uuid.uuid4()}"
    form = {"owner": owner, "role": "user", "name": "<b>", "expires_in_days": "30", "key": own_key}
    made = admin.post("/keys", data=form)
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
        ({"owner": " "}, "owner", "Enter the owner"),
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


def test_a_cookie_over_plain_http_makes_no_key(admin: httpx.Client, server: LiveServer) -> None:
    assert 'type="password"' in admin.get("/keys").text
    for key in ("", "st_0123456789abcdef.none", server.key(role=KeyRole.USER)):
        answer = admin.post("/keys", data={"owner": "mallory", "role": "admin", "key": key})
        assert answer.status_code == 422
        assert "Enter a valid key with the role admin" in answer.text
    answer = admin.post("/api/v1/keys", json={"owner": "mallory"})
    assert (answer.status_code, "Bearer" in answer.text) == (403, True)
    assert "mallory" not in admin.get("/api/v1/keys").text


def test_a_cookie_over_https_makes_keys(shared_database_url: str) -> None:
    with LiveServer(shared_database_url, trusted_proxies="127.0.0.1") as server:
        origin = server.url.replace("http", "https")
        browser = server.client(
            None, accept="text/html", origin=origin, **{"x-forwarded-proto": "https"}
        )
        signed_in = browser.post("/sign-in", data={"key": server.key(role=KeyRole.ADMIN)})
        name, _, rest = signed_in.headers["set-cookie"].partition("=")
        browser.headers["cookie"] = f"{name}={rest.partition(';')[0]}"
        assert 'type="password"' not in browser.get("/keys").text
        made = browser.post("/keys", data={"owner": f"owner-{uuid.uuid4()}", "role": "user"})
        assert KEY.search(made.text)


def test_keys_are_the_business_of_administrators(
    sign_in: Callable[[str], httpx.Client], admin: httpx.Client
) -> None:
    user = sign_in(f"owner-{uuid.uuid4()}")

    assert user.get("/keys").status_code == 403
    assert user.post("/keys", data={"owner": "mallory"}).status_code == 403
    assert user.post("/keys/0123456789abcdef/revoke").status_code == 403
    assert "mallory" not in admin.get("/keys").text
