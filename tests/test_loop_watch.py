"""In debug mode a blocked event loop is logged with the name of what blocks it."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import typing as t

import pytest
from werkzeug.routing import BaseConverter

from asyncflask import Flask
from asyncflask import loop_watch
from asyncflask import Response
from asyncflask.loop_watch import find_culprit
from asyncflask.loop_watch import watch_loop
from asyncflask.signals import request_tearing_down
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan
from tests.kit.drive import LIMIT

THREAD = "asyncflask-watch"


class Block:
    """Blocks the loop until that was logged; what was logged is in ``messages``."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self._told = threading.Event()
        self._ended = threading.Event()

    def __call__(self) -> None:
        assert self._told.wait(LIMIT)

    def note(self, record: logging.LogRecord) -> bool:
        self.messages.append(record.getMessage())
        (self._ended if "free again" in self.messages[-1] else self._told).set()
        return False

    async def end(self) -> list[str]:
        assert await asyncio.to_thread(self._ended.wait, LIMIT)
        return self.messages


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Block:
    # Told of at once, since it goes on till then.
    monkeypatch.setattr(loop_watch, "PATIENCE", 0.0)
    return Block()


@pytest.fixture
def app(block: Block) -> t.Iterator[Flask]:
    app = Flask("watched", static_folder=None)
    app.debug = True
    app.config["BLOCKED_LOOP_THRESHOLD"] = 0.02
    app.logger.addFilter(block.note)
    yield app
    app.logger.removeFilter(block.note)


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == THREAD]


def add_view(app: Flask, block: Block) -> None:
    def decorated(view: t.Callable[[], t.Any]) -> t.Any:
        return functools.wraps(view)(lambda: view())

    @app.get("/", endpoint="view")
    @decorated
    async def blocking_view() -> str:
        block()
        return ""


def add_plain_view(app: Flask, block: Block) -> None:
    @app.get("/")
    async def blocking_view() -> str:
        block()
        return ""


def add_cancelled_view(app: Flask, block: Block) -> None:
    app.config["CANCEL_ON_DISCONNECT"] = True

    @app.get("/")
    async def blocking_view() -> str:
        block()
        return ""


def add_hook(name: str) -> t.Callable[[Flask, Block], None]:
    def add(app: Flask, block: Block) -> None:
        @getattr(app, name)
        async def blocking_hook(*args: t.Any) -> t.Any:
            block()
            return args[0] if name == "after_request" else None

        app.get("/", endpoint="view")(lambda: "")

    return add


def add_only_teardown(app: Flask, block: Block) -> None:
    @app.teardown_request
    async def blocking_hook(error: BaseException | None) -> None:
        block()

    app.get("/", endpoint="view")(plain_view)


def add_converter(app: Flask, block: Block) -> None:
    class Blocking(BaseConverter):
        part_isolating = False
        regex = ""

        def to_python(self, value: str) -> str:
            block()
            return value

    app.url_map.converters["blocking"] = Blocking
    app.get("/<blocking:nothing>", endpoint="view")(plain_view)


def add_response_class(app: Flask, block: Block) -> None:
    class Blocking(Response):
        def __init__(self, *args: t.Any, **kwargs: t.Any) -> None:
            block()
            super().__init__(*args, **kwargs)

    app.response_class = Blocking
    app.get("/", endpoint="view")(plain_view)


async def plain_view(**kwargs: t.Any) -> str:
    return ""


def add_stream(app: Flask, block: Block) -> None:
    async def blocking_stream() -> t.AsyncIterator[str]:
        block()
        yield ""

    app.get("/", endpoint="view")(blocking_stream)


def add_task(app: Flask, block: Block) -> None:
    async def blocking_task() -> None:
        block()

    @app.get("/")
    async def view() -> str:
        await asyncio.create_task(blocking_task())
        return ""


BLOCKS: dict[str, tuple[t.Callable[[Flask, Block], None], str]] = {
    "view": (add_view, "the view {}.add_view.<locals>.blocking_view"),
    "plain view": (add_plain_view, "the view {}.add_plain_view.<locals>.blocking_view"),
    "cancelled": (add_cancelled_view, "the view {}.add_cancelled_view.<locals>.blocking_view"),
    "only teardown": (add_only_teardown, "the hook {}.add_only_teardown.<locals>.blocking_hook"),
    "converter": (add_converter, "{}.add_converter.<locals>.Blocking.to_python"),
    "response class": (add_response_class, "{}.add_response_class.<locals>.Blocking.__init__"),
    "stream": (add_stream, "{}.add_stream.<locals>.blocking_stream"),
    "task": (add_task, "{}.add_task.<locals>.blocking_task"),
    **{
        name: (add_hook(name), "the hook {}.add_hook.<locals>.add.<locals>.blocking_hook")
        for name in ("before_request", "after_request", "teardown_request")
    },
}


@pytest.mark.parametrize("kind", BLOCKS)
async def test_what_blocks_the_loop_is_named(app: Flask, block: Block, kind: str) -> None:
    add, name = BLOCKS[kind]
    add(app, block)
    async with Lifespan(app):
        assert (await fetch(app)).status == 200
        told, end = await block.end()
    assert "has been blocked for" in told and f" by {name.format(__name__)}," in told
    assert "block()" in told and "free again" in end
    assert not watchers()


async def test_who_listens_and_blocks_the_loop_is_named(app: Flask, block: Block) -> None:
    async def blocking_receiver(sender: Flask, exc: BaseException | None) -> None:
        block()

    app.get("/", endpoint="view")(plain_view)
    async with Lifespan(app):
        with request_tearing_down.connected_to(blocking_receiver, app):
            assert (await fetch(app)).status == 200
        told, _ = await block.end()
    assert "by the hook" in told and f"{blocking_receiver.__qualname__}," in told


async def test_a_block_that_ends_is_told_of_once(
    app: Flask, block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop_watch, "PATIENCE", LIMIT)
    looked = threading.Event()

    def find(frame: t.Any) -> t.Any:
        culprit = find_culprit(frame)
        if culprit is not None and "view" in culprit.name:
            looks.append(culprit)
            if len(looks) == 2:
                looked.set()
        return culprit

    looks: list[t.Any] = []
    monkeypatch.setattr(loop_watch, "find_culprit", find)

    @app.get("/")
    async def view() -> str:
        assert looked.wait(LIMIT)
        return ""

    async with Lifespan(app):
        await fetch(app)
        assert await asyncio.to_thread(block._told.wait, LIMIT)
    assert len(block.messages) == 1 and "was blocked for" in block.messages[0]


async def test_a_loop_that_waits_and_threads_that_block_are_not_told_of(
    app: Flask, block: Block
) -> None:
    running, seen = threading.Event(), threading.Event()

    @app.get("/")
    def view() -> str:
        running.set()
        assert seen.wait(LIMIT)
        return ""

    async with Lifespan(app):
        request = asyncio.create_task(fetch(app))
        await asyncio.to_thread(running.wait, LIMIT)
        loop_thread = threading.get_ident()
        found = await asyncio.to_thread(
            lambda: find_culprit(loop_watch.sys._current_frames()[loop_thread])
        )
        seen.set()
        await request
    assert found is None and not block.messages


@pytest.mark.parametrize("off", ["debug", "threshold"])
async def test_nothing_is_watched_outside_of_debug_mode_or_if_told_not_to(
    app: Flask, off: str
) -> None:
    if off == "debug":
        app.debug = False
    else:
        app.config["BLOCKED_LOOP_THRESHOLD"] = None
    async with Lifespan(app):
        assert not watchers()


async def test_many_that_block_one_after_the_other_are_not_blamed(
    block: Block, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = iter(range(2))
    looked_twice = threading.Event()

    def find_another(frame: object) -> loop_watch.Culprit:
        key = next(calls)
        if key:
            looked_twice.set()
        return loop_watch.Culprit("the view", "", key)

    monkeypatch.setattr(loop_watch, "find_culprit", find_another)
    logger = logging.Logger("watched")
    logger.addFilter(block.note)
    watch = watch_loop(0.02, logger)
    assert watch is not None and looked_twice.wait(LIMIT)
    watch.stop()
    assert block.messages == []


async def test_a_loop_is_watched_once(app: Flask) -> None:
    inner = Flask("inner", static_folder=None)
    inner.debug = True
    app.mount("/inner", inner)
    async with Lifespan(app):
        assert len(watchers()) == 1
        assert watch_loop(1.0, app.logger) is None
    assert not watchers()
    async with Lifespan(app):
        assert len(watchers()) == 1
    assert not watchers()


def test_a_watch_ends_with_its_loop(app: Flask) -> None:
    async def begin() -> threading.Thread:
        assert watch_loop(0.02, app.logger) is not None
        return watchers()[0]

    asyncio.run(begin()).join(LIMIT)
    assert not watchers()
