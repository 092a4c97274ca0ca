"""Handing out: nothing is lost, nobody sleeps while something waits, and few are woken."""

from __future__ import annotations

import threading

from chaos.waiting import until
from hypothesis import given
from hypothesis import strategies as st

from app.engines.work_queue import WorkQueue

DEADLINE_SECONDS = 60.0


def test_what_is_put_is_taken_in_order_and_what_is_put_back_comes_first() -> None:
    handout: WorkQueue[int] = WorkQueue()
    handout.put([1, 2, 3])
    first = handout.take(2)
    handout.put_back(first)
    assert [handout.take(2), handout.take(2)] == [[1, 2], [3]]


def test_a_closed_handout_gives_the_rest_and_then_nothing() -> None:
    handout: WorkQueue[int] = WorkQueue()
    handout.put([1])
    handout.close()
    assert [handout.take(), handout.take()] == [[1], []]


@given(st.lists(st.integers()), st.integers())
def test_withdrawing_takes_what_is_meant_and_keeps_the_order(items: list[int], least: int) -> None:
    handout: WorkQueue[int] = WorkQueue()
    handout.put(items)
    assert handout.withdraw(lambda item: item < least) == [i for i in items if i < least]
    kept = [item for item in items if item >= least]
    assert len(handout) == len(kept)
    handout.close()
    assert [one for _ in kept for one in handout.take()] == kept


def test_many_takers_get_everything_once_and_all_leave_at_the_end() -> None:
    handout: WorkQueue[int] = WorkQueue()
    taken: list[int] = []

    def serve(most: int) -> None:
        while items := handout.take(most):
            taken.extend(items)

    takers = [threading.Thread(target=serve, args=(1 + n % 3,)) for n in range(12)]
    for taker in takers:
        taker.start()
    for start in range(0, 3_000, 30):
        handout.put(range(start, start + 30))
    handout.close()
    for taker in takers:
        taker.join(DEADLINE_SECONDS)
        assert not taker.is_alive()
    assert sorted(taken) == list(range(3_000))


def test_while_one_is_held_up_by_what_it_took_another_takes_the_next() -> None:
    handout: WorkQueue[int] = WorkQueue()
    all_are_at_work = threading.Barrier(4, timeout=DEADLINE_SECONDS)

    def serve() -> None:
        while handout.take():
            all_are_at_work.wait()

    takers = [threading.Thread(target=serve, daemon=True) for _ in range(3)]
    for taker in takers:
        taker.start()
    handout.put([1, 2, 3])  # one is woken for all three
    all_are_at_work.wait()
    handout.close()


def test_who_waits_for_several_leaves_fewer_to_others() -> None:
    handout: WorkQueue[int] = WorkQueue()
    shares: dict[int, list[list[int]]] = {1: [], 3: []}
    is_held_up, may_go_on = threading.Event(), threading.Event()

    def serve(least: int) -> None:
        while items := handout.take(10, least=least):
            shares[least].append(items)
            if items == [1, 2]:
                is_held_up.set()
                assert may_go_on.wait(DEADLINE_SECONDS)

    takers = [threading.Thread(target=serve, args=(least,)) for least in shares]
    for taker in takers:
        taker.start()
    until(lambda: handout.sleeper_count == 2, "both sleep")
    handout.put([1, 2])
    assert is_held_up.wait(DEADLINE_SECONDS)
    handout.put([3, 4])
    assert shares == {1: [[1, 2]], 3: []}
    handout.put([5])
    until(lambda: len(handout) == 0, "all is taken")
    may_go_on.set()
    handout.close()
    for taker in takers:
        taker.join(DEADLINE_SECONDS)
    assert shares == {1: [[1, 2]], 3: [[3, 4, 5]]}


def test_who_wakes_up_to_too_few_wakes_another_for_them() -> None:
    is_waking_up, may_go_on = threading.Event(), threading.Event()

    class SlowToWake(WorkQueue[int]):
        def _stand_by(self, patience: float) -> None:
            if threading.current_thread().name == "several":
                is_waking_up.set()
                assert may_go_on.wait(DEADLINE_SECONDS)
            super()._stand_by(patience)

    handout = SlowToWake()
    takers = [
        threading.Thread(target=handout.take, kwargs={"least": least}, name=name, daemon=True)
        for name, least in (("one", 1), ("several", 2))
    ]
    for taker in takers:
        count = handout.sleeper_count
        taker.start()
        until(lambda count=count: handout.sleeper_count > count, "it sleeps")  # type: ignore[misc]
    handout.put([1, 2])
    assert is_waking_up.wait(DEADLINE_SECONDS)
    assert handout.withdraw(lambda _item: True) == [1, 2]
    handout.put([3])
    may_go_on.set()
    until(lambda: len(handout) == 0, "all is taken")
    handout.close()
    for taker in takers:
        taker.join(DEADLINE_SECONDS)
        assert not taker.is_alive()


def test_nobody_takes_what_another_could_do_meanwhile() -> None:
    handout: WorkQueue[int] = WorkQueue()
    shares: list[int] = []

    def serve() -> None:
        while items := handout.take(10):
            shares.append(len(items))

    takers = [threading.Thread(target=serve) for _ in range(2)]
    for taker in takers:
        taker.start()
    until(lambda: handout.sleeper_count == 2, "both sleep")
    handout.put(range(8))
    handout.close()
    for taker in takers:
        taker.join(DEADLINE_SECONDS)
    assert sum(shares) == 8
    assert max(shares) <= 4
