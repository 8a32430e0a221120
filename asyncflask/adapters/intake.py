"""The messages of a request's body, as they are taken from an ASGI server.

Nothing is taken from the server before somebody asks for it. ``receive`` is awaited outside of
the request's Context, since a server may start the next request of the connection in there, and
by one at a time: whoever else waits for the body, or for the client's leaving, waits with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import typing as t

import anyio
import anyio.lowlevel
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import ClientDisconnected
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.exceptions import RequestTimeout

from ..lanes import current_task
from ..lanes import ENDED
from ..lanes import go_on
from ..lanes import outside

if t.TYPE_CHECKING:
    from starlette.types import Message
    from starlette.types import Receive


PREFETCH: t.Final = 64 * 1024
"""Bytes of a body for which the loop waits before the request takes a thread."""
_IN_A_ROW: t.Final = 100
"""Messages that are taken in before others get their turn, if none of them has to be waited for."""
# What came of waiting too long is told by the body, as to others who wait.
_NOTHING: t.Final[Message] = {"type": "nothing"}


class Intake:
    """What has come of the body of one ASGI request, and the taking in of more.

    :param receive: the server's.
    :param length: the declared Content-Length in bytes, if any.
    :param timeout: seconds without a byte after which the client gets a 408; ``None``: no limit.
    :param server_context: the Context the server called the application in.
    :param server_task: the task it did that in; ``None`` on a loop that is not asyncio's.
    :param empty: whether no body is expected, only the client's leaving.
    """

    # What most bodies never set is set here: making one is part of every request that has it.
    limit: int | None = None
    disconnected = False
    _ended = False
    _incoming: asyncio.Future[None] | None = None
    _room: anyio.Event | None = None
    _taken = 0
    _messages = 0
    _error: Exception | None = None
    _over = False

    def __init__(
        self,
        receive: Receive,
        length: int | None,
        timeout: float | None,
        server_context: contextvars.Context,
        server_task: asyncio.Task[t.Any] | None,
        empty: bool = False,
    ) -> None:
        self._receive = receive
        self._task = server_task
        self._server_context = server_context
        # Asking for the running loop takes a call of the system in some versions of Python.
        self._loop = asyncio._get_running_loop() if server_task is None else server_task.get_loop()
        self.length = length
        self._timeout = timeout
        self._buffer = bytearray()
        self._fresh = server_task is not None
        # What came as a single message, or is known to be nothing.
        self._whole: bytes | None = None
        if empty or length == 0:
            self._ended, self._fresh, self._whole = True, False, b""

    @property
    def in_own_task(self) -> bool:
        """Whether it is asked from the task that drives the request."""
        return self._task is not None and current_task() is self._task

    @property
    def arrived(self) -> bool:
        """Whether all of it is here, with nothing wrong about it."""
        return self._ended and self._error is None

    async def prefetch(self) -> None:
        """Wait for the first :data:`PREFETCH` bytes or the end, whatever comes first.

        What goes wrong is told to whoever reads the body.
        """
        with contextlib.suppress(HTTPException):
            while not self._ended and len(self._buffer) < PREFETCH:
                await self._take()

    async def is_disconnected(self) -> bool:
        """Tell whether the client has left, without waiting and without losing what it sent."""
        if self.disconnected or self._over:
            return True
        if self._ended or len(self._buffer) < PREFETCH:
            if self._loop is None:
                with anyio.CancelScope() as scope:
                    scope.cancel()
                    await self._advance()
            else:
                incoming = self._incoming or self._start_receiving()
                await asyncio.sleep(0)
                if incoming.done():
                    incoming.result()
        return self.disconnected

    async def wait_for_disconnect(self) -> None:
        """Return when the client has left.

        What it sends meanwhile is kept for whoever reads it, up to :data:`PREFETCH` bytes. If
        nobody does for as long as a client may be silent, the rest is dropped: the client's
        leaving shows only behind it.
        """
        while not self.disconnected:
            if self._ended or len(self._buffer) < PREFETCH:
                await self._advance()
            else:
                await self._wait_for_room()
            # A receive that never suspends must not keep everybody else out.
            await anyio.lowlevel.checkpoint()

    def give_up(self) -> None:
        """Break it off for all who wait for more, now or later: the request is cancelled."""
        self._fail(ClientDisconnected("The request was cancelled."))
        if self._incoming is not None:
            self._incoming.cancel()

    def give_back(self, data: bytes) -> None:
        """Put bytes that were taken, but not used, before what comes next."""
        if data:
            self._buffer[:0] = data

    async def _take(self) -> None:
        self._check()
        try:
            task = self._task
            if task is not None and self._incoming is None and current_task() is task:
                self._note(await outside(self._receive_here(self._timeout)))
            else:
                await self._advance(self._timeout)
        except TimeoutError:
            self._time_out()
        if self._ended:
            return
        self._check()
        if self._messages % _IN_A_ROW == 0:
            # A client may cut its body into crumbs, none of which suspends.
            await anyio.lowlevel.checkpoint()

    def _check(self) -> None:
        """Raise what is wrong with the body, as far as it has come."""
        if self._over:
            raise RuntimeError("The request is over: its body cannot be read any more.")
        if self.limit is not None and self._taken > self.limit:
            # The limit may be younger than another error.
            self._error = None
            self._fail(RequestEntityTooLarge())
        if self._error is not None:
            raise self._error.with_traceback(None)

    async def _advance(self, timeout: float | None = None) -> None:
        """Have one message taken in, by whoever waits for one first.

        :raises TimeoutError: if none comes within *timeout* seconds.
        """
        if self._loop is None:
            # Only asyncio's servers start the next request from within receive.
            with anyio.fail_after(timeout):
                self._note(await self._next_message(self._ask()))
        elif self._incoming is None and self.in_own_task:
            self._note(await outside(self._receive_here(timeout)))
        else:
            with anyio.fail_after(timeout):
                await asyncio.shield(self._incoming or self._start_receiving())

    async def _receive_here(self, timeout: float | None) -> Message:
        """Give the next message in the task that drives the request.

        Most are there already, so that there is no time to measure and nobody to wait with it.
        """
        rest: t.Awaitable[Message]
        received: list[Message] = []
        try:
            steps = _receive_into(received, self._receive()).__await__()
            command = next(steps, ENDED)
        except Exception as exc:
            rest = self._no_message(exc)
        else:
            if command is ENDED:
                return received[0]
            rest = self._next_message(_receive_on(received, steps, command))
        # All others who want a message wait for this one.
        incoming = self._incoming = asyncio.get_running_loop().create_future()
        try:
            # A scope of anyio's could not begin now: it would be inside of one that receive began.
            async with asyncio.timeout(timeout):
                return await rest
        except TimeoutError:
            self._time_out()
            return _NOTHING
        finally:
            self._incoming = None
            if not incoming.done():
                incoming.set_result(None)

    def _start_receiving(self) -> asyncio.Future[None]:
        """Have a task of its own take one message in, which nobody's cancellation can lose."""
        self._fresh = False
        self._incoming = asyncio.get_running_loop().create_task(
            self._receive_one(), context=self._server_context.copy()
        )
        return self._incoming

    async def _receive_one(self) -> None:
        try:
            self._note(await self._next_message(self._ask()))
        finally:
            self._incoming = None

    async def _ask(self) -> Message:
        # A server's receive may raise where it is called, or give any awaitable.
        return await self._receive()

    async def _next_message(self, receiving: t.Awaitable[Message]) -> Message:
        try:
            return await receiving
        except Exception as exc:
            return await self._no_message(exc)

    async def _no_message(self, error: Exception) -> Message:
        """Tell what it means that the server has failed to give a message."""
        if isinstance(error, OSError):
            return {"type": "http.disconnect"}
        if not self._ended:
            raise error
        # It objects to being asked again after the end, and will not tell when the client leaves.
        return t.cast("Message", await anyio.sleep_forever())

    def _note(self, message: Message) -> None:
        self._fresh = False
        if message["type"] == "http.disconnect":
            self.disconnected = True
            if not self._ended:
                self._fail(ClientDisconnected("The client left before its body was complete."))
            return
        if self._ended or message["type"] != "http.request":
            return
        self._messages += 1
        chunk = message.get("body", b"")
        taken = self._taken = self._taken + len(chunk)
        if self._error is None and not self._over:
            self._buffer += chunk
        if not message.get("more_body", False):
            self._ended = True
            if self.length is not None and self.length != taken:
                self._fail(BadRequest("The body does not have the length that was declared."))

    def _fail(self, error: Exception) -> None:
        """Make the body an error for good; the first one stays."""
        self._fresh = False
        if self._error is None:
            self._error = error
        self._cut(len(self._buffer))

    def _time_out(self) -> None:
        self._fail(RequestTimeout(f"No byte of the body came for {self._timeout:g} seconds."))

    def _cut(self, size: int) -> bytes:
        """Take up to *size* bytes from the buffer."""
        part = bytes(self._buffer if size >= len(self._buffer) else self._buffer[:size])
        del self._buffer[:size]
        if self._room is not None and len(self._buffer) < PREFETCH:
            self._room.set()
            self._room = None
        return part

    async def _wait_for_room(self) -> None:
        if self._room is None:
            self._room = anyio.Event()
        try:
            with anyio.fail_after(self._timeout):
                await self._room.wait()
        except TimeoutError:
            self._fail(
                RuntimeError(
                    "The rest of the body was dropped, since nobody had read it for"
                    f" {self._timeout:g} seconds: read it before a response is streamed."
                )
            )


async def _receive_into(received: list[Message], receiving: t.Awaitable[Message]) -> None:
    """Put a message in a list, so that :data:`ENDED` tells that it is there."""
    received.append(await receiving)


async def _receive_on(
    received: list[Message], steps: t.Generator[t.Any, t.Any, None], command: t.Any
) -> Message:
    """Go on with that, and give the message."""
    await go_on(steps, command)
    return received[0]
