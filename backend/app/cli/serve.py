"""`serve`: the API and the dashboard, with a worker inside, or with Celery's dispatcher."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.commands import without_garbage_collection
from app.cli.exit_codes import ExitCode
from app.cli.login import address_of, link_of
from app.cli.opening import load_settings
from app.cli.terminal import Terminal
from app.core.config import EngineName
from app.core.database import Database
from app.core.errors import ConfigurationError, ErrorCategory, KeyNotFound, MissingExtra
from app.core.hosts import is_loopback
from app.engines.dispatch import dispatcher
from app.engines.tracing import traced
from app.engines.worker import Worker
from app.models.access import KeyRole
from app.models.rights import require_rights
from app.models.session import LOCAL_OWNER
from app.repositories.access_repository import AccessRepository
from app.repositories.sign_in_codes import SignInCodes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from app.api.server import ApiServer
    from app.core.config import Settings


class QuietStart(logging.Filter):
    """Passes only warnings until `is_over`, and never the HTTP server's own start and end.

    Otherwise migrations and start messages would hide the link that the terminal shows. A demo's
    sample failures are no warnings: only errors pass.
    """

    def __init__(self, *, is_demo: bool) -> None:
        super().__init__()
        self.is_over = False
        self.is_demo = is_demo

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the terminal should show the record."""
        least = logging.ERROR if self.is_demo else logging.WARNING
        if record.levelno >= least and record.name != "app.audit":
            return True
        return self.is_over and not record.name.startswith("uvicorn")


def serve_command(  # noqa: PLR0913, PLR0917 - the options of the command are these
    context: typer.Context,
    host: Annotated[str | None, typer.Option(help="Where to listen; loopback by default.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="0: any free one.")] = None,
    with_worker: Annotated[
        bool, typer.Option("--worker/--no-worker", help="Run tasks in this process as well.")
    ] = True,
    concurrency: Annotated[int, typer.Option(min=1, help="Tasks at a time.")] = 2,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo", help="Show sample sessions, in a database that is deleted at the end."
        ),
    ] = False,
) -> ExitCode:
    """Serve the REST API and the dashboard, with a worker inside unless --no-worker.

    With SESSION_TASKS_ENGINE=celery, tasks are sent to Celery's workers, and no worker runs here.
    """
    start = _quiet_start(context, is_demo=demo)
    settings = load_settings()
    host = host if host is not None else settings.host
    port = port if port is not None else settings.port
    try:
        with without_garbage_collection():
            from app.api.application import LOOPBACK_NAMES, create_app  # noqa: PLC0415 - an extra
            from app.api.server import ApiServer, listen_on  # noqa: PLC0415 - an extra
            from app.web.dashboard import add_dashboard  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise MissingExtra("session-tasks serve", "server") from error
    with (
        listen_on(host, port) as listener,  # before a worker claims what others have started
        _settings_for(settings, is_demo=demo) as settings,
        traced(settings),
        dispatcher(settings) as dispatch,
        Database.open(settings) as database,
    ):
        require_rights(database)
        sample = _sample(database, settings) if demo else contextlib.nullcontext()
        first_key = _first_key(database, is_loopback=is_loopback(host))
        code = _sign_in_code(database, first_key) if is_loopback(host) else None
        app = create_app(
            database,
            settings,
            hosts=_hosts(settings, host, LOOPBACK_NAMES),
            dispatch=dispatch,
        )
        add_dashboard(app)
        server = ApiServer(app, host=host, port=port)
        threading.Thread(
            target=_say_where,
            args=(server, host, first_key, code, start),
            name="announce",
            daemon=True,
        ).start()
        worker = (
            Worker(database, _of_worker(settings, is_demo=demo), concurrency=concurrency)
            if with_worker and settings.engine is EngineName.EMBEDDED
            else contextlib.nullcontext()
        )
        with worker, sample:
            try:
                server.run(sockets=[listener])
            finally:
                server.is_listening.set()
    return ExitCode.OK if server.started else ExitCode.UNEXPECTED


@contextlib.contextmanager
def _settings_for(settings: Settings, *, is_demo: bool) -> Iterator[Settings]:
    if not is_demo:
        yield settings
        return
    from app.cli.demo import demo_settings  # noqa: PLC0415 - only here

    with demo_settings(settings) as changed:
        yield changed


def _of_worker(settings: Settings, *, is_demo: bool) -> Settings:
    if not is_demo:
        return settings
    from app.cli.demo import slow_worker  # noqa: PLC0415 - only here

    return slow_worker(settings)


def _sample(database: Database, settings: Settings) -> AbstractContextManager[None]:
    """Open the sample sessions; while the context lasts, open new ones."""
    from app.cli.demo import prepare_demo, running_demo  # noqa: PLC0415 - only here

    prepare_demo(database, settings)
    return running_demo(database)


def _quiet_start(context: typer.Context, *, is_demo: bool) -> QuietStart:
    """Add the filter to the log of a terminal, unless --verbose is given."""
    start = QuietStart(is_demo=is_demo)
    is_verbose = context.parent is not None and context.parent.params.get("verbose")
    if sys.stderr.isatty() and not is_verbose:
        for handler in logging.getLogger().handlers:
            handler.addFilter(start)
    return start


def _first_key(database: Database, *, is_loopback: bool) -> str | None:
    """Return a new key, on loopback where there was none; None where there was one.

    Raises:
        ConfigurationError: there is none, and other machines could reach the server.

    """
    with database.transaction() as db:
        access = AccessRepository(db)
        if access.has_usable_key():
            return None
        if not is_loopback:
            raise ConfigurationError(
                "There is no API key yet, and this address can be reached from elsewhere",
                ErrorCategory.USER_FIXABLE,
                next_step="Create one first: session-tasks keys create --owner NAME --role admin",
            )
        return access.create_key(LOCAL_OWNER, role=KeyRole.ADMIN, name="first start").text


def _sign_in_code(database: Database, first_key: str | None) -> str | None:
    """Return a code for the link: for a new key, or where standard output is a terminal.

    A log keeps what is printed to it, so a later start prints no link to a log.
    """
    if first_key is None and not sys.stdout.isatty():
        return None
    with database.transaction() as db:
        try:
            return SignInCodes(db).create_for(LOCAL_OWNER)
        except KeyNotFound:
            return None  # the keys are other owners'


def _hosts(settings: Settings, host: str, loopback_names: Sequence[str]) -> list[str]:
    given = [name.strip() for name in settings.allowed_hosts.split(",") if name.strip()]
    if given:
        return given
    return [*loopback_names, host] if is_loopback(host) else []


def _say_where(
    server: ApiServer, host: str, first_key: str | None, code: str | None, start: QuietStart
) -> None:
    server.is_listening.wait()
    if not server.started:
        return
    address = address_of(host, server.port)
    terminal = Terminal(is_json=False)
    is_person = terminal.out.is_terminal
    if code is not None and is_person:
        terminal.say_link("Open", link_of(address, code))
    terminal.say(f"Listening on {address}")
    if first_key is not None:
        terminal.say(f"Your API key, shown only once: {first_key}")
    if code is None:
        terminal.say("To sign in a browser: session-tasks login; keys: session-tasks keys list")
    else:
        if not is_person:
            terminal.say(f"In a browser: {link_of(address, code)}")
        again = (
            "then sign in with the key" if start.is_demo else "session-tasks login prints another"
        )
        terminal.say(f"The link works once; {again}.")
    start.is_over = True
