"""Forms made to be expensive: many parts, long headers, bytes that look like boundaries."""

from __future__ import annotations

import asyncio
import gc
import io
import logging
import tempfile
import threading
import typing as t

import pytest
from werkzeug.test import EnvironBuilder

from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from asyncflask.adapters.forms import FormParser
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import BOUNDARY
from tests.bodies import FORM
from tests.bodies import KIB
from tests.bodies import MIB
from tests.bodies import multipart
from tests.bodies import open_files
from tests.bodies import send
from tests.bodies import Watched
from tests.kit.cases import Figure
from tests.kit.costs import check_cost
from tests.kit.costs import check_growth
from tests.kit.drive import fetch
from tests.kit.stalls import check_stalls

pytestmark = [pytest.mark.anyio, pytest.mark.case("A22")]

STALL = 0.05
DISPOSITION = b"--x\r\nContent-Disposition: form-data; "


@pytest.fixture(autouse=True)
def _no_file_left() -> t.Iterator[None]:
    before = open_files()
    yield
    assert open_files() <= before, "files were left open"


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


def count() -> str:
    return f"{len(request.form)} {len(request.files)}"


def cut(body: bytes, size: int = 64 * KIB) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def part(headers: bytes, value: bytes = b"v") -> bytes:
    """Make a form of one part, whose disposition begins the headers."""
    return DISPOSITION + headers + b"\r\n\r\n" + value + b"\r\n--x--\r\n"


# -- the loop runs on -------------------------------------------------------------------------

JSON = "application/json"
RECORD = b'{"id": %d, "name": "name", "tags": ["a", "b"], "x": 1.4285714285714286}'
FILES = [(f"f{n}", "n", b"x" * 16_600) for n in range(999)]
LARGE: dict[str, tuple[str, bytes, int, bytes]] = {
    "fields": (FORM, b"a%d=1&bcdefghi=2" * 10**6, 413, b""),
    "parts": (BOUNDARY, multipart(*FILES), 200, b"0 999"),
    "records": (JSON, b"[" + b",".join([RECORD % n for n in range(130_000)]) + b"]", 200, b"13"),
    "numbers": (JSON, b'{"a": [' + b"0.14285714285714285," * 500_000 + b"1]}", 200, b"1"),
    "ends early": (JSON, b'{"a": [' + b"0.14285714285714285," * 500_000, 400, b""),
    "field": (FORM, b"a=" + b"%20" * 5 * MIB, 413, b""),
}


def make_records() -> None:
    """Make what the JSON of the records comes to."""
    records = []
    for n in range(130_000):
        records.append({"id": n, "name": f"{n}", "tags": [f"{n}", f"{n}"], "x": n / 7})
    del records


@pytest.mark.slow
@pytest.mark.bare
@pytest.mark.case("A13")
@both_colours
@pytest.mark.parametrize("kind", LARGE)
async def test_large_bodies_are_parsed_while_the_loop_runs(
    app: Flask, kind: str, colour: str, figure: Figure
) -> None:
    content_type, body, status, expected = LARGE[kind]
    add(app, colour, lambda: str(len(request.json)) if request.is_json else count())
    chunks, headers = cut(body), {"Content-Type": content_type}
    # The garbage collector stops everything to look at what other tests keep, too.
    gc.collect()
    gc.freeze()

    async def upload() -> None:
        answer = await fetch(app, "POST", body=chunks, headers=headers, lint=False)
        assert answer.status == status and answer.body.startswith(expected)

    try:
        if kind == "records":
            # So many objects at once stop everything while they are collected and freed.
            stalls = await check_stalls(upload, STALL, make_records, 1.5)
        else:
            stalls = await check_stalls(upload, STALL)
    finally:
        gc.unfreeze()
    figure("A13", f"{kind} {len(body) / 1e6:.0f} MB {colour}: {stalls}")


@pytest.mark.case("A13")
def test_a_multipart_form_is_read_a_mebibyte_at_a_time() -> None:
    # Many short reads are what keeps the loop from getting the interpreter's lock: no load needed.
    sizes: list[int] = []

    class Noting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            sizes.append(-1 if size is None else size)
            return super().read(size)

    body = multipart(*[(f"f{n}", None, b"x" * 16_600) for n in range(300)])
    form = FormParser().parse(Noting(body), "multipart/form-data", len(body), {"boundary": "x"})
    assert len(form[1]) == 300 and set(sizes) == {MIB}


@pytest.mark.bare
@pytest.mark.case("A13")
@both_colours
async def test_files_are_rolled_over_while_the_loop_runs(
    app: Flask, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, threads = asyncio.get_running_loop(), set()
    ticked = threading.Event()
    rollover = tempfile.SpooledTemporaryFile.rollover

    def wait_for_loop(file: t.Any) -> None:
        threads.add(threading.get_ident())
        loop.call_soon_threadsafe(ticked.set)
        assert ticked.wait(10), "the loop stands still"
        rollover(file)

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", wait_for_loop)
    add(app, colour, count)
    body = cut(multipart(("f", "n", b"x" * 2 * MIB)))
    answer = await fetch(app, "POST", body=body, headers={"Content-Type": BOUNDARY})
    assert answer.text == "0 1" and threads and threading.get_ident() not in threads


@pytest.mark.bare
@pytest.mark.parametrize("kind", ["loaded", "streamed", "sync"])
async def test_crumbs_cost_linear_time_and_let_the_loop_run(
    app: Flask, kind: str, figure: Figure
) -> None:
    async def stream() -> str:
        return str(sum([len(chunk) async for chunk in request.stream]))

    if kind == "streamed":
        app.add_url_rule("/", view_func=stream, methods=["POST"], stream_body=True)
    else:
        add(app, "sync" if kind == "sync" else "async", lambda: str(len(request.get_data())))
    count = 20_000

    async def upload() -> None:
        answer = await fetch(app, "POST", body=[b"x"] * count, length=None, lint=False)
        assert answer.text == str(count)

    figure(f"{count} one-byte messages, {kind}: {await check_stalls(upload, STALL)}")


# -- forms of very many, or very long parts ---------------------------------------------------

BOMBS: dict[str, tuple[str, bytes]] = {
    "1,001 fields": (BOUNDARY, multipart(*[("a", None, b"x")] * 1001)),
    "1,001 empty files": (BOUNDARY, multipart(*[("a", "n", b"")] * 1001)),
    "100,000 fields": (BOUNDARY, multipart(*[("a", None, b"x")] * 100_000)),
    "100,000 empty files": (BOUNDARY, multipart(*[("a", "n", b"")] * 100_000)),
    "a part of 600 kB": (BOUNDARY, multipart(("a", None, b"x" * 600_000))),
    "a part of 16 MB": (BOUNDARY, multipart(("a", None, b"x" * 16 * MIB))),
    "20,000 header lines": (BOUNDARY, part(b'name="a"' + b"\r\nX-A: b" * 20_000)),
    "a header line of 9 KB": (BOUNDARY, part(b'name="a"\r\nX: ' + b"x" * 9000)),
    "a header line of 16 MB": (BOUNDARY, part(b'name="a"\r\nX: ' + b"x" * 16 * MIB)),
    "headers without an end": (BOUNDARY, DISPOSITION + b'name="' + b"x" * 100_000),
    "a file name of 9 KB": (BOUNDARY, multipart(("a", "x" * 9000, b""))),
    "1,000,000 pairs": (FORM, b"a=1&" * 10**6),
    "a value of 16 MB": (FORM, b"a=" + b"x" * 16 * MIB),
    "a name of 16 MB": (FORM, b"x" * 16 * MIB),
    "an escaped value of 600 kB": (FORM, b"a=" + b"%20" * 600_000),
    "a value of 600 kB that escapes nothing": (FORM, b"a=" + b"%" * 600_000),
}


@pytest.mark.bare
@both_transports
@both_colours
@pytest.mark.parametrize("bomb", BOMBS)
async def test_bombs_are_too_large(
    app: Flask, bomb: str, colour: str, transport: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    content_type, body = BOMBS[bomb]
    add(app, colour, count)
    chunks = cut(body) if transport == "asgi" else body
    assert (await send(app, transport, chunks, -1, content_type))[0] == 413
    # One for the server's access log, which there is none of here, is not too many.
    assert len(caplog.records) <= 4


@pytest.mark.bare
@pytest.mark.parametrize("bomb", [name for name in BOMBS if BOMBS[name][0] == BOUNDARY])
def test_bombs_are_defused_quickly(bomb: str, figure: Figure) -> None:
    def parse() -> None:
        with pytest.raises(Exception, match="413"):
            form_of(BOMBS[bomb][1])

    figure(f"{bomb}: {check_cost(parse, 0.1).figure()}")


async def test_what_is_over_a_limit_is_not_read_to_its_end(app: Flask) -> None:
    add(app, "sync", count)
    for content_type, body in (BOMBS["a part of 16 MB"], BOMBS["100,000 empty files"]):
        watched = Watched(app)
        headers = {"Content-Type": content_type}
        assert (await fetch(watched, "POST", body=cut(body), headers=headers)).status == 413
        assert watched.taken <= MIB


@both_transports
@both_colours
async def test_just_within_the_limits_all_is_well(app: Flask, colour: str, transport: str) -> None:
    add(app, colour, lambda: f"{count()} {len(request.form.get('a', ''))}")
    within = {
        b"1 0 1": (BOUNDARY, part(b'name="a"' + b"\r\nX-A: b" * 1000)),
        b"1 0 500000": (BOUNDARY, multipart(("a", None, b"x" * 500_000))),
        b"1 0 499998": (FORM, b"a=" + b"%20" * 499_998),
    }
    for expected, (content_type, body) in within.items():
        assert await send(app, transport, body, -1, content_type) == (200, expected)


@both_transports
@both_colours
async def test_a_request_may_have_limits_of_its_own(
    app: Flask, colour: str, transport: str
) -> None:
    @app.before_request
    async def limit() -> None:
        request.max_form_memory_size = 700_000

    add(app, colour, count)
    bombs = BOMBS["a part of 600 kB"], BOMBS["an escaped value of 600 kB"]
    for content_type, body in bombs:
        assert await send(app, transport, body, -1, content_type) == (200, b"1 0")


# Just large enough for a file on disk of its own.
ON_DISK = ("f", "n", b"x" * 512_001)


@pytest.mark.slow
@pytest.mark.bare
@both_colours
async def test_very_many_files_are_all_closed(app: Flask, colour: str) -> None:
    app.config["MAX_FORM_FILES"] = app.config["MAX_FORM_PARTS"] = 120
    add(app, colour, count)
    for files, status in ((120, 200), (121, 413)):
        body = cut(multipart(*[ON_DISK] * files))
        answer = await fetch(app, "POST", body=body, headers={"Content-Type": BOUNDARY})
        assert answer.status == status


@pytest.mark.slow
@pytest.mark.bare
@both_transports
@both_colours
async def test_a_form_may_have_a_hundred_files_on_disk(
    app: Flask, colour: str, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rollover, seen = tempfile.SpooledTemporaryFile.rollover, []

    def watched(file: t.Any) -> None:
        rollover(file)
        seen.append(open_files())

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", watched)
    add(app, colour, lambda: str(len(request.files.getlist("f"))))
    # A loaded body has a file on disk of its own.
    before = open_files() + (colour == "async")
    for files, status, expected in ((100, 200, b"120"), (101, 413, b"")):
        parts = [ON_DISK] * files + [("f", "n", b"x" * 512_000), ("f", "n", b"")] * 10
        found = await send(app, transport, cut(multipart(*parts)), -1, BOUNDARY)
        assert found[0] == status and found[1].startswith(expected)
        assert max(seen) == before + 100
        seen.clear()


@pytest.mark.slow
@both_transports
async def test_the_files_of_a_form_may_be_without_a_limit(app: Flask, transport: str) -> None:
    app.config["MAX_FORM_FILES"] = None
    add(app, "sync", lambda: str(len(request.files.getlist("f"))))
    body = cut(multipart(*[ON_DISK] * 110))
    assert await send(app, transport, body, -1, BOUNDARY) == (200, b"110")


# -- bytes that look like something else ------------------------------------------------------

FIELD = multipart(("a", None, b"v"))
DENSE: dict[str, t.Callable[[int], bytes]] = {
    "line breaks before": lambda size: b"\r\n" * (size // 2) + FIELD,
    "line breaks after": lambda size: FIELD + b"\r\n" * (size // 2),
    "carriage returns": lambda size: multipart(("a", "n", b"\r" * size)),
    "line feeds": lambda size: multipart(("a", "n", b"\n" * size)),
    "line breaks": lambda size: multipart(("a", "n", b"\r\n" * (size // 2))),
    "a line break first": lambda size: multipart(("a", "n", b"\r\n" + b"x" * size)),
    "line breaks and dashes": lambda size: multipart(("a", "n", b"\r\n--" * (size // 4))),
    "almost boundaries": lambda size: multipart(("a", "n", b"\r\n--xy" * (size // 6))),
    "boundaries without a line": lambda size: multipart(("a", "n", b"--x" * (size // 3))),
    "blanks after a boundary": lambda size: multipart(("a", "n", b"\r\n--x" + b" " * size)),
}


class Crumbs(io.RawIOBase):
    """Gives a few bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data = io.BytesIO(data)
        self._size = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: t.Any) -> int:
        data = self._data.read(min(self._size, len(buffer)))
        buffer[: len(data)] = data
        return len(data)


def form_of(body: bytes, size: int = 64 * KIB, content_type: str = BOUNDARY) -> t.Any:
    """Parse a form that comes in pieces of *size* bytes."""
    environ = EnvironBuilder("/", method="POST").get_environ()
    environ |= {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body))}
    environ["wsgi.input"] = Crumbs(body, size)
    found = Request(environ)
    form, files = found.form.to_dict(), len(found.files)
    found.close()
    return form, files


@pytest.mark.bare
@pytest.mark.case("A30")
@pytest.mark.parametrize("size", [1, 100, 64 * KIB], ids="by {}".format)
@pytest.mark.parametrize("kind", DENSE)
def test_dense_bodies_cost_linear_time(
    kind: str, size: int, monkeypatch: pytest.MonkeyPatch, figure: Figure
) -> None:
    # What stands around the parts is kept, so it has to be within this limit.
    monkeypatch.setattr(Request, "max_form_memory_size", None)
    largest = {1: 16 * KIB, 100: 512 * KIB, 64 * KIB: 4 * MIB}[size]

    def parse(length: int) -> None:
        form_of(DENSE[kind](length), size)

    check_growth(parse, largest // 8, largest)
    if size == 64 * KIB:
        figure("A30", f"{kind}: {check_cost(lambda: parse(MIB), 0.1).figure()} per MiB")
