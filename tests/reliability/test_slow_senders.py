"""Clients that send or read slowly: they wait on the event loop, and hold no thread."""

from __future__ import annotations

import contextlib
import threading
import typing as t

import pytest

from tests.kit import crowd
from tests.kit.cases import Figure
from tests.kit.pings import check_repeated
from tests.kit.pings import pinging
from tests.kit.pings import Pings
from tests.kit.server import LIMIT
from tests.kit.server import Server

pytestmark = pytest.mark.slow

FORM = "application/x-www-form-urlencoded"
THREADS = 40
SOURCE = """
import itertools
from asyncflask import Flask, request

app = Flask(__name__)
chunks = itertools.count()

@app.get("/ping")
def ping():
    return "pong"

@app.post("/sync")
def take():
    return request.form["name"]

@app.post("/async")
async def take_async():
    return request.form["name"]

@app.get("/stream")
def stream():
    def endless():
        while True:
            next(chunks)
            yield bytes(65536)
    return endless()

@app.get("/chunks")
async def count():
    return repr(chunks)
"""


@contextlib.contextmanager
def most_threads(server: Server) -> t.Iterator[list[int]]:
    """Note how many threads the server has, again and again during the block."""
    ended = threading.Event()
    seen = [server.threads]

    def look() -> None:
        while not ended.wait(0.05):
            seen.append(server.threads)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        ended.set()
        looking.join(LIMIT)


@pytest.mark.case("A12")
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_slow_senders_hold_no_threads(
    server: Server, control: Server, colour: str, figure: Figure
) -> None:
    slow = crowd.post(f"/{colour}", b"name=slow" + b"ly" * 4, FORM)
    grown = []

    def measure() -> Pings:
        with pinging(server, control=control) as pings, most_threads(server) as threads:
            answers = crowd.ask(server, [slow] * 100, drips=12)
        assert {(answer.status, answer.body) for answer in answers} == {(200, b"slow" + b"ly" * 4)}
        # Not the last of what was seen: with its last byte each may take a thread.
        grown.append(max(threads[: len(threads) * 3 // 4]) - threads[0])
        return pings

    pinged = check_repeated(0.1, measure)
    figure(f"{colour}: {pinged}, {grown[0]} threads more")
    assert max(grown) <= 2


@pytest.mark.case("A16")
def test_stalled_readers_of_sync_generators_hold_no_threads(
    server: Server, control: Server, figure: Figure
) -> None:
    before = server.threads
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            stack.enter_context(crowd.stall(server, "/stream"))
        wait_until_stalled(server)

        def measure() -> Pings:
            with pinging(server, control=control) as pings:
                threading.Event().wait(2)
            return pings

        pinged = check_repeated(0.1, measure)
        grown = server.threads - before
    figure(f"{pinged}, {grown} threads more for 60 readers")
    assert grown <= THREADS


def wait_until_stalled(server: Server) -> None:
    """Wait until no chunk was produced for half a second."""
    seen = ""
    for _ in range(int(LIMIT / 0.5)):
        before, seen = seen, server.get("/chunks")
        if before == seen:
            return
        threading.Event().wait(0.5)
    raise AssertionError(f"The readers did not stall: {seen}")
