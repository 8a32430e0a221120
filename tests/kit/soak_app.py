"""What the long runs ask of: every kind of request that may leave something behind."""

from __future__ import annotations

import gc
import io
import logging
import sys
import typing as t

from jinja2 import DictLoader
from starlette.responses import StreamingResponse

import asyncflask
from asyncflask import abort
from asyncflask import Flask
from asyncflask import g
from asyncflask import redirect
from asyncflask import render_template
from asyncflask import request
from asyncflask import send_file
from asyncflask import session
from asyncflask import stream_with_context
from asyncflask.lanes import workers
from tests.kit.left import describe_threads

# Under load no thread is idle for so long, and at the end nobody has to wait for ten.
workers.IDLE_SECONDS = 1.0

app = Flask(__name__)
app.secret_key = "for the tests"
template = "{{ session.get('visits') }} {{ get_flashed_messages() }}"
app.jinja_loader = DictLoader({"visits": template})
logging.getLogger(app.name).addHandler(logging.NullHandler())
logging.getLogger(app.name).propagate = False


class Known(Exception):
    """An error that has a handler."""


@app.errorhandler(Known)
def answer(error: Known) -> tuple[str, int]:
    g.kept = error
    return "known", 400


@app.before_request
async def before() -> None:
    g.path = request.path


@app.teardown_request
async def teardown(error: BaseException | None) -> None:
    g.last_error = error


@app.get("/async/<int:number>")
async def async_view(number: int) -> str:
    return str(number)


@app.get("/sync/<int:number>")
def sync_view(number: int) -> dict[str, int]:
    return {"number": number}


@app.get("/looks")
async def looks() -> str:
    """Look at all that is made when somebody looks."""
    parts = [request.args, request.cookies, request.accept_mimetypes, request.accept_languages]
    return f"{parts} {request.url} {request.headers} {request.environ['PATH_INFO']}"


@app.get("/session")
async def async_session() -> str:
    session["visits"] = session.get("visits", 0) + 1
    return str(session["visits"])


@app.get("/sync-session")
def sync_session() -> str:
    asyncflask.flash("seen")
    return render_template("visits")


@app.get("/fail")
async def fail() -> str:
    raise LookupError("as told")


@app.get("/sync-fail")
def sync_fail() -> str:
    raise LookupError("as told")


@app.get("/known")
async def known() -> str:
    raise Known


@app.get("/abort")
def aborted() -> str:
    abort(403)


@app.get("/redirect")
async def redirected() -> t.Any:
    return redirect("/looks")


@app.get("/folder/")
async def folder() -> str:
    return "folder"


@app.get("/stream")
async def stream() -> t.Any:
    async def chunks() -> t.AsyncIterator[str]:
        for number in range(3):
            yield f"{request.path} {number}"

    return stream_with_context(chunks())


@app.get("/sync-stream")
def sync_stream() -> t.Any:
    def chunks() -> t.Iterator[str]:
        for number in range(3):
            yield f"{request.path} {number}"

    return stream_with_context(chunks())


@app.get("/endless")
async def endless() -> t.Any:
    async def chunks() -> t.AsyncIterator[bytes]:
        while True:
            yield b"x" * 100

    return stream_with_context(chunks())


@app.get("/file")
def file() -> t.Any:
    return send_file(io.BytesIO(b"x" * 1000), mimetype="text/plain")


@app.get("/starlette")
async def starlette() -> StreamingResponse:
    async def chunks() -> t.AsyncIterator[bytes]:
        for _ in range(3):
            yield b"chunk"

    return StreamingResponse(chunks())


@app.get("/watched", cancel_on_disconnect=True)
async def watched() -> str:
    return "watched"


@app.post("/form")
async def form() -> str:
    return request.form["field"]


@app.post("/sync-form")
def sync_form() -> str:
    return request.form["field"] + str(request.files.get("file"))


@app.post("/json")
async def json() -> t.Any:
    return request.json


@app.post("/upload", stream_body=True)
async def upload() -> str:
    return str(len(await request.stream.read()))


@app.get("/threads")
async def threads() -> list[str]:
    """Tell what the threads do, all but that of the loop."""
    return describe_threads()


@app.get("/blocks")
async def blocks() -> str:
    """Count what Python has in its memory, once all is freed that nobody holds."""
    gc.collect()
    return str(sys.getallocatedblocks())
