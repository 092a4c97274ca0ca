"""Batching in an event loop: the batches, and the result of each call. Without a database."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from chaos.waiting import until

from app.core.errors import DatabaseUnavailable
from app.repositories.async_batching import AsyncBatcher
from app.repositories.batching import MAX_BATCH, DeferredResult, Operation

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence

SECONDS = 20


class Sender:
    """Returns ten times each number, and records the batches that it was given."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_return = threading.Event()
        self.may_return.set()
        self.is_out = threading.Event()

    def __call__(self, batch: Sequence[int]) -> list[int]:
        self.batches.append(list(batch))
        self.is_out.set()
        assert self.may_return.wait(SECONDS)
        if -1 in batch:
            raise ValueError(-1)
        if -2 in batch:
            raise DatabaseUnavailable("away")
        return [number * 10 for number in batch]


@pytest.fixture
def batcher() -> Iterator[AsyncBatcher]:
    batcher = AsyncBatcher()
    yield batcher
    batcher.close()


def run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(main(), SECONDS))


def test_those_who_ask_together_go_together_also_the_next_time(batcher: AsyncBatcher) -> None:
    sender = Sender()
    operation = Operation(sender, abs)

    async def call(number: int) -> list[int]:
        return [await batcher.send(operation, number + 100 * step) for step in range(3)]

    async def main() -> None:
        answers = await asyncio.gather(*map(call, range(30)))
        assert answers == [[10 * (n + 100 * step) for step in range(3)] for n in range(30)]

    run(main)
    assert [len(batch) for batch in sender.batches] == [30, 30, 30]


def test_no_batch_has_one_key_twice_none_is_too_large_and_each_is_of_one_operation(
    batcher: AsyncBatcher,
) -> None:
    first, second = Sender(), Sender()
    operations = [
        Operation(first, lambda number: number % 100),
        Operation(second, lambda number: number % 100),
    ]

    async def main() -> None:
        wanted = [(operations[n % 2], n % 150) for n in range(300)]
        answers = await asyncio.gather(*(batcher.send(*each) for each in wanted))
        assert answers == [number * 10 for _, number in wanted]

    run(main)
    for batch in first.batches + second.batches:
        assert len(batch) <= MAX_BATCH
        assert len({number % 100 for number in batch}) == len(batch)


def test_one_bad_input_hurts_only_its_own_caller(batcher: AsyncBatcher) -> None:
    operation = Operation(Sender(), abs)

    async def main() -> None:
        calls = (batcher.send(operation, number) for number in (1, -1, 2))
        one, bad, two = await asyncio.gather(*calls, return_exceptions=True)
        assert (one, two) == (10, 20)
        assert isinstance(bad, ValueError)

    run(main)


def test_where_the_database_is_away_nobody_asks_again_one_by_one(batcher: AsyncBatcher) -> None:
    sender = Sender()
    operation = Operation(sender, abs)

    async def main() -> None:
        calls = (batcher.send(operation, number) for number in (1, -2, 3))
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            assert isinstance(answer, DatabaseUnavailable)
        assert await batcher.send(operation, 4) == 40

    run(main)
    assert sender.batches == [[1, -2, 3], [4]]


def test_a_caller_that_is_cancelled_takes_back_what_is_not_out_and_stalls_nobody(
    batcher: AsyncBatcher,
) -> None:
    sender = Sender()
    sender.may_return.clear()
    operation = Operation(sender, abs)

    async def main() -> None:
        out = asyncio.create_task(batcher.send(operation, 1))
        also_out = asyncio.create_task(batcher.send(operation, 2))
        assert await asyncio.to_thread(sender.is_out.wait, SECONDS)
        waiting = [asyncio.create_task(batcher.send(operation, number)) for number in (3, 4)]
        await asyncio.sleep(0)
        for task in (also_out, waiting[0]):
            task.cancel()
        await asyncio.sleep(0)
        sender.may_return.set()
        assert await out == 10
        assert await waiting[1] == 40
        for task in (also_out, waiting[0]):
            with pytest.raises(asyncio.CancelledError):
                await task

    run(main)
    assert sender.batches == [[1, 2], [4]]


def test_what_cannot_be_sent_is_its_caller_s_error_and_the_batcher_goes_on(
    batcher: AsyncBatcher,
) -> None:
    operation = Operation(Sender(), abs)

    async def main() -> None:
        calls = (batcher.send(operation, given) for given in (1, None, 2))
        one, bad, two = await asyncio.gather(*calls, return_exceptions=True)  # type: ignore[arg-type]  # that is the point
        assert (one, two) == (10, 20)
        assert isinstance(bad, TypeError)
        assert await batcher.send(operation, 3) == 30

    run(main)


def test_a_loop_that_ended_with_calls_out_leaves_the_batcher_to_the_next(
    batcher: AsyncBatcher,
) -> None:
    sender = Sender()
    sender.may_return.clear()
    operation = Operation(sender, abs)

    async def give_up() -> None:
        calls = [asyncio.create_task(batcher.send(operation, number)) for number in (1, 2)]
        assert await asyncio.to_thread(sender.is_out.wait, SECONDS)
        calls.append(asyncio.create_task(batcher.send(operation, 3)))
        await asyncio.sleep(0)

    async def main() -> None:
        assert await batcher.send(operation, 4) == 40

    run(give_up)
    sender.may_return.set()
    run(main)


def test_a_closed_batcher_refuses(batcher: AsyncBatcher) -> None:
    sender = Sender()
    sender.may_return.clear()
    operation = Operation(sender, abs)

    async def main() -> None:
        out = asyncio.create_task(batcher.send(operation, 1))
        assert await asyncio.to_thread(sender.is_out.wait, SECONDS)
        waiting = asyncio.create_task(batcher.send(operation, 2))
        await asyncio.sleep(0)
        closing = asyncio.create_task(asyncio.to_thread(batcher.close))
        await asyncio.to_thread(until, lambda: batcher._is_closed, "it is being closed")
        sender.may_return.set()
        assert await out == 10
        with pytest.raises(RuntimeError, match="closed"):
            await waiting
        await closing
        with pytest.raises(RuntimeError, match="closed"):
            await batcher.send(operation, 3)

    run(main)


def test_an_answer_that_is_to_be_found_out_after_the_end_is_refused(batcher: AsyncBatcher) -> None:
    def close_and_put_aside(batch: Sequence[int]) -> list[DeferredResult[int]]:
        batcher._resolver.shutdown()
        return [DeferredResult(lambda: 1) for _ in batch]

    operation: Operation[int, int] = Operation(close_and_put_aside, abs)

    async def main() -> None:
        with pytest.raises(RuntimeError, match="closed"):
            await batcher.send(operation, 1)

    run(main)


def test_a_second_event_loop_at_the_same_time_is_refused(batcher: AsyncBatcher) -> None:
    operation = Operation(Sender(), abs)

    async def other() -> None:
        await batcher.send(operation, 2)

    async def main() -> None:
        assert await batcher.send(operation, 1) == 10
        with pytest.raises(RuntimeError, match="another event loop"):
            await asyncio.to_thread(asyncio.run, other())

    run(main)
