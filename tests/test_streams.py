"""Streams: what is there together goes out together, and nothing waits for what is not there."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import typing as t

import pytest

from asyncflask import Flask
from asyncflask import Response
from asyncflask.adapters.streams import TOGETHER
from asyncflask.lanes import ahead
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LIMIT
from tests.kit.sources import Source
from tests.kit.sources import SyncSource

CHUNKS = [f"{number} " for number in range(1000)]
WHOLE = "".join(CHUNKS).encode()


@pytest.fixture
def app() -> Flask:
    return Flask("app", static_folder=None)


def serve(app: Flask, view: t.Callable[[], t.Any]) -> None:
    app.add_url_rule("/", "view", view)


async def make_async() -> t.AsyncIterator[str]:
    for chunk in CHUNKS:
        yield chunk


async def make_async_with_waits() -> t.AsyncIterator[str]:
    for number, chunk in enumerate(CHUNKS):
        if number % 7 == 3:
            await asyncio.sleep(0)
        yield chunk


def make_sync() -> t.Iterator[str]:
    yield from CHUNKS


class ByHand(Response):
    def aiter_encoded(self) -> t.Any:
        source: t.Any = self.response
        return (bytearray(chunk.encode()) async for chunk in source)


BODIES: dict[str, t.Callable[[], t.Any]] = {
    "async generator": make_async,
    "async generator that waits": make_async_with_waits,
    "async generator of bytes": lambda: (chunk.encode() async for chunk in make_async()),
    "async iterator": lambda: Source(*CHUNKS),
    "response class": lambda: ByHand(t.cast(t.Any, make_async())),
    "generator": make_sync,
    "iterator": lambda: SyncSource(*CHUNKS),
    "one with nothing": lambda: iter(["", *CHUNKS, ""]),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_every_kind_of_body_is_the_same(app: Flask, kind: str) -> None:
    serve(app, BODIES[kind])
    answer = await fetch(app)
    assert (answer.status, answer.body, answer.complete) == (200, WHOLE, True)


@pytest.mark.parametrize("kind", ["async generator", "async iterator", "generator"])
async def test_chunks_that_come_fast_go_out_together_after_the_first(app: Flask, kind: str) -> None:
    serve(app, BODIES[kind])
    answer = await fetch(app)
    assert answer.chunks[0] == b"0 "
    assert len(answer.chunks) < len(CHUNKS) / 2


# -- nothing is held back --------------------------------------------------------------------


async def test_what_is_there_goes_out_before_an_async_body_waits(app: Flask) -> None:
    go_on = asyncio.Event()

    async def stream() -> t.AsyncIterator[str]:
        yield "a"
        yield "b"
        yield "c"
        await go_on.wait()
        yield "d"

    serve(app, stream)
    async with Exchange(app) as exchange:
        received = b""
        while received != b"abc":
            received += await exchange.chunk()
        go_on.set()
        assert (await exchange.end()).body == b"abcd"


async def test_what_is_there_goes_out_while_a_sync_body_blocks(app: Flask) -> None:
    go_on = threading.Event()

    def stream() -> t.Iterator[str]:
        yield "a"
        yield "b"
        yield "c"
        go_on.wait(LIMIT)
        yield "d"

    serve(app, stream)
    async with Exchange(app) as exchange:
        received = b""
        while received != b"abc":
            received += await exchange.chunk()
        go_on.set()
        assert (await exchange.end()).body == b"abcd"


async def test_the_loop_is_told_of_a_chunk_that_comes_after_it_has_looked(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As if the trip had begun late, for want of a thread.
    monkeypatch.setattr(ahead, "_now", lambda: 0.0)
    looked, go_on = threading.Event(), threading.Event()
    look = ahead.Ahead._look

    def note(self: ahead.Ahead) -> None:
        look(self)
        looked.set()

    def stream() -> t.Iterator[str]:
        yield "a"
        looked.wait(LIMIT)
        yield "b"
        go_on.wait(LIMIT)
        yield "c"

    monkeypatch.setattr(ahead.Ahead, "_look", note)
    serve(app, stream)
    async with Exchange(app) as exchange:
        assert [await exchange.chunk(), await exchange.chunk()] == [b"a", b"b"]
        go_on.set()
        assert (await exchange.end()).body == b"abc"


async def test_a_wait_that_is_given_up_takes_nothing_from_what_is_being_sent(app: Flask) -> None:
    patience = asyncio.timeout(None)
    given_up = asyncio.Event()

    async def stream() -> t.AsyncIterator[str]:
        yield "a"
        exchange.stop_reading()
        yield "b"
        try:
            async with patience:
                await asyncio.Event().wait()
        except TimeoutError:
            given_up.set()
            yield "c"

    serve(app, stream)
    async with Exchange(app) as exchange:
        assert await exchange.chunk() == b"a"
        await exchange.blocked()
        patience.reschedule(asyncio.get_running_loop().time())
        await given_up.wait()
        exchange.read_on()
        answer = await exchange.end()
    assert (answer.body, answer.complete) == (b"abc", True)


# -- nothing runs far ahead ------------------------------------------------------------------


@pytest.mark.parametrize("source", [SyncSource("x" * 1024, endless=True), None], ids=type)
async def test_a_body_is_not_far_ahead_of_a_client_that_does_not_read(
    app: Flask, source: SyncSource | None
) -> None:
    taken = 0

    async def stream() -> t.AsyncIterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "x" * 1024

    serve(app, (lambda: source) if source else stream)
    async with Exchange(app) as exchange:
        await exchange.chunk()
        exchange.stop_reading()
        await exchange.blocked()
        seen = (source.taken if source else taken) - len(exchange.answer.body) // 1024
        assert seen <= TOGETHER / 1024 + 1
        exchange.disconnect()


async def test_a_slow_sync_body_is_not_ahead_at_all(
    app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(10**6))
    monkeypatch.setattr(ahead, "_now", lambda: next(clock))
    source = SyncSource(*CHUNKS)
    serve(app, lambda: source)
    async with Exchange(app) as exchange:
        await exchange.chunk()
        exchange.stop_reading()
        await exchange.blocked()
        assert source.taken == len(exchange.answer.chunks) + 1
        exchange.read_on()
        answer = await exchange.end()
    assert answer.chunks == [chunk.encode() for chunk in CHUNKS]


# -- ends ------------------------------------------------------------------------------------


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_what_came_before_an_error_is_sent(app: Flask, colour: str) -> None:
    def stream() -> t.Iterator[str]:
        yield from "abc"
        raise LookupError("broken")

    async def stream_async() -> t.AsyncIterator[str]:
        for chunk in stream():
            yield chunk

    serve(app, stream if colour == "sync" else stream_async)
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert isinstance(answer.error, LookupError)
    assert (answer.body, answer.complete) == (b"abc", False)


@pytest.mark.parametrize("colour", ["sync", "async"])
async def test_what_came_before_a_chunk_of_another_type_is_sent(app: Flask, colour: str) -> None:
    serve(app, lambda: SyncSource("a", "b", 3) if colour == "sync" else Source("a", "b", 3))
    async with Exchange(app) as exchange:
        answer = await exchange.end()
    assert isinstance(answer.error, TypeError)
    assert (answer.body, answer.complete) == (b"ab", False)


@pytest.mark.parametrize(
    ("fault", "how"),
    [(None, "leaves"), (ConnectionResetError(), "quiet"), (RuntimeError("a fault"), "raised")],
    ids=str,
)
async def test_a_body_that_waits_is_closed_though_what_came_before_cannot_be_sent(
    app: Flask, fault: Exception | None, how: str
) -> None:
    ended: list[BaseException] = []
    waiting = asyncio.Event()

    async def stream() -> t.AsyncIterator[str]:
        try:
            yield "a"
            if fault:
                exchange.fail_sends(fault)
            else:
                exchange.stop_reading()
            yield "b"
            waiting.set()
            await asyncio.Event().wait()
        except BaseException as exc:
            ended.append(exc)
            raise
        finally:
            await asyncio.sleep(0)
            ended.append(KeyError("cleaned up"))

    serve(app, stream)
    async with Exchange(app) as exchange:
        if how == "leaves":
            await waiting.wait()
            exchange.disconnect()
        answer = await exchange.end()
    assert [type(error) for error in ended] == [asyncio.CancelledError, KeyError]
    assert not answer.complete
    assert answer.error is (fault if how == "raised" else None)


# -- contexts --------------------------------------------------------------------------------

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="")


@pytest.mark.parametrize("kind", ["async", "async that waits", "sync"])
async def test_a_body_is_made_in_the_context_of_its_request_and_sent_outside(
    app: Flask, kind: str
) -> None:
    outside: set[str] = set()

    def stream() -> t.Iterator[str]:
        for _ in range(10):
            variable.set(variable.get() + "x")
            yield variable.get() + "\n"

    async def stream_async() -> t.AsyncIterator[str]:
        for chunk in stream():
            yield chunk
            if kind == "async that waits":
                await asyncio.sleep(0)

    @app.before_request
    def begin() -> None:
        variable.set("a")

    async def noting(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        async def send_on(message: t.Any) -> None:
            outside.add(variable.get())
            await send(message)

        await app(scope, receive, send_on)

    serve(app, stream if kind == "sync" else stream_async)
    answer = await fetch(noting)
    assert answer.text.split() == ["a" + "x" * count for count in range(1, 11)]
    assert outside == {""}
