"""What a request runs is settled once, follows every change, and has Flask's order."""

from __future__ import annotations

import functools
import typing as t
from collections import defaultdict

import pytest

from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import inline
from asyncflask import request
from asyncflask.pipeline.plan import blueprint_names
from asyncflask.pipeline.plan import HOOKS
from asyncflask.pipeline.plan import Plan
from asyncflask.sessions import SecureCookieSessionInterface
from asyncflask.sessions import SessionInterface
from asyncflask.views import MethodView
from tests.twins import check
from tests.twins import COLOURS
from tests.twins import Kit
from tests.twins import painted
from tests.twins import TRANSPORTS

both_transports = pytest.mark.parametrize("transport", TRANSPORTS)
each_colour = pytest.mark.parametrize("colour", COLOURS[:3])
events: list[str] = []


@pytest.fixture(autouse=True)
def _no_events() -> None:
    events.clear()


def hook(name: str, colour: str = "sync") -> t.Callable[..., t.Any]:
    """A hook of any kind that notes its call."""

    def call(*args: t.Any) -> t.Any:
        events.append(name)
        return args[0] if len(args) == 1 else None

    return painted(call, colour)


def make_app() -> Flask:
    """An application with a view of its own and one of a blueprint in a blueprint."""
    app = Flask("app", static_folder=None)
    app.testing = True
    outer = Blueprint("outer", __name__, url_prefix="/outer")
    inner = Blueprint("inner", __name__, url_prefix="/inner")
    app.add_url_rule("/", "index", lambda: "index")
    inner.add_url_rule("/", "index", lambda: "inner")
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    return app


def noted(app: Flask, transport: str, path: str = "/") -> list[str]:
    """Give what a request noted."""
    events.clear()
    assert app.test_client(transport=transport).get(path).status_code == 200
    return events[:]


# -- changes take effect at the next request ---------------------------------------------------


@both_transports
@each_colour
@pytest.mark.parametrize("scope", [None, "outer", "outer.inner"])
@pytest.mark.parametrize("registry", HOOKS)
def test_a_list_of_hooks_may_change(
    registry: str, scope: str | None, colour: str, transport: str
) -> None:
    app = make_app()
    ask = functools.partial(noted, app, transport, "/outer/inner/")
    hooks: t.Any = getattr(app, registry)
    assert ask() == []
    hooks[scope].append(hook("1", colour))
    assert ask() == ["1"]
    hooks[scope].append(hook("2", colour))
    assert sorted(ask()) == ["1", "2"]
    hooks[scope][0] = hook("3", colour)
    assert sorted(ask()) == ["2", "3"]
    hooks[scope] = [hook("4", colour)]
    assert ask() == ["4"]
    hooks[scope].clear()
    assert ask() == []


@both_transports
@pytest.mark.parametrize("registry", HOOKS)
def test_a_registry_may_be_another_one(registry: str, transport: str) -> None:
    app = make_app()
    getattr(app, registry)[None].append(hook("old"))
    assert noted(app, transport) == ["old"]
    setattr(app, registry, {None: [hook("new")]})
    assert noted(app, transport) == ["new"]
    getattr(app, registry)["outer"] = [hook("outer")]
    assert sorted(noted(app, transport, "/outer/inner/")) == ["new", "outer"]
    setattr(app, registry, defaultdict(list))
    assert noted(app, transport) == []


@both_transports
def test_hooks_of_another_scope_are_nobody_elses(transport: str) -> None:
    app = make_app()
    app.before_request_funcs["outer"].append(hook("outer"))
    assert noted(app, transport) == []
    assert noted(app, transport, "/outer/inner/") == ["outer"]


@both_transports
def test_a_hook_that_is_added_by_a_request_runs_in_the_next(transport: str) -> None:
    app = make_app()

    @app.before_request
    def first() -> None:
        if len(app.before_request_funcs[None]) == 1:
            app.before_request_funcs[None].append(hook("before"))
            app.after_request_funcs[None].append(hook("after"))

    assert noted(app, transport) == []
    assert noted(app, transport) == ["before", "after"]


@both_transports
@each_colour
def test_a_view_may_be_replaced(colour: str, transport: str) -> None:
    app = make_app()
    client = app.test_client(transport=transport)
    assert client.get("/").text == "index"
    app.view_functions["index"] = painted(lambda: "other", colour)
    assert client.get("/").text == "other"
    app.view_functions = {"index": painted(lambda: "another", colour)}
    assert client.get("/").text == "another"


@both_transports
def test_a_view_may_come_after_its_rule_and_go_again(transport: str) -> None:
    app = make_app()
    app.testing = False
    app.add_url_rule("/late", "late")
    client = app.test_client(transport=transport)
    assert client.get("/late").status_code == 500
    app.view_functions["late"] = lambda: "late"
    assert client.get("/late").text == "late"
    del app.view_functions["late"]
    assert client.get("/late").status_code == 500


@both_transports
@each_colour
def test_an_error_handler_may_be_added_and_removed(colour: str, transport: str) -> None:
    app = make_app()
    app.view_functions["index"] = lambda: 1 // 0
    app.testing = False
    client = app.test_client(transport=transport)
    assert client.get("/").status_code == 500
    handlers = app.error_handler_spec[None][None]
    handlers[ArithmeticError] = painted(lambda error: "sums", colour)
    assert client.get("/").text == "sums"
    handlers[ZeroDivisionError] = painted(lambda error: "zero", colour)
    assert client.get("/").text == "zero"
    handlers.clear()
    assert client.get("/").status_code == 500


@both_transports
@each_colour
def test_a_method_may_be_assigned_and_deleted(colour: str, transport: str) -> None:
    app = make_app()
    app.view_functions["index"] = lambda: 1 // 0
    client = app.test_client(transport=transport)
    with pytest.raises(ZeroDivisionError):
        client.get("/")
    app.handle_exception = painted(lambda error: app.response_class(repr(error)), colour)
    assert client.get("/").text.startswith("ZeroDivisionError(")
    app.handle_exception = painted(lambda error: app.response_class("again"), colour)
    assert client.get("/").text == "again"
    del app.handle_exception
    with pytest.raises(ZeroDivisionError):
        client.get("/")


@both_transports
@each_colour
def test_a_session_interface_may_be_replaced(colour: str, transport: str) -> None:
    class Counting(SecureCookieSessionInterface):
        pass

    class Never(SessionInterface):
        def open_session(self, app: Flask, request: t.Any) -> None:
            events.append("never")

    def open_session(self: t.Any, app: Flask, request: t.Any) -> t.Any:
        events.append("open")
        return SecureCookieSessionInterface.open_session(self, app, request)

    app = make_app()
    app.secret_key = "key"
    assert noted(app, transport) == []
    Counting.open_session = painted(open_session, colour)
    app.session_interface = Counting()
    # One that is inline is opened when somebody looks at the session.
    assert noted(app, transport) == ([] if colour == "inline" else ["open"])
    app.session_interface = Never()
    assert noted(app, transport) == ["never"]
    del app.session_interface
    assert noted(app, transport) == []


# -- the order ---------------------------------------------------------------------------------


def register_hooks(kit: Kit, target: t.Any, name: str) -> None:
    """Register two of each kind of hook on an application or blueprint."""
    blueprint = isinstance(target, kit.web.Blueprint)
    for number in "12":
        target.url_value_preprocessor(kit.noting(f"{name} preprocessor {number}"))
        target.before_request(kit.noting(f"{name} before {number}"))
        target.after_request(kit.noting(f"{name} after {number}", "argument"))
        target.teardown_request(kit.noting(f"{name} teardown {number}"))
        if blueprint:
            target.app_url_value_preprocessor(kit.noting(f"{name} app preprocessor {number}"))
            target.before_app_request(kit.noting(f"{name} before app {number}"))
            target.after_app_request(kit.noting(f"{name} after app {number}", "argument"))
            target.teardown_app_request(kit.noting(f"{name} teardown app {number}"))
        else:
            target.teardown_appcontext(kit.noting(f"{name} teardown context {number}"))


def register_views(kit: Kit, target: t.Any, name: str) -> None:
    def after_this() -> str:
        for number in "12":
            kit.web.after_this_request(kit.noting(f"{name} after this {number}", "argument"))
        return name

    target.add_url_rule("/view", "view", kit.noting(f"{name} view", name))
    target.add_url_rule("/after", "after", kit.paint(after_this))
    target.add_url_rule("/error", "error", kit.noting(f"{name} error", ValueError("bad")))
    target.add_url_rule("/<int:number>/", "number", kit.paint(lambda number: str(number)))


def build_nested(kit: Kit) -> t.Any:
    app = kit.web.Flask("app", static_folder=None)
    outer = kit.web.Blueprint("outer", __name__, url_prefix="/outer")
    inner = kit.web.Blueprint("inner", __name__, url_prefix="/inner")
    other = kit.web.Blueprint("other", __name__, url_prefix="/other")
    for name, target in (("other", other), ("inner", inner), ("app", app), ("outer", outer)):
        register_hooks(kit, target, name)
        register_views(kit, target, name)
    inner.register_error_handler(ValueError, kit.noting("inner handler", "handled"))
    outer.register_error_handler(404, kit.noting("outer handler", "not here"))
    outer.register_blueprint(inner)
    app.register_blueprint(outer)
    app.register_blueprint(other)
    app.register_blueprint(outer, name="twice", url_prefix="/twice")
    return app


def test_hooks_run_in_flasks_order() -> None:
    prefixes = ["", "/outer", "/outer/inner", "/other", "/twice", "/twice/inner"]
    paths = [f"{prefix}/{name}" for prefix in prefixes for name in ("view", "after", "error", "5/")]
    outcomes = check(build_nested, *paths, "/nowhere", "/outer/nowhere", ("OPTIONS", "/other/view"))
    by_path = dict(zip(paths, outcomes, strict=False))
    inner = by_path["/outer/inner/view"].events
    assert inner.index("outer before 1") < inner.index("inner before 1") < inner.index("inner view")
    assert inner.index("inner after 2") < inner.index("inner after 1") < inner.index("app after 2")
    assert "inner handler" in by_path["/twice/inner/error"].events
    assert "outer before 1" not in by_path["/other/view"].events


# -- what a plan says --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "names"),
    [
        (None, ()),
        ("index", ()),
        ("bp.index", ("bp",)),
        ("outer.inner.index", ("outer.inner", "outer")),
        (".index", ()),
    ],
)
def test_the_blueprints_of_an_endpoint(endpoint: str | None, names: tuple[str, ...]) -> None:
    assert blueprint_names(endpoint) == names


async def async_view() -> str:
    return "x"


@pytest.mark.parametrize(
    ("view", "before", "on_thread"),
    [
        (async_view, [], False),
        (async_view, [hook("x", "async"), hook("x", "inline")], False),
        (async_view, [hook("x")], True),
        (lambda: "x", [], True),
        (inline(lambda: "x"), [], False),
    ],
)
def test_a_plan_knows_whether_a_request_needs_a_thread_at_once(
    view: t.Callable[..., t.Any], before: list[t.Any], on_thread: bool
) -> None:
    app = make_app()
    app.view_functions["index"] = view
    app.before_request_funcs[None] = before
    # What comes after the view does not count.
    app.after_request_funcs[None].append(hook("after"))
    assert Plan(app, "index").starts_on_thread is on_thread


def test_a_plan_is_current_till_something_changes() -> None:
    app = make_app()
    plan = Plan(app, "index")
    assert plan.is_current()
    app.view_functions["other"] = lambda: "other"
    assert plan.is_current()
    app.before_request_funcs[None].append(hook("before"))
    assert not plan.is_current()
    assert not plan.is_current()


def test_a_name_that_goes_where_another_comes_is_noticed() -> None:
    app = make_app()
    app.before_request_funcs["outer"] = []
    plan = Plan(app, "index")
    del app.before_request_funcs["outer"]
    app.teardown_request_funcs[None].append(hook("teardown"))
    assert not plan.is_current()


# -- the body is there for what could not wait for it --------------------------------------------


async def form_field() -> str:
    return request.form["x"]


class Mixed(MethodView):
    def get(self) -> str:
        return "get"

    async def post(self) -> str:
        return request.form["x"]


def wrapped(view: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    @functools.wraps(view)
    def call(**kwargs: t.Any) -> t.Any:
        return current_app.ensure_sync(view)(**kwargs)

    return call


@both_transports
@pytest.mark.parametrize("before", [None, *COLOURS[:3]])
@pytest.mark.parametrize(
    "view",
    [
        form_field,
        inline(lambda: request.form["x"]),
        lambda: form_field(),
        wrapped(form_field),
        Mixed.as_view("mixed"),
    ],
    ids=["async", "inline", "returns awaitable", "ensure_sync", "method view"],
)
def test_the_body_is_there_for_a_view_on_the_loop(
    view: t.Callable[..., t.Any], before: str | None, transport: str
) -> None:
    app = make_app()
    app.add_url_rule("/form", view_func=view, endpoint="form", methods=["POST"])
    if before is not None:
        app.before_request(hook("before", before))
    client = app.test_client(transport=transport)
    assert client.post("/form", data={"x": "small"}).text == "small"
    assert client.post("/form", data={"x": "b" * 400_000}).text == "b" * 400_000


@both_transports
@pytest.mark.parametrize("view", [lambda: form_field(), wrapped(form_field)])
def test_a_body_that_is_too_large_is_refused_before_an_async_view(
    view: t.Callable[..., t.Any], transport: str
) -> None:
    app = make_app()
    app.config["MAX_CONTENT_LENGTH"] = 10
    app.add_url_rule("/form", view_func=view, endpoint="form", methods=["POST"])
    client = app.test_client(transport=transport)
    assert client.post("/form", data={"x": "b" * 100}).status_code == 413
