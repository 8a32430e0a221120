"""One record for an error of ours, none for a client's, and no line that a client has forged."""

from __future__ import annotations

import asyncio
import io
import logging
import typing as t

import pytest
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import STALL
from tests.kit.server import serve

pytestmark = [pytest.mark.case("A34"), pytest.mark.anyio]

FORGERY = "\n[2026-01-01] ERROR FAKE \x1b[31m\r\x00\x9b\x85\u2028\u2029"


def make_app() -> Flask:
    app = Flask("app", static_folder=None)
    app.secret_key = "for the tests"
    app.config["BODY_TIMEOUT"] = 0.05

    @app.errorhandler(404)
    def fail(error: Exception) -> t.NoReturn:
        raise LookupError("our own") from None

    @app.route("/bad", methods=["GET", "POST"])
    def bad() -> Response:
        return Response("body", headers={"X-A": "\0"})

    @app.post("/read")
    def read() -> str:
        return str(len(request.get_data()))

    @app.post("/read-async")
    async def read_async() -> str:
        return str(request.get_json())

    @app.post("/form")
    async def form() -> str:
        return str(request.form["missing"])

    @app.post("/streamed", stream_body=True)
    async def streamed() -> str:
        return str(len([chunk async for chunk in request.stream]))

    @app.get("/endless")
    async def endless() -> t.AsyncIterator[bytes]:
        while True:
            yield b"chunk"

    @app.get("/endless-sync")
    def endless_sync() -> t.Any:
        return stream_with_context(iter(lambda: b"chunk", b""))

    @app.get("/waits", cancel_on_disconnect=True)
    async def waits() -> str:
        await asyncio.Event().wait()
        return "never"

    return app


async def ask(app: Flask, transport: str, method: str, path: str) -> int:
    if transport == "asgi":
        scope = {"path": path, "raw_path": None, "query_string": FORGERY.encode()}
        scope |= {"method": method, "headers": [(b"host", FORGERY.encode())]}
        return (await fetch(app, "GET", "/", scope=scope)).status
    environ = create_environ("/")
    environ |= {"PATH_INFO": path.encode().decode("latin-1"), "REQUEST_METHOD": method}
    environ |= {"QUERY_STRING": FORGERY.encode().decode("latin-1"), "HTTP_HOST": FORGERY}
    return int(run_wsgi_app(app.wsgi_app, environ, buffered=True)[1][:3])


class Lines(logging.StreamHandler[io.StringIO]):
    """Writes lines as the application's own handler does, and records what they were made of."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        super().emit(record)

    @property
    def text(self) -> str:
        return self.stream.getvalue()


@pytest.fixture
def lines() -> t.Iterator[Lines]:
    handler = Lines()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)


@pytest.mark.parametrize("transport", ["asgi", "wsgi"])
@pytest.mark.parametrize("method", ["GET", f"GET{FORGERY}"], ids=["GET", "forged"])
@pytest.mark.parametrize("path", [f"/{FORGERY}", "/bad", "/%s%d{x}"], ids=ascii)
async def test_one_record_and_no_forged_line(
    path: str, method: str, transport: str, lines: Lines
) -> None:
    app = make_app()
    app.url_map.strict_slashes = False
    status = await ask(app, transport, method, path)
    assert status == (405 if path == "/bad" and method != "GET" else 500)
    assert len(lines.records) == (status == 500)
    assert lines.text.replace("\n", "").isprintable()
    assert not [line for line in lines.text.split("\n") if line.lstrip().startswith("[2026")]


async def test_a_forged_method_of_a_response_that_cannot_be_sent_is_escaped(lines: Lines) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "bad", lambda: Response("body", headers={"X-A": "\0"}))
    app.url_map._rules[0].methods = None
    for transport in ("asgi", "wsgi"):
        assert await ask(app, transport, f"GET{FORGERY}", "/") == 500
    assert len(lines.records) == 2 and "FAKE" in lines.text
    assert lines.text.replace("\n", "").isprintable()


# -- what clients do wrong -----------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
PART = "Content-Disposition: form-data; name=a"
FORM = {"Content-Type": "multipart/form-data; boundary=x"}
#: Method, path, headers, body, announced length.
FAULTS: dict[str, tuple[str, str, dict[str, str], t.Any, int | None]] = {
    "no JSON": ("POST", "/read-async", JSON, b"{", -1),
    "no JSON at all": ("POST", "/read-async", {}, b"{}", -1),
    "short body": ("POST", "/read", {}, [b"a", LEAVE], 10),
    "short body, async": ("POST", "/read-async", JSON, [b"a", LEAVE], 10),
    "short body, streamed": ("POST", "/streamed", {}, [b"a", LEAVE], 10),
    "unended body": ("POST", "/streamed", {}, [b"a", LEAVE], None),
    "silent body": ("POST", "/read", {}, [b"a", STALL], 10),
    "silent body, async": ("POST", "/read-async", JSON, [b"a", STALL], 10),
    "missing field": ("POST", "/form", FORM, b"--x--", -1),
    "cut form": ("POST", "/form", FORM, f"--x\r\n{PART}\r\n\r\nb".encode(), -1),
    "method": ("PUT", "/read", {}, b"", -1),
    "two hosts": ("GET", "/endless", {"Host": "b"}, b"", -1),
    "headers": ("GET", "/endless", {"X-A": "x" * 100_000}, b"", -1),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_fault_of_a_client_is_no_error_in_the_log(fault: str, lines: Lines) -> None:
    method, path, headers, body, length = FAULTS[fault]
    async with Exchange(
        make_app(), method, path, headers=headers, body=body, length=length
    ) as exchange:
        answer = await exchange.end()
    assert answer.error is None and answer.status < 500
    assert [record for record in lines.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("send_fails", [False, True])
@pytest.mark.parametrize("path", ["/endless", "/endless-sync", "/waits"])
async def test_a_client_that_leaves_is_no_error_in_the_log(
    path: str, send_fails: bool, lines: Lines
) -> None:
    async with Exchange(make_app(), "GET", path) as exchange:
        if path != "/waits":
            assert await exchange.chunk() == b"chunk"
        exchange.disconnect(send_fails)
        assert (await exchange.end()).error is None
    assert [record for record in lines.records if record.levelno > logging.INFO] == []


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_on_a_server_there_is_one_line_for_an_error_and_none_for_a_client(parser: str) -> None:
    source = "from tests.reliability.test_logs import make_app\n\napp = make_app()"
    post = "HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nabc"
    with serve(source, http=parser) as server:
        for head in [f"POST /read {post}", f"POST /read-async {post}", f"POST /streamed {post}"]:
            for _ in range(3):
                connection = server.connect()
                connection.send(head.encode())
                connection.reset()
        for path in ["/endless", "/endless-sync", "/waits"]:
            connection = server.connect()
            connection.request("GET", path)
            if path != "/waits":
                assert connection.response().read1()
            connection.reset()
        forged = "/%1b[31m%0aFAKE%0d%c2%9b%c2%85%e2%80%a8"
        assert "Internal Server Error" in server.get(forged)
        output = server.wait_for_output("LookupError")
        assert output.count("ERROR") == output.count("] ERROR in ") == 1, output
        assert "Exception on /\\x1b[31m\\nFAKE\\r\\x9b\\x85\\u2028 [GET]" in output
        assert output.replace("\n", "").isprintable()
