"""Jira Cloud's REST API, version 3, as far as a delivery needs it.

Requests that only read are repeated until they succeed or `patience_seconds` have passed; one
that creates is sent again only where it cannot have been carried out. Rate limits are obeyed, and
no redirect is followed: credentials go to the site's own address and nowhere else.

httpx, because its errors tell a request that was never sent from one whose response was lost,
which decides whether an issue may be created twice; because each phase of a request has a timeout
of its own; and because it takes proxies and certificates from the environment (`HTTPS_PROXY`,
`NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR`) and is typed.
"""

from __future__ import annotations

import logging
import threading
import time
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from app.core.wording import duration_text
from app.tasks.jira.errors import JiraDenied, JiraRefused, JiraUnavailable, OutcomeUnknown
from app.tasks.jira.waiting import (
    LONGEST_WAIT_SECONDS,
    backoff,
    exhausted_wait,
    moment_of,
    requested_wait,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from app.tasks.jira.sites import JiraSite

for _name in ("httpx", "httpcore"):  # a line at INFO for each request says less than our progress
    logging.getLogger(_name).setLevel(logging.WARNING)

API = "/rest/api/3"
SECONDS_TO_CONNECT = 10.0
ITEMS_PER_PAGE = 200
"""The most that `createmeta` lists at a time."""

ISSUES_PER_PAGE = 100
ISSUES_PER_FETCH = 100
"""The most that `issue/bulkfetch` takes."""

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
_TEMPORARY = frozenset((408, 425, 429, 500, 502, 503, 504))
_LONGEST_REASON = 300


class JiraClient:
    """A connection to one site; safe to use from many threads, and a context manager.

    `wait(seconds, reason)` is called where the site asks for patience: it sleeps, and may raise to
    give up.
    """

    def __init__(
        self,
        site: JiraSite,
        *,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 600.0,
        wait: Callable[[float, str], None] = lambda seconds, _reason: time.sleep(seconds),
    ) -> None:
        token = site.token.get_secret_value()
        auth = httpx.BasicAuth(site.email, token) if site.email else None
        headers = {
            "Accept": "application/json",
            "User-Agent": f"session-tasks/{version('session-tasks')}",
        }
        if auth is None:
            headers["Authorization"] = f"Bearer {token}"
        self.site = site
        self._patience_seconds = patience_seconds
        self._wait = wait
        self._lock = threading.Lock()
        self._paused_until = 0.0
        self._clock_ahead = 0.0
        self._http = httpx.Client(
            base_url=site.url + API,
            auth=auth,
            headers=headers,
            timeout=httpx.Timeout(
                timeout_seconds, connect=min(SECONDS_TO_CONNECT, timeout_seconds)
            ),
            follow_redirects=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self._http.close()

    def site_time(self) -> float:
        """Return the site's present time in seconds since 1970, by its last response's `Date`."""
        return time.time() + self._clock_ahead

    # -- the account and the project --------------------------------------------------------------

    def myself(self) -> dict[str, Any]:
        """Return the account that signed in: `accountId`, `displayName`, …."""
        return self._object(self.read("GET", "/myself"))

    def server_info(self) -> dict[str, Any]:
        """Return what the site says of itself: `baseUrl`, `version`, …."""
        return self._object(self.read("GET", "/serverInfo"))

    def permissions(self, project: str, names: Sequence[str]) -> dict[str, bool]:
        """Return which of these rights the account has in the project.

        Raises:
            JiraRefused: there is no such project, or the account may not see it.

        """
        answer = self.read(
            "GET", "/mypermissions", params={"projectKey": project, "permissions": ",".join(names)}
        )
        held = self._object(self._object(answer).get("permissions"))
        return {name: bool(held.get(name, {}).get("havePermission")) for name in names}

    def issue_types(self, project: str) -> list[dict[str, Any]]:
        """Return the issue types that the account may create in the project."""
        path = f"/issue/createmeta/{quote(project, safe='')}/issuetypes"
        return list(self._pages(path, "issueTypes", "createMetaIssueType"))

    def screen(self, project: str, issue_type_id: str) -> list[dict[str, Any]]:
        """Return the fields of the create screen of an issue type."""
        path = f"/issue/createmeta/{quote(project, safe='')}/issuetypes/{quote(issue_type_id)}"
        return list(self._pages(path, "fields", "results"))

    def components(self, project: str) -> list[dict[str, Any]]:
        """Return the components of the project."""
        return self._objects(self.read("GET", f"/project/{quote(project, safe='')}/components"))

    def versions(self, project: str) -> list[dict[str, Any]]:
        """Return the versions of the project."""
        return self._objects(self.read("GET", f"/project/{quote(project, safe='')}/versions"))

    def assignable_users(self, project: str, **match: str) -> list[dict[str, Any]]:
        """Return users that issues may be assigned to, by `query=` or `accountId=`."""
        params = {"project": project, "maxResults": "50"} | match
        return self._objects(self.read("GET", "/user/assignable/search", params=params))

    # -- issues -----------------------------------------------------------------------------------

    def search(
        self, jql: str, *, fields: Sequence[str], properties: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Yield the issues that the index finds; it may lag behind what was created."""
        asked: dict[str, Any] = {
            "jql": jql,
            "fields": list(fields),
            "properties": list(properties),
            "maxResults": ISSUES_PER_PAGE,
        }
        while True:
            page = self._object(self.read("POST", "/search/jql", json=asked))
            yield from self._objects(page.get("issues", []))
            token = page.get("nextPageToken")
            if not token or page.get("isLast") is True:
                return
            asked["nextPageToken"] = token

    def fetch(
        self, keys: Sequence[str], *, fields: Sequence[str], properties: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Return up to 100 issues as they are now; those that cannot be seen are left out."""
        asked = {
            "issueIdsOrKeys": list(keys),
            "fields": list(fields),
            "properties": list(properties),
        }
        page = self._object(self.read("POST", "/issue/bulkfetch", json=asked))
        return self._objects(page.get("issues", []))

    def create(self, body: bytes) -> dict[str, Any]:
        """Send one body of `POST /issue/bulk`, and return Jira's `issues` and `errors`.

        Sent again only where it cannot have been carried out.

        Raises:
            OutcomeUnknown: it may have been carried out.
            JiraUnavailable: it was not, and patience is at its end.
            JiraDenied, JiraRefused: it was not.

        """
        patience = _Patience(self._patience_seconds)
        while True:
            self._await_turn()
            try:
                response = self._http.post(
                    "/issue/bulk", content=body, headers={"Content-Type": "application/json"}
                )
            except _NEVER_SENT as error:
                self._pause(patience, self._unreachable(error))
                continue
            except httpx.TransportError as error:
                raise OutcomeUnknown(self._unreachable(error)) from error
            self._note_clock(response)
            if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                self._pause(patience, self._problem(response), response.headers)
                continue
            self._heed(response)
            return self._created(response)

    def _created(self, response: httpx.Response) -> dict[str, Any]:
        answer = _json(response)
        if response.status_code in {httpx.codes.CREATED, httpx.codes.BAD_REQUEST}:
            if isinstance(answer, dict) and isinstance(answer.get("errors", []), list):
                return answer
            if response.status_code == httpx.codes.BAD_REQUEST:
                self._refuse(response, answer)
        elif not _may_have_been_done(response):
            self._refuse(response, answer)
        raise OutcomeUnknown(self._problem(response), wait_seconds=requested_wait(response.headers))

    # -- requests ---------------------------------------------------------------------------------

    def read(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
    ) -> Any:
        """Send a request that changes nothing until it succeeds, and return its JSON.

        Raises:
            JiraUnavailable: patience is at its end.
            JiraDenied: the account is refused, or this is no Jira.
            JiraRefused: the request is refused.

        """
        patience = _Patience(self._patience_seconds)
        while True:
            self._await_turn()
            try:
                response = self._http.request(method, path, params=params, json=json)
            except httpx.TransportError as error:
                self._pause(patience, self._unreachable(error))
                continue
            self._note_clock(response)
            answer = _json(response)
            if response.is_success and answer is not None:
                self._heed(response)
                return answer
            if response.status_code not in _TEMPORARY and not response.is_success:
                self._refuse(response, answer)
            self._pause(patience, self._problem(response), response.headers)

    def _pages(self, path: str, *names: str) -> Iterator[dict[str, Any]]:
        start = 0
        while True:
            params = {"startAt": start, "maxResults": ITEMS_PER_PAGE}
            page = self._object(self.read("GET", path, params=params))
            items = self._objects(next((page[name] for name in names if page.get(name)), []))
            yield from items
            start += len(items)
            if not items or start >= int(page.get("total") or 0):
                return

    def _await_turn(self) -> None:
        """Wait while the site asks for patience."""
        with self._lock:
            seconds = self._paused_until - time.monotonic()
        if seconds > 0:
            self._wait(seconds, "Jira asks to wait")

    def _heed(self, response: httpx.Response) -> None:
        """Let the next request wait if this one was the last that the rate limit allows."""
        self._hold(exhausted_wait(response.headers))

    def _note_clock(self, response: httpx.Response) -> None:
        moment = moment_of(response.headers.get("Date"))
        if moment is not None:
            self._clock_ahead = moment.timestamp() - time.time()

    def _hold(self, seconds: float) -> None:
        with self._lock:
            self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    def _pause(
        self, patience: _Patience, problem: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Wait before the next try.

        Raises:
            JiraUnavailable: it has been tried for long enough.

        """
        requested = requested_wait(headers or {})
        seconds = patience.next_pause(requested)
        if seconds is None:
            tried = duration_text(patience.passed_seconds)
            raise JiraUnavailable(f"{problem} (tried for {tried})")
        if requested is not None:
            self._hold(seconds)  # every thread waits; the next request does so
        else:
            self._wait(seconds, problem)

    def _refuse(self, response: httpx.Response, answer: Any) -> NoReturn:
        """Raise what a definite refusal means."""
        status = response.status_code
        problem = self._problem(response)
        if response.is_redirect:
            raise JiraDenied(
                f"{self.site.url} redirects to {response.headers.get('Location', 'elsewhere')!r}",
                next_step="Set the site's URL to the address that it moved to.",
            )
        if status in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}:
            raise JiraDenied(
                f"Jira refuses the account: {problem}",
                next_step="Check the email and the API token, which may have expired or been "
                "revoked, and the account's rights.",
            )
        errors, messages = reasons_of(answer)
        if status == httpx.codes.NOT_FOUND and not (errors or messages):
            raise JiraDenied(
                f"{response.request.url} is not there: this is no Jira Cloud site, or the account "
                "may not see what was asked for",
                next_step="Check the site's URL and the project key.",
            )
        raise JiraRefused(problem, status, errors, messages)

    def _unreachable(self, error: httpx.TransportError) -> str:
        """Return why no response came.

        Raises:
            JiraDenied: the site's certificate is not trusted, so nothing was sent.

        """
        said = str(error) or type(error).__name__
        if "CERTIFICATE_VERIFY_FAILED" in said:
            raise JiraDenied(
                f"{self.site.url} has a certificate that is not trusted: {said}",
                next_step="Name the certificate of the authority that signed it, or of the proxy "
                "that replaced it, in SSL_CERT_FILE.",
            ) from error
        url = urlsplit(self.site.url)
        proxy = "" if proxy_bypass(url.netloc) else getproxies().get(url.scheme, "")
        host = urlsplit(proxy if "//" in proxy else f"//{proxy}").hostname
        through = f" through the proxy {host}" if host else ""
        return f"{self.site.url} cannot be reached{through}: {said}"

    def _problem(self, response: httpx.Response) -> str:
        """Return what a response says of what is wrong, in one line."""
        errors, messages = reasons_of(_json(response))
        said = "; ".join([*messages, *(f"{name}: {reason}" for name, reason in errors.items())])
        if not said and "json" not in response.headers.get("Content-Type", ""):
            kind = response.headers.get("Content-Type", "").partition(";")[0] or "nothing"
            said = f"it sent {kind} where JSON should be"
        status = f"{response.status_code} {response.reason_phrase}".strip()
        said = said[:_LONGEST_REASON]
        return f"{self.site.url} responds with {status}{': ' + said if said else ''}"

    def _object(self, value: Any) -> dict[str, Any]:
        return value if isinstance(value, dict) else self._surprised()

    def _objects(self, value: Any) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            self._surprised()
        return [self._object(each) for each in value]

    def _surprised(self) -> NoReturn:
        raise JiraDenied(
            f"{self.site.url} responds, but not as Jira Cloud does",
            next_step="Check the site's URL: it should be that of a Jira Cloud site.",
        )


class _Patience:
    """How long one request has been tried."""

    def __init__(self, seconds: float) -> None:
        self._began_at = time.monotonic()
        self._ends_at = self._began_at + seconds
        self._asked_until = self._ends_at + LONGEST_WAIT_SECONDS
        self._failures = 0

    @property
    def passed_seconds(self) -> float:
        return time.monotonic() - self._began_at

    def next_pause(self, requested: float | None) -> float | None:
        """Return how long to wait before the next try; None: there is none.

        A wait that the site asked for does not count, within what is believed at all.
        """
        self._failures += 1
        left = self._ends_at - time.monotonic()
        if left <= 0:
            return None
        if requested:
            self._ends_at = min(self._ends_at + requested, self._asked_until)
            return requested
        return min(backoff(self._failures), left)


def reasons_of(answer: Any) -> tuple[dict[str, str], list[str]]:
    """Return the reasons of an `ErrorCollection`, by field and without one."""
    if not isinstance(answer, dict):
        return {}, []
    errors, messages = answer.get("errors"), answer.get("errorMessages")
    return (
        {str(name): str(reason) for name, reason in errors.items()}
        if isinstance(errors, dict)
        else {},
        [str(message) for message in messages] if isinstance(messages, list) else [],
    )


def _json(response: httpx.Response) -> Any:
    """Return the response's JSON; None where it is none."""
    try:
        return response.json()
    except ValueError:
        return None


def _may_have_been_done(response: httpx.Response) -> bool:
    """Whether a response leaves it open that the request was carried out."""
    return response.is_server_error or response.is_success or response.status_code == 408  # noqa: PLR2004
