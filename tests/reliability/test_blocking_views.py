"""Sync code that blocks: it holds up neither async views nor what the framework itself does."""

from __future__ import annotations

import json
import typing as t

import pytest

from tests.kit import crowd
from tests.kit.cases import Figure
from tests.kit.pings import check_repeated
from tests.kit.pings import pinging
from tests.kit.pings import Pings
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.slow

MIB = 1024 * 1024
THREADS = 40
BLOCKING = 200
SOURCE = """
import asyncio
import json
import os
import threading
import time

import asyncflask
from asyncflask import Blueprint, Flask, g, render_template, request

static = os.path.dirname(os.path.abspath(__file__)) + "/static"
os.mkdir(static)
with open(static + "/page.txt", "wb") as file:
    file.write(bytes(300_000))
app = Flask(__name__)
app.jinja_loader = __import__("jinja2").DictLoader({"page.html": "{{ request.path }} {{ g.no }}"})
arrived, begun = [], []

@app.get("/ping")
async def ping():
    return "pong"

# -- views that block ---------------------------------------------------------------------

@app.before_request
@asyncflask.inline
def arrive():
    if request.endpoint == "block":
        arrived.append(request.view_args["number"])

@app.get("/block/<int:number>")
def block(number):
    begun.append(number)
    time.sleep(0.5)
    return ""

@app.get("/order")
async def order():
    return {"arrived": arrived, "begun": begun}

# -- what does not run on their threads ----------------------------------------------------

@app.post("/upload")
async def upload():
    return str(len(request.files["file"].read()))

@app.get("/template")
async def template():
    return render_template("page.html")

@app.get("/download")
async def download():
    return asyncflask.send_file(static + "/page.txt")

# -- a pool of connections smaller than that of threads ------------------------------------

pool = threading.Semaphore(3)
small = Blueprint("small", __name__, url_prefix="/small")
app_sleep = 0.02

@small.before_request
def take():
    pool.acquire()
    g.taken = threading.get_ident()

@small.teardown_request
def give_back(error):
    assert g.taken == threading.get_ident()
    pool.release()

@small.get("/sync")
def with_sync():
    time.sleep(app_sleep)
    return ""

@small.get("/async")
async def with_async():
    await asyncio.sleep(app_sleep)
    return ""

# -- async views behind sync hooks ---------------------------------------------------------

behind = Blueprint("behind", __name__, url_prefix="/behind")

@behind.before_request
def note():
    g.noted = True

@behind.get("/wait")
async def wait():
    await asyncio.sleep(1)
    return str(g.noted)

app.register_blueprint(small)
app.register_blueprint(behind)
"""


@pytest.fixture(scope="module")
def control() -> t.Iterator[Server]:
    """Serve a control that takes uploads, too."""
    with serve("tests.kit.sample:control", "--no-access-log", lint=False) as server:
        yield server


def block(server: Server) -> float:
    """Have all the blocking views run, and give the seconds they took together."""
    answers = crowd.ask(server, [crowd.get(f"/block/{number}") for number in range(BLOCKING)])
    assert [answer.status for answer in answers] == [200] * BLOCKING
    return max(answer.after for answer in answers)


@pytest.mark.case("A8")
def test_blocking_views_delay_no_async_one(server: Server, control: Server, figure: Figure) -> None:
    taken = []

    def measure() -> Pings:
        with pinging(server, control=control) as pings:
            taken.append(block(server))
        return pings

    figure(f"{check_repeated(0.05, measure)}; all in {max(taken):.2f} s")
    assert max(taken) <= BLOCKING * 0.5 / THREADS * 1.3


@pytest.mark.case("A8")
def test_blocking_views_run_first_come_first_served(server: Server) -> None:
    block(server)
    order = json.loads(server.get("/order"))
    place = {number: at for at, number in enumerate(order["begun"][-BLOCKING:])}
    came = order["arrived"][-BLOCKING:]
    assert place.keys() == set(came)
    # Those that begin at the same time do so in any order.
    assert max(abs(place[number] - at) for at, number in enumerate(came)) < THREADS


@pytest.mark.case("A11")
@pytest.mark.parametrize(
    ("path", "upload"),
    [("/static/page.txt", 0), ("/download", 0), ("/upload", MIB), ("/template", 0)],
)
def test_blocking_views_hold_up_nothing_that_is_not_theirs(
    server: Server, control: Server, path: str, upload: int, figure: Figure
) -> None:
    def measure() -> Pings:
        with pinging(server, path, control=control, upload=upload) as pings:
            block(server)
        return pings

    figure(f"{path.split('/')[1]}: {check_repeated(0.1, measure)}")


@pytest.mark.case("A10")
@pytest.mark.parametrize("kinds", [("sync",), ("async",), ("sync", "async")], ids="+".join)
def test_a_pool_smaller_than_that_of_threads_is_no_deadlock(
    server: Server, kinds: tuple[str, ...], figure: Figure
) -> None:
    paths = [f"/small/{kind}" for kind in kinds] * (120 // len(kinds))
    answers = crowd.ask(server, [crowd.get(path) for path in paths])
    taken = max(answer.after for answer in answers)
    figure(f"{'+'.join(kinds)}: 120 clients in {taken:.1f} s")
    assert [answer.status for answer in answers] == [200] * 120
    assert taken < 10


@pytest.mark.case("A8")
def test_async_views_behind_sync_hooks_wait_together(server: Server, figure: Figure) -> None:
    answers = crowd.ask(server, [crowd.get("/behind/wait")] * 500)
    taken = max(answer.after for answer in answers)
    figure(f"500 async views of 1 s behind sync hooks in {taken:.2f} s")
    assert {(answer.status, answer.body) for answer in answers} == {(200, b"True")}
    assert taken < 3
