"""Mounted applications, Flask's and ours, are torn down once and closed once, whatever happens."""

from __future__ import annotations

import asyncio
import typing as t

import flask
import pytest

import asyncflask
from asyncflask.adapters import WsgiToAsgi
from asyncflask.lanes import Workers
from tests.kit.drive import Exchange
from tests.kit.drive import LEAVE
from tests.kit.endings import ENDS
from tests.kit.endings import fail
from tests.kit.endings import streaming
from tests.kit.leaks import no_tasks_left
from tests.kit.torn import ORDER
from tests.kit.torn import Problem
from tests.kit.torn import Told
from tests.kit.torn import Torn

pytestmark = [pytest.mark.anyio, pytest.mark.case("A1")]

Build: t.TypeAlias = t.Callable[[Torn], None]

#: The framework of what is mounted, the colour of its callbacks, and how it is mounted.
MOUNTED = [
    (framework, colour, way)
    for framework, colour in [("flask", "sync"), ("asyncflask", "sync"), ("asyncflask", "async")]
    for way in ("adapter", "mount")
]
each_mounted = pytest.mark.parametrize("mounted", MOUNTED, ids="-".join, indirect=True)
each_way = pytest.mark.parametrize("by", ["task", "scope"])
each_stream = pytest.mark.parametrize("kept", [True, False], ids=["with context", "without"])


class Closings:
    """WSGI middleware that counts what it gives out, and how often each is closed."""

    def __init__(self, wsgi_app: t.Any) -> None:
        self._wsgi_app = wsgi_app
        self.counts: list[int] = []

    def __call__(self, environ: t.Any, start_response: t.Any) -> t.Iterator[bytes]:
        number = len(self.counts)
        self.counts.append(0)
        try:
            return _Closing(self, number, self._wsgi_app(environ, start_response))
        except BaseException:
            # Nothing was given out.
            self.counts[number] = 1
            raise


class _Closing:
    def __init__(self, closings: Closings, number: int, result: t.Any) -> None:
        self._closings = closings
        self._number = number
        self._result = result
        self._iterator = iter(result)

    def __iter__(self) -> t.Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return t.cast(bytes, next(self._iterator))

    def close(self) -> None:
        self._closings.counts[self._number] += 1
        if hasattr(self._result, "close"):
            self._result.close()


class Mounted:
    """A :class:`Torn` application inside an ASGI one."""

    def __init__(self, framework: str, colour: str, way: str) -> None:
        module = flask if framework == "flask" else asyncflask
        # Flask's functions are sync ones.
        teardowns = "sync" if framework == "flask" else "mixed"
        self.torn = Torn(colour, teardowns, module)
        self.is_flask = framework == "flask"
        #: Whether it is called as a WSGI application.
        self.by_wsgi = self.is_flask or way == "adapter"
        self.outer = asyncflask.Flask("outer", static_folder=None)
        self.pools = [self.outer._workers, Workers(4)]
        self.closings = Closings(self.torn.app.wsgi_app)
        app = self.torn.app
        if self.is_flask:
            app.wsgi_app = self.closings
        else:
            self.pools.append(app._workers)
        self._way = way

    def ready(self) -> t.Any:
        """Give the ASGI application with all that was added to the mounted one."""
        app = self.torn.ready()
        if self._way == "mount":
            self.outer.mount("/legacy", app)
            return self.outer
        return WsgiToAsgi(app if self.is_flask else self.closings, workers=self.pools[1])

    def ask(self, method: str = "GET", path: str = "/bp/", **options: t.Any) -> Exchange:
        """Make a request."""
        prefix = "/legacy" if self._way == "mount" else ""
        return Exchange(self.ready(), method, prefix + path, **options)

    def check(self, told: Told | tuple[Told, ...], *order: str, **options: t.Any) -> None:
        """Assert that everything was torn down, closed and given back."""
        self.torn.check(told, *order, **options)
        assert self.closings.counts == [1] * self.by_wsgi
        assert [pool._busy for pool in self.pools] == [0] * len(self.pools)


@pytest.fixture
async def mounted(request: pytest.FixtureRequest) -> t.AsyncIterator[Mounted]:
    async with no_tasks_left():
        yield Mounted(*request.param)


# -- requests that end by themselves ------------------------------------------------------------


@each_mounted
@pytest.mark.parametrize(("build", "status", "told"), ENDS, ids=[end[0].__name__ for end in ENDS])
async def test_whatever_a_request_does_it_is_torn_down(
    mounted: Mounted, build: Build, status: int, told: Told
) -> None:
    build(mounted.torn)
    async with mounted.ask() as exchange:
        answer = await exchange.end()
    # What an application lets pass is answered for it, if it is called by WSGI.
    assert answer.status == (status or (500 if mounted.by_wsgi else 0))
    mounted.check(told)


@each_mounted
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/bp/", 405),
        ("GET", "/bp", 308),
        ("GET", "/bp/number/x", 404),
    ],
)
async def test_requests_that_reach_no_view_are_torn_down(
    mounted: Mounted, method: str, path: str, status: int
) -> None:
    mounted.torn.view(fail)
    mounted.torn.bp.add_url_rule("/number/<int:number>", "number", fail)
    async with mounted.ask(method, path) as exchange:
        answer = await exchange.end()
    assert answer.status == status
    mounted.check(None, *ORDER[1:])


# -- clients that leave, and requests that are cancelled ----------------------------------------


@each_mounted
async def test_a_client_that_leaves_within_its_body_is_torn_down(mounted: Mounted) -> None:
    request = mounted.torn.framework.request
    mounted.torn.view(lambda: request.get_data(), methods=["POST"])
    async with mounted.ask("POST", body=[b"half", LEAVE], length=100) as exchange:
        answer = await exchange.end()
    assert answer.error is None
    mounted.check(None)


@each_mounted
@pytest.mark.parametrize("send_fails", [True, False])
async def test_a_client_that_leaves_within_a_view_is_torn_down_after_it(
    mounted: Mounted, send_fails: bool
) -> None:
    mounted.torn.view(lambda: "ok")
    mounted.torn.at["view"] = lambda: exchange.disconnect(send_fails)
    async with mounted.ask() as exchange:
        answer = await exchange.end()
    assert answer.error is None
    mounted.check(None)


@each_mounted
@each_way
@pytest.mark.parametrize("point", ["before", "view", "after", *ORDER])
async def test_a_request_that_is_cancelled_is_torn_down(
    mounted: Mounted, point: str, by: str
) -> None:
    torn = mounted.torn
    torn.bp.before_request(torn.step("before", lambda: None))
    torn.bp.after_request(torn.step("after", lambda response: response))
    torn.view(lambda: "ok")
    torn.at[point] = lambda: exchange.cancel(by)
    async with mounted.ask() as exchange:
        answer = await exchange.end()
    assert isinstance(answer.error, asyncio.CancelledError) or by == "scope"
    told: tuple[Told, ...] = (None,)
    if torn.colour == "async" and point not in ORDER:
        # It reaches a thread that waits; one that is about to it may reach too late.
        told = (asyncio.CancelledError, None) if mounted.by_wsgi else (asyncio.CancelledError,)
    # By WSGI it is known which cancellation is the request's.
    may_stop = point in ORDER and by == "task" and not mounted.by_wsgi
    mounted.check(told, interrupted=point if may_stop else None)


# -- streams ------------------------------------------------------------------------------------


def stream(mounted: Mounted, kept: bool, fails_at: int = -1) -> None:
    streaming(mounted.torn, mounted.torn.colour, kept, fails_at)


def check_stream(mounted: Mounted, kept: bool, *told: Told) -> None:
    """Assert that a stream with context was torn down after its end, others before their begin.

    Flask does the one and the other to a stream with context, once it has begun.
    """
    torn = mounted.torn
    after = kept and not mounted.is_flask
    if torn.earlier:
        after = True
        now = torn.log, torn.told
        [(torn.log, torn.told)] = torn.earlier
        torn.check(None)
        torn.log, torn.told = now
    if not after:
        streams = [index for index, (name, _) in enumerate(torn.log) if name == "stream"]
        assert streams in ([], [len(torn.log) - 2, len(torn.log) - 1]), torn.log
        torn.log = [entry for entry in torn.log if entry[0] != "stream"]
    mounted.check(told if after else None)


@each_mounted
@each_stream
@pytest.mark.parametrize("fails_at", [-1, 0, 2])
async def test_a_stream_that_ends_is_torn_down(
    mounted: Mounted, kept: bool, fails_at: int
) -> None:
    stream(mounted, kept, fails_at)
    async with mounted.ask() as exchange:
        answer = await exchange.end()
    answered = fails_at < 0 or (fails_at == 0 and mounted.by_wsgi)
    assert answer.complete == answered
    assert type(answer.error) is (type(None) if answered else Problem)
    check_stream(mounted, kept, Problem if fails_at >= 0 else None)


@each_mounted
@each_stream
@pytest.mark.parametrize("how", ["says so", "send fails", "server fails"])
@pytest.mark.parametrize("begun", [True, False])
async def test_a_stream_whose_client_leaves_is_torn_down(
    mounted: Mounted, begun: bool, how: str, kept: bool
) -> None:
    stream(mounted, kept)

    def leave() -> None:
        if how == "server fails":
            exchange.fail_sends(RuntimeError("a fault of the server"))
        else:
            exchange.disconnect(send_fails=how == "send fails")

    if not begun:
        mounted.torn.at["view"] = leave
    async with mounted.ask() as exchange:
        if begun:
            exchange.stop_reading()
            await exchange.blocked()
            leave()
            exchange.read_on()
        await exchange.end()
    # A thread that is ahead may have come to the end of so short a stream.
    assert not exchange.answer.complete or (mounted.by_wsgi and how == "says so")
    check_stream(mounted, kept, GeneratorExit, asyncio.CancelledError, None)


@each_mounted
@each_way
@each_stream
@pytest.mark.parametrize("message", [0, 1, 2])
async def test_a_stream_that_is_cancelled_is_torn_down(
    mounted: Mounted, message: int, by: str, kept: bool
) -> None:
    stream(mounted, kept)
    async with mounted.ask() as exchange:
        exchange.cancel_at(message, by)
        await exchange.end()
    check_stream(mounted, kept, GeneratorExit, asyncio.CancelledError, None)
