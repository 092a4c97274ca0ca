"""Which server a request means, and which page a browser sends it from."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from app.api.problems import NotAllowed, RequestInvalid, RequestMalformed

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.datastructures import Headers
    from starlette.types import Scope

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_host(scope: Scope, headers: Headers, hosts: Collection[str]) -> None:
    """Refuse a request that names no server or several, or another than ours (DNS rebinding).

    Args:
        scope: the request.
        headers: its headers.
        hosts: our names, in lower case; none: any is taken.

    Raises:
        RequestMalformed: it has not the one header Host (RFC 9112, section 3.2).
        RequestInvalid: the host is not ours.

    """
    named = headers.getlist("host")
    if len(named) > 1 or (not named and scope["http_version"] == "1.1"):
        raise RequestMalformed(
            f"The request has {len(named) or 'no'} Host headers",
            next_step="Send one; what stands between client and server may have added another.",
        )
    if hosts and _host_name(named[0] if named else "") not in hosts:
        raise RequestInvalid(
            "This server does not answer for that host",
            next_step="Use its own name, or add it to SESSION_TASKS_ALLOWED_HOSTS.",
        )


def require_same_origin(scope: Scope, headers: Headers) -> None:
    """Refuse what a page of another origin has a browser send.

    Browsers say where a request comes from in `Sec-Fetch-Site`; where that is missing (old ones,
    and plain http but for loopback) their `Origin` must be ours: scheme, host and port.

    Raises:
        NotAllowed: it is another origin's, or says nothing of that.

    """
    site = headers.get("sec-fetch-site")
    is_ours = (
        site in {"same-origin", "none"}
        if site is not None
        else headers.get("origin", "").lower() == _own_origin(scope, headers)
    )
    if not is_ours:
        raise NotAllowed(
            "A page of another origin may not act with this browser's key",
            next_step="Send the key as a Bearer token, in the header Authorization.",
        )


def _own_origin(scope: Scope, headers: Headers) -> str:
    """Return our origin as a browser spells it: without the scheme's own port."""
    scheme, host = scope["scheme"], headers.get("host", "").lower()
    return f"{scheme}://{host.removesuffix(_DEFAULT_PORTS.get(scheme, ''))}"


def _host_name(host: str) -> str:
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
