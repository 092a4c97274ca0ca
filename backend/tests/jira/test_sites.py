"""Which site a target names, and which addresses are fit to send a token to."""

from __future__ import annotations

import pytest

from app.core.config import Settings
from app.core.errors import ConfigurationError, ErrorCategory
from app.tasks.jira.sites import configured_targets, find_site


def settings(**given: object) -> Settings:
    return Settings.model_validate(given)


def test_the_default_site_is_that_of_the_plain_settings() -> None:
    found = find_site(
        settings(jira_url="https://a.atlassian.net/", jira_email="a@b.c", jira_token="t"), "jira"
    )
    assert (found.url, found.email) == ("https://a.atlassian.net", "a@b.c")
    assert "t" not in str(found.token)


def test_other_sites_have_names_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSION_TASKS_JIRA_SITES__TEST__URL", "https://test.atlassian.net")
    monkeypatch.setenv("SESSION_TASKS_JIRA_SITES__TEST__TOKEN", "secret-of-test")
    read = Settings()
    assert configured_targets(read) == ["jira:test"]
    site = find_site(read, "jira:Test")
    assert (site.url, site.email, site.token.get_secret_value()) == (
        "https://test.atlassian.net",
        None,
        "secret-of-test",
    )
    assert "secret-of-test" not in f"{read!r} {read.model_dump_json()} {site!r}"


@pytest.mark.parametrize(
    ("target", "category"),
    [
        ("jira", ErrorCategory.ADMIN_REQUIRED),
        ("jira:none", ErrorCategory.USER_FIXABLE),
        ("files", ErrorCategory.USER_FIXABLE),
        ("", ErrorCategory.USER_FIXABLE),
    ],
)
def test_a_target_without_settings_is_refused(target: str, category: ErrorCategory) -> None:
    with pytest.raises(ConfigurationError) as refused:
        find_site(settings(), target)
    assert refused.value.category is category
    assert refused.value.next_step


@pytest.mark.parametrize(
    "url",
    [
        "http://example.atlassian.net",
        "ftp://example.atlassian.net",
        "example.atlassian.net",
        "https://user:password@example.atlassian.net",
        "https://example.atlassian.net/?a=b",
        "https://",
        "https://[::1",
        "https://example.atlassian.net:99999",
        "http://127.0.0.1.example.com",
    ],
)
def test_addresses_that_a_token_must_not_be_sent_to_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="SESSION_TASKS_JIRA_URL") as refused:
        find_site(settings(jira_url=url, jira_token="t"), "jira")
    assert "password" not in str(refused.value).replace("a password", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.atlassian.net",
        "https://api.atlassian.com/ex/jira/11111111-2222-3333-4444-555555555555/",
        "http://127.0.0.1:8099",
        "http://[::1]:8099",
        "http://localhost",
    ],
)
def test_https_and_loopback_are_taken(url: str) -> None:
    assert find_site(settings(jira_url=url, jira_token="t"), "jira").url == url.rstrip("/")
