"""Uploads: what they cost in memory, and where their files go."""

from __future__ import annotations

import asyncio
import gc
import io
import typing as t
import weakref
from pathlib import Path

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.utils import secure_filename

from asyncflask import Flask
from asyncflask import request
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import BOUNDARY
from tests.bodies import MIB
from tests.bodies import multipart
from tests.bodies import send
from tests.kit.cases import Figure
from tests.kit.pings import pinging
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.anyio

SIZE = 1000 * MIB
SERVED = """
from asyncflask import Flask, request
app = Flask("served")

@app.get("/ping")
async def ping():
    return "pong"

@app.put("/async", stream_body=True)
async def take():
    size = 0
    async for chunk in request.stream:
        size += len(chunk)
    print("took", size, flush=True)
    return ""

@app.put("/sync", stream_body=True)
def take_sync():
    size = 0
    while chunk := request.stream.read(256 * 1024):
        size += len(chunk)
    print("took", size, flush=True)
    return ""
"""


def upload(server: Server, path: str, size: int) -> int:
    """Send a body, and give the most memory that the server had meanwhile."""
    block = memoryview(bytes(MIB))
    most = server.memory
    with server.connect() as connection:
        head = f"PUT {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n"
        connection.send(head.encode())
        for number in range(size // MIB):
            connection.socket.sendall(block)
            if number % 10 == 0:
                most = max(most, server.memory)
        assert connection.response().status == 200
    return max(most, server.memory)


@pytest.mark.slow
@pytest.mark.case("A18")
@pytest.mark.parametrize(
    "loop, http, colour",
    [("asyncio", "h11", "async"), ("asyncio", "h11", "sync"), ("uvloop", "httptools", "async")],
)
def test_1_gb_is_streamed_in_little_memory(
    loop: str, http: str, colour: str, figure: Figure
) -> None:
    # What a server without a framework does to others who ask while it takes an upload in.
    with serve("tests.kit.sample:control", loop=loop, http=http, lint=False) as control:
        with pinging(control) as usual:
            upload(control, "/", SIZE // 2)
    with serve(SERVED, loop=loop, http=http, lint=False) as server:
        for _ in range(20):
            server.get("/ping")
        before = server.memory
        with pinging(server) as pings:
            most = upload(server, f"/{colour}", SIZE)
        assert f"took {SIZE}" in server.wait_for_output("took")
    pings.control = usual.taken
    grown = (most - before) / MIB
    assert grown <= 16
    figure(f"{loop}, {http}, {colour}: +{grown:.1f} MiB, pings {pings.check(0.05)}")


@both_colours
@pytest.mark.case("A41")
@pytest.mark.parametrize("threads", ["new", "used"])
async def test_an_idle_thread_keeps_nothing_of_its_last_request(colour: str, threads: str) -> None:
    app = Flask(__name__)
    # Settings of its own, so a pool of its own.
    app.config.update(SYNC_THREADS=1, SYNC_QUEUE_LIMIT=10_000 + 2 * (colour == "sync"))
    app.config["SYNC_QUEUE_LIMIT"] += threads == "used"
    kept: list[weakref.ref[t.Any]] = []

    def view() -> str:
        kept.append(weakref.ref(request._get_current_object()))
        return str(len(request.form))

    add(app, colour, view)
    body = multipart(("f", "n", b"x" * MIB))
    for _ in range(1 + (threads == "used")):
        assert await send(app, "asgi", body, -1, BOUNDARY) == (200, b"0")
    # The thread lets go of it on its own, soon after the answer.
    async with asyncio.timeout(10):
        while any(ref() is not None for ref in kept):
            gc.collect()
            await asyncio.sleep(0.001)


# -- names of files ----------------------------------------------------------------------------

NAMES = [
    "../../x",
    "..\\..\\x",
    "/etc/x",
    "C:\\x",
    "C:x",
    "\\\\host\\share\\x",
    "//host/share/x",
    "....//x",
    ".",
    "..",
    "a\0b",
    "CON",
    "CON.txt.html",
    "NUL::$DATA",
    "x.txt:stream",
    "%2e%2e%2fx",
    "a/../../x",
    "~root/x",
    "\u2025/x",
    "-rf",
    " x ",
]


@both_transports
@both_colours
@pytest.mark.case("A22")
@pytest.mark.parametrize("name", NAMES, ids=ascii)
async def test_files_stay_where_they_are_saved(
    name: str, colour: str, transport: str, tmp_path: Path
) -> None:
    folder = tmp_path / "above" / "uploads"
    folder.mkdir(parents=True)

    def view() -> str:
        file = request.files["f"]
        # The name is the client's, and says nothing about where the file goes.
        with pytest.raises(OSError):
            file.save(folder)
        file.seek(0)
        file.save(folder / (secure_filename(file.filename or "") or "unnamed"))
        return file.filename or ""

    add(app := Flask(__name__), colour, view)
    answer = await send(app, transport, multipart(("f", name, b"data")), -1, BOUNDARY)
    assert answer[0] == 200
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.parent for path in left] == [folder] and left[0].read_bytes() == b"data"


def test_a_name_that_is_a_path_is_given_as_it_came() -> None:
    file = FileStorage(io.BytesIO(), filename="../../x")
    assert file.filename == "../../x" and secure_filename("../../x") == "x"
