"""The body of a request that comes as ASGI messages: loaded, spooled or streamed."""

from __future__ import annotations

import asyncio
import concurrent.futures
import io
import tempfile
import typing as t

import anyio
from werkzeug.exceptions import RequestEntityTooLarge

from ..lanes import io_workers
from ..lanes import run_awaitable
from ..lanes import run_sync
from ..lanes import runs_on_loop
from ..lanes.portal import here
from .body_stream import BodyStream
from .intake import Intake
from .intake import PREFETCH

IN_MEMORY: t.Final = 1024 * 1024
"""Bytes of a loaded body that stay in memory; a larger one goes to a temporary file."""
SMALL: t.Final = 256 * 1024
"""Bytes up to which a body that comes as a single message is kept as it came."""

_closed: t.Final = io.BytesIO()
_closed.close()


class Body(Intake):
    """The body of one ASGI request, as those see it who read it; made as an :class:`Intake`."""

    size = 0
    _file: t.IO[bytes] | None = None
    _at_end = False
    _stream: BodyStream | None = None
    _loading = False
    _loaded: anyio.Event | None = None
    _spool: t.IO[bytes] | None = None

    @property
    def loaded(self) -> bool:
        """Whether the whole body is here, to be read without waiting."""
        return self._file is not None or self._whole is not None

    @property
    def exhausted(self) -> bool:
        """Whether it has been read to its end as a stream."""
        if not self._ended or self._over or self.loaded:
            return False
        rest = self._buffer or (self._stream is not None and self._stream.rest)
        return self._error is None and not rest

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

    def loaded_chunk(self) -> bytes:
        """Give what comes next of a loaded body; ``b""`` at its end."""
        return self._file.read(PREFETCH) if self._file is not None else b""

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
