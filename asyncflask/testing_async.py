"""The async test client, apart so that only who uses it loads httpx."""

from __future__ import annotations

import asyncio
import typing as t
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import isawaitable

import httpx

from .testing import EnvironBuilder

if t.TYPE_CHECKING:
    from types import TracebackType

    from starlette.types import Message
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from .app import Flask
    from .sessions import SessionMixin


class AsyncClient(httpx.AsyncClient):
    """An :class:`httpx.AsyncClient` whose requests go to an application, without a server.

    ``async with`` runs the application's lifespan: what it does before serving at the start of
    the block, what it does after serving at its end, on this event loop. Requests run on it too.

    :param app: the application. What it raises is raised by the request, as far as it does not
        make an error page of it, see :data:`PROPAGATE_EXCEPTIONS`.
    :param base_url: where the application is. Default: made from its configuration as
        :class:`EnvironBuilder` does.
    :param lifespan: whether ``async with`` runs the lifespan.
    :param client: the address that requests come from.
    :param kwargs: for :class:`httpx.AsyncClient`.
    """

    #: Seconds that starting, and that stopping, may take.
    lifespan_timeout: float = 60.0

    def __init__(
        self,
        app: Flask,
        *,
        base_url: str | None = None,
        lifespan: bool = True,
        client: tuple[str, int] = ("127.0.0.1", 123),
        **kwargs: t.Any,
    ) -> None:
        self.app = app
        self._lifespan = _Lifespan(app) if lifespan else None
        self._shared_state: dict[str, t.Any] = {}
        if "transport" not in kwargs:
            kwargs["transport"] = httpx.ASGITransport(
                self._call_app,
                root_path=app.config["APPLICATION_ROOT"].rstrip("/"),
                client=client,
            )
        super().__init__(base_url=base_url or _base_url_of(app), **kwargs)

    async def __aenter__(self) -> t.Self:
        if self._lifespan is None:
            return await super().__aenter__()
        self._shared_state = await self._lifespan.start(self.lifespan_timeout)
        try:
            return await super().__aenter__()
        except BaseException:
            await self._lifespan.stop(self.lifespan_timeout)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        try:
            await super().__aexit__(exc_type, exc_value, traceback)
        finally:
            if self._lifespan is not None:
                await self._lifespan.stop(self.lifespan_timeout)

    @asynccontextmanager
    async def session_transaction(
        self, *args: t.Any, **kwargs: t.Any
    ) -> AsyncIterator[SessionMixin]:
        """Open the client's session to be changed; it is saved at the end of the block.

        :param args: for :meth:`Flask.test_request_context`, since the session interface looks at
            a request.
        :param kwargs: the same.
        :raises RuntimeError: if the session interface opens none.
        """
        app = self.app
        interface = app.session_interface
        ctx = app.test_request_context(*args, **kwargs)
        request = httpx.Request("GET", ctx.request.url)
        self.cookies.set_cookie_header(request)
        if "Cookie" in request.headers:
            ctx.request.environ["HTTP_COOKIE"] = request.headers["Cookie"]
        async with ctx:
            session = await _result_of(interface.open_session(app, ctx.request))
        if session is None:
            raise RuntimeError("Session backend did not open a session. Is 'SECRET_KEY' set?")

        yield session

        if interface.is_null_session(session):
            return
        response = app.response_class()
        async with ctx:
            await _result_of(interface.save_session(app, session, response))
        cookies = [("Set-Cookie", cookie) for cookie in response.headers.getlist("Set-Cookie")]
        self.cookies.extract_cookies(httpx.Response(200, headers=cookies, request=request))

    async def _call_app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._lifespan is not None and not self._lifespan.running and _has_lifespan(self.app):
            raise RuntimeError(
                f"{self.app!r} has functions to run before or after serving, which have not been"
                " run: use 'async with app.async_test_client() as client:', or create the client"
                " with 'lifespan=False' to go without them."
            )
        scope["state"] = self._shared_state.copy()
        await self.app(scope, receive, send)


def _base_url_of(app: Flask) -> str:
    builder = EnvironBuilder(app)
    try:
        return builder.base_url
    finally:
        builder.close()


def _has_lifespan(app: Flask) -> bool:
    functions = (app.before_serving_funcs, app.after_serving_funcs, app.while_serving_gens)
    return app.lifespan is not None or any(functions)


async def _result_of(value: t.Any) -> t.Any:
    """Give what a session interface returned, which may be written in ``async def``."""
    return await value if isawaitable(value) else value


class _Lifespan:
    """Runs the lifespan of an application, from start to stop in one task."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()

    @property
    def running(self) -> bool:
        return self._task is not None

    async def start(self, timeout: float) -> dict[str, t.Any]:
        """Start the application.

        :returns: the state that it shares with its requests.
        :raises RuntimeError: if it fails to start, or is running already.
        """
        if self._task is not None:
            raise RuntimeError("This client is in an 'async with' block already: use another one.")
        state: dict[str, t.Any] = {}
        asgi = {"version": "3.0", "spec_version": "2.0"}
        scope = {"type": "lifespan", "asgi": asgi, "state": state}
        # A task of its own: start and stop may be called from two different ones, as by some
        # plugins for async fixtures.
        self._task = asyncio.create_task(self._run(scope))
        try:
            await self._tell("startup", timeout)
        except BaseException:
            await self._end_task()
            raise
        return state

    async def stop(self, timeout: float) -> None:
        """Stop the application.

        :raises RuntimeError: if it fails to.
        """
        if self._task is None:
            return
        try:
            await self._tell("shutdown", timeout)
        finally:
            await self._end_task()

    async def _run(self, scope: Scope) -> None:
        await self._app(scope, self._events.get, self._answers.put)

    async def _tell(self, phase: str, timeout: float) -> None:
        """Send an event and wait for the answer, or for an end without one."""
        self._events.put_nowait({"type": f"lifespan.{phase}"})
        try:
            async with asyncio.timeout(timeout):
                answer = await self._next_answer()
        except TimeoutError:
            raise RuntimeError(
                f"The application's {phase} took more than {timeout} seconds."
            ) from None
        if answer is not None and answer["type"] == f"lifespan.{phase}.complete":
            return
        error = await self._end_task()
        reason = repr(error) if answer is None else answer.get("message")
        raise RuntimeError(f"The application's {phase} failed: {reason}") from error

    async def _next_answer(self) -> Message | None:
        assert self._task is not None
        answering = asyncio.ensure_future(self._answers.get())
        try:
            await asyncio.wait({answering, self._task}, return_when=asyncio.FIRST_COMPLETED)
            return answering.result() if answering.done() else None
        finally:
            answering.cancel()

    async def _end_task(self, grace: float = 1.0) -> BaseException | None:
        """Have the task end, by itself or cancelled, and give what it raised."""
        task, self._task = self._task, None
        if task is None:
            return None
        await asyncio.wait({task}, timeout=grace)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=grace)
        if not task.done() or task.cancelled():
            return None
        return task.exception()
