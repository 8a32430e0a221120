"""WSGI: an environ becomes a ``Request``, a ``Response`` becomes an iterable (PEP 3333)."""

from __future__ import annotations

import contextvars
import io
import typing as t

from ..lanes import async_to_sync
from ..lanes import ThreadDriver
from ..lanes import to_loop
from ..pipeline import stages
from . import wire
from .bridges import AsgiToWsgi

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIEnvironment

    from ..app import Flask
    from ..wrappers import Response

_END: t.Final = object()


def handle_environ(
    app: Flask, environ: WSGIEnvironment, start_response: StartResponse
) -> t.Iterable[bytes]:
    """Serve one request on the server's thread, which is its thread lane.

    Async stages run on the process's background loop; a request without any touches no loop.
    """
    context = contextvars.copy_context()
    driver = ThreadDriver(context)
    ctx = app.request_context(environ)
    ctx.preserve = environ.get("werkzeug.debug.preserve_context")
    response = driver.drive(stages.handle(app, ctx, driver.lane))
    if driver.lane.keep:
        ctx.lane = driver.lane
    try:
        wire.check_status(response.status)
        headers = wire.final_headers(response, lambda: environ)
        for name, value in headers:
            wire.check_header(name, value)
    except wire.InvalidHeader as exc:
        context.run(response.close)
        context.run(app.log_exception, (type(exc), exc, exc.__traceback__))
        response = app.response_class("Internal Server Error", 500, mimetype="text/plain")
        headers = list(response.headers)
    if response.asgi is not None:
        return _send_itself(response, headers, environ, start_response)
    if response.background is not None:
        response.call_on_close(async_to_sync(response.background))
    body = _body(driver, context, environ, response)
    start_response(response.status, list(headers))
    return body


def _body(
    driver: ThreadDriver,
    context: contextvars.Context,
    environ: WSGIEnvironment,
    response: Response,
) -> t.Iterable[bytes]:
    if response.is_async:
        stream = _AsyncBody(driver, context, response)
        if wire.has_body(environ["REQUEST_METHOD"], response.status_code):
            return stream
        stream.close()
        return ()
    chunks = context.run(response.get_app_iter, environ)
    if response.is_sequence and not response._on_close:
        return chunks
    return _Body(context, chunks)


def _send_itself(
    response: Response,
    headers: wire.Headers,
    environ: WSGIEnvironment,
    start_response: StartResponse,
) -> t.Iterable[bytes]:
    """Have a Starlette response send itself, under the headers the hooks have left."""
    encoded = [wire.encode_header(pair) for pair in headers]
    # The request's body has been read by then, or will never be.
    environ = {**environ, "wsgi.input": io.BytesIO(), "CONTENT_LENGTH": "0"}
    return AsgiToWsgi(wire.under_headers(response, encoded))(environ, start_response)


class _Body:
    """Iterates over a body, and closes it, in the request's Context."""

    def __init__(self, context: contextvars.Context, chunks: t.Iterable[bytes]) -> None:
        self._context = context
        self._chunks = chunks
        self._iterator = iter(chunks)

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._context.run(next, self._iterator, _END)
        if chunk is _END:
            raise StopIteration
        return t.cast(bytes, chunk)

    def close(self) -> None:
        close = getattr(self._chunks, "close", None)
        if close is not None:
            self._context.run(close)


class _AsyncBody:
    """Fetches the chunks of an async body from the loop, one when the server asks for one."""

    def __init__(
        self, driver: ThreadDriver, context: contextvars.Context, response: Response
    ) -> None:
        self._driver = driver
        self._context = context
        self._response = response
        self._source = response.aiter_encoded()
        response.response = ()

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = self._driver.drive(self._fetch())
        if chunk is _END:
            raise StopIteration
        return t.cast(bytes, chunk)

    def close(self) -> None:
        self._driver.drive(self._finish())
        self._context.run(self._response.close)

    async def _fetch(self) -> t.Any:
        await to_loop()
        try:
            return await self._source.__anext__()
        except StopAsyncIteration:
            return _END

    async def _finish(self) -> None:
        await to_loop()
        await self._source.aclose()
