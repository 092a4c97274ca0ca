"""Nobody is locked out by others, other origins' forms do nothing, requests are well formed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from app.api.failed_attempts import network_of

if TYPE_CHECKING:
    import httpx

SESSIONS = "/api/v1/sessions"


def altered(key: str) -> str:
    return key[:-1] + ("A" if key[-1] != "A" else "B")


def test_nobody_locks_the_form_for_others_of_the_same_address(make_server: Any) -> None:
    api = make_server(refusals_per_minute=3)
    mine, another = api.key(), api.key()
    browser = api.client(None, origin=api.url)

    def sign_in(key: str) -> int:
        return int(browser.post("/sign-in", data={"key": key}).status_code)

    wrong = altered(mine)
    assert [sign_in(wrong) for _ in range(5)] == [401, 401, 401, 429, 429]
    assert [sign_in("nonsense") for _ in range(5)] == [401, 401, 401, 429, 429]
    assert [api.client(wrong).get(SESSIONS).status_code for _ in range(2)] == [429, 429]
    assert sign_in(mine) == 303
    assert sign_in(altered(another)) == 401  # a person who mistypes reads so
    assert [sign_in(another) for _ in range(5)] == [303] * 5
    assert api.client(mine).get(SESSIONS).status_code == 200
    assert browser.get(SESSIONS).status_code == 200


def test_one_ipv6_network_is_one_somebody(make_server: Any) -> None:
    api = make_server(refusals_per_minute=2, trusted_proxies="127.0.0.1")

    def status(address: str) -> int:
        client: httpx.Client = api.client(None, **{"X-Forwarded-For": address})
        return client.get(SESSIONS).status_code

    assert [status(f"2001:db8:1:2::{n:x}") for n in range(4)] == [401, 401, 429, 429]
    assert [status(f"2001:db8:1:{n:x}::1") for n in range(3, 7)] == [401] * 4
    assert [status(f"::ffff:192.0.2.{n}") for n in range(4)] == [401] * 4


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("unknown", "unknown"),
        ("", ""),
    ],
)
def test_addresses_are_counted_by_who_has_them(address: str, network: str) -> None:
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("scheme", "host", "origin", "status"),
    [
        ("http", "localhost:8765", "http://localhost:8765", 303),
        ("http", "localhost:8765", "https://localhost:8765", 403),
        ("https", "localhost:8765", "http://localhost:8765", 403),
        ("https", "localhost", "https://localhost", 303),
        ("https", "localhost:443", "https://localhost", 303),
        ("http", "localhost:80", "http://localhost", 303),
        ("http", "localhost:443", "http://localhost", 403),
        ("http", "LocalHost:8765", "http://localhost:8765", 303),
        ("http", "localhost:8765", "http://localhost:8766", 403),
        ("http", "localhost:8765", "http://localhost", 403),
        ("http", "localhost:8765", "http://user@localhost:8765", 403),
        ("http", "localhost:8765", "http://localhost:8765.evil.example", 403),
        ("http", "localhost:8765", "null", 403),
        ("http", "localhost:8765", "", 403),
    ],
)
def test_origin_counts_with_its_scheme(
    make_server: Any, scheme: str, host: str, origin: str, status: int
) -> None:
    api = make_server(trusted_proxies="127.0.0.1")
    headers = {"host": host, "origin": origin, "x-forwarded-proto": scheme}
    answer = api.client(None, **headers).post("/sign-in", data={"key": api.key()})
    assert answer.status_code == status


def exchange(api: Any, request: str) -> str:
    with socket.create_connection(("127.0.0.1", api.server.port), timeout=30) as connection:
        connection.sendall(request.replace("\n", "\r\n").encode())
        received = b""
        while piece := connection.recv(65536):
            received += piece
    return received.decode()


@pytest.mark.parametrize(
    "hosts", ["Host: localhost\nHost: localhost\n", "Host: localhost\nhost: evil.example\n", ""]
)
@pytest.mark.parametrize("path", ["/healthz", SESSIONS, "/sign-in", "/static/icon.svg"])
def test_request_that_names_not_exactly_one_host_is_malformed(
    api: Any, hosts: str, path: str
) -> None:
    answer = exchange(api, f"GET {path} HTTP/1.1\n{hosts}Connection: close\n\n")
    assert answer.startswith("HTTP/1.1 400 ")
    assert "urn:session-tasks:problem:request-malformed" in answer
    assert "Host headers" in answer


@pytest.mark.parametrize("path", ["/", "/healthz", "/api/v1/events"])
def test_websockets_are_refused_without_advice_to_install_something(
    api: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    answer = exchange(
        api,
        f"GET {path} HTTP/1.1\nHost: localhost\nConnection: keep-alive, Upgrade\n"
        "Upgrade: WebSocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: AAAA\n\n",
    )
    assert answer.startswith("HTTP/1.1 400 ")
    assert "This server has no WebSockets" in answer
    told = [record.getMessage() for record in caplog.records]
    assert not [line for line in told if "pip install" in line or "pgrade" in line]


def test_client_that_offers_another_protocol_is_served_in_this_one(
    api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """As Java's client and `curl --http2` do with every request."""
    caplog.set_level("DEBUG")
    answer = exchange(
        api,
        f"GET {SESSIONS} HTTP/1.1\nHost: localhost\nAuthorization: Bearer {api.key()}\n"
        "Connection: close, Upgrade, HTTP2-Settings\nUpgrade: h2c\nHTTP2-Settings: AAMA\n\n",
    )
    assert answer.startswith("HTTP/1.1 200 ")
    told = [record.getMessage() for record in caplog.records]
    assert not [line for line in told if "pip install" in line or "pgrade" in line]
