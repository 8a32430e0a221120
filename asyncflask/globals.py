"""The two context variables everything hangs on, and the proxies that look through them."""

from __future__ import annotations

import typing as t
from contextvars import ContextVar

from werkzeug.local import LocalProxy as BaseProxy

if t.TYPE_CHECKING:
    from .app import Flask
    from .ctx import _AppCtxGlobals
    from .ctx import AppContext
    from .ctx import RequestContext
    from .sessions import SessionMixin
    from .wrappers import Request

_no_app_msg = """\
Working outside of application context.

No application is active here. Push one with 'with app.app_context():' (or
'async with app.app_context():' in async code) around the code that needs it.\
"""
_no_req_msg = """\
Working outside of request context.

No HTTP request is active here. Code that reads 'request' or 'session' has to
run while a request is handled; in a test, push one with
'with app.test_request_context():'.\
"""


class LocalProxy(BaseProxy[t.Any]):
    """Werkzeug's proxy, without the two calls it makes to get at the most common operations."""

    __slots__ = ()

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._get_current_object(), name)

    def __setattr__(self, name: str, value: t.Any) -> None:
        setattr(self._get_current_object(), name, value)

    def __getitem__(self, key: t.Any) -> t.Any:
        return self._get_current_object()[key]

    def __setitem__(self, key: t.Any, value: t.Any) -> None:
        self._get_current_object()[key] = value

    def __contains__(self, item: t.Any) -> bool:
        return item in self._get_current_object()


class _RequestProxy(LocalProxy):
    """What ``request`` is: views look at more than one attribute of it."""

    __slots__ = ()

    def __getattr__(self, name: str) -> t.Any:
        ctx = _cv_request.get(None)
        return getattr(self._get_current_object() if ctx is None else ctx.request, name)


class _SessionProxy(LocalProxy):
    """What ``session`` is: views read it and write to it."""

    __slots__ = ()

    def _get(self) -> t.Any:
        ctx = _cv_request.get(None)
        return (self._get_current_object() if ctx is None else ctx.session).get

    # A name that the class has is found sooner than one that it has to be asked for.
    get = property(_get)
    del _get

    def __getitem__(self, key: t.Any) -> t.Any:
        ctx = _cv_request.get(None)
        return (self._get_current_object() if ctx is None else ctx.session)[key]

    def __setitem__(self, key: t.Any, value: t.Any) -> None:
        ctx = _cv_request.get(None)
        (self._get_current_object() if ctx is None else ctx.session)[key] = value

    def __contains__(self, item: t.Any) -> bool:
        ctx = _cv_request.get(None)
        return item in (self._get_current_object() if ctx is None else ctx.session)


class _GProxy(LocalProxy):
    """What ``g`` is: hooks and views hand things on by it."""

    __slots__ = ()

    def __getattr__(self, name: str) -> t.Any:
        ctx = _cv_app.get(None)
        if ctx is None:
            return getattr(self._get_current_object(), name)
        own = ctx._g
        return getattr(ctx.g if own is None else own, name)

    def __setattr__(self, name: str, value: t.Any) -> None:
        ctx = _cv_app.get(None)
        if ctx is None:
            setattr(self._get_current_object(), name, value)
        else:
            own = ctx._g
            setattr(ctx.g if own is None else own, name, value)


# An unbound proxy shows its class.
_GProxy.__name__ = _RequestProxy.__name__ = _SessionProxy.__name__ = LocalProxy.__name__

_cv_app: ContextVar[AppContext] = ContextVar("asyncflask.app_ctx")
_cv_request: ContextVar[RequestContext] = ContextVar("asyncflask.request_ctx")

app_ctx: AppContext = LocalProxy(_cv_app, unbound_message=_no_app_msg)  # type: ignore[assignment]
current_app: Flask = LocalProxy(_cv_app, "app", unbound_message=_no_app_msg)  # type: ignore[assignment]
g: _AppCtxGlobals = _GProxy(_cv_app, "g", unbound_message=_no_app_msg)  # type: ignore[assignment]

request_ctx: RequestContext = LocalProxy(_cv_request, unbound_message=_no_req_msg)  # type: ignore[assignment]
request: Request = _RequestProxy(_cv_request, "request", unbound_message=_no_req_msg)  # type: ignore[assignment]
session: SessionMixin = _SessionProxy(_cv_request, "session", unbound_message=_no_req_msg)  # type: ignore[assignment]
