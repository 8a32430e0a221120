"""The way of a finished trip from a worker thread back to its event loop."""

from __future__ import annotations

import asyncio
import typing as t
from collections import deque
from weakref import ref
from weakref import WeakKeyDictionary


class Mailbox:
    """Brings finished trips back to one event loop, all that are there in one go."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # A weak key's value must not hold the key, as a bound method of it would.
        self._loop = ref(loop)
        self._landed: deque[t.Any] = deque()
        self._scheduled = False

    def deliver(self, trip: t.Any) -> None:
        """Have ``trip.land()`` called on the loop; may be called on any thread."""
        self._landed.append(trip)
        if not self._scheduled:
            self._scheduled = True
            loop = self._loop()
            try:
                if loop is not None:
                    loop.call_soon_threadsafe(self._drain)
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
