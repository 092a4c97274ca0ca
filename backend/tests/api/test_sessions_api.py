"""Sessions over HTTP: opened once, listed in pages, watched cheaply, deleted whole."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.repositories.idempotency_repository import IdempotencyRepository, StoredResponse
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

NOTES = ("documents", ("notes.md", b"# First\n\nSome *text*.\n", "text/markdown"))
SESSIONS = "/api/v1/sessions"


def test_session_is_opened_with_its_documents_and_options(client: httpx.Client) -> None:
    answer = client.post(
        SESSIONS,
        files=[NOTES, ("documents", ("../../etc/rows.csv", b"title\nA\n"))],
        data={"label": "import", "project_key": "KEY", "auto_advance": "false"},
    )
    assert answer.status_code == 201
    body = answer.json()
    assert answer.headers["Location"] == f"{SESSIONS}/{body['id']}"
    assert body["options"] == {"project_key": "KEY"}
    assert body["task"]["activity"] == "not_started"
    assert body["task"]["allowed_actions"] == ["start"]
    detail = client.get(answer.headers["Location"]).json()
    assert detail["documents"] == ["notes.md", "rows.csv"]  # never a path
    assert detail["counts"]["documents"] == 2


def test_what_could_never_be_processed_is_refused_before_anything_is_stored(
    client: httpx.Client,
) -> None:
    files = [
        NOTES,
        ("documents", ("untitled.csv", b"a,b\n1,2\n")),
        ("documents", ("open.csv", b'title\n"1\n')),
        ("documents", ("empty.md", b"")),
    ]
    answer = client.post(SESSIONS, files=files, data={"project_key": "shop"})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["category"] == "user_fixable"
    assert [error["where"] for error in problem["errors"]] == [
        "empty.md", "project_key", "untitled.csv", "open.csv",
    ]  # fmt: skip
    assert "project key. Write it as SHOP" in problem["errors"][1]["message"]
    one = client.post(SESSIONS, files=[NOTES], data={"map": ["Points=customfield_10016", "x"]})
    assert one.status_code == 422
    assert "--map" not in one.text
    assert client.get(SESSIONS).json()["items"] == []


def test_a_session_may_be_started_with_the_request_that_opens_it(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    for options in ({}, headers, headers):
        answer = client.post(SESSIONS, files=[NOTES], data={"start": "true"}, headers=options)
        assert answer.status_code == 201
        assert answer.json()["stage"] == "processing"
        assert answer.json()["task"]["status"] == "running"
    assert len(client.get(SESSIONS).json()["items"]) == 2


def test_sessions_that_are_opened_together_share_a_transaction(
    make_server: Any,
) -> None:
    api = make_server()  # of one key alone: several would store fewer at a time
    client = api.client(api.key())

    def opened(number: int) -> str:
        content = f"# Ticket {number}\n".encode()
        files = [("documents", ("notes.md", content, "text/markdown"))]
        answer = client.post(SESSIONS, files=files, data={"start": "true"})
        assert answer.status_code == 201
        assert answer.json()["task"]["status"] == "running"
        session_id: str = answer.json()["id"]
        return session_id

    with ThreadPoolExecutor(32) as callers:
        ids = list(callers.map(opened, range(32)))
    with api.database.transaction() as db:
        stored = db.execute(
            text("SELECT session_id::text, convert_from(content, 'UTF8'), xmin::text"
                 " FROM documents WHERE session_id::text = ANY(:ids)"),
            {"ids": ids},
        ).all()  # fmt: skip
    assert {(session_id, content) for session_id, content, _ in stored} == {
        (session_id, f"# Ticket {number}\n") for number, session_id in enumerate(ids)
    }
    assert len({writer for _, _, writer in stored}) <= len(ids) / 2


def test_uploads_of_many_at_once_wait_their_turn(api: Any) -> None:
    clients = [api.client(api.key(owner)) for owner in ("ada", "ben") for _ in range(8)]
    large = ("documents", ("large.md", b"# Large\n" + b"words " * 50_000, "text/markdown"))
    with ThreadPoolExecutor(len(clients)) as threads:
        answers = list(
            threads.map(
                lambda client: [
                    client.post(SESSIONS, files=[document]).status_code
                    for document in (NOTES, large, NOTES)
                ],
                clients,
            )
        )
    assert {status for statuses in answers for status in statuses} == {201}


def test_columns_are_mapped_by_repeated_fields(client: httpx.Client) -> None:
    answer = client.post(
        SESSIONS,
        files=[("documents", ("rows.csv", b"title,Severity,Note\nA,High,x\n"))],
        data={"map": ["Severity=priority", "Note="], "day_first": "false"},
    )
    assert answer.status_code == 201
    assert answer.json()["options"] == {
        "project_key": "TASK",
        "map": ["Severity=priority", "Note="],
        "day_first": False,
    }


def test_pages_hold_every_session_once_and_filters_narrow_them(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    made = [open_session(client, label=f"number {n}").rsplit("/", 1)[1] for n in range(5)]
    seen: list[str] = []
    token = None
    while True:
        params = {"limit": 2} | ({"page_token": token} if token else {})
        page = client.get(SESSIONS, params=params).json()
        seen += [item["id"] for item in page["items"]]
        token = page["next_page_token"]
        if token is None:
            break
    assert seen == made[::-1]
    client.post(f"{SESSIONS}/{made[0]}/task")

    def ids(**params: Any) -> list[str]:
        answer = client.get(SESSIONS, params=params)
        assert answer.status_code == 200, answer.text
        return [item["id"] for item in answer.json()["items"]]

    assert ids(status="running") == [made[0]]
    assert ids(stage="processing") == [made[0]]
    assert ids(task_type="export") == []
    assert ids(q="NUMBER 3") == [made[3]]
    assert ids(q="%") == []
    assert ids(q=made[2][:13]) == [made[2]]
    assert ids(created_after="2999-01-01T00:00:00Z") == []
    assert ids(created_before="2999-01-01T00:00:00") == made[::-1]


def test_deleted_session_is_gone_with_all_that_hangs_on_it(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    assert client.delete(session).status_code == 204
    for rest in ("", "/task", "/tickets", "/export", "/export.zip"):
        path = f"{session}{rest}"
        assert client.get(path).status_code == 404
    assert client.delete(session).status_code == 404


def test_unchanged_session_costs_a_poller_304(
    client: httpx.Client, open_session: Callable[..., str]
) -> None:
    session = open_session(client)
    for path in (session, f"{session}/task"):
        first = client.get(path)
        etag = first.headers["ETag"]
        again = client.get(path, headers={"If-None-Match": f'"other", W/{etag}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["ETag"] == etag
    client.post(f"{session}/task")
    changed = client.get(f"{session}/task", headers={"If-None-Match": etag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != etag


def test_request_sent_twice_under_one_key_has_one_effect_and_one_answer(
    client: httpx.Client,
) -> None:
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(SESSIONS, files=[NOTES], headers=headers)
    again = client.post(SESSIONS, files=[NOTES], headers=headers)
    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["Location"] == first.headers["Location"]
    assert len(client.get(SESSIONS).json()["items"]) == 1
    other = ("documents", ("notes.md", b"# Other\n", "text/markdown"))
    reused = client.post(SESSIONS, files=[other], headers=headers)
    assert reused.status_code == 422
    assert reused.json()["type"].endswith("key-reused")
    start = f"{first.headers['Location']}/task"
    key = {"Idempotency-Key": str(uuid.uuid4())}
    started = client.post(start, headers=key)
    assert client.post(start, headers=key).json() == started.json()
    assert client.post(start).status_code == 409


def test_key_of_one_owner_means_nothing_to_another(
    client: httpx.Client, stranger: httpx.Client
) -> None:
    headers = {"Idempotency-Key": "the same words"}
    mine = client.post(SESSIONS, files=[NOTES], headers=headers)
    theirs = stranger.post(SESSIONS, files=[NOTES], headers=headers)
    assert mine.json()["id"] != theirs.json()["id"]


def test_second_request_is_told_while_the_first_is_in_flight(api: Any) -> None:
    owner = f"owner-{uuid.uuid4()}"
    client = api.client(api.key(owner))
    with api.database.transaction() as db:
        assert IdempotencyRepository(db, owner=owner).begin("held", bytes(32)) is None
        answer = client.post(SESSIONS, files=[NOTES], headers={"Idempotency-Key": "held"})
    assert answer.status_code == 409
    assert answer.json()["type"].endswith("request-in-flight")
    assert client.get(SESSIONS).json()["items"] == []


def test_answer_is_not_kept_where_the_effect_was_rolled_back(api: Any) -> None:
    owner = f"owner-{uuid.uuid4()}"
    with pytest.raises(RuntimeError), api.database.transaction() as db:
        session_id = SessionRepository(db, owner=owner).create_session().id
        answer = StoredResponse(session_id, 201, None, "{}")
        IdempotencyRepository(db, owner=owner).keep("k", bytes(32), answer)
        raise RuntimeError
    with api.database.transaction() as db:
        assert IdempotencyRepository(db, owner=owner).begin("k", bytes(32)) is None


def test_answer_goes_with_its_session(api: Any) -> None:
    client = api.client(api.key())
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    first = client.post(SESSIONS, files=[NOTES], headers=headers)
    assert client.delete(first.headers["Location"]).status_code == 204
    again = client.post(SESSIONS, files=[NOTES], headers=headers)
    assert (again.status_code, again.json()["id"] == first.json()["id"]) == (201, False)


def test_simultaneous_requests_under_one_key_open_one_session(api: Any) -> None:
    client = api.client(api.key())
    headers = {"Idempotency-Key": str(uuid.uuid4())}
    answers: list[httpx.Response] = []
    together = threading.Barrier(8)

    def send() -> None:
        together.wait()
        answers.append(client.post(SESSIONS, files=[NOTES], headers=headers))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len({a.json()["id"] for a in answers if a.status_code == 201}) == 1
    assert len(client.get(SESSIONS).json()["items"]) == 1
