"""Servers that break the rules of ASGI: the request ends, is torn down, and leaves nothing."""

from __future__ import annotations

import asyncio
import typing as t

import anyio
import pytest

from asyncflask import Flask
from asyncflask import request
from asyncflask import Response
from asyncflask import stream_with_context
from asyncflask.adapters.streams import TOGETHER
from tests.kit.drive import Exchange
from tests.kit.drive import LIMIT
from tests.kit.leaks import no_tasks_left
from tests.kit.sources import Source
from tests.kit.sources import SyncSource

# What a server does wrong is no fault of the application's.
pytestmark = [pytest.mark.anyio, pytest.mark.bare, pytest.mark.case("A40")]

SCOPE = {"type": "http", "method": "GET", "path": "/look", "headers": [(b"host", b"localhost")]}
OPTIONAL = {
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "scheme": "http",
    "raw_path": b"/look",
    "query_string": b"",
    "root_path": "",
    "client": ("127.0.0.1", 50000),
    "server": ("127.0.0.1", 8000),
    "state": {},
    "extensions": {},
}
REQUEST = {"type": "http.request", "body": b"body", "more_body": False}
MORE = {"type": "http.request", "body": b"bo", "more_body": True}
DISCONNECT = {"type": "http.disconnect"}
UNKNOWN = {"type": "http.telepathy", "body": b"thought"}


@pytest.fixture(autouse=True)
async def _no_tasks_left() -> t.AsyncIterator[None]:
    async with no_tasks_left():
        yield


class Broken:
    """A server that gives the messages it is told to give, and raises the errors among them."""

    def __init__(self, received: list[t.Any], send_error: BaseException | None, at: int) -> None:
        self.sent: list[t.Any] = []
        self._received = received
        self._send_error = send_error
        self._at = at

    async def receive(self) -> t.Any:
        return self.receive_at_once()

    def receive_at_once(self) -> t.Any:
        # The last one comes again and again.
        message = self._received.pop(0) if len(self._received) > 1 else self._received[0]
        if isinstance(message, BaseException):
            raise message
        return dict(message)

    async def send(self, message: t.Any) -> None:
        if self._send_error is not None and len(self.sent) >= self._at:
            raise self._send_error
        self.sent.append(message)

    @property
    def status(self) -> int:
        return t.cast(int, self.sent[0]["status"]) if self.sent else 0


class Served:
    """An application with views of all kinds, which notes its teardowns."""

    def __init__(self) -> None:
        self.app = Flask(__name__)
        self.torn_down: list[BaseException | None] = []
        # Large enough for a message each.
        chunks = [letter * TOGETHER for letter in "abc"]
        self.sources = {"sync": SyncSource(*chunks), "async": Source(*chunks)}
        self.app.teardown_request(self.torn_down.append)
        self.app.add_url_rule("/wait/<where>", view_func=self.wait, methods=["POST"])
        methods = ["GET", "POST"]
        for name in ("look", "stream"):
            for colour in ("sync", "async"):
                view = getattr(self, f"{name}_{colour}")
                self.app.add_url_rule(f"/{name}/{colour}", view_func=view, methods=methods)

    def look_sync(self) -> dict[str, t.Any]:
        environ = request.environ
        return {
            "addresses": [request.remote_addr, request.url, request.url_root, request.host],
            "query": [request.query_string.decode(), request.args.to_dict(), request.full_path],
            "environ": [environ["SERVER_NAME"], environ["SERVER_PROTOCOL"], environ["PATH_INFO"]],
            "headers": [request.headers.get("X-None"), request.user_agent.string],
            "cookies": request.cookies,
            "data": request.get_data(as_text=True),
        }

    async def wait(self, where: str) -> str:
        with anyio.move_on_after(0.05):
            if where == "here":
                await request.client_left()
            else:
                await asyncio.create_task(request.client_left())
            return "left"
        return "there"

    async def look_async(self) -> dict[str, t.Any]:
        await request.is_disconnected()
        return self.look_sync()

    def stream_sync(self) -> t.Any:
        return stream_with_context(t.cast(t.Any, self.sources["sync"]))

    async def stream_async(self) -> t.Any:
        return Response(t.cast(t.Any, stream_with_context(self.sources["async"])))

    async def ask(
        self,
        path: str,
        *received: t.Any,
        method: str = "GET",
        scope: dict[str, t.Any] = SCOPE,
        send_error: BaseException | None = None,
        at: int = 0,
        at_once: bool = False,
    ) -> Broken:
        server = Broken(list(received) or [DISCONNECT], send_error, at)
        receive: t.Any = server.receive
        if at_once:
            # Not a coroutine function: what it raises, it raises where it is called.
            receive = lambda: give(server.receive_at_once())  # noqa: E731
        scope = {**scope, "path": path, "method": method}
        if method == "POST" and "headers" in scope:
            scope["headers"] = [*scope["headers"], (b"transfer-encoding", b"chunked")]
        async with asyncio.timeout(LIMIT):
            await self.app(scope, receive, server.send)
        return server


async def give(message: t.Any) -> t.Any:
    return message


@pytest.fixture
def served() -> t.Iterator[Served]:
    served = Served()
    yield served
    assert len(served.torn_down) == 1
    for source in served.sources.values():
        assert source.closed <= 1 and (source.closed or not source.taken)


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("without", [[name] for name in OPTIONAL] + [list(OPTIONAL), ["headers"]])
async def test_what_a_scope_may_lack_is_not_missed(
    served: Served, colour: str, without: list[str]
) -> None:
    scope = {key: value for key, value in {**SCOPE, **OPTIONAL}.items() if key not in without}
    assert (await served.ask(f"/look/{colour}", scope=scope)).status == 200


@pytest.mark.parametrize("path", ["/look/sync", "/look/async", "/stream/sync", "/stream/async"])
@pytest.mark.parametrize(
    "received",
    [[DISCONNECT], [MORE, DISCONNECT], [UNKNOWN, DISCONNECT], [MORE, UNKNOWN, DISCONNECT]],
    ids=lambda received: " ".join(message["type"] for message in received),
)
async def test_a_client_that_leaves_early_gets_no_answer_but_an_end(
    served: Served, path: str, received: list[t.Any]
) -> None:
    server = await served.ask(path, *received, method="POST")
    # One of the views does not read the body.
    assert server.status in ([0, 200] if path == "/stream/sync" else [400])


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize(
    ("received", "data"),
    [
        ([{"type": "http.request"}], ""),
        ([{"type": "http.request", "more_body": True}, REQUEST], "body"),
        ([MORE, {"type": "http.request", "more_body": True}, REQUEST], "bobody"),
        ([UNKNOWN, MORE, UNKNOWN, REQUEST], "bobody"),
        ([REQUEST, REQUEST, REQUEST], "body"),
        ([REQUEST, UNKNOWN], "body"),
        ([REQUEST, RuntimeError("received after the end")], "body"),
    ],
)
async def test_odd_messages_leave_a_body_as_it_is(
    served: Served, colour: str, received: list[t.Any], data: str
) -> None:
    server = await served.ask(f"/look/{colour}", *received, method="POST")
    assert server.status == 200 and f'"data":"{data}"'.encode() in server.sent[1]["body"]


@pytest.mark.parametrize("where", ["here", "task"])
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    ("last", "answer"),
    [
        (RuntimeError("received after the end"), b"there"),
        (OSError("gone"), b"left"),
        (DISCONNECT, b"left"),
    ],
)
async def test_a_server_that_will_not_tell_who_left_has_a_client_that_stays(
    served: Served, last: t.Any, answer: bytes, at_once: bool, where: str
) -> None:
    server = await served.ask(f"/wait/{where}", REQUEST, last, method="POST", at_once=at_once)
    assert (server.status, server.sent[1]["body"]) == (200, answer)


@pytest.mark.parametrize("path", ["/stream/sync", "/stream/async"])
@pytest.mark.parametrize("last", [REQUEST, UNKNOWN, RuntimeError("received after the end")])
async def test_odd_messages_leave_a_stream_as_it_is(
    served: Served, path: str, last: t.Any
) -> None:
    server = await served.ask(path, REQUEST, last, method="POST")
    body = b"".join(message.get("body", b"") for message in server.sent)
    assert body == b"".join(letter * TOGETHER for letter in (b"a", b"b", b"c"))


@pytest.mark.parametrize("path", ["/look/sync", "/look/async"])
@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("broken")], ids=repr)
async def test_a_body_that_cannot_be_received_is_an_error(
    served: Served, path: str, error: Exception
) -> None:
    server = await served.ask(path, MORE, error, method="POST")
    assert server.status in (400, 500) and len(server.sent) == 2


@pytest.mark.parametrize("path", ["/look/sync", "/look/async", "/stream/sync", "/stream/async"])
@pytest.mark.parametrize("at", [0, 1, 2])
async def test_send_that_says_the_client_is_gone_ends_the_request_quietly(
    served: Served, path: str, at: int
) -> None:
    server = await served.ask(path, REQUEST, send_error=OSError("gone"), at=at)
    assert len(server.sent) == (min(at, 2) if path.startswith("/look") else at)


@pytest.mark.parametrize("path", ["/look/sync", "/look/async", "/stream/sync", "/stream/async"])
@pytest.mark.parametrize("at", [0, 1])
async def test_an_error_of_the_servers_own_send_goes_back_to_it_as_it_is(
    served: Served, path: str, at: int
) -> None:
    error = RuntimeError("sent where nothing may be sent")
    with pytest.raises(RuntimeError) as raised:
        await served.ask(path, REQUEST, send_error=error, at=at)
    assert raised.value is error


async def test_a_server_that_cancels_and_asks_no_more_is_left_alone(served: Served) -> None:
    async with Exchange(served.app, "GET", "/stream/async", lint=False) as exchange:
        await exchange.chunk()
        exchange.cancel("scope")
    assert not exchange.answer.complete
