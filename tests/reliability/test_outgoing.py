"""What cannot be sent is one logged 500 everywhere, without a byte of what was bad."""

from __future__ import annotations

import asyncio
import io
import logging
import typing as t
from dataclasses import dataclass
from urllib.parse import quote

import pytest
import starlette.responses as starlette
import werkzeug
import werkzeug.http

from asyncflask import abort
from asyncflask import after_this_request
from asyncflask import Flask
from asyncflask import jsonify
from asyncflask import make_response
from asyncflask import redirect
from asyncflask import Response
from asyncflask import send_file
from tests.kit.drive import fetch
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.case("A25")

app = Flask("outgoing", static_folder=None)
Make = t.Callable[[], t.Any]

# -- ways to put something into a response; "evil" is what must not arrive ------------------------


def header(name: str, value: str) -> Make:
    return lambda: Response("body", headers=[(name, value)])


def hooked(name: str, value: str) -> Make:
    def make() -> str:
        @after_this_request
        def add(response: Response) -> Response:
            if response.status_code == 200:
                response.headers[name] = value
            return response

        return "body"

    return make


def cookie(key: str, value: str = "value", **options: t.Any) -> Make:
    def make() -> Response:
        response = Response("body")
        response.set_cookie(key, value, **options)
        return response

    return make


async def chunks() -> t.AsyncIterator[str]:
    yield "evil"


def download(name: str) -> Make:
    return lambda: send_file(
        io.BytesIO(b"file"), "text/plain", as_attachment=True, download_name=name
    )


def refuse(headers: dict[str, str]) -> t.NoReturn:
    abort(Response("evil", 400, headers))


def other(kind: t.Callable[..., t.Any], *args: t.Any) -> Make:
    """Make a response of another kind, with a header that cannot be sent."""

    def make() -> t.Any:
        response = kind(*args)
        response.headers["X-A"] = "evil\x01"
        return response

    return make


CONTROLS = ["\r", "\n", "\r\nX-Evil: ", "\0", "\x0b", "\x1b", "\x7f"]
BAD: dict[str, Make] = {
    **{f"value {char!r}": header("X-A", f"evil{char}evil") for char in [*CONTROLS, "\u20ac"]},
    **{f"name {char!r}": header(f"X-evil{char}A", "v") for char in [*CONTROLS, *" :é\u20ac"]},
    **{f"hook {char!r}": hooked("X-A", f"evil{char}evil") for char in ["\r\n", "\0", "\u20ac"]},
    "name in a hook": hooked("X-A: evil\r\nX-B", "v"),
    "empty name": header("", "evil"),
    "status 99": lambda: ("evil", 99),
    "status 100": lambda: ("evil", 100),
    "status 1000": lambda: ("evil", 1000),
    "status abc": lambda: Response("evil", "abc"),
    "status with a header": lambda: Response("evil", "200 OK\r\nX-Evil: y"),
    "status with a NUL": lambda: ("evil", "200 \0evil"),
    "redirect with a line": lambda: redirect("/evil\r\nX-Evil: y"),
    "redirect to a surrogate": lambda: redirect("/evil\ud800"),
    "redirect to no host": lambda: redirect("http://[evil"),
    "redirect to no port": lambda: redirect("http://evil:port/\xff"),
    "cookie name with a line": cookie("evil\r\nX-Evil"),
    "cookie name with a semicolon": cookie("a;Domain=evil"),
    "cookie without a name": cookie("", "evil"),
    "cookie domain": cookie("a", domain="evil\r\n.org"),
    "tuple": lambda: ("body", {"X-A": "evil\x01"}),
    "make_response": lambda: make_response("body", {"X-A": "evil\x01"}),
    "abort": lambda: refuse({"X-A": "evil\x01"}),
    "JSON": other(jsonify, "body"),
    "werkzeug": other(werkzeug.Response, "body"),
    "starlette": other(starlette.PlainTextResponse, "body"),
    "starlette file": other(starlette.FileResponse, __file__),
    "starlette stream": other(starlette.StreamingResponse, chunks()),
    "sync stream": lambda: Response(iter(["evil"]), headers={"X-A": "evil\x01"}),
    "async stream": lambda: (chunks(), {"X-A": "evil\x01"}),
    "file": lambda: (send_file(__file__), {"X-A": "evil\x01"}),
    **{f"download {c!r}": download(f"evil{c}a") for c in ["\r\nX-Evil: ", "\0", "\x7f", "\ud800"]},
}

NAMES = ['a";evil.bat', "x" * 5000, "\u20ac\u2028.txt", "a\\b", "a\\", "../../etc/passwd"]
NAMES += ["caf\xe9", "%22;evil", "a'b;c"]
GOOD: dict[str, Make] = {
    **{f"download {ascii(name)[:20]}": download(name) for name in NAMES},
    "cookie value": cookie("a", "evil\r\nX-Evil: y;\0\u20ac"),
    "cookie path": cookie("a", path="/evil\r\nX-Evil: y; Domain=evil"),
    "redirect": lambda: redirect("/\0\x0b\x7f\u2028;\xff"),
    "status 200": lambda: Response("file", "200"),
    "starlette": lambda: starlette.PlainTextResponse("file"),
}


@app.get("/<kind>/<path:name>")
def view(kind: str, name: str) -> t.Any:
    return (BAD if kind == "bad" else GOOD)[name]()


# -- where it is tried ---------------------------------------------------------------------------


@dataclass
class Face:
    """A way to the application."""

    #: Gives status, headers and body of what is at a path.
    ask: t.Callable[[str], tuple[int, list[tuple[str, str]], bytes]]
    #: Waits for that many records of errors, and counts them.
    errors: t.Callable[[int], int]


class Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def ask_asgi(path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    answer = asyncio.run(fetch(app, "GET", path))
    return answer.status, answer.headers, answer.body


def ask_wsgi(path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    response = app.test_client(use_cookies=False).get(quote(path))
    headers = [(name.lower(), value) for name, value in response.headers]
    return response.status_code, headers, response.data


def ask_server(server: Server, path: str) -> tuple[int, list[tuple[str, str]], bytes]:
    with server.connect() as connection:
        connection.request("GET", quote(path))
        response = connection.response()
        headers = [(name.lower(), value) for name, value in response.getheaders()]
        return response.status, headers, response.read()


def count_errors(server: Server, expected: int) -> int:
    return server.wait_for_output("] ERROR in ", expected).count("] ERROR in ")


@pytest.fixture(scope="module", params=["asgi", "wsgi", "h11", "httptools"])
def face(request: pytest.FixtureRequest) -> t.Iterator[Face]:
    if request.param in ("h11", "httptools"):
        with serve("tests.reliability.test_outgoing:app", http=request.param) as server:
            yield Face(lambda path: ask_server(server, path), lambda n: count_errors(server, n))
        return
    records = Records()
    app.logger.addHandler(records)
    yield Face(ask_asgi if request.param == "asgi" else ask_wsgi, lambda _: records.count)
    app.logger.removeHandler(records)


NEUTRAL = {"content-type", "content-length", "date", "server"}


def test_what_cannot_be_sent_is_one_logged_500(face: Face) -> None:
    for number, bad in enumerate(BAD):
        status, headers, body = face.ask(f"/bad/{bad}")
        assert status == 500, bad
        assert b"evil" not in body.lower() + str(headers).lower().encode(), bad
        assert {name for name, _ in headers} <= NEUTRAL and len(headers) == len(dict(headers)), bad
        assert b"Internal Server Error" in body, bad
        assert face.errors(number + 1) == number + 1, bad


def test_what_is_made_harmless_adds_no_header(face: Face) -> None:
    before = face.errors(0)
    for good in GOOD:
        status, headers, body = face.ask(f"/good/{good}")
        assert status in (200, 302), good
        assert body in (b"file", b"body") or status == 302
        # uvicorn adds a Date of its own.
        names = [name for name, _ in headers if name != "date"]
        assert len(set(names)) == len(names) and "x-evil" not in names, good
        for name, value in headers:
            assert value.isascii() and value.isprintable(), (good, name, value)
    assert face.errors(before) == before


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_download_has_one_name_and_no_other_parameter(name: str) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "file", download(name))
    disposition = app.test_client().get("/").headers["Content-Disposition"]
    _, options = werkzeug.http.parse_options_header(disposition)
    assert list(options) == ["filename"], disposition
