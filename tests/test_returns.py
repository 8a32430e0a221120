"""Everything a view may return becomes the response Flask makes of it, in every colour."""

from __future__ import annotations

import threading
import typing as t
from copy import copy
from http import HTTPStatus
from pathlib import Path

import flask
import pytest
from markupsafe import Markup
from starlette import responses as starlette_responses
from starlette.background import BackgroundTask
from starlette.background import BackgroundTasks
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as WerkzeugResponse

import asyncflask
from asyncflask import Flask
from asyncflask import inline
from asyncflask import Response
from asyncflask.pipeline import returns
from tests.kit.drive import fetch
from tests.twins import check
from tests.twins import COLOURS
from tests.twins import Kit
from tests.twins import painted
from tests.twins import run
from tests.twins import TRANSPORTS

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
each_colour = pytest.mark.parametrize("colour", COLOURS[:3])


def wsgi_app(environ: t.Any, start_response: t.Any) -> list[bytes]:
    start_response("201 Made", [("X-Path", environ["PATH_INFO"]), ("Content-Type", "text/x")])
    return [b"wsgi ", b"app"]


class Letters:
    """An iterator that is no generator."""

    def __init__(self, *letters: str) -> None:
        self._letters = iter(letters)

    def __iter__(self) -> Letters:
        return self

    def __next__(self) -> str:
        return next(self._letters)


def generator(*chunks: str | bytes) -> t.Iterator[str | bytes]:
    yield from chunks


# -- the same as in Flask ------------------------------------------------------------------------

PLAIN: dict[str, t.Callable[[t.Any], t.Any]] = {
    "str": lambda web: "é☃",
    "markup": lambda web: Markup("<b>"),
    "bytes": lambda web: b"bytes",
    "bytearray": lambda web: bytearray(b"bytes"),
    "empty": lambda web: "",
    "dict": lambda web: {"b": [1, None], "a": "é"},
    "empty dict": lambda web: {},
    "list": lambda web: [{"a": 1}],
    "generator": lambda web: generator("a", b"b", ""),
    "empty generator": lambda web: generator(),
    "iterator": lambda web: Letters("a", "b"),
    "file": lambda web: (Path(__file__).parent / "layers.toml").open("rb"),
    "response": lambda web: web.Response("r", 299, {"X-A": "1"}),
    "response of lists": lambda web: web.Response(["a", "b"]),
    "response without a body": lambda web: web.Response(),
    "streaming response": lambda web: web.Response(generator("a", "b")),
    "werkzeug response": lambda web: WerkzeugResponse("w", 298, {"X-A": "1"}),
    "wsgi app": lambda web: wsgi_app,
    "jsonify": lambda web: web.jsonify(a=1),
    "make_response": lambda web: web.make_response("x", 201, {"X-A": "1"}),
    "redirect": lambda web: web.redirect("/x", 303),
    "http error": lambda web: NotFound("gone"),
    "http error with headers": lambda web: MethodNotAllowed(["GET", "PUT"]),
    "http error with a response": lambda web: HTTPException(response=WerkzeugResponse("own", 444)),
    "http error without a code": lambda web: HTTPException(),
    "aborted": lambda web: web.abort(418),
    "aborted with a response": lambda web: web.abort(web.Response("own", 420)),
}
STATUSES = [201, "202 Fine", "203", " 204 Spaces ", HTTPStatus.ACCEPTED, 404, 304, None, 205]
HEADERS: list[t.Any] = [
    {"X-A": "1", "Content-Type": "text/x"},
    {"X-A": ["1", "2"]},
    {"X-A": 1},
    [("X-A", "1"), ("X-A", "2")],
    (("X-A", "1"),),
    Headers([("X-A", "1"), ("X-B", "2")]),
    {},
    [],
]


def build_returning(values: dict[str, t.Callable[[t.Any], t.Any]], kit: Kit) -> t.Any:
    app = kit.web.Flask("app", static_folder=None)
    for number, make in enumerate(values.values()):
        app.add_url_rule(f"/{number}", str(number), kit.paint(lambda make=make: make(kit.web)))
    return app


def paths_of(values: t.Iterable[object]) -> list[str]:
    return [f"/{number}" for number, _ in enumerate(values)]


def test_a_value_alone() -> None:
    paths = paths_of(PLAIN)
    heads = [("HEAD", path) for path in paths]
    outcomes = check(lambda kit: build_returning(PLAIN, kit), *paths, *heads)
    found = dict(zip(PLAIN, outcomes, strict=False))
    assert (found["wsgi app"].status, found["wsgi app"].body) == (201, "wsgi app")
    assert (found["generator"].body, found["list"].body) == ("ab", '[{"a":1}]\n')
    assert [outcome.logged for outcome in outcomes] == [[]] * len(outcomes)


@pytest.mark.parametrize("name", PLAIN)
def test_a_value_with_status_and_headers(name: str) -> None:
    make = PLAIN[name]
    # Copies: a response takes a Headers object over, and sets its own length there.
    tuples: list[t.Callable[[t.Any], t.Any]] = []
    tuples += [lambda web, s=s: (make(web), s) for s in STATUSES]
    tuples += [lambda web, h=h: (make(web), copy(h)) for h in HEADERS]
    tuples += [lambda web, h=h: (make(web), 201, copy(h)) for h in (*HEADERS, None)]
    values = {str(number): tuple_ for number, tuple_ in enumerate(tuples)}
    expected = run(lambda kit: build_returning(values, kit), paths_of(values), Kit(flask))
    for transport, colour in zip(TRANSPORTS, ("async", "sync"), strict=True):
        kit = Kit(asyncflask, colour)
        build = lambda kit: build_returning(values, kit)  # noqa: E731
        assert run(build, paths_of(values), kit, transport=transport) == expected


def test_cookies_of_a_tuple_are_those_of_flask() -> None:
    cookies = [("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")]
    values = {
        "headers": lambda web: (web.Response("x"), cookies),
        "both": lambda web: (web.Response("x", headers=[("Set-Cookie", "c=3")]), cookies),
        "str": lambda web: ("x", cookies),
    }
    outcomes = check(lambda kit: build_returning(values, kit), *paths_of(values))
    assert [value for name, value in outcomes[2].headers if name == "set-cookie"] == ["a=1", "b=2"]


# -- what is wrong -------------------------------------------------------------------------------

TUPLE = "did not return a valid response tuple"
INVALID = "did not return a valid response. The return type must be a string, dict, list"
WRONG: list[tuple[t.Any, str]] = [
    (None, "It returned None or ended without a return statement"),
    ((None, 200), "It returned None or ended without a return statement"),
    ((), f"{TUPLE}: it has 0 items"),
    (("x",), f"{TUPLE}: it has 1 items"),
    (("x", 200, {}, 1), f"{TUPLE}: it has 4 items"),
    ((("x", 200), 201), "but it was a tuple"),
    (5, f"{INVALID}, tuple with headers or status, Response instance, iterator"),
    (5, "but it was a int"),
    (1.5, "but it was a float"),
    ({1}, "but it was a set"),
    (range(3), "but it was a range"),
    (memoryview(b"x"), "but it was a memoryview"),
    (object(), "but it was a object"),
    ((5, 200), "but it was a int"),
    (dict, "but it was a type"),
    (len, "but it was a builtin_function_or_method"),
    (lambda environ, start_response: 5, "but it was a function"),
]


@both_transports
@each_colour
@pytest.mark.parametrize(("value", "message"), WRONG)
def test_what_is_no_response_is_named(
    value: t.Any, message: str, colour: str, transport: str
) -> None:
    app = Flask("app", static_folder=None)
    app.testing = True
    app.add_url_rule("/", "the_view", painted(lambda: value, colour))
    with pytest.raises(TypeError) as raised:
        app.test_client(transport=transport).get("/")
    assert "The view function for 'the_view' did not return a valid response" in str(raised.value)
    assert message in str(raised.value)


@both_transports
def test_an_unknown_type_is_a_server_error_without_a_test(transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.logger.disabled = True
    app.add_url_rule("/", "index", lambda: 5)
    # Not one of the view's errors: no handler for its class gets it.
    app.register_error_handler(TypeError, lambda error: "handled")
    assert app.test_client(transport=transport).get("/").status_code == 500


@both_transports
@pytest.mark.parametrize("status", [b"299 Bytes", bytearray(b"299 Bytes")])
def test_a_status_may_be_bytes_where_there_is_a_response(
    status: bytes | bytearray, transport: str
) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "index", lambda: ({"a": 1}, status))
    assert app.test_client(transport=transport).get("/").status_code == 299


# -- more than in Flask --------------------------------------------------------------------------


class Chunks:
    """An async iterable that is no generator."""

    def __init__(self, *chunks: str | bytes) -> None:
        self._chunks = chunks

    async def __aiter__(self) -> t.AsyncIterator[str | bytes]:
        for chunk in self._chunks:
            yield chunk


async def async_generator() -> t.AsyncIterator[str | bytes]:
    yield "a"
    yield b"b"


@both_transports
@each_colour
@pytest.mark.parametrize("make", [async_generator, lambda: Chunks("a", b"b")])
def test_async_iterables_are_streamed(
    make: t.Callable[[], t.Any], colour: str, transport: str
) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "alone", painted(make, colour))
    app.add_url_rule("/tuple", "tuple", painted(lambda: (make(), 201, {"X-A": "1"}), colour))
    app.add_url_rule("/response", "response", painted(lambda: Response(make(), 202), colour))
    client = app.test_client(transport=transport)
    assert client.get("/").text == "ab"
    assert "Content-Length" not in client.get("/").headers
    answer = client.get("/tuple")
    assert (answer.status_code, answer.headers["X-A"], answer.text) == (201, "1", "ab")
    assert client.get("/response").text == "ab"
    assert client.head("/").text == ""


@both_transports
def test_a_view_may_be_a_generator_function(transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/sync", "sync", lambda: generator("a", "b"))
    app.add_url_rule("/async", "async", async_generator)
    client = app.test_client(transport=transport)
    assert (client.get("/sync").text, client.get("/async").text) == ("ab", "ab")


class Upper(starlette_responses.PlainTextResponse):
    def render(self, content: t.Any) -> bytes:
        return str(content).upper().encode()


class Own(starlette_responses.Response):
    """A response that sends itself."""

    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None:
        headers = [*self.raw_headers, (b"x-path", scope["path"].encode())]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": b"own"})


def with_cookies() -> starlette_responses.Response:
    response = starlette_responses.Response("x", media_type="text/x")
    response.set_cookie("a", "1", httponly=True)
    response.set_cookie("b", "2")
    return response


FILE = Path(__file__).parent / "layers.toml"
STARLETTE: dict[str, t.Callable[[], starlette_responses.Response]] = {
    "plain": lambda: starlette_responses.PlainTextResponse("plain", 201, {"X-A": "1"}),
    "untyped": lambda: starlette_responses.Response(b"\x00untyped"),
    "nothing": lambda: starlette_responses.Response(status_code=204),
    "html": lambda: starlette_responses.HTMLResponse("<b>é</b>"),
    "json": lambda: starlette_responses.JSONResponse({"a": "é"}, 202),
    "redirect": lambda: starlette_responses.RedirectResponse("/to here"),
    "cookies": with_cookies,
    "subclass": lambda: Upper("shout"),
    "streaming": lambda: starlette_responses.StreamingResponse(async_generator(), 203),
    "streaming sync": lambda: starlette_responses.StreamingResponse(
        generator("a", "b"), media_type="text/x"
    ),
    "file": lambda: starlette_responses.FileResponse(FILE, filename="rules.toml"),
    "own": lambda: Own("own", status_code=207, media_type="text/x"),
}


@each_colour
@pytest.mark.parametrize("name", STARLETTE)
async def test_a_starlette_response_is_sent_as_starlette_sends_it(name: str, colour: str) -> None:
    make = STARLETTE[name]
    app = Flask("app", static_folder=None)
    app.add_url_rule("/path", "view", painted(make, colour))
    expected = await fetch(make(), target="/path")
    answer = await fetch(app, target="/path")
    assert (answer.status, answer.body) == (expected.status, expected.body)
    assert sorted(answer.headers) == sorted(expected.headers)
    response = app.test_client().get("/path")
    assert (response.status_code, response.data) == (expected.status, expected.body)
    names = [(key.lower(), value) for key, value in response.headers]
    assert sorted(names) == sorted(expected.headers)


@both_transports
@pytest.mark.parametrize("name", STARLETTE)
def test_status_and_headers_change_a_starlette_response(name: str, transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "view", lambda: (STARLETTE[name](), 299, {"X-B": "2"}))

    @app.after_request
    def add(response: Response) -> Response:
        response.headers["X-C"] = "3"
        return response

    with app.test_client(transport=transport).get("/") as response:
        assert response.status_code == 299
        assert (response.headers["X-B"], response.headers["X-C"]) == ("2", "3")


@both_transports
def test_a_range_of_a_starlette_file(transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "view", STARLETTE["file"])
    with app.test_client(transport=transport).get("/", headers={"Range": "bytes=2-5"}) as response:
        assert (response.status_code, response.data) == (206, FILE.read_bytes()[2:6])


@both_transports
@each_colour
@pytest.mark.parametrize("kind", ["plain", "streaming", "file"])
@pytest.mark.parametrize("task_is_async", [True, False])
def test_background_tasks_run_after_the_response(
    task_is_async: bool, kind: str, colour: str, transport: str
) -> None:
    ran = threading.Semaphore(0)

    async def async_task(name: str) -> None:
        assert name == "x"
        ran.release()

    def task(name: str) -> None:
        assert name == "x"
        ran.release()

    def view() -> starlette_responses.Response:
        response = STARLETTE[kind]()
        response.background = BackgroundTasks(
            [BackgroundTask(async_task if task_is_async else task, "x")] * 2
        )
        return response

    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "view", painted(view, colour))
    with app.test_client(transport=transport).get("/") as response:
        assert response.status_code < 300
    assert ran.acquire(timeout=10)
    assert ran.acquire(timeout=10)


# -- the rest ------------------------------------------------------------------------------------


@both_transports
def test_a_response_that_is_aborted_with_is_made_anew_for_each_request(transport: str) -> None:
    refusal = WerkzeugResponse("refused", 403)
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "view", lambda: asyncflask.abort(refusal))

    @app.after_request
    def add(response: Response) -> Response:
        assert isinstance(response, Response)
        response.headers.add("X-Who", asyncflask.request.args["who"])
        return response

    client = app.test_client(transport=transport)
    for who in ("a", "b"):
        answer = client.get(f"/?who={who}")
        assert (answer.status_code, answer.text) == (403, "refused")
        assert answer.headers.getlist("X-Who") == [who]
    assert "X-Who" not in refusal.headers


@both_transports
def test_the_response_class_of_the_application_is_used(transport: str) -> None:
    class Own(Response):
        default_mimetype = "text/own"

    app = Flask("app", static_folder=None)
    app.response_class = Own
    values = {"str": "x", "dict": {}, "werkzeug": WerkzeugResponse("x"), "wsgi": wsgi_app}
    values["error"] = NotFound()
    values["starlette"] = starlette_responses.JSONResponse({})
    for name, value in values.items():
        app.add_url_rule(f"/{name}", name, lambda value=value: value)
    kinds = []

    @app.after_request
    def note(response: Response) -> Response:
        kinds.append(type(response))
        return response

    client = app.test_client(transport=transport)
    assert client.get("/str").mimetype == "text/own"
    for name in values:
        client.get(f"/{name}")
    assert kinds == [Own] * (len(values) + 1)


def test_a_wsgi_application_is_called_on_a_thread() -> None:
    threads: list[threading.Thread] = []

    def noting_app(environ: t.Any, start_response: t.Any) -> list[bytes]:
        threads.append(threading.current_thread())
        return wsgi_app(environ, start_response)

    async def view() -> t.Any:
        threads.append(threading.current_thread())
        return noting_app

    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "view", view)
    assert app.test_client(transport="asgi").get("/").text == "wsgi app"
    assert threads[0] is not threads[1]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (wsgi_app, True),
        ((wsgi_app, 200), True),
        (inline(lambda environ, start_response: []), True),
        ("x", False),
        ((), False),
        (("x", 200), False),
        (Response("x"), False),
        (WerkzeugResponse("x"), False),
        (NotFound(), False),
        (starlette_responses.PlainTextResponse("x"), False),
        (generator("x"), False),
    ],
)
def test_only_wsgi_applications_run_code_of_the_users(value: t.Any, expected: bool) -> None:
    assert returns.runs_user_code(value) is expected


@both_transports
def test_a_response_that_is_forced_into_the_applications_class_is_sent_as_one(
    transport: str,
) -> None:
    class Own(Response):
        def get_wsgi_headers(self, environ: t.Any) -> Headers:
            headers = super().get_wsgi_headers(environ)
            headers["X-Own"] = "own"
            return headers

    app = Flask("app", static_folder=None)
    app.response_class = Own
    app.add_url_rule("/", "view", inline(lambda: Response("x")))
    assert app.test_client(transport=transport).get("/").headers["X-Own"] == "own"


@each_colour
@pytest.mark.anyio
async def test_a_response_class_that_closes_something_is_closed_once(colour: str) -> None:
    closed: list[str] = []

    class Closing(Response):
        def close(self) -> None:
            super().close()
            closed.append("closed")

    app = Flask("app", static_folder=None)
    app.response_class = Closing
    app.add_url_rule("/", "view", painted(lambda: "x", colour))
    app.add_url_rule("/stream", "stream", painted(lambda: iter(["x"]), colour))
    for path in ("/", "/stream"):
        assert (await fetch(app, "GET", path)).text == "x"
        assert [closed.pop(), *closed] == ["closed"]
