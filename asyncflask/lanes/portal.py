"""The way from sync code to an event loop: ``run_awaitable`` and ``ensure_sync``."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import os
import sys
import threading
import typing as t
from concurrent.futures import Future

from .colours import is_async

if t.TYPE_CHECKING:
    from .driver import Driver

T = t.TypeVar("T")
T_co = t.TypeVar("T_co", covariant=True)
_MISSING: t.Any = object()


class _Here(threading.local):
    """What the current thread works for: the driver whose stage it runs, if any."""

    driver: Driver | None = None


here = _Here()

_background: asyncio.AbstractEventLoop | None = None
_background_lock = threading.Lock()


def background_loop() -> asyncio.AbstractEventLoop:
    """Give the event loop that serves sync code of this process.

    It is one for the whole life of the process, runs in a daemon thread and starts at first
    use, so after a fork.
    """
    global _background
    if _background is None:
        with _background_lock:
            if _background is None:
                loop = asyncio.new_event_loop()
                threading.Thread(
                    target=loop.run_forever, name="asyncflask-loop", daemon=True
                ).start()
                _background = loop
    return _background


def _forget_after_fork() -> None:
    global _background, _background_lock
    _background = None
    _background_lock = threading.Lock()
    # The stage that forked has its driver in the parent.
    here.driver = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


def run_awaitable(awaitable: t.Awaitable[T]) -> T:
    """Run an awaitable to its end from sync code and return its result.

    On a worker thread of a request it runs on the loop that serves the request; elsewhere on
    the process's background loop. It sees the caller's ContextVars, and what it sets is set
    for the caller afterwards.

    :raises RuntimeError: on a thread whose event loop is running, which this would block.
    """
    try:
        if runs_on_loop():
            raise _would_block(awaitable)
        loop = loop_for_here(awaitable)
    except RuntimeError:
        _discard(awaitable)
        raise
    context = contextvars.copy_context()
    call: _Call[T] = _Call(awaitable, loop, context)
    try:
        with waiting_here(call):
            return call.wait()
    finally:
        adopt(context)
        # It holds the error there may be, whose traceback holds this frame.
        del call


def ensure_sync(func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Make a callable usable from sync code.

    :param func: sync functions come back as they are; async ones wrapped so that a call runs
        them to their end, see :func:`run_awaitable`.
    """
    if not is_async(func):
        return func
    return async_to_sync(func)


def async_to_sync(func: t.Callable[..., t.Awaitable[T]]) -> t.Callable[..., T]:
    """Wrap an async callable in a sync one that runs it to its end.

    :raises RuntimeError: when the wrapper is called on the thread of a running event loop.
    """

    @functools.wraps(func)
    def wrapper(*args: t.Any, **kwargs: t.Any) -> T:
        return run_awaitable(func(*args, **kwargs))

    if hasattr(wrapper, "_is_coroutine"):
        # update_wrapper() took the mark of an async callable over; the wrapper is none.
        del wrapper._is_coroutine
    return wrapper


class AsyncStream(t.Protocol[T_co]):
    """An async iterator that can be closed."""

    def __anext__(self) -> t.Awaitable[T_co]: ...

    def aclose(self) -> t.Awaitable[None]: ...


def iterate_async(iterator: AsyncStream[T]) -> t.Iterator[T]:
    """Iterate over an async stream from sync code, and close it in the end."""
    try:
        while True:
            try:
                item = run_awaitable(iterator.__anext__())
            except StopAsyncIteration:
                return
            yield item
    finally:
        run_awaitable(iterator.aclose())


def adopt(context: contextvars.Context) -> None:
    """Set here every ContextVar that has another value in *context*, a copy of this one."""
    for var, value in context.items():
        if var.get(_MISSING) is not value:
            var.set(value)


def current_task() -> asyncio.Task[t.Any] | None:
    """Give the current asyncio task; ``None`` on a thread and on another kind of loop."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def is_in_scope(task: asyncio.Task[t.Any]) -> bool:
    """Tell whether a cancel scope of anyio's may be around what a task does.

    That is known to anyio only, and asked of it since a shield costs more than all else that a
    small request does.
    """
    backend = sys.modules.get("anyio._backends._asyncio")
    if backend is None:
        return False
    states = getattr(backend, "_task_states", None)
    if states is None:
        return True
    # Most servers have none, and to ask for one of them costs several times as much.
    state = states.get(task) if len(states) else None
    # It stays when the task has left its last scope.
    return state is not None and getattr(state, "cancel_scope", state) is not None


def runs_on_loop() -> bool:
    """Tell whether this thread runs an event loop, and is not the thread lane of a request."""
    return here.driver is None and asyncio._get_running_loop() is not None


def works_for_request() -> bool:
    """Tell whether this thread runs a sync part of a request."""
    return here.driver is not None


def _would_block(what: object) -> RuntimeError:
    return RuntimeError(
        f"Async code ({what!r}) was called through a sync interface on the thread of a running"
        " event loop, which would block it. Await it there instead: 'async with' for contexts,"
        " render_template_async() for templates, 'await' for functions. Or call the sync function"
        " on a thread: 'await asyncio.to_thread(url_for, ...)'."
    )


class Cancellable(t.Protocol):
    """What runs on a loop while a thread waits for it."""

    def cancel(self) -> None:
        """Cancel it; to be called on the loop."""


def loop_for_here(what: object) -> asyncio.AbstractEventLoop:
    """Give the loop for a thread that is going to wait for it.

    It is the one that serves the request which this thread works for; else the background loop.

    :param what: what is to run there, for the message.
    :raises RuntimeError: on that loop's own thread, which would wait for itself.
    """
    driver = here.driver
    if driver is not None and driver.loop is not None:
        return driver.loop
    loop = background_loop()
    if asyncio._get_running_loop() is loop:
        raise _would_block(what)
    return loop


def waiting_here(awaited: Cancellable) -> t.ContextManager[None]:
    """Wait for something on the loop, without a slot if this thread works for a request.

    :param awaited: is cancelled when that request is.
    """
    driver = here.driver
    return contextlib.nullcontext() if driver is None else driver.waiting_for(awaited)


def _discard(awaitable: t.Awaitable[t.Any]) -> None:
    close = getattr(awaitable, "close", None)
    if close is not None:
        close()


class _Call(t.Generic[T]):
    """An awaitable that runs on a loop while the thread that asked for it waits."""

    def __init__(
        self,
        awaitable: t.Awaitable[t.Any],
        loop: asyncio.AbstractEventLoop,
        context: contextvars.Context,
    ) -> None:
        self._awaitable = awaitable
        self._loop = loop
        self._context = context
        self._outcome: Future[T] = Future()
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False

    def wait(self) -> T:
        """Have it run, and give its result."""
        try:
            self._loop.call_soon_threadsafe(self._start)
            return self._outcome.result()
        except BaseException:
            # Not the outcome but a server's signal handler, if nothing has come of it yet.
            if not (self._outcome.done() or self._loop.is_closed()):
                self._loop.call_soon_threadsafe(self.cancel)
            raise
        finally:
            # The same.
            del self

    def cancel(self) -> None:
        """Cancel the awaitable, once; to be called on the loop."""
        if self._cancelled:
            return
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._run(), context=self._context)
        self._task.add_done_callback(self._settle)
        if self._cancelled:
            self._task.cancel()

    def _settle(self, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step never enters _run().
        if not self._outcome.done():
            _discard(self._awaitable)
            self._outcome.set_exception(asyncio.CancelledError())

    async def _run(self) -> None:
        try:
            result = await self._awaitable
        except BaseException as exc:
            # SystemExit too: it is for the thread that waits, and would end the loop here.
            self._outcome.set_exception(exc)
            # The error's traceback holds this frame.
            del self
        else:
            self._outcome.set_result(result)
