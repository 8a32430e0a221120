"""How a program finds its application and the environment variables that go with it."""

from __future__ import annotations

import ast
import contextlib
import inspect
import os
import re
import sys
import traceback
import typing as t
from types import FunctionType

import click

from .app import Flask
from .helpers import get_debug_flag
from .helpers import get_load_dotenv
from .lanes import run_awaitable

if t.TYPE_CHECKING:
    from types import ModuleType

# A colon before a slash belongs to the drive letter of a Windows path.
_NAME_SEPARATOR = re.compile(r":(?![\\/])")


class NoAppException(click.UsageError):
    """Raised if an application cannot be found or loaded."""


def find_best_app(module: ModuleType) -> Flask:
    """Find the application of a module, or make it with the module's factory.

    :param module: looked through for ``app``, ``application``, a single instance of any name,
        then for the factories ``create_app`` and ``make_app``.
    :raises NoAppException: there is none, or no telling which one is meant.
    """
    for name in ("app", "application"):
        app = getattr(module, name, None)
        if isinstance(app, Flask):
            return app

    instances = [value for value in vars(module).values() if isinstance(value, Flask)]
    if len(instances) == 1:
        return instances[0]
    if instances:
        raise NoAppException(
            f"The module {module.__name__!r} has {len(instances)} applications. Say which one is"
            f" meant with '{module.__name__}:name'."
        )

    for name in ("create_app", "make_app"):
        factory = getattr(module, name, None)
        if inspect.isfunction(factory):
            app = _call_factory(
                factory,
                f"The factory {name!r} in module {module.__name__!r} cannot be called without"
                f" arguments. Give them with '{module.__name__}:{name}(args)'.",
            )
            if isinstance(app, Flask):
                return app
            _refuse_real_flask(app, f"{module.__name__}:{name}()")

    for name, value in vars(module).items():
        _refuse_real_flask(value, f"{module.__name__}:{name}")
    raise NoAppException(
        f"The module {module.__name__!r} has neither an application nor a factory under a usual"
        f" name. Name it with '{module.__name__}:name'."
    )


def find_app_by_string(module: ModuleType, app_name: str) -> Flask:
    """Get the application that an expression names in a module.

    :param app_name: the name of an application or a factory, or a factory's call with literals
        as arguments: ``create_app("dev", debug=True)``.
    :raises NoAppException: the expression is no such thing, or gives no application.
    """
    name, args, kwargs = _parse_app_name(app_name)
    try:
        app = getattr(module, name)
    except AttributeError as error:
        raise NoAppException(f"The module {module.__name__!r} has no {name!r}.") from error

    if inspect.isfunction(app):
        complaint = (
            f"The factory in {app_name!r} of module {module.__name__!r} does not take these"
            " arguments."
        )
        app = _call_factory(app, complaint, *args, **kwargs)
    if isinstance(app, Flask):
        return app
    _refuse_real_flask(app, f"{module.__name__}:{app_name}")
    raise NoAppException(f"'{module.__name__}:{app_name}' is {app!r}, not an application.")


def _refuse_real_flask(value: t.Any, where: str) -> None:
    """Tell what to do about an application of the real Flask.

    :raises NoAppException: if it is one.
    """
    if any((cls.__module__, cls.__name__) == ("flask.app", "Flask") for cls in type(value).__mro__):
        raise NoAppException(
            f"'{where}' is an application of Flask itself. Put '--as-flask' before the command,"
            " which gives asyncflask to all that imports 'flask', or import from 'asyncflask'."
        )


def _parse_app_name(app_name: str) -> tuple[str, list[t.Any], dict[str, t.Any]]:
    try:
        node = ast.parse(app_name.strip(), mode="eval").body
    except (SyntaxError, ValueError):
        node = None
    if isinstance(node, ast.Name):
        return node.id, [], {}
    if not isinstance(node, ast.Call):
        raise NoAppException(f"{app_name!r} is neither a name nor the call of a function.")
    if not isinstance(node.func, ast.Name):
        raise NoAppException(f"The function in {app_name!r} must be a plain name.")
    try:
        args = [ast.literal_eval(arg) for arg in node.args]
        kwargs: dict[str, t.Any] = {}
        for word in node.keywords:
            value = ast.literal_eval(word.value)
            kwargs |= value if word.arg is None else {word.arg: value}
    except (TypeError, ValueError):
        raise NoAppException(f"The arguments in {app_name!r} must be literal values.") from None
    return node.func.id, args, kwargs


def _call_factory(factory: FunctionType, complaint: str, *args: t.Any, **kwargs: t.Any) -> t.Any:
    try:
        return finish(factory(*args, **kwargs))
    except TypeError as error:
        frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
        if any(frame.f_code is factory.__code__ for frame in frames):
            raise
        raise NoAppException(complaint) from error


def prepare_import(path: str) -> str:
    """Make a Python file importable.

    :param path: of a module's or package's file, with or without ``.py``, or a dotted name. The
        directory above its outermost package goes to the front of :data:`sys.path`.
    :returns: the name to import it by.
    """
    path = os.path.realpath(path)
    stem, extension = os.path.splitext(path)
    if extension == ".py":
        path = stem
    if os.path.basename(path) == "__init__":
        path = os.path.dirname(path)

    folder, name = os.path.split(path)
    while os.path.exists(os.path.join(folder, "__init__.py")):
        folder, package = os.path.split(folder)
        name = f"{package}.{name}"

    if sys.path[0] != folder:
        sys.path.insert(0, folder)
    return name


@t.overload
def locate_app(
    module_name: str, app_name: str | None, raise_if_not_found: t.Literal[True] = True
) -> Flask: ...
@t.overload
def locate_app(
    module_name: str, app_name: str | None, raise_if_not_found: t.Literal[False] = ...
) -> Flask | None: ...
def locate_app(
    module_name: str, app_name: str | None, raise_if_not_found: bool = True
) -> Flask | None:
    """Import a module and get its application.

    :param app_name: see :func:`find_app_by_string`; ``None`` leaves it to :func:`find_best_app`.
    :param raise_if_not_found: whether a missing module is an error, or gives ``None``.
    :raises NoAppException: also if the module exists, but something it imports does not.
    """
    try:
        __import__(module_name)
    except ImportError as error:
        # The import system takes its own frames out: a second one is of the module's code.
        if error.__traceback__ is not None and error.__traceback__.tb_next is not None:
            raise NoAppException(
                f"Importing {module_name!r} raised an ImportError:\n\n{traceback.format_exc()}"
            ) from None
        if raise_if_not_found:
            raise NoAppException(f"There is no module {module_name!r} to import.") from None
        return None
    module = sys.modules[module_name]
    return find_best_app(module) if app_name is None else find_app_by_string(module, app_name)


class ScriptInfo:
    """Knows how to load the application of a program; the ``obj`` of its click contexts.

    :param app_import_path: ``path/to/module.py``, ``package.module`` or either with ``:name``.
    :param create_app: called without arguments in place of an import; may be async.
    :param set_debug_flag: whether the loaded application's ``debug`` is set from the environment.
    :param load_dotenv_defaults: whether ``.env`` and ``.flaskenv`` are to be loaded. Kept here
        for whoever does that; ``FLASK_SKIP_DOTENV`` overrules it.
    """

    def __init__(
        self,
        app_import_path: str | None = None,
        create_app: t.Callable[..., Flask] | None = None,
        set_debug_flag: bool = True,
        load_dotenv_defaults: bool = True,
    ) -> None:
        self.app_import_path = app_import_path
        self.create_app = create_app
        #: For commands to share things of their own.
        self.data: dict[t.Any, t.Any] = {}
        self.set_debug_flag = set_debug_flag
        self.load_dotenv_defaults = get_load_dotenv(load_dotenv_defaults)
        self._loaded_app: Flask | None = None

    def load_app(self) -> Flask:
        """Load the application at the first call, and return the same one from then on.

        :raises NoAppException: it was not found where it should be, nor in ``wsgi.py`` or
            ``app.py`` if nothing says where.
        """
        if self._loaded_app is None:
            app = self._find_app()
            if app is None:
                raise NoAppException(
                    "There is no application to work on. Name one with the '--app' option or the"
                    " environment variable 'FLASK_APP', or have a 'wsgi.py' or 'app.py' in the"
                    " current directory."
                )
            if self.set_debug_flag:
                app.debug = get_debug_flag()
            self._loaded_app = app
        return self._loaded_app

    def _find_app(self) -> Flask | None:
        if self.create_app is not None:
            created: Flask | None = finish(self.create_app())
            return created
        if self.app_import_path:
            path, *name = _NAME_SEPARATOR.split(self.app_import_path, maxsplit=1)
            return locate_app(prepare_import(path), name[0] if name else None)
        for path in ("wsgi.py", "app.py"):
            app = locate_app(prepare_import(path), None, raise_if_not_found=False)
            if app is not None:
                return app
        return None


pass_script_info = click.make_pass_decorator(ScriptInfo, ensure=True)


def finish(value: t.Any) -> t.Any:
    """Give a value as it is, or what it comes to if it is an awaitable.

    :raises RuntimeError: for an awaitable, on the thread of a running event loop.
    """
    if not inspect.isawaitable(value):
        return value
    return run_awaitable(_await_within(click.get_current_context(silent=True), value))


async def _await_within(ctx: click.Context | None, awaitable: t.Awaitable[t.Any]) -> t.Any:
    """Await on the loop what belongs to a command."""
    if ctx is None:
        return await awaitable
    with _entered(ctx):
        return await awaitable


@contextlib.contextmanager
def _entered(ctx: click.Context) -> t.Iterator[None]:
    """Make a context the current one of this thread too: click keeps it per thread."""
    # exit() closes what the context holds, the application's context say. That must wait until
    # the exception is back where it was opened; here it would be another thread and context.
    ctx.close = lambda: None  # type: ignore[method-assign]
    try:
        with ctx.scope(cleanup=False):
            yield
    finally:
        del ctx.close


def load_dotenv(path: str | os.PathLike[str] | None = None, load_defaults: bool = True) -> bool:
    """Set environment variables from files, if python-dotenv is installed.

    Variables that are set already stay as they are; the current directory does too.

    :param path: a file that goes before the default ones; may be missing.
    :param load_defaults: whether ``.env``, then ``.flaskenv``, are looked for in the current
        directory and those above.
    :returns: whether any of the files had something to set.
    """
    if not has_dotenv():
        if path or os.path.isfile(".env") or os.path.isfile(".flaskenv"):
            click.secho(
                " * Tip: install python-dotenv to have the .env files here loaded.",
                fg="yellow",
                err=True,
            )
        return False

    import dotenv

    files = []
    if load_defaults:
        files += [dotenv.find_dotenv(name, usecwd=True) for name in (".flaskenv", ".env")]
    if path is not None and os.path.isfile(path):
        files.append(os.fspath(path))

    values: dict[str, str | None] = {}
    for file in filter(None, files):
        values.update(dotenv.dotenv_values(file, encoding="utf-8"))
    for key, value in values.items():
        if value is not None:
            os.environ.setdefault(key, value)
    return bool(values)


def has_dotenv() -> bool:
    try:
        import dotenv  # noqa: F401
    except ImportError:
        return False
    return True
