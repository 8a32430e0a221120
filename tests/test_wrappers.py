"""``Request`` and ``Response``: what they add to Werkzeug's; quick responses are the same."""

from __future__ import annotations

import asyncio
import itertools
import json
import typing as t
from http import HTTPStatus

import flask
import pytest
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request as WerkzeugRequest
from werkzeug.wrappers import Response as WerkzeugResponse

import asyncflask
from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from asyncflask import Response
from tests.bodies import both_transports
from tests.bodies import FORM
from tests.bodies import iterate
from tests.bodies import load
from tests.kit.drive import fetch
from tests.kit.leaks import no_tasks_left
from tests.test_environ import scope_of


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- responses: the quick way and the long one -------------------------------------------------


class Reference(WerkzeugResponse):
    """Werkzeug's response, with the one default that differs."""

    default_mimetype = "text/html"


BODIES: list[t.Callable[[], t.Any]] = [
    lambda: None,
    lambda: "",
    lambda: "text ü",
    lambda: b"",
    lambda: b"bytes",
    lambda: bytearray(b"array"),
    lambda: ["li", b"st"],
    lambda: ("tu", "ple"),
    lambda: iter(["it"]),
]
MIMETYPES = [
    None,
    "",
    "text/plain",
    "application/json",
    "application/xml",
    "image/svg+xml",
    "a/b; c=d",
]
STATUSES = [None, 200, 201, 204, 304, 418, 999, "404 Nothing", "599", HTTPStatus.CREATED]
HEADERS: list[t.Callable[[], t.Any]] = [
    lambda: None,
    dict,
    lambda: {"X-A": "1", "X-B": ["2", "3"]},
    lambda: [("Content-Type", "x/y"), ("Content-Length", "9")],
    lambda: Headers({"X-A": "1"}),
]
CONTENT_TYPES = [None, "", "text/css; charset=x"]


def outline(response: t.Any) -> list[t.Any]:
    """Give all that can be told of a response."""
    sequence = isinstance(response.response, (list, tuple))
    return [
        response.status,
        response.status_code,
        list(response.headers),
        repr(response.headers),
        type(response.response),
        response.response if sequence else None,
        response.mimetype,
        response.content_type,
        response.content_length,
        response.is_sequence,
        response.is_streamed,
        response.direct_passthrough,
        response._on_close,
        list(response.get_wsgi_headers({})),
        response.calculate_content_length() if sequence else None,
        repr(response).partition(" ")[2],
    ]


@pytest.mark.parametrize("mimetype", MIMETYPES)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body()).partition(" at ")[0])
def test_a_response_is_what_werkzeug_makes_of_the_same_arguments(
    body: t.Callable[[], t.Any], mimetype: str | None
) -> None:
    for status, headers, content_type, passes in itertools.product(
        STATUSES, HEADERS, CONTENT_TYPES, [False, True]
    ):
        given = (status, headers(), mimetype, content_type, passes)
        ours = Response(body(), status, headers(), mimetype, content_type, passes)
        assert outline(ours) == outline(Reference(body(), *given)), given
        if ours.is_sequence and not passes:
            assert ours.get_data() == Reference(body(), *given).get_data()


@pytest.mark.parametrize("body", ["text", b"bytes"])
def test_a_response_made_quickly_can_be_changed(body: t.Any) -> None:
    for kind in (Response, Reference):
        response: t.Any = kind(body)
        response.headers["X-A"] = "1"
        response.headers.add("Vary", "Cookie")
        response.set_cookie("a", "b")
        response.status = "201 Made"
        response.data = "other"
        response.mimetype = "text/plain"
        response.call_on_close(list)
        if kind is Response:
            ours = outline(response)
    assert ours[:12] == outline(response)[:12]


def test_quick_responses_share_nothing() -> None:
    first, second = Response("a"), Response("a")
    first.headers["X-A"] = "1"
    first.call_on_close(list)
    t.cast("list[bytes]", first.response).append(b"b")
    assert list(second.headers) == [
        ("Content-Type", "text/html; charset=utf-8"),
        ("Content-Length", "1"),
    ]
    assert (second.get_data(), second._on_close) == (b"a", [])


@pytest.mark.parametrize("kind", [Response, Reference])
def test_a_mimetype_with_a_line_break_is_refused(kind: t.Any) -> None:
    for mimetype in ("text/plain\r\nX-A: 1", "x/y\n"):
        for _ in range(2):
            with pytest.raises(ValueError, match="newline"):
                kind("text", mimetype=mimetype)


class _OwnStatus(Response):
    default_status = 418


class _OwnType(Response):
    default_mimetype = "application/x-own"


class _NoType(Response):
    default_mimetype = None


class _NoLength(Response):
    automatically_set_content_length = False


class _OwnData(Response):
    def set_data(self, value: t.Any) -> None:
        super().set_data(b"<" + (value if isinstance(value, bytes) else value.encode()) + b">")


class _OwnInit(Response):
    def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
        super().__init__(*args, **kwargs)
        self.headers["X-Own"] = "1"


class _StatusMixin(WerkzeugResponse):
    default_status = 202


class _Mixed(Response, _StatusMixin):
    pass


class _ByProperty(Response):
    @property
    def status(self) -> str:
        return self._status

    @status.setter
    def status(self, value: t.Any) -> None:
        self._status, self._status_code = "299 Own", 299


@pytest.mark.parametrize(
    "kind, status, headers, data",
    [
        (_OwnStatus, 418, ["Content-Type", "Content-Length"], b"x"),
        (_OwnType, 200, ["Content-Type", "Content-Length"], b"x"),
        (_NoType, 200, ["Content-Length"], b"x"),
        (_NoLength, 200, ["Content-Type"], b"x"),
        (_OwnData, 200, ["Content-Type", "Content-Length"], b"<x>"),
        (_OwnInit, 200, ["Content-Type", "Content-Length", "X-Own"], b"x"),
        (_Mixed, 202, ["Content-Type", "Content-Length"], b"x"),
        (_ByProperty, 299, ["Content-Type", "Content-Length"], b"x"),
    ],
)
@both_transports
def test_what_a_subclass_overrides_is_heard(
    kind: type[Response], status: int, headers: list[str], data: bytes, transport: str
) -> None:
    response = kind("x")
    assert (response.status_code, list(response.headers.keys())) == (status, headers)
    assert response.get_data() == data
    app = Flask(__name__)
    app.response_class = kind
    app.add_url_rule("/", view_func=lambda: "x")
    answer = app.test_client(transport=transport).get("/")
    assert (answer.status_code, answer.data) == (status, data)
    assert answer.content_type == response.content_type


@pytest.mark.parametrize("by", ["attribute", "property"])
@both_transports
def test_a_class_may_have_a_background_task_for_all_its_responses(by: str, transport: str) -> None:
    ran: list[str] = []

    async def run() -> None:
        ran.append(by)

    own = property(lambda self: run) if by == "property" else staticmethod(run)
    app = Flask(__name__)
    app.response_class = type("Own", (Response,), {"background": own})
    app.add_url_rule("/", view_func=lambda: "x")
    with app.test_client(transport=transport).get("/") as answer:
        assert answer.data == b"x"
    assert ran == [by]


def test_changing_the_default_type_of_a_class_counts_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Response("x").mimetype == "text/html"
    monkeypatch.setattr(Response, "default_mimetype", "text/plain")
    assert Response("x").mimetype == "text/plain"


@both_transports
def test_a_large_cookie_is_warned_of_by_the_application_s_limit(app: Flask, transport: str) -> None:
    app.config["MAX_COOKIE_SIZE"] = 100

    @app.get("/<int:size>")
    def view(size: int) -> Response:
        response = Response("x")
        response.set_cookie("a", "b" * size)
        return response

    client = app.test_client(transport=transport)
    client.get("/50")
    with pytest.warns(UserWarning, match="too large"):
        client.get("/100")
    assert Response("x").max_cookie_size == WerkzeugResponse.max_cookie_size


# -- responses with an async body --------------------------------------------------------------


class Body:
    """An async body, which notes that it was closed."""

    def __init__(self, *parts: str | bytes) -> None:
        self.parts = list(parts)
        self.closed = 0

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> str | bytes:
        await asyncio.sleep(0)
        if not self.parts:
            raise StopAsyncIteration
        return self.parts.pop(0)

    async def aclose(self) -> None:
        self.closed += 1


@both_transports
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_sync_after_hook_reads_an_async_body(app: Flask, colour: str, transport: str) -> None:
    body = Body("ü", b"bytes")

    def view() -> t.Any:
        return Response(body)

    async def view_async() -> t.Any:
        return body

    app.add_url_rule("/", view_func=view if colour == "sync" else view_async)

    @app.after_request
    def wrap(response: Response) -> Response:
        assert response.is_async and response.is_streamed and not response.is_sequence
        response.set_data(b"<" + response.get_data() + b">")
        return response

    answer = app.test_client(transport=transport).get("/")
    assert answer.text == "<übytes>"
    assert answer.content_length == 9
    assert body.closed == 1


@both_transports
def test_an_async_after_hook_takes_an_async_body_in_first(app: Flask, transport: str) -> None:
    body = Body("one", "two")
    app.add_url_rule("/", view_func=lambda: Response(body))

    @app.after_request
    async def measure(response: Response) -> Response:
        with pytest.raises(RuntimeError, match="await response.make_sequence_async()"):
            response.get_data()
        assert response.calculate_content_length() is None
        await response.make_sequence_async()
        await response.make_sequence_async()
        response.add_etag()
        response.headers["X-Size"] = str(len(response.get_data()))
        return response

    answer = app.test_client(transport=transport).get("/")
    assert (answer.text, answer.headers["X-Size"]) == ("onetwo", "6")
    assert answer.headers["ETag"] and body.closed == 1


def test_iterating_over_an_async_body_from_sync_code() -> None:
    body = Body("one", b"two")
    assert list(Response(body).iter_encoded()) == [b"one", b"two"]
    assert body.closed == 1
    assert Response(Body("one")).get_data(as_text=True) == "one"
    broken_off = Body("one", "two")
    assert next(iter(Response(broken_off).iter_encoded())) == b"one"
    assert broken_off.closed == 1


async def test_iterating_over_an_async_body_from_async_code() -> None:
    body = Body("one", b"two")
    chunks = Response(body).aiter_encoded()
    assert [chunk async for chunk in chunks] == [b"one", b"two"]
    await chunks.aclose()
    assert body.closed == 1


async def test_a_sync_body_is_made_a_sequence_on_the_loop_too() -> None:
    response = Response(iter(["one", "two"]))
    await response.make_sequence_async()
    assert response.response == [b"one", b"two"]


# -- requests: JSON ----------------------------------------------------------------------------

DEEP = b"[" * 100_000
JSON_BODIES: dict[str, bytes] = {
    "object": b'{"a": [1, 2.5, null, true, "\\u00fc"]}',
    "UTF-8": '{"a": "ü"}'.encode(),
    "UTF-8 with a mark": '{"a": "ü"}'.encode("utf-8-sig"),
    "UTF-16": '{"a": "ü"}'.encode("utf-16"),
    "UTF-16 little endian": '{"a": "ü"}'.encode("utf-16-le"),
    "UTF-32": '{"a": "ü"}'.encode("utf-32"),
    "latin-1": '{"a": "ü"}'.encode("latin-1"),
    "bytes": b"\xff\xfe\xfa",
    "half a UTF-16": b'\xff\xfe{\x00"',
    "half a surrogate": b'"\\ud800"',
    "zero": b"\0",
    "empty": b"",
    "blank": b" \n",
    "cut off": b'{"a": ',
    "more than one": b"1 2",
    "single quotes": b"{'a': 1}",
    "NaN": b"NaN",
    "a large number": b"9" * 5000,
    "a number": b"1e400",
    "twice": b'{"a": 1, "a": 2}',
}
JSON_TYPES = [
    "application/json",
    "application/json; charset=latin-1",
    "application/vnd.api+json",
    "APPLICATION/JSON",
    "text/json",
    "text/plain",
    "application/jsonp",
    "application/x-www-form-urlencoded",
]


def answers(app: t.Any, web: t.Any, body: bytes, content_type: str, **client: t.Any) -> list[t.Any]:
    """Ask an application what it makes of a body as JSON, in every way."""

    def attempt(**options: t.Any) -> t.Any:
        try:
            return repr(web.request.get_json(**options))
        except HTTPException as exc:
            return [exc.code, exc.description]

    @app.post("/")
    def view() -> t.Any:
        ways: list[dict[str, t.Any]] = [{}, {"silent": True}, {"force": True}, {"cache": False}]
        return [attempt(**way) for way in ways] + [attempt(), web.request.is_json]

    @app.post("/raises")
    def raises() -> str:
        return repr(web.request.json)

    http = app.test_client(**client)
    plain, raised = (
        http.post(path, data=body, content_type=content_type) for path in ("/", "/raises")
    )
    return [plain.json, raised.status_code, raised.text]


@both_transports
@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("body", JSON_BODIES)
def test_json_is_understood_as_by_flask(body: str, debug: bool, transport: str) -> None:
    ours, flasks = Flask("app"), flask.Flask("app")
    ours.debug = flasks.debug = debug
    data = JSON_BODIES[body]
    theirs = answers(flasks, flask, data, "application/json")
    assert answers(ours, asyncflask, data, "application/json", transport=transport) == theirs
    assert theirs[1] in (200, 400)


@both_transports
@pytest.mark.parametrize("content_type", JSON_TYPES)
def test_json_of_another_type_is_refused_as_by_flask(content_type: str, transport: str) -> None:
    theirs = answers(flask.Flask("app"), flask, b"[1]", content_type)
    ours = answers(Flask("app"), asyncflask, b"[1]", content_type, transport=transport)
    assert ours == theirs
    assert theirs[1] in (200, 415)


@both_transports
@pytest.mark.parametrize("body", [DEEP, b'{"a":' * 50_000, b"[" * 300_000])
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_json_nested_too_deep_is_a_bad_request(
    app: Flask, body: bytes, colour: str, transport: str
) -> None:
    async def view_async() -> t.Any:
        return request.json

    app.add_url_rule(
        "/", view_func=view_async if colour == "async" else lambda: request.json, methods=["POST"]
    )
    client = app.test_client(transport=transport)
    assert client.post("/", data=body, content_type="application/json").status_code == 400


# -- requests: query strings and cookies -------------------------------------------------------


@both_transports
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_query_of_bytes_is_percent_encoded_where_it_is_no_text(
    colour: str, transport: str
) -> None:
    app = Flask(__name__)
    app.url_map.strict_slashes = True

    def view() -> dict[str, t.Any]:
        return {
            "args": request.args,
            "values": request.values.to_dict(),
            "full_path": request.full_path,
            "url": request.url,
        }

    async def view_async() -> dict[str, t.Any]:
        return view()

    app.add_url_rule("/slash/", "view", view if colour == "sync" else view_async)
    query = b"a=\xff\xfe&b=%FF&c=\xc3\xa9&\xff=1"

    async def get(path: str) -> tuple[int, bytes]:
        if transport == "asgi":
            answer = await fetch(app, "GET", path, scope={"query_string": query})
            return answer.status, answer.body
        environ = {"QUERY_STRING": query.decode("latin-1")}
        response = app.test_client().get(path, environ_overrides=environ)
        return response.status_code, response.data

    status, body = await get("/slash/")
    expected = {"a": "%FF%FE", "b": "%FF", "c": "é", "%FF": "1"}
    assert status == 200
    seen = json.loads(body)
    assert seen["args"] == seen["values"] == expected
    assert seen["full_path"] == "/slash/?a=%FF%FE&b=%FF&c=é&%FF=1"
    assert seen["url"] == "http://localhost/slash/?a=%FF%FE&b=%FF&c=é&%FF=1"
    assert (await get("/slash"))[0] == 308


async def test_cookie_headers_may_come_in_several(app: Flask) -> None:
    app.add_url_rule("/", view_func=lambda: dict(request.cookies))
    answer = await fetch(app, headers=[("Cookie", "a=1; b=2"), ("Cookie", "c=3")])
    assert answer.json == {"a": "1", "b": "2", "c": "3"}


# -- requests: what they know, and their subclasses --------------------------------------------


def test_a_request_nobody_has_matched_knows_no_endpoint() -> None:
    for made in (Request.from_scope(scope_of()), Request.from_values("/")):
        assert (made.url_rule, made.view_args, made.routing_exception) == (None, None, None)
        assert (made.endpoint, made.blueprint, made.blueprints) == (None, None, [])


@both_transports
def test_a_request_knows_its_endpoint_and_blueprints(app: Flask, transport: str) -> None:
    outer, inner = asyncflask.Blueprint("outer", "x"), asyncflask.Blueprint("inner", "x")

    @app.get("/<int:number>", endpoint="plain")
    @inner.get("/inner/<int:number>", endpoint="view")
    def view(number: int) -> list[t.Any]:
        return [request.endpoint, request.blueprint, request.blueprints, request.view_args]

    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    client = app.test_client(transport=transport)
    assert client.get("/1").json == ["plain", None, [], {"number": 1}]
    inside = ["outer.inner.view", "outer.inner", ["outer.inner", "outer"], {"number": 2}]
    assert client.get("/inner/2").json == inside


@pytest.mark.parametrize("name", ["max_content_length", "max_form_memory_size", "max_form_parts"])
def test_limits_come_from_the_request_then_the_application_then_werkzeug(
    app: Flask, name: str
) -> None:
    made = Request.from_values("/")
    assert getattr(made, name) == getattr(WerkzeugRequest, name)
    with app.test_request_context():
        assert getattr(request, name) == app.config[name.upper()]
        app.config[name.upper()] = 7
        assert getattr(request, name) == 7
        setattr(request, name, 0)
        assert getattr(request, name) == 0
        setattr(request, name, None)
        assert getattr(request, name) == 7


@both_transports
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_subclass_with_a_constructor_of_its_own_is_called_as_by_flask(
    app: Flask, colour: str, transport: str
) -> None:
    class Own(Request):
        def __init__(
            self, environ: t.Any, populate_request: bool = True, shallow: bool = False
        ) -> None:
            super().__init__(environ, populate_request, shallow)
            self.seen = environ["PATH_INFO"]

    app.request_class = Own

    def view() -> list[t.Any]:
        made = t.cast(Own, request)
        body = [made.form["a"], made.input_stream.read(1).decode()]
        return [made.seen, made.path, made.args["q"], made.headers["X-A"], *body]

    async def view_async() -> list[t.Any]:
        return view()

    app.add_url_rule("/x", view_func=view if colour == "sync" else view_async, methods=["POST"])
    client = app.test_client(transport=transport)
    answer = client.post("/x?q=1", data={"a": "b"}, headers={"X-A": "c"})
    assert answer.json == ["/x", "/x", "1", "c", "b", ""]


async def test_the_input_of_such_a_subclass_is_the_body(app: Flask) -> None:
    class Own(Request):
        def __init__(self, *args: t.Any) -> None:
            super().__init__(*args)

    app.request_class = Own

    @app.post("/")
    def view() -> t.Any:
        return request.input_stream.read(2) + b"|" + request.environ["wsgi.input"].read()

    assert (await fetch(app, "POST", body=[b"on", b"etwo"])).text == "on|etwo"


async def test_an_application_that_makes_its_contexts_itself_loses_nothing() -> None:
    class Own(Flask):
        def request_context(self, environ: t.Any) -> t.Any:
            environ["own"] = "1"
            return super().request_context(environ)

    app = Own(__name__)
    app.add_url_rule("/stream", view_func=iterate, methods=["POST"], stream_body=True)
    app.add_url_rule("/load", view_func=load, methods=["POST"], stream_body=True)

    @app.post("/async")
    async def view_async() -> str:
        return f"{request.environ['own']} {request.form['a']} {await request.is_disconnected()}"

    @app.post("/sync")
    def view() -> str:
        with app.request_context(request.environ):
            return f"{request.environ['own']} {request.form['a']}"

    for path, expected in (
        ("stream", b"a=1"),
        ("load", b"a=1"),
        ("async", b"1 1 False"),
        ("sync", b"1 1"),
    ):
        headers = {"Content-Type": FORM}
        async with no_tasks_left():
            answer = await fetch(app, "POST", f"/{path}", body=[b"a=", b"1"], headers=headers)
        assert answer.body == expected


@both_transports
def test_a_subclass_that_closes_something_is_closed(app: Flask, transport: str) -> None:
    closed = []

    class Own(Request):
        def close(self) -> None:
            super().close()
            closed.append(self.path)

    app.request_class = Own
    app.add_url_rule("/<x>", view_func=lambda x: x)
    app.test_client(transport=transport).get("/a")
    assert closed == ["/a"]


@both_transports
@pytest.mark.parametrize("size", [1, 300_000])
def test_a_subclass_parses_its_form_itself(app: Flask, size: int, transport: str) -> None:
    class Own(Request):
        def _load_form_data(self) -> None:
            super()._load_form_data()
            self.parsed = True

    app.request_class = Own

    @app.post("/")
    async def view() -> list[t.Any]:
        return [len(request.form["a"]), t.cast(Own, request).parsed]

    client = app.test_client(transport=transport)
    assert client.post("/", data={"a": "x" * size}).json == [size, True]


def test_a_shallow_request_refuses_its_body() -> None:
    environ = Request.from_values("/", method="POST", data={"a": "1"}).environ
    made = Request(environ, shallow=True)
    assert "werkzeug.request" not in environ or environ["werkzeug.request"] is not made
    for read in (lambda: made.stream, lambda: made.form, lambda: made.get_data()):
        with pytest.raises(RuntimeError, match="shallow"):
            read()


def test_a_request_outside_of_an_application_reads_its_body() -> None:
    made = Request.from_values("/?q=1", method="POST", data={"a": "1"})
    assert (made.form["a"], made.args["q"], made.values["a"]) == ("1", "1", "1")
    assert Request.from_values("/", method="POST", json=[1]).get_json() == [1]
    assert Request.from_scope(scope_of()).get_data() == b""
    fields = "&".join(["a=1"] * 10_001)
    too_many = Request.from_values("/", method="POST", data=fields, content_type=FORM)
    with pytest.raises(HTTPException) as caught:
        _ = too_many.form
    assert caught.value.code == 413


def test_a_stream_may_be_put_in_place_of_the_body() -> None:
    made = Request.from_values("/", method="POST", data=b"abc")
    other = t.cast(t.Any, object())
    made.stream = other
    assert made.stream is other
