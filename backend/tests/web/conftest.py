"""A browser without rendering: cookies, forms and pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.live_server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

HTML = "text/html,application/xhtml+xml"


@pytest.fixture(scope="session")
def server(shared_database_url: str) -> Iterator[LiveServer]:
    """The server that the tests of pages share; each uses an owner of its own."""
    with LiveServer(shared_database_url, refusals_per_minute=1_000_000) as running:
        yield running


@pytest.fixture
def sign_in(server: LiveServer) -> Callable[[str], httpx.Client]:
    """Sign in as an owner; return the browser."""

    def signed_in(owner: str) -> httpx.Client:
        browser = server.client(None, accept=HTML, origin=server.url)
        answer = browser.post("/sign-in", data={"key": server.key(owner)})
        assert answer.status_code == 303
        return browser

    return signed_in
