"""The body of a request that comes as ASGI messages: loaded, spooled or streamed.

Nothing is taken from the server before somebody asks for it. ``receive`` is awaited outside of
the request's Context, since a server may start the next request of the connection in there.
"""

from __future__ import annotations

import asyncio
import contextvars
import io
import tempfile
import typing as t

import anyio
import anyio.lowlevel
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import ClientDisconnected
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.exceptions import RequestTimeout

from ..lanes import current_task
from ..lanes import outside
from ..lanes import run_awaitable
from ..lanes import run_sync
from ..lanes import runs_on_loop

if t.TYPE_CHECKING:
    from starlette.types import Message
    from starlette.types import Receive

    from ..lanes.workers import Workers

IN_MEMORY: t.Final = 1024 * 1024
"""Bytes of a loaded body that stay in memory; a larger one goes to a temporary file."""
PREFETCH: t.Final = 64 * 1024
"""Bytes of a body for which the loop waits before the request takes a thread."""


class Body:
    """The body of one ASGI request.

    :param receive: the server's.
    :param length: the declared Content-Length in bytes, if any.
    :param timeout: seconds without a byte after which the client gets a 408; ``None``: no limit.
    :param workers: the pool on which a large body is written to its file.
    :param server_context: the Context the server called the application in.
    :param server_task: the task it did that in; ``None`` on a loop that is not asyncio's.
    :param empty: whether no body is expected, only the client's leaving.
    """

    def __init__(
        self,
        receive: Receive,
        length: int | None,
        timeout: float | None,
        workers: Workers,
        server_context: contextvars.Context,
        server_task: asyncio.Task[t.Any] | None,
        empty: bool = False,
    ) -> None:
        self._receive = receive
        self._task = server_task
        self._server_context = server_context
        self._pending: asyncio.Task[Message] | None = None
        self._length = length
        self._timeout = timeout
        self._workers = workers
        self._buffer = bytearray()
        self._taken = 0
        self._ended = empty
        self._error: BadRequest | None = None
        self._file: t.IO[bytes] | None = None
        self.limit: int | None = None
        self.disconnected = False
        self.streaming = False
        if empty:
            self._file = io.BytesIO()

    @property
    def loaded(self) -> bool:
        """Whether the whole body is here, to be read without waiting."""
        return self._file is not None

    def open(self) -> t.IO[bytes]:
        """Give the loaded body as a file, or a stream that fetches it on demand."""
        if self._file is not None:
            return self._file
        return t.cast(t.IO[bytes], BodyStream(self))

    async def prefetch(self) -> None:
        """Wait for the first :data:`PREFETCH` bytes or the end, whatever comes first."""
        while not self._ended and len(self._buffer) < PREFETCH:
            await self._take()

    async def load(self, limit: int | None) -> t.IO[bytes]:
        """Take in the whole body.

        :param limit: bytes it may have.
        :returns: it as a file, at its start.
        :raises RequestEntityTooLarge: (413) as soon as *limit* is passed.
        :raises RequestTimeout: (408) when the client sends nothing for too long.
        :raises ClientDisconnected: (400) when the body ends early.
        """
        if self._file is not None:
            return self._file
        if self.streaming:
            raise RuntimeError("The body is being read as a stream already and cannot be loaded.")
        self.limit = limit
        self._check_limit(self._length or 0)
        spool: t.IO[bytes] | None = None
        try:
            while not self._ended:
                await self._take()
                if len(self._buffer) > IN_MEMORY:
                    spool = await run_sync(self._workers, self._spill, spool)
        except BaseException:
            if spool is not None:
                spool.close()
            raise
        if spool is not None:
            await run_sync(self._workers, self._spill, spool)
            spool.seek(0)
        self._file = spool if spool is not None else io.BytesIO(bytes(self._buffer))
        self._buffer.clear()
        return self._file

    async def chunk(self) -> bytes:
        """Give what comes next of a streamed body; ``b""`` at its end.

        :raises ClientDisconnected: (400), never ``b""``, when the body ends early.
        """
        self.streaming = True
        while not self._buffer and not self._ended:
            await self._take()
        chunk = bytes(self._buffer)
        self._buffer.clear()
        return chunk

    def loaded_chunk(self) -> bytes:
        """Give what comes next of a loaded body; ``b""`` at its end."""
        return self._file.read(PREFETCH) if self._file is not None else b""

    async def is_disconnected(self) -> bool:
        """Tell whether the client has left, without waiting and without losing what it sent."""
        if not self.disconnected and (self._ended or len(self._buffer) < PREFETCH):
            task = self._start_receiving()
            await asyncio.sleep(0)
            if task.done():
                self._pending = None
                self._note(task.result())
        return self.disconnected

    async def wait_for_disconnect(self) -> None:
        """Return when the client has left; what it still sends of an unread body is dropped."""
        while not self.disconnected:
            message = await self._next_message()
            if message["type"] == "http.disconnect":
                self.disconnected = True
            # A receive that never suspends must not keep everybody else out.
            await anyio.lowlevel.checkpoint()

    def release(self) -> None:
        """End what waits for the client; to be called when the request is over."""
        if self._pending is not None:
            self._pending.cancel()
            self._pending = None
        if self._file is not None:
            self._file.close()
        self._buffer.clear()

    # -- taking messages in --------------------------------------------------------------

    async def _take(self) -> None:
        if self._error is not None:
            raise self._error
        try:
            if self._timeout is None:
                self._note(await self._next_message())
            else:
                with anyio.fail_after(self._timeout):
                    self._note(await self._next_message())
        except TimeoutError:
            self._fail(RequestTimeout(f"No byte of the body came for {self._timeout:g} seconds."))
        if self._error is not None:
            raise self._error

    def _note(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            self.disconnected = True
            if not self._ended:
                self._fail(ClientDisconnected("The client left before its body was complete."))
            return
        chunk = message.get("body", b"")
        self._taken += len(chunk)
        try:
            self._check_limit(self._taken)
        except RequestEntityTooLarge as exc:
            self._fail(exc)
            return
        self._buffer += chunk
        if not message.get("more_body", False):
            self._ended = True
            if self._length is not None and self._taken != self._length:
                self._fail(BadRequest("The body does not have the length that was declared."))

    def _fail(self, error: BadRequest | RequestEntityTooLarge | RequestTimeout) -> None:
        self._error = t.cast(BadRequest, error)
        self._buffer.clear()

    def _check_limit(self, size: int) -> None:
        if self.limit is not None and size > self.limit:
            raise RequestEntityTooLarge()

    async def _next_message(self) -> Message:
        task = current_task()
        if task is None:
            # Only asyncio's servers start the next request from within receive.
            return await self._receive()
        if self._pending is None and task is self._task:
            return await outside(self._receive())
        message = await asyncio.shield(self._start_receiving())
        self._pending = None
        return message

    def _start_receiving(self) -> asyncio.Task[Message]:
        if self._pending is None:
            self._pending = asyncio.get_running_loop().create_task(
                t.cast("t.Coroutine[t.Any, t.Any, Message]", self._receive()),
                context=self._server_context.copy(),
            )
        return self._pending

    def _spill(self, spool: t.IO[bytes] | None) -> t.IO[bytes]:
        """Move the buffer to the temporary file; runs on a thread."""
        if spool is None:
            spool = tempfile.TemporaryFile()  # noqa: SIM115
        spool.write(self._buffer)
        self._buffer.clear()
        return spool


class BodyStream(io.RawIOBase):
    """A body read on demand: a file in sync code, ``async for`` and ``await .read()`` in async.

    :param body: where it comes from.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        if not self._rest:
            self._rest = self._fetch()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def peek(self, size: int = 0, /) -> bytes:
        """Give what is here already; makes ``readline`` read more than a byte at a time."""
        if not self._rest:
            self._rest = self._fetch()
        return self._rest

    def read(self, size: int | None = -1, /) -> t.Any:
        """Read up to *size* bytes, or all; in async code the result is to be awaited."""
        if not self._body.loaded and runs_on_loop():
            return self._read_async(-1 if size is None else size)
        return super().read(-1 if size is None else size)

    async def _read_async(self, size: int) -> bytes:
        if size < 0:
            parts = [part async for part in self]
            return b"".join(parts)
        if not self._rest:
            self._rest = await self._next_chunk()
        part, self._rest = self._rest[:size], self._rest[size:]
        return part

    async def __aiter__(self) -> t.AsyncIterator[bytes]:
        if self._rest:
            part, self._rest = self._rest, b""
            yield part
        while part := await self._next_chunk():
            yield part

    async def _next_chunk(self) -> bytes:
        return self._body.loaded_chunk() if self._body.loaded else await self._body.chunk()

    def _fetch(self) -> bytes:
        if self._body.loaded:
            return self._body.loaded_chunk()
        if runs_on_loop():
            raise RuntimeError(
                "The body has not been loaded, and waiting for it here would block the event loop:"
                " use 'await request.load_body()' first, or 'await request.stream.read()'."
            )
        return run_awaitable(self._body.chunk())
