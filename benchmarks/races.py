"""What is measured over HTTP: which applications, on which servers, against which others."""

from __future__ import annotations

import typing as t
from collections.abc import Callable
from dataclasses import dataclass

from .contenders import make_asyncflask
from .contenders import make_asyncflask_sync
from .contenders import make_flask
from .contenders import make_quart
from .contenders import make_starlette


@dataclass(frozen=True)
class Served:
    """An application on a server.

    :param make: makes it, in the server's process.
    """

    name: str
    server: t.Literal["uvicorn", "uvicorn --reset-contextvars", "gunicorn"]
    make: Callable[[], t.Any]
    path: str = "/"


@dataclass(frozen=True)
class Target:
    """One is to answer at least so many times as many requests as the other."""

    ours: str
    theirs: str
    times: float


@dataclass(frozen=True)
class Race:
    """Applications that give the same answer; the first is what the others are compared with."""

    name: str
    served: tuple[Served, ...]
    targets: tuple[Target, ...] = ()
    body: bytes = b"Hello, World!"


def make_mounted() -> t.Any:
    """Flask's application, mounted below two paths of asyncflask's."""
    from asyncflask import Flask

    app = Flask("benchmarks")
    flask = make_flask()
    app.mount("/", flask)
    app.mount("/legacy", flask)
    return app


def make_a2wsgi() -> t.Any:
    """Flask's application in a2wsgi's adapter, which has 10 threads by default."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(make_flask())


def make_a2wsgi_40() -> t.Any:
    """With as many threads as asyncflask has by default."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(make_flask(), workers=40)


def make_asgiref() -> t.Any:
    """Flask's application in the adapter that Flask's documentation names."""
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(make_flask())


def make_raw() -> t.Any:
    """No framework: what the server and the client can do at most."""
    head = {
        "type": "http.response.start",
        "status": 200,
        "headers": [(b"content-type", b"text/plain"), (b"content-length", b"13")],
    }
    body = {"type": "http.response.body", "body": b"Hello, World!"}

    async def app(scope: t.Any, receive: t.Any, send: t.Any) -> None:
        await send(head)
        await send(body)

    return app


RACES = (
    Race(
        "mounted",
        (
            Served("Flask in a2wsgi, 10 threads", "uvicorn", make_a2wsgi),
            Served("Flask in a2wsgi, 40 threads", "uvicorn", make_a2wsgi_40),
            # A request that sees the variables of the one before it fails in this adapter.
            Served("Flask in asgiref", "uvicorn --reset-contextvars", make_asgiref),
            Served("Flask mounted on /", "uvicorn", make_mounted),
            Served("Flask mounted on /legacy", "uvicorn", make_mounted, "/legacy/"),
        ),
        (
            Target("Flask mounted on /", "Flask in a2wsgi, 10 threads", 1.5),
            Target("Flask mounted on /legacy", "Flask in a2wsgi, 10 threads", 1.5),
            Target("Flask mounted on /", "Flask in a2wsgi, 40 threads", 1.5),
        ),
    ),
    Race(
        "gthread",
        (
            Served("Flask", "gunicorn", make_flask),
            Served("asyncflask", "gunicorn", make_asyncflask_sync),
        ),
        (Target("asyncflask", "Flask", 1.0),),
    ),
    Race(
        "async",
        (
            Served("Starlette", "uvicorn", make_starlette),
            Served("asyncflask", "uvicorn", make_asyncflask),
            Served("Quart", "uvicorn", make_quart),
            Served("no framework", "uvicorn", make_raw),
        ),
    ),
    Race(
        "sync",
        (
            Served("Starlette", "uvicorn", make_starlette, "/sync"),
            Served("asyncflask", "uvicorn", make_asyncflask, "/sync"),
            Served("Quart", "uvicorn", make_quart, "/sync"),
        ),
    ),
)
