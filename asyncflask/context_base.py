"""What application and request contexts have in common: how they are pushed and popped."""

from __future__ import annotations

import sys
import typing as t

from .lanes import Lane
from .lanes import run_here
from .lanes import run_inline
from .lanes import to_loop

if t.TYPE_CHECKING:
    from contextvars import ContextVar
    from contextvars import Token
    from types import TracebackType

    from .ctx import AppContext

Entry: t.TypeAlias = "tuple[Token[t.Any], AppContext | None]"
"""A push: how to undo it, and the application context that was pushed along with it."""

NOT_PUSHED: t.Final[list[Entry]] = []
"""What contexts share before they are pushed; never changed in place."""

_sentinel: t.Any = object()


def reset_last(var: ContextVar[t.Any], entries: list[Entry]) -> AppContext | None:
    """Undo the last push that was made in the current ``contextvars.Context``.

    A context can be pushed in several at once: a stream keeps it in the request's, a test
    client in the test's. Which of them pops first is not known.

    :returns: the application context that was pushed along with it.
    """
    for entry in reversed(entries.copy()):
        try:
            var.reset(entry[0])
        except (ValueError, RuntimeError):
            # Pushed in another one, or being popped there by another thread.
            continue
        entries.remove(entry)
        return entry[1]
    # Popped elsewhere, by the garbage collector for one: there is nothing to reset here.
    return entries.pop()[1]


class ContextBase:
    """``with``, ``async with``, ``push`` and ``pop`` over the steps of a subclass."""

    _cv_tokens: list[Entry]

    overrider: Lane | None = None
    """Where the stages run of an async override that was called for this context."""

    async def _push(self, lane: Lane) -> None:
        raise TypeError("ContextBase is a base class.")

    async def _pop(self, lane: Lane, exc: BaseException | None) -> None:
        raise TypeError("ContextBase is a base class.")

    async def _leave(self, lane: Lane, exc: BaseException | None) -> None:
        await self._pop(lane, exc)

    def refresh_plan(self) -> None:
        """Take note of hooks that were registered since the context was pushed."""

    def _lane_here(self) -> Lane | None:
        """Give the lane of the request that is being driven by the current task, if one is."""
        return None

    def push(self) -> None:
        """Make the context the current one.

        :raises RuntimeError: on an event loop, if something async has to run; use ``async with``.
        """
        run_here(self._push)

    def pop(self, exc: BaseException | None = _sentinel) -> None:
        """Take the context back; the last pop runs the teardown functions.

        :param exc: what ended the context; by default the exception being handled.
        :raises RuntimeError: on an event loop, if a teardown is async; use ``async with``.
        """
        if exc is _sentinel:
            exc = sys.exc_info()[1]
        self.refresh_plan()
        run_here(lambda lane: self._leave(lane, exc))

    async def push_async(self) -> None:
        """Make the context the current one, from async code."""
        await run_inline(self._push)

    async def pop_async(self, exc: BaseException | None = None) -> None:
        """Take the context back, from async code; the last pop runs the teardown functions.

        :param exc: what ended the context.
        """
        self.refresh_plan()
        lane = self._lane_here()
        if lane is None:
            await run_inline(lambda inline: self._leave(inline, exc))
        else:
            await self._leave(lane, exc)
            if lane.threaded:
                await to_loop()

    def __enter__(self) -> t.Self:
        self.push()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.pop(exc_value)

    async def __aenter__(self) -> t.Self:
        await self.push_async()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.pop_async(exc_value)
