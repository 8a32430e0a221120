"""An async generator that never suspends, its client gone: the worker goes on."""

from __future__ import annotations

import threading

import pytest

from tests.kit.cases import Figure
from tests.kit.pings import pinging
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = [pytest.mark.case("A15"), pytest.mark.slow]

SERVERS = [
    ("asyncio", "h11"),
    ("asyncio", "httptools"),
    ("uvloop", "h11"),
    ("uvloop", "httptools"),
]
#: Clients that leave in the middle of a stream, one after the other.
CLIENTS = 5
#: Seconds for which the server is pinged when they have left.
GONE = 1.5
#: Seconds of processor time in one second below which a server does nothing.
IDLE = 0.1
SOURCE = """
import itertools
from asyncflask import Flask, request, stream_with_context

app = Flask(__name__)

@app.get("/ping")
async def ping():
    return "pong"

@app.get("/stream")
async def stream():
    async def chunks():
        try:
            for _ in itertools.count():
                yield b"x" * SIZE
        finally:
            print(f"closed for {request.path}\\n", end="")
    return stream_with_context(chunks())

@app.teardown_request
def teardown(error):
    if request.path == "/stream":
        print(f"torn down with {error!r}\\n", end="")
"""


def cpu_in_a_second(server: Server) -> float:
    """Seconds of processor time that the server takes in one second."""
    before = server.cpu_seconds
    threading.Event().wait(1)
    return server.cpu_seconds - before


@pytest.mark.parametrize("size", [1, 65536])
@pytest.mark.parametrize(("loop", "http"), SERVERS)
def test_a_stream_that_never_suspends_ends_when_its_client_leaves(
    loop: str, http: str, size: int, control: Server, figure: Figure
) -> None:
    source = SOURCE.replace("SIZE", str(size))
    with serve(source, "--no-access-log", loop=loop, http=http, lint=False) as server:
        with pinging(server, control=control) as pings:
            for number in range(CLIENTS):
                with server.connect() as connection:
                    connection.request("GET", "/stream")
                    assert connection.response().read(100_000 if size > 1 else 100)
                    connection.reset() if number % 2 else None
            server.wait_for_output("torn down with", CLIENTS)
            threading.Event().wait(GONE)
        taken = cpu_in_a_second(server)
        figure(f"{loop}, {http}: {pings.check(0.1)}, then {taken:.2f} s of CPU in 1 s")
        assert taken < IDLE
        assert server.output.count("closed for /stream\n") == CLIENTS
        assert server.output.count("torn down with") == CLIENTS
