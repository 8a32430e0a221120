"""A body that is sent while it is made; what is there together goes out together."""

from __future__ import annotations

import asyncio
import io
import time
import typing as t
from types import AsyncGeneratorType

import anyio
from werkzeug.wsgi import FileWrapper

from ..files import ReadFile
from ..lanes import adds_code
from ..lanes import Ahead
from ..lanes import cancelled_once
from ..lanes import current_task
from ..lanes import io_workers
from ..lanes import run_sync
from ..lanes import to_thread_in_any_case
from ..responses import EncodedBody
from ..responses import Response
from . import wire
from .sending import FILE_CHUNK
from .sending import goes_on
from .sending import PLAIN_FILES
from .sending import while_there

if t.TYPE_CHECKING:
    from starlette.types import Message
    from starlette.types import Send

    from ..lanes import Driver
    from ..wrappers import Request

TURN: t.Final = 0.001
"""Seconds for which a body that never waits may keep the event loop for itself."""
TOGETHER: t.Final = 64 * 1024
"""Bytes of chunks that are put together at most, if nobody had to wait for them."""

_END: t.Final = object()
_now: t.Final = time.monotonic


async def send_stream(
    request: Request, driver: Driver, send: Send, start: Message, response: Response
) -> None:
    """Send a body as it is made, and stop when the client leaves.

    :param start: goes out with the first chunk, so that what fails before it is a plain 500.
    """

    async def work(scope: anyio.CancelScope, around: anyio.CancelScope) -> None:
        outlet = Outlet(send, start)
        if response.is_async:
            source = response.aiter_encoded()
            response.response = t.cast(t.Any, source)
            try:
                await _send_async(driver, source, outlet, scope, around)
            finally:
                await outlet.close()
        else:
            await _send_sync(driver, response, outlet, around)

    await while_there(request.client_left, work)


class Outlet:
    """Where the chunks of a body go out.

    :param send: the server's.
    :param start: the message that goes before all others.
    :raises InvalidHeader: for a Content-Length that is none.
    """

    closed = False
    """Whether :meth:`let_out` was in vain."""
    at_once = True
    """Whether the next chunk goes out without others that may follow it."""
    turn = 0.0
    """The time from which on others have to get a turn."""

    _failure: Exception | None = None
    _sending: asyncio.Task[None] | None = None

    def __init__(self, send: Send, start: Message) -> None:
        self._send = send
        self._start: Message | None = start
        self._tally = wire.Tally(start["headers"])
        self.chunks: list[bytes] = []

    @property
    def unsent(self) -> bool:
        """Whether there is anything that was not sent, or not to its end."""
        return bool(self.chunks) or self._sending is not None

    async def flush(self, more: bool = True) -> bool:
        """Send what is there, and tell whether the client still is (ASGI HTTP spec 2.4).

        :param more: whether something will follow.
        :raises WrongLength: if it is more than was announced.
        """
        if self._sending is not None:
            await self._sending
            self._sending = None
            if self.closed:
                self.raise_failure()
                return False
        return await self._send_body(self._joined(), more)

    def _joined(self) -> bytes:
        chunks = self.chunks
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        chunks.clear()
        return body

    async def _send_body(self, body: bytes, more: bool) -> bool:
        self._tally.add(body)
        try:
            if self._start is not None:
                start, self._start = self._start, None
                await self._send(start)
            if not more:
                await self._send({"type": "http.response.body", "body": body})
            elif body:
                await self._send({"type": "http.response.body", "body": body, "more_body": True})
        except OSError:
            return False
        return True

    async def end(self) -> None:
        """Send what is there as the last of the body.

        :raises WrongLength: if less was sent than announced.
        """
        if self.unsent and self._tally.announced and not await self.flush():
            return
        self._tally.end()
        await self.flush(more=False)

    def let_out(self, around: anyio.CancelScope) -> None:
        """Have what is there sent while its maker waits for something.

        In a task of its own: the maker may give up its wait by cancelling the one it is in, and
        goes on as soon as it can. :meth:`flush` waits for it.

        :param around: is cancelled if the client has left, or sending fails.
        """
        letting_out = self._let_out(self._joined(), around)
        self._sending = asyncio.get_running_loop().create_task(letting_out)

    async def _let_out(self, body: bytes, around: anyio.CancelScope) -> None:
        try:
            self.closed = not await self._send_body(body, more=True)
        except Exception as exc:
            self._failure, self.closed = exc, True
        if self.closed:
            around.cancel()

    async def close(self) -> None:
        """End what is still being sent."""
        sending = self._sending
        if sending is not None and not sending.done():
            sending.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({sending})

    def raise_failure(self) -> None:
        """Raise what was kept, if anything."""
        failure, self._failure = self._failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                # Its traceback holds this frame.
                del failure


# -- bodies made on the loop -----------------------------------------------------------------


async def _send_async(
    driver: Driver,
    source: t.AsyncIterator[t.Any],
    outlet: Outlet,
    scope: anyio.CancelScope,
    around: anyio.CancelScope,
) -> None:
    run = driver.context.run
    advance, as_bytes = _advance_of(source)
    # Other event loops than asyncio's want to be told at once of what is waited for.
    one_by_one = current_task() is None
    while True:
        steps = _gather(advance, as_bytes, outlet)
        waited = False
        try:
            try:
                command = run(steps.send, None)
            except StopIteration as stop:
                more = stop.value
            else:
                waited = outlet.at_once = True
                if outlet.chunks:
                    outlet.let_out(around)
                more = await cancelled_once(driver.drive(steps).go_on(command), scope)
        except Exception:
            # What came before it is sent.
            if outlet.unsent and not around.cancel_called:
                await outlet.flush()
            raise
        except asyncio.CancelledError:
            if not outlet.closed:
                raise
            outlet.raise_failure()
            return
        if not more:
            break
        if not await outlet.flush() or around.cancel_called:
            return
        outlet.at_once = one_by_one
        if waited and _now() < outlet.turn:
            continue
        if not await goes_on(around):
            return
        outlet.turn = _now() + TURN
    await outlet.end()


async def _gather(
    advance: t.Callable[[], t.Awaitable[t.Any]],
    as_bytes: t.Callable[[t.Any], bytes],
    outlet: Outlet,
) -> bool:
    """Collect chunks till they are to be sent; false if there are no more."""
    chunks = outlet.chunks
    size = 0
    try:
        while True:
            chunk = await advance()
            if type(chunk) is not bytes:
                chunk = as_bytes(chunk)
            chunks.append(chunk)
            size += len(chunk)
            if outlet.at_once or size >= TOGETHER or _now() > outlet.turn:
                return True
    except StopAsyncIteration:
        return False


def _advance_of(
    source: t.AsyncIterator[t.Any],
) -> tuple[t.Callable[[], t.Awaitable[t.Any]], t.Callable[[t.Any], bytes]]:
    """Give what fetches the next chunk, and what makes bytes of one that is none."""
    if type(source) is EncodedBody and type(source.iterator) is AsyncGeneratorType:
        # Without a coroutine of ours around each of its steps.
        return source.iterator.__anext__, _text_or_bytes
    return source.__anext__, wire.as_bytes


def _text_or_bytes(chunk: t.Any) -> bytes:
    return chunk.encode() if isinstance(chunk, str) else wire.as_bytes(chunk)


# -- bodies made on a thread -----------------------------------------------------------------


async def _send_sync(
    driver: Driver, response: Response, outlet: Outlet, around: anyio.CancelScope
) -> None:
    body: t.Any = response.response
    file = _file_in(body)
    if file is not None:
        file.buffer_size = FILE_CHUNK
    iterator = iter(body if response.direct_passthrough else response.iter_encoded())
    if is_plain_file(response):
        await _send_each(lambda: driver.drive(_next_of_file(iterator)), outlet, around)
    elif current_task() is None:
        await _send_each(lambda: driver.drive(_next_sync(iterator)), outlet, around)
    else:
        await _send_ahead(Ahead(driver, iterator, wire.as_bytes), outlet, around)


async def _send_ahead(ahead: Ahead, outlet: Outlet, around: anyio.CancelScope) -> None:
    try:
        while (chunks := await ahead.take()) is not None:
            outlet.chunks += chunks
            if not await outlet.flush() or around.cancel_called:
                return
        await outlet.end()
    finally:
        await ahead.end()


async def _send_each(
    fetch: t.Callable[[], t.Awaitable[t.Any]], outlet: Outlet, around: anyio.CancelScope
) -> None:
    while (chunk := await fetch()) is not _END:
        outlet.chunks.append(chunk if type(chunk) is bytes else wire.as_bytes(chunk))
        if not await outlet.flush() or not await goes_on(around):
            return
    await outlet.end()


async def _next_sync(iterator: t.Iterator[bytes]) -> t.Any:
    await to_thread_in_any_case()
    return next(iterator, _END)


async def _next_of_file(iterator: t.Iterator[bytes]) -> t.Any:
    return await run_sync(io_workers(), next, iterator, _END)


# -- files -----------------------------------------------------------------------------------


def _file_in(body: t.Any) -> FileWrapper | None:
    """Give the file that a body reads from, or a part of; none whose reading is user code."""
    file = getattr(body, "iterable", body)
    return file if isinstance(file, FileWrapper) and type(file.file) in PLAIN_FILES else None


def is_plain_file(response: Response) -> bool:
    """Tell whether a body is sent and closed without a function of the user's."""
    return _file_in(response.response) is not None and not adds_code(type(response), Response)


def is_in_memory(response: Response) -> bool:
    """Tell whether a body is a file that needs no thread: its bytes are there, or it is closed."""
    file = _file_in(response.response)
    if file is None or not is_plain_file(response):
        return False
    return type(file.file) is io.BytesIO or file.file.closed


def read_before(response: Response) -> bytes | None:
    """Give the whole of a body that is a small file, read when it was opened and untouched since.

    :returns: ``None`` if it is none, or if there is more to do than to send it.
    """
    body: t.Any = response.response
    if type(body) is not ReadFile or type(response) is not Response or not body.untouched:
        return None
    if response._on_close or response.asgi is not None or response.background is not None:
        return None
    data: bytes = body.data
    return data


async def read_small_file(driver: Driver, response: Response) -> bytes | None:
    """Give the whole of a body that is a small file with a known end, or a part of one.

    :returns: ``None`` if it is none.
    """
    file = _file_in(response.response)
    if getattr(file, "end", None) is None or not is_plain_file(response):
        return None
    length = response.content_length
    if length is None or length > FILE_CHUNK:
        return None
    if is_in_memory(response):
        return b"".join(t.cast("t.Iterable[bytes]", response.response))
    read: bytes = await driver.drive(run_sync(io_workers(), _read_to_its_end, response.response))
    return read


def _read_to_its_end(body: t.Any) -> bytes:
    # Closed in the same trip.
    try:
        return b"".join(body)
    finally:
        body.close()
