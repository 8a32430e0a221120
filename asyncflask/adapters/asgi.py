"""ASGI: a scope becomes a ``Request``, a ``Response`` becomes messages (ASGI HTTP spec 2.4)."""

from __future__ import annotations

import contextvars
import typing as t

import anyio
import anyio.lowlevel
from werkzeug.wsgi import FileWrapper

from ..ctx import RequestContext
from ..lanes import current_task
from ..lanes import Driver
from ..lanes import to_loop
from ..lanes import to_thread
from ..pipeline import stages
from ..wrappers import EncodedBody
from . import wire

if t.TYPE_CHECKING:
    from starlette.types import Message
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from ..app import Flask
    from ..wrappers import Request
    from ..wrappers import Response

FILE_CHUNK: t.Final = 256 * 1024
"""Bytes of a file that are read in one trip to a thread."""

_BODILESS: t.Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
"""Methods whose requests have no body unless a header announces one."""
_END: t.Final = object()


async def handle_http(app: Flask, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request.

    The pipeline runs in a Context of its own; ``receive`` and ``send`` are awaited outside.
    """
    context = contextvars.copy_context()
    workers = app._workers
    driver = Driver(context, workers)
    request = app.request_class.from_scope(scope)
    request.receive = receive
    request.workers = workers
    request.server_context = contextvars.copy_context()
    raw = request.raw_headers or dict(scope["headers"])
    if request.method not in _BODILESS or b"content-length" in raw or b"transfer-encoding" in raw:
        request.body = request.new_body(app.config["BODY_TIMEOUT"])
    if "request_context" in app._overrides:
        ctx = app.request_context(request.environ)
    else:
        ctx = RequestContext(app, {}, request)
    if "wsgi_environ" in scope:
        ctx.preserve = scope["wsgi_environ"].get("werkzeug.debug.preserve_context")
    else:
        # Whatever application context the server's task has is none of this request's.
        ctx.isolated = True
    try:
        driver.coro = stages.handle(app, ctx, driver)
        response = await driver
        ctx.response = None
        if driver.keep:
            ctx.lane, driver.task = driver, current_task()
        await send_response(app, request, driver, send, response)
    finally:
        if ctx.response is not None:
            await _close(driver, ctx.response)
        if driver.parked:
            driver.release()
        if request.body is not None:
            if ctx.preserve is not None:
                await driver.drive(request.keep_body())
            request.body.release()


async def send_response(
    app: Flask, request: Request, driver: Driver, send: Send, response: Response
) -> None:
    """Send a response, whatever its body is, and close it."""
    try:
        headers = wire.encode(response, request)
    except wire.InvalidHeader as exc:
        await _close(driver, response)
        driver.context.run(app.log_exception, (type(exc), exc, exc.__traceback__))
        response = app.response_class("Internal Server Error", 500, mimetype="text/plain")
        headers = wire.encode(response, request)
    status = response._status_code
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    body = response.response
    if response.asgi is not None:
        asgi = wire.under_headers(response, headers)
        await asgi(t.cast("Scope", request.scope), t.cast("Receive", request.receive), send)
        await _close(driver, response)
    elif request.method == "HEAD" or not 200 <= status or status in wire.BODILESS:
        await send(start)
        await send({"type": "http.response.body", "body": b""})
        await _close(driver, response)
    elif type(body) is list and not response.direct_passthrough:
        await send(start)
        whole = body[0] if len(body) == 1 and type(body[0]) is bytes else response.get_data()
        await send({"type": "http.response.body", "body": whole})
        if response._on_close:
            await _close(driver, response)
    else:
        await _stream(request, driver, send, start, response)
    if response.background is not None:
        await driver.drive(response.background())


# -- streams ---------------------------------------------------------------------------------


async def _stream(
    request: Request, driver: Driver, send: Send, start: Message, response: Response
) -> None:
    """Send a body chunk by chunk, and stop when the client leaves."""
    error: BaseException | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_watch, request, group.cancel_scope)
        try:
            await _pump(driver, send, start, response)
        except Exception as exc:
            # Raised outside of the group, which would wrap it. The server aborts the connection.
            error = exc
        group.cancel_scope.cancel()
    await _close(driver, response)
    if error is not None:
        raise error


async def _watch(request: Request, scope: anyio.CancelScope) -> None:
    await request.client_left()
    scope.cancel()


async def _pump(driver: Driver, send: Send, start: Message, response: Response) -> None:
    chunks = _chunks(driver, response)
    # The headers go out with the first chunk, so that what fails before it is a plain 500.
    chunk = await chunks()
    await send(start)
    while chunk is not _END:
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        # A producer and a server that never suspend would keep the loop, and the watcher, out.
        await anyio.lowlevel.checkpoint()
        chunk = await chunks()
    await send({"type": "http.response.body", "body": b""})


def _chunks(driver: Driver, response: Response) -> t.Callable[[], t.Awaitable[t.Any]]:
    """Give a function that fetches the next chunk where the body's colour belongs."""
    if response.is_async:
        source = response.aiter_encoded()
        response.response = t.cast(t.Any, source)
        return lambda: driver.drive(_next_async(source))
    body: t.Any = response.response
    if type(body) is FileWrapper:
        body.buffer_size = FILE_CHUNK
    iterator = iter(body if response.direct_passthrough else response.iter_encoded())
    return lambda: driver.drive(_next_sync(iterator))


async def _next_async(source: t.AsyncIterator[bytes]) -> t.Any:
    try:
        return await source.__anext__()
    except StopAsyncIteration:
        return _END


async def _next_sync(source: t.Iterator[bytes]) -> t.Any:
    await to_thread()
    return next(source, _END)


async def _close(driver: Driver, response: Response) -> None:
    """Close a response and its body in the request's Context, on the side they belong to."""
    with anyio.CancelScope(shield=True):
        await driver.drive(_close_there(driver, response))


async def _close_there(driver: Driver, response: Response) -> None:
    if response.is_async:
        body = response.response
        await (body if isinstance(body, EncodedBody) else response.aiter_encoded()).aclose()
    if response._on_close or hasattr(response.response, "close"):
        await to_thread()
        response.close()
        await to_loop()
