"""The application context and the request context.

Pushing and popping are written once, as coroutines that know a lane. A request's pipeline
awaits them; ``with`` and ``async with`` run the same steps where the caller stands.
"""

from __future__ import annotations

import functools
import typing as t

from werkzeug.exceptions import HTTPException

from .context_base import ContextBase
from .context_base import NOT_PUSHED
from .context_base import reset_last
from .globals import _cv_app
from .globals import _cv_request
from .lanes import call
from .lanes import current_task
from .lanes import INLINE
from .lanes import is_async
from .lanes import Lane
from .lanes import to_thread
from .routing import match
from .routing import NOT_MADE
from .signals import appcontext_popped
from .signals import appcontext_pushed
from .signals import appcontext_tearing_down
from .signals import heard
from .signals import request_tearing_down
from .teardown import call_override
from .teardown import propagates
from .teardown import send_signal
from .teardown import teardown_request
from .teardown import teardown_stage

if t.TYPE_CHECKING:
    from types import TracebackType

    from _typeshed.wsgi import WSGIEnvironment
    from werkzeug.routing import MapAdapter

    from . import typing as ft
    from .app import Flask
    from .pipeline.plan import Plan
    from .sessions import SessionMixin
    from .wrappers import Request
    from .wrappers import Response

F = t.TypeVar("F", bound=t.Callable[..., t.Any])
_sentinel: t.Any = object()


class _AppCtxGlobals:
    """A plain namespace: the object behind ``g``, one for each application context."""

    def __getattr__(self, name: str) -> t.Any:
        raise AttributeError(f"'g' has no attribute {name!r}: nothing was stored under that name.")

    def __delattr__(self, name: str) -> None:
        try:
            del self.__dict__[name]
        except KeyError:
            raise AttributeError(name) from None

    def get(self, name: str, default: t.Any | None = None) -> t.Any:
        """Give the value stored under *name*, or *default*."""
        return self.__dict__.get(name, default)

    def pop(self, name: str, default: t.Any = _sentinel) -> t.Any:
        """Remove the value stored under *name* and give it.

        :raises KeyError: if there is none and no *default* was passed.
        """
        if default is _sentinel:
            return self.__dict__.pop(name)
        return self.__dict__.pop(name, default)

    def setdefault(self, name: str, default: t.Any = None) -> t.Any:
        """Give the value stored under *name*, storing *default* first if there is none."""
        return self.__dict__.setdefault(name, default)

    def __contains__(self, item: str) -> bool:
        return item in self.__dict__

    def __iter__(self) -> t.Iterator[str]:
        return iter(self.__dict__)

    def __repr__(self) -> str:
        ctx = _cv_app.get(None)
        if ctx is not None and ctx._g is self:
            return f"<flask.g of {ctx.app.name!r}>"
        return object.__repr__(self)


def after_this_request(f: ft.AfterRequestCallable[t.Any]) -> ft.AfterRequestCallable[t.Any]:
    """Run a function on the response of the current request; usable as a decorator.

    :param f: gets the response and returns it or another one; ``def`` or ``async def``.
    :raises RuntimeError: outside of a request.
    """
    ctx = _cv_request.get(None)
    if ctx is None:
        raise RuntimeError(
            "'after_this_request' can only be used when a request context is active, such as in"
            " a view function."
        )
    ctx._after_request_functions.append(f)
    return f


def copy_current_request_context(f: F) -> F:
    """Make a function run with a copy of the current request context, wherever it is called.

    :param f: the function, for another thread (``def``) or another task (``async def``).
    :raises RuntimeError: outside of a request.
    """
    current = _cv_request.get(None)
    if current is None:
        raise RuntimeError(
            "'copy_current_request_context' can only be used when a request context is active,"
            " such as in a view function."
        )
    ctx = current.copy()

    @functools.wraps(f)
    async def run_async(*args: t.Any, **kwargs: t.Any) -> t.Any:
        async with ctx:
            return await f(*args, **kwargs)

    @functools.wraps(f)
    def run_sync(*args: t.Any, **kwargs: t.Any) -> t.Any:
        with ctx:
            return f(*args, **kwargs)

    return t.cast(F, run_async if is_async(f) else run_sync)


def has_request_context() -> bool:
    """Tell whether a request is being handled here."""
    return _cv_request.get(None) is not None


def has_app_context() -> bool:
    """Tell whether an application context is active here."""
    return _cv_app.get(None) is not None


class AppContext(ContextBase):
    """What is current while work is done for an application: ``current_app`` and ``g``.

    :param app: the application.
    """

    _g: _AppCtxGlobals | None = None
    _url_adapter: MapAdapter | None = NOT_MADE

    def __init__(self, app: Flask) -> None:
        self.app = app
        self._cv_tokens = NOT_PUSHED

    @property
    def g(self) -> _AppCtxGlobals:
        """The namespace of this context."""
        if self._g is None:
            self._g = self.app.app_ctx_globals_class()
        return self._g

    @g.setter
    def g(self, value: _AppCtxGlobals) -> None:
        self._g = value

    @property
    def url_adapter(self) -> MapAdapter | None:
        """Builds URLs where there is no request; ``None`` without ``SERVER_NAME``."""
        if self._url_adapter is NOT_MADE:
            self._url_adapter = self.app.create_url_adapter(None)
        return self._url_adapter

    @url_adapter.setter
    def url_adapter(self, value: MapAdapter | None) -> None:
        self._url_adapter = value

    async def _push(self, lane: Lane) -> None:
        entry = (_cv_app.set(self), None)
        # Without a call in between, for threads that push the same context.
        if self._cv_tokens is NOT_PUSHED:
            self._cv_tokens = [entry]
        else:
            self._cv_tokens.append(entry)
        if appcontext_pushed.receivers:
            await send_signal(lane, appcontext_pushed, self.app)

    async def _pop(self, lane: Lane, exc: BaseException | None) -> None:
        closing, lane.closing = lane.closing, True
        try:
            if len(self._cv_tokens) == 1:
                app = self.app
                if (
                    app.teardown_appcontext_funcs
                    or appcontext_tearing_down.receivers
                    or app._overrides
                ):
                    await teardown_stage(app, lane, "do_teardown_appcontext", self, exc)
        finally:
            if lane.bound and not lane.threaded:
                await to_thread()
            current = _cv_app.get(None)
            reset_last(_cv_app, self._cv_tokens)
            lane.closing = closing
        if current is not self:
            raise AssertionError(f"Popped wrong app context. ({current!r} instead of {self!r})")
        if appcontext_popped.receivers:
            await send_signal(lane, appcontext_popped, self.app)


class RequestContext(ContextBase):
    """What is current while a request is handled: ``request`` and ``session``.

    Made by :meth:`Flask.request_context` and :meth:`Flask.test_request_context`.

    :param app: the application.
    :param environ: a WSGI environ or an ASGI HTTP scope; not looked at if *request* is given.
    :param request: the request, if there is one already.
    :param session: the session, if one is open already.
    """

    flashes: list[tuple[str, str]] | None = None
    isolated = False
    """Whether an application context that is active already must not be shared."""
    preserve: t.Callable[[t.Any], t.Any] | None
    """Gets both contexts before they are popped; how a test client or a debugger keeps them."""
    debugged = False
    """Whether it is a debugger that does."""

    lane: Lane | None = None
    """Where the stages run of a context that outlives its pipeline, kept by a stream."""
    deferred: list[t.Callable[[], t.Awaitable[t.Any]]] | None = None
    """What sync code on the loop could not await; ``None`` where the pipeline will not do it."""
    traceback: TracebackType | None
    """That of what a hook or the view has raised, as it was caught."""
    response: Response | None
    """What the pipeline has made; the adapter closes it if it is never sent."""

    _stored_session: SessionMixin | None
    _session_deferred = False
    _url_adapter: MapAdapter | None
    plan: Plan = None  # type: ignore[assignment]
    """The stages of the matched endpoint, known once the context was pushed."""

    def __init__(
        self,
        app: Flask,
        environ: WSGIEnvironment,
        request: Request | None = None,
        session: SessionMixin | None = None,
    ) -> None:
        self.app = app
        if request is None:
            request = app.request_class.from_gateway(environ)
        request.json_module = app.json
        self.request: Request = request
        # What every request asks for, and would look for in the class in vain otherwise.
        self._stored_session = session
        self.traceback = self.response = None
        self._after_request_functions: list[ft.AfterRequestCallable[t.Any]] = []
        self._cv_tokens = NOT_PUSHED
        self._url_adapter = NOT_MADE
        self.preserve = None

    @property
    def url_adapter(self) -> MapAdapter | None:
        """Matches the request and builds URLs relative to it; ``None`` if its host is bad."""
        if self._url_adapter is NOT_MADE:
            self._url_adapter = None
            try:
                self._url_adapter = self.app.create_url_adapter(self.request)
            except HTTPException as exc:
                self.request.routing_exception = exc
        return self._url_adapter

    @url_adapter.setter
    def url_adapter(self, value: MapAdapter | None) -> None:
        self._url_adapter = value

    @property
    def session(self) -> SessionMixin:
        """The session, opened at the first look if its interface never blocks.

        :raises RuntimeError: before the context was pushed.
        """
        session = self._stored_session
        if session is None:
            session = self._session
        if session is None:
            raise RuntimeError(
                "The session has not yet been opened: push the request context before using it."
            )
        session.accessed = True
        return session

    @property
    def _session(self) -> SessionMixin | None:
        """The session without a look at it being noted; ``None`` if it cannot be opened here."""
        if self._stored_session is None and self._session_deferred:
            interface = self.app.session_interface
            # Deferred for interfaces whose open_session is inline, so neither blocks nor awaits.
            session: t.Any = interface.open_session(self.app, self.request)
            if session is None:
                session = interface.make_null_session(self.app)
            self._stored_session = session
        return self._stored_session

    @_session.setter
    def _session(self, value: SessionMixin | None) -> None:
        self._stored_session = value

    def refresh_plan(self) -> None:
        """Take note of hooks that were registered since the context was pushed."""
        if self.request.url_rule is not None or self.request.routing_exception is not None:
            self._find_plan()
        else:
            self.plan = self.app._new_plan(None)

    def _lane_here(self) -> Lane | None:
        lane = self.lane
        return lane if lane is not None and lane.task is current_task() else None

    def copy(self) -> RequestContext:
        """Give a context of its own with the same request and session, to be pushed elsewhere."""
        copied = type(self)(
            self.app,
            t.cast("WSGIEnvironment", None),
            request=self.request,
            # Opened for both: what one of them stores, the other one sees.
            session=self._session,
        )
        copied._session_deferred = self._session_deferred
        return copied

    def match_request(self) -> None:
        """Match the request; a subclass may do it in its own way."""
        request = self.request
        try:
            request.url_rule, request.view_args = match(self)
        except HTTPException as exc:
            request.routing_exception = exc

    async def _push(self, lane: Lane) -> None:
        if not self.begin_push():
            await self.finish_push(lane)

    def begin_push(self) -> bool:
        """Push as far as nothing has to be waited for, and tell whether that is all of it."""
        app = self.app
        app_ctx: AppContext | None = None
        overrides = app._overrides
        alone = self.isolated and not self._cv_tokens
        if alone or (current := _cv_app.get(None)) is None or current.app is not app:
            app_ctx = app.app_context() if overrides else AppContext(app)
            app_entry = (_cv_app.set(app_ctx), None)
            if overrides:
                # It may be one that is pushed already.
                app_ctx._cv_tokens = [*app_ctx._cv_tokens, app_entry]
            else:
                app_ctx._cv_tokens = [app_entry]
        entry = (_cv_request.set(self), app_ctx)
        # Without a call in between, for threads that push the same context.
        if self._cv_tokens is NOT_PUSHED:
            self._cv_tokens = [entry]
        else:
            self._cv_tokens.append(entry)
        if overrides or (heard and appcontext_pushed.receivers):
            return False
        if self._stored_session is None:
            if app._session_stages[0][1] != INLINE:
                return False
            self._session_deferred = True
        request = self.request
        if request.url_rule is None and type(self) is RequestContext:
            # What _find_plan() does for most, without the call.
            try:
                if request.routing_exception is None:
                    request.url_rule, request.view_args = match(self)
            except HTTPException as exc:
                request.routing_exception = exc
            rule = request.url_rule
            plan = app._plans.get(None if rule is None else rule.endpoint)
            if plan is not None and plan.is_current():
                self.plan = plan
                return True
        self._find_plan()
        return True

    async def finish_push(self, lane: Lane) -> None:
        """Do what :meth:`begin_push` has left."""
        app = self.app
        if self._cv_tokens[-1][1] is not None and appcontext_pushed.receivers:
            await send_signal(lane, appcontext_pushed, app)
        request = self.request
        if self._stored_session is None:
            open_session = app._session_stages[0]
            if open_session[1] == INLINE:
                self._session_deferred = True
            else:
                session = await call(lane, open_session, app, request)
                if session is None:
                    session = app.session_interface.make_null_session(app)
                self._session = session
        if "create_url_adapter" in app._overrides and self._url_adapter is NOT_MADE:
            if request.url_rule is None and request.routing_exception is None:
                await self._make_url_adapter(lane)
        self._find_plan()

    def _find_plan(self) -> None:
        request = self.request
        app = self.app
        if request.url_rule is None and request.routing_exception is None:
            if type(self) is RequestContext:
                try:
                    request.url_rule, request.view_args = match(self)
                except HTTPException as exc:
                    request.routing_exception = exc
            else:
                self.match_request()
        rule = request.url_rule
        endpoint = None if rule is None else rule.endpoint
        plan = app._plans.get(endpoint)
        if plan is None or not plan.is_current():
            plan = app._new_plan(endpoint)
        self.plan = plan

    async def _make_url_adapter(self, lane: Lane) -> None:
        """Have an override make the adapter where it belongs; the property only calls it."""
        self._url_adapter = None
        override = self.app._overrides["create_url_adapter"]
        try:
            self._url_adapter = await call_override(self, lane, override, self.request)
        except HTTPException as exc:
            self.request.routing_exception = exc

    def pop_at_once(self, lane: Lane, torn_down: bool = False) -> bool:
        """Pop where nobody has to be told and nothing waited for, and tell whether it was so.

        :param torn_down: whether that has been done already for the request itself.
        """
        tokens = self._cv_tokens
        app = self.app
        request = self.request
        if not torn_down and (
            self.plan is None
            or self.plan.teardown
            or self.preserve is not None
            or request._closes
            or (heard and request_tearing_down.receivers)
        ):
            return False
        if (
            len(tokens) != 1
            or app.teardown_appcontext_funcs
            or app._overrides
            or lane.bound
            or (heard and (appcontext_tearing_down.receivers or appcontext_popped.receivers))
            or _cv_request.get(None) is not self
        ):
            return False
        token, app_ctx = tokens[0]
        if app_ctx is not None:
            if _cv_app.get(None) is not app_ctx or len(app_ctx._cv_tokens) != 1:
                return False
        try:
            _cv_request.reset(token)
        except ValueError:
            # It was pushed in another Context.
            return False
        # Its place is still the first: what another thread has pushed meanwhile comes after it.
        del tokens[0]
        if app_ctx is not None:
            _cv_app.reset(app_ctx._cv_tokens[0][0])
            del app_ctx._cv_tokens[0]
        if request._closes or request.scope is None:
            request.forget_environ()
        return True

    async def _pop(self, lane: Lane, exc: BaseException | None) -> None:
        request = self.request
        current: RequestContext | None = self
        closing, lane.closing = lane.closing, True
        try:
            if len(self._cv_tokens) == 1:
                if self.plan is None:
                    # The push failed half-way.
                    self.refresh_plan()
                if self.app._overrides:
                    await teardown_stage(self.app, lane, "do_teardown_request", self, exc)
                elif self.plan.teardown or request_tearing_down.receivers:
                    await teardown_request(self, lane, exc)
                if request._closes:
                    request.close()
        finally:
            if not self.pop_at_once(lane, torn_down=True):
                current = await self._unset(lane, exc)
            lane.closing = closing
        if current is not self:
            raise AssertionError(f"Popped wrong request context. ({current!r} instead of {self!r})")

    async def _unset(self, lane: Lane, exc: BaseException | None) -> RequestContext | None:
        """Make the contexts the current ones no more, and give the one that was current."""
        if lane.bound and not lane.threaded:
            await to_thread()
        last = len(self._cv_tokens) == 1
        current = _cv_request.get(None)
        app_ctx = reset_last(_cv_request, self._cv_tokens)
        if last and (self.request._closes or self.request.scope is None):
            self.request.forget_environ()
        if app_ctx is not None:
            await app_ctx._pop(lane, exc)
        return current

    async def _leave(self, lane: Lane, exc: BaseException | None) -> None:
        try:
            await self._pop(lane, exc)
        except Exception as error:
            # At the end of a stream that has kept it, it is too late for anything but the log.
            if self.lane is None or propagates(self.app):
                raise
            self.app.log_exception((type(error), error, error.__traceback__))

    def may_save_session(self) -> bool:
        """Tell whether the session was opened, or may be one that is sent again."""
        if self._stored_session is not None:
            return True
        if not self.request.has_cookies:
            return False
        may_refresh = getattr(self.app.session_interface, "_may_refresh", None)
        return may_refresh is None or may_refresh(self.app, self.request)

    def session_to_save(self) -> SessionMixin | None:
        """Give the session where :meth:`may_save_session` is true, if there is one to save.

        One that nobody has opened is opened if a cookie came that may be its own: it may be
        permanent, and those are sent again with each response.
        """
        session = self._session
        if session is None or self.app.session_interface.is_null_session(session):
            return None
        return session

    def hand_over(self, preserve: t.Callable[[t.Any], t.Any]) -> None:
        """Hand both contexts to a test client or a debugger that goes on using them."""
        # Entered again, it is to find the one that is handed over with it.
        self.isolated = False
        preserve(_cv_app.get())
        preserve(self)

    def __repr__(self) -> str:
        request = self.request
        return f"<{type(self).__name__} {request.url!r} [{request.method}] of {self.app.name}>"
