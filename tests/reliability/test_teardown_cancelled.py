"""Requests that are cancelled, at any point and more than once, and streams that end anyhow."""

from __future__ import annotations

import asyncio
import contextlib
import typing as t

import pytest

from asyncflask import Flask
from asyncflask import Response
from asyncflask import stream_with_context
from tests.kit.drive import Exchange
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
async def test_a_cancelled_teardown_goes_on_to_its_end(
    teardowns: str, point: str, by: str, colour: str
) -> None:
    torn = full(colour, teardowns)
    await cancelled(torn, by, point)
    torn.check(None)


@each_colour
@each_way
@pytest.mark.parametrize("teardowns", ["sync", "async", "mixed"])
async def test_a_request_may_be_cancelled_again_and_again(
    teardowns: str, by: str, colour: str
) -> None:
    torn = full(colour, teardowns)
    await cancelled(torn, by, "view", *ORDER)
    torn.check(asyncio.CancelledError if colour == "async" else None)
