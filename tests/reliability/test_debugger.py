"""Error pages tell nothing, no debugger is within reach, and templates escape."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tomllib
import typing as t
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from werkzeug.debug import DebuggedApplication
from werkzeug.test import Client

import asyncflask
from asyncflask import abort
from asyncflask import Flask
from asyncflask import request
from tests.kit.drive import Exchange
from tests.kit.server import ROOT
from tests.kit.server import serve
from tests.kit.server import Server
from tests.twins import painted

pytestmark = pytest.mark.case("A35")

SCRIPT = "<script>alert(1)</script>"
KEY = "the-key-that-was-looked-up"

# -- pages of errors ------------------------------------------------------------------------------


def make_app(colour: str = "sync") -> Flask:
    app = Flask("app", static_folder=None)
    app.secret_key = "TOP-SECRET"

    def view(path: str = "") -> t.Any:
        kind = request.args.get("kind", "")
        errors: dict[str, t.Callable[[], t.Any]] = {
            "key": lambda: request.form[KEY],
            "reflected key": lambda: request.args[request.args["text"]],
            "json": lambda: request.get_json(force=True),
            "abort": lambda: abort(int(request.args["code"]), request.args["text"]),
            "error": lambda: {}[KEY],
            "text": lambda: int(request.args["text"]),
        }
        return errors[kind]()

    app.add_url_rule("/error", "error", painted(view, colour), methods=["GET", "POST"])
    app.add_url_rule("/only-post/<path:path>", "post", painted(view, colour), methods=["POST"])
    app.add_url_rule("/slash/<path:path>/", "slash", painted(view, colour))
    return app


PAGES: dict[str, tuple[str, int]] = {
    "/error?kind=key": ("GET", 400),
    f"/error?kind=reflected+key&text={SCRIPT}": ("GET", 400),
    f"/error?kind=json&text={SCRIPT}": ("POST", 400),
    f"/error?kind=abort&code=404&text={SCRIPT}": ("GET", 404),
    f"/error?kind=abort&code=500&text={SCRIPT}": ("GET", 500),
    f"/missing/{SCRIPT}": ("GET", 404),
    f"/missing?{SCRIPT}": ("GET", 404),
    f"/only-post/{SCRIPT}": ("GET", 405),
    f"/slash/{SCRIPT}": ("GET", 308),
    f"/slash/x?{SCRIPT}": ("GET", 308),
    "/error?kind=error": ("GET", 500),
    f"/error?kind=text&text={SCRIPT}": ("GET", 500),
}
#: What a page that tells too much has in it.
TOLD = ("Traceback", "KeyError", KEY, "TOP-SECRET", ".py", "EVALEX", SCRIPT, "<script")


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("target", PAGES)
async def test_an_error_page_tells_nothing_outside_of_debug_mode(target: str, colour: str) -> None:
    app = make_app(colour)
    method, status = PAGES[target]
    async with Exchange(app, method, target, body=b"{<" if method == "POST" else b"") as exchange:
        answer = await exchange.end()
    response = app.test_client().open(target, method=method, data=b"{<")
    assert (answer.status, response.status_code) == (status, status)
    for page in (answer.text, response.text):
        assert [told for told in TOLD if told in page] == []


@pytest.mark.parametrize("target", [target for target, page in PAGES.items() if page[1] < 500])
async def test_what_a_page_tells_in_debug_mode_is_escaped(target: str) -> None:
    app = make_app()
    app.debug = True
    # Else an error of its own there, which the server answers.
    app.config["TRAP_BAD_REQUEST_ERRORS"] = False
    method, status = PAGES[target]
    async with Exchange(app, method, target, body=b"{<" if method == "POST" else b"") as exchange:
        answer = await exchange.end()
    assert answer.status == status and "<script" not in answer.text
    if target == "/error?kind=key":
        assert KEY in answer.text


# -- no debugger but with the development server in debug mode ------------------------------------

SERVED = f"""
    from asyncflask import Flask, request

    app = Flask(__name__)
    app.secret_key = "TOP-SECRET"
    app.debug = True

    @app.get("/")
    async def index():
        return "index " + ",".join(request.args)

    @app.get("/error")
    def error():
        hidden = "TOP-SECRET"
        raise LookupError("{SCRIPT}")

    @app.get("/async-error")
    async def async_error():
        raise LookupError("{SCRIPT}")

    if __name__ == "__main__":
        app.run(port=0, debug=True, use_debugger=False, use_reloader=False)
"""
RUN = ["-m", "asyncflask", "--app", "served", "run", "--port=0", "--no-reload"]
COMMANDS = {
    "the command, told not to": [*RUN, "--debug", "--no-debugger"],
    "the command without debug mode": [*RUN, "--debugger"],
    "a script, told not to": ["served.py"],
}


@contextlib.contextmanager
def start(arguments: list[str], folder: Path) -> t.Iterator[Server]:
    """Start the development server in one of the ways there are."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
    )
    server = Server(process)
    try:
        server.wait_until_serving()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module", params=["uvicorn h11", "uvicorn httptools", *COMMANDS])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> t.Iterator[Server]:
    name, _, parser = request.param.partition(" ")
    if name == "uvicorn":
        with serve(SERVED, http=parser, env={"FLASK_DEBUG": "1"}) as server:
            yield server
        return
    folder = tmp_path_factory.mktemp("served")
    lines = [line.removeprefix("    ") for line in SERVED.splitlines()]
    (folder / "served.py").write_text("\n".join(lines), encoding="utf-8")
    with start(COMMANDS[request.param], folder) as server:
        yield server


CALLS = [
    "__debugger__=yes&cmd=resource&f=debugger.js",
    "__debugger__=yes&cmd=printpin&s=x",
    "__debugger__=yes&cmd=pinauth&pin=000-000-000&s=x",
    "__debugger__=yes&cmd=__import__('os').getpid()&frm=0&s=x",
]


@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_the_debuggers_commands_are_ordinary_requests(server: Server, host: str) -> None:
    for call in CALLS:
        with server.connect() as connection:
            connection.send(f"GET /?{call} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            response = connection.response()
            names = ",".join(pair.partition("=")[0] for pair in call.split("&"))
            assert (response.status, response.read().decode()) == (200, f"index {names}")
    for path in ("/console", "/debugger", "/?__debugger__=yes&cmd=paste"):
        with server.connect() as connection:
            connection.request("GET", path)
            assert connection.response().status == (200 if path.startswith("/?") else 404)


@pytest.mark.parametrize("path", ["/error", "/async-error", "/error?__debugger__=yes&cmd=1&frm=0"])
def test_an_error_shows_no_traceback_and_no_console(
    server: Server, path: str, figure: t.Callable[..., None]
) -> None:
    with server.connect() as connection:
        connection.request("GET", path)
        response = connection.response()
        assert response.status == 500
        page = response.read().decode()
    assert [told for told in (*TOLD, "LookupError", "console") if told in page] == []
    assert "LookupError" in server.wait_for_output("LookupError")
    figure("debug mode on uvicorn, `run --no-debugger`: no console, no traceback sent")


# -- Werkzeug's debugger around the WSGI face -----------------------------------------------------


@pytest.fixture(params=["sync", "async"])
def debugged(request: pytest.FixtureRequest) -> DebuggedApplication:
    """The application as Werkzeug's own server has it in debug mode."""
    app = make_app(request.param)
    app.debug = True
    debugged = DebuggedApplication(app, evalex=True, pin_logging=False)
    debugged.pin = "123-456-789"
    return debugged


def page(debugged: DebuggedApplication, query: str, host: str = "localhost") -> t.Any:
    return Client(debugged).get(f"/error?{query}", headers={"Host": host})


def test_a_traceback_is_escaped_and_its_console_locked(debugged: DebuggedApplication) -> None:
    response = page(debugged, f"kind=text&text=--%3E{SCRIPT}")
    shown, _, comment = response.text.rpartition("<!--")
    assert response.status_code == 500 and "Traceback" in shown
    assert SCRIPT not in shown and "&lt;script&gt;" in shown
    # The plain traceback stands in a comment, which its text cannot end.
    assert comment.count("-->") == 1 and comment.rstrip().endswith("-->")
    assert "EVALEX = true" in response.text and "EVALEX_TRUSTED = false" in response.text
    # A result that stands on no page by chance, as a number in some frame's id would.
    call = f"__debugger__=yes&s={debugged.secret}&frm={next(iter(debugged.frames))}"
    call += "&cmd='evalu'%2B'ated-there'"
    client = Client(debugged)
    assert "evaluated-there" not in client.get(f"/error?{call}").text
    pin = f"__debugger__=yes&s={debugged.secret}&cmd=pinauth&pin={debugged.pin}"
    assert client.get(f"/error?{pin}").json == {"auth": True, "exhausted": False}
    assert "evaluated-there" in client.get(f"/error?{call}").text


def test_another_host_gets_no_console(debugged: DebuggedApplication) -> None:
    page(debugged, "kind=error")
    assert "EVALEX = false" in page(debugged, "kind=error", "evil.example").text
    for call in ("cmd=pinauth&pin=123-456-789", "cmd=printpin", "cmd=6*7&frm=0"):
        query = f"__debugger__=yes&{call}&s={debugged.secret}"
        response = page(debugged, query, "evil.example")
        assert response.status_code >= 400 and "Set-Cookie" not in response.headers
    client = Client(debugged)
    assert client.get("/console", headers={"Host": "evil.example"}).status_code == 400


def test_the_console_is_locked_after_ten_wrong_pins(
    debugged: DebuggedApplication, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("werkzeug.debug.time.sleep", lambda seconds: None)

    def try_pin(pin: str) -> t.Any:
        return page(debugged, f"__debugger__=yes&cmd=pinauth&pin={pin}&s={debugged.secret}").json

    answers = [try_pin("000-000-000") for _ in range(11)]
    assert not any(answer["auth"] for answer in answers) and answers[-1]["exhausted"]
    assert try_pin("123-456-789") == {"auth": False, "exhausted": True}


@pytest.mark.parametrize("debugger", [None, False, True])
@pytest.mark.parametrize("debug", [False, True])
def test_a_stand_in_for_werkzeugs_server_debugs_in_debug_mode_or_if_told_to(
    monkeypatch: pytest.MonkeyPatch, debug: bool, debugger: bool | None
) -> None:
    calls: list[dict[str, t.Any]] = []
    stand_in = lambda host, port, app, **options: calls.append(options)  # noqa: E731
    monkeypatch.setattr("werkzeug.serving.run_simple", stand_in)
    options = {} if debugger is None else {"use_debugger": debugger}
    make_app().run(debug=debug, **options)
    expected = debug if debugger is None else debugger
    assert [call["use_debugger"] for call in calls] == [expected]


# -- templates ------------------------------------------------------------------------------------

ESCAPED = {
    **dict.fromkeys(["a.html", "a.htm", "a.xml", "a.xhtml", "a.svg", "b/a.txt.html"], True),
    **dict.fromkeys(["a.txt", "a.md", "a", "html", "a.html.txt", "a.js"], False),
}


async def rendered(render: str, name: str) -> str:
    """Render a template by one of the functions there are."""
    given = "{{ x }}" if "string" in render else name
    result = getattr(asyncflask, render)(given, x="<&\"'")
    if hasattr(result, "__await__"):
        result = await result
    if hasattr(result, "__aiter__"):
        return "".join([chunk async for chunk in result])
    return result if isinstance(result, str) else "".join(result)


@pytest.mark.parametrize("name", ESCAPED)
@pytest.mark.parametrize("suffix", ["", "_async"])
@pytest.mark.parametrize("base", ["render_template", "stream_template"])
async def test_markup_is_escaped_by_the_name_and_in_strings_always(
    tmp_path: Path, base: str, suffix: str, name: str
) -> None:
    path = tmp_path / "templates" / name
    path.parent.mkdir(parents=True)
    path.write_text("{{ x }}")
    app = Flask("app", root_path=str(tmp_path))
    escaped, plain = "&lt;&amp;&#34;&#39;", "<&\"'"
    async with app.test_request_context():
        found = await rendered(f"{base}{suffix}", name)
        assert found == (escaped if ESCAPED[name] else plain)
        assert await rendered(f"{base}_string{suffix}", name) == escaped


def test_no_jinja_with_a_known_hole_may_be_installed() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    jinja = next(
        requirement
        for requirement in map(Requirement, project["dependencies"])
        if requirement.name == "jinja2"
    )
    assert "3.1.6" in jinja.specifier and "3.1.5" not in jinja.specifier
