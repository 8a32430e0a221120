"""A function that stays on one thread, and hands what it makes to a coroutine as it goes on."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import typing as t
from collections import deque

import anyio

from .driver import Driver
from .mailbox import mailbox_of
from .workers import QueueFull
from .workers import Workers

AHEAD: t.Final = 64 * 1024
"""Bytes by which the thread may be ahead of the coroutine; with more it waits."""
_PIECE: t.Final = 512
"""What a piece counts beside its bytes, so that a great many empty ones are too much as well."""

Piece: t.TypeAlias = tuple[bytes, bool]
"""Bytes, and whether nothing will follow them."""


class ReaderGone(ConnectionResetError):
    """Nobody takes the pieces any more: the client has left, or the request was cancelled."""


class Production(Driver):
    """The driver of a request that is one sync function.

    The coroutine that takes the pieces stays outside of the request's Context. While the thread
    waits for it, it holds no slot of its pool.

    :param context: the Context the function is called in.
    :param pool: the threads of which it takes one.
    :param function: gets the production, to :meth:`put` pieces into it.
    """

    _expiry: asyncio.TimerHandle | None = None
    _landed = True
    _room: threading.Event | None = None
    _gone = False
    _made = 0
    _taken = 0
    _in_hand = 0

    def __init__(
        self,
        context: contextvars.Context,
        pool: Workers,
        function: t.Callable[[Production], None],
    ) -> None:
        super().__init__(context, pool)
        self._pool = pool
        self._function = function
        self._pieces: deque[Piece] = deque()

    # -- on the loop -----------------------------------------------------------------------

    def start(self) -> None:
        """Have the function run as soon as there is a thread for it.

        :raises QueueFull: if there is none, nor a place to wait for one.
        :raises RuntimeError: on an event loop that is not asyncio's.
        """
        try:
            loop = self.loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                "A WSGI application inside an ASGI server needs an event loop of asyncio's, or"
                " uvloop."
            ) from None
        self._mailbox = mailbox_of(loop)
        self._landed = False
        self._waiter = loop.create_future()
        try:
            self._expiry = self._board(loop)
        except QueueFull:
            self._landed = True
            raise

    async def take(self) -> Piece | None:
        """Wait for the next piece; ``None`` says that the function has ended.

        A piece counts as dealt with when the next one is asked for.

        :raises QueueFull: if no thread was free for too long.
        """
        if self._in_hand:
            self._taken += self._in_hand
            self._in_hand = 0
            if self._room is not None:
                self._room.set()
        while not self._pieces:
            if self._landed:
                if self._expired:
                    raise QueueFull("No thread was free for too long.")
                return None
            if self._waiter.done():
                self._waiter = t.cast(asyncio.AbstractEventLoop, self.loop).create_future()
            await self._waiter
        piece = self._pieces.popleft()
        self._in_hand = _size(piece[0])
        return piece

    def leave(self, cancelled: bool = False) -> None:
        """Have the function end: its next piece is a :class:`ReaderGone`.

        :param cancelled: whether what it awaits just now, or next, is to be cancelled.
        """
        self._gone = True
        if self._room is not None:
            self._room.set()
        if self._landed:
            return
        if self._seat.withdraw(self):
            self._landed = True
        elif cancelled:
            call = self._call
            self._pass_on_cancellation = call is None
            if call is not None and not self.closing:
                call.cancel()

    async def end(self) -> None:
        """Wait for the function's end, whatever becomes of the request meanwhile."""
        if not self._landed:
            with anyio.CancelScope(shield=True):
                await _Steps(self._wait_shielded())
        if self._expiry is not None:
            self._expiry.cancel()
        if self._cancelled is not None:
            self._raise_cancelled()
        if self._error is not None:
            try:
                raise self._error
            finally:
                self._error = None

    def wake(self) -> None:
        """Tell the coroutine that there may be a piece."""
        if not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def left(self) -> bool:
        """Whether nobody takes the pieces any more."""
        return self._gone

    # -- on the thread ---------------------------------------------------------------------

    def put(self, chunk: bytes, last: bool = False) -> None:
        """Hand a piece over; waits if the coroutine is far behind, unless it is the last one.

        :raises ReaderGone: if there is no coroutine any more.
        """
        if self._gone:
            raise ReaderGone("The client has left; nothing more can be sent to it.")
        self._made += _size(chunk)
        self._pieces.append((chunk, last))
        self._mailbox.deliver(_Notice(self))
        if not last and self._is_ahead():
            self._wait_for_room()

    def _is_ahead(self) -> bool:
        return self._made - self._taken > AHEAD and not self._gone

    def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = threading.Event()
        self._pool.rest()
        try:
            while self._is_ahead():
                self._room.clear()
                # Room that was made before it was cleared is not waited for.
                if self._is_ahead():
                    self._room.wait()
        finally:
            self._pool.resume()

    def _steps(self) -> None:
        self._finished = True
        # Not kept: it may hold what holds the production.
        function = self.__dict__.pop("_function")
        if self._gone:
            return
        try:
            function(self)
        except BaseException as exc:
            self._error = exc


class _Notice:
    """On its way to the loop, to say that there are pieces."""

    __slots__ = ("_production",)

    def __init__(self, production: Production) -> None:
        self._production = production

    def land(self) -> None:
        self._production.wake()


class _Steps:
    """What is awaited by its steps."""

    __slots__ = ("_steps",)

    def __init__(self, steps: t.Generator[t.Any, t.Any, None]) -> None:
        self._steps = steps

    def __await__(self) -> t.Generator[t.Any, t.Any, None]:
        return self._steps


def _size(chunk: bytes) -> int:
    return len(chunk) + _PIECE
