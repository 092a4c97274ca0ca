"""Invalid requests: a problem document or a closed connection, and nothing is created."""

from __future__ import annotations

import random
import socket
import string
from typing import TYPE_CHECKING, Any

import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

SESSIONS = "/api/v1/sessions"
BOUNDARY = "limit"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
NOTES = ("documents", ("notes.md", b"# First\n", "text/markdown"))


def document(name: bytes, content: bytes = b"# x\n") -> bytes:
    """A multipart body of one document, byte for byte."""
    return (
        b'--limit\r\nContent-Disposition: form-data; name="documents"; filename="'
        + name
        + b'"\r\n\r\n'
        + content
        + b"\r\n--limit--\r\n"
    )


@pytest.fixture
def refused(client: httpx.Client) -> Iterator[Callable[..., dict[str, Any]]]:
    """Send a request that is refused with a problem; check at the end that nothing was created."""

    def send(*, expect: int | set[int], **request: Any) -> dict[str, Any]:
        answer = client.post(request.pop("path", SESSIONS), **request)
        assert answer.status_code in ({expect} if isinstance(expect, int) else expect), answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        problem: dict[str, Any] = answer.json()
        assert problem["title"]
        assert problem["trace_id"]
        assert problem["next_step"]
        return problem

    yield send
    assert client.get(SESSIONS).json()["items"] == []


def test_body_of_a_gigabyte_is_refused_in_bounded_memory(
    client: httpx.Client, make_server: Any
) -> None:
    api = make_server(max_request_bytes=1_000_000)
    client = api.client(api.key())
    key = client.headers["Authorization"]
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
        connection.sendall(
            f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {key}\r\n"
            f"Content-Length: {1024**3}\r\n\r\n".encode()
        )
        assert b" 413 " in connection.recv(65_536)
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        yield document(b"big.md")[:80] + b"\r\n\r\n"
        for _ in range(1024):
            sent += 1024 * 1024
            yield bytes(1024 * 1024)

    before = psutil.Process().memory_info().rss
    try:
        answer = client.post(SESSIONS, content=endless(), headers=MULTIPART)
    except Exception as error:  # noqa: BLE001 - httpx has several errors for a closed connection
        assert "httpx" in type(error).__module__  # noqa: PT017 - either this or a response
    else:
        assert answer.status_code == 413
    assert sent < 200 * 1024**2
    assert psutil.Process().memory_info().rss - before < 200 * 1024**2
    assert client.get(SESSIONS).json()["items"] == []


def test_limits_on_documents_hold(make_server: Any) -> None:
    api = make_server(max_document_bytes=100, max_documents=3)
    client = api.client(api.key())
    big = ("documents", ("big.md", b"x" * 101))
    assert client.post(SESSIONS, files=[big]).status_code == 422
    many = [("documents", (f"{n}.md", b"# x")) for n in range(4)]
    assert client.post(SESSIONS, files=many).status_code in {400, 422}
    assert client.get(SESSIONS).json()["items"] == []


def test_form_of_a_million_fields_is_refused_in_bounded_memory(refused: Any) -> None:
    fields = b'--limit\r\nContent-Disposition: form-data; name="f"\r\n\r\n\r\n' * 1_000
    before = psutil.Process().memory_info().rss
    refused(expect=400, content=(fields for _ in range(1_000)), headers=MULTIPART)
    assert psutil.Process().memory_info().rss - before < 50 * 1024**2


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"{}", {"Content-Type": "application/json"}),
        (b"documents=x", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"# x", {"Content-Type": "text/markdown"}),
        (b"", {}),
        (b"no boundary", {"Content-Type": "multipart/form-data"}),
        (b"--limit\r\nnonsense", MULTIPART),
        (b"\x00" * 1000, MULTIPART),
        (document(b"notes.md")[:-20], MULTIPART),
        (document(b""), MULTIPART),
        (document(b".."), MULTIPART),
        (document(b"notes.exe"), MULTIPART),
        (document(b"x" * 300 + b".md"), MULTIPART),
        (document(b"notes.md", b""), MULTIPART),
    ],
)
def test_wrong_form_is_refused(refused: Any, content: bytes, headers: dict[str, str]) -> None:
    refused(expect={400, 422}, content=content, headers=headers)


def test_wrong_fields_are_refused(refused: Any) -> None:
    for data in (
        {"label": "x" * 201},
        {"label": "a\x00b"},
        {"split_level": "9"},
        {"auto_advance": "perhaps"},
        {"no_such_field": "x"},
        {"project_key": "x" * 256},
    ):
        problem = refused(expect=422, files=[NOTES], data=data)
        assert next(iter(data)) in str(problem["errors"])
    refused(expect=422, files=[NOTES, NOTES])
    refused(expect=422, files=[NOTES], headers={"Idempotency-Key": "x" * 256})
    refused(expect=422, files=[NOTES], headers={"Idempotency-Key": ""})


@pytest.mark.parametrize(
    "name", [b"../../../../tmp/evil.md", b"C:\\evil.md", b"/etc/evil.md", b"a\x00/evil.md"]
)
def test_path_in_a_name_goes_nowhere(client: httpx.Client, name: bytes) -> None:
    answer = client.post(SESSIONS, content=document(name), headers=MULTIPART)
    if answer.status_code == 201:
        assert client.get(answer.headers["Location"]).json()["documents"] == ["evil.md"]
    else:
        assert answer.status_code in {400, 422}


def test_ten_thousand_made_up_page_tokens_open_nothing(api: Any, client: httpx.Client) -> None:
    from app.api.paging import position_of_token, session_of_token  # noqa: PLC0415
    from app.api.problems import RequestInvalid  # noqa: PLC0415

    dice = random.Random(20_260_301)
    for _ in range(10_000):
        length = dice.choice((4, 7, 33, 34, dice.randrange(60)))
        token = "".join(dice.choices(string.ascii_letters + string.digits + "-_=.%é", k=length))
        for read in (session_of_token, position_of_token):
            try:
                read(token)
            except RequestInvalid:
                continue
    for token in ("", "x", "A" * 200, "A" * 201, "c\x00d", "éé", "cwAAAAAAAAAA" + "A" * 22):
        answer = client.get(SESSIONS, params={"page_token": token})
        assert answer.status_code in {200, 422}, token
        if answer.status_code == 200:
            assert answer.json()["items"] == []


def test_nul_and_odd_text_in_queries_are_refused_not_failed(client: httpx.Client) -> None:
    for params in (
        {"q": "\x00"},
        {"limit": "0"},
        {"limit": "9" * 30},
        {"stage": "no"},
        {"created_after": "yesterday"},
        {"created_after": "-9999-01-01"},
    ):
        assert client.get(SESSIONS, params=params).status_code == 422, params
    for moment in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        assert client.get(SESSIONS, params={"created_after": moment}).status_code in {200, 422}
    for session_id in ("x", "%00", "..%2f..", "0" * 4000):
        assert client.get(f"{SESSIONS}/{session_id}").status_code in {404, 422}
    broken = client.post(
        f"{SESSIONS}/00000000-0000-0000-0000-000000000000/task",
        content=b'{"task_type": ',
        headers={"Content-Type": "application/json"},
    )
    assert broken.status_code == 422


def test_huge_headers_and_silent_clients_are_hung_up_on(api: Any) -> None:
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: ")
        try:
            for _ in range(100):
                connection.sendall(b"x" * 65_536)
            answer = connection.recv(65_536)
        except OSError:
            answer = b""  # reset: the server closed the connection
    assert b" 200 " not in answer
    assert api.client().get("/healthz").status_code == 200


def test_client_that_does_not_finish_its_body_is_not_waited_for(make_server: Any) -> None:
    api = make_server(request_body_seconds=0.3)
    key = api.key()
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
        connection.sendall(
            f"POST {SESSIONS} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: multipart/form-data; boundary=limit\r\nContent-Length: 999\r\n\r\n"
            "--limit\r\n".encode()
        )
        answer = connection.recv(65_536)
    assert b" 408 " in answer
    assert api.client(key).get(SESSIONS).json()["items"] == []
