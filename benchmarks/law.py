"""The cost of a law in the database that no writer can break, each part measured alone.

A life is a session's three tasks, each started, claimed and completed by the product's own
statements, 256 to a statement. The server process's CPU stands beside the wall clock, since it
does not depend on what else the machine does.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from app.core.config import Settings
from app.core.database import Database
from app.models.guard import LEGAL_UPDATE, install_guard, remove_guard
from app.models.session import TaskType
from app.repositories import transitions

if TYPE_CHECKING:
    import psycopg

ROUNDS = 9
LIVES = 2_048
AT_ONCE = 256

REFUSE = """
CREATE OR REPLACE FUNCTION refuse_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'illegal transition of session %', NEW.session_id; END $$"""

# Evaluated by the executor, without a call; the function runs only to refuse.
LAW = f"""
CREATE TRIGGER law BEFORE UPDATE ON session_tasks FOR EACH ROW WHEN (NOT ({LEGAL_UPDATE}))
EXECUTE FUNCTION refuse_transition()"""

AGREES = """s.stage = CASE WHEN t.status = 'completed' AND t.task_type = 'adf_validation'
                           THEN 'completed' ELSE t.task_type END"""

CHECK_ROW = f"""
CREATE OR REPLACE FUNCTION check_stage() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM session_tasks t JOIN sessions s ON s.id = t.session_id
                WHERE t.session_id = NEW.session_id AND NOT ({AGREES})) THEN
        RAISE EXCEPTION 'stage and task of session % differ', NEW.session_id;
    END IF;
    RETURN NULL;
END $$"""
DEFERRED = """
CREATE CONSTRAINT TRIGGER stage AFTER INSERT OR UPDATE ON session_tasks
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_stage()"""

CHECK_BATCH = f"""
CREATE OR REPLACE FUNCTION check_stages() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM changed t JOIN sessions s ON s.id = t.session_id
                WHERE NOT ({AGREES})) THEN
        RAISE EXCEPTION 'stage and task differ';
    END IF;
    RETURN NULL;
END $$"""
BATCH = """
CREATE TRIGGER stage AFTER UPDATE ON session_tasks REFERENCING NEW TABLE AS changed
FOR EACH STATEMENT EXECUTE FUNCTION check_stages()"""

GUARD = "the guard, whole"
VARIANTS = {
    "no law": (),
    "no law, again": (),
    "law, BEFORE": (REFUSE, LAW),
    "law, AFTER": (REFUSE, LAW.replace("BEFORE UPDATE", "AFTER UPDATE")),
    "stage, deferred, per row": (CHECK_ROW, DEFERRED),
    "stage, per statement": (CHECK_BATCH, BATCH),
    GUARD: (),
}
REMOVE = (
    "DROP TRIGGER IF EXISTS law ON session_tasks",
    "DROP TRIGGER IF EXISTS stage ON session_tasks",
    "TRUNCATE sessions CASCADE",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)


def measure() -> dict[str, Any]:
    """Return each variant's microseconds and WAL bytes a life, and the medians of the ratios."""
    with tempfile.TemporaryDirectory(prefix="session-tasks-bench-") as folder:
        Path(folder).chmod(0o711)  # as root the server runs under another account
        with (
            Database.open(Settings(data_dir=Path(folder), pool_size=2)) as database,
            database.driver_connection() as connection,
        ):
            rounds = [
                {name: _lives(database, connection, name) for name in VARIANTS}
                for _ in range(ROUNDS + 1)
            ][1:]  # the first warms up
    return {name: _summary(rounds, name) for name in VARIANTS}


def _summary(rounds: list[dict[str, dict[str, float]]], name: str) -> dict[str, float]:
    told: dict[str, float] = {}
    for figure in ("wall_us", "server_cpu_us", "wal_bytes"):
        told[figure] = round(statistics.median(each[name][figure] for each in rounds), 1)
        ratios = [each[name][figure] / each["no law"][figure] for each in rounds]
        told[f"{figure}_ratio"] = round(statistics.median(ratios), 3)
    return told


def _lives(
    database: Database, connection: psycopg.Connection[Any], variant: str
) -> dict[str, float]:
    for statement in (*REMOVE, *VARIANTS[variant]):
        connection.execute(statement)
    with database.engine.begin() as other:
        (install_guard if variant == GUARD else remove_guard)(other)
    ids = [uuid.uuid4() for _ in range(LIVES)]
    connection.execute(
        "INSERT INTO sessions (id, auto_advance) SELECT unnest(%s::uuid[]), false", [ids]
    )
    connection.execute("ANALYZE sessions")
    server = psutil.Process(connection.info.backend_pid)
    wal, cpu, began = _wal(connection), server.cpu_times(), time.perf_counter()
    for task_type in TaskType:
        for at in range(0, LIVES, AT_ONCE):
            _run(connection, ids[at : at + AT_ONCE], task_type)
    seconds, after = time.perf_counter() - began, server.cpu_times()
    spent = after.user + after.system - cpu.user - cpu.system
    return {
        "wall_us": seconds / LIVES * 1e6,
        "server_cpu_us": spent / LIVES * 1e6,
        "wal_bytes": (_wal(connection) - wal) / LIVES,
    }


def _run(
    connection: psycopg.Connection[Any], session_ids: list[uuid.UUID], task_type: TaskType
) -> None:
    with connection.transaction():
        transitions.start(connection, [(each, task_type, uuid.uuid4()) for each in session_ids])
    with connection.transaction():
        claims = transitions.claim_next(
            connection,
            uuid.uuid4(),
            task_types=list(TaskType),
            limit=len(session_ids),
            lease_seconds=60,
        )
    with connection.transaction():
        completed = transitions.complete(connection, claims)
    if len(completed) != len(session_ids):
        message = "a transition was refused"
        raise RuntimeError(message)


def _wal(connection: psycopg.Connection[Any]) -> float:
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    return float(row[0]) if row else 0.0
