"""The lane for callers in an event loop, who wait as coroutines: no thread sleeps for any of them.

What shares a commit is as in `Lane`; what differs is what waiting costs. A thread that waits is put
to sleep and woken for every answer, and then stands in line for the interpreter. Of 64 callers that
is most of the time of a transition.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.repositories.lane import (
    ASIDES_AT_ONCE,
    Aside,
    Input,
    Kind,
    Output,
    Request,
    Waiting,
    answer,
)


class _AsyncCall(Request):
    """A request whose caller is a coroutine."""

    __slots__ = ("future",)

    def __init__(self, kind: Kind[Any, Any], given: Any, future: asyncio.Future[None]) -> None:
        super().__init__(kind, given)
        self.future = future

    def tell(self) -> None:
        """Let the caller go on, if it still waits."""
        if not self.future.done():
            self.future.set_result(None)


class AsyncLane:
    """For callers in one event loop: a thread of its own sends one batch after another for them.

    All that ask in one turn of the loop go together, and so do those who are answered together and
    ask again: while they do, nothing is out, as a sender would only be kept from the interpreter.
    A caller that is cancelled before its request is out takes it back; after that what it asked
    for happens.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: Waiting[_AsyncCall] = Waiting()
        self._is_out = False
        self._is_closed = False
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="combiner")
        self._asides = ThreadPoolExecutor(ASIDES_AT_ONCE, thread_name_prefix="combiner-aside")

    async def send(self, kind: Kind[Input, Output], given: Input) -> Output:
        """The answer to this input; raises what sending it raised.

        Raises:
            RuntimeError: the lane is closed, or serves another event loop.

        """
        loop = asyncio.get_running_loop()
        self._serve(loop)
        call = _AsyncCall(kind, given, loop.create_future())
        self._waiting.append(call)
        if not self._is_out:
            self._is_out = True
            loop.call_soon(self._send_next, loop)  # whoever else asks in this turn goes along
        try:
            await call.future
        except asyncio.CancelledError:
            if call in self._waiting:
                self._waiting.remove(call)
            raise
        result: Output | Aside[Output] = call.result()
        if not isinstance(result, Aside):
            return result
        try:
            found_out: asyncio.Future[Output] = loop.run_in_executor(self._asides, result.find_out)
        except RuntimeError as error:  # its threads have ended
            raise _closed() from error
        return await found_out

    def close(self) -> None:
        """End the threads, once what is out has been answered; what waits is refused."""
        self._is_closed = True
        self._sender.shutdown(wait=True)
        self._asides.shutdown(wait=True)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Be this loop's; of one that is over (`asyncio.run` ended it) nobody waits any more."""
        if self._is_closed:
            raise _closed()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                message = "This combiner serves another event loop; make one for each"
                raise RuntimeError(message)
            self._loop, self._is_out = loop, False
            self._waiting.clear()

    def _send_next(self, loop: asyncio.AbstractEventLoop) -> None:
        self._is_out = bool(self._waiting)
        if not self._is_out:
            return
        batch = self._waiting.take()
        try:
            sent = loop.run_in_executor(self._sender, answer, batch)
        except RuntimeError:  # its thread has ended
            self._is_out = False
            for call in (*batch, *self._waiting):
                call.error = _closed()
                call.tell()
            self._waiting.clear()
            return
        sent.add_done_callback(lambda _sent: self._tell(loop, batch))

    def _tell(self, loop: asyncio.AbstractEventLoop, batch: list[_AsyncCall]) -> None:
        """Let each caller have its answer; then send what they ask for now."""
        for call in batch:
            call.tell()
        loop.call_soon(self._send_next, loop)


def _closed() -> RuntimeError:
    return RuntimeError("This combiner is closed; make another")
