"""Batching of requests: those that arrive while a batch is being sent form the next batch.

There is no timer and no thread: the first caller to arrive sends for all, so an idle system adds no
delay, and a busy one shares each commit among many callers. All operations share one batcher:
callers that go through the same sequence of operations stay together, and batches become as large
as the number of callers allows.
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

DEFERRED_AT_ONCE = 2
"""How many deferred results are resolved at once; each may hold a connection for long."""

MOST_PASSED_OVER = 2
"""How many batches of other operations may be sent before the longest-waiting request."""

_UNKNOWN = object()

Input = TypeVar("Input")
Output = TypeVar("Output")


@dataclass(frozen=True, slots=True)
class DeferredResult(Generic[Output]):
    """A result that one caller resolves while the batcher goes on with the others.

    Attributes:
        resolve: returns the result or raises; may take long. It is called once, in the caller's
            thread, or in a thread of the caller's event loop.

    """

    resolve: Callable[[], Output]


@dataclass(frozen=True, slots=True, eq=False)
class Operation(Generic[Input, Output]):
    """One operation, sent in batches.

    Attributes:
        send: takes a batch and returns one result for each input, in order; a `DeferredResult`
            where only that caller has to wait.
        key: no two inputs of a batch have the same key.

    """

    send: Callable[[Sequence[Input]], Sequence[Output | DeferredResult[Output]]]
    key: Callable[[Input], Hashable]


class Request:
    """One caller's input, and later its result."""

    __slots__ = ("answer", "error", "input", "key", "operation")

    def __init__(self, operation: Operation[Any, Any], given: Any) -> None:
        self.operation = operation
        self.input = given
        self.key = operation.key(given)  # raises here where an input has none, for its caller only
        self.answer: Any = _UNKNOWN
        self.error: Exception | None = None

    def result(self) -> Any:
        """Return the result, or raise the error."""
        if self.answer is _UNKNOWN:
            raise self.error or _interrupted()
        return self.answer


Some = TypeVar("Some", bound=Request)


class Waiting(list[Some]):
    """Requests that have not been sent yet, in order of arrival."""

    _passed_over_count = 0

    def take(self) -> list[Some]:
        """Take a batch of the most frequent operation, unless the oldest request was passed over.

        Callers at different steps of the same sequence come together again that way.
        """
        counts = Counter(request.operation for request in self)
        operation = longest_waiting = self[0].operation
        if self._passed_over_count < MOST_PASSED_OVER:
            operation = max(counts, key=counts.__getitem__)
        self._passed_over_count = 0 if operation is longest_waiting else self._passed_over_count + 1
        batch: dict[Hashable, Some] = {}
        rest: list[Some] = []
        for request in self:
            is_next = (
                request.operation is operation
                and len(batch) < MAX_BATCH
                and request.key not in batch
            )
            if is_next:
                batch[request.key] = request
            else:
                rest.append(request)
        self[:] = rest
        return list(batch.values())


def answer(batch: Sequence[Request]) -> None:
    """Send the batch, and give each request its result or its error.

    After a failure each request is sent again alone, so that a bad input fails only for its own
    caller. Where the database is unavailable, all requests fail at once.
    """
    try:
        answers = batch[0].operation.send([request.input for request in batch])
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
    """A request of a thread."""

    __slots__ = ("_gate", "has_left", "is_answered", "is_told_by_another", "next")

    def __init__(self, operation: Operation[Any, Any], given: Any) -> None:
        super().__init__(operation, given)
        self.is_answered = False
        self.is_told_by_another = False
        self.has_left = False
        self.next: _Call | None = None
        # A bare lock, held until `wake`: it costs a sixth of an Event, and every transition is a
        # call.
        self._gate = threading.Lock()
        self._gate.acquire()

    def wait(self) -> None:
        """Wait until `wake` is called; it is called once."""
        self._gate.acquire()

    def wake(self) -> None:
        """Let `wait` return."""
        self._gate.release()


class Batcher:
    """Batches the calls of threads: at most one batch is being sent, the other calls wait.

    A batch is of one operation, and takes all calls that wait for it. An interrupted caller
    (Ctrl-C) does not stop the batcher for the others.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: Waiting[_Call] = Waiting()
        self._leader: _Call | None = None
        self._untold = 0  # calls that have a result and have not woken up yet

    def send(self, operation: Operation[Input, Output], given: Input) -> Output:
        """Return the result for this input, or raise what sending it raised."""
        call = _Call(operation, given)
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
        result: Output | DeferredResult[Output] = call.result()
        return result.resolve() if isinstance(result, DeferredResult) else result

    def _appoint(self) -> None:
        """Make a waiting call the leader, once no more calls have still to wake up than wait.

        Callers often send their next input at once: half of them go with the next batch, and the
        others use the time it takes. An idle batcher appoints a leader without delay.
        """
        if self._leader is None and self._waiting and len(self._waiting) >= self._untold:
            self._leader = self._waiting[0]
            self._leader.wake()

    def _lead(self, leader: _Call) -> None:
        """Send batches until the leader's own call has its result."""
        while not leader.is_answered:
            with self._lock:
                batch = self._waiting.take()
            try:
                answer(batch)
            finally:
                self._wake_callers(batch, leader)

    def _wake_callers(self, batch: Sequence[_Call], leader: _Call) -> None:
        """Wake the callers one after the other: each wakes the next.

        Woken all at once they would only wait for the interpreter lock, and go to sleep a second
        time: half of the kernel's work for a transition.
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
        """Return or be interrupted, and leave no other call waiting for this one."""
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
