"""ASGI: a scope becomes a ``Request``, a ``Response`` becomes messages (ASGI HTTP spec 2.4)."""

from __future__ import annotations

import contextvars
import typing as t

import anyio

from ..ctx import RequestContext
from ..lanes import current_task
from ..lanes import Driver
from ..lanes import ENDED
from ..lanes import io_workers
from ..lanes import run_sync
from ..lanes import to_loop
from ..lanes import to_thread_in_any_case
from ..pipeline import stages
from ..responses import EncodedBody
from ..responses import OK
from ..responses import Response
from . import wire
from .environ import BODILESS_METHODS
from .environ import DEBUGGER
from .sending import send_whole
from .sending import whole_messages
from .streams import is_in_memory
from .streams import is_plain_file
from .streams import read_before
from .streams import read_small_file
from .streams import send_stream

if t.TYPE_CHECKING:
    from starlette.types import ASGIApp
    from starlette.types import Message
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from ..app import Flask
    from ..wrappers import Request
    from .body import Body

_NO_ENVIRON: t.Any = None


async def handle_http(app: Flask, scope: Scope, receive: Receive, send: Send) -> None:
    """Serve one HTTP request.

    The pipeline runs in a Context of its own; ``receive`` and ``send`` are awaited outside.
    """
    raw: dict[bytes, bytes] = {}
    size = 0
    for name, value in scope.get("headers", ()):
        raw[name] = value
        size += len(name) + len(value)
    limit = app.config["MAX_HEADER_SIZE"]
    if limit is not None and size > limit:
        # Before anything else is made of them, so that it costs next to nothing.
        too_large = wire.TOO_LARGE
        await send_whole(send, scope["method"], 431, wire.plain_headers(too_large), too_large)
        return
    driver = Driver(contextvars.copy_context(), app._workers)
    request = app.request_class.from_scope(scope, None, raw)
    request.receive = receive
    request.server_context = contextvars.copy_context()
    if (
        b"content-length" in raw
        or b"transfer-encoding" in raw
        or request.method not in BODILESS_METHODS
    ):
        request.body = request.new_body(app.config["BODY_TIMEOUT"])
    if app._overrides and "request_context" in app._overrides:
        ctx = app.request_context(request.environ)
    else:
        ctx = RequestContext(app, _NO_ENVIRON, request)
    if "wsgi_environ" in scope:
        _take_over(ctx, scope["wsgi_environ"])
    else:
        # Whatever application context the server's task has is none of this request's.
        ctx.isolated = True
    app._under_way.add(driver)
    try:
        coro = stages.handle(app, ctx, driver)
        # Most requests end in their first step, and so without a StopIteration being made.
        command = driver.context.run(next, coro.__await__(), ENDED)
        if command is not ENDED:
            await driver.drive(coro).go_on(command)
        response: Response = ctx.response  # type: ignore[assignment]
        ctx.response = None
        if driver.keep:
            ctx.lane, driver.task = driver, current_task()
        messages = _messages_of(response, request)
        if messages is None:
            await send_response(app, request, driver, send, response)
        else:
            try:
                await send(messages[0])
                await send(messages[1])
            except OSError:
                # The client has left, and this server says so (ASGI HTTP spec 2.4).
                return
    finally:
        try:
            if ctx.response is not None or driver.parked or ctx.preserve is not None:
                await _let_go(ctx, driver)
            elif request.body is not None:
                request.body.release()
        finally:
            app._under_way.discard(driver)


def _messages_of(response: Response, request: Request) -> tuple[Message, Message] | None:
    """Give all there is to do for a response that is there as a whole; ``None`` if it is not."""
    body = response.response
    if (
        type(body) is not list
        or len(body) != 1
        or type(body[0]) is not bytes
        or response.direct_passthrough
        or response._on_close
        or response.background is not None
    ):
        return None
    method = request.scope["method"]  # type: ignore[index]
    untouched = response._untouched
    try:
        # A class that it was made one of later may have a say in the headers.
        if untouched is None or not response._quick or response._status != OK or method == "HEAD":
            if response._closes:
                return None
        else:
            content_type, length = untouched
            if length == len(body[0]):
                # What encode() gives when it has made the headers, and whole_messages() of them.
                return (
                    {
                        "type": "http.response.start",
                        "status": 200,
                        "headers": [
                            wire.encoded.get(content_type) or wire.encode_header(content_type),
                            wire.lengths.get(length) or wire.length_header(length),
                        ],
                    },
                    {"type": "http.response.body", "body": body[0]},
                )
        headers = wire.encode(response, request)
        return whole_messages(method, response._status_code, headers, body[0])
    except wire.InvalidHeader:
        return None


def _take_over(ctx: RequestContext, given: dict[str, t.Any]) -> None:
    """Take over what a test client or a debugger asks for in an environ."""
    ctx.preserve = given.get("werkzeug.debug.preserve_context")
    ctx.debugged = ctx.isolated = DEBUGGER in given


async def _let_go(ctx: RequestContext, driver: Driver) -> None:
    """Give back what a request still holds, whatever became of it."""
    body = ctx.request.body
    try:
        if ctx.response is not None:
            await _close(driver, ctx.response)
        if body is not None and _is_kept(body, ctx):
            await driver.drive(ctx.request.keep_body())
    finally:
        driver.release()
        if body is not None:
            body.release()


def _is_kept(body: Body, ctx: RequestContext) -> bool:
    """Tell whether a body is read later, by a test, which has sent all of it, or in a console."""
    return ctx.preserve is not None and (body.arrived or not ctx.debugged)


async def send_response(
    app: Flask, request: Request, driver: Driver, send: Send, response: Response
) -> None:
    """Send a response, whatever its body is, and close it."""
    body = response.response
    # The server's own, which may take "head" for a method of which it expects a body.
    method = request.scope["method"]  # type: ignore[index]
    read = read_before(response)
    try:
        headers = wire.encode(response, request)
        if read is not None:
            await send_whole(send, method, response._status_code, headers, read)
        elif type(body) is list and not response.direct_passthrough:
            whole = body[0] if len(body) == 1 and type(body[0]) is bytes else response.get_data()
            await send_whole(send, method, response._status_code, headers, whole)
        else:
            await _send_in_parts(request, method, driver, send, response, headers)
    except wire.InvalidHeader as exc:
        wire.name_request(exc, request)
        driver.context.run(app.log_exception, (type(exc), exc, exc.__traceback__))
        await send_whole(send, method, 500, wire.plain_headers(wire.ERROR), wire.ERROR)
        return
    finally:
        if read is None and (response._on_close or response._closes or type(body) is not list):
            await _close(driver, response)
    if response.background is not None:
        await driver.drive(response.background())


async def _send_in_parts(
    request: Request,
    method: str,
    driver: Driver,
    send: Send,
    response: Response,
    headers: wire.RawHeaders,
) -> None:
    """Send a body that is not there yet, or not in one piece."""
    status = response._status_code
    if response.asgi is not None:
        await _send_itself(request, send, wire.under_headers(response, headers))
    elif not wire.has_body(method, status):
        await send_whole(send, method, status, headers, b"")
    elif (whole := await read_small_file(driver, response)) is not None:
        await send_whole(send, method, status, headers, whole)
    else:
        if any(name == b"x-sendfile" for name, _ in headers):
            # A proxy puts the file in; a server would wait for as many bytes from here.
            headers = [pair for pair in headers if pair[0] != b"content-length"]
        start: Message = {"type": "http.response.start", "status": status, "headers": headers}
        await send_stream(request, driver, send, start, response)


async def _send_itself(request: Request, send: Send, asgi: ASGIApp) -> None:
    """Have a response send itself that is an ASGI application."""
    left = False

    async def send_on(message: Message) -> None:
        nonlocal left
        try:
            await send(message)
        except OSError:
            left = True
            raise

    try:
        await asgi(t.cast("Scope", request.scope), t.cast("Receive", request.receive), send_on)
    except Exception:
        # What a response raises whose client has left is that, in whatever words.
        if not left:
            raise


async def _close(driver: Driver, response: Response) -> None:
    """Close a response and its body in the request's Context, on the side they belong to."""
    with anyio.CancelScope(shield=True):
        await driver.drive(_close_there(response))


async def _close_there(response: Response) -> None:
    try:
        if response.is_async:
            body = response.response
            await (body if isinstance(body, EncodedBody) else response.aiter_encoded()).aclose()
    finally:
        if is_plain_file(response) and not response._on_close:
            if is_in_memory(response):
                response.close()
            else:
                await run_sync(io_workers(), response.close)
        elif response._on_close or response._closes or hasattr(response.response, "close"):
            await to_thread_in_any_case()
            response.close()
            await to_loop()
