"""Both colours around the stages: bodies, serving, commands, and contexts pushed by hand."""

from __future__ import annotations

import asyncio
import functools
import typing as t

import anyio.lowlevel
import click
import pytest

from asyncflask import Blueprint
from asyncflask import current_app
from asyncflask import Flask
from asyncflask import g
from asyncflask import request
from asyncflask import Response
from asyncflask import session
from asyncflask import stream_with_context
from asyncflask.cli import AppGroup
from asyncflask.cli import with_appcontext
from asyncflask.lanes import runs_on_loop
from asyncflask.sessions import SecureCookieSession
from asyncflask.sessions import SecureCookieSessionInterface
from asyncflask.sessions import SessionInterface
from tests.colours import careful
from tests.colours import each_colour
from tests.colours import each_transport
from tests.colours import each_view
from tests.colours import Log
from tests.colours import painter


@pytest.fixture
def app() -> Flask:
    app = Flask(__name__, static_folder=None)
    app.secret_key = "key"
    return app


@pytest.fixture
def log() -> Log:
    return []


# -- bodies ----------------------------------------------------------------------------------


def pieces(noted: Log) -> t.Iterator[str]:
    assert not runs_on_loop()
    try:
        yield "one "
        yield request.path
    finally:
        noted.append("closed")


async def pieces_async(noted: Log) -> t.AsyncIterator[bytes]:
    assert runs_on_loop()
    try:
        yield b"one "
        await anyio.lowlevel.checkpoint()
        yield request.path.encode()
    finally:
        noted.append("closed")


@each_transport
@each_view
@each_colour
@pytest.mark.parametrize("wrapped", ["plain", "response", "tuple"])
def test_bodies_take_either_colour(
    app: Flask, log: Log, wrapped: str, colour: str, view_colour: str, transport: str
) -> None:
    generator = pieces if colour == "def" else pieces_async
    app.teardown_request(lambda exc: log.append("torn down"))

    def view() -> t.Any:
        body: t.Any = stream_with_context(generator(log))
        return {"plain": body, "response": Response(body), "tuple": (body, 200)}[wrapped]

    app.add_url_rule("/", "view", painter(view_colour)(view))
    assert app.test_client(transport=transport).get("/").text == "one /"
    assert log == ["closed", "torn down"]


@each_transport
@each_colour
def test_a_view_may_be_a_generator(app: Flask, colour: str, transport: str) -> None:
    def view() -> t.Iterator[str]:
        yield "one "
        yield "two"

    async def view_async() -> t.AsyncIterator[str]:
        yield "one "
        yield "two"

    app.add_url_rule("/", "view", view if colour == "def" else view_async)
    assert app.test_client(transport=transport).get("/").text == "one two"


# -- around serving --------------------------------------------------------------------------


def around(colour: str, log: Log, name: str) -> t.Callable[[], t.Any]:
    def generator() -> t.Iterator[None]:
        log.append(f"{name} start {current_app.name}")
        yield
        log.append(f"{name} end {current_app.name}")

    async def generator_async() -> t.AsyncIterator[None]:
        await anyio.lowlevel.checkpoint()
        log.append(f"{name} start {current_app.name}")
        yield
        await anyio.lowlevel.checkpoint()
        log.append(f"{name} end {current_app.name}")

    return generator if colour == "def" else generator_async


@each_colour
async def test_functions_around_serving_take_either_colour(log: Log, colour: str) -> None:
    app = Flask("app")
    bp = Blueprint("bp", __name__)
    paint = careful(colour)
    for owner, infix in ((app, ""), (bp, "app_")):
        for name in ("before", "after"):
            note = functools.partial(log.append, f"{name} {infix}serving")
            getattr(owner, f"{name}_{infix}serving")(paint(lambda note=note: note()))
        getattr(owner, f"while_{infix}serving")(around(colour, log, f"while {infix}serving"))
    app.register_blueprint(bp)
    async with app.async_test_client() as client:
        assert (await client.get("/")).status_code == 404
        log.append("served")
    assert log == [
        "before serving",
        "before app_serving",
        "while serving start app",
        "while app_serving start app",
        "served",
        "while app_serving end app",
        "while serving end app",
        "after app_serving",
        "after serving",
    ]


# -- commands --------------------------------------------------------------------------------


@each_colour
def test_commands_take_either_colour(app: Flask, colour: str) -> None:
    paint = painter(colour)

    def command() -> t.Any:
        return paint(lambda name: click.echo(f"{name} {current_app.name}"))

    group = AppGroup("group")
    bp = Blueprint("bp", __name__)
    for owner in (app.cli, group, bp.cli):
        owner.command("hello")(click.argument("name")(command()))
    app.cli.add_command(group)
    plain = with_appcontext(command())
    app.cli.add_command(click.Command("plain", None, plain, [click.Argument(["name"])]))
    app.register_blueprint(bp)
    runner = app.test_cli_runner()
    for args in (["hello"], ["group", "hello"], ["bp", "hello"], ["plain"]):
        result = runner.invoke(args=[*args, "x"])
        assert (result.output, result.exit_code) == (f"x {app.name}\n", 0)


@each_colour
def test_a_teardown_after_a_command_takes_either_colour(app: Flask, log: Log, colour: str) -> None:
    app.teardown_appcontext(painter(colour)(log.append))
    app.cli.command("nothing")(lambda: None)
    assert app.test_cli_runner().invoke(args=["nothing"]).exit_code == 0
    assert log == [None]


# -- contexts and sessions by hand -------------------------------------------------------------


class MemoryInterface(SecureCookieSessionInterface):
    """Keeps the sessions of an application in its extensions."""

    def open_session(self, app: Flask, request: t.Any) -> SecureCookieSession:
        return SecureCookieSession(app.extensions.get("kept", {}))

    def save_session(self, app: Flask, session: t.Any, response: Response) -> None:
        app.extensions["kept"] = dict(session)


class AsyncMemoryInterface(SessionInterface):
    async def open_session(self, app: Flask, request: t.Any) -> SecureCookieSession:
        await anyio.lowlevel.checkpoint()
        return MemoryInterface().open_session(app, request)

    async def save_session(self, app: Flask, session: t.Any, response: Response) -> None:
        await anyio.lowlevel.checkpoint()
        MemoryInterface().save_session(app, session, response)


@each_transport
@pytest.mark.parametrize("interface", [MemoryInterface, AsyncMemoryInterface])
def test_a_test_client_opens_sessions_of_either_colour(
    app: Flask, interface: type[SessionInterface], transport: str
) -> None:
    app.session_interface = interface()
    app.add_url_rule("/", "view", lambda: session["user"])
    client = app.test_client(transport=transport)
    with client.session_transaction() as transaction:
        transaction["user"] = "somebody"
    assert client.get("/").text == "somebody"


@each_colour
@pytest.mark.parametrize("form", ["with", "async with"])
@pytest.mark.parametrize("kind", ["app_context", "test_request_context"])
async def test_contexts_pushed_by_hand_run_teardowns_of_either_colour(
    app: Flask, log: Log, kind: str, form: str, colour: str
) -> None:
    app.teardown_appcontext(painter(colour)(lambda exc: log.append(g.pop("value"))))

    def push() -> None:
        with getattr(app, kind)():
            g.value = 1

    if form == "with":
        await asyncio.to_thread(push)
    else:
        async with getattr(app, kind)():
            g.value = 1
    assert log == [1]
