"""Views that block their threads, and what they may not hold up."""

from __future__ import annotations

import asyncio
import statistics
import typing as t

import pytest

from tests.kit.cases import Figure
from tests.kit.load import ask
from tests.kit.load import ask_many
from tests.kit.load import Reply
from tests.kit.pings import percentile
from tests.kit.pings import pinging
from tests.kit.pings import Pings
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

LOOPS = [("asyncio", "h11"), ("uvloop", "httptools")]
THREADS = 40
BLOCKING = 200
MIB = 2**20


@pytest.fixture(scope="module", params=LOOPS, ids="-".join)
def plain(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    loop, http = request.param
    with serve("tests.kit.blocking:plain", loop=loop, http=http, lint=False) as server:
        yield server


@pytest.fixture(scope="module", params=LOOPS, ids="-".join)
def hooked(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    loop, http = request.param
    with serve("tests.kit.blocking:app", loop=loop, http=http) as server:
        yield server


@pytest.fixture(scope="module")
def control() -> t.Iterator[Server]:
    with serve("tests.kit.bare:app", lint=False) as server:
        yield server


async def block(server: Server) -> list[Reply]:
    return await ask_many(server, [("GET", "/block")] * BLOCKING)


def seconds_allowed(pings: Pings) -> float:
    """Give what so many views of half a second may take on so many threads."""
    ideal = BLOCKING * 0.5 / THREADS * 1.3
    return ideal + 10 * percentile(pings.control, 99)


@pytest.mark.case("A8")
async def test_blocking_views_do_not_delay_async_ones(
    plain: Server, control: Server, figure: Figure
) -> None:
    with pinging(plain, control=control) as pings:
        replies = await block(plain)
    assert {reply.status for reply in replies} == {200}
    took = max(reply.at for reply in replies)
    assert took <= seconds_allowed(pings)
    figure(f"async {pings.check(0.05)}; {BLOCKING} views of 0.5 s in {took:.2f} s")


@pytest.mark.case("A8")
async def test_blocking_views_run_in_the_order_they_came(plain: Server) -> None:
    replies = await block(plain)
    # What began earlier ended earlier, whole rounds of the pool compared.
    begun = [int(reply.body) for reply in sorted(replies, key=lambda reply: reply.at)]
    rounds = [begun[at : at + THREADS] for at in range(0, BLOCKING, THREADS)]
    middles = [statistics.median(numbers) for numbers in rounds]
    assert middles == sorted(middles) and len(set(begun)) == BLOCKING


@pytest.mark.case("A8")
async def test_threads_end_at_the_limit(plain: Server, figure: Figure) -> None:
    await block(plain)
    _, counted = await ask(plain, "GET", "/threads")
    figure(f"{int(counted)} threads after {BLOCKING} blocking views")
    assert int(counted) <= 2 * THREADS + 8


@pytest.mark.case("A11")
@pytest.mark.parametrize("path", ["/files/bare.py", "/template"])
async def test_blocked_threads_hold_up_neither_files_nor_templates(
    plain: Server, control: Server, path: str, figure: Figure
) -> None:
    with pinging(plain, path, control=control) as pings:
        await block(plain)
    figure(f"{path}: {pings.check(0.1)}")


@pytest.mark.case("A11")
async def test_blocked_threads_hold_up_no_uploads(
    plain: Server, control: Server, figure: Figure
) -> None:
    taken = []
    with pinging(plain, control=control) as pings:
        blocking = asyncio.ensure_future(block(plain))
        while not blocking.done():
            began = asyncio.get_running_loop().time()
            assert (await ask(plain, "POST", "/upload", bytes(MIB)))[1] == b"1048576"
            taken.append(asyncio.get_running_loop().time() - began)
        await blocking
    uploads = Pings(taken, pings.control)
    figure(f"1 MB upload: {uploads.check(0.1)}")


@pytest.mark.case("A10")
@pytest.mark.parametrize("kind", ["sync", "async", "mixed"])
async def test_a_pool_smaller_than_the_threads_deadlocks_nobody(
    hooked: Server, kind: str, figure: Figure
) -> None:
    replies = await ask_many(hooked, [("GET", f"/pool/{kind}")] * 120)
    assert {reply.status for reply in replies} == {200}
    took = max(reply.at for reply in replies)
    figure(f"120 {kind} views on 3 connections: {took:.2f} s")
    assert took < 10


@pytest.mark.case("A10")
async def test_waiting_views_behind_sync_hooks_hold_no_thread(
    hooked: Server, figure: Figure
) -> None:
    replies = await ask_many(hooked, [("GET", "/hooked")] * 500)
    assert {reply.status for reply in replies} == {200}
    took = max(reply.at for reply in replies)
    figure(f"500 async views of 1 s behind sync hooks: {took:.2f} s")
    assert took < 3
