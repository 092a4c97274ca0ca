"""One kind of request, many callers: what arrives while one batch is out goes out together.

There is no timer and no thread: the first caller to arrive sends for all, so an idle system waits
for nothing, and a busy one shares each commit among many.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, TypeVar

from app.core.errors import DatabaseUnavailable, TaskError

MAX_BATCH = 64
"""More than this in one statement gains nothing and makes the first caller wait."""

Input = TypeVar("Input")
Output = TypeVar("Output")


class _Call(Generic[Input, Output]):
    """One caller's input, and the place where its answer will be."""

    __slots__ = ("_gate", "answer", "error", "input", "is_answered")

    def __init__(self, given: Input) -> None:
        self.input = given
        self.answer: Output | None = None
        self.error: BaseException | None = None
        self.is_answered = False
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

    def settle(self, answer: Output | None, error: BaseException | None = None) -> None:
        self.answer, self.error, self.is_answered = answer, error, True


class Lane(Generic[Input, Output]):
    """At most one batch is out; the rest waits, and goes together as the next.

    `send` takes a batch and answers each input, in order. No two inputs of a batch have the same
    `key`. A batch that fails is sent again one by one, so that one bad input hurts only its own
    caller; only where the database is away all are told so at once. Callers that are interrupted
    (Ctrl-C) leave the lane working for the others.
    """

    def __init__(
        self,
        send: Callable[[Sequence[Input]], Sequence[Output]],
        key: Callable[[Input], Hashable],
    ) -> None:
        self._send = send
        self._key = key
        self._lock = threading.Lock()
        self._waiting: list[_Call[Input, Output]] = []
        self._leader: _Call[Input, Output] | None = None

    def __call__(self, given: Input) -> Output:
        """The answer to this input; raises what sending it raised."""
        call: _Call[Input, Output] = _Call(given)
        with self._lock:
            self._waiting.append(call)
            if self._leader is None:
                self._leader = call
        try:
            while not call.is_answered:
                if self._leader is call:
                    self._lead(call)
                else:
                    call.wait()
        except BaseException:
            self._leave(call)
            raise
        if call.error is not None:
            raise call.error
        return call.answer  # type: ignore[return-value]  # settled by whoever led

    def _lead(self, leader: _Call[Input, Output]) -> None:
        """Send batches until the leader's own has been answered, then pass the lead on."""
        while not leader.is_answered:
            with self._lock:
                batch = self._take()
            try:
                self._answer(batch)
            finally:
                for call in batch:
                    if not call.is_answered:
                        call.settle(None, _interrupted())
                    if call is not leader:
                        call.wake()
        with self._lock:
            self._pass_on()

    def _leave(self, call: _Call[Input, Output]) -> None:
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
            if self._leader is call:
                self._pass_on()

    def _pass_on(self) -> None:
        self._leader = self._waiting[0] if self._waiting else None
        if self._leader is not None:
            self._leader.wake()

    def _take(self) -> list[_Call[Input, Output]]:
        keys: set[Hashable] = set()
        batch: list[_Call[Input, Output]] = []
        rest: list[_Call[Input, Output]] = []
        for call in self._waiting:
            key = self._key(call.input)
            if len(batch) < MAX_BATCH and key not in keys:
                keys.add(key)
                batch.append(call)
            else:
                rest.append(call)
        self._waiting = rest
        return batch

    def _answer(self, batch: Sequence[_Call[Input, Output]]) -> None:
        try:
            answers = self._send([call.input for call in batch])
        except Exception as error:  # noqa: BLE001 - handed to the caller it belongs to
            if len(batch) == 1 or isinstance(error, DatabaseUnavailable):
                for call in batch:
                    call.settle(None, error)
                return
            for call in batch:
                self._answer([call])
            return
        for call, answer in zip(batch, answers, strict=True):
            call.settle(answer)


def _interrupted() -> TaskError:
    return TaskError(
        "The thread that sent this transition was interrupted; its outcome is unknown",
        next_step="Look at the session's state before you try again.",
    )
