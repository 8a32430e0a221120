"""``App``: everything about an application that is set up before its first request."""

from __future__ import annotations

import logging
import os
import sys
import typing as t
import weakref
from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from werkzeug.exceptions import Aborter
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.routing import BuildError
from werkzeug.routing import Rule
from werkzeug.utils import cached_property
from werkzeug.utils import redirect as _wz_redirect

from . import typing as ft
from .config import Config
from .config import ConfigAttribute
from .config import DEFAULTS
from .ctx import _AppCtxGlobals
from .globals import g
from .globals import request
from .globals import session
from .helpers import _split_blueprint_path
from .helpers import get_debug_flag
from .helpers import get_flashed_messages
from .json.provider import DefaultJSONProvider
from .json.provider import JSONProvider
from .lanes import ensure_sync
from .logging import create_logger
from .pipeline.errors import find_handler
from .routing import Map
from .scaffold import _endpoint_from_view_func
from .scaffold import F
from .scaffold import find_package
from .scaffold import setupmethod
from .scaffold import T_teardown
from .template_names import TemplateNames

if t.TYPE_CHECKING:
    from jinja2 import Environment as BaseEnvironment
    from werkzeug.wrappers import Response as BaseResponse

    from .adapters.mounts import Mount
    from .blueprints import Blueprint
    from .templating import DispatchingJinjaLoader
    from .templating import Environment
    from .testing import FlaskClient
    from .testing import FlaskCliRunner

T_shell_context_processor = t.TypeVar(
    "T_shell_context_processor", bound=ft.ShellContextProcessorCallable
)

Lifespan: t.TypeAlias = t.Callable[[t.Any], AbstractAsyncContextManager[t.Any]]
URLBuildErrorHandler: t.TypeAlias = t.Callable[[Exception, str, dict[str, t.Any]], str | None]

# Options of routes that belong to the endpoint and mean nothing to Werkzeug.
_ENDPOINT_OPTIONS = ("stream_body", "cancel_on_disconnect")

_AUTOESCAPED = (".html", ".htm", ".xml", ".xhtml", ".svg")

# Deprecated configuration keys and the attribute of the JSON provider that each one sets.
_JSON_ATTRIBUTES = {
    "JSON_AS_ASCII": "ensure_ascii",
    "JSON_SORT_KEYS": "sort_keys",
    "JSONIFY_PRETTYPRINT_REGULAR": "compact",
    "JSONIFY_MIMETYPE": "mimetype",
}


def _make_timedelta(value: timedelta | float | None) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    return timedelta(seconds=value)


class _JinjaEnvironment:
    """The class attribute ``jinja_environment``, which loads Jinja when it is asked for."""

    def __get__(self, app: App | None, owner: type[App]) -> type[Environment]:
        from .templating import Environment

        return Environment


class App(TemplateNames):
    """The registration half of an application: configuration, routes, hooks, templates.

    :class:`~asyncflask.Flask` adds the other half, which handles requests.

    :param import_name: name of the application's package or module, usually ``__name__``.
    :param static_url_path: URL prefix of the static files; the folder's name if not given.
    :param static_folder: folder of static files, relative to the root path.
    :param static_host: host of the static files; needed with ``host_matching``.
    :param host_matching: whether rules are matched by the ``host`` they were added with.
    :param subdomain_matching: whether rules are matched by subdomain of ``SERVER_NAME``.
    :param template_folder: folder of templates, relative to the root path.
    :param instance_path: absolute path of the instance folder; by default ``instance`` beside
        the application, or ``var/<name>-instance`` of the installation.
    :param instance_relative_config: whether configuration files are looked for in the instance
        folder and not in the root path.
    :param root_path: the folder that all relative paths start from; found by the import name.
    :param lifespan: called with the application; the async context manager it returns is held
        open for as long as the application serves.
    :raises ValueError: if the instance path is not absolute.
    """

    # The classes an application is made of; subclasses put their own in their place.
    aborter_class = Aborter
    app_ctx_globals_class = _AppCtxGlobals
    config_class = Config
    jinja_environment = _JinjaEnvironment()
    json_provider_class: type[JSONProvider] = DefaultJSONProvider
    url_map_class = Map
    url_rule_class = Rule
    response_class: type[BaseResponse]
    url_for: t.Callable[..., str]
    test_client_class: type[FlaskClient] | None = None
    test_cli_runner_class: type[FlaskCliRunner] | None = None

    #: Arguments for the Jinja environment, read when it is made.
    jinja_options: dict[str, t.Any] = {}

    default_config: t.Mapping[str, t.Any] = DEFAULTS

    env = ConfigAttribute[str]("ENV")
    permanent_session_lifetime = ConfigAttribute[timedelta](
        "PERMANENT_SESSION_LIFETIME",
        get_converter=_make_timedelta,  # type: ignore[arg-type]
    )
    secret_key = ConfigAttribute[str | bytes | None]("SECRET_KEY")
    testing = ConfigAttribute[bool]("TESTING")

    def __init__(
        self,
        import_name: str,
        static_url_path: str | None = None,
        static_folder: str | os.PathLike[str] | None = "static",
        static_host: str | None = None,
        host_matching: bool = False,
        subdomain_matching: bool = False,
        template_folder: str | os.PathLike[str] | None = "templates",
        instance_path: str | None = None,
        instance_relative_config: bool = False,
        root_path: str | None = None,
        *,
        lifespan: Lifespan | None = None,
    ) -> None:
        super().__init__(
            import_name=import_name,
            static_folder=static_folder,
            static_url_path=static_url_path,
            template_folder=template_folder,
            root_path=root_path,
        )
        if instance_path is None:
            instance_path = self.auto_find_instance_path()
        elif not os.path.isabs(instance_path):
            raise ValueError(
                f"The instance path must be absolute, and {instance_path!r} is relative."
                " Pass the result of 'os.path.abspath', or leave it out."
            )
        self.instance_path = instance_path
        self.config = self.make_config(instance_relative_config)
        self.aborter = self.make_aborter()
        self.json: JSONProvider = self.json_provider_class(self)
        self._follow_json_config()

        self.url_map = self.url_map_class(host_matching=host_matching)
        self.subdomain_matching = subdomain_matching
        self.endpoint_options: dict[str, dict[str, t.Any]] = {}
        self.url_build_error_handlers: list[URLBuildErrorHandler] = []
        self.teardown_appcontext_funcs: list[ft.TeardownCallable] = []
        self.shell_context_processors: list[ft.ShellContextProcessorCallable] = []
        self.blueprints: dict[str, Blueprint] = {}
        self.extensions: dict[str, t.Any] = {}

        self.lifespan = lifespan
        self.before_serving_funcs: list[t.Callable[[], t.Any]] = []
        self.after_serving_funcs: list[t.Callable[[], t.Any]] = []
        self._mounts: list[Mount] = []
        self.while_serving_gens: list[t.Callable[[], t.Any]] = []
        self._got_first_request = False

    @property
    def got_first_request(self) -> bool:
        """Whether the application has begun to handle requests; its set-up is over then."""
        return self._got_first_request

    def _check_setup_finished(self, f_name: str) -> None:
        if self._got_first_request:
            raise AssertionError(
                f"The setup method {f_name!r} can no longer be called on the application"
                f" {self.name!r}: it has handled its first request, and what is added now would"
                " not apply to all. Import, decorate and register everything before serving."
            )

    # Identity, configuration, and the objects made from it

    @cached_property
    def name(self) -> str:
        """The import name, or the name of the file that is run as ``__main__``."""
        if self.import_name != "__main__":
            return self.import_name
        file: str | None = getattr(sys.modules["__main__"], "__file__", None)
        return "__main__" if file is None else os.path.splitext(os.path.basename(file))[0]

    @cached_property
    def logger(self) -> logging.Logger:
        """The logger named after the application, with a handler if no other is set up."""
        return create_logger(self)

    @property
    def debug(self) -> bool:
        """Whether debug mode is on; the configuration's ``DEBUG``."""
        return self.config["DEBUG"]  # type: ignore[no-any-return]

    @debug.setter
    def debug(self, value: bool) -> None:
        self.config["DEBUG"] = value
        # An environment that is not made yet will look at the configuration itself.
        if self.config["TEMPLATES_AUTO_RELOAD"] is None and "jinja_env" in self.__dict__:
            self.jinja_env.auto_reload = value

    def make_config(self, instance_relative: bool = False) -> Config:
        """Make the configuration; called once by the constructor.

        :param instance_relative: whether files are looked for in the instance folder.
        """
        root_path = self.instance_path if instance_relative else self.root_path
        return self.config_class(root_path, {**self.default_config, "DEBUG": get_debug_flag()})

    def make_aborter(self) -> Aborter:
        """Make the object behind :func:`asyncflask.abort`, an :attr:`aborter_class`."""
        return self.aborter_class()

    def auto_find_instance_path(self) -> str:
        """Find the instance folder from the place the application is installed in."""
        prefix, package_path = find_package(self.import_name)
        if prefix is None:
            return os.path.join(package_path, "instance")
        return os.path.join(prefix, "var", f"{self.name}-instance")

    def _follow_json_config(self) -> None:
        # Weak, so that an application nobody refers to is freed at once.
        app_ref = weakref.ref(self)

        def on_deprecated(key: str, value: t.Any) -> None:
            app = app_ref()
            if app is not None:
                app._apply_json_config(key, value)

        for key in _JSON_ATTRIBUTES:
            if key in self.config:
                self._apply_json_config(key, self.config[key])
        self.config.on_deprecated = on_deprecated

    def _apply_json_config(self, key: str, value: t.Any) -> None:
        attribute = _JSON_ATTRIBUTES.get(key)
        if attribute is None:
            return
        if attribute == "compact":
            # Not asked to be pretty leaves it to debug mode.
            value = False if value else None
        setattr(self.json, attribute, value)

    # Templates

    @cached_property
    def jinja_env(self) -> Environment:
        """The Jinja environment, made on first use."""
        return self.create_jinja_environment()

    @cached_property
    def jinja_env_async(self) -> BaseEnvironment:
        """The async counterpart of :attr:`jinja_env`, for ``render_template_async``."""
        from .templating import create_async_environment

        return create_async_environment(self)

    def create_jinja_environment(self) -> Environment:
        """Make the Jinja environment; :attr:`jinja_options` changed afterwards have no effect."""
        auto_reload = self.config["TEMPLATES_AUTO_RELOAD"]
        options = {
            "autoescape": self.select_jinja_autoescape,
            "auto_reload": self.debug if auto_reload is None else auto_reload,
            **self.jinja_options,
        }
        env = self.jinja_environment(self, **options)
        # The proxies are for imported templates, which do not see what context processors add.
        env.globals.update(
            url_for=self.url_for,
            get_flashed_messages=get_flashed_messages,
            config=self.config,
            request=request,
            session=session,
            g=g,
        )
        env.policies["json.dumps_function"] = self.json.dumps
        return env

    def create_global_jinja_loader(self) -> DispatchingJinjaLoader:
        """Make the loader that looks at the application's templates, then the blueprints'."""
        from .templating import DispatchingJinjaLoader

        return DispatchingJinjaLoader(self)

    def select_jinja_autoescape(self, filename: str | None) -> bool:
        """Tell whether values are escaped in a template.

        :param filename: name of the template, ``None`` for one made from a string.
        """
        return filename is None or filename.endswith(_AUTOESCAPED)

    # Routes and blueprints

    @setupmethod
    def register_blueprint(self, blueprint: Blueprint, **options: t.Any) -> None:
        """Register a blueprint; the options override what the blueprint was made with.

        :param blueprint: the blueprint.
        :param options: ``url_prefix``, ``subdomain``, ``url_defaults``, ``cli_group``, and
            ``name``, under which a blueprint can be registered a second time. Functions given
            to :meth:`Blueprint.record` see these and any others.
        :raises ValueError: if a blueprint of that name is registered already.
        """
        blueprint.register(self, options)

    def iter_blueprints(self) -> t.ValuesView[Blueprint]:
        """Give the registered blueprints in the order of their registration."""
        return self.blueprints.values()

    @setupmethod
    def add_url_rule(
        self,
        rule: str,
        endpoint: str | None = None,
        view_func: ft.RouteCallable | None = None,
        provide_automatic_options: bool | None = None,
        **options: t.Any,
    ) -> None:
        """Register a URL rule and, if given, the view function that answers it.

        The parameters are those of :meth:`Scaffold.add_url_rule`.

        :raises AssertionError: if the endpoint has another view function.
        :raises TypeError: if ``methods`` is a string.
        """
        if endpoint is None:
            endpoint = _endpoint_from_view_func(view_func)  # type: ignore[arg-type]
        known = self.view_functions.get(endpoint)
        if view_func is not None and known is not None and known != view_func:
            raise AssertionError(
                f"The view function {view_func!r} is overwriting an existing endpoint function:"
                f" {endpoint!r} is {known!r}. Give one of the two another 'endpoint'."
            )
        methods = _route_methods(rule, view_func, options.pop("methods", None))
        if provide_automatic_options is None:
            provide_automatic_options = getattr(view_func, "provide_automatic_options", None)
        if provide_automatic_options is None:
            wanted = self.config.get("PROVIDE_AUTOMATIC_OPTIONS", True)
            provide_automatic_options = bool(wanted) and "OPTIONS" not in methods
            if provide_automatic_options:
                methods.add("OPTIONS")
        methods |= set(getattr(view_func, "required_methods", ()))

        ours = {key: options.pop(key) for key in _ENDPOINT_OPTIONS if key in options}
        rule_obj = self.url_rule_class(rule, methods=methods, endpoint=endpoint, **options)
        rule_obj.provide_automatic_options = provide_automatic_options  # type: ignore[attr-defined]
        self.url_map.add(rule_obj)
        if view_func is not None:
            self.view_functions[endpoint] = view_func
        if ours:
            self.endpoint_options.setdefault(endpoint, {}).update(ours)

    def inject_url_defaults(self, endpoint: str, values: dict[str, t.Any]) -> None:
        """Have the ``url_defaults`` functions complete the values a URL is built from.

        :param endpoint: the endpoint the URL is built for.
        :param values: changed in place.
        """
        names: list[str | None] = [None]
        # By the endpoint and not the request: URLs are built outside of requests, too.
        if "." in endpoint:
            names += reversed(_split_blueprint_path(endpoint.rpartition(".")[0]))
        for name in names:
            for func in self.url_default_functions.get(name, ()):
                ensure_sync(func)(endpoint, values)

    def handle_url_build_error(
        self, error: BuildError, endpoint: str, values: dict[str, t.Any]
    ) -> str:
        """Ask :attr:`url_build_error_handlers` for a URL that could not be built.

        :param error: what went wrong.
        :param endpoint: the endpoint the URL was to be built for.
        :param values: the values given to ``url_for``.
        :returns: the first answer that is not ``None``.
        :raises werkzeug.routing.BuildError: if there is none.
        """
        for handler in self.url_build_error_handlers:
            try:
                url: str | None = ensure_sync(handler)(error, endpoint, values)
            except BuildError as newer:
                error = newer
            else:
                if url is not None:
                    return url
        raise error

    def redirect(self, location: str, code: int = 302) -> BaseResponse:
        """Make a response that sends the client elsewhere.

        :param location: the URL to go to.
        :param code: the status code.
        """
        return _wz_redirect(location, code=code, Response=self.response_class)

    # Errors

    def abort(self, code: int | BaseResponse, *args: t.Any, **kwargs: t.Any) -> t.NoReturn:
        """Raise the HTTP error for a status code, as :func:`asyncflask.abort` does.

        :param code: the status code, or a response to answer with.
        :param args: passed to the error, as ``kwargs`` are.
        """
        self.aborter(code, *args, **kwargs)

    def _find_error_handler(
        self, e: Exception, blueprints: list[str]
    ) -> ft.ErrorHandlerCallable | None:
        return find_handler(self.error_handler_spec, blueprints, e)

    def trap_http_exception(self, e: Exception) -> bool:
        """Tell whether an HTTP error is treated as a bug, passing by its handlers.

        ``TRAP_HTTP_EXCEPTIONS`` and ``TRAP_BAD_REQUEST_ERRORS`` decide. If the latter is unset,
        missing keys of the request's data are trapped in debug mode.

        :param e: the error.
        """
        if self.config["TRAP_HTTP_EXCEPTIONS"]:
            return True
        trap_bad_requests = self.config["TRAP_BAD_REQUEST_ERRORS"]
        if trap_bad_requests is None:
            return self.debug and isinstance(e, BadRequestKeyError)
        return bool(trap_bad_requests) and isinstance(e, BadRequest)

    def should_ignore_error(self, error: BaseException | None) -> bool:
        """Tell whether teardown functions are kept from an error; meant to be overridden.

        :param error: the error that nobody handled.
        """
        return False

    # Around requests, and around serving

    @setupmethod
    def teardown_appcontext(self, f: T_teardown) -> T_teardown:
        """Run a function when an application context is popped: after each request or command.

        It is given the error that nobody handled, or ``None``. What it returns is ignored.
        """
        self.teardown_appcontext_funcs.append(f)
        return f

    @setupmethod
    def shell_context_processor(self, f: T_shell_context_processor) -> T_shell_context_processor:
        """Add the dictionary that a function returns to the names known in the shell."""
        self.shell_context_processors.append(f)
        return f

    @setupmethod
    def before_serving(self, f: F) -> F:
        """Run a function before the first request is served; if it fails, nothing is served."""
        self.before_serving_funcs.append(f)
        return f

    @setupmethod
    def after_serving(self, f: F) -> F:
        """Run a function after the last request was served."""
        self.after_serving_funcs.append(f)
        return f

    @setupmethod
    def while_serving(self, f: F) -> F:
        """Run a generator function around the time the application serves, one ``yield`` long.

        What stands before the ``yield`` runs at the start, the rest at the end.
        """
        self.while_serving_gens.append(f)
        return f


def _route_methods(
    rule: str, view_func: ft.RouteCallable | None, methods: t.Iterable[str] | None
) -> set[str]:
    if methods is None:
        methods = getattr(view_func, "methods", None) or ("GET",)
    if isinstance(methods, str):
        raise TypeError(
            f"The methods of the rule {rule!r} must be a list of strings, not {methods!r}:"
            f" @app.route({rule!r}, methods=[{methods!r}])"
        )
    return {method.upper() for method in methods}
