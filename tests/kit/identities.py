"""An application that tells, at every stage of a request, for whom it takes that request.

Each request names its sender in its path, its query, a header, a cookie, the session and the
body, and the stages pass the name on through ``g`` and a ContextVar. What they see in all of
these goes into the response, so that its sender finds out if anything was of somebody else.
"""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import json
import random
import re
import typing as t
from collections import deque
from dataclasses import dataclass

from asyncflask import abort
from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import g
from asyncflask import inline
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import stream_with_context
from asyncflask.ctx import _AppCtxGlobals

from .drive import Exchange

NOTHING = "nothing"
#: Bytes of a body that is larger than what a server takes in ahead.
LARGE = 300_000

passed_on = contextvars.ContextVar("passed_on", default=NOTHING)
_find_status = re.compile(rb"HTTP/1.1 (\d{3})").match


# -- the application ---------------------------------------------------------------------------


def seen() -> list[str]:
    """Tell for whom the request is, by all that is known of it."""
    this = request._get_current_object()  # type: ignore[attr-defined]
    return [
        this.path.rpartition("/")[2],
        this.view_args["who"],
        this.args["who"],
        this.headers["X-Who"],
        this.cookies["who"],
        session["who"],
        g.who,
        passed_on.get(),
    ]


def report() -> str:
    """Tell what all the stages so far have seen, one line for each."""
    g.trail.append(seen())
    return "".join(f"{json.dumps(line)}\n" for line in g.trail)


def begin() -> str | None:
    """Note what is there already, which is nothing, and pass the name on."""
    g.found = [passed_on.get(), g.get("who", NOTHING), session.get("written", NOTHING)]
    g.who = t.cast("dict[str, str]", request.view_args)["who"]
    passed_on.set(g.who)
    if "keep" in request.args:
        session["written"] = g.who
    g.trail = [seen()]
    return report() if "refuse" in request.args else None


def finish(response: Response) -> Response:
    response.headers["X-Found"] = json.dumps(g.found)
    response.headers["X-After"] = json.dumps(seen())
    response.set_cookie("who", g.who)
    return response


def handle(error: Exception) -> tuple[str, int]:
    return report(), 418


def plain() -> str:
    return report()


async def awaits() -> str:
    for _ in range(2):
        await asyncio.sleep(0)
        g.trail.append(seen())
    return report()


def calls_async() -> str:
    return t.cast(str, current_app.ensure_sync(awaits)())


async def calls_thread() -> str:
    g.trail.append(await asyncio.to_thread(seen))
    return report()


def raises() -> t.NoReturn:
    raise LookupError(report())


async def aborts() -> t.NoReturn:
    await asyncio.sleep(0)
    abort(409)


def reads() -> str:
    g.trail.append(sorted(set(request.get_data(as_text=True).split())))
    return report()


async def reads_form() -> str:
    await asyncio.sleep(0)
    return reads()


def streams() -> t.Iterator[str]:
    def chunks() -> t.Iterator[str]:
        for _ in range(2):
            yield json.dumps(seen()) + "\n"

    return stream_with_context(chunks())


async def streams_async() -> t.AsyncIterator[str]:
    async def chunks() -> t.AsyncIterator[str]:
        for _ in range(2):
            await asyncio.sleep(0)
            yield json.dumps(seen()) + "\n"

    return stream_with_context(chunks())


VIEWS: tuple[t.Callable[[], t.Any], ...] = (
    plain,
    awaits,
    calls_async,
    calls_thread,
    raises,
    aborts,
    reads,
    reads_form,
    streams,
    streams_async,
)
#: The colours of the hooks around a view: before, after and error handler, teardown.
COLOURS = ["".join(colours) for colours in itertools.product("sa", repeat=3)]


def of_colour(colour: str, func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Give *func* as it is, or as an async function."""

    async def async_func(*args: t.Any) -> t.Any:
        await asyncio.sleep(0)
        return func(*args)

    return func if colour == "s" else async_func


def without_name(view: t.Callable[[], t.Any]) -> t.Callable[..., t.Any]:
    """Give the view without the argument that its rule has."""
    if asyncio.iscoroutinefunction(view):

        async def async_view(who: str) -> t.Any:
            return await view()

        return async_view
    return lambda who: view()


class SharedGlobals(_AppCtxGlobals):
    """A ``g`` that is the same for all, as it must not be."""

    _shared: t.ClassVar[dict[str, t.Any]] = {}

    def __init__(self) -> None:
        object.__setattr__(self, "__dict__", self._shared)


def create_app() -> Flask:
    """Make the application; what its teardown functions have found is under ``/found``."""
    app = Flask(__name__)
    app.secret_key = "for the tests"
    begun, torn_down = itertools.count(), itertools.count()
    mistakes: list[str] = []

    def start() -> str | None:
        next(begun)
        return begin()

    def end(exc: BaseException | None) -> None:
        if "who" in g and set(seen()) != {request.path.rpartition("/")[2]}:
            mistakes.append(f"{request.path} was torn down with {seen()}")

    @inline
    def count(exc: BaseException | None) -> None:
        if "who" in g:
            next(torn_down)

    for colours in COLOURS:
        blueprint = Blueprint(colours, __name__, url_prefix=f"/{colours}")
        blueprint.before_request(of_colour(colours[0], start))
        blueprint.after_request(of_colour(colours[1], finish))
        blueprint.register_error_handler(LookupError, of_colour(colours[1], handle))
        blueprint.register_error_handler(409, of_colour(colours[1], handle))
        blueprint.teardown_request(of_colour(colours[2], end))
        blueprint.teardown_request(count)
        for view in VIEWS:
            name = view.__name__
            methods = ["GET", "POST"]
            blueprint.add_url_rule(f"/{name}/<who>", name, without_name(view), methods=methods)
        app.register_blueprint(blueprint)

    @app.get("/found")
    async def found() -> dict[str, t.Any]:
        return {"mistakes": mistakes, "begun": next(begun), "torn down": next(torn_down)}

    return app


app = create_app()


async def control(scope: t.Any, receive: t.Any, send: t.Any) -> None:
    """A bare application that passes the name on in the ContextVar, and takes no care."""
    if scope["type"] != "http":
        return
    found, who = passed_on.get(), scope["path"].rpartition("/")[2]
    passed_on.set(who)
    while (await receive()).get("more_body"):
        continue
    body = json.dumps([who]).encode()
    headers = [
        (b"content-length", str(len(body)).encode()),
        (b"x-found", json.dumps([found]).encode()),
        (b"x-after", json.dumps([passed_on.get()]).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


# -- its clients -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wish:
    """A request of somebody's."""

    who: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def raw(self) -> bytes:
        """The request on the wire."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def exchange(self, app: t.Any) -> Exchange:
        """The request in process."""
        # Every test puts the lint around its applications anyway.
        options = {"headers": self.headers, "body": self.body, "lint": False}
        return Exchange(app, self.method, self.target, **options)

    def mistakes(self, headers: t.Sequence[tuple[str, str]], body: bytes) -> list[str]:
        """Tell what of a response is not for the one who asked, or was there before it."""
        named = dict(headers)
        lines = [json.loads(line) for line in body.splitlines()] + [json.loads(named["x-after"])]
        values = {value for line in lines for value in line}
        values |= {value for line in set_cookies(headers) for value in line}
        found = set(json.loads(named["x-found"]))
        mistakes = [f"{self.target}: saw {value}" for value in values - {self.who}]
        return mistakes + [f"{self.target}: found {value}" for value in found - {NOTHING}]


def set_cookies(headers: t.Sequence[tuple[str, str]]) -> t.Iterator[list[str]]:
    """Give the names in the cookies of a response."""
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    for name, value in headers:
        if name == "set-cookie":
            key, _, cookie = value.partition(";")[0].partition("=")
            yield [cookie] if key == "who" else list(serializer.loads(cookie).values())


def wishes(count: int, seed: int) -> deque[Wish]:
    """Make requests of all kinds, in an order that *seed* decides, each of somebody else."""
    rng = random.Random(seed)
    serializer = app.session_interface.get_signing_serializer(app)  # type: ignore[attr-defined]
    made: deque[Wish] = deque()
    for number in range(count):
        who = f"who-{seed}-{number}"
        view = rng.choice(VIEWS).__name__
        options = rng.choice(["&keep", "", "", ""]) + rng.choice(["&refuse"] + [""] * 19)
        cookies = f"who={who}; session={serializer.dumps({'who': who})}"
        size = rng.choice([1, 10, 1000]) if rng.random() < 0.9 else LARGE // len(who)
        body = f"{who} ".encode() * size if view.startswith("reads") else b""
        target = f"/{rng.choice(COLOURS)}/{view}/{who}?who={who}{options}"
        headers = {"X-Who": who, "Cookie": cookies}
        made.append(Wish(who, "POST" if body else "GET", target, headers, body))
    return made


async def read_response(reader: asyncio.StreamReader) -> tuple[list[tuple[str, str]], bytes]:
    """Read a response from a connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    if _find_status(head) is None:
        raise AssertionError(f"This is no response: {head!r}")
    headers = []
    for line in head.decode("latin-1").split("\r\n")[1:-2]:
        name, _, value = line.partition(": ")
        headers.append((name.lower(), value))
    named = dict(headers)
    if "content-length" in named:
        return headers, await reader.readexactly(int(named["content-length"]))
    body = b""
    while size := int(await reader.readline(), 16):
        body += (await reader.readexactly(size + 2))[:-2]
    await reader.readexactly(2)
    return headers, body


async def ask_for_all(host: str, port: int, asked: deque[Wish], connections: int) -> list[str]:
    """Ask for everything over many connections, kept alive and pipelined; give the mistakes."""
    mistakes: list[str] = []
    rng = random.Random(len(asked))

    async def ask() -> None:
        reader, writer = await asyncio.open_connection(host, port)
        while asked:
            together = [asked.popleft() for _ in range(min(rng.choice([1, 1, 2, 4]), len(asked)))]
            writer.writelines([wish.raw for wish in together])
            await writer.drain()
            for wish in together:
                mistakes.extend(wish.mistakes(*await read_response(reader)))
            if rng.random() < 0.01:
                # One who leaves without an answer, and another who goes on.
                writer.writelines([wish.raw for wish in together])
                writer.close()
                reader, writer = await asyncio.open_connection(host, port)
        writer.close()
        await writer.wait_closed()

    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(ask())
    return mistakes
