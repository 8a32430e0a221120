"""Start-up and shutdown of an application (ASGI lifespan spec 2.0)."""

from __future__ import annotations

import contextlib
import inspect
import traceback
import typing as t

from ..lanes import is_async
from ..lanes import run_sync

if t.TYPE_CHECKING:
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from ..app import Flask


async def handle_lifespan(app: Flask, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the lifespan messages of a server.

    A start-up that fails is reported as ``lifespan.startup.failed``, with everything undone that
    had been set up, so that no server goes on with half an application.
    """
    await receive()
    stack = contextlib.AsyncExitStack()
    try:
        await start_up(app, stack, scope.get("state"))
    except BaseException as exc:
        await send({"type": "lifespan.startup.failed", "message": _describe(exc)})
        if not isinstance(exc, (Exception, SystemExit)):
            raise
        return
    await send({"type": "lifespan.startup.complete"})
    await receive()
    try:
        await stack.aclose()
    except BaseException as exc:
        await send({"type": "lifespan.shutdown.failed", "message": _describe(exc)})
        if not isinstance(exc, (Exception, SystemExit)):
            raise
        return
    await send({"type": "lifespan.shutdown.complete"})


async def start_up(
    app: Flask, stack: contextlib.AsyncExitStack, state: dict[str, t.Any] | None = None
) -> None:
    """Run everything that belongs before serving; what comes after it is left on *stack*.

    :param state: the server's dictionary for what ``lifespan=`` yields, if it has one.
    """
    async with contextlib.AsyncExitStack() as undo:
        if app.lifespan is not None:
            yielded = await undo.enter_async_context(app.lifespan(app))
            if yielded and state is not None:
                state.update(yielded)
        undo.push_async_callback(_run_all, app, list(reversed(app.after_serving_funcs)))
        context = app.app_context()
        async with context:
            for func in app.before_serving_funcs:
                await _run(app, func)
        for generator_function in app.while_serving_gens:
            await undo.enter_async_context(_while_serving(app, generator_function))
        await stack.enter_async_context(undo.pop_all())


@contextlib.asynccontextmanager
async def _while_serving(app: Flask, function: t.Callable[[], t.Any]) -> t.AsyncIterator[None]:
    generator = function()
    if inspect.isasyncgen(generator):
        advance: t.Callable[[], t.Awaitable[t.Any]] = lambda: anext(generator, None)  # noqa: E731
    else:
        advance = lambda: run_sync(app._workers, next, generator, None)  # noqa: E731
    async with app.app_context():
        await advance()
    yield
    async with app.app_context():
        await advance()


async def _run_all(app: Flask, funcs: list[t.Callable[[], t.Any]]) -> None:
    """Run every function, whatever the others do, and raise what went wrong at the end."""
    errors: list[Exception] = []
    async with app.app_context():
        for func in funcs:
            try:
                await _run(app, func)
            except Exception as exc:
                errors.append(exc)
    if errors:
        raise ExceptionGroup("Functions that run after serving failed.", errors)


async def _run(app: Flask, func: t.Callable[[], t.Any]) -> None:
    if is_async(func):
        await func()
    else:
        await run_sync(app._workers, func)


def _describe(error: BaseException) -> str:
    text = "".join(traceback.format_exception(error))
    return text
