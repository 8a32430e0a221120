"""Small files that were answered before: the answer is what Werkzeug makes of them anew."""

from __future__ import annotations

import mimetypes
import os
import typing as t
from datetime import timedelta
from pathlib import Path

import flask
import pytest
import werkzeug.utils
from werkzeug.datastructures import Headers
from werkzeug.http import http_date
from werkzeug.wsgi import FileWrapper

import asyncflask
from asyncflask import files
from asyncflask import Flask
from asyncflask import request
from asyncflask import send_file
from asyncflask import send_from_directory

each_transport = pytest.mark.parametrize("transport", ["wsgi", "asgi"])

NOW = 1_800_000_000
MODIFIED = 1_700_000_000


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_known", {})
    monkeypatch.setattr(files, "_date", (0, ""))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a.txt", "b c.html", "\u00fc.svg", "d.tar.gz", "no_extension", "empty.css"):
        write(tmp_path / "static" / name, b"" if name == "empty.css" else name.encode())
    return tmp_path


def write(path: Path, content: bytes, modified: float = MODIFIED) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (modified, modified))


def make_app(root: Path, kind: type[t.Any] = Flask, **config: t.Any) -> t.Any:
    app = kind("app", root_path=str(root))
    app.config.update(config)
    folder = root / "static"
    app.add_url_rule("/file/<name>", "file", lambda name: send_file(folder / name))
    app.add_url_rule("/aged/<name>", "aged", lambda name: send_file(folder / name, max_age=7))
    app.add_url_rule("/in/<name>", "in", lambda name: send_from_directory("static", name))
    return app


def ask(client: t.Any, path: str, **options: t.Any) -> t.Any:
    with client.open(path, **options) as response:
        return response.status, Headers(list(response.headers)), response.data


class Long:
    """Counts how often Werkzeug makes an answer."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._send_file = werkzeug.utils.send_file
        monkeypatch.setattr("werkzeug.utils.send_file", self)

    def __call__(self, *args: t.Any, **kwargs: t.Any) -> t.Any:
        self.count += 1
        return self._send_file(*args, **kwargs)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> Long:
    return Long(monkeypatch)


def stop_the_clock(monkeypatch: pytest.MonkeyPatch, now: float) -> None:
    monkeypatch.setattr("time.time", lambda: now)
    monkeypatch.setattr("werkzeug.utils.time", lambda: now)
    monkeypatch.setattr("werkzeug.wrappers.response.http_date", lambda: http_date(now))


@each_transport
@pytest.mark.parametrize("how", ["static", "file", "aged", "in"])
@pytest.mark.parametrize("age", [None, 3600, 0, -5, True, 1.5, timedelta(hours=2)], ids=str)
def test_a_known_file_is_answered_as_anew(
    root: Path,
    age: t.Any,
    how: str,
    transport: str,
    long: Long,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = make_app(root, SEND_FILE_MAX_AGE_DEFAULT=age).test_client(transport=transport)
    names = [path.name for path in (root / "static").iterdir()]
    stop_the_clock(monkeypatch, NOW - 1000)
    for name in names:
        ask(client, f"/{how}/{name}")
    made = long.count
    stop_the_clock(monkeypatch, NOW + 0.9)
    known = [ask(client, f"/{how}/{name}") for name in names]
    unusual = how != "aged" and type(age) in (bool, float)
    assert long.count == (made + len(names) if unusual else made)
    files._known.clear()
    assert known == [ask(client, f"/{how}/{name}") for name in names]


@each_transport
def test_a_file_that_has_changed_is_answered_anew(root: Path, transport: str, long: Long) -> None:
    client = make_app(root).test_client(transport=transport)
    path = root / "static/a.txt"
    tags = set()
    for content, modified in ((b"one", 1.5), (b"two", 2.5), (b"three", 2.5), (b"thre2", 2.5)):
        write(path, content, MODIFIED + modified)
        _, headers, body = ask(client, "/static/a.txt")
        tags.add(headers["ETag"])
        assert (body, headers["Content-Length"]) == (content, str(len(content)))
    # The last one has the time and the length of the one before.
    assert (len(tags), long.count) == (3, 3)


@each_transport
def test_a_file_that_has_gone_is_not_there(root: Path, transport: str) -> None:
    client = make_app(root).test_client(transport=transport)
    path = root / "static/a.txt"
    assert ask(client, "/static/a.txt")[2] == b"a.txt"
    path.unlink()
    assert ask(client, "/static/a.txt")[0] == "404 NOT FOUND"
    path.mkdir()
    assert ask(client, "/static/a.txt")[0] == "404 NOT FOUND"
    path.rmdir()
    os.mkfifo(path)
    assert ask(client, "/static/a.txt")[0] == "404 NOT FOUND"


@each_transport
@pytest.mark.parametrize("error", [PermissionError, FileNotFoundError, IsADirectoryError])
def test_a_known_file_that_cannot_be_opened_is_not_there(
    root: Path, error: type[OSError], transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_app(root).test_client(transport=transport)
    ask(client, "/static/a.txt")

    def refuse(*args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        raise error("refused")

    monkeypatch.setattr("os.open", refuse)
    monkeypatch.setattr("werkzeug.utils.open", refuse, raising=False)
    assert ask(client, "/static/a.txt")[0] == "404 NOT FOUND"


@each_transport
def test_a_file_that_shrinks_while_it_is_read_is_looked_at_again(
    root: Path, transport: str, long: Long, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = make_app(root).test_client(transport=transport)
    path = root / "static/a.txt"
    ask(client, "/static/a.txt")
    read = os.read

    def shrink(file: int, size: int) -> bytes:
        write(path, b"a")
        return read(file, size)

    monkeypatch.setattr("os.read", shrink)
    assert (ask(client, "/static/a.txt")[2], long.count) == (b"a", 2)


@pytest.mark.parametrize(
    "headers",
    [
        {"Range": "bytes=0-1"},
        {"If-None-Match": "*"},
        {"If-Match": '"other"'},
        {"If-Modified-Since": http_date(MODIFIED)},
        {"If-Unmodified-Since": http_date(MODIFIED)},
        {"If-Range": '"other"', "Range": "bytes=0-1"},
    ],
    ids=str,
)
@each_transport
def test_a_condition_is_looked_at(
    root: Path, headers: dict[str, str], transport: str, long: Long
) -> None:
    reference = flask.Flask("app", root_path=str(root)).test_client()
    expected = ask(reference, "/static/a.txt", headers=headers)
    client = make_app(root).test_client(transport=transport)
    ask(client, "/static/a.txt")
    made = long.count
    status, _, body = ask(client, "/static/a.txt", headers=headers)
    assert (status, body, long.count) == (expected[0], expected[2], made + 1)


@each_transport
def test_a_condition_that_a_hook_adds_is_looked_at(root: Path, transport: str) -> None:
    app = make_app(root)

    @app.before_request
    def add() -> None:
        if "some" in request.args:
            request.environ["HTTP_RANGE"] = "bytes=0-1"

    client = app.test_client(transport=transport)
    bodies = [ask(client, f"/static/a.txt{query}")[2] for query in ("", "?some", "")]
    assert bodies == [b"a.txt", b"a.", b"a.txt"]


def other_class(app: t.Any) -> None:
    app.response_class = type("Response", (asyncflask.Response,), {})


def x_sendfile(app: t.Any) -> None:
    app.config["USE_X_SENDFILE"] = True


@pytest.mark.parametrize("change", [other_class, x_sendfile])
@each_transport
def test_what_an_application_asks_for_goes_the_long_way(
    root: Path, change: t.Callable[[t.Any], None], transport: str, long: Long
) -> None:
    app = make_app(root)
    client = app.test_client(transport=transport)
    ask(client, "/static/a.txt")
    change(app)
    for expected in (2, 3):
        ask(client, "/static/a.txt")
        assert long.count == expected


def test_a_server_that_has_a_wrapper_of_its_own_gets_it(root: Path, long: Long) -> None:
    client = make_app(root).test_client(transport="wsgi")
    ask(client, "/static/a.txt")
    ask(client, "/static/a.txt", environ_overrides={"wsgi.file_wrapper": FileWrapper})
    assert long.count == 2


@each_transport
def test_other_methods_go_the_long_way(root: Path, transport: str, long: Long) -> None:
    client = make_app(root).test_client(transport=transport)
    _, headers, _ = ask(client, "/static/a.txt")
    _, of_head, body = ask(client, "/static/a.txt", method="HEAD")
    assert (list(of_head.keys()), body) == (list(headers.keys()), b"")
    assert long.count == 2


@each_transport
def test_options_of_a_file_go_the_long_way(root: Path, transport: str, long: Long) -> None:
    app = make_app(root)
    path = root / "static/a.txt"

    @app.get("/<option>")
    def view(option: str) -> t.Any:
        values: dict[str, t.Any] = {
            "mimetype": "text/x-a", "as_attachment": True, "download_name": "b.txt",
            "conditional": False, "etag": "mine", "last_modified": 5,
        }  # fmt: skip
        return send_file(path, **{option: values[option]})

    client = app.test_client(transport=transport)
    plain = ask(client, "/file/a.txt")
    options = ("mimetype", "as_attachment", "download_name", "conditional", "etag", "last_modified")
    answers = [ask(client, f"/{option}") for option in options]
    assert long.count == 1 + len(options)
    assert all(headers != plain[1] for _, headers, _ in answers)


@each_transport
def test_ages_are_asked_for_each_time_and_as_often_as_by_flask(root: Path, transport: str) -> None:
    asked: dict[str, list[str | None]] = {"flask": [], "asyncflask": []}

    def noting(kind: type[t.Any], name: str) -> type[t.Any]:
        def get_send_file_max_age(self: t.Any, filename: str | None) -> int | None:
            asked[name].append(filename)
            return None if len(asked[name]) < 5 else len(asked[name])

        return type("Noting", (kind,), {"get_send_file_max_age": get_send_file_max_age})

    ages = []
    for kind, options in ((flask.Flask, {}), (Flask, {"transport": transport})):
        app = noting(kind, kind.__module__.split(".")[0])("app", root_path=str(root))
        client = app.test_client(**options)
        ages.append([ask(client, "/static/a.txt")[1]["Cache-Control"] for _ in range(5)])
    assert ages[0] == ages[1]
    assert asked["flask"] == asked["asyncflask"]


@each_transport
def test_a_type_that_is_added_later_counts(root: Path, transport: str) -> None:
    client = make_app(root).test_client(transport=transport)
    path = root / "static/a.some-type"
    write(path, b"a")
    types = []
    try:
        for kind in ("text/x-one", "text/x-two"):
            mimetypes.add_type(kind, ".some-type")
            types.append(ask(client, "/static/a.some-type")[1]["Content-Type"])
    finally:
        mimetypes.init()
    assert types == ["text/x-one; charset=utf-8", "text/x-two; charset=utf-8"]


@each_transport
def test_what_a_hook_does_to_an_answer_stays_there(root: Path, transport: str, long: Long) -> None:
    app = make_app(root)
    closed: list[str] = []

    @app.after_request
    def change(response: t.Any) -> t.Any:
        how = request.args.get("how")
        if how == "headers":
            response.headers["X-New"] = "1"
            del response.headers["ETag"]
        elif how == "data":
            response.direct_passthrough = False
            response.data = response.data + b"!"
        elif how == "file":
            assert response.response.file.name == str(root / "static/a.txt")
            response.response.file.seek(2)
            del response.headers["Content-Length"]
        elif how == "close":
            response.call_on_close(lambda: closed.append("closed"))
        elif how == "status":
            response.status_code = 404
        return response

    client = app.test_client(transport=transport)
    plain = ask(client, "/static/a.txt")[1]
    answers = {how: ask(client, f"/static/a.txt?how={how}") for how in ("headers", "data", "file")}
    assert answers["headers"][1] != plain and answers["headers"][2] == b"a.txt"
    assert answers["data"][2] == b"a.txt!" and answers["file"][2] == b"txt"
    assert ask(client, "/static/a.txt?how=close")[2] == b"a.txt" and closed == ["closed"]
    assert ask(client, "/static/a.txt?how=status")[0] == "404 NOT FOUND"
    again = ask(client, "/static/a.txt")[1]
    del plain["Date"], again["Date"]
    assert (list(again), long.count) == (list(plain), 1)


@each_transport
def test_a_length_that_a_hook_gets_wrong_is_an_error_as_before(root: Path, transport: str) -> None:
    app = make_app(root, PROPAGATE_EXCEPTIONS=False)

    @app.after_request
    def change(response: t.Any) -> t.Any:
        response.headers["Content-Length"] = "3"
        return response

    client = app.test_client(transport=transport)
    first, second = (ask(client, "/static/a.txt") for _ in range(2))
    assert (first[0], first[2]) == (second[0], second[2])


@each_transport
def test_no_more_answers_are_kept_than_there_is_room_for(
    root: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_KNOWN_LIMIT", 2)
    client = make_app(root).test_client(transport=transport)
    for path in (root / "static").iterdir():
        assert ask(client, f"/static/{path.name}")[2] == path.read_bytes()
        assert len(files._known) in (1, 2)


def test_a_response_has_what_every_other_has(root: Path) -> None:
    app = make_app(root)
    with app.test_request_context():
        first, second = (app.send_static_file("a.txt") for _ in range(2))
    assert type(second.response) is files.ReadFile
    assert vars(first).keys() == vars(second).keys()
    assert [vars(first)[name] for name in ("_status", "_status_code", "direct_passthrough")] == [
        vars(second)[name] for name in ("_status", "_status_code", "direct_passthrough")
    ]


@each_transport
@pytest.mark.parametrize("more", [0, 1])
def test_only_small_files_are_kept(root: Path, more: int, transport: str, long: Long) -> None:
    client = make_app(root).test_client(transport=transport)
    write(root / "static/a.txt", bytes(files.CHUNK + more))
    for _ in range(2):
        assert len(ask(client, "/static/a.txt")[2]) == files.CHUNK + more
    assert long.count == 1 + more


def test_on_the_loop_files_are_sent_as_before(root: Path, long: Long) -> None:
    app = make_app(root)

    @app.get("/async")
    async def view() -> t.Any:
        return send_file(root / "static/a.txt")

    client = app.test_client(transport="asgi")
    assert [ask(client, "/async")[2] for _ in range(2)] == [b"a.txt"] * 2
    assert long.count == 2


@each_transport
def test_what_changes_while_it_is_answered_is_not_kept(root: Path, transport: str) -> None:
    path = root / "static/a.txt"

    class Changing(Flask):
        def get_send_file_max_age(self, filename: str | None) -> int | None:
            write(path, b"other", MODIFIED + 5)
            return None

    client = make_app(root, Changing).test_client(transport=transport)
    assert ask(client, "/file/a.txt")[2] == b"other"
    assert not files._known


def test_a_request_with_an_environ_of_its_own_is_asked(root: Path) -> None:
    app = make_app(root)
    client = app.test_client(transport="asgi")
    ask(client, "/static/a.txt")

    class Ranged(asyncflask.Request):
        @property
        def environ(self) -> t.Any:  # type: ignore[override]
            return {**super().environ, "HTTP_RANGE": "bytes=0-1"}

    app.request_class = Ranged
    assert ask(client, "/static/a.txt")[2] == b"a."
