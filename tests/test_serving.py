"""On a real uvicorn with its default options, over raw connections."""

from __future__ import annotations

import contextlib
import http.client
import select
import typing as t
from pathlib import Path

import pytest
import uvicorn

from asyncflask import Flask
from tests.kit import sample
from tests.kit.server import Connection
from tests.kit.server import NotServing
from tests.kit.server import serve
from tests.kit.server import Server

SERVERS = [
    ("asyncio", "h11"),
    ("asyncio", "httptools"),
    ("uvloop", "h11"),
    ("uvloop", "httptools"),
]
CONNECTIONS = 50
PIPELINED = 3


@pytest.fixture(scope="module", params=SERVERS, ids="-".join)
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    loop, parser = request.param
    with serve("tests.kit.sample:app", loop=loop, http=parser) as server:
        yield server


def read(connection: Connection, method: str = "GET") -> tuple[int, bytes]:
    response = connection.response(method)
    return response.status, response.read()


# -- nothing of one request is seen in the next --------------------------------------------------


def pipelined(server: Server, path: str) -> list[str]:
    """Send several requests at once on each of many connections; give all the answers."""
    answers = []
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(CONNECTIONS)]
        for number, connection in enumerate(connections):
            for turn in range(PIPELINED):
                connection.request("GET", f"{path}/{number}-{turn}")
        for connection in connections:
            answers += [read(connection)[1].decode() for _ in range(PIPELINED)]
    return answers


def kept_alive(server: Server, path: str, count: int) -> list[str]:
    """Post large bodies, one after the other on one connection; give all the answers."""
    with server.connect() as connection:
        answers = []
        for number in range(count):
            connection.request("POST", f"{path}/{number}", b"x" * 300_000)
            answers.append(read(connection)[1].decode())
    return answers


@pytest.mark.case("A5")
@pytest.mark.parametrize("path", ["/leave", "/leave-async"])
def test_pipelined_requests_see_nothing_of_each_other(server: Server, path: str) -> None:
    expected = {
        f"{path}/{number}-{turn} found nothing None"
        for number in range(CONNECTIONS)
        for turn in range(PIPELINED)
    }
    assert set(pipelined(server, path)) == expected


@pytest.mark.case("A5")
@pytest.mark.parametrize("path", ["/leave", "/leave-async"])
def test_requests_after_a_large_body_see_nothing_of_it(server: Server, path: str) -> None:
    expected = [f"{path}/{number} found nothing None" for number in range(50)]
    assert kept_alive(server, path, 50) == expected


@pytest.mark.case("A5")
@pytest.mark.parametrize("control", ["control", "starlette_control"])
@pytest.mark.parametrize(("loop", "parser"), SERVERS[1:3])
def test_the_server_does_pass_variables_on_without_the_framework(
    control: str, loop: str, parser: str
) -> None:
    with serve(f"tests.kit.sample:{control}", loop=loop, http=parser) as server:
        seen = [answer for answer in pipelined(server, "/leave") if "found nothing" not in answer]
        # Whether two requests meet in one read of the server is a matter of time.
        assert len(seen) > CONNECTIONS
        after_bodies = "".join(kept_alive(server, "/leave", 5))
        assert ("found /leave/0" in after_bodies) == (loop == "asyncio")


@pytest.mark.case("A5")
def test_pipelined_responses_come_in_order(server: Server) -> None:
    turns = [20, 0, 10, 0]
    with server.connect() as connection:
        for count in turns:
            connection.request("GET", f"/slow/{count}")
        assert [read(connection)[1] for _ in turns] == [str(count).encode() for count in turns]


# -- streams -------------------------------------------------------------------------------------


def test_the_head_comes_with_the_first_chunk_and_each_chunk_at_once(server: Server) -> None:
    with server.connect() as connection:
        connection.request("GET", "/stream/gated?name=a")
        assert server.get("/ping") == "pong"
        assert select.select([connection.socket], [], [], 0)[0] == []
        server.get("/happen/gate%20a%200")
        response = connection.response()
        assert response.read1() == b"chunk 0"
        for number in (1, 2):
            server.get(f"/happen/gate%20a%20{number}")
            assert response.read1() == f"chunk {number}".encode()
        assert response.read() == b""
        connection.request("GET", "/ping")
        assert read(connection) == (200, b"pong")


@pytest.mark.case("A44")
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_error_before_the_first_chunk_is_a_plain_500(server: Server, colour: str) -> None:
    logged = server.output.count("no chunk 0\n")
    with server.connect() as connection:
        connection.request("GET", f"/error/0/{colour}")
        assert read(connection) == (500, b"Internal Server Error")
    assert server.wait_for_output("no chunk 0\n", logged + 1)


@pytest.mark.case("A44")
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("length", ["", "?length"])
@pytest.mark.parametrize("at", [1, 2])
def test_an_error_after_it_is_never_a_clean_end(
    server: Server, colour: str, length: str, at: int
) -> None:
    logged = server.output.count(f"no chunk {at}\n")
    with server.connect() as connection:
        connection.request("GET", f"/error/{at}/{colour}{length}")
        response = connection.response()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
        assert cut.value.partial == b"chunk" * at
        assert connection.raw() == b""
    assert server.wait_for_output(f"no chunk {at}\n", logged + 1).count("Traceback") > 0


@pytest.mark.case("A15")
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("kind", ["tight", "waiting", "sync"])
def test_a_stream_is_closed_when_its_client_leaves(server: Server, kind: str, end: str) -> None:
    name = f"{kind}-{end}"
    connection = server.connect()
    connection.request("GET", f"/stream/{kind}?name={name}")
    assert connection.response().read(5) != b""
    assert server.get("/ping") == "pong"
    connection.reset() if end == "reset" else connection.close()
    assert server.get(f"/happened/closed%20{name}") == f"closed {name}"
    assert server.get("/ping") == "pong"


def test_a_view_is_cancelled_when_its_client_leaves(server: Server) -> None:
    connection = server.connect()
    connection.request("GET", "/waits?name=b")
    server.get("/happened/waiting%20b")
    connection.close()
    assert server.get("/happened/cancelled%20b") == "cancelled b"


# -- responses -------------------------------------------------------------------------------------


@pytest.mark.case("A25")
@pytest.mark.parametrize("kind", ["status", "name", "value", "blank"])
def test_what_cannot_be_sent_is_a_500_and_the_connection_goes_on(server: Server, kind: str) -> None:
    with server.connect() as connection:
        connection.request("GET", f"/bad?kind={kind}")
        response = connection.response()
        assert (response.status, response.read()) == (500, b"Internal Server Error")
        assert "evil" not in str(response.getheaders()).lower()
        connection.request("GET", "/ping")
        assert read(connection) == (200, b"pong")


def test_responses_without_a_body_leave_the_connection_in_order(server: Server) -> None:
    with server.connect() as connection:
        for method, path in [("HEAD", "/ping"), ("GET", "/empty"), ("HEAD", "/file")] * 2:
            connection.request(method, path)
        statuses = [read(connection, method) for method in ("HEAD", "GET", "HEAD") * 2]
        assert statuses == [(200, b""), (204, b""), (200, b"")] * 2
        connection.request("GET", "/ping")
        assert read(connection) == (200, b"pong")


def test_files_and_parts_of_them(server: Server) -> None:
    content = Path(t.cast(str, sample.__file__)).read_bytes()
    with server.connect() as connection:
        connection.request("GET", "/file")
        response = connection.response()
        assert response.read() == content
        etag = t.cast(str, response.headers["ETag"])
        connection.request("GET", "/file", headers={"Range": "bytes=10-19"})
        assert read(connection) == (206, content[10:20])
        connection.request("GET", "/file", headers={"If-None-Match": etag})
        assert read(connection) == (304, b"")


def test_a_websocket_is_refused(server: Server) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    with server.connect() as connection:
        connection.request("GET", "/ping", headers=upgrade)
        assert connection.response().status == 403


# -- start and stop --------------------------------------------------------------------------------


def test_uvicorn_finds_out_that_an_application_is_asgi() -> None:
    class Sub(Flask):
        pass

    for app in (Flask("a"), Sub("b")):
        config = uvicorn.Config(app, log_config=None)
        config.load()
        assert config.interface == "asgi3"


def test_a_stream_under_way_ends_before_the_server_does() -> None:
    with serve("tests.kit.sample:app") as server:
        with server.connect() as connection, server.connect() as other:
            connection.request("GET", "/stream/gated?name=c")
            other.request("GET", "/slow/300")
            server.get("/happen/gate%20c%200")
            response = connection.response()
            assert response.read1() == b"chunk 0"
            server.get("/happen/gate%20c%201")
            server.get("/happen/gate%20c%202")
            server.process.terminate()
            assert response.read() == b"chunk 1chunk 2"
            assert read(other) == (200, b"300")
        server.stop()
    assert server.output.index("Shutting down") < server.output.index("goodbye")


@pytest.mark.case("A1")
def test_what_the_server_cancels_is_closed_and_torn_down() -> None:
    source = r"""
    import asyncio
    from asyncflask import Flask, request, stream_with_context

    app = Flask(__name__)

    @app.after_serving
    def last():
        print("last\n", end="")

    @app.teardown_request
    async def teardown(exc):
        await asyncio.sleep(0.1)
        # One write, which no other thread's can come between.
        print(f"torn down {request.path} {type(exc).__name__}\n", end="")

    @app.get("/view")
    async def view():
        print("waiting")
        await asyncio.Event().wait()

    @app.get("/stream")
    async def stream():
        async def chunks():
            try:
                print("waiting")
                yield "a"
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                print("closed")
        return stream_with_context(chunks())
    """
    with serve(source, "--timeout-graceful-shutdown=1") as server:
        with server.connect() as view, server.connect() as stream:
            view.request("GET", "/view")
            stream.request("GET", "/stream")
            server.wait_for_output("waiting", 2)
            server.stop()
    assert "torn down /view CancelledError" in server.output
    assert "torn down /stream" in server.output and "closed\n" in server.output
    assert server.output.index("last\n") > server.output.rindex("torn down")


LIFESPAN = """
import contextlib, os
from asyncflask import Flask, request

@contextlib.asynccontextmanager
async def lifespan(app):
    print("entered")
    try:
        yield {"greeting": "hello"}
    finally:
        print("left")

app = Flask(__name__, lifespan=lifespan)

@app.before_serving
def before():
    if os.environ.get("FAIL") == "start":
        raise SystemExit("no pool") if os.environ["HOW"] == "exit" else LookupError("no pool")

@app.after_serving
async def after():
    print("stopping")
    if os.environ.get("FAIL") == "stop":
        raise LookupError("no end")

@app.get("/")
async def view():
    return request.scope["state"]["greeting"]
"""


def test_the_lifespan_is_around_the_time_of_serving() -> None:
    with serve(LIFESPAN) as server:
        assert server.get("/") == "hello"
        server.stop()
    marks = ["entered", "Uvicorn running", "GET /", "stopping", "left", "shutdown complete"]
    places = [server.output.index(mark) for mark in marks]
    assert places == sorted(places)


@pytest.mark.case("A36")
@pytest.mark.parametrize("how", ["error", "exit"])
def test_nothing_is_served_when_the_start_fails(how: str) -> None:
    with pytest.raises(NotServing) as failure:
        with serve(LIFESPAN, env={"FAIL": "start", "HOW": how}):
            raise AssertionError("it serves")
    assert failure.value.code != 0
    for text in ("entered", "no pool", "left", "startup failed"):
        assert text in failure.value.output


@pytest.mark.case("A36")
def test_a_shutdown_that_fails_is_reported() -> None:
    with serve(LIFESPAN, env={"FAIL": "stop"}) as server:
        server.stop()
    for text in ("no end", "left", "shutdown failed"):
        assert text in server.output
