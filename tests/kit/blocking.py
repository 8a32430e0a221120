"""What test_blocking_views.py has served: views that block, and others beside them."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

from asyncflask import Flask
from asyncflask import g
from asyncflask import render_template_string
from asyncflask import request
from asyncflask import Response

app = Flask(__name__, static_folder=".", static_url_path="/files")
order = itertools.count()
#: A database pool that has fewer connections than there are threads.
connections = threading.Semaphore(3)


@app.before_request
def begin() -> None:
    """Be a sync hook of every view below ``/hooked``, and take a connection below ``/pool``."""
    if request.path.startswith("/pool"):
        connections.acquire()
        g.connected = True


@app.teardown_request
def end(exc: BaseException | None) -> None:
    if g.pop("connected", False):
        connections.release()


@app.get("/hooked")
async def hooked() -> str:
    await asyncio.sleep(1)
    return "hooked"


@app.get("/pool/sync")
def pool_sync() -> str:
    time.sleep(0.01)
    return "ok"


@app.get("/pool/async")
async def pool_async() -> str:
    await asyncio.sleep(0.01)
    return "ok"


@app.get("/pool/mixed")
def pool_mixed() -> str:
    return f"{app.ensure_sync(pool_async)()}"


plain = Flask("plain", static_folder=app.static_folder, static_url_path="/files")


@plain.get("/block")
def block() -> str:
    """Block, and tell the how-manieth view this was to begin."""
    number = next(order)
    time.sleep(0.5)
    return str(number)


@plain.get("/ping")
async def ping() -> str:
    return "pong"


@plain.get("/sync")
def sync() -> str:
    return "pong"


@plain.get("/template")
async def template() -> str:
    return render_template_string("{% for n in numbers %}{{ n }} {% endfor %}", numbers=range(20))


@plain.post("/upload")
async def upload() -> Response:
    return Response(str(len(request.get_data())))


@plain.get("/threads")
async def threads() -> str:
    return str(threading.active_count())
