"""Blueprints: parts of an application that are written apart and registered on it later."""

from __future__ import annotations

import os
import typing as t
from collections import defaultdict
from functools import wraps

from werkzeug.utils import cached_property

from . import typing as ft
from .scaffold import _endpoint_from_view_func
from .scaffold import _sentinel
from .scaffold import F
from .scaffold import registering
from .scaffold import Scaffold
from .scaffold import ScopedFunctions
from .scaffold import setupmethod
from .scaffold import T_after_request
from .scaffold import T_before_request
from .scaffold import T_error_handler
from .scaffold import T_teardown
from .scaffold import T_template_context_processor
from .scaffold import T_template_filter
from .scaffold import T_template_global
from .scaffold import T_template_test
from .scaffold import T_url_defaults
from .scaffold import T_url_value_preprocessor

if t.TYPE_CHECKING:
    from .application import App
    from .cli import AppGroup

DeferredSetupFunction = t.Callable[["BlueprintSetupState"], None]

_SCOPED_REGISTRIES = (
    "before_request_funcs",
    "after_request_funcs",
    "teardown_request_funcs",
    "template_context_processors",
    "url_value_preprocessors",
    "url_default_functions",
)


class BlueprintSetupState:
    """One registration of a blueprint: what recorded functions are called with.

    :param blueprint: the blueprint that is registered.
    :param app: the application it is registered on.
    :param options: the keyword arguments of ``register_blueprint``.
    :param first_registration: whether this application has not seen the blueprint before.
    """

    def __init__(
        self, blueprint: Blueprint, app: App, options: t.Any, first_registration: bool
    ) -> None:
        self.app = app
        self.blueprint = blueprint
        self.options = options
        self.first_registration = first_registration
        self.subdomain: str | None = _option(options, "subdomain", blueprint.subdomain)
        self.url_prefix: str | None = _option(options, "url_prefix", blueprint.url_prefix)
        self.name: str = options.get("name", blueprint.name)
        self.name_prefix: str = options.get("name_prefix", "")
        self.url_defaults = {
            **blueprint.url_values_defaults,
            **dict(options.get("url_defaults") or ()),
        }

    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.RouteCallable | None = None,
        **options: t.Any,
    ) -> None:
        """Register a rule on the application, below the blueprint's prefix and name.

        :param rule: the URL rule as the blueprint knows it.
        :param endpoint: the endpoint without the blueprint's name; by default the view's name.
        :param view_func: the view function.
        :param options: see :meth:`Scaffold.add_url_rule`.
        """
        if endpoint is None:
            endpoint = _endpoint_from_view_func(view_func)  # type: ignore[arg-type]
        options.setdefault("subdomain", self.subdomain)
        options["defaults"] = {**self.url_defaults, **(options.get("defaults") or {})}
        self.app.add_url_rule(
            self._prefixed(rule),
            _dotted(self.name_prefix, self.name, endpoint),
            view_func,
            **options,
        )

    def _prefixed(self, rule: str) -> str:
        if self.url_prefix is None:
            return rule
        return _join_url(self.url_prefix, rule) if rule else self.url_prefix


class Blueprint(Scaffold):
    """A group of views, hooks, error handlers, templates and static files.

    Its decorators are those of the application. They are kept until the blueprint is registered
    with ``register_blueprint``, on an application or on another blueprint.

    :param name: put before the names of the blueprint's endpoints; it must not contain a dot.
    :param import_name: name of the module the blueprint is made in, usually ``__name__``.
    :param static_folder: folder of static files, relative to the root path.
    :param static_url_path: URL prefix of the static files, below ``url_prefix``. Without a
        ``url_prefix`` the application's static files come first.
    :param template_folder: folder of templates; those of the application take precedence.
    :param url_prefix: put before the blueprint's URLs.
    :param subdomain: the subdomain on which the blueprint's URLs match.
    :param url_defaults: default values for the arguments of all views.
    :param root_path: the folder that relative paths start from; found by the import name.
    :param cli_group: name of the blueprint's group of commands, by default the blueprint's
        own; with ``None`` the commands stand beside those of the application.
    """

    _got_registered_once = False

    def __init__(
        self,
        name: str,
        import_name: str,
        static_folder: str | os.PathLike[str] | None = None,
        static_url_path: str | None = None,
        template_folder: str | os.PathLike[str] | None = None,
        url_prefix: str | None = None,
        subdomain: str | None = None,
        url_defaults: dict[str, t.Any] | None = None,
        root_path: str | None = None,
        cli_group: str | None = _sentinel,
    ) -> None:
        super().__init__(
            import_name=import_name,
            static_folder=static_folder,
            static_url_path=static_url_path,
            template_folder=template_folder,
            root_path=root_path,
        )
        if not name:
            raise ValueError(f"'name' may not be empty, and it is {name!r}. Name the blueprint.")
        _refuse_dot("'name'", name)
        self.name = name
        self.url_prefix = url_prefix
        self.subdomain = subdomain
        self.deferred_functions: list[DeferredSetupFunction] = []
        self.url_values_defaults: dict[str, t.Any] = {} if url_defaults is None else url_defaults
        self.cli_group = cli_group
        self._blueprints: list[tuple[Blueprint, dict[str, t.Any]]] = []

    @cached_property
    def cli(self) -> AppGroup:
        """The Click group of the blueprint's commands, merged into the application's."""
        from .cli import AppGroup

        group = AppGroup()
        group.name = self.name
        return group

    def open_resource(
        self, resource: str, mode: str = "rb", encoding: str | None = "utf-8"
    ) -> t.IO[t.AnyStr]:
        """Open a file below the blueprint's root path for reading.

        :param resource: path relative to :attr:`root_path`.
        :param mode: ``"r"``, ``"rt"`` or ``"rb"``.
        :param encoding: how a file in text mode is encoded.
        :raises ValueError: for any other mode.
        """
        return super().open_resource(resource, mode, encoding)

    def _check_setup_finished(self, f_name: str) -> None:
        if self._got_registered_once:
            raise AssertionError(
                f"The setup method {f_name!r} can no longer be called on the blueprint"
                f" {self.name!r}: it has been registered already, and what is added now would be"
                " missing there. Import and decorate everything before 'register_blueprint'."
            )

    # Registration

    @setupmethod
    def record(self, func: DeferredSetupFunction) -> None:
        """Call a function at each registration of the blueprint.

        :param func: it is given the :class:`BlueprintSetupState`.
        """
        self.deferred_functions.append(func)

    @setupmethod
    def record_once(self, func: DeferredSetupFunction) -> None:
        """Call a function at the first registration of the blueprint on an application.

        :param func: it is given the :class:`BlueprintSetupState`.
        """

        @wraps(func)
        def first_time_only(state: BlueprintSetupState) -> None:
            if state.first_registration:
                func(state)

        self.record(first_time_only)

    def make_setup_state(
        self, app: App, options: dict[str, t.Any], first_registration: bool = False
    ) -> BlueprintSetupState:
        """Make the state of a registration; override it to use a subclass.

        :param app: the application.
        :param options: the keyword arguments of ``register_blueprint``.
        :param first_registration: whether this application has not seen the blueprint before.
        """
        return BlueprintSetupState(self, app, options, first_registration)

    @setupmethod
    def register_blueprint(self, blueprint: Blueprint, **options: t.Any) -> None:
        """Nest a blueprint: it is registered whenever this one is.

        :param blueprint: the blueprint to nest.
        :param options: see :meth:`asyncflask.Flask.register_blueprint`.
        :raises ValueError: if a blueprint is to be nested in itself.
        """
        if blueprint is self:
            raise ValueError(
                f"{self!r} was registered on itself. Register it on the application or on"
                " another blueprint."
            )
        self._blueprints.append((blueprint, options))

    def register(self, app: App, options: dict[str, t.Any]) -> None:
        """Put everything the blueprint holds on an application; ``register_blueprint`` calls it.

        :param app: the application.
        :param options: the keyword arguments of ``register_blueprint``.
        :raises ValueError: if the application knows a blueprint of that name.
        """
        name = _dotted(options.get("name_prefix", ""), options.get("name", self.name))
        if name in app.blueprints:
            holder = "this" if app.blueprints[name] is self else "a different"
            raise ValueError(
                f"The name {name!r} is already registered for {holder} blueprint."
                " Use 'name=' with 'register_blueprint' to provide a unique name."
            )
        first_registration = all(known is not self for known in app.blueprints.values())
        app.blueprints[name] = self
        self._got_registered_once = True
        state = self.make_setup_state(app, options, first_registration)

        if self.has_static_folder:
            state.add_url_rule(
                f"{self.static_url_path}/<path:filename>",
                view_func=self.send_static_file,
                endpoint="static",
            )
        self._merge_blueprint_funcs(app, name)
        for deferred in self.deferred_functions:
            deferred(state)
        self._merge_cli(app, options.get("cli_group", self.cli_group), name)
        for child, child_options in self._blueprints:
            child.register(app, _nested_options(state, child, child_options, name))

    def _merge_blueprint_funcs(self, app: App, name: str) -> None:
        for scope, by_code in self.error_handler_spec.items():
            copies = {code: dict(handlers) for code, handlers in by_code.items()}
            app.error_handler_spec[_scope_below(name, scope)] = defaultdict(dict, copies)
        app.view_functions.update(self.view_functions)

        for registry in _SCOPED_REGISTRIES:
            of_app: ScopedFunctions[t.Any] = getattr(app, registry)
            for scope, functions in getattr(self, registry).items():
                of_app.setdefault(_scope_below(name, scope), []).extend(functions)

    def _merge_cli(self, app: App, group_name: str | None, name: str) -> None:
        # A group that nobody has touched does not exist, and click stays unloaded.
        if "cli" not in self.__dict__ or not self.cli.commands:
            return
        if group_name is None:
            app.cli.commands.update(self.cli.commands)
            return
        self.cli.name = name if group_name is _sentinel else group_name
        app.cli.add_command(self.cli)

    # Routes

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.RouteCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Register a URL rule, below the blueprint's prefix and name.

        :param rule: the URL rule.
        :param endpoint: the endpoint without the blueprint's name; by default the view's name.
        :param view_func: the view function.
        :param provide_automatic_options: see :meth:`Scaffold.add_url_rule`.
        :param options: see :meth:`Scaffold.add_url_rule`.
        :raises ValueError: if a name contains a dot, which stands for nesting.
        """
        _refuse_dot("'endpoint'", endpoint or "")
        _refuse_dot("'view_func' name", getattr(view_func, "__name__", ""))

        # Looked up on the state at each registration: extensions replace it there.
        def add_to_state(state: BlueprintSetupState) -> None:
            state.add_url_rule(
                rule,
                endpoint,
                view_func,
                provide_automatic_options=provide_automatic_options,
                **options,
            )

        self.record(add_to_state)

    # For the application's templates

    @setupmethod
    def app_template_filter(
        self, name: str | None = None
    ) -> t.Callable[[T_template_filter], T_template_filter]:
        """Add the decorated function to the filters of all templates.

        :param name: name of the filter, by default the function's.
        """
        return registering(lambda f: self.add_app_template_filter(f, name=name))

    @setupmethod
    def add_app_template_filter(
        self, f: ft.TemplateFilterCallable, name: str | None = None
    ) -> None:
        """Add a function to the filters of all templates.

        :param f: the filter.
        :param name: name of the filter, by default the function's.
        """
        self.record_once(lambda state: state.app.add_template_filter(f, name=name))

    @setupmethod
    def app_template_test(
        self, name: str | None = None
    ) -> t.Callable[[T_template_test], T_template_test]:
        """Add the decorated function to the tests of all templates.

        :param name: name of the test, by default the function's.
        """
        return registering(lambda f: self.add_app_template_test(f, name=name))

    @setupmethod
    def add_app_template_test(self, f: ft.TemplateTestCallable, name: str | None = None) -> None:
        """Add a function to the tests of all templates.

        :param f: the test.
        :param name: name of the test, by default the function's.
        """
        self.record_once(lambda state: state.app.add_template_test(f, name=name))

    @setupmethod
    def app_template_global(
        self, name: str | None = None
    ) -> t.Callable[[T_template_global], T_template_global]:
        """Add the decorated function to the global names of all templates.

        :param name: name in the templates, by default the function's.
        """
        return registering(lambda f: self.add_app_template_global(f, name=name))

    @setupmethod
    def add_app_template_global(
        self, f: ft.TemplateGlobalCallable, name: str | None = None
    ) -> None:
        """Add a function to the global names of all templates.

        :param f: the function.
        :param name: name in the templates, by default the function's.
        """
        self.record_once(lambda state: state.app.add_template_global(f, name=name))

    # Hooks for every request of the application, not only the blueprint's

    @setupmethod
    def before_app_request(self, f: T_before_request) -> T_before_request:
        """Run a function before each request of the application; see :meth:`before_request`."""
        return self._record_hook("before_request_funcs", f)

    @setupmethod
    def after_app_request(self, f: T_after_request) -> T_after_request:
        """Run a function on each response of the application; see :meth:`after_request`."""
        return self._record_hook("after_request_funcs", f)

    @setupmethod
    def teardown_app_request(self, f: T_teardown) -> T_teardown:
        """Run a function after each request of the application; see :meth:`teardown_request`."""
        return self._record_hook("teardown_request_funcs", f)

    @setupmethod
    def app_context_processor(
        self, f: T_template_context_processor
    ) -> T_template_context_processor:
        """Add variables to all templates of the application; see :meth:`context_processor`."""
        return self._record_hook("template_context_processors", f)

    @setupmethod
    def app_url_value_preprocessor(self, f: T_url_value_preprocessor) -> T_url_value_preprocessor:
        """Run a function on each matched URL; see :meth:`url_value_preprocessor`."""
        return self._record_hook("url_value_preprocessors", f)

    @setupmethod
    def app_url_defaults(self, f: T_url_defaults) -> T_url_defaults:
        """Run a function on each URL that is built; see :meth:`url_defaults`."""
        return self._record_hook("url_default_functions", f)

    def _record_hook(self, registry: str, f: F) -> F:
        def add_to_app(state: BlueprintSetupState) -> None:
            functions: ScopedFunctions[F] = getattr(state.app, registry)
            functions.setdefault(None, []).append(f)

        self.record_once(add_to_app)
        return f

    @setupmethod
    def app_errorhandler(
        self, code: type[Exception] | int
    ) -> t.Callable[[T_error_handler], T_error_handler]:
        """Register the decorated function to answer errors of any request of the application.

        :param code: an HTTP status code, or a class of exceptions.
        """
        return registering(
            lambda f: self.record_once(lambda state: state.app.register_error_handler(code, f))
        )

    @setupmethod
    def before_app_serving(self, f: F) -> F:
        """Run a function before the application's first request is served."""
        self.record_once(lambda state: state.app.before_serving_funcs.append(f))
        return f

    @setupmethod
    def after_app_serving(self, f: F) -> F:
        """Run a function after the application's last request was served."""
        self.record_once(lambda state: state.app.after_serving_funcs.append(f))
        return f

    @setupmethod
    def while_app_serving(self, f: F) -> F:
        """Run a generator function around the time the application serves, one ``yield`` long."""
        self.record_once(lambda state: state.app.while_serving_gens.append(f))
        return f


def _option(options: t.Any, key: str, default: t.Any) -> t.Any:
    value = options.get(key)
    return default if value is None else value


def _refuse_dot(what: str, name: str) -> None:
    if "." in name:
        raise ValueError(
            f"{what} may not contain a dot '.' character, but {name!r} does."
            " Dots separate the names of nested blueprints."
        )


def _dotted(*names: str) -> str:
    return ".".join(names).lstrip(".")


def _scope_below(name: str, scope: str | None) -> str:
    return name if scope is None else f"{name}.{scope}"


def _join_url(prefix: str, rule: str) -> str:
    return f"{prefix.rstrip('/')}/{rule.lstrip('/')}"


def _nested_options(
    state: BlueprintSetupState, child: Blueprint, options: dict[str, t.Any], name: str
) -> dict[str, t.Any]:
    merged = {**options, "name_prefix": name}
    subdomain = _option(options, "subdomain", child.subdomain)
    parts = [part for part in (subdomain, state.subdomain) if part is not None]
    if parts:
        merged["subdomain"] = ".".join(parts)
    url_prefix = _option(options, "url_prefix", child.url_prefix)
    if url_prefix is None:
        url_prefix = state.url_prefix
    elif state.url_prefix is not None:
        url_prefix = _join_url(state.url_prefix, url_prefix)
    if url_prefix is not None:
        merged["url_prefix"] = url_prefix
    return merged
