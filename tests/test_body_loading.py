"""A body that is loaded: how far, where it is kept, and on which side it is parsed."""

from __future__ import annotations

import asyncio
import io
import json
import os
import tempfile
import threading
import typing as t

import pytest
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import HTTPException

import asyncflask
from asyncflask import abort
from asyncflask import Flask
from asyncflask import Request
from asyncflask import request
from tests.bodies import add
from tests.bodies import both_colours
from tests.bodies import both_transports
from tests.bodies import BOUNDARY
from tests.bodies import FORM
from tests.bodies import KIB
from tests.bodies import MIB
from tests.bodies import multipart
from tests.bodies import nothing_left_behind
from tests.bodies import send
from tests.bodies import Watched
from tests.kit.drive import Exchange
from tests.kit.drive import fetch
from tests.kit.drive import LEAVE
from tests.kit.drive import STALL

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def _nothing_left_behind() -> t.AsyncIterator[None]:
    async with nothing_left_behind():
        yield


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


# -- before an async view ----------------------------------------------------------------------


@both_transports
@pytest.mark.case("A24")
async def test_async_hooks_refuse_before_the_body_is_read(app: Flask, transport: str) -> None:
    @app.before_request
    async def refuse() -> None:
        abort(401)

    add(app, "async", lambda: request.form["a"])
    assert (await send(app, transport, b"a=1"))[0] == 401
    watched = Watched(app)
    assert (await fetch(watched, "POST", body=[b"a=", STALL])).status == 401
    assert watched.calls == 0


async def test_sync_hooks_refuse_after_no_more_than_64_kib(app: Flask) -> None:
    app.before_request(lambda: abort(401))
    add(app, "async", lambda: request.form["a"])
    watched = Watched(app)
    body = [bytes(32 * KIB)] * 10
    assert (await fetch(watched, "POST", body=[*body, STALL])).status == 401
    assert watched.taken == 64 * KIB


@both_transports
@both_colours
@pytest.mark.parametrize("hook_colour", ["sync", "async"])
@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
@pytest.mark.case("A22")
async def test_hooks_set_the_limit_of_this_request(
    app: Flask, hook_colour: str, colour: str, transport: str, length: int | None
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10

    def limit() -> None:
        request.max_content_length = 20

    async def limit_async() -> None:
        limit()

    app.before_request(limit if hook_colour == "sync" else limit_async)
    add(app, colour, lambda: request.get_data())
    for size, status in ((20, 200), (21, 413)):
        assert (await send(app, transport, [b"x" * 9, b"x" * (size - 9)], length))[0] == status


@both_transports
async def test_the_limit_of_a_request_may_change_while_it_is_read(
    app: Flask, transport: str
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10

    def view() -> str:
        request.max_content_length = 20
        start = request.stream.read(9)
        # Back to the application's.
        request.max_content_length = None
        with pytest.raises(HTTPException) as caught:
            request.stream.read()
        return f"{len(start)} {caught.value.code}"

    add(app, "sync", view)
    assert await send(app, transport, [b"x" * 9, b"x" * 9], None) == (200, b"9 413")


async def sum_chunks() -> str:
    return str(sum([len(chunk) async for chunk in request.stream]))


async def read_all_async() -> str:
    return str(len(request.get_data()))


def read_all_sync() -> str:
    return str(len(request.get_data()))


def read_piecewise() -> str:
    return str(sum(map(len, iter(lambda: request.stream.read(7), b""))))


# A WSGI server gives no more than was declared.
@pytest.mark.parametrize(
    "transport, length",
    [("wsgi", -1), ("wsgi", None), ("asgi", -1), ("asgi", None), ("asgi", 10)],
    ids=["wsgi-declared", "wsgi-chunked", "declared", "chunked", "understated"],
)
@pytest.mark.parametrize(
    "key, view",
    [
        ("MAX_CONTENT_LENGTH", read_all_async),
        ("MAX_CONTENT_LENGTH", read_all_sync),
        ("MAX_CONTENT_LENGTH", read_piecewise),
        ("MAX_CONTENT_LENGTH", sum_chunks),
        ("MAX_BUFFERED_BODY", read_all_async),
    ],
)
@pytest.mark.case("A21")
async def test_limits_count_what_arrives(
    app: Flask, key: str, view: t.Any, transport: str, length: int | None
) -> None:
    app.config[key] = 1000
    app.add_url_rule("/", view_func=view, methods=["POST"], stream_body=view is sum_chunks)
    status, data = await send(app, transport, [b"x" * 400, b"x" * 600], length)
    if length == 10:
        assert status == 400
    else:
        assert (status, data) == (200, b"1000")
    assert (await send(app, transport, [b"x" * 400, b"x" * 601], length))[0] == 413


@pytest.mark.parametrize("stream_body", [False, True])
@pytest.mark.parametrize("length", [None, 10], ids=["chunked", "understated"])
@pytest.mark.case("A21")
async def test_beyond_a_limit_nothing_is_read(
    app: Flask, stream_body: bool, length: int | None
) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 1000
    app.add_url_rule("/", view_func=sum_chunks, methods=["POST"], stream_body=stream_body)
    watched = Watched(app)
    answer = await fetch(watched, "POST", body=[b"x" * 300] * 50, length=length)
    assert (answer.status, watched.taken) == (413, 1200)


@both_colours
@pytest.mark.case("A21", "A24")
async def test_a_declared_length_over_the_limit_reads_no_body(app: Flask, colour: str) -> None:
    app.config["MAX_CONTENT_LENGTH"] = 10
    app.before_request(lambda: None)
    add(app, colour, lambda: request.get_data())
    watched = Watched(app)
    assert (await fetch(watched, "POST", body=bytes(11))).status == 413
    assert watched.calls == 0


@pytest.mark.parametrize(
    "method, path, status", [("POST", "/none", 404), ("POST", "/get", 405), ("POST", "/", 400)]
)
@pytest.mark.case("A24")
async def test_what_is_refused_reads_no_body(
    app: Flask, method: str, path: str, status: int
) -> None:
    if status == 400:
        app.config["TRUSTED_HOSTS"] = ["example.com"]
    app.before_request(lambda: None)
    app.add_url_rule("/get", view_func=lambda: "", endpoint="get")
    add(app, "async", lambda: request.get_data())
    watched = Watched(app)
    assert (await fetch(watched, method, path, body=[b"a", STALL])).status == status
    assert watched.calls == 0


@both_transports
async def test_what_is_over_a_limit_stays_an_error_for_its_handler(
    app: Flask, transport: str
) -> None:
    app.config["MAX_BUFFERED_BODY"] = 10
    add(app, "async", lambda: request.get_data())

    @app.errorhandler(413)
    def again(error: HTTPException) -> t.Any:
        with pytest.raises(HTTPException) as caught:
            request.get_data()
        return str(caught.value.code), 200

    assert await send(app, transport, [b"x" * 8, b"x" * 8], None) == (200, b"413")


# -- in memory, then in a file -----------------------------------------------------------------


class Files:
    """Makes temporary files that note who uses them, and wait before they are made or written."""

    def __init__(self) -> None:
        self.made: list[t.Any] = []
        self.threads: set[int] = set()
        self.waits_before = ""
        self.waiting = threading.Event()
        self.go_on = threading.Event()
        self.closed = threading.Event()
        self.writers = self.most_writers = 0

    def pause(self, before: str) -> None:
        self.threads.add(threading.get_ident())
        if before == self.waits_before:
            self.waiting.set()
            self.go_on.wait(10)

    def __call__(self) -> t.Any:
        files = self

        class Noting(io.FileIO):
            def write(self, data: t.Any) -> int:
                files.writers += 1
                files.most_writers = max(files.writers, files.most_writers)
                files.pause("write")
                files.writers -= 1
                return super().write(data)

            def close(self) -> None:
                super().close()
                files.closed.set()

        self.pause("make")
        handle, path = tempfile.mkstemp()
        os.unlink(path)
        self.made.append(Noting(handle, "r+b"))
        return self.made[-1]


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> Files:
    files = Files()
    monkeypatch.setattr("asyncflask.adapters.body.tempfile.TemporaryFile", files)
    return files


async def test_up_to_1_mib_stays_in_memory(app: Flask, files: Files) -> None:
    add(app, "async", lambda: str(len(request.get_data())))
    assert (await fetch(app, "POST", body=[bytes(256 * KIB)] * 4)).text == str(MIB)
    assert files.made == []


@both_colours
async def test_wsgi_middleware_may_read_a_small_body_after_its_request(
    app: Flask, colour: str
) -> None:
    requests: list[Request] = []
    read: list[t.Any] = []
    inner = app.wsgi_app

    def view() -> str:
        requests.append(request._get_current_object())  # type: ignore[attr-defined]
        return ""

    def middleware(environ: t.Any, start_response: t.Any) -> t.Any:
        answer = inner(environ, start_response)
        read.append(requests[0].get_json())
        return answer

    add(app, colour, view)
    app.wsgi_app = middleware  # type: ignore[method-assign]
    app.test_client().post("/", json={"a": 1})
    assert read == [{"a": 1}]


@pytest.mark.case("A13")
async def test_more_goes_to_a_file_off_the_loop(app: Flask, files: Files) -> None:
    chunk = bytes(range(256)) * 1024
    seen = []

    def view() -> str:
        seen.append(not files.made[0].closed)
        return str(request.get_data() == chunk * 12)

    add(app, "async", view)
    assert (await fetch(app, "POST", body=[chunk] * 12)).text == "True"
    assert seen == [True] and [file.closed for file in files.made] == [True]
    assert files.threads and threading.get_ident() not in files.threads


async def test_a_file_is_closed_when_its_client_leaves(app: Flask, files: Files) -> None:
    add(app, "async", lambda: pytest.fail("the view ran"))
    answer = await fetch(app, "POST", body=[bytes(MIB), bytes(MIB), LEAVE], length=4 * MIB)
    assert answer.status == 400
    assert [file.closed for file in files.made] == [True]


@pytest.mark.parametrize("before", ["make", "write"])
async def test_a_file_is_closed_when_the_server_gives_the_request_up(
    app: Flask, files: Files, before: str
) -> None:
    add(app, "async", lambda: pytest.fail("the view ran"))
    files.waits_before = before
    async with Exchange(app, "POST", body=[bytes(MIB), bytes(MIB), STALL]) as exchange:
        await asyncio.to_thread(files.waiting.wait, 10)
        exchange.cancel()
        await asyncio.sleep(0)
        files.go_on.set()
    assert isinstance(exchange.answer.error, asyncio.CancelledError)
    assert files.closed.is_set()


async def test_tasks_that_load_the_body_at_once_do_not_get_in_each_other_s_way(
    app: Flask, files: Files
) -> None:
    body = bytes(range(256)) * KIB * 12
    files.waits_before = "write"

    @app.post("/", stream_body=True)
    async def view() -> str:
        await asyncio.gather(*[request.load_body() for _ in range(3)])
        return str(request.get_data() == body)

    chunks = [body[start : start + MIB] for start in range(0, len(body), MIB)]
    async with Exchange(app, "POST", body=chunks) as exchange:
        await asyncio.to_thread(files.waiting.wait, 10)
        for _ in range(100):
            await asyncio.sleep(0)
        files.go_on.set()
    assert exchange.answer.text == "True" and files.most_writers == 1


@both_transports
async def test_several_tasks_may_load_the_body(app: Flask, transport: str) -> None:
    parsers = []

    class Counting(Request):
        def make_form_data_parser(self) -> t.Any:
            parsers.append(self)
            return super().make_form_data_parser()

    @app.post("/", stream_body=True)
    async def view() -> str:
        await asyncio.gather(*[request.load_body() for _ in range(3)])
        return str(len(request.form["a"]))

    app.request_class = Counting
    app.config["MAX_FORM_MEMORY_SIZE"] = None
    body = [b"a=", *[b"x" * MIB] * 3]
    assert await send(app, transport, body) == (200, str(3 * MIB).encode())
    assert len(parsers) == 1


# -- parsing off the loop ----------------------------------------------------------------------

BIG = {
    FORM: b"a=" + b"x" * (300 * KIB),
    BOUNDARY: multipart(("a", None, b"x" * (300 * KIB))),
    "application/json": b'{"a": "' + b"x" * (300 * KIB) + b'"}',
}


def note_parsing(app: Flask) -> set[int]:
    """Have an application note the threads that forms and JSON are parsed on."""
    threads: set[int] = set()

    class Noting(ImmutableMultiDict[str, t.Any]):
        def __init__(self, *args: t.Any) -> None:
            threads.add(threading.get_ident())
            super().__init__(*args)

    class NotingRequest(Request):
        parameter_storage_class = Noting

    class NotingProvider(asyncflask.json.provider.DefaultJSONProvider):
        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            threads.add(threading.get_ident())
            return super().loads(s, **kwargs)

    app.request_class = NotingRequest
    app.json = NotingProvider(app)
    return threads


@both_transports
@pytest.mark.parametrize("where", ["view", "hook", "stream"])
@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
@pytest.mark.parametrize("content_type", BIG)
@pytest.mark.case("A13")
async def test_large_forms_are_parsed_off_the_loop(
    app: Flask, content_type: str, length: int | None, where: str, transport: str
) -> None:
    threads = note_parsing(app)
    loops = set()

    @app.before_request
    async def hook() -> None:
        if where == "hook":
            await request.load_body()

    @app.post("/", stream_body=where == "stream")
    async def view() -> str:
        loops.add(threading.get_ident())
        if where == "stream":
            await request.load_body()
        return str(len((request.json if request.is_json else request.form)["a"]))

    assert await send(app, transport, BIG[content_type], length, content_type) == (200, b"307200")
    assert threads and not threads & loops


@pytest.mark.parametrize("transport, where", [("wsgi", "view"), ("asgi", "view"), ("asgi", "hook")])
@pytest.mark.parametrize("content_type", BIG)
async def test_functions_of_the_user_s_parse_on_the_thread_of_the_hooks(
    app: Flask, content_type: str, where: str, transport: str
) -> None:
    parsing, hooks = note_parsing(app), set()

    class Opening(app.request_class):  # type: ignore[name-defined, misc]
        def _get_file_stream(self, *args: t.Any, **kwargs: t.Any) -> t.IO[bytes]:
            parsing.add(threading.get_ident())
            return t.cast("t.IO[bytes]", super()._get_file_stream(*args, **kwargs))

    @app.before_request
    @app.after_request
    def note(response: t.Any = None) -> t.Any:
        hooks.add(threading.get_ident())
        return response

    @app.before_request
    async def load() -> None:
        if where == "hook":
            await request.load_body()

    app.request_class = Opening
    add(app, "async", lambda: str(len(request.json if request.is_json else request.form)))
    body = BIG[content_type]
    if content_type == BOUNDARY:
        body = multipart(("a", None, b""), ("f", "n", b"x" * 300 * KIB))
    assert await send(app, transport, body, -1, content_type) == (200, b"1")
    assert len(hooks) == 1 and parsing == hooks


async def test_a_task_of_a_hook_s_has_functions_of_the_user_s_parse_off_the_loop(
    app: Flask,
) -> None:
    parsing = note_parsing(app)

    @app.before_request
    async def load() -> None:
        await asyncio.gather(request.load_body(), request.load_body())

    add(app, "async", lambda: str(len(request.form)))
    assert await send(app, "asgi", BIG[FORM]) == (200, b"1")
    assert len(parsing) == 1 and threading.get_ident() not in parsing


@both_transports
@pytest.mark.parametrize("content_type", BIG)
@pytest.mark.parametrize("length", [-1, None], ids=["declared", "chunked"])
async def test_a_form_parsed_ahead_looks_unread(
    app: Flask, content_type: str, length: int | None, transport: str
) -> None:
    body = BIG[content_type]
    uses: list[t.Callable[[], t.Any]] = [
        lambda: request.get_data() == body,
        lambda: request.stream.read() == body,
        lambda: request.data == (body if request.is_json else b""),
        lambda: (
            request.get_data() == body and (request.is_json or len(request.form["a"]) == 300 * KIB)
        ),
    ]
    app.add_url_rule("/", "view", None, methods=["POST"])
    for use in uses:

        async def view(use: t.Callable[[], t.Any] = use) -> str:
            return str(use())

        app.view_functions["view"] = view
        assert await send(app, transport, body, length, content_type) == (200, b"True")


@both_transports
async def test_what_is_wrong_with_a_form_shows_when_somebody_looks(
    app: Flask, transport: str
) -> None:
    app.config["MAX_FORM_FIELDS"] = 2

    async def look() -> str:
        with pytest.raises(HTTPException) as caught:
            request.form.get("a")
        return f"{caught.value.code} {len(request.get_data())}"

    app.add_url_rule("/", view_func=look, methods=["POST"])
    body = b"a=1&b=2&c=" + b"x" * (300 * KIB)
    for length in (None, len(body)):
        assert await send(app, transport, body, length) == (200, f"413 {len(body)}".encode())


BROKEN = BIG["application/json"][:-1]


@both_transports
@pytest.mark.parametrize("where", ["view", "hook", "silent hook"])
async def test_large_json_that_is_none_is_read_once_and_off_the_loop(
    app: Flask, where: str, transport: str
) -> None:
    threads, reads = note_parsing(app), []
    loads = app.json.loads
    app.json.loads = lambda s: reads.append(s) or loads(s)  # type: ignore[method-assign, func-returns-value]

    @app.before_request
    def hook() -> None:
        if where == "hook":
            request.get_data()
        elif where == "silent hook":
            assert request.get_json(silent=True) is None

    async def view() -> str:
        threads.discard(threading.get_ident())
        before = len(reads)
        for options in ({}, {"force": True}, {"cache": False}):
            assert request.get_json(silent=True, **options) is None
            with pytest.raises(BadRequest):
                request.get_json(**options)
        assert threading.get_ident() not in threads
        return str(len(reads) - before)

    app.add_url_rule("/", view_func=view, methods=["POST"])
    assert await send(app, transport, BROKEN, -1, "application/json") == (200, b"0")


@both_transports
async def test_what_a_json_provider_raises_itself_is_raised_when_somebody_looks(
    app: Flask, transport: str
) -> None:
    class Strict(asyncflask.json.provider.DefaultJSONProvider):
        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            raise LookupError("strict")

    async def view() -> str:
        for options in ({}, {"silent": True}):
            with pytest.raises(LookupError, match="strict"):
                request.get_json(**options)
        return "raised"

    app.json = Strict(app)
    app.add_url_rule("/", view_func=view, methods=["POST"])
    body = BIG["application/json"]
    assert await send(app, transport, body, -1, "application/json") == (200, b"raised")


@both_transports
@pytest.mark.parametrize("content_type", BIG)
async def test_what_a_sync_hook_has_read_is_parsed_off_the_loop(
    app: Flask, content_type: str, transport: str
) -> None:
    threads, loops = note_parsing(app), set()

    @app.before_request
    def check_signature() -> None:
        assert request.get_data() == BIG[content_type]

    async def view() -> str:
        loops.add(threading.get_ident())
        return str(len((request.json if request.is_json else request.form)["a"]))

    app.add_url_rule("/", view_func=view, methods=["POST"])
    answer = await send(app, transport, BIG[content_type], -1, content_type)
    assert answer == (200, b"307200")
    assert threads and not threads & loops


@both_transports
@pytest.mark.parametrize("body", [b'{"a": "b"}', BIG["application/json"]], ids=["small", "big"])
async def test_a_sync_hook_that_looks_for_a_form_leaves_what_is_none(
    app: Flask, body: bytes, transport: str
) -> None:
    hooks = []
    app.before_request(lambda: hooks.append(dict(request.form)))

    async def view() -> bytes:
        assert request.get_json() == json.loads(body)
        return request.get_data()

    app.add_url_rule("/", view_func=view, methods=["POST"])
    assert await send(app, transport, body, -1, "application/json") == (200, body)
    assert hooks == [{}]


@both_transports
async def test_limits_hold_for_what_a_sync_hook_took_for_a_form(app: Flask, transport: str) -> None:
    app.config["MAX_BUFFERED_BODY"] = 10
    app.before_request(lambda: request.form.get("token"))

    async def view() -> bytes:
        return request.get_data()

    app.add_url_rule("/", view_func=view, methods=["POST"])
    assert (await send(app, transport, b"x" * 11, -1, "text/plain"))[0] == 413


@both_transports
async def test_large_json_by_another_name_is_read_on_a_thread_that_a_view_asks_for(
    app: Flask, transport: str
) -> None:
    threads, loops = note_parsing(app), set()

    async def view() -> str:
        threads.clear()
        loops.add(threading.get_ident())
        return str(len((await asyncio.to_thread(request.get_json, force=True))["a"]))

    app.add_url_rule("/", view_func=view, methods=["POST"])
    body = BIG["application/json"]
    assert await send(app, transport, body, -1, "text/plain") == (200, b"307200")
    assert threads and not threads & loops


@both_transports
async def test_uploaded_files_are_closed_with_the_request(app: Flask, transport: str) -> None:
    body = multipart(("f", "n", b"x" * MIB), ("g", "m", b"y" * MIB))
    held = []

    def view() -> str:
        held.extend(request.files.values())
        return request.files["g"].read(1).decode()

    for colour in ("sync", "async"):
        app = Flask(__name__)
        add(app, colour, view)
        assert await send(app, transport, body, -1, BOUNDARY) == (200, b"y")
    add(app := Flask(__name__), "async", lambda: "not looked at")
    assert await send(app, transport, body, -1, BOUNDARY) == (200, b"not looked at")
    assert len(held) == 4 and all(file.closed for file in held)


@both_colours
async def test_files_of_a_form_that_breaks_off_are_closed(
    app: Flask, colour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[t.Any] = []

    class Keeping(Request):
        def _get_file_stream(self, *args: t.Any, **kwargs: t.Any) -> t.IO[bytes]:
            made.append(super()._get_file_stream(*args, **kwargs))
            return t.cast("t.IO[bytes]", made[-1])

    app.request_class = Keeping
    app.config["MAX_FORM_PARTS"] = 2
    add(app, colour, lambda: str(len(request.files)))
    body = multipart(*[("f", "n", b"x" * MIB)] * 3)
    assert (await fetch(app, "POST", body=body, headers={"Content-Type": BOUNDARY})).status == 413
    assert made and all(file.closed for file in made)


# -- limits of forms ---------------------------------------------------------------------------

FORM_LIMIT = {"MAX_FORM_MEMORY_SIZE": 100_000}
FORM_LIMITS: dict[str, tuple[str, bytes, bytes]] = {
    "MAX_FORM_MEMORY_SIZE": (
        BOUNDARY,
        multipart(("a", None, b"x" * 60_000), ("b", None, b"x" * 60_000), ("f", "n", b"x" * MIB)),
        multipart(("a", None, b"x" * 100_001)),
    ),
    "MAX_FORM_PARTS": (
        BOUNDARY,
        multipart(*[("a", None, b"x")] * 3),
        multipart(*[("a", None, b"x")] * 4),
    ),
    "MAX_FORM_FIELDS": (FORM, b"a=1&b=2&c=3", b"a=1&b=2&c=3&d"),
}


@both_transports
@both_colours
@pytest.mark.parametrize(
    "key, own",
    [
        *((key, False) for key in FORM_LIMITS),
        ("MAX_FORM_PARTS", True),
        ("MAX_FORM_MEMORY_SIZE", True),
    ],
)
@pytest.mark.case("A22")
async def test_forms_have_limits(
    app: Flask, key: str, own: bool, colour: str, transport: str
) -> None:
    content_type, within, over = FORM_LIMITS[key]
    if not own:
        app.config[key] = FORM_LIMIT.get(key, 3)

    @app.before_request
    async def limit() -> None:
        if own:
            setattr(request, key.lower(), FORM_LIMIT.get(key, 3))

    add(app, colour, lambda: str(len(request.form)))
    assert (await send(app, transport, within, -1, content_type))[0] == 200
    assert (await send(app, transport, over, -1, content_type))[0] == 413
