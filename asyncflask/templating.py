"""Templates: the environments, the loader over application and blueprints, rendering, streaming."""

from __future__ import annotations

import functools
import typing as t
from collections import ChainMap
from contextlib import aclosing

from jinja2 import BaseLoader
from jinja2 import Environment as BaseEnvironment
from jinja2 import pass_environment
from jinja2 import Template
from jinja2 import TemplateNotFound
from jinja2.environment import copy_cache
from jinja2.runtime import Context as BaseContext
from jinja2.runtime import new_context

from .globals import _cv_app
from .globals import _cv_request
from .globals import _no_app_msg
from .helpers import announce
from .helpers import stream_with_context
from .lanes import is_async
from .lanes import run_awaitable
from .signals import before_render_template
from .signals import template_rendered
from .template_context import _default_template_ctx_processor as _default_template_ctx_processor
from .template_context import call_anywhere
from .template_context import Context
from .template_context import update_context_async

if t.TYPE_CHECKING:
    from blinker import Signal
    from jinja2.ext import Extension

    from .app import Flask
    from .application import App
    from .scaffold import Scaffold

Source: t.TypeAlias = tuple[str, "str | None", "t.Callable[[], bool] | None"]
Names: t.TypeAlias = "str | Template | list[str | Template]"


# -- environments and loader -----------------------------------------------------------------


class _Context(BaseContext):
    """The variables of a template, whose functions may be async in sync rendering as well."""

    def call(self, obj: t.Callable[..., t.Any], /, *args: t.Any, **kwargs: t.Any) -> t.Any:
        """Call a function as the template asks."""
        value = super().call(obj, *args, **kwargs)
        if hasattr(value, "__await__") and not self.environment.is_async:
            return run_awaitable(value)
        return value


class _Template(Template):
    """A template whose globals are put together at the speed of dicts."""

    def new_context(
        self,
        vars: dict[str, t.Any] | None = None,
        shared: bool = False,
        locals: t.Mapping[str, t.Any] | None = None,
    ) -> BaseContext:
        """Make the context of one rendering; see :meth:`jinja2.Template.new_context`."""
        found = self.globals
        if type(found) is ChainMap:
            # They come in the order, and with the values, that reading it as a mapping gives.
            found = {}
            for mapping in reversed(self.globals.maps):  # type: ignore[attr-defined]
                found.update(mapping)
        return new_context(self.environment, self.name, self.blocks, vars, shared, found, locals)


# What receivers of signals may show.
_Template.__name__ = _Template.__qualname__ = Template.__name__


class Environment(BaseEnvironment):
    """A Jinja environment that loads from the folders of an application and its blueprints.

    :param app: the application; kept as ``app``.
    :param options: options of :class:`jinja2.Environment`.
    """

    context_class = _Context
    template_class = _Template

    def __init__(self, app: App, **options: t.Any) -> None:
        if "loader" not in options:
            options["loader"] = app.create_global_jinja_loader()
        super().__init__(**options)
        self.app = app


class _AsyncTwin(BaseEnvironment):
    """Compiles templates to async code, and is in all else the environment it was made for.

    Whatever it does not hold itself is looked up there each time, so filters, globals, the
    loader, options and extensions are the same ones even when they are set later.

    :param sync: the environment to follow.
    """

    _bound: dict[str, Extension]
    _bound_from: dict[str, Extension]

    def __init__(self, sync: BaseEnvironment) -> None:
        for name, value in vars(sync).items():
            # A class attribute would hide these from __getattr__.
            if hasattr(BaseEnvironment, name):
                setattr(self, name, value)
        self.overlayed = True
        self.linked_to = sync
        self.is_async = True
        self.template_class = sync.template_class
        # Compiled code differs, while cache keys are equal.
        self.cache = copy_cache(sync.cache)
        self.bytecode_cache = None
        self._bound = self._bound_from = {}

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self.linked_to, name)

    @property
    def extensions(self) -> dict[str, Extension]:
        """The extensions, each bound to this environment."""
        theirs = t.cast(BaseEnvironment, self.linked_to).extensions
        if self._bound_from != theirs:
            self._bound = {name: ext.bind(self) for name, ext in theirs.items()}
            self._bound_from = dict(theirs)
        return self._bound

    @extensions.setter
    def extensions(self, value: dict[str, Extension]) -> None:
        self._bound = value

    def add_extension(self, extension: str | type[Extension]) -> None:
        """Add an extension to both environments.

        :param extension: its class or import name.
        """
        t.cast(BaseEnvironment, self.linked_to).add_extension(extension)


def as_filter(func: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Make a function usable as a filter or test of templates, sync or async rendered.

    :param func: sync functions come back as they are.
    """
    if not is_async(func):
        return func
    # What Jinja passes to it ahead of the arguments in the template.
    passed = getattr(func, "jinja_pass_arg", None)

    @functools.wraps(func)
    def call(first: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
        environment = getattr(first, "environment", first)
        value = func(*args, **kwargs) if passed is None else func(first, *args, **kwargs)
        return value if environment.is_async else run_awaitable(value)

    # Jinja then leaves it out when it computes constants for code that is to await it.
    call.jinja_async_variant = True  # type: ignore[attr-defined]
    return call if passed is not None else pass_environment(call)


def create_async_environment(app: App) -> BaseEnvironment:
    """Create the environment behind ``app.jinja_env_async``.

    :param app: the application; its ``jinja_env`` is followed, in all that is set later as well.
    :returns: ``app.jinja_env`` itself if that is async already.
    """
    sync = app.jinja_env
    if sync.is_async:
        return sync
    kind = type(sync)
    twin: type[_AsyncTwin] = type(f"Async{kind.__name__}", (_AsyncTwin, kind), {})
    return twin(sync)


class DispatchingJinjaLoader(BaseLoader):
    """Looks for a template in the application's folder, then in those of its blueprints.

    :param app: the application.
    """

    def __init__(self, app: App) -> None:
        self.app = app

    def get_source(self, environment: BaseEnvironment, template: str) -> Source:
        """Give the first source found; with ``EXPLAIN_TEMPLATE_LOADING``, log the whole search.

        :param environment: the environment that loads.
        :param template: the template's name.
        :raises jinja2.TemplateNotFound: if no folder has it.
        """
        explain = self.app.config["EXPLAIN_TEMPLATE_LOADING"]
        attempts: list[tuple[BaseLoader, Scaffold, Source | None]] = []
        found: Source | None = None
        for owner, loader in self._iter_loaders(template):
            try:
                source: Source | None = loader.get_source(environment, template)
            except TemplateNotFound:
                source = None
            found = found or source
            if found is not None and not explain:
                return found
            attempts.append((loader, owner, source))
        if explain:
            from .debughelpers import explain_template_loading_attempts

            explain_template_loading_attempts(self.app, template, attempts)
        if found is None:
            raise TemplateNotFound(template)
        return found

    def list_templates(self) -> list[str]:
        """List the names of all templates of the application and its blueprints."""
        return sorted(
            {name for _, loader in self._iter_loaders("") for name in loader.list_templates()}
        )

    def _iter_loaders(self, template: str) -> t.Iterator[tuple[Scaffold, BaseLoader]]:
        owners: list[Scaffold] = [self.app, *self.app.iter_blueprints()]
        for owner in owners:
            loader = owner.jinja_loader
            if loader is not None:
                yield owner, loader


# -- sync rendering --------------------------------------------------------------------------


def render_template(template_name_or_list: Names, **context: t.Any) -> str:
    """Render a template.

    :param template_name_or_list: its name, or several, of which the first that exists is used.
    :param context: the variables of the template.
    """
    app = _current_app()
    return _render(app, app.jinja_env.get_or_select_template(template_name_or_list), context)


def render_template_string(source: str, **context: t.Any) -> str:
    """Render a template given as a string.

    :param source: the template's source; autoescaped.
    :param context: the variables of the template.
    """
    app = _current_app()
    return _render(app, app.jinja_env.from_string(source), context)


def stream_template(template_name_or_list: Names, **context: t.Any) -> t.Iterator[str]:
    """Render a template piece by piece; the request's context stays until the last one.

    :param template_name_or_list: its name, or several, of which the first that exists is used.
    :param context: the variables of the template.
    """
    app = _current_app()
    return _stream(app, app.jinja_env.get_or_select_template(template_name_or_list), context)


def stream_template_string(source: str, **context: t.Any) -> t.Iterator[str]:
    """Render a template given as a string piece by piece, see :func:`stream_template`.

    :param source: the template's source; autoescaped.
    :param context: the variables of the template.
    """
    app = _current_app()
    return _stream(app, app.jinja_env.from_string(source), context)


def _current_app() -> Flask:
    ctx = _cv_app.get(None)
    if ctx is None:
        raise RuntimeError(_no_app_msg)
    return ctx.app


def _render(app: Flask, template: Template, context: Context) -> str:
    _prepare(app, template, context)
    if template.environment.is_async:
        text = run_awaitable(template.render_async(context))
    else:
        text = template.render(context)
    announce(app, template_rendered, template=template, context=context)
    return text


def _stream(app: Flask, template: Template, context: Context) -> t.Iterator[str]:
    _prepare(app, template, context)

    def pieces() -> t.Iterator[str]:
        if template.environment.is_async:
            yield run_awaitable(template.render_async(context))
        else:
            yield from template.generate(context)
        announce(app, template_rendered, template=template, context=context)

    if _cv_request.get(None) is None:
        return pieces()
    return stream_with_context(pieces())


def _prepare(app: Flask, template: Template, context: Context) -> None:
    app.update_template_context(context)
    # Receivers may change the context, so rendering has to wait for them.
    if before_render_template.receivers:
        before_render_template.send(
            app, _async_wrapper=app.ensure_sync, template=template, context=context
        )


# -- async rendering -------------------------------------------------------------------------


async def render_template_async(template_name_or_list: Names, **context: t.Any) -> str:
    """Render a template whose context processors, filters or functions may be async.

    Compiled async, a template renders slower than by :func:`render_template`, which async views
    may call as well; macros called from Python become awaitable.

    :param template_name_or_list: its name, or several, of which the first that exists is used.
    :param context: the variables of the template.
    """
    app = _current_app()
    template = app.jinja_env_async.get_or_select_template(template_name_or_list)
    return await _render_async(app, template, context)


async def render_template_string_async(source: str, **context: t.Any) -> str:
    """Render a template given as a string, see :func:`render_template_async`.

    :param source: the template's source; autoescaped.
    :param context: the variables of the template.
    """
    app = _current_app()
    return await _render_async(app, app.jinja_env_async.from_string(source), context)


async def stream_template_async(
    template_name_or_list: Names, **context: t.Any
) -> t.AsyncIterator[str]:
    """Render a template piece by piece, see :func:`render_template_async`.

    :param template_name_or_list: its name, or several, of which the first that exists is used.
    :param context: the variables of the template.
    :returns: an async iterator, which a view may return; the context processors have run.
    """
    app = _current_app()
    template = app.jinja_env_async.get_or_select_template(template_name_or_list)
    return await _stream_async(app, template, context)


async def stream_template_string_async(source: str, **context: t.Any) -> t.AsyncIterator[str]:
    """Render a template given as a string piece by piece, see :func:`stream_template_async`.

    :param source: the template's source; autoescaped.
    :param context: the variables of the template.
    :returns: an async iterator, which a view may return; the context processors have run.
    """
    app = _current_app()
    return await _stream_async(app, app.jinja_env_async.from_string(source), context)


async def _render_async(app: Flask, template: Template, context: Context) -> str:
    await _prepare_async(app, template, context)
    text = await _render_anywhere(app, template, context)
    await _announce_async(app, template_rendered, template, context)
    return text


async def _stream_async(app: Flask, template: Template, context: Context) -> t.AsyncIterator[str]:
    await _prepare_async(app, template, context)

    async def pieces() -> t.AsyncGenerator[str, None]:
        if template.environment.is_async:
            async with aclosing(template.generate_async(context)) as generated:
                async for piece in generated:
                    yield piece
        else:
            yield await _render_anywhere(app, template, context)
        await _announce_async(app, template_rendered, template, context)

    if _cv_request.get(None) is None:
        return pieces()
    return stream_with_context(pieces())


async def _render_anywhere(app: Flask, template: Template, context: Context) -> str:
    if template.environment.is_async:
        return await template.render_async(context)
    # The caller passed a Template of the sync environment.
    return t.cast(str, await call_anywhere(app, template.render, context))


async def _prepare_async(app: Flask, template: Template, context: Context) -> None:
    update = app.update_template_context
    if getattr(update, "__module__", None) == f"{__package__}.app":
        await update_context_async(app, _cv_request.get(None), context)
    else:
        # Overridden by a subclass or an attribute.
        await call_anywhere(app, update, context)
    await _announce_async(app, before_render_template, template, context)


async def _announce_async(app: Flask, signal: Signal, template: Template, context: Context) -> None:
    if signal.receivers:
        await signal.send_async(
            app,
            _sync_wrapper=lambda receiver: functools.partial(call_anywhere, app, receiver),
            template=template,
            context=context,
        )
