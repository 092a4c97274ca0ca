"""`keys`: create, list and revoke API keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings
from app.cli.parameters import AsJson
from app.cli.reporting import print_rows
from app.cli.terminal import Terminal
from app.core.database import Database
from app.core.errors import ConfigurationError, ErrorCategory
from app.models.access import KeyRole
from app.models.session import LOCAL_OWNER
from app.repositories.access_repository import AccessRepository

if TYPE_CHECKING:
    from app.models.access import ApiKey

keys_application = typer.Typer(no_args_is_help=True, help="Create, list and revoke API keys.")


@keys_application.command("create")
def create_command(
    owner: Annotated[
        str, typer.Option(help="Owner of the sessions it gives access to.")
    ] = LOCAL_OWNER,
    role: Annotated[
        KeyRole,
        typer.Option(help="viewer: read only; admin: all owners' sessions, and keys."),
    ] = KeyRole.USER,
    name: Annotated[str, typer.Option(help="A name for the key.")] = "",
    days: Annotated[
        float | None, typer.Option(help="Days until it expires.", min=0.001, max=36_500)
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Create a key; it is shown only once."""
    if not owner.strip() or len(owner) > 200 or not owner.isprintable():  # noqa: PLR2004 - the column
        raise ConfigurationError(
            "An owner's name has 1 to 200 printable characters",
            ErrorCategory.USER_FIXABLE,
            next_step="Give another --owner.",
        )
    lifetime = None if days is None else timedelta(days=days)
    with Database.open(load_settings()) as database, database.transaction() as db:
        made = AccessRepository(db).create_key(owner, role=role, name=name, lifetime=lifetime)
        record = _as_json(made.record)
    terminal = Terminal(is_json=as_json)
    if as_json:
        terminal.write_json({"key": made.text, **record})
    else:
        terminal.say(made.text)
    return ExitCode.OK


@keys_application.command("list")
def list_command(as_json: AsJson = False) -> ExitCode:
    """List all keys, the newest first; their secrets are not stored."""
    with Database.open(load_settings()) as database, database.transaction() as db:
        keys = [_as_json(key) for key in AccessRepository(db).all_keys()]
    terminal = Terminal(is_json=as_json)
    if as_json:
        terminal.write_json({"keys": keys})
        return ExitCode.OK
    if not keys:
        terminal.say("There are no API keys yet: session-tasks keys create")
        return ExitCode.OK
    headings = ("key", "state", "role", "owner", "name", "expires", "last used")
    rows = [
        (
            *(key[column] for column in ("id", "state", "role", "owner", "name")),
            _moment_text(key["expires_at"]),
            _moment_text(key["last_used_at"]),
        )
        for key in keys
    ]
    print_rows(terminal, headings, rows)
    return ExitCode.OK


@keys_application.command("revoke")
def revoke_command(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` shows it.")],
    as_json: AsJson = False,
) -> ExitCode:
    """Revoke a key; every server refuses it within seconds."""
    bare = key_id.removeprefix("st_").partition(".")[0]
    with Database.open(load_settings()) as database, database.transaction() as db:
        AccessRepository(db).revoke_key(bare)
    terminal = Terminal(is_json=as_json)
    if as_json:
        terminal.write_json({"id": bare, "state": "revoked"})
    else:
        terminal.say(f"✓ Key {bare} is revoked")
    return ExitCode.OK


def _moment_text(stored: str | None) -> str:
    return f"{stored[:16].replace('T', ' ')} UTC" if stored else "never"


def _as_json(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "state": _state(key),
        "role": key.role.value,
        "owner": key.owner,
        "name": key.name,
        "created_at": key.created_at.isoformat(),
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "last_used_at": key.last_used_at.isoformat() if key.last_used_at else None,
    }


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
        return "expired"
    return "valid"
