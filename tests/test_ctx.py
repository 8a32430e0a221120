"""Contexts: what is current where, for how long, and what a copy for another thread or task has."""

from __future__ import annotations

import asyncio
import contextvars
import operator
import sys
import threading
import types
import typing as t
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

import flask
import pytest
from werkzeug.local import LocalProxy as WerkzeugProxy
from werkzeug.test import create_environ

import asyncflask
from asyncflask import after_this_request
from asyncflask import copy_current_request_context
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import g
from asyncflask import globals
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import url_for
from asyncflask.context_base import NOT_PUSHED
from asyncflask.ctx import RequestContext
from asyncflask.globals import request_ctx
from tests.kit.drive import fetch

each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])
both_packages = pytest.mark.parametrize("f", [flask, asyncflask], ids=["flask", "asyncflask"])
Log = list[t.Any]


@pytest.fixture
def app() -> Flask:
    app = Flask("app", root_path=".", static_folder=None)
    app.secret_key = "key"
    return app


def make_app(f: types.ModuleType, name: str = "app") -> t.Any:
    app = f.Flask(name, root_path=".", static_folder=None)
    app.secret_key = "key"
    return app


def in_thread(func: t.Callable[[], t.Any]) -> t.Any:
    """Call a function on a new thread and give its result."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(func).result(timeout=10)


# -- g -----------------------------------------------------------------------------------------


@both_packages
def test_g_is_a_namespace(f: types.ModuleType) -> None:
    g = f.g
    with make_app(f).app_context():
        g.a = 1
        assert (g.a, g.get("a"), g.get("b"), g.get("b", 2)) == (1, 1, None, 2)
        assert g.setdefault("b", 3) == 3 == g.setdefault("b", 4)
        assert "a" in g and "c" not in g
        assert sorted(g) == ["a", "b"]
        assert g.pop("a") == 1
        assert g.pop("a", "gone") == "gone"
        with pytest.raises(KeyError):
            g.pop("a")
        del g.b
        for access in (lambda: g.b, lambda: delattr(g, "b")):
            with pytest.raises(AttributeError, match="b"):
                access()
        assert repr(g) == "<flask.g of 'app'>"
    assert repr(g) == "<LocalProxy unbound>"


class Target:
    """What a proxy may stand for."""

    def __init__(self) -> None:
        self.items = {"a": 1}
        self.name = "target"

    def __getitem__(self, key: str) -> int:
        return self.items[key]

    def __setitem__(self, key: str, value: int) -> None:
        self.items[key] = value

    def __contains__(self, item: object) -> bool:
        return item in self.items


OPERATIONS: list[t.Callable[[t.Any], t.Any]] = [
    lambda proxy: proxy.name,
    lambda proxy: proxy.missing,
    lambda proxy: getattr(proxy, "missing", "default"),
    lambda proxy: setattr(proxy, "name", "new") or proxy.name,
    lambda proxy: delattr(proxy, "name"),
    lambda proxy: proxy["a"],
    lambda proxy: proxy["b"],
    lambda proxy: operator.setitem(proxy, "b", 2) or proxy["b"],
    lambda proxy: ("a" in proxy, "b" in proxy),
    lambda proxy: len(proxy),
    lambda proxy: isinstance(proxy, Target),
    lambda proxy: bool(proxy),
    lambda proxy: repr(proxy)[:10],
]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("bound", [True, False])
def test_a_proxy_does_what_werkzeugs_does(
    operation: t.Callable[[t.Any], t.Any], bound: bool
) -> None:
    results = []
    for kind in (WerkzeugProxy, globals.LocalProxy):
        var: ContextVar[t.Any] = ContextVar("var")
        proxy = kind(var, unbound_message="nothing here")
        if bound:
            var.set(Target())
        try:
            results.append(operation(proxy))
        except Exception as error:
            results.append((type(error), str(error)))
    assert results[0] == results[1]


def test_each_application_context_has_its_own_g(app: Flask) -> None:
    with app.app_context():
        g.value = "outer"
        with app.app_context():
            assert "value" not in g
            g.value = "inner"
        assert g.value == "outer"


def test_the_class_of_g_can_be_replaced(app: Flask) -> None:
    class Globals(Flask.app_ctx_globals_class):  # type: ignore[misc, name-defined]
        value = "default"

    app.app_ctx_globals_class = Globals
    with app.app_context():
        assert g.value == "default"


@each_transport
def test_g_belongs_to_one_request(app: Flask, transport: str) -> None:
    async def note() -> None:
        g.trail = [*g.get("trail", []), "async"]

    app.before_request(lambda: setattr(g, "trail", [*g.get("trail", []), "sync"]))
    app.before_request(note)
    app.get("/")(lambda: " ".join(g.trail))
    client = app.test_client(transport=transport)
    assert client.get("/").text == client.get("/").text == "sync async"


# -- outside of any context ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("use", "kind"),
    [
        (lambda f: f.g.value, "application"),
        (lambda f: f.current_app.name, "application"),
        (lambda f: f.globals.app_ctx.app, "application"),
        (lambda f: f.render_template_string(""), "application"),
        (lambda f: f.url_for("x"), "application"),
        (lambda f: f.request.path, "request"),
        (lambda f: f.session["x"], "request"),
        (lambda f: f.flash("x"), "request"),
        (lambda f: f.get_flashed_messages(), "request"),
        (lambda f: f.globals.request_ctx.request, "request"),
    ],
)
@both_packages
def test_what_is_used_outside_of_its_context_says_so(
    f: types.ModuleType, use: t.Callable[[t.Any], t.Any], kind: str
) -> None:
    with pytest.raises(RuntimeError, match=f"(?i)outside of {kind} context"):
        use(f)
    if kind == "request":
        with make_app(f).app_context(), pytest.raises(RuntimeError, match="outside of request"):
            use(f)


@pytest.mark.parametrize("name", ["after_this_request", "copy_current_request_context"])
@both_packages
def test_functions_for_requests_need_one(f: types.ModuleType, name: str) -> None:
    for context in (None, make_app(f).app_context()):
        if context is not None:
            context.push()
        with pytest.raises(RuntimeError, match=f"'{name}' can only be used when a request context"):
            getattr(f, name)(lambda response: response)
        if context is not None:
            context.pop()


def where(f: types.ModuleType) -> tuple[bool, bool, bool, bool]:
    return f.has_request_context(), f.has_app_context(), bool(f.request), bool(f.current_app)


@both_packages
def test_it_can_be_told_whether_there_is_a_context(f: types.ModuleType) -> None:
    app = make_app(f)
    assert where(f) == (False,) * 4
    with app.app_context():
        assert where(f) == (False, True, False, True)
    with app.test_request_context():
        assert where(f) == (True,) * 4
    assert where(f) == (False,) * 4


@each_transport
def test_every_stage_is_in_the_context_and_nothing_else_is(app: Flask, transport: str) -> None:
    seen: dict[str, tuple[bool, ...]] = {}

    def note(name: str) -> t.Callable[..., t.Any]:
        def hook(*args: t.Any) -> t.Any:
            seen[name] = where(asyncflask)
            return args[0] if name == "after" else None

        return hook

    app.url_value_preprocessor(note("values"))
    app.before_request(note("before"))
    app.after_request(note("after"))
    app.teardown_request(note("teardown"))
    app.teardown_appcontext(note("teardown app"))

    @app.get("/")
    def view() -> t.Any:
        note("view")()
        seen["thread"] = in_thread(lambda: where(asyncflask))

        def stream() -> t.Iterator[str]:
            note("stream")()
            yield "x"

        return stream()

    assert app.test_client(transport=transport).get("/").text == "x"
    assert seen.pop("teardown app") == (False, True, False, True)
    assert seen.pop("thread") == seen.pop("stream") == (False,) * 4
    assert set(seen) == {"values", "before", "view", "after", "teardown"}
    assert set(seen.values()) == {(True,) * 4}
    assert where(asyncflask) == (False,) * 4


# -- nested contexts -----------------------------------------------------------------------------


def nest(f: types.ModuleType) -> Log:
    """Note what is current while contexts of two applications lie upon each other."""
    app, other = make_app(f), make_app(f, "other")
    log: Log = []

    def note() -> None:
        path = f.request.path if f.has_request_context() else None
        log.append((f.current_app.name, path, f.g.get("value")))

    with app.app_context():
        f.g.value = 1
        note()
        with app.test_request_context("/a"):
            note()
            f.g.value = 2
            with other.app_context():
                note()
                with app.test_request_context("/b"):
                    note()
                    with other.test_request_context("/c"):
                        f.g.value = 3
                        note()
                    note()
                note()
            note()
        note()
    return log


@pytest.mark.case("A7")
def test_contexts_of_two_applications_nest_as_in_flask() -> None:
    assert nest(asyncflask) == nest(flask)


@pytest.mark.case("A7")
@each_transport
@pytest.mark.parametrize("asynchronous", [False, True])
def test_contexts_nest_inside_a_view(app: Flask, transport: str, asynchronous: bool) -> None:
    other = make_app(asyncflask, "other")
    other.get("/inner", endpoint="inner")(lambda: f"{current_app.name} {request.path}")

    def state() -> tuple[str, str, t.Any]:
        return current_app.name, request.path, g.get("value")

    def view() -> str:
        g.value = 1
        with other.app_context():
            assert (current_app.name, "value" in g) == ("other", False)
            with other.test_request_context("/inner"):
                assert state() == ("other", "/inner", None)
        assert state() == ("app", "/outer", 1)
        # Both transports work on the loop as well.
        for inner in ("wsgi", "asgi"):
            if not asynchronous or inner == "wsgi":
                answer = other.test_client(transport=inner).get("/inner").text
                assert answer == "other /inner"
        assert state() == ("app", "/outer", 1)
        return "ok"

    async def view_async() -> str:
        return view()

    app.testing = True
    app.add_url_rule("/outer", "outer", view_async if asynchronous else view)
    assert app.test_client(transport=transport).get("/outer").text == "ok"


@both_packages
def test_a_context_is_popped_in_order(f: types.ModuleType) -> None:
    app = make_app(f)
    for make in (app.app_context, app.test_request_context):
        first, second = make(), make()
        first.push()
        second.push()
        with pytest.raises(AssertionError, match="Popped wrong (app|request) context"):
            first.pop()
    assert where(f) == (False,) * 4


# -- copies for other threads and tasks ------------------------------------------------------------


def describe(f: types.ModuleType) -> dict[str, t.Any]:
    return {
        "path": f.request.path,
        "argument": f.request.args["a"],
        "form": f.request.form["b"],
        "session": f.session["user"],
        "app": f.current_app.name,
        "g": f.g.get("value"),
        "url": f.url_for("view"),
        "endpoint": f.request.endpoint,
    }


def build_copying(f: types.ModuleType, log: Log) -> t.Any:
    app = make_app(f)
    app.teardown_request(lambda exc: log.append(("request", f.g.get("value"))))
    app.teardown_appcontext(lambda exc: log.append(("app", f.g.get("value"))))

    @app.post("/", endpoint="view")
    def view() -> t.Any:
        f.session["user"] = "jane"
        f.g.value = 1

        @f.copy_current_request_context
        def work(name: str) -> t.Any:
            assert name == "name"
            found = describe(f)
            f.g.value = 2
            log.append("worked")
            return found

        found = in_thread(lambda: work("name"))
        assert f.g.value == 1
        return found

    return app


@each_transport
def test_a_thread_works_in_a_copy_as_in_flask(transport: str) -> None:
    results = []
    for f, kwargs in ((flask, {}), (asyncflask, {"transport": transport})):
        log: Log = []
        client = build_copying(f, log).test_client(**kwargs)
        results.append((client.post("/?a=x", data={"b": "y"}).json, log))
    assert results[0] == results[1]
    assert results[0][0]["path"] == "/"


@each_transport
def test_a_copy_shares_the_session_that_is_opened_later(transport: str) -> None:
    found = []
    for f, kwargs in ((flask, {}), (asyncflask, {"transport": transport})):
        app = make_app(f)

        @app.get("/")
        def view(f: t.Any = f) -> str:
            work = f.copy_current_request_context(lambda: f.session.update(thread=1))
            in_thread(work)
            return f"{f.session.get('thread')}"

        client = app.test_client(**kwargs)
        response = client.get("/")
        with client.session_transaction() as kept:
            found.append((response.text, dict(kept)))
    assert found[0] == found[1] == ("1", {"thread": 1})


@each_transport
def test_a_task_works_in_a_copy(app: Flask, transport: str) -> None:
    @app.post("/", endpoint="view")
    async def view() -> dict[str, t.Any]:
        session["user"] = "jane"
        g.value = 1

        @copy_current_request_context
        async def work(name: str) -> dict[str, t.Any]:
            await asyncio.sleep(0)
            assert (name, g.get("value")) == ("name", 1)
            g.value = 2
            return describe(asyncflask)

        return await asyncio.create_task(work("name"))

    found = app.test_client(transport=transport).post("/?a=x", data={"b": "y"}).json
    assert found == {
        "path": "/",
        "argument": "x",
        "form": "y",
        "session": "jane",
        "app": "app",
        "g": 2,
        "url": "/",
        "endpoint": "view",
    }


@each_transport
def test_a_task_without_any_context_has_the_copied_one(app: Flask, transport: str) -> None:
    @app.get("/path")
    async def view() -> list[t.Any]:
        @copy_current_request_context
        async def work() -> list[t.Any]:
            await asyncio.sleep(0)
            return [request.path, current_app.name, session.get("name"), g.get("value")]

        g.value = 1
        return await asyncio.create_task(work(), context=contextvars.Context())

    client = app.test_client(transport=transport)
    with client.session_transaction() as transaction:
        transaction["name"] = "jane"
    # The application context is a new one, as in Flask.
    assert client.get("/path").json == ["/path", "app", "jane", None]


@each_transport
def test_a_sync_function_is_copied_for_a_thread_by_an_async_view(
    app: Flask, transport: str
) -> None:
    @app.get("/path")
    async def view() -> str:
        work = copy_current_request_context(lambda: request.path)
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as pool:
            return await loop.run_in_executor(pool, work)

    assert app.test_client(transport=transport).get("/path").text == "/path"


@pytest.mark.anyio
async def test_a_request_that_is_entered_again_has_the_same_g(app: Flask) -> None:
    @app.get("/")
    async def view() -> str:
        g.value = "kept"
        async with request_ctx._get_current_object():  # type: ignore[attr-defined]
            return t.cast(str, g.value)

    assert (await fetch(app)).body == b"kept"


def test_a_context_class_may_match_in_its_own_way(app: Flask) -> None:
    class Own(RequestContext):
        def match_request(self) -> None:
            self.request.view_args = {"own": True}

    with Own(app, create_environ("/")):
        assert request.view_args == {"own": True}


@pytest.mark.parametrize("kind", ["application", "copied"])
def test_many_threads_enter_a_context_at_the_same_time(app: Flask, kind: str) -> None:
    ctx = app.app_context()
    with app.test_request_context("/path"):
        copied = copy_current_request_context(lambda: request.path)

    def enter() -> str:
        with ctx:
            return current_app.name

    work, expected = (enter, "app") if kind == "application" else (copied, "/path")
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda number: work(), range(4000)))
    finally:
        sys.setswitchinterval(interval)
    assert set(found) == {expected}
    assert NOT_PUSHED == [] == ctx._cv_tokens


@each_transport
def test_child_tasks_and_threads_of_asyncio_see_the_request(app: Flask, transport: str) -> None:
    @app.get("/path")
    async def view() -> list[str]:
        async def child() -> str:
            await asyncio.sleep(0)
            return request.path

        return [
            *await asyncio.gather(child(), child()),
            await asyncio.to_thread(lambda: request.path),
        ]

    assert app.test_client(transport=transport).get("/path").json == ["/path"] * 3


@each_transport
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_copy_is_torn_down_by_async_functions_too(
    app: Flask, asynchronous: bool, transport: str
) -> None:
    torn: Log = []

    @app.teardown_request
    async def tear_down(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        torn.append((request.path, type(exc)))

    def work() -> t.NoReturn:
        raise KeyError("lost")

    async def view_async() -> str:
        with pytest.raises(KeyError):
            await asyncio.to_thread(copy_current_request_context(work))
        return "ok"

    def view() -> str:
        with pytest.raises(KeyError):
            in_thread(copy_current_request_context(work))
        return "ok"

    app.add_url_rule("/copied", "view", view_async if asynchronous else view)
    assert app.test_client(transport=transport).get("/copied").text == "ok"
    assert torn == [("/copied", KeyError), ("/copied", type(None))]


@each_transport
def test_a_copy_outlives_its_request(app: Flask, transport: str) -> None:
    release = threading.Event()
    results: list[t.Any] = []

    @app.get("/<name>")
    def view(name: str) -> str:
        session["name"] = name

        @copy_current_request_context
        def work() -> None:
            assert release.wait(10)
            results.append((request.path, session["name"], url_for("view", name="z")))

        thread = threading.Thread(target=work)
        thread.start()
        threads.append(thread)
        return "ok"

    threads: list[threading.Thread] = []
    client = app.test_client(transport=transport)
    assert [client.get("/x").text, client.get("/y").text] == ["ok", "ok"]
    release.set()
    for thread in threads:
        thread.join(10)
    assert sorted(results) == [("/x", "x", "/z"), ("/y", "y", "/z")]


def test_a_copy_keeps_what_its_function_is_called(app: Flask) -> None:
    def work() -> None:
        """Work."""

    async def work_async() -> None:
        """Work."""

    with app.test_request_context():
        for func in (work, work_async):
            copied = copy_current_request_context(func)
            assert (copied.__name__, copied.__doc__) == (func.__name__, "Work.")
            assert asyncio.iscoroutinefunction(copied) == asyncio.iscoroutinefunction(func)


@both_packages
def test_a_copied_context_can_be_used_again_and_again(f: types.ModuleType) -> None:
    app = make_app(f)
    with app.test_request_context("/x"):
        work = f.copy_current_request_context(lambda: f.request.path)
    assert [in_thread(work), in_thread(work), work()] == ["/x"] * 3


# -- after_this_request ----------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["before", "view", "error", "teardown", "nested"])
@each_transport
def test_a_function_for_the_response_may_be_given_anywhere(
    app: Flask, place: str, transport: str
) -> None:
    def stamp(response: Response) -> Response:
        response.headers.add("X-Stamp", place)
        if place == "nested" and len(response.headers.getlist("X-Stamp")) == 1:
            after_this_request(stamp)
        return response

    def give(where: str) -> None:
        if place == where or (place == "nested" and where == "view"):
            after_this_request(stamp)

    @app.get("/")
    def view() -> t.NoReturn:
        give("view")
        raise LookupError

    @app.errorhandler(LookupError)
    def handle(error: LookupError) -> str:
        give("error")
        return "handled"

    app.before_request(lambda: give("before"))
    app.teardown_request(lambda exc: give("teardown"))
    response = app.test_client(transport=transport).get("/")
    expected = {"teardown": 0, "nested": 2}.get(place, 1)
    assert response.headers.getlist("X-Stamp") == [place] * expected
    # They are for this request only.
    assert len(app.test_client(transport=transport).get("/").headers.getlist("X-Stamp")) == expected


@each_transport
@pytest.mark.parametrize("hooked", [True, False])
def test_a_function_for_the_response_may_be_given_while_it_is_made(
    app: Flask, hooked: bool, transport: str
) -> None:
    def stamp(response: Response) -> Response:
        response.headers["X-Stamp"] = "stamped"
        return response

    def default(value: t.Any) -> str:
        after_this_request(stamp)
        return repr(value)

    app.json.default = default  # type: ignore[attr-defined]
    app.get("/")(lambda: {"a": 1j})
    if hooked:
        app.after_request(lambda response: response)
    assert app.test_client(transport=transport).get("/").headers["X-Stamp"] == "stamped"


@each_transport
def test_functions_for_the_response_run_in_order_and_before_the_hooks(transport: str) -> None:
    trails = []
    for f, kwargs in ((flask, {}), (asyncflask, {"transport": transport})):
        app = make_app(f)

        def mark(name: str, f: t.Any = f) -> t.Callable[[t.Any], t.Any]:
            return lambda response: f.make_response(f"{response.get_data(as_text=True)} {name}")

        @app.get("/")
        def view(f: t.Any = f, mark: t.Any = mark) -> str:
            f.after_this_request(mark("first"))
            f.after_this_request(mark("second"))
            return "view"

        app.after_request(mark("hook 1"))
        app.after_request(mark("hook 2"))
        trails.append(app.test_client(**kwargs).get("/").text)
    assert trails[0] == trails[1] == "view first second hook 2 hook 1"


# -- with and async with ---------------------------------------------------------------------------

KINDS = ("app_context", "test_request_context", "request_context")


def make_context(app: t.Any, kind: str) -> t.Any:
    if kind == "request_context":
        with app.test_request_context() as ctx:
            environ = {**ctx.request.environ}
        return app.request_context(environ)
    return getattr(app, kind)()


@pytest.mark.parametrize("form", ["with", "async with", "push", "push_async"])
@pytest.mark.parametrize("error", [None, KeyError("lost")])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_context_is_pushed_and_popped(
    app: Flask, kind: str, error: Exception | None, form: str
) -> None:
    ctx = make_context(app, kind)
    log: Log = []
    app.teardown_appcontext(log.append)
    try:
        if form == "with":
            with ctx as entered:
                assert entered is ctx and current_app.name == "app"
                if error:
                    raise error
        elif form == "async with":
            async with ctx as entered:
                assert entered is ctx and current_app.name == "app"
                if error:
                    raise error
        elif form == "push":
            ctx.push()
            assert current_app.name == "app"
            ctx.pop(error)
        else:
            await ctx.push_async()
            assert current_app.name == "app"
            await ctx.pop_async(error)
    except KeyError as raised:
        assert raised is error
    assert log == [error]
    assert where(asyncflask) == (False,) * 4


@both_packages
def test_a_pop_while_an_error_is_handled_passes_it_on(f: types.ModuleType) -> None:
    app = make_app(f)
    log: Log = []
    app.teardown_request(log.append)
    ctx = app.test_request_context()
    ctx.push()
    try:
        raise KeyError("lost")
    except KeyError as error:
        ctx.pop()
        assert log == [error]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_async_teardown_needs_async_with_on_a_loop(app: Flask, kind: str) -> None:
    log: Log = []

    @app.teardown_appcontext
    async def tear_down(exc: BaseException | None) -> None:
        log.append(exc)

    ctx = make_context(Flask("app", root_path="."), kind)
    ctx.app = app
    with pytest.raises(RuntimeError, match="async with"):
        with ctx:
            assert current_app.name == "app"
    assert where(asyncflask) == (False,) * 4
    assert log == []
    async with make_context(Flask("app", root_path="."), kind):
        pass
    async with app.app_context():
        pass
    assert log == [None]


async def test_contexts_of_many_tasks_do_not_meet(app: Flask) -> None:
    app.add_url_rule("/<int:number>", "view", lambda number: "")

    async def work(number: int) -> tuple[int, ...]:
        async with app.test_request_context(f"/{number}"):
            g.number = session["number"] = number
            await asyncio.sleep(0)
            async with app.app_context():
                assert "number" not in g
                await asyncio.sleep(0)
            view_args = request.view_args or {}
            return g.number, session["number"], view_args["number"], int(request.path[1:])

    results = await asyncio.gather(*(work(number) for number in range(100)))
    assert results == [(number,) * 4 for number in range(100)]
    assert where(asyncflask) == (False,) * 4


def test_a_session_is_opened_by_the_push(app: Flask) -> None:
    ctx = app.test_request_context()
    with pytest.raises(RuntimeError, match="(?i)session has not yet been opened"):
        ctx.session["user"] = 1
    with ctx:
        ctx.session["user"] = 1
        assert session["user"] == 1


@both_packages
def test_the_objects_behind_the_proxies(f: types.ModuleType) -> None:
    app = make_app(f)
    with app.test_request_context("/path") as ctx:
        assert f.globals.request_ctx._get_current_object() is ctx
        assert f.globals.app_ctx._get_current_object().app is app
        assert f.globals.app_ctx._get_current_object().g is f.g._get_current_object()
        assert f.request._get_current_object() is ctx.request
        assert f.current_app._get_current_object() is app
        assert f.session._get_current_object() is ctx.session
        assert isinstance(f.request, f.Request)
        assert repr(ctx).endswith("'http://localhost/path' [GET] of app>")


def keep_contexts(f: types.ModuleType, **client_args: t.Any) -> Log:
    app = make_app(f)
    log: Log = []
    app.teardown_request(lambda exc: log.append(("teardown", f.request.path)))
    app.teardown_appcontext(lambda exc: log.append(("app", f.g.name)))

    @app.get("/<name>")
    def view(name: str) -> str:
        f.g.name = f.session["name"] = name
        return name

    with app.test_client(**client_args) as client:
        for path in ("/first", "/second"):
            client.get(path)
            log.append((f.request.path, f.g.name, f.session["name"]))
    log.append(where(f))
    return log


@each_transport
def test_a_client_keeps_the_context_of_its_last_request(transport: str) -> None:
    log = keep_contexts(asyncflask, transport=transport)
    assert log == keep_contexts(flask)
    assert ("/second", "second", "second") in log
