from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import typing as t
import weakref

import pytest

from asyncflask.lanes import Production
from asyncflask.lanes import QueueFull
from asyncflask.lanes import ReaderGone
from asyncflask.lanes import run_awaitable
from asyncflask.lanes import Workers
from asyncflask.lanes.production import AHEAD
from tests.kit.leaks import no_tasks_left

pytestmark = pytest.mark.anyio

Function = t.Callable[[Production], None]


def produce(function: Function, pool: Workers | None = None) -> Production:
    return Production(contextvars.copy_context(), pool or Workers(1), function)


async def take_all(production: Production) -> list[bytes]:
    pieces = []
    while (piece := await production.take()) is not None:
        pieces.append(piece[0])
    return pieces


async def test_pieces_come_in_their_order_and_then_the_end() -> None:
    def function(production: Production) -> None:
        for number in range(100):
            production.put(b"%d" % number)
        production.put(b"last", last=True)

    production = produce(function)
    production.start()
    assert await take_all(production) == [*(b"%d" % number for number in range(100)), b"last"]
    await production.end()


async def test_who_is_far_ahead_waits_without_a_place_in_the_pool() -> None:
    made = 0

    def function(production: Production) -> None:
        nonlocal made
        for _ in range(10):
            made += 1
            production.put(bytes(AHEAD))

    pool = Workers(1)
    production = produce(function, pool)
    production.start()
    assert await production.take()
    other = produce(lambda production: production.put(b"other", last=True), pool)
    other.start()
    assert await other.take() == (b"other", True)
    await other.end()
    assert made <= 2
    assert len(await take_all(production)) == 9
    await production.end()
    assert pool._busy == 0


async def test_many_pieces_of_nothing_are_too_much_as_well() -> None:
    made = 0

    def function(production: Production) -> None:
        nonlocal made
        while True:
            made += 1
            production.put(b"")

    production = produce(function)
    production.start()
    assert await production.take()
    while made < 100:
        await asyncio.sleep(0)
    production.leave()
    with pytest.raises(ReaderGone):
        await production.end()
    assert made < 1000


async def test_what_the_function_raises_is_raised_at_the_end() -> None:
    def function(production: Production) -> None:
        production.put(b"a")
        raise ValueError("mine")

    production = produce(function)
    production.start()
    assert await take_all(production) == [b"a"]
    with pytest.raises(ValueError, match="mine"):
        await production.end()


async def test_a_function_that_was_left_in_the_queue_is_never_called() -> None:
    going_on = threading.Event()
    pool = Workers(1)
    first = produce(lambda production: t.cast(None, going_on.wait(10)), pool)
    first.start()
    called: list[Production] = []
    second = produce(called.append, pool)
    second.start()
    second.leave()
    await second.end()
    going_on.set()
    await first.end()
    assert called == []


@pytest.mark.parametrize("limits", [(0, None), (None, 0.01)], ids=["place", "time"])
async def test_without_a_thread_the_queue_is_full(limits: tuple[t.Any, t.Any]) -> None:
    going_on = threading.Event()
    pool = Workers(1, *limits)
    first = produce(lambda production: t.cast(None, going_on.wait(10)), pool)
    first.start()
    second = produce(lambda production: None, pool)
    with pytest.raises(QueueFull):
        second.start()
        await second.take()
    second.leave()
    await second.end()
    going_on.set()
    await first.end()


async def test_the_end_waits_for_the_thread_and_is_cancelled_afterwards() -> None:
    going_on, ended = threading.Event(), []

    def function(production: Production) -> None:
        going_on.wait(10)
        ended.append(1)

    production = produce(function)

    async def run() -> None:
        production.start()
        await production.end()

    async with no_tasks_left():
        task = asyncio.ensure_future(run())
        for _ in range(3):
            await asyncio.sleep(0)
            task.cancel()
        assert not task.done()
        going_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert ended == [1]


@pytest.mark.parametrize("before", [True, False])
async def test_a_cancellation_reaches_what_the_function_awaits(before: bool) -> None:
    began, cancelled = asyncio.Event(), threading.Event()
    at_work = threading.Event()

    def function(production: Production) -> None:
        at_work.set()
        if before:
            cancelled.wait(10)
        run_awaitable(wait())

    async def wait() -> None:
        began.set()
        await asyncio.sleep(10)

    production = produce(function)
    production.start()
    await (asyncio.to_thread(at_work.wait, 10) if before else began.wait())
    production.leave(cancelled=True)
    cancelled.set()
    with pytest.raises(asyncio.CancelledError):
        await production.end()


async def test_a_production_that_has_ended_is_freed_at_once() -> None:
    gc.collect()
    gc.disable()
    try:
        production = produce(lambda production: production.put(b"a", last=True))
        production.start()
        await take_all(production)
        await production.end()
        ref = weakref.ref(production)
        del production
        async with asyncio.timeout(5):
            # The thread lets go of it on its own.
            while ref() is not None:
                await asyncio.sleep(0)
    finally:
        gc.enable()
