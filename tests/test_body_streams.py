"""A body that is streamed, ends that come too early, and the client's leaving."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from asyncflask import stream_with_context
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import Chunks
from tests.bodies import EXPECTED
from tests.bodies import FORM
from tests.bodies import iterate
from tests.bodies import KIB
from tests.bodies import load
from tests.bodies import MIB
from tests.bodies import nothing_left_behind
from tests.bodies import read_all
from tests.bodies import send
from tests.bodies import Watched
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import STALL
from tests.kit.server import serve

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> t.AsyncIterator[None]:
    async with nothing_left_behind():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- streams -----------------------------------------------------------------------------------


async def read_none() -> bytes:
    return await request.stream.read(None)


async def read_in_pieces() -> bytes:
    parts = []
    while part := await request.stream.read(4):
        parts.append(part)
    assert [len(part) for part in parts] == [4, 4, 3]
    return b"".join(parts)


async def read_then_iterate() -> bytes:
    assert await request.stream.read(0) == b""
    return await request.stream.read(4) + await iterate()


async def start_then_read() -> bytes:
    return await anext(aiter(request.stream)) + await request.stream.read()


async def read_then_load() -> bytes:
    start = await request.stream.read(4)
    await request.load_body()
    return start + request.stream.read()


@both_transports
@pytest.mark.parametrize(
    "view",
    [
        iterate,
        read_all,
        read_none,
        read_in_pieces,
        read_then_iterate,
        start_then_read,
        load,
        read_then_load,
    ],
)
@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
async def test_an_async_view_streams(
    app: Flask, view: t.Callable[[], t.Any], length: int | None, transport: str
) -> None:
    app.add_url_rule("/", view_func=view, methods=["POST"], stream_body=True)
    assert await send(app, transport, [b"one", b"two", b"three"], length) == (200, EXPECTED)


@both_transports
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_without_a_body_has_an_empty_stream(
    app: Flask, method: str, transport: str
) -> None:
    @app.route("/", methods=["GET", "POST"], stream_body=True)
    async def view() -> list[t.Any]:
        chunks = [chunk async for chunk in request.stream]
        parts = [await request.stream.read(), await request.stream.read(4)]
        await request.load_body()
        return [len(chunks), *map(len, parts), len(request.stream.read())]

    client = app.test_client(transport=transport)
    assert client.open("/", method=method).json == [0, 0, 0, 0]


@both_transports
async def test_a_sync_view_streams(app: Flask, transport: str) -> None:
    add(app, "sync", lambda: request.stream.read(4) + request.stream.read(), stream_body=True)
    assert await send(app, transport, [b"one", b"two", b"three"]) == (200, EXPECTED)


@both_transports
async def test_a_streamed_body_is_not_looked_at_without_loading(app: Flask, transport: str) -> None:
    @app.post("/", stream_body=True)
    async def view() -> str:
        with pytest.raises(RuntimeError, match="await request.load_body()"):
            request.form.get("a")
        await request.load_body()
        return request.form["a"]

    assert await send(app, transport, b"a=1") == (200, b"1")


async def test_blocking_methods_of_a_stream_are_refused_on_the_loop(app: Flask) -> None:
    @app.post("/", stream_body=True)
    async def view() -> str:
        with pytest.raises(RuntimeError, match="await request.stream.read()"):
            request.stream.readline()
        return "refused"

    assert await send(app, "asgi", b"a=1") == (200, b"refused")


async def test_a_stream_takes_in_what_is_asked_for_only(app: Flask) -> None:
    watched = Watched(app)

    @app.post("/", stream_body=True)
    async def view() -> str:
        counts = [watched.calls]
        async for _ in request.stream:
            await asyncio.sleep(0)
            counts.append(watched.calls)
            if len(counts) == 4:
                break
        return repr(counts)

    assert (await fetch(watched, "POST", body=[b"x"] * 100)).text == "[0, 1, 2, 3]"


async def test_tasks_reading_at_once_share_the_bytes(app: Flask) -> None:
    @app.post("/", stream_body=True)
    async def view() -> list[str]:
        parts = await asyncio.gather(*[request.stream.read(3) for _ in range(5)])
        return sorted(part.decode() for part in parts)

    body: list[t.Any] = [b"aa", b"abbb", STALL, b"c", b"ccddde"]
    async with Exchange(app, "POST", body=body) as exchange:
        exchange.go_on()
    assert exchange.answer.json == ["aaa", "bbb", "ccc", "ddd", "e"]


async def test_a_task_that_gives_up_waiting_takes_nothing_from_another(app: Flask) -> None:
    waiting = asyncio.Event()

    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        first = asyncio.create_task(request.stream.read(3))
        second = asyncio.create_task(request.stream.read(3))
        for _ in range(10):
            await asyncio.sleep(0)
        first.cancel()
        waiting.set()
        return await second

    async with Exchange(app, "POST", body=[STALL, b"abc"]) as exchange:
        async with asyncio.timeout(10):
            await waiting.wait()
        exchange.go_on()
    assert exchange.answer.text == "abc"


async def test_a_read_that_is_given_up_loses_nothing(app: Flask) -> None:
    given_up = asyncio.Event()

    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        parts = [await request.stream.read(2)]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(request.stream.read(4), 0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await request.stream.read(4)
        given_up.set()
        return b"".join([*parts, await request.stream.read()])

    async with Exchange(app, "POST", body=[b"one", STALL, b"two"]) as exchange:
        async with asyncio.timeout(10):
            await given_up.wait()
        exchange.go_on()
    assert exchange.answer.text == "onetwo"


async def test_a_load_that_was_given_up_goes_on_where_it_was(app: Flask) -> None:
    given_up = asyncio.Event()

    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await request.load_body()
        given_up.set()
        with pytest.raises(RuntimeError, match="load_body"):
            await request.stream.read(1)
        await request.load_body()
        return str(len(request.get_data()))

    body = [bytes(MIB), bytes(MIB), STALL, bytes(MIB)]
    async with Exchange(app, "POST", body=body) as exchange:
        async with asyncio.timeout(10):
            await given_up.wait()
        exchange.go_on()
    assert exchange.answer.text == str(3 * MIB)


async def test_what_nobody_reads_is_not_taken_in(app: Flask) -> None:
    app.add_url_rule("/sync", view_func=lambda: "ok", methods=["POST"], endpoint="sync")

    @app.post("/stream", stream_body=True)
    async def stream() -> str:
        return "ok"

    for path, most in (("/stream", 0), ("/sync", 64 * KIB)):
        watched = Watched(app)
        body = [bytes(16 * KIB)] * 64
        assert (await fetch(watched, "POST", path, body=[*body, STALL])).text == "ok"
        assert watched.taken == most


# -- beside a response that is streamed --------------------------------------------------------


@both_colours
async def test_a_generator_reads_the_body_while_it_answers(app: Flask, colour: str) -> None:
    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        async def echo() -> t.AsyncIterator[bytes]:
            yield b"<"
            async for chunk in request.stream:
                await asyncio.sleep(0)
                yield chunk

        return stream_with_context(echo())

    @app.put("/")
    def view_sync() -> t.Any:
        def echo() -> t.Iterator[bytes]:
            yield b"<"
            while chunk := request.stream.read(8 * KIB):
                yield chunk

        return stream_with_context(echo())

    body = [bytes([number]) * (16 * KIB) for number in range(40)]
    method = "POST" if colour == "async" else "PUT"
    answer = await fetch(Watched(app, suspends=True), method, body=body)
    assert answer.body == b"<" + b"".join(body)


class Ticking:
    """An endless answer beside which nothing is read, until :attr:`enough` is set."""

    def __init__(self, app: Flask) -> None:
        self.enough = asyncio.Event()
        self.closed = False
        app.add_url_rule("/", "ticking", self.view, methods=["POST"], stream_body=True)

    async def view(self) -> t.Any:
        return self.ticks()

    async def ticks(self) -> t.AsyncIterator[bytes]:
        try:
            yield b"tick"
            await self.enough.wait()
        finally:
            self.closed = True


async def test_a_streamed_answer_ends_when_its_client_leaves_before_the_body_is_over(
    app: Flask,
) -> None:
    ticking = Ticking(app)
    async with Exchange(app, "POST", body=[b"one", STALL, LEAVE], length=10) as exchange:
        assert await exchange.chunk() == b"tick"
        exchange.go_on()
    assert ticking.closed


async def test_beside_a_streamed_answer_64_kib_are_taken_in(app: Flask) -> None:
    ticking = Ticking(app)
    watched = Watched(app)
    async with Exchange(watched, "POST", body=[bytes(16 * KIB)] * 20) as exchange:
        assert await exchange.chunk() == b"tick"
        for _ in range(100):
            await asyncio.sleep(0)
        assert watched.taken == 64 * KIB
        ticking.enough.set()
    assert exchange.answer.complete


async def test_what_nobody_reads_beside_a_streamed_answer_is_dropped_in_the_end(
    app: Flask,
) -> None:
    app.config["BODY_TIMEOUT"] = 0.05
    ticking = Ticking(app)
    watched = Watched(app)
    async with Exchange(watched, "POST", body=[*[bytes(16 * KIB)] * 20, LEAVE]) as exchange:
        assert await exchange.chunk() == b"tick"
    assert watched.taken == 320 * KIB
    assert ticking.closed


async def test_once_all_is_read_beside_a_streamed_answer_the_client_s_leaving_shows(
    app: Flask,
) -> None:
    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        @stream_with_context
        async def ticks() -> t.AsyncIterator[bytes]:
            yield b"tick"
            for _ in range(100):
                # The watcher finds the buffer full, and waits for somebody to read.
                await asyncio.sleep(0)
            yield str(len(await request.stream.read())).encode()
            await asyncio.Event().wait()

        return ticks()

    async with Exchange(app, "POST", body=[bytes(16 * KIB)] * 20) as exchange:
        assert await exchange.chunk() == b"tick"
        assert await exchange.chunk() == str(320 * KIB).encode()
        exchange.disconnect()


async def test_a_view_that_ends_with_its_client_still_gets_its_stream(app: Flask) -> None:
    @app.post("/", stream_body=True, cancel_on_disconnect=True)
    async def view() -> t.Any:
        size = 0
        async for chunk in request.stream:
            await asyncio.sleep(0)
            size += len(chunk)
        return str(size)

    watched = Watched(app, suspends=True)
    assert (await fetch(watched, "POST", body=[bytes(30 * KIB)] * 20)).text == str(600 * KIB)


# -- ends that come too early ------------------------------------------------------------------


async def read_stream() -> None:
    async for _ in request.stream:
        pass


ENDINGS: dict[str, tuple[list[t.Any], int | None]] = {
    "the client leaves": ([b"a=1", LEAVE], 100),
    "the client leaves, chunked": ([b"a=1", LEAVE], None),
    "the client leaves at once": ([LEAVE], 100),
    "less than declared": ([b"a=1", b"&b"], 6),
    "more than declared": ([b"a=1", b"&b=2"], 6),
}


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.case("A20")
async def test_a_body_that_ends_wrongly_is_an_error_to_who_reads_it(
    app: Flask, ending: str
) -> None:
    body, length = ENDINGS[ending]
    ran: list[t.Any] = []
    raised: list[t.Any] = []

    def try_twice(read: t.Callable[[], t.Any]) -> None:
        for _ in range(2):
            with pytest.raises(HTTPException) as caught:
                read()
            raised.append(caught.value.code)

    @app.post("/async")
    async def loaded() -> str:
        ran.append("a view of a loaded body")
        return ""

    @app.post("/sync")
    def on_demand() -> str:
        try_twice(lambda: request.get_data())
        try_twice(lambda: request.form)
        return ""

    @app.post("/stream", stream_body=True)
    async def streamed() -> str:
        for _ in range(2):
            with pytest.raises(HTTPException) as caught:
                await read_stream()
            raised.append(caught.value.code)
        with pytest.raises(HTTPException):
            await request.load_body()
        return ""

    for path in ("/async", "/sync", "/stream"):
        answer = await fetch(
            app, "POST", path, body=body, length=length, headers={"Content-Type": FORM}
        )
        assert answer.status in ((400,) if path == "/async" else (200, 400))
    assert ran == []
    assert raised == [400] * 6


async def test_who_does_not_read_a_broken_body_is_not_bothered(app: Flask) -> None:
    add(app, "sync", lambda: "not read")
    assert (await fetch(app, "POST", body=[b"a", LEAVE], length=5)).text == "not read"


@both_colours
async def test_under_wsgi_nothing_is_read_past_the_declared_length(app: Flask, colour: str) -> None:
    add(app, colour, lambda: request.stream.read(2) + request.stream.read() + request.get_data())
    environ = EnvironBuilder("/", method="POST").get_environ()
    environ.update({"wsgi.input": Chunks([b"a", b"bc"], ends=False), "CONTENT_LENGTH": "3"})
    data, _, _ = await asyncio.to_thread(run_wsgi_app, app, environ, buffered=True)
    assert b"".join(data) == b"abc"


@both_colours
@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.case("A20")
async def test_under_wsgi_too_a_short_body_is_no_complete_one(
    app: Flask, colour: str, terminated: bool
) -> None:
    ran = []
    add(app, colour, lambda: str(ran.append(request.get_data())))
    environ = EnvironBuilder("/", method="POST").get_environ()
    environ.update({"wsgi.input": Chunks([b"short"]), "CONTENT_LENGTH": "10"})
    if terminated:
        environ["wsgi.input_terminated"] = True
    _, status, _ = await asyncio.to_thread(run_wsgi_app, app, environ, buffered=True)
    assert (status[:3], ran) == ("400", [])


async def test_looking_for_a_disconnect_does_not_hide_a_wrong_end(app: Flask) -> None:
    seen = []

    @app.post("/", stream_body=True)
    async def view() -> str:
        for _ in range(5):
            seen.append(await request.is_disconnected())
        await request.load_body()
        return "loaded"

    answer = await fetch(app, "POST", body=[b"a", b"b"], length=10)
    assert answer.status == 400 and seen == [False] * 5


@pytest.mark.slow
@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.case("A20")
async def test_clients_that_leave_a_server_before_their_body_is_over_leave_no_trace(
    http: str,
) -> None:
    source = """
    import contextlib, os
    from asyncflask import Flask, request
    app = Flask("served")
    ran = []

    @app.post("/async")
    async def view():
        ran.append("async")

    @app.post("/sync")
    def view_sync():
        request.get_data()
        ran.append("sync")

    @app.teardown_request
    def count(exc):
        print("torn down", flush=True)

    @app.get("/")
    async def left():
        files = []
        for fd in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                files.append(os.readlink(f"/proc/self/fd/{fd}"))
        return {"ran": ran, "files": [name for name in files if "(deleted)" in name]}
    """
    with serve(source, http=http) as server:
        for path in ("/async", "/sync"):
            with server.connect() as connection:
                connection.request("POST", path, headers={"Content-Length": str(8 * MIB)})
                connection.send(bytes(3 * MIB))
                connection.reset()
        output = server.wait_for_output("torn down", 2)
        # The file is closed soon after.
        left = [server.get("/") for _ in range(20)]
        assert left[-1] == '{"files":[],"ran":[]}\n'
    assert "Traceback" not in output


# -- silence -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["async", "sync", "stream", "hook"])
@pytest.mark.case("A23")
async def test_a_silent_client_gets_408(app: Flask, kind: str) -> None:
    app.config["BODY_TIMEOUT"] = 0.05

    @app.before_request
    async def hook() -> None:
        if kind == "hook":
            await request.load_body()

    if kind == "stream":
        app.add_url_rule("/", "view", read_stream, methods=["POST"], stream_body=True)
    else:
        add(app, "sync" if kind == "hook" else kind, lambda: request.get_data())
    async with Exchange(app, "POST", body=[b"a", STALL]) as exchange:
        await exchange.end()
    assert exchange.answer.status == 408


async def test_without_a_limit_a_silent_client_is_waited_for(app: Flask) -> None:
    app.config["BODY_TIMEOUT"] = None
    add(app, "async", lambda: request.get_data())
    async with Exchange(app, "POST", body=[b"a", STALL, b"b"]) as exchange:
        exchange.go_on()
    assert exchange.answer.body == b"ab"


# -- the client's leaving ----------------------------------------------------------------------


async def test_is_disconnected_tells_without_waiting_and_without_losing_anything(
    app: Flask,
) -> None:
    seen = []

    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        seen.append(await request.is_disconnected())
        start = await request.stream.read(2)
        seen.append(await request.is_disconnected())
        rest = await request.stream.read()
        seen.append(await request.is_disconnected())
        return start + rest

    assert (await fetch(app, "POST", body=[b"one", b"two", b"three"])).body == EXPECTED
    assert seen == [False, False, False]


async def test_is_disconnected_knows_at_once_that_the_client_has_left(app: Flask) -> None:
    seen = []

    @app.route("/", methods=["GET", "POST"])
    async def view() -> str:
        exchange.disconnect()
        seen.extend([await request.is_disconnected(), await request.is_disconnected()])
        return "nobody gets it"

    for method in ("GET", "POST"):
        async with Exchange(app, method) as exchange:
            pass
    assert seen == [True] * 4


@both_transports
async def test_nobody_has_left_who_waits_for_the_answer(app: Flask, transport: str) -> None:
    @app.get("/")
    async def view() -> str:
        return str(await request.is_disconnected())

    @app.get("/sync")
    def view_sync() -> str:
        return str(app.ensure_sync(request.is_disconnected)())

    client = app.test_client(transport=transport)
    assert (client.get("/").text, client.get("/sync").text) == ("False", "False")


async def test_a_server_that_says_nothing_new_after_the_end_does_no_harm(app: Flask) -> None:
    """Some servers go on with empty messages rather than wait for the client to leave."""

    @app.post("/", stream_body=True)
    async def view() -> t.Any:
        data = await request.stream.read()
        assert not await request.is_disconnected()
        assert not await request.is_disconnected()
        return data + await request.stream.read()

    async def receive() -> t.Any:
        return {"type": "http.request", "body": b"abc", "more_body": False}

    sent: list[t.Any] = []

    async def keep(message: t.Any) -> None:
        sent.append(message)

    scope = Exchange(app, "POST", body=b"abc").scope
    await app(scope, receive, keep)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"abc")
