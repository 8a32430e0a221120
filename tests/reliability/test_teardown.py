"""Teardown runs exactly once, in reverse order, after everything else, whatever happens."""

from __future__ import annotations

import typing as t

import pytest

from asyncflask import request
from asyncflask.pipeline.stages import ClientLeft
from tests.kit.drive import Exchange
from tests.kit.drive import LEAVE
from tests.kit.endings import ENDS
from tests.kit.endings import fail
from tests.kit.leaks import no_tasks_left
from tests.kit.torn import ORDER
from tests.kit.torn import Problem
from tests.kit.torn import Torn

pytestmark = [pytest.mark.anyio, pytest.mark.case("A1")]

each_colour = pytest.mark.parametrize("colour", ["sync", "async"])


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


# -- requests that end by themselves ------------------------------------------------------------


@each_colour
@pytest.mark.parametrize("teardowns", ["sync", "async", "mixed"])
@pytest.mark.parametrize(("build", "status", "told"), ENDS, ids=[end[0].__name__ for end in ENDS])
async def test_whatever_a_request_does_it_is_torn_down(
    build: t.Callable[[Torn], None],
    status: int,
    told: type[BaseException] | None,
    teardowns: str,
    colour: str,
) -> None:
    torn = Torn(colour, teardowns)
    build(torn)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert answer.status == status
    torn.check(told)


@each_colour
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/bp/", 405),
        ("GET", "/bp", 308),
        ("GET", "/bp/number/x", 404),
    ],
)
async def test_requests_that_reach_no_view_are_torn_down(
    method: str, path: str, status: int, colour: str
) -> None:
    torn = Torn(colour)
    torn.view(fail)
    torn.bp.add_url_rule("/number/<int:number>", "number", fail)
    async with Exchange(torn.ready(), method, path) as exchange:
        answer = await exchange.end()
    assert answer.status == status
    # Without a match the request belongs to no blueprint.
    torn.check(None, *ORDER[1:])


# -- clients that leave -------------------------------------------------------------------------


@each_colour
async def test_a_client_that_leaves_within_its_body_is_torn_down(colour: str) -> None:
    torn = Torn(colour)
    torn.view(lambda: request.get_data(), methods=["POST"])
    body = [b"half", LEAVE]
    async with Exchange(torn.ready(), "POST", "/bp/", body=body, length=100) as exchange:
        answer = await exchange.end()
    assert answer.error is None
    torn.check(None)


@each_colour
@pytest.mark.parametrize("cancels", [True, False])
async def test_a_client_that_leaves_within_a_view_is_torn_down_after_it(
    colour: str, cancels: bool
) -> None:
    torn = Torn(colour)
    torn.view(lambda: "ok", cancel_on_disconnect=cancels)
    torn.at["view"] = lambda: exchange.disconnect()
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert answer.error is None
    # A thread cannot be stopped, so a sync view has run to its end.
    torn.check(ClientLeft if cancels and colour == "async" else None)


# -- teardown functions that fail ---------------------------------------------------------------


@pytest.mark.case("A3")
@each_colour
@pytest.mark.parametrize("teardowns", ["sync", "async", "mixed"])
@pytest.mark.parametrize("failing", [["app 2"], ["bp", "context 1"], ORDER], ids=" ".join)
async def test_teardown_functions_that_fail_are_one_record_and_change_nothing_else(
    failing: list[str], teardowns: str, colour: str
) -> None:
    torn = Torn(colour, teardowns)
    torn.view(lambda: "ok")
    torn.failing = set(failing)
    async with Exchange(torn.ready(), "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert (answer.status, answer.text, answer.complete) == (200, "ok", True)
    torn.check((None, Problem))
    # Of all that failed one record tells, in one traceback.
    assert [record.levelname for record in torn.logged] == ["ERROR"]
