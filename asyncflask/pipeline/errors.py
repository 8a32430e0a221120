"""Which handler answers which error; a pure look-up in the registered handlers."""

from __future__ import annotations

import contextlib
import typing as t

from werkzeug.exceptions import HTTPException

from .. import typing as ft

if t.TYPE_CHECKING:
    from types import TracebackType

HandlersByClass: t.TypeAlias = dict[type[Exception], ft.ErrorHandlerCallable]
HandlersByCode: t.TypeAlias = dict[int | None, HandlersByClass]
_PACKAGE: t.Final = __name__.partition(".")[0]
_OVER: t.Final = frozenset(
    f"{_PACKAGE}.{name}" for name in ("pipeline.stages", "lanes.stage", "teardown")
)
"""Modules whose frames have ended with the pipeline; to empty one that waits would end it."""
_ENTRIES: t.Final = frozenset({"handle", "full_dispatch"})
"""Functions of theirs that are entered once for each request."""

ErrorHandlerSpec: t.TypeAlias = dict[ft.AppOrBlueprintKey, HandlersByCode]


def find_handler(
    error_handler_spec: ErrorHandlerSpec,
    blueprints: t.Iterable[str],
    exc: BaseException,
) -> ft.ErrorHandlerCallable | None:
    """Find the registered handler that answers an error.

    A handler for the error's status code comes before one for its class alone. Within each of
    the two the blueprints come before the application, and the closest class wins.

    :param error_handler_spec: ``{scope: {code: {class: handler}}}``, where the application's
        scope is ``None`` and so is the code of everything but HTTP errors.
    :param blueprints: names of the blueprints that handle the request, the innermost first.
    :param exc: the error; what counts is its class, never an attribute of the instance.
    :returns: the handler, or ``None`` if nothing registered fits.
    """
    cls = type(exc)
    scopes = (*blueprints, None)
    for code in _codes(cls):
        for scope in scopes:
            handlers = error_handler_spec.get(scope, {}).get(code)
            handler = _closest(handlers, cls) if handlers else None
            if handler is not None:
                return handler
    return None


def forget_errors(
    tracebacks: t.Iterable[TracebackType | None], routing: HTTPException | None
) -> None:
    """Part errors that were answered from their request, once it has been torn down.

    The pipeline's frames in their tracebacks hold the request, and with it what may hold the
    error: a circle that only the garbage collector would find, and whatever the request has open
    would stay open till then. Those frames are emptied; what a traceback shows, and the frames
    of the user's code, are left alone.

    :param tracebacks: those of the errors as they were caught; later others may raise the same.
    :param routing: what matching found; it stays with the request, without its traceback.
    """
    if routing is not None:
        routing.__traceback__ = routing.__context__ = None
    for traceback in tracebacks:
        entered: set[str] = set()
        while traceback is not None:
            frame = traceback.tb_frame
            traceback = traceback.tb_next
            if frame.f_globals.get("__name__") not in _OVER:
                continue
            name = frame.f_code.co_name
            if name in entered:
                # An error that was raised before has frames of another request, which may wait.
                break
            if name in _ENTRIES:
                entered.add(name)
            with contextlib.suppress(RuntimeError):
                # That of the caller is not over yet.
                frame.clear()


def _codes(cls: type[BaseException]) -> tuple[int | None, ...]:
    if issubclass(cls, HTTPException) and cls.code is not None:
        return (cls.code, None)
    return (None,)


def _closest(handlers: HandlersByClass, cls: type[BaseException]) -> ft.ErrorHandlerCallable | None:
    for base in cls.__mro__:
        handler = handlers.get(base)
        if handler is not None:
            return handler
    return None
