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
from queue import SimpleQueue

import anyio
import anyio.to_thread

from .mailbox import Mailbox
from .mailbox import mailbox_of
from .portal import Cancellable
from .portal import current_task
from .portal import here
from .portal import loop_for_here
from .portal import waiting_here
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


class Driver:
    """The driver of one request, on an event loop with a pool of worker threads beside it.

    :param context: the Context in which the coroutines are stepped, and nothing else is.
    :param seat: where the sync stages run.
    """

    # What most requests never set is set here: making a driver is part of every request.
    bound = False
    threaded = False
    closing = False
    keep = False
    parked = False
    paused = False
    task: asyncio.Task[t.Any] | None = None
    loop: asyncio.AbstractEventLoop | None = None
    result: t.Any = None

    outer: Driver | None = None
    """The driver of the request in whose stage this one was made, on the same thread."""

    _worker: Worker | None = None
    _refused = False
    _expired = False
    _pass_on_cancellation = False
    _finished = False
    _call: Cancellable | None = None
    _cancelled: BaseException | None = None
    _error: BaseException | None = None
    _mailbox: Mailbox
    _waiter: asyncio.Future[None]

    def __init__(self, context: contextvars.Context, seat: Seat) -> None:
        self.context = context
        self._seat = seat

    def drive(self, coro: t.Any) -> Driver:
        """Take *coro* (anything with ``send`` and ``throw``) to be stepped by awaiting the driver.

        :returns: the driver itself; its await gives the coroutine's result.
        """
        self.coro = coro
        return self

    def __await__(self) -> t.Generator[t.Any, t.Any, t.Any]:
        run = self.context.run
        coro = self.coro
        step: t.Callable[[t.Any], t.Any] = coro.send
        value: t.Any = None
        while True:
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

    def _raise_cancelled(self) -> t.NoReturn:
        try:
            raise t.cast(BaseException, self._cancelled)
        finally:
            self._cancelled = None

    async def finish(self, awaitable: t.Awaitable[t.Any]) -> None:
        """Await something to its end, though the request was cancelled.

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
        for driver in drivers:
            driver._begin_wait(awaited)
        try:
            yield
        finally:
            for driver in drivers:
                driver._end_wait()

    def _begin_wait(self, awaited: Cancellable) -> None:
        self._call = awaited
        if self._pass_on_cancellation and not self.closing and self.loop is not None:
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


class _CallingThread:
    """The seat of a driver whose sync stages run on the thread that waits for its end."""

    def __init__(self) -> None:
        self.inbox: SimpleQueue[Job | None] = SimpleQueue()

    def submit(self, job: Job, urgent: bool = False) -> None:
        self.inbox.put(job)

    def withdraw(self, job: Job) -> bool:
        """The thread is nobody else's: it is never waited for."""
        return False


class ThreadDriver:
    """The driver of a request that starts on a thread: a WSGI server's, or a test's.

    Sync stages are called on that thread. For async ones the pipeline goes to the loop of the
    request that the thread works for, else to the process's background loop, while the thread
    waits to be needed again.

    :param context: as for :class:`Driver`.
    """

    _task: asyncio.Task[None] | None = None
    _cancelled = False

    def __init__(self, context: contextvars.Context) -> None:
        self._seat = _CallingThread()
        self.lane = Driver(context, self._seat)
        self.lane.outer = here.driver

    def drive(self, coro: t.Any) -> t.Any:
        """Run *coro* to its end and give its result.

        If it pauses this returns as well, with ``lane.paused`` set; :meth:`go_on` then has it
        go on.
        """
        driver = self.lane.drive(coro)
        driver.threaded = True
        driver.loop = None if driver.outer is None else driver.outer.loop
        driver.run(None)
        if not driver._finished:
            driver.loop = loop_for_here("a request with async stages")
            self._task = None
            self._cancelled = False
            self._serve(contextvars.copy_context())
        return self._outcome(driver)

    def go_on(self) -> t.Any:
        """Go on after a pause, up to the next one or the end."""
        driver = self.lane
        driver.run(None)
        driver.deliver()
        self._serve()
        return self._outcome(driver)

    def drop(self) -> None:
        """Have the loop go on alone after a pause; may be called on any thread."""
        self.lane.paused = False
        self.lane.deliver()

    def cancel(self) -> None:
        """Cancel what the loop does for the thread, but no teardown; to be called on the loop."""
        if not self.lane.closing:
            self._interrupt()

    def _interrupt(self) -> None:
        self._cancelled = True
        if self._task is not None:
            # After its first step: one that was cancelled before never says that it has ended.
            self._task.get_loop().call_soon(self._task.cancel)

    def _outcome(self, driver: Driver) -> t.Any:
        if driver._finished and driver._error is not None:
            raise driver._error
        return driver.result

    def _serve(self, start_in: contextvars.Context | None = None) -> None:
        """Do what the loop wants done on this thread, until that is all or a pause comes.

        :param start_in: the Context of the loop's task, if that has not been started.
        """
        loop = t.cast(asyncio.AbstractEventLoop, self.lane.loop)
        interruption: BaseException | None = None
        while True:
            try:
                if start_in is not None:
                    loop.call_soon_threadsafe(self._start, self.lane, start_in)
                    start_in = None
                self._serve_inbox()
                break
            except BaseException as exc:
                # What a signal handler raises, of the user's (Ctrl-C) or of the server's. The
                # first one ends the request, whose teardown may need this thread.
                loop.call_soon_threadsafe(self._interrupt)
                if interruption is not None:
                    raise
                interruption = exc
        if interruption is not None:
            try:
                raise interruption
            finally:
                # Its traceback holds this frame.
                del interruption

    def _serve_inbox(self) -> None:
        while (job := self._next_job()) is not None:
            job.run(None)
            if self.lane.paused:
                return
            job.deliver()

    def _next_job(self) -> Job | None:
        with waiting_here(self):
            return self._seat.inbox.get()

    def _start(self, driver: Driver, context: contextvars.Context) -> None:
        if self._task is not None:
            # The thread was interrupted just after it had asked for it.
            return
        driver._mailbox = mailbox_of(t.cast(asyncio.AbstractEventLoop, driver.loop))
        driver.threaded = False
        self._task = t.cast(asyncio.AbstractEventLoop, driver.loop).create_task(
            self._finish(driver), context=context
        )
        if self._cancelled:
            self._interrupt()

    async def _finish(self, driver: Driver) -> None:
        driver.task = current_task()
        try:
            driver.result = await driver
            driver._error = None
        except BaseException as exc:
            driver._error = exc
        driver._finished = True
        self._seat.inbox.put(None)
