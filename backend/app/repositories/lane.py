"""Many callers, a few kinds of requests: what arrives while one batch is out goes out together.

There is no timer and no thread: the first caller to arrive sends for all, so an idle system waits
for nothing, and a busy one shares each commit among many. All kinds share one lane: callers who do
one thing after another then stay together, and a batch is as large as there are callers, not as
large as chance left them in each of several lanes.
"""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from app.core.errors import DatabaseUnavailable, TaskError

MAX_BATCH = 64
"""More than this in one statement gains nothing and makes the first caller wait."""

ASIDES_AT_ONCE = 2
"""So many answers are found out beside a lane at once: each may hold a connection for long."""

MOST_PASSED_OVER = 2
"""So many batches of other kinds may go out before who has waited longest."""

_UNKNOWN = object()

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True)
class Aside(Generic[Output]):
    """What gives one caller the answer, or raises, while the lane goes on for the others.

    Attributes:
        find_out: may take long; called once, in the caller's thread or in one for his event loop.

    """

    find_out: Callable[[], Output]


@dataclass(frozen=True, slots=True, eq=False)
class Kind(Generic[Input, Output]):
    """One kind of request.

    Attributes:
        send: takes a batch and answers each input, in order; with an `Aside` where its caller
            alone is to wait for the answer.
        key: no two inputs of a batch have the same.

    """

    send: Callable[[Sequence[Input]], Sequence[Output | Aside[Output]]]
    key: Callable[[Input], Hashable]


class Request:
    """One caller's input, and the place where its answer will be."""

    __slots__ = ("answer", "error", "input", "key", "kind")

    def __init__(self, kind: Kind[Any, Any], given: Any) -> None:
        self.kind = kind
        self.input = given
        self.key = kind.key(given)  # what has none is its caller's error, and nobody else's
        self.answer: Any = _UNKNOWN
        self.error: Exception | None = None

    def result(self) -> Any:
        """The answer, or the error raised."""
        if self.answer is _UNKNOWN:
            raise self.error or _interrupted()
        return self.answer


Some = TypeVar("Some", bound=Request)


class Waiting(list[Some]):
    """Requests that are not out yet, in the order in which they came."""

    _passed_over_count = 0

    def take(self) -> list[Some]:
        """Take a batch of the kind that most wait for, unless who waits longest was passed over.

        So callers who are at different steps of the same way come together again.
        """
        counts = Counter(request.kind for request in self)
        kind = longest_waiting = self[0].kind
        if self._passed_over_count < MOST_PASSED_OVER:
            kind = max(counts, key=counts.__getitem__)
        self._passed_over_count = 0 if kind is longest_waiting else self._passed_over_count + 1
        batch: dict[Hashable, Some] = {}
        rest: list[Some] = []
        for request in self:
            is_next = request.kind is kind and len(batch) < MAX_BATCH and request.key not in batch
            if is_next:
                batch[request.key] = request
            else:
                rest.append(request)
        self[:] = rest
        return list(batch.values())


def answer(batch: Sequence[Request]) -> None:
    """Send the batch, and give each request its answer or its error.

    A batch that fails is sent again one by one, so that one bad input hurts only its own caller;
    only where the database is away all are told so at once.
    """
    try:
        answers = batch[0].kind.send([request.input for request in batch])
    except Exception as error:  # noqa: BLE001 - handed to the caller it belongs to
        if len(batch) == 1 or isinstance(error, DatabaseUnavailable):
            for request in batch:
                request.error = error
            return
        for request in batch:
            answer([request])
        return
    for request, its_answer in zip(batch, answers, strict=True):
        request.answer = its_answer


class _Call(Request):
    """A request whose caller is a thread."""

    __slots__ = ("_gate", "has_left", "is_answered", "is_told_by_another", "next")

    def __init__(self, kind: Kind[Any, Any], given: Any) -> None:
        super().__init__(kind, given)
        self.is_answered = False
        self.is_told_by_another = False
        self.has_left = False
        self.next: _Call | None = None
        # A bare lock, held until somebody opens it: a sixth of what an Event costs, and there are
        # as many calls as transitions.
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Wait until `wake` is called; it is called once."""
        self._gate.acquire()

    def wake(self) -> None:
        """Let `wait` return."""
        self._gate.release()


class Lane:
    """For callers in threads: at most one batch is out; the rest waits.

    A batch is of one kind, and all who wait for that kind go with it. Callers that are interrupted
    (Ctrl-C) leave the lane working for the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Waiting[_Call] = Waiting()
        self._leader: _Call | None = None
        self._untold = 0  # who have an answer and have not woken up yet

    def send(self, kind: Kind[Input, Output], given: Input) -> Output:
        """The answer to this input; raises what sending it raised."""
        call = _Call(kind, given)
        with self._lock:
            self._waiting.append(call)
            self._appoint()
        try:
            while not call.is_answered:
                if self._leader is call:
                    self._lead(call)
                else:
                    call.wait()
        finally:
            self._leave(call)
        result: Output | Aside[Output] = call.result()
        return result.find_out() if isinstance(result, Aside) else result

    def _appoint(self) -> None:
        """Let one lead who waits, as soon as no more callers are still to be told than wait.

        Those who were answered often ask for the next thing at once: half of them go with the
        next batch, and the others use the time it takes. Where nobody is busy, nobody waits.
        """
        if self._leader is None and self._waiting and len(self._waiting) >= self._untold:
            self._leader = self._waiting[0]
            self._leader.wake()

    def _lead(self, leader: _Call) -> None:
        """Send batches until the leader's own has been answered."""
        while not leader.is_answered:
            with self._lock:
                batch = self._waiting.take()
            try:
                answer(batch)
            finally:
                self._tell(batch, leader)

    def _tell(self, batch: Sequence[_Call], leader: _Call) -> None:
        """Let each have its answer: one is woken, who wakes the next, and so on.

        Woken all at once they would only stand in line for the interpreter, and go to sleep there
        a second time: half of what the kernel does for a transition.
        """
        with self._lock:
            asleep = [call for call in batch if call is not leader and not call.has_left]
            for call, following in itertools.pairwise(asleep):
                call.next = following
            for call in asleep:
                call.is_told_by_another = True
            for call in batch:
                call.is_answered = True
            self._untold += len(asleep)
        if asleep:
            asleep[0].wake()

    def _leave(self, call: _Call) -> None:
        """Go, answered or interrupted, and leave nobody behind who waits for this caller."""
        with self._lock:
            call.has_left = True
            self._untold -= call.is_told_by_another
            if not call.is_answered and call in self._waiting:
                self._waiting.remove(call)
            if self._leader is call:
                self._leader = None
            self._appoint()
        if call.next is not None:
            call.next.wake()


def _interrupted() -> TaskError:
    return TaskError(
        "The thread that sent this transition was interrupted; its outcome is unknown",
        next_step="Look at the session's state before you try again.",
    )
