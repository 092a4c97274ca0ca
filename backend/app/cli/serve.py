"""`serve`: the API and the dashboard, and a worker inside it or, for a fleet, its dispatcher."""

from __future__ import annotations

import contextlib
import ipaddress
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.commands import without_garbage_collection
from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings
from app.cli.terminal import Terminal
from app.core.config import EngineName
from app.core.database import Database
from app.core.errors import ConfigurationError, ErrorCategory
from app.engines.dispatch import dispatcher
from app.engines.tracing import traced
from app.engines.worker import Worker
from app.models.access import KeyRole
from app.repositories.access_repository import AccessRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.api.server import ApiServer
    from app.core.config import Settings

LOCAL_OWNER = "local"
"""Whose sessions the command line opens: the first key opens the same ones."""


def serve_command(
    host: Annotated[str | None, typer.Option(help="Where to listen; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one.")] = None,
    with_worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Run tasks in here as well.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks at a time.")] = 2,
) -> ExitCode:
    """Serve the REST API and the dashboard, with a worker inside unless --no-worker.

    Where SESSION_TASKS_ENGINE is celery, Celery's workers are told instead, and none runs in here.
    """
    settings = load_settings()
    host = host if host is not None else settings.host
    port = port if port is not None else settings.port
    try:
        with without_garbage_collection():
            from app.api.application import LOOPBACK_NAMES, create_app  # noqa: PLC0415 - an extra
            from app.api.server import ApiServer, listen_on  # noqa: PLC0415 - an extra
            from app.web.dashboard import add_dashboard  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(
            f"The API needs a package that is not installed: {error.name}",
            next_step="pip install 'session-tasks[server]'",
        ) from error
    with (
        listen_on(host, port) as listener,  # before a worker takes up what others have started
        traced(settings),
        dispatcher(settings),
        Database.open(settings) as database,
    ):
        first_key = _first_key(database, is_loopback=is_loopback(host))
        app = create_app(database, settings, hosts=_hosts(settings, host, LOOPBACK_NAMES))
        add_dashboard(app)
        server = ApiServer(app, host=host, port=port)
        threading.Thread(
            target=_say_where, args=(server, host, first_key), name="announce", daemon=True
        ).start()
        worker = (
            Worker(database, settings, concurrency=concurrency)
            if with_worker and settings.engine is EngineName.EMBEDDED
            else contextlib.nullcontext()
        )
        with worker:
            try:
                server.run(sockets=[listener])
            finally:
                server.is_listening.set()
    return ExitCode.OK if server.started else ExitCode.UNEXPECTED


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _first_key(database: Database, *, is_loopback: bool) -> str | None:
    """A key that was just made, on loopback where there was none; None where there was one.

    Raises:
        ConfigurationError: there is none, and others than this machine could reach the server.

    """
    with database.transaction() as db:
        access = AccessRepository(db)
        if access.has_usable_key():
            return None
        if not is_loopback:
            raise ConfigurationError(
                "There is no API key yet, and this address can be reached from elsewhere",
                ErrorCategory.USER_FIXABLE,
                next_step="Make one first: session-tasks keys create --owner NAME --role admin",
            )
        return access.create_key(LOCAL_OWNER, role=KeyRole.ADMIN, name="first start").text


def _hosts(settings: Settings, host: str, loopback_names: Sequence[str]) -> list[str]:
    given = [name.strip() for name in settings.allowed_hosts.split(",") if name.strip()]
    if given:
        return given
    return [*loopback_names, host] if is_loopback(host) else []


def _say_where(server: ApiServer, host: str, first_key: str | None) -> None:
    server.is_listening.wait()
    if not server.started:
        return
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{server.port}"
    terminal = Terminal(is_json=False)
    terminal.say(f"Listening on {address}")
    if first_key is None:
        terminal.say("Keys: session-tasks keys list, session-tasks keys create")
        return
    terminal.say(f"Your key, shown this once: {first_key}")
    terminal.say(f"In a browser: {address}/login?key={first_key}")
