"""What any stage sets in a ContextVar every later one sees; contexts inside others."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import typing as t

import pytest
from starlette.background import BackgroundTask

from asyncflask import current_app
from asyncflask import Flask
from asyncflask import g
from asyncflask import render_template_string
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from tests.kit.drive import fetch
from tests.twins import painted

trail: contextvars.ContextVar[tuple[str, ...]] = contextvars.ContextVar("trail", default=())
COLOURS = ["sync", "async"]


class Trail:
    """An application each stage of which appends its name to a ContextVar.

    :param colours: those of the hooks, the view, the stream and the background task.
    :param kept: whether the stream keeps the request's context.
    """

    def __init__(self, colours: t.Sequence[str], kept: bool) -> None:
        #: What each stage has found.
        self.found: dict[str, tuple[str, ...]] = {}
        hooks, view, self._stream, self._task = colours
        self._kept = kept
        self.app = app = Flask("app", root_path=".", static_folder=None)
        other = COLOURS[hooks == "sync"]
        app.before_request(self._stage("before 1", hooks))
        app.before_request(self._stage("before 2", other))
        app.context_processor(lambda: {"stage": self._stage("template", "sync")})
        app.add_url_rule("/", "view", self._stage("view", view, self._respond))
        app.after_request(self._stage("after 1", hooks))
        app.after_request(self._stage("after 2", other))
        app.teardown_request(self._stage("teardown 1", hooks))
        app.teardown_appcontext(self._stage("teardown 2", other))

    @property
    def order(self) -> list[str]:
        ends = [["stream 1", "stream 2"], ["teardown 1", "teardown 2"]]
        first, then = ends if self._kept else reversed(ends)
        stages = ["before 1", "before 2", "view", "template", "after 2", "after 1"]
        return [*stages, *first, *then, "task"]

    def check(self) -> None:
        """Assert that each stage has found what all before it have left."""
        expected = {name: tuple(self.order[:index]) for index, name in enumerate(self.order)}
        assert self.found == expected

    def _note(self, name: str) -> None:
        self.found[name] = trail.get()
        trail.set((*trail.get(), name))

    def _stage(
        self, name: str, colour: str, then: t.Callable[[], t.Any] | None = None
    ) -> t.Callable[..., t.Any]:
        def stage(*args: t.Any) -> t.Any:
            self._note(name)
            if then is not None:
                return then()
            return args[0] if name.startswith("after") else None

        return painted(stage, colour)

    def _respond(self) -> Response:
        render_template_string("{{ stage() }}")
        stream: t.Any = self._chunks() if self._stream == "sync" else self._async_chunks()
        response = Response(stream_with_context(stream) if self._kept else stream)
        response.background = BackgroundTask(self._stage("task", self._task))
        return response

    def _chunks(self) -> t.Iterator[str]:
        for name in ("stream 1", "stream 2"):
            self._note(name)
            yield "chunk"

    async def _async_chunks(self) -> t.AsyncIterator[str]:
        for chunk in self._chunks():
            await asyncio.sleep(0)
            yield chunk


@pytest.mark.case("A6")
@pytest.mark.parametrize("colours", list(itertools.product(COLOURS, repeat=4)), ids="-".join)
@pytest.mark.parametrize("kept", [True, False], ids=["with context", "without"])
async def test_what_is_set_is_seen_by_all_that_follows_and_by_nobody_else(
    kept: bool, colours: tuple[str, ...]
) -> None:
    made = Trail(colours, kept)
    left: list[tuple[str, ...]] = []

    async def served(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        for _ in range(2):
            # The same Context, as on one connection of some servers.
            await made.app(scope, receive, quiet)
            made.check()
            left.append(trail.get())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def quiet(message: t.Any) -> None: ...

    await fetch(served)
    assert left == [(), ()]


@pytest.mark.case("A6")
@pytest.mark.parametrize("colours", list(itertools.product(COLOURS, repeat=3)), ids="-".join)
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_the_test_clients_requests_see_the_same(transport: str, colours: tuple[str, ...]) -> None:
    made = Trail([*colours, colours[0]], kept=True)
    for _ in range(2):
        with made.app.test_client(transport=transport).get("/") as response:
            assert response.text == "chunkchunk"
        made.check()
    assert trail.get() == ()


# -- contexts inside of others ------------------------------------------------------------------


def here() -> tuple[str, str, t.Any]:
    return current_app.name, request.path, g.get("value")


class Nest:
    """Two applications, and what is torn down of the inner one."""

    def __init__(self, colour: str) -> None:
        self.outer = Flask("outer", root_path=".", static_folder=None)
        self.inner = Flask("inner", root_path=".", static_folder=None)
        self.outer.testing = self.inner.testing = True
        self.torn: list[str] = []
        for name, register in (
            ("request", self.inner.teardown_request),
            ("context", self.inner.teardown_appcontext),
        ):
            register(painted(lambda exc, name=name: self.torn.append(name), colour))
        self.inner.add_url_rule("/in", "in", painted(lambda: repr(here()), colour))

    def note(self) -> None:
        """Be in a context of the inner application, and leave something in it."""
        assert (current_app.name, g.get("value")) == ("inner", None)
        g.value = "inner"


@pytest.mark.case("A7")
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_a_sync_view_has_its_context_back_after_others(transport: str, colour: str) -> None:
    nest = Nest(colour)

    @nest.outer.get("/out")
    def view() -> str:
        g.value = 1
        with nest.inner.app_context():
            nest.note()
            with nest.outer.app_context():
                assert (current_app.name, "value" in g) == ("outer", False)
            assert (current_app.name, g.value) == ("inner", "inner")
        with nest.inner.test_request_context("/in"):
            nest.note()
        with pytest.raises(LookupError), nest.inner.app_context():
            raise LookupError
        for inner in ("wsgi", "asgi"):
            answer = nest.inner.test_client(transport=inner).get("/in")
            assert answer.text == "('inner', '/in', None)"
        assert here() == ("outer", "/out", 1)
        return "ok"

    assert nest.outer.test_client(transport=transport).get("/out").text == "ok"
    assert nest.torn == ["context", "request", "context", "context", *["request", "context"] * 2]


@pytest.mark.case("A7")
@pytest.mark.parametrize("colour", COLOURS)
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_an_async_view_has_its_context_back_after_others(transport: str, colour: str) -> None:
    nest = Nest(colour)

    @nest.outer.get("/out")
    async def view() -> str:
        g.value = 1
        async with nest.inner.app_context():
            nest.note()
            await asyncio.sleep(0)
            async with nest.outer.app_context():
                assert (current_app.name, "value" in g) == ("outer", False)
            assert (current_app.name, g.value) == ("inner", "inner")
        async with nest.inner.test_request_context("/in"):
            nest.note()
        with pytest.raises(LookupError):
            async with nest.inner.app_context():
                raise LookupError
        async with nest.inner.async_test_client(lifespan=False) as client:
            assert (await client.get("/in")).text == "('inner', '/in', None)"
        assert here() == ("outer", "/out", 1)
        return "ok"

    assert nest.outer.test_client(transport=transport).get("/out").text == "ok"
    assert nest.torn == ["context", "request", "context", "context", "request", "context"]
