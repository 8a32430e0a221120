"""The variables of a template that do not come from its caller: what context processors give.

Apart from the templates themselves, so that an application without any does not load Jinja.
"""

from __future__ import annotations

import functools
import inspect
import typing as t
from itertools import groupby

from .globals import _cv_app
from .globals import _cv_request
from .lanes import colour_of
from .lanes import inline
from .lanes import is_async
from .lanes import run_awaitable
from .lanes import run_sync
from .lanes import SYNC

if t.TYPE_CHECKING:
    from .app import Flask
    from .ctx import RequestContext
    from .dispatcher import Dispatcher
    from .typing import TemplateContextProcessorCallable

Context: t.TypeAlias = dict[str, t.Any]


@inline
def _default_template_ctx_processor() -> Context:
    """Give templates the objects behind ``g`` and ``request``, cheaper to use than the proxies.

    The session stays a proxy: reading it has to be noticed.
    """
    values: Context = {}
    app_ctx = _cv_app.get(None)
    if app_ctx is not None:
        values["g"] = app_ctx.g
    ctx = _cv_request.get(None)
    if ctx is not None:
        values["request"] = ctx.request
    return values


def update_context(app: Dispatcher, ctx: RequestContext | None, context: Context) -> None:
    """Add what the context processors give to a template's context; what is in there stays.

    :param app: the application.
    :param ctx: the current request's context, for the processors of its blueprints.
    :param context: changed in place.
    :raises RuntimeError: for an async processor on the thread of a running event loop.
    """
    given = context.copy()
    for func in _context_processors(app, ctx):
        if func is _default_template_ctx_processor:
            context.update(_default_template_ctx_processor())
        else:
            context.update(_call_processor(app, func))
    context.update(given)


async def update_context_async(app: Flask, ctx: RequestContext | None, context: Context) -> None:
    """Do the same in async code: async processors are awaited, sync ones called on a thread.

    :param app: the application.
    :param ctx: the current request's context, for the processors of its blueprints.
    :param context: changed in place.
    """
    given = context.copy()
    for colour, run in groupby(_context_processors(app, ctx), colour_of):
        results: t.Iterable[t.Any] = (func() for func in run)
        if colour == SYNC:
            results = await call_anywhere(app, list, results)
        for values in results:
            context.update(await values if inspect.isawaitable(values) else values)
    context.update(given)


def _context_processors(
    app: Dispatcher, ctx: RequestContext | None
) -> t.Iterator[TemplateContextProcessorCallable]:
    """Give the application's processors, then those of the blueprints from the outermost in."""
    registry = app.template_context_processors
    yield from registry.get(None, ())
    if ctx is not None:
        for name in reversed(ctx.request.blueprints):
            yield from registry.get(name, ())


def _call_processor(app: Dispatcher, func: TemplateContextProcessorCallable) -> t.Any:
    if not is_async(func):
        values = app.ensure_sync(func)()
        return run_awaitable(values) if inspect.isawaitable(values) else values
    started = False

    async def process() -> t.Any:
        nonlocal started
        started = True
        return await t.cast("t.Awaitable[t.Any]", func())

    try:
        return app.ensure_sync(process)()
    except RuntimeError as exc:
        if started:
            raise
        raise RuntimeError(
            f"The context processor {func!r} is async, but the template is rendered by a sync"
            " call on the thread of a running event loop, which that would block. Use 'await"
            " render_template_async(...)' (or one of the other '..._async' functions) here."
        ) from exc


async def call_anywhere(
    app: Flask, func: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any
) -> t.Any:
    """Call user code where its colour belongs, sync code on a thread of the application's pool."""
    if colour_of(func) == SYNC:
        value = await run_sync(app._workers, functools.partial(func, *args, **kwargs))
    else:
        value = func(*args, **kwargs)
    return await value if inspect.isawaitable(value) else value
