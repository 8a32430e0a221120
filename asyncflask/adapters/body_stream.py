"""The body of an ASGI request as a stream, for sync and for async code."""

from __future__ import annotations

import io
import typing as t

from ..lanes import runs_on_loop

if t.TYPE_CHECKING:
    from .body import Body


class BodyStream(io.RawIOBase):
    """A body read on demand: a file in sync code, ``async for`` and ``await .read()`` in async.

    :param body: where it comes from.
    :param blocking: whether it is a file on other loops than that of the body as well.
    """

    def __init__(self, body: Body, blocking: bool = False) -> None:
        self._body = body
        self._on_loop = body.is_taken_in_here if blocking else runs_on_loop
        self.rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        part = self._next_part(len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def peek(self, size: int = 0, /) -> bytes:
        """Give what is here already; makes ``readline`` read more than a byte at a time."""
        if not self.rest:
            self.rest = self._fetch()
        return bytes(self.rest[: io.DEFAULT_BUFFER_SIZE])

    def read(self, size: int | None = -1, /) -> t.Any:
        """Read *size* bytes, fewer only at the end; in async code the result is to be awaited.

        :param size: negative, or ``None``, for all the rest.
        """
        left = -1 if size is None else size
        if not self._body.loaded:
            reading = self._read_async(left)
            return reading if self._on_loop() else self._body.wait_here(reading)
        parts: list[memoryview] = []
        while left and (part := self._next_part(left)):
            parts.append(part)
            left -= len(part) if left > 0 else 0
        return b"".join(parts)

    def readall(self) -> bytes:
        return t.cast(bytes, self.read())

    def take_rest(self) -> bytes:
        """Give away what was fetched but not read yet."""
        rest, self.rest = self.rest, memoryview(b"")
        return bytes(rest)

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> bytes:
        if self._body.loaded:
            chunk = self._body.loaded_chunk()
        else:
            self._body.give_back(self.take_rest())
            chunk = await self._body.chunk()
        if not chunk:
            raise StopAsyncIteration
        return chunk

    async def _read_async(self, size: int) -> bytes:
        self._body.give_back(self.take_rest())
        return await self._body.read(size)

    def _next_part(self, size: int) -> memoryview:
        """Give up to *size* bytes, all that are here for a negative one; none at the end."""
        if not self.rest:
            self.rest = self._fetch()
        count = len(self.rest) if size < 0 else size
        part, self.rest = self.rest[:count], self.rest[count:]
        return part

    def _fetch(self) -> memoryview:
        if self._body.loaded:
            return memoryview(self._body.loaded_chunk())
        if self._on_loop():
            raise RuntimeError(
                "The body has not been loaded, and waiting for it here would block the event loop:"
                " use 'await request.load_body()' first, or 'await request.stream.read()'."
            )
        return memoryview(self._body.wait_here(self._body.chunk()))
