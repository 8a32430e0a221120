"""Views that are classes."""

from __future__ import annotations

import functools
import inspect
import typing as t
import weakref

from werkzeug.exceptions import MethodNotAllowed

from . import typing as ft
from .globals import current_app
from .globals import request
from .lanes import is_async

http_method_funcs = frozenset({"get", "post", "head", "options", "delete", "put", "trace", "patch"})


class View:
    """A view that is a class: :meth:`as_view` makes the view function of it.

    ::

        class Hello(View):
            init_every_request = False

            async def dispatch_request(self, name):
                return f"Hello, {name}!"

        app.add_url_rule("/hello/<name>", view_func=Hello.as_view("hello"))
    """

    #: The HTTP methods of the view; ``None`` for the default of ``add_url_rule``.
    methods: t.ClassVar[t.Collection[str] | None] = None

    #: Whether ``OPTIONS`` is answered for the view; ``None`` for the default of ``add_url_rule``.
    provide_automatic_options: t.ClassVar[bool | None] = None

    #: Decorators for the view function, the innermost first. One on the class itself would
    #: not reach it.
    decorators: t.ClassVar[list[t.Callable[..., t.Any]]] = []

    #: Make an instance for each request. One instance for all is faster, but then nothing that
    #: belongs to a request may be kept on it.
    init_every_request: t.ClassVar[bool] = True

    def dispatch_request(self) -> ft.ResponseReturnValue | t.Awaitable[ft.ResponseReturnValue]:
        """Answer a request; to be written by the subclass, as ``def`` or ``async def``.

        The variables of the URL are passed as keyword arguments.
        """
        raise NotImplementedError(
            f"{type(self).__name__!r} has no dispatch_request method. Write one, or inherit from"
            " MethodView and write a method for each HTTP method."
        )

    @classmethod
    def as_view(cls, name: str, *class_args: t.Any, **class_kwargs: t.Any) -> ft.RouteCallable:
        """Make a view function of the class.

        It is a coroutine function where the class answers with coroutines only: decorators get
        it as one, and instances are then made on the event loop.

        :param name: the name of the function, from which the endpoint is taken.
        :param class_args: for the class, when an instance is made.
        :param class_kwargs: likewise.
        """
        if cls.init_every_request:

            def instance() -> View:
                # Read from the function at each call, so that a test can put another class there.
                made = t.cast(View, view.view_class(*class_args, **class_kwargs))
                _prepare(made)
                return made

        else:
            shared = cls(*class_args, **class_kwargs)
            _prepare(shared)

            def instance() -> View:
                return shared

        view: t.Any = _as_function(instance, cls._answers_async())
        _name_view(view, cls, name)
        for decorator in cls.decorators:
            view = decorator(view)
        _name_view(view, cls, name)
        view.__doc__ = cls.__doc__
        view.view_class = cls
        view.methods = cls.methods
        view.provide_automatic_options = cls.provide_automatic_options
        return t.cast(ft.RouteCallable, view)

    @classmethod
    def _answers_async(cls) -> bool:
        return is_async(cls.dispatch_request)


class MethodView(View):
    """A view with a method for each HTTP method: ``get``, ``post`` and so on.

    :attr:`methods` is what the class and its bases have, unless the class sets it. ``HEAD`` goes
    to ``get`` where there is no ``head``. Sync and async methods may be mixed.

    ::

        class Counter(MethodView):
            def get(self):
                return str(session.get("counter", 0))

            async def post(self):
                session["counter"] = session.get("counter", 0) + 1
                return redirect(url_for("counter"))

        app.add_url_rule("/counter", view_func=Counter.as_view("counter"))
    """

    def __init_subclass__(cls, **kwargs: t.Any) -> None:
        super().__init_subclass__(**kwargs)
        if "methods" in vars(cls):
            return
        methods = {name.upper() for name in http_method_funcs if hasattr(cls, name)}
        for base in cls.__bases__:
            methods.update(getattr(base, "methods", None) or ())
        if methods:
            cls.methods = methods

    def dispatch_request(
        self, **kwargs: t.Any
    ) -> ft.ResponseReturnValue | t.Awaitable[ft.ResponseReturnValue]:
        """Call the method for the request's HTTP method.

        :returns: what the method returned: an awaitable if it is async. Only where sync code
            waits for it, an overridden ``dispatch_request`` or a decorator, it is the result.
        """
        handler = self._find_handler(request.method)
        if self._is_waited_for():
            wait = _waited_for if is_async(handler) else current_app.ensure_sync
            handler = wait(handler)
        return t.cast(ft.ResponseReturnValue, handler(**kwargs))

    def _find_handler(self, method: str) -> t.Callable[..., t.Any]:
        name = method.lower()
        if name not in http_method_funcs and not self._declares(method):
            raise MethodNotAllowed(valid_methods=sorted(self.methods or ()))
        handler = _handler_of(self, method)
        if handler is None:
            raise AssertionError(
                f"Unimplemented method {method!r}: {type(self).__name__!r} has no {name!r}. Write"
                " it, or take it out of the methods of the view and its route."
            )
        return handler

    def _declares(self, method: str) -> bool:
        # The client chooses this name: it must not lead to anything that is not meant for it.
        if method.startswith("_") or hasattr(MethodView, method.lower()):
            return False
        rule = request.url_rule
        routed = rule.methods if rule is not None else None
        return method in {name.upper() for name in (*(self.methods or ()), *(routed or ()))}

    @classmethod
    def _answers_async(cls) -> bool:
        if cls.dispatch_request is not MethodView.dispatch_request:
            return is_async(cls.dispatch_request)
        handlers = [_handler_of(cls, method.upper()) for method in cls.methods or ()]
        return any(handlers) and all(is_async(handler) for handler in handlers if handler)

    @classmethod
    def _is_waited_for(cls) -> bool:
        if cls.dispatch_request is not MethodView.dispatch_request:
            return not is_async(cls.dispatch_request)
        return bool(cls.decorators) and not cls._answers_async()


def _streams_body() -> bool:
    options = current_app.endpoint_options.get(request.endpoint or "", {})
    return bool(options.get("stream_body"))


def _prepare(view: View) -> None:
    """Have a sync ``dispatch_request``, an extension's say, get the results of async methods."""
    if not isinstance(view, MethodView):
        return
    dispatch = type(view).dispatch_request
    if dispatch is MethodView.dispatch_request or is_async(dispatch):
        return
    for name in http_method_funcs:
        method = getattr(view, name, None)
        if method is not None and is_async(method):
            setattr(view, name, _waited_for(method))


def _waited_for(method: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Make an async method of a view one that sync code can call, once the body is there."""
    # Kept on the instance it belongs to, which would wait for the garbage collector.
    find = weakref.WeakMethod(method) if inspect.ismethod(method) else lambda: method

    def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
        if not _streams_body():
            current_app.ensure_sync(request.load_body)()
        return current_app.ensure_sync(t.cast(t.Callable[..., t.Any], find()))(*args, **kwargs)

    functools.update_wrapper(call, method)
    del call.__wrapped__  # type: ignore[attr-defined]
    return call


def _handler_of(view: MethodView | type[MethodView], method: str) -> t.Callable[..., t.Any] | None:
    handler: t.Callable[..., t.Any] | None = getattr(view, method.lower(), None)
    if handler is None and method == "HEAD":
        handler = getattr(view, "get", None)
    return handler


def _as_function(instance: t.Callable[[], View], answers_async: bool) -> t.Callable[..., t.Any]:
    def call(**kwargs: t.Any) -> t.Any:
        return instance().dispatch_request(**kwargs)

    async def call_async(**kwargs: t.Any) -> t.Any:
        result = instance().dispatch_request(**kwargs)
        return await result if inspect.isawaitable(result) else result

    return call_async if answers_async else call


def _name_view(view: t.Any, cls: type[View], name: str) -> None:
    view.__name__ = name
    view.__module__ = cls.__module__
