"""Bodies that are too long, too short, too slow, or of a length that is none."""

from __future__ import annotations

import asyncio
import typing as t

import pytest
from werkzeug.exceptions import HTTPException
from werkzeug.test import EnvironBuilder
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import BOUNDARY
from tests.bodies import Chunks
from tests.bodies import FORM
from tests.bodies import KIB
from tests.bodies import multipart
from tests.bodies import nothing_left_behind
from tests.bodies import send
from tests.bodies import Watched
from tests.kit.cases import Figure
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import STALL
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.anyio


@pytest.fixture
async def _nothing_left() -> t.AsyncIterator[None]:
    async with nothing_left_behind():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- too short ---------------------------------------------------------------------------------

# Each is whole as it stands: only the length, or the missing end, tells that there was more.
WHOLE: dict[str, tuple[str, bytes, t.Callable[[], t.Any]]] = {
    "form": (FORM, b"a=1&b=2", lambda: request.form["a"]),
    "multipart": (BOUNDARY, multipart(("a", None, b"1")), lambda: request.form["a"]),
    "json": ("application/json", b'{"a": 1}', lambda: request.get_json(silent=True)),
    "data": ("text/plain", b"abc", lambda: request.get_data()),
    "file": (BOUNDARY, multipart(("f", "n", b"1")), lambda: request.files["f"].read()),
}


@pytest.mark.case("A20")
@pytest.mark.usefixtures("_nothing_left")
@pytest.mark.parametrize("length", [1000, None], ids=["declared", "chunked"])
@both_colours
@pytest.mark.parametrize("kind", WHOLE)
async def test_a_body_that_breaks_off_where_it_could_end_is_not_taken_for_whole(
    app: Flask, kind: str, colour: str, length: int | None
) -> None:
    content_type, body, read = WHOLE[kind]
    seen: list[t.Any] = []
    add(app, colour, lambda: seen.append(read()) or "seen")
    headers = {"Content-Type": content_type}
    answer = await fetch(app, "POST", body=[body, LEAVE], length=length, headers=headers)
    assert (answer.status, seen) == (400, [])


@pytest.mark.case("A20")
@pytest.mark.usefixtures("_nothing_left")
@pytest.mark.parametrize("length", [1000, None], ids=["declared", "chunked"])
async def test_a_stream_that_breaks_off_raises_at_its_end(app: Flask, length: int | None) -> None:
    seen: list[t.Any] = []

    @app.post("/async", stream_body=True)
    async def loop() -> str:
        async for chunk in request.stream:
            seen.append(chunk)
        seen.append("the end")
        return ""

    @app.post("/sync", stream_body=True)
    def read() -> str:
        while chunk := request.stream.read(2):
            seen.append(chunk)
        seen.append("the end")
        return ""

    for path in ("/async", "/sync"):
        seen.clear()
        body = [b"ab", b"cd", LEAVE]
        assert (await fetch(app, "POST", path, body=body, length=length)).status == 400
        assert "the end" not in seen


FRAMINGS = {
    "declared": b"Content-Length: 1000\r\n\r\n" + b"a=1&" * 25,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + b"a=1&" * 25 + b"\r\n",
}
SERVED = """
from asyncflask import Flask, abort, request
app = Flask("served")
app.config["MAX_CONTENT_LENGTH"] = 16 * 2**20
app.config["BODY_TIMEOUT"] = 0.3

def read():
    print("complete:", len(request.form), flush=True)
    return "read"

async def read_async():
    return read()

def read_stream():
    print("complete:", len(request.stream.read()), flush=True)
    return "read"

async def read_stream_async():
    print("complete:", len(await request.stream.read()), flush=True)
    return "read"

app.post("/sync")(read)
app.post("/async")(read_async)
app.post("/stream/sync", stream_body=True)(read_stream)
app.post("/stream/async", stream_body=True)(read_stream_async)

@app.before_request
def refuse():
    if "refused" in request.args:
        abort(401)

@app.before_request
async def refuse_async():
    if "refused-async" in request.args:
        abort(401)

@app.teardown_request
def tell(error):
    print("torn down", type(error).__name__, flush=True)
"""
PATHS = ["/sync", "/async", "/stream/sync", "/stream/async"]


@pytest.fixture(scope="module", params=["h11", "httptools"])
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    with serve(SERVED, http=request.param) as server:
        yield server


@pytest.mark.case("A20")
@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_view_takes_what_a_lost_client_has_sent_for_all(server: Server, framing: str) -> None:
    before, complete = server.output.count("torn down"), server.output.count("complete:")
    for path in PATHS:
        with server.connect() as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM}\r\n"
            connection.send(head.encode() + FRAMINGS[framing])
    output = server.wait_for_output("torn down", before + len(PATHS))
    assert output.count("complete:") == complete and "Traceback" not in output


@pytest.mark.case("A23")
@pytest.mark.parametrize("path", PATHS)
def test_a_client_that_stops_in_the_middle_gets_408(server: Server, path: str) -> None:
    before = server.output.count("torn down")
    with server.connect() as connection:
        connection.request("POST", path, headers={"Content-Type": FORM, "Content-Length": "1000"})
        connection.send(b"a=1&b=2")
        assert connection.response().status == 408
    assert server.wait_for_output("torn down", before + 1).count("torn down") == before + 1


@pytest.mark.case("A23")
@pytest.mark.usefixtures("_nothing_left")
@pytest.mark.parametrize("kind", ["async", "sync", "stream"])
async def test_after_408_there_is_one_teardown_and_it_is_told(app: Flask, kind: str) -> None:
    app.config["BODY_TIMEOUT"] = 0.05
    torn: list[t.Any] = []
    app.teardown_request(torn.append)

    async def stream() -> t.Any:
        return await request.stream.read()

    if kind == "stream":
        app.add_url_rule("/", view_func=stream, methods=["POST"], stream_body=True)
    else:
        add(app, kind, lambda: request.get_data())
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with Exchange(app, "POST", body=[b"a", STALL]) as exchange:
        assert (await exchange.end()).status == 408
    # The error was handled: what teardown functions hear of is an unhandled one.
    assert torn == [None] and loop.time() - began >= 0.05


# -- an early answer ---------------------------------------------------------------------------


@pytest.mark.case("A24")
@pytest.mark.parametrize(
    "method, target, length, status",
    [
        ("POST", "/nowhere", 16 * 2**20, 404),
        ("PUT", "/sync", 16 * 2**20, 405),
        ("PUT", "/async", 16 * 2**20, 405),
        *[("POST", path, 16 * 2**20 + 1, 413) for path in PATHS],
        *[("POST", f"{path}?refused", 16 * 2**20, 401) for path in PATHS],
        *[("POST", f"{path}?refused-async", 16 * 2**20, 401) for path in PATHS],
    ],
)
def test_what_is_refused_is_answered_before_its_body_is_sent(
    server: Server, method: str, target: str, length: int, status: int
) -> None:
    with server.connect() as connection:
        headers = {"Content-Length": str(length), "Expect": "100-continue", "Content-Type": FORM}
        connection.request(method, target, headers=headers)
        # No byte of the body is sent, and none of a 100 comes.
        answer = connection.socket.recv(13)
        assert answer == f"HTTP/1.1 {status} ".encode()


@pytest.mark.case("A24")
def test_who_sends_all_the_same_gets_the_answer_too(server: Server) -> None:
    with server.connect() as connection:
        headers = {"Content-Length": str(16 * 2**20)}
        connection.request("POST", "/async?refused-async", headers=headers)
        assert connection.response().status == 401


# -- counted, not declared ---------------------------------------------------------------------

LIMIT = 1000 * KIB


@pytest.mark.case("A21")
@pytest.mark.usefixtures("_nothing_left")
@both_colours
@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("length", [None, 10], ids=["absent", "understated"])
async def test_no_more_than_the_limit_and_one_chunk_is_read(
    app: Flask, kind: str, colour: str, length: int | None, figure: Figure
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = LIMIT
    content_type, _, read = WHOLE[kind]
    add(app, colour, lambda: read() or "")
    watched = Watched(app)
    head = b'--x\r\nContent-Disposition: form-data; name="f"; filename="n"\r\n\r\n'
    body = [head, *[b"x" * 64 * KIB] * 320]
    answer = await fetch(
        watched, "POST", body=body, length=length, headers={"Content-Type": content_type}
    )
    assert answer.status == 413
    assert watched.taken <= LIMIT + 64 * KIB
    figure(f"{watched.taken - LIMIT} bytes beyond the limit")


@pytest.mark.case("A21")
@both_colours
async def test_the_count_is_of_the_whole_form_not_of_a_part(app: Flask, colour: str) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10 * LIMIT
    add(app, colour, lambda: str(len(request.files)))
    watched = Watched(app)
    body = multipart(*[("f", "n", b"x" * LIMIT)] * 20)
    chunks = [body[start : start + 64 * KIB] for start in range(0, len(body), 64 * KIB)]
    headers = {"Content-Type": BOUNDARY}
    answer = await fetch(watched, "POST", body=chunks, length=None, headers=headers)
    assert answer.status == 413 and watched.taken <= 10 * LIMIT + 64 * KIB


@pytest.mark.case("A22")
@both_colours
async def test_without_any_setting_what_is_loaded_has_a_limit(app: Flask, colour: str) -> None:
    @app.before_request
    def allow() -> None:
        if request.args:
            request.max_content_length = 65 * 2**20

    add(app, colour, lambda: str(len(request.stream.read(1))))
    watched = Watched(app)
    body = [b"x" * 2**20] * 65
    answer = await fetch(watched, "POST", body=body, length=None)
    # A sync view reads on demand, as much as it likes.
    assert answer.status == (413 if colour == "async" else 200)
    assert (await fetch(app, "POST", "/?more", body=body, length=None)).text == "1"


# -- lengths that are none ---------------------------------------------------------------------

LENGTHS = ["-1", "+5", "1_0", " 5", "5,5", "9" * 5000, "x", "0x5", "5.0", "5 5", "\u0665"]


@pytest.mark.case("A20", "A21")
@pytest.mark.usefixtures("_nothing_left")
@pytest.mark.parametrize("chunked", [False, True])
@both_transports
@both_colours
@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: ascii(length[:4]))
async def test_a_length_that_is_none_is_refused(
    app: Flask, length: str, colour: str, transport: str, chunked: bool
) -> None:
    ran: list[t.Any] = []
    add(app, colour, lambda: ran.append(request.get_data()) or "")
    if transport == "asgi":
        headers = [(b"host", b"x"), (b"content-length", length.encode())]
        headers += [(b"transfer-encoding", b"chunked")] * chunked
        watched = Watched(app)
        answer = await fetch(watched, "POST", body=b"hello", scope={"headers": headers})
        assert (answer.status, ran, watched.calls) == (400, [], 0)
        return
    environ = EnvironBuilder("/", method="POST").get_environ()
    environ["CONTENT_LENGTH"] = length.encode().decode("latin-1")
    environ |= {"wsgi.input": Chunks([b"hello"]), "wsgi.input_terminated": True}
    environ |= {"HTTP_TRANSFER_ENCODING": "chunked"} if chunked else {}
    _, status, _ = await asyncio.to_thread(run_wsgi_app, app, environ, buffered=True)
    assert (status[:3], ran) == ("400", [])


async def test_a_length_that_is_none_goes_to_the_error_handler(app: Flask) -> None:
    @app.errorhandler(400)
    async def tell(error: HTTPException) -> t.Any:
        return {"error": error.description}, 400

    headers = [(b"host", b"x"), (b"content-length", b"-1")]
    answer = await fetch(app, "POST", scope={"headers": headers})
    assert answer.json == {"error": "The Content-Length of the request is no number."}


@both_transports
async def test_two_lengths_are_none(app: Flask, transport: str) -> None:
    add(app, "async", lambda: request.get_data())
    headers = [(b"host", b"x"), (b"content-length", b"5"), (b"content-length", b"4")]
    assert (await fetch(app, "POST", body=b"hello", scope={"headers": headers})).status == 400
    assert await send(app, transport, b"hello", 5) == (200, b"hello")
