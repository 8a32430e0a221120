"""Applications mounted on another one: of either protocol, for requests of either."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import typing as t
from wsgiref.validate import validator

import anyio
import flask
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as StarletteRequest
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

import asyncflask
from asyncflask import Flask
from asyncflask.adapters.protocols import protocol_of
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan

pytestmark = pytest.mark.anyio
each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])


def build(module: t.Any, name: str) -> t.Any:
    """Make an application of Flask's or ours that tells what it sees of a request."""
    app = module.Flask(name, static_folder=None)

    @app.route("/see/<word>", methods=["GET", "POST"])
    def see(word: str) -> dict[str, t.Any]:
        request = module.request
        return {
            "app": name,
            "word": word,
            "root": request.root_path,
            "path": request.path,
            "url": module.url_for("see", word=word),
            "data": request.get_data(as_text=True) if request.method == "POST" else "",
            "cookies": request.cookies.to_dict(),
        }

    @app.get("/")
    def index() -> str:
        return f"{name} {module.request.root_path}"

    @app.get("/fail")
    def fail() -> str:
        raise LookupError("it fails")

    return app


async def see_starlette(request: StarletteRequest) -> JSONResponse:
    return JSONResponse(
        {
            "app": "starlette",
            "word": request.path_params["word"],
            "root": request.scope["root_path"],
            "path": request.scope["path"],
            "url": request.app.url_path_for("see", word=request.path_params["word"]),
            "data": (await request.body()).decode(),
            "cookies": request.cookies,
            "state": getattr(request.state, "started", None),
        }
    )


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text(f"{socket.scope['root_path']} {await socket.receive_text()}")
    await socket.close()


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> t.AsyncIterator[dict[str, str]]:
    log.append("start")
    yield {"started": "yes"}
    log.append("stop")


log: list[str] = []


@pytest.fixture
def app() -> Flask:
    log.clear()
    app = t.cast(Flask, build(asyncflask, "outer"))
    app.mount("/flask", build(flask, "flask"))
    app.mount("/ours", build(asyncflask, "ours"))
    routes = [
        Route("/see/{word}", see_starlette, methods=["GET", "POST"], name="see"),
        WebSocketRoute("/echo", echo),
    ]
    app.mount("/starlette", Starlette(routes=routes, lifespan=lifespan))
    return app


# -- where requests go --------------------------------------------------------------------------


@each_transport
@pytest.mark.parametrize("name", ["flask", "ours", "starlette"])
def test_a_mounted_application_sees_its_prefix(app: Flask, name: str, transport: str) -> None:
    client = app.test_client(transport=transport)
    client.set_cookie("a", "1")
    answer = client.post(f"/{name}/see/w\u00f6rd?q=1", data="some data")
    seen = answer.json
    assert (seen["app"], seen["word"], seen["data"]) == (name, "w\u00f6rd", "some data")
    assert seen["root"] == f"/{name}"
    # ASGI has the prefix in the path, WSGI has not.
    assert seen["path"] == ("" if name != "starlette" else "/starlette") + "/see/w\u00f6rd"
    assert seen["cookies"] == {"a": "1"}
    assert seen["url"] in (f"/{name}/see/w%C3%B6rd", "/see/w\u00f6rd")


@each_transport
@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/", "outer "),
        ("/flask/", "flask /flask"),
        ("/ours/", "ours /ours"),
        ("/flaskx", 404),
        ("/flask/nothing", 404),
        ("/see/x/y", 404),
    ],
)
def test_a_prefix_ends_at_a_slash(
    app: Flask, path: str, answer: str | int, transport: str
) -> None:
    got = app.test_client(transport=transport).get(path)
    assert answer in (got.status_code, got.text)


@each_transport
def test_the_longest_path_wins_in_whatever_order(transport: str) -> None:
    app = Flask(__name__)
    for path in ("/a", "/a/b/c", "/a/b"):
        app.mount(path, build(flask, path))
    client = app.test_client(transport=transport)
    for path in ("/a", "/a/b", "/a/b/c"):
        assert client.get(f"{path}/").text == f"{path} {path}"


@each_transport
def test_a_mount_at_the_root_gets_what_has_no_route(transport: str) -> None:
    app = Flask(__name__, static_folder=None)
    app.mount("/", build(flask, "legacy"))
    app.add_url_rule("/new", "new", lambda: "new", methods=["POST"])
    client = app.test_client(transport=transport)
    assert client.post("/new").text == "new"
    assert client.get("/new").status_code == 405
    assert client.get("/").text == "legacy "
    assert client.get("/see/x").json["app"] == "legacy"


@each_transport
def test_a_mount_may_be_for_a_host(transport: str) -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "index", lambda: "outer")
    app.mount("/", build(flask, "tenant"), host="Tenant.example")
    client = app.test_client(transport=transport)
    assert client.get("/", headers={"Host": "tenant.example:8000"}).text == "tenant "
    assert client.get("/", headers={"Host": "other.example"}).text == "outer"


@each_transport
@pytest.mark.parametrize("host", ["[::1]", "[::1]:8000", "[::A]"])
def test_a_mount_may_be_for_an_ipv6_address(host: str, transport: str) -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "index", lambda: "outer")
    app.mount("/", build(flask, "tenant"), host="[::1]")
    app.mount("/", build(flask, "tenant"), host="[::a]")
    client = app.test_client(transport=transport)
    assert client.get("/", headers={"Host": host}).text == "tenant "
    assert client.get("/", headers={"Host": "[::2]"}).text == "outer"


@each_transport
def test_a_mount_inside_a_mount(app: Flask, transport: str) -> None:
    outermost = Flask(__name__)
    outermost.mount("/all", app)
    client = outermost.test_client(transport=transport)
    for name in ("flask", "ours", "starlette"):
        assert client.get(f"/all/{name}/see/x").json["root"] == f"/all/{name}"


@each_transport
def test_under_a_prefix_of_the_server(app: Flask, transport: str) -> None:
    client = app.test_client(transport=transport)
    for name in ("flask", "ours", "starlette"):
        seen = client.get(f"/{name}/see/x", base_url="http://localhost/front").json
        assert seen["root"] == f"/front/{name}"


# -- what is whose ------------------------------------------------------------------------------


@each_transport
def test_the_hooks_of_the_outer_application_do_not_run(app: Flask, transport: str) -> None:
    hooks: list[str] = []
    app.before_request(lambda: hooks.append("before"))
    app.teardown_request(lambda exc: hooks.append("teardown"))
    client = app.test_client(transport=transport)
    for name in ("flask", "ours", "starlette"):
        assert client.get(f"/{name}/see/x").status_code == 200
    assert hooks == []
    assert client.get("/see/x").json["app"] == "outer"
    assert hooks == ["before", "teardown"]


@each_transport
def test_errors_are_those_of_the_mounted_application(app: Flask, transport: str) -> None:
    app.register_error_handler(404, lambda exc: ("outer's", 404))
    app.register_error_handler(Exception, lambda exc: ("outer's", 500))
    client = app.test_client(transport=transport)
    for name in ("flask", "ours"):
        assert "outer" not in client.get(f"/{name}/nothing").text
        assert "outer" not in client.get(f"/{name}/fail").text


@each_transport
def test_a_middleware_around_the_outer_one_sees_all_requests(app: Flask, transport: str) -> None:
    seen: list[str] = []
    inner = app.wsgi_app

    def note(environ: t.Any, start_response: t.Any) -> t.Any:
        seen.append(environ["PATH_INFO"])
        return inner(environ, start_response)

    app.wsgi_app = note  # type: ignore[method-assign]
    client = app.test_client(transport=transport)
    for name in ("flask", "ours", "starlette"):
        assert client.get(f"/{name}/see/x").json["root"] == f"/{name}"
    assert seen == [f"/{name}/see/x" for name in ("flask", "ours", "starlette")]


# -- lifespan and websockets --------------------------------------------------------------------


async def test_a_mounted_applications_lifespan_is_inside_the_outer_ones(app: Flask) -> None:
    app.before_serving(lambda: log.append("outer start"))
    app.after_serving(lambda: log.append("outer stop"))
    async with Lifespan(app):
        assert log == ["outer start", "start"]
        for _ in range(2):
            assert (await fetch(app, "GET", "/starlette/see/x")).json["state"] == "yes"
    assert log == ["outer start", "start", "stop", "outer stop"]


async def test_a_mounted_application_that_fails_to_start_fails_the_outer_one() -> None:
    @contextlib.asynccontextmanager
    async def fail(app: Starlette) -> t.AsyncIterator[None]:
        raise LookupError("no pool")
        yield

    app = Flask(__name__)
    app.after_serving(lambda: log.append("outer stop"))
    log.clear()
    app.mount("/a", Starlette(lifespan=fail))
    answer = await Lifespan(app).start()
    assert answer["type"] == "lifespan.startup.failed"
    assert "no pool" in answer["message"] and log == ["outer stop"]


async def test_a_mounted_application_need_not_know_lifespans() -> None:
    async def plain(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        if scope["type"] != "http":
            raise ValueError(f"What is {scope['type']!r}?")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"plain"})

    app = Flask(__name__)
    app.mount("/plain", plain)
    async with Lifespan(app):
        assert (await fetch(app, "GET", "/plain")).text == "plain"


async def test_an_application_that_is_mounted_twice_has_one_lifespan() -> None:
    log.clear()
    app, starlette, ours = Flask(__name__), Starlette(lifespan=lifespan), Flask("ours")
    starlette.add_route("/see/{word}", see_starlette, name="see")
    ours.before_serving(lambda: log.append("ours start"))
    ours.after_serving(lambda: log.append("ours stop"))
    for path, host in (("/a", None), ("/b", None), ("/a", "example.com")):
        app.mount(path, starlette, host=host)
        app.mount(f"/ours{path}", ours, host=host)
    async with Lifespan(app):
        assert sorted(log) == ["ours start", "start"]
        for path in ("/a", "/b"):
            assert (await fetch(app, "GET", f"{path}/see/x")).json["state"] == "yes"
    assert sorted(log[2:]) == ["ours stop", "stop"]


@pytest.mark.parametrize("kind", ["returns", "fails"])
async def test_a_mounted_application_may_end_before_it_is_stopped(kind: str) -> None:
    async def brief(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        if kind == "fails":
            raise LookupError("it fails")

    app = Flask(__name__)
    app.mount("/brief", brief, protocol="asgi")
    serving = Lifespan(app)
    await serving.start()
    answer = await serving.stop()
    if kind == "returns":
        assert answer == {"type": "lifespan.shutdown.complete"}
    else:
        assert answer["type"] == "lifespan.shutdown.failed" and "it fails" in answer["message"]


async def test_a_mounted_applications_requests_end_before_it_is_stopped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entered, looked, sleep = asyncio.Event(), asyncio.Event(), anyio.sleep

    async def look(seconds: float) -> None:
        looked.set()
        await sleep(seconds)

    async def wait(request: StarletteRequest) -> JSONResponse:
        entered.set()
        await asyncio.wait_for(looked.wait(), 3)
        log.append("view ends")
        return JSONResponse({})

    log.clear()
    monkeypatch.setattr(anyio, "sleep", look)
    app = Flask(__name__)
    app.mount("/", Starlette(routes=[Route("/wait", wait)], lifespan=lifespan))
    async with Lifespan(app):
        task = asyncio.create_task(fetch(app, "GET", "/wait"))
        await asyncio.wait_for(entered.wait(), 10)
    assert (await task).status == 200
    assert log == ["start", "view ends", "stop"]


async def test_a_websocket_reaches_a_mounted_application(app: Flask) -> None:
    events = [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hello"}]
    sent: list[t.Any] = []

    async def receive() -> t.Any:
        return events.pop(0)

    async def send(message: t.Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/starlette/echo", "root_path": "", "headers": []}
    await app({**scope, "query_string": b"", "subprotocols": []}, receive, send)
    assert sent[1] == {"type": "websocket.send", "text": "/starlette hello"}


# -- telling them apart -------------------------------------------------------------------------


class AsgiObject:
    async def __call__(self, scope: t.Any, receive: t.Any, send: t.Any) -> None: ...


class WsgiObject:
    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any: ...


def wsgi_function(environ: t.Any, start_response: t.Any) -> t.Any: ...
def asgi_function(scope: t.Any, receive: t.Any, send: t.Any) -> t.Any: ...
async def asgi_coroutine(*args: t.Any) -> None: ...


@pytest.mark.parametrize(
    ("app", "protocol"),
    [
        (AsgiObject(), "asgi"),
        (WsgiObject(), "wsgi"),
        (wsgi_function, "wsgi"),
        (asgi_function, "asgi"),
        (asgi_coroutine, "asgi"),
        (functools.partial(asgi_coroutine), "asgi"),
        (functools.partial(wsgi_function), "wsgi"),
        (Starlette(), "asgi"),
        (flask.Flask("a"), "wsgi"),
        (Flask("a"), "both"),
    ],
)
def test_the_protocol_is_found_out(app: t.Any, protocol: str) -> None:
    assert protocol_of(app) == protocol


def test_what_cannot_be_told_has_to_be_said() -> None:
    app = Flask(__name__)
    anything: t.Any = lambda *args: args[1]("200 OK", []) and None or [b"any"]  # noqa: E731
    with pytest.raises(TypeError, match="protocol='wsgi'"):
        app.mount("/any", anything)
    app.mount("/any", anything, protocol="wsgi")
    assert app.test_client(transport="asgi").get("/any").text == "any"


def test_a_class_is_not_taken_for_its_instances() -> None:
    with pytest.raises(TypeError, match="cannot tell"):
        protocol_of(AsgiObject)


@pytest.mark.parametrize(
    ("path", "options", "message"),
    [
        ("flask", {}, "begin with a slash"),
        ("/taken/", {}, "mounted there already"),
        ("/a", {"protocol": "cgi"}, "no protocol 'cgi'"),
    ],
)
def test_a_mount_that_cannot_be_is_refused(
    path: str, options: dict[str, str], message: str
) -> None:
    app = Flask(__name__)
    app.mount("/taken", wsgi_function)
    with pytest.raises(ValueError, match=message):
        app.mount(path, wsgi_function, **options)


async def test_nothing_can_be_mounted_once_the_application_serves(app: Flask) -> None:
    await fetch(app, "GET", "/")
    with pytest.raises(AssertionError, match="mount"):
        app.mount("/late", wsgi_function)


# -- the rules of WSGI --------------------------------------------------------------------------


@each_transport
def test_validators_on_both_sides_of_a_mount_have_no_complaint(
    app: Flask, transport: str
) -> None:
    outer = Flask(__name__)
    outer.mount("/in", validator(app.wsgi_app), protocol="wsgi")
    if transport == "wsgi":
        outer.wsgi_app = validator(outer.wsgi_app)  # type: ignore[method-assign]
    client = outer.test_client(transport=transport)
    for name in ("flask", "ours", "starlette"):
        assert client.get(f"/in/{name}/see/x", buffered=True).status_code == 200
        if name != "flask":
            # Flask reads an input that ends by itself without a size, which the validator bans.
            answer = client.post(f"/in/{name}/see/x", data=b"y" * 1000, buffered=True)
            assert answer.json["data"] == "y" * 1000
