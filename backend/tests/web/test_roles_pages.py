"""Pages by role: administrators see all owners' sessions and act on them, viewers only look."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.models.access import KeyRole
from app.models.session import TaskStatus, TaskType
from app.repositories.session_repository import SessionRepository
from tests.web.conftest import HTML

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.live_server import LiveServer

FAILURE = {"error": "DocumentError", "message": "No title", "category": "user_fixable"}


@pytest.fixture
def owner() -> str:
    return f"owner-{uuid.uuid4()}"


@pytest.fixture
def browser_of(server: LiveServer) -> Callable[..., httpx.Client]:
    """Sign in with a key of that role; returns the browser."""

    def signed_in(owner: str, role: KeyRole) -> httpx.Client:
        browser = server.client(None, accept=HTML, origin=server.url)
        answer = browser.post("/sign-in", data={"key": server.key(owner, role)})
        assert answer.status_code == 303
        return browser

    return signed_in


@pytest.fixture
def admin(browser_of: Callable[..., httpx.Client]) -> httpx.Client:
    return browser_of(f"boss-{uuid.uuid4()}", KeyRole.ADMIN)


@pytest.fixture
def viewer(browser_of: Callable[..., httpx.Client], owner: str) -> httpx.Client:
    return browser_of(owner, KeyRole.VIEWER)


@pytest.fixture
def make(server: LiveServer, owner: str) -> Callable[..., str]:
    """Open a session whose processing has failed, or runs; returns its id."""

    def made(of: str = owner, *, is_failed: bool = True) -> str:
        with server.database.transaction() as db:
            sessions = SessionRepository(db, owner=of)
            session_id = sessions.create_session(label=f"Of {of}").id
            started = sessions.start_task(session_id, TaskType.PROCESSING)
            if is_failed:
                claim = sessions.claim_task(session_id, started.task_id, uuid.uuid4())
                assert claim is not None
                sessions.fail_task(claim, FAILURE)
            return str(session_id)

    return made


def status_of(server: LiveServer, session_id: str) -> TaskStatus | None:
    with server.database.transaction() as db:
        session = SessionRepository(db).get(uuid.UUID(session_id))
        return session.task.status if session.task is not None else None


def audited(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [
        (record.message, vars(record)["details"]["owner"])
        for record in caplog.records
        if record.name == "app.audit" and "administrator" in record.message
    ]


def test_administrator_sees_all_owners_and_a_sign_that_says_so(
    admin: httpx.Client, viewer: httpx.Client, make: Callable[..., str], owner: str
) -> None:
    mine, other = make(), make(f"other-{owner}")
    page = admin.get("/sessions").text
    assert "<strong>All owners</strong>" in page
    assert f'data-name="Owner" class="wrap">{owner}<' in page
    assert f'<option value="{owner}">' in admin.get("/sessions/owners").text
    assert "<option" not in viewer.get("/sessions/owners").text
    assert mine in page
    assert other in page
    narrowed = admin.get("/sessions", params={"owner": owner}).text
    assert mine in narrowed
    assert other not in narrowed
    assert f"/api/v1/events?owner={owner}" in narrowed
    overview = admin.get("/").text
    assert "<strong>All owners</strong>" in overview
    of_one = admin.get("/", params={"owner": owner}).text
    assert "1 session ·" in of_one
    assert f"/sessions?status=failed&amp;owner={owner}" in of_one
    for path in ("/sessions", "/"):
        own = viewer.get(path, params={"owner": f"other-{owner}"}).text
        assert other not in own
        assert "All owners" not in own
    assert mine in viewer.get("/sessions", params={"owner": f"other-{owner}"}).text


def test_administrator_acts_on_the_page_of_another_owners_session_and_it_is_logged(
    admin: httpx.Client,
    server: LiveServer,
    make: Callable[..., str],
    owner: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    session_id = make()
    path = f"/sessions/{session_id}"
    page = admin.get(path).text
    assert "is logged with your name" in page

    def run() -> str:
        found = re.search(r'name="run" value="([^"]*)"', admin.get(path).text)
        assert found is not None
        return found[1]

    caplog.set_level("DEBUG", logger="app")
    caplog.clear()
    assert admin.post(f"{path}/retry", data={"run": run()}).status_code == 303
    assert status_of(server, session_id) is TaskStatus.RUNNING
    assert admin.post(f"{path}/cancel", data={"run": run()}).status_code == 303
    assert status_of(server, session_id) is TaskStatus.CANCELLED
    assert admin.post(f"{path}/delete", data={"run": run()}).status_code == 303
    assert admin.get(path).status_code == 404
    acts = ("Task retried", "Task cancelled", "Session deleted")
    assert audited(caplog) == [(f"{act} as an administrator", owner) for act in acts]


@pytest.mark.parametrize("path", ["/sessions/act", "/failures/retry"])
def test_administrator_acts_on_many_of_one_owner_at_once_and_each_is_logged(  # noqa: PLR0913, PLR0917 - fixtures
    admin: httpx.Client,
    server: LiveServer,
    make: Callable[..., str],
    owner: str,
    path: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    mine, other = [make(), make()], make(f"other-{owner}")
    group = {"task_type": "processing", "error": "DocumentError", "message": "No title"}
    data = {"act": "retry", "all": "yes"} if path == "/sessions/act" else {**group, "owner": owner}
    address = f"{path}?owner={owner}" if path == "/sessions/act" else path
    asked = admin.post(address, data=data)
    assert "Retry 2 sessions?" in asked.text
    caplog.set_level("DEBUG", logger="app")
    caplog.clear()
    assert admin.post(address, data={**data, "confirmed": "true"}).status_code == 303
    assert {status_of(server, one) for one in mine} == {TaskStatus.RUNNING}
    assert status_of(server, other) is TaskStatus.FAILED
    assert audited(caplog) == [("Task retried as an administrator", owner)] * 2


def test_nobody_else_acts_on_other_owners_by_naming_them(
    browser_of: Any, server: LiveServer, make: Callable[..., str], owner: str
) -> None:
    other = make()
    user = browser_of(f"user-{owner}", KeyRole.USER)
    data = {"act": "retry", "confirmed": "true", "session": other}
    user.post(f"/sessions/act?owner={owner}", data=data)
    group = {"task_type": "processing", "error": "DocumentError", "message": "No title"}
    user.post("/failures/retry", data={**group, "owner": owner, "confirmed": "true"})
    assert status_of(server, other) is TaskStatus.FAILED
    assert user.get(f"/sessions/{other}").status_code == 404


def test_viewer_is_offered_nothing_to_do(viewer: httpx.Client, make: Callable[..., str]) -> None:
    failed, running = make(), make(is_failed=False)
    for path in ("/", "/sessions", f"/sessions/{failed}", f"/sessions/{running}"):
        page = viewer.get(path)
        assert page.status_code == 200
        forms = re.findall(r'<form[^>]*method="post"[^>]*action="([^"]*)"', page.text)
        assert [form for form in forms if not form.startswith("/sessions/act")] == ["/sign-out"]
        assert not re.findall(r"<button[^>]*>(?:Retry|Cancel|Delete)", page.text)
        assert "New session" not in page.text
        assert 'type="checkbox"' not in page.text
    assert viewer.get("/new").status_code == 403
    assert viewer.get("/keys").status_code == 403
    assert viewer.get("/sessions?q=none+like+it").status_code == 200


def test_viewer_without_sessions_is_not_told_to_open_one(
    browser_of: Callable[..., httpx.Client], owner: str
) -> None:
    alone = browser_of(f"alone-{owner}", KeyRole.VIEWER)
    for path in ("/", "/sessions"):
        page = alone.get(path).text
        assert "session-tasks run" not in page
        assert "/new" not in page
