"""Tells in debug mode which view or hook blocks the event loop, from a thread beside it."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import sys
import sysconfig
import threading
import time
import traceback
import typing as t
from weakref import WeakSet

if t.TYPE_CHECKING:
    import logging
    from types import FrameType

LOOKS: t.Final = 4
"""How often the loop is looked at in the time that counts as blocking it."""
PATIENCE: t.Final = 1.0
"""Seconds a block may go on before it is told of without its end being known."""

END: t.Final = 1.0
"""Seconds that the thread may take to end."""

_HERE: t.Final = os.path.dirname(os.path.abspath(__file__)) + os.sep
_ADAPTERS: t.Final = os.path.join(_HERE, "adapters", "")
_BESIDE_VIEWS: t.Final = (os.path.join(_HERE, "pipeline", ""), os.path.join(_HERE, "ctx.py"))
"""What the functions that call a view call before it and after it."""
_LIBRARY: t.Final = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib"))
_LOOP_FILES: t.Final = {
    os.path.join(os.path.dirname(asyncio.__file__), name)
    for name in ("base_events.py", "events.py", "runners.py")
}
_CALLERS: t.Final = {
    "handle": "view",
    "full_dispatch": "view",
    "_dispatch": "view",
    "_call_sync_view": "view",
    "_until_client_leaves": "view",
    "preprocess": "hook",
    "process_response": "hook",
    "handle_user_exception": "hook",
    "handle_http_exception": "hook",
    "handle_exception": "hook",
    "_call": "hook",
    "_pop": "hook",
    "_tear_down": "hook",
    "_call_to_end": "hook",
}
"""The package's functions that call or await one of the user's, and what they call."""

_watched: WeakSet[asyncio.AbstractEventLoop] = WeakSet()


class Culprit(t.NamedTuple):
    """What was seen to run on a loop."""

    name: str
    stack: str
    key: int
    """Tells one call of it from another."""


def find_culprit(innermost: FrameType | None) -> Culprit | None:
    """Find what an event loop runs that is not of a library; ``None`` if it runs no such thing.

    :param innermost: the frame in which the loop's thread is.
    """
    frames: list[FrameType] = []
    while innermost is not None and innermost.f_code.co_filename not in _LOOP_FILES:
        frames.insert(0, innermost)
        innermost = innermost.f_back
    if innermost is None:
        # No loop runs there.
        return None
    start, name = _stage_in(frames) or _own_code_in(frames) or (0, "")
    if not name:
        return None
    stack = traceback.StackSummary.extract((frame, frame.f_lineno) for frame in frames[start:])
    return Culprit(name, "".join(stack.format()).rstrip(), id(frames[start]))


def _stage_in(frames: list[FrameType]) -> tuple[int, str] | None:
    """Find the innermost view or hook, and how it is called."""
    for index in range(len(frames) - 1, -1, -1):
        code = frames[index].f_code
        kind = _CALLERS.get(code.co_name) if code.co_filename.startswith(_HERE) else None
        inner = range(index + 1, len(frames))
        outside = (at for at in inner if not frames[at].f_code.co_filename.startswith(_HERE))
        start = next(outside, None)
        if kind is None or start is None:
            continue
        if kind == "view" and frames[index + 1].f_code.co_filename.startswith(_BESIDE_VIEWS):
            continue
        stage = _stage_of(kind, frames[index].f_locals)
        if stage is not None:
            return start, f"the {kind} {_name_of(stage[0])}"
    return None


def _stage_of(kind: str, values: t.Mapping[str, t.Any]) -> tuple[t.Any, ...] | None:
    """Give the view or hook that a function of the package calls, from its variables."""
    if kind == "view":
        return values["ctx"].plan.view if "ctx" in values else (values["view"],)
    if "stage" in values:
        return values["stage"]  # type: ignore[no-any-return]
    # A request's only teardown function is called by its context.
    plan = getattr(values.get("self"), "plan", None)
    return plan.teardown[0] if plan is not None and len(plan.teardown) == 1 else None


def _own_code_in(frames: list[FrameType]) -> tuple[int, str] | None:
    """Find what else the application has brought in: a stream, a task, a middleware."""
    found = None
    for index, frame in enumerate(frames):
        code = frame.f_code
        if code.co_filename.startswith(_ADAPTERS):
            # What was around the application is not what it runs.
            found = None
        elif found is None and not code.co_filename.startswith((_HERE, *_LIBRARY, "<")):
            found = index, f"{frame.f_globals.get('__name__')}.{code.co_qualname}"
    return found


def _name_of(func: t.Any) -> str:
    while isinstance(func, functools.partial):
        func = func.func
    func = inspect.unwrap(func)
    return f"{func.__module__}.{getattr(func, '__qualname__', type(func).__qualname__)}"


class LoopWatch:
    """A thread that asks an event loop for a sign of life, and logs what runs if none comes.

    :param loop: the loop, on whose thread this is called.
    :param threshold: seconds without a sign that are too many.
    :param logger: where it is told.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, threshold: float, logger: logging.Logger
    ) -> None:
        self._loop = loop
        self._threshold = threshold
        self._pause = threshold / LOOKS
        self._logger = logger
        self._loop_thread = threading.get_ident()
        self._answered = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="asyncflask-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        _watched.discard(self._loop)
        self._over.set()
        self._answered.set()
        self._thread.join(END)

    def _run(self) -> None:
        while not self._over.wait(self._pause):
            asked = time.monotonic()
            self._answered.clear()
            if self._over.is_set():
                # stop() has not been heard, and the loop may be waiting in it.
                return
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:
                # The loop was closed.
                return
            # What blocks has begun before the question, by one pause at most.
            if not self._answered.wait(self._threshold - 2 * self._pause):
                self._look(asked)

    def _look(self, asked: float) -> None:
        before = self._culprit()
        if self._answered.wait(self._pause):
            return
        culprit = self._culprit()
        if before is not None and culprit is not None and before.key == culprit.key:
            self._tell(culprit, asked)
        # Else many things together have taken the time, or others had the processor.
        self._answered.wait()

    def _culprit(self) -> Culprit | None:
        return find_culprit(sys._current_frames().get(self._loop_thread))

    def _tell(self, culprit: Culprit, asked: float) -> None:
        ended = self._answered.wait(PATIENCE)
        text = "The event loop %s blocked for %.2f s by %s, and all requests waited:\n%s"
        verb = "was" if ended else "has been"
        seconds = time.monotonic() - asked
        self._logger.warning(text, verb, seconds, culprit.name, culprit.stack)
        if not ended:
            self._answered.wait()
            if not self._over.is_set():
                text = "The event loop is free again, after %.2f s of %s."
                self._logger.warning(text, time.monotonic() - asked, culprit.name)


def watch_loop(threshold: float | None, logger: logging.Logger) -> LoopWatch | None:
    """Watch the running event loop, unless that is done already.

    :param threshold: seconds for which it may be blocked; ``None`` for any time.
    :param logger: where a block is told of.
    """
    if not threshold:
        return None
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        # Another library's loop.
        return None
    if loop in _watched:
        return None
    _watched.add(loop)
    return LoopWatch(loop, threshold, logger)
