"""Whether a callable is async, sync or inline: settled once, when a plan is compiled."""

from __future__ import annotations

import functools
import sys
import typing as t

if sys.version_info >= (3, 12):
    from inspect import iscoroutinefunction as _is_coroutine_function
else:
    # Only asyncio's own test honours the marker that 3.11 has in place of
    # inspect.markcoroutinefunction.
    from asyncio import iscoroutinefunction as _is_coroutine_function

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

ASYNC: t.Final = 0
SYNC: t.Final = 1
INLINE: t.Final = 2
IO: t.Final = 3

_DATA: t.Final = (str, bytes, int, float, tuple, list, dict, set, frozenset, type(None))


def is_async(func: t.Callable[..., t.Any]) -> bool:
    """Tell whether calling *func* gives an awaitable.

    Coroutine functions, partials and bound methods of them, and objects whose ``__call__``
    is one are recognised. A sync function that returns an awaitable is not: what it returns
    is awaited all the same.

    :param func: any callable.
    """
    while isinstance(func, functools.partial):
        func = func.func
    if _is_coroutine_function(func):
        return True
    return _is_coroutine_function(getattr(func, "__call__", None))  # noqa: B004


def inline(func: F) -> F:
    """Declare that a sync callable never blocks, so that it may run on the event loop.

    Saves the trip to a worker thread for hooks and views that only compute for microseconds.
    A blocking call inside stops every other request of the process.

    :param func: a sync function; returned as it is, with a mark.
    :raises TypeError: if *func* is async.
    """
    if is_async(func):
        raise TypeError(f"inline() is for sync callables, but {func!r} is async: use it as it is.")
    func.__asyncflask_inline__ = True  # type: ignore[attr-defined]
    return func


def does_io(func: F) -> F:
    """Declare that a sync callable of the framework's own blocks, but waits for files alone.

    In a request that is on the loop it is called on a thread of the pool for such work, so that
    user code which has taken all other threads does not hold it up.

    :param func: a sync function; returned as it is, with a mark.
    """
    # What functools.wraps copies to a function of the user's does not declare that one.
    func.__asyncflask_io__ = func.__code__  # type: ignore[attr-defined]
    return func


def adds_code(cls: type, base: type) -> bool:
    """Tell whether a class has more than plain data that *base* does not have.

    :param cls: *base* itself, or a class that a user has put in its place.
    """
    known = base.__mro__
    return any(
        not isinstance(value, _DATA)
        for kind in cls.__mro__
        if kind not in known
        for value in vars(kind).values()
    )


def colour_of(func: t.Callable[..., t.Any]) -> int:
    """Tell where *func* belongs: ``ASYNC``, ``SYNC``, ``INLINE`` or ``IO``."""
    if is_async(func):
        return ASYNC
    if getattr(func, "__asyncflask_inline__", False):
        return INLINE
    declared = getattr(func, "__asyncflask_io__", None)
    return IO if declared is not None and declared is getattr(func, "__code__", None) else SYNC
