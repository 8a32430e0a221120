"""Errors in debug mode are shown in Werkzeug's debugger, whose consoles can await."""

from __future__ import annotations

import asyncio
import gc
import html
import json
import re
import typing as t
import weakref
from contextvars import ContextVar
from urllib.parse import quote
from urllib.parse import urlencode

import flask
import pytest

from asyncflask import debugger as debugger_module
from asyncflask import Flask
from asyncflask import g
from asyncflask import render_template_string
from asyncflask import request
from asyncflask.debugger import Debugger
from tests.kit.drive import Answer
from tests.kit.drive import fetch
from tests.kit.server import module_of
from tests.kit.server import running
from tests.kit.server import Server
from tests.twins import painted

each_colour = pytest.mark.parametrize("colour", ["sync", "async"])
PIN = "123-456-789"
setting: ContextVar[str] = ContextVar("setting", default="unset")


@pytest.fixture(autouse=True)
def own_pin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WERKZEUG_DEBUG_PIN", PIN)


class Local:
    """Something that is local to a view."""


def make_app(colour: str = "async") -> Flask:
    app = Flask("app", static_folder=None)
    app.debug = True

    @app.before_request
    async def before() -> None:
        g.user = "ada"
        setting.set("by a hook")

    def fail(name: str = "") -> t.NoReturn:
        found_in_frame = f"local {name}"
        raise LookupError(f"<b>{found_in_frame}")

    view = painted(fail, colour)
    for rule in ("/", "/<name>"):
        app.add_url_rule(rule, "fail", view, methods=["GET", "POST"])
    return app


def debugged(app: t.Any) -> Debugger:
    return Debugger(app)


class Page:
    """The page of an error, and its consoles, used as the page's own script does it."""

    def __init__(self, debugger: Debugger, answer: Answer, path: str) -> None:
        assert (answer.status, answer.header("content-type")) == (500, "text/html; charset=utf-8")
        self.debugger = debugger
        self.text = answer.text
        self.path = path
        self.secret = re.findall(r'SECRET = "(\w+)"', self.text)[0]
        self.frames = re.findall(r'id="frame-(\d+)"', self.text)
        self.cookie = ""

    async def command(self, host: str = "localhost", **arguments: str) -> Answer:
        query = urlencode({"__debugger__": "yes", "s": self.secret, **arguments}, quote_via=quote)
        headers = [("Host", host), ("Cookie", self.cookie)]
        scope = {"headers": [(n.lower().encode(), v.encode()) for n, v in headers]}
        return await fetch(self.debugger, "GET", f"{self.path}?{query}", scope=scope)

    async def unlock(self, pin: str = PIN, host: str = "localhost") -> Answer:
        answer = await self.command(host, cmd="pinauth", pin=pin)
        self.cookie = (answer.header("set-cookie") or "").partition(";")[0]
        return answer

    async def evaluate(self, code: str) -> str:
        """Evaluate in the innermost frame; gives the text that the page would show."""
        return shown(await self.command(cmd=code, frm=self.frames[-1]))


def shown(answer: Answer) -> str:
    text = re.sub(r"<[^>]*>", "", answer.text)
    return html.unescape(text).partition("\n")[2].strip()


async def fail(debugger: Debugger, path: str = "/", method: str = "GET", **kwargs: t.Any) -> Page:
    return Page(debugger, await fetch(debugger, method, path, **kwargs), path)


async def unlocked(app: t.Any, path: str = "/", method: str = "GET", **kwargs: t.Any) -> Page:
    page = await fail(debugged(app), path, method, **kwargs)
    assert (await page.unlock()).json == {"auth": True, "exhausted": False}
    return page


# -- pages ----------------------------------------------------------------------------------------


@each_colour
async def test_an_error_is_shown_with_its_source(
    colour: str, capsys: pytest.CaptureFixture[str]
) -> None:
    page = await fail(debugged(make_app(colour)), "/x")
    assert "raise LookupError(f&#34;" in page.text and "&lt;b&gt;local x" in page.text
    assert "EVALEX = true" in page.text and "EVALEX_TRUSTED = false" in page.text
    # Not only in the browser.
    assert "LookupError: <b>local x" in capsys.readouterr().err


PLAIN = ["application/json", "text/plain", "application/json, text/plain, */*"]
PLAIN += ["application/problem+json", "text/html;q=0.5, application/json"]
PAGES = ["*/*", "", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "image/png"]


@pytest.mark.parametrize("accept", PLAIN + PAGES)
async def test_a_client_that_wants_json_or_text_gets_text(accept: str) -> None:
    debugger = debugged(make_app())
    answer = await fetch(debugger, headers={"Accept": accept} if accept else {})
    kind = "text/plain" if accept in PLAIN else "text/html"
    assert (answer.status, answer.header("content-type")) == (500, f"{kind}; charset=utf-8")
    if accept in PLAIN:
        assert answer.text.startswith("Traceback") and debugger.consoles.secret not in answer.text
        assert not debugger.consoles.frames


async def test_what_is_no_error_is_answered_as_ever() -> None:
    app = make_app()
    app.get("/fine")(lambda: "fine")
    app.register_error_handler(KeyError, lambda error: ("handled", 418))
    app.get("/handled", endpoint="handled")(lambda: {}["missing"])
    debugger = debugged(app)
    assert (await fetch(debugger, "GET", "/fine")).text == "fine"
    assert (await fetch(debugger, "GET", "/fine?of=x__debugger__=yes")).text == "fine"
    assert (await fetch(debugger, "GET", "/missing/page")).status == 404
    assert (await fetch(debugger, "GET", "/handled")).status == 418
    app.config["PROPAGATE_EXCEPTIONS"] = False
    answer = await fetch(debugger)
    assert answer.status == 500 and "LookupError" not in answer.text


async def test_there_is_no_debugger_once_debug_mode_is_off() -> None:
    app = make_app()
    debugger = debugged(app)
    page = await fail(debugger)
    await page.unlock()
    app.debug = False
    answer = await fetch(debugger)
    assert answer.status == 500 and "LookupError" not in answer.text
    assert "local" not in (await page.command(cmd="found_in_frame", frm=page.frames[-1])).text
    assert (await fetch(debugger, "GET", "/console/x")).status == 404


async def test_errors_outside_of_the_view_are_shown() -> None:
    app = Flask("app", static_folder=None)
    app.debug = True
    closed: list[str] = []

    async def stream() -> t.AsyncIterator[str]:
        try:
            raise LookupError("in the stream")
            yield ""
        finally:
            closed.append("stream")

    app.get("/stream")(stream)
    app.get("/template")(lambda: render_template_string("\n{{ [][7].x.y }}"))
    app.get("/fine", endpoint="fine")(lambda: "fine")

    @app.teardown_request
    async def tear_down(error: BaseException | None) -> None:
        if request.path == "/fine":
            raise LookupError("in the teardown")

    debugger = debugged(app)
    assert "in the stream" in (await fail(debugger, "/stream")).text and closed == ["stream"]
    assert "UndefinedError" in (await fail(debugger, "/template")).text
    assert "in the teardown" in (await fail(debugger, "/fine")).text


async def test_an_error_in_the_middle_of_a_stream_aborts_the_connection() -> None:
    app = make_app()

    @app.get("/stream")
    async def stream() -> t.AsyncIterator[str]:
        yield "begun"
        raise LookupError("in the stream")

    with pytest.raises(LookupError, match="in the stream"):
        await fetch(debugged(app), "GET", "/stream")


# -- consoles -------------------------------------------------------------------------------------


@each_colour
async def test_a_console_knows_the_frame_and_the_request(colour: str) -> None:
    page = await unlocked(make_app(colour), "/x")
    assert await page.evaluate("found_in_frame") == "'local x'"
    assert await page.evaluate("request.path, g.user, setting.get()") == (
        "('/x', 'ada', 'by a hook')"
    )
    assert await page.evaluate("y = 6 * 7") == "" and await page.evaluate("y") == "42"
    assert "SystemExit" in await page.evaluate("raise SystemExit")
    assert "local variables" in (await page.evaluate("dump()")).lower()


async def test_a_console_awaits_on_the_loop_of_the_server() -> None:
    app = Flask("app", static_folder=None)
    app.debug = True

    async def where() -> int:
        await asyncio.sleep(0)
        return id(asyncio.get_running_loop())

    @app.get("/")
    async def view() -> t.NoReturn:
        future = asyncio.get_running_loop().create_future()
        coro, task = where(), asyncio.ensure_future(where())
        future.set_result("settled")
        raise LookupError((future, coro, task))

    loop = str(id(asyncio.get_running_loop()))
    page = await unlocked(app)
    assert await page.evaluate("await future") == "'settled'"
    assert await page.evaluate("await coro") == await page.evaluate("await task") == loop
    assert await page.evaluate("x = await where()") == "" and await page.evaluate("x") == loop
    error = await page.evaluate("await missing()")
    assert "NameError" in error and "run_awaitable" not in error


@each_colour
async def test_a_console_reads_a_body_that_has_arrived(colour: str) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    app = make_app(colour)
    for code, result in (("request.form['a']", "'b'"), ("request.get_data()", "b'a=b'")):
        page = await unlocked(app, "/", "POST", headers=headers, body=b"a=b")
        if code == "request.form['a']" or colour == "sync":
            assert await page.evaluate(code) == result


async def test_every_command_runs_the_teardown_as_a_request_does() -> None:
    app = make_app()
    torn: list[str] = []
    app.teardown_appcontext(lambda error: torn.append(g.user))
    page = await unlocked(app)
    assert torn == ["ada"]
    await page.evaluate("1")
    assert torn == ["ada"] * 2


async def test_the_consoles_of_several_errors_are_told_apart() -> None:
    first = await unlocked(make_app(), "/a")
    second = await fail(first.debugger, "/b")
    second.cookie = first.cookie
    assert not set(first.frames) & set(second.frames)
    results = await asyncio.gather(
        *(page.evaluate("found_in_frame, request.path") for page in (first, second) * 3)
    )
    assert results == ["('local a', '/a')", "('local b', '/b')"] * 3


async def test_so_many_errors_are_kept_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debugger_module, "KEPT_ERRORS", 3)
    app = make_app()
    held: weakref.WeakSet[Local] = weakref.WeakSet()

    @app.get("/held")
    async def view() -> t.NoReturn:
        local = Local()
        held.add(local)
        raise LookupError(local)

    first = await unlocked(app, "/held")
    consoles = first.debugger.consoles
    for _ in range(5):
        await fail(first.debugger, "/held")
    gc.collect()
    assert len(held) == 3
    sizes = len(consoles.frames), len(consoles.frame_contexts), len(consoles._variables)
    await fail(first.debugger, "/held")
    assert sizes == (len(consoles.frames),) * 3
    gone = await first.command(cmd="local", frm=first.frames[-1])
    assert gone.status == 403 and "no longer kept" in gone.text


async def test_the_console_without_an_error_has_the_application() -> None:
    page = await unlocked(make_app())
    answer = await fetch(page.debugger, "GET", "/console")
    assert answer.status == 200 and "CONSOLE_MODE = true" in answer.text
    assert shown(await page.command(cmd="app.name", frm="0")) == "'app'"


# -- who is let in --------------------------------------------------------------------------------


async def test_nothing_is_evaluated_without_pin_secret_and_a_good_host() -> None:
    page = await fail(debugged(make_app()))
    call = {"cmd": "found_in_frame", "frm": page.frames[-1]}
    assert (await page.command(**call)).status == 403
    assert (await page.unlock("000-000-000")).json == {"auth": False, "exhausted": False}
    assert (await page.command(**call)).status == 403
    assert (await page.unlock(host="evil.example")).status == 400 and not page.cookie
    await page.unlock()
    assert (await page.command(**call, s="wrong")).status == 403
    assert (await page.command("evil.example", **call)).status == 400
    assert (await page.command("evil.example", cmd="printpin")).status == 400
    assert "local" in (await page.command(**call)).text


async def test_another_host_gets_a_page_without_consoles() -> None:
    debugger = debugged(make_app())
    answer = await fetch(debugger, scope={"headers": [(b"host", b"evil.example")]})
    assert answer.status == 500 and "EVALEX = false" in answer.text
    assert not debugger.consoles.frames
    page = await fetch(debugger, "GET", "/console", scope={"headers": [(b"host", b"evil")]})
    assert page.status == 400


async def test_the_consoles_are_locked_after_ten_wrong_pins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("werkzeug.debug.time.sleep", lambda seconds: None)
    page = await fail(debugged(make_app()))
    for _ in range(10):
        assert not (await page.unlock("000-000-000")).json["auth"]
    assert (await page.unlock()).json == {"auth": False, "exhausted": True}


# -- applications around and inside ---------------------------------------------------------------


class Through:
    """A WSGI middleware."""

    def __init__(self, app: t.Any) -> None:
        self.app = app

    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Any:
        return self.app(environ, start_response)


@each_colour
@pytest.mark.parametrize("around", ["mounted", "wsgi", "asgi", "mounted behind wsgi"])
async def test_it_works_for_applications_inside_of_others(around: str, colour: str) -> None:
    inner = app = make_app(colour)
    path = "/x"
    if "mounted" in around:
        app = Flask("outer", static_folder=None)
        app.debug = True
        app.mount("/inner", inner)
        path = "/inner/x"
    if around.endswith("wsgi"):
        app.wsgi_app = Through(app.wsgi_app)  # type: ignore[method-assign]
    if around == "asgi":
        own = app.asgi_app
        app.asgi_app = lambda *args: own(*args)  # type: ignore[method-assign]
    page = await unlocked(app, path)
    assert await page.evaluate("found_in_frame, g.user, request.path") == (
        "('local x', 'ada', '/x')"
    )


async def test_a_mounted_wsgi_application_is_shown_with_its_own_contexts() -> None:
    inner = flask.Flask("inner", static_folder=None)
    inner.debug = True

    @inner.get("/<name>")
    def view(name: str) -> t.NoReturn:
        raise LookupError(name)

    outer = make_app()
    outer.mount("/inner", inner)
    page = await unlocked(outer, "/inner/x")
    assert await page.evaluate("name, flask.request.path") == "('x', '/x')"


# -- the development server -----------------------------------------------------------------------

SERVED = """
    from asyncflask import Flask, request

    app = Flask(__name__)

    @app.get("/sync")
    def view():
        found_in_frame = "local"
        raise LookupError("in the view")

    @app.get("/async")
    async def async_view():
        async def double(x):
            return 2 * x

        found_in_frame = "local"
        raise LookupError("in the view")

    if __name__ == "__main__":
        app.run(port=0, debug=True, use_reloader=False)
"""
RUN = ["-m", "asyncflask", "--app", "served", "run", "--port=0", "--debug"]
COMMANDS = {"reloading": RUN, "in one process": [*RUN, "--no-reload"], "a script": ["served.py"]}


def ask(
    server: Server, path: str, cookie: str = "", host: str = "localhost", **query: str
) -> tuple[int, str, str]:
    """Give the status, the text and the cookie of an answer."""
    with server.connect() as connection:
        if query:
            path += "?" + urlencode({"__debugger__": "yes", **query}, quote_via=quote)
        lines = f"GET {path} HTTP/1.1", f"Host: {host}", f"Cookie: {cookie}"
        connection.send("\r\n".join([*lines, "", ""]).encode())
        response = connection.response()
        new = (response.getheader("Set-Cookie") or "").partition(";")[0]
        return response.status, response.read().decode(), new


@pytest.mark.parametrize("command", COMMANDS)
def test_the_development_server_shows_errors_and_evaluates(command: str) -> None:
    with module_of(SERVED) as (_, folder), running(COMMANDS[command], folder) as server:
        pin = re.findall(r"Debugger PIN: (\S+)", server.wait_for_output("Debugger PIN"))[0]
        for path in ("/sync", "/async"):
            status, page, _ = ask(server, path)
            assert status == 500 and "LookupError: in the view" in page
            secret = re.findall(r'SECRET = "(\w+)"', page)[0]
            frame = re.findall(r'id="frame-(\d+)"', page)[-1]
            for name in ("debugger.js", "style.css"):
                assert ask(server, path, cmd="resource", f=name)[0] == 200
            call = {"cmd": "found_in_frame * 2, request.path", "frm": frame, "s": secret}
            assert ask(server, path, **call)[0] == 403
            _, told, cookie = ask(server, path, cmd="pinauth", pin=pin, s=secret)
            assert json.loads(told) == {"auth": True, "exhausted": False}
            text = html.unescape(re.sub(r"<[^>]*>", "", ask(server, path, cookie, **call)[1]))
            assert text.endswith(f"('locallocal', {path!r})")
            assert ask(server, path, cookie, "evil.example", **call)[0] == 400
        call["cmd"] = "await double(21)"
        assert "42" in ask(server, "/async", cookie, **call)[1]


def test_memory_does_not_grow_with_the_errors() -> None:
    source = SERVED.replace('found_in_frame = "local"', "found_in_frame = bytearray(2**20)")
    with module_of(source) as (_, folder), running(COMMANDS["a script"], folder) as server:
        for _ in range(30):
            ask(server, "/async")
        before = server.memory
        for _ in range(60):
            ask(server, "/async")
        assert server.memory - before < 30 * 2**20
