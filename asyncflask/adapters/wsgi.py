"""WSGI: an environ becomes a ``Request``, a ``Response`` becomes an iterable (PEP 3333)."""

from __future__ import annotations

import contextvars
import functools
import io
import typing as t

from ..lanes import async_to_sync
from ..lanes import pause
from ..lanes import ThreadDriver
from ..lanes import to_loop
from ..lanes import to_thread
from ..pipeline import stages
from ..wrappers import Response
from . import wire
from .environ import check_framing

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

    from ..app import Flask
    from ..responses import EncodedBody
    from ..wrappers import Request
    from .bridges import AsgiResponse

_END: t.Final = object()


def handle_environ(
    app: Flask, environ: WSGIEnvironment, start_response: StartResponse
) -> t.Iterable[bytes]:
    """Serve one request on the server's thread, which is its thread lane.

    Async stages run on the process's background loop; a request without any touches no loop.
    """
    driver = ThreadDriver(contextvars.copy_context())
    body = None
    under_way = app._under_way
    under_way.add(driver)
    try:
        body = _respond(app, driver, environ, start_response)
    finally:
        if isinstance(body, _OpenBody):
            body.when_closed = functools.partial(under_way.discard, driver)
        else:
            under_way.discard(driver)
    return body


def _respond(
    app: Flask, driver: ThreadDriver, environ: WSGIEnvironment, start_response: StartResponse
) -> t.Iterable[bytes]:
    ctx = app.request_context(environ)
    ctx.preserve = environ.get("werkzeug.debug.preserve_context")
    ctx.request.routing_exception = check_framing(environ)
    answer = _Answer(app, ctx.request, driver, start_response)
    try:
        driver.drive(stages.handle(app, ctx, driver.lane, answer.begin))
        response: Response = ctx.response  # type: ignore[assignment]
        if not answer.begun:
            driver.lane.context.run(answer.begin, response)
    except BaseException:
        # Ctrl-C as well: the server gets no body that it could close.
        if ctx.response is not None:
            _close(driver, ctx.response)
        raise
    if driver.lane.keep:
        ctx.lane = driver.lane
    if answer.refused:
        _close(driver, response)
    elif response.asgi is not None:
        return _send_itself(response, answer.headers, environ, start_response)
    return answer.body


class _Answer:
    """Begins the response while its request is current: WSGI middleware may want to look at it.

    The headers go to the server with the first bytes of the body, which it asks for later.
    """

    body: t.Iterable[bytes]
    headers: wire.Headers
    begun = False
    refused = False
    """Whether the response cannot be sent, so that another one was begun in its place."""

    def __init__(
        self, app: Flask, request: Request, driver: ThreadDriver, start_response: StartResponse
    ) -> None:
        self._app = app
        self._request = request
        self._driver = driver
        self._start_response = start_response

    def begin(self, response: Response) -> None:
        self.begun = True
        try:
            headers = _checked_headers(response, self._request)
        except wire.InvalidHeader as exc:
            self.refused = True
            wire.name_request(exc, self._request)
            self._app.log_exception((type(exc), exc, exc.__traceback__))
            response = Response(wire.ERROR, 500, mimetype="text/plain")
            headers = list(response.headers)
        self.headers = headers
        if response.asgi is not None:
            return
        if response.background is not None:
            response.call_on_close(async_to_sync(response.background))
        self.body = _body(self._driver, self._request.environ, response, headers)
        self._start_response(response._status, headers)


def _checked_headers(response: Response, request: Request) -> wire.Headers:
    headers = wire.checked(response, request)
    in_one_piece = type(response.response) is list and not response.direct_passthrough
    if in_one_piece and wire.has_body(request.environ["REQUEST_METHOD"], response._status_code):
        body = _whole(response)
        if ("Content-Length", str(len(body))) not in headers:
            wire.check_length(headers, body)
    else:
        wire.declared_length(headers)
    return headers


def _whole(response: Response) -> bytes:
    body = t.cast("list[t.Any]", response.response)
    return body[0] if len(body) == 1 and type(body[0]) is bytes else response.get_data()


def _body(
    driver: ThreadDriver, environ: WSGIEnvironment, response: Response, headers: wire.Headers
) -> t.Iterable[bytes]:
    if not wire.has_body(environ["REQUEST_METHOD"], response.status_code):
        return _NoBody(driver, response)
    if response.is_async:
        return _AsyncBody(driver, response, wire.Tally(headers))
    if not response._on_close:
        if response.direct_passthrough:
            # As it is: servers know their own file wrapper and send the file in their own way.
            return t.cast("t.Iterable[bytes]", response.response)
        if type(response.response) is list:
            return [_whole(response)]
    return _Body(driver, response, wire.Tally(headers))


def _close(driver: ThreadDriver, response: Response) -> None:
    """Close a response whose body is not sent."""
    if response.is_async:
        _AsyncBody(driver, response, wire.Tally()).close()
    else:
        driver.lane.context.run(response.close)


def _send_itself(
    response: Response,
    headers: wire.Headers,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> t.Iterable[bytes]:
    """Have a Starlette response send itself, under the headers the hooks have left."""
    from .bridges import AsgiToWsgi

    encoded = [wire.encode_header(pair) for pair in headers]
    # The request's body has been read by then, or will never be.
    environ = {**environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
    asgi_app = AsgiToWsgi(wire.under_headers(response, encoded))
    return _OwnBody(asgi_app(environ, start_response))


class _OpenBody:
    """A body whose request is not over before it is closed."""

    when_closed: t.Callable[[], None] | None = None

    def close(self) -> None:
        try:
            self._close()
        finally:
            self._note_end()

    def __del__(self) -> None:
        # The server may not have closed it.
        self._note_end()

    def _close(self) -> None:
        raise NotImplementedError(f"{type(self).__name__} must define '_close'.")

    def _note_end(self) -> None:
        if self.when_closed is not None:
            self.when_closed()


class _OwnBody(_OpenBody):
    """That of a response which sends itself."""

    def __init__(self, body: AsgiResponse) -> None:
        self._body = body

    def __iter__(self) -> t.Iterator[bytes]:
        return self._body

    def _close(self) -> None:
        self._body.close()


class _NoBody(_OpenBody):
    """Is empty, and closes the response whose body is not sent."""

    def __init__(self, driver: ThreadDriver, response: Response) -> None:
        self._driver = driver
        self._response = response

    def __iter__(self) -> t.Iterator[bytes]:
        return iter(())

    def _close(self) -> None:
        _close(self._driver, self._response)


class _Body(_OpenBody):
    """Iterates over a body, and closes it, in the request's Context."""

    def __init__(self, driver: ThreadDriver, response: Response, tally: wire.Tally) -> None:
        self._run = driver.lane.context.run
        self._response = response
        self._tally = tally
        body = response.response if response.direct_passthrough else response.iter_encoded()
        self._iterator = iter(t.cast("t.Iterable[t.Any]", body))

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return _counted(self._run(next, self._iterator, _END), self._tally)

    def _close(self) -> None:
        self._run(self._response.close)


class _AsyncBody(_OpenBody):
    """Fetches the chunks of an async body from the loop, one when the server asks for one."""

    def __init__(self, driver: ThreadDriver, response: Response, tally: wire.Tally) -> None:
        self._driver = driver
        self._response = response
        self._tally = tally
        self._reading = _Reading(response.aiter_encoded())
        self._started = False
        response.response = t.cast(t.Any, self._reading.source)

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        self._advance()
        return _counted(self._reading.chunk, self._tally)

    def _close(self) -> None:
        self._reading.closing = True
        try:
            self._advance()
        finally:
            self._driver.lane.context.run(self._response.close)

    def __del__(self) -> None:
        if self._driver.lane.paused:
            # The server has not closed it.
            self._reading.closing = True
            self._driver.drop()
        super().__del__()

    def _advance(self) -> None:
        self._reading.chunk = _END
        if not self._started:
            self._started = True
            self._driver.drive(self._reading.run())
        elif self._driver.lane.paused:
            self._driver.go_on()


class _Reading:
    """Reads and closes an async body, all in one task.

    What the body holds between chunks, a scope of anyio's say, has to be left in the task it was
    entered in.
    """

    def __init__(self, source: EncodedBody) -> None:
        self.source = source
        self.chunk: t.Any = _END
        self.closing = False

    async def run(self) -> None:
        """Go to the loop for a chunk, and pause on the thread with it."""
        await to_loop()
        try:
            while not self.closing and (chunk := await anext(self.source, _END)) is not _END:
                await to_thread()
                self.chunk = chunk
                await pause()
                await to_loop()
        finally:
            # A cancellation may have met it on its way to the thread.
            await to_loop()
            await self.source.aclose()


def _counted(chunk: t.Any, tally: wire.Tally) -> bytes:
    if chunk is _END:
        tally.end()
        raise StopIteration
    data = chunk if type(chunk) is bytes else wire.as_bytes(chunk)
    tally.add(data)
    return data
