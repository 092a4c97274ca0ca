"""The stand-in itself: an HTTP server over a site, each request and response held to the contract.

::

    with JiraStandIn() as jira:
        jira.site.add_project("SHOP")
        account = jira.site.add_account("Ann Other", token="secret")
        jira.misbehave(Fault(says=Says.HALF))
        ...
        assert jira.violations == []
"""

from __future__ import annotations

import base64
import collections
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

from tests.jira_stand_in.contract import (
    ContractViolation,
    Operation,
    check_request,
    check_response,
    find_operation,
)
from tests.jira_stand_in.misbehaving import Does, Fault, Says
from tests.jira_stand_in.operations import OPERATIONS, Response, create_issues
from tests.jira_stand_in.site import Account, Site

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

HTML = b"<!DOCTYPE html><html><body><h1>Your site is being prepared</h1></body></html>"
RATE_WINDOW_SECONDS = 1.0


class JiraStandIn(ThreadingHTTPServer):
    """A site that listens on loopback while it is entered.

    Attributes:
        violations: what broke the contract, on either side; a test ends with none.
        requests: (operation, account id or "", `Authorization` header) of all requests so far.
        choose_fault: asked for each request that no `misbehave` is meant for.
        seconds_each: how long every operation takes, by its id; "" for all others.
        requests_per_second: beyond so many, 429; None: no limit.

    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self.server_port}"
        self.site = Site(self.url)
        self.violations: list[str] = []
        self.requests: list[tuple[str, str, str]] = []
        self.seconds_each: dict[str, float] = {}
        self.requests_per_second: int | None = None
        self.choose_fault: Callable[[str], Fault | None] = lambda _operation: None
        self.is_stopping = threading.Event()
        self._faults: collections.deque[Fault] = collections.deque()
        self._recent: collections.deque[float] = collections.deque()
        self._lock = threading.Lock()
        self._thread = threading.Thread(
            target=self.serve_forever, args=(0.01,), name="jira-stand-in", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc_info: object) -> None:
        self.is_stopping.set()
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up, which killed ones do; report anything else."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    def misbehave(self, *faults: Fault) -> None:
        """Have the next requests that these are meant for go wrong, one fault each."""
        with self._lock:
            self._faults.extend(faults)

    def fault_for(self, operation: str) -> Fault | None:
        """Return what goes wrong with this request."""
        with self._lock:
            for fault in self._faults:
                if fault.operation in {"", operation}:
                    self._faults.remove(fault)
                    return fault
        return self.choose_fault(operation)

    def is_over_limit(self) -> bool:
        """Count a request; say whether there were too many in the last second."""
        if self.requests_per_second is None:
            return False
        with self._lock:
            now = time.monotonic()
            while self._recent and self._recent[0] < now - RATE_WINDOW_SECONDS:
                self._recent.popleft()
            if len(self._recent) >= self.requests_per_second:
                return True
            self._recent.append(now)
            return False

    def account_of(self, authorization: str) -> Account | None:
        """Return the account of a `Basic` (address and token) or `Bearer` (token) header."""
        scheme, _, credentials = authorization.partition(" ")
        email = ""
        if scheme == "Basic":
            try:
                email, _, credentials = base64.b64decode(credentials).decode().partition(":")
            except ValueError:
                return None
        for account in self.site.accounts:
            if account.token and account.token == credentials and email in {"", account.email}:
                return account
        return None


class _Handler(BaseHTTPRequestHandler):
    server: JiraStandIn
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def do_DELETE(self) -> None:
        self._serve()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        if len(body) < length:  # the client died while it sent
            self.close_connection = True
            return
        operation = find_operation(self.command, url.path)
        authorization = self.headers.get("Authorization", "")
        account = self.server.account_of(authorization)
        name = operation.id if operation else f"{self.command} {url.path}"
        self.server.requests.append((name, account.account_id if account else "", authorization))
        if operation is None:
            self._violation(f"{name} is not in Atlassian's document")
            self._write(Response(404, {"errorMessages": ["No such resource."], "errors": {}}))
            return
        fault = self.server.fault_for(operation.id) or Fault(operation.id)
        try:
            given = check_request(
                operation,
                parse_qsl(url.query, keep_blank_values=True),
                self.headers.get("Content-Type", ""),
                body,
            )
        except ContractViolation as violation:
            self._violation(f"request: {violation}")
            self._write(Response(400, {"errorMessages": [str(violation)], "errors": {}}))
            return
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        self._answer(operation, account, query, given, fault)

    def _answer(
        self,
        operation: Operation,
        account: Account | None,
        query: dict[str, str],
        given: Any,
        fault: Fault,
    ) -> None:
        each = self.server.seconds_each
        self._wait(fault.seconds_before + each.get(operation.id, each.get("", 0.0)))
        if self.server.is_over_limit():
            self._write(_refusal(429, "1"))
            return

        def work() -> Response:
            if fault.does is Does.SOME:
                given["issueUpdates"] = given["issueUpdates"][: fault.count]
            return self._respond(operation, account, query, given, fault.refused)

        response = Response(200, None)
        if fault.does in {Does.ALL, Does.SOME}:
            response = work()
            self._wait(fault.seconds_after)
        elif fault.does is Does.LATER:
            threading.Timer(fault.seconds_after, work).start()
        self._say(response, fault)

    def _respond(
        self,
        operation: Operation,
        account: Account | None,
        query: dict[str, str],
        given: Any,
        refused: frozenset[int],
    ) -> Response:
        if account is None or not account.is_active:
            return Response(401, None)
        if operation.id == "createIssues":
            response = create_issues(self.server.site, account, given, refused)
        elif operation.id not in OPERATIONS:
            self._violation(f"the stand-in does not know {operation.id}")
            return Response(501, None)
        else:
            response = OPERATIONS[operation.id](
                self.server.site, account, operation.arguments, query, given
            )
        try:
            check_response(operation, response.status, "application/json", response.encoded())
        except ContractViolation as violation:
            self._violation(f"response: {violation}")
        return response

    def _say(self, response: Response, fault: Fault) -> None:
        match fault.says:
            case Says.TRUTH:
                self._write(response)
            case Says.NOTHING:
                self.close_connection = True
            case Says.HALF:
                self._write(response, share=0.5)
            case Says.STATUS:
                self._write(_refusal(fault.status, fault.retry_after))
            case Says.HTML:
                self._write(Response(200, None, content=HTML))
            case Says.REDIRECT:
                self._write(Response(302, None, headers={"Location": fault.location}))
            case Says.FEWER:
                response.body["issues"] = response.body["issues"][1:]
                self._write(response)

    def _write(self, response: Response, share: float = 1.0) -> None:
        content = response.encoded()
        html = response.content is not None
        self.send_response(response.status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.server.requests_per_second is not None:
            self.send_header("X-RateLimit-Limit", str(self.server.requests_per_second))
        for name, value in response.headers.items():
            self.send_header(name, value)
        if share < 1:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content[: int(len(content) * share)])

    def _wait(self, seconds: float) -> None:
        if seconds:
            self.server.is_stopping.wait(seconds)

    def _violation(self, what: str) -> None:
        self.server.violations.append(what)


def _refusal(status: int, retry_after: str | None) -> Response:
    headers = {}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
        if retry_after.isdigit():
            reset = datetime.now(UTC) + timedelta(seconds=int(retry_after))
            headers["X-RateLimit-Reset"] = reset.strftime("%Y-%m-%dT%H:%MZ")
    return Response(status, {"errorMessages": ["Try again later."], "errors": {}}, headers=headers)
