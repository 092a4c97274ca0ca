"""`db upgrade` and `db check`: upgrade or check the database schema."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli.exit_codes import ExitCode
from app.cli.opening import load_settings, opened_database
from app.cli.parameters import AsJson
from app.cli.terminal import Terminal
from app.core.schema_version import require_current_schema, schema_revisions, upgrade_schema
from app.models.guard import has_guard, install_guard, remove_guard
from app.models.rights import require_rights

GUARD_TEXTS = {
    True: "The guard is on: PostgreSQL refuses illegal changes by any program",
    False: "The guard is off: SQL beside Session Tasks can store illegal changes (--guard)",
}

database_application = typer.Typer(
    no_args_is_help=True, help="Upgrade or check the database schema."
)


@database_application.command("upgrade")
def upgrade_command(
    guard: Annotated[
        bool | None,
        typer.Option(
            "--guard/--no-guard",
            help="Have PostgreSQL refuse every illegal change of a task or stage by any "
            "program, or no longer; without either, this stays as it is.",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> ExitCode:
    """Upgrade the database schema; concurrent upgrades wait for one another."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings(), require_current=False) as database:
        before, _ = schema_revisions(database.engine)
        with database.translated_errors():
            upgrade_schema(database.url, schema=database.settings.database_schema)
            with database.engine.begin() as connection:
                if guard is not None or has_guard(connection):  # a newer version, a newer law
                    (remove_guard if guard is False else install_guard)(connection)
                is_guarded = has_guard(connection)
        after, needed = schema_revisions(database.engine)
    if as_json:
        terminal.write_json({"before": before, "now": after, "needed": needed, "guard": is_guarded})
        return ExitCode.OK
    if before == after:
        terminal.say(f"✓ The database was up to date already (migration {after})")
    else:
        terminal.say(f"✓ The database is up to date: from {before or 'empty'} to {after}")
    if guard is not None:
        terminal.say(f"✓ {GUARD_TEXTS[is_guarded]}")
    return ExitCode.OK


@database_application.command("check")
def check_command(as_json: AsJson = False) -> ExitCode:
    """Check the database's migration, and the role's rights; exit with 5 if one is missing."""
    terminal = Terminal(is_json=as_json)
    with opened_database(terminal, load_settings(), require_current=False) as database:
        require_rights(database)
        present, needed = schema_revisions(database.engine)
        if not as_json:
            require_current_schema(database.engine)
        with database.translated_errors(), database.engine.connect() as connection:
            is_guarded = has_guard(connection)
    if as_json:
        terminal.write_json(
            {
                "now": present,
                "needed": needed,
                "is_current": present == needed,
                "guard": is_guarded,
            }
        )
        return ExitCode.OK if present == needed else ExitCode.DATABASE_UNREACHABLE
    terminal.say(f"✓ The database is up to date (migration {present})")
    terminal.say(f"  {GUARD_TEXTS[is_guarded]}")
    return ExitCode.OK
