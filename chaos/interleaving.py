"""Runs callers statement by statement, in an order of the harness's choosing: every order, or some.

As PostgreSQL's isolation tester does, but of the product's own code: each caller is a thread, which
stops before each statement that it sends, and before its COMMIT or ROLLBACK. One at a time is let
go. It has made its step when it stops before the next one, or ends; or it is blocked: then
`pg_blocking_pids` names a caller that stands still, and others have their turn. Time decides
nothing. Savepoints are no steps: they neither lock anything nor see anything.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any
from unittest import mock

from psycopg.pq import TransactionStatus

from app.core.driver import MinimalDescriptionCursor, ReadTimeoutConnection
from chaos.waiting import on_this_machine

if TYPE_CHECKING:
    import random

    import psycopg

DEADLINE_SECONDS = 30.0
LOOK_SECONDS = 0.002
"""How long to wait for a step before asking PostgreSQL what holds it up."""

_NO_STEPS = ("SAVEPOINT", "RELEASE", ";")
"""What is no step: the last is the test of a connection from the pool."""
_HERE = threading.local()

Choose = Callable[[int, Sequence[int]], int]
"""Returns which caller goes on, given how many steps were made, and which can."""


class Stuck(Exception):  # noqa: N818 - what happened
    """No caller can go on, and PostgreSQL ends none of them."""


class Caller:
    """One thread that does something in steps; what it returned or raised is its `outcome`."""

    def __init__(self, act: Callable[[], object], board: threading.Condition) -> None:
        self._act = act
        self._board = board
        self._may_go = False
        self.is_at_gate = False
        self.is_done = False
        self.pid = 0
        self.outcome: object = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def is_moving(self) -> bool:
        """Whether it was let go and has not come to its next step."""
        return not (self.is_at_gate or self.is_done)

    def go(self) -> None:
        """Let it make its step; the board is held."""
        self._may_go, self.is_at_gate = True, False
        self._board.notify_all()

    def arrive(self, pid: int) -> None:
        """Wait, in its own thread, until it may make the next step."""
        with self._board:
            self.pid = pid
            self.is_at_gate = True
            self._board.notify_all()
            self._board.wait_for(lambda: self._may_go)
            self._may_go = False

    def _run(self) -> None:
        _HERE.caller = self
        try:
            self.outcome = self._act()
        except Exception as error:  # noqa: BLE001 - what a caller got is what is looked at
            self.outcome = error
        with self._board:
            self.is_done = True
            self._board.notify_all()


@contextlib.contextmanager
def gated() -> Iterator[None]:
    """While it lasts, threads of callers stop before each step."""

    def arrive(connection: psycopg.Connection[Any]) -> None:
        caller = getattr(_HERE, "caller", None)
        if caller is not None:
            caller.arrive(connection.info.backend_pid)

    def execute(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        if not str(query).startswith(_NO_STEPS):
            arrive(self.connection)
        return super(MinimalDescriptionCursor, self).execute(query, *arguments, **options)

    def ending(name: str) -> Callable[[Any], None]:
        def end(self: Any) -> None:
            if self.info.transaction_status != TransactionStatus.IDLE:
                arrive(self)
            getattr(super(ReadTimeoutConnection, self), name)()

        return end

    with contextlib.ExitStack() as patches:
        for owner, name, changed in (
            (MinimalDescriptionCursor, "execute", execute),
            (ReadTimeoutConnection, "commit", ending("commit")),
            (ReadTimeoutConnection, "rollback", ending("rollback")),
        ):
            patches.enter_context(mock.patch.object(owner, name, changed))
        yield


class Interleaver:
    """Runs callers in chosen orders; `connection`, in autocommit, is asked which block others."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def run(
        self, acts: Sequence[Callable[[], object]], choose: Choose
    ) -> tuple[list[tuple[list[int], int]], list[object]]:
        """Let the callers go as `choose` says, to their ends.

        Returns the callers that could go at each step with the one that went, and what each caller
        returned or raised.

        Raises:
            Stuck: none can go on.

        """
        board = threading.Condition()
        callers = [Caller(act, board) for act in acts]
        steps: list[tuple[list[int], int]] = []
        while True:
            self._settle(callers, board)
            ready = [index for index, caller in enumerate(callers) if caller.is_at_gate]
            if not ready:
                return steps, [caller.outcome for caller in callers]
            chosen = choose(len(steps), ready)
            steps.append((ready, chosen))
            with board:
                callers[chosen].go()

    def _settle(self, callers: Sequence[Caller], board: threading.Condition) -> None:
        """Wait until each caller stands before a step, is done, or waits for one that stands.

        Where they wait for each other in a ring, PostgreSQL ends one of them.
        """
        seconds = on_this_machine(DEADLINE_SECONDS)
        while seconds > 0:
            with board:
                if board.wait_for(lambda: not any(c.is_moving for c in callers), LOOK_SECONDS):
                    return
                moving = [caller for caller in callers if caller.is_moving]
                standing = {caller.pid for caller in callers if caller.is_at_gate}
            if self._all_wait_for(standing, moving):
                with board:  # a step that ended meanwhile is looked at again
                    if moving == [caller for caller in callers if caller.is_moving]:
                        return
            seconds -= LOOK_SECONDS
        raise Stuck

    def _all_wait_for(self, standing: set[int], moving: Sequence[Caller]) -> bool:
        waits = {
            caller.pid: set(
                self._connection.execute("SELECT pg_blocking_pids(%s)", [caller.pid]).fetchall()[0][
                    0
                ]
            )
            for caller in moving
        }
        held = set(standing)
        while more := {pid for pid, blockers in waits.items() if blockers & held} - held:
            held |= more
        return held >= set(waits)


def every_order(
    run: Callable[[Choose], list[tuple[list[int], int]]],
) -> Iterator[list[tuple[list[int], int]]]:
    """Run all orders, each once, depth first; gives the steps of each.

    Raises:
        LookupError: the same order did not lead to the same choice: something else decides.

    """
    chosen: list[int] = []

    def choose(number: int, ready: Sequence[int]) -> int:
        if number >= len(chosen):
            return ready[0]
        if chosen[number] not in ready:
            message = f"{chosen[number]} cannot go on after {chosen[:number]}, and could before"
            raise LookupError(message)
        return chosen[number]

    while True:
        steps = run(choose)
        yield list(steps)
        while steps and steps[-1][1] == steps[-1][0][-1]:
            steps.pop()
        if not steps:
            return
        ready, last = steps.pop()
        chosen = [each for _, each in steps] + [ready[ready.index(last) + 1]]


def some_orders(
    run: Callable[[Choose], list[tuple[list[int], int]]], count: int, chance: random.Random
) -> Iterator[list[tuple[list[int], int]]]:
    """Run so many orders by chance."""
    for _ in range(count):
        yield run(lambda _number, ready: chance.choice(ready))
