"""What a pipeline may ask of its driver, and how one stage is called."""

from __future__ import annotations

import asyncio
import types
import typing as t

import anyio

from .colours import ASYNC
from .colours import INLINE
from .colours import SYNC
from .workers import QueueFull

T = t.TypeVar("T")

Stage: t.TypeAlias = tuple[t.Callable[..., t.Any], int]
"""A callable of the user's and its colour."""

TO_THREAD: t.Final = object()
TO_LOOP: t.Final = object()
PAUSE: t.Final = object()

ENDED: t.Final = object()
"""What ``next(coro.__await__(), ENDED)`` gives when a coroutine that returns nothing has ended in
that step, without the StopIteration of ``send()``, which takes longer than all the rest."""


class Lane(t.Protocol):
    """What a pipeline knows of its driver: on which side it is."""

    threaded: bool
    """Whether the pipeline is on a thread just now, not on the loop."""
    bound: bool
    """Whether the loop works in a copy of the Context: what is reset must be so on the thread."""
    closing: bool
    """Set by the pipeline while it tears down: a cancellation then waits for its end."""
    task: asyncio.Task[t.Any] | None
    """The task that drives the request, where that matters and there is one."""
    keep: bool
    """Set by the pipeline while sync stages may follow its end: its thread stays its own."""

    def finish(self, awaitable: t.Awaitable[t.Any]) -> t.Awaitable[t.Any]:
        """Give what to await on the loop so that it reaches its end in a cancelled request, too."""


@types.coroutine
def to_thread() -> t.Generator[t.Any, t.Any, None]:
    """Go on, from here, on the request's worker thread."""
    yield TO_THREAD


async def to_thread_in_any_case() -> None:
    """Go to a thread, for a request that was let in already: no full queue may turn it away."""
    try:
        await to_thread()
    except QueueFull:
        # The driver asks a second time for what must run.
        await to_thread()


@types.coroutine
def to_loop() -> t.Generator[t.Any, t.Any, None]:
    """Go on, from here, on the event loop."""
    yield TO_LOOP


@types.coroutine
def pause() -> t.Generator[t.Any, t.Any, None]:
    """Give the thread back to who drives this, until :meth:`ThreadDriver.go_on`; only there."""
    yield PAUSE


class Outside:
    """A command to the driver: await this outside of the request's Context."""

    __slots__ = ("awaitable",)

    def __init__(self, awaitable: t.Awaitable[t.Any]) -> None:
        self.awaitable = awaitable


@types.coroutine
def outside(awaitable: t.Awaitable[T]) -> t.Generator[t.Any, t.Any, T]:
    """Await something of the server's outside of the request's Context.

    Only in the task that drives the request, on the loop.
    """
    value: T = yield Outside(awaitable)
    return value


@types.coroutine
def go_on(
    steps: t.Generator[t.Any, t.Any, T], command: t.Any
) -> t.Generator[t.Any, t.Any, T]:
    """Await the rest of something whose first step was made by hand.

    :param steps: its ``__await__()``.
    :param command: what that step has given, for the event loop.
    """
    while True:
        try:
            yield command
        except BaseException as exc:
            try:
                command = steps.throw(exc)
            except StopIteration as stop:
                return t.cast(T, stop.value)
        else:
            return (yield from steps)


@types.coroutine
def cancelled_once(
    awaitable: t.Awaitable[t.Any], scope: anyio.CancelScope
) -> t.Generator[t.Any, t.Any, t.Any]:
    """Await something, and once it was cancelled leave it in peace to clean up.

    A scope of anyio cancels every wait again, those in a generator's ``finally`` as well.

    :param scope: one around it, to be shielded meanwhile.
    """
    steps = awaitable.__await__()
    step: t.Callable[[t.Any], t.Any] = steps.send
    value: t.Any = None
    try:
        while True:
            try:
                command = step(value)
            except StopIteration as stop:
                return stop.value
            except BaseException:
                # It may be what was thrown in, whose traceback now holds this frame.
                value = None
                raise
            step = steps.send
            try:
                value = yield command
            except BaseException as exc:
                step, value = steps.throw, exc
                if isinstance(exc, anyio.get_cancelled_exc_class()):
                    scope.shield = True
    finally:
        if scope.shield:
            scope.shield = False


def call(lane: Lane, stage: Stage, *args: t.Any) -> t.Awaitable[t.Any]:
    """Call one stage where its colour belongs, and await what it returns if that is awaitable.

    :param stage: the callable and its colour.
    """
    if stage[1] == ASYNC and not lane.threaded:
        # Without a coroutine of our own in between.
        return stage[0](*args)  # type: ignore[no-any-return]
    return _call(lane, stage, *args)


async def _call(lane: Lane, stage: Stage, *args: t.Any) -> t.Any:
    func, colour = stage
    if colour == ASYNC:
        if lane.threaded:
            await to_loop()
        return await func(*args)
    if colour != INLINE and not lane.threaded:
        await to_thread()
    value = func(*args)
    return await _await_on_loop(lane, value) if hasattr(value, "__await__") else value


async def _await_on_loop(lane: Lane, value: t.Awaitable[T]) -> T:
    if lane.threaded:
        await to_loop()
    return await value


def call_at_once(lane: Lane, stage: Stage, *args: t.Any) -> t.Any:
    """Call a sync stage for which the pipeline is on its thread, and give its value.

    :returns: for any other stage, and for a value to be awaited, what to await.
    """
    if stage[1] != SYNC or not lane.threaded:
        return call(lane, stage, *args)
    value = stage[0](*args)
    return _await_on_loop(lane, value) if hasattr(value, "__await__") else value


async def call_on_thread(func: t.Callable[..., T], *args: t.Any) -> T:
    """Call a sync function on the request's worker thread, from its own task on the loop."""
    await to_thread()
    try:
        return func(*args)
    finally:
        await to_loop()


def call_to_end(lane: Lane, stage: Stage, *args: t.Any) -> t.Awaitable[t.Any]:
    """The same for a stage that no cancellation of the request may interrupt."""
    if stage[1] == ASYNC and not lane.threaded:
        return lane.finish(stage[0](*args))
    return _call_to_end(lane, stage, *args)


async def _call_to_end(lane: Lane, stage: Stage, *args: t.Any) -> None:
    func, colour = stage
    if colour == ASYNC:
        if lane.threaded:
            await to_loop()
    elif colour != INLINE and not lane.threaded:
        await to_thread()
    value = func(*args)
    if hasattr(value, "__await__"):
        if lane.threaded:
            await to_loop()
        await lane.finish(value)
