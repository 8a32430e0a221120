"""Teardown functions and signals, run from inside the pipeline."""

from __future__ import annotations

import functools
import typing as t

import anyio

from .lanes import ASYNC
from .lanes import call
from .lanes import call_to_end
from .lanes import colour_of
from .lanes import current_task
from .lanes import Lane
from .lanes import run_here
from .lanes import Stage
from .lanes import to_loop
from .signals import appcontext_tearing_down
from .signals import request_tearing_down

if t.TYPE_CHECKING:
    from blinker import Signal

    from .app import Flask
    from .ctx import AppContext
    from .ctx import RequestContext


T = t.TypeVar("T")


async def send_signal(lane: Lane, signal: Signal, app: Flask, **kwargs: t.Any) -> None:
    """Send a signal from inside the pipeline, each receiver in its lane."""
    for stage in _receivers(signal, app):
        await call(lane, (functools.partial(stage[0], **kwargs), stage[1]))


def _receivers(signal: Signal, app: Flask) -> list[Stage]:
    """Give the receivers of a signal as stages that still need its keyword arguments."""
    if signal.is_muted:
        return []
    return [
        (functools.partial(receiver, app), colour_of(receiver))
        for receiver in signal.receivers_for(app)
    ]


async def call_override(
    ctx: AppContext | RequestContext, lane: Lane, override: Stage, *args: t.Any
) -> t.Any:
    """Call what replaces a method of the application, as a stage."""
    if override[1] == ASYNC:
        if lane.threaded:
            await to_loop()
        ctx.overrider, lane.task = lane, current_task()
    return await call(lane, override, *args)


def run_stage(
    ctx: AppContext | RequestContext, make: t.Callable[[Lane], t.Coroutine[t.Any, t.Any, T]]
) -> T:
    """Run a stage for a method of the application.

    :returns: its result; an awaitable of it in an async override, which awaits
        ``super().method()``.
    """
    lane = ctx.overrider
    if lane is None or lane.task is None or lane.task is not current_task():
        return run_here(make)
    return t.cast(T, _run_awaited(lane, make))


async def _run_awaited(lane: Lane, make: t.Callable[[Lane], t.Coroutine[t.Any, t.Any, T]]) -> T:
    if lane.task is not current_task():
        raise RuntimeError(
            "A method of the application was called in an async override of it, but awaited in"
            " another task, which cannot go to the request's thread: use 'await super()...' as it"
            " is, and asyncio.timeout() in place of asyncio.wait_for()."
        )
    try:
        return await make(lane)
    finally:
        if lane.threaded:
            await to_loop()
        # Behind a sync method each way back to the loop is made in a task of its own.
        lane.task = current_task()


async def teardown_stage(
    app: Flask, lane: Lane, name: str, ctx: t.Any, exc: BaseException | None
) -> None:
    """Run the teardown method *name* of the application, overridden or not."""
    override = app._overrides.get(name)
    if override is not None and override[1] == ASYNC and not lane.bound:
        if lane.threaded:
            await to_loop()
        # It awaits super() on this very lane, so in this very task: only scopes are held off.
        # Behind a sync method each way to the loop has a task of its own, and needs none of it.
        with anyio.CancelScope(shield=True):
            await call_override(ctx, lane, override, exc)
    elif override is not None:
        await call_override(ctx, lane, override, exc)
    elif name == "do_teardown_request":
        await teardown_request(ctx, lane, exc)
    else:
        await teardown_appcontext(ctx, lane, exc)


def teardown_request(
    ctx: RequestContext, lane: Lane, exc: BaseException | None
) -> t.Awaitable[None]:
    """Run the teardown functions of a request, the blueprint's first, each list from its end."""
    stages = ctx.plan.teardown
    if len(stages) == 1 and not request_tearing_down.receivers:
        # What the way for several comes to.
        return call_to_end(lane, stages[0], exc)
    return _tear_down(ctx.app, lane, stages, request_tearing_down, exc)


def teardown_appcontext(
    ctx: AppContext, lane: Lane, exc: BaseException | None
) -> t.Coroutine[t.Any, t.Any, None]:
    """Run the teardown functions of an application context, the last registered first."""
    stages = [(f, colour_of(f)) for f in reversed(ctx.app.teardown_appcontext_funcs)]
    return _tear_down(ctx.app, lane, stages, appcontext_tearing_down, exc)


async def _tear_down(
    app: Flask,
    lane: Lane,
    stages: t.Iterable[Stage],
    signal: Signal,
    exc: BaseException | None,
) -> None:
    """Run every teardown, whatever the others do, and raise what went wrong at the end."""
    errors: list[BaseException] = []
    args: tuple[t.Any, ...] = (exc,)
    if signal.receivers:
        # They take it by its name.
        receivers = _receivers(signal, app)
        named = [(functools.partial(take, exc=exc), colour) for take, colour in receivers]
        stages = [*((functools.partial(func, exc), colour) for func, colour in stages), *named]
        args = ()
    for stage in stages:
        try:
            await call_to_end(lane, stage, *args)
        except BaseException as error:
            errors.append(error)
    try:
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise BaseExceptionGroup("Several teardown functions failed.", errors)
    finally:
        # Their tracebacks hold this frame.
        del errors


def propagates(app: Flask) -> bool:
    """Tell whether unhandled exceptions go on to the server or test instead of becoming a 500."""
    configured: bool | None = app.config["PROPAGATE_EXCEPTIONS"]
    return app.testing or app.debug if configured is None else configured
