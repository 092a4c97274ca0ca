"""Transitions on the same sessions in every order of their statements, and what came of each."""

from __future__ import annotations

import itertools
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import make_url

from app.core.database import Database, driver_connection
from app.core.errors import TaskError
from app.models.session import Session, SessionTask, TaskStatus, TaskType
from app.repositories import transitions
from app.repositories.session_repository import SessionRepository
from app.repositories.transitions import Heartbeat, Transition
from app.values.claims import Claim
from app.values.results import TaskResults, TicketDraft
from chaos import history
from chaos.adversary import REFUSALS
from chaos.bugs import Bug, WrongFunction, planted
from chaos.history import Acknowledged
from chaos.interleaving import Choose, Interleaver, every_order, gated, some_orders
from chaos.rig import Rig, Verdict

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy.orm import Session as DbSession

LEASE_SECONDS = 600.0
OVER = 1e-6
"""A lease that is over when it begins, in seconds."""

FAILURE = {"error": "Chaos", "message": "on purpose", "category": "temporary"}
RESULTS = TaskResults(
    tickets=[TicketDraft("1", '{"type":"doc","version":1,"content":[]}', "a.md", 1)]
)
WRONG_LEASES = """
SELECT s.id, t.status, t.task_id, l.task_id FROM sessions s
  LEFT JOIN session_tasks t ON t.session_id = s.id
  LEFT JOIN session_task_leases l ON l.session_id = s.id
 WHERE CASE WHEN t.status = 'running' THEN l.task_id IS DISTINCT FROM t.task_id
            ELSE l.task_id IS NOT NULL END"""
FORGET = ("history_tasks", "history_leases", "history_commits")


@dataclass
class Scene:
    """Two sessions in the same state, in the order of their ids, and what there is of them."""

    session_ids: list[uuid.UUID]
    runs: dict[uuid.UUID, uuid.UUID] = field(default_factory=dict)
    claims: list[Claim] = field(default_factory=list)

    @property
    def one(self) -> uuid.UUID:
        return self.session_ids[0]

    @property
    def claim(self) -> Claim:
        return self.claims[0]


Told = Sequence[object]
"""What a transition returned: transitions, errors, and what is neither."""

ByStatement = Callable[["psycopg.Connection[Any]", Scene], Told]
InTransaction = Callable[["DbSession", SessionRepository, Scene], Told]


@dataclass(frozen=True)
class Act:
    """One transition by one door: a statement on its own, or calls in a transaction."""

    name: str
    by_statement: ByStatement | None = None
    in_transaction: InTransaction | None = None
    is_claimed: bool = False
    """Whether it ends the run by its claim."""

    def __call__(self, database: Database, scene: Scene) -> list[Acknowledged]:
        if self.by_statement is not None:
            with database.driver_connection() as connection:
                told = self.by_statement(connection, scene)
        else:
            with database.transaction() as db:
                assert self.in_transaction is not None
                told = self.in_transaction(db, SessionRepository(db), scene)
        return [self._acknowledged(each, scene) for each in told if isinstance(each, Transition)]

    def _acknowledged(self, moved: Transition, scene: Scene) -> Acknowledged:
        token = next(
            (c.claim_token for c in scene.claims if c.task_id == moved.task_id), None
        ) if self.is_claimed else None  # fmt: skip
        name = "started" if moved.status is TaskStatus.RUNNING else moved.status.value
        return Acknowledged(name, moved.session_id, moved.task_id, token)


def _starts(scene: Scene, task_type: TaskType) -> list[tuple[uuid.UUID, TaskType, uuid.UUID]]:
    return [(session_id, task_type, uuid.uuid4()) for session_id in reversed(scene.session_ids)]


def _start_object(db: DbSession, task_type: TaskType, scene: Scene) -> Told:
    session = db.get(Session, scene.one)
    if session is None:
        return []
    task = session.task
    if task is None:
        task = SessionTask(session_id=scene.one, task_type=task_type)
        db.add(task)
    elif task.task_type is not task_type:
        task.task_type = task_type
    task.mark_started(uuid.uuid4())
    return _flushed(db, task)


def _move_object(db: DbSession, move: Callable[[SessionTask], None], scene: Scene) -> Told:
    session = db.get(Session, scene.one)
    if session is None or session.task is None:
        return []
    move(session.task)
    return _flushed(db, session.task)


def _flushed(db: DbSession, task: SessionTask) -> Told:
    db.flush()
    return [
        Transition(
            task.session_id, task.task_type, task.task_id, task.status, task.retry_count,
            task.started_at, 0.0, False, None,
        )
    ]  # fmt: skip


def _nothing(_: object) -> Told:
    return []


def _release(_: object, sessions: SessionRepository, scene: Scene) -> Told:
    sessions.release_task(scene.claim)
    return []


def _delete(_: object, sessions: SessionRepository, scene: Scene) -> Told:
    sessions.delete_session(scene.one)
    return []


def _start_acts(task_type: TaskType) -> tuple[Act, ...]:
    return (
        Act("start, statement", lambda c, s: transitions.start(c, _starts(s, task_type)[1:])),
        Act("start", None, lambda _, r, s: [r.start_task(s.one, task_type)]),
        Act("start of two", None, lambda _, r, s: r.start_tasks(
            [(i, task_type) for i in reversed(s.session_ids)])),
        Act("start, object", None, lambda db, _, s: _start_object(db, task_type, s)),
    )  # fmt: skip


def _sweep(_: object, sessions: SessionRepository, scene: Scene) -> Told:
    return [
        *sessions.rescue_expired(only=scene.session_ids),
        *sessions.retry_due(),
        *_nothing(sessions.heal_leases(lease_seconds=LEASE_SECONDS)),
    ]


CLAIM = Act("claim", None, lambda _, r, s: _nothing(
    r.claim_task(s.one, s.runs[s.one], uuid.uuid4(), lease_seconds=LEASE_SECONDS)))  # fmt: skip
CLAIM_NEXT = Act("claim of any", lambda c, _: _nothing(transitions.claim_next(
    c, uuid.uuid4(), task_types=list(TaskType), limit=2, lease_seconds=LEASE_SECONDS)))  # fmt: skip
CLAIM_OF_ANY = Act("claim of any, in a transaction", None, lambda _, r, _s: _nothing(
    r.claim_next(uuid.uuid4(), limit=2, lease_seconds=LEASE_SECONDS)))  # fmt: skip
COMPLETE = Act("complete", None, lambda _, r, s: [r.complete_task(s.claim, RESULTS)],
               is_claimed=True)  # fmt: skip
COMPLETE_STATEMENT = Act("complete, statement", lambda c, s: transitions.complete(c, [s.claim]),
                         is_claimed=True)  # fmt: skip
COMPLETE_TWO = Act("complete two", None, lambda _, r, s: r.complete_tasks(
    [(claim, None) for claim in s.claims]), is_claimed=True)  # fmt: skip
FAIL = Act("fail", None, lambda _, r, s: [r.fail_task(s.claim, FAILURE)], is_claimed=True)
FAIL_TWO = Act("fail two", None, lambda _, r, s: r.fail_tasks(
    [(claim, FAILURE) for claim in reversed(s.claims)]), is_claimed=True)  # fmt: skip
FAIL_OBJECT = Act("fail, object", None, lambda db, _, s: _move_object(
    db, lambda task: task.mark_failed(FAILURE), s))  # fmt: skip
BEAT = Act("heartbeat", None, lambda _, r, s: _nothing(
    r.heartbeat(s.claims[::-1], lease_seconds=LEASE_SECONDS)))  # fmt: skip
BEAT_STATEMENT = Act("heartbeat, statement", lambda c, s: _nothing(transitions.heartbeat(
    c, [Heartbeat(claim) for claim in s.claims], lease_seconds=LEASE_SECONDS)))  # fmt: skip
RELEASE = Act("release", None, _release)
CANCEL = Act("cancel", None, lambda _, r, s: [r.cancel_task(s.one)])
CANCEL_STATEMENT = Act("cancel of two, statement", lambda c, s: transitions.cancel(
    c, [(session_id, None) for session_id in reversed(s.session_ids)]))  # fmt: skip
CANCEL_TWO = Act("cancel of two", None, lambda _, r, s: r.cancel_tasks(list(s.runs.items())))
CANCEL_OBJECT = Act("cancel, object", None, lambda db, _, s: _move_object(
    db, SessionTask.mark_cancelled, s))  # fmt: skip
DELETE = Act("delete", None, _delete)
RETRY = Act("retry", None, lambda _, r, s: [r.retry_task(s.one)])
RETRY_TWO = Act("retry of two", None, lambda _, r, s: r.retry_tasks(list(s.runs.items())[::-1]))
RETRY_STATEMENT = Act("retry, statement", lambda c, s: transitions.retry(
    c, [(s.one, None, uuid.uuid4())]))  # fmt: skip
RESCUE = Act("rescue", None, lambda _, r, s: r.rescue_expired(only=s.session_ids))
SWEEP = Act("sweep", None, _sweep)
FIRST = _start_acts(TaskType.PROCESSING)
NEXT = _start_acts(TaskType.EXPORT)

PAIRS: dict[str, tuple[Act, ...]] = {
    "created": (*FIRST, DELETE),
    "waiting": (CLAIM, CLAIM_NEXT, CLAIM_OF_ANY, CANCEL, CANCEL_TWO, CANCEL_OBJECT, FIRST[1],
                DELETE),
    "claimed": (COMPLETE, COMPLETE_STATEMENT, COMPLETE_TWO, FAIL, FAIL_TWO, FAIL_OBJECT, BEAT,
                BEAT_STATEMENT, RELEASE, CANCEL, CANCEL_STATEMENT, CANCEL_TWO, CANCEL_OBJECT,
                FIRST[0], DELETE),
    "expired": (RESCUE, SWEEP, COMPLETE, COMPLETE_TWO, FAIL_TWO, BEAT, CANCEL, DELETE),
    "failed": (RETRY, RETRY_TWO, RETRY_STATEMENT, SWEEP, FIRST[0], FIRST[3], DELETE),
    "completed": (*NEXT, FIRST[1], DELETE),
    "cancelled": (*FIRST, DELETE),
}  # fmt: skip
"""Each act with each, itself included, on sessions in this state."""

TRIPLES: tuple[tuple[str, tuple[Act, ...]], ...] = (
    ("expired", (CLAIM_NEXT, RESCUE, COMPLETE)),
    ("expired", (CLAIM_NEXT, RESCUE, COMPLETE_TWO)),
    ("claimed", (RELEASE, CLAIM_NEXT, COMPLETE)),
    ("claimed", (RELEASE, CLAIM, FAIL)),
    ("claimed", (CANCEL, COMPLETE, RETRY)),
    ("claimed", (CANCEL_TWO, COMPLETE_TWO, FIRST[0])),
    ("claimed", (BEAT, COMPLETE_TWO, CANCEL_STATEMENT)),
    ("failed", (DELETE, FIRST[1], SWEEP)),
    ("expired", (DELETE, FIRST[0], SWEEP)),
    ("failed", (RETRY, SWEEP, CANCEL)),
)
Meeting = tuple[str, tuple[Act, ...]]


def meetings() -> list[Meeting]:
    """Every state with the acts that meet in it."""
    pairs = [
        (state, pair)
        for state, acts in PAIRS.items()
        for pair in itertools.combinations_with_replacement(acts, 2)
    ]
    return [*TRIPLES, *pairs]


class Stage:
    """One rig's database, on which acts meet in chosen orders."""

    def __init__(self, connection: psycopg.Connection[Any], database: Database) -> None:
        self._connection = connection
        self._database = database
        self._interleaver = Interleaver(connection)
        self._told: list[Acknowledged]
        self.outcomes: Counter[str] = Counter()
        self.broken: list[str] = []
        self._forget()

    def run(self, meeting: Meeting, choose: Choose) -> list[tuple[list[int], int]]:
        """Set the scene, let the acts meet in one order, and look at what is committed."""
        state, acts = meeting
        scene = self._scene(state)
        steps, outcomes = self._interleaver.run(
            [partial(act, self._database, scene) for act in acts], choose
        )
        order = " ".join(str(chosen) for _, chosen in steps)
        what = f"{state}: {' | '.join(act.name for act in acts)}, in the order {order}"
        for act, outcome in zip(acts, outcomes, strict=True):
            if isinstance(outcome, list):
                self._told += outcome
            elif not isinstance(outcome, REFUSALS):
                self.broken.append(f"{what}: {act.name}: {type(outcome).__name__}: {outcome}")
            self.outcomes[type(outcome).__name__ if isinstance(outcome, TaskError) else "done"] += 1
        self.broken += [
            f"{what}: a lease that does not belong to its task: {row}"
            for row in self._connection.execute(WRONG_LEASES).fetchall()
        ]
        self._connection.execute("DELETE FROM sessions")
        return steps

    def judge(self, meeting: Meeting) -> None:
        """Hold what was recorded of this meeting against the rules, and forget it."""
        state, acts = meeting
        what = f"{state}: {' | '.join(act.name for act in acts)}"
        self.broken += [
            f"{what}: {violation}"
            for violation in history.violations(history.read(self._connection), self._told)
        ]
        self._forget()

    def _forget(self) -> None:
        for table in FORGET:
            self._connection.execute(f"DELETE FROM {table}".encode())
        self._told = []

    def _scene(self, state: str) -> Scene:
        with self._database.transaction() as db:
            sessions = SessionRepository(db)
            ids = sorted(sessions.create_session(auto_advance=True).id for _ in range(2))
            scene = Scene(ids)
            if state == "created":
                return scene
            started = sessions.start_tasks([(i, TaskType.PROCESSING) for i in ids])
            scene.runs = {t.session_id: t.task_id for t in started if isinstance(t, Transition)}
            if state == "waiting":
                return scene
            lasts = OVER if state == "expired" else LEASE_SECONDS
            claims = sessions.claim_next(uuid.uuid4(), limit=2, lease_seconds=lasts)
            scene.claims = sorted(claims, key=lambda claim: claim.session_id)
            if state == "failed":
                sessions.fail_tasks([(c, FAILURE) for c in scene.claims], backoff_seconds=OVER)
            elif state == "completed":
                transitions.complete(driver_connection(db), scene.claims)
            elif state == "cancelled":
                sessions.cancel_tasks(list(scene.runs.items()))
        return scene


@contextmanager
def _staged(rig: Rig) -> Iterator[Stage]:
    url = make_url(rig.url).update_query_dict({"options": "-csynchronous_commit=off"})
    with (
        Database(rig.settings, url.render_as_string(hide_password=False)) as database,
        database.driver_connection() as connection,
        gated(),
    ):
        database.announce = lambda *_, **__: None  # its moment depends on time
        yield Stage(connection, database)


def every(rig: Rig, *, part: tuple[int, int] = (1, 1)) -> Verdict:
    """Run each meeting in every order; or the meetings of one part of so many, the triples first.

    Prints how many orders each meeting has as soon as all were run, so that a run that is ended
    says how far it got.
    """
    number, parts = part
    wanted = meetings()[number - 1 :: parts]
    orders = met = 0
    with _staged(rig) as stage:
        for meeting in wanted:
            count, is_whole = 0, False
            for count, _ in enumerate(every_order(partial(stage.run, meeting)), 1):  # noqa: B007
                if rig.is_time_up:
                    break
            else:
                is_whole = True
            stage.judge(meeting)
            orders += count
            met += is_whole
            state, acts = meeting
            what = f"{state}: {' | '.join(act.name for act in acts)}"
            print(f"  {count:6} {'orders' if is_whole else 'orders, not all'}, {what}", flush=True)
            if rig.is_time_up:
                break
    return _verdict(stage, f"{orders} of {met} of {len(wanted)} meetings")


def sample(rig: Rig, meetings_count: int) -> Verdict:
    """Run so many meetings by chance, each in one order by chance."""
    with _staged(rig) as stage:
        for meeting in rig.random.sample(meetings(), meetings_count):
            orders = sum(1 for _ in some_orders(partial(stage.run, meeting), 1, rig.random))
            assert orders == 1
            stage.judge(meeting)
    return _verdict(stage, f"one of each of {meetings_count} meetings")


def _verdict(stage: Stage, trials: str) -> Verdict:
    figures = {outcome: str(count) for outcome, count in sorted(stage.outcomes.items())}
    return Verdict("orders of statements", trials, figures, stage.broken)


def caught(rig: Rig, bug: Bug | WrongFunction, among: Sequence[Meeting]) -> str:
    """Return what these meetings show of the product with this bug; empty if it was not caught."""
    with planted(bug), _staged(rig) as stage:
        for meeting in among:
            for _ in every_order(partial(stage.run, meeting)):
                stage.judge(meeting)
                if stage.broken:
                    return stage.broken[0]
    return ""
