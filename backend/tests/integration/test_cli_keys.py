"""`session-tasks keys`: made, shown once, listed without secrets, revoked; and `login`."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from app.repositories.access_repository import AccessRepository
from app.repositories.sign_in_codes import SignInCodes

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database
    from app.repositories.access_repository import Principal


ADDRESS = "http://127.0.0.1:8765"


@pytest.fixture
def keys(cli: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    """Runs `keys …`; see `cli`."""
    return partial(cli, "keys")


def recognised(database: Database, key: str) -> Principal | None:
    with database.transaction() as db:
        return AccessRepository(db).recognise(key)


def test_key_lives_from_its_making_to_its_revocation(keys: Any, database: Database) -> None:
    code, text = keys("create", "--owner", "alice", "--role", "admin", "--name", "laptop")
    assert code == 0
    key = text.strip()
    known = recognised(database, key)
    assert known is not None
    assert (known.owner, known.role.value) == ("alice", "admin")
    _, listed = keys("list")
    assert (known.key_id in listed, "alice" in listed, "laptop" in listed) == (True, True, True)
    assert key.partition(".")[2] not in listed
    assert keys("revoke", known.key_id)[0] == 0
    assert recognised(database, key) is None
    assert "revoked" in keys("list")[1]
    code, text = keys("revoke", known.key_id)
    assert code == 3
    assert "keys list" in text


def test_scripts_get_json_and_keys_that_end(keys: Any, database: Database) -> None:
    assert json.loads(keys("list", "--json")[1]) == {"keys": []}
    made = json.loads(keys("create", "--days", "0.001", "--json")[1])
    assert (made["owner"], made["role"], made["state"]) == ("local", "user", "valid")
    assert made["expires_at"] is not None
    assert recognised(database, made.pop("key")) is not None
    (listed,) = json.loads(keys("list", "--json")[1])["keys"]
    assert listed["last_used_at"] is not None
    assert {**listed, "last_used_at": None} == made


@pytest.mark.parametrize(
    "wrong", [["--owner", " "], ["--owner", "x" * 201], ["--owner", "a\nb"], ["--days", "1e300"]]
)
def test_wrong_wish_makes_no_key(keys: Any, wrong: list[str]) -> None:
    assert keys("create", *wrong)[0] == 2
    assert json.loads(keys("list", "--json")[1]) == {"keys": []}


@pytest.fixture
def login(cli: Callable[..., tuple[int, str]]) -> Callable[..., tuple[int, str]]:
    """Runs `login …`; see `cli`."""
    return partial(cli, "login")


def test_link_signs_in_as_the_owners_administrator(
    keys: Any, login: Any, database: Database
) -> None:
    keys("create", "--role", "admin")
    keys("create")
    keys("create", "--owner", "ada")
    for options, owner, role in (
        ((), "local", "admin"),
        (("--owner", "ada"), "ada", "user"),
        (("--owner", "ada", "--url", "https://tasks.example.com/"), "ada", "user"),
    ):
        code, text = login(*options)
        assert code == 0
        address, _, secret = text.strip().partition("/login?code=")
        assert address == ("https://tasks.example.com" if "--url" in options else ADDRESS)
        with database.transaction() as db:
            principal = SignInCodes(db).redeem(secret)
        assert principal is not None
        assert (principal.owner, principal.role.value) == (owner, role)


def test_link_for_one_key_is_given_to_scripts(keys: Any, login: Any, database: Database) -> None:
    made = json.loads(keys("create", "--owner", "ada", "--json")[1])
    told = json.loads(login("--key", made["id"], "--json")[1])
    assert told["expires_in_seconds"] == 3600
    with database.transaction() as db:
        principal = SignInCodes(db).redeem(told["url"].partition("code=")[2])
    assert principal is not None
    assert principal.key_id == made["id"]


@pytest.mark.parametrize(
    ("options", "expected", "said"),
    [
        ((), 3, "keys create"),
        (("--owner", "nobody"), 3, "nobody has no usable key"),
        (("--key", "0123456789abcdef"), 3, "keys list"),
        (("--url", "tasks.example.com"), 2, "not the address of a server"),
        (("--url", "http://[::1"), 2, "not the address of a server"),
        (("--url", "ftp://tasks.example.com"), 2, "not the address of a server"),
    ],
)
def test_link_that_cannot_be_made_says_why(
    login: Any, options: tuple[str, ...], expected: int, said: str
) -> None:
    code, text = login(*options)
    assert code == expected
    assert said in text


def test_link_to_a_port_that_nobody_knows_needs_an_address(
    login: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSION_TASKS_PORT", "0")
    code, text = login()
    assert code == 2
    assert "--url" in text
