"""The lifespan of an application that a WSGI server serves."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import typing as t

import anyio
import pytest
from starlette.responses import StreamingResponse
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client
from werkzeug.test import create_environ

import asyncflask
from asyncflask import Flask
from asyncflask.adapters import WsgiToAsgi
from asyncflask.adapters.background import end_serving
from asyncflask.lanes import background_loop
from tests.kit.drive import fetch
from tests.kit.drive import Lifespan
from tests.kit.server import ROOT


@pytest.fixture(autouse=True)
def _everything_ended() -> t.Iterator[None]:
    yield
    end_serving()


@pytest.fixture
def events() -> list[str]:
    return []


@pytest.fixture
def app(events: list[str]) -> Flask:
    app = Flask(__name__, static_folder=None)

    @app.before_serving
    async def start() -> None:
        await asyncio.sleep(0)
        events.append(f"start on {'the' if _on_background_loop() else 'another'} loop")

    @app.get("/")
    async def index() -> str:
        events.append("view")
        return "on" if _on_background_loop() else "off"

    return app


def _on_background_loop() -> bool:
    return asyncio.get_running_loop() is background_loop()


def test_it_begins_with_the_first_request_on_the_loop_of_async_views(
    app: Flask, events: list[str]
) -> None:
    client = Client(app)
    assert client.get("/").text == client.get("/").text == "on"
    assert events == ["start on the loop", "view", "view"]


def test_requests_that_come_meanwhile_wait_for_it(app: Flask, events: list[str]) -> None:
    entered, go_on = threading.Event(), threading.Event()

    @app.before_serving
    def wait() -> None:
        entered.set()
        go_on.wait(10)
        events.append("started")

    threads = [threading.Thread(target=Client(app).get, args=("/",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    assert entered.wait(10) and "view" not in events
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert events == ["start on the loop", "started", *["view"] * 5]


def test_a_start_that_fails_serves_nothing_and_is_tried_again(events: list[str]) -> None:
    app = Flask(__name__)
    app.add_url_rule("/", "index", lambda: "served")
    failing = [LookupError("no pool")]

    @app.while_serving
    def pool() -> t.Iterator[None]:
        events.append("open")
        yield
        events.append("close")

    @app.while_serving
    def fail() -> t.Iterator[None]:
        if failing:
            raise failing.pop()
        yield

    with pytest.raises(RuntimeError, match="no pool"):
        Client(app).get("/")
    assert events == ["open", "close"]
    assert Client(app).get("/").text == "served"
    assert events == ["open", "close", "open"]


def test_test_clients_and_requests_of_asgi_servers_begin_nothing(
    app: Flask, events: list[str]
) -> None:
    app.wsgi_app = lambda *args: Flask.wsgi_app(app, *args)  # type: ignore[method-assign]
    for transport in ("wsgi", "asgi"):
        assert app.test_client(transport=transport).get("/").text == "on"
    assert events == ["view", "view"]


def test_what_a_lifespan_yields_does_not_disturb(events: list[str]) -> None:
    @contextlib.asynccontextmanager
    async def lifespan(app: Flask) -> t.AsyncIterator[dict[str, str]]:
        events.append("entered")
        yield {"key": "value"}

    app = Flask(__name__, lifespan=lifespan)
    app.add_url_rule("/", "index", lambda: "served")
    assert Client(app).get("/").text == "served" and events == ["entered"]


def test_it_has_no_context_variables_of_the_first_request(app: Flask) -> None:
    user = contextvars.ContextVar("user", default="nobody")
    seen: list[str] = []

    @app.while_serving
    async def look() -> t.AsyncIterator[None]:
        seen.append(user.get())
        yield
        seen.append(user.get())

    app.after_serving(lambda: seen.append(user.get()))
    user.set("ada")
    Client(app).get("/")
    end_serving()
    assert seen == ["nobody"] * 3


# -- a signal while it starts -------------------------------------------------------------------


class Alarm(BaseException):
    """What a server's signal handler raises in the thread that serves."""


def ring(number: int, frame: object) -> None:
    raise Alarm


@pytest.fixture
def going_on(app: Flask, events: list[str]) -> t.Iterator[threading.Event]:
    """Have a signal come while the application starts; it goes on when the event is set."""
    go_on = threading.Event()
    serving = threading.get_ident()

    @app.while_serving
    async def interrupt() -> t.AsyncIterator[None]:
        signal.pthread_kill(serving, signal.SIGUSR1)
        try:
            await asyncio.to_thread(go_on.wait, 10)
            yield
        finally:
            events.append("undone")

    app.after_serving(lambda: events.append("stop"))
    before = signal.signal(signal.SIGUSR1, ring)
    with pytest.raises(Alarm):
        Client(app).get("/")
    yield go_on
    signal.signal(signal.SIGUSR1, before)


def test_one_that_a_signal_leaves_alone_goes_on_and_is_ended(
    app: Flask, events: list[str], going_on: threading.Event
) -> None:
    going_on.set()
    assert Client(app).get("/").text == "on"
    end_serving()
    assert events == ["start on the loop", "view", "undone", "stop"]


def test_one_that_has_not_started_when_the_process_ends_is_undone(
    app: Flask, events: list[str], going_on: threading.Event
) -> None:
    ending = threading.Thread(target=end_serving)
    ending.start()
    going_on.set()
    ending.join(10)
    assert sorted(events) == ["start on the loop", "stop", "undone"]


# -- requests under way -------------------------------------------------------------------------


async def chunks() -> t.AsyncIterator[str]:
    yield "a"
    yield "b"


KINDS: dict[str, t.Callable[[], t.Any]] = {
    "stream": lambda: iter(["a", "b"]),
    "async stream": chunks,
    "empty": lambda: ("", 204),
    "closing": lambda: asyncflask.Response("a"),
    "starlette": lambda: StreamingResponse(chunks()),
}


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Give an event that tells of a shutdown which waits for requests."""
    looked, sleep = threading.Event(), anyio.sleep

    async def look(seconds: float) -> None:
        looked.set()
        await sleep(seconds)

    monkeypatch.setattr(anyio, "sleep", look)
    return looked


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["close", "forget"])
def test_what_comes_after_serving_waits_until_a_body_is_closed(
    app: Flask, events: list[str], kind: str, end: str, looked: threading.Event
) -> None:
    app.after_serving(lambda: events.append("after"))
    app.add_url_rule("/body", "body", KINDS[kind])

    @app.after_request
    def close(response: asyncflask.Response) -> asyncflask.Response:
        if kind == "closing":
            response.call_on_close(lambda: None)
        return response

    result = t.cast(t.Any, app(create_environ("/body"), lambda *args: None))
    ending = threading.Thread(target=end_serving)
    ending.start()
    assert looked.wait(3)
    events.append("close")
    if end == "close":
        result.close()
    del result
    ending.join(3)
    assert events == ["start on the loop", "close", "after"]
    assert app._under_way == set()


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_what_comes_after_serving_waits_for_views(
    app: Flask, events: list[str], colour: str, looked: threading.Event
) -> None:
    app.after_serving(lambda: events.append("after"))
    entered = threading.Event()

    def block() -> str:
        entered.set()
        looked.wait(3)
        events.append("view ends")
        return ""

    async def wait() -> str:
        return await asyncio.to_thread(block)

    app.add_url_rule("/slow", "slow", block if colour == "sync" else wait)
    serving = threading.Thread(target=Client(app).get, args=("/slow",))
    serving.start()
    assert entered.wait(10)
    end_serving()
    serving.join(10)
    assert events == ["start on the loop", "view ends", "after"]


@pytest.mark.parametrize("kind", ["one piece", "error", "not sent"])
def test_other_requests_are_over_when_they_have_returned(app: Flask, kind: str) -> None:
    app.add_url_rule("/", "piece", lambda: "piece")

    def fail(*args: t.Any) -> t.NoReturn:
        raise LookupError("no start")

    environ = create_environ("/none" if kind == "error" else "/")
    with contextlib.suppress(LookupError):
        body = app(environ, fail if kind == "not sent" else lambda *args: None)
        assert body
    assert app._under_way == set()


# -- inside of another application --------------------------------------------------------------


WARNING = "nothing runs what it does before and after serving"


@pytest.mark.anyio
@pytest.mark.parametrize("way", ["dispatcher", "bridge", "mount as WSGI"])
async def test_an_application_whose_lifespan_nobody_runs_is_warned_of_once(
    app: Flask, events: list[str], way: str, caplog: pytest.LogCaptureFixture
) -> None:
    outer = Flask("outer")
    serving: t.Any = outer
    if way == "dispatcher":
        dispatcher = DispatcherMiddleware(outer.wsgi_app, {"/inner": app})
        outer.wsgi_app = dispatcher  # type: ignore[method-assign]
    elif way == "bridge":
        serving = WsgiToAsgi(DispatcherMiddleware(outer, {"/inner": app}))
    else:
        outer.mount("/inner", app, protocol="wsgi")
    async with Lifespan(serving):
        for _ in range(2):
            assert (await fetch(serving, "GET", "/inner/")).text == "off"
    assert events == ["view", "view"]
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert WARNING in caplog.text and repr(app) in caplog.text and "mount()" in caplog.text


@pytest.mark.anyio
async def test_an_application_that_has_its_lifespan_run_or_has_none_is_not_warned_of(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    outer = Flask("outer", static_folder=None)
    outer.mount("/inner", app)
    plain = Flask("plain", static_folder=None)
    outer.wsgi_app = DispatcherMiddleware(  # type: ignore[method-assign]
        outer.wsgi_app, {"/plain": plain}
    )
    async with Lifespan(outer):
        assert (await fetch(outer, "GET", "/inner/")).text == "off"
        assert (await fetch(outer, "GET", "/plain/")).status == 404
    # Without a lifespan of the server's.
    assert (await fetch(outer, "GET", "/inner/")).text == "off"
    assert caplog.records == []


SCRIPT = """
import asyncio, os, sys
from werkzeug.test import Client
from asyncflask import Flask

app = Flask("app")

def tell(what):
    os.write(1, f"{what} ".encode())

@app.while_serving
async def pool():
    app.loop = asyncio.get_running_loop()
    tell("open")
    yield
    await asyncio.to_thread(tell, "async")
    tell("close" if asyncio.get_running_loop() is app.loop else "elsewhere")

@app.after_serving
def after():
    tell("after")

@app.get("/")
async def index():
    tell("view" if asyncio.get_running_loop() is app.loop else "elsewhere")
    return ""

Client(app).get("/")
if "fork" in sys.argv:
    child = os.fork()
    if not child:
        tell("|")
        Client(app).get("/")
        sys.exit()
    os.waitpid(child, 0)
    tell("|")
if "fail" in sys.argv:
    raise LookupError("the process fails")
"""


@pytest.mark.parametrize(
    ("arguments", "output"),
    [
        ((), "open view async close after"),
        (("fail",), "open view async close after"),
        (("fork",), "open view | open view async close after | async close after"),
    ],
)
def test_it_ends_with_the_process_and_a_fork_has_its_own(
    arguments: tuple[str, ...], output: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.stdout.split() == output.split(), result.stderr
