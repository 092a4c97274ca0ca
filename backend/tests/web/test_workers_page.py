"""The page of workers: for administrators, true, and harmless whatever a host is called."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from app.models.access import KeyRole
from tests.worker_rows import add_worker

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

    from tests.live_server import LiveServer


@pytest.fixture
def admin(server: LiveServer) -> httpx.Client:
    browser = server.client(None, accept="text/html", origin=server.url)
    browser.post("/sign-in", data={"key": server.key(role=KeyRole.ADMIN)})
    return browser


def test_a_worker_is_shown_and_drained(admin: httpx.Client, server: LiveServer) -> None:
    worker_id = add_worker(server.database, host="<b>alpha")
    shown = admin.get("/workers").text
    assert "&lt;b&gt;alpha" in shown
    assert worker_id.hex[:8] in shown
    answer = admin.post(f"/workers/{worker_id}/drain")
    assert answer.status_code == 303
    shown = admin.get("/workers").text
    assert f"Worker {worker_id.hex[:8]} drains" in shown
    assert "Draining" in shown


def test_a_worker_that_has_left_is_said_to_have(admin: httpx.Client) -> None:
    assert admin.post(f"/workers/{uuid.uuid4()}/drain").status_code == 303
    assert "cannot be drained: it has left" in admin.get("/workers").text


def test_viewers_look_at_workers_and_are_offered_nothing(server: LiveServer) -> None:
    worker_id = add_worker(server.database, session_ids=[uuid.uuid4()])
    browser = server.client(None, accept="text/html", origin=server.url)
    browser.post("/sign-in", data={"key": server.key(role=KeyRole.VIEWER)})
    assert 'href="/workers"' in browser.get("/").text
    shown = browser.get("/workers").text
    assert worker_id.hex[:8] in shown
    assert "Claims" in shown
    assert "/workers/pause" not in shown
    assert "/drain" not in shown
    assert browser.post("/workers/pause", data={"task_type": "export"}).status_code == 403


def test_workers_are_for_administrators_and_viewers(sign_in: Callable[[str], httpx.Client]) -> None:
    browser = sign_in(f"owner-{uuid.uuid4()}")
    assert browser.get("/workers").status_code == 403
    assert 'href="/workers"' not in browser.get("/").text
