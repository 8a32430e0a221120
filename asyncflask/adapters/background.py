"""The lifespan of applications that a WSGI server serves, which knows none: on the background loop.

It begins with a process's first request, so after a fork, and ends with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import importlib
import logging
import threading
import typing as t

from ..lanes import loop_for_here
from ..lanes import works_for_request
from .lifespan import has_lifespan
from .lifespan_runner import LifespanRunner
from .process import is_serving
from .process import note_serving
from .process import this_process

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..app import Flask

TESTING: t.Final = "asyncflask.testing"
"""Key of environs whose requests start nothing: a test client's."""
STOP_TIMEOUT: t.Final = 30.0
"""Seconds that what comes after serving may take when the process ends."""

_logger = logging.getLogger(__name__)


def begin_serving(app: Flask, environ: WSGIEnvironment) -> None:
    """Run what an application does before serving, if this process has not; others wait for it.

    Where an ASGI server is in charge, that has its own lifespan.

    :param environ: that of the request which is about to be served.
    :raises RuntimeError: if it fails. What was done is undone then, and the next request tries
        again.
    """
    if TESTING in environ:
        return
    if works_for_request():
        _warn_of_no_lifespan(app)
        return
    with this_process().lock_of(app):
        if is_serving(app):
            return
        if has_lifespan(app):
            _start(app)
        note_serving(app)


def _warn_of_no_lifespan(app: Flask) -> None:
    """Tell once of an application inside another one's request whose lifespan nobody runs."""
    # What came in by its own ASGI face is the server's to start, or a test client's.
    if not app._serving and has_lifespan(app) and this_process().warns_of(app):
        _logger.warning(
            "%r gets requests from inside of another application, and nothing runs what it does"
            " before and after serving. Put it there by mount() of an asyncflask application,"
            " without protocol='wsgi', to have it run with that one's lifespan.",
            app,
        )


def _start(app: Flask) -> None:
    process = this_process()
    run = process.runs.get(app)
    if run is None or run.failed:
        run = Run(app)
        # Some versions of Python, such as 3.12.1, start no thread once the process is ending.
        app._workers.keep_thread()
        with process.lock:
            if not process.ends_runs:
                _at_exit(end_serving)
                process.ends_runs = True
            # Before it starts: a signal may have this thread not wait for it, but leave.
            process.runs[app] = run
    try:
        run.start()
    finally:
        if run.failed:
            with process.lock:
                process.runs.pop(app, None)


class Run:
    """A lifespan on a loop of another thread.

    :param app: the application.
    """

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._runner = LifespanRunner(app)
        self._loop = loop_for_here("before_serving")
        self._starting: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def failed(self) -> bool:
        """Whether it has been started in vain."""
        starting = self._starting
        return starting is not None and starting.done() and not self._runner.running

    def start(self) -> None:
        """Start it, if that was not begun, and wait for it.

        :raises RuntimeError: if the application fails to start.
        """
        # As under an ASGI server, it has nothing of a request's.
        context = contextvars.Context()
        context.run(asyncio.run_coroutine_threadsafe, self._start(), self._loop).result()

    def stop(self) -> None:
        """Stop it, though it may not have started yet, and wait for it.

        :raises Exception: what goes wrong.
        """
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(STOP_TIMEOUT)

    async def _start(self) -> None:
        if self._starting is None:
            self._starting = asyncio.create_task(self._runner.start(self._spawn))
        await self._starting

    def _spawn(self, run: t.Callable[[], t.Coroutine[t.Any, t.Any, None]]) -> None:
        self._tasks.append(asyncio.create_task(run()))

    async def _stop(self) -> None:
        if self._starting is None:
            return
        # Without effect on one that has started.
        self._starting.cancel()
        await asyncio.wait([self._starting])
        await self._runner.stop()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _at_exit(function: t.Callable[[], None]) -> None:
    # Executors, such as that of asyncio.to_thread(), are shut down before atexit comes. What was
    # registered last with the threads is called first.
    importlib.import_module("concurrent.futures.thread")
    getattr(threading, "_register_atexit", atexit.register)(function)


def end_serving() -> None:
    """Run what applications do after serving, the latest first; what fails is logged."""
    while (run := this_process().take_run()) is not None:
        try:
            run.stop()
        except Exception:
            # The process ends: there is nobody else to tell, and other applications come after.
            _logger.exception(
                "The functions of %r that run after serving have failed, or were not done within"
                " %g seconds.",
                run.app,
                STOP_TIMEOUT,
            )
