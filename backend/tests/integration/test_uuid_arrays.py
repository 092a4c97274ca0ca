"""Arrays of ids go to PostgreSQL in its own binary form."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from app.repositories.transitions import _Uuids

if TYPE_CHECKING:
    from app.core.database import Database

SOME = uuid.uuid4()


@pytest.mark.parametrize("ids", [[], [SOME], [None], [SOME, None, uuid.UUID(int=0)]])
def test_an_array_of_ids_comes_back_as_it_went(
    database: Database, ids: list[uuid.UUID | None]
) -> None:
    with database.driver_connection() as connection:
        row = connection.execute("SELECT %s, %s::uuid[]", [_Uuids(ids), _Uuids(ids)]).fetchone()
    assert row == (ids, ids)
