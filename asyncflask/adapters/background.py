"""The lifespan of applications that a WSGI server serves, which knows none: on the background loop.

It begins with a process's first request, so after a fork, and ends with the process.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import logging
import os
import threading
import typing as t
import weakref

from ..lanes import loop_for_here
from ..lanes import works_for_request
from .lifespan import has_lifespan
from .lifespan import is_serving
from .lifespan import note_serving
from .lifespan_runner import LifespanRunner

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

    from ..app import Flask

TESTING: t.Final = "asyncflask.testing"
"""Key of environs whose requests start nothing: a test client's."""
STOP_TIMEOUT: t.Final = 30.0
"""Seconds that what comes after serving may take when the process ends."""

_logger = logging.getLogger(__name__)


class _Process:
    """What belongs to this process; a forked one gets its own."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.starting: weakref.WeakKeyDictionary[Flask, threading.Lock] = (
            weakref.WeakKeyDictionary()
        )
        self.running: list[_Started] = []

    def lock_of(self, app: Flask) -> threading.Lock:
        with self.lock:
            return self.starting.setdefault(app, threading.Lock())


class _Started(t.NamedTuple):
    runner: LifespanRunner
    loop: asyncio.AbstractEventLoop
    tasks: list[asyncio.Task[None]]


_process = _Process()


def _renew_after_fork() -> None:
    global _process
    _process = _Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def begin_serving(app: Flask, environ: WSGIEnvironment) -> None:
    """Run what an application does before serving, if this process has not; others wait for it.

    Where an ASGI server is in charge, that has its own lifespan.

    :param environ: that of the request which is about to be served.
    :raises RuntimeError: if it fails. What was done is undone then, and the next request tries
        again.
    """
    if works_for_request() or TESTING in environ:
        return
    with _process.lock_of(app):
        if is_serving(app):
            return
        if has_lifespan(app):
            _start(app)
        else:
            note_serving(app)


def _start(app: Flask) -> None:
    loop = loop_for_here("before_serving")
    started = _Started(LifespanRunner(app), loop, [])

    def spawn(run: t.Callable[[], t.Coroutine[t.Any, t.Any, None]]) -> None:
        started.tasks.append(asyncio.create_task(run()))

    asyncio.run_coroutine_threadsafe(started.runner.start(spawn), loop).result()
    with _process.lock:
        if not _process.running:
            _at_exit(_end_serving)
        _process.running.append(started)


def _at_exit(function: t.Callable[[], None]) -> None:
    # Executors, such as that of asyncio.to_thread(), are shut down before atexit comes. What was
    # registered last with the threads is called first.
    importlib.import_module("concurrent.futures.thread")
    getattr(threading, "_register_atexit", atexit.register)(function)


def _end_serving() -> None:
    while _process.running:
        runner, loop, _ = _process.running.pop()
        try:
            asyncio.run_coroutine_threadsafe(runner.stop(), loop).result(STOP_TIMEOUT)
        except Exception:
            _logger.exception("What belongs after serving has failed.")
