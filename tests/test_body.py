"""The body of a request: when it is read, and by whom."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import threading
import typing as t

import pytest

import asyncflask
from asyncflask import abort
from asyncflask import copy_current_request_context
from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import BOUNDARY
from tests.bodies import EXPECTED
from tests.bodies import FORM
from tests.bodies import iterate
from tests.bodies import KIB
from tests.bodies import load
from tests.bodies import marker
from tests.bodies import multipart
from tests.bodies import nothing_left_behind
from tests.bodies import read_all
from tests.bodies import send
from tests.bodies import Watched
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import STALL
from tests.kit.leaks import worker_threads
from tests.kit.server import serve

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> t.AsyncIterator[None]:
    async with nothing_left_behind():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- reading, in every way ---------------------------------------------------------------------

READERS: dict[str, tuple[str, list[bytes], t.Callable[[], t.Any], t.Any]] = {
    "form": (
        FORM,
        [b"a=1&a=2&", b"b=%C3%BC"],
        lambda: request.form.to_dict(flat=False),
        {"a": ["1", "2"], "b": ["ü"]},
    ),
    "values": (FORM, [b"a=", b"1"], lambda: request.values["a"], "1"),
    "parts": (BOUNDARY, [multipart(("a", None, b"1"))], lambda: request.form["a"], "1"),
    "files": (
        BOUNDARY,
        [multipart(("f", "n", b"data"))],
        lambda: request.files["f"].read().decode(),
        "data",
    ),
    "json": ("application/json", [b'{"a": ', b"1}"], lambda: request.json, {"a": 1}),
    "get_json": ("text/plain", [b"[", b"]"], lambda: request.get_json(force=True), []),
    "data": ("text/plain", [b"on", b"e"], lambda: request.data.decode(), "one"),
    "data of a form": (FORM, [b"a=1"], lambda: request.data.decode(), ""),
    "get_data": (FORM, [b"a=", b"1"], lambda: request.get_data(as_text=True), "a=1"),
    "get_data twice": (
        FORM,
        [b"a=1"],
        lambda: [request.get_data().decode(), request.get_data().decode()],
        ["a=1"] * 2,
    ),
    "get_data, then form": (
        FORM,
        [b"a=1"],
        lambda: [request.get_data().decode(), request.form["a"]],
        ["a=1", "1"],
    ),
    "stream": ("text/plain", [b"on", b"e"], lambda: request.stream.read().decode(), "one"),
    "nothing": ("text/plain", [b""], lambda: [request.form, request.data.decode()], [{}, ""]),
}


@both_transports
@both_colours
@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize("name", READERS)
async def test_a_body_is_read_without_await(
    app: Flask, name: str, colour: str, transport: str, declared: bool
) -> None:
    content_type, body, read, expected = READERS[name]
    add(app, colour, lambda: {"read": read()})
    status, data = await send(app, transport, body, -1 if declared else None, content_type)
    assert (status, app.json.loads(data)) == (200, {"read": expected})


# Under WSGI an async view reads from the server itself there, which would block.
@pytest.mark.parametrize(
    "transport, colour", [("wsgi", "sync"), ("asgi", "sync"), ("asgi", "async")]
)
async def test_the_environ_has_the_body_too(app: Flask, colour: str, transport: str) -> None:
    add(app, colour, lambda: request.environ["wsgi.input"].read(3))
    assert await send(app, transport, b"one", -1, "text/plain") == (200, b"one")


def decorated(view: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    return functools.wraps(view)(lambda **kwargs: view(**kwargs))


@both_transports
@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("decorators", [[], [decorated]], ids=["plain", "decorated"])
async def test_async_class_based_views_find_their_body(
    app: Flask, decorators: list[t.Any], mixed: bool, transport: str
) -> None:
    class Form(asyncflask.views.MethodView):
        async def post(self) -> str:
            return request.form["a"]

        if mixed:

            def get(self) -> str:
                return "sync"

    Form.decorators = decorators
    app.add_url_rule("/", view_func=Form.as_view("form"))
    assert await send(app, transport, b"a=1") == (200, b"1")


FILE_USES: dict[str, t.Callable[[t.Any], t.Any]] = {
    "read(n) fills over chunks": lambda stream: [stream.read(5), stream.read(100), stream.read(1)],
    "read(0)": lambda stream: [stream.read(0), stream.read(2)],
    "readline": lambda stream: [
        stream.readline(),
        stream.readline(2),
        stream.readline(),
        stream.readline(),
    ],
    "iteration": list,
    "readlines": lambda stream: stream.readlines(),
    "readinto": lambda stream: [stream.readinto(bytearray(2)), stream.read()],
    "read(None)": lambda stream: [stream.read(None), stream.read(None)],
    "BufferedReader": lambda stream: [io.BufferedReader(stream, 3).read(7)],
    "TextIOWrapper": lambda stream: io.TextIOWrapper(io.BufferedReader(stream)).read(),
}


@pytest.mark.parametrize("use", FILE_USES)
async def test_the_stream_of_a_sync_view_is_a_file(app: Flask, use: str) -> None:
    lines = b"one\ntwo\nthree"
    found = []
    add(app, "sync", lambda: str(found.append(FILE_USES[use](request.stream))))
    assert (await fetch(app, "POST", body=[b"on", b"e\nt", b"wo\nth", b"ree"])).status == 200
    assert found == [FILE_USES[use](io.BytesIO(lines))]


async def test_a_large_body_is_read_in_the_thread_lane_as_it_comes(app: Flask) -> None:
    chunk = bytes(range(256)) * 256
    add(app, "sync", lambda: str(request.get_data() == chunk * 40))
    assert (await fetch(app, "POST", body=[chunk] * 40)).text == "True"


async def test_threads_of_the_view_read_the_stream_too(app: Flask) -> None:
    """Only the server's event loop can receive: no thread may try on a loop of its own."""

    @app.post("/thread")
    def in_thread() -> t.Any:
        result: list[bytes] = []
        read = copy_current_request_context(lambda: result.append(request.stream.read(70_000)))
        thread = threading.Thread(target=read)
        thread.start()
        thread.join(10)
        return result[0] + request.stream.read()

    @app.post("/to_thread", stream_body=True)
    async def in_to_thread() -> t.Any:
        return await asyncio.to_thread(request.stream.read)

    watched = Watched(app)
    for path in ("/thread", "/to_thread"):
        # More than is fetched before the view gets its thread.
        answer = await fetch(watched, "POST", path, body=[bytes(64 * KIB), b"two", b"three"])
        assert answer.body == bytes(64 * KIB) + b"twothree"
    assert watched.loops == {asyncio.get_running_loop()}


# -- before a thread is taken ------------------------------------------------------------------


@pytest.mark.case("A12")
async def test_slow_senders_of_small_forms_hold_no_thread(app: Flask) -> None:
    app.config["SYNC_THREADS"] = 3
    add(app, "sync", lambda: request.form["a"])
    app.add_url_rule("/other", view_func=lambda: "other", endpoint="other")
    before = worker_threads()
    async with contextlib.AsyncExitStack() as stack:
        slow = [
            Exchange(app, "POST", body=[b"a=", STALL, b"1"], headers={"Content-Type": FORM})
            for _ in range(30)
        ]
        for exchange in slow:
            await stack.enter_async_context(exchange)
        for _ in range(5):
            assert (await fetch(app, "GET", "/other")).text == "other"
        assert worker_threads() <= before + 3
        for exchange in slow:
            exchange.go_on()
    assert {exchange.answer.text for exchange in slow} == {"1"}


async def test_a_thread_is_taken_once_64_kib_are_there(app: Flask) -> None:
    begun = asyncio.Event()
    loop = asyncio.get_running_loop()

    def view() -> str:
        loop.call_soon_threadsafe(begun.set)
        return str(len(request.get_data()))

    add(app, "sync", view)
    watched = Watched(app)
    body = [bytes(40 * KIB), bytes(40 * KIB), STALL, bytes(40 * KIB)]
    async with Exchange(watched, "POST", body=body) as exchange:
        async with asyncio.timeout(10):
            await begun.wait()
        assert watched.taken == 80 * KIB
        exchange.go_on()
    assert exchange.answer.text == str(120 * KIB)


@pytest.mark.case("A24")
async def test_with_expect_nothing_is_taken_before_hooks_may_refuse(app: Flask) -> None:
    app.before_request(lambda: abort(401) if request.args else None)
    add(app, "sync", lambda: request.form["a"])
    watched = Watched(app)
    headers = {"Expect": "100-continue", "Content-Type": FORM}
    assert (await fetch(watched, "POST", "/?no", body=b"a=1", headers=headers)).status == 401
    assert watched.calls == 0
    assert (await fetch(watched, "POST", "/", body=b"a=1", headers=headers)).text == "1"


@pytest.mark.slow
@pytest.mark.parametrize("http", ["h11", "httptools"])
@pytest.mark.case("A24")
async def test_no_100_is_sent_by_a_server_before_somebody_reads(http: str) -> None:
    source = """
    from asyncflask import Flask, abort, request
    app = Flask("served")

    @app.before_request
    def refuse():
        if request.args:
            abort(401)

    @app.post("/sync")
    def read():
        return request.form["a"]

    @app.post("/async")
    async def read_async():
        return request.form["a"]
    """
    head = (
        f" HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Type: {FORM}\r\n"
        "Expect: 100-continue\r\nConnection: close\r\n\r\n"
    )
    with serve(source, http=http) as server:
        for path, expected in (("sync", b"a"), ("async", b"b")):
            for query, answer in (("", b"HTTP/1.1 100 "), ("?no", b"HTTP/1.1 401 ")):
                with server.connect() as connection:
                    connection.send(f"POST /{path}{query}{head}".encode())
                    assert connection.socket.recv(13) == answer
                    if not query:
                        connection.send(b"a=" + expected)
                        assert connection.raw().endswith(b"\r\n\r\n" + expected)


# -- in async hooks ----------------------------------------------------------------------------

LOOKS: dict[str, t.Callable[[], t.Any]] = {
    "form": lambda: request.form,
    "files": lambda: request.files,
    "values": lambda: request.values,
    "data": lambda: request.data,
    "get_data": lambda: request.get_data(),
    "json": lambda: request.get_json(force=True, silent=True),
}


# An inline hook runs on the server's thread under WSGI, where it may wait.
@pytest.mark.parametrize("transport, inline", [("wsgi", False), ("asgi", False), ("asgi", True)])
@pytest.mark.parametrize("look", LOOKS)
async def test_a_hook_on_the_loop_has_to_load_the_body_first(
    app: Flask, look: str, inline: bool, transport: str
) -> None:
    messages = []

    def hook() -> None:
        with pytest.raises(RuntimeError) as caught:
            LOOKS[look]()
        messages.append(str(caught.value))

    async def hook_async() -> None:
        hook()

    app.before_request(asyncflask.inline(hook) if inline else hook_async)
    add(app, "async", lambda: request.form["a"])
    assert await send(app, transport, b"a=1") == (200, b"1")
    assert "await request.load_body()" in messages[0]


@both_transports
@both_colours
@pytest.mark.parametrize("look", LOOKS)
async def test_after_load_body_a_hook_looks_at_it(
    app: Flask, look: str, colour: str, transport: str
) -> None:
    @app.before_request
    async def hook() -> None:
        await request.load_body()
        await request.load_body()
        LOOKS[look]()

    add(app, colour, lambda: request.form.get("a", "consumed"))
    status, data = await send(app, transport, [b"a=", b"1"])
    # As in Flask, who has asked for all the data has the form parsed of what is cached.
    assert (status, data) == (200, b"1")


@both_transports
async def test_a_hook_may_look_where_there_is_no_body(app: Flask, transport: str) -> None:
    @app.before_request
    async def hook() -> None:
        assert (request.form, request.data, request.get_json(silent=True)) == ({}, b"", None)

    app.add_url_rule("/", view_func=lambda: "ok", methods=["GET", "POST"])
    client = app.test_client(transport=transport)
    assert client.get("/").text == client.post("/", data=b"").text == "ok"
    # Some WSGI servers say so of every request.
    terminated = {"wsgi.input_terminated": True}
    assert client.get("/", environ_overrides=terminated).text == "ok"


@both_transports
@both_colours
async def test_a_get_may_have_a_body_if_it_says_so(app: Flask, colour: str, transport: str) -> None:
    add(app, colour, lambda: request.get_data(), "GET")
    for length in (-1, None):
        answer = await send(app, transport, [b"a", b"b"], length, "text/plain", method="GET")
        assert answer == (200, b"ab")


async def test_a_declared_length_of_none_at_all_is_taken_at_its_word(app: Flask) -> None:
    add(app, "async", lambda: repr(request.get_data()))
    watched = Watched(app)
    assert (await fetch(watched, "POST", length=0)).text == "b''"
    assert watched.calls == 0


HOOK_READS: dict[str, tuple[t.Callable[[], t.Any], t.Callable[[], t.Any], str]] = {
    "get_data": (
        lambda: request.get_data(),
        lambda: request.form["a"] + request.get_data(as_text=True),
        "1a=1",
    ),
    "form": (lambda: request.form, lambda: request.form["a"] + request.get_data(as_text=True), "1"),
    "data": (lambda: request.data, lambda: request.form["a"], "1"),
    "stream": (
        lambda: request.stream.read(),
        lambda: request.get_data(as_text=True) or "empty",
        "empty",
    ),
    "part": (lambda: request.stream.read(1), lambda: request.stream.read().decode(), "=1"),
    "line": (lambda: request.stream.readline(1), lambda: request.get_data(as_text=True), "=1"),
    "input": (lambda: request.environ["wsgi.input"], lambda: request.form["a"], "1"),
}


@both_transports
@both_colours
@pytest.mark.parametrize("read", HOOK_READS)
async def test_a_view_finds_what_a_sync_hook_has_left(
    app: Flask, read: str, colour: str, transport: str
) -> None:
    hook, view, expected = HOOK_READS[read]
    app.before_request(lambda: print(hook()))
    add(app, colour, view)
    assert await send(app, transport, [b"a", b"=", b"1"]) == (200, expected.encode())


@both_transports
@pytest.mark.parametrize("look", ["form", "get_data", "data", "files"])
async def test_what_a_hook_has_read_is_not_loaded_again(
    app: Flask, look: str, transport: str
) -> None:
    """Neither does its size count against the limit of what is loaded."""
    app.config["MAX_BUFFERED_BODY"] = 10
    app.before_request(lambda: print(LOOKS[look]()))
    add(app, "async", lambda: f"{request.form['a']} {request.stream.read()!r}")
    for body, content_type in ((b"a=123456789", FORM), (multipart(("a", None, b"1")), BOUNDARY)):
        status, data = await send(app, transport, body, -1, content_type)
        assert (status, data[:1], data[-4:]) == (200, b"1", b" b''")


async def test_bytes_given_back_come_before_those_that_came_later(app: Flask) -> None:
    chunks = [b"a" * (64 * KIB), b"b", b"c"]
    app.before_request(lambda: print(request.stream.read(1)))

    @app.before_request
    async def look() -> None:
        # Has another message taken in, if there is one.
        await request.is_disconnected()

    add(app, "async", lambda: str(request.get_data() == b"".join(chunks)[1:]))
    assert (await fetch(app, "POST", body=chunks)).text == "True"


async def test_an_async_hook_looks_at_what_a_sync_one_has_read(app: Flask) -> None:
    seen = []
    app.before_request(lambda: request.form and None)

    @app.before_request
    async def hook() -> None:
        seen.extend([request.form["a"], request.data])

    add(app, "async", lambda: request.form["a"])
    assert (await send(app, "asgi", b"a=1"))[1] == b"1"
    assert seen == ["1", b""]


# -- contexts ----------------------------------------------------------------------------------


async def gathered() -> bytes:
    return b"".join(await asyncio.gather(request.stream.read(2), request.stream.read()))


async def waited_for() -> bytes:
    return await asyncio.wait_for(request.stream.read(), 10)


async def asked() -> bytes:
    await request.is_disconnected()
    return await request.stream.read()


@pytest.mark.parametrize("view", [iterate, read_all, gathered, waited_for, asked, load])
@pytest.mark.parametrize("hook_colour", ["sync", "async"])
async def test_receive_is_awaited_outside_of_the_request_s_context(
    app: Flask, view: t.Callable[[], t.Any], hook_colour: str
) -> None:
    def mark() -> None:
        marker.set("inside")

    async def mark_async() -> None:
        marker.set("inside")

    app.before_request(mark if hook_colour == "sync" else mark_async)
    app.add_url_rule("/", view_func=view, methods=["POST"], stream_body=True)
    watched = Watched(app)
    answer = await fetch(watched, "POST", body=[b"one", b"two", b"three"])
    assert answer.body == EXPECTED and marker.get() == "outside"
    assert watched.markers == {"outside"}


@both_colours
async def test_reading_on_demand_and_loading_do_it_too(app: Flask, colour: str) -> None:
    app.before_request(lambda: marker.set("inside") and None)
    add(app, colour, lambda: request.get_data() + marker.get().encode())
    watched = Watched(app)
    assert (await fetch(watched, "POST", body=[bytes(64 * KIB), b"x"])).body.endswith(b"xinside")
    assert watched.markers == {"outside"}


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
async def test_pipelined_requests_inherit_nothing_from_each_other(loop: str) -> None:
    """uvicorn starts the next request of a connection from within receive."""
    source = """
    import asyncio, contextvars
    from asyncflask import Flask, request
    app = Flask("served")
    marker = contextvars.ContextVar("marker", default="none")

    @app.post("/<name>", stream_body=True)
    async def view(name):
        before = marker.get()
        marker.set(name)
        parts = await asyncio.gather(request.stream.read(70_000), request.stream.read())
        return f"{before} {sum(map(len, parts))}"
    """
    with serve(source, loop=loop) as server, server.connect() as connection:
        for number in range(5):
            connection.request("POST", f"/{number}", body=bytes(200_000))
        bodies = [connection.response().read() for _ in range(5)]
    assert bodies == [b"none 200000"] * 5


# -- after the end -----------------------------------------------------------------------------


async def test_a_body_cannot_be_read_once_its_request_is_over(app: Flask) -> None:
    late: list[t.Any] = []

    @app.post("/", stream_body=True)
    async def view() -> str:
        late.append(request.stream)
        return "ok"

    watched = Watched(app)
    assert (await fetch(watched, "POST", body=[b"a", STALL])).text == "ok"
    with pytest.raises(RuntimeError, match="is over"):
        await late[0].read()
    assert watched.calls == 0


@both_transports
@both_colours
async def test_a_test_looks_at_an_unread_body_afterwards(
    app: Flask, colour: str, transport: str
) -> None:
    add(app, colour, lambda: "not read")
    with app.test_client(transport=transport) as client:
        assert client.post("/", data={"a": "1"}).text == "not read"
        assert request.form["a"] == "1"
    with app.test_client(transport=transport) as client:
        client.post("/", data=b"raw")
        assert request.get_data() == b"raw"


@both_transports
@both_colours
async def test_a_test_looks_at_a_request_that_was_too_large(
    app: Flask, colour: str, transport: str
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 3
    add(app, colour, lambda: request.get_data())
    with app.test_client(transport=transport) as client:
        assert client.post("/", data=b"raw!").status_code == 413
        assert request.path == "/"


async def test_the_context_of_a_test_reads_its_body_on_a_loop(app: Flask) -> None:
    async with app.test_request_context("/", method="POST", data={"a": "1"}):
        await request.load_body()
        assert request.form["a"] == "1"
    async with app.test_request_context("/", method="POST", data=b"raw"):
        assert request.stream.read() == b"raw"


async def test_another_request_with_the_same_body_may_load_it(app: Flask) -> None:
    @app.post("/")
    async def view() -> bytes:
        other = Request.from_scope(t.cast("t.Any", request.scope), request.body)
        await other.load_body()
        return t.cast(bytes, other.get_data())

    for body in (b"one", [b"o", b"ne"]):
        assert (await fetch(app, "POST", body=body)).body == b"one"


class PlainAwaitable:
    """What the ``receive`` of a server gives that is not written in Python: no generator."""

    def __init__(self, message: dict[str, t.Any], waits: int) -> None:
        self._message = message
        self._waits = waits

    def __await__(self) -> t.Any:
        return self

    def __iter__(self) -> t.Any:
        return self

    def __next__(self) -> None:
        if not self._waits:
            raise StopIteration(self._message)
        self._waits -= 1


@pytest.mark.parametrize("waits", [0, 1, 3])
@pytest.mark.parametrize("colour", ["async def", "def"])
async def test_receive_may_give_any_awaitable(colour: str, waits: int) -> None:
    app = Flask(__name__)

    async def on_loop() -> str:
        return request.get_data(as_text=True)

    def on_thread() -> str:
        return request.get_data(as_text=True)

    app.post("/")(on_loop if colour == "async def" else on_thread)
    messages = [
        {"type": "http.request", "body": b"one", "more_body": True},
        {"type": "http.request", "body": b"two", "more_body": False},
    ]
    sent: list[t.Any] = []

    async def send(message: t.Any) -> None:
        sent.append(message)

    scope = Exchange(app, "POST", "/", length=6).scope
    await app(scope, lambda: PlainAwaitable(messages.pop(0), waits), send)
    assert (sent[0]["status"], sent[1]["body"]) == (200, b"onetwo")
