"""An application that notes what runs in a request, in which order, and how it was torn down."""

from __future__ import annotations

import asyncio
import functools
import logging
import typing as t

import asyncflask

from .drive import LIMIT

#: The teardown functions in the order they must run in.
ORDER = ["bp", "app 2", "app 1", "context 2", "context 1"]

Told: t.TypeAlias = type[BaseException] | None


class Problem(Exception):
    """What goes wrong in these applications."""


class Torn:
    """The application: hooks and teardown functions around whatever view is added to ``bp``.

    :param colour: what hooks and views are, ``"sync"`` or ``"async"``.
    :param teardowns: what teardown functions are; ``"mixed"`` for one after the other.
    :param framework: the module of the application, :mod:`asyncflask` or :mod:`flask`.
    """

    def __init__(
        self, colour: str = "async", teardowns: str = "mixed", framework: t.Any = asyncflask
    ) -> None:
        self.colour = colour
        self.framework = framework
        #: Every step's begin and end: the name, and ``"begins"``, ``"ends"`` or an error's name.
        self.log: list[tuple[str, str]] = []
        #: What each teardown function was told, by its name.
        self.told: dict[str, BaseException | None] = {}
        #: Both of them for each time that :meth:`begin_anew` was called.
        self.earlier: list[tuple[list[tuple[str, str]], dict[str, BaseException | None]]] = []
        self.logged: list[logging.LogRecord] = []
        #: The names of teardown functions that raise a :class:`Problem`.
        self.failing: set[str] = set()
        #: Called on the event loop in the middle of the step of that name.
        self.at: dict[str, t.Callable[[], object]] = {}
        self.loop = asyncio.get_running_loop()
        self.app = framework.Flask("app", root_path=".", static_folder=None)
        self.bp = framework.Blueprint("bp", "bp", root_path=".", url_prefix="/bp")
        handler = logging.Handler()
        handler.emit = self.logged.append  # type: ignore[method-assign]
        self.app.logger.handlers, self.app.logger.propagate = [handler], False
        colours = ["sync", "async"] * 3 if teardowns == "mixed" else [teardowns] * 6
        painted = dict(zip(ORDER, colours, strict=False))
        for number in "12":
            self.app.teardown_request(self._teardown(f"app {number}", painted))
            self.app.teardown_appcontext(self._teardown(f"context {number}", painted))
        self.bp.teardown_request(self._teardown("bp", painted))

    def step(self, name: str, does: t.Callable[..., t.Any], colour: str = "") -> t.Any:
        """Make a callback that notes its begin and its end around what it does."""

        @functools.wraps(does)
        def sync(*args: t.Any, **kwargs: t.Any) -> t.Any:
            self.log.append((name, "begins"))
            ending = "ends"
            try:
                if name in self.at:
                    asyncio.run_coroutine_threadsafe(self._act(name), self.loop).result(LIMIT)
                return does(*args, **kwargs)
            except BaseException as exc:
                ending = type(exc).__name__
                raise
            finally:
                self.log.append((name, ending))

        @functools.wraps(does)
        async def asynchronous(*args: t.Any, **kwargs: t.Any) -> t.Any:
            self.log.append((name, "begins"))
            ending = "ends"
            try:
                await self._act(name)
                return does(*args, **kwargs)
            except BaseException as exc:
                ending = type(exc).__name__
                raise
            finally:
                self.log.append((name, ending))

        return sync if (colour or self.colour) == "sync" else asynchronous

    def view(self, does: t.Callable[..., t.Any], rule: str = "/", **options: t.Any) -> None:
        """Add the view."""
        self.bp.add_url_rule(rule, "view", self.step("view", does), **options)

    def ready(self) -> t.Any:
        """Give the application, complete."""
        self.app.register_blueprint(self.bp)
        return self.app

    def begin_anew(self) -> None:
        """Put aside what was noted: what is torn down from now on is so for the second time."""
        self.earlier.append((self.log, self.told))
        self.log, self.told = [], {}

    def check(
        self, told: Told | tuple[Told, ...], *order: str, interrupted: str | None = None
    ) -> None:
        """Assert that everything was torn down as it must be.

        :param told: the class of what each teardown function has to get, or several to choose from.
        :param order: the names of teardown functions that must run, if they are not all.
        :param interrupted: the one that may have been, none of the others.
        """
        began = [name for name, what in self.log if what == "begins"]
        torn_down = [name for name in began if name in ORDER]
        assert torn_down == list(order or ORDER), self.log
        # Nothing begins before what came before it has ended; so teardown begins last of all.
        assert [name for name, what in self.log if what != "begins"] == began, self.log
        assert [name for name, _ in self.log[::2]] == began, self.log
        assert began[-len(torn_down) :] == torn_down, self.log
        cut_off = [name for name, w in self.log[1::2] if name in ORDER and w not in OWN_ENDS]
        assert set(cut_off) <= {interrupted}, self.log
        classes = {type(exc) if exc is not None else None for exc in self.told.values()}
        assert len(classes) == 1 or self.failing, self.told
        assert classes <= set(told if isinstance(told, tuple) else (told,)), self.told

    def _teardown(self, name: str, painted: dict[str, str]) -> t.Any:
        return self.step(name, functools.partial(self._note, name), painted[name])

    def _note(self, name: str, exc: BaseException | None) -> None:
        assert name not in self.told, f"{name} was torn down twice"
        self.told[name] = exc
        if name in self.failing:
            raise Problem(name)

    async def _act(self, name: str) -> None:
        self.at.get(name, lambda: None)()
        # Turns enough for a cancellation to arrive wherever it can.
        for _ in range(10):
            await asyncio.sleep(0)


#: How a teardown function may end that was not interrupted.
OWN_ENDS = ("ends", Problem.__name__)
