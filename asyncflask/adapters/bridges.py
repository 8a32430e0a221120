"""Applications of one protocol inside servers of the other."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
import typing as t
from collections import deque
from queue import Empty
from queue import SimpleQueue
from urllib.parse import quote
from urllib.parse import unquote_to_bytes

from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.http import is_hop_by_hop_header
from werkzeug.wsgi import get_content_length

from ..lanes import loop_for_here
from ..lanes import waiting_here

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import ASGIApp
    from starlette.types import Message
    from starlette.types import Scope

#: How much of a request's body is read at a time.
CHUNK_SIZE = 64 * 1024
#: How many pieces of a response an application may be ahead of whoever reads them.
PIECES_AHEAD = 8

_DISCONNECT: t.Final[Message] = {"type": "http.disconnect"}
_logger = logging.getLogger(__name__)


class AsgiToWsgi:
    """A WSGI application that runs an ASGI application.

    It runs on the loop that serves the request, if the caller is a sync part of one under ASGI;
    else on the process's background loop.

    Bodies stream in both directions with bounded memory: the thread that called reads the
    request's body when the application asks for it, and the application waits when the
    response is not read.

    :param asgi_app: the application; it is sent no lifespan events.
    :param extra_scope: entries to put into each scope over those made from the environ.
    """

    #: Seconds that an application gets to end after it was told that its client has left;
    #: then it is cancelled and given the same time once more.
    close_timeout: float = 5.0

    def __init__(
        self, asgi_app: ASGIApp, *, extra_scope: t.Mapping[str, t.Any] | None = None
    ) -> None:
        self.asgi_app = asgi_app
        self.extra_scope = extra_scope

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> AsgiResponse:
        """Handle one request, as PEP 3333 has it.

        The application runs in a copy of the caller's context. What it raises before it starts
        its response is raised here, what it raises later while the response is iterated.

        :raises RuntimeError: on the thread of that loop, which would wait for itself.
        """
        loop = loop_for_here(self.asgi_app)
        scope = scope_from_environ(environ)
        scope.update(self.extra_scope or {})
        exchange = _Exchange(loop, scope)
        response = AsgiResponse(exchange, _RequestBody(environ), self.close_timeout)
        exchange.start(self.asgi_app)
        try:
            response.begin(start_response)
        except BaseException:
            # The server has no response that it could close.
            response.close()
            raise
        return response


def scope_from_environ(environ: WSGIEnvironment) -> dict[str, t.Any]:
    """Describe a WSGI request as the scope of an ASGI one."""
    root_path = environ.get("SCRIPT_NAME", "").encode("latin-1")
    path = root_path + environ.get("PATH_INFO", "").encode("latin-1") or b"/"
    client = environ.get("REMOTE_ADDR")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": environ.get("SERVER_PROTOCOL", "HTTP/1.1").partition("/")[2] or "1.1",
        "method": environ["REQUEST_METHOD"].upper(),
        "scheme": environ.get("wsgi.url_scheme", "http"),
        "path": path.decode("utf-8", "replace"),
        "raw_path": _raw_path(environ, path),
        "root_path": root_path.decode("utf-8", "replace"),
        "query_string": environ.get("QUERY_STRING", "").encode("latin-1"),
        "headers": _headers(environ),
        "client": (client, _port(environ.get("REMOTE_PORT"))) if client else None,
        "server": (environ["SERVER_NAME"], _port(environ["SERVER_PORT"])),
        "extensions": {},
    }


def _raw_path(environ: WSGIEnvironment, path: bytes) -> bytes:
    target = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    raw_path: bytes = target.partition("?")[0].encode("latin-1")
    # Neither key is a standard's, and middleware that moves a prefix leaves them as they were.
    if unquote_to_bytes(raw_path) == path:
        return raw_path
    return quote(path, safe="/!$&'()*+,;=:@~").encode("ascii")


def _headers(environ: WSGIEnvironment) -> list[tuple[bytes, bytes]]:
    named = {}
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            named[key[5:]] = value
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        # Servers set them to the empty string where there is no such header.
        named[key] = environ.get(key) or None
    return [
        (name.replace("_", "-").lower().encode("latin-1"), str(value).encode("latin-1"))
        for name, value in named.items()
        if value is not None
    ]


def _port(value: t.Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return 0


class _RequestBody:
    """What the calling thread reads from ``wsgi.input``, as ASGI messages."""

    def __init__(self, environ: WSGIEnvironment) -> None:
        stream = environ["wsgi.input"]
        # read() may wait until it has all the bytes asked for, read1() gives what has arrived.
        self._read: t.Callable[[int], bytes] = getattr(stream, "read1", stream.read)
        self._remaining = get_content_length(environ)
        if self._remaining is None and not environ.get("wsgi.input_terminated", False):
            self._remaining = 0

    def next_message(self) -> Message:
        """Read the next piece; a body that ends too early is a disconnect, never an end."""
        if self._remaining == 0:
            return {"type": "http.request", "body": b"", "more_body": False}
        size = CHUNK_SIZE if self._remaining is None else min(CHUNK_SIZE, self._remaining)
        try:
            chunk = self._read(size)
        except (OSError, ValueError):
            return _DISCONNECT
        more = bool(chunk)
        if self._remaining is not None:
            if not chunk:
                return _DISCONNECT
            self._remaining -= len(chunk)
            more = self._remaining > 0
        return {"type": "http.request", "body": chunk, "more_body": more}


class _BodyWanted:
    """Put into the mailbox when the application waits for more of the request's body."""


class _Ended:
    """Put into the mailbox when the application's task is over."""

    def __init__(self, error: BaseException | None = None) -> None:
        self._error = error

    def take_error(self) -> BaseException | None:
        """Give the error away: keeping it would tie it and its traceback into a circle."""
        error, self._error = self._error, None
        return error


class _Exchange:
    """The application's side of a request: its task, ``receive`` and ``send``.

    Everything but :meth:`start` and the mailbox belongs to the loop's thread.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, scope: dict[str, t.Any]) -> None:
        self.loop = loop
        self.scope: Scope = scope
        self.mailbox: SimpleQueue[Message | _BodyWanted | _Ended] = SimpleQueue()
        self._task: asyncio.Task[None] | None = None
        self._cancelled = False
        #: The type of message that the application may send next.
        self.expected: str | None = "http.response.start"
        self._hung_up = False
        self._ahead = 0
        self._room = asyncio.Event()
        self._room.set()
        self._receiving = asyncio.Lock()
        self._input_over = False
        self._disconnected = False
        self._body_wanted = False
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()

    def start(self, app: ASGIApp) -> None:
        """Have the loop run *app* in a copy of this thread's context."""
        self.loop.call_soon_threadsafe(self._spawn, app, contextvars.copy_context())

    def _spawn(self, app: ASGIApp, context: contextvars.Context) -> None:
        self._task = self.loop.create_task(self._run(app), context=context)
        if self._cancelled:
            self.cancel()

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except GeneratorExit as exc:
            # Thrown in when the loop is closed, or raised by the application: it must go on.
            self.mailbox.put(_Ended(exc))
            raise
        except BaseException as exc:
            # SystemExit too goes to the caller: from here it would stop the shared loop.
            self.mailbox.put(_Ended(exc))
        else:
            self.mailbox.put(_Ended())

    async def receive(self) -> Message:
        async with self._receiving:
            if self._disconnected:
                return _DISCONNECT
            if not (self._input_over or self._body_wanted) and self._arrived.empty():
                # Remembered rather than awaited in one go: a receive() that is cancelled
                # must not lose the piece that was read for it.
                self._body_wanted = True
                self.mailbox.put(_BodyWanted())
            return await self._arrived.get()

    async def send(self, message: Message) -> None:
        await self._room.wait()
        if self._hung_up:
            raise ConnectionResetError("The client has left; nothing more can be sent to it.")
        kind = message["type"]
        if kind != self.expected:
            raise RuntimeError(
                f"The ASGI application sent {kind!r} where"
                f" {self.expected or 'nothing more'!r} was expected."
            )
        more = bool(message.get("more_body", False))
        self.mailbox.put(message)
        if kind == "http.response.start":
            self.expected = "http.response.body"
        elif more:
            self._ahead += 1
            if self._ahead >= PIECES_AHEAD:
                self._room.clear()
        else:
            self.expected = None
            self._disconnect()

    def deliver(self, message: Message) -> None:
        """Hand over a piece of the request's body, or the news that there will be none."""
        self._body_wanted = False
        if message is _DISCONNECT:
            self._disconnect()
        else:
            self._input_over = not message["more_body"]
            self._arrived.put_nowait(message)

    def piece_taken(self) -> None:
        """Let the application send one piece more."""
        self._ahead -= 1
        self._room.set()

    def hang_up(self) -> None:
        """Tell the application that its client has left."""
        self._hung_up = True
        self._room.set()
        self._disconnect()

    def cancel(self) -> None:
        """Cancel the application's task, also one that is still to begin."""
        self._cancelled = True
        if self._task is not None:
            # After its first step: one that was cancelled before never says that it has ended.
            self.loop.call_soon(self._task.cancel)

    def _disconnect(self) -> None:
        """Have ``receive`` answer that there is no client any more, now and from now on."""
        self._disconnected = True
        self._arrived.put_nowait(_DISCONNECT)


class AsgiResponse:
    """The response of a bridged application: a WSGI iterable that is made while it is read.

    Its end comes when the application has ended, so with everything done that it does after
    its last piece. :meth:`close` before that tells it that the client has left.
    """

    def __init__(self, exchange: _Exchange, body: _RequestBody, close_timeout: float) -> None:
        self._exchange = exchange
        self._request_body = body
        self._close_timeout = close_timeout
        self._has_body = exchange.scope["method"] != "HEAD"
        self._held: deque[bytes] = deque()
        self._complete = False
        self._ended = False

    def begin(self, start_response: StartResponse) -> None:
        """Wait for the start of the response and pass it on."""
        message = self._next_message()
        if message is None:
            return
        status = message["status"]
        if status < 200 or status in (204, 304):
            self._has_body = False
        headers = [
            (bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
            for name, value in message.get("headers", ())
        ]
        # A WSGI application must not set these; some servers refuse them.
        headers = [pair for pair in headers if not is_hop_by_hop_header(pair[0])]
        start_response(f"{status} {HTTP_STATUS_CODES.get(status, 'Unknown').upper()}", headers)

    @property
    def ended(self) -> bool:
        """Whether the application has ended, or was closed."""
        return self._ended

    def settle(self) -> None:
        """Wait for the application's end if its response is complete with the next piece.

        A response that streams stays as lazy as it is.

        :raises Exception: what the application raises.
        """
        while not (self._held or self._complete):
            message = self._next_message()
            if message is None:
                return
            self._hold(message)
        if self._complete:
            self._next_message()

    def __iter__(self) -> AsgiResponse:
        return self

    def __next__(self) -> bytes:
        while not self._held:
            message = self._next_message()
            if message is None:
                raise StopIteration
            self._hold(message)
        return self._held.popleft()

    def close(self) -> None:
        """Make sure that the application ends, and wait for it for a bounded time."""
        if self._ended:
            return
        self._ended = True
        self._exchange.loop.call_soon_threadsafe(self._exchange.hang_up)
        ended = self._wait_for_end()
        if ended is None and not self._complete:
            self._exchange.loop.call_soon_threadsafe(self._exchange.cancel)
            ended = self._wait_for_end()
        path = self._exchange.scope["path"]
        if ended is None:
            _logger.error("%r goes on after its client has left.", path)
            return
        error = ended.take_error()
        if error is not None and not _comes_of_disconnect(error):
            _logger.error("Error in %r after its client had left.", path, exc_info=error)

    def __del__(self) -> None:
        if not self._ended and not self._exchange.loop.is_closed():
            self._exchange.loop.call_soon_threadsafe(self._exchange.hang_up)

    def _hold(self, message: Message) -> None:
        chunk = message.get("body", b"")
        if chunk and self._has_body:
            self._held.append(bytes(chunk))
        self._complete = not message.get("more_body", False)

    def _next_message(self) -> Message | None:
        """Serve the application's wishes until it sends something; ``None`` at its end."""
        exchange = self._exchange
        while not self._ended:
            with waiting_here(exchange):
                item = exchange.mailbox.get()
            if isinstance(item, _Ended):
                self._ended = True
                self._raise_for(item)
            elif isinstance(item, _BodyWanted):
                message = self._request_body.next_message()
                exchange.loop.call_soon_threadsafe(exchange.deliver, message)
            else:
                if item.get("more_body", False):
                    exchange.loop.call_soon_threadsafe(exchange.piece_taken)
                return item
        return None

    def _raise_for(self, end: _Ended) -> None:
        error = end.take_error()
        if error is not None:
            try:
                raise error
            finally:
                del error
        if self._exchange.expected is not None:
            raise RuntimeError(
                "The ASGI application ended without a complete response: it did not send"
                f" {self._exchange.expected!r}."
            )

    def _wait_for_end(self) -> _Ended | None:
        deadline = time.monotonic() + self._close_timeout
        while (left := deadline - time.monotonic()) > 0:
            try:
                item = self._exchange.mailbox.get(timeout=left)
            except Empty:
                break
            if isinstance(item, _Ended):
                return item
        return None


def _comes_of_disconnect(error: BaseException) -> bool:
    """Tell whether an application failed for no other reason than that its client left."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (ConnectionResetError, asyncio.CancelledError)):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
