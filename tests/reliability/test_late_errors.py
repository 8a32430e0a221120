"""Over a real server: errors after the headers are out, and views that outlive their clients."""

from __future__ import annotations

import http.client
import itertools
import typing as t

import pytest

from tests.kit.server import serve
from tests.kit.server import Server

SOURCE = """
import asyncio
import sqlite3
import threading
import time
from asyncflask import Flask, Response, g, request, stream_with_context

app = Flask(__name__)

def say(*what):
    # One write, which no other thread's can come between.
    print(" ".join(map(str, what)) + "\\n", end="", flush=True)

@app.before_request
def connect():
    if request.path.startswith("/outlives"):
        g.connection = sqlite3.connect(":memory:")

@app.teardown_request
def disconnect(exc):
    if "connection" in g:
        g.connection.close()
    say("torn down", request.args.get("name"), type(exc).__name__)

@app.get("/ping")
async def ping():
    return "pong"

@app.get("/outlives")
def outlives():
    say("view begins", request.args["name"])
    until = time.monotonic() + 10
    while not app.ensure_sync(request.is_disconnected)() and time.monotonic() < until:
        time.sleep(0.01)
    # What was opened for the request is open still, a while after its client has left.
    time.sleep(0.2)
    say("view ends", request.args["name"], g.connection.execute("select 42").fetchone())
    return "nobody reads this"

def chunks(name):
    yield "chunk"
    yield "chunk"
    raise LookupError(f"no chunk for {name}")

async def async_chunks(name):
    for chunk in chunks(name):
        await asyncio.sleep(0)
        yield chunk

def respond():
    make = chunks if request.args["stream"] == "sync" else async_chunks
    stream = make(request.args["name"])
    response = Response(stream_with_context(stream) if "kept" in request.args else stream)
    if "length" in request.args:
        response.headers["Content-Length"] = "15"
    return response

@app.get("/fails/sync")
def fails():
    return respond()

@app.get("/fails/async")
async def fails_async():
    return respond()
"""
SERVERS = [("asyncio", "h11"), ("uvloop", "httptools")]
numbers = itertools.count()


@pytest.fixture(scope="module", params=SERVERS, ids="-".join)
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    loop, parser = request.param
    with serve(SOURCE, loop=loop, http=parser) as server:
        yield server


@pytest.mark.case("A44")
@pytest.mark.parametrize("view", ["sync", "async"])
@pytest.mark.parametrize("stream", ["sync", "async"])
@pytest.mark.parametrize("kept", ["&kept", ""], ids=["with context", "without"])
@pytest.mark.parametrize("length", ["&length", ""], ids=["length", "chunked"])
def test_an_error_after_the_headers_is_seen_logged_once_and_torn_down(
    server: Server, length: str, kept: str, stream: str, view: str
) -> None:
    name = f"n{next(numbers)}."
    with server.connect() as connection:
        connection.request("GET", f"/fails/{view}?name={name}&stream={stream}{kept}{length}")
        response = connection.response()
        assert response.status == 200
        with pytest.raises(http.client.IncompleteRead) as cut:
            response.read()
        assert cut.value.partial == b"chunkchunk"
        assert connection.raw() == b""
    server.wait_for_output(f"no chunk for {name}\n")
    assert server.get(f"/ping?name=after{name}") == "pong"
    output = server.wait_for_output(f"torn down after{name}")
    assert output.count(f"LookupError: no chunk for {name}\n") == 1
    told = "LookupError" if kept else "NoneType"
    assert output.count(f"torn down {name} ") == output.count(f"torn down {name} {told}") == 1


@pytest.mark.case("A2")
@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_sync_view_is_torn_down_after_its_end_though_its_client_has_left(
    server: Server, end: str
) -> None:
    name = f"n{next(numbers)}."
    connection = server.connect()
    connection.request("GET", f"/outlives?name={name}")
    server.wait_for_output(f"view begins {name}")
    connection.reset() if end == "reset" else connection.close()
    output = server.wait_for_output(f"torn down {name}")
    assert output.index(f"view ends {name} (42,)") < output.index(f"torn down {name} NoneType")
    assert server.get("/ping") == "pong"
    assert server.output.count(f"torn down {name}") == 1
