"""A session in a browser: opened, watched, corrected, cancelled, deleted; also without scripts."""

from __future__ import annotations

import json
import uuid
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from app.engines.worker import Worker
from app.models.session import TaskType
from app.repositories.content_reader import IncomingDocument
from app.values.results import Finding, TaskResults, TicketDraft
from tests.live_server import DEADLINE_SECONDS, LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Page

expect.set_options(timeout=DEADLINE_SECONDS * 1000)

ODD = {"name": "odd.csv", "mimeType": "text/csv", "buffer": b"just,some\nFirst,text\nSecond,more\n"}
XSS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    "\"'><svg onload=window.pwned=1>",
    "</title></textarea></code></pre><iframe srcdoc='<script>parent.pwned=1</script>'>",
    "javascript:window.pwned=1",
    "{{ 7*7 }}{% raw %}${7*7}",
)
HOSTILE = " ".join(XSS)
WHAT_IS_TOO_WIDE = """() => document.documentElement.scrollWidth <= innerWidth ? [] :
  [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth)
    .map((one) => one.outerHTML.slice(0, 80))"""
VALID = json.loads((Path(__file__).parents[1] / "data/adf_valid_documents.json").read_text())


@pytest.fixture
def working_owner(database_url: str, monkeypatch: pytest.MonkeyPatch, owner: Any) -> Iterator[Any]:
    """An owner on a server of its own, with a worker that runs the real handlers."""
    with LiveServer(database_url, poll_seconds=0.2) as server:
        monkeypatch.setattr(owner, "dashboard", server)
        monkeypatch.setattr(owner, "key", server.key(owner.name))
        with Worker(server.database, server.settings, concurrency=1):
            yield owner


def hostile_adf() -> str:
    """A description with all kinds of nodes."""
    marks = [{"type": "link", "attrs": {"href": text, "title": text}} for text in XSS]
    texts = [{"type": "text", "text": HOSTILE, "marks": [mark]} for mark in marks]
    names = ("url", "text", "title", "language", "panelType", "alt", "shortName", HOSTILE)
    attributes = dict.fromkeys(names, HOSTILE)
    kinds = ("panel", "codeBlock", "expand", "blockCard", "media", "extension", HOSTILE)
    nodes = [{"type": kind, "attrs": attributes, "content": texts} for kind in kinds]
    return json.dumps({"type": "doc", "version": 1, "content": nodes})


def hostile_session(owner: Any) -> uuid.UUID:
    """A session all of whose texts contain scripts."""
    document = IncomingDocument(HOSTILE.replace("/", "_") + ".md", HOSTILE.encode())
    tickets = [TicketDraft(HOSTILE, hostile_adf(), document.name, 1)]
    failure = dict.fromkeys(
        ("error", "message", "next_step", "traceback", "document", HOSTILE), HOSTILE
    )
    session_id: uuid.UUID = owner.act(
        lambda s: (
            s.create_session(
                [document], label=HOSTILE, options={"title_column": HOSTILE}, auto_advance=False
            ).id
        )
    )
    for task_type in TaskType:
        task_id = owner.act(lambda s, t=task_type: s.start_task(session_id, t)).task_id
        claim = owner.act(lambda s, t=task_id: s.claim_task(session_id, t, uuid.uuid4()))
        if task_type is not TaskType.ADF_VALIDATION:
            results = TaskResults(tickets=tickets if task_type is TaskType.PROCESSING else ())
            owner.act(lambda s, c=claim, r=results: s.complete_task(c, r))
            continue
        finding = Finding(1, HOSTILE, document.name, 1, "/content/0", HOSTILE, HOSTILE)
        found = TaskResults(findings=[finding], notes=[HOSTILE])
        owner.act(lambda s, c=claim, r=found: s.fail_task(c, failure, r))
    return session_id


def failing(owner: Any) -> uuid.UUID:
    """Start a session whose table has no column of titles, stored without the form's check."""
    document = IncomingDocument(ODD["name"], ODD["buffer"])
    session_id: uuid.UUID = owner.act(
        lambda s: s.create_session([document], options={"project_key": "REL"}).id
    )
    owner.act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
    return session_id


def test_a_failed_session_is_mended_and_becomes_an_import(
    working_owner: Any, open_page: Callable[..., Page], tmp_path: Path
) -> None:
    session_id = failing(working_owner)
    page = open_page(working_owner.dashboard.url, working_owner, path=f"/sessions/{session_id}")

    headline = page.locator("#headline")
    expect(headline).to_contain_text("Failed in processing, attempt 1 of 3")
    expect(headline).to_contain_text("You can fix it")
    expect(page.locator("#failure")).to_contain_text("odd.csv has no column")
    page.get_by_text("Retry processing…").click()
    expect(page.locator("#act-retry")).to_contain_text("as attempt 2 of 3")
    page.get_by_label("Column of the titles").fill("just")
    page.get_by_label("Columns").fill("some=labels\n")
    page.get_by_label("Dates such as").select_option("false")
    page.get_by_text("The same from a terminal").first.click()
    same = page.locator("#act-retry [data-same=command] code")
    command = f"session-tasks retry {str(session_id)[:8]} --title-column just"
    expect(same).to_have_text(f"{command} --map some=labels --month-first")
    chosen = '{"title_column":"just","map":["some=labels"],"day_first":false}'
    expect(page.locator("#act-retry [data-same=curl] code")).to_contain_text(f"-d '{chosen}'")
    page.get_by_label("Columns").fill("")
    page.get_by_label("Dates such as").select_option("")
    expect(same).to_have_text(command)
    page.get_by_role("button", name="Retry processing").click()

    expect(headline).to_contain_text("Done")
    expect(page.locator("#tickets")).to_contain_text("2 tickets")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the Jira import").click()
    download.value.save_as(tmp_path / "import.zip")
    with zipfile.ZipFile(tmp_path / "import.zip") as archive:
        (name,) = [one for one in archive.namelist() if one.endswith(".json")]
        body = json.loads(archive.read(name))
    titles = [issue["fields"]["summary"] for issue in body["issueUpdates"]]
    assert titles == ["First", "Second"]
    assert body["issueUpdates"][0]["fields"]["project"] == {"key": "REL"}


def test_the_same_works_without_scripts(working_owner: Any, open_page: Callable[..., Page]) -> None:
    page = open_page(
        working_owner.dashboard.url, working_owner, path="/new", java_script_enabled=False
    )
    page.get_by_label("Drop files here").set_input_files(ODD)
    page.get_by_label("Jira project").fill("REL")
    page.get_by_role("button", name="Open session").click()
    expect(page.locator("#title_column-problem")).to_be_visible()
    page.goto(f"{working_owner.dashboard.url}/sessions/{failing(working_owner)}")
    headline = page.locator("#headline")

    def reload_until(text: str) -> None:
        for _ in range(200):
            if text in headline.inner_text():
                return
            page.reload()
        expect(headline).to_contain_text(text)

    reload_until("Failed in processing")
    page.get_by_text("Retry processing…").click()
    page.get_by_label("Column of the titles").fill("just")
    page.get_by_role("button", name="Retry processing").click()
    expect(page.get_by_role("status")).to_contain_text("Started processing again.")
    reload_until("Done")
    page.get_by_role("link", name="First", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("First")
    expect(page.locator("#preview")).to_contain_text("As Jira shows it")


def test_two_browsers_see_one_cancel(look: Callable[..., Page], owner: Any) -> None:
    session_id = owner.session("Shared", to="running")
    one, other = (look(f"/sessions/{session_id}") for _ in range(2))
    expect(other.locator("#headline")).to_contain_text("Running processing for")
    expect(other.locator("#live-word")).to_have_text("Live")

    one.get_by_text("Cancel processing…").click()
    one.get_by_role("button", name="Cancel processing").click()

    expect(one.get_by_role("status")).to_have_text("Cancelled processing.")
    expect(other.locator("#headline")).to_contain_text("Cancelled in processing")
    expect(other.get_by_text("Retry processing…")).to_be_visible()


def test_a_wait_without_a_worker_is_told_while_one_looks(
    database_url: str, open_page: Callable[..., Page], owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with LiveServer(database_url) as server:
        monkeypatch.setattr(owner, "dashboard", server)
        monkeypatch.setattr(owner, "key", server.key(owner.name))
        session_id = owner.session("Nobody comes", to="waiting")
        page = open_page(server.url, owner, path=f"/sessions/{session_id}")
        expect(page.locator("#headline")).to_contain_text("Waiting for a worker for")
        expect(page.locator("#headline")).to_contain_text("none is alive")
        page.goto("about:blank")  # its stream would keep the server from stopping


def test_a_button_that_is_stale_says_that_it_changed_meanwhile(
    open_page: Callable[..., Page], owner: Any
) -> None:
    session_id = owner.session("Stale", to="failed")
    page = open_page(
        owner.dashboard.url, owner, path=f"/sessions/{session_id}", java_script_enabled=False
    )
    owner.act(lambda s: s.retry_task(session_id))

    page.get_by_text("Retry processing…").click()
    page.get_by_role("button", name="Retry processing").click()

    expect(page.get_by_role("status")).to_contain_text("It changed meanwhile")
    expect(page.locator("#headline")).to_contain_text("Waiting for a worker")


def test_a_session_deleted_under_ones_eyes_says_so(look: Callable[..., Page], owner: Any) -> None:
    session_id = owner.session("Short-lived")
    page = look(f"/sessions/{session_id}")
    expect(page.locator("#live-word")).to_have_text("Live")

    owner.act(lambda s: s.delete_session(session_id))

    expect(page.get_by_role("heading", level=1)).to_contain_text("There is no session")
    expect(page.get_by_text("It may have been deleted")).to_be_visible()


def test_what_was_opened_stays_open_when_the_page_moves_on(
    look: Callable[..., Page], owner: Any
) -> None:
    session_id = owner.session("Watched", to="failed")
    page = look(f"/sessions/{session_id}")
    expect(page.locator("#live-word")).to_have_text("Live")
    page.get_by_text("Context").click()
    page.get_by_text("Delete session…").focus()

    owner.act(lambda s: s.retry_task(session_id))

    expect(page.locator("#headline")).to_contain_text("Waiting for a worker")
    assert page.evaluate("document.querySelector('#failure-context').open")
    expect(page.get_by_text("Delete session…")).to_be_focused()


def test_limits_are_told_before_they_are_hit(look: Callable[..., Page]) -> None:
    page = look("/new")
    send = page.get_by_role("button", name="Open session")

    page.get_by_label("Drop files here").set_input_files([
        {"name": "virus.exe", "mimeType": "text/csv", "buffer": b"x"},
        {"name": "empty.md", "mimeType": "text/markdown", "buffer": b""},
    ])  # fmt: skip
    expect(page.locator("#chosen")).to_contain_text("not of a type that is taken")
    expect(page.locator("#chosen")).to_contain_text("0 bytes: empty")
    expect(send).to_be_disabled()
    page.get_by_label("Drop files here").set_input_files(ODD)
    expect(send).to_be_enabled()
    expect(page.locator("#documents-problem")).to_be_hidden()


def test_an_upload_tells_its_progress_and_can_be_stopped(look: Callable[..., Page]) -> None:
    page = look("/new")
    page.route("**/new", lambda _route: None)  # a server that never responds
    page.get_by_label("Drop files here").set_input_files(ODD)

    page.get_by_role("button", name="Open session").click()

    expect(page.get_by_role("progressbar")).to_be_visible()
    expect(page.get_by_role("button", name="Open session")).to_be_disabled()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#documents-problem")).to_contain_text("Stopped; nothing was opened.")
    expect(page.get_by_role("button", name="Open session")).to_be_enabled()


ISSUES = {
    "name": "issues.csv",
    "mimeType": "text/csv",
    "buffer": b"Summary,Severity,Secret,Text,Description\nPay,High,x,y,By **card**\n",
}


def test_a_preview_shows_tickets_and_offers_each_column_and_the_files_stay_chosen(
    look: Callable[..., Page], check_accessible: Callable[[Page], None]
) -> None:
    page = look("/new")
    other = {**ISSUES, "name": "other.csv", "buffer": b"Summary,Team\nOther,a\n"}
    page.get_by_label("Drop files here").set_input_files([ODD, ISSUES, other])
    page.get_by_label("Jira project").fill("shop")

    page.get_by_role("button", name="Preview").click()

    shown = page.locator("#preview")
    expect(shown.get_by_role("heading", level=2)).to_be_focused()
    expect(shown).to_contain_text("Preview: 2 issues in 1 import file")
    expect(shown.locator("#preview-problems")).to_contain_text("odd.csv has no column")
    expect(page.locator("#project_key-problem")).to_contain_text("Write it as SHOP")
    expect(page.get_by_label("Jira project")).to_have_value("SHOP")
    expect(page.locator("#chosen")).to_contain_text("odd.csv")
    page.get_by_role("button", name="Remove odd.csv").click()
    page.get_by_label("Team of other.csv becomes").select_option(label="Labels")
    page.get_by_role("button", name="Remove other.csv").click()
    expect(page.get_by_label("Team of other.csv becomes")).to_have_count(0)
    expect(page.locator("#chosen")).not_to_contain_text("odd.csv")
    page.get_by_label("Severity of issues.csv becomes").select_option(label="Priority")
    page.get_by_label("Secret of issues.csv becomes").select_option(label="Left out")
    page.get_by_role("button", name="Preview again").click()

    expect(shown).to_contain_text("Priority: High")
    expect(shown.locator("#preview-problems")).to_have_count(0)
    expect(shown.locator(".adf strong")).to_have_text("card")
    check_accessible(page)
    page.get_by_role("button", name="Open session").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("issues.csv")
    expect(page.locator("#facts")).to_contain_text("issues.csv:Secret=")
    assert page.evaluate("window.policyViolations") == []


def test_an_error_page_of_an_upload_is_said_beside_the_files(look: Callable[..., Page]) -> None:
    page = look("/new")
    refused = '<main><h1>It is too large</h1><p class="next">Split it.</p></main>'
    page.route(
        "**/new",
        lambda route: route.fulfill(status=413, content_type="text/html", body=refused),
    )
    page.get_by_label("Drop files here").set_input_files(ODD)
    page.get_by_role("button", name="Open session").click()
    expect(page.locator("#documents-problem")).to_contain_text("It is too large. Split it.")


@pytest.mark.parametrize("width", [360, 768, 1400])
def test_a_preview_fits_its_page(
    look: Callable[..., Page], check_accessible: Callable[[Page], None], width: int
) -> None:
    page = look("/new")
    page.set_viewport_size({"width": width, "height": 900})
    long = {**ISSUES, "name": f"{'long' * 50}.csv"}
    page.get_by_label("Drop files here").set_input_files([long, ODD])
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#preview")).to_contain_text("The first tickets")
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate(WHAT_IS_TOO_WIDE) == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        check_accessible(page)


def test_what_the_server_refuses_is_said_beside_the_field_and_the_files_stay_chosen(
    look: Callable[..., Page],
) -> None:
    page = look("/new")
    page.get_by_label("Drop files here").set_input_files(ODD)
    page.get_by_label("Jira project").fill("REL")
    page.get_by_label("Name").evaluate("field => field.removeAttribute('maxlength')")
    page.get_by_label("Name").fill("x" * 300)

    page.get_by_role("button", name="Open session").click()

    expect(page.locator("#label-problem")).to_contain_text("at most 200")
    expect(page.locator("#chosen")).to_contain_text("odd.csv")
    page.get_by_label("Name").fill("Short")
    page.get_by_role("button", name="Open session").click()

    expect(page.locator("#title_column-problem")).to_contain_text("odd.csv has no column")
    page.get_by_label("Column of the titles").fill("just")
    page.get_by_role("button", name="Open session").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Short")


def test_nothing_hostile_runs_or_breaks_out(look: Callable[..., Page], owner: Any) -> None:
    session_id = hostile_session(owner)

    page = look()
    for path in (f"/sessions/{session_id}", f"/sessions/{session_id}/tickets/1", "/sessions", "/"):
        page.goto(owner.dashboard.url + path)
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        expect(page.locator("main")).to_contain_text("<script>window.pwned=1</script>")
        assert page.evaluate("window.pwned") is None
        assert page.locator("main script, main iframe, main img, main [style]").count() == 0
        assert page.locator("main a[href^='javascript' i]").count() == 0
        assert page.evaluate("window.policyViolations") == []


def test_keys_are_made_and_revoked(open_page: Callable[..., Page], admin: Any) -> None:
    page = open_page(admin.dashboard.url, admin, path="/keys")
    name = f"owner-{uuid.uuid4().hex[:8]}"
    page.get_by_label("Owner", exact=True).fill(name)
    page.get_by_label("Your own API key").fill(admin.key)
    page.get_by_role("button", name="Create key").click()
    expect(page.locator(".made-key code")).to_contain_text("st_")

    page.goto(f"{admin.dashboard.url}/keys")
    expect(page.locator(".made-key")).to_have_count(0)
    row = page.locator("tr", has_text=name)
    row.get_by_text("Revoke…").click()
    row.get_by_role("button", name=f"Revoke the key of {name}").click()
    expect(page.locator("tr", has_text=name)).to_contain_text("Revoked")


def test_every_page_is_accessible_in_both_themes_and_fits_its_width(
    open_page: Callable[..., Page], admin: Any, check_accessible: Callable[[Page], None]
) -> None:
    failed = admin.session("A table with odd columns", to="failed")
    running = admin.session("At work", to="running")
    judged = hostile_session(admin)
    everything = {"type": "doc", "version": 1, "content": []}
    for document in VALID.values():
        everything["content"] += document["content"]
    shown = admin.session("Every node", to="waiting")
    task = admin.act(lambda s: s.get(shown)).task
    claim = admin.act(lambda s: s.claim_task(shown, task.task_id, uuid.uuid4()))
    ticket = TicketDraft("Every node", json.dumps(everything), "rows.csv", 1)
    admin.act(lambda s: s.complete_task(claim, TaskResults(tickets=[ticket])))

    page = open_page(admin.dashboard.url, admin, path="/new", width=360)
    for path in (
        f"/sessions/{failed}",
        f"/sessions/{running}",
        f"/sessions/{judged}",
        f"/sessions/{judged}/tickets/1",
        f"/sessions/{shown}/tickets/1",
        f"/sessions/{uuid.uuid4()}",
        "/new",
        "/keys",
    ):
        page.goto(admin.dashboard.url + path)
        page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
        assert page.evaluate(WHAT_IS_TOO_WIDE) == [], path
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
            check_accessible(page)
        assert page.evaluate("window.policyViolations") == []
