"""Steps the coroutine of a request, on the event loop or on a worker thread.

The coroutine runs in a Context of its own, which is entered for each step and left between
them. Whoever enters it next, the loop or a thread, finds every ContextVar as the last step left
it, and what is awaited outside of it (the server's ``receive`` and ``send``) cannot pass it on
to the next request of the connection.
"""

from __future__ import annotations

import asyncio
import contextvars
import types
import typing as t
from collections import deque
from queue import SimpleQueue
from weakref import WeakKeyDictionary

import anyio
import anyio.to_thread

from .colours import ASYNC
from .colours import SYNC
from .portal import _Call
from .portal import adopt
from .portal import background_loop_for_here
from .portal import here
from .portal import run_awaitable
from .workers import Job
from .workers import QueueFull
from .workers import Worker
from .workers import Workers

T = t.TypeVar("T")

Stage: t.TypeAlias = tuple[t.Callable[..., t.Any], int]
"""A callable of the user's and its colour."""

_TO_THREAD: t.Final = object()
_TO_LOOP: t.Final = object()


class Lane(t.Protocol):
    """What a pipeline knows of its driver: on which side it is."""

    threaded: bool
    """Whether the pipeline is on a thread just now, not on the loop."""
    keep: bool
    """Set by the pipeline while sync stages may follow its end: its thread stays its own."""


@types.coroutine
def to_thread() -> t.Generator[t.Any, t.Any, None]:
    """Go on, from here, on the request's worker thread."""
    yield _TO_THREAD


@types.coroutine
def to_loop() -> t.Generator[t.Any, t.Any, None]:
    """Go on, from here, on the event loop."""
    yield _TO_LOOP


class _Outside:
    __slots__ = ("awaitable",)

    def __init__(self, awaitable: t.Awaitable[t.Any]) -> None:
        self.awaitable = awaitable


@types.coroutine
def outside(awaitable: t.Awaitable[T]) -> t.Generator[t.Any, t.Any, T]:
    """Await something of the server's outside of the request's Context.

    Only in the task that drives the request, on the loop.
    """
    return t.cast(T, (yield _Outside(awaitable)))


async def call(lane: Lane, stage: Stage, *args: t.Any) -> t.Any:
    """Call one stage where its colour belongs, and await what it returns if that is awaitable.

    :param stage: the callable and its colour.
    """
    func, colour = stage
    if colour == ASYNC:
        if lane.threaded:
            await to_loop()
        return await func(*args)
    if colour == SYNC and not lane.threaded:
        await to_thread()
    value = func(*args)
    if hasattr(value, "__await__"):
        if lane.threaded:
            await to_loop()
        value = await value
    return value


class Seat(t.Protocol):
    """Where the sync stages of a driver run: a pool, or the one thread of a WSGI server."""

    def submit(self, job: Job, worker: Worker | None = None, urgent: bool = False) -> None: ...

    def rest(self) -> None: ...

    def resume(self, worker: Worker) -> None: ...


class Driver:
    """The driver of one request, on an event loop with a pool of worker threads beside it.

    :param context: the Context in which the coroutines are stepped, and nothing else is.
    :param seat: where the sync stages run.
    """

    __slots__ = (
        "_call",
        "_cancelled",
        "_error",
        "_finished",
        "_landed",
        "_mailbox",
        "_refused",
        "_seat",
        "_waiter",
        "_worker",
        "context",
        "coro",
        "keep",
        "loop",
        "parked",
        "result",
        "threaded",
    )

    def __init__(self, context: contextvars.Context, seat: Seat) -> None:
        self.context = context
        self.threaded = False
        self.keep = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self.result: t.Any = None
        self._seat = seat
        self._worker: Worker | None = None
        self.parked = False
        self._refused = False
        self._call: _Call | None = None
        self._cancelled: BaseException | None = None

    def drive(self, coro: t.Any) -> Driver:
        """Take *coro* (anything with ``send`` and ``throw``) to be stepped by awaiting the driver.

        :returns: the driver itself; its await gives the coroutine's result.
        """
        self.coro = coro
        return self

    def __await__(self) -> t.Generator[t.Any, t.Any, t.Any]:
        run = self.context.run
        coro = self.coro
        step, value = coro.send, None
        while True:
            try:
                command = run(step, value)
            except StopIteration as stop:
                self.result = stop.value
                return stop.value
            step, value = coro.send, None
            if command is _TO_THREAD:
                try:
                    yield from self._trip()
                except QueueFull as exc:
                    step, value = coro.throw, exc
                    continue
                if self._cancelled is not None:
                    step, value = coro.throw, self._cancelled
                    self._cancelled = None
                    if self._finished:
                        raise value
                elif self._finished:
                    if self._error is not None:
                        raise self._error
                    return self.result
            elif command is not _TO_LOOP:
                try:
                    if type(command) is _Outside:
                        value = yield from command.awaitable.__await__()
                    else:
                        value = yield command
                except BaseException as exc:
                    step, value = coro.throw, exc

    def release(self) -> None:
        """Let the thread go that waits for this request; to be called once it is over."""
        if self.parked:
            self.parked = False
            t.cast(Worker, self._worker).inbox.put(None)
        self._worker = None

    # -- a trip to the thread ------------------------------------------------------------

    def _trip(self) -> t.Generator[t.Any, t.Any, None]:
        """Have the next steps made on the thread and wait, on the loop, till it lets go."""
        if self.loop is None:
            try:
                self.loop = asyncio.get_running_loop()
            except RuntimeError:
                yield from self._trip_elsewhere()
                return
            self._mailbox = mailbox_of(self.loop)
        self._landed = False
        self._waiter = self.loop.create_future()
        self._board()
        try:
            yield from self._waiter
        except BaseException as exc:
            # Neither the coroutine nor its Context can be taken from a thread at work.
            self._cancelled = exc
            if self._call is not None:
                self._call.cancel()
            with anyio.CancelScope(shield=True):
                yield from self._wait_shielded()
        self.threaded = False

    def _board(self) -> None:
        self.threaded = True
        try:
            self._seat.submit(self, self._worker if self.parked else None, urgent=self._refused)
        except QueueFull:
            # What must run all the same, the teardown, is not refused a second time.
            self._refused = True
            self.threaded = False
            raise

    def _wait_shielded(self) -> t.Generator[t.Any, t.Any, None]:
        loop = t.cast(asyncio.AbstractEventLoop, self.loop)
        while not self._landed:
            self._waiter = loop.create_future()
            try:
                yield from self._waiter
            except asyncio.CancelledError as exc:
                self._cancelled = exc

    def _trip_elsewhere(self) -> t.Generator[t.Any, t.Any, None]:
        """The trip on an event loop that is not asyncio's: anyio's threads do it."""
        self.threaded = True
        try:
            yield from anyio.to_thread.run_sync(self.run, None).__await__()
        except BaseException as exc:
            self._cancelled = exc
        self.threaded = False

    def run(self, worker: Worker | None) -> bool:
        """Make the steps that belong on a thread; called there.

        :returns: whether the worker must wait for more of this request.
        """
        self._worker = worker
        here.driver, before = self, here.driver
        try:
            self.context.run(self._steps)
        finally:
            here.driver = before
        stay = worker is not None and (self.keep if self._finished else True)
        self.parked = stay
        if self.loop is not None:
            self._mailbox.deliver(self)
        # From here on the driver is the loop's: it may have been driven on already.
        return stay

    def _steps(self) -> None:
        self._finished = True
        self._error = None
        coro = self.coro
        try:
            if self._cancelled is None:
                command = coro.send(None)
            else:
                cancelled, self._cancelled = self._cancelled, None
                command = coro.throw(cancelled)
            while command is _TO_THREAD:
                command = coro.send(None)
            if command is not _TO_LOOP:
                command = coro.throw(RuntimeError(f"Awaited on a thread: {command!r}."))
        except StopIteration as stop:
            self.result = stop.value
        except BaseException as exc:
            self._error = exc
        else:
            self._finished = False

    def land(self) -> None:
        """Take the pipeline back from the thread; called on the loop."""
        self._landed = True
        if not self._waiter.done():
            self._waiter.set_result(None)

    # -- async code called from a stage on the thread --------------------------------------

    def waiting_for(self, awaited: _Call) -> _Waiting:
        """Give up the thread's slot while the stage on it waits for *awaited*."""
        return _Waiting(self, awaited)


class _Waiting:
    __slots__ = ("_awaited", "_driver")

    def __init__(self, driver: Driver, awaited: _Call) -> None:
        self._driver = driver
        self._awaited = awaited

    def __enter__(self) -> None:
        self._driver._call = self._awaited
        if self._driver._worker is not None:
            self._driver._seat.rest()

    def __exit__(self, *exc_info: object) -> None:
        self._driver._call = None
        if self._driver._worker is not None:
            self._driver._seat.resume(self._driver._worker)


class Mailbox:
    """Brings finished trips back to one event loop, all that are there in one go."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A weak key's value must not hold the key.
        self._wake = loop.call_soon_threadsafe
        self._landed: deque[t.Any] = deque()
        self._scheduled = False

    def deliver(self, trip: t.Any) -> None:
        """Have ``trip.land()`` called on the loop; may be called on any thread."""
        self._landed.append(trip)
        if not self._scheduled:
            self._scheduled = True
            try:
                self._wake(self._drain)
            except RuntimeError:
                # The loop was closed under a running request: nobody is left to hear of it.
                self._landed.clear()

    def _drain(self) -> None:
        self._scheduled = False
        landed = self._landed
        while landed:
            landed.popleft().land()


_mailboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()


def mailbox_of(loop: asyncio.AbstractEventLoop) -> Mailbox:
    """Give the mailbox of *loop*; called on it."""
    mailbox = _mailboxes.get(loop)
    if mailbox is None:
        mailbox = _mailboxes[loop] = Mailbox(loop)
    return mailbox


class _CallingThread:
    """The seat of a driver whose sync stages run on the thread that waits for its end."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()

    def submit(self, job: Job, worker: Worker | None = None, urgent: bool = False) -> None:
        self.inbox.put(job)

    def rest(self) -> None:
        """The thread is nobody else's: there is no slot to give up."""

    def resume(self, worker: Worker) -> None:
        """Nothing was given up."""


class ThreadDriver:
    """The driver of a request that starts on a thread: a WSGI server's, or a test's.

    Sync stages are called on that thread. For async ones the pipeline goes to the process's
    background loop, while the thread waits to be needed again.

    :param context: as for :class:`Driver`.
    """

    def __init__(self, context: contextvars.Context) -> None:
        self._seat = _CallingThread()
        self.lane = Driver(context, self._seat)

    def drive(self, coro: t.Any) -> t.Any:
        """Run *coro* to its end and give its result."""
        driver = self.lane.drive(coro)
        driver.threaded = True
        driver.loop = None
        driver.run(None)
        if not driver._finished:
            self._go_on_from_loop(driver)
        if driver._error is not None:
            raise driver._error
        return driver.result

    def _go_on_from_loop(self, driver: Driver) -> None:
        loop = driver.loop = background_loop_for_here()
        loop.call_soon_threadsafe(self._start, driver, contextvars.copy_context())
        inbox = self._seat.inbox
        try:
            while (job := inbox.get()) is not None:
                job.run(None)
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(lambda: self._task.cancel())
            raise

    def _start(self, driver: Driver, context: contextvars.Context) -> None:
        driver._mailbox = mailbox_of(t.cast(asyncio.AbstractEventLoop, driver.loop))
        driver.threaded = False
        self._task = t.cast(asyncio.AbstractEventLoop, driver.loop).create_task(
            self._finish(driver), context=context
        )

    async def _finish(self, driver: Driver) -> None:
        try:
            await driver
        except BaseException as exc:
            driver._error = exc
        else:
            driver._error = None
        driver._finished = True
        self._seat.inbox.put(None)


class _OnThread:
    """The lane of a pipeline that a sync method runs inside the Context of its caller."""

    threaded = True
    keep = False


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
        if command is _TO_LOOP:
            lane.threaded = False
            try:
                ended = run_awaitable(_Leg(coro))
            except BaseException:
                coro.close()
                raise
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
            if command is _TO_THREAD:
                return None
            if command is not _TO_LOOP:
                try:
                    value = yield command
                except BaseException as exc:
                    step, value = coro.throw, exc


class _OnLoop:
    """The lane of a pipeline that an async method runs inside the Context of its caller."""

    threaded = False
    keep = False


@types.coroutine
def run_inline(make: t.Callable[[Lane], t.Coroutine[t.Any, t.Any, T]]) -> t.Generator[t.Any, t.Any, T]:
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
        if command is not _TO_THREAD and command is not _TO_LOOP:
            try:
                value = yield command
            except BaseException as exc:
                step, value = coro.throw, exc


class _Errand:
    """A blocking function on its way to a worker thread and back."""

    __slots__ = ("_args", "_context", "_error", "_func", "_mailbox", "_result", "_waiter")

    def __init__(
        self, func: t.Callable[..., t.Any], args: tuple[t.Any, ...], context: contextvars.Context
    ) -> None:
        self._func = func
        self._args = args
        self._context = context
        self._error: BaseException | None = None
        self._result: t.Any = None

    def run(self, worker: Worker | None) -> bool:
        try:
            self._result = self._context.run(self._func, *self._args)
        except BaseException as exc:
            self._error = exc
        self._mailbox.deliver(self)
        return False

    def land(self) -> None:
        if not self._waiter.done():
            self._waiter.set_result(None)

    async def outcome(self, workers: Workers) -> t.Any:
        loop = asyncio.get_running_loop()
        self._mailbox = mailbox_of(loop)
        self._waiter = loop.create_future()
        workers.submit(self)
        with anyio.CancelScope(shield=True):
            await self._waiter
        if self._error is not None:
            raise self._error
        return self._result


async def run_sync(workers: Workers, func: t.Callable[..., T], *args: t.Any) -> T:
    """Call a blocking function on a worker thread and await its result.

    It sees the caller's ContextVars, and what it sets is set for the caller afterwards. A
    cancelled caller waits for the thread.

    :param workers: the pool to use.
    """
    context = contextvars.copy_context()
    try:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return await anyio.to_thread.run_sync(lambda: context.run(func, *args))
        return t.cast(T, await _Errand(func, args, context).outcome(workers))
    finally:
        adopt(context)
