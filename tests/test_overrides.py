"""Flask's override points: a method that a subclass or an instance replaces is a stage."""

from __future__ import annotations

import asyncio
import functools
import threading
import typing as t

import pytest

import asyncflask
from asyncflask import abort
from asyncflask import Flask
from asyncflask import g
from asyncflask import request
from asyncflask import Response
from asyncflask.ctx import AppContext
from asyncflask.ctx import RequestContext
from tests.kit.drive import fetch
from tests.twins import check
from tests.twins import COLOURS
from tests.twins import Kit
from tests.twins import painted
from tests.twins import TRANSPORTS

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
each_colour = pytest.mark.parametrize("colour", COLOURS[:3])
on_class_and_instance = pytest.mark.parametrize("where", ["class", "instance"])

STEPS = [
    "full_dispatch_request",
    "preprocess_request",
    "dispatch_request",
    "make_response",
    "process_response",
    "finalize_request",
    "handle_http_exception",
    "handle_user_exception",
    "handle_exception",
    "do_teardown_request",
    "do_teardown_appcontext",
    "make_default_options_response",
    "raise_routing_exception",
]
ASKED: list[tuple[str, str]] = [
    ("GET", "/"),
    ("GET", "/bad"),
    ("GET", "/abort"),
    ("GET", "/nowhere"),
    ("GET", "/slash"),
    ("OPTIONS", "/"),
    ("POST", "/form"),
]
Event: t.TypeAlias = tuple[str, bool]
"""A name, and whether it was noted on a thread without an event loop."""


def note(events: list[Event], name: str) -> None:
    events.append((name, asyncio._get_running_loop() is None))


def fill(app: Flask, colour: str, events: list[Event]) -> None:
    """Give an application hooks and views of one colour that note their calls."""
    app.logger.disabled = True

    def noting(name: str, result: t.Any = None) -> t.Callable[..., t.Any]:
        def call(*args: t.Any) -> t.Any:
            note(events, name)
            if isinstance(result, Exception):
                raise result
            return args[0] if name == "after" else result

        return painted(call, colour)

    app.before_request(noting("before"))
    app.after_request(noting("after"))
    app.teardown_request(noting("teardown"))
    app.teardown_appcontext(noting("teardown app"))
    app.add_url_rule("/", "index", noting("index", "fine"))
    app.add_url_rule("/bad", "bad", noting("bad", ValueError("bad")))
    app.add_url_rule("/abort", "abort", painted(lambda: abort(404), colour))
    app.add_url_rule("/slash/", "slash", noting("slash", "slash"))
    form = painted(lambda: request.form["x"], colour)
    app.add_url_rule("/form", "form", form, methods=["POST"])


def make_pair(
    where: str, name: str, method: t.Callable[..., t.Any], colour: str, events: list[Event]
) -> tuple[Flask, Flask, list[Event]]:
    """Give an application that overrides a method, one that does not, and the latter's events."""
    plain_events: list[Event] = []
    plain = Flask("app", static_folder=None)
    fill(plain, colour, plain_events)
    kind = type("Own", (Flask,), {name: method} if where == "class" else {})
    app = kind("app", static_folder=None)
    fill(app, colour, events)
    if where == "instance":
        setattr(app, name, method.__get__(app))
    return app, plain, plain_events


def answer_of(app: Flask, transport: str, method: str, path: str) -> tuple[int, str]:
    data = {"x": "field"} if method == "POST" else None
    with app.test_client(transport=transport).open(path, method=method, data=data) as response:
        return response.status_code, response.text


@both_transports
@pytest.mark.parametrize("colour", ["sync", "async"])
@on_class_and_instance
@pytest.mark.parametrize("name", STEPS)
def test_a_sync_override_that_calls_the_original_changes_nothing(
    name: str, where: str, colour: str, transport: str
) -> None:
    def method(self: Flask, *args: t.Any, **kwargs: t.Any) -> t.Any:
        note(events, name)
        return getattr(Flask, name)(self, *args, **kwargs)

    events: list[Event] = []
    app, plain, plain_events = make_pair(where, name, method, colour, events)
    calls: list[Event] = []
    for one in ASKED:
        events.clear()
        plain_events.clear()
        assert answer_of(app, transport, *one) == answer_of(plain, transport, *one)
        assert [event for event in events if event[0] != name] == plain_events
        calls += [event for event in events if event[0] == name]
    # On a thread, as all sync code of the user's.
    assert set(calls) == {(name, True)}


REPLACED: dict[str, t.Callable[..., t.Any]] = {
    "full_dispatch_request": lambda self: self.response_class("replaced"),
    "preprocess_request": lambda self: "replaced",
    "dispatch_request": lambda self: "replaced",
    "make_response": lambda self, rv: self.response_class("replaced"),
    "process_response": lambda self, response: self.response_class("replaced"),
    "finalize_request": lambda self, rv, from_error_handler=False: Response("replaced"),
    "handle_http_exception": lambda self, e: f"replaced {e.code}",
    "handle_user_exception": lambda self, e: f"replaced {type(e).__name__}",
    "handle_exception": lambda self, e: self.response_class(f"replaced {type(e).__name__}"),
    "make_default_options_response": lambda self: self.response_class("replaced"),
    "raise_routing_exception": lambda self, request: abort(404, "replaced"),
}


@both_transports
@each_colour
@on_class_and_instance
@pytest.mark.parametrize("name", REPLACED)
def test_a_method_may_be_replaced_in_any_colour(
    name: str, where: str, colour: str, transport: str
) -> None:
    method = painted(REPLACED[name], colour)
    app, _, _ = make_pair(where, name, method, "async" if where == "class" else "sync", [])
    texts = {answer_of(app, transport, *one)[1] for one in ASKED}
    assert any("replaced" in text for text in texts), texts
    if where == "instance":
        delattr(app, name)
        assert answer_of(app, transport, "GET", "/") == (200, "fine")


@both_transports
@each_colour
@pytest.mark.parametrize("name", ["do_teardown_request", "do_teardown_appcontext"])
def test_a_replaced_teardown_gets_the_error(name: str, colour: str, transport: str) -> None:
    errors: list[BaseException | None] = []
    method = painted(lambda self, exc=None: errors.append(exc), colour)
    app, _, _ = make_pair("class", name, method, "async", [])
    answer_of(app, transport, "GET", "/")
    answer_of(app, transport, "GET", "/bad")
    assert (errors[0], repr(errors[1])) == (None, "ValueError('bad')")


@both_transports
@each_colour
def test_finalize_request_is_told_where_the_value_comes_from(colour: str, transport: str) -> None:
    told: list[tuple[t.Any, bool]] = []

    def finalize_request(self: Flask, rv: t.Any, from_error_handler: bool = False) -> Response:
        told.append((rv, from_error_handler))
        return Response("x")

    method = painted(finalize_request, colour)
    app, _, _ = make_pair("class", "finalize_request", method, "sync", [])
    answer_of(app, transport, "GET", "/")
    answer_of(app, transport, "GET", "/bad")
    assert told[0] == ("fine", False)
    assert (told[1][0].code, told[1][1]) == (500, True)


@both_transports
@each_colour
@pytest.mark.parametrize("name", ["preprocess_request", "dispatch_request", "process_response"])
def test_what_an_override_raises_is_handled(name: str, colour: str, transport: str) -> None:
    def method(self: Flask, *args: t.Any) -> t.NoReturn:
        raise LookupError(name)

    app, _, events = make_pair("class", name, painted(method, colour), "async", [])
    app.register_error_handler(LookupError, lambda error: "handled")
    # As in Flask, what fails after the view is no longer for the handlers.
    expected = (500, None) if name == "process_response" else (200, "handled")
    status, text = answer_of(app, transport, "GET", "/")
    assert (status, text if status == 200 else None) == expected


@pytest.mark.parametrize("view_colour", ["sync", "async"])
def test_an_override_runs_on_the_thread_of_the_other_sync_stages(view_colour: str) -> None:
    threads: list[int] = []

    class Own(Flask):
        def dispatch_request(self) -> t.Any:
            threads.append(threading.get_ident())
            return super().dispatch_request()

        def finalize_request(self, rv: t.Any, from_error_handler: bool = False) -> Response:
            threads.append(threading.get_ident())
            return super().finalize_request(rv, from_error_handler)

    def hook(*args: t.Any) -> t.Any:
        threads.append(threading.get_ident())
        return args[0] if args else None

    app = Own("app", static_folder=None)
    app.before_request(hook)
    app.after_request(hook)
    app.teardown_request(hook)
    app.add_url_rule("/", "index", painted(lambda: "x", view_colour))
    assert app.test_client(transport="asgi").get("/").text == "x"
    assert len(threads) == 5
    assert len(set(threads)) == 1
    assert threads[0] != threading.get_ident()


# -- as extensions and applications do it -----------------------------------------------------


def as_toolbar(kit: Kit) -> t.Any:
    """An application whose dispatch_request is replaced as a debug toolbar does it."""
    web = kit.web
    app = web.Flask("app", static_folder=None)

    def profiled(view: t.Callable[..., t.Any], **kwargs: t.Any) -> t.Any:
        kit.note("profiled", view.__name__, kwargs)
        return view(**kwargs)

    def dispatch_request() -> t.Any:
        kit.note("toolbar")
        ctx = web.globals.request_ctx
        if ctx.request.routing_exception is not None:
            web.current_app.raise_routing_exception(ctx.request)
        rule = ctx.request.url_rule
        if getattr(rule, "provide_automatic_options", False) and ctx.request.method == "OPTIONS":
            return web.current_app.make_default_options_response()
        view = functools.partial(profiled, web.current_app.view_functions[rule.endpoint])
        return view(**ctx.request.view_args)

    app.dispatch_request = dispatch_request
    app.after_request(kit.noting("after", "argument"))
    app.add_url_rule("/<int:number>", "number", kit.paint(lambda number: f"{number}"))
    app.add_url_rule("/bad", "bad", kit.noting("bad", ValueError("bad")))
    app.add_url_rule("/slash/", "slash", kit.noting("slash", "slash"))
    app.register_error_handler(ValueError, kit.noting("handler", "handled"))
    return app


def test_a_toolbar_that_replaces_dispatch_request() -> None:
    found = check(as_toolbar, "/5", "/bad", "/nowhere", ("OPTIONS", "/5"), ("POST", "/5"))
    assert [outcome.body for outcome in found[:2]] == ["5", "handled"]
    assert found[0].events == ["toolbar", ("profiled", "<lambda>", {"number": 5}), "after"]


@both_transports
def test_an_async_view_behind_a_toolbar_finds_its_body(transport: str) -> None:
    app = as_toolbar(Kit(asyncflask))

    @app.post("/form")
    async def form() -> str:
        return request.form["x"]

    assert app.test_client(transport=transport).post("/form", data={"x": "field"}).text == "field"


def as_cors(kit: Kit) -> t.Any:
    """An application whose handling of errors is wrapped as a CORS extension does it."""
    app = kit.web.Flask("app", static_folder=None)

    def add_header(response: t.Any) -> t.Any:
        kit.note("cors")
        response.headers["Access-Control-Allow-Origin"] = "*"
        return response

    def wrap(method: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def wrapped(*args: t.Any, **kwargs: t.Any) -> t.Any:
            return add_header(app.make_response(method(*args, **kwargs)))

        return wrapped

    app.after_request(kit.paint(add_header))
    app.handle_exception = wrap(app.handle_exception)
    app.handle_user_exception = wrap(app.handle_user_exception)
    app.add_url_rule("/", "index", kit.noting("index", "fine"))
    app.add_url_rule("/bad", "bad", kit.noting("bad", ValueError("bad")))
    app.add_url_rule("/handled", "handled", kit.noting("handled", KeyError("key")))
    app.add_url_rule("/abort", "abort", kit.paint(lambda: kit.web.abort(403)))
    app.register_error_handler(KeyError, kit.noting("handler", ("handled", 299)))
    app.register_error_handler(500, kit.noting("server error", ("sorry", 500)))
    app.teardown_request(kit.paint(lambda error: kit.note("teardown", repr(error))))
    return app


def test_a_cors_extension_that_wraps_the_handling_of_errors() -> None:
    found = check(as_cors, "/", "/bad", "/handled", "/abort", "/nowhere", ("POST", "/"))
    allowed = ("access-control-allow-origin", "*")
    assert all(allowed in outcome.headers for outcome in found)
    assert found[1].events[:4] == ["bad", "server error", "cors", "cors"]


def as_api(kit: Kit) -> t.Any:
    """An application whose errors an API extension answers, for some of its views."""
    app = kit.web.Flask("app", static_folder=None)

    def error_router(original: t.Callable[..., t.Any], error: Exception) -> t.Any:
        kit.note("router", type(error).__name__, kit.web.request.path)
        if kit.web.request.path.startswith("/api"):
            return app.make_response(({"message": str(error)}, getattr(error, "code", 500)))
        return original(error)

    app.handle_exception = functools.partial(error_router, app.handle_exception)
    app.handle_user_exception = functools.partial(error_router, app.handle_user_exception)
    for path in ("/bad", "/api/bad"):
        app.add_url_rule(path, path, kit.noting(path, ValueError("bad")))
    app.add_url_rule("/api/abort", "abort", kit.paint(lambda: kit.web.abort(409)))
    return app


def test_an_api_extension_that_routes_errors() -> None:
    found = check(as_api, "/bad", "/api/bad", "/api/abort", "/api/nowhere", "/nowhere")
    assert found[1].body == '{"message":"bad"}\n'
    assert [outcome.status for outcome in found] == [500, 500, 409, 404, 404]


def as_subclass(kit: Kit) -> t.Any:
    """An application class that overrides everything at once and calls super()."""

    class Own(kit.web.Flask):  # type: ignore[misc,name-defined]
        def full_dispatch_request(self) -> t.Any:
            kit.note("full_dispatch_request")
            return super().full_dispatch_request()

        def preprocess_request(self) -> t.Any:
            kit.note("preprocess_request")
            return super().preprocess_request()

        def dispatch_request(self) -> t.Any:
            kit.note("dispatch_request")
            try:
                return super().dispatch_request()
            except LookupError as error:
                return f"caught {error}"

        def make_response(self, rv: t.Any) -> t.Any:
            kit.note("make_response")
            return super().make_response("none" if rv is None else rv)

        def process_response(self, response: t.Any) -> t.Any:
            kit.note("process_response")
            response.headers["X-Early"] = "1"
            return super().process_response(response)

        def finalize_request(self, rv: t.Any, from_error_handler: bool = False) -> t.Any:
            kit.note("finalize_request", from_error_handler)
            return super().finalize_request(rv, from_error_handler)

        def handle_user_exception(self, e: Exception) -> t.Any:
            kit.note("handle_user_exception")
            return super().handle_user_exception(e)

        def handle_http_exception(self, e: t.Any) -> t.Any:
            kit.note("handle_http_exception")
            return super().handle_http_exception(e)

        def handle_exception(self, e: Exception) -> t.Any:
            kit.note("handle_exception")
            return super().handle_exception(e)

        def log_exception(self, exc_info: t.Any) -> None:
            kit.note("log_exception", repr(exc_info[1]))
            super().log_exception(exc_info)

        def do_teardown_request(self, *args: t.Any) -> None:
            kit.note("do_teardown_request")
            super().do_teardown_request(*args)

        def do_teardown_appcontext(self, *args: t.Any) -> None:
            kit.note("do_teardown_appcontext")
            super().do_teardown_appcontext(*args)

    app = Own("app", static_folder=None)
    for number in "12":
        app.before_request(kit.noting(f"before {number}"))
        app.after_request(kit.noting(f"after {number}", "argument"))
        app.teardown_request(kit.noting(f"teardown {number}"))
        app.teardown_appcontext(kit.noting(f"teardown app {number}"))
    app.add_url_rule("/", "index", kit.noting("index", "fine"))
    app.add_url_rule("/none", "none", kit.noting("none"))
    app.add_url_rule("/bad", "bad", kit.noting("bad", ValueError("bad")))
    app.add_url_rule("/lookup", "lookup", kit.noting("lookup", LookupError("gone")))
    app.add_url_rule("/abort", "abort", kit.paint(lambda: kit.web.abort(403)))
    app.register_error_handler(403, kit.noting("handler", ("handled", 403)))
    return app


def test_a_subclass_that_overrides_everything() -> None:
    found = check(as_subclass, "/", "/none", "/bad", "/lookup", "/abort", "/nowhere", ("PUT", "/"))
    assert [outcome.body for outcome in found[:2]] == ["fine", "none"]
    assert found[3].body == "caught gone"
    assert found[2].events.count(("finalize_request", True)) == 1


class Proxy:
    """Wraps a method as agents do: it passes for what it wraps, as far as it can."""

    def __init__(self, wrapped: t.Any, calls: list[str]) -> None:
        self.__wrapped__ = wrapped
        self._calls = calls

    def __get__(self, instance: object, owner: type) -> Proxy:
        return Proxy(self.__wrapped__.__get__(instance, owner), self._calls)

    def __call__(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        self._calls.append(self.__wrapped__.__name__)
        return self.__wrapped__(*args, **kwargs)

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.__wrapped__, name)

    def __eq__(self, other: object) -> bool:
        return bool(self.__wrapped__ == other)

    def __hash__(self) -> int:
        return hash(self.__wrapped__)


@both_transports
def test_an_agent_that_wraps_methods_of_the_class_sees_every_call(transport: str) -> None:
    calls: list[str] = []
    names = ["full_dispatch_request", "preprocess_request", "dispatch_request", "process_response"]
    kind = type("Own", (Flask,), {name: Proxy(getattr(Flask, name), calls) for name in names})
    app = kind("app", static_folder=None)
    fill(app, "async", [])
    assert answer_of(app, transport, "GET", "/") == (200, "fine")
    assert calls == names


# -- contexts ------------------------------------------------------------------------------------


@both_transports
@each_colour
@on_class_and_instance
def test_contexts_may_be_of_another_class(where: str, colour: str, transport: str) -> None:
    class OwnRequestContext(RequestContext):
        pass

    class OwnAppContext(AppContext):
        def __init__(self, app: Flask) -> None:
            super().__init__(app)
            self.g.own = True

    def request_context(self: Flask, environ: t.Any) -> RequestContext:
        return OwnRequestContext(self, environ)

    def app_context(self: Flask) -> AppContext:
        return OwnAppContext(self)

    methods = {"request_context": request_context, "app_context": app_context}
    kind = type("Own", (Flask,), methods if where == "class" else {})
    app = kind("app", static_folder=None)
    seen: list[bool] = []

    def view() -> str:
        from asyncflask.globals import request_ctx

        seen.append(isinstance(request_ctx._get_current_object(), OwnRequestContext))
        seen.append(g.own)
        return request.form["x"]

    app.add_url_rule("/", "index", painted(view, colour), methods=["POST"])
    if where == "instance":
        app.request_context = request_context.__get__(app)
        app.app_context = app_context.__get__(app)
    assert app.test_client(transport=transport).post("/", data={"x": "field"}).text == "field"
    assert seen == [True, True]


@pytest.mark.parametrize("name", ["app_context", "request_context"])
def test_what_sync_code_calls_cannot_be_async(name: str) -> None:
    async def method(self: Flask, *args: t.Any) -> t.Any:
        return None

    app = type("Own", (Flask,), {name: method})("app", static_folder=None)
    with pytest.raises(TypeError, match=f"Own.{name} is overridden by .*, which is async"):
        app.test_client(transport="asgi").get("/")


@pytest.mark.anyio
async def test_the_application_context_may_be_one_that_is_pushed_already() -> None:
    app = Flask("app", static_folder=None)
    shared = app.app_context()
    app.add_url_rule("/", "index", lambda: g.setdefault("name", "shared"))
    app.app_context = lambda: shared  # type: ignore[method-assign]
    async with shared:
        assert [(await fetch(app)).body for _ in range(2)] == [b"shared"] * 2
        assert g.name == "shared"
