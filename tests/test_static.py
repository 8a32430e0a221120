"""Static files and the functions that send files: as in Flask, and from nowhere else."""

from __future__ import annotations

import asyncio
import errno
import functools
import io
import os
import threading
import types
import typing as t
from datetime import datetime
from datetime import timedelta
from datetime import UTC
from pathlib import Path
from urllib.parse import unquote

import flask
import pytest
from werkzeug.exceptions import NotFound
from werkzeug.http import http_date

import asyncflask
from asyncflask import Blueprint
from asyncflask import Flask
from asyncflask import send_file
from asyncflask import send_from_directory
from asyncflask import url_for
from asyncflask.lanes import runs_on_loop
from asyncflask.lanes import Workers
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LIMIT

TRANSPORTS = ("wsgi", "asgi")
each_transport = pytest.mark.parametrize("transport", TRANSPORTS)

DIGITS = b"0123456789"
MODIFIED = 1_700_000_000
HEADERS = (
    "Accept-Ranges",
    "Allow",
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "ETag",
    "Expires",
    "Last-Modified",
    "X-Sendfile",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree of an application: ``app/static`` to be served, and secrets all around it."""
    root = tmp_path / "app"
    files = {
        "app/static/digits.txt": DIGITS,
        "app/static/empty.css": b"",
        "app/static/page.html": b"<p>page</p>",
        "app/static/data.tar.gz": b"\x1f\x8b",
        "app/static/no_extension": b"\x00\xff",
        "app/static/sub folder/\u00fcmlaut.svg": b"<svg/>",
        "app/static/deep/er/file.js": b"var x;",
        "app/static/100%.txt": b"percent",
        "app/static/a b+c&d.txt": b"signs",
        "app/static2/secret.txt": b"SECRET",
        "app/secret.txt": b"SECRET",
        "secret.txt": b"SECRET",
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (MODIFIED, MODIFIED))
    return root


def make_app(f: types.ModuleType, root: Path) -> t.Any:
    return f.Flask("app", root_path=str(root))


def answer(response: t.Any) -> t.Any:
    with response:
        headers = {name: response.headers[name] for name in HEADERS if name in response.headers}
        if "Expires" in headers:
            # A moment from now; max-age says how far.
            headers["Expires"] = "given"
        return response.status_code, headers, response.data


# -- the same as Flask -------------------------------------------------------------------------

REQUESTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "a file": ("GET", "digits.txt", {}),
    "an empty file": ("GET", "empty.css", {}),
    "a page": ("GET", "page.html", {}),
    "an archive": ("GET", "data.tar.gz", {}),
    "an unknown type": ("GET", "no_extension", {}),
    "a name in Unicode": ("GET", "sub%20folder/%C3%BCmlaut.svg", {}),
    "a deep path": ("GET", "deep/er/file.js", {}),
    "a percent sign": ("GET", "100%25.txt", {}),
    "signs": ("GET", "a%20b+c&d.txt", {}),
    "a query": ("GET", "digits.txt?v=1", {}),
    "HEAD": ("HEAD", "digits.txt", {}),
    "OPTIONS": ("OPTIONS", "digits.txt", {}),
    "POST": ("POST", "digits.txt", {}),
    "nothing": ("GET", "missing.txt", {}),
    "a folder": ("GET", "deep", {}),
    "a folder with a slash": ("GET", "deep/", {}),
    "the folder itself": ("GET", "", {}),
    "a file as a folder": ("GET", "digits.txt/", {}),
    "below a file": ("GET", "digits.txt/more", {}),
    "dots that stay inside": ("GET", "deep/../digits.txt", {}),
    "not modified since": ("GET", "digits.txt", {"If-Modified-Since": http_date(MODIFIED)}),
    "modified since": ("GET", "digits.txt", {"If-Modified-Since": http_date(MODIFIED - 1)}),
    "since no date": ("GET", "digits.txt", {"If-Modified-Since": "yesterday"}),
    "HEAD not modified": ("HEAD", "digits.txt", {"If-Modified-Since": http_date(MODIFIED)}),
    "another tag": ("GET", "digits.txt", {"If-None-Match": '"other"'}),
    "any tag": ("GET", "digits.txt", {"If-None-Match": "*"}),
    "must match another": ("GET", "digits.txt", {"If-Match": '"other"'}),
    "unmodified since": ("GET", "digits.txt", {"If-Unmodified-Since": http_date(MODIFIED)}),
}
RANGES = (
    "bytes=0-0",
    "bytes=0-3",
    "bytes=2-",
    "bytes=-3",
    "bytes=-20",
    "bytes=0-20",
    "bytes=9-9",
    "bytes=10-",
    "bytes=10-11",
    "bytes=5-3",
    "bytes=-0",
    "bytes=-",
    "bytes=",
    "bytes",
    "bytes=a-b",
    "bytes=0-1,3-4",
    "bytes=0-0,0-0,0-0",
    "bytes= 0-3",
    "BYTES=0-3",
    "items=0-3",
    "bytes=0-3,",
    "bytes=\u0663-\u0664".encode().decode("latin-1"),
    "bytes=0-" + "9" * 5000,
    "bytes=" + "9" * 5000 + "-",
    "bytes=" + "0-0," * 1000 + "0-0",
    "",
)
for _number, _range in enumerate(RANGES):
    REQUESTS[f"range {_number}"] = ("GET", "digits.txt", {"Range": _range})
REQUESTS["a range of HEAD"] = ("HEAD", "digits.txt", {"Range": "bytes=0-3"})
REQUESTS["a range of an empty file"] = ("GET", "empty.css", {"Range": "bytes=0-3"})
REQUESTS["a range of nothing"] = ("GET", "missing.txt", {"Range": "bytes=0-3"})
REQUESTS["a range if unchanged since"] = (
    "GET",
    "digits.txt",
    {"Range": "bytes=0-3", "If-Range": http_date(MODIFIED)},
)
REQUESTS["a range if unchanged before"] = (
    "GET",
    "digits.txt",
    {"Range": "bytes=0-3", "If-Range": http_date(MODIFIED - 1)},
)
REQUESTS["a range of another tag"] = (
    "GET",
    "digits.txt",
    {"Range": "bytes=0-3", "If-Range": '"other"'},
)
REQUESTS["a range of what is not modified"] = (
    "GET",
    "digits.txt",
    {"Range": "bytes=0-3", "If-Modified-Since": http_date(MODIFIED)},
)


def ask(client: t.Any, name: str) -> t.Any:
    method, path, headers = REQUESTS[name]
    return answer(client.open(f"/static/{path}", method=method, headers=headers))


@each_transport
@pytest.mark.parametrize("name", REQUESTS)
def test_static_files_are_answered_as_by_flask(root: Path, name: str, transport: str) -> None:
    expected = ask(make_app(flask, root).test_client(), name)
    client = make_app(asyncflask, root).test_client(transport=transport)
    assert ask(client, name) == expected
    # What was answered before is known now.
    client.get(f"/static/{REQUESTS[name][1]}")
    assert ask(client, name) == expected


TAGGED = (
    {"If-None-Match": "{tag}"},
    {"If-None-Match": "W/{tag}"},
    {"If-None-Match": '"other", {tag}'},
    {"If-None-Match": "{tag}", "Range": "bytes=0-3"},
    {"If-None-Match": '"other"', "If-Modified-Since": http_date(MODIFIED)},
    {"If-None-Match": "{tag}", "If-Modified-Since": http_date(MODIFIED - 1)},
    {"If-Match": "{tag}"},
    {"If-Match": "{tag}", "Range": "bytes=0-3"},
    {"If-Range": "{tag}", "Range": "bytes=4-"},
)


@each_transport
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("headers", TAGGED, ids=str)
def test_tags_are_compared_as_by_flask(
    root: Path, headers: dict[str, str], method: str, transport: str
) -> None:
    reference = make_app(flask, root).test_client()
    client = make_app(asyncflask, root).test_client(transport=transport)
    tag = answer(reference.get("/static/digits.txt"))[1]["ETag"]
    sent = {name: value.format(tag=tag) for name, value in headers.items()}
    expected = answer(reference.open("/static/digits.txt", method=method, headers=sent))
    assert answer(client.open("/static/digits.txt", method=method, headers=sent)) == expected


def test_an_unchanged_file_is_not_sent_again(root: Path) -> None:
    client = make_app(asyncflask, root).test_client()
    tag = answer(client.get("/static/digits.txt"))[1]["ETag"]
    status, headers, body = answer(client.get("/static/digits.txt", headers={"If-None-Match": tag}))
    assert (status, headers["ETag"], body) == (304, tag, b"")
    assert "Content-Length" not in headers


def options(**given: t.Any) -> dict[str, t.Any]:
    return given


WAYS = ("path", "relative", "absolute", "directory", "file object", "open file")
FILES: dict[str, dict[str, t.Any]] = {
    "as it is": {},
    "an attachment": options(as_attachment=True),
    "named": options(download_name="report.pdf"),
    "named attachment": options(download_name="report.pdf", as_attachment=True),
    "named in Unicode": options(download_name="\u00fcber \u65e5.txt", as_attachment=True),
    "named with signs": options(download_name='a";x.bat', as_attachment=True),
    "named with a slash": options(download_name="../up.txt", as_attachment=True),
    "named at length": options(download_name="x" * 5000 + ".txt", as_attachment=True),
    "a type": options(mimetype="application/x-own"),
    "a type with parameters": options(mimetype="text/plain; charset=latin-1"),
    "unconditional": options(conditional=False),
    "no tag": options(etag=False),
    "an own tag": options(etag="own"),
    "a time": options(last_modified=MODIFIED - 1000),
    "a date": options(last_modified=datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)),
    "an age": options(max_age=60),
    "no age": options(max_age=0),
    "an age by name": options(max_age=lambda name: 5 if str(name).endswith("digits.txt") else 6),
}


def send(f: types.ModuleType, root: Path, how: str, given: dict[str, t.Any], **kw: t.Any) -> t.Any:
    app = make_app(f, root)
    path = root / "static/digits.txt"
    paths = {"path": path, "relative": "static/digits.txt", "absolute": str(path)}
    anonymous = {"mimetype": "text/plain", "download_name": "name.txt", **given}

    @app.get("/")
    def view() -> t.Any:
        if how == "directory":
            return f.send_from_directory("static", "digits.txt", **given)
        if how == "file object":
            return f.send_file(io.BytesIO(DIGITS), **anonymous)
        if how == "open file":
            return f.send_file(path.open("rb"), **anonymous)
        return f.send_file(paths[how], **given)

    client = app.test_client(**kw)
    ranged = client.get("/", headers={"Range": "bytes=2-4"})
    return answer(client.get("/")), answer(client.head("/")), answer(ranged)


@each_transport
@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("name", FILES)
def test_files_are_sent_as_by_flask(root: Path, name: str, how: str, transport: str) -> None:
    expected = send(flask, root, how, FILES[name])
    assert send(asyncflask, root, how, FILES[name], transport=transport) == expected


@each_transport
@pytest.mark.parametrize(
    "config",
    [
        {"SEND_FILE_MAX_AGE_DEFAULT": 3600},
        {"SEND_FILE_MAX_AGE_DEFAULT": timedelta(days=1)},
    ],
    ids=str,
)
def test_the_configuration_has_its_say_as_in_flask(
    root: Path, config: dict[str, t.Any], transport: str
) -> None:
    answers = []
    for f, kwargs in ((flask, {}), (asyncflask, {"transport": transport})):
        app = make_app(f, root)
        app.config.update(config)
        client = app.test_client(**kwargs)
        answers.append([ask(client, "a file"), ask(client, "HEAD"), ask(client, "range 1")])
    assert answers[0] == answers[1]


@each_transport
def test_the_file_a_proxy_puts_in_has_its_length_from_there_under_asgi(
    root: Path, transport: str
) -> None:
    answers = []
    for f, kwargs in ((flask, {}), (asyncflask, {"transport": transport})):
        app = make_app(f, root)
        app.config["USE_X_SENDFILE"] = True
        client = app.test_client(**kwargs)
        answers.append([ask(client, "a file"), ask(client, "HEAD"), ask(client, "range 1")])
    for status, headers, body in (answers[0][0], answers[0][2]):
        # ASGI servers send what was announced, or nothing at all.
        assert (status, body, "X-Sendfile" in headers) == (status, b"", True)
        if transport == "asgi":
            del headers["Content-Length"]
    assert answers[0] == answers[1]


@each_transport
def test_text_is_no_file(root: Path, transport: str) -> None:
    app = make_app(asyncflask, root)
    app.testing = True
    app.add_url_rule("/", "view", lambda: send_file(io.StringIO("text"), mimetype="text/plain"))
    with pytest.raises(ValueError, match="binary mode"):
        app.test_client(transport=transport).get("/")


@each_transport
def test_a_nameless_attachment_needs_a_name(root: Path, transport: str) -> None:
    app = make_app(asyncflask, root)
    app.testing = True
    app.add_url_rule("/", "view", lambda: send_file(io.BytesIO(), "a/b", as_attachment=True))
    with pytest.raises(TypeError, match="attachment"):
        app.test_client(transport=transport).get("/")


# -- where files are found ----------------------------------------------------------------------


@each_transport
def test_a_blueprint_serves_its_own_files(root: Path, transport: str) -> None:
    app = make_app(asyncflask, root)
    (root / "bp/assets").mkdir(parents=True)
    (root / "bp/assets/style.css").write_text("own")
    (root / "static/style.css").write_text("app")

    class Aged(Blueprint):
        def get_send_file_max_age(self, filename: str | None) -> int | None:
            return 100 if filename == "style.css" else None

    bp = Aged("bp", __name__, "assets", root_path=str(root / "bp"), url_prefix="/bp")
    renamed = Blueprint("renamed", __name__, "assets", "/files/", root_path=str(root / "bp"))
    without = Blueprint("without", __name__, "static", root_path=str(root / "bp"))
    bp.register_blueprint(renamed, url_prefix="/inner")
    app.register_blueprint(bp)
    app.register_blueprint(without)
    client = app.test_client(transport=transport)
    with app.test_request_context():
        own = url_for("bp.static", filename="style.css")
        inner = url_for("bp.renamed.static", filename="style.css")
    assert (own, inner) == ("/bp/assets/style.css", "/bp/inner/files/style.css")
    status, headers, body = answer(client.get(own))
    assert (status, headers["Cache-Control"], body) == (200, "public, max-age=100", b"own")
    status, headers, body = answer(client.get(inner))
    assert (status, headers["Cache-Control"], body) == (200, "no-cache", b"own")
    # Without a prefix the application's own route comes first.
    assert answer(client.get("/static/style.css"))[2] == b"app"


@each_transport
def test_hooks_see_requests_for_files(root: Path, transport: str) -> None:
    app = make_app(asyncflask, root)
    seen: list[t.Any] = []
    app.before_request(lambda: seen.append(asyncflask.request.endpoint))
    app.after_request(lambda response: seen.append(response.status_code) or response)
    app.test_client(transport=transport).get("/static/digits.txt").close()
    app.test_client(transport=transport).get("/static/missing").close()
    assert seen == ["static", 200, "static", 404]


@each_transport
@pytest.mark.parametrize(
    ("arguments", "url"),
    [
        ({}, "/static/digits.txt"),
        ({"static_folder": "static/"}, "/static/digits.txt"),
        ({"static_url_path": "/files"}, "/files/digits.txt"),
        ({"static_url_path": ""}, "/digits.txt"),
        ({"static_folder": Path("static")}, "/static/digits.txt"),
        ({"static_folder": "deep/../static", "static_url_path": "/x/y/"}, "/x/y/digits.txt"),
        ({"host_matching": True, "static_host": "localhost"}, "/static/digits.txt"),
    ],
    ids=str,
)
def test_the_folder_and_its_url_can_be_chosen(
    root: Path, arguments: dict[str, t.Any], url: str, transport: str
) -> None:
    (root / "deep").mkdir()
    app = Flask("app", root_path=str(root), **arguments)
    assert answer(app.test_client(transport=transport).get(url))[2] == DIGITS
    app.config["SERVER_NAME"] = "localhost"
    with app.app_context():
        assert url_for("static", filename="digits.txt", _external=False) == url


@each_transport
def test_there_may_be_no_folder_at_all(root: Path, transport: str) -> None:
    app = Flask("app", root_path=str(root), static_folder=None)
    assert app.test_client(transport=transport).get("/static/digits.txt").status_code == 404
    assert "static" not in app.view_functions


# -- paths that lead elsewhere -------------------------------------------------------------------

RAW_PATHS = (
    "../secret.txt",
    "../../secret.txt",
    "../static2/secret.txt",
    "..%2fsecret.txt",
    "..%2Fstatic2%2Fsecret.txt",
    "%2e%2e/secret.txt",
    "%2e%2e%2fsecret.txt",
    "..%5csecret.txt",
    "..\\secret.txt",
    "%252e%252e/secret.txt",
    "..%252fsecret.txt",
    "..;/secret.txt",
    "....//secret.txt",
    ".../secret.txt",
    "./../secret.txt",
    "deep/../../secret.txt",
    "deep/er/../../../secret.txt",
    "sub%20folder/..%2f..%2fsecret.txt",
    "%c0%ae%c0%ae/secret.txt",
    "%uff0e%uff0e/secret.txt",
    "\u2025/secret.txt",
    "\uff0e\uff0e/secret.txt",
    "..%00/secret.txt",
    "digits.txt%00.html",
    "%00",
    "digits.txt%0a",
    "digits.txt%20",
    "digits.txt.",
    "digits.txt::$DATA",
    "/etc/passwd",
    "//etc/passwd",
    "%2fetc%2fpasswd",
    "%2f%2fetc/passwd",
    "C:/secret.txt",
    "C:%5csecret.txt",
    "~root/secret.txt",
    "file:///etc/passwd",
    "x" * 300,
    "x" * 5000,
    "x/" * 2500,
    "%ff",
    "%ed%a0%80",
    "*",
)


def make_scope(raw_path: str) -> dict[str, t.Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"localhost")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }


async def ask_raw(app: Flask, raw_path: str) -> tuple[int, bytes]:
    """Send a request with this very path, as a server passes it on."""
    sent: list[t.Any] = []

    async def receive() -> t.Any:
        await asyncio.Event().wait()

    async def send(message: t.Any) -> None:
        sent.append(message)

    async with asyncio.timeout(10):
        await app(make_scope(raw_path), receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.case("A31")
@pytest.mark.parametrize("prefix", ["/static/", "/static//", "/static/deep/", "//static/"])
@pytest.mark.parametrize("path", RAW_PATHS)
async def test_no_path_leads_out_of_the_folder(root: Path, prefix: str, path: str) -> None:
    app = make_app(asyncflask, root)
    status, body = await ask_raw(app, prefix + path)
    assert status in {404, 308}
    assert b"SECRET" not in body and b"root:" not in body
    with app.test_client().get(prefix + path) as response:
        assert response.status_code in {404, 308}
        assert b"SECRET" not in response.data


@pytest.mark.case("A31")
@pytest.mark.parametrize("path", sorted({*RAW_PATHS, *map(unquote, RAW_PATHS)}))
def test_send_from_directory_stays_inside(root: Path, path: str) -> None:
    app = make_app(asyncflask, root)
    with app.test_request_context(), pytest.raises(NotFound):
        send_from_directory(root / "static", path)


@pytest.mark.case("A31")
def test_werkzeug_decides_what_a_safe_path_is(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its rules for names of devices and of network shares on Windows come with it.
    asked: list[tuple[str, ...]] = []
    monkeypatch.setattr("werkzeug.utils.safe_join", lambda *parts: asked.append(parts))
    with make_app(asyncflask, root).test_client().get("/static/CON.txt") as response:
        assert response.status_code == 404
    assert asked == [(str(root / "static"), "CON.txt")]


# -- what is no plain file -------------------------------------------------------------------


def make_odd_files(folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    for name, target in {
        "zero": "/dev/zero",
        "dangling": "nowhere",
        "loop": "loop",
        "folder": str(folder / "deep"),
        "escaping folder": "..",
    }.items():
        (folder / name).symlink_to(target)


@pytest.mark.case("A31")
@pytest.mark.parametrize("name", ["fifo", "zero", "dangling", "loop", "folder", "escaping folder"])
async def test_only_files_are_served(root: Path, name: str) -> None:
    make_odd_files(root / "static")
    app = make_app(asyncflask, root)
    assert (await ask_raw(app, f"/static/{name}"))[0] == 404
    assert app.test_client().get(f"/static/{name}").status_code == 404


@pytest.mark.case("A31")
@each_transport
def test_a_link_is_followed_as_by_flask(root: Path, transport: str) -> None:
    # Whoever may make links in the folder may serve what they lead to.
    (root / "static/link").symlink_to(root / "secret.txt")
    client = make_app(asyncflask, root).test_client(transport=transport)
    assert answer(client.get("/static/link"))[2] == b"SECRET"


@pytest.mark.case("A31")
@each_transport
@pytest.mark.parametrize(
    "error", [PermissionError, FileNotFoundError, NotADirectoryError, IsADirectoryError]
)
def test_a_file_that_cannot_be_opened_is_not_there(
    root: Path, monkeypatch: pytest.MonkeyPatch, error: type[OSError], transport: str
) -> None:
    def refuse(*args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        raise error("refused")

    monkeypatch.setattr("werkzeug.utils.open", refuse, raising=False)
    client = make_app(asyncflask, root).test_client(transport=transport)
    assert client.get("/static/digits.txt").status_code == 404


@pytest.mark.case("A31")
@each_transport
def test_a_server_that_is_out_of_files_says_so(
    root: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    def refuse(*args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr("werkzeug.utils.open", refuse, raising=False)
    client = make_app(asyncflask, root).test_client(transport=transport)
    assert client.get("/static/digits.txt").status_code == 500


@pytest.mark.case("A31")
@each_transport
@pytest.mark.parametrize("size", [10, 300_000, 2**20])
def test_a_file_that_grows_is_sent_as_long_as_it_was(root: Path, size: int, transport: str) -> None:
    path = root / "static/log.txt"
    path.write_bytes(b"x" * size)
    app = make_app(asyncflask, root)

    @app.after_request
    def grow(response: t.Any) -> t.Any:
        with path.open("ab") as file:
            file.write(b"more")
        return response

    status, headers, body = answer(app.test_client(transport=transport).get("/static/log.txt"))
    assert (status, headers["Content-Length"]) == (200, str(size))
    assert body == b"x" * size


@pytest.mark.case("A31")
@each_transport
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=500-"}], ids=str)
def test_a_file_that_shrinks_is_an_error_and_never_a_shorter_one(
    root: Path, headers: dict[str, str], transport: str
) -> None:
    path = root / "static/log.txt"
    path.write_bytes(b"x" * 300_000)
    app = make_app(asyncflask, root)

    @app.after_request
    def shrink(response: t.Any) -> t.Any:
        os.truncate(path, 600)
        return response

    with app.test_client(transport=transport).get("/static/log.txt", headers=headers) as response:
        assert response.status_code == (206 if headers else 200)
        with pytest.raises(EOFError, match="ended at 600 bytes, 300000 were announced"):
            response.get_data()


@each_transport
def test_a_small_file_that_shrinks_is_sent_as_it_was(root: Path, transport: str) -> None:
    path = root / "static/log.txt"
    path.write_bytes(b"x" * 1000)
    app = make_app(asyncflask, root)

    @app.after_request
    def shrink(response: t.Any) -> t.Any:
        os.truncate(path, 600)
        return response

    client = app.test_client(transport=transport)
    assert client.get("/static/log.txt").data == b"x" * 1000
    assert client.get("/static/log.txt").data == b"x" * 600


# -- small files, which are read at once -------------------------------------------------------


def read_later(monkeypatch: pytest.MonkeyPatch) -> None:
    async def not_small(*args: t.Any) -> None:
        return None

    monkeypatch.setattr("asyncflask.files.read_small", lambda *args: None)
    monkeypatch.setattr("asyncflask.files.SmallFile.answer", lambda *args: None)
    monkeypatch.setattr("asyncflask.adapters.asgi.read_small_file", not_small)


@each_transport
@pytest.mark.parametrize("how", ["static", "def", "async def"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Range": "bytes=1-3"},
        {"Range": "bytes=-2"},
        {"Range": "bytes=99999-"},
        {"If-Modified-Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ],
    ids=str,
)
def test_a_small_file_is_answered_like_a_large_one(
    root: Path,
    how: str,
    method: str,
    headers: dict[str, str],
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = root / "static/small.txt"
    path.write_bytes(DIGITS)
    app = make_app(asyncflask, root)
    app.add_url_rule("/def", "def", lambda: send_file(path))

    @app.get("/async def")
    async def view_async() -> t.Any:
        return send_file(path)

    client = app.test_client(transport=transport)
    url = "/static/small.txt" if how == "static" else f"/{how}"
    short = answer(client.open(url, method=method, headers=headers))
    read_later(monkeypatch)
    assert short == answer(client.open(url, method=method, headers=headers))


@each_transport
def test_hooks_see_a_small_file_as_a_file(root: Path, transport: str) -> None:
    (root / "static/small.txt").write_bytes(DIGITS)
    app = make_app(asyncflask, root)
    seen: list[t.Any] = []

    @app.after_request
    def look(response: t.Any) -> t.Any:
        file = response.response.file
        seen.append((response.direct_passthrough, response.is_streamed, file.read(), file.name))
        file.seek(0)
        return response

    assert app.test_client(transport=transport).get("/static/small.txt").data == DIGITS
    assert seen == [(True, True, DIGITS, str(root / "static/small.txt"))]


@pytest.mark.parametrize(("how", "trips"), [("static", 1), ("async def", 1)])
async def test_a_small_file_takes_one_trip_to_a_thread(
    root: Path, how: str, trips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(asyncflask, root)
    (root / "static/small.txt").write_bytes(DIGITS)

    @app.get("/async def")
    async def view_async() -> t.Any:
        return send_file(root / "static/small.txt")

    made: list[t.Any] = []
    submit = Workers.submit

    def note(self: Workers, job: t.Any, urgent: bool = False) -> float | None:
        made.append(job)
        return submit(self, job, urgent)

    monkeypatch.setattr(Workers, "submit", note)
    result = await fetch(app, "GET", "/static/small.txt" if how == "static" else "/async def")
    assert (result.body, len(made)) == (DIGITS, trips)


def test_a_file_object_of_the_caller_s_is_left_open_till_it_is_sent(root: Path) -> None:
    app = make_app(asyncflask, root)
    path = root / "static/small.txt"
    path.write_bytes(DIGITS)
    with path.open("rb") as file, app.test_request_context():
        response = send_file(file, "text/plain")
        assert t.cast(t.Any, response.response).file is file and not file.closed


# -- how files are read ------------------------------------------------------------------------


class Watched(io.BytesIO):
    """A file that notes on which side it is read and closed."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.on_loop: set[bool] = set()
        self.ended = 0

    def read(self, size: int | None = -1) -> bytes:
        self.on_loop.add(runs_on_loop())
        return super().read(size)

    def close(self) -> None:
        if not self.closed:
            self.on_loop.add(runs_on_loop())
            self.ended += 1
        super().close()


def serve(file: Watched, view_colour: str) -> Flask:
    app = Flask("app", static_folder=None)

    def view() -> t.Any:
        return send_file(file, "text/plain", etag="tag", last_modified=MODIFIED)

    async def view_async() -> t.Any:
        return view()

    app.add_url_rule("/", "view", view if view_colour == "def" else view_async)
    return app


@each_transport
@pytest.mark.parametrize("view_colour", ["def", "async def"])
@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {}, 200),
        ("HEAD", {}, 200),
        ("GET", {"Range": "bytes=1-2"}, 206),
        ("GET", {"If-None-Match": '"tag"'}, 304),
    ],
    ids=str,
)
def test_files_are_read_and_closed_off_the_loop(
    method: str, headers: dict[str, str], status: int, view_colour: str, transport: str
) -> None:
    file = Watched(DIGITS)
    client = serve(file, view_colour).test_client(transport=transport)
    with client.open(method=method, headers=headers) as response:
        assert response.status_code == status
        response.get_data()
    assert file.on_loop == {False}
    assert file.ended == 1


@each_transport
@pytest.mark.parametrize("view_colour", ["def", "async def"])
def test_a_file_is_closed_if_its_range_cannot_be_sent(view_colour: str, transport: str) -> None:
    file = Watched(DIGITS)
    client = serve(file, view_colour).test_client(transport=transport)
    assert client.get("/", headers={"Range": "bytes=99-"}).status_code == 416
    assert file.ended == 1


async def test_a_client_that_leaves_gets_no_more_of_a_file() -> None:
    file = Watched(b"x" * 2**22)
    app = serve(file, "async def")
    began = asyncio.Event()
    sent = 0

    async def receive() -> t.Any:
        await began.wait()
        return {"type": "http.disconnect"}

    async def send(message: t.Any) -> None:
        nonlocal sent
        sent += len(message.get("body", b""))
        if sent:
            began.set()

    async with asyncio.timeout(10):
        await app(make_scope("/"), receive, send)
    assert 0 < sent < 2**22
    assert (file.ended, file.on_loop) == (1, {False})


# -- on which thread ---------------------------------------------------------------------------


@pytest.fixture
def one_thread(root: Path, monkeypatch: pytest.MonkeyPatch) -> Flask:
    # Pools of its own, without the threads that other tests have left idle.
    monkeypatch.setattr("asyncflask.lanes.workers._pools", {})
    app = make_app(asyncflask, root)
    app.config["SYNC_THREADS"] = 1
    app.register_blueprint(Blueprint("part", "part", "static", "/part", root_path=str(root)))
    return app


@pytest.mark.anyio
@pytest.mark.case("A11")
async def test_files_are_sent_while_every_thread_of_the_views_is_held(one_thread: Flask) -> None:
    app, started, go_on = one_thread, threading.Event(), threading.Event()

    class Cached(asyncflask.Response):
        """A response with nothing but data of its own."""

        default_mimetype = "text/plain"
        automatically_set_content_length: bool = True

    app.response_class = Cached

    @app.get("/hold")
    def hold() -> str:
        started.set()
        go_on.wait(LIMIT)
        return "held"

    @app.get("/sent")
    async def sent() -> t.Any:
        return send_file(Path(app.root_path, "static", "digits.txt"))

    async with Exchange(app, "GET", "/hold") as exchange:
        await asyncio.to_thread(started.wait, LIMIT)
        for path in ("/static/digits.txt", "/part/digits.txt", "/sent"):
            assert (await fetch(app, "GET", path)).body == DIGITS
            part = await fetch(app, "GET", path, headers={"Range": "bytes=2-3"})
            assert (part.status, part.body) == (206, b"23")
        assert (await fetch(app, "GET", "/static/missing.txt")).status == 404
        go_on.set()
    assert exchange.answer.text == "held"


@pytest.mark.anyio
@pytest.mark.parametrize("users", ["hook", "view"])
async def test_static_views_with_code_of_the_user_s_run_on_the_request_s_own_thread(
    one_thread: Flask, users: str
) -> None:
    app, threads = one_thread, []
    own = app.view_functions["static"]

    def note(*args: t.Any) -> None:
        threads.append(threading.current_thread())

    @functools.wraps(own)
    def wrapped(**kwargs: t.Any) -> t.Any:
        note()
        return own(**kwargs)

    if users == "hook":
        app.before_request(note)
    else:
        app.view_functions["static"] = wrapped
    app.teardown_request(note)
    assert (await fetch(app, "GET", "/static/digits.txt")).body == DIGITS
    assert len(threads) == 2 and threads[0] is threads[1]


def override(app: Flask, what: str, note: t.Callable[..., t.Any]) -> Flask:
    """Put a function that calls *note* into the way of the static files."""

    class NotedFlask(Flask):
        def get_send_file_max_age(self, filename: str | None) -> int | None:
            return t.cast("int | None", note())

    class NotedBlueprint(Blueprint):
        get_send_file_max_age = NotedFlask.get_send_file_max_age

    class NotedResponse(app.response_class):  # type: ignore[name-defined, misc]
        def make_conditional(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
            note()
            return super().make_conditional(*args, **kwargs)

    class ClosingResponse(app.response_class):  # type: ignore[name-defined, misc]
        def close(self) -> None:
            note()
            super().close()

    if what == "method":
        app = NotedFlask("app", root_path=app.root_path)
        app.config["SYNC_THREADS"] = 1
    elif what == "blueprint":
        app.register_blueprint(
            NotedBlueprint("own", "own", "static", "/own", root_path=app.root_path)
        )
    elif what == "attribute":
        app.get_send_file_max_age = note  # type: ignore[method-assign]
    else:
        app.response_class = ClosingResponse if what == "closing" else NotedResponse
    return app


@pytest.mark.anyio
@pytest.mark.parametrize("what", ["method", "attribute", "blueprint", "response", "closing"])
async def test_static_files_with_an_override_of_the_user_s_are_sent_by_the_request_s_own_thread(
    one_thread: Flask, what: str
) -> None:
    threads: list[threading.Thread] = []

    def note(*args: t.Any) -> None:
        threads.append(threading.current_thread())

    if what not in ("method", "blueprint"):
        # These may come when the way of a request has been settled.
        assert (await fetch(one_thread, "GET", "/static/digits.txt")).body == DIGITS
    app = override(one_thread, what, note)
    app.teardown_request_funcs[None].append(note)
    path = "/own/digits.txt" if what == "blueprint" else "/static/digits.txt"
    assert (await fetch(app, "GET", path)).body == DIGITS
    assert len(threads) > 1 and len(set(threads)) == 1


@pytest.mark.anyio
async def test_a_file_object_of_the_user_s_is_read_on_the_threads_of_the_views(
    one_thread: Flask,
) -> None:
    app, threads = one_thread, []

    class Noted(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            threads.append(threading.current_thread())
            return super().read(size)

    @app.get("/noted")
    def noted() -> t.Any:
        threads.append(threading.current_thread())
        return send_file(Noted(DIGITS), "text/plain")

    assert (await fetch(app, "GET", "/noted")).body == DIGITS
    assert len(threads) > 1 and len(set(threads)) == 1
