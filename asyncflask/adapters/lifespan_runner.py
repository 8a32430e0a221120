"""The lifespan of an application, run from outside: what a server does (ASGI lifespan spec 2.0)."""

from __future__ import annotations

import typing as t

import anyio

if t.TYPE_CHECKING:
    from starlette.types import ASGIApp
    from starlette.types import Message
    from starlette.types import Scope

END_TIMEOUT: t.Final = 1.0
"""Seconds that an application gets to end by itself once it is over, before it is cancelled."""

Spawn: t.TypeAlias = t.Callable[[t.Callable[[], t.Coroutine[t.Any, t.Any, None]]], object]
"""Starts a task."""


class LifespanRunner:
    """Starts an application and stops it; both may be asked for by different tasks of one loop.

    :param app: any ASGI application.
    :param required: whether it must know lifespans; else one that ends without an answer, or
        raises, counts as started.
    :param timeout: seconds that the start may take, and the stop; ``None`` for any time.
    """

    def __init__(
        self, app: ASGIApp, *, required: bool = True, timeout: float | None = None
    ) -> None:
        self.running = False
        self.state: dict[str, t.Any] = {}
        """What the application shares with its requests."""
        self._app = app
        self._required = required
        self._timeout = timeout

    async def start(self, spawn: Spawn) -> None:
        """Start the application.

        :param spawn: starts the task it stays in until it is stopped.
        :raises RuntimeError: if the application fails to start.
        """
        self.state = {}
        self._answers: dict[str, Message] = {}
        self._error: Exception | None = None
        self._ended = self._returned = False
        self._changed = anyio.Event()
        self._stopping = anyio.Event()
        self._scope = anyio.CancelScope()
        self._events = ["shutdown", "startup"]
        spawn(self._run)
        try:
            self.running = await self._wait_for("startup")
        except BaseException:
            # A cancellation as well: nobody stops what has not started.
            await self._end()
            raise

    async def stop(self) -> None:
        """Stop the application, if it runs.

        :raises RuntimeError: if it fails to.
        """
        if not self.running:
            return
        self.running = False
        self._stopping.set()
        try:
            await self._wait_for("shutdown")
        finally:
            self.state = {}
            await self._end()

    async def _run(self) -> None:
        asgi = {"version": "3.0", "spec_version": "2.0"}
        scope: Scope = {"type": "lifespan", "asgi": asgi, "state": self.state}
        try:
            with self._scope:
                await self._app(scope, self._receive, self._send)
                self._returned = True
        except Exception as exc:
            self._error = exc
        finally:
            self._ended = True
            self._changed.set()

    async def _receive(self) -> Message:
        if len(self._events) < 2:
            await self._stopping.wait()
        if not self._events:
            await anyio.sleep_forever()
        return {"type": f"lifespan.{self._events.pop()}"}

    async def _send(self, message: Message) -> None:
        phase = message["type"].split(".")[1]
        self._answers[phase] = message
        self._changed.set()

    async def _wait_for(self, phase: str) -> bool:
        """Wait for the answer to an event; false if the application knows no lifespans."""
        try:
            with anyio.fail_after(self._timeout):
                while phase not in self._answers and not self._ended:
                    await self._changed.wait()
                    self._changed = anyio.Event()
        except TimeoutError:
            message = f"The application's {phase} took more than {self._timeout} seconds."
            raise RuntimeError(message) from None
        answer = self._answers.get(phase)
        if answer is not None and answer["type"] == f"lifespan.{phase}.complete":
            return True
        if answer is None and phase == "shutdown" and self._returned:
            # There is nothing left of it to be stopped.
            return True
        if answer is None and not (self._required or phase == "shutdown"):
            return False
        await self._end()
        reason = repr(self._error) if answer is None else answer.get("message")
        raise RuntimeError(f"The application's {phase} failed: {reason}") from self._error

    async def _end(self) -> None:
        """Have the task end, by itself or cancelled."""
        with anyio.CancelScope(shield=True):
            await self._wait_for_end()
            if not self._ended:
                self._scope.cancel()
                await self._wait_for_end()

    async def _wait_for_end(self) -> None:
        with anyio.move_on_after(END_TIMEOUT):
            while not self._ended:
                await self._changed.wait()
                self._changed = anyio.Event()
