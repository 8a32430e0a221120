"""The ASGI face: what messages a response becomes, when, and in which context."""

from __future__ import annotations

import asyncio
import contextvars
import io
import threading
import typing as t
from pathlib import Path

import pytest
import starlette.responses as starlette
from starlette.background import BackgroundTask
from werkzeug.wrappers import Response as WerkzeugResponse

import asyncflask
from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.leaks import no_tasks_left
from tests.kit.sources import Source
from tests.kit.sources import SyncSource

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


def serve(app: Flask, value: t.Any, rule: str = "/", **options: t.Any) -> None:
    """Add a view that returns what *value* gives when it is called."""

    async def view() -> t.Any:
        return value()

    app.add_url_rule(rule, "view", view, **options)


def wsgi_callable(environ: t.Any, start_response: t.Any) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"he", b"llo"]


# -- bodies ----------------------------------------------------------------------------------

BODIES: dict[str, t.Callable[[], t.Any]] = {
    "text": lambda: "hello",
    "bytes": lambda: b"hello",
    "bytearray": lambda: bytearray(b"hello"),
    "tuple": lambda: ("hello", 200, {"X-A": "1"}),
    "list in a response": lambda: Response(["he", b"llo"]),
    "tuple in a response": lambda: Response(("he", "llo")),
    "iterator": lambda: iter(["he", "llo"]),
    "generator": lambda: (part for part in (b"he", "", "llo")),
    "generator of bytearrays": lambda: (bytearray(part) for part in (b"he", b"llo")),
    "async iterator": lambda: Source("he", b"", b"llo"),
    "async iterator of memoryviews": lambda: Source(memoryview(b"he"), memoryview(b"llo")),
    "async iterator in a response": lambda: Response(Source("he", "llo")),
    "file": lambda: asyncflask.send_file(io.BytesIO(b"hello"), "text/plain"),
    "werkzeug": lambda: WerkzeugResponse("hello"),
    "werkzeug stream": lambda: WerkzeugResponse(iter(["he", "llo"])),
    "wsgi": lambda: wsgi_callable,
    "starlette": lambda: starlette.PlainTextResponse("hello"),
    "starlette stream": lambda: starlette.StreamingResponse(Source("he", "llo")),
    "starlette sync stream": lambda: starlette.StreamingResponse(iter([b"he", b"llo"])),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_body_of_any_kind_is_sent(app: Flask, kind: str) -> None:
    serve(app, BODIES[kind])
    answer = await fetch(app)
    assert (answer.status, answer.body, answer.complete) == (200, b"hello", True)
    assert [m["type"] for m in answer.messages[:2]] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize("kind", BODIES)
async def test_head_sends_the_headers_and_no_body(app: Flask, kind: str) -> None:
    serve(app, BODIES[kind])
    whole, head = await fetch(app), await fetch(app, "HEAD")
    assert (head.status, head.body, head.complete) == (200, b"", True)
    assert head.headers == whole.headers


@pytest.mark.parametrize("kind", BODIES)
@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_a_body_sends_none(app: Flask, kind: str, status: int) -> None:
    serve(app, lambda: app.make_response((BODIES[kind](), status)[: 2 if kind != "tuple" else 1]))

    @app.after_request
    async def set_status(response: Response) -> Response:
        response.status_code = status
        return response

    answer = await fetch(app)
    assert (answer.status, answer.body, answer.complete) == (status, b"", True)
    assert answer.header("content-length") is None


async def test_what_is_no_body_at_all_is_a_plain_error_of_the_server(app: Flask) -> None:
    bodies = [Response([1, 2]), iter([1]), Source(None), Source(3)]
    app.add_url_rule("/<int:number>", "view", lambda number: bodies[number])
    for number in range(len(bodies)):
        async with Exchange(app, "GET", f"/{number}") as exchange:
            answer = await exchange.end()
        assert isinstance(answer.error, TypeError) and answer.messages == []


async def test_a_body_closed_by_head_was_never_read(app: Flask) -> None:
    source, sync_source = Source("a"), SyncSource("a")
    app.add_url_rule("/async", "async", lambda: Response(source))
    app.add_url_rule("/sync", "sync", lambda: Response(sync_source))
    await fetch(app, "HEAD", "/async")
    await fetch(app, "HEAD", "/sync")
    assert (source.taken, source.closed) == (sync_source.taken, sync_source.closed) == (0, 1)


async def test_call_on_close_functions_run_once_for_every_kind_of_body(app: Flask) -> None:
    closed: list[str] = []

    @app.after_request
    def note(response: Response) -> Response:
        response.call_on_close(lambda: closed.append(threading.current_thread().name))
        return response

    app.add_url_rule("/<kind>", "view", lambda kind: BODIES[kind]())
    for kind in BODIES:
        await fetch(app, "GET", f"/{kind}")
    assert closed == ["asyncflask-worker"] * len(BODIES)


# -- streams ---------------------------------------------------------------------------------


async def test_the_headers_go_out_with_the_first_chunk(app: Flask) -> None:
    source = Source("a", "b", waits_at=0)
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        await source.waiting.wait()
        assert exchange.answer.messages == []
        source.go_on.set()
        assert (await exchange.chunk(), await exchange.chunk()) == (b"a", b"b")
    assert (source.closed, exchange.answer.complete) == (1, True)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_an_error_before_the_first_chunk_leaves_the_response_to_the_server(
    app: Flask, colour: str
) -> None:
    closed: list[str] = []

    def sync_stream() -> t.Iterator[str]:
        raise LookupError("no chunk")
        yield "never"

    async def async_stream() -> t.AsyncIterator[str]:
        raise LookupError("no chunk")
        yield "never"

    def view() -> Response:
        response = Response(sync_stream() if colour == "sync" else async_stream())
        response.call_on_close(lambda: closed.append("closed"))
        return response

    app.add_url_rule("/", "view", view)
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert isinstance(answer.error, LookupError) and answer.messages == []
    assert closed == ["closed"]


@pytest.mark.case("A44")
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_an_error_after_the_first_chunk_is_no_clean_end(app: Flask, colour: str) -> None:
    ended: list[str] = []

    def sync_stream() -> t.Iterator[str]:
        try:
            yield "a"
            raise LookupError("no more")
        finally:
            ended.append("ended")

    async def async_stream() -> t.AsyncIterator[str]:
        for chunk in sync_stream():
            yield chunk

    serve(app, sync_stream if colour == "sync" else async_stream)
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert isinstance(answer.error, LookupError)
    assert (answer.status, answer.body, answer.complete) == (200, b"a", False)
    assert ended == ["ended"]


async def test_a_stream_waits_while_its_client_does_not_read(app: Flask) -> None:
    source = Source(*["x"] * 100)
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        assert source.taken == 1
        exchange.read_on()
        assert (await exchange.end()).body == b"x" * 100


# -- files -----------------------------------------------------------------------------------


class File(io.BytesIO):
    """A file that notes on which threads it was used."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.threads: set[int] = set()

    def read(self, size: int | None = -1, /) -> bytes:
        self.threads.add(threading.get_ident())
        return super().read(size)

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        super().close()


@pytest.mark.parametrize("leaves", [False, True])
async def test_a_file_is_read_and_closed_off_the_loop(app: Flask, leaves: bool) -> None:
    content = bytes(range(256)) * 4096
    file = File(content)
    serve(app, lambda: asyncflask.send_file(file, "application/octet-stream"))
    async with Exchange(app) as exchange:
        if leaves:
            exchange.stop_reading()
            exchange.disconnect()
        answer = await exchange.end()
    assert answer.body == content or leaves
    assert file.closed and threading.get_ident() not in file.threads


async def test_a_range_of_a_file(app: Flask, tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096
    (tmp_path / "a.bin").write_bytes(content)
    serve(app, lambda: asyncflask.send_file(tmp_path / "a.bin", conditional=True))
    answer = await fetch(app, headers={"Range": "bytes=1000-500000"})
    assert (answer.status, answer.body) == (206, content[1000:500001])
    assert answer.header("content-range") == f"bytes 1000-500000/{len(content)}"
    head = await fetch(app, "HEAD", headers={"Range": "bytes=-5"})
    assert (head.status, head.body, head.header("content-length")) == (206, b"", "5")
    answer = await fetch(app, headers={"Range": f"bytes={len(content)}-"})
    assert answer.status == 416


async def test_a_file_the_client_has_already_is_not_sent(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("content")
    app.static_folder = str(tmp_path)
    app.add_url_rule("/s/<path:filename>", "files", lambda filename: app.send_static_file(filename))
    first = await fetch(app, "GET", "/s/a.txt")
    assert (first.status, first.text) == (200, "content")
    etag, date = first.header("etag"), first.header("last-modified")
    assert etag is not None and date is not None
    for condition in ({"If-None-Match": etag}, {"If-Modified-Since": date}):
        answer = await fetch(app, "GET", "/s/a.txt", headers=condition)
        assert (answer.status, answer.body) == (304, b"")
    assert (await fetch(app, "GET", "/s/none.txt")).status == 404


@pytest.mark.parametrize("known", [True, False])
async def test_a_starlette_file_knows_ranges_and_keeps_what_hooks_set(
    app: Flask, tmp_path: Path, known: bool
) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)))
    stat = path.stat() if known else None
    serve(app, lambda: starlette.FileResponse(path, stat_result=stat))

    @app.after_request
    def tag(response: Response) -> Response:
        response.headers["ETag"] = '"mine"'
        response.set_cookie("a", "b")
        return response

    answer = await fetch(app, headers={"Range": "bytes=2-5"})
    assert (answer.status, answer.body) == (206, bytes([2, 3, 4, 5]))
    assert answer.header("content-range") == "bytes 2-5/256"
    assert (answer.header("etag"), answer.header("set-cookie")) == ('"mine"', "a=b; Path=/")
    whole = await fetch(app)
    assert (whole.status, whole.body) == (200, path.read_bytes())
    assert [value for name, value in whole.headers if name == "etag"] == ['"mine"']


@pytest.mark.parametrize("status", [200, 204])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_starlette_response_that_sends_itself_sends_no_body_where_none_may_be(
    app: Flask, method: str, status: int
) -> None:
    class Own(starlette.PlainTextResponse):
        async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
            await super().__call__(scope, receive, send)

    serve(app, lambda: Own("body"))

    @app.after_request
    def set_status(response: Response) -> Response:
        response.status_code = status
        return response

    answer = await fetch(app, method)
    assert answer.status == status
    assert answer.text == ("body" if (method, status) == ("GET", 200) else "")


# -- after the response ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["own", "json", "stream", "file"])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_background_task_runs_after_the_response(
    app: Flask, kind: str, colour: str, tmp_path: Path
) -> None:
    (tmp_path / "a.txt").write_text("body")
    seen: list[bool] = []

    def sync_task(exchange: list[Exchange]) -> None:
        seen.append(exchange[0].answer.complete)

    async def async_task(exchange: list[Exchange]) -> None:
        seen.append(exchange[0].answer.complete)

    def respond() -> t.Any:
        task = BackgroundTask(sync_task if colour == "sync" else async_task, exchanges)
        if kind == "own":
            response = Response("body")
            response.background = task
            return response
        if kind == "json":
            return starlette.JSONResponse("body", background=task)
        if kind == "stream":
            return starlette.StreamingResponse(Source("body"), background=task)
        return starlette.FileResponse(tmp_path / "a.txt", background=task)

    exchanges: list[Exchange] = []
    serve(app, respond)
    async with Exchange(app) as exchange:
        exchanges.append(exchange)
    assert "body" in exchange.answer.text
    assert seen == [True]


@pytest.mark.case("A42")
async def test_a_background_task_that_fails_is_the_servers_to_report(app: Flask) -> None:
    def fail() -> None:
        raise LookupError("the task fails")

    serve(app, lambda: starlette.PlainTextResponse("body", background=BackgroundTask(fail)))
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert (answer.text, answer.complete) == ("body", True)
    assert isinstance(answer.error, LookupError)


# -- contexts --------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("end", ["end", "error", "leave"])
async def test_stream_with_context_keeps_the_request_until_the_stream_ends(
    app: Flask, colour: str, end: str
) -> None:
    events: list[str] = []
    variable = contextvars.ContextVar("variable", default="")

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        events.append(f"torn down: {variable.get()}")

    def sync_stream() -> t.Iterator[str]:
        try:
            yield request.path + asyncflask.session.get("user", " nobody")
            if end == "error":
                raise LookupError
            while end == "leave":
                yield "more"
            yield variable.get()
        finally:
            events.append(f"ended: {asyncflask.g.name}")

    async def async_stream() -> t.AsyncIterator[str]:
        stream = sync_stream()
        try:
            for chunk in stream:
                await asyncio.sleep(0)
                yield chunk
        finally:
            stream.close()

    @app.get("/")
    async def view() -> t.Any:
        asyncflask.g.name = "g"
        variable.set(" variable")
        return stream_with_context(sync_stream() if colour == "sync" else async_stream())

    async with Exchange(app) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        assert events == []
        exchange.read_on()
        assert await exchange.chunk() == b"/ nobody"
        if end == "leave":
            exchange.disconnect()
    if end == "end":
        assert exchange.answer.text == "/ nobody variable"
    assert events == ["ended: g", "torn down:  variable"]


async def test_a_stream_without_context_runs_after_the_teardown(app: Flask) -> None:
    events: list[str] = []
    app.teardown_request(lambda exc: events.append("torn down"))

    async def stream() -> t.AsyncIterator[str]:
        events.append("streamed")
        yield str(asyncflask.has_request_context())

    serve(app, stream)
    assert (await fetch(app)).text == "False"
    assert events == ["torn down", "streamed"]


async def test_a_context_of_a_test_request_can_be_entered_on_the_loop(app: Flask) -> None:
    events: list[str] = []

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        events.append(request.path)

    async with app.test_request_context("/a?b=c") as ctx:
        assert (request.args["b"], ctx.request.path) == ("c", "/a")
        async with app.test_request_context("/inner"):
            assert request.path == "/inner"
        assert request.path == "/a"
    assert events == ["/inner", "/a"]


@pytest.mark.case("A40")
async def test_scopes_of_an_unknown_kind_are_refused(app: Flask) -> None:
    async def never(*args: t.Any) -> t.Any:
        raise AssertionError("nothing is received or sent")

    with pytest.raises(ValueError, match="'telepathy'"):
        await app({"type": "telepathy"}, never, never)


async def test_a_websocket_is_refused(app: Flask) -> None:
    sent: list[dict[str, t.Any]] = []

    async def receive() -> dict[str, t.Any]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, t.Any]) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/", "headers": []}, receive, send)
    assert [message["type"] for message in sent] == ["websocket.close"]
