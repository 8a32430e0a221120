"""Headers in any number and length cost next to nothing, and none is taken for another."""

from __future__ import annotations

import json
import time
import typing as t

import pytest
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from asyncflask import stream_with_context
from asyncflask.adapters.environ import joined_headers
from tests.kit.cases import Figure
from tests.kit.drive import fetch
from tests.kit.pings import pinging
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = [pytest.mark.case("A28"), pytest.mark.anyio]

app = Flask("app", static_folder=None)
app.secret_key = "for the tests"


@app.route("/", methods=["GET", "POST"])
def look() -> dict[str, t.Any]:
    """Look at all that is made of headers."""
    return {
        "cookies": request.cookies.to_dict(flat=False),
        "cookie": request.headers.get("Cookie"),
        "names": sorted(request.headers.keys()),
        "environ": request.environ.get("HTTP_COOKIE"),
        "host": request.host,
    }


@app.get("/ping")
async def ping() -> str:
    return "pong"


@app.post("/late", stream_body=True)
async def late() -> t.Any:
    async def answer() -> t.AsyncIterator[str]:
        yield "started"
        data = b"".join([chunk async for chunk in request.stream])
        yield json.dumps({"data": data.decode(), **look()})

    return stream_with_context(answer())


# -- volume --------------------------------------------------------------------------------------

VOLUMES: dict[str, list[tuple[bytes, bytes]]] = {
    "64 KiB": [(b"x-a", b"x" * 65536)],
    "5 MB": [(b"x-a", b"x" * 5_000_000)],
    "5 MB name": [(b"x" * 5_000_000, b"")],
    "5 MB of cookies": [(b"cookie", b"a=b; " * 1_000_000)],
    "100,000 alike": [(b"a", b"x")] * 100_000,
    "100,000 different": [(b"a%d" % number, b"x") for number in range(100_000)],
    "30,000 cookies": [(b"cookie", b"a=b")] * 30_000,
}


@pytest.mark.bare
@pytest.mark.parametrize("volume", VOLUMES)
async def test_too_many_or_too_long_headers_are_a_431_at_once(volume: str, figure: Figure) -> None:
    scope = {"headers": [(b"host", b"localhost"), *VOLUMES[volume]]}
    taken = []
    for _ in range(3):
        began = time.thread_time()
        answer = await fetch(app, "GET", "/", scope=scope, lint=False)
        taken.append(time.thread_time() - began)
        assert (answer.status, answer.body) == (431, b"Request Header Fields Too Large")
    assert min(taken) < 0.1
    figure(f"{volume}: {min(taken) * 1000:.1f} ms")


async def test_the_bound_is_a_matter_of_configuration() -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "look", look)
    headers = [("X-A", "x" * 995), ("X-A", "x" * 995)]
    own = len("hostlocalhost")
    for limit, status in {2000 + own - 5: 200, 1996 + own: 200, 1995 + own: 431, None: 200}.items():
        app.config["MAX_HEADER_SIZE"] = limit
        assert (await fetch(app, "GET", "/", headers=headers)).status == status


@pytest.mark.bare
def test_repeated_headers_are_joined_in_linear_time() -> None:
    def seconds(count: int) -> float:
        scope: t.Any = {"headers": [(b"cookie", b"a=b")] * count + [(b"a", b"x" * 20)] * count}
        taken = []
        for _ in range(5):
            began = time.thread_time()
            assert len(joined_headers(scope)["a"]) == 21 * count - 1
            taken.append(time.thread_time() - began)
        return min(taken)

    assert seconds(80_000) <= 12 * seconds(10_000)


def wire(volume: list[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%s: %s\r\n" % pair for pair in volume]
    return b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(lines) + b"\r\n"


def attack(server: Server, data: bytes) -> bytes:
    """Send a request, and give what came back, if the server did not just hang up."""
    with server.connect() as connection:
        try:
            connection.send(data)
            return connection.socket.recv(65536)
        except ConnectionError:
            return b""


@pytest.mark.slow
@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_on_a_server_others_are_served_meanwhile(parser: str, figure: Figure) -> None:
    module = "tests.reliability.test_headers_in"
    with (
        serve(f"{module}:app", http=parser, lint=False) as server,
        serve("tests.kit.bare:app", http=parser, lint=False) as other,
        pinging(server, "/ping", control=other) as pings,
    ):
        before = server.cpu_seconds
        for _ in range(3):
            for volume in VOLUMES.values():
                answer = attack(server, wire(volume))
                # The parser of h11 has a limit of its own, and hangs up.
                own = [b"HTTP/1.1 400", b""] if parser == "h11" else []
                assert answer[:12] in [b"HTTP/1.1 431", *own]
        cpu = (server.cpu_seconds - before) / 3
        # Those asked here tell nothing of the pings, which are slower to come.
        while server.output.count("GET /ping HTTP") < 60:
            assert server.get("/ping?again") == "pong"
    pings.check(0.1)
    figure(f"{parser}: {pings.figure()}, CPU {cpu * 1000:.0f} ms for all")


# -- cookies -------------------------------------------------------------------------------------


async def ask(*headers: tuple[str, str]) -> t.Any:
    return (await fetch(app, "GET", "/", headers=headers)).json


async def test_cookie_headers_are_joined_as_cookies_are() -> None:
    seen = await ask(("Cookie", "a=1; b=2"), ("X-A", "between"), ("Cookie", "c=3"))
    assert seen["cookies"] == {"a": ["1"], "b": ["2"], "c": ["3"]}
    assert seen["cookie"] == seen["environ"] == "a=1; b=2; c=3"


NAMELESS = ["=__Host-a=evil", "= __Host-a=evil", "=", "==__Host-a=evil", "; ;"]


@pytest.mark.parametrize("evil", NAMELESS)
async def test_a_cookie_without_a_name_is_no_other_cookie(evil: str) -> None:
    for header in (f"{evil}; a=1", f"a=1; {evil}"):
        assert (await ask(("Cookie", header)))["cookies"] == {"a": ["1"]}
    assert "__Host-a" not in (await ask(("Cookie", "a=1"), ("Cookie", evil)))["cookies"]


# -- trailers ------------------------------------------------------------------------------------

TRAILERS = b"X-Trailer: evil\r\nHost: evil\r\nCookie: a=evil\r\n"


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_trailers_are_no_headers(parser: str) -> None:
    with serve("tests.reliability.test_headers_in:app", http=parser) as server:
        with server.connect() as connection:
            head = b"POST /late HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
            connection.send(head + b"3\r\nabc\r\n")
            response = connection.response()
            assert response.read1() == b"started"
            connection.send(b"0\r\n" + TRAILERS + b"\r\n")
            seen = json.loads(response.read())
    assert (seen["data"], seen["host"], seen["cookies"]) == ("abc", "localhost", {})
    assert seen["names"] == ["Host", "Transfer-Encoding"]


async def test_trailers_that_a_server_adds_to_the_scope_are_left_out() -> None:
    headers = [(b"host", b"localhost"), (b"transfer-encoding", b"chunked")]
    seen = []

    class Late(Flask):
        async def preprocess_request(self) -> None:
            headers.append((b"x-trailer", b"evil"))
            seen.append((sorted(request.headers.keys()), "HTTP_X_TRAILER" in request.environ))

    app = Late("app", static_folder=None)
    app.add_url_rule("/", "view", lambda: "body", methods=["POST"])
    scope = {"headers": headers}
    assert (await fetch(app, "POST", "/", body=b"a", scope=scope)).text == "body"
    assert seen == [(["Host", "Transfer-Encoding"], False)]


# -- numbers, and other things to parse ----------------------------------------------------------

DIGITS = "9" * 5000
NONSENSE = [
    *[("Max-Forwards", value) for value in [DIGITS, "x", "\xb2"]],
    *[("Cache-Control", f"{name}={DIGITS}") for name in ["max-age", "max-stale", "min-fresh"]],
    *[("Range", f"bytes={value}") for value in [f"{DIGITS}-{DIGITS}", "\xb2-\xb3", "5-3", "-0"]],
    *[("Host", f"localhost:{value}") for value in [DIGITS, "\xb2", "-1", "1_0"]],
    *[("Date", f"Mon, 01 Jan {DIGITS} 00:00:00 GMT"), ("If-Modified-Since", DIGITS)],
    *[("Accept", f"text/html;q={value}") for value in [DIGITS, "nan", "inf", "-1", '"']],
    *[("Authorization", value) for value in ["Basic \xff", "Basic ====", 'Digest x="', "\xff"]],
    *[("Content-Type", value) for value in ["\xff", "multipart/form-data; boundary=", ";;;"]],
    *[("Cookie", 'a="\\777\\0\\"'), ("If-None-Match", 'W/,"",*'), ("If-Range", 'W/"')],
    *[("Origin", "\xff"), ("Referer", "http://["), ("X-Forwarded-For", ",")],
    ("Content-MD5", "\xff"),
]
#: What a client's headers have no part in, or what waits.
OTHER = {"application", "from_values", "json", "is_disconnected", "receive"}


@pytest.mark.parametrize("name, value", NONSENSE, ids=lambda value: ascii(value)[1:30])
async def test_looking_at_a_request_is_no_error_whatever_its_headers_say(
    name: str, value: str
) -> None:
    app = Flask("app", static_folder=None)
    looked: list[int] = []

    @app.get("/")
    def view() -> str:
        names = [name for name in dir(app.request_class) if name[0] != "_" and name not in OTHER]
        looked.append(len([repr(getattr(request, name)) for name in names]))
        cache = request.cache_control
        return repr([cache.max_age, cache.max_stale, cache.min_fresh, request.get_data()])

    headers = [(b"host", b"localhost")] * (name != "Host")
    scope = {"headers": [*headers, (name.lower().encode(), value.encode("latin-1"))]}
    assert (await fetch(app, "GET", "/", scope=scope)).status == 200
    key = name.upper().replace("-", "_")
    environ = create_environ("/")
    environ[key if key in ("CONTENT_LENGTH", "CONTENT_TYPE") else f"HTTP_{key}"] = value
    assert run_wsgi_app(app.wsgi_app, environ, buffered=True)[1] == "200 OK"
    assert min(looked) > 60
