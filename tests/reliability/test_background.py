"""Background tasks and signal receivers that fail, or are cancelled."""

from __future__ import annotations

import asyncio
import typing as t

import blinker
import pytest
from starlette.background import BackgroundTask

import asyncflask
from asyncflask import Flask
from asyncflask import Response
from tests.kit.drive import Exchange
from tests.kit.drive import LIMIT
from tests.kit.leaks import no_tasks_left
from tests.kit.server import serve
from tests.kit.torn import ORDER
from tests.kit.torn import Problem
from tests.kit.torn import Torn

pytestmark = [pytest.mark.anyio, pytest.mark.case("A42")]
each_colour = pytest.mark.parametrize("colour", ["sync", "async"])


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


# -- background tasks ---------------------------------------------------------------------------


def with_task(torn: Torn, task: t.Callable[[], t.Any]) -> Flask:
    def view() -> Response:
        response = Response("body")
        response.background = BackgroundTask(task)
        return response

    torn.view(view)
    return torn.ready()


def fail(*args: t.Any, **kwargs: t.Any) -> t.NoReturn:
    raise Problem("a problem")


@each_colour
async def test_a_task_that_fails_comes_after_a_whole_answer_and_its_teardown(colour: str) -> None:
    torn = Torn(colour)
    app = with_task(torn, torn.step("task", fail))
    async with Exchange(app, "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert (answer.text, answer.complete) == ("body", True)
    assert isinstance(answer.error, Problem)
    assert torn.log[-2:] == [("task", "begins"), ("task", "Problem")]
    torn.log = torn.log[:-2]
    torn.check(None)


@each_colour
@pytest.mark.parametrize("by", ["task", "scope"])
async def test_a_cancelled_task_stops_unless_it_is_on_a_thread(by: str, colour: str) -> None:
    torn = Torn(colour)
    torn.at["task"] = lambda: exchange.cancel(by)
    app = with_task(torn, torn.step("task", lambda: None))
    async with Exchange(app, "GET", "/bp/") as exchange:
        answer = await exchange.end()
    assert answer.complete
    if colour == "sync":
        # A thread cannot be stopped, and Starlette waits for it in a scope only.
        async with asyncio.timeout(LIMIT):
            while torn.log[-1] != ("task", "ends"):
                await asyncio.sleep(0.001)
    assert torn.log[-1] == ("task", "ends" if colour == "sync" else "CancelledError")
    torn.log = torn.log[:-2]
    torn.check(None)


SERVED = """
import asyncio
from starlette.background import BackgroundTask
from asyncflask import Flask, Response

app = Flask(__name__)

def say(what):
    # One write, which no other thread's can come between.
    print(f"{what}\\n", end="", flush=True)

app.teardown_request(lambda exc: say("torn down"))
app.after_serving(lambda: say("last"))

async def crash():
    raise LookupError("the task crashes")

async def slow():
    say("task begins")
    await asyncio.sleep(0.5)
    say("task ends")

async def endless():
    say("task begins")
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        say("task cancelled")

@app.get("/<name>")
async def view(name):
    response = Response("body")
    if name != "ping":
        response.background = BackgroundTask(globals()[name])
    return response
"""


async def test_a_task_that_crashes_is_logged_once_and_the_server_goes_on() -> None:
    with serve(SERVED) as server:
        with server.connect() as slow:
            slow.request("GET", "/slow")
            assert slow.response().read() == b"body"
            server.wait_for_output("task begins")
            assert server.get("/crash") == "body"
            server.wait_for_output("LookupError: the task crashes")
            server.wait_for_output("task ends")
            assert server.get("/ping") == "body"
    assert server.output.count("LookupError: the task crashes") == 1
    assert server.output.count("torn down") == 3


@pytest.mark.parametrize(("task", "end"), [("slow", "task ends"), ("endless", "task cancelled")])
async def test_a_task_under_way_is_waited_for_and_then_cancelled(task: str, end: str) -> None:
    with serve(SERVED, "--timeout-graceful-shutdown=2") as server:
        with server.connect() as connection:
            connection.request("GET", f"/{task}")
            assert connection.response().read() == b"body"
            server.wait_for_output("task begins")
            server.stop()
    assert server.output.count(end) == server.output.count("torn down") == 1
    assert server.output.index(end) < server.output.index("last")


# -- receivers ----------------------------------------------------------------------------------

STATUSES = {
    "appcontext_pushed": 500,
    "request_started": 500,
    "request_finished": 500,
    "got_request_exception": 0,
    "request_tearing_down": 200,
    "appcontext_tearing_down": 200,
    "appcontext_popped": 200,
}


@each_colour
@pytest.mark.parametrize("receiver", ["sync", "async"])
@pytest.mark.parametrize("name", STATUSES)
async def test_a_receiver_that_fails_leaves_no_teardown_out(
    name: str, receiver: str, colour: str
) -> None:
    torn = Torn(colour)
    torn.view(fail if name == "got_request_exception" else lambda: "ok")
    app = torn.ready()
    signal: blinker.Signal = getattr(asyncflask, name)
    with signal.connected_to(torn.step("receiver", fail, receiver), app):
        async with Exchange(app, "GET", "/bp/") as exchange:
            answer = await exchange.end()
    assert answer.status == STATUSES[name]
    assert ("receiver", "Problem") in torn.log
    torn.log = [entry for entry in torn.log if entry[0] != "receiver"]
    # Where nothing was matched yet the request belongs to no blueprint.
    torn.check((Problem, None), *(ORDER[1:] if name == "appcontext_pushed" else ORDER))


async def test_an_async_receiver_has_ended_before_the_next_stage() -> None:
    torn = Torn("async")
    torn.view(lambda: "ok")
    app = torn.ready()
    step: t.Any = torn.step("receiver", lambda *args, **kwargs: asyncio.sleep, "async")
    with asyncflask.request_started.connected_to(step, app):
        async with Exchange(app, "GET", "/bp/") as exchange:
            await exchange.end()
    assert torn.log[:3] == [("receiver", "begins"), ("receiver", "ends"), ("view", "begins")]
    torn.check(None)
