"""A task over HTTP: start, status, cancel, retry; a refusal names the state that forbids it."""

from __future__ import annotations

import io
import json
import time
import uuid
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from chaos.waiting import until
from sqlalchemy import text

from app.core.database import Database
from app.core.failure import failure_context
from app.engines.worker import Worker
from app.models.content import Document
from app.models.session import TaskType
from app.repositories.session_repository import SessionRepository
from app.values.options import SessionOptions
from app.values.results import TaskResults

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx


def fail_the_task(api: Any, session: str) -> None:
    """Fail the task, as a worker does whose handler raised."""
    session_id = uuid.UUID(session.rsplit("/", 1)[1])
    with api.database.transaction() as db:
        sessions = SessionRepository(db)
        task = sessions.get(session_id).task
        assert task is not None
        claim = sessions.claim_task(session_id, task.task_id, uuid.uuid4())
        assert claim is not None
        error = RuntimeError("no luck: password=hunter2hunter2")
        sessions.fail_task(claim, failure_context(error, category="user_fixable"))


def test_start_answers_202_and_says_where_and_when_to_look(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    answer = client.post(f"{session}/task", json={"task_type": "processing"})
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"{session}/task"
    assert int(answer.headers["Retry-After"]) >= 1
    body = answer.json()
    assert (body["status"], body["activity"], body["attempt"]) == ("running", "waiting", 1)
    assert body["waiting_since"] is not None
    assert body["allowed_actions"] == ["cancel"]
    assert client.get(answer.headers["Location"]).json()["task_id"] == body["task_id"]


def test_starts_that_arrive_together_share_a_transaction(
    api: Any, client: httpx.Client, open_session: Callable[..., str]
) -> None:
    addresses = [open_session(client) for _ in range(32)]
    with ThreadPoolExecutor(len(addresses)) as callers:
        answers = list(callers.map(lambda address: client.post(f"{address}/task"), addresses))
    assert [answer.status_code for answer in answers] == [202] * len(addresses)
    with api.database.transaction() as db:
        writers = db.scalar(
            text("SELECT count(DISTINCT xmin::text) FROM session_tasks WHERE task_id = ANY(:ids)"),
            {"ids": [answer.json()["task_id"] for answer in answers]},
        )
    assert writers <= len(addresses) / 2


def test_refusal_tells_the_state_that_is_the_reason(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    early = client.post(f"{session}/task", json={"task_type": "export"})
    assert (early.status_code, early.json()["current"]["status"]) == (409, None)
    assert client.post(f"{session}/task/cancel").status_code == 409
    assert client.post(f"{session}/task/retry").status_code == 409
    client.post(f"{session}/task")
    twice = client.post(f"{session}/task")
    problem = twice.json()
    assert twice.status_code == 409
    assert twice.headers["Content-Type"] == "application/problem+json"
    assert problem["category"] == "user_fixable"
    assert problem["current"]["status"] == "running"
    assert problem["current"]["allowed_actions"] == ["cancel"]
    assert problem["next_step"]
    assert problem["trace_id"] == twice.headers["Trace-Id"]


def test_failure_is_told_redacted_and_attempts_run_out(
    api: Any, admin: httpx.Client, client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    client.post(f"{session}/task")
    for attempt in (1, 2, 3):
        fail_the_task(api, session)
        task = client.get(f"{session}/task").json()
        assert (task["status"], task["attempt"]) == ("failed", attempt)
        category = "user_fixable" if attempt < 3 else "admin_required"
        assert task["failure"]["category"] == category
        assert "hunter2" not in str(task)
        assert "Traceback" not in str(task)
        answer = client.post(f"{session}/task/retry")
        assert answer.status_code == (202 if attempt < 3 else 409)
    assert answer.json()["category"] == "admin_required"
    assert client.post(f"{session}/task/reset").status_code == 403
    assert admin.post(f"{session}/task/reset").status_code == 204
    assert client.post(f"{session}/task/retry").status_code == 202


def test_a_retry_changes_options_and_leaves_documents_out(
    api: Any, client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client, too_long="cut")
    session_id = uuid.UUID(session.rsplit("/", 1)[1])
    with api.database.transaction() as db:
        content = b"title,Severity\nOne,2\n"
        db.add(Document(session_id=session_id, position=2, name="bad.csv", content=content))
    client.post(f"{session}/task")
    fail_the_task(api, session)

    for wrong, field in (
        ({"map": ["Severity=nothing"]}, "there is no field"),
        ({"project_key": "shop"}, "Write it as SHOP"),
        ({"title_column": "nope"}, "no column “nope”"),
        ({"without": ["other.md"]}, "no document named other.md"),
        ({"without": ["notes.md", "bad.csv"]}, "A session needs a document"),
        ({"label": "x"}, "label"),
    ):
        answer = client.post(f"{session}/task/retry", json=wrong)
        assert answer.status_code == 422
        assert field in answer.text
    assert client.get(f"{session}/task").json()["status"] == "failed"

    changes = {
        "map": ["Severity=priority"], "day_first": True, "too_long": None, "without": ["bad.csv"],
    }  # fmt: skip
    assert client.post(f"{session}/task/retry", json=changes).status_code == 202
    now = client.get(session).json()
    assert now["documents"] == ["notes.md"]
    changed = SessionOptions.from_json(now["options"]).to_json()
    assert changed.items() >= {"map": ["Severity=priority"], "day_first": True}.items()
    assert "too_long" not in changed


def test_what_a_retry_changes_too_late_is_refused(
    api: Any, client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    with api.database.transaction() as db:
        sessions = SessionRepository(db)
        session_id = uuid.UUID(session.rsplit("/", 1)[1])
        sessions.start_task(session_id, TaskType.PROCESSING)
        task = sessions.get(session_id).task
        assert task is not None
        claim = sessions.claim_task(session_id, task.task_id, uuid.uuid4())
        assert claim is not None
        sessions.complete_task(claim, TaskResults())
        sessions.start_task(session_id, TaskType.EXPORT)
    fail_the_task(api, session)
    for late in ({"map": ["A=labels"]}, {"without": ["notes.md"]}):
        answer = client.post(f"{session}/task/retry", json=late)
        assert answer.status_code == 409
        assert "too late" in answer.json()["detail"]
    assert client.post(f"{session}/task/retry", json={"issue_type": "Bug"}).status_code == 202
    assert client.get(session).json()["options"]["issue_type"] == "Bug"


def test_stale_button_hurts_no_one(client: httpx.Client, open_session: Callable[..., str]) -> None:
    session = open_session(client)
    client.post(f"{session}/task")
    stale = client.get(f"{session}/task").headers["ETag"]
    assert client.post(f"{session}/task/cancel", headers={"If-Match": stale}).status_code == 200
    # The same run in another state: it is still the run that the page showed.
    assert client.post(f"{session}/task/retry", headers={"If-Match": stale}).status_code == 202
    refused = client.post(f"{session}/task/cancel", headers={"If-Match": stale})
    assert refused.status_code == 412
    assert client.get(f"{session}/task").json()["status"] == "running"
    for nonsense in ('"nonsense"', '"none-00"', "", '"' + "0" * 32 + '-1"'):
        answer = client.post(f"{session}/task/cancel", headers={"If-Match": nonsense})
        assert answer.status_code in {412, 422}, nonsense
    assert client.post(f"{session}/task/cancel", headers={"If-Match": "*"}).status_code == 200


def test_session_goes_through_all_three_tasks_by_itself(
    api: Any, client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client, auto_advance="true", project_key="KEY")
    assert client.get(f"{session}/export").status_code == 409
    assert client.get(f"{session}/export.zip").status_code == 409
    client.post(f"{session}/task")
    session_id = uuid.UUID(session.rsplit("/", 1)[1])
    with Worker(api.database, api.settings, concurrency=1, threads=True, session_ids=[session_id]):
        until(lambda: client.get(f"{session}/task").json()["stage"] == "completed", "completion")
    export = client.get(f"{session}/export").json()
    assert export["bodies"][0]["issueUpdates"][0]["fields"]["summary"] == "First"
    assert client.get(f"{session}/export/1").json() == export["bodies"][0]
    assert client.get(f"{session}/export/2").status_code == 409
    zipped = client.get(f"{session}/export.zip")
    assert zipped.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(zipped.content)) as archive:
        directory = f"jira-import-{str(session_id)[:8]}"
        assert json.loads(archive.read(f"{directory}/import-001.json")) == export["bodies"][0]
        assert b",notes.md,,1,import-001.json,1,,First" in archive.read(f"{directory}/report.csv")
    ticket = client.get(f"{session}/tickets").json()["items"][0]
    assert (ticket["title"], ticket["source_name"]) == ("First", "notes.md")
    assert ticket["description"]["type"] == "doc"
    assert client.get(f"{session}/findings").json() == {"items": [], "total": 0}


def test_session_that_waits_for_a_person_is_started_task_by_task(
    api: Any, client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    session_id = uuid.UUID(session.rsplit("/", 1)[1])
    with Worker(api.database, api.settings, concurrency=1, threads=True, session_ids=[session_id]):
        for task_type in ("processing", "export", "adf_validation"):
            started = client.post(f"{session}/task")
            assert (started.status_code, started.json()["task_type"]) == (202, task_type)
            until(lambda: client.get(f"{session}/task").json()["status"] == "completed", task_type)
    assert client.post(f"{session}/task").status_code == 409


def test_a_locked_session_is_said_to_be_soon_and_the_others_are_there_meanwhile(
    make_server: Callable[..., Any], open_session: Callable[..., str]
) -> None:
    """Another transaction has locked it; each request for it uses a connection while it waits."""
    api = make_server(pool_size=3, lock_timeout_seconds=20)
    client = api.client(api.key())
    session, other = open_session(client), open_session(client)
    session_id = uuid.UUID(session.rsplit("/", 1)[1])
    with Database(api.settings, api.database.url) as elsewhere, elsewhere.transaction() as db:
        db.execute(text("SELECT FROM sessions WHERE id = :id FOR UPDATE"), {"id": session_id})
        with ThreadPoolExecutor(8) as callers:
            began = time.monotonic()
            starts = [callers.submit(client.post, f"{session}/task") for _ in range(8)]
            assert client.post(f"{other}/task").status_code == 202
            answers = [start.result() for start in starts]
            took = time.monotonic() - began
    assert {answer.status_code for answer in answers} == {503}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers)
    assert "Another transaction has locked" in answers[0].json()["detail"]
    assert took < 20, "each would have waited as long as a statement may"
    assert client.post(f"{session}/task").status_code == 202
