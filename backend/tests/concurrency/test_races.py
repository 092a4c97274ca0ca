"""Real transactions on real connections, racing: one outcome each, and no deadlock."""

from __future__ import annotations

import random
import threading
import uuid
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from app.core.database import Database
from app.core.errors import (
    SessionNotFound,
    StaleClaim,
    TaskConflict,
    TaskError,
    TaskValidationError,
)
from app.models.session import SessionTask, TaskStatus, TaskType
from app.repositories import transitions
from app.repositories.batcher import TransitionBatcher
from app.repositories.session_repository import SessionRepository
from app.repositories.transitions import Heartbeat, Transition
from app.values.claims import Claim
from tests.concurrency.conftest import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from app.core.config import Settings
    from app.models.session import Session

ROUNDS = 30
P = TaskType.PROCESSING


def committed(database: Database, act: Callable[[SessionRepository], Any]) -> Any:
    with database.transaction() as db:
        return act(SessionRepository(db))


@pytest.fixture
def state(database: Database) -> Callable[[uuid.UUID], Any]:
    """Return the committed stage, row and lease of a session; None if it was deleted."""

    def read(session_id: uuid.UUID) -> Any:
        with database.transaction() as db:
            return db.execute(
                text(
                    "SELECT s.stage, t.status, t.retry_count, t.task_id, l.task_id AS leased"
                    " FROM sessions s LEFT JOIN session_tasks t ON t.session_id = s.id"
                    " LEFT JOIN session_task_leases l ON l.session_id = s.id WHERE s.id = :id"
                ),
                {"id": session_id},
            ).one_or_none()

    return read


@pytest.mark.parametrize("door", ["repository", "batcher"])
def test_of_fifty_simultaneous_starts_one_wins(  # noqa: PLR0913, PLR0917 - fixtures
    door: str,
    database: Database,
    settings: Settings,
    make_session: Callable[..., Session],
    race: Callable[..., list[Any]],
    observer: object,
    state: Callable[[uuid.UUID], Any],
) -> None:
    session_id = make_session().id
    wide = settings.model_copy(update={"pool_size": 50})
    with Database(wide, database.url) as crowd:
        connections = [crowd.engine.connect() for _ in range(50)]
        for connection in connections:  # all are opened before the race begins
            connection.close()
        batchers = [TransitionBatcher(crowd) for _ in range(5)]
        acts: list[Callable[[], Any]] = [
            (lambda: committed(crowd, lambda s: s.start_task(session_id, P)))
            if door == "repository"
            else (lambda one=batchers[n % 5]: one.start_task(session_id, P))  # type: ignore[misc]
            for n in range(50)
        ]
        outcomes = race(acts)
    assert Counter(type(outcome).__name__ for outcome in outcomes) == {
        "Transition": 1,
        "TaskConflict": 49,
    }
    winner = next(outcome for outcome in outcomes if isinstance(outcome, Transition))
    row = state(session_id)
    assert (row.stage, row.status, row.task_id) == ("processing", "running", winner.task_id)
    assert row.leased == winner.task_id


def test_start_against_delete(
    database: Database,
    make_session: Callable[..., Session],
    race: Callable[..., list[Any]],
    observer: object,
    state: Callable[[uuid.UUID], Any],
) -> None:
    seen = Counter[str]()
    for _ in range(ROUNDS):
        session_id = make_session().id
        started, deleted = race(
            [
                lambda s_id=session_id: committed(database, lambda s: s.start_task(s_id, P)),
                lambda s_id=session_id: committed(database, lambda s: s.delete_session(s_id)),
            ]
        )
        assert deleted is None
        assert isinstance(started, (Transition, SessionNotFound))
        assert state(session_id) is None
        seen[type(started).__name__] += 1
    with database.transaction() as db:
        for table in ("session_tasks", "session_task_leases"):
            assert db.scalar(text(f"SELECT count(*) FROM {table}")) == 0


@pytest.mark.parametrize("moved", ["sessions", "old rows", "all rows"])
def test_starts_that_waited_for_their_sessions_start_what_they_find_then(
    moved: str, database: Database, make_session: Callable[..., Session]
) -> None:
    """The sessions have newer versions than when the statement began (EvalPlanQual)."""
    new, old = ([make_session().id for _ in range(4)] for _ in range(2))
    with database.driver_connection() as connection:
        transitions.start(connection, [(each, P, uuid.uuid4()) for each in old])
        transitions.cancel(connection, [(each, None) for each in old])
    outcomes: list[Any] = []

    def start_all() -> list[Transition]:
        with database.driver_connection() as connection:
            return transitions.start(connection, [(each, P, uuid.uuid4()) for each in new + old])

    waiting = threading.Thread(target=lambda: outcomes.append(outcome_of(start_all)))
    with database.transaction() as db:
        sessions = SessionRepository(db)
        if moved == "sessions":
            db.execute(text("UPDATE sessions SET updated_at = clock_timestamp()"))
        for session_id in {"sessions": [], "old rows": old, "all rows": new + old}[moved]:
            sessions.start_task(session_id, P)
            sessions.cancel_task(session_id)
        waiting.start()
        while not is_anybody_waiting(database):
            assert waiting.is_alive()
    waiting.join()
    assert isinstance(outcomes[0], list), outcomes
    started = {transition.session_id for transition in outcomes[0]}
    # The statement does not see a row inserted after it began: its caller reads it afterwards.
    assert started == set(old) | (set() if moved == "all rows" else set(new))


def is_anybody_waiting(database: Database) -> bool:
    with database.driver_connection() as connection:
        row = connection.execute(
            "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database())"
        ).fetchone()
    return row is not None and bool(row[0])


@dataclass(frozen=True)
class Duel:
    """Two acts on one running task, of which exactly one may take effect."""

    first: Callable[[SessionRepository, Claim], Any]
    second: Callable[[SessionRepository, Claim], Any]
    status_if_first: str
    status_if_second: str
    lease_seconds: float = 30


def is_effect(outcome: Any) -> bool:
    """Return whether the operation was acknowledged to the caller."""
    return isinstance(outcome, Transition) or (isinstance(outcome, list) and bool(outcome))


DUELS = {
    "complete against cancel": Duel(
        lambda s, claim: s.complete_task(claim),
        lambda s, claim: s.cancel_task(claim.session_id),
        "completed",
        "cancelled",
    ),
    "fail against cancel": Duel(
        lambda s, claim: s.fail_task(claim, {"message": "broke"}),
        lambda s, claim: s.cancel_task(claim.session_id),
        "failed",
        "cancelled",
    ),
    "rescue against complete": Duel(
        lambda s, claim: s.rescue_expired(only=[claim.session_id]),
        lambda s, claim: s.complete_task(claim),
        "running",  # rescued: failed, and retried under a new task_id
        "completed",
        lease_seconds=-1,
    ),
    "complete against complete": Duel(
        lambda s, claim: s.complete_task(claim),
        lambda s, claim: s.complete_task(claim),
        "completed",
        "completed",
    ),
    "rescue against heartbeat": Duel(
        lambda s, claim: s.rescue_expired(only=[claim.session_id]),
        lambda s, claim: list(s.heartbeat([claim])),
        "running",
        "running",
        lease_seconds=-1,
    ),
}


@pytest.mark.parametrize("name", DUELS)
def test_a_duel_has_one_winner(  # noqa: PLR0913, PLR0917 - fixtures
    name: str,
    database: Database,
    claimed: Callable[..., Claim],
    race: Callable[..., list[Any]],
    observer: object,
    state: Callable[[uuid.UUID], Any],
) -> None:
    duel = DUELS[name]
    for _ in range(ROUNDS):
        claim = claimed(lease_seconds=duel.lease_seconds)
        outcomes = race(
            [
                lambda c=claim: committed(database, lambda s: duel.first(s, c)),
                lambda c=claim: committed(database, lambda s: duel.second(s, c)),
            ]
        )
        refusals = (StaleClaim, TaskValidationError, list)
        assert all(isinstance(outcome, (Transition, *refusals)) for outcome in outcomes), outcomes
        won = [is_effect(outcome) for outcome in outcomes]
        assert sum(won) == 1, outcomes
        row = state(claim.session_id)
        assert row.status == (duel.status_if_first if won[0] else duel.status_if_second)
        assert row.leased == (row.task_id if row.status == "running" else None)


def test_many_rescuers_rescue_each_task_once(
    database: Database,
    claimed: Callable[..., Claim],
    race: Callable[..., list[Any]],
    observer: object,
    state: Callable[[uuid.UUID], Any],
) -> None:
    lost = [claimed(lease_seconds=-1) for _ in range(40)]

    def sweep() -> list[Transition]:
        moved: list[Transition] = []
        while some := committed(database, lambda s: s.rescue_expired(limit=7)):
            moved += some
        return moved

    outcomes = race([sweep] * 8)
    moved = [transition for outcome in outcomes for transition in outcome]
    failed = Counter(t.session_id for t in moved if t.status == TaskStatus.FAILED)
    retried = Counter(t.session_id for t in moved if t.status == TaskStatus.RUNNING)
    assert failed == retried == Counter(claim.session_id for claim in lost)
    for claim in lost:
        row = state(claim.session_id)
        assert (row.status, row.retry_count) == ("running", 1)
        assert row.task_id != claim.task_id


class Crowd:
    """Threads with overlapping batches on few sessions, which share their claims."""

    def __init__(self, database: Database, session_ids: Sequence[uuid.UUID], seed: int) -> None:
        self.database = database
        self.session_ids = list(session_ids)
        self.seed = seed
        self.claims: dict[uuid.UUID, Claim] = {}
        self.outcomes: Counter[str] = Counter()
        self.unexpected: list[BaseException] = []
        self.completed: Counter[uuid.UUID] = Counter()

    def run(self, number: int, rounds: int) -> None:
        chance = random.Random(self.seed * 1000 + number)
        for _ in range(rounds):
            some = chance.sample(self.session_ids, chance.randint(1, len(self.session_ids)))
            claims = [self.claims[s] for s in some if s in self.claims]
            act = chance.choice([
                self.beat, self.beat, self.beat_in_transaction, self.complete, self.complete,
                self.cancel, self.fail, self.start, self.start, self.claim, self.claim,
                self.retry, self.rescue, self.release,
            ])  # fmt: skip
            try:
                act(some, claims)
            except TaskError as error:
                if type(error) not in {StaleClaim, TaskConflict, TaskValidationError}:
                    self.unexpected.append(error)
                self.outcomes[type(error).__name__] += 1
            except Exception as error:  # noqa: BLE001 - shown to the test
                self.unexpected.append(error)

    def beat(self, _some: Sequence[uuid.UUID], claims: Sequence[Claim]) -> None:
        with self.database.driver_connection() as connection:
            transitions.heartbeat(
                connection, [Heartbeat(c, 1, 2) for c in claims], lease_seconds=0.02
            )

    def beat_in_transaction(self, _some: Sequence[uuid.UUID], claims: Sequence[Claim]) -> None:
        committed(self.database, lambda s: s.heartbeat(claims, lease_seconds=0.02))

    def complete(self, _some: Sequence[uuid.UUID], claims: Sequence[Claim]) -> None:
        for outcome in committed(
            self.database, lambda s: s.complete_tasks([(claim, None) for claim in claims])
        ):
            self.outcomes[f"complete {type(outcome).__name__}"] += 1
            if isinstance(outcome, Transition):
                self.completed[outcome.task_id] += 1

    def fail(self, _some: Sequence[uuid.UUID], claims: Sequence[Claim]) -> None:
        committed(self.database, lambda s: s.fail_tasks([(c, {"message": "x"}) for c in claims]))

    def cancel(self, some: Sequence[uuid.UUID], _claims: Sequence[Claim]) -> None:
        with self.database.driver_connection() as connection:
            moved = transitions.cancel(connection, [(session_id, None) for session_id in some])
        self.outcomes["cancelled"] += len(moved)

    def start(self, some: Sequence[uuid.UUID], _claims: Sequence[Claim]) -> None:
        wanted = [(s, t) for s in some for t in TaskType]
        committed(self.database, lambda s: s.start_tasks(wanted))

    def claim(self, _some: Sequence[uuid.UUID], _claims: Sequence[Claim]) -> None:
        got = committed(
            self.database, lambda s: s.claim_next(uuid.uuid4(), limit=2, lease_seconds=0.02)
        )
        self.claims |= {claim.session_id: claim for claim in got}

    def retry(self, some: Sequence[uuid.UUID], _claims: Sequence[Claim]) -> None:
        committed(self.database, lambda s: s.retry_task(some[0]))

    def rescue(self, _some: Sequence[uuid.UUID], _claims: Sequence[Claim]) -> None:
        self.outcomes["rescued"] += len(committed(self.database, lambda s: s.rescue_expired()))

    def release(self, _some: Sequence[uuid.UUID], claims: Sequence[Claim]) -> None:
        if claims:
            committed(self.database, lambda s: s.release_task(claims[0]))


def test_crossing_batches_never_deadlock(
    database: Database, make_session: Callable[..., Session], observer: object
) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    crowd = Crowd(database, [make_session(auto_advance=True).id for _ in range(3)], seed)
    threads = [threading.Thread(target=crowd.run, args=(n, 120)) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), f"{seed=}: a thread hangs"
    assert crowd.unexpected == [], f"{seed=}"
    assert all(times == 1 for times in crowd.completed.values()), f"{seed=}: completed twice"
    assert crowd.outcomes["complete Transition"] > 0


def test_heartbeats_for_several_workers_in_one_transaction_never_deadlock(
    database: Database, claimed: Callable[..., Claim]
) -> None:
    """Each thread renews all workers' leases at once, in its own order, while leases are lost."""
    seed = random.SystemRandom().randrange(1_000_000)
    claims = [claimed() for _ in range(6)]  # a worker each
    beating = threading.Barrier(6)
    unexpected: list[BaseException] = []

    def beat(chance: random.Random) -> None:
        some = chance.sample(claims, chance.randint(2, len(claims)))
        committed(database, lambda s: s.heartbeat(some))

    def lose_a_lease(chance: random.Random) -> None:
        with database.driver_connection() as connection:  # as a database crash does
            connection.execute(
                "DELETE FROM session_task_leases WHERE session_id = %s",
                (chance.choice(claims).session_id,),
            )

    def complete_and_think_better_of_it(chance: random.Random) -> None:
        some = chance.sample(claims, chance.randint(2, len(claims)))
        with database.transaction() as db:
            SessionRepository(db).complete_tasks([(claim, None) for claim in some])
            db.rollback()

    def run(number: int, act: Callable[[random.Random], None]) -> None:
        chance = random.Random(seed * 1000 + number)
        beating.wait(60)
        for _ in range(60):
            try:
                act(chance)
            except Exception as error:  # noqa: BLE001 - shown to the test
                unexpected.append(error)

    acts = [beat, beat, beat, beat, lose_a_lease, complete_and_think_better_of_it]
    threads = [threading.Thread(target=run, args=each) for each in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), f"{seed=}: a thread hangs"
    assert unexpected == [], f"{seed=}"
    assert committed(database, lambda s: s.heartbeat(claims)) == {c.session_id for c in claims}


def test_objects_that_know_only_their_session_s_ids_lock_them_in_order(
    database: Database, make_session: Callable[..., Session], race: Callable[..., list[Any]]
) -> None:
    ids = [make_session().id for _ in range(20)]

    def begin(in_order: list[uuid.UUID]) -> int:
        tasks = [SessionTask(session_id=session_id, task_type=P) for session_id in in_order]
        for task in tasks:
            task.mark_started(uuid.uuid4())
        with database.transaction() as db:
            db.add_all(tasks)
        return len(tasks)

    outcomes = race([lambda: begin(ids), lambda: begin(ids[::-1])])
    assert sorted(map(str, map(type, outcomes))) == sorted(map(str, [int, TaskConflict]))
