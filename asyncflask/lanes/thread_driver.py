"""The driver of a request that starts on a thread which waits for its end."""

from __future__ import annotations

import asyncio
import contextvars
import typing as t
from queue import SimpleQueue

from .driver import Driver
from .mailbox import mailbox_of
from .portal import current_task
from .portal import here
from .portal import loop_for_here
from .portal import waiting_here
from .workers import Job


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
        """Cancel what the loop does for the waiting thread, but for the request's teardown.

        To be called on the loop.
        """
        if not self.lane.closing:
            self._interrupt()

    def _interrupt(self) -> None:
        self._cancelled = True
        if self._task is not None:
            # After its first step: one that was cancelled before never says that it has ended.
            self._task.get_loop().call_soon(self._task.cancel)

    def _outcome(self, driver: Driver) -> t.Any:
        if driver._finished and driver._error is not None:
            try:
                raise driver._error
            finally:
                # Its traceback holds this frame.
                driver._error = None
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
