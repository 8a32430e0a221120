from __future__ import annotations

import asyncio
import contextvars
import importlib.metadata
import sqlite3
import threading
import time

import click
import pytest
from werkzeug.test import EnvironBuilder as WerkzeugBuilder

from asyncflask import Flask
from asyncflask import g
from asyncflask import jsonify
from asyncflask import redirect
from asyncflask import request
from asyncflask import session
from asyncflask.cli import ScriptInfo
from asyncflask.globals import _cv_request
from asyncflask.sessions import SecureCookieSessionInterface
from asyncflask.testing import EnvironBuilder
from asyncflask.testing import FlaskClient
from asyncflask.testing import FlaskCliRunner

color = contextvars.ContextVar("color", default="none")


@pytest.fixture
def app():
    app = Flask(__name__)
    app.testing = True
    app.secret_key = "tested"
    return app


@pytest.fixture(params=["wsgi", "asgi"])
def transport(request):
    return request.param


@pytest.fixture
def client(app, transport):
    return app.test_client(transport=transport)


# EnvironBuilder


@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({}, "http://example.org/app/"),
        ({"path": "/x?a=1"}, "http://example.org/app/x?a=1"),
        ({"subdomain": "sub"}, "http://sub.example.org/app/"),
        ({"url_scheme": "https"}, "https://example.org/app/"),
        ({"path": "https://other.org/x"}, "https://other.org/app/x"),
        ({"base_url": "http://base.org/"}, "http://base.org/"),
    ],
)
def test_environ_builder_takes_defaults_from_the_configuration(app, arguments, url):
    app.config.update(SERVER_NAME="example.org", APPLICATION_ROOT="/app")
    assert EnvironBuilder(app, **arguments).get_request().url == url


@pytest.mark.parametrize("other", [{"subdomain": "a"}, {"url_scheme": "https"}])
def test_environ_builder_refuses_contradictions(app, other):
    with pytest.raises(TypeError, match="base_url"):
        EnvironBuilder(app, base_url="http://localhost/", **other)


def test_environ_builder_serializes_as_the_application(app):
    app.json.ensure_ascii = False
    assert EnvironBuilder(app, json="é").input_stream.read() == '"é"'.encode()


# FlaskClient


def test_transport_is_wsgi_unless_said(app):
    assert app.test_client().transport == "wsgi"


def test_transport_of_a_class(app):
    class AsgiClient(FlaskClient):
        transport = "asgi"

    app.test_client_class = AsgiClient
    assert app.test_client().transport == "asgi"
    assert app.test_client(transport="wsgi").transport == "wsgi"


def test_unknown_transport_is_refused(app):
    with pytest.raises(ValueError, match="'http'"):
        app.test_client(transport="http")


def test_request_and_response(app, client):
    @app.post("/<name>")
    def view(name):
        return jsonify(name=name, args=request.args, json=request.json, path=request.path), 201

    response = client.post("/ann?a=1", json={"x": [1]})
    assert response.status == "201 CREATED"
    assert response.json == {"name": "ann", "args": {"a": "1"}, "json": {"x": [1]}, "path": "/ann"}


def test_async_view(app, client):
    @app.post("/")
    async def view():
        await asyncio.sleep(0)
        return request.form["name"].upper()

    assert client.post("/", data={"name": "ann"}).text == "ANN"


def test_upload(app, client):
    @app.post("/")
    def view():
        return str(len(request.files["file"].read()))

    with open(__file__, "rb") as file:
        size = len(file.read())
        file.seek(0)
        assert client.post("/", data={"file": file}).text == str(size)


def test_environ_base_reaches_the_request(app, client):
    @app.get("/")
    def view():
        environ = request.environ
        return [request.remote_addr, request.user_agent.string, environ["test.key"]]

    client.environ_base["test.key"] = "kept"
    agent = f"Werkzeug/{importlib.metadata.version('werkzeug')}"
    assert client.get("/").json == ["127.0.0.1", agent, "kept"]
    client.environ_base["REMOTE_ADDR"] = "192.0.2.7"
    assert client.get("/").json[0] == "192.0.2.7"
    assert client.get("/", environ_base={"REMOTE_ADDR": "192.0.2.8"}).json[0] == "192.0.2.8"


def test_open_takes_builders_environs_and_requests(app, client):
    @app.route("/x", methods=["PUT"])
    def view():
        return request.environ["test.key"]

    client.environ_base["test.key"] = "kept"
    builder = EnvironBuilder(app, "/x", method="PUT")
    for given in (builder, WerkzeugBuilder("/x", method="PUT"), builder.get_environ()):
        assert client.open(given).text == "kept"
    assert client.open(builder.get_request()).text == "kept"


def test_cookies_are_kept(app, client):
    @app.get("/")
    def view():
        response = app.make_response(request.cookies.get("a", "none"))
        response.set_cookie("a", "1")
        return response

    assert client.get("/").text == "none"
    assert client.get("/").text == "1"
    assert client.get_cookie("a").value == "1"
    client.set_cookie("a", "2")
    assert client.get("/").text == "2"
    assert app.test_client(use_cookies=False, transport=client.transport).get("/").text == "none"


def test_with_block_keeps_the_context(app, client):
    @app.get("/<int:number>")
    def view(number):
        g.number = session["number"] = number
        return ""

    with client:
        client.get("/1")
        assert (g.number, session["number"], request.path) == (1, 1, "/1")
        client.get("/2")
        assert (g.number, request.path) == (2, "/2")
    assert _cv_request.get(None) is None


def test_with_blocks_do_not_nest(client):
    with client:
        with pytest.raises(RuntimeError, match="Cannot nest"):
            client.__enter__()


def test_error_of_the_application_reaches_the_test(app, client):
    @app.get("/")
    def view():
        raise ZeroDivisionError("of the view")

    with pytest.raises(ZeroDivisionError, match="of the view"):
        client.get("/")
    app.testing = False
    assert client.get("/").status_code == 500


def test_error_of_an_async_view_reaches_the_test(app, client):
    @app.get("/")
    async def view():
        raise ZeroDivisionError("of the view")

    with pytest.raises(ZeroDivisionError, match="of the view"):
        client.get("/")


def test_redirect_with_the_body(app, client):
    @app.post("/")
    def first():
        return redirect("/second", 307)

    @app.post("/second")
    def second():
        return request.form["name"]

    response = client.post("/", data={"name": "ann"}, follow_redirects=True)
    assert response.text == "ann"
    assert [entry.status_code for entry in response.history] == [307]


def test_stream_is_lazy(app, client):
    produced = []

    @app.get("/")
    def view():
        def numbers():
            for number in range(1000):
                produced.append(number)
                # Small ones are sent together.
                yield " " * 2**16 + f"{number}"

        return numbers()

    response = client.get("/")
    time.sleep(0.05)
    assert len(produced) < 200
    assert response.text.split()[-1] == "999"


def test_closing_a_stream_closes_its_generator(app, client):
    closed = threading.Event()

    @app.get("/")
    def view():
        def endless():
            try:
                while True:
                    yield "x"
            finally:
                closed.set()

        return endless()

    client.get("/").close()
    assert closed.wait(5)


def test_buffered_response(app, client):
    @app.get("/")
    def view():
        return (str(number) for number in range(5))

    assert client.get("/", buffered=True).text == "01234"


def test_context_variables_of_the_test_are_seen(app, client):
    @app.get("/sync")
    def sync_view():
        return color.get()

    @app.get("/async")
    async def async_view():
        return color.get()

    token = color.set("red")
    try:
        assert [client.get("/sync").text, client.get("/async").text] == ["red", "red"]
    finally:
        color.reset(token)


def test_wsgi_runs_in_the_calling_thread(app):
    connection = sqlite3.connect(":memory:")

    @app.get("/")
    def view():
        return str(connection.execute("SELECT 42").fetchone()[0])

    assert app.test_client().get("/").text == "42"
    connection.close()


def test_asgi_runs_elsewhere(app):
    @app.get("/sync")
    def sync_view():
        return str(threading.get_ident())

    @app.get("/async")
    async def async_view():
        return str(threading.get_ident())

    client = app.test_client(transport="asgi")
    threads = {client.get("/sync").text, client.get("/async").text, str(threading.get_ident())}
    assert len(threads) == 3


async def test_client_works_inside_a_running_loop(app, client):
    @app.get("/sync")
    def sync_view():
        return "sync"

    assert client.get("/sync").text == "sync"


async def test_async_view_inside_a_running_loop(app):
    @app.get("/")
    async def view():
        await asyncio.sleep(0)
        return "async"

    for transport in ("wsgi", "asgi"):
        assert app.test_client(transport=transport).get("/").text == "async"


# Sessions


def test_session_transaction(app, client):
    @app.get("/")
    def view():
        session["n"] += 1
        return str(session["n"])

    with client.session_transaction() as kept:
        kept["n"] = 1
    assert client.get("/").text == "2"
    with client.session_transaction() as kept:
        assert kept["n"] == 2


def test_session_transaction_at_another_place(app, client):
    app.config["SESSION_COOKIE_PATH"] = "/app"
    with client.session_transaction("/app/x", base_url="http://example.org") as kept:
        kept["n"] = 1
    assert client.get_cookie("session", "example.org", "/app") is not None
    with client.session_transaction("/app/y", base_url="http://example.org") as kept:
        assert kept["n"] == 1
    with client.session_transaction("/y", base_url="http://example.org") as kept:
        assert "n" not in kept


def test_session_transaction_needs_cookies_and_a_key(app):
    with pytest.raises(TypeError, match="Cookies are disabled"):
        with app.test_client(use_cookies=False).session_transaction():
            pass
    app.secret_key = None
    with pytest.raises(RuntimeError, match="did not open a session"):
        with app.test_client().session_transaction():
            pass


class AsyncSessions(SecureCookieSessionInterface):
    async def open_session(self, app, request):
        await asyncio.sleep(0)
        return super().open_session(app, request)

    async def save_session(self, app, session, response):
        await asyncio.sleep(0)
        super().save_session(app, session, response)


def test_session_transaction_of_an_async_interface(app, client):
    app.session_interface = AsyncSessions()
    with client.session_transaction() as kept:
        kept["n"] = 1
    with client.session_transaction() as kept:
        assert kept["n"] == 1


# FlaskCliRunner


def test_cli_runner(app):
    @app.cli.command()
    @click.argument("name")
    def hello(name):
        click.echo(f"hello {name}")

    runner = app.test_cli_runner()
    assert isinstance(runner, FlaskCliRunner)
    assert runner.invoke(args=["hello", "ann"]).output == "hello ann\n"
    assert runner.invoke(hello, "bob").output == "hello bob\n"


def test_cli_runner_with_another_object(app):
    @app.cli.command()
    def name():
        click.echo(click.get_current_context().obj.load_app().name)

    other = Flask("other")
    info = ScriptInfo(create_app=lambda: other)
    assert app.test_cli_runner().invoke(name, obj=info).output == "other\n"


# AsyncClient


async def test_async_client_requests(app):
    @app.post("/<name>")
    async def view(name):
        return {"name": name, "json": request.json, "url": request.url}

    @app.get("/sync")
    def sync_view():
        return "sync"

    async with app.async_test_client() as client:
        response = await client.post("/ann", json=[1])
        assert response.json() == {"name": "ann", "json": [1], "url": "http://localhost/ann"}
        assert (await client.get("/sync")).text == "sync"


async def test_async_client_runs_views_on_this_loop(app):
    loops = []

    @app.get("/")
    async def view():
        loops.append(asyncio.get_running_loop())
        return color.get()

    token = color.set("blue")
    try:
        async with app.async_test_client() as client:
            assert (await client.get("/")).text == "blue"
    finally:
        color.reset(token)
    assert loops == [asyncio.get_running_loop()]


async def test_async_client_takes_its_base_from_the_configuration(app):
    app.config.update(
        SERVER_NAME="example.org:8443", APPLICATION_ROOT="/app", PREFERRED_URL_SCHEME="https"
    )

    @app.get("/x")
    async def view():
        return [request.url, request.path, request.root_path]

    async with app.async_test_client() as client:
        answer = (await client.get("/x")).json()
    assert answer == ["https://example.org:8443/app/x", "/x", "/app"]


async def test_async_client_runs_the_lifespan(app):
    seen = []

    @app.before_serving
    async def before():
        seen.append("before")

    @app.while_serving
    async def around():
        seen.append("in")
        yield
        seen.append("out")

    @app.after_serving
    def after():
        seen.append("after")

    async with app.async_test_client():
        assert seen == ["before", "in"]
    assert sorted(seen[2:]) == ["after", "out"]


async def test_async_client_says_why_the_start_failed(app):
    @app.before_serving
    async def before():
        raise ZeroDivisionError("no database")

    client = app.async_test_client()
    with pytest.raises(RuntimeError, match="startup failed: .*") as caught:
        await client.__aenter__()
    assert "no database" in str(caught.value)


async def test_async_client_says_why_the_stop_failed(app):
    @app.after_serving
    async def after():
        raise ZeroDivisionError("still open")

    with pytest.raises(RuntimeError, match="shutdown failed") as caught:
        async with app.async_test_client():
            pass
    assert "still open" in str(caught.value)


async def test_async_client_stops_after_an_error_in_the_block(app):
    seen = []
    app.after_serving(lambda: seen.append("after"))
    with pytest.raises(LookupError):
        async with app.async_test_client():
            raise LookupError
    assert seen == ["after"]


async def test_async_client_gives_up_on_a_start_that_hangs(app):
    @app.before_serving
    async def before():
        await asyncio.sleep(60)

    client = app.async_test_client()
    client.lifespan_timeout = 0.01
    with pytest.raises(RuntimeError, match="took more than"):
        async with client:
            pass


async def test_async_client_without_its_lifespan(app):
    @app.get("/")
    async def view():
        return "fine"

    app.before_serving(lambda: None)
    with pytest.raises(RuntimeError, match="async with app.async_test_client"):
        await app.async_test_client().get("/")
    assert (await app.async_test_client(lifespan=False).get("/")).text == "fine"
    app.before_serving_funcs.clear()
    assert (await app.async_test_client().get("/")).text == "fine"


async def test_async_client_is_used_in_one_block(app):
    async with app.async_test_client() as client:
        with pytest.raises(RuntimeError, match="block already"):
            await client.__aenter__()


async def test_async_client_refused_by_an_application_without_lifespan(app):
    async def http_only(scope, receive, send):
        assert scope["type"] == "http"

    app.asgi_app = http_only
    with pytest.raises(RuntimeError, match="startup failed: AssertionError"):
        async with app.async_test_client():
            pass


async def test_async_client_raises_what_the_application_raises(app):
    @app.get("/")
    async def view():
        raise ZeroDivisionError("of the view")

    async with app.async_test_client() as client:
        with pytest.raises(ZeroDivisionError, match="of the view"):
            await client.get("/")
        app.testing = False
        assert (await client.get("/")).status_code == 500


async def test_async_client_session_transaction(app):
    @app.get("/")
    async def view():
        session["n"] += 1
        return str(session["n"])

    async with app.async_test_client() as client:
        async with client.session_transaction() as kept:
            kept["n"] = 1
        assert (await client.get("/")).text == "2"
        async with client.session_transaction() as kept:
            assert kept["n"] == 2


async def test_async_client_session_transaction_of_an_async_interface(app):
    app.session_interface = AsyncSessions()
    async with app.async_test_client() as client:
        async with client.session_transaction() as kept:
            kept["n"] = 1
        async with client.session_transaction() as kept:
            assert kept["n"] == 1


async def test_async_client_session_transaction_needs_a_key(app):
    app.secret_key = None
    async with app.async_test_client() as client:
        with pytest.raises(RuntimeError, match="did not open a session"):
            async with client.session_transaction():
                pass


async def test_async_client_requests_at_once(app):
    waiting = asyncio.Barrier(20)

    @app.get("/<int:number>")
    async def view(number):
        await waiting.wait()
        return str(number)

    async with app.async_test_client() as client:
        answers = await asyncio.gather(*(client.get(f"/{number}") for number in range(20)))
    assert [answer.text for answer in answers] == [str(number) for number in range(20)]


async def test_async_client_shares_the_state_of_the_lifespan(app):
    seen = []
    inner = app.asgi_app

    async def middleware(scope, receive, send):
        if scope["type"] == "lifespan":
            scope["state"]["pool"] = "open"
        else:
            seen.append(scope["state"])
        await inner(scope, receive, send)

    app.asgi_app = middleware
    async with app.async_test_client() as client:
        await client.get("/")
    assert seen == [{"pool": "open"}]
