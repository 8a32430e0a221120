"""A scripted ASGI client: sends a body as told, leaves, stalls, lies, and keeps what comes back.

One request from start to end::

    answer = await fetch(app, "POST", "/", body=[b"a", b"b"])

or step by step, every wait of which is limited::

    async with Exchange(app, "GET", "/stream") as exchange:
        assert await exchange.chunk() == b"first"
        exchange.disconnect()
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import typing as t
from collections import deque
from dataclasses import dataclass
from dataclasses import field

import anyio

from .lint import Lint

#: Seconds that any single wait may take.
LIMIT = 10.0

Message = t.MutableMapping[str, t.Any]


class _Step:
    """A step of a body that is not a chunk."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


#: In a body: nothing more comes until :meth:`Exchange.go_on`.
STALL = _Step("STALL")
#: In a body: the client leaves here.
LEAVE = _Step("LEAVE")


@dataclass
class Answer:
    """What came back."""

    messages: list[Message] = field(default_factory=list)
    #: What the application raised.
    error: BaseException | None = None

    @property
    def status(self) -> int:
        """The status; 0 if no response was started."""
        return next((m["status"] for m in self.messages if "status" in m), 0)

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The headers as text, in their order."""
        start = next((m for m in self.messages if "status" in m), {"headers": ()})
        return [(_text(name), _text(value)) for name, value in start["headers"]]

    def header(self, name: str) -> str | None:
        """Give a header, ``None`` if it is not there."""
        return dict(self.headers).get(name.lower())

    @property
    def chunks(self) -> list[bytes]:
        """The pieces of the body, empty ones left out."""
        return [m["body"] for m in self.messages if m.get("body")]

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(self.chunks)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def json(self) -> t.Any:
        """The body, parsed."""
        return json.loads(self.body)

    @property
    def complete(self) -> bool:
        """Whether the response came to its regular end."""
        last = self.messages[-1] if self.messages else {"type": ""}
        return last["type"] == "http.response.body" and not last.get("more_body", False)


class Exchange:
    """One HTTP request, driven step by step; ``async with`` starts it and waits for its end.

    :param app: any ASGI application.
    :param target: the path, with its query if there is one.
    :param headers: further headers.
    :param body: what to send: bytes, or a list of chunks, :data:`STALL` and :data:`LEAVE`.
    :param length: the Content-Length to announce; by default the true one if there is a body,
        ``None`` for a body of unknown length.
    :param scope: more for the scope.
    :param lint: whether the application is put into a :class:`Lint`.
    """

    def __init__(
        self,
        app: t.Callable[..., t.Any],
        method: str = "GET",
        target: str = "/",
        *,
        headers: t.Mapping[str, str] | t.Sequence[tuple[str, str]] = (),
        body: bytes | t.Sequence[bytes | _Step] = b"",
        length: int | None = -1,
        scope: t.Mapping[str, t.Any] | None = None,
        lint: bool = True,
    ) -> None:
        self.answer = Answer()
        self._app = Lint(app) if lint else app
        self._script = deque([body] if isinstance(body, bytes) else body)
        pairs = list(headers.items() if isinstance(headers, t.Mapping) else headers)
        self.scope = _scope(method, target, [*self._length_header(length), *pairs])
        self.scope |= scope or {}
        self._asked = False
        self._gone = asyncio.Event()
        self._going_on = asyncio.Event()
        self._reading = asyncio.Event()
        self._reading.set()
        self._blocked = asyncio.Event()
        self._changed = asyncio.Condition()
        self._seen = 0
        self._send_error: BaseException | None = None
        self._cancel_at = -1, ""
        self._task: asyncio.Task[None] | None = None
        self._around = anyio.CancelScope()

    def _length_header(self, length: int | None) -> list[tuple[str, str]]:
        size = sum(len(step) for step in self._script if isinstance(step, bytes))
        if length is None:
            return [("Transfer-Encoding", "chunked")]
        if length < 0 and not size:
            return []
        return [("Content-Length", str(size if length < 0 else length))]

    # -- the client's moves --------------------------------------------------------------

    def disconnect(self, send_fails: bool = False) -> None:
        """Leave: ``receive`` says so from now on.

        :param send_fails: whether ``send`` raises an OSError then, as ASGI 2.4 has it.
        """
        if send_fails:
            self._send_error = ConnectionResetError("The client has left.")
        self._gone.set()
        self._reading.set()

    def fail_sends(self, error: BaseException) -> None:
        """Have ``send`` raise *error* from now on."""
        self._send_error = error

    def go_on(self) -> None:
        """Go on with the body after the next, or the present, :data:`STALL`."""
        self._going_on.set()

    def stop_reading(self) -> None:
        """Take in nothing more: ``send`` waits."""
        self._reading.clear()

    def read_on(self) -> None:
        """Take in what is sent again."""
        self._reading.set()

    def cancel(self, by: str = "task") -> None:
        """Cancel the application.

        :param by: ``"task"``, so once, or ``"scope"``: anyio's, which cancels every wait.
        """
        assert self._task is not None
        self._around.cancel() if by == "scope" else self._task.cancel()

    def cancel_at(self, message: int, by: str = "task") -> None:
        """Cancel the application while it sends its message of that number, from 0."""
        self._cancel_at = message, by

    # -- what comes back -----------------------------------------------------------------

    async def blocked(self) -> None:
        """Wait until the application waits for :meth:`stop_reading` to be over."""
        async with asyncio.timeout(LIMIT):
            await self._blocked.wait()

    async def start(self) -> Answer:
        """Wait for the start of the response."""
        await self._until(lambda: bool(self.answer.messages))
        return self.answer

    async def chunk(self) -> bytes:
        """Wait for the next piece of the body that is not empty; ``b""`` if there is none."""
        await self._until(lambda: len(self.answer.chunks) > self._seen or self._over())
        chunks = self.answer.chunks
        self._seen += 1
        return chunks[self._seen - 1] if len(chunks) >= self._seen else b""

    async def end(self) -> Answer:
        """Wait until the application has ended; what it raised is in the answer."""
        assert self._task is not None
        done, _ = await asyncio.wait({self._task}, timeout=LIMIT)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=LIMIT)
            raise AssertionError(f"{self.scope['path']!r} did not end within {LIMIT} s.")
        return self.answer

    async def __aenter__(self) -> Exchange:
        context = contextvars.copy_context()
        self._task = asyncio.get_running_loop().create_task(self._run(), context=context)
        return self

    async def __aexit__(self, exc_type: object, exc: object, tb: object) -> None:
        if exc_type is not None:
            self.disconnect()
        answer = await self.end()
        if exc_type is None and isinstance(answer.error, AssertionError):
            raise answer.error

    def _over(self) -> bool:
        return self._task is not None and self._task.done()

    async def _run(self) -> None:
        try:
            with self._around:
                await self._app(self.scope, self._receive, self._send)
        except BaseException as exc:
            self.answer.error = exc
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, reached: t.Callable[[], bool]) -> None:
        assert self._task is not None

        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(reached)

        waiting = asyncio.ensure_future(wait())
        await asyncio.wait({waiting, self._task}, timeout=LIMIT, return_when="FIRST_COMPLETED")
        waiting.cancel()
        if not (reached() or self._over()):
            raise AssertionError(f"Nothing came of {self.scope['path']!r} within {LIMIT} s.")

    # -- the server's side ---------------------------------------------------------------

    async def _receive(self) -> Message:
        while self._script and not self._gone.is_set():
            step = self._script[0]
            if step is STALL:
                await self._first_of(self._going_on, self._gone)
                self._going_on.clear()
                self._script.popleft()
            elif step is LEAVE:
                self._gone.set()
            else:
                self._script.popleft()
                return {"type": "http.request", "body": step, "more_body": bool(self._script)}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if self._send_error is not None:
            raise self._send_error
        if self._cancel_at[0] == len(self.answer.messages):
            self.cancel(self._cancel_at[1])
        if not self._reading.is_set():
            self._blocked.set()
            await self._reading.wait()
            self._blocked.clear()
        self.answer.messages.append(message)
        async with self._changed:
            self._changed.notify_all()

    async def _first_of(self, *events: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(event.wait()) for event in events]
        try:
            await asyncio.wait(waits, return_when="FIRST_COMPLETED")
        finally:
            for waiting in waits:
                waiting.cancel()


async def fetch(app: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> Answer:
    """Make a request, wait for its end, and raise what the application raised.

    :param args: for :class:`Exchange`.
    :param kwargs: the same.
    """
    async with Exchange(app, *args, **kwargs) as exchange:
        answer = await exchange.end()
    if answer.error is not None:
        raise answer.error
    return answer


class Lifespan:
    """The lifespan of an application; ``async with`` starts and stops it.

    :param app: any ASGI application.
    :param state: whether the server has a ``state`` to offer.
    """

    def __init__(self, app: t.Callable[..., t.Any], state: bool = True) -> None:
        self.answers: list[Message] = []
        self.state: dict[str, t.Any] = {}
        self._app = app
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._arrived: asyncio.Queue[Message] = asyncio.Queue()
        asgi = {"version": "3.0", "spec_version": "2.0"}
        self._scope: dict[str, t.Any] = {"type": "lifespan", "asgi": asgi}
        if state:
            self._scope["state"] = self.state
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> Message:
        """Start up, and give the application's answer."""
        self.task = asyncio.ensure_future(self._app(self._scope, self._events.get, self._answer))
        return await self._tell("startup")

    async def stop(self) -> Message:
        """Shut down, and give the application's answer."""
        return await self._tell("shutdown")

    async def __aenter__(self) -> Lifespan:
        answer = await self.start()
        assert answer == {"type": "lifespan.startup.complete"}, answer
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        answer = await self.stop()
        assert answer == {"type": "lifespan.shutdown.complete"}, answer
        assert self.task is not None
        async with asyncio.timeout(LIMIT):
            await self.task

    async def _answer(self, message: Message) -> None:
        self.answers.append(message)
        self._arrived.put_nowait(message)

    async def _tell(self, phase: str) -> Message:
        assert self.task is not None
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        arriving = asyncio.ensure_future(self._arrived.get())
        await asyncio.wait({arriving, self.task}, timeout=LIMIT, return_when="FIRST_COMPLETED")
        if not arriving.done():
            arriving.cancel()
            error = self.task.exception() if self.task.done() else None
            raise error or AssertionError(f"The application did not answer to {phase!r}.")
        return arriving.result()


def _text(raw: bytes) -> str:
    return raw.decode("latin-1")


def _scope(method: str, target: str, headers: t.Iterable[tuple[str, str]]) -> dict[str, t.Any]:
    path, _, query = target.partition("?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"localhost"),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers),
        ],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
