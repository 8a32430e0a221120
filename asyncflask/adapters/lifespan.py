"""Start-up and shutdown of an application (ASGI lifespan spec 2.0)."""

from __future__ import annotations

import functools
import inspect
import traceback
import typing as t

import anyio

from ..lanes import colour_of
from ..lanes import run_sync
from ..lanes import SYNC
from .process import note_serving

if t.TYPE_CHECKING:
    from starlette.types import Receive
    from starlette.types import Scope
    from starlette.types import Send

    from ..app import Flask

DRAIN_TIMEOUT: t.Final = 5.0
"""Seconds that the shutdown waits for requests which are under way all the same."""
PAUSE: t.Final = 0.01
"""Seconds between two looks at them."""

_END: t.Final = object()


def has_lifespan(app: Flask) -> bool:
    """Tell whether an application has anything to do before or after it serves."""
    functions = app.before_serving_funcs, app.after_serving_funcs, app.while_serving_gens
    mounted = any(mount.lifespan for mount in app._mounts)
    return app.lifespan is not None or any(functions) or mounted


async def handle_lifespan(app: Flask, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the lifespan messages of a server.

    A start-up that fails is reported as ``lifespan.startup.failed``, with everything undone that
    had been set up, so that no server goes on with half an application.
    """
    await receive()
    with anyio.CancelScope() as around:
        serving = Serving(app, around)
        if not await _report(send, "startup", serving.start(scope.get("state"))):
            return
        try:
            await receive()
        except BaseException as exc:
            # The server ends, and this task with it, without having said so.
            await serving.undo(exc)
            raise
        await _report(send, "shutdown", serving.stop())


async def _report(send: Send, phase: str, work: t.Awaitable[None]) -> bool:
    """Do the work of a phase and tell the server how it ended; true if it ended well."""
    try:
        await work
    except BaseException as exc:
        message = "".join(traceback.format_exception(exc))
        await send({"type": f"lifespan.{phase}.failed", "message": message})
        if not isinstance(exc, (Exception, SystemExit)):
            raise
        return False
    await send({"type": f"lifespan.{phase}.complete"})
    return True


End: t.TypeAlias = t.Callable[[BaseException | None], t.Awaitable[t.Any]]
"""Undoes something after serving; gets the error that has ended it, if one has."""


def _without_error(undo: t.Callable[[], t.Awaitable[t.Any]]) -> End:
    return lambda error: undo()


class Serving:
    """The time an application serves: what is done before it, and what is done after it.

    :param app: the application.
    :param around: a scope around it all, shielded when something must be undone.
    """

    def __init__(self, app: Flask, around: anyio.CancelScope) -> None:
        self._app = app
        self._around = around
        # Of another time of serving, or in a forked process of its parent: not to be waited for.
        self._others = frozenset(app._under_way)
        self._ends: list[End] = []

    async def start(self, state: dict[str, t.Any] | None = None) -> None:
        """Run everything that belongs before serving, in an application context.

        If something fails, what was done is undone.

        :param state: the server's dictionary for what ``lifespan=`` yields, if it has one.
        """
        if self._app.debug:
            self._watch()
        try:
            async with self._app.app_context():
                await self._enter_lifespan(state)
                self._ends += [self._end_with(func) for func in self._app.after_serving_funcs]
                for func in self._app.before_serving_funcs:
                    await self._call(func)
                for function in self._app.while_serving_gens:
                    await self._begin(function)
            await self._start_mounted()
        except BaseException as exc:
            await self.undo(exc)
            raise
        note_serving(self._app)

    def _watch(self) -> None:
        """Have a blocked event loop told of."""
        app = self._app
        from ..loop_watch import watch_loop

        watch = watch_loop(app.config["BLOCKED_LOOP_THRESHOLD"], app.logger)
        if watch is None:
            return

        async def stop() -> None:
            watch.stop()

        self._ends.append(_without_error(stop))

    async def undo(self, error: BaseException) -> None:
        """Do the same as :meth:`stop`, undisturbed by a cancellation."""
        # A scope that began only here could not be left after those of the application's.
        self._around.shield = True
        await self.stop(error)

    async def stop(self, error: BaseException | None = None) -> None:
        """Run everything that belongs after serving, the last first, whatever of it fails.

        :param error: what ended the serving, if it is not the server's wish.
        :raises BaseExceptionGroup: with everything that went wrong, if that is more than one.
        """
        await self._drain()
        note_serving(self._app, False)
        ctx = self._app.app_context()
        await ctx.push_async()
        self._ends.insert(0, ctx.pop_async)
        errors: list[BaseException] = []
        while self._ends:
            try:
                await self._ends.pop()(error)
            except BaseException as exc:
                if exc is not error:
                    errors.append(exc)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("Several functions failed that run after serving.", errors)

    async def _drain(self) -> None:
        """Wait for requests that the server goes on with, or has cancelled and which tear down.

        A server may end as soon as this has ended.
        """
        with anyio.move_on_after(DRAIN_TIMEOUT):
            while self._app._under_way - self._others:
                await anyio.sleep(PAUSE)

    async def _enter_lifespan(self, state: dict[str, t.Any] | None) -> None:
        if self._app.lifespan is None:
            return
        manager = self._app.lifespan(self._app)
        yielded = await manager.__aenter__()

        async def leave(error: BaseException | None) -> None:
            if error is None:
                await manager.__aexit__(None, None, None)
            else:
                await manager.__aexit__(type(error), error, error.__traceback__)

        self._ends.append(leave)
        if not yielded:
            return
        if state is None:
            raise RuntimeError(
                f"The lifespan yielded {yielded!r} for the requests to share, but this server has"
                " no 'state' in its lifespan scope: keep it in app.extensions instead."
            )
        state.update(yielded)

    async def _start_mounted(self) -> None:
        # Mounts of the same application have one together.
        lifespans = dict.fromkeys(mount.lifespan for mount in self._app._mounts if mount.lifespan)
        if not lifespans:
            return
        group = anyio.create_task_group()
        await group.__aenter__()
        self._ends.append(_without_error(functools.partial(group.__aexit__, None, None, None)))
        for lifespan in lifespans:
            await lifespan.start(group.start_soon)
            self._ends.append(_without_error(lifespan.stop))

    async def _begin(self, function: t.Callable[[], t.Any]) -> None:
        """Run a generator up to its ``yield``, and the rest in the end."""
        generator = function()
        if not (inspect.isgenerator(generator) or inspect.isasyncgen(generator)):
            raise TypeError(
                f"while_serving() is for generator functions, with one 'yield' in them, but"
                f" {function!r} returned {generator!r}."
            )
        if await self._advance(generator) is _END:
            raise RuntimeError(f"The generator function {function!r} ended without a 'yield'.")

        async def end(error: BaseException | None) -> None:
            if await self._advance(generator) is not _END:
                raise RuntimeError(f"The generator function {function!r} has a second 'yield'.")

        self._ends.append(end)

    async def _advance(self, generator: t.Any) -> t.Any:
        if inspect.isasyncgen(generator):
            return await anext(generator, _END)
        return await run_sync(self._app._workers, next, generator, _END)

    def _end_with(self, func: t.Callable[[], t.Any]) -> End:
        return _without_error(functools.partial(self._call, func))

    async def _call(self, func: t.Callable[[], t.Any]) -> None:
        synchronous = colour_of(func) == SYNC
        result = await run_sync(self._app._workers, func) if synchronous else func()
        if hasattr(result, "__await__"):
            await result
