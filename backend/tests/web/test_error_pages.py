"""Error pages say in words what is wrong, and lead back."""

from __future__ import annotations

import re
import uuid
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import httpx

SESSION = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("method", "path", "status", "said", "way_back"),
    [
        ("GET", "/nowhere", 404, "There is no page at this address", "/sessions"),
        ("GET", "/sessions/abc", 404, "There is no session “abc”", "/sessions"),
        ("GET", f"/sessions/{SESSION}/tickets/x", 404, "no page at this address", "SESSION"),
        ("GET", f"/sessions/{SESSION}/tickets/9", 404, f"no session {SESSION}", "SESSION"),
        ("GET", f"/sessions/{SESSION}?after=-3", 422, "The address has a value", "/sessions"),
        ("POST", f"/sessions/{SESSION}/cancel", 422, "The form has a value", "SESSION"),
        ("GET", "/new/preview", 405, "This address only takes what a form sends", "/sessions"),
    ],
)
def test_an_error_page_is_words_and_leads_back(  # noqa: PLR0913, PLR0917 - one case
    sign_in: Callable[[str], httpx.Client],
    method: str,
    path: str,
    status: int,
    said: str,
    way_back: str,
) -> None:
    answer = sign_in("reader").request(method, path)
    assert answer.status_code == status
    heading = re.search(r"<h1>(.*?)</h1>", answer.text)
    assert heading is not None
    assert said in heading[1]
    first = re.search(r'<a class="button primary" href="(/sessions[^"]*)">To', answer.text)
    assert first is not None
    assert first[1] == way_back.replace("SESSION", f"/sessions/{SESSION}")
    for of_the_api in ("openapi", "`errors`", "Method Not Allowed", "query."):
        assert of_the_api not in answer.text
