"""Roles: a viewer looks, a user acts, an administrator does both for all owners."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.models.access import KeyRole
from tests.api.conftest import NOTES
from tests.api.test_access_api import OPEN, SESSIONS, routes
from tests.api.test_events_api import Watcher, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

SAFE = {"GET", "HEAD"}
FOR_VIEWERS = {"/api/v1/pauses", "/api/v1/workers"}


@pytest.fixture
def owner() -> str:
    return f"owner-{uuid.uuid4()}"


@pytest.fixture
def clients(api: Any, owner: str) -> dict[KeyRole, httpx.Client]:
    """A client of each role; the viewer and the user are of one owner, the administrator is not."""
    return {
        KeyRole.VIEWER: api.client(api.key(owner, KeyRole.VIEWER)),
        KeyRole.USER: api.client(api.key(owner)),
        KeyRole.ADMIN: api.client(api.key(role=KeyRole.ADMIN)),
    }


def address(template: str, session_id: str) -> str:
    path = template.replace("{session_id}", session_id).replace("{number}", "1")
    return re.sub(r"\{\w+\}", "none", path)


def status(client: httpx.Client, method: str, path: str) -> int:
    with client.stream(method, path) as answer:  # a stream of events has no end
        return answer.status_code


def test_viewer_may_take_every_route_that_looks_and_none_that_acts(
    api: Any, clients: dict[KeyRole, httpx.Client], open_session: Callable[..., str]
) -> None:
    session_id = open_session(clients[KeyRole.USER]).rsplit("/", 1)[1]
    counts = {True: 0, False: 0}
    for method, template in routes(api.app):
        path = address(template, session_id)
        is_safe = method in SAFE
        counts[is_safe] += 1
        if is_safe:
            seen = {role: status(clients[role], method, path) for role in KeyRole}
            if template in FOR_VIEWERS:
                assert (seen[KeyRole.VIEWER], seen[KeyRole.USER]) == (200, 403), path
            else:
                assert seen[KeyRole.VIEWER] == seen[KeyRole.USER], path
            if "{session_id}" in template or template in OPEN:
                assert seen[KeyRole.ADMIN] == seen[KeyRole.USER] != 403, path
        else:
            refused = clients[KeyRole.VIEWER].request(method, path)
            assert refused.status_code == 403, (method, path)
            assert refused.json()["type"].endswith("not-allowed")
            assert "viewer" in refused.json()["detail"]
    assert min(counts.values()) >= 7
    assert status(clients[KeyRole.VIEWER], "POST", "/no/such/route") == 403
    assert status(clients[KeyRole.USER], "GET", f"{SESSIONS}/{session_id}") == 200


def test_every_act_of_a_user_is_open_to_administrators_on_all_sessions_and_logged(
    clients: dict[KeyRole, httpx.Client],
    owner: str,
    open_session: Callable[..., str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    admin, user = clients[KeyRole.ADMIN], clients[KeyRole.USER]
    mine = open_session(admin)
    session = open_session(user)
    caplog.set_level("DEBUG", logger="app")
    caplog.clear()
    assert admin.post(f"{session}/task").status_code == 202
    assert admin.post(f"{session}/task").status_code == 409
    assert admin.post(f"{session}/task/cancel").status_code == 200
    assert admin.post(f"{session}/task/retry").status_code == 202
    assert admin.post(f"{session}/task/cancel").status_code == 200
    assert admin.post(f"{session}/task/reset").status_code == 409
    assert admin.delete(session).status_code == 204
    for act in ("task", "task/cancel"):
        admin.post(f"{mine}/{act}")
        user.post(f"{mine}/{act}")
    admin.delete(mine)
    told = [r for r in caplog.records if r.name == "app.audit" and "administrator" in r.message]
    assert [record.message.removesuffix(" as an administrator") for record in told] == [
        "Task started",
        "Task cancelled",
        "Task retried",
        "Task cancelled",
        "Session deleted",
    ]
    for record in told:
        details = vars(record)["details"]
        assert record.levelname == "AUDIT"
        assert str(vars(record)["session_id"]) == session.rsplit("/", 1)[1]
        assert details["owner"] == owner
        assert details["by_owner"] != owner
        assert details["by_key"]


def test_lists_hold_what_the_caller_sees(
    clients: dict[KeyRole, httpx.Client], owner: str, open_session: Callable[..., str]
) -> None:
    admin, user = clients[KeyRole.ADMIN], clients[KeyRole.USER]
    session_id = open_session(user).rsplit("/", 1)[1]
    own_id = open_session(admin).rsplit("/", 1)[1]

    def ids(client: httpx.Client, **parameters: str) -> list[str]:
        answer = client.get(SESSIONS, params={"limit": "50", **parameters})
        assert answer.status_code == 200
        return [item["id"] for item in answer.json()["items"]]

    assert {session_id, own_id} <= set(ids(admin))
    assert ids(admin, owner=owner) == ids(user) == ids(user, owner=owner) == [session_id]
    assert ids(admin, owner="nobody at all") == []
    assert admin.get(SESSIONS, params={"owner": owner}).json()["items"][0]["owner"] == owner
    assert admin.get(f"{SESSIONS}/{session_id}").json()["owner"] == owner
    for role in (KeyRole.USER, KeyRole.VIEWER):
        for path in (SESSIONS, "/api/v1/events"):
            refused = clients[role].get(path, params={"owner": "somebody else"})
            assert refused.status_code == 403
            assert refused.json()["category"] == "admin_required"


def test_administrators_hear_of_all_owners_and_others_of_their_own(
    clients: dict[KeyRole, httpx.Client], owner: str, api: Any, open_session: Callable[..., str]
) -> None:
    other = api.client(api.key())
    watchers = {
        "all": Watcher(clients[KeyRole.ADMIN], "/api/v1/events"),
        "one": Watcher(clients[KeyRole.ADMIN], f"/api/v1/events?owner={owner}"),
        "viewer": Watcher(clients[KeyRole.VIEWER], "/api/v1/events"),
    }
    session, elsewhere = open_session(clients[KeyRole.USER]), open_session(other)
    single = Watcher(clients[KeyRole.ADMIN], f"{elsewhere}/events")
    other.post(f"{elsewhere}/task")
    clients[KeyRole.USER].post(f"{session}/task")
    ids = {name: path.rsplit("/", 1)[1] for name, path in (("own", session), ("its", elsewhere))}

    def heard(watcher: Watcher) -> set[str]:
        return {event["data"]["id"] for event in watcher.events} & set(ids.values())

    until(lambda: heard(watchers["all"]) == set(ids.values()), "both")
    until(lambda: heard(watchers["one"]) == heard(watchers["viewer"]) == {ids["own"]}, "one")
    until(lambda: heard(single) == {ids["its"]}, "the single one")
    for watcher in (*watchers.values(), single):
        watcher.close()


def test_sessions_of_an_administrator_are_its_owners(
    clients: dict[KeyRole, httpx.Client], api: Any
) -> None:
    key = api.key("boss", KeyRole.ADMIN)
    made = api.client(key).post(SESSIONS, files=[NOTES], data={"auto_advance": "false"})
    assert made.json()["owner"] == "boss"
    path = made.headers["Location"]
    assert clients[KeyRole.USER].get(path).status_code == 404
    assert api.client(api.key("boss", KeyRole.VIEWER)).get(path).status_code == 200


def test_viewers_sign_in_and_out_in_a_browser_and_their_forms_do_nothing(
    clients: dict[KeyRole, httpx.Client], api: Any, owner: str, open_session: Callable[..., str]
) -> None:
    session = open_session(clients[KeyRole.USER])
    browser = api.client(None, origin=api.url)
    browser.post("/sign-in", data={"key": api.key(owner, KeyRole.VIEWER)})
    page = f"/sessions/{session.rsplit('/', 1)[1]}"
    assert browser.get(page).status_code == 200
    for act in ("start", "retry", "cancel", "reset", "delete"):
        assert browser.post(f"{page}/{act}", data={"run": "none"}).status_code == 403
    for path in ("/sessions/act", "/failures/retry", "/new", "/keys"):
        assert browser.post(path, data={"act": "cancel", "confirmed": "true"}).status_code == 403
    assert clients[KeyRole.USER].get(session).json()["task"]["status"] is None
    assert browser.post("/sign-out").status_code == 303
    assert browser.get(page).status_code == 401
