from __future__ import annotations

import asyncio
import contextvars
import gc
import io
import logging
import threading
import time
import typing as t
from wsgiref.util import setup_testing_defaults
from wsgiref.validate import validator

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.responses import PlainTextResponse
from starlette.responses import StreamingResponse
from starlette.routing import Route

from asyncflask.adapters.bridges import _Exchange
from asyncflask.adapters.bridges import AsgiToWsgi
from asyncflask.adapters.bridges import CHUNK_SIZE
from asyncflask.adapters.bridges import PIECES_AHEAD
from asyncflask.lanes import background_loop

color = contextvars.ContextVar("color", default="none")


def make_environ(path="/", method="GET", body=b"", **extra):
    environ = {"SCRIPT_NAME": "", "PATH_INFO": path, "REQUEST_METHOD": method, "QUERY_STRING": ""}
    environ["wsgi.input"] = io.BytesIO(body)
    if body:
        environ["CONTENT_LENGTH"] = str(len(body))
    environ.update(extra)
    setup_testing_defaults(environ)
    return environ


class Answer(t.NamedTuple):
    status: str
    headers: dict[str, str]
    body: bytes


def call(app, environ) -> Answer:
    """Call a WSGI application as a server does, and check both sides against PEP 3333."""
    started = []

    def start_response(status, headers, exc_info=None):
        started.append((status, dict(headers)))
        return lambda data: None

    result = validator(app)(environ, start_response)
    try:
        body = b"".join(result)
    finally:
        result.close()
    return Answer(*started[0], body)


async def respond(send, body=b"", status=200, headers=(), more=False):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body, "more_body": more})


def plain(body=b"hello", status=200, headers=((b"content-type", b"text/plain"),)):
    async def app(scope, receive, send):
        await respond(send, body, status, headers)

    return app


def seen_scope(environ, **kwargs):
    scopes = []

    async def app(scope, receive, send):
        scopes.append(scope)
        await respond(send, b"ok", headers=[(b"content-type", b"text/plain")])

    call(AsgiToWsgi(app, **kwargs), environ)
    return scopes[0]


def wait_until(condition, timeout=5.0):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.01)


def test_status_headers_and_body_arrive():
    answer = call(AsgiToWsgi(plain(b"made", 201)), make_environ())
    assert answer.status == "201 CREATED"
    assert answer.headers["content-type"] == "text/plain"
    assert answer.body == b"made"


def test_unknown_status_has_a_reason_all_the_same():
    assert call(AsgiToWsgi(plain(status=599)), make_environ()).status == "599 UNKNOWN"


def test_scope_describes_the_request():
    environ = make_environ(
        "/caf\xc3\xa9 x",
        "POST",
        b"body",
        SCRIPT_NAME="/app",
        QUERY_STRING="a=1&b=%20",
        HTTP_COOKIE="a=1; b=2",
        HTTP_X_FORWARDED_FOR="10.0.0.1",
        CONTENT_TYPE="text/plain",
        REMOTE_ADDR="192.0.2.1",
        REMOTE_PORT="4711",
    )
    environ["wsgi.url_scheme"] = "https"
    scope = seen_scope(environ)
    assert scope["type"] == "http"
    assert scope["http_version"] == "1.0"
    assert scope["method"] == "POST"
    assert scope["scheme"] == "https"
    assert scope["path"] == "/app/café x"
    assert scope["raw_path"] == b"/app/caf%C3%A9%20x"
    assert scope["root_path"] == "/app"
    assert scope["query_string"] == b"a=1&b=%20"
    assert scope["client"] == ("192.0.2.1", 4711)
    assert scope["server"] == ("127.0.0.1", 80)
    assert scope["extensions"] == {}
    headers = dict(scope["headers"])
    assert headers[b"cookie"] == b"a=1; b=2"
    assert headers[b"x-forwarded-for"] == b"10.0.0.1"
    assert headers[b"content-type"] == b"text/plain"
    assert headers[b"content-length"] == b"4"


def test_raw_path_is_the_one_the_server_received():
    environ = make_environ("/a/b", RAW_URI="/a%2Fb?x=1")
    assert seen_scope(environ)["raw_path"] == b"/a%2Fb"


def test_raw_path_of_another_request_target_is_not_believed():
    environ = make_environ("/moved", REQUEST_URI="/original")
    assert seen_scope(environ)["raw_path"] == b"/moved"


@pytest.mark.parametrize(
    ("script_name", "path_info", "path"), [("", "", "/"), ("/app", "", "/app"), ("", "*", "*")]
)
def test_path_of_unusual_targets(script_name, path_info, path):
    environ = make_environ(path_info, SCRIPT_NAME=script_name)
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["path"])
        await respond(send)

    list(AsgiToWsgi(app)(environ, lambda status, headers: None))
    assert seen == [path]


def test_extra_scope_is_added():
    assert seen_scope(make_environ(), extra_scope={"state": {"a": 1}})["state"] == {"a": 1}


def test_missing_client_is_none():
    assert seen_scope(make_environ())["client"] is None


async def echo(scope, receive, send):
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"x/y")]}
    )
    more = True
    while more:
        message = await receive()
        assert message["type"] == "http.request"
        more = message["more_body"]
        await send({"type": "http.response.body", "body": message["body"], "more_body": more})


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, CHUNK_SIZE * 40 + 7])
def test_body_streams_both_ways(size):
    body = bytes(size)
    assert call(AsgiToWsgi(echo), make_environ(method="POST", body=body)).body == body


def test_body_stops_at_content_length():
    environ = make_environ(method="POST", body=b"12345-next-request", CONTENT_LENGTH="5")
    assert call(AsgiToWsgi(echo), environ).body == b"12345"
    assert environ["wsgi.input"].read(100) == b"-next-request"


def test_body_without_length_is_read_when_the_server_ends_it():
    environ = make_environ(method="POST", body=b"chunked")
    del environ["CONTENT_LENGTH"]
    assert call(AsgiToWsgi(echo), dict(environ)).body == b""
    environ["wsgi.input_terminated"] = True
    assert call(AsgiToWsgi(echo), dict(environ)).body == b"chunked"


class RecordingInput(io.RawIOBase):
    """Counts what is read and notes the thread that reads it."""

    def __init__(self, size):
        self.left = size
        self.taken = 0
        self.threads = set()

    def read(self, size=-1):
        assert size > 0
        self.threads.add(threading.get_ident())
        size = min(size, self.left)
        self.left -= size
        self.taken += size
        return bytes(size)


def test_body_is_read_in_the_calling_thread():
    environ = make_environ(method="POST", CONTENT_LENGTH=str(CHUNK_SIZE * 3))
    environ["wsgi.input"] = source = RecordingInput(CHUNK_SIZE * 3)
    assert len(b"".join(AsgiToWsgi(echo)(environ, lambda *args: None))) == CHUNK_SIZE * 3
    assert source.threads == {threading.get_ident()}


def test_body_nobody_asks_for_is_not_read():
    environ = make_environ(method="POST", CONTENT_LENGTH="1000000")
    environ["wsgi.input"] = source = RecordingInput(1_000_000)
    list(AsgiToWsgi(plain())(environ, lambda *args: None))
    assert source.taken == 0


def test_slow_consumer_holds_upload_and_download_back():
    total = 2000 * CHUNK_SIZE
    environ = make_environ(method="POST", CONTENT_LENGTH=str(total))
    environ["wsgi.input"] = source = RecordingInput(total)
    response = AsgiToWsgi(echo)(environ, lambda *args: None)
    for _ in range(3):
        next(response)
    time.sleep(0.05)
    assert source.taken <= (3 + PIECES_AHEAD + 2) * CHUNK_SIZE
    response.close()


def collect_types(types, until="http.disconnect"):
    async def app(scope, receive, send):
        while True:
            message = await receive()
            types.append(message["type"])
            if message["type"] == until:
                break
        await respond(send, b"end")

    return app


def test_short_body_is_a_disconnect():
    types = []
    environ = make_environ(method="POST", body=b"123", CONTENT_LENGTH="10")
    list(AsgiToWsgi(collect_types(types))(environ, lambda *args: None))
    assert types == ["http.request", "http.disconnect"]


def test_error_of_the_input_is_a_disconnect_from_then_on():
    class Broken:
        def read(self, size):
            raise OSError("reset by peer")

    seen = []

    async def app(scope, receive, send):
        for _ in range(3):
            seen.append((await receive())["type"])
        await respond(send)

    environ = make_environ(method="POST", CONTENT_LENGTH="10")
    environ["wsgi.input"] = Broken()
    list(AsgiToWsgi(app)(environ, lambda *args: None))
    assert seen == ["http.disconnect"] * 3


def test_foreign_error_of_the_input_reaches_the_server():
    class Broken:
        def read(self, size):
            raise LookupError("not about the client")

    types = []
    environ = make_environ(method="POST", CONTENT_LENGTH="10")
    environ["wsgi.input"] = Broken()
    with pytest.raises(LookupError):
        AsgiToWsgi(collect_types(types))(environ, lambda *args: None)
    assert types == ["http.disconnect"]


def test_cancelled_receive_loses_nothing():
    release = threading.Event()

    class Slow:
        def read(self, size):
            assert release.wait(5)
            return b"kept"

    async def app(scope, receive, send):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.01)
        release.set()
        await respond(send, (await receive())["body"])

    environ = make_environ(method="POST", CONTENT_LENGTH="4")
    environ["wsgi.input"] = Slow()
    assert b"".join(AsgiToWsgi(app)(environ, lambda *args: None)) == b"kept"


def test_receive_after_the_response_is_a_disconnect():
    seen = []

    async def app(scope, receive, send):
        waiting = asyncio.ensure_future(receive())
        await waiting
        waiting = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        await respond(send, b"x")
        seen.append(await waiting)
        seen.append(await receive())

    list(AsgiToWsgi(app)(make_environ(), lambda *args: None))
    assert seen == [{"type": "http.disconnect"}] * 2


def test_error_before_the_start_is_raised_by_the_call():
    async def app(scope, receive, send):
        raise ZeroDivisionError("early")

    with pytest.raises(ZeroDivisionError, match="early"):
        AsgiToWsgi(app)(make_environ(), lambda *args: None)


def test_error_after_the_start_is_raised_by_the_iteration():
    async def app(scope, receive, send):
        await respond(send, b"one", more=True)
        raise ZeroDivisionError("late")

    response = AsgiToWsgi(app)(make_environ(), lambda *args: None)
    assert next(response) == b"one"
    with pytest.raises(ZeroDivisionError, match="late"):
        next(response)
    response.close()


def test_system_exit_goes_to_the_caller_and_the_loop_lives_on():
    async def app(scope, receive, send):
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        AsgiToWsgi(app)(make_environ(), lambda *args: None)
    assert call(AsgiToWsgi(plain()), make_environ()).body == b"hello"


@pytest.mark.parametrize("messages", [0, 1])
def test_incomplete_response_is_an_error(messages):
    async def app(scope, receive, send):
        if messages:
            await respond(send, b"one", more=True)

    with pytest.raises(RuntimeError, match="without a complete response"):
        list(AsgiToWsgi(app)(make_environ(), lambda *args: None))


@pytest.mark.parametrize(
    "types",
    [
        ["http.response.body"],
        ["http.response.start", "http.response.start"],
        ["http.response.start", "http.response.body", "http.response.body"],
        ["http.response.push"],
    ],
)
def test_wrong_order_of_messages_is_an_error(types):
    async def app(scope, receive, send):
        for kind in types:
            await send({"type": kind, "status": 200})

    with pytest.raises(RuntimeError, match="was expected"):
        list(AsgiToWsgi(app)(make_environ(), lambda *args: None))


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_no_body_where_there_must_be_none(method, status):
    app = AsgiToWsgi(plain(b"not to be sent", status, headers=()))
    result = app(make_environ(method=method), lambda *args: None)
    assert list(result) == []


def test_hop_by_hop_headers_are_left_out():
    headers = [(b"connection", b"close"), (b"transfer-encoding", b"chunked"), (b"x-a", b"1")]
    answer = call(
        AsgiToWsgi(plain(headers=[*headers, (b"content-type", b"text/plain")])), make_environ()
    )
    assert answer.headers == {"x-a": "1", "content-type": "text/plain"}


def test_repeated_headers_stay_apart():
    started = []
    headers = [(b"set-cookie", b"a=1"), (b"set-cookie", b"b=2")]
    list(AsgiToWsgi(plain(headers=headers))(make_environ(), lambda *args: started.append(args)))
    assert started[0][1] == [("set-cookie", "a=1"), ("set-cookie", "b=2")]


def test_iteration_ends_after_the_application():
    done = threading.Event()

    async def app(scope, receive, send):
        await respond(send, b"body")
        await asyncio.sleep(0.05)
        done.set()

    response = AsgiToWsgi(app)(make_environ(), lambda *args: None)
    assert next(response) == b"body"
    assert not done.is_set()
    assert list(response) == []
    assert done.is_set()


def test_settle_waits_for_the_end_of_a_complete_response():
    done = threading.Event()

    async def app(scope, receive, send):
        await respond(send, b"body")
        await asyncio.sleep(0.05)
        done.set()

    response = AsgiToWsgi(app)(make_environ(), lambda *args: None)
    response.settle()
    assert done.is_set()
    assert list(response) == [b"body"]


def test_settle_leaves_a_stream_lazy():
    async def app(scope, receive, send):
        await respond(send, b"one", more=True)
        await receive()
        await receive()

    response = AsgiToWsgi(app)(make_environ(), lambda *args: None)
    response.settle()
    assert next(response) == b"one"
    response.close()


def endless(ended):
    async def app(scope, receive, send):
        try:
            await respond(send, b"tick", more=True)
            while True:
                await send({"type": "http.response.body", "body": b"tick", "more_body": True})
        finally:
            ended.set()

    return app


def test_close_ends_an_application_that_never_suspends(caplog):
    ended = threading.Event()
    response = AsgiToWsgi(endless(ended))(make_environ(), lambda *args: None)
    assert next(response) == b"tick"
    response.close()
    assert ended.is_set()
    assert caplog.records == []


def test_dropped_response_ends_its_application():
    ended = threading.Event()
    response = AsgiToWsgi(endless(ended))(make_environ(), lambda *args: None)
    del response
    gc.collect()
    assert ended.wait(5)


def test_close_tells_a_waiting_application():
    seen = []

    async def app(scope, receive, send):
        await receive()
        await respond(send, b"one", more=True)
        seen.append(await receive())

    response = AsgiToWsgi(app)(make_environ(), lambda *args: None)
    next(response)
    response.close()
    assert seen == [{"type": "http.disconnect"}]


def test_close_cancels_a_deaf_application():
    ended = threading.Event()

    async def app(scope, receive, send):
        try:
            await respond(send, b"one", more=True)
            await asyncio.sleep(60)
        finally:
            ended.set()

    bridge = AsgiToWsgi(app)
    bridge.close_timeout = 0.05
    response = bridge(make_environ(), lambda *args: None)
    response.close()
    assert ended.is_set()


def test_close_gives_up_on_an_application_that_resists_and_says_so(caplog):
    release = threading.Event()

    async def app(scope, receive, send):
        await respond(send, b"one", more=True)
        while not release.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue

    bridge = AsgiToWsgi(app)
    bridge.close_timeout = 0.05
    bridge(make_environ("/deaf"), lambda *args: None).close()
    release.set()
    assert "'/deaf' goes on" in caplog.text


def test_error_after_a_disconnect_is_logged(caplog):
    async def app(scope, receive, send):
        await receive()
        await respond(send, b"one", more=True)
        await receive()
        raise ZeroDivisionError("in cleanup")

    with caplog.at_level(logging.ERROR):
        AsgiToWsgi(app)(make_environ(), lambda *args: None).close()
    assert "in cleanup" in caplog.text


def test_context_of_the_caller_is_seen_and_not_changed():
    async def app(scope, receive, send):
        seen = color.get()
        color.set("changed")
        await respond(send, seen.encode())

    token = color.set("red")
    try:
        assert list(AsgiToWsgi(app)(make_environ(), lambda *args: None)) == [b"red"]
        assert color.get() == "red"
    finally:
        color.reset(token)


def test_call_on_the_background_loop_is_refused():
    async def caller():
        with pytest.raises(RuntimeError, match="would block"):
            AsgiToWsgi(plain())(make_environ(), lambda *args: None)

    asyncio.run_coroutine_threadsafe(caller(), background_loop()).result(5)


async def test_call_inside_another_running_loop():
    assert call(AsgiToWsgi(plain()), make_environ()).body == b"hello"


def test_many_threads_at_once():
    answers = []

    def work(number):
        body = str(number).encode() * 1000
        answers.append(call(AsgiToWsgi(echo), make_environ(method="POST", body=body)).body == body)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert answers == [True] * 30


async def show_json(request: Request):
    return JSONResponse({"got": await request.json(), "url": str(request.url)})


async def show_stream(request: Request):
    async def numbers():
        for number in range(5):
            yield f"{number};"
            await asyncio.sleep(0)

    return StreamingResponse(numbers(), media_type="text/plain")


def show_sync(request: Request):
    return PlainTextResponse(f"{request.path_params['name']} {color.get()}")


starlette_app = Starlette(
    routes=[
        Route("/json", show_json, methods=["POST"]),
        Route("/stream", show_stream),
        Route("/sync/{name}", show_sync),
    ]
)


def test_starlette_reads_a_body_and_builds_urls():
    body = b'{"a": [1, 2]}'
    environ = make_environ("/json", "POST", body, SCRIPT_NAME="/mounted", HTTP_HOST="example.org")
    answer = call(AsgiToWsgi(starlette_app), environ)
    assert answer.body == b'{"got":{"a":[1,2]},"url":"http://example.org/mounted/json"}'


def test_starlette_streams():
    assert call(AsgiToWsgi(starlette_app), make_environ("/stream")).body == b"0;1;2;3;4;"


def test_starlette_sync_endpoint_sees_the_context():
    token = color.set("blue")
    try:
        answer = call(AsgiToWsgi(starlette_app), make_environ("/sync/ann"))
    finally:
        color.reset(token)
    assert answer.body == b"ann blue"


def test_starlette_stream_ends_with_its_reader(caplog):
    ended = threading.Event()

    async def ticks():
        try:
            while True:
                yield b"tick"
                await asyncio.sleep(0)
        finally:
            ended.set()

    async def app(scope, receive, send):
        await StreamingResponse(ticks())(scope, receive, send)

    response = AsgiToWsgi(app)(make_environ(), lambda *args: None)
    assert next(response) == b"tick"
    response.close()
    wait_until(ended.is_set)
    assert caplog.records == []


def test_an_application_that_is_cancelled_before_it_begins_is_cancelled():
    async def app(scope, receive, send):
        await asyncio.sleep(10)

    async def cancel_at_once():
        exchange = _Exchange(asyncio.get_running_loop(), {"method": "GET", "path": "/"})
        exchange.start(app)
        exchange.cancel()
        async with asyncio.timeout(5):
            while exchange.mailbox.empty():
                await asyncio.sleep(0)
        return exchange.mailbox.get_nowait()

    ended = asyncio.run(cancel_at_once())
    assert isinstance(ended.take_error(), asyncio.CancelledError)
