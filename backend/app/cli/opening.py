"""Open what every command needs: the settings, the database and the session."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.core.config import Settings
from app.core.database import Database
from app.core.errors import ConfigurationError, ErrorCategory, SessionNotFound
from app.core.validation_text import problems_text
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Iterator

    from app.cli.terminal import Terminal

SHORTEST_PREFIX = 1
_AMBIGUOUS = 5
"""How many sessions are named where a prefix matches several."""


def load_settings() -> Settings:
    """Return the settings from the environment.

    Raises:
        ConfigurationError: one of them is invalid; the error names it.

    """
    try:
        return Settings()
    except SettingsError as error:  # invalid JSON; it names the setting, not its value
        raise ConfigurationError(
            f"The environment holds a setting that cannot be used: {error}",
            ErrorCategory.USER_FIXABLE,
            next_step="Correct or unset it; docs/operations.md lists every setting.",
        ) from error
    except ValidationError as error:
        problems = problems_text(error, _variable)
        raise ConfigurationError(
            f"The environment holds settings that cannot be used: {problems}",
            ErrorCategory.USER_FIXABLE,
            next_step="Correct or unset them; docs/operations.md lists every setting.",
        ) from error


@contextmanager
def opened_database(
    terminal: Terminal, settings: Settings, *, require_current: bool = True
) -> Iterator[Database]:
    """Open the database for the length of the context; a terminal shows that it is starting.

    Raises:
        DatabaseUnavailable, SchemaOutdated, ConfigurationError: as `Database.open`.

    """
    if terminal.people.is_terminal and settings.database_url is None:
        with terminal.people.status("Starting the embedded PostgreSQL …"):
            database = Database.open(settings, require_current=require_current)
    else:
        database = Database.open(settings, require_current=require_current)
    with database:
        yield database


def _variable(setting: str) -> str:
    return f"{Settings.model_config.get('env_prefix', '')}{setting}".upper()


def find_session(database: Database, prefix: str) -> UUID:
    """Return the one session whose id begins with these characters.

    Raises:
        SessionNotFound: no id does.
        ConfigurationError: several do (`user_fixable`).

    """
    wanted = prefix.strip().lower()
    try:
        return UUID(wanted)
    except ValueError:
        found: list[UUID] = []
    if len(wanted) >= SHORTEST_PREFIX and set(wanted) <= set("0123456789abcdef-"):
        with database.transaction() as db:
            found = SessionRepository(db).find_by_prefix(wanted, limit=_AMBIGUOUS)
    if not found:
        raise SessionNotFound(
            f"There is no session whose id begins with “{prefix}”",
            next_step="See session-tasks list; sessions are deleted after their retention.",
        )
    if len(found) > 1:
        names = ", ".join(str(session_id)[: len(wanted) + 6] for session_id in found)
        raise ConfigurationError(
            f"Several sessions have an id that begins with “{prefix}”: {names}",
            ErrorCategory.USER_FIXABLE,
            next_step="Give more of its characters.",
        )
    return found[0]
