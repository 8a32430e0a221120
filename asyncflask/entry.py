"""What servers call: ``Flask.__call__`` and ``Flask.wsgi_app``, and what tools put in their place.

Agents that watch applications replace ``Flask.__call__`` by a function of ``(app, environ,
start_response)``, or ``Flask.wsgi_app``. Servers of both protocols go on finding what they need,
and HTTP requests that come as ASGI take the way through what was put there.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import sys
import typing as t
from abc import ABCMeta

from .adapters.protocols import takes

_ENTRIES: t.Final = frozenset({"__call__", "wsgi_app"})

F = t.TypeVar("F", bound=t.Callable[..., t.Any])


def serves_asgi(function: F) -> F:
    """Mark a ``__call__`` as what uvicorn and others tell an ASGI application by."""
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined]
    return function


class Served(ABCMeta):
    """The type of :class:`~asyncflask.Flask`, which keeps what is set on it callable by both.

    An ``ABCMeta``, so that applications may have abstract base classes beside it.
    """

    _through_wsgi: bool
    """Whether HTTP requests go through the WSGI face under ASGI servers as well."""
    _own_wsgi_app: t.Any

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, t.Any]) -> None:
        super().__init__(name, bases, namespace)
        if not any(isinstance(base, Served) for base in bases):
            cls._own_wsgi_app = namespace["wsgi_app"]
        # It may be a mixin's, too.
        if _takes_environ_only(cls.__call__):
            cls.__call__ = cls.__call__  # type: ignore[method-assign]
        cls._settle()

    def __setattr__(cls, name: str, value: t.Any) -> None:
        if name == "__call__" and _takes_environ_only(value):
            value = _for_both(value)
        super().__setattr__(name, value)
        if name in _ENTRIES:
            cls._settle()

    def __delattr__(cls, name: str) -> None:
        super().__delattr__(name)
        if name in _ENTRIES:
            cls._settle()

    def _settle(cls) -> None:
        """Find out which way HTTP requests go, also for subclasses, which may inherit an entry."""
        wrapped = getattr(cls, "wsgi_app", None) is not cls._own_wsgi_app
        cls._through_wsgi = wrapped or getattr(cls.__call__, "replaces_wsgi", False)
        for subclass in t.cast("list[Served]", cls.__subclasses__()):
            subclass._settle()


def is_own_wsgi_app(app: t.Any) -> bool:
    """Tell whether nothing was put in place of the WSGI face of this one application."""
    wsgi_app = app.wsgi_app
    own = getattr(wsgi_app, "__func__", None) is type(app).wsgi_app
    return own and wsgi_app.__self__ is app


def _takes_environ_only(function: t.Callable[..., t.Any]) -> bool:
    return takes(function, 3) and not takes(function, 4)


def _for_both(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Make a ``__call__`` of a function of the application, an environ and ``start_response``."""

    @functools.wraps(function)
    def __call__(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if len(args) == 3:
            return self.asgi_app(*args)
        return function(self, *args, **kwargs)

    # Its signature is its own.
    del __call__.__wrapped__
    __call__.replaces_wsgi = True  # type: ignore[attr-defined]
    return serves_asgi(__call__)
