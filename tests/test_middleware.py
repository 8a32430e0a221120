"""ASGI middleware around the application: Starlette's, one's own, their order, their limits."""

from __future__ import annotations

import asyncio
import contextvars
import gzip
import typing as t

import pytest
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware

import asyncflask
from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan
from tests.kit.leaks import no_tasks_left

pytestmark = pytest.mark.anyio

trace = contextvars.ContextVar("trace", default="")


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


class Base(BaseHTTPMiddleware):
    """Adds a header, as most of its kind do."""

    async def dispatch(self, request: t.Any, call_next: t.Any) -> t.Any:
        token = trace.set(f"{trace.get()}base")
        try:
            response = await call_next(request)
        finally:
            trace.reset(token)
        response.headers["X-Base"] = "base"
        return response


class Tag:
    """Appends its tag to what the application sees, and to a header on the way back."""

    def __init__(self, app: t.Any, tag: str) -> None:
        self.app = app
        self.tag = tag

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        trace.set(f"{trace.get()}{self.tag}")

        async def send_tagged(message: t.Any) -> None:
            if message["type"] == "http.response.start":
                tag = (b"x-tag", self.tag.encode())
                message = {**message, "headers": [*message["headers"], tag]}
            await send(message)

        await self.app(scope, receive, send_tagged)


@pytest.fixture
def app() -> Flask:
    """Small and large answers, sync and async, whole and streamed."""
    app = Flask(__name__)

    @app.get("/sync")
    def sync_view() -> str:
        return f"sync {trace.get()}"

    @app.get("/async")
    async def async_view() -> str:
        await asyncio.sleep(0)
        return f"async {trace.get()}"

    @app.post("/echo")
    async def echo() -> bytes:
        return request.get_data()

    @app.get("/large")
    async def large() -> str:
        return "large " * 1000

    @app.get("/stream")
    async def stream() -> t.AsyncIterator[str]:
        async def chunks() -> t.AsyncIterator[str]:
            for number in range(3):
                await asyncio.sleep(0)
                yield f"chunk {number} " * 100

        return stream_with_context(chunks())

    @app.get("/file")
    def file() -> Response:
        return asyncflask.send_file(__file__)

    @app.get("/error")
    def error() -> str:
        raise LookupError

    return app


PATHS = ["/sync", "/async", "/large", "/stream", "/file", "/error", "/not-found"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_starlettes_middleware_changes_no_answer(
    app: Flask, path: str, method: str
) -> None:
    plain = await fetch(app, method, path)
    app = _again(app)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost"])
    app.add_middleware(GZipMiddleware)
    app.add_middleware(CORSMiddleware, allow_origins=["*"])
    app.add_middleware(Base)
    answer = await fetch(app, method, path)
    assert (answer.status, answer.complete) == (plain.status, True)
    assert answer.body in (plain.body, plain.body + b"base")
    assert answer.header("x-base") == "base"


def _again(app: Flask) -> Flask:
    """Make an application that has not served yet, with the same views."""
    again = Flask(app.name)
    for rule in app.url_map.iter_rules():
        if rule.endpoint != "static":
            view = app.view_functions[rule.endpoint]
            again.add_url_rule(rule.rule, rule.endpoint, view, methods=rule.methods)
    return again


async def test_cors(app: Flask) -> None:
    app.add_middleware(CORSMiddleware, allow_origins=["https://a.org"], allow_methods=["PUT"])
    origin = {"Origin": "https://a.org"}
    answer = await fetch(app, "GET", "/sync", headers=origin)
    assert answer.header("access-control-allow-origin") == "https://a.org"
    ask = {**origin, "Access-Control-Request-Method": "PUT"}
    answer = await fetch(app, "OPTIONS", "/sync", headers=ask)
    assert (answer.status, answer.header("access-control-allow-methods")) == (200, "PUT")
    answer = await fetch(app, "GET", "/sync", headers={"Origin": "https://evil.org"})
    assert answer.header("access-control-allow-origin") is None


@pytest.mark.parametrize("path", ["/large", "/stream", "/file"])
async def test_gzip(app: Flask, path: str) -> None:
    app.add_middleware(GZipMiddleware, minimum_size=100)
    plain = await fetch(app, "GET", path)
    answer = await fetch(app, "GET", path, headers={"Accept-Encoding": "gzip"})
    assert answer.header("content-encoding") == "gzip"
    assert gzip.decompress(answer.body) == plain.body


async def test_trusted_hosts(app: Flask) -> None:
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["a.org"])
    scope = {"headers": [(b"host", b"a.org")]}
    assert (await fetch(app, "GET", "/sync", scope=scope)).text == "sync "
    assert (await fetch(app, "GET", "/sync")).status == 400


@pytest.mark.parametrize("path", ["/sync", "/async"])
async def test_views_see_the_context_variables_of_middleware(app: Flask, path: str) -> None:
    app.add_middleware(Base)
    assert (await fetch(app, "GET", path)).text == f"{path[1:]} base"
    assert trace.get() == ""


async def test_a_body_passes_through_base_http_middleware(app: Flask) -> None:
    app.add_middleware(Base)
    answer = await fetch(app, "POST", "/echo", body=[b"a" * 100_000, b"b"])
    assert answer.body == b"a" * 100_000 + b"b"


async def test_a_stream_under_base_http_middleware_ends_with_its_client(app: Flask) -> None:
    events: list[str] = []

    @app.get("/endless")
    async def endless() -> t.AsyncIterator[str]:
        async def chunks() -> t.AsyncIterator[str]:
            try:
                while True:
                    yield "x"
            finally:
                events.append("closed")

        return chunks()

    app.add_middleware(Base)
    async with Exchange(app, "GET", "/endless") as exchange:
        await exchange.chunk()
        exchange.disconnect(send_fails=True)
        await exchange.end()
    assert events == ["closed"]


async def test_a_cancelled_view_is_no_error_to_base_http_middleware(app: Flask) -> None:
    waiting = asyncio.Event()

    @app.get("/waits", cancel_on_disconnect=True)
    async def waits() -> str:
        waiting.set()
        await asyncio.Event().wait()
        return "never"

    app.add_middleware(Base)
    async with Exchange(app, "GET", "/waits") as exchange:
        await waiting.wait()
        exchange.disconnect()
        answer = await exchange.end()
    assert answer.error is None


# -- order and time ----------------------------------------------------------------------------


async def test_what_is_added_last_is_outermost(app: Flask) -> None:
    app.add_middleware(Tag, "inner,")
    app.add_middleware(Tag, tag="outer,")
    answer = await fetch(app, "GET", "/sync")
    assert answer.text == "sync outer,inner,"
    assert [value for name, value in answer.headers if name == "x-tag"] == ["inner,", "outer,"]


async def test_asgi_app_can_be_wrapped_and_lies_around_added_middleware(app: Flask) -> None:
    app.add_middleware(Tag, "added,")
    app.asgi_app = Tag(app.asgi_app, "wrapped,")  # type: ignore[method-assign]
    answer = await fetch(app, "GET", "/async")
    assert answer.text == "async wrapped,added,"
    assert app.test_client(transport="asgi").get("/sync").text == "sync wrapped,added,"
    assert app.test_client().get("/sync").text == "sync "


async def test_middleware_is_made_once_and_gets_the_lifespan(app: Flask) -> None:
    made: list[str] = []
    scopes: list[str] = []

    class Spy:
        def __init__(self, app: t.Any, *args: t.Any, **kwargs: t.Any) -> None:
            made.append(repr((args, kwargs)))
            self.app = app

        async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
            scopes.append(scope["type"])
            await self.app(scope, receive, send)

    app.before_serving(lambda: scopes.append("before"))
    app.add_middleware(Spy, 1, b=2)
    assert made == []
    async with Lifespan(app):
        await fetch(app, "GET", "/sync")
        await fetch(app, "GET", "/async")
    assert made == ["((1,), {'b': 2})"]
    assert scopes == ["lifespan", "before", "http", "http"]


@pytest.mark.parametrize("begun_by", ["request", "lifespan"])
async def test_middleware_that_comes_too_late_is_an_error(app: Flask, begun_by: str) -> None:
    if begun_by == "request":
        await fetch(app, "GET", "/sync")
    else:
        async with Lifespan(app):
            pass
    with pytest.raises(RuntimeError, match="GZipMiddleware.*add middleware before"):
        app.add_middleware(GZipMiddleware)


async def test_middleware_may_answer_itself(app: Flask) -> None:
    class Refuse:
        def __init__(self, app: t.Any) -> None:
            self.app = app

        async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})

    app.add_middleware(Refuse)
    answer = await fetch(app, "GET", "/sync")
    assert (answer.status, answer.text) == (418, "no")
