"""Batching in threads: the batches, and the result of each call. Without a database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from chaos.waiting import until

from app.core.errors import DatabaseUnavailable, TaskError
from app.repositories import batching
from app.repositories.batching import MAX_BATCH, Batcher, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SECONDS = 20


class Gate:
    """A `send` whose first batch stays in flight until the test releases it."""

    def __init__(self, send: Callable[[Sequence[Any]], Sequence[Any]]) -> None:
        self._send = send
        self.batches: list[list[Any]] = []
        self.is_out = threading.Event()
        self.may_return = threading.Event()

    def __call__(self, batch: Sequence[Any]) -> Sequence[Any]:
        self.batches.append(list(batch))
        if len(self.batches) == 1:
            self.is_out.set()
            assert self.may_return.wait(SECONDS)
        return self._send(batch)


def outcome_of(act: Callable[[], Any]) -> Any:
    try:
        return act()
    except BaseException as error:  # noqa: BLE001 - part of the result
        return error


def gathered(batcher: OneOperation, gate: Gate, inputs: Sequence[Any]) -> list[Any]:
    """Return the results: the first input is sent alone while all others gather."""
    answers: list[Any] = [None] * len(inputs)

    def call(index: int) -> None:
        answers[index] = outcome_of(lambda: batcher(inputs[index]))

    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(inputs))]
    threads[0].start()
    assert gate.is_out.wait(SECONDS)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(batcher.batcher._waiting) == len(inputs) - 1, "all others wait")
    gate.may_return.set()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "a caller was left waiting"
    return answers


class OneOperation:
    """A batcher that is used for only one operation."""

    def __init__(
        self, send: Callable[[Sequence[Any]], Sequence[Any]], key: Callable[[Any], Any]
    ) -> None:
        self.batcher = Batcher()
        self._operation: Operation[Any, Any] = Operation(send, key)

    def __call__(self, given: Any) -> Any:
        return self.batcher.send(self._operation, given)


def test_a_lone_caller_waits_for_nobody() -> None:
    sent: list[list[int]] = []

    def send(batch: Sequence[int]) -> list[int]:
        sent.append(list(batch))
        return [number * 10 for number in batch]

    batcher = OneOperation(send, lambda number: number)
    assert [batcher(1), batcher(2)] == [10, 20]
    assert sent == [[1], [2]]


def test_what_gathers_meanwhile_goes_out_together_and_each_gets_its_own_answer() -> None:
    gate = Gate(lambda batch: [number * 10 for number in batch])
    batcher = OneOperation(gate, lambda number: number)
    inputs = list(range(30))
    assert gathered(batcher, gate, inputs) == [number * 10 for number in inputs]
    assert [len(batch) for batch in gate.batches] == [1, 29]


def test_no_batch_has_one_key_twice_and_none_is_too_large() -> None:
    gate = Gate(list)
    batcher = OneOperation(gate, lambda number: number % 100)
    inputs = [number % 150 for number in range(200)]
    assert gathered(batcher, gate, inputs) == inputs
    for batch in gate.batches:
        assert len(batch) <= MAX_BATCH
        assert len({number % 100 for number in batch}) == len(batch)


def test_one_bad_input_hurts_only_its_own_caller() -> None:
    def send(batch: Sequence[int]) -> Sequence[int]:
        if 13 in batch:
            raise ValueError(13)
        return batch

    gate = Gate(send)
    batcher = OneOperation(gate, lambda number: number)
    answers = gathered(batcher, gate, range(20))
    assert isinstance(answers.pop(13), ValueError)
    assert answers == [number for number in range(20) if number != 13]


def test_where_the_database_is_away_nobody_asks_again_one_by_one() -> None:
    def send(_batch: Sequence[int]) -> Sequence[int]:
        raise DatabaseUnavailable("away")

    gate = Gate(send)
    batcher = OneOperation(gate, lambda number: number)
    answers = gathered(batcher, gate, range(20))
    assert all(isinstance(answer, DatabaseUnavailable) for answer in answers)
    assert len(gate.batches) == 2


def test_an_interrupted_sender_leaves_the_batcher_working() -> None:
    def send(batch: Sequence[int]) -> Sequence[int]:
        if 0 in batch:
            raise KeyboardInterrupt
        return batch

    gate = Gate(send)
    batcher = OneOperation(gate, lambda number: number)
    answers = gathered(batcher, gate, range(5))
    assert isinstance(answers[0], KeyboardInterrupt)
    assert answers[1:] == [1, 2, 3, 4]
    assert batcher(7) == 7


def test_those_in_the_interrupted_batch_are_told_that_their_outcome_is_unknown() -> None:
    def send(batch: Sequence[int]) -> Sequence[int]:
        if 1 in batch:
            raise KeyboardInterrupt
        return batch

    gate = Gate(send)
    batcher = OneOperation(gate, lambda number: number)
    answers = gathered(batcher, gate, range(5))
    assert answers[0] == 0
    interrupted = [answer for answer in answers if isinstance(answer, KeyboardInterrupt)]
    told = [answer for answer in answers[1:] if isinstance(answer, TaskError)]
    assert len(interrupted) == 1
    assert len(told) == 3
    assert "unknown" in told[0].message


def test_a_waiting_caller_that_is_interrupted_stalls_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(list)
    batcher = OneOperation(gate, lambda number: number)
    answers: list[int] = []
    first = threading.Thread(target=lambda: answers.append(batcher(1)))
    first.start()
    assert gate.is_out.wait(SECONDS)

    def interrupted(_call: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(batching._Call, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            batcher(2)
    gate.may_return.set()
    first.join(SECONDS)
    assert answers == [1]
    assert batcher(3) == 3, "the batcher waits for the caller that went away"
    assert gate.batches == [[1], [3]]


def test_kinds_share_the_batcher_and_each_batch_is_of_one_operation() -> None:
    gate = Gate(list)
    batcher = Batcher()
    first, second = Operation(gate, abs), Operation(gate, abs)
    answers: dict[tuple[str, int], int] = {}
    operations = {"first": first, "second": second}

    def call(name: str, number: int) -> None:
        answers[name, number] = batcher.send(operations[name], number)

    wanted = [("first", 0), *((name, number) for number in range(1, 9) for name in operations)]
    threads = [threading.Thread(target=call, args=each) for each in wanted]
    threads[0].start()
    assert gate.is_out.wait(SECONDS)
    for count, thread in enumerate(threads[1:], start=1):
        thread.start()
        until(lambda count=count: len(batcher._waiting) == count, f"{count} wait")  # type: ignore[misc]
    gate.may_return.set()
    for thread in threads:
        thread.join(SECONDS)
    assert answers == {(name, number): number for name, number in wanted}
    assert gate.batches == [[0], list(range(1, 9)), list(range(1, 9))]


def test_a_caller_that_was_interrupted_in_flight_keeps_nobody_from_being_woken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gate = Gate(list)
    batcher = OneOperation(gate, lambda number: number)
    answers: list[int] = []
    second_batch_is_out = threading.Event()

    def send(batch: Sequence[int]) -> Sequence[int]:
        if len(batch) > 1:
            second_batch_is_out.set()
            assert has_left.wait(SECONDS)
        return batch

    has_left = threading.Event()
    gate._send = send

    def interrupted(call: Any) -> None:
        if call.input != 3:
            call._gate.acquire()
            return
        assert second_batch_is_out.wait(SECONDS)
        raise KeyboardInterrupt

    monkeypatch.setattr(batching._Call, "wait", interrupted)

    def leave() -> None:
        with pytest.raises(KeyboardInterrupt):
            batcher(3)
        has_left.set()

    acts = [lambda n=n: answers.append(batcher(n)) for n in (1, 2, 4, 5)]
    threads = [threading.Thread(target=act) for act in (*acts[:2], leave, *acts[2:])]
    threads[0].start()
    assert gate.is_out.wait(SECONDS)
    for count, thread in enumerate(threads[1:], start=1):
        thread.start()
        until(lambda count=count: len(batcher.batcher._waiting) == count, f"{count} wait")  # type: ignore[misc]
    gate.may_return.set()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), "a caller was left waiting"
    assert sorted(answers) == [1, 2, 4, 5]


def test_what_cannot_be_sent_is_its_caller_s_error_alone() -> None:
    gate = Gate(lambda batch: [number * 10 for number in batch])
    batcher = Batcher()
    operation = Operation(gate, abs)
    answers: dict[Any, Any] = {}

    def call(given: Any) -> None:
        answers[given] = outcome_of(lambda: batcher.send(operation, given))

    threads = [threading.Thread(target=call, args=(given,)) for given in (1, None, 2, 3)]
    threads[0].start()
    assert gate.is_out.wait(SECONDS)
    for thread in threads[1:]:
        thread.start()
    until(lambda: len(batcher._waiting) == 2 and None in answers, "the good ones wait")
    gate.may_return.set()
    for thread in threads:
        thread.join(SECONDS)
    assert isinstance(answers.pop(None), TypeError)
    assert answers == {1: 10, 2: 20, 3: 30}
