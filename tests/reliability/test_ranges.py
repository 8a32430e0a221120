"""Range headers that attack: never more than was asked for, in no more than linear time."""

from __future__ import annotations

import time
import typing as t
from pathlib import Path

import pytest
from starlette.responses import FileResponse

from asyncflask import Flask
from asyncflask import send_file
from tests.kit.drive import fetch
from tests.kit.server import serve
from tests.kit.server import Server

pytestmark = pytest.mark.case("A31", "A30")

SIZE = 10_000
#: Bytes that the parts of a multipart answer may have around them, each.
AROUND_PART = 200
RANGES: dict[str, str] = {
    "the same byte many times": "bytes=" + "0-0," * 10_000 + "0-0",
    "the whole file many times": "bytes=" + "0-," * 10_000 + "0-",
    "bytes one after the other": "bytes=" + ",".join(f"{n}-{n}" for n in range(5000)),
    "every second byte": "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 198, 2)),
    "overlapping": "bytes=" + ",".join(f"{n}-{n + 1}" for n in range(99)),
    "each to the end": "bytes=" + ",".join(f"{n}-" for n in range(99)),
    "suffixes": "bytes=" + ",".join(f"-{n}" for n in range(1, 99)),
    "backwards": "bytes=5-3",
    "backwards among others": "bytes=0-1,5-3",
    "an empty suffix": "bytes=-0",
    "a dash": "bytes=-",
    "dashes": "bytes=" + "-" * 10_000,
    "commas": "bytes=" + "," * 10_000,
    "blanks": "bytes=" + " " * 10_000 + "0-0",
    "nothing": "bytes=",
    "an equals sign": "=" * 10_000,
    "Arabic digits": "bytes=\u0663-\u0664".encode().decode("latin-1"),
    "superscripts": "bytes=\xb2-\xb3",
    "signs": "bytes=+0-+3",
    "negative": "bytes=--5",
    "underscores": "bytes=1_0-2_0",
    "a start of 5000 digits": "bytes=" + "9" * 5000 + "-",
    "an end of 5000 digits": "bytes=0-" + "9" * 5000,
    "a suffix of 5000 digits": "bytes=-" + "9" * 5000,
    "zeros": "bytes=" + "0" * 5000 + "-0",
    "behind the end": "bytes=10000-10001",
    "another unit": "lines=0-1",
    "a fraction": "bytes=0.5-1.5",
}

#: Dates whose numbers are too large for Python.
DATES = ["Fri, 01 Jan 2021 00:00:00 +99999999999999999999", "Fri, 01 Jan 99999999999 00:00:00 GMT"]


@pytest.fixture(params=["send_file", "static", "FileResponse"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Flask:
    """Files at ``/static/file``, sent by one of the ways there are."""
    (tmp_path / "static").mkdir()
    (tmp_path / "static/file").write_bytes(bytes(range(250)) * (SIZE // 250))
    if request.param == "static":
        return Flask("app", root_path=str(tmp_path))
    app = Flask("app", root_path=str(tmp_path), static_folder=None)

    @app.route("/static/file", methods=["GET", "POST"])
    async def file() -> t.Any:
        if request.param == "send_file":
            return send_file(tmp_path / "static/file")
        return FileResponse(tmp_path / "static/file")

    return app


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_range_gets_no_more_than_the_file_and_soon(
    app: Flask, name: str, method: str, figure: t.Callable[..., None]
) -> None:
    began = time.process_time()
    answer = await fetch(app, method, "/static/file", headers={"Range": RANGES[name]})
    took = time.process_time() - began
    assert answer.status in {200, 206, 400, 416} and answer.complete
    parts = answer.body.count(b"Content-Range")
    assert len(answer.body) <= SIZE + parts * AROUND_PART and parts <= 100
    assert took < 0.5
    figure("A31", f"{len(RANGES)} hostile Range headers: 200, 206, 400 or 416, never twice a byte")
    client = app.test_client()
    with client.open("/static/file", method=method, headers={"Range": RANGES[name]}) as response:
        assert response.status_code == answer.status


async def test_ranges_cost_linear_time(app: Flask, figure: t.Callable[..., None]) -> None:
    async def cost(count: int) -> float:
        taken = []
        for _ in range(5):
            began = time.process_time()
            asked = "bytes=" + "0-0," * count + "0-0"
            await fetch(app, "GET", "/static/file", headers={"Range": asked})
            taken.append(time.process_time() - began)
        return min(taken)

    few, many = await cost(2000), await cost(16_000)
    # The share that is the same for every request counts for the shorter one.
    assert many < 12 * max(few, 0.002)
    figure("A30", f"Range of 64 KiB: {many * 1000:.0f} ms")


@pytest.mark.parametrize("method", ["POST", "PUT", "OPTIONS"])
async def test_a_range_is_for_get_alone(app: Flask, method: str) -> None:
    headers = {"Range": "bytes=0-0"}
    answer = await fetch(app, method, "/static/file", headers=headers)
    plain = await fetch(app, method, "/static/file")
    assert (answer.status, answer.body) == (plain.status, plain.body)
    assert answer.status in {200, 405} and answer.header("content-range") is None


async def test_a_range_of_what_is_not_there_is_not_found(app: Flask) -> None:
    answer = await fetch(app, "GET", "/static/other", headers={"Range": "bytes=0-0"})
    assert answer.status == 404 and answer.header("content-range") is None


@pytest.mark.parametrize("kind", ["weak", "other", "junk", "long", "date", "own"])
async def test_a_range_needs_the_very_tag_or_date(app: Flask, kind: str) -> None:
    start = await fetch(app, "HEAD", "/static/file")
    tag, date = str(start.header("etag")), str(start.header("last-modified"))
    given = {"own": tag, "date": date, "weak": f"W/{tag}", "other": '"other"', "junk": "junk"}
    headers = {"Range": "bytes=0-0", "If-Range": given.get(kind, '"' + "x" * 10_000)}
    answer = await fetch(app, "GET", "/static/file", headers=headers)
    whole = kind not in {"own", "date"}
    assert (answer.status, len(answer.body)) == ((200, SIZE) if whole else (206, 1))


# -- over connections -----------------------------------------------------------------------------


@pytest.mark.parametrize("parser", ["h11", "httptools"])
def test_ranges_on_the_wire(parser: str) -> None:
    with serve("tests.kit.sample:app", http=parser) as server:
        whole = statuses(server, "bytes=0-")[1]
        for name, value in RANGES.items():
            status, length = statuses(server, value)
            assert status in {200, 206, 400, 416}, name
            assert length <= whole + 100 * AROUND_PART, name


def statuses(server: Server, asked: str) -> tuple[int, int]:
    with server.connect() as connection:
        connection.request("GET", "/file", headers={"Range": asked})
        response = connection.response()
        return response.status, len(response.read())


@pytest.mark.parametrize("date", DATES)
@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since", "If-Range"])
async def test_a_condition_that_is_no_date_is_no_condition(
    app: Flask, name: str, date: str
) -> None:
    headers = {name: date, "Range": "bytes=0-3"} if name == "If-Range" else {name: date}
    answer = await fetch(app, "GET", "/static/file", headers=headers)
    assert (answer.status, len(answer.body)) == (200, SIZE)
