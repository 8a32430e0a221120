from __future__ import annotations

import asyncio
import functools
import gc
import threading
import typing as t
import weakref

import pytest
from werkzeug.exceptions import MethodNotAllowed

from asyncflask import Flask
from asyncflask import make_response
from asyncflask import request
from asyncflask.lanes import is_async
from asyncflask.views import http_method_funcs
from asyncflask.views import MethodView
from asyncflask.views import View


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__)
    app.testing = True
    return app


class SyncView(View):
    """Answers with the method."""

    methods = ["GET", "POST"]

    def dispatch_request(self, **kwargs: t.Any) -> str:
        return f"{request.method} {kwargs}"


class AsyncView(SyncView):
    async def dispatch_request(self, **kwargs: t.Any) -> str:  # type: ignore[override]
        return f"{request.method} {kwargs}"


class SyncMethods(MethodView):
    def get(self, **kwargs: t.Any) -> str:
        return f"GET {kwargs}"

    def post(self, **kwargs: t.Any) -> str:
        return f"POST {kwargs}"


class AsyncMethods(MethodView):
    async def get(self, **kwargs: t.Any) -> str:
        return f"GET {kwargs}"

    async def post(self, **kwargs: t.Any) -> str:
        return f"POST {kwargs}"


class MixedMethods(SyncMethods):
    async def post(self, **kwargs: t.Any) -> str:  # type: ignore[override]
        return f"POST {kwargs}"


CLASSES: list[type[View]] = [SyncView, AsyncView, SyncMethods, AsyncMethods, MixedMethods]


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
@pytest.mark.parametrize("init_every_request", [True, False])
@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_answers_its_methods_and_no_other(
    app: Flask, cls: type[View], init_every_request: bool, transport: str
) -> None:
    view = type("Sub", (cls,), {"init_every_request": init_every_request}).as_view("view")
    app.add_url_rule("/<name>", view_func=view)
    client = app.test_client(transport=transport)
    assert client.get("/x").text == "GET {'name': 'x'}"
    assert client.post("/x").text == "POST {'name': 'x'}"
    assert client.put("/x").status_code == 405
    assert set(client.options("/x").allow) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize("cls", CLASSES)
def test_the_view_function_is_async_where_every_answer_is(cls: type[View]) -> None:
    assert is_async(cls.as_view("view")) is (cls in (AsyncView, AsyncMethods))


def test_only_the_methods_that_are_served_decide_the_colour() -> None:
    class Narrowed(MixedMethods):
        methods = ["post"]

    class Overridden(AsyncMethods):
        def dispatch_request(self, **kwargs: t.Any) -> str:
            return "sync"

    class Empty(MethodView):
        methods = ["GET"]

    assert is_async(Narrowed.as_view("view"))
    assert not is_async(Overridden.as_view("view"))
    assert not is_async(Empty.as_view("view"))


@pytest.mark.parametrize("cls", [AsyncView, AsyncMethods])
async def test_an_async_view_function_may_be_awaited(app: Flask, cls: type[View]) -> None:
    async with app.test_request_context("/"):
        assert await t.cast(t.Any, cls.as_view("view")(a=1)) == "GET {'a': 1}"


def test_sync_methods_run_on_a_thread_and_async_ones_on_the_loop(app: Flask) -> None:
    class Threads(MethodView):
        def get(self) -> str:
            return threading.current_thread().name

        async def post(self) -> str:
            return threading.current_thread().name

    app.add_url_rule("/", view_func=Threads.as_view("view"))
    client = app.test_client(transport="asgi")
    assert client.get("/").text != client.post("/").text


def test_the_function_carries_what_add_url_rule_reads() -> None:
    view: t.Any = SyncView.as_view("name")
    assert (view.__name__, view.__module__, view.__doc__) == ("name", __name__, SyncView.__doc__)
    assert view.view_class is SyncView
    assert view.methods == ["GET", "POST"]
    assert view.provide_automatic_options is None


def test_arguments_go_to_the_class_at_every_request(app: Flask) -> None:
    made: list[t.Any] = []

    class Greeting(View):
        def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
            made.append((args, kwargs))

        def dispatch_request(self) -> str:
            return str(len(made))

    app.add_url_rule("/", view_func=Greeting.as_view("greeting", 1, word="hello"))
    assert [app.test_client().get("/").text for _ in range(2)] == ["1", "2"]
    assert made == [((1,), {"word": "hello"})] * 2


def test_one_instance_serves_all_requests_if_asked(app: Flask) -> None:
    class Once(View):
        init_every_request = False
        made = 0

        def __init__(self) -> None:
            type(self).made += 1

        def dispatch_request(self) -> str:
            return str(self.made)

    app.add_url_rule("/", view_func=Once.as_view("once"))
    assert [app.test_client().get("/").text for _ in range(2)] == ["1", "1"]


@pytest.mark.parametrize("cls", [SyncMethods, AsyncMethods])
def test_another_class_may_be_put_in_place(app: Flask, cls: type[View]) -> None:
    class Other(MethodView):
        def get(self) -> str:
            return "sync"

        async def post(self) -> str:
            return "async"

    view: t.Any = cls.as_view("view")
    view.view_class = Other
    app.add_url_rule("/", view_func=view)
    client = app.test_client()
    assert (client.get("/").text, client.post("/").text) == ("sync", "async")


def add_header(func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    def decorated(**kwargs: t.Any) -> t.Any:
        response = make_response(func(**kwargs))
        response.headers["X-Decorated"] = "yes"
        return response

    return decorated


def exclaim(func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    @functools.wraps(func)
    async def decorated(**kwargs: t.Any) -> str:
        return f"{await func(**kwargs)}!"

    return decorated


@pytest.mark.parametrize("cls", [SyncView, SyncMethods, MixedMethods])
def test_a_decorator_gets_the_result_of_a_view_that_may_be_sync(
    app: Flask, cls: type[View]
) -> None:
    view: t.Any = type("Decorated", (cls,), {"decorators": [add_header]}).as_view("view")
    app.add_url_rule("/", view_func=view)
    for method in ("GET", "POST"):
        response = app.test_client().open("/", method=method)
        assert (response.text, response.headers["X-Decorated"]) == (f"{method} {{}}", "yes")
    assert (view.__name__, view.methods) == ("view", cls.methods)


@pytest.mark.parametrize("cls", [AsyncView, AsyncMethods])
def test_a_decorator_may_await_a_view_that_is_async(app: Flask, cls: type[View]) -> None:
    view = type("Decorated", (cls,), {"decorators": [exclaim]}).as_view("view")
    assert is_async(view)
    app.add_url_rule("/", view_func=view)
    assert app.test_client().get("/").text == "GET {}!"


def test_decorators_are_applied_in_order_to_a_named_function() -> None:
    seen: list[tuple[str, str]] = []

    def record(mark: str) -> t.Callable[..., t.Any]:
        return lambda func: seen.append((mark, func.__name__)) or func

    class Recorded(SyncView):
        decorators = [record("first"), record("second")]

    Recorded.as_view("view")
    assert seen == [("first", "view"), ("second", "view")]


@pytest.mark.parametrize("base", [SyncMethods, MixedMethods, AsyncMethods])
def test_an_overridden_dispatch_gets_the_result(app: Flask, base: type[MethodView]) -> None:
    class Upper(base):  # type: ignore[valid-type,misc]
        def dispatch_request(self, **kwargs: t.Any) -> str:
            return t.cast(str, super().dispatch_request(**kwargs)).lower()

    app.add_url_rule("/", view_func=Upper.as_view("view"))
    client = app.test_client()
    assert (client.get("/").text, client.post("/").text) == ("get {}", "post {}")


@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_a_dispatch_of_an_extension_s_gets_results_of_async_methods(
    app: Flask, transport: str, every: bool
) -> None:
    class Resource(MethodView):
        init_every_request = every

        def dispatch_request(self, **kwargs: t.Any) -> str:
            result = getattr(self, request.method.lower())(**kwargs)
            assert isinstance(result, str)
            return f"<{result}>"

    class Item(Resource):
        async def get(self, id: int) -> str:
            await asyncio.sleep(0)
            return f"{id} {type(self).__name__}"

        @staticmethod
        async def put(id: int) -> str:
            return f"put {id}"

        async def post(self, id: int) -> str:
            return f"{id} {request.get_data(as_text=True)}"

        def delete(self, id: int) -> str:
            return "sync"

    app.add_url_rule("/<int:id>", view_func=Item.as_view("item"))
    client = app.test_client(transport=transport)
    assert client.get("/7").text == "<7 Item>"
    assert (client.put("/7").text, client.delete("/7").text) == ("<put 7>", "<sync>")
    assert client.post("/7", data="body").text == "<7 body>"


def test_waiting_for_async_methods_leaves_no_circle(app: Flask) -> None:
    made: list[weakref.ref[t.Any]] = []

    class Item(MethodView):
        def __init__(self) -> None:
            made.append(weakref.ref(self))

        def dispatch_request(self, **kwargs: t.Any) -> t.Any:
            return self.get()

        async def get(self) -> str:
            return "got"

    app.add_url_rule("/", view_func=Item.as_view("item"))
    gc.disable()
    try:
        assert app.test_client().get("/").text == "got"
        assert [ref() for ref in made] == [None]
    finally:
        gc.enable()


def test_an_async_overridden_dispatch_awaits_the_result(app: Flask) -> None:
    class Lower(AsyncMethods):
        async def dispatch_request(self, **kwargs: t.Any) -> str:  # type: ignore[override]
            return t.cast(str, await t.cast(t.Any, super().dispatch_request(**kwargs))).lower()

    app.add_url_rule("/", view_func=Lower.as_view("view"))
    assert app.test_client().get("/").text == "get {}"


def test_head_goes_to_get_unless_there_is_a_head(app: Flask) -> None:
    class Implicit(MethodView):
        def get(self) -> t.Any:
            return "body", {"X-Method": request.method}

    class Explicit(Implicit):
        def head(self) -> t.Any:
            return "", {"X-Method": "own head"}

    app.add_url_rule("/implicit", view_func=Implicit.as_view("implicit"))
    app.add_url_rule("/explicit", view_func=Explicit.as_view("explicit"))
    client = app.test_client()
    assert client.head("/implicit").headers["X-Method"] == "HEAD"
    assert client.head("/explicit").headers["X-Method"] == "own head"
    assert client.head("/implicit").data == b""


def test_methods_are_those_of_the_class_and_its_bases() -> None:
    class Base(MethodView):
        methods = ["GET", "PROPFIND"]

    class Child(Base, SyncMethods):
        def delete(self) -> None: ...

    class Narrow(Child):
        methods = ["GET"]

    assert Child.methods == {"GET", "PROPFIND", "POST", "DELETE"}
    assert Narrow.methods == ["GET"]
    assert MethodView.methods is None


@pytest.mark.parametrize("declared_by", ["class", "route"])
def test_other_methods_work_where_they_are_declared(app: Flask, declared_by: str) -> None:
    class Dav(SyncMethods):
        def propfind(self) -> str:
            return "PROPFIND"

    if declared_by == "class":
        Dav.methods = ["propfind"]
        app.add_url_rule("/", view_func=Dav.as_view("view"))
    else:
        app.add_url_rule("/", view_func=Dav.as_view("view"), methods=["PROPFIND"])
    assert app.test_client().open("/", method="PROPFIND").text == "PROPFIND"


NOT_METHODS = ["DISPATCH_REQUEST", "__INIT__", "AS_VIEW", "_SECRET", "HELPER", "__CLASS__"]


class Guarded(SyncMethods):
    def helper(self) -> str:
        raise AssertionError("reached")

    _secret = helper


@pytest.mark.parametrize("method", [*NOT_METHODS, "get_", "PROPFIND"])
@pytest.mark.case("A27")
def test_a_clients_method_reaches_http_methods_only(app: Flask, method: str) -> None:
    app.add_url_rule("/", view_func=Guarded.as_view("view"))
    assert app.test_client().open("/", method=method).status_code == 405
    with app.test_request_context("/", method=method), pytest.raises(MethodNotAllowed) as caught:
        Guarded().dispatch_request()
    assert caught.value.valid_methods == ["GET", "POST"]


@pytest.mark.parametrize("method", ["DISPATCH_REQUEST", "__INIT__", "AS_VIEW", "_SECRET"])
@pytest.mark.case("A27")
def test_not_even_a_declaration_opens_what_is_private(app: Flask, method: str) -> None:
    app.add_url_rule("/", view_func=Guarded.as_view("view"), methods=[method])
    assert app.test_client().open("/", method=method).status_code == 405


def test_a_declared_method_that_is_not_written_is_an_error(app: Flask) -> None:
    class Unfinished(MethodView):
        methods = ["GET", "PUT"]

        def get(self) -> str:
            return ""

    app.add_url_rule("/", view_func=Unfinished.as_view("view"))
    with pytest.raises(AssertionError, match="Unimplemented method 'PUT'.*'Unfinished'"):
        app.test_client().put("/")


def test_a_view_without_dispatch_request_says_so() -> None:
    with pytest.raises(NotImplementedError, match="'View' has no dispatch_request"):
        View().dispatch_request()


def test_automatic_options_can_be_turned_off_and_on(app: Flask) -> None:
    class Off(SyncView):
        provide_automatic_options = False

    class On(SyncView):
        methods = ["OPTIONS"]
        provide_automatic_options = True

    app.add_url_rule("/off", view_func=Off.as_view("off"))
    app.add_url_rule("/on", view_func=On.as_view("on"))
    assert app.test_client().options("/off").status_code == 405
    assert set(app.test_client().options("/on").allow) == {"OPTIONS"}


def test_the_http_methods_are_flasks() -> None:
    import flask.views

    assert http_method_funcs == flask.views.http_method_funcs
