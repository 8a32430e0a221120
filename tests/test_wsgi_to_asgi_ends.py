from __future__ import annotations

import asyncio
import logging
import sys
import threading
import typing as t

import pytest

from asyncflask.adapters import WsgiToAsgi
from asyncflask.lanes import run_awaitable
from asyncflask.lanes import Workers
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.leaks import no_tasks_left
from tests.mounted import Closing
from tests.mounted import endless
from tests.mounted import PLAIN
from tests.mounted import respond

pytestmark = pytest.mark.anyio


async def test_close_is_called_once_at_the_end() -> None:
    result = Closing([b"a", b"b"])
    assert (await fetch(WsgiToAsgi(respond(result)))).body == b"ab"
    assert result.closed == 1


@pytest.mark.parametrize("reading", [True, False])
@pytest.mark.parametrize("send_fails", [True, False])
async def test_a_client_that_leaves_ends_an_endless_body(reading: bool, send_fails: bool) -> None:
    result = Closing(endless())
    async with no_tasks_left():
        async with Exchange(WsgiToAsgi(respond(result))) as exchange:
            assert await exchange.chunk()
            if not reading:
                exchange.stop_reading()
                await exchange.blocked()
            exchange.disconnect(send_fails)
            async with asyncio.timeout(0.5):
                await exchange.end()
    assert result.closed == 1 and exchange.answer.error is None


async def test_a_client_that_leaves_between_chunks_is_noticed_after_the_next() -> None:
    waiting, going_on = threading.Event(), threading.Event()

    def chunks() -> t.Iterator[bytes]:
        yield b"first"
        waiting.set()
        going_on.wait(10)
        yield b"second"

    result = Closing(chunks())
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        assert await exchange.chunk() == b"first"
        await asyncio.to_thread(waiting.wait, 10)
        exchange.disconnect()
        for _ in range(20):
            await asyncio.sleep(0)
        assert result.closed == 0
        going_on.set()
    assert result.closed == 1 and exchange.answer.chunks == [b"first"]


async def test_a_client_that_leaves_an_endless_body_of_nothing_ends_it() -> None:
    result = Closing(endless(b""))
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        while not result.taken:
            await asyncio.sleep(0)
        exchange.disconnect()
    assert result.closed == 1 and exchange.answer.messages == []


@pytest.mark.parametrize("by", ["task", "scope"])
@pytest.mark.parametrize("at", ["call", "chunk", "send"])
async def test_a_cancelled_request_is_closed_before_it_ends(by: str, at: str) -> None:
    waiting, going_on = threading.Event(), threading.Event()

    def chunks() -> t.Iterator[bytes]:
        while True:
            if at == "call":
                waiting.set()
                going_on.wait(10)
            yield b"x" * 1000

    result = Closing(chunks())
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        if at == "call":
            await asyncio.to_thread(waiting.wait, 10)
        else:
            assert await exchange.chunk()
        if at == "send":
            exchange.stop_reading()
            await exchange.blocked()
        exchange.cancel(by)
        going_on.set()
    assert result.closed == 1
    assert isinstance(exchange.answer.error, asyncio.CancelledError if by == "task" else type(None))


async def test_a_request_that_is_cancelled_in_the_queue_is_never_run() -> None:
    going_on, called = threading.Event(), []

    def block() -> list[bytes]:
        called.append(1)
        going_on.wait(10)
        return [b"served"]

    pool = Workers(1)
    app = WsgiToAsgi(respond(block), workers=pool)
    async with Exchange(app) as first:
        while not called:
            await asyncio.sleep(0)
        async with Exchange(app) as second:
            while not pool._backlog:
                await asyncio.sleep(0)
            second.cancel()
        going_on.set()
        assert (await first.end()).body == b"served"
    assert called == [1]


async def test_a_cancellation_reaches_what_the_application_waits_for() -> None:
    began = asyncio.Event()
    errors: list[BaseException] = []

    async def wait() -> None:
        began.set()
        await asyncio.sleep(10)

    def run() -> list[bytes]:
        try:
            run_awaitable(wait())
        except BaseException as exc:
            errors.append(exc)
            raise
        return []

    async with Exchange(WsgiToAsgi(respond(run))) as exchange:
        await began.wait()
        exchange.cancel()
    assert isinstance(errors[0], asyncio.CancelledError) and len(errors) == 1


def app_that_raises(error: BaseException, after: int) -> tuple[t.Any, Closing]:
    """Make an application that raises after so many chunks."""

    def chunks() -> t.Iterator[bytes]:
        yield from [b"chunk"] * after
        raise error

    result = Closing(chunks())
    return respond(result), result


ERRORS = [ValueError("mine"), SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration()]


@pytest.mark.parametrize("error", ERRORS, ids=repr)
async def test_an_error_in_the_call_is_a_logged_500(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [*PLAIN, ("X-Secret", "1")])
        raise error

    answer = await fetch(WsgiToAsgi(app), target="/path")
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.header("x-secret") is None
    (record,) = caplog.records
    assert record.name.startswith("asyncflask.adapters") and record.levelno == logging.ERROR
    assert "'/path'" in record.getMessage() and record.exc_info and record.exc_info[1] is error


async def test_an_error_at_the_first_step_is_a_500_and_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app, result = app_that_raises(ValueError("mine"), 0)
    assert (await fetch(WsgiToAsgi(app))).status == 500
    assert result.closed == 1 and "mine" in caplog.text


@pytest.mark.parametrize("error", [ValueError("mine"), SystemExit(3)], ids=repr)
async def test_an_error_after_the_headers_is_raised(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    app, result = app_that_raises(error, 2)
    async with Exchange(WsgiToAsgi(app)) as exchange:
        answer = await exchange.end()
    raised = answer.error
    assert isinstance(raised, Exception) and error in (raised, raised.__cause__)
    assert answer.body == b"chunkchunk" and not answer.complete
    assert result.closed == 1 and caplog.records == []


async def test_an_error_in_close_is_raised_when_the_body_is_complete() -> None:
    class Result(Closing):
        def close(self) -> None:
            super().close()
            raise ValueError("from close")

    result = Result([b"a"])
    async with Exchange(WsgiToAsgi(respond(result))) as exchange:
        answer = await exchange.end()
    assert answer.complete and str(answer.error) == "from close" and result.closed == 1


async def test_an_error_after_the_client_has_left_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def chunks() -> t.Iterator[bytes]:
        try:
            yield from endless()
        finally:
            raise ValueError("in the end")

    async with Exchange(WsgiToAsgi(respond(chunks))) as exchange:
        assert await exchange.chunk()
        exchange.disconnect()
    assert exchange.answer.error is None
    assert "after its client had left" in caplog.text and "in the end" in caplog.text


async def test_an_error_may_replace_the_response_before_it_is_sent() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", [*PLAIN, ("X-A", "b")])
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("503 Sorry", PLAIN, sys.exc_info())
        return [b"sorry"]

    answer = await fetch(WsgiToAsgi(app))
    assert (answer.status, answer.body, answer.header("x-a")) == (503, b"sorry", None)


async def test_an_error_after_the_headers_is_raised_by_start_response() -> None:
    def app(environ: t.Any, start_response: t.Any) -> t.Any:
        start_response("200 OK", PLAIN)
        yield b"chunk"
        try:
            raise ValueError("mine")
        except ValueError:
            start_response("500 Oh", PLAIN, sys.exc_info())
            yield b"never"

    async with Exchange(WsgiToAsgi(app)) as exchange:
        answer = await exchange.end()
    assert (answer.body, str(answer.error), answer.complete) == (b"chunk", "mine", False)
