"""Views that request the server they run on, up to the point where every thread waits for one."""

from __future__ import annotations

import contextlib
import json
import time
import typing as t

import pytest

from tests.kit.cases import Figure
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.case("A9")

#: Threads for sync views; so many that request their own server wait for each other.
THREADS = 4
SOURCE = f"""
import itertools
import threading
import urllib.error
import urllib.request

from asyncflask import Flask, request, Response

app = Flask(__name__)
app.config["SYNC_THREADS"] = {THREADS}
app.config.from_prefixed_env()
together = threading.Barrier({THREADS})
begun, ended = itertools.count(), itertools.count()


@app.before_request
async def count():
    if request.endpoint != "counted":
        next(begun)


@app.teardown_request
def close(exc):
    # Sync, so that whatever becomes of a request, it takes a thread in the end.
    if request.endpoint != "counted":
        next(ended)


def ask(path):
    host, port = request.server
    try:
        with urllib.request.urlopen(f"http://{{host}}:{{port}}{{path}}", timeout=15) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return f"{{error.code}} {{error.headers['Retry-After']}}"


@app.get("/deep/<int:depth>")
def deep(depth):
    return ask(f"/deep/{{depth - 1}}") + "." if depth else "bottom"


@app.get("/together/<kind>")
def meet(kind):
    together.wait(10)
    return ask(f"/{{kind}}")


@app.get("/sync")
def sync_view():
    return "answered"


@app.get("/async")
async def async_view():
    return "answered"


@app.get("/stream")
async def stream():
    return Response(iter(["answer", "ed"]))


@app.get("/counted")
async def counted():
    return [next(begun), next(ended)]
"""


@pytest.fixture(
    scope="module",
    params=[("asyncio", "timeout"), ("uvloop", "timeout"), ("asyncio", "limit")],
    ids="-".join,
)
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    loop, bound = request.param
    # A queue without a limit of its length ends by its timeout alone, and the other way round.
    bounds = {
        "timeout": {"FLASK_SYNC_QUEUE_TIMEOUT": "1"},
        "limit": {"FLASK_SYNC_QUEUE_LIMIT": "0"},
    }
    with serve(SOURCE, loop=loop, env=bounds[bound]) as server:
        yield server


def ask_together(server: Server, kind: str) -> tuple[list[str], float]:
    """Have as many views as there are threads request their own server; give what they got."""
    begun = time.monotonic()
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(server.connect()) for _ in range(THREADS)]
        for connection in connections:
            connection.request("GET", f"/together/{kind}")
        answers = [connection.response().read().decode() for connection in connections]
    return answers, time.monotonic() - begun


def test_views_request_their_own_server_three_deep(server: Server) -> None:
    assert server.get(f"/deep/{THREADS - 1}") == "bottom" + "." * (THREADS - 1)


def test_when_every_thread_waits_for_its_own_server_it_answers_503(
    server: Server, figure: Figure
) -> None:
    answers, seconds = ask_together(server, "sync")
    # The first that is refused gives its thread back, which may be in time for the next one.
    assert set(answers) - {"answered"} == {"503 1"}
    assert seconds < 10
    figure(f"{THREADS} views on {THREADS} threads: all ended after {seconds:.1f} s")
    assert server.get(f"/deep/{THREADS - 1}") == "bottom" + "." * (THREADS - 1)


@pytest.mark.parametrize("kind", ["async", "stream"])
def test_what_needs_a_thread_only_in_the_end_is_answered_all_the_same(
    server: Server, kind: str
) -> None:
    answers, seconds = ask_together(server, kind)
    assert answers == ["answered"] * THREADS
    assert seconds < 10


@pytest.mark.case("A1")
def test_all_of_them_were_torn_down_once(server: Server) -> None:
    ask_together(server, "sync")
    begun, ended = json.loads(server.get("/counted"))
    assert begun == ended
