"""Very many requests leave nothing behind; ``make soak`` makes a million of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import traceback
import typing as t

import pytest
from werkzeug.test import create_environ
from werkzeug.test import run_wsgi_app

from asyncflask import Flask
from asyncflask import request
from asyncflask import stream_with_context
from tests.kit import soak_app
from tests.kit.cases import Figure
from tests.kit.soak import ask
from tests.kit.soak import DISTINCT
from tests.kit.soak import FORM
from tests.kit.soak import JSON
from tests.kit.soak import Kind
from tests.kit.soak import MIXED
from tests.kit.soak import run_apart
from tests.kit.soak import SHORT_RUNS
from tests.kit.soak import SHORT_SOCKETS
from tests.kit.soak_sockets import run_over_sockets

pytestmark = [pytest.mark.case("A41"), pytest.mark.bare]


@pytest.mark.slow
@pytest.mark.parametrize(("mix", "count"), SHORT_RUNS.items())
def test_many_requests_leave_nothing_behind(mix: str, count: int, figure: Figure) -> None:
    figure(f"{mix}: {run_apart(mix, count).check()}")


@pytest.mark.slow
def test_many_requests_over_sockets_leave_nothing_behind(figure: Figure) -> None:
    figure(f"over sockets: {run_over_sockets(SHORT_SOCKETS).check()}")


# -- circles: what only the garbage collector could free -----------------------------------------


@contextlib.contextmanager
def circles() -> t.Iterator[list[object]]:
    """Gather what the block leaves to the garbage collector: the framework's objects, and errors.

    Werkzeug's matcher leaves a function that holds itself; that holds nothing of the request.
    """
    found: list[object] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [repr(thing) for thing in gc.garbage if _is_of_a_request(thing)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _is_of_a_request(thing: object) -> bool:
    if isinstance(thing, BaseException):
        # The test runner has errors of its own.
        frames = (frame for frame, _ in traceback.walk_tb(thing.__traceback__))
        return any(frame.f_globals["__name__"].startswith("asyncflask.") for frame in frames)
    return type(thing).__module__.startswith("asyncflask")


async def ask_and_settle(app: t.Any, kind: Kind, number: int) -> None:
    with contextlib.suppress(ZeroDivisionError):
        await ask(app, kind, number)
    for _ in range(5):
        # Tasks and callbacks that have ended are let go of a turn later.
        await asyncio.sleep(0)


def passes_on() -> Flask:
    app = Flask("app", root_path=".", static_folder=None)

    def mounted(environ: t.Any, start_response: t.Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"passed on"]

    app.mount("/", mounted)
    return app


def fails_late() -> Flask:
    app = Flask("app", root_path=".", static_folder=None)

    @app.get("/")
    async def fails() -> t.AsyncIterator[bytes]:
        yield b"begun"
        raise ZeroDivisionError

    return app


@pytest.mark.parametrize("make", [passes_on, fails_late])
def test_a_wsgi_request_leaves_no_circles(make: t.Callable[[], Flask]) -> None:
    app = make()
    with circles() as left, contextlib.suppress(ZeroDivisionError):
        list(run_wsgi_app(app, create_environ("/"))[0])
    assert left == []


ALL = list({(kind.method, kind.path, kind.status): kind for kind in [*MIXED, *DISTINCT]}.values())


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: f"{kind.method} {kind.path} {kind.status}")
async def test_a_request_leaves_no_circles(kind: Kind) -> None:
    await ask_and_settle(soak_app.app, kind, 1)
    with circles() as found:
        await ask_and_settle(soak_app.app, kind, 2)
    assert found == []


class Odd(Exception):
    """What a parser of a user's own may raise."""


def parses() -> Flask:
    app = Flask("app", root_path=".", static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True

    @app.post("/form")
    async def form() -> str:
        return str(len(request.form))

    @app.post("/json")
    async def json() -> str:
        return str(request.get_json())

    return app


LARGE = [
    Kind("POST", "/form", 413, body=b"a=1&" * 100_000, headers=FORM),
    Kind("POST", "/json", 400, body=b"[" + b"1," * 200_000, headers=JSON),
]


@pytest.mark.parametrize("kind", LARGE, ids=lambda kind: kind.path)
async def test_a_large_body_that_is_refused_leaves_no_circles(kind: Kind) -> None:
    app = parses()
    with circles() as found:
        await ask_and_settle(app, kind, 1)
    assert found == []


async def test_an_error_of_a_parser_of_the_user_s_leaves_no_circles() -> None:
    app = parses()

    def loads(text: t.Any) -> t.NoReturn:
        raise Odd

    app.json.loads = loads  # type: ignore[method-assign]
    kind = Kind("POST", "/json", 500, body=b"[" + b"1," * 200_000 + b"1]", headers=JSON)
    with circles() as found:
        await ask_and_settle(app, kind, 1)
    assert found == []


class Own(Flask):
    """An application whose overrides the error goes through."""

    async def full_dispatch_request(self) -> t.Any:
        return await super().full_dispatch_request()  # type: ignore[misc]

    def dispatch_request(self) -> t.Any:
        return super().dispatch_request()


def make_failing_app(kind: type[Flask]) -> Flask:
    app = kind("app", static_folder=None)
    app.config["PROPAGATE_EXCEPTIONS"] = False
    app.logger.disabled = True

    @app.after_request
    def after(response: t.Any) -> t.Any:
        return response if request.path != "/after" else 1 / 0

    @app.teardown_request
    async def teardown(error: BaseException | None) -> None:
        assert request.path != "/teardown"

    @app.get("/<path:path>")
    async def view(path: str) -> t.Any:
        if path.startswith("view"):
            return 1 / 0
        return stream_with_context(chunks(path)) if path.startswith("stream") else "done"

    @app.get("/sync")
    def sync_view() -> t.Any:
        return 1 / 0

    async def chunks(path: str) -> t.AsyncIterator[bytes]:
        for number in range(3):
            yield b"x" if path == "stream" or number < 2 else b"%d" % (1 / 0)
            await asyncio.sleep(0)

    return app


FAILING = [
    *(Kind("GET", path, 500) for path in ("/view", "/sync", "/after")),
    *(Kind("GET", path) for path in ("/teardown", "/stream", "/stream-fails")),
    Kind("GET", "/stream", leaves=True),
    Kind("POST", "/view", 405),
]


@pytest.mark.parametrize("app_class", [Flask, Own])
@pytest.mark.parametrize("kind", FAILING, ids=lambda kind: f"{kind.method} {kind.path}")
async def test_a_failing_request_leaves_no_circles(app_class: type[Flask], kind: Kind) -> None:
    app = make_failing_app(app_class)
    await ask_and_settle(app, kind, 1)
    with circles() as found:
        await ask_and_settle(app, kind, 2)
    assert found == []


@pytest.mark.parametrize("path", ["/view", "/sync", "/after", "/unknown", "/stream"])
def test_nor_does_it_on_the_wsgi_face(path: str) -> None:
    client = make_failing_app(Flask).test_client(transport="wsgi")
    client.get(path).close()
    with circles() as found:
        client.get(path).close()
    assert found == []


async def test_what_was_kept_of_an_error_can_still_be_shown() -> None:
    app = make_failing_app(Flask)
    kept: list[BaseException] = []
    app.register_error_handler(ZeroDivisionError, lambda error: (kept.append(error), ("", 400))[1])
    await ask(app, Kind("GET", "/view", 400), 1)
    names = []
    traceback = kept[0].__traceback__
    while traceback is not None:
        names.append((traceback.tb_frame.f_code.co_name, dict(traceback.tb_frame.f_locals)))
        traceback = traceback.tb_next
    assert [name for name, _ in names][-1] == "view" and len(names) > 1
    assert names[-1][1]["path"] == "view"
