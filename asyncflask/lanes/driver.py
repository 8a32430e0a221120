"""Steps the coroutine of a request, on the event loop or on a worker thread.

The coroutine runs in a Context of its own, which is entered for each step and left between
them. Whoever enters it next, the loop or a thread, finds every ContextVar as the last step left
it, and what is awaited outside of it (the server's ``receive`` and ``send``) cannot pass it on
to the next request of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import math
import typing as t

import anyio
import anyio.to_thread

from .mailbox import Mailbox
from .mailbox import mailbox_of
from .portal import Cancellable
from .portal import current_task
from .portal import here
from .portal import is_in_scope
from .stage import Outside
from .stage import outside
from .stage import PAUSE
from .stage import TO_LOOP
from .stage import TO_THREAD
from .workers import Job
from .workers import QueueFull
from .workers import Worker


class Seat(t.Protocol):
    """Where the sync stages of a driver run: a pool, or the one thread of a WSGI server."""

    def submit(self, job: Job, urgent: bool = False) -> float | None: ...

    def withdraw(self, job: Job) -> bool: ...


# None is what asyncio's sleep(0) asks for.
_NOTHING: t.Final = object()


class Driver:
    """The driver of one request, on an event loop with a pool of worker threads beside it.

    :param context: the Context in which the coroutines are stepped, and nothing else is.
    :param seat: where the sync stages run.
    """

    # What most requests never set is set here: making a driver is part of every request.
    closing = False
    paused = False
    task: asyncio.Task[t.Any] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    result: t.Any = None

    outer: Driver | None = None
    """The driver of the request in whose stage this one was made, on the same thread."""

    _first: t.Any = _NOTHING
    _worker: Worker | None = None
    _refused = False
    _expired = False
    _pass_on_cancellation = False
    _finished = False
    _call: Cancellable | None = None
    _cancelled: BaseException | None
    _error: BaseException | None = None
    _mailbox: Mailbox
    _waiter: asyncio.Future[None]

    def __init__(self, context: contextvars.Context, seat: Seat) -> None:
        self.context = context
        self._seat = seat
        # What every request asks for, and would look for in the class in vain otherwise.
        self.threaded = self.bound = self.parked = self.keep = False
        self._cancelled = None

    def drive(self, coro: t.Any) -> Driver:
        """Take *coro* (anything with ``send`` and ``throw``) to be stepped by awaiting the driver.

        :returns: the driver itself; its await gives the coroutine's result.
        """
        self.coro = coro
        return self

    def go_on(self, command: t.Any) -> Driver:
        """Take note of what the coroutine has asked for in a first step that its adapter made.

        Most requests end in that step, and need nobody who drives them.

        :returns: the driver itself, to be awaited.
        """
        self._first = command
        return self

    def __await__(self) -> t.Generator[t.Any, t.Any, t.Any]:
        run = self.context.run
        coro = self.coro
        step: t.Callable[[t.Any], t.Any] = coro.send
        value: t.Any = None
        command, self._first = self._first, _NOTHING
        while True:
            if command is _NOTHING:
                try:
                    command = run(step, value)
                except StopIteration as stop:
                    if self._cancelled is not None:
                        self._raise_cancelled()
                    return stop.value
                except BaseException:
                    # It may be what was thrown in, whose traceback now holds this frame.
                    value = None
                    raise
            step, value = coro.send, None
            if command is TO_THREAD:
                try:
                    yield from self._trip()
                except QueueFull as full:
                    step, value = coro.throw, full
                    command = _NOTHING
                    continue
                if self._finished:
                    if self._cancelled is not None:
                        self._raise_cancelled()
                    if self._error is not None:
                        try:
                            raise self._error
                        finally:
                            self._error = None
                    return self.result
                if self._cancelled is not None and not self.closing:
                    step, value = coro.throw, self._cancelled
                    self._cancelled = None
            elif command is not TO_LOOP:
                try:
                    if type(command) is Outside:
                        value = yield from command.awaitable.__await__()
                    else:
                        value = yield command
                except BaseException as exc:
                    step, value = coro.throw, exc
            command = _NOTHING

    def _raise_cancelled(self) -> t.NoReturn:
        try:
            raise t.cast(BaseException, self._cancelled)
        finally:
            self._cancelled = None

    def finish(self, awaitable: t.Awaitable[t.Any]) -> t.Awaitable[t.Any]:
        """Give what to await to have something reach its end, though the request was cancelled."""
        try:
            task = asyncio.current_task()
        except RuntimeError:
            # No loop of asyncio's.
            task = None
        if task is None or self._cancelled or task.cancelling() or is_in_scope(task):
            return self._finish(awaitable)
        # There is nothing that a shield would hold off.
        return awaitable

    async def _finish(self, awaitable: t.Awaitable[t.Any]) -> None:
        """Await something to its end.

        In the request's own task, where a lock that a hook has taken can be released. Only in a
        task that was cancelled by its cancel() there is nothing to hold another one off: then in
        a task of its own, and the cancellation is raised later.
        """
        if not self._may_be_cancelled_again():
            with anyio.CancelScope(shield=True):
                await awaitable
            return
        errors: list[BaseException] = []

        async def run() -> None:
            try:
                await awaitable
            except BaseException as exc:
                # SystemExit too: it is for the request, and would end the loop here.
                errors.append(exc)

        await outside(self._wait_for(run()))
        if errors:
            # Popped: the traceback holds this frame.
            raise errors.pop()

    def _may_be_cancelled_again(self) -> bool:
        task = current_task()
        if task is None or not (self._cancelled or task.cancelling()):
            return False
        # A scope of anyio's cancels in the same way, but is held off by another one.
        return anyio.current_effective_deadline() != -math.inf

    async def _wait_for(self, coro: t.Coroutine[t.Any, t.Any, None]) -> None:
        """Run a coroutine in the request's Context, which was left for it, and wait for its end."""
        task = asyncio.get_running_loop().create_task(coro, context=self.context)
        with anyio.CancelScope(shield=True):
            while not task.done():
                try:
                    await asyncio.wait({task})
                except asyncio.CancelledError as exc:
                    self._cancelled = exc
        # Only what ends the loop cancels this task.
        task.result()

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
        self._landed = self._finished = False
        self._waiter = self.loop.create_future()
        timer = self._board(self.loop)
        try:
            yield from self._waiter
        except BaseException as exc:
            self._cancelled = exc
            if self.closing or not self._seat.withdraw(self):
                # Neither the coroutine nor its Context can be taken from a thread at work.
                self._pass_on_cancellation = self._call is None
                if self._call is not None and not self.closing:
                    self._call.cancel()
                with anyio.CancelScope(shield=True):
                    yield from self._wait_shielded()
                # From here on it is the coroutine that is told.
                self._pass_on_cancellation = False
        self.threaded = False
        if timer is not None:
            timer.cancel()
            if self._expired:
                self._expired = False
                raise QueueFull("No thread was free for too long.")

    def _board(self, loop: asyncio.AbstractEventLoop) -> asyncio.TimerHandle | None:
        """Hand the coroutine over; gives what ends a wait for a thread, if there is one."""
        self.threaded = True
        if self.parked:
            t.cast(Worker, self._worker).recall(self)
            return None
        try:
            patience = self._seat.submit(self, urgent=self._refused or self.closing)
        except QueueFull:
            # What must run all the same, the teardown, is not refused a second time.
            self._refused = True
            self.threaded = False
            raise
        return None if patience is None else loop.call_later(patience, self._expire)

    def _expire(self) -> None:
        if self._seat.withdraw(self):
            self._expired = self._refused = True
            self.land()

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
        with anyio.CancelScope(shield=True):
            yield from anyio.to_thread.run_sync(self.run, None).__await__()
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
        return stay

    def deliver(self) -> None:
        """Give the driver back to the loop, which may drive it on before this returns."""
        if self.loop is not None:
            self._mailbox.deliver(self)

    def _steps(self) -> None:
        self._finished = True
        self._error = None
        coro = self.coro
        try:
            if self._cancelled is None or self.closing:
                command = coro.send(None)
            else:
                cancelled, self._cancelled = self._cancelled, None
                command = coro.throw(cancelled)
            while command is TO_THREAD:
                command = coro.send(None)
            self.paused = command is PAUSE
            if command is not TO_LOOP and command is not PAUSE:
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

    @contextlib.contextmanager
    def waiting_for(self, awaited: Cancellable) -> t.Iterator[None]:
        """Give up the thread's slot while the stage on it waits for *awaited*."""
        drivers = [self]
        while (outer := drivers[-1].outer) is not None:
            drivers.append(outer)
        cancellable: Cancellable | None = awaited
        for driver in drivers:
            if driver.closing:
                # What an inner request tears down is not interrupted by the outer one either.
                cancellable = None
            driver._begin_wait(cancellable)
        try:
            yield
        finally:
            for driver in drivers:
                driver._end_wait()

    def _begin_wait(self, awaited: Cancellable | None) -> None:
        self._call = awaited
        if self._pass_on_cancellation and awaited is not None and self.loop is not None:
            # The cancellation came before there was anything to pass it on to. What is awaited
            # after that may clean up.
            self._pass_on_cancellation = False
            self.loop.call_soon_threadsafe(awaited.cancel)
        if self._worker is not None:
            self._worker.pool.rest()

    def _end_wait(self) -> None:
        self._call = None
        if self._worker is not None:
            self._worker.pool.resume()
