"""`TaskResults(writes=…)`: rows of a team's own, in the transaction that completes the task."""

from __future__ import annotations

import contextlib
import re
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.core.database import Database
from app.core.errors import DatabaseUnavailable
from app.engines.execution import Completed
from app.engines.outcome_writer import OutcomeWriter
from app.models.session import TaskStatus, TaskType
from app.repositories.batcher import TransitionBatcher
from app.repositories.content_reader import IncomingDocument
from app.repositories.content_repository import ContentRepository
from app.repositories.session_repository import SessionRepository
from app.values.results import TaskResults, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.orm import Session as DbSession

    from app.values.claims import Claim

PAGE = Path(__file__).parents[3] / "docs" / "extending.md"
RESULTS = TaskResults(notes=["done"], writes=[Write("own_writes:note", {"number": 7})])


@pytest.fixture
def effects(bench: Any) -> Any:
    """The team's own table; returns what stands in it for a session."""
    with bench.database.transaction() as db:
        db.execute(text("CREATE TABLE effects (session_id uuid, number integer)"))

    def of_session(session_id: uuid.UUID) -> list[int]:
        with bench.database.transaction() as db:
            found = db.scalars(
                text("SELECT number FROM effects WHERE session_id = :id ORDER BY number"),
                {"id": session_id},
            )
            return list(found)

    return of_session


def worker(bench: Any, **options: Any) -> None:
    handlers = "processing=own_writes:process"
    bench.worker(settings=bench.settings.model_copy(update={"handlers": handlers}), **options)


@pytest.fixture
def claim(bench: Any) -> Claim:
    """A run that was claimed, with no worker to run it."""
    session_id = bench.session()
    with bench.database.transaction() as db:
        sessions = SessionRepository(db)
        task = sessions.get(session_id).task
        assert task is not None
        found = sessions.claim_task(session_id, task.task_id, uuid.uuid4(), lease_seconds=60)
    assert found is not None
    return found


def writer(bench: Any) -> OutcomeWriter:
    return OutcomeWriter(bench.database, worker="w", give_up=threading.Event())


@pytest.mark.parametrize("threads", [False, True], ids=["processes", "threads"])
def test_writes_are_committed_with_the_completion(bench: Any, effects: Any, threads: bool) -> None:
    session_id = bench.session()
    worker(bench, threads=threads)
    bench.until_status(session_id, "completed")
    assert effects(session_id) == [1, 2]


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("own_writes:refuse", "no such customer"),
        ("own_writes:leave", "called for an exit"),
        ("own_writes:gone", "The write own_writes:gone cannot be imported"),
        ("own_writes:commit", "A write does not commit"),
        ("own_writes:roll_back", "The write own_writes:roll_back ended the transaction"),
        ("own_writes:wait", "The write own_writes:wait is no plain function"),
    ],
)
def test_a_write_that_fails_fails_the_task_and_leaves_nothing(
    bench: Any, effects: Any, function: str, said: str
) -> None:
    session_id = bench.session(function=function)
    worker(bench)
    task = bench.until_status(session_id, "failed")
    assert said in task.failure_context["message"]
    assert task.retry_count == 1
    assert effects(session_id) == []
    with bench.database.transaction() as db:
        assert ContentRepository(db).notes(session_id) == []


def test_of_many_that_deliver_one_claim_s_outcome_one_writes(
    bench: Any, effects: Any, claim: Claim
) -> None:
    with ThreadPoolExecutor(8) as pool:
        outcomes = [pool.submit(writer(bench).write, claim, Completed(RESULTS)) for _ in range(8)]
        written = [each.result() for each in outcomes]
    assert [each for each in written if each is not None] == [Completed(RESULTS)]
    assert effects(claim.session_id) == [7]


def test_a_worker_whose_claim_was_taken_over_writes_nothing(
    bench: Any, effects: Any, claim: Claim
) -> None:
    with bench.database.transaction() as db:
        db.execute(text("UPDATE session_task_leases SET leased_until = to_timestamp(0)"))
    worker(bench)  # it rescues the run, and tries it again
    bench.until_status(claim.session_id, "completed")
    assert writer(bench).write(claim, Completed(RESULTS)) is None
    assert effects(claim.session_id) == [1, 2]


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_commit_whose_answer_was_lost_is_not_repeated(
    bench: Any,
    effects: Any,
    claim: Claim,
    monkeypatch: pytest.MonkeyPatch,
    is_committed: bool,
) -> None:
    whole = Database.transaction
    lost = iter([True])

    @contextlib.contextmanager
    def cut(self: Database, **options: Any) -> Iterator[DbSession]:
        with contextlib.ExitStack() as stack:
            with whole(self, **options) as db:
                yield db
                if not is_committed and next(lost, False):
                    raise DatabaseUnavailable("the server was killed before the commit")
            if next(lost, False):
                stack.close()
                raise DatabaseUnavailable("the answer to the commit was lost")

    monkeypatch.setattr(Database, "transaction", cut)
    assert writer(bench).write(claim, Completed(RESULTS)) == Completed(RESULTS)
    monkeypatch.undo()
    assert effects(claim.session_id) == [7]


def test_a_run_with_writes_is_not_for_the_batcher(bench: Any, effects: Any, claim: Claim) -> None:
    with pytest.raises(TypeError, match="SessionRepository"):
        TransitionBatcher(bench.database).complete_tasks([(claim, RESULTS)])
    assert bench.task(claim.session_id).status == TaskStatus.RUNNING
    assert effects(claim.session_id) == []


@pytest.mark.parametrize(
    ("function", "payload", "kind"),
    [
        ("no function", {}, ValueError),
        (print, {}, TypeError),
        ("a:b", {1, 2}, TypeError),
        ("a:b", float("nan"), ValueError),
    ],
)
def test_a_write_is_checked_where_it_is_made(
    function: Any, payload: Any, kind: type[Exception]
) -> None:
    with pytest.raises(kind, match=r"Write\.(function|payload) takes"):
        Write(function, payload)


def test_the_worked_example_writes_an_invoice(
    bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = re.search(r"```python\n(# billing/handlers\.py\n.*?)```", PAGE.read_text(), re.DOTALL)
    assert found is not None, "the example is no longer where this test looks for it"
    package = tmp_path / "billing"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "handlers.py").write_text(found[1])
    monkeypatch.syspath_prepend(str(tmp_path))
    with bench.database.transaction() as db:
        db.execute(text("CREATE TABLE public.invoices (session_id uuid, pages integer)"))
    session_id = bench.new_session(documents=(IncomingDocument("a.md", b"x" * 4_500),))
    with bench.database.transaction() as db:
        SessionRepository(db).start_task(session_id, TaskType.PROCESSING)
    handlers = "processing=billing.handlers:process"
    bench.worker(settings=bench.settings.model_copy(update={"handlers": handlers}))
    bench.until_status(session_id, "completed")
    with bench.database.transaction() as db:
        invoices = db.execute(text("SELECT session_id, pages FROM public.invoices")).all()
    assert [tuple(each) for each in invoices] == [(session_id, 3)]
