"""The same three handlers behind a bare FastAPI route and PgQueuer, for `rest` to compare with.

What a team would write itself: `POST /api/v1/sessions` stores the document and enqueues the first
job in one transaction; a worker beside it runs the handlers in its event loop, and each job stores
its results and enqueues the next one in one transaction. There are no sessions to watch, no leases,
no retries, no isolation of a handler and no check of keys or forms. asyncpg, uvloop, two processes.

PgQueuer comes from the peers' environment; the handlers are ours.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import uuid
from typing import TYPE_CHECKING, Any

import psutil
import psycopg
import uvicorn
import uvloop
from fastapi import FastAPI, Response, UploadFile

from app.core.config import Settings
from app.repositories.content_reader import ContentCounts, IncomingDocument
from app.tasks.adf_validation import validate_export
from app.tasks.export import export_tickets
from app.tasks.processing import process_documents
from app.values.options import SessionOptions
from app.values.results import ExportBody, TicketDraft
from benchmarks.race.environment import peer_environment
from benchmarks.race.fixtures import open_server

if TYPE_CHECKING:
    from collections.abc import Iterator

DATABASE = "rest_peer"
BATCH = 100
MOST_CONNECTIONS = 10
SETTINGS, OPTIONS = Settings(), SessionOptions(project_key="DEMO")

_TABLES = """
CREATE TABLE sessions (id uuid PRIMARY KEY, stage text NOT NULL DEFAULT 'created');
CREATE TABLE documents (session_id uuid REFERENCES sessions, name text, content bytea);
CREATE TABLE tickets (session_id uuid REFERENCES sessions, title text, description text);
CREATE TABLE exports (session_id uuid REFERENCES sessions, body text, issues int)"""


@contextlib.contextmanager
def serving() -> Iterator[tuple[psutil.Process, int, psycopg.Connection[Any]]]:
    """Run it on an embedded PostgreSQL; yield the API's process, its port and a connection."""
    peers = next(peer_environment().python.parents[1].glob("lib/python*/site-packages"))
    command = [sys.executable, "-m", "benchmarks.rest_peer", str(peers)]
    with open_server(None) as server, contextlib.ExitStack() as at_end:

        def run(part: str) -> subprocess.Popen[str]:
            process = subprocess.Popen([*command, url, part], stdout=subprocess.PIPE, text=True)
            at_end.callback(process.wait, 30)
            at_end.callback(process.terminate)
            return process

        url = server.fresh(DATABASE)
        api = run("serve")
        assert api.stdout is not None
        port = int(api.stdout.readline())
        run("work")
        yield (
            psutil.Process(api.pid),
            port,
            at_end.enter_context(psycopg.connect(url, autocommit=True)),
        )


async def _serve(url: str) -> None:
    import asyncpg  # noqa: PLC0415 - of the peers' environment
    from pgqueuer.db import AsyncpgDriver  # noqa: PLC0415
    from pgqueuer.queries import Queries  # noqa: PLC0415

    connection = await asyncpg.connect(url)
    await connection.execute(_TABLES)
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await queries.optimize_autovacuum()
    await connection.close()
    pool = await asyncpg.create_pool(url, min_size=MOST_CONNECTIONS, max_size=MOST_CONNECTIONS)
    app = FastAPI()

    @app.post("/api/v1/sessions")
    async def open_session(documents: UploadFile, response: Response) -> dict[str, str]:
        session_id = uuid.uuid4()
        content = await documents.read()
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("INSERT INTO sessions (id) VALUES ($1)", session_id)
            await connection.execute(
                "INSERT INTO documents VALUES ($1, $2, $3)", session_id, documents.filename, content
            )
            await Queries(AsyncpgDriver(connection)).enqueue("processing", session_id.bytes)
        response.status_code = 201
        response.headers["Location"] = f"/api/v1/sessions/{session_id}"
        return {"id": str(session_id)}

    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    await uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).serve([listener])


class Context:
    """A context for the handlers, over values that were read before."""

    def __init__(self, *, documents: Any = (), tickets: Any = (), exports: Any = ()) -> None:
        self.settings, self.options = SETTINGS, OPTIONS
        self.documents, self.tickets, self.exports = (
            lambda: iter(documents), lambda: iter(tickets), lambda: iter(exports),
        )  # fmt: skip
        self.document_names = lambda: [document.name for document in documents]
        self._counts = ContentCounts(len(documents), len(tickets), len(exports), 0)

    def counts(self) -> Any:
        """How much there is."""
        return self._counts

    def progress(self, *_: object) -> None:
        """Nobody watches."""


async def _work(url: str) -> None:
    import asyncpg  # noqa: PLC0415 - of the peers' environment
    from pgqueuer import PgQueuer  # noqa: PLC0415
    from pgqueuer.db import AsyncpgDriver  # noqa: PLC0415
    from pgqueuer.queries import Queries  # noqa: PLC0415

    pool = await asyncpg.create_pool(url, min_size=MOST_CONNECTIONS, max_size=MOST_CONNECTIONS)
    worker = PgQueuer(AsyncpgDriver(await asyncpg.connect(url)))

    async def store(
        connection: Any, job: Any, statement: str, rows: list[tuple[object, ...]], then: str
    ) -> None:
        """Store the rows of the job's session, and enqueue the next job, in one transaction."""
        async with connection.transaction():
            await connection.executemany(statement, [(_session_of(job), *row) for row in rows])
            await Queries(AsyncpgDriver(connection)).enqueue(then, job.payload)

    # One connection for each job: asyncpg's pool resets it by a round trip at every release.
    @worker.entrypoint("processing")
    async def processing(job: Any) -> None:
        async with pool.acquire() as connection:
            rows = await connection.fetch(
                "SELECT name, content FROM documents WHERE session_id = $1", _session_of(job)
            )
            results = process_documents(Context(documents=[IncomingDocument(*row) for row in rows]))
            made = [(each.title, each.description) for each in results.tickets or ()]
            insert = "INSERT INTO tickets VALUES ($1, $2, $3)"
            await store(connection, job, insert, made, "export")

    @worker.entrypoint("export")
    async def export(job: Any) -> None:
        async with pool.acquire() as connection:
            rows = await connection.fetch(
                "SELECT title, description FROM tickets WHERE session_id = $1", _session_of(job)
            )
            tickets = [TicketDraft(*row, "kettle.md", 1) for row in rows]
            results = export_tickets(Context(tickets=tickets))
            made = [(each.body, each.issue_count) for each in results.exports or ()]
            insert = "INSERT INTO exports VALUES ($1, $2, $3)"
            await store(connection, job, insert, made, "adf_validation")

    @worker.entrypoint("adf_validation")
    async def adf_validation(job: Any) -> None:
        async with pool.acquire() as connection:
            rows = await connection.fetch(
                "SELECT body, issues FROM exports WHERE session_id = $1", _session_of(job)
            )
            exports = [ExportBody(*row) for row in rows]
            validate_export(Context(tickets=exports, exports=exports))
            await connection.execute(
                "UPDATE sessions SET stage = 'completed' WHERE id = $1", _session_of(job)
            )

    await worker.run(batch_size=BATCH)


def _session_of(job: Any) -> uuid.UUID:
    return uuid.UUID(bytes=job.payload)


if __name__ == "__main__":
    _, peers, url, part = sys.argv
    sys.path.append(peers)  # behind our own packages
    uvloop.run(_serve(url) if part == "serve" else _work(url))
