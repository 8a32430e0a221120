"""Async overrides: they await ``super()``; and the methods that only an override makes a stage."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import typing as t

import pytest

from asyncflask import Flask
from asyncflask import g
from asyncflask import Response
from tests.test_overrides import answer_of
from tests.test_overrides import ASKED
from tests.test_overrides import both_transports
from tests.test_overrides import each_colour
from tests.test_overrides import Event
from tests.test_overrides import fill
from tests.test_overrides import make_pair
from tests.test_overrides import note
from tests.test_overrides import on_class_and_instance
from tests.test_overrides import STEPS
from tests.twins import painted

PLAIN_METHODS = ["make_response", "make_default_options_response", "raise_routing_exception"]
ONLY_OVERRIDDEN = ["create_url_adapter", "log_exception"]
both_colours = pytest.mark.parametrize("colour", ["sync", "async"])


@both_transports
@both_colours
@on_class_and_instance
@pytest.mark.parametrize("name", [*STEPS, *ONLY_OVERRIDDEN])
def test_an_async_override_that_calls_the_original_changes_nothing(
    name: str, where: str, colour: str, transport: str
) -> None:
    async def method(self: Flask, *args: t.Any, **kwargs: t.Any) -> t.Any:
        await asyncio.sleep(0)
        note(events, name)
        result = getattr(Flask, name)(self, *args, **kwargs)
        if inspect.isawaitable(result):
            result = await result
        else:
            assert name in [*PLAIN_METHODS, *ONLY_OVERRIDDEN]
        note(events, name)
        await asyncio.sleep(0)
        return result

    events: list[Event] = []
    app, plain, plain_events = make_pair(where, name, method, colour, events)
    calls: list[Event] = []
    for one in ASKED:
        events.clear()
        plain_events.clear()
        assert answer_of(app, transport, *one) == answer_of(plain, transport, *one)
        assert [event for event in events if event[0] != name] == plain_events
        calls += [event for event in events if event[0] == name]
    # On the loop, before and after.
    assert set(calls) == {(name, False)}


@both_transports
@both_colours
@on_class_and_instance
@pytest.mark.parametrize("name", ONLY_OVERRIDDEN)
def test_a_sync_override_of_a_plain_method_runs_on_a_thread(
    name: str, where: str, colour: str, transport: str
) -> None:
    def method(self: Flask, *args: t.Any) -> t.Any:
        note(events, name)
        return getattr(Flask, name)(self, *args)

    events: list[Event] = []
    app, plain, _ = make_pair(where, name, method, colour, events)
    for one in ASKED:
        assert answer_of(app, transport, *one) == answer_of(plain, transport, *one)
    assert {event for event in events if event[0] == name} == {(name, True)}


def test_sync_stages_behind_an_async_override_share_one_thread() -> None:
    threads: list[int] = []
    local = threading.local()

    class Own(Flask):
        async def full_dispatch_request(self) -> Response:  # type: ignore[override]
            return await super().full_dispatch_request()  # type: ignore[misc]

        async def dispatch_request(self) -> t.Any:
            g.dispatch = g.first + 1
            return await super().dispatch_request()

        async def process_response(self, response: Response) -> Response:  # type: ignore[override]
            return await super().process_response(response)  # type: ignore[misc]

    def hook(*args: t.Any) -> t.Any:
        threads.append(threading.get_ident())
        if not hasattr(local, "count"):
            local.count = 0
        local.count += 1
        g.first = 1
        return args[0] if args else None

    app = Own("app", static_folder=None)
    app.before_request(hook)
    app.after_request(hook)
    app.teardown_request(hook)
    app.add_url_rule("/", "index", lambda: f"{hook(g.dispatch)} {local.count}")
    assert app.test_client(transport="asgi").get("/").text == "2 2"
    assert len(threads) == 4
    assert len(set(threads)) == 1


@both_transports
def test_async_overrides_behind_a_sync_one(transport: str) -> None:
    class Own(Flask):
        def full_dispatch_request(self) -> Response:
            return super().full_dispatch_request()

        async def preprocess_request(self) -> t.Any:
            for _ in range(2):
                # Each goes to the thread and comes back.
                assert await super().preprocess_request() is None  # type: ignore[misc]

        async def dispatch_request(self) -> t.Any:
            return await super().dispatch_request() + await super().dispatch_request()

    app = Own("app", static_folder=None)
    events: list[Event] = []
    fill(app, "sync", events)
    assert answer_of(app, transport, "GET", "/") == (200, "finefine")
    names = ["before", "before", "index", "index", "after", "teardown", "teardown app"]
    assert events == [(name, True) for name in names]


@both_transports
def test_an_async_override_may_set_a_time_limit(transport: str) -> None:
    class Own(Flask):
        async def dispatch_request(self) -> t.Any:
            async with asyncio.timeout(0.05):
                return await super().dispatch_request()

    app = Own("app", static_folder=None)
    events: list[Event] = []
    fill(app, "sync", events)

    @app.get("/endless")
    async def endless() -> None:
        await asyncio.Event().wait()

    app.register_error_handler(TimeoutError, lambda error: "too slow")
    assert answer_of(app, transport, "GET", "/endless") == (200, "too slow")
    assert answer_of(app, transport, "GET", "/") == (200, "fine")
    assert [name for name, _ in events[-3:]] == ["after", "teardown", "teardown app"]


@both_transports
def test_an_override_that_awaits_the_original_in_another_task_is_told_so(transport: str) -> None:
    class Own(Flask):
        async def dispatch_request(self) -> t.Any:
            return await asyncio.create_task(super().dispatch_request())  # type: ignore[arg-type]

    app = Own("app", static_folder=None)
    app.add_url_rule("/", "index", lambda: "x")
    app.register_error_handler(RuntimeError, str)
    assert "awaited in another task" in app.test_client(transport=transport).get("/").text


def make_app_with_async_teardowns() -> tuple[Flask, list[str]]:
    class Own(Flask):
        async def do_teardown_request(self, *args: t.Any) -> None:  # type: ignore[override]
            names.append("do_teardown_request")
            await super().do_teardown_request(*args)  # type: ignore[func-returns-value,misc]

        async def do_teardown_appcontext(self, *args: t.Any) -> None:  # type: ignore[override]
            names.append("do_teardown_appcontext")
            await super().do_teardown_appcontext(*args)  # type: ignore[func-returns-value,misc]

    names: list[str] = []
    app = Own("app", static_folder=None)
    app.teardown_request(lambda error: names.append("teardown"))
    app.teardown_appcontext(painted(lambda error: names.append("teardown app"), "async"))
    return app, names


TEARDOWNS = ["do_teardown_request", "teardown", "do_teardown_appcontext", "teardown app"]


async def test_async_overrides_for_contexts_that_are_pushed_by_hand() -> None:
    app, names = make_app_with_async_teardowns()
    async with app.test_request_context():
        pass
    assert names == TEARDOWNS


def test_async_overrides_for_contexts_that_are_pushed_by_sync_code() -> None:
    app, names = make_app_with_async_teardowns()
    with app.test_request_context():
        pass
    assert names == TEARDOWNS


@pytest.mark.parametrize("name", ["ensure_sync", "async_to_sync"])
def test_how_async_callbacks_are_run_cannot_be_async(name: str) -> None:
    async def method(self: Flask, *args: t.Any) -> t.Any:
        return None

    app = type("Own", (Flask,), {name: method})("app", static_folder=None)
    with pytest.raises(TypeError, match=f"Own.{name} is overridden by .*, which is async"):
        app.test_client(transport="asgi").get("/")


@both_transports
@each_colour
@on_class_and_instance
@pytest.mark.parametrize("name", ["ensure_sync", "async_to_sync"])
def test_an_application_may_run_async_callbacks_its_own_way(
    name: str, where: str, colour: str, transport: str
) -> None:
    ran: list[str] = []

    def method(self: Flask, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        inner = getattr(Flask, name)(self, func)

        @functools.wraps(func)
        def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            ran.append(func.__name__)
            return inner(*args, **kwargs)

        return call

    def before() -> None:
        pass

    def index() -> str:
        raise LookupError("x")

    def after(response: Response) -> Response:
        return response

    def handler(error: Exception) -> str:
        return "handled"

    kind = type("Own", (Flask,), {name: method} if where == "class" else {})
    app = kind("app", static_folder=None)
    if where == "instance":
        setattr(app, name, method.__get__(app))
    app.before_request(painted(before, colour))
    app.add_url_rule("/", view_func=painted(index, colour))
    app.after_request(painted(after, colour))
    app.register_error_handler(LookupError, painted(handler, colour))
    for _ in range(2):
        ran.clear()
        assert app.test_client(transport=transport).get("/").text == "handled"
        concerned = name == "ensure_sync" or colour == "async"
        assert ran == (["before", "index", "handler", "after"] if concerned else [])
    # It is not there any more from the next request on.
    if where == "instance":
        ran.clear()
        delattr(app, name)
        assert app.test_client(transport=transport).get("/").text == "handled"
        assert ran == []
