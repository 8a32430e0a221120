"""What goes out is checked: the same logged 500 on both faces, and not a byte of what was bad."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
import starlette.responses as starlette

from asyncflask import Flask
from asyncflask import redirect
from asyncflask import Response
from asyncflask.adapters import wire
from tests.kit.drive import Exchange
from tests.kit.drive import fetch

pytestmark = [pytest.mark.anyio, pytest.mark.case("A25")]

CONTROLS = ["\0", "\x01", "\x0b", "\x1f", "\x7f"]


def with_header(name: str, value: str) -> t.Callable[[], Response]:
    return lambda: Response("body", headers=[(name, value)])


def with_status(status: str | int) -> t.Callable[[], Response]:
    return lambda: Response("body", status)


def with_cookie(*args: t.Any, **kwargs: t.Any) -> t.Callable[[], Response]:
    def make() -> Response:
        response = Response("body")
        response.set_cookie(*args, **kwargs)
        return response

    return make


BAD: dict[str, t.Callable[[], t.Any]] = {
    **{f"value {char!r}": with_header("X-A", f"evil{char}value") for char in CONTROLS},
    **{f"name {char!r}": with_header(f"X-evil{char}A", "v") for char in [*CONTROLS, "\r\n", "\n"]},
    **{f"name {char!r}": with_header(f"X-evil{char}A", "v") for char in " :;,()é\u20ac"},
    "empty name": with_header("", "evil"),
    "value beyond Latin-1": with_header("X-A", "evil \u20ac"),
    "value that is a surrogate": with_header("X-A", "evil \udcff"),
    **{f"status {status!r}": with_status(status) for status in ["200 OK\r\nX: evil", "200 \0evil"]},
    **{f"status {status!r}": with_status(status) for status in ["evil", 0, 99, 100, 101, 1000, -1]},
    "cookie name": with_cookie("evil\0name", "v"),
    "cookie name with a semicolon": with_cookie("a;Domain=evil", "v"),
    "cookie without a name": with_cookie("", "evil"),
    "tuple": lambda: ("body", {"X-A": "evil\x01"}),
    "starlette": lambda: starlette.PlainTextResponse("body", headers={"X-A": "evil\x01"}),
    "starlette file": lambda: starlette.FileResponse(__file__, headers={"X-A": "evil\x01"}),
    "stream": lambda: Response(iter(["body"]), headers={"X-A": "evil\x01"}),
}


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_cannot_be_sent_is_one_logged_500_on_both_faces(
    bad: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask(__name__)
    closed: list[str] = []

    @app.get("/")
    def view() -> t.Any:
        return BAD[bad]()

    @app.after_request
    def note(response: Response) -> Response:
        response.call_on_close(lambda: closed.append("closed"))
        return response

    answer = await fetch(app, method)
    response = app.test_client().open(method=method)
    assert (answer.status, response.status) == (500, "500 INTERNAL SERVER ERROR")
    body = b"Internal Server Error" if method == "GET" else b""
    assert (answer.body, response.data) == (body, body)
    expected = {"content-type": "text/plain; charset=utf-8", "content-length": "21"}
    assert dict(answer.headers) == expected
    assert {name.lower(): value for name, value in response.headers.items()} == expected
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 2 and closed == ["closed"] * 2
    for record in errors:
        assert record.exc_info is not None and record.exc_info[0] is wire.InvalidHeader
    assert caplog.text.count(f"The request was {method} '/'.") == 2


@pytest.mark.parametrize("where", ["after_request", "error handler", "cookie"])
async def test_what_cannot_be_set_is_an_error_where_it_is_set(
    where: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask(__name__)

    @app.get("/")
    def view() -> str:
        raise LookupError

    @app.errorhandler(LookupError)
    def handle(error: LookupError) -> t.Any:
        headers = {"X-A": "evil\r\nX-B: value"} if where == "error handler" else {}
        return "handled", headers

    @app.after_request
    def add(response: Response) -> Response:
        if response.status_code == 200 and where == "after_request":
            response.headers["X-A"] = "evil\nvalue"
        if response.status_code == 200 and where == "cookie":
            response.set_cookie("a", "b", domain="evil\r\n.org")
        return response

    answer, response = await fetch(app), app.test_client().get("/")
    assert (answer.status, response.status_code) == (500, 500)
    assert b"evil" not in answer.body + response.data + str(answer.headers).encode()


async def test_a_background_task_of_a_response_that_cannot_be_sent_does_not_run() -> None:
    app = Flask(__name__)
    ran: list[str] = []

    async def task() -> None:
        ran.append("ran")

    @app.get("/")
    async def view() -> Response:
        response = Response("body", headers={"X-A": "\0"})
        response.background = task  # type: ignore[assignment]
        return response

    assert (await fetch(app)).status == 500
    assert app.test_client().get("/").status_code == 500
    assert ran == []


GOOD = {
    "latin-1": ("caf\xe9", "caf\xe9"),
    "tab": ("a\tb", "a\tb"),
    "empty": ("", ""),
    "blanks around it": ("  value\t ", "value"),
    "quotes and commas": ('"a", W/"b"; c=d', '"a", W/"b"; c=d'),
}


@pytest.mark.parametrize("kind", GOOD)
async def test_other_values_are_sent_alike_on_both_faces(kind: str) -> None:
    value, sent = GOOD[kind]
    app = Flask(__name__)
    app.add_url_rule("/", "view", with_header("X-Any_thing.at-All", value))
    assert (await fetch(app)).header("x-any_thing.at-all") == sent
    assert app.test_client().get("/").headers["X-Any_thing.at-All"] == sent


async def test_repeated_headers_and_their_order_are_kept() -> None:
    app = Flask(__name__)

    @app.get("/")
    def view() -> Response:
        response = Response("body")
        response.set_cookie("a", "1")
        response.headers.add("X-A", "1")
        response.set_cookie("b", "2", secure=True)
        response.headers.add("X-A", "2")
        return response

    names = [pair for pair in (await fetch(app)).headers if pair[0] in ("set-cookie", "x-a")]
    assert names == [
        ("set-cookie", "a=1; Path=/"),
        ("x-a", "1"),
        ("set-cookie", "b=2; Secure; Path=/"),
        ("x-a", "2"),
    ]


async def test_locations_are_made_ascii() -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "view", lambda: redirect("/caf\xe9?\u20ac"))
    assert (await fetch(app)).header("location") == "/caf%C3%A9?%E2%82%AC"


async def test_the_length_of_a_body_in_memory_is_sent_even_if_a_hook_took_it_away() -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "view", lambda: "four")

    @app.after_request
    def forget(response: Response) -> Response:
        del response.headers["Content-Length"]
        return response

    assert (await fetch(app)).header("content-length") == "4"
    assert app.test_client().get("/").headers["Content-Length"] == "4"


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [("GET", 200, True), ("HEAD", 200, False), ("GET", 204, False), ("POST", 304, False)],
)
def test_which_responses_have_a_body(method: str, status: int, expected: bool) -> None:
    assert wire.has_body(method, status) is expected


# -- lengths -------------------------------------------------------------------------------------


def announcing(length: str, make: t.Callable[[], t.Any]) -> Flask:
    app = Flask(__name__)
    app.add_url_rule("/", "view", make)

    @app.after_request
    def announce(response: Response) -> Response:
        response.headers["Content-Length"] = length
        return response

    return app


@pytest.mark.case("A25")
@pytest.mark.parametrize("length", ["3", "5", "-4", "+4", "4_0", "x", "", "\u00b2", "9" * 99])
@pytest.mark.parametrize("made", ["whole", "in a list", "starlette", "starlette file"])
async def test_a_whole_body_of_another_length_than_announced_is_a_logged_500(
    made: str, length: str, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    (tmp_path / "four").write_text("body")
    bodies: dict[str, t.Callable[[], t.Any]] = {
        "whole": lambda: "body",
        "in a list": lambda: Response(["bo", b"dy"]),
        "starlette": lambda: starlette.PlainTextResponse("body"),
        "starlette file": lambda: starlette.FileResponse(tmp_path / "four"),
    }
    app = announcing(length, bodies[made])
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    if made == "starlette file" and length in ("3", "5"):
        # It sends itself; what it is going to send shows only then.
        assert isinstance(answer.error, wire.WrongLength) and not answer.complete
        return
    response = app.test_client().get("/")
    assert (answer.status, response.status_code) == (500, 500)
    assert (answer.body, response.data) == (wire.ERROR, wire.ERROR)
    assert caplog.text.count("InvalidHeader: The response has") == 2


@pytest.mark.case("A25", "A47")
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("lengths", [("4", "5"), ("4", "4"), ("4", ""), ("x",)])
async def test_two_lengths_or_none_that_is_a_number_are_a_500_to_head_as_well(
    lengths: tuple[str, ...], method: str
) -> None:
    app = Flask(__name__)

    @app.get("/")
    def view() -> Response:
        response = Response("body")
        response.headers.setlist("Content-Length", lengths)
        return response

    assert (await fetch(app, method)).status == 500
    assert app.test_client().open("/", method=method).status_code == 500


@pytest.mark.parametrize("make", [lambda: "", lambda: "body", lambda: iter("body")])
async def test_the_answer_to_head_may_announce_any_length(make: t.Callable[[], t.Any]) -> None:
    app = announcing("1000", make)
    assert (await fetch(app, "HEAD")).header("Content-Length") == "1000"
    assert app.test_client().head("/").headers["Content-Length"] == "1000"


@pytest.mark.case("A44")
@pytest.mark.parametrize(("length", "sent"), [("7", 6), ("5", 4), ("4", 4), ("0", 0), ("x", 0)])
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_stream_of_another_length_than_announced_is_never_complete(
    colour: str, length: str, sent: int, caplog: pytest.LogCaptureFixture
) -> None:
    async def chunks() -> t.AsyncIterator[str]:
        for chunk in ("ab", "cd", "ef"):
            yield chunk

    app = announcing(length, lambda: iter(["ab", "cd", "ef"]) if colour == "sync" else chunks())
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    client = app.test_client()
    if length == "x":
        assert (answer.body, client.get("/").data) == (wire.ERROR, wire.ERROR)
        return
    assert isinstance(answer.error, wire.WrongLength) and not answer.complete
    # What is sent with the chunk that is too much is not sent at all.
    assert answer.status == (200 if sent else 0) and len(answer.body) <= sent
    with pytest.raises(wire.WrongLength, match=f"Content-Length is {length}"):
        client.get("/").get_data()


@pytest.mark.parametrize("location", ["/a", "/\xe4"])
async def test_a_length_with_blanks_around_it_is_one_whatever_else_is_there(location: str) -> None:
    app = Flask(__name__)
    headers = {"Content-Length": " 4 ", "Content-Location": location}
    app.add_url_rule("/", "index", lambda: ("body", headers))
    assert (await fetch(app)).body == app.test_client().get("/").data == b"body"


KINDS = {
    "plain": ("X-A", "value"),
    "blanks": ("X-A", " value\t"),
    "latin": ("X-A", "w\xe9rt"),
    "mixed case": ("x-FRAME-options", "DENY"),
    "long": ("X-Long", "v" * 1000),
    "cookie": ("Set-Cookie", "secret=1; Path=/"),
    "lower cookie": ("set-cookie", "secret=1; Path=/"),
    "location": ("Location", "/a?b=c"),
    "date": ("Date", "Fri, 27 Nov 2026 01:00:35 GMT"),
    "expires": ("expires", "Fri, 27 Nov 2026 01:00:35 GMT"),
}
NOT_KEPT = {"long", "cookie", "lower cookie", "location", "date", "expires"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_is_kept_is_encoded_as_at_first(kind: str) -> None:
    pair = KINDS[kind]
    wire.encoded.clear()
    name, value = wire.clean_header(pair)
    expected = (name.lower().encode("latin-1"), value.encode("latin-1"))
    assert [wire.encode_header(pair) for _ in range(2)] == [expected] * 2
    assert wire.encoded.get(pair, expected) == expected
    assert (pair in wire.encoded) == (kind not in NOT_KEPT)


def test_as_many_headers_are_kept_as_are_worth_it() -> None:
    for number in range(5000):
        wire.encode_header(("X-Request-ID", str(number)))
    assert 0 < len(wire.encoded) <= 1024


async def test_a_location_is_rewritten_each_time() -> None:
    app = Flask(__name__)

    @app.get("/")
    def moved() -> Response:
        return redirect("/w\xe9rt")  # type: ignore[return-value]

    assert [dict((await fetch(app)).headers)["location"] for _ in range(2)] == ["/w%C3%A9rt"] * 2
