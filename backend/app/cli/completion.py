"""Shell completion of session ids."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.core.config import Settings

MOST_OFFERED = 50


def offer_sessions(incomplete: str) -> list[tuple[str, str]]:
    """Return the newest sessions whose id or label begins so, each with its state and label.

    If the database cannot be reached, nothing is offered; the embedded server is not started
    either: Tab must neither fail nor take seconds.
    """
    from app.cli.opening import load_settings  # noqa: PLC0415 - `--help` needs no database
    from app.cli.reporting import state_text  # noqa: PLC0415
    from app.core.database import Database  # noqa: PLC0415
    from app.core.errors import TaskError  # noqa: PLC0415
    from app.repositories.session_queries import SessionFilter, SessionQueries  # noqa: PLC0415

    with suppress(TaskError, OSError):
        settings = load_settings()
        if not _is_up(settings):
            return []
        with Database.open(settings) as database, database.transaction() as db:
            found = SessionQueries(db, owner=None).page(
                SessionFilter(text=incomplete), limit=MOST_OFFERED
            )
        return [(each.short_id, f"{state_text(each)} · {each.label}") for each in found]
    return []


def _is_up(settings: Settings) -> bool:
    if settings.database_url is not None:
        return True
    from app.core.embedded import is_in_use  # noqa: PLC0415 - as above

    return is_in_use(settings.data_dir)
