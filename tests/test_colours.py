"""Every callback may be ``def`` or ``async def``: each kind in both colours, on both transports."""

from __future__ import annotations

import asyncio
import functools
import typing as t

import anyio.lowlevel
import pytest
from jinja2 import DictLoader
from jinja2 import pass_context
from jinja2 import pass_environment
from jinja2 import pass_eval_context

import asyncflask
from asyncflask import after_this_request
from asyncflask import before_render_template
from asyncflask import Blueprint
from asyncflask import flash
from asyncflask import Flask
from asyncflask import got_request_exception
from asyncflask import message_flashed
from asyncflask import render_template
from asyncflask import render_template_string_async
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import template_rendered
from asyncflask import url_for
from asyncflask.lanes import runs_on_loop
from asyncflask.sessions import SecureCookieSession
from asyncflask.sessions import SessionInterface
from asyncflask.views import MethodView
from asyncflask.views import View
from tests.colours import careful
from tests.colours import each_colour
from tests.colours import each_transport
from tests.colours import each_view
from tests.colours import Log
from tests.colours import Paint
from tests.colours import painter


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__, static_folder=None)
    app.secret_key = "key"
    app.jinja_loader = DictLoader({"page.html": "{{ word }}"})
    return app


@pytest.fixture
def log() -> Log:
    return []


# -- what the pipeline calls -----------------------------------------------------------------

Setup = t.Callable[[Flask, Blueprint, Paint, Log], None]
SETUPS: dict[str, tuple[Setup, str, Log]] = {}


def kind(body: str, *noted: t.Any) -> t.Callable[[Setup], Setup]:
    """Enter a kind of callback: what registers one, and what its request must give."""

    def enter(setup: Setup) -> Setup:
        SETUPS[setup.__name__] = (setup, body, list(noted))
        return setup

    return enter


def register(method: str) -> Setup:
    """Give the registration of a hook that returns nothing."""

    def setup(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
        owner: t.Any = app if hasattr(app, method) else bp
        getattr(owner, method)(paint(lambda *args: log.append((method, *args))))

    return setup


def register_after(method: str) -> Setup:
    def setup(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
        def stamp(response: Response) -> Response:
            response.set_data(response.get_data() + b" stamped")
            return response

        getattr(bp if "app" in method else app, method)(paint(stamp))

    return setup


def register_signal(name: str) -> Setup:
    def setup(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
        signal = getattr(asyncflask, name)
        receiver = paint(lambda sender, **extra: log.append((name, sender is app, *sorted(extra))))
        # blinker keeps weak references.
        app.extensions[name] = receiver
        signal.connect(receiver, app)

    return setup


for _method in ("before_request", "before_app_request"):
    SETUPS[_method] = (register(_method), "view", [(_method,)])
for _method in (
    "teardown_request",
    "teardown_app_request",
    "teardown_appcontext",
):
    SETUPS[_method] = (register(_method), "view", [(_method, None)])
for _method in ("url_value_preprocessor", "app_url_value_preprocessor"):
    SETUPS[_method] = (register(_method), "view", [(_method, "bp.view", {})])
for _method in ("after_request", "after_app_request"):
    SETUPS[_method] = (register_after(_method), "view stamped", [])
for _name, _extra in {
    "request_started": (),
    "request_finished": ("response",),
    "request_tearing_down": ("exc",),
    "appcontext_pushed": (),
    "appcontext_tearing_down": ("exc",),
    "appcontext_popped": (),
}.items():
    SETUPS[_name] = (register_signal(_name), "view", [(_name, True, *_extra)])


@kind("stopped")
def before_request_answer(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
    bp.before_request(paint(lambda: "stopped"))


@kind("view of bp")
def blueprint_after_request(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
    def stamp(response: Response) -> str:
        response.set_data(f"{response.get_data(as_text=True)} of {request.blueprint}")
        return t.cast(str, response)

    bp.after_request(paint(stamp))


@kind("view", "first", "second")
def blueprint_teardown_request(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
    bp.teardown_request(paint(lambda exc: log.append("second")))
    bp.teardown_request(paint(lambda exc: log.append("first")))


@kind("view", "bp.view")
def blueprint_url_value_preprocessor(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
    bp.url_value_preprocessor(paint(lambda endpoint, values: log.append(endpoint)))


@kind("view", "opened", "saved")
def session_interface(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> None:
    def open_session(app: Flask, request: t.Any) -> SecureCookieSession:
        log.append("opened")
        return SecureCookieSession({"user": "somebody"})

    def save_session(app: Flask, session: SecureCookieSession, response: Response) -> None:
        log.append("saved")
        assert dict(session) == {"user": "somebody"}

    interface = SessionInterface()
    interface.open_session = paint(open_session)  # type: ignore[method-assign]
    interface.save_session = paint(save_session)  # type: ignore[method-assign]
    app.session_interface = interface


@each_transport
@each_view
@each_colour
@pytest.mark.parametrize("name", SETUPS)
def test_stages_take_either_colour(
    app: Flask, log: Log, name: str, colour: str, view_colour: str, transport: str
) -> None:
    setup, body, noted = SETUPS[name]
    bp = Blueprint("bp", __name__)
    bp.add_url_rule("/", "view", careful(view_colour)(lambda: "view"))
    setup(app, bp, careful(colour), log)
    app.register_blueprint(bp)
    response = app.test_client(transport=transport).get("/")
    assert (response.status_code, response.text) == (200, body)
    assert log == noted


@each_transport
@each_view
@each_colour
def test_functions_of_one_request_take_either_colour(
    app: Flask, colour: str, view_colour: str, transport: str
) -> None:
    def stamp(response: Response) -> Response:
        response.headers["X-Stamp"] = request.path
        return response

    def view() -> str:
        after_this_request(careful(colour)(stamp))
        return "view"

    app.add_url_rule("/", "view", careful(view_colour)(view))
    assert app.test_client(transport=transport).get("/").headers["X-Stamp"] == "/"


# -- views -----------------------------------------------------------------------------------


@each_transport
@each_colour
def test_views_take_either_colour(app: Flask, colour: str, transport: str) -> None:
    app.add_url_rule("/<word>", "view", careful(colour)(lambda word: f"{word} {request.path}"))
    assert app.test_client(transport=transport).get("/word").text == "word /word"


@each_transport
@each_colour
def test_class_based_views_take_either_colour(app: Flask, colour: str, transport: str) -> None:
    body = careful(colour)(lambda self, word: f"{request.method} {word}")
    whole = type("Whole", (View,), {"dispatch_request": body, "methods": ["GET", "PUT"]})
    by_method = type("ByMethod", (MethodView,), {"get": body, "put": body})
    app.add_url_rule("/view/<word>", view_func=whole.as_view("view"))
    app.add_url_rule("/methods/<word>", view_func=by_method.as_view("methods"))
    client = app.test_client(transport=transport)
    for path in ("/view/x", "/methods/x"):
        assert client.get(path).text == "GET x"
        assert client.put(path).text == "PUT x"


@each_transport
def test_a_class_may_mix_colours(app: Flask, transport: str) -> None:
    class Mixed(MethodView):
        def get(self) -> str:
            assert not runs_on_loop()
            return "sync"

        async def post(self) -> str:
            assert runs_on_loop()
            return "async"

    app.add_url_rule("/", view_func=Mixed.as_view("mixed"))
    client = app.test_client(transport=transport)
    assert (client.get("/").text, client.post("/").text) == ("sync", "async")


class Shapes:
    """Async callables that are no plain coroutine functions."""

    async def method(self, *args: t.Any) -> t.Any:
        await anyio.lowlevel.checkpoint()
        return args[-1] if args else None

    @classmethod
    async def of_class(cls, *args: t.Any) -> t.Any:
        return args[-1] if args else None

    @staticmethod
    async def static(*args: t.Any) -> t.Any:
        return args[-1] if args else None

    __call__ = method


SHAPES = {
    "bound method": lambda: Shapes().method,
    "class method": lambda: Shapes.of_class,
    "static method": lambda: Shapes.static,
    "object": Shapes,
    "partial": lambda: functools.partial(Shapes.static),
    "partial of an object": lambda: functools.partial(functools.partial(Shapes())),
    "lambda that gives a coroutine": lambda: lambda *args: Shapes.static(*args),
}


@each_transport
@pytest.mark.parametrize("shape", SHAPES)
def test_async_callables_of_any_shape_are_awaited(app: Flask, shape: str, transport: str) -> None:
    func = SHAPES[shape]()
    app.before_request(func)
    app.after_request(func)
    app.teardown_request(func)
    app.teardown_appcontext(func)
    app.add_url_rule("/", "view", functools.partial(func, "view"))
    assert app.test_client(transport=transport).get("/").text == "view"


# -- errors ----------------------------------------------------------------------------------


@each_transport
@each_view
@each_colour
@pytest.mark.parametrize("owner", ["app", "bp", "app of bp"])
@pytest.mark.parametrize("key", [LookupError, 418, 500])
def test_error_handlers_take_either_colour(
    app: Flask,
    key: t.Any,
    owner: str,
    colour: str,
    view_colour: str,
    transport: str,
) -> None:
    def fail() -> t.NoReturn:
        if key == 418:
            asyncflask.abort(418)
        raise LookupError("lost")

    bp = Blueprint("bp", __name__)
    bp.add_url_rule("/", "view", careful(view_colour)(fail))
    handler = careful(colour)(lambda error: (f"handled {type(error).__name__}", 299))
    if owner == "app of bp":
        bp.app_errorhandler(key)(handler)
    else:
        {"app": app, "bp": bp}[owner].register_error_handler(key, handler)
    app.register_blueprint(bp)
    response = app.test_client(transport=transport).get("/")
    name = {418: "ImATeapot", 500: "InternalServerError"}.get(key, "LookupError")
    assert (response.status_code, response.text) == (299, f"handled {name}")


@each_transport
@each_colour
def test_the_handler_of_an_unknown_url_takes_either_colour(
    app: Flask, colour: str, transport: str
) -> None:
    app.register_error_handler(404, careful(colour)(lambda error: (request.path, 404)))
    response = app.test_client(transport=transport).get("/nowhere")
    assert (response.status_code, response.text) == (404, "/nowhere")


@each_transport
@each_view
@each_colour
def test_receivers_of_exceptions_take_either_colour(
    app: Flask, log: Log, colour: str, view_colour: str, transport: str
) -> None:
    error = LookupError("lost")

    def fail() -> t.NoReturn:
        raise error

    receiver = careful(colour)(lambda sender, exception: log.append(exception))
    app.add_url_rule("/", "view", careful(view_colour)(fail))
    with got_request_exception.connected_to(receiver, app):
        assert app.test_client(transport=transport).get("/").status_code == 500
    assert log == [error]


@each_transport
@each_view
@each_colour
def test_teardowns_of_a_failed_request_take_either_colour(
    app: Flask, log: Log, colour: str, view_colour: str, transport: str
) -> None:
    error = LookupError("lost")

    def fail() -> t.NoReturn:
        raise error

    app.add_url_rule("/", "view", careful(view_colour)(fail))
    app.teardown_request(careful(colour)(log.append))
    app.teardown_appcontext(careful(colour)(log.append))
    assert app.test_client(transport=transport).get("/").status_code == 500
    assert log == [error, error]


# -- what sync helpers call ------------------------------------------------------------------

Helper = t.Callable[[Flask, Blueprint, Paint, Log], t.Callable[[], t.Any]]
HELPERS: dict[str, tuple[Helper, str]] = {}


def helper_kind(body: str) -> t.Callable[[Helper], Helper]:
    def enter(setup: Helper) -> Helper:
        HELPERS[setup.__name__] = (setup, body)
        return setup

    return enter


def _processor(method: str) -> Helper:
    def setup(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> t.Callable[[], t.Any]:
        owner: t.Any = app if method == "context_processor" else bp
        getattr(owner, method.removeprefix("blueprint_"))(paint(lambda: {"word": "processed"}))
        return lambda: render_template("page.html")

    return setup


def _url_defaults(method: str) -> Helper:
    def setup(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> t.Callable[[], t.Any]:
        def complete(endpoint: str, values: dict[str, t.Any]) -> None:
            values["lang"] = "de"

        owner: t.Any = app if method == "url_defaults" else bp
        getattr(owner, method.removeprefix("blueprint_"))(paint(complete))
        return lambda: url_for(".view")

    return setup


for _method in ("context_processor", "blueprint_context_processor", "app_context_processor"):
    HELPERS[_method] = (_processor(_method), "processed")
for _method in ("url_defaults", "blueprint_url_defaults", "app_url_defaults"):
    HELPERS[_method] = (_url_defaults(_method), "/?lang=de")


@helper_kind("/fallback")
def url_build_error_handlers(
    app: Flask, bp: Blueprint, paint: Paint, log: Log
) -> t.Callable[[], t.Any]:
    app.url_build_error_handlers.append(paint(lambda error, endpoint, values: "/fallback"))
    return lambda: url_for("missing")


@helper_kind("filtered")
def template_filter(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> t.Callable[[], t.Any]:
    app.template_filter("change")(paint(lambda value: f"{value}ed"))
    return lambda: asyncflask.render_template_string("{{ 'filter'|change }}")


@helper_kind("yes")
def template_test(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> t.Callable[[], t.Any]:
    app.template_test("odd_one")(paint(lambda value: value == 3))
    source = "{{ 'yes' if 3 is odd_one and 4 is not odd_one else 'no' }}"
    return lambda: asyncflask.render_template_string(source)


@helper_kind("hello")
def template_global(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> t.Callable[[], t.Any]:
    app.template_global("greet")(paint(lambda: "hello"))
    return lambda: asyncflask.render_template_string("{{ greet() }}")


@helper_kind("x-1-yes")
def blueprint_template_functions(
    app: Flask, bp: Blueprint, paint: Paint, log: Log
) -> t.Callable[[], t.Any]:
    bp.app_template_filter("f")(paint(lambda value: value))
    bp.app_template_global("one")(paint(lambda: 1))
    bp.app_template_test("t")(paint(lambda value: True))
    source = "{{ 'x'|f }}-{{ one() }}-{{ 'yes' if 1 is t else 'no' }}"
    return lambda: asyncflask.render_template_string(source)


@helper_kind("{'x': 'y'}")
def shell_context_processor(
    app: Flask, bp: Blueprint, paint: Paint, log: Log
) -> t.Callable[[], t.Any]:
    app.shell_context_processor(paint(lambda: {"x": "y"}))

    def names() -> str:
        context = app.make_shell_context()
        assert context.pop("app") is app
        context.pop("g")
        return str(context)

    return names


def _receiver(name: str, act: t.Callable[[], t.Any]) -> Helper:
    def setup(app: Flask, bp: Blueprint, paint: Paint, log: Log) -> t.Callable[[], t.Any]:
        receiver = paint(lambda sender, **extra: log.append(name))
        app.extensions[name] = receiver
        getattr(asyncflask, name).connect(receiver, app)

        def view() -> str:
            act()
            return ", ".join(log)

        return view

    return setup


for _name, _act in {
    "message_flashed": lambda: flash("message"),
    "template_rendered": lambda: render_template("page.html"),
    "before_render_template": lambda: render_template("page.html"),
}.items():
    HELPERS[_name] = (_receiver(_name, _act), _name)


@each_transport
@pytest.mark.parametrize(
    ("colour", "view_colour"), [("def", "def"), ("def", "async def"), ("async def", "def")]
)
@pytest.mark.parametrize("name", HELPERS)
def test_helpers_call_either_colour(
    app: Flask, log: Log, name: str, colour: str, view_colour: str, transport: str
) -> None:
    setup, body = HELPERS[name]
    bp = Blueprint("bp", __name__)
    bp.add_url_rule("/", "view", painter(view_colour)(setup(app, bp, painter(colour), log)))
    app.register_blueprint(bp)
    response = app.test_client(transport=transport).get("/")
    assert (response.status_code, response.text) == (200, body)


DEFERRED = {"message_flashed", "template_rendered"}


@each_transport
@pytest.mark.parametrize("place", ["before", "view", "error", "after"])
@pytest.mark.parametrize("name", sorted(DEFERRED))
def test_async_receivers_of_what_happens_on_the_loop_are_awaited_before_the_end(
    app: Flask, log: Log, name: str, place: str, transport: str
) -> None:
    act = {"message_flashed": flash, "template_rendered": asyncflask.render_template_string}[name]

    async def hear(sender: Flask, **extra: t.Any) -> None:
        await anyio.lowlevel.checkpoint()
        log.append((request.path, sorted(extra)))
        session["heard"] = True

    async def step(where: str) -> None:
        if where == place:
            act("text")
            assert log == []

    async def after(response: Response) -> Response:
        await step("after")
        return response

    @app.get("/")
    async def view() -> t.NoReturn:
        await step("view")
        raise LookupError

    @app.errorhandler(LookupError)
    async def handle(error: LookupError) -> str:
        await step("error")
        return "handled"

    app.before_request(functools.partial(step, "before"))
    app.after_request(after)
    client = app.test_client(transport=transport)
    with getattr(asyncflask, name).connected_to(hear, app):
        assert client.get("/").text == "handled"
    assert [path for path, _ in log] == ["/"]
    with client.session_transaction() as kept:
        assert kept["heard"] is True


@each_transport
def test_a_failing_receiver_of_what_happens_on_the_loop_is_an_error(
    app: Flask, transport: str
) -> None:
    async def fail(sender: Flask, **extra: t.Any) -> t.NoReturn:
        raise LookupError("receiver")

    @app.get("/")
    async def view() -> str:
        flash("message")
        return "view"

    with message_flashed.connected_to(fail, app):
        assert app.test_client(transport=transport).get("/").status_code == 500
    assert app.test_client(transport=transport).get("/").status_code == 200


@each_transport
@pytest.mark.parametrize("name", sorted(set(HELPERS) - DEFERRED))
def test_a_helper_on_the_loop_says_that_it_cannot_wait_for_async_code(
    app: Flask, log: Log, name: str, transport: str
) -> None:
    app.testing = True
    setup, _ = HELPERS[name]
    bp = Blueprint("bp", __name__)
    bp.add_url_rule("/", "view", painter("async def")(setup(app, bp, painter("async def"), log)))
    app.register_blueprint(bp)
    remedies = r"asyncio\.to_thread|render_template(_string)?_async"
    with pytest.raises(RuntimeError, match=remedies):
        app.test_client(transport=transport).get("/")


@each_transport
@pytest.mark.parametrize("name", HELPERS)
def test_a_helper_called_on_a_thread_waits_for_async_code(
    app: Flask, log: Log, name: str, transport: str
) -> None:
    setup, body = HELPERS[name]
    bp = Blueprint("bp", __name__)
    act = setup(app, bp, painter("async def"), log)

    async def view() -> t.Any:
        return await asyncio.to_thread(act)

    bp.add_url_rule("/", "view", view)
    app.register_blueprint(bp)
    response = app.test_client(transport=transport).get("/")
    assert (response.status_code, response.text) == (200, body)


@each_transport
@each_colour
def test_async_rendering_calls_either_colour(
    app: Flask, log: Log, colour: str, transport: str
) -> None:
    paint = painter(colour)
    app.context_processor(paint(lambda: {"word": "w"}))
    app.template_filter("f")(paint(lambda value: f"{value}f"))
    app.template_test("t")(paint(lambda value: value == "wf"))
    app.template_global("one")(paint(lambda: 1))
    for signal in (before_render_template, template_rendered):
        receiver = paint(lambda sender, template, context: log.append(context["word"]))
        app.extensions[signal.name] = receiver
        signal.connect(receiver, app)

    @app.get("/")
    async def view() -> str:
        return await render_template_string_async("{{ word|f }}{{ one() }}{{ word|f is t }}")

    assert app.test_client(transport=transport).get("/").text == "wf1True"
    assert log == ["w", "w"]


@each_view
@each_colour
def test_filters_are_passed_what_they_ask_jinja_for(
    app: Flask, colour: str, view_colour: str
) -> None:
    paint = painter(colour)
    app.add_template_filter(pass_context(paint(lambda context, v: context["word"] + v)), "c")
    app.add_template_filter(pass_eval_context(paint(lambda ev, v: str(ev.autoescape) + v)), "e")
    app.add_template_test(pass_environment(paint(lambda env, v: v in env.filters)), "known")
    source = "{{ '!'|c }} {{ '!'|e }} {{ 'c' is known }} {{ ['a', 'b']|map('e')|list|length }}"

    def view() -> str:
        return asyncflask.render_template_string(source, word="w")

    async def view_async() -> str:
        return await render_template_string_async(source, word="w")

    app.add_url_rule("/", "view", view if view_colour == "def" else view_async)
    assert app.test_client().get("/").text == "w! True! True 2"


def test_a_sync_template_function_is_kept_itself(app: Flask) -> None:
    def func(value: str) -> str:
        return value

    app.add_template_filter(func)
    app.add_template_test(func)
    app.add_template_global(func)
    env = app.jinja_env
    assert env.filters["func"] is env.tests["func"] is env.globals["func"] is func
