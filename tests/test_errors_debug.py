"""How errors end, in debug mode and out of it: the same as in Flask for the same application."""

from __future__ import annotations

import io
import traceback
import types
import typing as t
from pathlib import Path

import flask
import pytest
from jinja2 import TemplateNotFound
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import Forbidden
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import InternalServerError
from werkzeug.exceptions import NotFound
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response as WerkzeugResponse

import asyncflask
from asyncflask import Blueprint
from asyncflask import Flask
from asyncflask import request
from asyncflask.debughelpers import DebugFilesKeyError
from asyncflask.debughelpers import FormDataRoutingRedirect

each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])
Action = t.Callable[[types.ModuleType], t.Any]


class OwnError(Exception):
    """An error of the application."""


class OwnHTTPError(HTTPException):
    """An error with a code that is none of HTTP's."""

    code = 499
    description = "own"


class NoCode(HTTPException):
    """An HTTP error without a code of its own."""


def throw(error: BaseException) -> t.NoReturn:
    raise error


def respond(f: types.ModuleType) -> t.Any:
    return throw(BadRequest(response=WerkzeugResponse("carried", 402)))


ACTIONS: dict[str, Action] = {
    "error": lambda f: throw(OwnError("own")),
    "key error": lambda f: {}["missing"],
    "missing argument": lambda f: f.request.args["missing"],
    "missing field": lambda f: f.request.form["missing"],
    "no json": lambda f: f.request.json,
    "abort 400": lambda f: f.abort(400),
    "abort 403": lambda f: f.abort(403, "for a reason"),
    "abort 404": lambda f: f.abort(404),
    "abort with a response": lambda f: f.abort(f.Response("aborted", 418)),
    "own http error": lambda f: throw(OwnHTTPError()),
    "no code": lambda f: throw(NoCode("text", response=f.Response("no code", 230))),
    "carried response": respond,
    "server error": lambda f: throw(InternalServerError("own text")),
    "redirect": lambda f: throw(RequestRedirect("http://localhost/else")),
    "nothing returned": lambda f: None,
    "bad return": lambda f: 5,
    "bad tuple": lambda f: (1, 2, 3, 4),
    "template missing": lambda f: f.render_template("missing.html"),
    "bad url": lambda f: f.url_for("missing"),
    "returned error": lambda f: Forbidden("returned"),
}
CONFIGS: dict[str, dict[str, t.Any]] = {
    "plain": {},
    "debug": {"DEBUG": True},
    "testing": {"TESTING": True},
    "testing without propagation": {"TESTING": True, "PROPAGATE_EXCEPTIONS": False},
    "debug without propagation": {"DEBUG": True, "PROPAGATE_EXCEPTIONS": False},
    "trapping all": {"TRAP_HTTP_EXCEPTIONS": True},
    "trapping bad requests": {"TRAP_BAD_REQUEST_ERRORS": True},
    "trapping none in debug": {"DEBUG": True, "TRAP_BAD_REQUEST_ERRORS": False},
}
HANDLERS: dict[str, list[t.Any]] = {
    "none": [],
    "codes": [400, 403, 404, 405, 500],
    "http": [HTTPException],
    "all": [Exception],
    "http and all": [Exception, HTTPException],
    "own": [OwnError, OwnHTTPError, KeyError],
    "classes": [NotFound, BadRequest, InternalServerError],
}


def handle(kind: t.Any) -> t.Callable[[t.Any], t.Any]:
    def handler(error: t.Any) -> t.Any:
        original = getattr(error, "original_exception", None)
        return f"{kind} {type(error).__name__} {type(original).__name__}", 299

    return handler


def outcomes(
    f: types.ModuleType,
    config: dict[str, t.Any],
    kinds: list[t.Any],
    view: t.Callable[[], t.Any],
    requests: list[tuple[str, str]],
) -> list[t.Any]:
    """Give how requests of an application end, for each colour of the view and each transport."""

    async def view_async() -> t.Any:
        return view()

    found = []
    for func in (view,) if f is flask else (view, view_async):
        app = f.Flask("app", root_path=".", static_folder=None)
        app.logger.disabled = True
        app.config.update(config)
        for kind in kinds:
            app.register_error_handler(kind, handle(kind))
        app.add_url_rule("/", "view", func, methods=["GET", "POST"])
        app.add_url_rule("/slash/", "slash", func)
        for arguments in ({},) if f is flask else ({}, {"transport": "asgi"}):
            client = app.test_client(**arguments)
            found.append([ending(client, method, path) for method, path in requests])
    app.logger.disabled = False
    return found


def ending(client: t.Any, method: str, path: str) -> tuple[t.Any, ...]:
    data = b"{" if method == "POST" else None
    try:
        response = client.open(path, method=method, data=data, content_type="application/json")
    except Exception as error:
        return type(error).__name__, isinstance(error, HTTPException)
    # The redirects of the router are relative here.
    location = (response.location or "").removeprefix("http://localhost")
    text = "" if location else response.text
    return response.status_code, text, location, response.headers.get("Allow")


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_error_of_a_view_ends_as_in_flask(action: str, config: str) -> None:
    requests = [("GET", "/"), ("POST", "/")]
    for kinds in HANDLERS.values():
        arguments = CONFIGS[config], kinds
        expected = outcomes(flask, *arguments, lambda: ACTIONS[action](flask), requests)
        found = outcomes(asyncflask, *arguments, lambda: ACTIONS[action](asyncflask), requests)
        assert found == expected * 4, kinds


@pytest.mark.parametrize("kinds", HANDLERS)
@pytest.mark.parametrize("config", CONFIGS)
def test_every_error_of_routing_ends_as_in_flask(config: str, kinds: str) -> None:
    requests = [("PUT", "/"), ("GET", "/missing"), ("GET", "/slash"), ("POST", "/slash")]
    arguments = CONFIGS[config], HANDLERS[kinds], lambda: "view", requests
    assert outcomes(asyncflask, *arguments) == outcomes(flask, *arguments) * 4


HOOKS = (
    "before_request",
    "after_request",
    "teardown_request",
    "teardown_appcontext",
    "url_value_preprocessor",
)


@each_transport
@pytest.mark.parametrize("error", [OwnError, NotFound])
@pytest.mark.parametrize("hook", HOOKS)
def test_every_error_of_a_hook_ends_as_in_flask(
    hook: str, error: type[Exception], transport: str
) -> None:
    found: list[t.Any] = []
    for f, arguments in ((flask, {}), (asyncflask, {"transport": transport})):
        for kinds in HANDLERS.values():
            app = f.Flask("app", root_path=".", static_folder=None)
            getattr(app, hook)(lambda *args: throw(error()))
            app.get("/", endpoint="view")(lambda: "view")
            for kind in kinds:
                app.register_error_handler(kind, handle(kind))
            found.append(ending(app.test_client(**arguments), "GET", "/"))
    expected, ours = found[: len(HANDLERS)], found[len(HANDLERS) :]
    if hook.startswith("teardown"):
        # Flask lets it break the connection, here the response is sent and the error logged.
        assert expected == [(error.__name__, error is NotFound)] * len(HANDLERS)
        expected = [(200, "view", "", None)] * len(HANDLERS)
    assert ours == expected


@each_transport
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("failing", [{2}, {1, 3}, {1, 2, 3}], ids=str)
def test_every_teardown_runs_whatever_others_do(
    failing: set[int], asynchronous: bool, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    app = Flask("app", static_folder=None)
    ran: list[tuple[str, int]] = []

    def add(hook: str, number: int) -> None:
        def tear_down(exc: BaseException | None) -> None:
            ran.append((hook, number))
            if number in failing:
                raise OwnError(f"{hook} {number}")

        async def tear_down_async(exc: BaseException | None) -> None:
            tear_down(exc)

        getattr(app, hook)(tear_down_async if asynchronous else tear_down)

    hooks = ("teardown_request", "teardown_appcontext")
    for hook in hooks:
        for number in (1, 2, 3):
            add(hook, number)
    app.get("/")(lambda: "view")
    assert app.test_client(transport=transport).get("/").text == "view"
    assert ran == [(hook, number) for hook in hooks for number in (3, 2, 1)]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    # What failed first is not hidden by what failed later.
    logged = "".join(traceback.format_exception(*(caplog.records[0].exc_info or ())))
    for hook in hooks:
        for number in failing:
            assert f"{hook} {number}" in logged


@each_transport
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_propagated_error_is_the_very_one(transport: str, asynchronous: bool) -> None:
    app = Flask("app", static_folder=None)
    app.testing = True
    error = OwnError("own")
    torn: list[BaseException | None] = []
    app.teardown_request(torn.append)

    async def view_async() -> t.NoReturn:
        raise error

    app.get("/")(view_async if asynchronous else lambda: throw(error))
    with pytest.raises(OwnError) as info:
        app.test_client(transport=transport).get("/")
    assert info.value is error and error.__cause__ is None
    assert [entry.name for entry in info.traceback][-1] in {"throw", "view_async"}
    assert torn == [error]


@each_transport
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_no_exception_is_not_answered(kind: type[BaseException], transport: str) -> None:
    app = Flask("app", static_folder=None)
    torn: list[t.Any] = []
    app.register_error_handler(Exception, lambda error: "handled")
    app.teardown_request(lambda exc: torn.append(type(exc)))
    app.get("/")(lambda: throw(kind()))
    with pytest.raises(kind):
        app.test_client(transport=transport).get("/")
    assert torn == [kind]


# -- what debug mode adds -------------------------------------------------------------------------


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask("app", root_path=str(tmp_path))
    app.debug = True
    return app


def add_view(app: Flask, view: t.Callable[[], t.Any], asynchronous: bool) -> None:
    async def view_async() -> t.Any:
        return view()

    app.post("/", endpoint="view")(view_async if asynchronous else view)


each_colour = pytest.mark.parametrize("asynchronous", [False, True], ids=["def", "async def"])


@each_colour
@each_transport
@pytest.mark.parametrize("debug", [False, True])
def test_a_bad_request_says_more_in_debug_mode(
    app: Flask, debug: bool, transport: str, asynchronous: bool
) -> None:
    app.debug = debug
    app.config.update(TRAP_BAD_REQUEST_ERRORS=False, PROPAGATE_EXCEPTIONS=False)
    add_view(app, lambda: request.form["missing"], asynchronous)
    response = app.test_client(transport=transport).post("/")
    assert response.status_code == 400
    assert ("missing" in response.text) is debug


@each_colour
@each_transport
@pytest.mark.parametrize("debug", [False, True])
def test_broken_json_says_more_in_debug_mode(
    app: Flask, debug: bool, transport: str, asynchronous: bool
) -> None:
    app.debug = debug
    add_view(app, lambda: request.get_json(), asynchronous)
    client = app.test_client(transport=transport)
    response = client.post("/", data="{", content_type="application/json")
    assert response.status_code == 400
    assert ("Failed to decode JSON" in response.text) is debug


@each_colour
@each_transport
def test_a_form_without_its_enctype_is_explained(
    app: Flask, transport: str, asynchronous: bool
) -> None:
    add_view(app, lambda: request.files["upload"].filename, asynchronous)
    client = app.test_client(transport=transport)
    with pytest.raises(DebugFilesKeyError, match=r"enctype=.*\n\n.*'index.txt'"):
        client.post("/", data={"upload": "index.txt"})
    with pytest.raises(KeyError) as info:
        client.post("/", data={"other": "index.txt"})
    assert not isinstance(info.value, DebugFilesKeyError)
    upload = {"upload": (io.BytesIO(b""), "sent.txt")}
    assert client.post("/", data=upload).text == "sent.txt"
    app.debug = False
    assert client.post("/", data={"upload": "index.txt"}).status_code == 400


@each_transport
@pytest.mark.parametrize("method", ["POST", "PUT", "GET", "HEAD", "OPTIONS"])
def test_a_redirect_that_loses_the_form_is_an_error_in_debug_mode(
    app: Flask, method: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RequestRedirect, "code", 301)
    app.add_url_rule("/form/", "form", lambda: "form", methods=["POST", "PUT", "GET"])
    client = app.test_client(transport=transport)
    if method in {"POST", "PUT"}:
        with pytest.raises(FormDataRoutingRedirect, match="canonical URL 'http://localhost/form/'"):
            client.open("/form", method=method)
        app.debug = False
    assert client.open("/form", method=method).status_code == 301


@each_transport
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("one.html", ["found in", "one.html"]),
        ("two.html", ["Warning: several loaders"]),
        ("none.html", ["Error: the template could not be found", "blueprint 'bp'"]),
    ],
)
def test_the_search_for_a_template_is_explained(
    app: Flask,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    said: list[str],
    transport: str,
) -> None:
    for path in ("templates/one.html", "templates/two.html", "bp/two.html"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("")
    app.config["EXPLAIN_TEMPLATE_LOADING"] = True
    bp = Blueprint("bp", __name__, template_folder="bp", root_path=str(tmp_path))
    bp.get("/<name>", endpoint="view")(lambda name: asyncflask.render_template(name))
    app.register_blueprint(bp)
    client = app.test_client(transport=transport)
    if name == "none.html":
        with pytest.raises(TemplateNotFound):
            client.get(f"/{name}")
    else:
        assert client.get(f"/{name}").status_code == 200
    record = next(record for record in caplog.records if "Looking for" in record.message)
    assert record.levelname == "INFO"
    for text in (*said, "application 'app'", "blueprint 'bp'", str(tmp_path / "templates")):
        assert text in record.message
