from __future__ import annotations

import asyncio
import contextvars
import io
import threading
import typing as t

import flask
import pytest
from werkzeug.wsgi import wrap_file

from asyncflask import Flask
from asyncflask import request
from asyncflask.adapters import AsgiToWsgi
from asyncflask.adapters import WsgiToAsgi
from asyncflask.adapters.sending import FILE_CHUNK
from asyncflask.adapters.wsgi_call import IN_ONE_PIECE
from asyncflask.lanes import run_awaitable
from asyncflask.lanes import Workers
from asyncflask.lanes.production import AHEAD
from tests.bodies import nothing_left_behind
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan
from tests.kit.drive import STALL
from tests.mounted import Closing
from tests.mounted import endless
from tests.mounted import PLAIN
from tests.mounted import respond

pytestmark = pytest.mark.anyio

color: contextvars.ContextVar[str] = contextvars.ContextVar("color", default="none")


# -- responses ---------------------------------------------------------------------------------


async def test_a_list_is_one_start_and_one_body() -> None:
    answer = await fetch(WsgiToAsgi(respond([b"hello"], status="201 Created")))
    assert answer.status == 201
    assert answer.headers == [("content-type", "text/plain"), ("content-length", "5")]
    assert [message["type"] for message in answer.messages[1:]] == ["http.response.body"]
    assert answer.body == b"hello" and answer.complete


@pytest.mark.parametrize("result", [[], (), [b""], [b"", b""]], ids=repr)
async def test_an_empty_list_is_an_empty_body(result: t.Any) -> None:
    answer = await fetch(WsgiToAsgi(respond(result)))
    assert answer.header("content-length") == "0" and len(answer.messages) == 2


async def test_a_short_list_is_joined_and_a_long_one_is_not() -> None:
    assert (await fetch(WsgiToAsgi(respond([b"a", b"b"])))).chunks == [b"ab"]
    long = [bytes(IN_ONE_PIECE), b"b"]
    answer = await fetch(WsgiToAsgi(respond(long)))
    assert answer.chunks == long and answer.header("content-length") is None


async def test_chunks_of_a_generator_arrive_one_by_one_without_empty_ones() -> None:
    answer = await fetch(WsgiToAsgi(respond(lambda: iter([b"", b"a", b"", b"b"]))))
    assert answer.chunks == [b"a", b"b"]
    empty = [m for m in answer.messages if m.get("more_body") and not m["body"]]
    assert not empty and answer.complete


async def test_a_body_that_has_reached_its_length_is_complete_at_once() -> None:
    going_on = threading.Event()

    def chunks() -> t.Iterator[bytes]:
        yield b"hello"
        going_on.wait(10)

    app = WsgiToAsgi(respond(chunks, [("Content-Length", "5")]))
    async with Exchange(app) as exchange:
        assert await exchange.chunk() == b"hello"
        assert exchange.answer.complete
        going_on.set()


async def test_nothing_may_follow_a_complete_body_in_any_amount() -> None:
    chunks = [bytes(2 * AHEAD), *[b""] * 1000]
    result = Closing(chunks)
    app = WsgiToAsgi(respond(result, [("Content-Length", str(2 * AHEAD))]))
    answer = await fetch(app)
    assert answer.complete and len(answer.body) == 2 * AHEAD
    assert (result.taken, result.closed) == (len(chunks), 1)


async def test_a_generator_is_lazy() -> None:
    steps = threading.Semaphore(0)

    def chunks() -> t.Iterator[bytes]:
        for number in range(3):
            assert steps.acquire(timeout=10)
            yield b"%d" % number

    async with Exchange(WsgiToAsgi(respond(chunks))) as exchange:
        for number in range(3):
            assert len(exchange.answer.chunks) == number
            steps.release()
            assert await exchange.chunk() == b"%d" % number


async def test_a_generator_is_not_far_ahead_of_a_client_that_does_not_read() -> None:
    result = Closing(endless(bytes(10_000)))
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        while result.taken * 10_000 < AHEAD:
            await asyncio.sleep(0)
        taken = result.taken
        assert taken * 10_000 <= AHEAD + 2 * 10_000
        exchange.read_on()
        for _ in range(taken * 3):
            assert await exchange.chunk()
        exchange.disconnect()
    assert result.closed == 1


async def test_start_response_may_be_called_at_the_first_step() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        start_response("202 Accepted", PLAIN)
        yield b"late"

    answer = await fetch(WsgiToAsgi(app))
    assert (answer.status, answer.body) == (202, b"late")


async def test_write_sends_before_what_is_returned() -> None:
    def app(environ: t.Any, start_response: t.Any) -> list[bytes]:
        write = start_response("200 OK", PLAIN)
        write(b"")
        write(b"one")
        write(b"two")
        return [b"three"]

    answer = await fetch(WsgiToAsgi(app))
    assert answer.chunks == [b"one", b"two", b"three"] and answer.complete


async def test_write_waits_for_a_client_that_does_not_read_and_hears_that_it_left() -> None:
    written = 0
    errors: list[BaseException] = []

    def app(environ: t.Any, start_response: t.Any) -> list[bytes]:
        nonlocal written
        write = start_response("200 OK", PLAIN)
        try:
            for _ in range(1000):
                write(bytes(AHEAD))
                written += 1
        except OSError as exc:
            errors.append(exc)
            raise
        return []

    async with Exchange(WsgiToAsgi(app)) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        assert written < 3
        exchange.disconnect()
    assert len(errors) == 1 and written < 5


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("method", "status"), [("HEAD", "200 OK"), ("GET", "204 No Content"), ("GET", "304 OK")]
)
async def test_what_has_no_body_sends_none(method: str, status: str, lazy: bool) -> None:
    result = Closing(endless())

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        write = start_response(status, [("Content-Length", "5"), ("X-A", "b")])
        write(b"ignored")
        return result if lazy else [b"hello"]

    answer = await fetch(WsgiToAsgi(app), method)
    assert answer.status == int(status[:3]) and answer.body == b"" and answer.complete
    assert answer.header("content-length") == (None if "204" in status else "5")
    assert result.closed == lazy


async def test_head_of_an_application_that_starts_late_has_its_headers() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        yield b""
        start_response("200 OK", [*PLAIN, ("X-A", "b")])
        while True:
            yield b"x"

    answer = await fetch(WsgiToAsgi(app), "HEAD")
    assert answer.header("x-a") == "b" and answer.body == b""


async def test_hop_by_hop_headers_are_left_out() -> None:
    headers = [("Connection", "close"), ("Transfer-Encoding", "chunked"), ("X-A", " b ")]
    answer = await fetch(WsgiToAsgi(respond([b""], headers)))
    assert [name for name, _ in answer.headers] == ["content-type", "x-a", "content-length"]
    assert answer.header("x-a") == "b"


async def test_repeated_headers_stay() -> None:
    headers = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    answer = await fetch(WsgiToAsgi(respond([b""], headers)))
    assert [value for name, value in answer.headers if name == "set-cookie"] == ["a=1", "b=2"]


async def test_files_are_read_in_large_pieces(tmp_path: t.Any) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * FILE_CHUNK + 1))
    files: list[t.IO[bytes]] = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", PLAIN)
        files.append(path.open("rb"))
        return wrap_file(environ, files[0])

    async with nothing_left_behind():
        answer = await fetch(WsgiToAsgi(app))
    assert [len(chunk) for chunk in answer.chunks] == [FILE_CHUNK] * 3 + [1]
    assert files[0].closed


async def test_a_file_that_is_slow_is_read_as_the_application_says() -> None:
    class Slow(io.BytesIO):
        pass

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", PLAIN)
        return environ["wsgi.file_wrapper"](Slow(bytes(30)), 10)

    assert (await fetch(WsgiToAsgi(app))).chunks == [bytes(10)] * 3


# -- threads and contexts ----------------------------------------------------------------------


async def test_all_of_a_request_runs_on_one_thread_in_one_copy_of_the_context() -> None:
    threads, colors = [], []

    class Result(Closing):
        def __next__(self) -> t.Any:
            colors.append(color.get())
            color.set("set by a step")
            return super().__next__()

        def close(self) -> None:
            colors.append(color.get())
            super().close()

    result = Result([b"a", b"b"])

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        threads.append(threading.get_ident())
        colors.append(color.get())
        color.set("set by the call")
        start_response("200 OK", PLAIN)
        return result

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        color.set("set outside")
        await WsgiToAsgi(app)(scope, receive, send)
        colors.append(color.get())

    await fetch(outer)
    assert len({*threads, *result.threads}) == 1 and threads[0] != threading.get_ident()
    step = "set by a step"
    assert colors == ["set outside", "set by the call", step, step, step, "set outside"]


async def test_the_servers_functions_run_outside_of_the_requests_context() -> None:
    seen = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        color.set("of the request")
        environ["wsgi.input"].read()
        start_response("200 OK", PLAIN)(b"written")
        return iter([b"a", b"b"])

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def watched_receive() -> t.Any:
            seen.append(color.get())
            return await receive()

        async def watched_send(message: t.Any) -> None:
            seen.append(color.get())
            await send(message)

        await WsgiToAsgi(app)(scope, watched_receive, watched_send)

    await fetch(outer, "POST", body=[b"a", b"b"], headers={"Expect": "100-continue"})
    assert set(seen) == {"none"} and len(seen) > 6


async def test_slow_clients_hold_no_places_in_the_pool() -> None:
    app = WsgiToAsgi(respond(lambda: endless(bytes(AHEAD))), workers=Workers(1))
    other = WsgiToAsgi(respond([b"served"]), workers=app.workers)
    async with Exchange(app) as first, Exchange(app) as second:
        for exchange in (first, second):
            exchange.stop_reading()
            await exchange.blocked()
        assert (await fetch(other)).body == b"served"
        for exchange in (first, second):
            exchange.disconnect()


async def test_adapters_of_the_same_size_share_a_pool() -> None:
    one, two = WsgiToAsgi(respond([]), workers=3), WsgiToAsgi(respond([]), workers=3)
    assert one._pool() is two._pool()
    with pytest.raises(ValueError, match="at least one thread, not 0"):
        WsgiToAsgi(respond([]), workers=0)


async def test_a_full_queue_is_a_503_and_the_application_is_not_called() -> None:
    going_on = threading.Event()
    called = []

    def block(environ: t.Any, start_response: t.Any) -> t.Any:
        called.append(environ["PATH_INFO"])
        going_on.wait(10)
        start_response("200 OK", PLAIN)
        return [b"served"]

    app = WsgiToAsgi(block, workers=1, queue_limit=0)
    async with Exchange(app, target="/first") as exchange:
        while not called:
            await asyncio.sleep(0)
        refused = await fetch(app, "POST", "/second", body=[b"a", STALL], length=10**6,
                              headers={"Expect": "100-continue"})
        going_on.set()
        assert (await exchange.end()).body == b"served"
    assert (refused.status, refused.header("retry-after")) == (503, "1")
    assert called == ["/first"]


async def test_who_waits_too_long_for_a_thread_gets_a_503() -> None:
    going_on = threading.Event()

    def block() -> list[bytes]:
        going_on.wait(10)
        return [b"served"]

    app = WsgiToAsgi(respond(block), workers=Workers(1, queue_timeout=0.01))
    async with Exchange(app) as exchange:
        assert (await fetch(app)).status == 503
        going_on.set()
        assert (await exchange.end()).status == 200


async def test_async_functions_run_on_the_servers_loop() -> None:
    loops = []

    async def find_loop() -> None:
        loops.append(asyncio.get_running_loop())

    def run() -> list[bytes]:
        run_awaitable(find_loop())
        return [b"done"]

    assert (await fetch(WsgiToAsgi(respond(run)))).body == b"done"
    assert loops == [asyncio.get_running_loop()]


def test_another_kind_of_loop_is_refused() -> None:
    async def never(*args: t.Any) -> t.Any:
        raise AssertionError(args)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    serving = WsgiToAsgi(respond([b"never"]))(scope, never, never)
    # Where no loop of asyncio's runs, as on trio's.
    with pytest.raises(RuntimeError, match="needs an event loop of asyncio's"):
        serving.send(None)


# -- applications of our own, and other protocols ------------------------------------------------


async def test_applications_of_flasks_and_ours_run_below_a_prefix() -> None:
    for kind, request_of in ((flask.Flask, flask.request), (Flask, request)):
        app = kind("app")
        app.add_url_rule("/<name>", "view", lambda name: f"{request_of.url} {name}")  # noqa: B023
        scope = {"path": "/mounted/n", "root_path": "/mounted", "raw_path": b"/mounted/n"}
        wsgi = app.wsgi_app if kind is Flask else app
        answer = await fetch(WsgiToAsgi(wsgi), scope=scope)
        assert answer.text == "http://localhost/mounted/n n"


async def test_async_views_of_ours_hold_no_places_while_they_wait() -> None:
    app = Flask("app")
    arrived = threading.Barrier(3)

    @app.post("/")
    async def view() -> bytes:
        await asyncio.to_thread(arrived.wait, 10)
        return request.get_data()

    mounted = WsgiToAsgi(app.wsgi_app, workers=Workers(1))
    body = [b"a", b"b" * 100_000]
    answers = await asyncio.gather(*(fetch(mounted, "POST", body=body) for _ in range(3)))
    assert [answer.body for answer in answers] == [b"".join(body)] * 3


async def test_a_cancellation_reaches_an_async_view_of_ours() -> None:
    app = Flask("app")
    began, seen = threading.Event(), []

    @app.get("/")
    async def view() -> str:
        began.set()
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise
        return ""

    @app.teardown_request
    def teardown(error: BaseException | None) -> None:
        seen.append(type(error).__name__)

    async with Exchange(WsgiToAsgi(app.wsgi_app)) as exchange:
        await asyncio.to_thread(began.wait, 10)
        exchange.cancel()
    assert seen == ["cancelled", "CancelledError"]


async def test_there_and_back_again() -> None:
    async def app(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        message = await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": message["body"][::-1]})

    answer = await fetch(WsgiToAsgi(AsgiToWsgi(app)), "POST", body=b"abc")
    assert answer.body == b"cba"


async def test_a_lifespan_is_answered() -> None:
    async with Lifespan(WsgiToAsgi(respond([]))) as lifespan:
        assert lifespan.state == {}


async def test_a_websocket_is_refused() -> None:
    messages: list[t.Any] = []

    async def receive() -> t.Any:
        return {"type": "websocket.connect"}

    async def send(message: t.Any) -> None:
        messages.append(message)

    await WsgiToAsgi(respond([]))({"type": "websocket"}, receive, send)
    assert messages == [{"type": "websocket.close"}]
    with pytest.raises(ValueError, match="'other' is not known"):
        await WsgiToAsgi(respond([]))({"type": "other"}, receive, send)


def test_the_folder_has_only_its_two_names() -> None:
    import asyncflask.adapters as adapters

    with pytest.raises(AttributeError, match="no attribute 'Other'"):
        adapters.Other  # noqa: B018
