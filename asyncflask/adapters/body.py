"""The body of a request that comes as ASGI messages: loaded, spooled or streamed.

Nothing is taken from the server before somebody asks for it. ``receive`` is awaited outside of
the request's Context, since a server may start the next request of the connection in there, and
by one at a time: whoever else waits for the body, or for the client's leaving, waits with it.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import io
import tempfile
import typing as t

import anyio
import anyio.lowlevel
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import ClientDisconnected
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.exceptions import RequestTimeout

from ..lanes import current_task
from ..lanes import go_on
from ..lanes import io_workers
from ..lanes import outside
from ..lanes import run_awaitable
from ..lanes import run_sync
from ..lanes import runs_on_loop
from ..lanes.portal import here
from .body_stream import BodyStream

if t.TYPE_CHECKING:
    from starlette.types import Message
    from starlette.types import Receive


IN_MEMORY: t.Final = 1024 * 1024
"""Bytes of a loaded body that stay in memory; a larger one goes to a temporary file."""
SMALL: t.Final = 256 * 1024
"""Bytes up to which a body that comes as a single message is kept as it came."""
PREFETCH: t.Final = 64 * 1024
"""Bytes of a body for which the loop waits before the request takes a thread."""
_IN_A_ROW: t.Final = 100
"""Messages that are taken in before others get their turn, if none of them has to be waited for."""
# What came of waiting too long is told by the body, as to others who wait.
_NOTHING: t.Final[Message] = {"type": "nothing"}

_closed: t.Final = io.BytesIO()
_closed.close()


class Body:
    """The body of one ASGI request.

    :param receive: the server's.
    :param length: the declared Content-Length in bytes, if any.
    :param timeout: seconds without a byte after which the client gets a 408; ``None``: no limit.
    :param server_context: the Context the server called the application in.
    :param server_task: the task it did that in; ``None`` on a loop that is not asyncio's.
    :param empty: whether no body is expected, only the client's leaving.
    """

    # What most bodies never set is set here: making one is part of every request that has it.
    size = 0
    limit: int | None = None
    disconnected = False
    _ended = False
    _file: t.IO[bytes] | None = None
    _at_end = False
    _incoming: asyncio.Future[None] | None = None
    _room: anyio.Event | None = None
    _taken = 0
    _messages = 0
    _error: Exception | None = None
    _stream: BodyStream | None = None
    _loading = False
    _loaded: anyio.Event | None = None
    _spool: t.IO[bytes] | None = None
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
        self._whole: bytes | None = None
        if empty or length == 0:
            self._ended, self._fresh, self._file = True, False, io.BytesIO()

    @property
    def loaded(self) -> bool:
        """Whether the whole body is here, to be read without waiting."""
        return self._file is not None or self._whole is not None

    @property
    def in_own_task(self) -> bool:
        """Whether it is asked from the task that drives the request."""
        return self._task is not None and current_task() is self._task

    @property
    def exhausted(self) -> bool:
        """Whether it has been read to its end as a stream."""
        if not self._ended or self._over:
            return False
        rest = self._buffer or (self._stream is not None and self._stream.rest)
        return self._error is None and not rest

    @property
    def arrived(self) -> bool:
        """Whether all of it is here, with nothing wrong about it."""
        return self._ended and self._error is None

    def open(self, blocking: bool = False) -> t.IO[bytes]:
        """Give the loaded body as a file, or a stream that fetches it on demand.

        :param blocking: whether reading may block loops of the application's own.
        """
        if self._file is None and self._whole is not None:
            self._file = io.BytesIO(self._whole)
            self._file.seek(len(self._whole) if self._at_end else 0)
            self._whole = None
        if self._file is not None:
            return self._file
        self._fresh = False
        if self._stream is None:
            self._stream = BodyStream(self, blocking)
        return t.cast(t.IO[bytes], self._stream)

    def load_at_once(self, limit: int | None) -> t.Awaitable[bool] | None:
        """Give what to await to have a body loaded that comes as a single message.

        Only in the task that drives the request, and outside of the request's Context. Tells
        whether the body is loaded; if not, :meth:`load` does it, and tells what is wrong with it.

        :param limit: bytes it may have.
        :returns: ``None`` if it declares more than that, or somebody has begun to read.
        """
        if not self._fresh or (limit is not None and (self.length or 0) > limit):
            return None
        self.limit = limit
        return self._take_whole()

    async def _take_whole(self) -> bool:
        self._loading = True
        try:
            message = await self._receive_here(self._timeout)
        finally:
            self._loading = False
            if self._loaded is not None:
                self._wake_loaders()
        data = message.get("body", b"")
        size = len(data)
        limit = self.limit
        if (
            self._fresh
            and message["type"] == "http.request"
            and not message.get("more_body", False)
            and type(data) is bytes
            and size <= SMALL
            and (size == self.length or self.length is None)
            and (limit is None or size <= limit)
        ):
            self._ended, self._fresh = True, False
            self._whole = data
            self.size = self._taken = size
            return True
        self._note(message)
        return False

    def take_rest(self) -> bytes | None:
        """Give a loaded body as reading its file would; ``None`` if there may be such a file."""
        if self._whole is None or self._at_end:
            return None
        self._at_end = True
        return self._whole

    async def prefetch(self) -> None:
        """Wait for the first :data:`PREFETCH` bytes or the end, whatever comes first.

        What goes wrong is told to whoever reads the body.
        """
        with contextlib.suppress(HTTPException):
            while not self._ended and len(self._buffer) < PREFETCH:
                await self._take()

    async def load(self, limit: int | None) -> t.IO[bytes]:
        """Take in the whole body, or what a stream has left of it.

        :param limit: bytes it may have.
        :returns: it as a file, at its start.
        :raises RequestEntityTooLarge: (413) as soon as *limit* is passed.
        :raises RequestTimeout: (408) when the client sends nothing for too long.
        :raises ClientDisconnected: (400) when the body ends early.
        """
        if self.loaded:
            return self.open()
        if limit is not None and (self.length or 0) > limit:
            raise RequestEntityTooLarge()
        while not self.loaded:
            if self._loading:
                self._loaded = self._loaded or anyio.Event()
                await self._loaded.wait()
                continue
            self._loading = True
            self.limit = limit
            try:
                self._file = await self._load()
            finally:
                self._loading = False
                if self._loaded is not None:
                    self._wake_loaders()
        return self.open()

    def _wake_loaders(self) -> None:
        loaded, self._loaded = self._loaded, None
        t.cast("anyio.Event", loaded).set()

    async def chunk(self) -> bytes:
        """Give what comes next of a streamed body; ``b""`` at its end.

        :raises ClientDisconnected: (400), never ``b""``, when the body ends early.
        """
        await self._fill(1)
        return self._cut(len(self._buffer))

    async def read(self, size: int) -> bytes:
        """Give the next *size* bytes of a streamed body, fewer only at its end.

        :param size: negative for all the rest.
        :raises ClientDisconnected: (400) when the body ends early.
        """
        await self._fill(size)
        return self._cut(len(self._buffer) if size < 0 else size)

    def is_taken_in_here(self) -> bool:
        """Tell whether this thread runs the loop that receives."""
        return runs_on_loop() and asyncio._get_running_loop() is self._loop

    def wait_here(self, reading: t.Coroutine[t.Any, t.Any, bytes]) -> bytes:
        """Have the loop read for a thread, which waits.

        :raises asyncio.CancelledError: when the request is cancelled.
        """
        if here.driver is not None or self._loop is None:
            return run_awaitable(reading)
        # A thread of the user's own: only the server's loop can receive.
        try:
            return asyncio.run_coroutine_threadsafe(reading, self._loop).result()
        except concurrent.futures.CancelledError:
            raise asyncio.CancelledError from None

    def give_up(self) -> None:
        """Break it off for all who wait for more, now or later: the request is cancelled."""
        self._fail(ClientDisconnected("The request was cancelled."))
        if self._incoming is not None:
            self._incoming.cancel()

    def loaded_chunk(self) -> bytes:
        """Give what comes next of a loaded body; ``b""`` at its end."""
        return self._file.read(PREFETCH) if self._file is not None else b""

    def give_back(self, data: bytes) -> None:
        """Put bytes that were taken, but not used, before what comes next."""
        if data:
            self._buffer[:0] = data

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

    def release(self) -> None:
        """End what waits for the client; to be called when the request is over."""
        self._over, self._fresh = True, False
        if self._whole is not None:
            self._whole, self._file = None, _closed
        if self._incoming is not None:
            self._incoming.cancel()
        for file in (self._file, self._spool):
            if file is not None:
                file.close()
        self._buffer.clear()
        # They hold one another, and with them the request and its context.
        self._stream = None

    # -- taking messages in --------------------------------------------------------------

    async def _fill(self, size: int) -> None:
        """Wait until *size* bytes are in the buffer, or the end is."""
        self._check()
        if self._loading or (self._spool is not None and self._file is None):
            raise RuntimeError(
                "The body is being loaded and cannot be read as a stream: await"
                " request.load_body() to its end."
            )
        while not self._ended and (size < 0 or len(self._buffer) < size):
            await self._take()
        self._check()

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
                self._note(await self._next_message(self._receive()))
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
        try:
            steps = self._receive().__await__()
            command = steps.send(None)
        except StopIteration as stop:
            return t.cast("Message", stop.value)
        except Exception as exc:
            rest = self._no_message(exc)
        else:
            rest = self._next_message(go_on(steps, command))
        # All others who want a message wait for this one.
        self._fresh = False
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
            self._note(await self._next_message(self._receive()))
        finally:
            self._incoming = None

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

    # -- loading ---------------------------------------------------------------------------

    async def _load(self) -> t.IO[bytes]:
        if self._stream is not None:
            self.give_back(self._stream.take_rest())
        while not self._ended:
            await self._take()
            if len(self._buffer) > IN_MEMORY:
                await self._spill(self._write)
        self._check()
        if self._spool is None:
            self.size = len(self._buffer)
            return io.BytesIO(self._cut(self.size))
        await self._spill(self._finish)
        return self._spool

    async def _spill(self, write: t.Callable[[bytearray], None]) -> None:
        """Have the buffer written on a thread."""
        data, self._buffer = self._buffer, bytearray()
        try:
            await run_sync(io_workers(), write, data)
        except BaseException:
            # What was written of it, or is still being written, is not known.
            self._fail(RuntimeError("The body could not be written to its temporary file."))
            raise

    def _write(self, data: bytearray) -> None:
        if self._spool is None:
            self._spool = tempfile.TemporaryFile()  # noqa: SIM115
        self._spool.write(data)
        self.size += len(data)

    def _finish(self, data: bytearray) -> None:
        self._write(data)
        t.cast("t.IO[bytes]", self._spool).seek(0)
