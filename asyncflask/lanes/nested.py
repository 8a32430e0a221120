"""Pieces of a pipeline, and blocking functions, run inside the Context of whoever asks for them.

The caller stands in that Context and cannot leave it, so what has to run elsewhere runs in a
copy, and what it sets there is carried back.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import types
import typing as t

import anyio
import anyio.to_thread

from .mailbox import mailbox_of
from .portal import adopt
from .portal import here
from .portal import run_awaitable
from .stage import Lane
from .stage import TO_LOOP
from .stage import TO_THREAD
from .workers import QueueFull
from .workers import Worker
from .workers import Workers

T = t.TypeVar("T")


class _Nested:
    keep = False
    task: asyncio.Task[t.Any] | None = None

    async def finish(self, awaitable: t.Awaitable[t.Any]) -> None:
        # A task of its own could not be in the very Context in which the caller stands.
        with anyio.CancelScope(shield=True):
            await awaitable


class _OnThread(_Nested):
    """The lane of a pipeline that a sync method runs inside the Context of its caller."""

    threaded = True
    bound = True

    def __init__(self) -> None:
        self._driver = here.driver

    @property
    def closing(self) -> bool:
        """That of the request, whose driver would pass a cancellation on to what we wait for."""
        return self._driver is not None and self._driver.closing

    @closing.setter
    def closing(self, closing: bool) -> None:
        if self._driver is not None:
            self._driver.closing = closing


def run_here(make: t.Callable[[Lane], t.Coroutine[t.Any, t.Any, T]]) -> T:
    """Run a piece of the pipeline to its end from sync code, in the caller's Context.

    Sync stages are called on this thread. Async ones run on the loop in a copy of the Context,
    which this thread cannot leave, and what they set is carried back.

    :param make: gets the lane, gives the coroutine.
    """
    lane = _OnThread()
    coro = make(lane)
    step: t.Callable[[t.Any], t.Any] = coro.send
    value: t.Any = None
    while True:
        try:
            command = step(value)
        except StopIteration as stop:
            return t.cast(T, stop.value)
        step, value = coro.send, None
        if command is TO_LOOP:
            lane.threaded = False
            try:
                ended = run_awaitable(_Leg(coro))
            except BaseException as exc:
                if inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED:
                    raise
                # The loop could not be gone to; what is begun is ended here all the same.
                lane.threaded = True
                step, value = coro.throw, exc
                continue
            if ended is not None:
                return t.cast(T, ended[0])
            lane.threaded = True


class _Leg:
    """Steps a pipeline on the loop until it asks for the thread, or ends."""

    def __init__(self, coro: t.Coroutine[t.Any, t.Any, t.Any]) -> None:
        self.coro = coro

    def __await__(self) -> t.Generator[t.Any, t.Any, tuple[t.Any] | None]:
        coro = self.coro
        step: t.Callable[[t.Any], t.Any] = coro.send
        value: t.Any = None
        while True:
            try:
                command = step(value)
            except StopIteration as stop:
                return (stop.value,)
            step, value = coro.send, None
            if command is TO_THREAD:
                return None
            if command is not TO_LOOP:
                try:
                    value = yield command
                except BaseException as exc:
                    step, value = coro.throw, exc


class _OnLoop(_Nested):
    """The lane of a pipeline that an async method runs inside the Context of its caller."""

    threaded = False
    bound = False
    closing = False


@types.coroutine
def run_inline(
    make: t.Callable[[Lane], t.Coroutine[t.Any, t.Any, T]],
) -> t.Generator[t.Any, t.Any, T]:
    """Run a piece of the pipeline where the caller is, sync stages included.

    For contexts that are pushed by hand: what the caller opened on this thread is closed on it.

    :param make: gets the lane, gives the coroutine.
    """
    coro = make(_OnLoop())
    step: t.Callable[[t.Any], t.Any] = coro.send
    value: t.Any = None
    while True:
        try:
            command = step(value)
        except StopIteration as stop:
            return t.cast(T, stop.value)
        step, value = coro.send, None
        if command is not TO_THREAD and command is not TO_LOOP:
            try:
                value = yield command
            except BaseException as exc:
                step, value = coro.throw, exc


class _Errand:
    """A blocking function on its way to a worker thread and back."""

    __slots__ = (
        "_args", "_context", "_error", "_func", "_landed", "_mailbox", "_result", "_waiter"
    )

    def __init__(
        self, func: t.Callable[..., t.Any], args: tuple[t.Any, ...], context: contextvars.Context
    ) -> None:
        self._func = func
        self._args = args
        self._context = context
        self._error: BaseException | None = None
        self._landed = False
        self._result: t.Any = None

    def run(self, worker: Worker | None) -> bool:
        try:
            self._result = self._context.run(self._func, *self._args)
        except BaseException as exc:
            self._error = exc
        return False

    def deliver(self) -> None:
        self._mailbox.deliver(self)

    def land(self) -> None:
        self._landed = True
        if not self._waiter.done():
            self._waiter.set_result(None)

    async def outcome(self, loop: asyncio.AbstractEventLoop, workers: Workers) -> t.Any:
        self._mailbox = mailbox_of(loop)
        self._waiter = loop.create_future()
        patience = workers.submit(self)
        timer = None if patience is None else loop.call_later(patience, self._expire, workers)
        try:
            await self._waiter
        except asyncio.CancelledError as exc:
            await self._wait_in_vain(loop, workers, exc)
        finally:
            if timer is not None:
                timer.cancel()
        if self._error is not None:
            try:
                raise self._error
            finally:
                # Its traceback holds this frame.
                self._error = None
        return self._result

    async def _wait_in_vain(
        self,
        loop: asyncio.AbstractEventLoop,
        workers: Workers,
        cancelled: asyncio.CancelledError,
    ) -> t.NoReturn:
        try:
            if not workers.withdraw(self):
                # What the thread works on cannot be taken from it.
                with anyio.CancelScope(shield=True):
                    while not self._landed:
                        self._waiter = loop.create_future()
                        try:
                            await self._waiter
                        except asyncio.CancelledError as exc:
                            cancelled = exc
            raise cancelled
        finally:
            # Its traceback holds this frame.
            del cancelled

    def _expire(self, workers: Workers) -> None:
        if workers.withdraw(self):
            self._error = QueueFull("No thread was free for too long.")
            self.land()


async def run_sync(workers: Workers, func: t.Callable[..., T], *args: t.Any) -> T:
    """Call a blocking function on a worker thread and await its result.

    It sees the caller's ContextVars, and what it sets is set for the caller afterwards. A
    cancelled caller waits for the thread.

    :param workers: the pool to use.
    """
    context = contextvars.copy_context()
    try:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return await anyio.to_thread.run_sync(lambda: context.run(func, *args))
        return t.cast(T, await _Errand(func, args, context).outcome(loop, workers))
    finally:
        adopt(context)
