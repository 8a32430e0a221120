"""Chunks of a sync iterator for a coroutine on the loop: many in one trip while they come fast."""

from __future__ import annotations

import asyncio
import time
import types
import typing as t
from collections import deque

from .mailbox import mailbox_of
from .stage import to_thread_in_any_case

if t.TYPE_CHECKING:
    from .driver import Driver

SPAN: t.Final = 0.001
"""Seconds after which a trip ends with its next chunk, so that no slow iterator is ahead."""
AHEAD: t.Final = 64 * 1024
"""Bytes with which a trip ends, however fast they came."""
_PIECE: t.Final = 512
"""What a chunk counts beside its bytes, so that a great many small ones are enough as well."""

_END: t.Final = object()
_now: t.Final = time.monotonic


class Ahead:
    """Fetches the chunks of an iterator on a request's thread, a little ahead of who takes them.

    A chunk is not held back by a slower one behind it: the trip goes on without the loop, which
    takes what is there. The first chunk is fetched in a trip of its own.

    :param driver: that of the request, which makes no other trip meanwhile.
    :param iterator: gives the chunks.
    :param as_bytes: makes bytes of a chunk that is none; it may raise.
    """

    def __init__(
        self, driver: Driver, iterator: t.Iterator[t.Any], as_bytes: t.Callable[[t.Any], bytes]
    ) -> None:
        self._driver = driver
        self._iterator = iterator
        self._as_bytes = as_bytes
        self._loop = asyncio.get_running_loop()
        self._mailbox = mailbox_of(self._loop)
        self._chunks: deque[bytes] = deque()
        self._trip: t.Generator[t.Any, t.Any, t.Any] | None = None
        self._back: asyncio.Future[None]
        self._waiter: asyncio.Future[None] | None = None
        self._limit = 0
        self._ended = False
        self._left = False
        # Whether the loop is to be told of each chunk: it has waited for longer than a trip takes.
        self._eager = False

    # -- on the loop -----------------------------------------------------------------------

    async def take(self) -> list[bytes] | None:
        """Wait for chunks and give those that are there; ``None`` once there are no more."""
        chunks = self._chunks
        while not chunks:
            if self._trip is None:
                if self._ended:
                    return None
                self._eager = False
                trip = self._trip = self._driver.drive(self._fetch()).__await__()
                self._step(trip)
            elif self._back.done():
                self._step(self._trip)
            else:
                await self._wait()
        # One by one: the thread may be at it.
        return [chunks.popleft() for _ in range(len(chunks))]

    async def end(self) -> None:
        """Have a trip that is under way end, and wait for it."""
        trip, self._trip = self._trip, None
        if trip is None:
            return
        self._left = True
        cancelled = asyncio.CancelledError()
        try:
            await _throw(trip, cancelled)
        except asyncio.CancelledError as exc:
            if exc is not cancelled:
                raise
        finally:
            # Its traceback holds this frame.
            del cancelled

    def _step(self, trip: t.Generator[t.Any, t.Any, t.Any]) -> None:
        try:
            self._back = trip.send(None)
        except BaseException as exc:
            self._trip = None
            if not isinstance(exc, StopIteration):
                raise

    async def _wait(self) -> None:
        waiter = self._waiter = self._loop.create_future()
        self._back.add_done_callback(self._wake)
        timer = None if self._eager else self._loop.call_later(2 * SPAN, self._look)
        try:
            await waiter
        finally:
            self._waiter = None
            self._back.remove_done_callback(self._wake)
            if timer is not None:
                timer.cancel()

    def _look(self) -> None:
        # In this order: of a chunk that is not seen here, the thread tells.
        self._eager = True
        if self._chunks:
            self._wake()

    def _wake(self, _: object = None) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def land(self) -> None:
        """Take note, on the loop, of a chunk that it waits for."""
        self._wake()

    # -- on the thread ---------------------------------------------------------------------

    async def _fetch(self) -> None:
        await to_thread_in_any_case()
        limit, self._limit = self._limit, AHEAD
        began = _now()
        size = 0
        while not self._left:
            chunk = next(self._iterator, _END)
            if chunk is _END:
                self._ended = True
                return
            if type(chunk) is not bytes:
                chunk = self._as_bytes(chunk)
            self._chunks.append(chunk)
            size += len(chunk) + _PIECE
            if size >= limit or _now() - began > SPAN:
                return
            if self._eager:
                self._mailbox.deliver(self)


@types.coroutine
def _throw(
    trip: t.Generator[t.Any, t.Any, t.Any], exc: BaseException
) -> t.Generator[t.Any, t.Any, None]:
    """Throw something into a trip that was stepped by hand, and await its end."""
    step: t.Callable[[t.Any], t.Any] = trip.throw
    value: t.Any = exc
    del exc
    while True:
        try:
            command = step(value)
        except StopIteration:
            return
        except BaseException:
            # It may be what was thrown in, whose traceback now holds this frame.
            value = None
            raise
        step, value = trip.send, None
        try:
            value = yield command
        except BaseException as error:
            step, value = trip.throw, error
