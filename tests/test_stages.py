"""The stages of a request and the error branch: what Flask does with the same application."""

from __future__ import annotations

import asyncio
import functools
import sys
import threading
import traceback
import typing as t

import pytest
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import InternalServerError
from werkzeug.exceptions import NotFound
from werkzeug.routing import BaseConverter
from werkzeug.routing import RequestRedirect
from werkzeug.wrappers import Response as WerkzeugResponse

from asyncflask import Blueprint
from asyncflask import Flask
from asyncflask import g
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import url_for
from asyncflask.sessions import SecureCookieSessionInterface
from tests.kit.drive import fetch
from tests.twins import check
from tests.twins import COLOURS
from tests.twins import FEW_WAYS
from tests.twins import Kit
from tests.twins import painted
from tests.twins import TRANSPORTS

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
each_colour = pytest.mark.parametrize("colour", COLOURS[:3])

SIGNALS = [
    "appcontext_pushed",
    "request_started",
    "got_request_exception",
    "request_finished",
    "request_tearing_down",
    "appcontext_tearing_down",
    "appcontext_popped",
]


class Problem(Exception):
    def __repr__(self) -> str:
        return f"Problem({self})"


class SmallProblem(Problem):
    pass


class Teapot(HTTPException):
    code = 418
    description = "short and stout"


def connect_signals(kit: Kit, app: t.Any) -> None:
    """Have the signals of a request noted."""
    for name in SIGNALS:

        def note(sender: t.Any, name: str = name, **kwargs: t.Any) -> None:
            kit.note(name, sorted(kwargs), repr(kwargs.get("exception", kwargs.get("exc"))))

        receiver = kit.paint(note)
        signal = getattr(kit.web, name)
        # Held by this until it is disconnected.
        kit.cleanups.append(functools.partial(signal.disconnect, receiver))
        signal.connect(receiver, app)


def add_handlers(kit: Kit, target: t.Any, handlers: dict[t.Any, t.Any], name: str = "app") -> None:
    """Register error handlers that note what they got, and return or raise a result."""
    for key, result in handlers.items():

        def handle(error: t.Any, key: t.Any = key, result: t.Any = result) -> t.Any:
            original = getattr(error, "original_exception", None)
            kit.note(name, str(key), repr(error), repr(original))
            if isinstance(result, BaseException):
                raise result
            return result

        target.register_error_handler(key, kit.paint(handle))


# -- an error of a view ------------------------------------------------------------------------

ERRORS: list[t.Callable[[], BaseException]] = [
    lambda: Problem("p"),
    lambda: SmallProblem("s"),
    lambda: KeyError("k"),
    lambda: BadRequestKeyError("field"),
    lambda: NotFound(),
    lambda: Teapot(),
    lambda: InternalServerError(),
    lambda: InternalServerError(original_exception=Problem("inner")),
    lambda: HTTPException(),
    lambda: HTTPException(response=WerkzeugResponse("own", 444)),
    lambda: RequestRedirect("http://other.test/"),
    lambda: StopAsyncIteration(),
    lambda: SystemExit(3),
]
CONFIGS: list[dict[str, bool]] = [
    {},
    {"TRAP_HTTP_EXCEPTIONS": True},
    {"TRAP_BAD_REQUEST_ERRORS": True},
    {"TRAP_BAD_REQUEST_ERRORS": False, "DEBUG": True},
    {"PROPAGATE_EXCEPTIONS": True},
    {"TESTING": True},
    {"DEBUG": True},
    {"TESTING": True, "DEBUG": True, "PROPAGATE_EXCEPTIONS": False},
]
HANDLERS: list[dict[t.Any, t.Any]] = [
    {},
    {500: ("by 500", 500), 404: "by 404", 418: ("by 418", 299, {"X-A": "1"})},
    {Exception: ("by Exception", 501)},
    {HTTPException: "by HTTPException", Problem: "by Problem", KeyError: "by KeyError"},
    {Problem: Problem("again"), InternalServerError: "by its class", 404: SmallProblem("new")},
    {500: Problem("in 500"), BadRequestKeyError: "by its class", 400: "by 400"},
    {SmallProblem: NotFound(), NotFound: "found", Teapot: None},
]


def build_failing(kit: Kit, config: dict[str, bool], handlers: dict[t.Any, t.Any]) -> t.Any:
    app = kit.web.Flask("app", static_folder=None)
    app.config.update(config)
    app.before_request(kit.noting("before"))
    app.after_request(kit.noting("after", "argument"))
    app.teardown_request(kit.paint(lambda error: kit.note("teardown", repr(error))))
    app.teardown_appcontext(kit.paint(lambda error: kit.note("teardown app", repr(error))))
    connect_signals(kit, app)
    add_handlers(kit, app, handlers)
    for number, make in enumerate(ERRORS):
        view = kit.noting(f"view {number}", make())
        app.add_url_rule(f"/{number}", str(number), view, methods=["GET"])
    return app


@pytest.mark.parametrize(
    ("config", "handlers"),
    [
        *((CONFIGS[0], handlers) for handlers in HANDLERS),
        *((config, handlers) for config in CONFIGS[1:] for handlers in HANDLERS[:5:2]),
    ],
    ids=repr,
)
def test_an_error_of_a_view(config: dict[str, bool], handlers: dict[t.Any, t.Any]) -> None:
    paths = [f"/{number}" for number in range(len(ERRORS))]
    more = ["/nowhere", ("POST", "/0"), ("OPTIONS", "/0"), ("HEAD", "/0")]

    def build(kit: Kit) -> t.Any:
        return build_failing(kit, config, handlers)

    if None in handlers.values():
        # The messages for views that return None differ.
        paths.remove("/5")
    check(build, *paths, *more, ways=FEW_WAYS)


# -- hooks that answer, and hooks that fail ----------------------------------------------------


class Session(SecureCookieSessionInterface):
    """Notes when it saves, and fails then if it is told to."""

    def __init__(self, kit: Kit, error: BaseException | None) -> None:
        self.save_session = kit.paint(self._save)
        self._kit = kit
        self._error = error

    def _save(self, app: t.Any, session: t.Any, response: t.Any) -> None:
        self._kit.note("save session", dict(session), response.status_code)
        if self._error is not None:
            raise self._error


def build_hooked(kit: Kit, results: dict[str, t.Any], handlers: dict[t.Any, t.Any]) -> t.Any:
    """An application with two of each hook at three levels, some of which do what *results* say."""
    app = kit.web.Flask("app", static_folder=None)
    app.secret_key = "key"
    app.session_interface = Session(kit, results.get("save"))
    outer = kit.web.Blueprint("outer", __name__, url_prefix="/outer")
    inner = kit.web.Blueprint("inner", __name__, url_prefix="/inner")
    connect_signals(kit, app)
    for name, target in (("app", app), ("outer", outer), ("inner", inner)):

        def hook(what: str, default: t.Any = None, name: str = name) -> t.Any:
            return kit.noting(f"{name} {what}", results.get(f"{name} {what}", default))

        for number in "12":
            target.url_value_preprocessor(hook(f"values {number}"))
            target.before_request(hook(f"before {number}"))
            target.after_request(hook(f"after {number}", "argument"))
            target.teardown_request(hook(f"teardown {number}"))
        target.add_url_rule("/", "index", hook("view", name))
        target.add_url_rule("/bad", "bad", hook("bad", Problem("bad")))
        add_handlers(kit, target, handlers, name)
    outer.before_app_request(kit.noting("outer before app", results.get("outer before app")))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    return app


RESULTS: list[dict[str, t.Any]] = [
    {"app before 1": "early"},
    {"app before 2": ("early", 202)},
    {"outer before 1": ("", 204)},
    {"outer before app": ""},
    {"inner before 2": {"a": 1}},
    {"app values 1": Problem("values")},
    {"inner values 2": NotFound()},
    {"app before 2": Problem("before")},
    {"outer before 1": Teapot()},
    {"inner view": Problem("view")},
    {"app after 2": Problem("after")},
    {"inner after 1": NotFound()},
    {"app view": Problem("view"), "app after 1": SmallProblem("after")},
    {"outer view": NotFound(), "outer after 1": KeyError("after")},
    {"save": Problem("save")},
    {"save": NotFound(), "outer view": Problem("view")},
]
HOOK_HANDLERS: list[dict[t.Any, t.Any]] = [
    {},
    {Problem: "by Problem", 404: "by 404", 500: "by 500"},
    {Exception: Problem("in handler")},
]


@pytest.mark.parametrize("handlers", HOOK_HANDLERS, ids=repr)
@pytest.mark.parametrize("results", RESULTS, ids=repr)
def test_a_hook_that_answers_or_fails(
    results: dict[str, t.Any], handlers: dict[t.Any, t.Any]
) -> None:
    check(
        lambda kit: build_hooked(kit, results, handlers),
        *["/", "/outer/", "/outer/inner/", "/outer/bad", "/outer/inner/bad", "/outer/nowhere"],
        ways=FEW_WAYS,
    )


def build_rewriting(kit: Kit) -> t.Any:
    """An application whose hooks send requests to another rule than the one that matched."""
    app = kit.web.Flask("app", static_folder=None)
    bp = kit.web.Blueprint("bp", __name__, url_prefix="/bp")

    def send_elsewhere() -> None:
        request = kit.web.request
        if request.path != "/fine":
            adapter = kit.web.globals.request_ctx.url_adapter
            request.routing_exception = None
            request.url_rule, request.view_args = adapter.match("/bp/5", return_rule=True)

    app.before_request(kit.paint(send_elsewhere))
    bp.before_request(kit.noting("bp before"))
    bp.after_request(kit.noting("bp after", "argument"))
    bp.teardown_request(kit.noting("bp teardown"))
    bp.register_error_handler(ValueError, kit.noting("bp handler", "handled"))
    bp.add_url_rule("/<int:x>", "x", kit.paint(lambda x: int("no number") if x else "none"))
    app.add_url_rule("/", "index", kit.noting("index", "index"))
    app.add_url_rule("/fine", "fine", kit.noting("fine", "fine"))
    app.register_blueprint(bp)
    return app


def test_a_hook_may_send_a_request_elsewhere() -> None:
    found = check(build_rewriting, "/", "/fine", "/nowhere")
    assert [outcome.body for outcome in found] == ["handled", "fine", "handled"]
    assert found[0].events == ["bp handler", "bp after", "bp teardown"]


@both_transports
@each_colour
def test_an_after_hook_may_return_another_response(colour: str, transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.add_url_rule("/", "index", lambda: "x")
    app.after_request(painted(lambda response: app.response_class("last", 298), colour))
    app.after_request(painted(lambda response: app.response_class("first", 299), colour))
    answer = app.test_client(transport=transport).get("/")
    assert (answer.status_code, answer.text) == (298, "last")


@both_transports
@each_colour
def test_an_after_hook_that_returns_nothing_is_told_of(colour: str, transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.testing = True
    app.add_url_rule("/", "the_view", lambda: "x")
    app.after_request(painted(lambda response: None, colour))
    with pytest.raises(TypeError, match="after_request function of 'the_view' returned None"):
        app.test_client(transport=transport).get("/")


@both_transports
@each_colour
def test_an_error_is_the_current_exception_of_what_handles_it(colour: str, transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.logger.disabled = True
    seen: list[t.Any] = []

    def handle(error: Exception) -> str:
        seen.append((sys.exc_info()[1], error))
        return traceback.format_exc().splitlines()[-1]

    def fail(kind: str) -> None:
        raise {"small": SmallProblem, "other": ValueError}[kind](kind)

    app.add_url_rule("/<kind>", "fail", painted(fail, colour))
    app.register_error_handler(Problem, painted(handle, colour))
    app.register_error_handler(500, painted(handle, colour))
    client = app.test_client(transport=transport)
    assert client.get("/small").text.endswith("SmallProblem: small")
    assert client.get("/other").text == "ValueError: other"
    assert seen[0][0] is seen[0][1]
    assert seen[1][0] is seen[1][1].original_exception


# -- what fails before there is a view -----------------------------------------------------------


class Failing(BaseConverter):
    def to_python(self, value: str) -> t.NoReturn:
        raise Problem(value)


def make_hooked_app(colour: str) -> tuple[Flask, list[t.Any]]:
    app = Flask("app", static_folder=None)
    app.logger.disabled = True
    events: list[t.Any] = []

    def after(response: Response) -> Response:
        events.append("after")
        return response

    app.after_request(painted(after, colour))
    app.teardown_request(painted(lambda error: events.append(repr(error)), colour))
    app.teardown_appcontext(painted(lambda error: events.append("app"), colour))
    app.add_url_rule("/", "index", lambda: "x")
    return app, events


@both_transports
@each_colour
def test_a_converter_that_fails_is_a_server_error_like_any_other(
    colour: str, transport: str
) -> None:
    app, events = make_hooked_app(colour)
    app.url_map.converters["failing"] = Failing
    app.add_url_rule("/<failing:x>", "failing", lambda x: x)
    app.register_error_handler(500, painted(lambda error: (str(error.code), 599), colour))
    answer = app.test_client(transport=transport).get("/x")
    assert (answer.status_code, answer.text) == (599, "500")
    assert events == ["after", "Problem(x)", "app"]


@both_transports
@each_colour
@pytest.mark.parametrize("error", [Problem("open"), NotFound()])
def test_a_session_that_cannot_be_opened_is_a_server_error_like_any_other(
    error: Exception, colour: str, transport: str
) -> None:
    class Closed(SecureCookieSessionInterface):
        pass

    def open_session(self: t.Any, app: Flask, request: t.Any) -> t.NoReturn:
        raise error

    app, events = make_hooked_app(colour)
    Closed.open_session = painted(open_session, "async" if colour == "async" else "sync")
    app.session_interface = Closed()
    answer = app.test_client(transport=transport).get("/")
    assert answer.status_code == 500
    assert events == ["after", repr(error), "app"]


def test_what_needs_a_match_says_so_without_one() -> None:
    app = Flask("app", static_folder=None)
    with app.request_context(
        {"REQUEST_METHOD": "GET", "PATH_INFO": "/x", "wsgi.url_scheme": "http"}
    ):
        request.routing_exception = None
        with pytest.raises(RuntimeError, match="The request to '/x' has not been matched"):
            app.dispatch_request()


@pytest.mark.parametrize("where", ["before", "view", "handler", "server error", "after"])
async def test_a_request_is_refused_wherever_a_thread_is_missing(where: str) -> None:
    app = Flask("app", static_folder=None)
    app.config.update(SYNC_THREADS=1, SYNC_QUEUE_LIMIT=0)
    app.logger.disabled = True

    def part(name: str, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        return painted(func, "sync" if name == where else "async")

    def fail() -> t.NoReturn:
        raise Problem("p") if where == "handler" else ValueError("v")

    bp = Blueprint("bp", __name__)
    bp.before_request(part("before", lambda: None))
    bp.after_request(part("after", lambda response: response))
    bp.register_error_handler(Problem, part("handler", lambda error: "handled"))
    app.register_error_handler(500, part("server error", lambda error: ("sorry", 500)))
    bp.add_url_rule("/bad", "bad", painted(fail, "async"))
    bp.add_url_rule("/", "index", part("view", lambda: "fine"))
    app.register_blueprint(bp)
    started, go_on = threading.Event(), threading.Event()

    @app.get("/block")
    def block() -> str:
        started.set()
        go_on.wait(10)
        return "done"

    first = asyncio.create_task(fetch(app, target="/block"))
    try:
        assert await asyncio.to_thread(started.wait, 10)
        answer = await fetch(app, target="/bad" if where in ("handler", "server error") else "/")
    finally:
        go_on.set()
    assert (answer.status, answer.header("Retry-After")) == (503, "1")
    assert (await first).text == "done"


# -- teardown ----------------------------------------------------------------------------------


def make_torn_app(colour: str, failing: set[str]) -> tuple[Flask, list[t.Any], list[t.Any]]:
    """An application whose teardown functions note their calls, and some of them fail."""
    app = Flask("app", static_folder=None)
    bp = Blueprint("bp", __name__, url_prefix="/bp")
    events: list[t.Any] = []
    logged: list[t.Any] = []
    app.log_exception = lambda exc_info: logged.append(repr(exc_info[1]))

    def teardown(name: str) -> t.Callable[..., t.Any]:
        def call(error: BaseException | None) -> None:
            events.append((name, repr(error)))
            if name in failing:
                raise Problem(name)

        return painted(call, colour)

    for name in ("app 1", "app 2"):
        app.teardown_request(teardown(name))
    for name in ("context 1", "context 2"):
        app.teardown_appcontext(teardown(name))
    bp.teardown_request(teardown("bp"))
    bp.add_url_rule("/", "index", painted(lambda: "fine", colour))
    bp.add_url_rule("/bad", "bad", painted(lambda: 1 // 0, colour))
    app.register_blueprint(bp)
    return app, events, logged


ORDER = ["bp", "app 2", "app 1", "context 2", "context 1"]


@pytest.mark.case("A3")
@both_transports
@each_colour
@pytest.mark.parametrize(
    "failing", [{"app 2"}, {"context 1"}, {"bp", "app 1"}, set(ORDER)], ids=repr
)
def test_teardown_functions_all_run_and_their_errors_change_no_response(
    failing: set[str], colour: str, transport: str
) -> None:
    app, events, logged = make_torn_app(colour, failing)
    answer = app.test_client(transport=transport).get("/bp/")
    assert (answer.status_code, answer.text) == (200, "fine")
    assert [name for name, _ in events] == ORDER
    assert {error for _, error in events} <= {"None", *(f"Problem({name})" for name in failing)}
    assert logged != []


@both_transports
@each_colour
def test_teardown_functions_get_the_error_of_the_view(colour: str, transport: str) -> None:
    app, events, logged = make_torn_app(colour, {"app 2"})
    answer = app.test_client(transport=transport).get("/bp/bad")
    assert answer.status_code == 500
    assert [name for name, _ in events] == ORDER
    assert events[0] == ("bp", "ZeroDivisionError('integer division or modulo by zero')")
    assert len(logged) == 2


@both_transports
@each_colour
def test_errors_of_teardown_functions_reach_a_test(colour: str, transport: str) -> None:
    app, events, _ = make_torn_app(colour, {"app 2"})
    app.testing = True
    with pytest.raises(Problem, match="app 2"):
        app.test_client(transport=transport).get("/bp/")
    assert [name for name, _ in events] == ORDER


@both_transports
@each_colour
def test_several_errors_of_teardown_functions_come_as_a_group(colour: str, transport: str) -> None:
    app, events, _ = make_torn_app(colour, {"bp", "app 1"})
    app.testing = True
    with pytest.raises(BaseExceptionGroup) as raised:
        app.test_client(transport=transport).get("/bp/")
    assert [str(error) for error in raised.value.exceptions] == ["bp", "app 1"]
    assert [name for name, _ in events] == ORDER


@both_transports
@each_colour
def test_an_ignored_error_is_kept_from_teardown_functions(colour: str, transport: str) -> None:
    app, events, _ = make_torn_app(colour, set())
    app.should_ignore_error = lambda error: isinstance(error, ZeroDivisionError)
    app.test_client(transport=transport).get("/bp/bad")
    assert events == [(name, "None") for name in ORDER]


# -- contexts between the stages ----------------------------------------------------------------


@both_transports
@each_colour
def test_every_stage_sees_the_same_request(colour: str, transport: str) -> None:
    app = Flask("app", static_folder=None)
    app.testing = True
    app.secret_key = "key"
    steps: list[t.Any] = []

    def step(name: str) -> t.Callable[..., t.Any]:
        def call(*args: t.Any) -> t.Any:
            g.setdefault("steps", []).append(name)
            session[name] = len(session)
            steps.append((name, request.path, url_for("index"), list(g.steps)))
            return args[0] if name == "after" else None

        return painted(call, colour)

    async def view() -> str:
        await asyncio.sleep(0)
        step_view = step("view")
        result = step_view()
        if result is not None:
            await result
        raise Problem("x")

    app.add_url_rule("/", "index", view)
    app.url_value_preprocessor(step("values"))
    app.before_request(step("before"))
    app.after_request(step("after"))
    app.teardown_request(step("teardown"))
    app.register_error_handler(Problem, painted(lambda error: ",".join(session), colour))
    assert app.test_client(transport=transport).get("/").text == "values,before,view"
    names = ["values", "before", "view", "after", "teardown"]
    expected = [(name, "/", "/", names[: index + 1]) for index, name in enumerate(names)]
    assert steps == expected
