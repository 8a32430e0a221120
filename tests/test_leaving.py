"""Clients that leave, and requests that are cancelled: what is closed, when, and where."""

from __future__ import annotations

import asyncio
import threading
import typing as t
from pathlib import Path

import anyio
import pytest
import starlette.responses as starlette

import asyncflask
from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from asyncflask.adapters.streams import TOGETHER
from asyncflask.lanes import QueueFull
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import LIMIT
from tests.kit.drive import STALL
from tests.kit.leaks import no_tasks_left
from tests.kit.leaks import worker_threads
from tests.kit.sources import Source
from tests.kit.sources import SyncSource

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


def serve(app: Flask, value: t.Any, rule: str = "/", **options: t.Any) -> None:
    """Add a view that returns what *value* gives when it is called."""

    async def view() -> t.Any:
        return value()

    app.add_url_rule(rule, "view", view, **options)


# -- a client that leaves --------------------------------------------------------------------


async def test_a_stream_that_waits_is_closed_at_once_when_its_client_leaves(app: Flask) -> None:
    events: list[str] = []

    async def stream() -> t.AsyncIterator[str]:
        try:
            yield "a"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            await anyio.sleep(0.001)
            events.append("cleaned up")

    serve(app, stream)
    async with Exchange(app) as exchange:
        assert await exchange.chunk() == b"a"
        exchange.disconnect()
        answer = await exchange.end()
    assert (answer.error, answer.complete, events) == (None, False, ["cleaned up"])


async def test_a_stream_that_never_started_is_closed_when_its_client_leaves(app: Flask) -> None:
    source = Source("a", waits_at=0)
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        await source.waiting.wait()
        exchange.disconnect()
    assert (source.taken, source.closed, exchange.answer.messages) == (0, 1, [])


async def test_a_stream_that_never_suspends_lets_others_run_and_ends_with_its_client(
    app: Flask,
) -> None:
    produced = 0

    async def stream() -> t.AsyncIterator[str]:
        nonlocal produced
        while True:
            produced += 1
            yield "x"

    serve(app, stream, "/endless")
    app.add_url_rule("/ping", "ping", lambda: "pong")
    async with Exchange(app, "GET", "/endless") as exchange:
        await exchange.chunk()
        assert (await fetch(app, "GET", "/ping")).text == "pong"
        exchange.disconnect()
        await exchange.end()
    before = produced
    assert (await fetch(app, "GET", "/ping")).text == "pong"
    assert produced == before


async def test_a_sync_stream_is_read_and_closed_on_a_thread(app: Flask) -> None:
    source = SyncSource("x", endless=True)
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        assert await exchange.chunk() == b"x"
        exchange.disconnect()
    assert source.closed == 1
    assert threading.get_ident() not in source.threads


async def test_a_sync_stream_at_work_is_closed_after_it_has_let_go(app: Flask) -> None:
    events: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    def stream() -> t.Iterator[str]:
        try:
            yield "a"
            started.set()
            go_on.wait(LIMIT)
            events.append("worked")
            yield "b"
        finally:
            events.append("closed")

    serve(app, stream)
    async with Exchange(app) as exchange:
        await exchange.chunk()
        await asyncio.to_thread(started.wait, LIMIT)
        exchange.disconnect()
        go_on.set()
    assert events == ["worked", "closed"]


async def test_a_sync_stream_whose_client_has_left_cleans_up_in_peace(app: Flask) -> None:
    events: list[str] = []
    started, go_on = threading.Event(), threading.Event()

    async def clean_up() -> None:
        await asyncio.sleep(0)
        events.append("cleaned up")

    def stream() -> t.Iterator[str]:
        try:
            yield "a"
            started.set()
            go_on.wait(LIMIT)
            yield "b"
        finally:
            app.ensure_sync(clean_up)()

    serve(app, stream)
    async with Exchange(app) as exchange:
        await exchange.chunk()
        await asyncio.to_thread(started.wait, LIMIT)
        exchange.disconnect()
        # It is known before the thread is done.
        for _ in range(10):
            await asyncio.sleep(0)
        go_on.set()
        assert (await exchange.end()).error is None
    assert events == ["cleaned up"]


async def test_a_client_that_leaves_while_it_does_not_read_ends_the_stream(app: Flask) -> None:
    source = Source(*["x" * TOGETHER] * 100)
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        exchange.disconnect()
    assert source.closed == 1 and source.taken < 10


@pytest.mark.parametrize("kind", ["whole", "sync stream", "async stream", "file", "starlette file"])
async def test_a_send_that_fails_since_the_client_has_left_is_a_quiet_end(
    app: Flask, kind: str, tmp_path: Path
) -> None:
    closed: list[str] = []
    (tmp_path / "a.txt").write_bytes(b"x" * 1_000_000)
    bodies: dict[str, t.Callable[[], t.Any]] = {
        "whole": lambda: "hello",
        "sync stream": lambda: iter(["a", "b", "c"]),
        "async stream": lambda: Source("a", "b", "c"),
        "file": lambda: asyncflask.send_file(tmp_path / "a.txt"),
        "starlette file": lambda: starlette.FileResponse(tmp_path / "a.txt"),
    }
    serve(app, bodies[kind])

    @app.after_request
    def note(response: Response) -> Response:
        response.call_on_close(lambda: closed.append("closed"))
        return response

    async with Exchange(app) as exchange:
        exchange.disconnect(send_fails=True)
        answer = await exchange.end()
    assert (answer.error, answer.messages, closed) == (None, [], ["closed"])


async def test_a_send_that_fails_otherwise_is_the_servers_to_report(app: Flask) -> None:
    source = Source("a", "b")
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        exchange.fail_sends(RuntimeError("a fault of the server"))
        answer = await exchange.end()
    assert str(answer.error) == "a fault of the server" and source.closed == 1


@pytest.mark.case("A1")
@pytest.mark.parametrize("by", ["task", "scope"])
@pytest.mark.parametrize("message", range(4))
@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_a_stream_of_a_cancelled_request_is_closed(
    app: Flask, colour: str, message: int, by: str
) -> None:
    torn_down: list[BaseException | None] = []
    # Large enough for a message each.
    chunks = [letter * TOGETHER for letter in "abc"]
    sync_source, source = SyncSource(*chunks), Source(*chunks)
    app.teardown_request(torn_down.append)
    serve(app, lambda: stream_with_context(sync_source if colour == "sync" else source))
    async with Exchange(app) as exchange:
        exchange.cancel_at(message, by)
        answer = await exchange.end()
    assert not answer.complete and isinstance(answer.error, asyncio.CancelledError | None)
    assert (sync_source if colour == "sync" else source).closed == 1
    assert len(torn_down) == 1


@pytest.mark.parametrize("by", ["task", "scope"])
async def test_a_cancelled_stream_cleans_up_in_peace(app: Flask, by: str) -> None:
    events: list[str] = []

    async def stream() -> t.AsyncIterator[str]:
        try:
            yield "a"
            await anyio.sleep_forever()
        finally:
            await anyio.sleep(0.001)
            events.append("cleaned up")

    serve(app, stream)
    async with Exchange(app) as exchange:
        await exchange.chunk()
        exchange.cancel(by)
        answer = await exchange.end()
    assert not answer.complete and isinstance(answer.error, asyncio.CancelledError | None)
    assert events == ["cleaned up"]


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("lost_by", ["error", "task", "scope"])
async def test_a_response_that_is_made_and_then_lost_is_closed(
    app: Flask, colour: str, lost_by: str
) -> None:
    app.config["PROPAGATE_EXCEPTIONS"] = True
    source = Source("a") if colour == "async" else SyncSource("a")
    exchanges: list[Exchange] = []
    app.add_url_rule("/", "view", lambda: Response(t.cast(t.Any, source)))

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        if lost_by == "error":
            raise LookupError("the teardown fails")
        exchanges[0].cancel(lost_by)

    async with Exchange(app) as exchange:
        exchanges.append(exchange)
        answer = await exchange.end()
    if lost_by == "error":
        assert isinstance(answer.error, LookupError) and answer.messages == []
    assert not answer.complete and source.closed == 1


LOST = {"cancelled": asyncio.CancelledError, "refused": QueueFull, "failed": LookupError}


@pytest.mark.case("A1")
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("lost", LOST)
async def test_a_kept_stream_that_is_lost_before_it_is_a_response_holds_up_no_teardown(
    app: Flask, colour: str, lost: str
) -> None:
    torn_down: list[str] = []
    source = Source("a") if colour == "async" else SyncSource("a")
    app.add_url_rule("/", "view", lambda: stream_with_context(t.cast(t.Any, source)))

    @app.after_request
    async def lose(response: Response) -> Response:
        raise LOST[lost]

    @app.teardown_request
    async def teardown(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        torn_down.append(type(exc).__name__)

    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert torn_down == [{"refused": "NoneType"}.get(lost, LOST[lost].__name__)]
    assert answer.status == {"cancelled": 0, "refused": 503, "failed": 500}[lost]


@pytest.mark.case("A1")
async def test_a_kept_stream_of_a_view_that_is_cancelled_holds_up_no_teardown(app: Flask) -> None:
    torn_down: list[str] = []
    app.teardown_request(lambda exc: torn_down.append(type(exc).__name__))
    waiting = asyncio.Event()

    @app.get("/", cancel_on_disconnect=True)
    async def view() -> t.Any:
        stream = stream_with_context(Source("a"))
        waiting.set()
        await asyncio.Event().wait()
        return stream

    async with Exchange(app) as exchange:
        await waiting.wait()
        exchange.disconnect()
    assert torn_down == ["ClientLeft"]


async def test_functions_to_call_on_close_run_though_the_stream_fails_to_close(app: Flask) -> None:
    closed: list[str] = []

    class Bad(Source):
        async def aclose(self) -> None:
            raise LookupError("will not close")

    def view() -> Response:
        response = Response(Bad("a"))
        response.call_on_close(lambda: closed.append("closed"))
        return response

    app.add_url_rule("/", "view", view)
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert isinstance(answer.error, LookupError)
    assert closed == ["closed"]


async def test_streams_that_were_left_keep_no_thread(app: Flask) -> None:
    app.add_url_rule("/", "view", lambda: stream_with_context(SyncSource("x", endless=True)))
    before = worker_threads()
    for _ in range(20):
        async with Exchange(app) as exchange:
            await exchange.chunk()
            exchange.disconnect()
    assert worker_threads() <= before + 2


async def test_a_started_stream_goes_on_though_the_queue_for_threads_is_full(app: Flask) -> None:
    app.config.update(SYNC_THREADS=1, SYNC_QUEUE_LIMIT=0)
    started, go_on = threading.Event(), threading.Event()

    @app.get("/blocking")
    def blocking() -> str:
        started.set()
        go_on.wait(LIMIT)
        return "ok"

    source = SyncSource(*"abc")
    app.add_url_rule("/stream", "stream", lambda: Response(source))
    async with Exchange(app, "GET", "/stream") as exchange:
        exchange.stop_reading()
        await exchange.blocked()
        async with Exchange(app, "GET", "/blocking") as other:
            await asyncio.to_thread(started.wait, LIMIT)
            exchange.read_on()
            assert await exchange.chunk() == b"a"
            for _ in range(20):
                # It asks for its next chunk, which it may have to wait for.
                await asyncio.sleep(0)
            assert exchange.answer.error is None
            go_on.set()
            assert (await other.end()).text == "ok"
        assert (await exchange.end()).text == "abc"


# -- views that are cancelled ----------------------------------------------------------------


@pytest.mark.case("A1")
@pytest.mark.parametrize("asked_by", ["config", "route"])
async def test_a_view_is_cancelled_when_its_client_leaves_if_asked_for(
    app: Flask, asked_by: str
) -> None:
    events: list[str] = []
    app.config["CANCEL_ON_DISCONNECT"] = asked_by == "config"
    app.teardown_request(lambda exc: events.append(f"torn down: {type(exc).__name__}"))
    waiting = asyncio.Event()

    async def view() -> str:
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await anyio.sleep(0.001)
            events.append("cancelled")
        return "never"

    app.add_url_rule("/", "view", view, cancel_on_disconnect=True if asked_by == "route" else None)
    async with Exchange(app) as exchange:
        await waiting.wait()
        exchange.disconnect()
    assert exchange.answer.error is None
    assert events == ["cancelled", "torn down: ClientLeft"]


@pytest.mark.parametrize("asked_by", ["nobody", "the route, against the config"])
async def test_a_view_is_not_cancelled_by_default(app: Flask, asked_by: str) -> None:
    events: list[str] = []
    app.teardown_request(lambda exc: events.append(f"torn down: {exc}"))
    go_on, waiting = asyncio.Event(), asyncio.Event()
    options = {}
    if asked_by != "nobody":
        app.config["CANCEL_ON_DISCONNECT"] = True
        options = {"cancel_on_disconnect": False}

    async def view() -> str:
        waiting.set()
        await go_on.wait()
        events.append(f"left: {await request.is_disconnected()}")
        return "done"

    app.add_url_rule("/", "view", view, **options)
    async with Exchange(app) as exchange:
        await waiting.wait()
        exchange.disconnect()
        await asyncio.sleep(0)
        go_on.set()
    assert events == ["left: True", "torn down: None"]


async def test_a_view_that_may_be_cancelled_answers_like_any_other(app: Flask) -> None:
    async def view() -> str:
        await asyncio.sleep(0)
        return (await asyncio.to_thread(lambda: "whole ")) + request.get_data(as_text=True)

    app.add_url_rule("/", "view", view, methods=["POST"], cancel_on_disconnect=True)
    answer = await fetch(app, "POST", body=[b"bo", STALL, b"dy"][::2])
    assert answer.text == "whole body"


@pytest.mark.case("A1")
async def test_a_client_that_leaves_within_its_body_reaches_no_view(app: Flask) -> None:
    events: list[str] = []
    app.teardown_request(lambda exc: events.append("torn down"))
    serve(app, lambda: events.append("view"), methods=["POST"])
    async with Exchange(app, "POST", body=[b"half", LEAVE], length=100) as exchange:
        answer = await exchange.end()
    assert answer.error is None
    assert events == ["torn down"]


@pytest.mark.parametrize("length", [3, 100])
async def test_a_body_of_another_length_than_announced_is_refused(app: Flask, length: int) -> None:
    serve(app, lambda: request.get_data(), methods=["POST"])
    answer = await fetch(app, "POST", body=b"ten bytes.", length=length)
    assert answer.status == 400
