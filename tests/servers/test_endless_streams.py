"""Endless streams on every server: a client that does not read, and one that leaves."""

from __future__ import annotations

import contextlib
import socket
import time
import typing as t

import pytest

from tests.kit import fleet
from tests.kit.server import Connection
from tests.kit.server import LIMIT
from tests.kit.server import Server

SOURCE = """
import itertools

from asyncflask import Flask

app = Flask(__name__)
CHUNK = b"x" * 65536
sent = 0


@app.get("/sent")
async def count():
    return str(sent)


def generate():
    global sent
    try:
        for sent in itertools.count():
            yield CHUNK
    finally:
        print("closed", flush=True)


@app.get("/sync")
def sync_stream():
    return generate()


@app.get("/async")
async def async_stream():
    async def generate_async():
        source = generate()
        try:
            for chunk in source:
                yield chunk
        finally:
            source.close()

    return generate_async()
"""
#: What a server and the system may buffer for a client that does not read.
BUFFERED = 32 * 1024 * 1024
#: Seconds between two looks at a stream that stands still.
PAUSE = 0.1
#: granian's own tasks, which cannot be cancelled.
RUST = ("--task-impl=rust",)
SERVERS: list[tuple[str, tuple[str, ...]]] = [(name, ()) for name in fleet.CONCURRENT]
SERVERS.append(("granian", RUST))


@pytest.fixture(scope="module", params=SERVERS, ids=lambda one: " ".join([one[0], *one[1]]))
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    name, options = request.param
    with fleet.start(name, SOURCE, *options) as server:
        yield server


@contextlib.contextmanager
def stalled(server: Server, path: str) -> t.Iterator[Connection]:
    """Ask for a stream, read nothing, and wait until the server has stopped sending."""
    with server.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.request("GET", path)
        assert connection.response().status == 200
        deadline = time.monotonic() + LIMIT
        before = ""
        while (now := server.get("/sent")) != before:
            assert time.monotonic() < deadline, f"{now} chunks sent, and no end"
            before = now
            time.sleep(PAUSE)
        yield connection


@pytest.mark.case("A14", "A15")
@pytest.mark.parametrize("path", ["/sync", "/async"])
def test_a_stream_waits_for_its_reader_and_ends_when_it_leaves(server: Server, path: str) -> None:
    closed = server.output.count("closed")
    with stalled(server, path):
        assert int(server.get("/sent")) * 65536 < BUFFERED
    server.wait_for_output("closed", closed + 1)
