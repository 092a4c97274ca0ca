"""The page of a session: its content and acts, by state and role."""

from __future__ import annotations

import html
import json
import re
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.models.session import TaskType
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.values.results import ExportBody, Finding, Note, TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.live_server import LiveServer

HOSTILE = '"><script>alert(1)</script>'
FAILURE = {
    "error": "DocumentError",
    "message": f"odd.csv has no title {HOSTILE}",
    "category": "user_fixable",
    "next_step": "Name the column that holds the titles.",
    "options": ["title_column"],
    "traceback": f"Traceback: {HOSTILE}",
    "document": HOSTILE,
}
ODD = IncomingDocument("odd.csv", b"just,some\none,two\n")


def adf(text: str) -> str:
    paragraph = {"type": "paragraph", "content": [{"type": "text", "text": text}]}
    return json.dumps({"type": "doc", "version": 1, "content": [paragraph]})


@pytest.fixture
def owner() -> str:
    return f"owner-{uuid.uuid4()}"


@pytest.fixture
def browser(sign_in: Callable[[str], httpx.Client], owner: str) -> httpx.Client:
    return sign_in(owner)


class Stage:
    """A session of the owner, moved from state to state as a worker does."""

    def __init__(self, server: LiveServer, owner: str, *documents: IncomingDocument) -> None:
        self._database = server.database
        self._owner = owner
        with self._database.transaction() as db:
            sessions = SessionRepository(db, owner=owner)
            self.id = sessions.create_session(
                documents, label=f"Odd {HOSTILE}", auto_advance=False
            ).id
        self.path = f"/sessions/{self.id}"

    def start(self, task_type: TaskType = TaskType.PROCESSING) -> uuid.UUID:
        with self._database.transaction() as db:
            return SessionRepository(db, owner=self._owner).start_task(self.id, task_type).task_id

    def fail(self, task_id: uuid.UUID, results: TaskResults | None = None) -> None:
        with self._database.transaction() as db:
            sessions = SessionRepository(db)
            claim = sessions.claim_task(self.id, task_id, uuid.uuid4())
            assert claim is not None
            sessions.fail_task(claim, FAILURE, results)

    def complete(self, task_id: uuid.UUID, results: TaskResults) -> None:
        with self._database.transaction() as db:
            sessions = SessionRepository(db)
            claim = sessions.claim_task(self.id, task_id, uuid.uuid4())
            assert claim is not None
            sessions.complete_task(claim, results)


@pytest.fixture
def make(server: LiveServer, owner: str) -> Callable[..., Stage]:
    """Open a session with these documents."""
    return lambda *documents: Stage(server, owner, *documents)


@pytest.fixture
def stage(make: Callable[..., Stage]) -> Stage:
    return make(IncomingDocument("odd.csv", b"title,just\none,two\n"))


def run_of(browser: httpx.Client, path: str) -> str:
    found = re.search(r'name="run" value="(\w+)"', browser.get(path).text)
    assert found is not None
    return found.group(1)


def state(browser: httpx.Client, stage: Stage) -> Any:
    return browser.get(f"/api/v1/sessions/{stage.id}").json()


def said(browser: httpx.Client, answer: httpx.Response) -> str:
    """Return the text of the page that an act redirects to."""
    assert answer.status_code == 303, answer.text
    found = re.search(
        r'class="said[ \w-]*".*?</svg>(.*?)</p>', browser.get(answer.headers["location"]).text
    )
    return found.group(1) if found else ""


def test_a_failure_is_told_with_who_can_fix_it_and_the_next_step_and_nothing_breaks_out(
    browser: httpx.Client, stage: Stage
) -> None:
    stage.fail(stage.start())

    page = browser.get(stage.path)

    assert page.status_code == 200
    assert "Failed in processing, attempt 1 of 3" in page.text
    step = "Name the column that holds the titles (“Column of the titles”)."
    assert f"You can fix it: {step}" in page.text
    assert "DocumentError" in page.text
    assert "<script>alert" not in page.text
    assert "onerror" not in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert "style=" not in page.text
    assert f"session-tasks retry {stage.id.hex[:8]}" in page.text
    assert "curl -X POST" in page.text


def test_a_retry_can_bring_the_option_and_the_document_that_were_missing(
    browser: httpx.Client, stage: Stage, server: LiveServer
) -> None:
    stage.fail(stage.start())

    answer = browser.post(
        f"{stage.path}/retry",
        data={"run": run_of(browser, stage.path), "title_column": "just", "delimiter": ""},
        files=[("documents", ("odd.csv", b"just,some\nbetter,now\n", "text/csv"))],
    )

    assert said(browser, answer) == "Started processing again."
    now = state(browser, stage)
    assert now["task"]["status"] == "running"
    assert now["options"] == {"title_column": "just"}
    with server.database.transaction() as db:
        (document,) = ContentRepository(db).documents(stage.id)
    assert document.content == b"just,some\nbetter,now\n"


def test_a_retry_offers_a_key_in_capitals(browser: httpx.Client, stage: Stage) -> None:
    stage.fail(stage.start())
    form = {"run": run_of(browser, stage.path), "project_key": "shop"}
    answer = browser.post(f"{stage.path}/retry", data=form)
    assert answer.status_code == 422
    assert re.search(r'id="project_key-problem".*?Write it as SHOP', answer.text, re.DOTALL)
    assert re.search(r'name="project_key" value="SHOP"', answer.text)


def test_a_retry_maps_columns_reads_dates_and_leaves_documents_out(
    browser: httpx.Client, make: Callable[..., Stage]
) -> None:
    stage = make(ODD, IncomingDocument("a.md", b"# A"))
    stage.fail(stage.start())
    form = {"run": run_of(browser, stage.path), "map": "Severity=priority\r\nDue=duedate\r\n"}

    answer = browser.post(f"{stage.path}/retry", data=form | {"map": "Severity=none"})
    assert answer.status_code == 422
    assert re.search(r'id="map-problem".*?there is no field', answer.text, re.DOTALL)

    answer = browser.post(
        f"{stage.path}/retry", data=form | {"day_first": "false", "without": "odd.csv"}
    )
    assert said(browser, answer) == "Started processing again."
    now = state(browser, stage)
    assert now["options"] == {"map": ["Severity=priority", "Due=duedate"], "day_first": False}
    assert now["documents"] == ["a.md"]

    browser.post(f"{stage.path}/cancel", data={"run": run_of(browser, stage.path)})
    page = browser.get(stage.path).text
    assert "Severity=priority\nDue=duedate</textarea>" in page
    assert '<option value="false" selected>' in page
    assert 'name="without"' not in page, "the last document cannot be left out"


@pytest.mark.parametrize(
    ("split_level", "name", "words"),
    [
        ("", "other.csv", "The session has no document named other.csv"),
        ("", "odd.exe", "is not a type"),
        ("9", "", "3 or less"),
    ],
)
def test_a_mend_that_cannot_be_taken_is_said_beside_its_field_and_nothing_runs(
    browser: httpx.Client, make: Callable[..., Stage], split_level: str, name: str, words: str
) -> None:
    stage = make(ODD, IncomingDocument("a.md", b"# A"))
    stage.fail(stage.start())

    answer = browser.post(
        f"{stage.path}/retry",
        data={"run": run_of(browser, stage.path), "split_level": split_level},
        files=[("documents", (name, b"x,y\n1,2\n" if name else b"", "text/csv"))],
    )

    assert answer.status_code == 422
    assert words in answer.text
    assert state(browser, stage)["task"]["status"] == "failed"


def test_the_request_for_curl_does_what_the_button_does(
    browser: httpx.Client, stage: Stage, server: LiveServer, owner: str
) -> None:
    stage.fail(stage.start())
    page = html.unescape(browser.get(stage.path).text)
    (address,) = re.findall(r"curl -X POST (\S+/task/retry)", page)
    (run,) = re.findall(r"-H 'If-Match: (\"\w+\")'", page)
    client = server.client(server.key(owner))

    first, second = (client.post(address, headers={"If-Match": run}) for _ in range(2))

    assert (first.status_code, second.status_code) == (202, 412)


@pytest.mark.parametrize("act", ["retry", "cancel", "start", "delete"])
def test_a_button_of_a_page_that_is_stale_does_nothing_and_says_so(
    browser: httpx.Client, stage: Stage, act: str
) -> None:
    stage.fail(stage.start())
    shown = run_of(browser, stage.path)
    browser.post(f"/api/v1/sessions/{stage.id}/task/retry")
    before = state(browser, stage)

    answer = browser.post(f"{stage.path}/{act}", data={"run": shown})

    assert "It changed meanwhile, so nothing was done." in said(browser, answer)
    assert state(browser, stage) == before


def test_start_and_cancel_are_posts_that_lead_back(browser: httpx.Client, stage: Stage) -> None:
    run = run_of(browser, stage.path)
    assert run == "none"
    assert said(browser, browser.post(f"{stage.path}/start", data={"run": run})) == (
        "Started processing."
    )
    again = browser.post(f"{stage.path}/start", data={"run": run})
    assert "It changed meanwhile" in said(browser, again)

    answer = browser.post(f"{stage.path}/cancel", data={"run": run_of(browser, stage.path)})

    assert said(browser, answer) == "Cancelled processing."
    assert state(browser, stage)["task"]["status"] == "cancelled"


@pytest.mark.parametrize("act", ["cancel", "delete"])
def test_what_another_transaction_has_locked_stays_and_the_page_says_so(
    browser: httpx.Client, stage: Stage, server: LiveServer, act: str
) -> None:
    stage.start()
    run = run_of(browser, stage.path)
    with server.database.transaction() as db:
        db.execute(text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": stage.id})
        answer = browser.post(f"{stage.path}/{act}", data={"run": run})
    assert answer.headers["location"] == stage.path
    assert "Nothing was done: Another transaction has locked" in said(browser, answer)
    assert state(browser, stage)["task"]["status"] == "running"


def test_a_deleted_session_is_a_page_that_says_so(browser: httpx.Client, stage: Stage) -> None:
    answer = browser.post(f"{stage.path}/delete", data={"run": run_of(browser, stage.path)})

    assert answer.headers["location"] == "/sessions"
    gone = browser.get(stage.path)
    assert gone.status_code == 404
    assert "It may have been deleted" in gone.text
    assert browser.post(f"{stage.path}/retry", data={"run": "none"}).status_code == 404


def test_another_owner_s_session_is_not_there(
    browser: httpx.Client, sign_in: Callable[[str], httpx.Client], stage: Stage
) -> None:
    stranger = sign_in(f"owner-{uuid.uuid4()}")
    run = run_of(browser, stage.path)
    before = state(browser, stage)

    assert stranger.get(stage.path).status_code == 404
    assert stranger.get(f"{stage.path}/tickets/1").status_code == 404
    for act in ("retry", "cancel", "start", "delete"):
        assert stranger.post(f"{stage.path}/{act}", data={"run": run}).status_code == 404
    assert stranger.post(f"{stage.path}/reset", data={"run": run}).status_code == 403
    assert state(browser, stage) == before


def test_a_form_of_another_origin_is_refused_and_changes_nothing(
    browser: httpx.Client, stage: Stage
) -> None:
    run = run_of(browser, stage.path)
    before = state(browser, stage)

    for act in ("start", "delete"):
        for forged in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}):
            answer = browser.post(f"{stage.path}/{act}", data={"run": run}, headers=forged)
            assert answer.status_code == 403

    assert state(browser, stage) == before


def test_findings_lead_to_the_ticket_where_the_place_is_marked(
    browser: httpx.Client, make: Callable[..., Stage]
) -> None:
    source = f"# One {HOSTILE}\n\nfirst\n\n# Two\n\nsecond\n".encode()
    stage = make(IncomingDocument("notes.md", source))
    tickets = [
        TicketDraft(f"One {HOSTILE}", adf(f"first {HOSTILE}"), "notes.md", 1),
        TicketDraft("Two", adf("second"), "notes.md", 5),
    ]
    stage.complete(stage.start(), TaskResults(tickets=tickets))
    stage.complete(stage.start(TaskType.EXPORT), TaskResults(exports=[ExportBody("{}", 2)]))
    finding = Finding(2, "Two", "notes.md", 5, "/content/0", "text_length", f"too long {HOSTILE}")
    of_field = Finding(
        1, "One", "notes.md", 1, "/fields/duedate", "refused by Jira", "Due date: no"
    )
    found = TaskResults(findings=[of_field, finding])
    stage.fail(stage.start(TaskType.ADF_VALIDATION), found)

    page = browser.get(stage.path).text
    assert "2 findings</h2>" in page
    assert f'href="{stage.path}/tickets/2#preview"' in page
    assert "open a new session with corrected ones" in page
    assert re.search(r'<a class="button primary" href="/new">.*Open a new session</a>', page)
    assert "notes.md, line\u00a05" in page
    assert "<script>alert" not in page
    second = browser.get(f"{stage.path}/tickets/2").text
    assert re.search(
        r'<p class="adf-paragraph adf-flagged" title="too long [^>]*>second</p>', second
    )
    assert "# Two\n\nsecond</code>" in second
    first = browser.get(f"{stage.path}/tickets/1").text
    assert "<script>alert" not in second + first
    assert "first &#34;&gt;&lt;script&gt;" in first
    assert "at <code>/fields/duedate</code>" in first
    assert "adf-flagged" not in first
    assert "# Two" not in first
    assert browser.get(f"{stage.path}/tickets/3").status_code == 404


def test_a_note_names_its_options_as_the_form_does(browser: httpx.Client, stage: Stage) -> None:
    note = Note("odd.csv: “Text” is read as HTML", ("body_format",))
    of_sites = Note("odd.csv: “Points” stays in the table", ("to", "map"))
    stage.complete(stage.start(), TaskResults(notes=[note, of_sites, "A note of a handler"]))

    page = browser.get(stage.path).text

    assert "is read as HTML; “Markup of the descriptions” changes that" in page
    assert "stays in the table; “Columns” changes that" in page, "the form offers no site"
    assert "A note of a handler</p>" in page


def test_tickets_come_in_pages(browser: httpx.Client, stage: Stage) -> None:
    tickets = [TicketDraft(f"Ticket {n}", adf("x"), "odd.csv", n) for n in range(1, 61)]
    stage.complete(stage.start(), TaskResults(tickets=tickets))

    first, last = browser.get(stage.path).text, browser.get(f"{stage.path}?after=50").text

    assert "1–25 of 60" in first
    assert "?after=25#tickets" in first
    assert "51–60 of 60" in last
    assert "?after=25#tickets" in last
    assert "Ticket 26<" not in first
    assert "Ticket 60<" in last
