"""Which Jira site a session is delivered to, and how to sign in to it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.core.errors import ConfigurationError, ErrorCategory, MissingExtra
from app.core.hosts import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.config import Settings
    from app.tasks.jira.client import JiraClient

DEFAULT_SITE = "jira"
"""The target that stands for the settings `JIRA_URL`, `JIRA_EMAIL` and `JIRA_TOKEN`."""


@dataclass(frozen=True, slots=True)
class JiraSite:
    """A site's address, and the account that signs in to it.

    Attributes:
        target: what names it in `--to`: `jira`, or `jira:NAME`.
        url: without a slash at its end.
        email: of the account, for Basic authentication; None: the token is a bearer token.

    """

    target: str
    url: str
    email: str | None
    token: SecretStr


def find_site(settings: Settings, target: str) -> JiraSite:
    """Return the site that `target` names: `jira`, or `jira:NAME` for one of `JIRA_SITES`.

    Raises:
        ConfigurationError: there is no such target (`user_fixable`), or its settings are missing
            or cannot be used (`admin_required`).

    """
    kind, _, name = target.partition(":")
    if kind != DEFAULT_SITE:
        raise ConfigurationError(
            f"Sessions cannot be delivered to {target!r}",
            ErrorCategory.USER_FIXABLE,
            next_step="Choose jira, or jira:NAME for a site that has a name.",
        )
    if not name:
        prefix = "SESSION_TASKS_JIRA_"
        return _site(target, prefix, settings.jira_url, settings.jira_email, settings.jira_token)
    named = {key.lower(): site for key, site in settings.jira_sites.items()}.get(name.lower())
    if named is None:
        known = ", ".join(f"jira:{key}" for key in settings.jira_sites) or "none"
        raise ConfigurationError(
            f"There is no Jira site named {name!r}; named sites: {known}",
            ErrorCategory.USER_FIXABLE,
            next_step=f"Set SESSION_TASKS_JIRA_SITES__{name.upper()}__URL, __EMAIL and __TOKEN.",
        )
    prefix = f"SESSION_TASKS_JIRA_SITES__{name.upper()}__"
    return _site(target, prefix, named.url, named.email, named.token)


def configured_targets(settings: Settings) -> list[str]:
    """Return the targets that have settings, the default one first."""
    named = [f"{DEFAULT_SITE}:{name}" for name in settings.jira_sites]
    return [DEFAULT_SITE, *named] if settings.jira_url else named


def _site(
    target: str, prefix: str, url: str | None, email: str | None, token: SecretStr | None
) -> JiraSite:
    if not url or token is None or not token.get_secret_value().strip():
        has_token = token is not None and token.get_secret_value().strip()
        missing = [f"{prefix}URL"] * (not url) + [f"{prefix}TOKEN"] * (not has_token)
        raise ConfigurationError(
            f"Jira is not set up: {' and '.join(missing)} {'are' if missing[1:] else 'is'} missing",
            next_step=f"Set {prefix}URL, {prefix}EMAIL and {prefix}TOKEN.",
        )
    return JiraSite(
        target,
        _checked_url(url.strip(), f"{prefix}URL"),
        email.strip() if email and email.strip() else None,
        SecretStr(token.get_secret_value().strip()),
    )


def _checked_url(url: str, setting: str) -> str:
    try:
        parts = urlsplit(url)
        host, port_is_valid = parts.hostname or "", parts.port is None or parts.port > 0
    except ValueError:
        host, port_is_valid = "", False
    if not host or not port_is_valid or parts.scheme not in {"https", "http"}:
        problem = "is no web address"
    elif parts.username is not None or parts.password is not None:
        problem = "holds a user name or a password"
    elif parts.query or parts.fragment:
        problem = "holds more than an address and a path"
    elif parts.scheme == "http" and not is_loopback(host):
        problem = "is not https: the token would be sent in the clear"
    else:
        return url.rstrip("/")
    raise ConfigurationError(
        f"{setting} {problem}", next_step="Give an address such as https://example.atlassian.net."
    )


def open_client(
    settings: Settings,
    target: str,
    *,
    patience_seconds: float | None = None,
    wait: Callable[[float, str], None] = lambda seconds, _reason: time.sleep(seconds),
) -> JiraClient:
    """Return a client for the site that `target` names; it connects with its first request.

    Raises:
        ConfigurationError: as `find_site`; or the extra `jira` is not installed.

    """
    site = find_site(settings, target)
    try:
        from app.tasks.jira.client import JiraClient  # noqa: PLC0415 - needs the extra
    except ImportError as error:
        raise MissingExtra(f"--to {target}", "jira") from error
    return JiraClient(
        site,
        timeout_seconds=settings.jira_timeout_seconds,
        patience_seconds=patience_seconds or settings.jira_patience_seconds,
        wait=wait,
    )
