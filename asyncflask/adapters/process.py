"""What belongs to this process: a forked one has applications of its own to start and to stop."""

from __future__ import annotations

import os
import threading
import typing as t
import weakref

if t.TYPE_CHECKING:
    from ..app import Flask
    from .background import Run


class Process:
    """What is known of the applications that a process serves."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.runs: dict[Flask, Run] = {}
        """The lifespans that were begun here, the latest last."""
        self.ends_runs = False
        """Whether they are ended with the process."""
        self._locks: weakref.WeakKeyDictionary[Flask, threading.Lock] = weakref.WeakKeyDictionary()
        self._warned: weakref.WeakSet[Flask] = weakref.WeakSet()

    def lock_of(self, app: Flask) -> threading.Lock:
        """Give the lock under which an application is started."""
        with self.lock:
            return self._locks.setdefault(app, threading.Lock())

    def take_run(self) -> Run | None:
        """Take out the latest lifespan; ``None`` if there is none, and nothing ends one later."""
        with self.lock:
            self.ends_runs = bool(self.runs)
            return self.runs.popitem()[1] if self.runs else None

    def warns_of(self, app: Flask) -> bool:
        """Tell whether a warning about an application is the first one here."""
        with self.lock:
            first = app not in self._warned
            self._warned.add(app)
        return first


_here = Process()


def this_process() -> Process:
    """Give that of the process which asks."""
    return _here


def _renew_after_fork() -> None:
    global _here
    _here = Process()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


def is_serving(app: Flask) -> bool:
    """Tell whether an application has done, in this process, what it does before serving."""
    return app._serves_in is _here


def note_serving(app: Flask, serving: bool = True) -> None:
    """Note whether it has."""
    app._serves_in = _here if serving else None
