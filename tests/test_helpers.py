"""The helper functions: URLs, errors, flashes, files, paths, and streams that keep the context."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import importlib
import io
import sys
import threading
import types
import typing as t
from pathlib import Path
from unittest import mock

import pytest
from jinja2 import DictLoader
from werkzeug.exceptions import Aborter
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import NotFound
from werkzeug.exceptions import Unauthorized
from werkzeug.routing import BuildError
from werkzeug.wrappers import Response as BaseResponse

from asyncflask import abort
from asyncflask import flash
from asyncflask import Flask
from asyncflask import g
from asyncflask import get_flashed_messages
from asyncflask import get_template_attribute
from asyncflask import make_response
from asyncflask import message_flashed
from asyncflask import redirect
from asyncflask import request
from asyncflask import Response
from asyncflask import send_file
from asyncflask import send_from_directory
from asyncflask import session
from asyncflask import stream_with_context
from asyncflask import url_for
from asyncflask.helpers import _endpoint_from_view_func
from asyncflask.helpers import _split_blueprint_path
from asyncflask.helpers import get_debug_flag
from asyncflask.helpers import get_load_dotenv
from asyncflask.helpers import get_root_path


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    app = Flask(__name__, root_path=str(tmp_path))
    app.secret_key = "key"
    return app


# -- environment variables -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "debug", "dotenv"),
    [
        (None, False, True),
        ("", False, True),
        ("0", False, True),
        ("False", False, True),
        ("NO", False, True),
        ("1", True, False),
        ("yes", True, False),
    ],
)
def test_flags_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, value: str | None, debug: bool, dotenv: bool
) -> None:
    for name in ("FLASK_DEBUG", "FLASK_SKIP_DOTENV"):
        monkeypatch.delenv(name, raising=False)
        if value is not None:
            monkeypatch.setenv(name, value)
    assert get_debug_flag() is debug
    assert get_load_dotenv() is dotenv
    assert get_load_dotenv(False) is (dotenv if value else False)


# -- streams: what is read -------------------------------------------------------------------


def greet() -> t.Iterator[str]:
    yield "Hello "
    yield request.args["name"]
    yield session.get("mark", "!")


async def greet_async() -> t.AsyncIterator[str]:
    for piece in greet():
        await asyncio.sleep(0)
        yield piece


class Greeting:
    """An async iterable that is no generator."""

    def __aiter__(self) -> t.AsyncIterator[str]:
        return greet_async()


STREAMS: dict[str, t.Callable[[], t.Any]] = {
    "generator": lambda: stream_with_context(greet()),
    "function": lambda: stream_with_context(greet)(),
    "list": lambda: stream_with_context(iter(["Hello ", "Ada", "?"])),
    "async generator": lambda: stream_with_context(greet_async()),
    "async function": lambda: stream_with_context(greet_async)(),
    "async iterable": lambda: stream_with_context(Greeting()),
}


@pytest.mark.parametrize("make", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_a_stream_keeps_request_and_session(
    app: Flask, make: t.Callable[[], t.Any], colour: str, transport: str
) -> None:
    def view() -> Response:
        session["mark"] = "?"
        return Response(make())

    async def async_view() -> Response:
        return view()

    app.add_url_rule("/", "view", view if colour == "sync" else async_view)
    client = app.test_client(transport=transport)
    assert client.get("/?name=Ada").text == "Hello Ada?"
    client.get("/?name=Ada").close()


def test_arguments_reach_a_decorated_function(app: Flask) -> None:
    @stream_with_context
    def generate(first: str, *, last: str) -> t.Iterator[str]:
        """Docs."""
        yield first + request.path + last

    with app.test_request_context("/p"):
        assert list(generate("<", last=">")) == ["</p>"]
    assert (generate.__name__, generate.__doc__) == ("generate", "Docs.")


def test_a_stream_needs_a_request() -> None:
    for make in (greet, greet_async):
        with pytest.raises(RuntimeError, match="request context is active"):
            stream_with_context(make())
        assert callable(stream_with_context(make))


def test_what_is_no_stream_is_refused(app: Flask) -> None:
    with app.test_request_context(), pytest.raises(TypeError, match="got 5"):
        stream_with_context(5)  # type: ignore[call-overload]


# -- streams: how long the context lasts -----------------------------------------------------


@pytest.fixture
def torn(app: Flask) -> list[t.Any]:
    """What the teardown functions of the request were given."""
    seen: list[t.Any] = []
    app.teardown_request(seen.append)
    app.teardown_appcontext(lambda exc: seen.append("app"))
    return seen


def test_teardown_waits_for_the_end_of_a_stream(app: Flask, torn: list[t.Any]) -> None:
    with app.test_request_context("/?name=Ada"):
        g.left = "over"
        stream = stream_with_context(greet())
    assert torn == []
    assert next(stream) == "Hello "
    assert g.left == "over"
    assert list(stream) == ["Ada", "!"]
    assert torn == [None, "app"]
    assert not request


async def test_teardown_waits_for_the_end_of_an_async_stream(app: Flask, torn: list[t.Any]) -> None:
    async def teardown(exc: BaseException | None) -> None:
        await asyncio.sleep(0)
        torn.append("async")

    app.teardown_request(teardown)
    async with app.test_request_context("/?name=Ada"):
        stream = stream_with_context(greet_async())
    assert torn == []
    assert [piece async for piece in stream] == ["Hello ", "Ada", "!"]
    assert torn == ["async", None, "app"]
    assert [piece async for piece in stream] == []
    assert not request


class Closable:
    """An iterator that counts how often it was closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> t.Self:
        return self

    def __next__(self) -> str:
        return "more"

    def close(self) -> None:
        self.closed += 1


class AsyncClosable(Closable):
    __iter__ = None  # type: ignore[assignment]

    def __aiter__(self) -> t.Self:
        return self

    async def __anext__(self) -> str:
        return "more"

    async def aclose(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("started", [True, False])
def test_a_closed_stream_closes_what_was_wrapped(
    app: Flask, torn: list[t.Any], started: bool
) -> None:
    source = Closable()
    with app.test_request_context():
        stream = t.cast("t.Generator[str]", stream_with_context(source))
    assert not started or next(stream) == "more"
    stream.close()
    assert source.closed == 1
    assert isinstance(torn[0], GeneratorExit) and torn[1:] == ["app"]


@pytest.mark.parametrize("started", [True, False])
async def test_a_closed_async_stream_closes_what_was_wrapped(
    app: Flask, torn: list[t.Any], started: bool
) -> None:
    source = AsyncClosable()
    async with app.test_request_context():
        stream = t.cast("t.AsyncGenerator[str]", stream_with_context(source))
    assert not started or await anext(stream) == "more"
    await stream.aclose()
    await stream.aclose()
    assert source.closed == 1
    assert isinstance(torn[0], GeneratorExit) and torn[1:] == ["app"]


def test_a_failing_stream_hands_its_error_to_the_teardown(app: Flask, torn: list[t.Any]) -> None:
    def fail() -> t.Iterator[str]:
        yield "a"
        raise ValueError("broken")

    with app.test_request_context():
        stream = stream_with_context(fail())
    assert next(stream) == "a"
    with pytest.raises(ValueError, match="broken") as info:
        next(stream)
    assert torn == [info.value, "app"]


async def test_a_failing_async_stream_hands_its_error_to_the_teardown(
    app: Flask, torn: list[t.Any]
) -> None:
    async def fail() -> t.AsyncIterator[str]:
        yield "a"
        raise ValueError("broken")

    async with app.test_request_context():
        stream = stream_with_context(fail())
    assert await anext(stream) == "a"
    with pytest.raises(ValueError, match="broken") as info:
        await anext(stream)
    assert torn == [info.value, "app"]


@pytest.mark.parametrize("make", [greet, greet_async])
def test_a_stream_that_is_dropped_lets_go_of_the_context(
    app: Flask, torn: list[t.Any], make: t.Callable[[], t.Any]
) -> None:
    with app.test_request_context():
        stream = stream_with_context(make())
        del stream
        gc.collect()
        assert torn == []
    assert torn == [None, "app"]


@pytest.mark.parametrize("make", [greet, greet_async])
@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_a_request_with_a_stream_is_torn_down_once(
    app: Flask, torn: list[t.Any], make: t.Callable[[], t.Any], transport: str
) -> None:
    app.add_url_rule("/", "view", lambda: Response(stream_with_context(make())))
    client = app.test_client(transport=transport)
    assert client.get("/?name=Ada").text == "Hello Ada!"
    assert torn == [None, "app"]
    client.head("/?name=Ada").close()
    assert torn[3::2] == ["app"]


@pytest.mark.parametrize("make", [greet, greet_async])
def test_a_view_that_fails_after_making_a_stream_is_torn_down(
    app: Flask, torn: list[t.Any], make: t.Callable[[], t.Any]
) -> None:
    @app.get("/")
    def view() -> Response:
        stream = stream_with_context(make())
        raise KeyError(repr(stream))

    assert app.test_client().get("/?name=Ada").status_code == 500
    assert len(torn) == 2 and torn[1] == "app"


@pytest.mark.parametrize("make", [greet, greet_async])
async def test_a_stream_read_elsewhere_sees_its_request(
    app: Flask, torn: list[t.Any], make: t.Callable[[], t.Any]
) -> None:
    async with app.test_request_context("/?name=Ada"):
        stream = stream_with_context(make())

    async def read() -> list[str]:
        if make is greet:
            return await asyncio.to_thread(list, stream)
        return [piece async for piece in stream]

    assert not request or torn == []
    task = asyncio.create_task(read(), context=contextvars.Context())
    assert await task == ["Hello ", "Ada", "!"]
    assert torn == [None, "app"]


async def test_a_stream_read_by_a_task_of_its_request_ends_there(
    app: Flask, torn: list[t.Any]
) -> None:
    async with app.test_request_context("/?name=Ada"):
        stream = stream_with_context(greet_async())
        pieces = []
        for _ in range(3):
            pieces.append(await asyncio.wait_for(anext(stream), 5))
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(stream), 5)
        assert request.path == "/" and torn == []
    assert pieces == ["Hello ", "Ada", "!"]
    assert torn == [None, "app"]


def test_teardown_after_an_async_stream_stays_off_the_loop(app: Flask) -> None:
    threads: dict[str, int] = {}
    app.teardown_request(lambda exc: threads.update(teardown=threading.get_ident()))

    @app.get("/")
    async def view() -> Response:
        threads["loop"] = threading.get_ident()
        return Response(stream_with_context(greet_async()))

    client = app.test_client(transport="asgi")
    assert client.get("/?name=Ada").text == "Hello Ada!"
    assert threads["teardown"] != threads["loop"]


# -- responses, URLs and errors --------------------------------------------------------------


@pytest.mark.parametrize("transport", ["wsgi", "asgi"])
def test_make_response_waits_for_an_async_view_in_sync_code(app: Flask, transport: str) -> None:
    async def view() -> t.Any:
        return request.get_json(), 201

    @functools.wraps(view)
    def decorated() -> Response:
        response = make_response(view())
        response.headers["X-A"] = "b"
        return response

    app.add_url_rule("/", view_func=decorated, methods=["POST"])
    answer = app.test_client(transport=transport).post("/", json=[1])
    assert (answer.status_code, answer.json, answer.headers["X-A"]) == (201, [1], "b")


def test_make_response_takes_what_a_view_returns(app: Flask) -> None:
    with app.test_request_context():
        assert (make_response().status_code, make_response().data) == (200, b"")
        assert make_response("text").data == b"text"
        response = make_response({"a": 1}, 201, {"X-A": "b"})
        assert (response.status_code, response.json) == (201, {"a": 1})
        assert response.headers["X-A"] == "b"
        assert make_response(("text", 202)).status_code == 202
        assert make_response(response) is response
    assert type(response) is app.response_class


def test_url_for_passes_everything_on(app: Flask) -> None:
    app.add_url_rule("/<self>", "thing")
    app.add_url_rule("/<self>", "thing_post", methods=["POST"])
    with app.test_request_context():
        assert url_for("thing", self="a b", q=1, _anchor="x y") == "/a%20b?q=1#x%20y"
        url = url_for("thing", self=1, _external=True, _scheme="https")
        assert url == "https://localhost/1"
        assert url_for("thing_post", self=1, _method="POST") == "/1"
        with pytest.raises(BuildError):
            url_for("nothing")
        with pytest.raises(ValueError, match="external"):
            url_for("thing", self=1, _external=False, _scheme="https")


def test_url_for_needs_an_application() -> None:
    with pytest.raises(RuntimeError, match="outside of application context"):
        url_for("index")


def test_redirect_works_with_and_without_an_application(app: Flask) -> None:
    class Own(BaseResponse):
        pass

    alone = redirect("/there", 307, Own)
    assert (type(alone), alone.status_code, alone.location) == (Own, 307, "/there")
    with app.app_context():
        assert type(redirect("/there")) is app.response_class
        with mock.patch.object(app, "redirect", return_value="own") as own:
            assert redirect("/there", 301) == "own"
        own.assert_called_once_with("/there", code=301)


def test_abort_works_with_and_without_an_application(app: Flask) -> None:
    class Own(HTTPException):
        code = 900

    pytest.raises(Unauthorized, abort, 401)
    pytest.raises(LookupError, abort, 900)
    app.aborter = Aborter(extra={900: Own})
    with app.app_context():
        with pytest.raises(Own, match="why"):
            abort(900, "why")
        with pytest.raises(HTTPException) as info:
            abort(BaseResponse("custom", 418))
    assert info.value.get_response().status_code == 418


def test_a_macro_can_be_taken_from_a_template(app: Flask) -> None:
    source = "{% macro hello(name) %}Hello {{ name }}!{% endmacro %}{% set size = 3 %}"
    app.jinja_loader = DictLoader({"m.html": source})
    with app.app_context():
        assert get_template_attribute("m.html", "hello")("Ada") == "Hello Ada!"
        assert get_template_attribute("m.html", "size") == 3
        with pytest.raises(AttributeError):
            get_template_attribute("m.html", "nothing")


# -- flashed messages ------------------------------------------------------------------------


def test_flashed_messages_reach_the_next_request_once(app: Flask) -> None:
    @app.get("/flash")
    def flash_some() -> str:
        flash("one")
        flash("two", "error")
        return "flashed"

    @app.get("/pages")
    def pages() -> list[t.Any]:
        return [
            get_flashed_messages(),
            get_flashed_messages(with_categories=True),
            get_flashed_messages(category_filter=["error"]),
            get_flashed_messages(True, ["message", "none"]),
        ]

    client = app.test_client()
    client.get("/flash")
    pairs = [["message", "one"], ["error", "two"]]
    assert client.get("/pages").json == [["one", "two"], pairs, ["two"], pairs[:1]]
    assert client.get("/pages").json == [[], [], [], []]


def test_flashing_is_noticed_by_sessions_that_watch_only_themselves(app: Flask) -> None:
    with app.test_request_context():
        flash("one")
        session.modified = False
        flash("two", "error")
        assert session.modified
        assert session["_flashes"] == [("message", "one"), ("error", "two")]


def test_flashing_sends_a_signal(app: Flask) -> None:
    seen = []

    def receive(sender: Flask, **extra: t.Any) -> None:
        seen.append((sender, extra))

    with message_flashed.connected_to(receive), app.test_request_context():
        flash("one", "info")
    assert seen == [(app, {"message": "one", "category": "info"})]


# -- files -----------------------------------------------------------------------------------


def test_a_file_is_sent_with_its_headers(app: Flask, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0123456789")
    app.add_url_rule("/a", "a", lambda: send_file("a.txt", as_attachment=True, max_age=60))
    client = app.test_client()
    response = client.get("/a")
    assert (response.data, response.mimetype) == (b"0123456789", "text/plain")
    assert response.headers["Content-Disposition"] == "attachment; filename=a.txt"
    assert response.cache_control.max_age == 60
    with client.get("/a", headers={"If-None-Match": response.headers["ETag"]}) as unchanged:
        assert unchanged.status_code == 304
    with client.get("/a", headers={"Range": "bytes=2-4"}) as part:
        assert (part.status_code, part.data) == (206, b"234")
    response.close()


def test_a_file_object_is_sent(app: Flask) -> None:
    with app.test_request_context():
        response = send_file(io.BytesIO(b"data"), "image/png", download_name="x.png", etag=False)
        response.direct_passthrough = False
        assert (response.data, response.mimetype) == (b"data", "image/png")
        assert "x.png" in response.headers["Content-Disposition"]


def test_the_application_decides_how_files_are_sent(app: Flask, tmp_path: Path) -> None:
    class Own(Response):
        pass

    (tmp_path / "a.txt").write_text("a")
    app.response_class = Own
    app.config.update(USE_X_SENDFILE=True, SEND_FILE_MAX_AGE_DEFAULT=30)
    with app.test_request_context():
        for response in (send_file("a.txt"), send_from_directory(".", "a.txt")):
            assert type(response) is Own
            assert response.headers["X-Sendfile"].endswith("a.txt")
            assert response.cache_control.max_age == 30
        assert send_from_directory(".", "a.txt", max_age=5).cache_control.max_age == 5


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "sub", "nothing", "sub/../../secret"])
def test_a_path_cannot_leave_its_directory(app: Flask, tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "files" / "sub").mkdir(parents=True)
    with app.test_request_context(), pytest.raises(NotFound):
        send_from_directory("files", path)


def test_werkzeugs_function_is_looked_up_when_it_is_called(app: Flask) -> None:
    target = f"{send_from_directory.__module__}.werkzeug.utils.send_from_directory"
    with mock.patch(target, return_value="patched"), app.test_request_context():
        assert send_from_directory(".", "a.txt") == "patched"


# -- modules and names -----------------------------------------------------------------------


def test_the_root_path_of_modules_and_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root_package").mkdir()
    (tmp_path / "root_package" / "__init__.py").write_text("raise RuntimeError('imported')")
    (tmp_path / "root_module.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path.parent)
    assert get_root_path("root_module") == str(tmp_path)
    assert get_root_path("root_package") == str(tmp_path / "root_package")
    assert get_root_path("json") == str(Path(t.cast(str, sys.modules["json"].__file__)).parent)
    assert get_root_path("no_such_module") == str(tmp_path.parent)
    assert get_root_path("no_such_package.module") == str(tmp_path.parent)


def test_a_module_without_a_file_has_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "interactive", types.ModuleType("interactive"))
    monkeypatch.chdir(tmp_path)
    assert get_root_path("interactive") == str(tmp_path)


def test_a_namespace_package_has_no_root_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root_namespace").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.import_module("root_namespace")
    with pytest.raises(RuntimeError, match="No root path can be found.*'root_namespace'"):
        get_root_path("root_namespace")
    sys.modules.pop("root_namespace")


def test_blueprint_names_split_innermost_first() -> None:
    assert _split_blueprint_path("a") == ["a"]
    assert _split_blueprint_path("a.b.c") == ["a.b.c", "a.b", "a"]
    assert _split_blueprint_path("a.b.c") is _split_blueprint_path("a.b.c")


def test_the_endpoint_is_the_views_name() -> None:
    assert _endpoint_from_view_func(test_the_endpoint_is_the_views_name).startswith("test_the")
