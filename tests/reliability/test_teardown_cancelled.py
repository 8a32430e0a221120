"""Requests that are cancelled, at any point and more than once, and streams that end anyhow."""

from __future__ import annotations

import asyncio
import typing as t

import anyio
import pytest

from asyncflask import Flask
from asyncflask import Response
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.endings import check_stream
from tests.kit.endings import streaming
from tests.kit.leaks import no_tasks_left
from tests.kit.torn import ORDER
from tests.kit.torn import Problem
from tests.kit.torn import Torn

pytestmark = [pytest.mark.anyio, pytest.mark.case("A1")]

each_colour = pytest.mark.parametrize("colour", ["sync", "async"])
each_way = pytest.mark.parametrize("by", ["task", "scope"])


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


def hand_on(response: Response) -> Response:
    return response


# -- cancelled at a point -----------------------------------------------------------------------


def full(colour: str, teardowns: str = "mixed") -> Torn:
    """Give an application with every kind of step."""
    torn = Torn(colour, teardowns)
    torn.bp.before_request(torn.step("before", lambda: None))
    torn.bp.after_request(torn.step("after", hand_on))
    torn.view(lambda: "ok")
    return torn


async def cancelled(torn: Torn, by: str, *points: str) -> None:
    for point in points:
        torn.at[point] = lambda: exchange.cancel(by)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        answer = await exchange.end()
    # A scope keeps the cancellation that it has asked for.
    assert isinstance(answer.error, asyncio.CancelledError) or by == "scope"


@each_colour
@each_way
@pytest.mark.parametrize("point", ["before", "view", "after"])
async def test_a_request_that_is_cancelled_is_torn_down(point: str, by: str, colour: str) -> None:
    torn = full(colour)
    await cancelled(torn, by, point)
    # What runs on a thread goes on to the next point at which the loop is needed.
    torn.check(asyncio.CancelledError if colour == "async" else None)


@each_colour
@each_way
@pytest.mark.parametrize("point", ORDER)
@pytest.mark.parametrize("teardowns", ["sync", "async", "mixed"])
async def test_a_teardown_that_is_cancelled_goes_on(
    teardowns: str, point: str, by: str, colour: str
) -> None:
    torn = full(colour, teardowns)
    await cancelled(torn, by, point)
    # Nothing can tell the first cancel() of a task from a time limit that the function has set.
    torn.check(None, interrupted=point if by == "task" else None)


@each_colour
@each_way
@pytest.mark.parametrize("point", ["before", "view", *ORDER])
@pytest.mark.parametrize("teardowns", ["sync", "async"])
async def test_a_request_behind_wsgi_middleware_is_torn_down_as_well(
    teardowns: str, point: str, by: str, colour: str
) -> None:
    torn = full(colour, teardowns)
    inner = torn.app.wsgi_app
    torn.app.wsgi_app = lambda environ, start_response: inner(  # type: ignore[method-assign]
        environ, start_response
    )
    await cancelled(torn, by, point)
    # It has to reach the thread first, so the view may have ended.
    early = colour == "async" and point not in ORDER
    torn.check((asyncio.CancelledError, None) if early else None)


async def test_a_lock_that_a_hook_has_taken_can_be_released_in_the_teardown() -> None:
    app, lock = Flask(__name__), anyio.Lock()
    app.before_request(lock.acquire)
    app.add_url_rule("/", "view", lambda: "ok")

    @app.teardown_request
    async def release(exc: BaseException | None) -> None:
        lock.release()

    assert (await fetch(app)).status == 200
    assert not lock.locked()


@each_colour
@each_way
@pytest.mark.parametrize("teardowns", ["sync", "async", "mixed"])
async def test_a_request_may_be_cancelled_again_and_again(
    teardowns: str, by: str, colour: str
) -> None:
    torn = full(colour, teardowns)
    await cancelled(torn, by, "view", *ORDER)
    torn.check(asyncio.CancelledError if colour == "async" else None)


@each_way
async def test_an_overridden_teardown_of_a_cancelled_request_gets_its_functions_run(
    by: str,
) -> None:
    torn = full("async")

    async def do_teardown_request(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        await t.cast(t.Any, Flask.do_teardown_request(torn.app, exc))

    torn.app.do_teardown_request = do_teardown_request  # type: ignore[assignment]
    await cancelled(torn, by, "view", *ORDER)
    torn.check(asyncio.CancelledError)


@each_way
@pytest.mark.parametrize("teardowns", ["sync", "async"])
async def test_a_context_pushed_in_a_sync_view_is_torn_down_to_its_end(
    teardowns: str, by: str
) -> None:
    torn, inner = Torn("sync", "async"), Torn("sync", teardowns)
    inner.ready()

    def view() -> str:
        with inner.app.app_context():
            return "ok"

    torn.view(view)
    inner.at["context 2"] = lambda: exchange.cancel(by)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        await exchange.end()
    inner.check(None, *ORDER[3:])
    torn.check(None)


@each_way
@pytest.mark.parametrize("wrapped", [False, True])
async def test_async_code_that_a_sync_teardown_waits_for_is_not_interrupted(
    wrapped: bool, by: str
) -> None:
    torn = Torn("sync", "sync")
    inner = torn.app.wsgi_app
    if wrapped:
        torn.app.wsgi_app = lambda environ, start_response: inner(  # type: ignore[method-assign]
            environ, start_response
        )
    ended: list[str] = []

    async def disconnect() -> None:
        exchange.cancel(by)
        await asyncio.sleep(0.001)
        ended.append("ended")

    torn.view(lambda: "ok")
    torn.bp.teardown_request(lambda exc: torn.app.ensure_sync(disconnect)())
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        await exchange.end()
    assert ended == ["ended"]
    torn.check(None)


# -- streams ------------------------------------------------------------------------------------


each_stream = pytest.mark.parametrize("kept", [True, False], ids=["with context", "without"])
each_view = pytest.mark.parametrize("view", ["sync", "async"])


@each_colour
@each_view
@each_stream
@pytest.mark.parametrize("fails_at", [-1, 0, 2])
async def test_a_stream_that_ends_is_torn_down(
    fails_at: int, kept: bool, view: str, colour: str
) -> None:
    torn = Torn(view)
    streaming(torn, colour, kept, fails_at)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert answer.complete == (fails_at < 0)
    assert type(answer.error) is (Problem if fails_at >= 0 else type(None))
    check_stream(torn, kept, Problem if fails_at >= 0 else None)


@each_colour
@each_view
@each_stream
@pytest.mark.parametrize("how", ["says so", "send fails", "server fails"])
@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_whose_client_leaves_is_torn_down(
    begun: bool, how: str, kept: bool, view: str, colour: str
) -> None:
    torn = Torn(view)
    streaming(torn, colour, kept)

    def leave() -> None:
        if how == "server fails":
            exchange.fail_sends(RuntimeError("a fault of the server"))
        else:
            exchange.disconnect(send_fails=how == "send fails")

    if not begun:
        torn.at["view"] = leave
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        if begun:
            exchange.stop_reading()
            await exchange.blocked()
            leave()
            exchange.read_on()
        await exchange.end()
    assert not exchange.answer.complete
    # A generator that is waiting is cancelled, any other closed.
    check_stream(torn, kept, GeneratorExit, asyncio.CancelledError)


@each_colour
@each_way
@each_stream
@pytest.mark.parametrize("message", [0, 1, 2])
async def test_a_stream_that_is_cancelled_is_torn_down_to_its_end(
    message: int, kept: bool, by: str, colour: str
) -> None:
    torn = Torn("async")
    streaming(torn, colour, kept)
    for name in ORDER:
        # And once more in each of its teardown functions.
        torn.at[name] = lambda: None if not kept else exchange.cancel(by)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        exchange.cancel_at(message, by)
        await exchange.end()
    check_stream(torn, kept, GeneratorExit, asyncio.CancelledError)


@each_colour
@pytest.mark.parametrize("end", ["after raises", "after replaces it"])
async def test_a_stream_that_nobody_reads_is_torn_down(end: str, colour: str) -> None:
    torn = Torn("async")
    streaming(torn, colour, kept=True)

    def after(response: Response) -> Response:
        if end == "after raises":
            raise Problem("a problem")
        return Response("another")

    torn.bp.after_request(after)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert answer.status == (500 if end == "after raises" else 200)
    torn.check(Problem if end == "after raises" else None)
