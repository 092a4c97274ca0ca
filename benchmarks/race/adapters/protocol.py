"""The acts of an adapter, each of which prints its result as one line of JSON.

=========== ================================================ =====================================
act         what it does                                     result
=========== ================================================ =====================================
``prepare`` makes its tables                                 ``{}``
``singles`` enqueues COUNT tasks, one call each, by CALLERS  ``seconds``
            callers at a time
``bulk``    enqueues COUNT tasks by its call for many        ``seconds``
``drain``   one worker runs what waits, COUNT tasks          ``seconds``, ``cpu_seconds``
``whole``   enqueues COUNT tasks by its call for many, PART  ``seconds``
            of them each (0: all), for a worker that is
            there, in a process of its own, until all ran
``pickup``  enqueues COUNT tasks one after another on a      ``p50`` and ``p99`` in milliseconds
            quiet system, for a worker in another process
``serve``   the worker of both                               a line for each task that began; of
                                                             COUNT, the first and the last
=========== ================================================ =====================================

A drain ends when the last handler has returned, although the peer may still have outcomes to
write: in case of doubt, the peer gets the better figure. Tasks do nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import os
import random
import statistics
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

SEED = 20_261_123
SECONDS_TO_BEGIN = 60.0
SECONDS_TO_END = 300.0
SECONDS_TO_SETTLE = 2.0
"""How long a worker may take to write its last outcomes; not timed, but their WAL counts."""

SECONDS_TO_REST = 0.5
"""Between a worker's first task and what is timed."""

WARM_UPS = 10


class Finish:
    """The callback that handlers call; the current act sets it."""

    on_handled: Callable[[], None] = staticmethod(lambda: None)


def handled() -> None:
    """Count a run of a task's handler: each peer's handler does this and nothing else."""
    Finish.on_handled()


class Peer(ABC):
    """A task library in the fastest set-up that its documentation recommends.

    Attributes:
        url: the database's, as libpq and asyncpg read it.

    """

    def __init__(self, url: str) -> None:
        self.url = url

    @abstractmethod
    async def prepare(self) -> None:
        """Make the tables."""

    @abstractmethod
    async def open(self, callers: int) -> None:
        """Prepare to enqueue, for this many concurrent callers."""

    @abstractmethod
    async def enqueue(self) -> None:
        """Enqueue one task; return when it is committed."""

    @abstractmethod
    async def enqueue_many(self, count: int) -> None:
        """Enqueue many tasks; return when they are committed."""

    @abstractmethod
    async def work(self) -> None:
        """Run tasks until cancelled."""

    async def close(self) -> None:  # noqa: B027 - most have nothing to close
        """Close what `open` opened."""


async def _singles(peer: Peer, count: int, callers: int) -> dict[str, float]:
    await peer.open(callers)
    await peer.enqueue()  # opens connections and prepares statements
    begun = time.perf_counter()
    left = iter(range(count - 1))

    async def call() -> None:
        for _ in left:
            await peer.enqueue()

    await asyncio.gather(*(call() for _ in range(callers)))
    seconds = time.perf_counter() - begun
    await peer.close()
    return {"seconds": seconds}


async def _bulk(peer: Peer, count: int) -> dict[str, float]:
    await peer.open(1)
    begun = time.perf_counter()
    await peer.enqueue_many(count)
    seconds = time.perf_counter() - begun
    await peer.close()
    return {"seconds": seconds}


async def _drain(peer: Peer, count: int) -> dict[str, float]:
    loop, done = asyncio.get_running_loop(), asyncio.Event()
    numbers = itertools.count(1)  # its `next` is atomic: some peers run handlers in threads
    reached = 0

    def count_up() -> None:
        nonlocal reached
        number = next(numbers)
        reached = max(reached, number)
        if number == count:
            loop.call_soon_threadsafe(done.set)

    Finish.on_handled = count_up
    begun, cpu = time.perf_counter(), time.process_time()
    worker = asyncio.create_task(peer.work())
    waiting = asyncio.create_task(done.wait())
    await asyncio.wait({worker, waiting}, return_when=asyncio.FIRST_COMPLETED)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
    if not done.is_set():
        worker.result()  # raises what ended it
        message = f"the worker ended after {reached} of {count} tasks"
        raise RuntimeError(message)
    await asyncio.sleep(SECONDS_TO_SETTLE)
    worker.cancel()
    with suppress(asyncio.CancelledError, TimeoutError):
        await asyncio.wait_for(worker, 10)  # its last outcomes are written
    return {"seconds": seconds, "cpu_seconds": cpu}


@contextmanager
def worker_process(*command: str) -> Iterator[Callable[[], int]]:
    """Run a worker in a process of its own; yield a function that waits for its next timestamp."""
    worker = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.PIPE)
    assert worker.stdout is not None
    lines = worker.stdout

    def next_moment() -> int:
        line = lines.readline()
        if not line:
            message = f"the worker ended: {' '.join(command)}"
            raise RuntimeError(message)
        return int(line)

    try:
        yield next_moment
    finally:
        worker.kill()
        worker.wait()


async def _serve(peer: Peer, count: int) -> None:
    numbers = itertools.count(1)

    def tell() -> None:
        if not count or next(numbers) in (1, count):
            os.write(1, b"%d\n" % time.monotonic_ns())

    Finish.on_handled = tell
    await peer.work()


async def _whole(peer: Peer, module: str, count: int, part: int) -> dict[str, float]:
    await peer.open(1)
    command = (module, "serve", "--url", peer.url, "--count", str(count + 1))
    with worker_process(*command) as told:
        await peer.enqueue()  # the worker's response shows that it has started
        await asyncio.wait_for(asyncio.to_thread(told), SECONDS_TO_BEGIN)
        await asyncio.sleep(SECONDS_TO_REST)
        begun = time.monotonic_ns()
        for first in range(0, count, part or count):
            await peer.enqueue_many(min(part or count, count - first))
        ended = await asyncio.wait_for(asyncio.to_thread(told), SECONDS_TO_END)
    await peer.close()
    return {"seconds": (ended - begun) / 1e9}


async def _pickup(peer: Peer, module: str, count: int) -> dict[str, float]:
    await peer.open(1)
    source = random.Random(SEED)
    latencies: list[float] = []
    with worker_process(module, "serve", "--url", peer.url) as told:
        for number in range(WARM_UPS + count):
            await peer.enqueue()
            committed = time.monotonic_ns()
            moment = await asyncio.wait_for(asyncio.to_thread(told), SECONDS_TO_BEGIN)
            if number >= WARM_UPS:
                latencies.append((moment - committed) / 1e6)
            await asyncio.sleep(source.uniform(0.02, 0.08))
    await peer.close()
    return quantiles(latencies)


def quantiles(milliseconds: list[float]) -> dict[str, float]:
    """Return median and 99th percentile; a task that began before its commit returned is 0."""
    cuts = statistics.quantiles([max(0.0, each) for each in milliseconds], n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


def run(make: Callable[[str], Peer], module: str) -> None:
    """Run the act that the command line names."""
    parser = argparse.ArgumentParser()
    parser.add_argument("act")
    parser.add_argument("--url", required=True)
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--callers", type=int, default=1)
    parser.add_argument("--part", type=int, default=0)
    options = parser.parse_args()
    peer = make(options.url)

    acts: dict[str, Callable[[], Coroutine[Any, Any, dict[str, float] | None]]] = {
        "prepare": peer.prepare,
        "singles": lambda: _singles(peer, options.count, options.callers),
        "bulk": lambda: _bulk(peer, options.count),
        "drain": lambda: _drain(peer, options.count),
        "whole": lambda: _whole(peer, module, options.count, options.part),
        "serve": lambda: _serve(peer, options.count),
        "pickup": lambda: _pickup(peer, module, options.count),
    }
    answer = asyncio.run(acts[options.act]())
    print(json.dumps(answer or {}), flush=True)
    os._exit(0)  # without waiting for a library's threads
