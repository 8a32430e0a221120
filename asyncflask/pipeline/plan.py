"""What a request to an endpoint runs, settled at the first one and kept until it changes."""

from __future__ import annotations

import inspect
import typing as t

from ..lanes import ASYNC
from ..lanes import colour_of
from ..lanes import IO
from ..lanes import is_async
from ..lanes import Stage
from ..lanes import SYNC

if t.TYPE_CHECKING:
    from ..app import Flask

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

_delegates: dict[str, t.Any] = {}
_EMPTY: t.Final[list[t.Any]] = []

HOOKS: t.Final = (
    "url_value_preprocessors",
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
)
"""The registries of hooks, each a dict of lists by blueprint name."""

REPLACEABLE: t.Final = frozenset(
    {
        *HOOKS,
        "endpoint_options",
        "get_send_file_max_age",
        "response_class",
        "send_static_file",
        "session_interface",
        "view_functions",
    }
)
"""Attributes of an application whose assignment makes every plan stale."""


_ALWAYS_SYNC: t.Final = frozenset(
    {"app_context", "async_to_sync", "ensure_sync", "request_context"}
)
_ENSURERS: t.Final = frozenset({"ensure_sync", "async_to_sync"})


def overridable(method: F) -> F:
    """Mark a method of the application as one that requests pass by unless it is overridden."""
    _delegates[method.__name__] = method
    return method


def is_overridable(name: str) -> bool:
    """Tell whether assigning the attribute *name* of an application changes what requests run."""
    return name in _delegates or name in REPLACEABLE


def find_overrides(app: Flask) -> dict[str, Stage]:
    """Give the overridable methods that a subclass or an instance attribute replaces.

    :raises TypeError: if one that sync code calls is async.
    """
    overrides: dict[str, Stage] = {}
    for name, delegate in _delegates.items():
        # What a monitoring agent puts around a method passes for it in every other comparison.
        if inspect.getattr_static(app, name) is not delegate:
            method = getattr(app, name)
            overrides[name] = stage = (method, colour_of(method))
            if stage[1] == ASYNC and name in _ALWAYS_SYNC:
                raise TypeError(
                    f"{type(app).__name__}.{name} is overridden by {method!r}, which is async:"
                    " sync code calls it, so write it with 'def'."
                )
    return overrides


def stage_of(app: Flask, func: t.Callable[..., t.Any]) -> Stage:
    """Give a callback of the user's and its colour.

    An application that has an ``ensure_sync`` of its own decides how async callbacks are run.
    """
    if not _ENSURERS.isdisjoint(app._overrides):
        func = app.ensure_sync(func)
    return func, colour_of(func)


class Plan:
    """The stages of one endpoint, each with its colour, in the order they run.

    :param app: the application.
    :param endpoint: ``None`` for requests that match no rule.
    """

    __slots__ = (
        "_names",
        "_registries",
        "_snapshots",
        "_view",
        "_view_functions",
        "after",
        "async_view",
        "before",
        "blueprints",
        "cancel_on_disconnect",
        "endpoint",
        "loads_body",
        "plain_view",
        "preceded",
        "preprocessors",
        "starts_on_thread",
        "streams_body",
        "teardown",
        "view",
    )

    def __init__(self, app: Flask, endpoint: str | None) -> None:
        self.endpoint = endpoint
        self.blueprints = blueprint_names(endpoint)
        inwards = (None, *reversed(self.blueprints))
        outwards = (*self.blueprints, None)
        self.preprocessors = _stages(app, app.url_value_preprocessors, inwards)
        self.before = _stages(app, app.before_request_funcs, inwards)
        self.after = _stages(app, app.after_request_funcs, outwards, last_first=True)
        self.teardown = _stages(app, app.teardown_request_funcs, outwards, last_first=True)
        overridden = bool(app._overrides)
        self.preceded = bool(overridden or self.preprocessors or self.before)
        view = app.view_functions.get(endpoint) if endpoint is not None else None
        self.view = None if view is None else _view_stage(app, view)
        self.async_view = self.view[0] if self.view and self.view[1] == ASYNC else None
        options = app.endpoint_options.get(endpoint, {}) if endpoint is not None else {}
        self.streams_body: bool = options.get("stream_body", False)
        self.loads_body = not self.streams_body and _may_run_on_loop(view)
        self.cancel_on_disconnect: bool | None = options.get("cancel_on_disconnect")
        alone = not (self.preceded or self.cancel_on_disconnect)
        self.plain_view = self.async_view if alone and self.loads_body else None
        entry = (*self.preprocessors, *self.before, *((self.view,) if self.view else ()))
        self.starts_on_thread = any(colour == SYNC for _, colour in entry)
        self._view = view
        self._watch(app, inwards)

    def is_current(self) -> bool:
        """Tell whether the lists it was compiled from are as they were."""
        if self._view_functions.get(self.endpoint) is not self._view:
            return False
        one, two, three, four = self._registries
        if self._names is None:
            return not (one or two or three or four)
        if (len(one), len(two), len(three), len(four)) != self._names:
            return False
        for registry, key, snapshot in self._snapshots:
            if registry.get(key, _EMPTY) != snapshot:
                return False
        return True

    def _watch(self, app: Flask, names: tuple[str | None, ...]) -> None:
        self._view_functions: dict[t.Any, t.Any] = app.view_functions
        registries: tuple[dict[t.Any, t.Any], ...] = tuple(getattr(app, name) for name in HOOKS)
        self._registries = registries
        # A name that comes into one of them, or goes, changes this; None if there is none.
        self._names = tuple(map(len, registries)) if any(registries) else None
        self._snapshots: tuple[tuple[dict[t.Any, t.Any], str | None, list[t.Any]], ...] = tuple(
            (registry, name, list(registry[name]))
            for registry in registries
            for name in names
            if name in registry
        )


def blueprint_names(endpoint: str | None) -> tuple[str, ...]:
    """Give the names of the blueprints an endpoint is in, the innermost first."""
    names = []
    name = (endpoint or "").rpartition(".")[0]
    while name:
        names.append(name)
        name = name.rpartition(".")[0]
    return tuple(names)


def _view_stage(app: Flask, view: t.Callable[..., t.Any]) -> Stage:
    """Give a view and its colour; one of files is like any other where users have a hand in it."""
    func, colour = stage_of(app, view)
    if colour == IO and not app._sends_files_itself(getattr(view, "__self__", app)):
        colour = SYNC
    return func, colour


def _may_run_on_loop(view: t.Callable[..., t.Any] | None) -> bool:
    """Whether a view, or the one inside a decorator, could not wait for the request's body."""
    if view is None:
        return False
    return colour_of(view) not in (SYNC, IO) or is_async(inspect.unwrap(view))


def _stages(
    app: Flask,
    registry: t.Mapping[t.Any, list[t.Any]],
    names: t.Iterable[str | None],
    last_first: bool = False,
) -> tuple[Stage, ...]:
    found: list[Stage] = []
    for name in names:
        funcs = registry.get(name, _EMPTY)
        for func in reversed(funcs) if last_first else funcs:
            found.append(stage_of(app, func))
    return tuple(found)
