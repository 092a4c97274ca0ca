"""The list of sessions: its content by role, and bulk acts."""

from __future__ import annotations

import html
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.live_server import LiveServer

FAILURE = {"error": "DocumentError", "message": "<b>no</b> title", "category": "user_fixable"}
FIRST_LOAD_BYTES = 100_000


@pytest.fixture
def owner() -> str:
    return f"owner-{uuid.uuid4()}"


@pytest.fixture
def browser(sign_in: Callable[[str], httpx.Client], owner: str) -> httpx.Client:
    return sign_in(owner)


@pytest.fixture
def make(server: LiveServer, owner: str) -> Callable[..., str]:
    """Open a session of the owner and bring it to a state; return its id."""

    def made(label: str, state: str = "running", **of: Any) -> str:
        with server.database.transaction() as db:
            sessions = SessionRepository(db, owner=of.get("owner", owner))
            session_id = sessions.create_session(label=label).id
            if state == "created":
                return str(session_id)
            started = sessions.start_task(session_id, TaskType.PROCESSING)
            if state == "failed":
                claim = sessions.claim_task(session_id, started.task_id, uuid.uuid4())
                assert claim is not None
                sessions.fail_task(claim, FAILURE)
            return str(session_id)

    return made


def state_of(browser: httpx.Client, session_id: str) -> Any:
    return browser.get(f"/api/v1/sessions/{session_id}/task").json()["status"]


def test_the_list_shows_the_owner_s_sessions_under_the_filters(
    browser: httpx.Client, make: Callable[..., str]
) -> None:
    running, failed = make("Runs <i>on</i>"), make("Stopped", "failed")
    foreign = make("Not yours", owner=f"owner-{uuid.uuid4()}")
    everything = browser.get("/sessions").text
    assert running in everything
    assert failed in everything
    assert foreign not in everything
    assert "Runs &lt;i&gt;on&lt;/i&gt;" in everything
    assert "&lt;b&gt;no&lt;/b&gt; title" in everything
    for query in ("status=failed", "q=stopp", "category=user_fixable", "error=DocumentError"):
        page = browser.get(f"/sessions?{query}").text
        assert failed in page
        assert running not in page
        assert f'action="/sessions/act?{query}"' in page
    assert "No session matches" in browser.get("/sessions?q=nothing-like-it").text


def test_whoever_has_no_session_is_told_how_to_begin(browser: httpx.Client) -> None:
    assert "session-tasks run" in browser.get("/sessions").text


def test_a_bulk_act_first_says_how_many_it_is_about(
    browser: httpx.Client, make: Callable[..., str]
) -> None:
    failed = [make(f"Stopped {n}", "failed") for n in range(3)]
    running = make("Runs on")
    browser.post("/sessions/act", data={"act": "retry", "confirmed": "true"})
    assert "Select sessions first: nothing was done." in browser.get("/sessions").text
    asked = browser.post("/sessions/act", data={"act": "retry", "all": "yes"})
    assert "Retry 3 sessions?" in asked.text
    assert [state_of(browser, one) for one in failed] == ["failed"] * 3
    confirmed = dict(re.findall(r'name="(\w+)" value="(\w+)"', asked.text))
    make("Failed since", "failed")
    done = browser.post("/sessions/act", data=confirmed)
    assert done.headers["location"] == "/sessions"
    assert "Retried 3 sessions." in browser.get("/sessions").text
    assert "Retried 3 sessions." not in browser.get("/sessions").text
    assert [state_of(browser, one) for one in [*failed, running]] == ["running"] * 4


def test_a_bulk_act_takes_only_what_is_selected_and_only_what_is_the_caller_s(
    browser: httpx.Client, make: Callable[..., str], server: LiveServer
) -> None:
    chosen, left = make("Chosen"), make("Left")
    other = f"owner-{uuid.uuid4()}"
    foreign = make("Not yours", owner=other)
    answer = browser.post(
        "/sessions/act?status=running",
        data={"act": "cancel", "confirmed": "true", "session": [chosen, foreign]},
    )
    assert answer.headers["location"] == "/sessions?status=running"
    assert state_of(browser, chosen) == "cancelled"
    assert state_of(browser, left) == "running"
    assert state_of(server.client(server.key(other)), foreign) == "running"


def test_pages_of_the_list_follow_one_another(
    browser: httpx.Client, make: Callable[..., str]
) -> None:
    made = [make(f"Number {n}", "created") for n in range(30)]
    first = browser.get("/sessions")
    assert [one for one in made if one in first.text] == made[5:]
    older = first.text.split('rel="next" href="')[1].split('"')[0]
    assert [one for one in made if one in browser.get(older).text] == made[:5]
    assert browser.get("/sessions?page_token=made-up").status_code == 422


@pytest.mark.parametrize(
    ("sort", "first", "last"),
    [("", 26, 0), ("oldest", 0, 26), ("active", 3, 0), ("silent", 0, 3)],
)
def test_the_list_is_sorted_by_either_column_over_more_than_one_page(
    browser: httpx.Client, make: Callable[..., str], sort: str, first: int, last: int
) -> None:
    ids = [make(f"n{number:02}", "created") for number in range(27)]
    browser.post(f"/api/v1/sessions/{ids[3]}/task")
    page = browser.get("/sessions", params={"sort": sort}).text
    seen = re.findall(r'id="s-([0-9a-f-]{36})"', page)
    following = html.unescape(re.findall(r'rel="next" href="([^"]+)"', page)[0])
    seen += re.findall(r'id="s-([0-9a-f-]{36})"', browser.get(following).text)
    assert sorted(seen) == sorted(ids)
    assert (seen[0], seen[-1]) == (ids[first], ids[last])
    assert page.count("aria-sort=") == 1


def test_the_first_load_is_light(browser: httpx.Client, make: Callable[..., str]) -> None:
    for n in range(25):
        make(f"Number {n}", "failed")
    page = browser.get("/sessions")
    addresses = {part.split('"')[0] for part in page.text.split('"/static/')[1:]}
    files = [browser.get(f"/static/{address}") for address in addresses]
    assert len(files) >= 6
    assert sum(answer.num_bytes_downloaded for answer in [page, *files]) < FIRST_LOAD_BYTES
