"""A session's content: documents byte for byte, and the results of each type's last run."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest

from app.core.errors import SessionNotFound
from app.models.session import TaskType
from app.repositories.content_reader import ContentCounts, IncomingDocument
from app.repositories.content_repository import ContentRepository, TicketTitle
from app.repositories.session_repository import SessionRepository
from app.tasks.session_content import DOCUMENT_BYTES_PER_PAGE, SessionContent
from app.values.results import ExportBody, Finding, Note, TaskResults, TicketDraft

if TYPE_CHECKING:
    from collections.abc import Callable

    from app.core.database import Database
    from app.models.session import Session
    from app.values.claims import Claim

TICKETS = [TicketDraft(f"Ticket {n}", '{ "type":"doc" }', "a.md", n) for n in range(1, 4)]
BODY = ExportBody('{"issueUpdates":[]}', 3)
FINDING = Finding(1, "Ticket 1", "a.md", 1, "/content/0", "schema", "not a node")


@pytest.fixture
def next_claim(act: Callable[..., Any]) -> Callable[[], Claim]:
    def claim() -> Claim:
        (claim,) = act(lambda s: s.claim_next(uuid.uuid4()))
        return claim  # type: ignore[no-any-return]

    return claim


def test_documents_come_back_byte_for_byte_in_order(
    database: Database, make_session: Callable[..., Session]
) -> None:
    documents = [IncomingDocument(f"{n}.md", bytes(range(256)) * n) for n in range(1, 5)]
    session_id = make_session(*documents).id
    with database.transaction() as db:
        content = ContentRepository(db)
        assert list(content.documents(session_id)) == documents
        assert list(content.documents(session_id, after=1, limit=2)) == documents[1:3]
        assert content.replace_document(session_id, IncomingDocument("1.md", b"one"))
        assert not content.replace_document(session_id, IncomingDocument("none.md", b""))
        assert content.document_names(session_id) == [f"{n}.md" for n in range(1, 5)]
        assert next(iter(list(content.documents(session_id)))).content == b"one"
        assert content.document(session_id, "4.md", most_bytes=1_024) == documents[3]
        assert content.document(session_id, "4.md", most_bytes=1_023) is None
        assert content.document(session_id, "none.md", most_bytes=1_024) is None


def test_a_handler_reads_every_document_once_however_many_and_large(
    database: Database, make_session: Callable[..., Session]
) -> None:
    sizes = [1] * 250 + [DOCUMENT_BYTES_PER_PAGE, 3, DOCUMENT_BYTES_PER_PAGE - 3, 2, 3_000_000, 1]
    documents = [IncomingDocument(f"{n}.md", b"x" * size) for n, size in enumerate(sizes)]
    session_id = make_session(*documents, options={"split_level": 2}).id
    content = SessionContent(session_id, lambda: database, patience_seconds=1, check=lambda: None)
    assert list(content.documents()) == documents
    assert content.document_names() == [document.name for document in documents]
    assert content.options() == {"split_level": 2}
    assert content.counts() == ContentCounts(len(documents), 0, 0, 0)


def test_a_handler_whose_session_is_gone_is_told_so(database: Database) -> None:
    content = SessionContent(uuid.uuid4(), lambda: database, patience_seconds=1, check=lambda: None)
    for read in (content.options, content.counts, content.document_names, content.documents):
        with pytest.raises(SessionNotFound):
            list(read())


def test_each_run_replaces_what_an_earlier_run_of_its_type_left(
    act: Callable[..., Any],
    next_claim: Callable[[], Claim],
    make_session: Callable[..., Session],
    database: Database,
) -> None:
    session_id = make_session(auto_advance=True).id
    act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
    processing = TaskResults(tickets=TICKETS, notes=["a", "a", Note("c", ("map", "to"))])
    act(lambda s: s.complete_task(next_claim(), processing))
    export = TaskResults(exports=[BODY], notes=["a", "b"])
    act(lambda s: s.complete_task(next_claim(), export))
    invalid = {"message": "invalid", "category": "user_fixable"}
    act(lambda s: s.fail_task(next_claim(), invalid, TaskResults(findings=[FINDING])))
    with database.transaction() as db:
        content = ContentRepository(db)
        assert content.findings(session_id) == [FINDING]
        assert content.findings(session_id, tickets=range(1, 2)) == [FINDING]
        assert content.findings(session_id, tickets=range(2, 51)) == []
    act(lambda s: s.retry_task(session_id))
    act(lambda s: s.complete_task(next_claim(), TaskResults()))
    with database.transaction() as db:
        content = ContentRepository(db)
        assert content.findings(session_id) == [], "a validation that passes has no findings"
        assert list(content.tickets(session_id)) == TICKETS
        assert list(content.tickets(session_id, after=1, limit=1)) == TICKETS[1:2]
        assert content.ticket_titles(session_id, after=1, limit=1) == [
            TicketTitle(2, "Ticket 2", "a.md", 2)
        ]
        assert list(content.exports(session_id)) == [BODY]
        assert content.notes(session_id) == [Note("a"), Note("c", ("map", "to")), Note("b")]
        counts = content.counts(session_id)
    assert (counts.documents, counts.tickets, counts.exports, counts.findings) == (0, 3, 1, 0)


def test_a_failure_without_results_leaves_what_was_there(
    act: Callable[..., Any],
    next_claim: Callable[[], Claim],
    make_session: Callable[..., Session],
    database: Database,
) -> None:
    session_id = make_session().id
    act(lambda s: s.start_task(session_id, TaskType.PROCESSING))
    act(lambda s: s.fail_task(next_claim(), {"message": "x"}, TaskResults(tickets=TICKETS)))
    act(lambda s: s.retry_task(session_id))
    act(lambda s: s.fail_task(next_claim(), {"message": "x"}))
    with database.transaction() as db:
        assert list(ContentRepository(db).tickets(session_id)) == TICKETS


def test_a_ticket_keeps_its_fields_and_its_parent(database: Database) -> None:
    family = [
        TicketDraft("Parent", '{"type":"doc"}', "a.csv", 1),
        TicketDraft("Child", '{"type":"doc"}', "a.csv", 2, '{"labels":["a b"]}', 1),
    ]
    with database.transaction() as db:
        session_id = SessionRepository(db).create_session().id
        content = ContentRepository(db)
        content.write_results(session_id, TaskType.PROCESSING, TaskResults(tickets=family))
        assert list(content.tickets(session_id)) == family
