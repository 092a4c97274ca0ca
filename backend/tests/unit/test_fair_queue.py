"""Turns shared among keys: bounded, in rotation, and none is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api import fair_queue
from app.api.fair_queue import FairQueue
from app.api.problems import Busy


async def settle() -> None:
    """Let every coroutine go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


def run(scenario: Any) -> Any:
    return asyncio.run(scenario)


def test_a_key_with_one_request_waits_for_one_of_another_with_many() -> None:
    order: list[str] = []

    async def scenario() -> None:
        queue = FairQueue(1)

        async def hold(key: str) -> None:
            async with queue.turn(key):
                order.append(key)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for key in [*("abuser",) * 16, "honest"]:
                group.create_task(hold(key))

    run(scenario())
    assert order.index("honest") <= 2
    assert len(order) == 17


def test_a_key_that_holds_nothing_comes_before_those_that_do() -> None:
    async def scenario() -> None:
        queue = FairQueue(4)
        ends: list[asyncio.Event] = []

        async def abuse(key: str) -> None:
            async with queue.turn(key):
                ends.append(end := asyncio.Event())
                await end.wait()

        async with asyncio.TaskGroup() as group:
            for key in ("one", "two") * 16:
                group.create_task(abuse(key))
            await settle()
            honest = asyncio.create_task(_forever(queue, "honest", 1))
            await settle()
            ends[0].set()
            await settle()
            assert queue._held["honest"] == 1
            honest.cancel()
            while len(ends) < 32 or not all(end.is_set() for end in ends):
                for end in ends:
                    end.set()
                await settle()

    run(scenario())


def test_a_key_has_all_while_it_is_alone_and_little_beside_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fair_queue, "CROWDED_SECONDS", 0.05)

    async def scenario() -> None:
        queue = FairQueue(8, crowded_share=2)
        alone = [asyncio.create_task(_forever(queue, "one", 1)) for _ in range(8)]
        await settle()
        assert queue._held["one"] == 8
        other = asyncio.create_task(_forever(queue, "two", 1))
        more = [asyncio.create_task(_forever(queue, "one", 1)) for _ in range(3)]
        await settle()
        for task in alone:
            task.cancel()
        await settle()
        assert queue._held == {"one": 2, "two": 1}
        other.cancel()
        await asyncio.sleep(0.06)
        more[0].cancel()
        await settle()
        assert queue._held == {"one": 2}
        async with queue.turn("one"):
            assert queue._held == {"one": 3}
        for task in more:
            task.cancel()
        await asyncio.gather(*alone, other, *more, return_exceptions=True)

    run(scenario())


def test_slow_requests_of_one_key_leave_room_for_another() -> None:
    async def scenario() -> None:
        queue = FairQueue(200, share=100)
        slow = [asyncio.create_task(_forever(queue, "slow", 60)) for _ in range(5)]
        await settle()
        async with asyncio.timeout(5), queue.turn("honest", 90):
            pass
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        async with asyncio.timeout(5), queue.turn("honest", 200):
            pass

    run(scenario())


async def _forever(queue: FairQueue, key: str, weight: int) -> None:
    async with queue.turn(key, weight):
        await asyncio.Event().wait()


def test_small_requests_do_not_starve_a_large_one() -> None:
    async def scenario() -> list[str]:
        queue, order = FairQueue(10), []

        async def hold(key: str, weight: int) -> None:
            async with queue.turn(key, weight):
                order.append(key)
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            for number in range(5):
                group.create_task(hold(f"small {number}", 3))
            group.create_task(hold("large", 10))
            for number in range(5, 60):
                group.create_task(hold(f"small {number}", 3))
        return order

    order = run(scenario())
    assert order.index("large") < 12
    assert len(order) == 61


def test_who_waits_too_long_is_told_to_try_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair_queue, "LONGEST_WAIT_SECONDS", 0.01)

    async def scenario() -> None:
        queue = FairQueue(1)
        async with queue.turn("a"):
            with pytest.raises(Busy):
                async with queue.turn("b"):
                    pytest.fail("there is no turn")
        async with asyncio.timeout(5), queue.turn("b"):
            pass

    run(scenario())


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 12), st.integers(0, 3), st.booleans()),
        max_size=30,
    )
)
def test_whatever_comes_and_goes_the_bounds_hold_and_all_have_their_turn(
    requests: list[tuple[str, int, int, bool]],
) -> None:
    capacity, share = 8, 5

    async def scenario() -> None:
        queue = FairQueue(capacity, share)
        held: Counter[str] = Counter()
        count = 0

        async def hold(key: str, weight: int, steps: int) -> None:
            nonlocal count
            async with queue.turn(key, weight):
                held[key] += weight
                count += 1
                assert held.total() <= capacity or held.total() == weight
                assert held[key] <= share or held[key] == weight
                try:
                    for _ in range(steps):
                        await asyncio.sleep(0)
                finally:
                    held[key] -= weight

        tasks = []
        cancelled = 0
        for key, weight, steps, is_cancelled in requests:
            tasks.append(asyncio.create_task(hold(key, weight, steps)))
            if is_cancelled:
                await asyncio.sleep(0)
                cancelled += tasks[-1].cancel()
        async with asyncio.timeout(30):
            await asyncio.gather(*tasks, return_exceptions=True)
        assert count >= len(requests) - cancelled
        assert all(task.cancelled() or task.exception() is None for task in tasks)
        async with asyncio.timeout(5), queue.turn("d", capacity):
            pass

    run(scenario())
