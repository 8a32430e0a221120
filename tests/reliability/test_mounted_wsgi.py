"""WSGI applications inside an ASGI server: leaving, stalling, lying, and breaking the rules."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys
import threading
import time
import typing as t

import flask
import pytest

from asyncflask import Flask
from asyncflask import request
from asyncflask.adapters import WsgiToAsgi
from tests.bodies import BOUNDARY
from tests.bodies import FORM
from tests.bodies import multipart
from tests.bodies import nothing_left_behind
from tests.kit import crowd
from tests.kit.cases import Figure
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.pings import check_repeated
from tests.kit.pings import pinging
from tests.kit.pings import Pings
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.anyio

MIB = 2**20
SERVERS = [("asyncio", "h11"), ("uvloop", "httptools")]
SOURCE = """
import json, threading, time
from asyncflask.adapters import WsgiToAsgi
from asyncflask.lanes import workers

workers.IDLE_SECONDS = 0.5
CHUNK = bytes(65536)
taken = begun = closed = 0

class Endless:
    def __init__(self, left=10**9):
        global begun
        begun += 1
        self.left = left

    def __iter__(self):
        return self

    def __next__(self):
        global taken
        if not self.left:
            raise StopIteration
        taken += 1
        self.left -= 1
        return CHUNK

    def close(self):
        global closed
        closed += 1

def application(environ, start_response):
    path = environ["PATH_INFO"]
    headers = [("Content-Type", "text/plain")]
    if path == "/endless":
        result = Endless()
    elif path == "/128":
        result = Endless(128 * 16)
    elif path == "/sleep":
        time.sleep(0.2)
        result = [b"slept"]
    elif path == "/upload":
        size = 0
        try:
            while chunk := environ["wsgi.input"].read(256 * 1024):
                size += len(chunk)
        except OSError:
            print("broken", flush=True)
            raise
        print("took", size, flush=True)
        result = [b"%d" % size]
    elif path == "/counts":
        result = [json.dumps({"taken": taken, "begun": begun, "closed": closed}).encode()]
    elif path == "/bad":
        headers.append(("X-A", "evil\\r\\nX-Evil: 1"))
        result = [b"evil"]
    elif path == "/cut":
        headers.append(("Content-Length", "1000"))
        result = iter([b"x" * 100])
    else:
        result = [b"pong"]
    start_response("200 OK", headers)
    return result

mounted = WsgiToAsgi(application, workers=WORKERS)

async def app(scope, receive, send):
    if scope["type"] == "http" and scope["path"] == "/ping":
        headers = [(b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"pong"})
    else:
        await mounted(scope, receive, send)
"""


def serve_mounted(loop: str, http: str, workers: int = 40) -> t.ContextManager[Server]:
    source = SOURCE.replace("WORKERS", str(workers))
    return serve(source, "--no-access-log", loop=loop, http=http, lint=False)


@pytest.fixture(scope="module", params=SERVERS, ids="-".join)
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    with serve_mounted(*request.param) as server:
        for path in ("/sleep", "/endless"):
            with server.connect() as connection:
                connection.request("GET", path)
                assert connection.response().read(5)
        yield server


def counts(server: Server) -> dict[str, int]:
    return t.cast("dict[str, int]", json.loads(server.get("/counts")))


def wait_until(reached: t.Callable[[], bool], what: str) -> None:
    for _ in range(200):
        if reached():
            return
        threading.Event().wait(0.05)
    raise AssertionError(what)


def wait_for_closing(server: Server) -> dict[str, int]:
    def all_closed() -> bool:
        now = counts(server)
        return now["begun"] == now["closed"]

    wait_until(all_closed, "Bodies were left open.")
    return counts(server)


# -- clients that leave, and clients that stall --------------------------------------------------


@pytest.mark.slow
@pytest.mark.case("A17")
@pytest.mark.parametrize(("loop", "http"), SERVERS)
def test_clients_that_leave_an_endless_body_leave_nothing(
    loop: str, http: str, control: Server, figure: Figure
) -> None:
    with serve_mounted(loop, http) as server:
        threads = server.threads
        rounds = 0

        def measure() -> Pings:
            nonlocal rounds
            rounds += 1
            with pinging(server, control=control) as pings:
                for number in range(50):
                    with server.connect() as connection:
                        connection.request("GET", "/endless")
                        assert connection.response().read(100_000)
                        connection.reset() if number % 2 else None
                wait_for_closing(server)
                # More pings than come in the meantime.
                threading.Event().wait(0.5)
            return pings

        figure(f"50 disconnects: {check_repeated(0.1, measure)}")
        assert counts(server)["closed"] == 50 * rounds
        wait_until(lambda: server.threads <= threads, "Threads were left behind.")


def stall(server: Server, path: str) -> socket.socket:
    """Ask for a large body and read no more than its beginning."""
    connection = socket.socket()
    connection.settimeout(20)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((server.host, server.port))
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


def wait_until_stalled(server: Server) -> None:
    last = -1

    def still() -> bool:
        nonlocal last
        before, last = last, counts(server)["taken"]
        return before == last

    wait_until(still, "The bodies go on without their readers.")


@pytest.mark.slow
@pytest.mark.case("A14")
@pytest.mark.parametrize(("loop", "http"), SERVERS)
def test_readers_that_stall_cost_neither_memory_nor_places(
    loop: str, http: str, control: Server, figure: Figure
) -> None:
    with serve_mounted(loop, http, workers=2) as server, contextlib.ExitStack() as stack:
        stall(server, "/endless").close()
        wait_for_closing(server)
        before = server.memory
        for _ in range(10):
            stack.enter_context(stall(server, "/endless"))
        wait_until_stalled(server)

        def measure() -> Pings:
            # The mounted application's own, which has two threads.
            with pinging(server, "/sync-ping", control) as pings:
                threading.Event().wait(1.5)
            return pings

        pings = check_repeated(0.05, measure)
        grown = (server.memory - before) / 10 / MIB
        figure(f"mounted: {grown:+.2f} MB each; {pings}")
        assert grown <= 2
        stack.close()
        wait_for_closing(server)


@pytest.mark.slow
@pytest.mark.case("A14")
def test_a_slow_reader_of_128_mb_costs_little_memory(server: Server, figure: Figure) -> None:
    wait_for_closing(server)
    before = most = server.memory
    with stall(server, "/128") as connection:
        received = 0
        # No answer tells how much is on its way: a client this slow is behind all the time.
        while received < 8 * MIB:
            received += len(connection.recv(4096))
            if received % MIB < 4096:
                most = max(most, server.memory)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        while received < 128 * MIB:
            received += len(connection.recv(MIB))
            most = max(most, server.memory)
        most = max(most, server.memory)
    grown = (most - before) / MIB
    figure(f"128 MB, read slowly: {grown:+.1f} MB")
    assert grown <= 20


# -- many at once ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.case("A8")
def test_as_many_requests_as_there_are_threads_run_at_once(server: Server, figure: Figure) -> None:
    taken = []
    for _ in range(3):
        answers = crowd.ask(server, [crowd.get("/sleep")] * 40)
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"slept")}
        taken.append(max(answer.after for answer in answers))
        if taken[-1] < 0.5:
            break
    figure(f"40 mounted views of 0.2 s in {taken[-1]:.2f} s")
    assert taken[-1] < 0.5


@pytest.mark.slow
@pytest.mark.case("A18")
def test_an_upload_to_a_mounted_application_takes_little_memory(
    server: Server, control: Server, figure: Figure
) -> None:
    size = 200 * MIB
    block = memoryview(bytes(MIB))
    before = most = server.memory
    with pinging(server, control=control) as pings, server.connect() as connection:
        head = f"PUT /upload HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        connection.send(head.encode())
        for _ in range(size // MIB):
            connection.socket.sendall(block)
            most = max(most, server.memory)
        assert connection.response().read() == b"%d" % size
    grown = (max(most, server.memory) - before) / MIB
    figure(f"mounted, 200 MB: {grown:+.1f} MiB, pings {pings.check(0.1)}")
    assert grown <= 30


# -- bodies that are not what they seem --------------------------------------------------------

FRAMINGS = {
    "declared": b"Content-Length: 1000\r\n\r\n" + b"a=1&" * 25,
    "chunked": b"Transfer-Encoding: chunked\r\n\r\n64\r\n" + b"a=1&" * 25 + b"\r\n",
}


@pytest.mark.case("A20")
@pytest.mark.parametrize("framing", FRAMINGS)
def test_no_mounted_application_takes_what_a_lost_client_sent_for_all(framing: str) -> None:
    for loop, http in SERVERS:
        with serve_mounted(loop, http) as server:
            for _ in range(5):
                with server.connect() as connection:
                    head = b"PUT /upload HTTP/1.1\r\nHost: x\r\n"
                    connection.send(head + FRAMINGS[framing])
            output = server.wait_for_output("broken", 5)
            assert "took" not in output and "Traceback" not in output


def flask_of(kind: str) -> tuple[t.Any, t.Any, t.Any]:
    """Give an application of Flask's or ours, its request, and it behind the adapter."""
    if kind == "flask":
        app: t.Any = flask.Flask("mounted")
        return app, flask.request, WsgiToAsgi(app)
    app = Flask("mounted")
    return app, request, WsgiToAsgi(app.wsgi_app)


both_kinds = pytest.mark.parametrize("kind", ["flask", "asyncflask"])
READS: dict[str, tuple[str, bytes, t.Callable[[t.Any], t.Any]]] = {
    "form": (FORM, b"a=1&b=2", lambda request: request.form["a"]),
    "multipart": (BOUNDARY, multipart(("a", None, b"1")), lambda request: request.form["a"]),
    "json": ("application/json", b'{"a": 1}', lambda request: request.get_json(silent=True)),
    "data": ("text/plain", b"abc", lambda request: request.get_data()),
    "stream": ("text/plain", b"abc", lambda request: request.stream.read()),
}


@both_kinds
@pytest.mark.case("A20")
@pytest.mark.parametrize("length", [1000, None], ids=["declared", "chunked"])
@pytest.mark.parametrize("read", READS)
async def test_a_body_that_breaks_off_where_it_could_end_is_not_taken_for_whole(
    kind: str, read: str, length: int | None
) -> None:
    content_type, body, look = READS[read]
    seen: list[t.Any] = []
    app, its_request, mounted = flask_of(kind)
    app.add_url_rule("/", "v", lambda: seen.append(look(its_request)) or "seen", methods=["POST"])
    headers = {"Content-Type": content_type}
    async with nothing_left_behind():
        steps = [body, LEAVE]
        answer = await fetch(mounted, "POST", body=steps, length=length, headers=headers)
    assert (answer.status, seen) == (400, [])


# Flask's own takes a body without a declared length for complete at the limit, wherever it runs.
LIMITED = [("flask", -1), ("asyncflask", -1), ("asyncflask", None)]


@pytest.mark.case("A21")
@pytest.mark.parametrize(("kind", "length"), LIMITED)
@pytest.mark.parametrize("read", ["data", "stream"])
async def test_the_applications_own_limit_counts_bytes(
    kind: str, read: str, length: int | None, figure: Figure
) -> None:
    app, its_request, mounted = flask_of(kind)
    app.config["MAX_CONTENT_LENGTH"] = MIB
    look = READS[read][2]
    app.add_url_rule("/", "v", lambda: str(len(look(its_request))), methods=["POST"])
    taken = 0

    async def outer(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def count() -> t.Any:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            return message

        await mounted(scope, count, send)

    body = [bytes(65536)] * 320
    answer = await fetch(outer, "POST", body=body, length=length, headers={"Content-Type": "a/b"})
    assert answer.status == 413
    figure(f"mounted: {max(0, taken - MIB)} bytes beyond the limit")
    assert taken <= MIB + 3 * 65536
    assert (await fetch(mounted, "POST", body=bytes(MIB))).text == str(MIB)


@both_kinds
@pytest.mark.case("A22")
@pytest.mark.parametrize("what", ["parts", "field"])
async def test_the_applications_own_defaults_hold(kind: str, what: str) -> None:
    app, its_request, mounted = flask_of(kind)
    app.add_url_rule("/", "v", lambda: str(len(its_request.form)), methods=["POST"])
    parts = [("a", None, b"1")] * 1001 if what == "parts" else [("a", None, bytes(600_000))]
    headers = {"Content-Type": BOUNDARY}
    answer = await fetch(mounted, "POST", body=multipart(*parts), headers=headers)
    assert answer.status == 413


LENGTHS = [b"-1", b"+5", b"1_0", b"5,5", b"0x5", b"5" * 5000, b"5;a", b"\xb2", b"five"]


@pytest.mark.case("A22")
@pytest.mark.parametrize("length", LENGTHS, ids=lambda length: repr(length[:6]))
async def test_a_length_that_is_none_reaches_no_mounted_application(length: bytes) -> None:
    called: list[t.Any] = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        called.append(environ)
        raise AssertionError

    scope = {"headers": [(b"content-length", length)]}
    assert (await fetch(WsgiToAsgi(app), "POST", body=b"12345", scope=scope)).status == 400
    assert called == []


# -- applications that break the rules ---------------------------------------------------------

Start = t.Callable[..., t.Any]
TYPE = [("Content-Type", "text/plain")]


class Result:
    """Counts how often it is closed, and fails there if it is told to."""

    def __init__(self, *chunks: t.Any, error: BaseException | None = None) -> None:
        self._chunks = iter(chunks)
        self._error = error
        self.closed = 0

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> t.Any:
        chunk = next(self._chunks)
        if isinstance(chunk, BaseException):
            raise chunk
        return chunk

    def close(self) -> None:
        self.closed += 1
        if self._error is not None:
            raise self._error


def call_twice(start: Start) -> Result:
    start("200 OK", TYPE)
    start("201 Created", TYPE)
    return Result(b"evil")


def replace(start: Start) -> Result:
    start("200 OK", TYPE)
    try:
        raise ValueError("mine")
    except ValueError:
        start("503 Sorry", TYPE, sys.exc_info())
    return Result(b"sorry")


def replace_late(start: Start) -> Result:
    start("200 OK", TYPE)(b"first")
    try:
        raise ValueError("mine")
    except ValueError:
        start("503 Sorry", TYPE, sys.exc_info())
    return Result(b"evil")


def write(start: Start) -> Result:
    start("200 OK", TYPE)(b"written ")
    return Result(b"and returned")


def start_late(start: Start) -> Result:
    def chunks() -> t.Iterator[bytes]:
        start("200 OK", TYPE)
        yield b"late"

    return Late(chunks())


class Late(Result):
    """A result whose chunks are made as it is iterated."""

    def __init__(self, chunks: t.Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks


def answering(*chunks: t.Any, length: int | None = None, **options: t.Any) -> t.Any:
    def call(start: Start) -> Result:
        start("200 OK", TYPE if length is None else [*TYPE, ("Content-Length", str(length))])
        return Result(*chunks, **options)

    return call


def leave(start: Start) -> Result:
    raise SystemExit(3)


def read_on(start: Start) -> Result:
    start("200 OK", TYPE)
    return Result(b"%d" % sum(len(read_on.input.read(10)) for _ in range(5)))  # type: ignore


SENT, ABORTED, REFUSED = "sent", "aborted", "refused"
#: What is called, what becomes of the response, and its status and body as far as it gets.
VIOLATORS: dict[str, tuple[t.Any, str, int, bytes]] = {
    "never starts": (lambda start: Result(b"evil"), REFUSED, 500, b""),
    "starts twice": (call_twice, REFUSED, 500, b""),
    "replaces": (replace, SENT, 503, b"sorry"),
    "replaces what is sent": (replace_late, ABORTED, 200, b"first"),
    "writes": (write, SENT, 200, b"written and returned"),
    "starts late": (start_late, SENT, 200, b"late"),
    "empty chunks": (answering(b"", b"a", b"", b"b", b""), SENT, 200, b"ab"),
    "None first": (answering(None), REFUSED, 500, b""),
    "None later": (answering(b"a", None), ABORTED, 200, b"a"),
    "str first": (answering("evil"), REFUSED, 500, b""),
    "str later": (answering(b"a", "evil"), ABORTED, 200, b"a"),
    "too long at once": (answering(b"evil", length=3), REFUSED, 500, b""),
    "too long later": (answering(b"ab", b"evil", length=3), ABORTED, 200, b"ab"),
    "too short": (answering(b"ab", length=3), ABORTED, 200, b"ab"),
    "too short without a byte": (answering(length=3), REFUSED, 500, b""),
    "no length": (answering(b"evil", length=-1), REFUSED, 500, b""),
    "close() raises": (answering(b"a", error=ValueError("mine")), "sent, then raised", 200, b"a"),
    "close() raises first": (answering("evil", error=ValueError("mine")), REFUSED, 500, b""),
    "raises first": (answering(ValueError("mine")), REFUSED, 500, b""),
    "raises later": (answering(b"a", ValueError("mine")), ABORTED, 200, b"a"),
    "reads past the end": (read_on, SENT, 200, b"4"),
    "SystemExit": (leave, REFUSED, 500, b""),
    "SystemExit later": (answering(b"a", SystemExit(3)), ABORTED, 200, b"a"),
    "returns None": (lambda start: start("200 OK", TYPE) and None, REFUSED, 500, b""),
    "returns str": (lambda start: start("200 OK", TYPE) and "evil", REFUSED, 500, b""),
}


@pytest.mark.case("A46")
@pytest.mark.parametrize("violator", VIOLATORS)
async def test_a_violator_is_refused_or_cut_off_and_closed_once(
    violator: str, caplog: pytest.LogCaptureFixture
) -> None:
    call, outcome, status, body = VIOLATORS[violator]
    results: list[t.Any] = []

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        read_on.input = environ["wsgi.input"]  # type: ignore[attr-defined]
        results.append(call(start_response))
        return results[-1]

    async with Exchange(WsgiToAsgi(app), "POST", body=b"body") as exchange:
        answer = await exchange.end()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert answer.status == status and b"evil" not in answer.body
    if outcome == REFUSED:
        assert answer.body == b"Internal Server Error" and answer.complete
        assert answer.error is None and len(errors) == 1
    else:
        assert answer.body == body and answer.complete == outcome.startswith(SENT)
        assert (answer.error is None) == (outcome == SENT) and errors == []
    assert [result.closed for result in results if isinstance(result, Result)] in ([1], [])


UNSENDABLE: dict[str, tuple[t.Any, t.Any]] = {
    **{f"value {c!r}": ("200 OK", [("X-A", f"evil{c}evil")]) for c in "\r\n\0\x1b\x7f\u20ac"},
    **{f"name {c!r}": ("200 OK", [(f"X-evil{c}A", "v")]) for c in "\r\n\0 :\xe9\u20ac"},
    "empty name": ("200 OK", [("", "evil")]),
    "status 99": ("99 evil", []),
    "status 100": ("100 Continue", []),
    "status abc": ("abc", []),
    "status with a header": ("200 OK\r\nX-Evil: y", []),
    "status as bytes": (b"200 evil", []),
    "status as int": (200, []),
    "two lengths": ("200 OK", [("Content-Length", "4"), ("Content-Length", "5")]),
    "cookie": ("200 OK", [("Set-Cookie", "a;Domain=evil")]),
    "name as bytes": ("200 OK", [(b"X-evil", "v")]),
    "value as int": ("200 OK", [("X-A", 5)]),
    "header as str": ("200 OK", ["X-A: evil"]),
    "header as list": ("200 OK", [["X-A", "evil", "evil"]]),
}


@pytest.mark.case("A25")
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("what", UNSENDABLE)
async def test_what_cannot_be_sent_is_one_logged_500(
    what: str, lazy: bool, caplog: pytest.LogCaptureFixture
) -> None:
    status, headers = UNSENDABLE[what]

    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response(status, [*TYPE, *headers])
        return [b"evil"]

    def lazy_app(environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        start_response(status, [*TYPE, *headers])
        yield b"evil"

    answer = await fetch(WsgiToAsgi(lazy_app if lazy else app))
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert [name for name, _ in answer.headers] == ["content-type", "content-length"]
    assert len(caplog.records) == 1


@pytest.mark.case("A45")
@pytest.mark.parametrize(("loop", "http"), SERVERS)
def test_no_message_breaks_the_rules_of_asgi(loop: str, http: str) -> None:
    with serve(SOURCE.replace("WORKERS", "2"), loop=loop, http=http) as server:
        with server.connect() as connection:
            for method, path, body in [
                ("GET", "/", b""),
                ("HEAD", "/endless", b""),
                ("PUT", "/upload", b"x" * 100_000),
                ("GET", "/128", b""),
                ("POST", "/", b"unread"),
            ]:
                connection.request(method, path, body)
                response = connection.response(method)
                assert response.status == 200
                assert len(response.read()) in (0, 4, 6, 128 * MIB)
        for _ in range(5):
            stall(server, "/endless").close()
        wait_for_closing(server)


@pytest.mark.slow
@pytest.mark.case("A25", "A46")
def test_servers_answer_or_cut_off_what_cannot_be_sent(server: Server) -> None:
    with server.connect() as connection:
        connection.request("GET", "/bad")
        response = connection.response()
        assert (response.status, response.read()) == (500, b"Internal Server Error")
        # The connection is as good as before.
        connection.request("GET", "/cut")
        began = time.monotonic()
        raw = connection.raw()
        assert raw.startswith(b"HTTP/1.1 200") and raw.endswith(b"\r\n\r\n" + b"x" * 100)
        assert time.monotonic() - began < 5
    server.wait_for_output("WrongLength")
