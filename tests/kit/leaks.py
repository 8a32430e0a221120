"""What a test must not leave behind: tasks, threads."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import typing as t

#: Turns of the event loop that ended requests get to end their tasks as well.
TURNS = 20


@contextlib.asynccontextmanager
async def no_tasks_left() -> t.AsyncIterator[None]:
    """Fail if more tasks run on this event loop after the block than before it."""
    before = asyncio.all_tasks()
    yield
    for _ in range(TURNS):
        left = {task for task in asyncio.all_tasks() - before if not _is_runner(task)}
        if not left:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"Tasks were left behind: {left!r}")


def worker_threads() -> int:
    """Count the threads that sync code of requests runs on, idle ones included."""
    return sum(thread.name == "asyncflask-worker" for thread in threading.enumerate())


def _is_runner(task: asyncio.Task[t.Any]) -> bool:
    """Tell whether a task is the one in which the test itself runs."""
    return getattr(task.get_coro(), "__qualname__", "").startswith("TestRunner.")
