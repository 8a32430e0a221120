"""The lifespan of an application that a WSGI server serves."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import textwrap
import threading
import typing as t

import pytest
from werkzeug.test import Client

from asyncflask import Flask
from asyncflask.lanes import background_loop
from tests.kit.server import ROOT


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
