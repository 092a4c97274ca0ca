"""The migrations create the models' schema, upgrade and downgrade, and may run concurrently."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import IntegrityError

from app.core import schema_version
from app.core.config import Settings
from app.core.database import Database
from app.core.database_errors import translated_errors
from app.core.errors import DatabaseBusy, SchemaOutdated
from app.core.schema_version import (
    VERSION_TABLE,
    alembic_config,
    downgrade_schema,
    newest_revision,
    require_current_schema,
    schema_revisions,
    upgrade_schema,
)
from app.models import Base
from app.models.session import SessionTask, TaskType
from app.repositories.session_repository import SessionRepository

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BACKEND = Path(__file__).parents[2]

CATALOGUE = {
    "columns": "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable,"
    " column_default FROM information_schema.columns WHERE table_schema = 'public'",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)"
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "tables": "SELECT relname, relpersistence, reloptions::text FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'",
    "triggers": "SELECT tgrelid::regclass::text, pg_get_triggerdef(oid) FROM pg_trigger"
    " WHERE NOT tgisinternal",
    "functions": "SELECT proname, pg_get_functiondef(oid) FROM pg_proc"
    " WHERE pronamespace = 'public'::regnamespace",
    "other relations": "SELECT relname, relkind FROM pg_class"
    " WHERE relnamespace = 'public'::regnamespace AND relkind NOT IN ('r', 'i')",
    "types": "SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace"
    " AND typtype <> 'c' AND typelem = 0",
}
VERSION_TABLES = ("alembic_version", "session_tasks_version")


@pytest.fixture
def engine_of() -> Iterator[Callable[[str], Engine]]:
    engines: list[Engine] = []

    def make(url: str) -> Engine:
        engines.append(create_engine(url))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()


def catalogue(engine: Engine) -> dict[str, set[tuple[Any, ...]]]:
    with engine.connect() as connection:
        return {
            name: {
                tuple(row)
                for row in connection.exec_driver_sql(query)
                if not any(table in str(row) for table in VERSION_TABLES)
            }
            for name, query in CATALOGUE.items()
        }


def test_nothing_is_left_for_autogenerate(
    empty_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    with engine_of(empty_database_url).connect() as connection:
        options = {"compare_server_default": True, "version_table": VERSION_TABLE}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, Base.metadata) == []


def test_migrations_and_models_make_the_same_catalogue(
    empty_database_url: str, blank_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    """Compare also what autogenerate ignores: CHECKs, UNLOGGED, fillfactors, triggers, names."""
    by_models = engine_of(blank_database_url)
    Base.metadata.create_all(by_models)
    migrated, modelled = catalogue(engine_of(empty_database_url)), catalogue(by_models)
    for name in CATALOGUE:
        assert migrated[name] == modelled[name], name
    volatile = {row[0] for row in migrated["tables"] if row[1] == "u"}
    assert volatile == {
        "session_task_leases",
        "session_task_retries",
        "session_task_lease_sentinel",
        "session_task_workers",
    }


def test_what_create_all_made_is_a_database_to_work_with_and_drop_all_leaves_nothing(
    blank_database_url: str, engine_of: Callable[[str], Engine], tmp_path: Path
) -> None:
    engine = engine_of(blank_database_url)
    blank = catalogue(engine)
    Base.metadata.create_all(engine)
    Base.metadata.create_all(engine)  # which finds all tables
    with Database.open(Settings(database_url=blank_database_url, data_dir=tmp_path)) as database:
        with database.transaction() as db:
            assert db.scalar(text("SELECT count(*) FROM session_task_lease_sentinel")) == 1
            session_id = SessionRepository(db).create_session([]).id
            SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
        with database.transaction() as db:
            db.execute(text("DELETE FROM sessions"))
            assert db.scalar(text("SELECT count(*) FROM session_task_leases")) == 0
    Base.metadata.drop_all(engine)
    assert catalogue(engine) == blank
    assert schema_revisions(engine)[0] is None
    upgrade_schema(blank_database_url)
    require_current_schema(engine)


def test_create_all_takes_a_schema_to_translate_to(
    blank_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    engine = engine_of(blank_database_url)
    with engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "Odd schema"'))
    before = catalogue(engine)
    translated = engine.execution_options(schema_translate_map={None: "Odd schema"})
    Base.metadata.create_all(translated)
    with engine.begin() as connection:
        connection.execute(text('INSERT INTO "Odd schema".sessions (id) SELECT gen_random_uuid()'))
        connection.execute(text('DELETE FROM "Odd schema".sessions'))
    Base.metadata.drop_all(translated)
    assert catalogue(engine) == before


@pytest.mark.parametrize("theirs", [[], ["a1b2c3d4e5f6"]], ids=["alone", "shared"])
def test_the_version_moves_to_a_table_of_its_own_and_back(
    blank_database_url: str, engine_of: Callable[[str], Engine], theirs: list[str]
) -> None:
    engine = engine_of(blank_database_url)
    upgrade_schema(blank_database_url, "0014")
    with engine.begin() as connection:
        for revision in theirs:
            connection.execute(
                text("INSERT INTO alembic_version VALUES (:theirs)"), {"theirs": revision}
            )
    assert schema_revisions(engine)[0] == "0014"
    assert versions(engine, "alembic_version") == {"0014", *theirs}

    upgrade_schema(blank_database_url)

    require_current_schema(engine)
    assert versions(engine, "alembic_version") == ({*theirs} or None)
    assert versions(engine, VERSION_TABLE) == {newest_revision()}

    downgrade_schema(blank_database_url, "0014")

    assert versions(engine, "alembic_version") == {"0014", *theirs}
    assert versions(engine, VERSION_TABLE) is None


def test_another_program_s_version_is_never_taken_for_ours(
    blank_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    """The other program's migrations may have the same numbers as ours."""
    engine = engine_of(blank_database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num varchar(32))"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('0005')"))
    assert schema_revisions(engine)[0] is None
    upgrade_schema(blank_database_url)
    require_current_schema(engine)
    assert versions(engine, "alembic_version") == {"0005"}


def versions(engine: Engine, table: str) -> set[str] | None:
    """Return the rows of a version table; None if there is no such table."""
    with engine.connect() as connection:
        if not connection.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": table}):
            return None
        return set(connection.scalars(text(f"SELECT version_num FROM {table}")))


def test_every_step_can_be_taken_up_down_and_up_again(
    blank_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    engine = engine_of(blank_database_url)
    scripts = ScriptDirectory.from_config(alembic_config(""))
    blank = catalogue(engine)
    for script in list(scripts.walk_revisions())[::-1]:
        before = catalogue(engine)
        upgrade_schema(blank_database_url, script.revision)
        after = catalogue(engine)
        assert after != before
        downgrade_schema(blank_database_url, "-1")
        assert catalogue(engine) == before, f"{script.revision} leaves something behind"
        upgrade_schema(blank_database_url, script.revision)
        assert catalogue(engine) == after
    downgrade_schema(blank_database_url, "base")
    assert catalogue(engine) == blank
    upgrade_schema(blank_database_url)
    require_current_schema(engine)


@pytest.mark.parametrize(
    ("stored", "status", "read"),
    [
        (
            {"next_step": "Say which one holds the titles: --title-column NAME.", "row": 3},
            "failed",
            {
                "next_step": "Name the column that holds the titles.",
                "options": ["title_column"],
                "row": 3,
            },
        ),
        ({"next_step": "Give it once."}, "failed", {"next_step": "Give it once."}),
        (None, "running", None),
    ],
)
def test_failures_that_asked_for_an_option_by_its_flag_name_it(
    blank_database_url: str, engine_of: Callable[[str], Engine], stored: Any, status: str, read: Any
) -> None:
    engine = engine_of(blank_database_url)
    upgrade_schema(blank_database_url, "0005")
    store_task(engine, json.dumps(stored) if stored is not None else None, status)
    upgrade_schema(blank_database_url, "0006")
    assert stored_context(engine) == read
    downgrade_schema(blank_database_url, "0005")
    assert stored_context(engine) == stored


@pytest.mark.parametrize(
    ("stored", "status", "message"),
    [
        ('"the disk was full"', "failed", "the disk was full"),
        ("[1, 2]", "running", "[1, 2]"),
        ("null", "failed", ""),
    ],
)
def test_a_failure_context_that_is_no_object_becomes_one(
    blank_database_url: str,
    engine_of: Callable[[str], Engine],
    stored: str,
    status: str,
    message: str,
) -> None:
    engine = engine_of(blank_database_url)
    upgrade_schema(blank_database_url, "0005")
    store_task(engine, stored, status)
    upgrade_schema(blank_database_url, "0006")
    context = stored_context(engine)
    assert (context["message"], context["category"]) == (message, "admin_required")
    with engine.begin() as connection, pytest.raises(IntegrityError, match="is_object"):
        connection.execute(text("UPDATE session_tasks SET failure_context = '[]'"))


def store_task(engine: Engine, context: str | None, status: str) -> None:
    """Store a session whose task has this context, as version 0.1.0 did."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "WITH opened AS (INSERT INTO sessions (id, owner, label, stage, auto_advance,"
                " options) VALUES (gen_random_uuid(), 'ada', '', 'processing', true, '{}')"
                " RETURNING id)"
                " INSERT INTO session_tasks (id, session_id, task_type, task_id, status,"
                " started_at, failed_at, retry_count, failure_context)"
                " SELECT id, id, 'processing', id, CAST(:status AS text), now(),"
                " CASE CAST(:status AS text) WHEN 'failed' THEN now() END, 1,"
                " CAST(:context AS jsonb)"
                " FROM opened"
            ),
            {"context": context, "status": status},
        )


def stored_context(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT failure_context FROM session_tasks"))


def test_a_migration_that_finds_a_table_in_use_gives_up_soon_and_changes_nothing(
    blank_database_url: str,
    engine_of: Callable[[str], Engine],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Later lock requests would queue behind it."""
    monkeypatch.setattr(schema_version, "LOCK_SECONDS", 0.1)
    engine = engine_of(blank_database_url)
    upgrade_schema(blank_database_url, "0004")
    with engine.connect() as connection, connection.begin():
        connection.execute(text("LOCK TABLE idempotency_records IN ACCESS SHARE MODE"))
        with pytest.raises(DatabaseBusy), translated_errors():
            upgrade_schema(blank_database_url)
    assert schema_revisions(engine)[0] == "0004"
    upgrade_schema(blank_database_url)
    require_current_schema(engine)


def test_several_processes_upgrade_at_once(
    blank_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    command = (
        "import sys; sys.path.insert(0, sys.argv[2]);"
        "from app.core.schema_version import upgrade_schema; upgrade_schema(sys.argv[1])"
    )
    upgrades = [
        subprocess.Popen(
            [sys.executable, "-c", command, blank_database_url, str(BACKEND)],
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    for upgrade in upgrades:
        _, errors = upgrade.communicate(timeout=120)
        assert upgrade.returncode == 0, errors
    engine = engine_of(blank_database_url)
    require_current_schema(engine)
    with engine.connect() as connection:
        count = connection.scalar(text("SELECT count(*) FROM session_task_lease_sentinel"))
    assert count == 1


def test_the_task_table_has_exactly_the_specification_s_ten_columns() -> None:
    assert [column.name for column in SessionTask.__table__.columns] == [
        "id",
        "session_id",
        "task_type",
        "task_id",
        "status",
        "started_at",
        "completed_at",
        "failed_at",
        "retry_count",
        "failure_context",
    ]


def test_constraints_have_names_to_be_found_by(
    empty_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    names = {row[1] for row in catalogue(engine_of(empty_database_url))["constraints"]}
    assert names >= {
        "uq_session_tasks_session_id",
        "fk_session_tasks_session_id_sessions",
        "pk_session_tasks",
        "ck_session_tasks_status",
        "ck_session_tasks_task_type",
        "ck_session_tasks_retry_count",
        "ck_session_tasks_completed_at_when_completed",
        "ck_session_tasks_failed_at_when_failed",
        "ck_session_tasks_failure_explained",
        "ck_session_tasks_failure_context_is_object",
        "ck_sessions_stage",
    }


def test_a_given_database_is_not_upgraded_by_itself(
    blank_database_url: str, tmp_path: Path
) -> None:
    settings = Settings(database_url=blank_database_url, data_dir=tmp_path)
    with pytest.raises(SchemaOutdated) as caught:
        Database.open(settings)
    assert "db upgrade" in caught.value.next_step
    upgrade_schema(blank_database_url)
    with Database.open(settings) as database:
        present, needed = schema_revisions(database.engine)
        assert present == needed


def test_a_database_of_a_newer_version_is_refused(
    blank_database_url: str, engine_of: Callable[[str], Engine]
) -> None:
    upgrade_schema(blank_database_url)
    with engine_of(blank_database_url).begin() as connection:
        connection.execute(text("UPDATE session_tasks_version SET version_num = '9999'"))
    with pytest.raises(SchemaOutdated, match="9999") as caught:
        upgrade_schema(blank_database_url)
    assert "newer version" in caught.value.next_step


def test_the_newest_revision_is_told_without_alembic() -> None:
    head = ScriptDirectory.from_config(alembic_config("")).get_current_head()
    assert newest_revision() == head
    done = subprocess.run(
        [sys.executable, "-c", "import app.core.database, sys; sys.exit('alembic' in sys.modules)"],
        check=False,
    )
    assert done.returncode == 0
