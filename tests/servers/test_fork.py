"""Applications that were used before their process forked, and servers with several workers."""

from __future__ import annotations

import json
import textwrap
import time
from pathlib import Path

import pytest

from tests.kit import fleet
from tests.kit.cases import Figure
from tests.kit.server import LIMIT
from tests.kit.server import module_of
from tests.kit.server import running
from tests.kit.server import Server

pytestmark = pytest.mark.case("A38")

#: Used at import: there are a background loop and a worker thread before the fork.
SOURCE = """
import asyncio
import os
import threading

from asyncflask import Flask

app = Flask(__name__)
lock = asyncio.Lock()


@app.before_request
def before():
    pass


@app.get("/sync")
def sync_view():
    return {"process": os.getpid(), "loaded in": loaded_in}


@app.get("/async")
async def async_view():
    async with lock:
        await asyncio.sleep(0)
    return {"process": os.getpid(), "loaded in": loaded_in}


@app.get("/stream")
async def stream():
    async def generate():
        yield '{"process": %d, ' % os.getpid()
        await asyncio.sleep(0)
        yield '"loaded in": %d}' % loaded_in

    return generate()


loaded_in = os.getpid()
for path in ("/sync", "/async", "/stream"):
    for transport in ("wsgi", "asgi"):
        assert app.test_client(transport=transport).get(path).status_code == 200
assert "asyncflask-loop" in [thread.name for thread in threading.enumerate()]
"""
PRELOADED = ("--preload", "--workers=2")
WORKERS = 2
#: What a worker writes when it starts.
STARTED = {
    "uvicorn": "Application startup complete",
    "hypercorn": "Running on",
    "granian": "Started worker",
    "granian-wsgi": "Started worker",
    "gunicorn-sync": "Booting worker",
    "gunicorn-gthread": "Booting worker",
    "gunicorn-asgi": "ASGI server listening",
}


def first_answers(server: Server, path: str) -> dict[int, int]:
    """Ask until each worker has answered; give the process that loaded the module for each."""
    seen: dict[int, int] = {}
    server.wait_for_output(STARTED[server.name], WORKERS)
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        with server.connect() as connection:
            connection.request("GET", path, headers={"Connection": "close"})
            response = connection.response()
            assert response.status == 200
            answer = json.loads(response.read())
        seen[answer["process"]] = answer["loaded in"]
        if len(seen) == WORKERS:
            return seen
    raise AssertionError(f"Only {seen} have answered {path}:\n{server.output}")


@pytest.mark.parametrize("path", ["/async", "/sync", "/stream"])
@pytest.mark.parametrize("name", ["gunicorn-sync", "gunicorn-gthread", "gunicorn-asgi"])
def test_every_worker_serves_an_application_that_was_used_before_the_fork(
    name: str, path: str, figure: Figure
) -> None:
    with fleet.start(name, SOURCE, *PRELOADED) as server:
        seen = first_answers(server, path)
        assert set(seen.values()) == {server.process.pid}
    figure(f"{name} --preload: first answers of {WORKERS} workers")


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian", "granian-wsgi"])
def test_every_worker_serves_its_own_copy(name: str, figure: Figure) -> None:
    with fleet.start(name, SOURCE, f"--workers={WORKERS}") as server:
        seen = first_answers(server, "/async")
        assert all(process == loaded_in for process, loaded_in in seen.items())
        assert seen.keys() == first_answers(server, "/sync").keys()
    figure(f"{name}: first answers of {WORKERS} workers")


@pytest.mark.parametrize("colour", ["async def", "def"])
def test_a_module_that_is_changed_is_served_anew(colour: str, figure: Figure) -> None:
    source = f"""
        from asyncflask import Flask

        app = Flask(__name__)

        @app.get("/")
        {colour} view():
            return "before"
        """
    with module_of(source) as (name, folder):
        options = ["--port=0", "--reload", f"--reload-dir={folder}", "--reload-delay=0.05"]
        with running(["-m", "uvicorn", *options, name], folder) as server:
            assert server.get("/") == "before"
            changed = textwrap.dedent(source).replace("before", "after")
            Path(folder, "served.py").write_text(changed, encoding="utf-8")
            server.wait_for_output(STARTED["uvicorn"], 2)
            assert server.get("/") == "after"
    figure(f"uvicorn --reload: first answer of a {colour} view that was changed")
