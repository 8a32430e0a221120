"""Flask-Compress."""

from __future__ import annotations

import gzip
import typing as t
import zlib
from pathlib import Path

import brotli
import pytest
from flask import Flask
from flask import Response
from flask_compress import Compress

EXTENSION = "Flask-Compress"
NOTES = "Files that it compresses are closed by the garbage collector, as with Flask."

LINE = "a line of many that are the same\n"
PAGE = LINE * 100


def lines() -> t.Iterator[str]:
    for _ in range(100):
        yield LINE


async def lines_async() -> t.AsyncIterator[str]:
    for line in lines():
        yield line


@pytest.fixture
def app(app: Flask, painted: t.Any, way: tuple[str, str]) -> Flask:
    Compress(app)
    Path(app.root_path, "static").mkdir()
    Path(app.root_path, "static", "page.txt").write_text(PAGE)

    @app.get("/page")
    @painted
    def page() -> str:
        return PAGE

    @app.get("/short")
    @painted
    def short() -> str:
        return LINE

    @app.get("/picture")
    @painted
    def picture() -> Response:
        return Response(PAGE, mimetype="image/png")

    @app.get("/stream")
    @painted
    def stream() -> Response:
        body: t.Any = lines_async() if way[1] == "async def" else lines()
        return Response(body, mimetype="text/plain")

    return app


UNPACK = {"br": brotli.decompress, "gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("encoding", UNPACK)
def test_pages_are_compressed_as_the_client_wants_it(client: t.Any, encoding: str) -> None:
    answer = client.get("/page", headers={"Accept-Encoding": encoding})
    assert answer.headers["Content-Encoding"] == encoding
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert answer.content_length == len(answer.data) < len(PAGE)
    assert UNPACK[encoding](answer.data).decode() == PAGE


@pytest.mark.parametrize("encoding", ["br", "deflate"])
def test_streams_are_compressed(client: t.Any, encoding: str) -> None:
    answer = client.get("/stream", headers={"Accept-Encoding": encoding})
    assert answer.headers["Content-Encoding"] == encoding
    assert "Content-Length" not in answer.headers
    assert UNPACK[encoding](answer.data).decode() == PAGE


@pytest.mark.parametrize("path", ["/short", "/picture", "/nothing"])
def test_what_is_short_or_packed_or_an_error_stays_as_it_is(client: t.Any, path: str) -> None:
    assert "Content-Encoding" not in client.get(path, headers={"Accept-Encoding": "br"}).headers


def test_clients_that_want_nothing_compressed_get_it_plain(client: t.Any) -> None:
    answer = client.get("/page")
    assert answer.text == PAGE and "Content-Encoding" not in answer.headers


@pytest.mark.filterwarnings("ignore:.*FileIO:pytest.PytestUnraisableExceptionWarning")
def test_static_files_are_compressed_and_validated_by_an_etag_of_their_own(client: t.Any) -> None:
    headers = {"Accept-Encoding": "br"}
    answer = client.get("/static/page.txt", headers=headers)
    assert brotli.decompress(answer.data).decode() == PAGE
    etag = answer.headers["ETag"]
    assert etag.endswith(':br"')
    again = client.get("/static/page.txt", headers={**headers, "If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")


def test_single_views_may_be_compressed(way: tuple[str, str], painted: t.Any) -> None:
    other = Flask("other")
    other.config["COMPRESS_REGISTER"] = False
    compress = Compress(other)
    other.add_url_rule("/plain", "plain", painted(lambda: PAGE))
    other.add_url_rule("/packed", "packed", compress.compressed()(painted(lambda: PAGE)))
    client: t.Any = other.test_client(transport=way[0])  # type: ignore[call-arg]
    headers = {"Accept-Encoding": "br"}
    assert client.get("/plain", headers=headers).text == PAGE
    assert brotli.decompress(client.get("/packed", headers=headers).data).decode() == PAGE
