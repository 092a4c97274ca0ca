"""Workers over HTTP: for administrators, and readiness that is true."""

from __future__ import annotations

import re
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from app.models.access import KeyRole
from app.repositories.session_repository import SessionRepository
from tests.worker_rows import add_worker, let_it_wait

if TYPE_CHECKING:
    from collections.abc import Callable

ALERTS = Path(__file__).parents[3] / "deploy" / "prometheus-alerts.yaml"
WORKERS = "/api/v1/workers"


def test_workers_are_listed_and_drained_by_administrators_only(make_server: Any) -> None:
    api = make_server()
    worker_id = add_worker(api.database)
    admin, user = api.client(api.key(role=KeyRole.ADMIN)), api.client(api.key())
    assert user.get(WORKERS).status_code == 403
    assert user.post(f"{WORKERS}/{worker_id}/drain").status_code == 403
    (listed,) = admin.get(WORKERS).json()["items"]
    assert (listed["id"], listed["state"], listed["held"]) == (str(worker_id), "idle", [])
    assert admin.post(f"{WORKERS}/{worker_id}/drain").status_code == 204
    (listed,) = admin.get(WORKERS).json()["items"]
    assert listed["state"] == "draining"
    answer = admin.post(f"{WORKERS}/{uuid.uuid4()}/drain")
    assert (answer.status_code, answer.json()["title"]) == (404, "There is no such worker")


def test_viewers_see_how_many_tasks_a_worker_holds_and_not_whose(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server()
    client, viewer = api.client(api.key()), api.client(api.key(role=KeyRole.VIEWER))
    session = open_session(client)
    client.post(f"{session}/task")
    worker_id = add_worker(api.database)
    with api.database.transaction() as db:
        SessionRepository(db).claim_next(worker_id)
    (listed,) = viewer.get(WORKERS).json()["items"]
    assert (listed["held_count"], listed["held"]) == (1, [])
    assert viewer.get("/api/v1/pauses").status_code == 200
    assert viewer.post(f"{WORKERS}/{worker_id}/drain").status_code == 403


def test_what_a_worker_holds_and_what_waits_without_one_is_told(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server()
    admin = api.client(api.key(role=KeyRole.ADMIN))
    session = open_session(admin)
    admin.post(f"{session}/task")
    session_id = uuid.UUID(session.rpartition("/")[2])
    let_it_wait(api.database, session_id)
    assert admin.get(WORKERS).json() == {
        "items": [],
        "waiting_without_worker": 1,
        "paused": [],
    }
    assert "session_tasks_waiting_without_worker 1.0" in admin.get("/metrics").text
    worker_id = add_worker(api.database, concurrency=1)
    with api.database.transaction() as db:
        SessionRepository(db).claim_next(worker_id)
    told = admin.get(WORKERS).json()
    assert told["waiting_without_worker"] == 0
    (listed,) = told["items"]
    assert (listed["state"], listed["held"][0]["session_id"]) == ("busy", str(session_id))
    figures = admin.get("/metrics").text
    assert 'session_tasks_workers{state="busy"} 1.0' in figures
    assert 'session_tasks_workers{state="idle"} 0.0' in figures


def test_ready_only_while_workers_take_every_type(make_server: Any) -> None:
    api = make_server()
    client = api.client()

    def workers_check() -> tuple[int, str]:
        answer = client.get("/readyz")
        (check,) = [each for each in answer.json()["checks"] if each["name"] == "workers"]
        assert check["ok"] == (answer.status_code == 200)
        return answer.status_code, check["detail"]

    assert workers_check() == (503, "No worker is alive that takes tasks of any session")
    add_worker(api.database, session_ids=[uuid.uuid4()])
    assert workers_check()[0] == 503
    add_worker(api.database, task_types=["processing"])
    status, detail = workers_check()
    assert (status, "these types: export, adf_validation" in detail) == (503, True)
    draining = add_worker(api.database)
    assert workers_check() == (200, "")
    api.client(api.key(role=KeyRole.ADMIN)).post(f"{WORKERS}/{draining}/drain")
    assert workers_check()[0] == 503


def test_claims_are_paused_and_resumed_by_administrators_only(
    make_server: Any, open_session: Callable[..., str]
) -> None:
    api = make_server()
    add_worker(api.database)
    admin, user = api.client(api.key("alice", KeyRole.ADMIN)), api.client(api.key())
    for path in ("pause", "resume"):
        assert user.post(f"/api/v1/{path}", json={}).status_code == 403
    answer = admin.post("/api/v1/pause", json={"task_types": ["export"]})
    (paused,) = answer.json()["items"]
    assert (answer.status_code, paused["task_type"], paused["paused_by"]) == (
        200,
        "export",
        "alice",
    )
    assert len(admin.post("/api/v1/pause", json={}).json()["items"]) == 3
    assert admin.get("/api/v1/pauses").json() == admin.post("/api/v1/pause", json={}).json()
    assert len(admin.get(WORKERS).json()["paused"]) == 3
    ready = user.get("/readyz")
    details = {check["name"]: check["detail"] for check in ready.json()["checks"]}
    assert (ready.status_code, details["claims"]) == (200, "All claims are paused")
    assert 'session_tasks_paused{task_type="export"} 1.0' in user.get("/metrics").text
    session = open_session(admin)
    admin.post(f"{session}/task")
    with api.database.transaction() as db:
        assert SessionRepository(db).claim_next(uuid.uuid4()) == []
    left = admin.post("/api/v1/resume", json={"task_types": ["processing", "export"]}).json()
    assert [each["task_type"] for each in left["items"]] == ["adf_validation"]
    with api.database.transaction() as db:
        assert len(SessionRepository(db).claim_next(uuid.uuid4())) == 1
    assert admin.post("/api/v1/resume", json={}).json() == {"items": []}
    for wrong in ({"task_types": []}, {"task_types": ["sideways"]}, {"task_type": "export"}):
        assert admin.post("/api/v1/pause", json=wrong).status_code == 422


def test_alert_rules_name_metrics_and_commands_that_exist(make_server: Any) -> None:
    told = make_server().client().get("/metrics").text
    kinds = set(re.findall(r"^# TYPE (\w+)", told, re.MULTILINE))
    rules = [
        rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    ]
    assert len({rule["alert"] for rule in rules}) == len(rules) > 0
    for rule in rules:
        named = re.findall(r"session_tasks_\w+", rule["expr"])
        assert named, rule
        assert set(named) <= kinds, rule
        assert set(rule["annotations"]) == {"summary", "action"}
