"""Thousands of requests at once, each of somebody else: nobody gets anything of another's."""

from __future__ import annotations

import asyncio
import json
import random
import time
import typing as t

import pytest

from asyncflask import Flask
from asyncflask import request
from tests.kit import identities
from tests.kit.cases import Figure
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.identities import ask_for_all
from tests.kit.identities import wishes
from tests.kit.leaks import no_tasks_left
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.case("A4")]

COUNT = 10_000
COUNT_IN_PROCESS = 5_000
AT_ONCE = 200
SERVERS = [("asyncio", "h11"), ("uvloop", "httptools")]
#: Seconds that all of the requests may take together.
TIME = 100.0


@pytest.mark.slow
@pytest.mark.case("A5")
@pytest.mark.parametrize(("loop", "parser"), SERVERS)
async def test_nobody_gets_anything_of_another_from_a_server(
    loop: str, parser: str, figure: Figure
) -> None:
    with serve("tests.kit.identities:app", loop=loop, http=parser) as server:
        begun = time.monotonic()
        async with asyncio.timeout(TIME):
            mistakes = await ask_for_all(server.host, server.port, wishes(COUNT, 4), AT_ONCE)
            assert mistakes == []
            # Some have left without an answer, and may be under way still.
            while (found := await look(server))["begun"] != found["torn down"]:
                continue
        assert found["mistakes"] == [] and found["begun"] > COUNT
        figure(f"{COUNT:,} on {loop} in {time.monotonic() - begun:.0f} s, {len(mistakes)} foreign")


async def look(server: Server) -> dict[str, t.Any]:
    """Give what the teardown functions have found."""
    return t.cast("dict[str, t.Any]", json.loads(await asyncio.to_thread(server.get, "/found")))


@pytest.mark.slow
async def test_nobody_gets_anything_of_another_in_process(figure: Figure) -> None:
    app, asked, rng = identities.create_app(), wishes(COUNT_IN_PROCESS, 5), random.Random(6)
    mistakes: list[str] = []

    async def ask() -> None:
        while asked:
            wish = asked.popleft()
            if rng.random() < 0.02:
                async with wish.exchange(app) as left:
                    for _ in range(rng.randrange(8)):
                        await asyncio.sleep(0)
                    rng.choice([left.cancel, left.disconnect])()
            async with wish.exchange(app) as exchange:
                answer = await exchange.end()
            mistakes.extend(wish.mistakes(answer.headers, answer.body))

    async with no_tasks_left(), asyncio.timeout(TIME), asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(ask())
    assert mistakes == []
    found = (await fetch(app, "GET", "/found")).json
    assert found["mistakes"] == []
    assert found["begun"] == found["torn down"] >= COUNT_IN_PROCESS
    figure(f"{COUNT_IN_PROCESS:,} in process, {len(mistakes)} foreign")


# -- the test for the test ---------------------------------------------------------------------


@pytest.mark.parametrize(("loop", "parser"), SERVERS)
async def test_a_bare_application_is_found_to_pass_things_on(loop: str, parser: str) -> None:
    with serve("tests.kit.identities:control", loop=loop, http=parser) as server:
        async with asyncio.timeout(TIME):
            mistakes = await ask_for_all(server.host, server.port, wishes(500, 7), 20)
    assert len([mistake for mistake in mistakes if "found who-7-" in mistake]) > 20


async def test_a_shared_g_is_found_out() -> None:
    app = identities.create_app()
    app.app_ctx_globals_class = identities.SharedGlobals
    asked = wishes(50, 8)

    async def ask(wish: identities.Wish) -> list[str]:
        async with wish.exchange(app) as exchange:
            answer = await exchange.end()
        return wish.mistakes(answer.headers, answer.body)

    mistakes = sum(await asyncio.gather(*[ask(wish) for wish in asked]), [])
    assert [mistake for mistake in mistakes if "saw who-8-" in mistake]
    assert [mistake for mistake in mistakes if "found who-8-" in mistake]


@pytest.mark.case("A4")
@pytest.mark.anyio
async def test_an_error_that_requests_share_ends_none_but_its_own() -> None:
    app, shared, go_on = Flask("app", static_folder=None), LookupError("shared"), asyncio.Event()

    @app.get("/<name>")
    async def view(name: str) -> str:
        raise shared

    @app.errorhandler(LookupError)
    async def handle(error: LookupError) -> str:
        if request.path == "/waits":
            await go_on.wait()
        return request.path

    async with Exchange(app, "GET", "/waits") as waiting:
        assert (await fetch(app, "GET", "/other")).text == "/other"
        go_on.set()
        assert (await waiting.end()).text == "/waits"
