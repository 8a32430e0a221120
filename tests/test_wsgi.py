"""The WSGI face: what PEP 3333 asks for, streams of both colours, and wrapping."""

from __future__ import annotations

import asyncio
import contextvars
import io
import threading
import typing as t
from pathlib import Path
from wsgiref.util import FileWrapper
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import anyio
import pytest
import starlette.responses as starlette
from starlette.background import BackgroundTask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

import asyncflask
from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from asyncflask.lanes import background_loop
from tests.kit.sources import Source
from tests.kit.sources import SyncSource


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


@pytest.fixture(autouse=True)
def _no_tasks_left() -> t.Iterator[None]:
    before = set(tasks_on_loop())
    yield
    assert set(tasks_on_loop()) <= before


def tasks_on_loop() -> list[str]:
    async def names() -> list[str]:
        return [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}]

    return asyncio.run_coroutine_threadsafe(names(), background_loop()).result(10)


def thread_of(loop: asyncio.AbstractEventLoop) -> int:
    async def ident() -> int:
        return threading.get_ident()

    return asyncio.run_coroutine_threadsafe(ident(), loop).result(10)


class Call:
    """One call of a WSGI application: reads what it is asked to, and closes at the end."""

    def __init__(
        self, app: t.Any, path: str = "/", method: str = "GET", body: bytes = b"", **more: t.Any
    ) -> None:
        self.environ: dict[str, t.Any] = {"PATH_INFO": path, "REQUEST_METHOD": method, **more}
        if body:
            self.environ["CONTENT_LENGTH"] = str(len(body))
        self.environ["wsgi.input"] = io.BytesIO(body)
        self.environ |= {"SCRIPT_NAME": "", "QUERY_STRING": ""}
        setup_testing_defaults(self.environ)
        self.status = ""
        self.headers: dict[str, str] = {}
        self.iterable = app(self.environ, self._start_response)
        self.iterator = iter(self.iterable)

    def _start_response(self, status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        self.status, self.headers = status, dict(headers)
        return lambda data: None

    def read(self) -> bytes:
        try:
            return b"".join(self.iterator)
        finally:
            self.close()

    def close(self) -> None:
        if hasattr(self.iterable, "close"):
            self.iterable.close()


# -- the protocol ----------------------------------------------------------------------------


@pytest.fixture
def answering() -> Flask:
    """An application with a view for every kind of answer."""
    app = Flask(__name__)
    folder = Path(__file__).parent

    @app.route("/text", methods=["GET", "POST"])
    def text() -> str:
        return "text" + request.get_data(as_text=True)

    @app.post("/async")
    async def text_async() -> str:
        await asyncio.sleep(0)
        return "text" + request.get_data(as_text=True)

    @app.get("/fails")
    def fails() -> str:
        raise LookupError

    add = app.add_url_rule
    add("/stream", "stream", lambda: iter(["te", "", "xt"]))
    add("/bytearrays", "bytearrays", lambda: (bytearray(part) for part in (b"te", b"xt")))
    add("/async-stream", "async-stream", lambda: Response(Source("te", b"", b"xt")))
    add("/file", "file", lambda: asyncflask.send_file(__file__))
    add("/file-like", "file-like", lambda: asyncflask.send_file(io.BytesIO(b"text"), "a/b"))
    add("/starlette", "starlette", lambda: starlette.PlainTextResponse("text"))
    add("/starlette-file", "s-file", lambda: starlette.FileResponse(folder / "conftest.py"))
    add("/unmodified", "unmodified", lambda: ("", 304))
    add("/redirect", "redirect", lambda: asyncflask.redirect("/text"))
    return app


# A 204 is not among them: as in Flask it has a Content-Type, which the validator does not like.
PATHS = [
    "text", "stream", "bytearrays", "async-stream", "file", "file-like", "starlette",
    "starlette-file", "unmodified", "redirect", "fails", "not-found",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", PATHS)
def test_the_validator_of_the_standard_library_is_content(
    answering: Flask, path: str, method: str
) -> None:
    whole = Call(validator(answering.wsgi_app), f"/{path}", "GET")
    body = whole.read()
    call = Call(validator(answering), f"/{path}", method)
    assert call.read() == (body if method == "GET" else b"")
    assert call.status == whole.status
    assert {**call.headers, "Date": ""} == {**whole.headers, "Date": ""}
    if "Content-Length" in call.headers:
        assert int(call.headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("path", ["/text", "/async"])
def test_a_body_passes_the_validator_too(answering: Flask, path: str) -> None:
    call = Call(validator(answering.wsgi_app), path, "POST", b" and body", CONTENT_TYPE="a/b")
    assert call.read() == b"text and body"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_body_that_is_not_sent_is_closed_unread(app: Flask, method: str, status: int) -> None:
    source, sync_source = Source("a"), SyncSource("a")
    code = status if method == "GET" else 200
    app.add_url_rule("/async", "async", lambda: Response(source, code))
    app.add_url_rule("/sync", "sync", lambda: Response(sync_source, code))
    assert Call(app, "/async", method).read() == b"" == Call(app, "/sync", method).read()
    assert (source.closed, sync_source.closed) == (1, 1)
    assert (source.taken, sync_source.taken) == (0, 0)


def test_servers_get_their_own_file_wrapper(app: Flask) -> None:
    app.add_url_rule("/", "view", lambda: asyncflask.send_file(__file__))
    call = Call(app, **{"wsgi.file_wrapper": FileWrapper})
    assert isinstance(call.iterable, FileWrapper)
    assert call.read() == Path(__file__).read_bytes()


@pytest.mark.parametrize("kind", ["list", "stream", "async", "file", "starlette file"])
def test_call_on_close_functions_run_once_at_close(app: Flask, kind: str) -> None:
    closed: list[int] = []
    bodies: dict[str, t.Callable[[], t.Any]] = {
        "list": lambda: "text",
        "stream": lambda: iter(["te", "xt"]),
        "async": lambda: Source("te", "xt"),
        "file": lambda: asyncflask.send_file(io.BytesIO(b"text"), "a/b"),
    }

    @app.after_request
    def note(response: Response) -> Response:
        response.call_on_close(lambda: closed.append(threading.get_ident()))
        return response

    app.add_url_rule("/", "view", bodies.get(kind, bodies["file"]))
    call = Call(app)
    assert b"".join(call.iterator) == b"text" and closed == []
    call.close()
    assert closed == [threading.get_ident()]


def test_a_start_response_that_fails_has_the_body_closed(app: Flask) -> None:
    source = Source("a")
    app.add_url_rule("/", "view", lambda: Response(source))

    def start_response(*args: t.Any) -> t.Any:
        raise LookupError("the server's")

    async def index() -> Response:
        return Response(source)

    app.add_url_rule("/async", "async", index)
    for number, path in enumerate(("/", "/async"), 1):
        environ: dict[str, t.Any] = {"PATH_INFO": path}
        setup_testing_defaults(environ)
        with pytest.raises(LookupError, match="the server's"):
            app(environ, start_response)
        assert source.closed == number


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_response_that_is_made_and_then_lost_is_closed(app: Flask, colour: str) -> None:
    source, sync_source = Source("a"), SyncSource("a")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    app.add_url_rule("/", "v", lambda: Response(sync_source if colour == "sync" else source))

    @app.teardown_request
    def fail(exc: BaseException | None) -> None:
        raise LookupError("the teardown fails")

    with pytest.raises(LookupError):
        Call(app)
    assert sync_source.closed + source.closed == 1


# -- streams ---------------------------------------------------------------------------------


def test_an_async_stream_runs_on_the_background_loop_chunk_by_chunk(app: Flask) -> None:
    source = Source("a", "b", "c")
    app.add_url_rule("/", "view", lambda: Response(source))
    call = Call(app)
    assert source.taken == 0
    assert (next(call.iterator), next(call.iterator)) == (b"a", b"b")
    assert call.read() == b"c"
    assert source.closed == 1
    assert source.threads == {thread_of(background_loop())}


def test_an_async_stream_that_is_left_is_closed(app: Flask) -> None:
    events: list[str] = []

    async def stream() -> t.AsyncIterator[str]:
        try:
            while True:
                yield "x"
        finally:
            await asyncio.sleep(0)
            events.append("closed")

    app.add_url_rule("/", "view", lambda: stream())
    call = Call(app)
    assert next(call.iterator) == b"x"
    call.close()
    assert events == ["closed"]


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, 411),
        ({"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True}, 200),
        ({"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": "4"}, 200),
        ({}, 200),
    ],
)
def test_a_body_that_the_server_cannot_end_is_refused_rather_than_taken_for_none(
    app: Flask, extra: dict[str, t.Any], status: int
) -> None:
    app.add_url_rule("/", "view", lambda: request.get_data(), methods=["POST"])
    environ = create_environ(method="POST", environ_overrides=extra)
    environ["wsgi.input"] = io.BytesIO(b"body")
    if "CONTENT_LENGTH" not in extra:
        environ.pop("CONTENT_LENGTH", None)
    _, line, _ = run_wsgi_app(app, environ)
    assert line.startswith(str(status))


@pytest.mark.parametrize("end", ["read", "left", "dropped"])
def test_an_async_stream_may_hold_a_scope_between_chunks(app: Flask, end: str) -> None:
    closed = threading.Event()

    async def stream() -> t.AsyncIterator[str]:
        try:
            with anyio.fail_after(60):
                yield "a"
                yield "b"
        finally:
            closed.set()

    app.add_url_rule("/", "view", lambda: stream())
    call = Call(app)
    assert next(call.iterator) == b"a"
    if end == "read":
        assert call.read() == b"b"
    elif end == "left":
        call.close()
    del call
    assert closed.wait(10)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_error_in_a_stream_reaches_the_server_and_close_still_works(
    app: Flask, colour: str
) -> None:
    closed: list[str] = []

    def stream() -> t.Iterator[str]:
        yield "a"
        raise LookupError("no more")

    async def async_stream() -> t.AsyncIterator[str]:
        for chunk in stream():
            yield chunk

    @app.get("/")
    def view() -> Response:
        response = Response(stream() if colour == "sync" else async_stream())
        response.call_on_close(lambda: closed.append("closed"))
        return response

    call = Call(app)
    assert next(call.iterator) == b"a"
    with pytest.raises(LookupError):
        next(call.iterator)
    call.close()
    assert closed == ["closed"]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("end", ["read", "left", "never read"])
def test_stream_with_context_tears_down_at_the_end_of_the_stream(
    app: Flask, colour: str, end: str
) -> None:
    events: list[str] = []
    variable = contextvars.ContextVar("variable", default="unset")

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        events.append(f"torn down {variable.get()}")

    def stream() -> t.Iterator[str]:
        yield request.path
        yield variable.get()

    async def async_stream() -> t.AsyncIterator[str]:
        for chunk in stream():
            await asyncio.sleep(0)
            yield chunk

    @app.get("/")
    def view() -> t.Any:
        variable.set("set")
        return stream_with_context(stream() if colour == "sync" else async_stream())

    call = Call(app)
    if end == "read":
        assert call.read() == b"/set"
    else:
        if end == "left":
            assert next(call.iterator) == b"/"
        assert events == []
        call.close()
    assert events == ["torn down set"]
    assert variable.get() == "unset"


@pytest.mark.parametrize("kind", ["own", "own stream", "starlette", "starlette stream"])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_background_task_runs_when_the_response_is_closed(
    app: Flask, kind: str, colour: str
) -> None:
    ran: list[str] = []

    def sync_task() -> None:
        ran.append("ran")

    async def async_task() -> None:
        ran.append("ran")

    @app.get("/")
    def view() -> t.Any:
        task = BackgroundTask(sync_task if colour == "sync" else async_task)
        if kind == "starlette":
            return starlette.PlainTextResponse("ab", background=task)
        if kind == "starlette stream":
            return starlette.StreamingResponse(Source("a", "b"), background=task)
        response = Response("ab" if kind == "own" else iter("ab"))
        response.background = task
        return response

    call = Call(app)
    assert b"".join(call.iterator) == b"ab" and ran == []
    call.close()
    assert ran == ["ran"]


# -- wrapping --------------------------------------------------------------------------------


def test_wsgi_app_can_be_wrapped(app: Flask) -> None:
    seen: list[str] = []
    inner = app.wsgi_app

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        seen.append(environ["PATH_INFO"])
        environ["from.middleware"] = "yes"
        return inner(environ, start_response)

    app.wsgi_app = ProxyFix(middleware, x_for=1, x_host=1)  # type: ignore[method-assign]
    app.add_url_rule(
        "/", "view", lambda: [request.remote_addr, request.host, request.environ["from.middleware"]]
    )
    headers = {"HTTP_X_FORWARDED_FOR": "1.2.3.4", "HTTP_X_FORWARDED_HOST": "example.org"}
    body = b'["1.2.3.4","example.org","yes"]\n'
    assert Call(app, **headers).read() == body
    assert app.test_client().get("/", environ_overrides=headers).data == body
    assert seen == ["/", "/"]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_middleware_finds_the_request_when_the_response_starts(
    app: Flask, colour: str, transport: str
) -> None:
    seen: list[str] = []
    inner = app.wsgi_app

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        def start(status: str, *args: t.Any) -> t.Any:
            seen.append(f"{status} {request.endpoint}")
            return start_response(status, *args)

        return inner(environ, start)

    async def view() -> str:
        return "async"

    app.wsgi_app = middleware  # type: ignore[method-assign]
    app.teardown_request(lambda exc: seen.append("teardown"))
    app.add_url_rule("/", "it", view if colour == "async" else lambda: "sync")
    assert app.test_client(transport=transport).get("/").text == colour
    assert app.test_client(transport=transport).get("/none").status_code == 404
    assert seen == ["200 OK it", "teardown", "404 NOT FOUND None", "teardown"]


def test_middleware_around_the_application_finds_the_request_of_a_sync_view(app: Flask) -> None:
    seen: list[str] = []

    def start_response(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
        seen.append(f"{status} {request.endpoint if request else 'is over'}")

    async def view_async() -> str:
        return "async"

    app.add_url_rule("/sync", "sync", lambda: "sync")
    app.add_url_rule("/async", "async", view_async)
    for path in ("/sync", "/async"):
        environ = create_environ(path)
        assert b"".join(app(environ, start_response)) == path[1:].encode()
    assert seen == ["200 OK sync", "200 OK is over"]


def test_an_application_can_be_mounted_under_another(app: Flask) -> None:
    inner = Flask("inner")
    inner.add_url_rule("/a", "a", lambda: asyncflask.url_for("a"))
    app.add_url_rule("/a", "a", lambda: asyncflask.url_for("a"))
    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/in": inner})  # type: ignore[method-assign]
    assert (Call(app, "/a").read(), Call(app, "/in/a").read()) == (b"/a", b"/in/a")


def test_a_call_with_two_arguments_is_a_wsgi_call(app: Flask) -> None:
    async def view() -> str:
        await asyncio.sleep(0)
        return type(request.environ["wsgi.input"]).__name__

    app.add_url_rule("/", "view", view)
    assert Call(app).read() == b"BytesIO"


def test_requests_leave_no_threads(app: Flask) -> None:
    app.add_url_rule("/sync", "sync", lambda: iter(["a"]))
    app.add_url_rule("/async", "async", lambda: Response(Source("a")))
    Call(app, "/sync").read(), Call(app, "/async").read()
    before = threading.active_count()
    for _ in range(20):
        Call(app, "/sync").read(), Call(app, "/async").read()
    assert threading.active_count() == before
