"""The async test client, apart so that only who uses it loads httpx."""

from __future__ import annotations

import asyncio
import typing as t
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from inspect import isawaitable

import httpx

from .adapters.lifespan import has_lifespan
from .adapters.lifespan_runner import LifespanRunner
from .testing import EnvironBuilder

if t.TYPE_CHECKING:
    from types import TracebackType

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
        self._with_lifespan = lifespan
        self._lifespan: LifespanRunner | None = None
        self._task: asyncio.Task[None] | None = None
        if "transport" not in kwargs:
            kwargs["transport"] = httpx.ASGITransport(
                self._call_app,
                root_path=app.config["APPLICATION_ROOT"].rstrip("/"),
                client=client,
            )
        super().__init__(base_url=base_url or _base_url_of(app), **kwargs)

    async def __aenter__(self) -> t.Self:
        if self._lifespan is not None:
            raise RuntimeError("This client is in an 'async with' block already: use another one.")
        if not self._with_lifespan:
            return await super().__aenter__()
        self._lifespan = LifespanRunner(self.app, timeout=self.lifespan_timeout)
        try:
            # A task of its own: start and stop may be called from two different ones, as by some
            # plugins for async fixtures.
            await self._lifespan.start(self._spawn)
            return await super().__aenter__()
        except BaseException:
            await self._stop()
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
            await self._stop()

    def _spawn(self, run: t.Callable[[], t.Coroutine[t.Any, t.Any, None]]) -> None:
        self._task = asyncio.create_task(run())

    async def _stop(self) -> None:
        lifespan, self._lifespan = self._lifespan, None
        if lifespan is not None:
            await lifespan.stop()

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
        lifespan = self._lifespan
        if lifespan is None and self._with_lifespan and has_lifespan(self.app):
            raise RuntimeError(
                f"{self.app!r} has functions to run before or after serving, which have not been"
                " run: use 'async with app.async_test_client() as client:', or create the client"
                " with 'lifespan=False' to go without them."
            )
        scope["state"] = {} if lifespan is None else lifespan.state.copy()
        await self.app(scope, receive, send)


def _base_url_of(app: Flask) -> str:
    builder = EnvironBuilder(app)
    try:
        return builder.base_url
    finally:
        builder.close()


async def _result_of(value: t.Any) -> t.Any:
    """Give what a session interface returned, which may be written in ``async def``."""
    return await value if isawaitable(value) else value
