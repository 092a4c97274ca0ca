"""Write task rows through SQLAlchemy in every way, at random, and compare with rules by hand.

A Hypothesis machine with an engine and sessions of its own, as an application that embeds Session
Tasks has them: it never calls the repository. Each step changes one session's task in some way
(methods, assignment, strings, constructor, merge, pickle, expired and detached objects, savepoints,
rollbacks, deletion, a second object, a stale one), legally or not, and commits. After each commit
the row, the stage, the lease and the due retry must be those of `chaos.by_hand`; a change that it
does not know must have raised `TaskValidationError`, with nothing written.

One file of more than 450 lines: the rules of the machine share its state.
"""

from __future__ import annotations

import contextlib
import copy
import pickle
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, cast

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, create_engine, delete, select, text
from sqlalchemy.orm import Session as DbSession
from sqlalchemy.orm import make_transient

from app.core.database import bound
from app.core.errors import TaskValidationError
from app.models.session import (
    MAX_RETRY_COUNT,
    Session,
    SessionStage,
    SessionTask,
    TaskStatus,
    TaskType,
)
from chaos.by_hand import TYPES, ByHand

STEPS_PER_EXAMPLE = 50
LEGAL_STARTS = {"first", "next", "again", "same"}
ENDS = ("completed", "failed", "cancelled")
WAYS = ("methods", "assignment", "strings")
OBJECTS = (
    "loaded",
    "expired",
    "found",
    "by relationship",
    "merged",
    "unpickled and merged",
    "reattached",
    "unpickled and added",
    "refreshed",
)
ENDINGS = ("commit", "flush", "savepoint", "savepoint undone", "undone", "flushed and undone")
CONTEXTS: dict[str, dict[str, Any]] = {
    "none": {},
    "temporary": {"error": "Away", "message": "away", "category": "temporary"},
    "lasting": {"error": "Broken", "message": "it broke", "category": "admin_required"},
    "unsafe": {
        "message": "\x00\ud800 password=hunter2",
        "value": float("nan"),
        "deep": {"a": [1.5]},
    },
}

acts = st.one_of(
    st.tuples(st.just("start"), st.sampled_from([*TYPES, "own", "following"])),
    st.tuples(st.sampled_from(ENDS), st.sampled_from(sorted(CONTEXTS))),
)
ends = st.tuples(st.sampled_from(ENDS), st.sampled_from(sorted(CONTEXTS)))


class Hand(ByHand):
    """The state that the session must be in, with the run that its task was last started as."""

    run: uuid.UUID | None = None


class OrmWrites(RuleBasedStateMachine):
    """One session and its task, written by one way after the other."""

    def __init__(self, engine: Engine, count_step: Callable[[], None]) -> None:
        super().__init__()
        self.engine = engine
        self.count_step = count_step

    @initialize()
    def open_a_session(self) -> None:
        with DbSession(self.engine) as db:
            session, other = Session(), Session()
            db.add_all([session, other])
            db.commit()
            self.session_id, self.other_id = session.id, other.id
        self.hand = Hand(advances=False)

    # -- legal and illegal transitions, by every way ----------------------------------------------

    @precondition(lambda self: self.hand.status)
    @rule(
        data=st.data(),
        several=st.lists(acts, min_size=1, max_size=3),
        way=st.sampled_from(WAYS),
        which=st.sampled_from(OBJECTS),
        ending=st.sampled_from(ENDINGS),
        is_queried=st.booleans(),
        is_careful=st.booleans(),
    )
    def change(  # noqa: PLR0913, PLR0917 - what a way is made of
        self,
        data: st.DataObject,
        several: list[tuple[str, str]],
        way: str,
        which: str,
        ending: str,
        is_queried: bool,
        is_careful: bool,
    ) -> None:
        """One transition or several in one transaction, by methods in one flush, too."""
        before = copy.deepcopy(self.hand)
        with self._transaction(ending, expires=data.draw(st.booleans())) as (db, end):
            task = self._task(db, which)
            for each in several:
                act, detail = self._resolved(each)
                if way != "methods" and act == self.hand.status:
                    continue  # it is that already: nothing would change
                is_legal = self._expect(act, detail, run := uuid.uuid4())
                try:
                    with db.no_autoflush if is_careful else contextlib.nullcontext():
                        if way == "methods":
                            self._call(data, task, act, detail, run)
                        else:
                            self._assign(data, db, task, act, detail, run, way, is_queried)
                        if is_queried:
                            self._query(db)
                        if way != "methods" or data.draw(st.booleans()):
                            db.flush()
                except TaskValidationError:
                    # A query may have flushed half of what was to be assigned.
                    assert not is_legal or (is_queried and way != "methods"), (act, detail, way)
                    db.rollback()
                    self.hand = before
                    break
                assert is_legal, f"{act} {detail} by {way} was accepted"
            else:
                if end():
                    self.hand = before
        self._compare()

    @precondition(lambda self: not self.hand.status)
    @rule(
        data=st.data(),
        how=st.sampled_from(["methods", "constructor", "strings", "assignment"]),
        task_type=st.sampled_from(TYPES),
        parent=st.sampled_from(["id", "session", "session.task"]),
        more=st.lists(ends, max_size=1),
        ending=st.sampled_from(ENDINGS),
    )
    def begin(  # noqa: PLR0913, PLR0917 - what a way is made of
        self,
        data: st.DataObject,
        how: str,
        task_type: str,
        parent: str,
        more: list[tuple[str, str]],
        ending: str,
    ) -> None:
        """A first task by every way, and perhaps its end in the same flush."""
        before = copy.deepcopy(self.hand)
        is_legal = self._expect("start", task_type, run := uuid.uuid4())
        with self._transaction(ending, expires=data.draw(st.booleans())) as (db, end):
            try:
                task = self._new(db, how, task_type, parent, run)
                if data.draw(st.booleans()):
                    db.add(task)
                if how == "methods":
                    task.mark_started(run)
                for act, detail in more if how != "assignment" else ():
                    self._call(data, task, act, detail, run)
                    is_legal = self._expect(act, detail, run) and is_legal
                db.add(task)
                db.flush()
            except TaskValidationError:
                assert not is_legal, (how, task_type, parent)
                db.rollback()
                self.hand = before
            else:
                assert is_legal, (how, task_type, parent)
                if end():
                    self.hand = before
        self._compare()

    # -- what is never legal ----------------------------------------------------------------------

    @precondition(lambda self: self.hand.status)
    @rule(
        what=st.sampled_from(
            [
                "moved to another session",
                "given another session_id",
                "taken from its session",
                "replaced",
                "deleted",
                "doubled",
                "doubled in one flush",
                "made transient",
                "counted by hand",
                "started at another time",
                "completed without a status",
                "failed without a status",
                "another id",
                "another run",
                "another type",
                "another status",
                "another stage",
                "the same run again",
                "changed in place",
                "explained without a failure",
                "no context",
            ]
        ),
        which=st.sampled_from(OBJECTS),
    )
    def forbidden(self, what: str, which: str) -> None:
        """Writes that no rule allows raise, on any kind of object, and nothing is written."""
        with DbSession(self.engine) as db:
            task = self._task(db, which)
            try:
                is_done = self._forbid(db, task, what)
                if is_done:
                    db.commit()
            except TaskValidationError:
                is_done = False
            assert not is_done, f"{what} was accepted of a task that is {self.hand.status}"
        self._compare()

    @rule(stage=st.sampled_from(list(SessionStage)), is_string=st.booleans())
    def assign_a_stage(self, stage: SessionStage, is_string: bool) -> None:
        """Only the stage that follows from the task can be assigned."""
        with DbSession(self.engine) as db:
            session = db.get_one(Session, self.session_id)
            session.stage = stage.value if is_string else stage  # type: ignore[assignment]
            is_refused = False
            try:
                db.commit()
            except TaskValidationError:
                is_refused = True
            assert is_refused == (stage.value != self.hand.stage)
        self._compare()

    # -- what else happens ------------------------------------------------------------------------

    @precondition(lambda self: self.hand.failures)
    @rule(which=st.sampled_from(OBJECTS))
    def explain_again(self, which: str) -> None:
        """A failure may be described again, which is no transition."""
        with DbSession(self.engine) as db:
            task = self._task(db, which)
            task.failure_context = {**(task.failure_context or {}), "seen_by": "somebody"}
            db.commit()
            assert task.failure_context["seen_by"] == "somebody"
        self._compare()

    @precondition(lambda self: self.hand.status)
    @rule(
        data=st.data(),
        act=acts,
        way=st.sampled_from(WAYS),
        which=st.sampled_from([each for each in OBJECTS if each not in {"refreshed", "expired"}]),
    )
    def change_what_has_moved_on(
        self, data: st.DataObject, act: tuple[str, str], way: str, which: str
    ) -> None:
        """An object that was read before somebody else moved the row writes nothing."""
        with DbSession(self.engine) as db:
            task = self._task(db, which)
            assert task.status is not None  # it is read here, and not later
            theirs = ("completed", "none") if self.hand.status == "running" else ("start", "own")
            resolved = self._resolved(theirs)
            if not self._expect(*resolved, run := uuid.uuid4()):
                return
            with DbSession(self.engine) as other:
                self._call(data, self._task(other, "loaded"), *resolved, run)
                other.commit()
            with contextlib.suppress(TaskValidationError), db.no_autoflush:
                detail = self._resolved(act)[1]
                if way == "methods":
                    self._call(data, task, act[0], detail, uuid.uuid4())
                else:
                    self._assign(
                        data, db, task, act[0], detail, uuid.uuid4(), way, is_queried=False
                    )
                is_changed = db.is_modified(task)
                db.commit()
                assert not is_changed, "an object that was overtaken has written"
        self._compare()

    @rule(how=st.sampled_from(["object", "loaded task", "under an object"]), data=st.data())
    def delete_the_session(self, how: str, data: st.DataObject) -> None:
        """A session goes with its task and lease, whatever that is at."""
        with DbSession(self.engine) as db:
            session = db.get_one(Session, self.session_id)
            if how != "object":
                _ = session.task
            if how == "under an object" and session.task is not None:
                with self.engine.begin() as connection:
                    connection.execute(delete(Session).where(Session.id == self.session_id))
                act = "start" if self.hand.status != "running" else "cancelled"
                try:
                    self._call(data, session.task, act, self.hand.task_type, uuid.uuid4())
                    db.commit()
                except TaskValidationError:
                    pass
                else:
                    raise AssertionError("a session that is gone was written to")
            else:
                db.delete(session)
                db.commit()
        with self.engine.connect() as connection:
            left = connection.scalar(_LEFT, {"session_id": self.session_id})
        assert left == 0
        self.open_a_session()
        self._compare()

    # -- how each is done -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _transaction(
        self, ending: str, *, expires: bool
    ) -> Iterator[tuple[DbSession, Callable[[], bool]]]:
        """A session, and a function that ends its transaction: whether all was undone."""
        with DbSession(self.engine, expire_on_commit=expires) as db:
            savepoint = None
            if ending.startswith("savepoint"):
                db.get_one(Session, self.session_id)
                savepoint = db.begin_nested()

            def end() -> bool:
                if ending == "savepoint undone":
                    assert savepoint is not None
                    savepoint.rollback()
                elif ending == "flushed and undone":
                    db.flush()
                    db.rollback()
                elif ending == "undone":
                    db.rollback()
                elif ending == "flush":
                    db.flush()
                db.commit()
                return "undone" in ending

            yield db, end

    def _task(self, db: DbSession, which: str) -> SessionTask:
        """The session's task, as an application may come by it."""
        wanted = select(SessionTask).where(SessionTask.session_id == self.session_id)
        if which == "by relationship":
            task = db.get_one(Session, self.session_id).task
            assert task is not None
            return task
        if which == "found":
            with bound(db):
                found = SessionTask.find_active_for_session(self.session_id)
                found = found or SessionTask.find_failed_retryable(self.session_id)
            return found or db.scalars(wanted).one()
        if which in {"merged", "unpickled and merged", "reattached", "unpickled and added"}:
            with DbSession(self.engine) as elsewhere:
                detached = elsewhere.scalars(wanted).one()
                elsewhere.expunge_all()
            if "unpickled" in which:
                detached = pickle.loads(pickle.dumps(detached))
            if "merged" in which:
                return db.merge(detached)
            db.add(detached)
            return detached
        task = db.scalars(wanted).one()
        if which == "expired":
            db.expire(task)
        elif which == "refreshed":
            db.refresh(task)
        return task

    def _new(
        self, db: DbSession, how: str, task_type: str, parent: str, run: uuid.UUID
    ) -> SessionTask:
        values: dict[str, Any] = {"task_type": TaskType(task_type)}
        if how == "constructor":
            values |= {"status": TaskStatus.RUNNING, "task_id": run}
        elif how == "strings":
            values |= {"status": "running", "task_id": str(run), "task_type": task_type}
        if parent == "id":
            values["session_id"] = self.session_id
        session = db.get_one(Session, self.session_id)
        _ = session.task
        if parent == "session":
            values["session"] = session
        task = SessionTask(**values)
        if parent == "session.task":
            session.task = task
        if how == "assignment":
            task.status, task.task_id = TaskStatus.RUNNING, run
        return task

    def _call(
        self, data: st.DataObject, task: SessionTask, act: str, detail: str, run: uuid.UUID
    ) -> None:
        if act == "start":
            if task.status == TaskStatus.COMPLETED and data.draw(st.booleans()):
                task.advance(TaskType(detail), run)
            else:
                task.task_type = TaskType(detail)
                task.mark_started(run)
        elif act == "failed":
            error: Any = CONTEXTS[detail]
            if detail == "none":
                error = data.draw(st.sampled_from([{}, "it broke", ValueError("it broke")]))
            task.mark_failed(error)
        elif act == "completed":
            task.mark_completed()
        else:
            task.mark_cancelled()

    def _assign(  # noqa: PLR0913, PLR0917 - what a way is made of
        self,
        data: st.DataObject,
        db: DbSession,
        task: SessionTask,
        act: str,
        detail: str,
        run: uuid.UUID,
        way: str,
        is_queried: bool,
    ) -> None:
        values: dict[str, Any] = {"status": TaskStatus("running" if act == "start" else act)}
        if act == "start":
            values |= {"task_id": run, "task_type": TaskType(detail)}
        if act == "failed" and detail != "none":
            values["failure_context"] = CONTEXTS[detail]
        if act != "cancelled" and data.draw(st.booleans()):
            column = "started_at" if act == "start" else f"{act}_at"
            values[column] = datetime.now(UTC) + timedelta(hours=5)
        for key in data.draw(st.permutations(sorted(values))):
            value = values[key]
            setattr(
                task, key, value.value if way == "strings" and isinstance(value, Enum) else value
            )
            if is_queried:
                self._query(db)

    def _query(self, db: DbSession) -> None:
        """Any query flushes first, unless that is switched off."""
        db.scalar(select(Session.label).where(Session.id == self.session_id))

    def _forbid(self, db: DbSession, task: SessionTask, what: str) -> bool:  # noqa: C901, PLR0912, PLR0915
        """Do what is forbidden, as far as it is that in this state; whether it was."""
        now = datetime.now(UTC)
        status = self.hand.status
        with db.no_autoflush:
            match what:
                case "moved to another session":
                    task.session = db.get_one(Session, self.other_id)
                case "given another session_id":
                    task.session_id = self.other_id
                case "taken from its session":
                    db.get_one(Session, self.session_id).task = None
                case "replaced":
                    new = SessionTask(task_type=TaskType.PROCESSING)
                    db.get_one(Session, self.session_id).task = new
                    new.mark_started(uuid.uuid4())
                case "deleted":
                    db.delete(task)
                case "doubled":
                    db.expunge(task)
                    self._second(db)
                case "doubled in one flush":
                    task.failure_context = None
                    self._second(db)
                case "made transient":
                    db.expunge(task)
                    make_transient(task)
                    db.add(task)
                case "counted by hand":
                    task.retry_count = (task.retry_count + 1) % 4
                case "started at another time":
                    task.started_at = now
                case "completed without a status":
                    task.completed_at = now
                case "failed without a status":
                    task.failed_at = now
                case "another id":
                    task.id = uuid.uuid4()
                case "another run":
                    task.task_id = uuid.uuid4()
                case "another type":
                    task.task_type = next(each for each in TaskType if each != task.task_type)
                case "another status":
                    wrong = {"running": "running", "failed": "completed", "completed": "failed"}
                    if status == "running":
                        task.status = "paused"  # type: ignore[assignment]
                    else:
                        task.status = wrong.get(status, "failed")  # type: ignore[assignment]
                case "another stage":
                    with_stage = db.get_one(Session, self.session_id)
                    with_stage.stage = next(
                        each for each in SessionStage if each.value != self.hand.stage
                    )
                case "the same run again":
                    task.status = TaskStatus.RUNNING
                    if status == "running":
                        task.mark_started(task.task_id)
                case "changed in place":
                    if task.failure_context is None:
                        return False
                    task.failure_context["message"] = "another"
                case "explained without a failure":
                    if task.failure_context is not None:
                        return False
                    task.failure_context = {"message": "nothing"}
                case "no context":
                    if status != "failed":
                        return False
                    task.failure_context = None
        return True

    def _second(self, db: DbSession) -> None:
        second = SessionTask(session_id=self.session_id, task_type=TaskType.PROCESSING)
        second.mark_started(uuid.uuid4())
        db.add(second)

    # -- what is expected -------------------------------------------------------------------------

    def _resolved(self, act: tuple[str, str]) -> tuple[str, str]:
        """The act, with a task type by its name."""
        name, detail = act
        own = self.hand.task_type
        if detail == "own":
            return name, own
        if detail == "following":
            return name, TYPES[min(TYPES.index(own) + 1, len(TYPES) - 1)]
        return name, detail

    def _expect(self, act: str, detail: str, run: uuid.UUID) -> bool:
        """Whether the rules by hand allow it; if they do, the session must look so after it."""
        if act == "start":
            is_legal = self.hand.start(detail) in LEGAL_STARTS
            if is_legal:
                self.hand.run = run
            return is_legal
        if act == "failed":
            return self.hand.fail(detail)
        return self.hand.complete() if act == "completed" else self.hand.cancel()

    def _compare(self) -> None:
        self.count_step()
        hand = self.hand
        with self.engine.connect() as connection:
            row = connection.execute(_ROW, {"session_id": self.session_id}).one()
        assert row.stage == hand.stage, (row, vars(hand))
        assert (row.task_type or "", row.status or "") == (hand.task_type, hand.status)
        if not hand.status:
            assert row.lease_run is None
            return
        assert (row.retry_count, row.task_id) == (hand.count, hand.run)
        assert row.lease_run == (hand.run if hand.status == "running" else None)
        if hand.status == "running":
            assert (row.lease_type, row.lease_attempt) == (hand.task_type, hand.count + 1)
        for moment, status in ((row.completed_at, "completed"), (row.failed_at, "failed")):
            assert (moment is not None) == (hand.status == status)
        for moment in (row.started_at, row.completed_at, row.failed_at):
            assert moment is None or moment <= row.now, "a moment that is not the database's"
        context = row.failure_context
        assert (context is None) == (not hand.failures)
        if context is not None:
            assert "hunter2" not in str(context)
            told = [*context.get("earlier", ()), context]
            assert [failure["attempt"] for failure in told] == hand.attempts
            category = CONTEXTS[hand.failures[-1]].get("category", "admin_required")
            assert context["category"] == category
            if hand.status == "failed" and category == "temporary" and hand.count < MAX_RETRY_COUNT:
                assert row.retry_run == hand.run, "it is retried automatically"


_LEFT = text(
    "SELECT (SELECT count(*) FROM session_tasks WHERE session_id = :session_id)"
    " + (SELECT count(*) FROM session_task_leases WHERE session_id = :session_id)"
)
_ROW = text(
    "SELECT s.stage, t.task_type, t.status, t.task_id, t.retry_count, t.started_at, t.completed_at,"
    " t.failed_at, t.failure_context, l.task_id AS lease_run, l.task_type AS lease_type,"
    " l.attempt AS lease_attempt, r.task_id AS retry_run, clock_timestamp() AS now"
    " FROM sessions s LEFT JOIN session_tasks t ON t.session_id = s.id"
    " LEFT JOIN session_task_leases l ON l.session_id = s.id"
    " LEFT JOIN session_task_retries r ON r.session_id = s.id WHERE s.id = :session_id"
)


def write_every_way(url: str, steps: int) -> int:
    """Take at least so many steps in the database at `url`; return how many were taken."""
    engine = create_engine(url, connect_args={"options": "-c timezone=UTC"})
    taken = 0

    def count_step() -> None:
        nonlocal taken
        taken += 1

    def machine() -> OrmWrites:
        return OrmWrites(engine, count_step)

    try:
        while taken < steps:
            run_state_machine_as_test(
                cast("type[OrmWrites]", machine),
                settings=settings(
                    max_examples=max(1, (steps - taken) // STEPS_PER_EXAMPLE + 1),
                    stateful_step_count=STEPS_PER_EXAMPLE,
                    deadline=None,
                    report_multiple_bugs=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
    finally:
        engine.dispose()
    return taken
