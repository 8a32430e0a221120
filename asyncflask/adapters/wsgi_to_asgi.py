"""WSGI applications inside ASGI servers."""

from __future__ import annotations

import asyncio
import contextvars
import typing as t

import anyio.lowlevel
from werkzeug.http import HTTP_STATUS_CODES

from ..lanes import current_task
from ..lanes import Piece
from ..lanes import Production
from ..lanes import QueueFull
from ..lanes import RETRY_AFTER
from ..lanes import Workers
from ..lanes import workers_for
from . import wire
from .body import Body
from .environ import check_length
from .environ import CONNECTION
from .environ import environ_from_scope
from .environ import has_input
from .environ import header_size
from .sending import arrives
from .sending import goes_on
from .sending import send_whole
from .sending import while_there
from .wsgi_call import FileWrapper
from .wsgi_call import open_buffered
from .wsgi_call import WsgiCall

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send


class WsgiToAsgi:
    """An ASGI application that runs a WSGI application on worker threads.

    A request has one thread for the call, the iteration over the result and its ``close()``, in
    a copy of the server's :class:`contextvars.Context`. Bodies stream in both directions with
    bounded memory; a thread that waits for its client holds none of the places in the pool.

    What fails before the first bytes of a response is logged and answered with a 500, what fails
    later is raised, so that the server aborts the connection. Reading ``wsgi.input`` raises
    where the body breaks off: an error that is an ``OSError`` and Werkzeug's
    ``ClientDisconnected``; if the application lets it pass, the answer is a 400.

    :param wsgi_app: the application.
    :param workers: requests that are worked on at the same time, or the pool to use. Applications
        with equal settings share a pool.
    :param queue_limit: requests that may wait for a thread; one more gets a 503.
    :param queue_timeout: seconds that a request may wait for a thread; then it gets a 503.
    :param body_timeout: seconds without a byte of the request's body after which reading it is
        an error, with a 408; ``None`` for any time.
    :param max_header_size: bytes that the headers may have; more get a 431.
    """

    def __init__(
        self,
        wsgi_app: WSGIApplication,
        *,
        workers: int | Workers = 40,
        queue_limit: int | None = None,
        queue_timeout: float | None = 30.0,
        body_timeout: float | None = 60.0,
        max_header_size: int | None = None,
    ) -> None:
        if isinstance(workers, int) and workers < 1:
            raise ValueError(f"A WSGI application needs at least one thread, not {workers!r}.")
        self.wsgi_app = wsgi_app
        self.workers = workers
        self.queue_limit = queue_limit
        self.queue_timeout = queue_timeout
        self.body_timeout = body_timeout
        self.max_header_size = max_header_size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; answer a lifespan, and refuse websockets.

        :raises ValueError: for a scope of another type.
        :raises RuntimeError: on an event loop that is not asyncio's.
        """
        kind = scope["type"]
        if kind == "http":
            await self._handle(scope, receive, send)
        elif kind == "lifespan":
            await _answer_lifespan(receive, send)
        elif kind == "websocket":
            await receive()
            await send({"type": "websocket.close"})
        else:
            raise ValueError(f"An ASGI scope of type {kind!r} is not known to WsgiToAsgi.")

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = self.max_header_size
        if limit is not None and header_size(scope) > limit:
            await _refuse(send, scope["method"], 431)
            return
        environ = environ_from_scope(scope, None)
        environ["wsgi.file_wrapper"] = FileWrapper
        if check_length(environ.get("CONTENT_LENGTH")) is not None:
            # Unread: where the request ends is anybody's guess.
            await _refuse(send, scope["method"], 400)
            return
        if "HTTP_TRANSFER_ENCODING" in environ:
            # RFC 9112, section 6.3: a length beside it is not to be believed.
            environ.pop("CONTENT_LENGTH", None)
        exchange = _Exchange(self, environ, receive, send)
        try:
            await exchange.run()
        finally:
            exchange.release()

    def _pool(self) -> Workers:
        # Asked for each time: after a fork it is another one.
        workers = self.workers
        if isinstance(workers, Workers):
            return workers
        return workers_for(workers, self.queue_limit, self.queue_timeout)


class _Connection:
    """What comes from the client: the body, and in the end its leaving."""

    def __init__(self, receive: Receive, timeout: float | None) -> None:
        self._receive = receive
        self._timeout = timeout
        self._body: Body | None = None

    def open_body(self, length: int | None) -> Body:
        """Make the body, of which no more than one can be read.

        :param length: the declared one.
        """
        self._body = self._make(length, current_task(), empty=False)
        return self._body

    async def is_disconnected(self) -> bool:
        return await self._any_body().is_disconnected()

    async def wait_for_disconnect(self) -> None:
        await self._any_body().wait_for_disconnect()

    def give_up(self) -> None:
        """Have nobody wait for more of the body."""
        if self._body is not None:
            self._body.give_up()

    def release(self) -> None:
        """Let go of the body, which nobody can read any more."""
        if self._body is not None:
            self._body.release()

    def _any_body(self) -> Body:
        if self._body is None:
            self._body = self._make(None, None, empty=True)
        return self._body

    def _make(
        self, length: int | None, task: asyncio.Task[t.Any] | None, empty: bool
    ) -> Body:
        context = contextvars.copy_context()
        return Body(self._receive, length, self._timeout, context, task, empty)


class _Exchange:
    """The server's side of a request, on the loop."""

    _started = False
    _complete = False

    def __init__(
        self, adapter: WsgiToAsgi, environ: WSGIEnvironment, receive: Receive, send: Send
    ) -> None:
        self._environ = environ
        self._send = send
        self._connection = environ[CONNECTION] = _Connection(receive, adapter.body_timeout)
        self._call = WsgiCall(adapter.wsgi_app, environ)
        context = contextvars.copy_context()
        self._production = Production(context, adapter._pool(), self._call.run)

    async def run(self) -> None:
        length = self._environ.get("CONTENT_LENGTH")
        size = None if length is None else int(length)
        if has_input(self._environ, size):
            await self._open_body(size)
        production = self._production
        try:
            production.start()
            await self._respond()
        except QueueFull:
            await _refuse(self._send, self._call.method, 503, RETRY_AFTER)
        except asyncio.CancelledError:
            production.leave(cancelled=True)
            self._connection.give_up()
            raise
        finally:
            if not self._complete:
                production.leave()
            await production.end()
        self._raise_failure()

    def release(self) -> None:
        """Let go of what nobody can ask for any more."""
        self._connection.release()

    async def _open_body(self, length: int | None) -> None:
        body = self._connection.open_body(length)
        if "HTTP_EXPECT" not in self._environ:
            # A slow sender of a small body holds no thread.
            await self._production.drive(body.prefetch())
        if body.arrived:
            self._environ["wsgi.input"] = await body.load(None)
        else:
            self._environ["wsgi.input"] = open_buffered(body.open(blocking=True))

    async def _respond(self) -> None:
        piece = await self._production.take()
        if piece is None:
            return
        if piece[1]:
            await self._send_piece(piece)
        else:
            client_left = self._connection.wait_for_disconnect
            await while_there(client_left, lambda _, around: self._stream(piece, around))

    async def _stream(self, piece: Piece, around: anyio.CancelScope) -> None:
        """Send piece after piece; the headers go out with the first that has bytes."""
        while True:
            if (piece[0] or piece[1]) and (not await self._send_piece(piece) or piece[1]):
                return
            if not await goes_on(around):
                return
            following = await self._production.take()
            if following is None:
                return
            piece = following

    async def _send_piece(self, piece: Piece) -> bool:
        """Send a piece, after the headers if it is the first, and tell whether it arrives."""
        chunk, last = piece
        if not self._started:
            self._started = True
            call = self._call
            headers = call.headers
            start = {"type": "http.response.start", "status": call.status, "headers": headers}
            if not await arrives(self._send, start):
                return False
        message = {"type": "http.response.body", "body": chunk, "more_body": not last}
        arrived = await arrives(self._send, message)
        self._complete = arrived and last
        return arrived

    def _raise_failure(self) -> None:
        failure, self._call.failure = self._call.failure, None
        if failure is not None:
            try:
                raise failure
            finally:
                # Its traceback holds this frame.
                del failure


async def _answer_lifespan(receive: Receive, send: Send) -> None:
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})


async def _refuse(
    send: Send, method: str, status: int, retry_after: int | None = None
) -> None:
    """Answer in place of the application."""
    text = HTTP_STATUS_CODES[status].encode()
    headers = wire.plain_headers(text)
    if retry_after is not None:
        headers.append((b"retry-after", b"%d" % retry_after))
    await send_whole(send, method, status, headers, text)
