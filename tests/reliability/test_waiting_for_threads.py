"""Requests that wait for a thread: how they leave the queue, and where no thread can be had."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import typing as t

import pytest

from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask.lanes.workers import SPARE
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LIMIT
from tests.kit.leaks import no_tasks_left

pytestmark = [pytest.mark.anyio, pytest.mark.case("A9")]


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


class Held:
    """An application with one thread, and a view that holds it until the block ends."""

    def __init__(self) -> None:
        self.app = Flask(__name__)
        self.app.config["SYNC_THREADS"] = 1
        self.events: list[str] = []
        self._started, self._go_on = threading.Event(), threading.Event()
        self.app.add_url_rule("/hold", "hold", self._hold)
        self.app.add_url_rule("/view/<name>", "note", self._note)

    def _hold(self) -> str:
        self._started.set()
        self._go_on.wait(2 * LIMIT)
        return "held"

    def _note(self, name: str) -> str:
        self.events.append(name)
        return name

    @contextlib.asynccontextmanager
    async def __call__(self) -> t.AsyncIterator[None]:
        async with Exchange(self.app, "GET", "/hold") as exchange:
            await asyncio.to_thread(self._started.wait, LIMIT)
            try:
                yield
            finally:
                self._go_on.set()
            assert (await exchange.end()).text == "held"


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    # A pool of its own, without the threads that other tests have left idle.
    monkeypatch.setattr("asyncflask.lanes.workers._pools", {})
    return Held()


async def queued(count: int) -> None:
    """Let requests that were just made come to the queue."""
    for _ in range(10 * count):
        await asyncio.sleep(0)


@pytest.mark.case("A1")
@pytest.mark.parametrize("teardown", ["sync", "async"])
@pytest.mark.parametrize("by", ["task", "scope"])
async def test_a_cancelled_request_leaves_the_queue_at_once_and_is_torn_down(
    held: Held, by: str, teardown: str
) -> None:
    def note(exc: BaseException | None) -> None:
        if request.path == "/view/a":
            held.events.append(type(exc).__name__)

    async def note_async(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        note(exc)

    held.app.teardown_request(note if teardown == "sync" else note_async)
    async with held():
        async with Exchange(held.app, "GET", "/view/a") as exchange:
            await queued(1)
            exchange.cancel(by)
            answer = await exchange.end()
    assert answer.messages == [] and held.events == ["CancelledError"]


async def test_the_others_keep_their_turn_and_its_place_is_free(held: Held) -> None:
    held.app.config["SYNC_QUEUE_LIMIT"] = 3
    async with contextlib.AsyncExitStack() as stack, held():
        waiting = [Exchange(held.app, "GET", f"/view/{name}") for name in "abcd"]
        for exchange in waiting[:3]:
            await stack.enter_async_context(exchange)
        await queued(3)
        assert (await fetch(held.app, "GET", "/view/never")).status == 503
        waiting[1].cancel()
        await waiting[1].end()
        await stack.enter_async_context(waiting[3])
        await queued(1)
    assert held.events == ["a", "c", "d"]


@pytest.mark.case("A1")
async def test_who_has_waited_too_long_gets_503_and_is_torn_down(held: Held) -> None:
    held.app.config["SYNC_QUEUE_TIMEOUT"] = 0.05
    torn_down: list[str] = []
    held.app.teardown_request(lambda exc: torn_down.append(request.path))
    async with held():
        answer = await fetch(held.app, "GET", "/view/a")
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert torn_down == ["/view/a"] and held.events == []
    assert (await fetch(held.app, "GET", "/view/b")).text == "b"


async def test_only_the_wait_is_limited_not_the_view_that_follows(held: Held) -> None:
    held.app.config["SYNC_QUEUE_TIMEOUT"] = 0.2
    held.app.add_url_rule("/long", "long", lambda: str(threading.Event().wait(0.4)))
    async with contextlib.AsyncExitStack() as stack:
        async with held():
            exchange = await stack.enter_async_context(Exchange(held.app, "GET", "/long"))
            await queued(1)
        assert (await exchange.end()).text == "False"


async def test_a_large_body_waits_for_no_thread_that_a_view_has_taken(held: Held) -> None:
    @held.app.post("/upload")
    async def upload() -> str:
        return str(len(request.get_data()))

    body = b"x" * (2 * 2**20)
    async with held():
        assert (await fetch(held.app, "POST", "/upload", body=body)).text == str(len(body))


async def test_what_has_begun_waits_for_nobody_elses_thread(held: Held) -> None:
    @held.app.get("/async")
    async def view() -> str:
        return "async"

    held.app.teardown_request(lambda exc: held.events.append(request.path))
    async with held():
        assert (await fetch(held.app, "GET", "/async")).text == "async"
        assert held.events == ["/async"]


async def test_a_teardown_takes_the_first_thread_that_is_free_of_either_kind(held: Held) -> None:
    stuck, go_on = asyncio.Semaphore(0), threading.Event()
    loop = asyncio.get_running_loop()

    @held.app.get("/async/<name>")
    async def view(name: str) -> str:
        return name

    @held.app.teardown_request
    def close(exc: BaseException | None) -> None:
        if request.path == "/async/stuck":
            loop.call_soon_threadsafe(stuck.release)
            go_on.wait(2 * LIMIT)
        held.events.append(request.path)

    async with contextlib.AsyncExitStack() as stack:
        async with held():
            for _ in range(SPARE):
                await stack.enter_async_context(Exchange(held.app, "GET", "/async/stuck"))
            for _ in range(SPARE):
                await asyncio.wait_for(stuck.acquire(), LIMIT)
            waiting = await stack.enter_async_context(Exchange(held.app, "GET", "/async/a"))
            stack.callback(go_on.set)
            await queued(1)
        assert (await waiting.end()).text == "a"
        assert held.events == ["/hold", "/async/a"]


# -- no thread can be started ------------------------------------------------------------------


@contextlib.contextmanager
def no_new_threads() -> t.Iterator[None]:
    """Have the system refuse to start threads for sync code."""
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if thread.name == "asyncflask-worker":
            raise RuntimeError("can't start new thread")
        start(thread)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        yield


async def test_without_any_thread_the_answer_is_503_and_no_slot_is_lost(held: Held) -> None:
    with no_new_threads():
        for _ in range(3):
            answer = await fetch(held.app, "GET", "/view/a")
            assert (answer.status, answer.header("retry-after")) == (503, "1")
    assert (await fetch(held.app, "GET", "/view/b")).text == "b"


async def test_a_request_takes_the_thread_of_another_if_it_cannot_have_its_own(held: Held) -> None:
    held.app.config["SYNC_THREADS"] = 2
    async with contextlib.AsyncExitStack() as stack:
        async with held():
            with no_new_threads():
                exchange = await stack.enter_async_context(Exchange(held.app, "GET", "/view/a"))
                await queued(1)
            assert held.events == []
        assert (await exchange.end()).text == "a"


@pytest.mark.parametrize("after", [True, False])
async def test_a_thread_that_waits_for_its_view_passes_its_slot_on_later(
    held: Held, after: bool
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    @held.app.get("/async")
    async def view() -> str:
        entered.set()
        await go_on.wait()
        return "async"

    held.app.before_request(lambda: None)
    if after:
        held.app.after_request(pass_on)
    async with contextlib.AsyncExitStack() as stack:
        async with held():
            parking = await stack.enter_async_context(Exchange(held.app, "GET", "/async"))
            waiting = await stack.enter_async_context(Exchange(held.app, "GET", "/view/a"))
            await queued(2)
            stack.enter_context(no_new_threads())
        await asyncio.wait_for(entered.wait(), LIMIT)
        assert held.events == []
        go_on.set()
        assert [(await exchange.end()).text for exchange in (parking, waiting)] == ["async", "a"]


def pass_on(response: Response) -> Response:
    return response
