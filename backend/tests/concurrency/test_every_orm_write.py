"""Every way of writing the row through SQLAlchemy, at random, against the rules by hand."""

from __future__ import annotations

import os

import pytest
from chaos.orm_writes import write_every_way

from app.core.database import Database

STEPS = int(os.environ.get("SESSION_TASKS_TEST_ORM_STEPS", "600"))
SHARDS = 2


@pytest.mark.parametrize("shard", range(SHARDS))
def test_stage_and_row_agree_however_an_object_is_written(shard: int, database: Database) -> None:
    assert write_every_way(database.url, STEPS // SHARDS) >= STEPS // SHARDS
