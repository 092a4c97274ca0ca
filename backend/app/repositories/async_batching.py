"""Batching for callers in an event loop: they wait as coroutines, and no thread sleeps for them.

Batches are made as in `Batcher`; only waiting is cheaper. A waiting thread is put to sleep and
woken for every result, and then waits for the interpreter lock: with 64 callers, that is most of
the time of a transition.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from app.repositories.batching import (
    DEFERRED_AT_ONCE,
    DeferredResult,
    Input,
    Operation,
    Output,
    Request,
    Waiting,
    answer,
)


class _AsyncCall(Request):
    """A request of a coroutine."""

    __slots__ = ("future",)

    def __init__(
        self, operation: Operation[Any, Any], given: Any, future: asyncio.Future[None]
    ) -> None:
        super().__init__(operation, given)
        self.future = future

    def resume(self) -> None:
        """Resume the caller, if it still waits."""
        if not self.future.done():
            self.future.set_result(None)


class AsyncBatcher:
    """Batches the calls of one event loop, and sends them one batch after another from a thread.

    Calls made in one iteration of the loop share a batch, and so do callers that receive their
    results together and call again: nothing is sent meanwhile, since the sender would only compete
    for the interpreter lock. A call that is cancelled before it is sent has no effect; one that is
    cancelled later takes effect all the same.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: Waiting[_AsyncCall] = Waiting()
        self._is_out = False
        self._is_closed = False
        self._sender = ThreadPoolExecutor(1, thread_name_prefix="batcher")
        self._resolver = ThreadPoolExecutor(DEFERRED_AT_ONCE, thread_name_prefix="batcher-deferred")

    async def send(self, operation: Operation[Input, Output], given: Input) -> Output:
        """Return the result for this input, or raise what sending it raised.

        Raises:
            RuntimeError: the batcher is closed, or serves another event loop.

        """
        loop = asyncio.get_running_loop()
        self._serve(loop)
        call = _AsyncCall(operation, given, loop.create_future())
        self._waiting.append(call)
        if not self._is_out:
            self._is_out = True
            loop.call_soon(self._send_next, loop)  # calls of this iteration go with it
        try:
            await call.future
        except asyncio.CancelledError:
            if call in self._waiting:
                self._waiting.remove(call)
            raise
        result: Output | DeferredResult[Output] = call.result()
        if not isinstance(result, DeferredResult):
            return result
        try:
            resolved: asyncio.Future[Output] = loop.run_in_executor(self._resolver, result.resolve)
        except RuntimeError as error:  # its threads have ended
            raise _closed() from error
        return await resolved

    def close(self) -> None:
        """End the threads once the batch being sent has returned; waiting calls are refused."""
        self._is_closed = True
        self._sender.shutdown(wait=True)
        self._resolver.shutdown(wait=True)

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        """Serve this loop; calls of one that has ended (`asyncio.run`) are dropped."""
        if self._is_closed:
            raise _closed()
        if self._loop is not loop:
            if self._loop is not None and not self._loop.is_closed():
                message = "This batcher serves another event loop; make one for each"
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
                call.resume()
            self._waiting.clear()
            return
        sent.add_done_callback(lambda _sent: self._resume_callers(loop, batch))

    def _resume_callers(self, loop: asyncio.AbstractEventLoop, batch: list[_AsyncCall]) -> None:
        """Resume the callers; then send what they call with next."""
        for call in batch:
            call.resume()
        loop.call_soon(self._send_next, loop)


def _closed() -> RuntimeError:
    return RuntimeError("This batcher is closed; make another")
