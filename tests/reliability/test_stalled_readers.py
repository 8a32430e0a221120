"""Readers that stop in the middle of a stream cost neither memory nor threads."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import typing as t

import pytest

from tests.kit import crowd
from tests.kit.cases import Figure
from tests.kit.pings import pinging
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = [pytest.mark.case("A14"), pytest.mark.slow]

CLIENTS = 10
#: Seconds for which they do not read, once nothing more is taken for them.
STALLED = 1.5
#: Bytes by which the memory may grow for each client.
MEMORY = 2 * 2**20
#: What the file has, and the streams have at least.
SIZE = 2**30
SERVERS = [("asyncio", "h11"), ("uvloop", "httptools")]
#: What is asked for, and whether it needs no threads but ours.
KINDS = {"async": True, "sync": True, "file": True} | dict.fromkeys(
    ["starlette-file", "starlette-stream", "starlette-sync-stream"], False
)
#: Threads that may run sync code at the same time, far fewer than there are clients.
THREADS = 2
SOURCE = """
import itertools, os
from asyncflask import Flask, send_file
from asyncflask.lanes import workers
from starlette.responses import FileResponse, StreamingResponse

workers.IDLE_SECONDS = 0.5
app = Flask(__name__)
app.config["SYNC_THREADS"] = 2
CHUNK = bytes(65536)
taken = begun = closed = 0

async def endless():
    global taken, begun, closed
    begun += 1
    try:
        for _ in itertools.count():
            taken += 1
            yield CHUNK
    finally:
        closed += 1

def sync_endless():
    global taken, begun, closed
    begun += 1
    try:
        for _ in itertools.count():
            taken += 1
            yield CHUNK
    finally:
        closed += 1

@app.get("/ping")
async def ping():
    return "pong"

@app.get("/sync-ping")
def sync_ping():
    return "pong"

@app.get("/counts")
async def counts():
    return {"taken": taken, "begun": begun, "closed": closed}

@app.get("/async")
async def async_stream():
    return endless()

@app.get("/sync")
def sync_stream():
    return sync_endless()

@app.get("/file")
def file():
    return send_file(os.environ["BIG_FILE"])

@app.get("/starlette-file")
async def starlette_file():
    return FileResponse(os.environ["BIG_FILE"])

@app.get("/starlette-stream")
async def starlette_stream():
    return StreamingResponse(endless())

@app.get("/starlette-sync-stream")
async def starlette_sync_stream():
    return StreamingResponse(sync_endless())
"""


class Stalls(t.NamedTuple):
    """A server, what it held when nobody had stalled yet, and a control."""

    server: Server
    memory: int
    threads: int
    control: Server


@pytest.fixture(scope="module", params=SERVERS, ids="-".join)
def stalls(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, control: Server
) -> t.Iterator[Stalls]:
    loop, http = request.param
    big = tmp_path_factory.mktemp("big") / "file"
    with big.open("wb") as file:
        file.truncate(SIZE)
    env = {"BIG_FILE": str(big)}
    with serve(SOURCE, "--no-access-log", loop=loop, http=http, env=env, lint=False) as server:
        for kind in KINDS:
            # What is imported and allocated once is nobody's.
            stall(server, kind).close()
        wait_for_closing(server)
        yield Stalls(server, server.memory, server.threads, control)


def stall(server: Server, kind: str) -> socket.socket:
    """Ask for an endless body and read no more than its beginning."""
    connection = crowd.stall(server, f"/{kind}")
    assert connection.recv(100).startswith(b"HTTP/1.1 200")
    return connection


def counts(server: Server) -> dict[str, int]:
    """How many chunks were taken from streams, and how many streams were begun and closed."""
    return t.cast("dict[str, int]", json.loads(server.get("/counts")))


def wait_until_stalled(server: Server) -> None:
    """Wait until nothing more is taken, however often the loop goes round."""
    for _ in range(200):
        taken = counts(server)["taken"]
        for _ in range(30):
            server.get("/ping")
        if counts(server)["taken"] == taken:
            return
    raise AssertionError("The streams go on without their readers.")


def wait_until_idle(server: Server, threads: int) -> None:
    """Wait until threads that nobody holds have ended."""
    for _ in range(200):
        if server.threads <= threads:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"{server.threads} threads are held, more than {threads}.")


def wait_for_closing(server: Server) -> None:
    """Wait until every stream that was begun is closed."""
    for _ in range(200):
        now = counts(server)
        if now["begun"] == now["closed"]:
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"Streams were left open: {now}")


@pytest.mark.parametrize("kind", KINDS)
def test_readers_that_stall_cost_neither_memory_nor_threads(
    stalls: Stalls, kind: str, figure: Figure
) -> None:
    server = stalls.server
    with contextlib.ExitStack() as stack:
        for _ in range(CLIENTS):
            stack.enter_context(stall(server, kind))
        wait_until_stalled(server)
        if KINDS[kind]:
            wait_until_idle(server, stalls.threads + THREADS)
        # A sync view needs the loop and a thread.
        with pinging(server, "/sync-ping", stalls.control) as pings:
            threading.Event().wait(STALLED)
        grown = (server.memory - stalls.memory) / CLIENTS
        figure(f"{kind}: {grown / 2**20:+.2f} MB each; {pings.check(0.05)}")
        assert grown <= MEMORY
    wait_for_closing(server)
