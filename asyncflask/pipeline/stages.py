"""The way of a request: its stages, in the order they run.

    match, open session → before hooks → view → response → after hooks → save session → teardown

Every function takes the application, the request context and the lane. Methods of the
application that users may override run the same functions.
"""

from __future__ import annotations

import functools
import typing as t

import anyio
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import InternalServerError
from werkzeug.exceptions import ServiceUnavailable
from werkzeug.routing import RequestRedirect
from werkzeug.routing import RoutingException
from werkzeug.wrappers import Response as BaseResponse

from ..helpers import release_streams
from ..lanes import ASYNC
from ..lanes import call
from ..lanes import call_at_once
from ..lanes import cancelled_once
from ..lanes import INLINE
from ..lanes import IO
from ..lanes import io_workers
from ..lanes import Lane
from ..lanes import outside
from ..lanes import QueueFull
from ..lanes import RETRY_AFTER
from ..lanes import run_sync
from ..lanes import Stage
from ..lanes import SYNC
from ..lanes import to_loop
from ..lanes import to_thread
from ..signals import got_request_exception
from ..signals import heard
from ..signals import request_finished
from ..signals import request_started
from ..teardown import call_override
from ..teardown import propagates
from ..teardown import send_signal
from . import returns
from .errors import forget_errors
from .plan import stage_of

if t.TYPE_CHECKING:
    from types import TracebackType

    from ..app import Flask
    from ..application import App
    from ..ctx import RequestContext
    from ..wrappers import Request
    from ..wrappers import Response

_PLAIN: t.Final = frozenset({str, dict})
"""What views return most, of which a response is made without code of the user's."""

CLIENT_LEFT: t.Final = 499
"""The status of an answer that nobody gets, for logs."""


class ClientLeft(BaseException):
    """The view was cancelled since its client has left; what teardown functions are told."""


async def handle(
    app: Flask,
    ctx: RequestContext,
    lane: Lane,
    begin: t.Callable[[Response], None] | None = None,
) -> None:
    """Take a request from its context's push to its pop, and leave its answer in ``ctx.response``.

    :param begin: called on the request's thread with the response, before the context is popped,
        unless the request is on the loop and nothing around ``wsgi_app`` could look at it then.
    """
    error: BaseException | None = None
    traceback: TracebackType | None = None
    rv: t.Any = None
    response: Response
    try:
        try:
            ctx.deferred = []
            if not ctx.begin_push():
                await ctx.finish_push(lane)
            if app._overrides:
                response = await _step(app, ctx, lane, "full_dispatch_request", full_dispatch)
            elif (
                ctx.plan.plain_view is None
                or ctx.request.method == "OPTIONS"
                or (heard and request_started.receivers)
                or lane.threaded
                or ctx.request.scope is None
                or app.config["CANCEL_ON_DISCONNECT"]
            ):
                response = await full_dispatch(app, ctx, lane)
            else:
                # What that comes to where nothing is before the view, without two more coroutines.
                if not app._got_first_request:
                    app._got_first_request = True
                try:
                    if ctx.request.body is not None:
                        await _load_body(ctx, lane)
                    rv = await ctx.plan.plain_view(**ctx.request.view_args)  # type: ignore[arg-type]
                except Exception as exc:
                    rv = await _recover(app, ctx, lane, exc)
                made = respond(app, ctx, lane, rv)
                # A response that a hook replaces is not to outlive the request's context.
                rv = None
                response = made if isinstance(made, BaseResponse) else await made
        except BaseException as exc:
            release_streams(ctx)
            error = None if isinstance(exc, QueueFull) else exc
            traceback = exc.__traceback__
            response = await _answer(app, ctx, lane, exc)
        ctx.response = response
        if begin is not None and (lane.threaded or app._through_wsgi):
            if not lane.threaded:
                await to_thread()
            begin(response)
    except BaseException as exc:
        release_streams(ctx)
        error = error or exc
        raise
    finally:
        ctx.deferred = None
        if ctx._cv_tokens and (error is not None or not ctx.pop_at_once(lane)):
            await _close(app, ctx, lane, error)
        if ctx.response is not None and (error or ctx.traceback or ctx.request.routing_exception):
            forget_errors((traceback, ctx.traceback), ctx.request.routing_exception)
            ctx.traceback = None
        # They hold this frame, and so does an error that is the answer.
        del error, traceback, rv


async def _answer(app: Flask, ctx: RequestContext, lane: Lane, error: BaseException) -> Response:
    """Answer an error that nobody has handled so far, or raise it again."""
    if isinstance(error, ClientLeft):
        return returns.make_response(app, ctx.request, ("", CLIENT_LEFT))
    if isinstance(error, QueueFull):
        return _refuse(app, ctx)
    if not isinstance(error, Exception):
        raise error
    if "plan" not in vars(ctx):
        # The push failed half-way: opening the session, or in a converter of the router.
        ctx.refresh_plan()
    try:
        response: Response = await _step(
            app, ctx, lane, "handle_exception", handle_exception, error
        )
    except QueueFull:
        response = _refuse(app, ctx)
    return response


async def full_dispatch(app: Flask, ctx: RequestContext, lane: Lane) -> Response:
    """Run everything from the before hooks to the finished response."""
    if not app._got_first_request:
        app._got_first_request = True
    plan = ctx.plan
    try:
        if ctx.request.body is not None and plan.starts_on_thread and not lane.threaded:
            await ctx.request.prefetch_body()
        if request_started.receivers:
            await send_signal(lane, request_started, app)
        rv: t.Any = None
        if plan.preceded:
            if app._overrides:
                rv = await _step(app, ctx, lane, "preprocess_request", preprocess)
            else:
                rv = await preprocess(app, ctx, lane)
        if rv is None:
            if app._overrides:
                if plan.loads_body:
                    # Some overrides call the view themselves.
                    await _load_body(ctx, lane)
                rv = await _step(app, ctx, lane, "dispatch_request", dispatch)
            else:
                rv = await dispatch(app, ctx, lane)
    except Exception as exc:
        rv = await _recover(app, ctx, lane, exc)
    made = respond(app, ctx, lane, rv)
    return made if isinstance(made, BaseResponse) else await made


async def _recover(app: Flask, ctx: RequestContext, lane: Lane, error: Exception) -> t.Any:
    """Give what the handler of an error from a hook or a view returns, or raise it again."""
    if isinstance(error, QueueFull):
        try:
            raise error
        finally:
            # Its traceback holds this frame.
            del error
    ctx.traceback = error.__traceback__
    release_streams(ctx)
    return await _step(app, ctx, lane, "handle_user_exception", handle_user_exception, error)


def respond(
    app: Flask, ctx: RequestContext, lane: Lane, rv: t.Any
) -> Response | t.Awaitable[Response]:
    """Do what :func:`finalize` does: at once, or in the coroutine that is given."""
    if (
        app._overrides
        or (heard and request_finished.receivers)
        or (type(rv) not in _PLAIN and returns.runs_user_code(rv))
    ):
        return _finalize_step(app, ctx, lane, rv)
    if type(rv) is str:
        response = app.response_class(rv)
    else:
        response = returns.make_response(app, ctx.request, rv)
    if ctx.plan.after or ctx._after_request_functions or ctx.deferred:
        return process_response(app, ctx, lane, response)
    if ctx._stored_session is None and not ctx.request.has_cookies:
        return response
    saving = _save_session(app, ctx, lane, response)
    return response if saving is None else _after(saving, response)


async def _after(saving: t.Awaitable[t.Any], response: Response) -> Response:
    await saving
    return response


async def preprocess(app: Flask, ctx: RequestContext, lane: Lane) -> t.Any:
    """Run the URL value preprocessors and the before hooks; a hook's result ends the way here."""
    plan = ctx.plan
    request = ctx.request
    for stage in plan.preprocessors:
        await call(lane, stage, request.endpoint, request.view_args)
    for stage in plan.before:
        # What call() would give, without the call, or without a coroutine.
        rv = stage[0]() if stage[1] == ASYNC and not lane.threaded else call_at_once(lane, stage)
        if rv is not None and hasattr(rv, "__await__"):
            rv = await rv
        if rv is not None:
            return rv
    return None


def dispatch(
    app: Flask, ctx: RequestContext, lane: Lane
) -> t.Coroutine[t.Any, t.Any, t.Any]:
    """Call the view of the matched endpoint, or raise what matching found."""
    request = ctx.request
    plan = ctx.plan
    rule = request.url_rule
    if (
        plan.async_view is not None
        and rule is not None
        and rule.endpoint == plan.endpoint
        and request.routing_exception is None
        and request.method != "OPTIONS"
        and request.body is None
        and request.scope is not None
        and not lane.threaded
        and not (plan.cancel_on_disconnect or app.config["CANCEL_ON_DISCONNECT"])
    ):
        # What the long way comes to, without a coroutine in between.
        return plan.async_view(**request.view_args)  # type: ignore[no-any-return,arg-type]
    return _dispatch(app, ctx, lane)


async def _dispatch(app: Flask, ctx: RequestContext, lane: Lane) -> t.Any:
    request = ctx.request
    if request.routing_exception is not None:
        await _method(app, ctx, lane, "raise_routing_exception", request)
    rule = request.url_rule
    if rule is None:
        raise RuntimeError(
            f"The request to {request.path!r} has not been matched: push its context."
        )
    if request.method == "OPTIONS" and getattr(rule, "provide_automatic_options", False):
        return await _method(app, ctx, lane, "make_default_options_response")
    if ctx.plan.endpoint != rule.endpoint:
        # A hook has sent the request elsewhere.
        ctx.refresh_plan()
    plan = ctx.plan
    if plan.view is None:
        raise KeyError(rule.endpoint)
    if plan.loads_body and (request.body is not None or request.scope is None):
        await _load_body(ctx, lane)
    func, colour = plan.view
    if colour != ASYNC:
        return await _call_sync_view(ctx, lane, plan.view)
    if lane.threaded:
        await to_loop()
    view_args: dict[str, t.Any] = request.view_args  # type: ignore[assignment]
    own = plan.cancel_on_disconnect
    cancels = app.config["CANCEL_ON_DISCONNECT"] if own is None else own
    if cancels and request.watches_client:
        return await _until_client_leaves(request, func, view_args)
    return await func(**view_args)


async def finalize(
    app: Flask, ctx: RequestContext, lane: Lane, rv: t.Any, from_error_handler: bool = False
) -> Response:
    """Make the response of what a view or handler returned, and run what comes after it."""
    make = app._overrides.get("make_response")
    if make is not None:
        response: Response = await call(lane, make, rv)
    else:
        if type(rv) is not str and returns.runs_user_code(rv) and not lane.threaded:
            await to_thread()
        response = returns.make_response(app, ctx.request, rv)
    try:
        if app._overrides:
            response = await _step(app, ctx, lane, "process_response", process_response, response)
        else:
            response = await process_response(app, ctx, lane, response)
        if request_finished.receivers:
            await send_signal(lane, request_finished, app, response=response)
    except Exception:
        if not from_error_handler:
            raise
        app.logger.exception("Request finalizing failed with an error while handling an error")
    return response


async def process_response(
    app: Flask, ctx: RequestContext, lane: Lane, response: Response
) -> Response:
    """Run the functions of ``after_this_request``, the after hooks, and save the session."""
    for func in ctx._after_request_functions:
        stage = stage_of(app, func)
        response = await call(lane, stage, response)
    for stage in ctx.plan.after:
        if stage[1] == ASYNC and not lane.threaded:
            response = await stage[0](response)
        else:
            made = call_at_once(lane, stage, response)
            response = await made if hasattr(made, "__await__") else made
    if response is None:
        raise TypeError(
            f"An after_request function of {ctx.request.endpoint!r} returned None: it must return"
            " the response it was given, or another one."
        )
    while ctx.deferred:
        await call(lane, (ctx.deferred.pop(0), ASYNC))
    if ctx._stored_session is not None or ctx.request.has_cookies:
        saving = _save_session(app, ctx, lane, response)
        if saving is not None:
            await saving
    return response


def _save_session(
    app: Flask, ctx: RequestContext, lane: Lane, response: Response
) -> t.Awaitable[t.Any] | None:
    """Save the session, or give what is to be awaited for it."""
    session = ctx.session_to_save() if ctx.may_save_session() else None
    if session is None:
        return None
    save, colour = app._session_stages[1]
    if colour != INLINE:
        return call(lane, (save, colour), app, session, response)
    saved = save(app, session, response)
    return call(lane, (lambda: saved, INLINE)) if hasattr(saved, "__await__") else None


# -- the error branch ------------------------------------------------------------------------


async def handle_user_exception(
    app: Flask, ctx: RequestContext, lane: Lane, error: Exception
) -> t.Any:
    """Answer an exception from a hook or a view: its handler, or raise it again."""
    if isinstance(error, BadRequestKeyError) and (
        app.debug or app.config["TRAP_BAD_REQUEST_ERRORS"]
    ):
        error.show_exception = True
    if isinstance(error, HTTPException) and not app.trap_http_exception(error):
        return await _step(app, ctx, lane, "handle_http_exception", handle_http_exception, error)
    handler = app._find_error_handler(error, ctx.request.blueprints)
    if handler is None:
        raise error
    stage = stage_of(app, handler)
    return await call(lane, stage, error)


async def handle_http_exception(
    app: Flask, ctx: RequestContext, lane: Lane, error: HTTPException
) -> t.Any:
    """Answer an HTTP exception: its handler, or the exception itself as the response."""
    # Redirects of the router, and proxies for responses without a code, are no errors.
    if error.code is None or isinstance(error, RoutingException):
        return error
    handler = app._find_error_handler(error, ctx.request.blueprints)
    if handler is None:
        return error
    stage = stage_of(app, handler)
    return await call(lane, stage, error)


async def handle_exception(
    app: Flask, ctx: RequestContext, lane: Lane, error: Exception
) -> Response:
    """Answer an exception nobody handled: log it and give a 500, or raise it again."""
    if got_request_exception.receivers:
        await send_signal(lane, got_request_exception, app, exception=error)
    if propagates(app):
        raise error
    await _method(app, ctx, lane, "log_exception", (type(error), error, error.__traceback__))
    server_error: t.Any = InternalServerError(original_exception=error)
    handler = app._find_error_handler(server_error, ctx.request.blueprints)
    if handler is not None:
        stage = stage_of(app, handler)
        server_error = await call(lane, stage, server_error)
    return await _finalize_step(app, ctx, lane, server_error, from_error_handler=True)


def raise_routing_exception(app: App, request: Request) -> t.NoReturn:
    """Raise what matching found; in debug mode say so when a redirect would lose form data."""
    error = t.cast(HTTPException, request.routing_exception)
    if (
        not app.debug
        or not isinstance(error, RequestRedirect)
        or error.code in {307, 308}
        or request.method in {"GET", "HEAD", "OPTIONS"}
    ):
        raise error
    from ..debughelpers import FormDataRoutingRedirect

    raise FormDataRoutingRedirect(request)


# -- shared by the stages --------------------------------------------------------------------


def _step(
    app: Flask,
    ctx: RequestContext,
    lane: Lane,
    name: str,
    inner: t.Callable[..., t.Awaitable[t.Any]],
    *args: t.Any,
) -> t.Awaitable[t.Any]:
    """Run a step of the way: the application's override of it, if there is one."""
    override = app._overrides.get(name)
    if override is not None:
        return call_override(ctx, lane, override, *args)
    return inner(app, ctx, lane, *args)


async def _method(
    app: Flask, ctx: RequestContext, lane: Lane, name: str, *args: t.Any
) -> t.Any:
    """Call a method of the application that waits for nothing, or its override as a stage."""
    override = app._overrides.get(name)
    if override is not None:
        return await call_override(ctx, lane, override, *args)
    return getattr(app, name)(*args)


def _finalize_step(
    app: Flask, ctx: RequestContext, lane: Lane, rv: t.Any, from_error_handler: bool = False
) -> t.Awaitable[Response]:
    override = app._overrides.get("finalize_request")
    if override is None:
        return finalize(app, ctx, lane, rv, from_error_handler)
    func, colour = override
    if from_error_handler:
        func = functools.partial(func, from_error_handler=True)
    return call_override(ctx, lane, (func, colour), rv)


async def _call_sync_view(ctx: RequestContext, lane: Lane, view: Stage) -> t.Any:
    func, colour = view
    view_args: dict[str, t.Any] = ctx.request.view_args  # type: ignore[assignment]
    if colour == IO and not lane.threaded:
        rv = await run_sync(io_workers(), functools.partial(func, **view_args))
    else:
        if colour == SYNC and not lane.threaded:
            await to_thread()
        rv = func(**view_args)
    if hasattr(rv, "__await__"):
        # A decorator around an async view, or a class with methods of both colours.
        if not ctx.plan.streams_body:
            await _load_body_before(rv, ctx, lane)
        if lane.threaded:
            await to_loop()
        rv = await rv
    return rv


async def _until_client_leaves(
    request: Request, view: t.Callable[..., t.Any], view_args: dict[str, t.Any]
) -> t.Any:
    """Run an async view that is cancelled when its client leaves."""
    outcome: list[t.Any] = []
    error: Exception | None = None

    watching = anyio.CancelScope()

    async def watch(scope: anyio.CancelScope) -> None:
        # A scope of its own: of tasks that are cancelled with their group, it keeps the error.
        with watching:
            await request.client_left()
            scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch, group.cancel_scope)
        try:
            with anyio.CancelScope() as scope:
                outcome.append(await cancelled_once(view(**view_args), scope))
        except Exception as exc:
            # Raised outside of the group, which would wrap it.
            error = exc
        watching.cancel()
    if error is not None:
        try:
            raise error
        finally:
            # Its traceback holds this frame.
            del error
    if not outcome:
        raise ClientLeft(f"The client of {request.path!r} has left.")
    return outcome[0]


async def _load_body(ctx: RequestContext, lane: Lane) -> None:
    """Have the body there before an async view, which could not wait for it."""
    request = ctx.request
    if request.scope is not None and request.body is None:
        return
    if request.scope is None:
        if not request.content_length and not request.environ.get("wsgi.input_terminated"):
            return
        if not lane.threaded:
            await to_thread()
        request.load_body_here()
    else:
        if lane.threaded:
            await to_loop()
        # Without overrides it is the driver alone that steps this coroutine.
        loading = None if ctx.app._overrides else request.load_at_once()
        if loading is not None and await outside(loading):
            request._loaded = True
        else:
            await request.load_body()


async def _load_body_before(awaitable: t.Any, ctx: RequestContext, lane: Lane) -> None:
    try:
        await _load_body(ctx, lane)
    except BaseException:
        if hasattr(awaitable, "close"):
            awaitable.close()
        raise


def _refuse(app: Flask, ctx: RequestContext) -> Response:
    """Answer a request for which there is no thread and no place to wait for one."""
    release_streams(ctx)
    return returns.make_response(app, ctx.request, ServiceUnavailable(retry_after=RETRY_AFTER))


async def _close(app: Flask, ctx: RequestContext, lane: Lane, error: BaseException | None) -> None:
    """Pop the context, which runs the teardown; what fails there is logged, not answered."""
    if ctx.preserve is not None:
        ctx.hand_over(ctx.preserve)
    if error is not None and app.should_ignore_error(error):
        error = None
    try:
        await ctx._pop(lane, error)
    except Exception as exc:
        await _method(app, ctx, lane, "log_exception", (type(exc), exc, exc.__traceback__))
        if propagates(app):
            raise
    finally:
        lane.keep = bool(ctx._cv_tokens)
