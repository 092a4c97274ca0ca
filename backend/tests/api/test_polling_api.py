"""The fast route to the status: same responses, same limits, same access as the usual route."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute

if TYPE_CHECKING:
    import httpx
    import pytest


def long_way(path: str) -> str:
    """Return the same path, spelled so that only the usual route matches it."""
    head, session_id, tail = path.rsplit("/", 2)
    return f"{head}/{session_id.upper()}/{tail}"


def both(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    """Return the response, after checking that both routes give the same."""
    short = client.get(path, headers=headers)
    long = client.get(long_way(path), headers=headers)
    assert short.status_code == long.status_code
    assert _alike(short.headers) == _alike(long.headers)
    if short.headers.get("Content-Type") == "application/problem+json":
        assert _alike(short.json()) == _alike(long.json())
    else:
        assert short.content == long.content
    return short


def _alike(told: Any) -> dict[str, Any]:
    return {name: told[name] for name in told if name not in {"trace-id", "trace_id", "date"}}


def test_both_ways_answer_alike(
    api: Any, client: httpx.Client, stranger: httpx.Client, open_session: Any
) -> None:
    task = f"{open_session(client)}/task"
    fresh = both(client, task)
    assert fresh.status_code == 200
    client.post(task)
    running = both(client, task)
    assert running.json()["status"] == "running"
    assert running.headers["ETag"] != fresh.headers["ETag"]
    known = both(client, task, **{"If-None-Match": running.headers["ETag"]})
    assert (known.status_code, known.content) == (304, b"")
    assert both(client, task, **{"If-None-Match": "x" * 1001}).status_code == 422
    assert both(stranger, task).status_code == 404
    assert both(client, f"/api/v1/sessions/{uuid.uuid4()}/task").status_code == 404
    assert both(api.client(), task).status_code == 401
    figures = api.client().get("/metrics").text
    assert task not in figures
    assert 'route="/api/v1/sessions/{session_id}/task",status="304"' in figures


def test_other_methods_take_the_long_way(client: httpx.Client, open_session: Any) -> None:
    task = f"{open_session(client)}/task"
    for method in ("HEAD", "PUT", "DELETE", "OPTIONS"):
        assert client.request(method, task).status_code == 405
    assert client.post(task).status_code == 202


def test_usual_form_never_comes_to_the_router(
    client: httpx.Client, open_session: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = f"{open_session(client)}/task"
    routed: list[str] = []
    handle = APIRoute.handle

    async def noted(self: APIRoute, scope: Any, receive: Any, send: Any) -> None:
        routed.append(scope["path"])
        await handle(self, scope, receive, send)

    monkeypatch.setattr(APIRoute, "handle", noted)
    both(client, task)
    assert routed == [long_way(task)]
