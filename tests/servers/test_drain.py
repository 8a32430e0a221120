"""A server that is told to stop lets the requests under way come to their end."""

from __future__ import annotations

import signal
import time

import pytest

from tests.kit import fleet
from tests.kit.cases import Figure

pytestmark = pytest.mark.case("A37")

#: Counts its teardowns, which nobody could ask for once the server accepts no more requests.
SOURCE = """
import asyncio
import time

from asyncflask import Flask, request, stream_with_context

app = Flask(__name__)


def tell(what):
    # One write, which no other thread's can come between.
    print(f"told {what}\\n", end="", flush=True)


@app.before_request
def before():
    tell(f"begin {request.path}")


@app.teardown_request
def teardown(error):
    tell(f"teardown {request.path} {error}")


@app.after_serving
async def after_serving():
    tell("after serving")


@app.get("/async")
async def async_view():
    await asyncio.sleep(1.0)
    return "async"


@app.get("/sync")
def sync_view():
    time.sleep(0.8)
    return "sync"


@app.get("/stream")
async def stream():
    @stream_with_context
    async def generate():
        for number in range(5):
            yield f"chunk {number}\\n"
            await asyncio.sleep(0.25)
        yield "end"

    return generate()
"""
EXPECTED = {
    "/async": b"async",
    "/sync": b"sync",
    "/stream": b"chunk 0\nchunk 1\nchunk 2\nchunk 3\nchunk 4\nend",
}
#: Seconds for the longest request and what the server adds to it.
GRACE = 5.0


@pytest.mark.parametrize("name", [*fleet.ASGI, "gunicorn-gthread", "granian-wsgi"])
def test_everything_under_way_is_finished_and_torn_down(name: str, figure: Figure) -> None:
    with fleet.start(name, SOURCE) as server:
        connections = {path: server.connect() for path in EXPECTED}
        for path, connection in connections.items():
            connection.request("GET", path, headers={"Connection": "close"})
            server.wait_for_output(f"told begin {path}")
        begin = time.perf_counter()
        server.process.send_signal(signal.SIGTERM)
        answers = {path: one.response().read() for path, one in connections.items()}
        for connection in connections.values():
            connection.close()
        server.process.wait(GRACE)
        seconds = time.perf_counter() - begin
        server.stop()
    assert answers == EXPECTED
    for path in EXPECTED:
        assert server.output.count(f"told teardown {path} None\n") == 1
    assert server.output.count("told after serving") == 1
    assert server.output.rindex("told teardown") < server.output.index("told after serving")
    figure(f"{name}: 3 requests complete, exit {seconds:.1f} s after SIGTERM")
