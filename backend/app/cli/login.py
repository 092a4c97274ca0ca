"""`login`: a link that signs one browser in to the dashboard, once."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

import typer

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings, opened_database
from app.cli.parameters import AsJson
from app.cli.terminal import Terminal
from app.core.errors import ConfigurationError, ErrorCategory
from app.models.session import LOCAL_OWNER
from app.repositories.sign_in_codes import LIFETIME, SignInCodes


def login_command(
    owner: Annotated[
        str, typer.Option(help="Sign in as this owner, with the newest of its keys.")
    ] = LOCAL_OWNER,
    key_id: Annotated[
        str | None,
        typer.Option("--key", metavar="ID", help="Sign in with this key, as `keys list` shows it."),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Address of `serve`, where it is not HOST and PORT."),
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Print a link that signs one browser in, once, within an hour.

    An administrator's key is preferred. The browser is signed out when the key is revoked or
    expires.
    """
    terminal = Terminal(is_json=as_json)
    settings = load_settings()
    address = _checked(url) if url is not None else _address(settings.host, settings.port)
    with opened_database(terminal, settings) as database, database.transaction() as db:
        code = SignInCodes(db).create_for(owner, key_id)
    link = link_of(address, code)
    if as_json:
        terminal.write_json({"url": link, "expires_in_seconds": int(LIFETIME.total_seconds())})
    else:
        terminal.say(link)
    return ExitCode.OK


def link_of(address: str, code: str) -> str:
    """Return the link that signs in with this code."""
    return f"{address}/login?code={code}"


def address_of(host: str, port: int) -> str:
    """Return the address of the server for a browser on this machine."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _address(host: str, port: int) -> str:
    if not port:
        raise ConfigurationError(
            "SESSION_TASKS_PORT is 0, so the port that `serve` uses is not known here",
            ErrorCategory.USER_FIXABLE,
            next_step="Give the address that it printed: --url http://127.0.0.1:PORT",
        )
    every_address = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - compared, not listened on
    return address_of(every_address.get(host, host), port)


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        is_address = False
    if not is_address:
        raise ConfigurationError(
            f"This is not the address of a server: {url}",
            ErrorCategory.USER_FIXABLE,
            next_step="Give one such as --url https://tasks.example.com",
        )
    return f"{parts.scheme}://{parts.netloc}"
