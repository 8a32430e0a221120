"""The old applications answer below their paths as they do alone, under either protocol."""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import re
import sys
import threading
import time
import typing as t
from collections.abc import Iterator
from pathlib import Path

import flask
import httpx
import pytest
from anyio.from_thread import start_blocking_portal
from werkzeug.test import Client

from asyncflask import Flask
from tests.kit.server import serve

HERE = Path(__file__).parent
LOCAL = "http://localhost"
NO_LENGTH = ("content-length", "0")
TOP_LEVEL = {"kept", "main", "office", "shop"}

Answer: t.TypeAlias = tuple[int, list[tuple[str, str]], str]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """The application of main.py, with a data folder of its own.

    Django has one configuration in a process, and changes the time zone of that.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        patch.setenv("LEGACY_DATA", str(tmp_path_factory.mktemp("legacy")))
        patch.setenv("DJANGO_SETTINGS_MODULE", "office.settings")
        patch.setenv("TZ", os.environ.get("TZ", ""))
        yield importlib.import_module("main").app
        for name in [name for name in sys.modules if name.partition(".")[0] in TOP_LEVEL]:
            del sys.modules[name]
    time.tzset()


@pytest.fixture(params=["asgi", "wsgi"])
def browser(app: Flask, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    """An HTTP client with cookies; every test that uses it runs on both protocols."""
    transport = AsgiTransport(app) if request.param == "asgi" else httpx.WSGITransport(app)
    with httpx.Client(transport=transport, base_url=LOCAL) as client:
        yield client


class AsgiTransport(httpx.BaseTransport):
    """httpx's own, on an event loop of another thread, for clients without ``await``."""

    def __init__(self, app: Flask) -> None:
        self._inner = httpx.ASGITransport(app)
        self._closing = contextlib.ExitStack()
        self._portal = self._closing.enter_context(start_blocking_portal())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._portal.call(self._handle, request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        body = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=body)

    def close(self) -> None:
        self._closing.close()


def told(status: int, headers: t.Iterable[tuple[str, str]], text: str) -> Answer:
    """Leave out of an answer what is never the same twice, and what is a server's to add."""
    kept = sorted(
        (name.lower(), re.sub(r"^(session|csrftoken)=[^;]+|expires=[^;]+", r"\1", value.strip()))
        for name, value in headers
        if name.lower() not in ("date", "expires") and (name.lower(), value) != NO_LENGTH
    )
    return status, kept, re.sub(r'(csrfmiddlewaretoken" value=)"\w+"', r"\1", text)


def compare(
    browser: httpx.Client, alone: t.Any, prefix: str, method: str, path: str, form: t.Any = None
) -> Answer:
    """Ask an application alone, by Werkzeug's client, and mounted; the answers are the same."""
    expected = Client(alone).open(path, f"{LOCAL}{prefix}", method=method, data=form)
    text = expected.get_data(as_text=True)
    expected.close()
    answer = browser.request(method, f"{prefix}{path}", data=form)
    got = told(answer.status_code, answer.headers.multi_items(), answer.text)
    wanted = told(expected.status_code, expected.headers, text)
    # Django leaves it to the server to send no body in answer to HEAD.
    end = 2 if method == "HEAD" else 3
    assert got[:end] == wanted[:end]
    return got


# -- the shop, Flask's --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        ("GET", "/"),
        ("HEAD", "/"),
        ("OPTIONS", "/basket"),
        ("GET", "/goods/ink/"),
        ("GET", "/goods/ink"),
        ("GET", "/goods/i%20n%C3%BCk/"),
        ("GET", "/basket"),
        ("POST", "/basket", {"name": "ink"}),
        ("POST", "/basket", {"name": "none"}),
        ("POST", "/basket", {}),
        ("PUT", "/basket"),
        ("GET", "/static/style.css"),
        ("GET", "/nothing"),
        ("GET", ""),
    ],
    ids=str,
)
def test_the_shop_answers_as_it_does_alone(browser: httpx.Client, asked: t.Any) -> None:
    shop = importlib.import_module("shop").create_app()
    assert type(shop) is flask.Flask
    status, headers, _ = compare(browser, shop, "/shop", *asked)
    assert status < 500
    if status in (302, 308):
        assert "/shop/" in dict(headers)["location"]


def test_the_shop_makes_its_urls_below_the_mount(browser: httpx.Client) -> None:
    page = browser.get("/shop/goods/ink/").text
    assert 'action="/shop/basket"' in page
    assert 'href="/shop/static/style.css"' in page
    assert f"{LOCAL}/shop/goods/ink/" in page
    assert "font-family" in browser.get("/shop/static/style.css").text


def test_an_async_view_reads_the_old_applications_session(browser: httpx.Client) -> None:
    assert browser.get("/basket.json").json() == {"basket": {}}
    for name in ("ink", "nib", "ink"):
        answer = browser.post("/shop/basket", data={"name": name})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/shop/basket")
    page = browser.get("/shop/basket").text
    assert "A steel nib is in the basket." in page and "2 × A bottle of ink" in page
    assert browser.get("/basket.json").json() == {"basket": {"ink": 2, "nib": 1}}


# -- the office, Django's -----------------------------------------------------------------------

# Django's ASGI handler sends names of headers with capitals, which the lint does not let pass.
MOUNTS = ["/django", pytest.param("/django-async", marks=pytest.mark.bare)]
each_mount = pytest.mark.parametrize("prefix", MOUNTS)


@each_mount
@pytest.mark.parametrize(
    "path", ["/", "/admin/", "/admin", "/admin/login/?next=/x", "/admin/auth/user/", "/nothing"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_the_office_answers_as_it_does_alone(
    browser: httpx.Client, prefix: str, method: str, path: str
) -> None:
    alone = importlib.import_module("office.wsgi").application
    form = {"a": "b"} if method == "POST" else None
    compare(browser, alone, prefix, method, path, form)


@each_mount
def test_the_login_page_has_the_right_urls(browser: httpx.Client, prefix: str) -> None:
    answer = browser.get(f"{prefix}/admin/")
    login = f"{prefix}/admin/login/?next={prefix}/admin/"
    assert (answer.status_code, answer.headers["Location"]) == (302, login)
    page = browser.get(login)
    assert page.status_code == 200
    assert f'<form action="{login}" method="post"' in page.text
    [styles] = re.findall(r'href="(/django(?:-async)?/static/admin/css/base.css)"', page.text)
    assert browser.get(styles).headers["Content-Type"] == "text/css; charset=utf-8"


def token_in(page: httpx.Response) -> str:
    found = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert found is not None
    return found[1]


@each_mount
def test_an_administrator_logs_in_and_out(browser: httpx.Client, prefix: str) -> None:
    login = f"{prefix}/admin/login/?next={prefix}/admin/"
    fields = {
        "username": "admin",
        "password": importlib.import_module("kept").secret("admin_password"),
    }
    assert browser.post(login, data=fields).status_code == 403
    fields["csrfmiddlewaretoken"] = token_in(browser.get(login))
    answer = browser.post(login, data=fields)
    assert (answer.status_code, answer.headers["Location"]) == (302, f"{prefix}/admin/")
    users = browser.get(f"{prefix}/admin/auth/user/")
    assert f'href="{prefix}/admin/auth/user/1/change/' in users.text
    assert "You are admin." in browser.get(f"{prefix}/").text
    out = browser.post(f"{prefix}/admin/logout/", data={"csrfmiddlewaretoken": token_in(users)})
    assert out.status_code == 200
    assert "You are not logged in." in browser.get(f"{prefix}/").text


class Connections:
    """What becomes of the database connections that requests open."""

    def __init__(self) -> None:
        self.opened: list[t.Any] = []
        self.finished: list[int] = []
        self.threads: set[int] = set()

    def note_opened(self, connection: t.Any, **kwargs: t.Any) -> None:
        self.opened.append(connection)
        self.threads.add(threading.get_ident())

    def note_finished(self, **kwargs: t.Any) -> None:
        self.finished.append(threading.get_ident())

    @property
    def open(self) -> list[t.Any]:
        return [connection for connection in self.opened if connection.connection is not None]


@pytest.fixture
def connections(app: Flask) -> Iterator[Connections]:
    from django.core.signals import request_finished
    from django.db.backends.signals import connection_created

    noted = Connections()
    connection_created.connect(noted.note_opened)
    request_finished.connect(noted.note_finished)
    yield noted
    connection_created.disconnect(noted.note_opened)
    request_finished.disconnect(noted.note_finished)


@each_mount
def test_a_request_closes_its_database_connection(
    browser: httpx.Client, prefix: str, connections: Connections
) -> None:
    for count in range(1, 4):
        assert "<li>admin</li>" in browser.get(f"{prefix}/").text
        assert len(connections.opened) == len(connections.finished) == count
        assert connections.open == []
    if prefix == "/django":
        # Django closes no connection of another thread's.
        assert set(connections.finished) == connections.threads


@each_mount
def test_requests_at_the_same_time_close_theirs(
    browser: httpx.Client, prefix: str, connections: Connections
) -> None:
    ask = functools.partial(browser.get, f"{prefix}/")
    asked = [threading.Thread(target=ask) for _ in range(20)]
    for thread in asked:
        thread.start()
    for thread in asked:
        thread.join()
    assert len(connections.opened) == len(connections.finished) == len(asked)
    assert connections.open == []


# -- the new one, and all together --------------------------------------------------------------


@pytest.mark.bare
def test_the_new_routes_are_there(browser: httpx.Client) -> None:
    page = browser.get("/").text
    links = re.findall('href="([^"]+)"', page)
    assert len(links) == 6
    for link in links:
        assert browser.get(link, follow_redirects=True).status_code == 200
    assert browser.get("/ticks").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert browser.get("/nothing").status_code == 404


@pytest.mark.parametrize(("prefix", "lint"), [("/django", True), ("/django-async", False)])
def test_everything_under_uvicorn(tmp_path: Path, prefix: str, lint: bool) -> None:
    options = ["--app-dir", str(HERE)]
    env = {"LEGACY_DATA": str(tmp_path), "PYTHONWARNINGS": "error"}
    with serve("main:app", *options, env=env, lint=lint) as server:
        with httpx.Client(base_url=server.url) as client:
            assert client.post("/shop/basket", data={"name": "nib"}).status_code == 302
            assert client.get("/basket.json").json() == {"basket": {"nib": 1}}
            assert client.get("/ticks").text.count("data:") == 3
            answer = client.get(f"{prefix}/admin/", follow_redirects=True)
            assert (answer.status_code, answer.url.path) == (200, f"{prefix}/admin/login/")
            assert "<li>admin</li>" in client.get(f"{prefix}/").text
    assert "Traceback" not in server.output
