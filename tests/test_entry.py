"""What is put around, or in place of, the WSGI face and ``Flask.__call__``."""

from __future__ import annotations

import abc
import asyncio
import threading
import typing as t

import pytest
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from asyncflask import Flask
from asyncflask import request
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan
from tests.kit.sources import SyncSource

pytestmark = pytest.mark.anyio
TRANSPORTS = ["wsgi", "asgi"]


class Seen:
    """A WSGI middleware that notes paths, and the thread it is called on."""

    def __init__(self, wsgi_app: t.Any) -> None:
        self.wsgi_app = wsgi_app
        self.paths: list[str] = []
        self.threads: set[int] = set()

    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        self.paths.append(environ["PATH_INFO"])
        self.threads.add(threading.get_ident())
        return self.wsgi_app(environ, start_response)


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.get("/async")
    async def view() -> dict[str, t.Any]:
        return {"url": request.url, "loop": id(asyncio.get_running_loop())}

    @app.route("/sync", methods=["GET", "POST"])
    def sync_view() -> dict[str, t.Any]:
        data = request.get_data(as_text=True)
        return {"url": request.url, "thread": threading.get_ident(), "data": data}

    @app.get("/stream")
    def stream() -> t.Any:
        async def chunks() -> t.AsyncIterator[str]:
            for number in range(3):
                await asyncio.sleep(0)
                yield str(number)

        return chunks()

    return app


# -- app.wsgi_app -------------------------------------------------------------------------------


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("path", ["/async", "/sync"])
def test_proxy_fix_takes_effect_under_both_protocols(app: Flask, path: str, transport: str) -> None:
    app.wsgi_app = ProxyFix(app.wsgi_app, x_host=1, x_prefix=1)  # type: ignore[method-assign]
    headers = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "a.example"}
    headers |= {"X-Forwarded-Prefix": "/shop", "X-Forwarded-For": "10.1.2.3"}
    answer = app.test_client(transport=transport).get(path, headers=headers)
    assert answer.json["url"] == f"https://a.example/shop{path}"


async def test_async_views_behind_a_middleware_run_on_the_servers_loop(app: Flask) -> None:
    seen = app.wsgi_app = Seen(app.wsgi_app)  # type: ignore[method-assign]
    assert (await fetch(app, "GET", "/async")).json["loop"] == id(asyncio.get_running_loop())
    answer = await fetch(app, "POST", "/sync", body=b"some data")
    assert answer.json["data"] == "some data"
    assert answer.json["thread"] in seen.threads and seen.paths == ["/async", "/sync"]
    assert threading.get_ident() not in seen.threads
    assert (await fetch(app, "GET", "/stream")).chunks == [b"0", b"1", b"2"]


async def test_more_requests_than_threads_may_wait_in_async_views_behind_a_middleware(
    app: Flask,
) -> None:
    app.config["SYNC_THREADS"] = 2
    app.wsgi_app = Seen(app.wsgi_app)  # type: ignore[method-assign]
    arrived, go_on = asyncio.Semaphore(0), asyncio.Event()

    @app.get("/wait")
    async def wait() -> str:
        arrived.release()
        await go_on.wait()
        return "waited"

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = [group.create_task(fetch(app, "GET", "/wait")) for _ in range(10)]
        for _ in tasks:
            await arrived.acquire()
        go_on.set()
    assert [task.result().text for task in tasks] == ["waited"] * 10


async def test_a_client_that_leaves_behind_a_middleware_has_the_stream_closed(app: Flask) -> None:
    source = SyncSource("x", endless=True)
    app.add_url_rule("/endless", "endless", lambda: source)
    app.wsgi_app = Seen(app.wsgi_app)  # type: ignore[method-assign]
    async with Exchange(app, "GET", "/endless") as exchange:
        await exchange.chunk()
        exchange.disconnect()
    assert source.closed == 1


async def test_an_async_view_behind_a_middleware_is_told_of_its_clients_leaving(app: Flask) -> None:
    app.wsgi_app = Seen(app.wsgi_app)  # type: ignore[method-assign]
    events: list[str] = []

    @app.get("/cancelled", cancel_on_disconnect=True)
    async def cancelled() -> str:
        events.append("begun")
        try:
            await asyncio.sleep(30)
        finally:
            events.append("cancelled")
        return "never"

    @app.post("/asks")
    async def asks() -> str:
        events.append("here" if not await request.is_disconnected() else "gone")
        async with asyncio.timeout(10):
            while not await request.is_disconnected():
                await asyncio.sleep(0)
        events.append("left")
        return "nobody reads it"

    for method, path in (("GET", "/cancelled"), ("POST", "/asks")):
        async with Exchange(app, method, path) as exchange:
            async with asyncio.timeout(10):
                while not events or events[-1] in ("cancelled", "left"):
                    await asyncio.sleep(0.001)
            exchange.disconnect()
    assert events == ["begun", "cancelled", "here", "left"]


async def test_headers_are_limited_before_a_middleware_as_well(app: Flask) -> None:
    seen = app.wsgi_app = Seen(app.wsgi_app)  # type: ignore[method-assign]
    app.config["MAX_HEADER_SIZE"] = 1000
    assert (await fetch(app, "GET", "/sync", headers={"X-A": "x" * 1000})).status == 431
    assert seen.paths == []


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_dispatcher_may_be_put_around(app: Flask, transport: str) -> None:
    def other(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [])
        return [environ["SCRIPT_NAME"].encode()]

    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {"/o": other})  # type: ignore[method-assign]
    client = app.test_client(transport=transport)
    assert client.get("/o/x").text == "/o"
    assert client.get("/async").status_code == 200


async def test_taken_away_again_nothing_of_it_is_left(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(app.wsgi_app)
    with monkeypatch.context() as patch:
        patch.setattr(app, "wsgi_app", seen)
        await fetch(app, "GET", "/async")
    await fetch(app, "GET", "/async")
    assert seen.paths == ["/async"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_subclass_may_override_the_wsgi_face(transport: str) -> None:
    class Prefixed(Flask):
        def wsgi_app(self, environ: t.Any, start_response: t.Any) -> t.Any:
            environ["SCRIPT_NAME"] = "/prefix"
            return super().wsgi_app(environ, start_response)

    app = Prefixed(__name__)
    app.add_url_rule("/", "index", lambda: request.root_path)
    assert app.test_client(transport=transport).get("/").text == "/prefix"


async def test_what_was_set_on_a_subclass_is_gone_with_it(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Plain(Flask):
        """Has neither entry of its own, so that setting one is undone by deleting it."""

    seen = Seen(Flask.wsgi_app)
    plain = Plain(__name__)
    plain.add_url_rule("/", "index", lambda: str(threading.get_ident()))
    with monkeypatch.context() as patch:
        patch.setattr(Plain, "wsgi_app", lambda self, *args: seen.wsgi_app(self, *args))
        assert Plain._through_wsgi and not Flask._through_wsgi
    assert "wsgi_app" not in vars(Plain)
    assert not Plain._through_wsgi
    with monkeypatch.context() as patch:
        patch.setattr(Plain, "__call__", agent(seen.paths, Flask.__call__))
        assert (await fetch(plain, "GET", "/")).status == 200
    await fetch(plain, "GET", "/")
    assert seen.paths == ["/", "200 OK"] and not Plain._through_wsgi


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_mixin_may_override_the_wsgi_face(transport: str) -> None:
    class Prefix:
        def wsgi_app(self, environ: t.Any, start_response: t.Any) -> t.Any:
            environ["SCRIPT_NAME"] = "/prefix"
            return super().wsgi_app(environ, start_response)  # type: ignore[misc]

    class Prefixed(Prefix, Flask): ...

    app = Prefixed(__name__)
    app.add_url_rule("/", "index", lambda: request.root_path)
    assert app.test_client(transport=transport).get("/").text == "/prefix"


# -- Flask.__call__ -----------------------------------------------------------------------------


def agent(seen: list[str], original: t.Any) -> t.Any:
    """Make what agents that watch applications put in place of ``Flask.__call__``."""

    def __call__(self: Flask, environ: t.Any, start_response: t.Any) -> t.Any:
        seen.append(environ["PATH_INFO"])

        def start(status: str, headers: t.Any, exc_info: t.Any = None) -> t.Any:
            seen.append(status)
            return start_response(status, headers, exc_info)

        return original(self, environ, start)

    return __call__


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_sees_every_http_request(
    app: Flask, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(Flask, "__call__", agent(seen, Flask.__call__))
    client = app.test_client(transport=transport)
    assert client.get("/async").status_code == client.post("/sync").status_code == 200
    assert client.get("/nothing").status_code == 404
    assert seen == ["/async", "200 OK", "/sync", "200 OK", "/nothing", "404 NOT FOUND"]


async def test_what_is_left_of_an_agent_that_is_gone(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    original = Flask.__call__
    with monkeypatch.context() as patch:
        patch.setattr(Flask, "__call__", agent(seen, original))
        await fetch(app, "GET", "/async")
    assert Flask.__call__ is original
    await fetch(app, "GET", "/async")
    assert seen == ["/async", "200 OK"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_two_agents_see_it_one_after_the_other(
    app: Flask, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    inner: list[str] = []
    outer: list[str] = []
    monkeypatch.setattr(Flask, "__call__", agent(inner, Flask.__call__))
    monkeypatch.setattr(Flask, "__call__", agent(outer, Flask.__call__))
    app.test_client(transport=transport).get("/async")
    assert inner == outer == ["/async", "200 OK"]


async def test_lifespans_go_past_an_agent(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    app.before_serving(lambda: started.append("started"))
    monkeypatch.setattr(Flask, "__call__", agent([], Flask.__call__))
    async with Lifespan(app):
        assert (await fetch(app, "GET", "/sync")).status == 200
    assert started == ["started"]


async def test_what_takes_any_arguments_is_called_with_those_of_either_protocol(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    original = Flask.__call__

    def __call__(self: Flask, *args: t.Any) -> t.Any:
        counts.append(len(args))
        return original(self, *args)

    monkeypatch.setattr(Flask, "__call__", __call__)
    await fetch(app, "GET", "/async")
    app.test_client().get("/async")
    assert counts == [3, 2]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_subclass_may_override_the_call_for_wsgi(transport: str) -> None:
    seen: list[str] = []

    class Watched(Flask):
        def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:  # type: ignore[override]
            seen.append(environ["PATH_INFO"])
            return super().__call__(environ, start_response)

    app = Watched(__name__)
    app.add_url_rule("/", "index", lambda: "x")
    assert app.test_client(transport=transport).get("/").text == "x"
    assert seen == ["/"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_mixin_may_override_the_call_for_wsgi(transport: str) -> None:
    seen: list[str] = []

    class Watch:
        def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
            seen.append(environ["PATH_INFO"])
            return super().__call__(environ, start_response)  # type: ignore[misc]

    class Watched(Watch, Flask): ...  # type: ignore[misc]

    app = Watched(__name__)
    app.add_url_rule("/", "index", lambda: "x")
    assert app.test_client(transport=transport).get("/").text == "x"
    assert seen == ["/"]


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_an_agent_on_flask_sees_the_requests_of_subclasses(
    monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    class Plain(Flask): ...

    seen: list[str] = []
    monkeypatch.setattr(Flask, "__call__", agent(seen, Flask.__call__))
    app = Plain(__name__)
    app.add_url_rule("/", "index", lambda: "x")
    assert app.test_client(transport=transport).get("/").text == "x"
    assert seen == ["/", "200 OK"]


def test_abstract_bases_may_stand_beside_flask() -> None:
    class Named(abc.ABC):
        @abc.abstractmethod
        def title(self) -> str: ...

    class Titled(Named, Flask):
        def title(self) -> str:
            return "title"

    assert Titled(__name__).title() == "title"
