"""Hands what one request publishes to all the requests that are waiting for it."""

from __future__ import annotations

import asyncio
import threading
import typing as t
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Item(t.TypedDict):
    """A new post, as the listeners get it."""

    id: int
    title: str
    author: str
    url: str


class Feed:
    """The listeners of this process; several processes would need a broker between them.

    :param keep: how many items are kept for listeners who were away for a moment.
    """

    def __init__(self, keep: int = 50) -> None:
        self._lock = threading.Lock()
        self._recent: deque[Item] = deque(maxlen=keep)
        self._listeners: dict[asyncio.Queue[Item], asyncio.AbstractEventLoop] = {}

    def publish(self, item: Item) -> None:
        """Hand an item to every listener; may be called on any thread."""
        with self._lock:
            self._recent.append(item)
            for queue, loop in list(self._listeners.items()):
                try:
                    loop.call_soon_threadsafe(queue.put_nowait, item)
                except RuntimeError:  # the loop has been closed, nobody listens there any more
                    del self._listeners[queue]

    @contextmanager
    def listen(self, after: int | None = None) -> Iterator[asyncio.Queue[Item]]:
        """Open a queue of new items; to be entered on the event loop.

        :param after: begin with the kept items whose id is higher than this.
        """
        queue: asyncio.Queue[Item] = asyncio.Queue()
        with self._lock:
            for item in self._recent if after is not None else ():
                if item["id"] > (after or 0):
                    queue.put_nowait(item)
            self._listeners[queue] = asyncio.get_running_loop()
        try:
            yield queue
        finally:
            with self._lock:
                self._listeners.pop(queue, None)
