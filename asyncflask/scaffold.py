"""What applications and blueprints have in common: registries and their decorators."""

from __future__ import annotations

import importlib.util
import os
import sys
import typing as t
from collections import defaultdict
from datetime import timedelta
from functools import wraps
from pathlib import PurePath

from werkzeug.exceptions import default_exceptions
from werkzeug.exceptions import HTTPException
from werkzeug.utils import cached_property

from . import typing as ft
from .globals import current_app
from .helpers import _endpoint_from_view_func as _endpoint_from_view_func
from .helpers import get_root_path
from .helpers import send_from_directory
from .lanes import does_io
from .template_context import _default_template_ctx_processor

if t.TYPE_CHECKING:
    from importlib.machinery import ModuleSpec

    from jinja2 import BaseLoader

    from .cli import AppGroup
    from .pipeline.errors import ErrorHandlerSpec
    from .wrappers import Response

# Tells "not given" from an explicit None in parameter defaults.
_sentinel: t.Any = object()

_T = t.TypeVar("_T")
F = t.TypeVar("F", bound=t.Callable[..., t.Any])
T_after_request = t.TypeVar("T_after_request", bound=ft.AfterRequestCallable[t.Any])
T_before_request = t.TypeVar("T_before_request", bound=ft.BeforeRequestCallable)
T_error_handler = t.TypeVar("T_error_handler", bound=ft.ErrorHandlerCallable)
T_route = t.TypeVar("T_route", bound=ft.RouteCallable)
T_teardown = t.TypeVar("T_teardown", bound=ft.TeardownCallable)
T_template_context_processor = t.TypeVar(
    "T_template_context_processor", bound=ft.TemplateContextProcessorCallable
)
T_template_filter = t.TypeVar("T_template_filter", bound=ft.TemplateFilterCallable)
T_template_global = t.TypeVar("T_template_global", bound=ft.TemplateGlobalCallable)
T_template_test = t.TypeVar("T_template_test", bound=ft.TemplateTestCallable)
T_url_defaults = t.TypeVar("T_url_defaults", bound=ft.URLDefaultCallable)
T_url_value_preprocessor = t.TypeVar(
    "T_url_value_preprocessor", bound=ft.URLValuePreprocessorCallable
)

ScopedFunctions: t.TypeAlias = dict[ft.AppOrBlueprintKey, list[_T]]


def setupmethod(f: F) -> F:
    """Make a method refuse to run once its application or blueprint is in use."""
    name = f.__name__

    @wraps(f)
    def checked(self: Scaffold, *args: t.Any, **kwargs: t.Any) -> t.Any:
        self._check_setup_finished(name)
        return f(self, *args, **kwargs)

    return t.cast(F, checked)


def registering(add: t.Callable[[F], None]) -> t.Callable[[F], F]:
    """Make a decorator that hands a function to ``add`` and leaves it as it is."""

    def decorator(f: F) -> F:
        add(f)
        return f

    return decorator


class Scaffold:
    """Base of :class:`~asyncflask.Flask` and :class:`~asyncflask.Blueprint`.

    The registries are plain dictionaries and lists that hold the very functions which were
    registered. Their keys are scopes: a blueprint's name, or ``None`` for this object itself.

    :param import_name: name of the module this object is made in, usually ``__name__``.
    :param static_folder: folder of static files to serve, relative to the root path.
    :param static_url_path: URL prefix of the static files; the folder's name if not given.
    :param template_folder: folder of templates, relative to the root path.
    :param root_path: the folder that all relative paths start from; found by the import name.
    """

    cli: AppGroup
    name: str
    _static_folder: str | None = None
    _static_url_path: str | None = None

    def __init__(
        self,
        import_name: str,
        static_folder: str | os.PathLike[str] | None = None,
        static_url_path: str | None = None,
        template_folder: str | os.PathLike[str] | None = None,
        root_path: str | None = None,
    ) -> None:
        self.import_name = import_name
        self.static_folder = static_folder
        self.static_url_path = static_url_path
        self.template_folder = template_folder
        self.root_path = get_root_path(import_name) if root_path is None else root_path

        self.view_functions: dict[str, ft.RouteCallable] = {}
        self.error_handler_spec: ErrorHandlerSpec = defaultdict(lambda: defaultdict(dict))
        self.before_request_funcs: ScopedFunctions[ft.BeforeRequestCallable] = defaultdict(list)
        self.after_request_funcs: ScopedFunctions[ft.AfterRequestCallable[t.Any]] = defaultdict(
            list
        )
        self.teardown_request_funcs: ScopedFunctions[ft.TeardownCallable] = defaultdict(list)
        self.template_context_processors: ScopedFunctions[ft.TemplateContextProcessorCallable] = (
            defaultdict(list, {None: [_default_template_ctx_processor]})
        )
        self.url_value_preprocessors: ScopedFunctions[ft.URLValuePreprocessorCallable] = (
            defaultdict(list)
        )
        self.url_default_functions: ScopedFunctions[ft.URLDefaultCallable] = defaultdict(list)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"

    def _check_setup_finished(self, f_name: str) -> None:
        raise TypeError(
            f"{f_name!r} was called on a {type(self).__name__!r}, which has no life cycle of its"
            " own. Derive from 'Flask' or 'Blueprint' instead of 'Scaffold'."
        )

    # Static files, templates and other resources

    @property
    def static_folder(self) -> str | None:
        """The absolute path of the folder of static files, ``None`` if there is none."""
        if self._static_folder is None:
            return None
        return os.path.join(self.root_path, self._static_folder)

    @static_folder.setter
    def static_folder(self, value: str | os.PathLike[str] | None) -> None:
        self._static_folder = None if value is None else os.fspath(value).rstrip("/\\")

    @property
    def has_static_folder(self) -> bool:
        """Whether a folder of static files is set."""
        return self.static_folder is not None

    @property
    def static_url_path(self) -> str | None:
        """The URL prefix of the static files, made from the folder's name unless it was set."""
        if self._static_url_path is not None:
            return self._static_url_path
        folder = self.static_folder
        return None if folder is None else f"/{os.path.basename(folder)}".rstrip("/")

    @static_url_path.setter
    def static_url_path(self, value: str | None) -> None:
        self._static_url_path = None if value is None else value.rstrip("/")

    @cached_property
    def jinja_loader(self) -> BaseLoader | None:
        """The loader of this object's own templates, ``None`` without a template folder."""
        if self.template_folder is None:
            return None
        from jinja2 import FileSystemLoader

        return FileSystemLoader(os.path.join(self.root_path, self.template_folder))

    def get_send_file_max_age(self, filename: str | None) -> int | None:
        """Tell for how many seconds browsers may cache a file; meant to be overridden.

        :param filename: path of the file that is sent.
        :returns: ``SEND_FILE_MAX_AGE_DEFAULT`` of the current application; ``None`` makes
            browsers ask each time whether the file has changed.
        """
        value: timedelta | int | None = current_app.config["SEND_FILE_MAX_AGE_DEFAULT"]
        return int(value.total_seconds()) if isinstance(value, timedelta) else value

    @does_io
    def send_static_file(self, filename: str) -> Response:
        """Answer with a file from the static folder; the view function of the static route.

        :param filename: path relative to :attr:`static_folder`.
        :raises RuntimeError: if no static folder is set.
        """
        folder = self.static_folder
        if folder is None:
            raise RuntimeError(
                f"{filename!r} was asked for, but {self!r} has no static folder."
                " 'static_folder' must be set to serve static files."
            )
        # Asked here since send_file knows only the application's answer.
        max_age = self.get_send_file_max_age(filename)
        return send_from_directory(folder, filename, max_age=max_age)

    def open_resource(
        self, resource: str, mode: str = "rb", encoding: str | None = None
    ) -> t.IO[t.AnyStr]:
        """Open a file below the root path for reading.

        :param resource: path relative to :attr:`root_path`.
        :param mode: ``"r"``, ``"rt"`` or ``"rb"``.
        :param encoding: how a file in text mode is encoded.
        :raises ValueError: for any other mode.
        """
        if mode not in {"r", "rt", "rb"}:
            raise ValueError(
                f"Resources can only be opened for reading, not with mode {mode!r}."
                " Use 'r' or 'rb'."
            )
        path = os.path.join(self.root_path, resource)
        return open(path, mode, encoding=None if mode == "rb" else encoding)

    # Routes

    def _method_route(
        self, method: str, rule: str, options: dict[str, t.Any]
    ) -> t.Callable[[T_route], T_route]:
        if "methods" in options:
            raise TypeError(
                f"'methods' was given to the decorator for {method} alone at {rule!r}."
                " Use the 'route' decorator to use the 'methods' argument."
            )
        return self.route(rule, methods=[method], **options)

    @setupmethod
    def get(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for ``GET`` requests; otherwise like :meth:`route`."""
        return self._method_route("GET", rule, options)

    @setupmethod
    def post(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for ``POST`` requests; otherwise like :meth:`route`."""
        return self._method_route("POST", rule, options)

    @setupmethod
    def put(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for ``PUT`` requests; otherwise like :meth:`route`."""
        return self._method_route("PUT", rule, options)

    @setupmethod
    def delete(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for ``DELETE`` requests; otherwise like :meth:`route`."""
        return self._method_route("DELETE", rule, options)

    @setupmethod
    def patch(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register a view for ``PATCH`` requests; otherwise like :meth:`route`."""
        return self._method_route("PATCH", rule, options)

    @setupmethod
    def route(self, rule: str, **options: t.Any) -> t.Callable[[T_route], T_route]:
        """Register the decorated view function for a URL rule.

        :param rule: the URL rule, such as ``"/user/<int:id>"``.
        :param options: ``endpoint``, ``methods`` and whatever else :meth:`add_url_rule` takes.
        """
        endpoint = options.pop("endpoint", None)
        return registering(lambda f: self.add_url_rule(rule, endpoint, f, **options))

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

        :param rule: the URL rule, such as ``"/user/<int:id>"``.
        :param endpoint: the name used to build URLs; by default the view function's name.
        :param view_func: the view; it may be left out and given later with :meth:`endpoint`.
            Its attributes ``methods``, ``required_methods`` and ``provide_automatic_options``
            are used where the arguments do not say otherwise.
        :param provide_automatic_options: whether ``OPTIONS`` is answered for the view.
        :param options: ``methods`` (a list, by default only ``GET``), the options of
            :class:`werkzeug.routing.Rule`, and these two, which hold for the whole endpoint:
            ``stream_body=True`` leaves the request's body to the view, read ahead by nobody;
            ``cancel_on_disconnect`` overrides the configuration's ``CANCEL_ON_DISCONNECT``.
        """
        raise TypeError(
            f"{type(self).__name__!r} keeps no URL rules, {rule!r} cannot be added."
            " Derive from 'Flask' or 'Blueprint' instead of 'Scaffold'."
        )

    @setupmethod
    def endpoint(self, endpoint: str) -> t.Callable[[F], F]:
        """Register the decorated view function for an endpoint whose rule is added separately.

        :param endpoint: the name that was given to :meth:`add_url_rule`.
        """
        return registering(lambda f: self.view_functions.__setitem__(endpoint, f))

    # Hooks; on a blueprint they run for the requests that the blueprint handles

    @setupmethod
    def before_request(self, f: T_before_request) -> T_before_request:
        """Run a function before each request.

        It takes no arguments. If it returns anything but ``None``, that is the answer to the
        request: neither the hooks after it nor the view are called.
        """
        self.before_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def after_request(self, f: T_after_request) -> T_after_request:
        """Run a function on each response; what it returns is sent instead.

        When one of them raises, the others are left out; what must always happen belongs into
        :meth:`teardown_request`.
        """
        self.after_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def teardown_request(self, f: T_teardown) -> T_teardown:
        """Run a function when the request context is popped, whatever has happened before.

        It is given the error that nobody handled, or ``None``. What it returns is ignored.
        """
        self.teardown_request_funcs.setdefault(None, []).append(f)
        return f

    @setupmethod
    def context_processor(self, f: T_template_context_processor) -> T_template_context_processor:
        """Add the dictionary that a function returns to the variables of every template."""
        self.template_context_processors.setdefault(None, []).append(f)
        return f

    @setupmethod
    def url_value_preprocessor(self, f: T_url_value_preprocessor) -> T_url_value_preprocessor:
        """Run a function on the values of a matched URL, ahead of all other hooks.

        It is called with the endpoint and the dictionary of values, which it may change.
        """
        self.url_value_preprocessors.setdefault(None, []).append(f)
        return f

    @setupmethod
    def url_defaults(self, f: T_url_defaults) -> T_url_defaults:
        """Run a function when a URL is built.

        It is called with the endpoint and the dictionary of values, which it may change.
        """
        self.url_default_functions.setdefault(None, []).append(f)
        return f

    # Errors

    @setupmethod
    def errorhandler(
        self, code_or_exception: type[Exception] | int
    ) -> t.Callable[[T_error_handler], T_error_handler]:
        """Register the decorated function to answer errors.

        :param code_or_exception: an HTTP status code, or a class of exceptions.
        """
        return registering(lambda f: self.register_error_handler(code_or_exception, f))

    @setupmethod
    def register_error_handler(
        self, code_or_exception: type[Exception] | int, f: ft.ErrorHandlerCallable
    ) -> None:
        """Register a function to answer errors, as :meth:`errorhandler` does.

        :param code_or_exception: an HTTP status code, or a class of exceptions.
        :param f: it is called with the error and returns what a view may return.
        :raises TypeError: if an instance is given in place of a class.
        :raises ValueError: for unknown codes, and for classes that are no exceptions.
        """
        exc_class, code = self._get_exc_class_and_code(code_or_exception)
        self.error_handler_spec[None][code][exc_class] = f

    @staticmethod
    def _get_exc_class_and_code(
        exc_class_or_code: type[Exception] | int,
    ) -> tuple[type[Exception], int | None]:
        if isinstance(exc_class_or_code, int):
            known = default_exceptions.get(exc_class_or_code)
            if known is None:
                raise ValueError(
                    f"{exc_class_or_code!r} is not a status code that Werkzeug has an error for."
                    " Use a subclass of HTTPException with that code instead."
                )
            return known, known.code
        if isinstance(exc_class_or_code, BaseException):
            raise TypeError(
                f"{exc_class_or_code!r} is an instance, not a class."
                " Register the handler for its class, or for an HTTP status code."
            )
        if not (isinstance(exc_class_or_code, type) and issubclass(exc_class_or_code, Exception)):
            name = getattr(exc_class_or_code, "__name__", exc_class_or_code)
            raise ValueError(
                f"{name!r} is not a subclass of Exception."
                " Register the handler for one, or for an HTTP status code."
            )
        code = exc_class_or_code.code if issubclass(exc_class_or_code, HTTPException) else None
        return exc_class_or_code, code


def find_package(import_name: str) -> tuple[str | None, str]:
    """Find where a package is installed, and the folder it is imported from.

    :param import_name: name of a module or package.
    :returns: the prefix of the installation (the folder that holds ``lib``), ``None`` if the
        package is not installed; and the entry of :data:`sys.path` that holds it.
    """
    package_path = _find_package_path(import_name)
    return _installation_prefix(package_path), package_path


def _installation_prefix(package_path: str) -> str | None:
    system_prefix = os.path.abspath(sys.prefix)
    path = PurePath(package_path)
    if path.is_relative_to(system_prefix):
        return system_prefix
    if path.name.lower() != "site-packages":
        return None
    # A virtual environment: Lib/site-packages on Windows, lib/pythonX.Y/site-packages elsewhere.
    for lib in (path.parent, path.parent.parent):
        if lib.name.lower() == "lib":
            return os.fspath(lib.parent)
    return os.fspath(path.parent)


def _find_package_path(import_name: str) -> str:
    root_name = import_name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(root_name)
    except (ImportError, ValueError):
        # A broken or empty name, or __main__ without a spec: a script in the current folder.
        spec = None
    if spec is None:
        return os.getcwd()
    if spec.submodule_search_locations is None:
        return os.path.dirname(spec.origin or "")
    if spec.origin is None or spec.origin == "namespace":
        return os.path.dirname(_namespace_portion(spec, import_name))
    return os.path.dirname(os.path.dirname(spec.origin))


def _namespace_portion(root: ModuleSpec, import_name: str) -> str:
    # A namespace package is spread over several folders: take the one that holds the module.
    portions = list(root.submodule_search_locations or ())
    spec = importlib.util.find_spec(import_name)
    if spec is not None and spec.submodule_search_locations:
        package = PurePath(os.path.commonpath(list(spec.submodule_search_locations)))
        for portion in portions:
            if package.is_relative_to(portion):
                return portion
    return portions[0]
