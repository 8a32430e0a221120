"""The ``asyncflask`` program, and what the programs of applications are made of."""

from __future__ import annotations

import ast
import code
import contextlib
import importlib.metadata
import inspect
import os
import platform
import sys
import traceback
import typing as t
from functools import update_wrapper
from operator import itemgetter
from types import FunctionType

import click as click
from click.core import ParameterSource

from .devserver import _validate_key as _validate_key
from .devserver import CertParamType as CertParamType
from .devserver import run_command as run_command
from .devserver import SeparatedPathType as SeparatedPathType
from .devserver import show_server_banner as show_server_banner
from .discovery import find_app_by_string as find_app_by_string
from .discovery import find_best_app as find_best_app
from .discovery import finish
from .discovery import has_dotenv
from .discovery import load_dotenv as load_dotenv
from .discovery import locate_app as locate_app
from .discovery import NoAppException as NoAppException
from .discovery import pass_script_info as pass_script_info
from .discovery import prepare_import as prepare_import
from .discovery import ScriptInfo as ScriptInfo
from .flask_alias import install_as_flask
from .globals import current_app
from .lanes import is_async

if t.TYPE_CHECKING:
    from importlib.metadata import EntryPoint
    from types import CodeType

    from werkzeug.routing import Map

    from .app import Flask

F = t.TypeVar("F", bound=t.Callable[..., t.Any])

#: The release of Flask whose interface this package has.
_FLASK_VERSION = "3.1.3"
_COMMAND_ENTRY_POINTS = "flask.commands"


def get_version(ctx: click.Context, param: click.Parameter, value: t.Any) -> None:
    """Print what ``--version`` asks for, and end the program."""
    if not value or ctx.resilient_parsing:
        return
    try:
        version = importlib.metadata.version("asyncflask")
    except importlib.metadata.PackageNotFoundError:
        version = "(not installed)"
    lines = (
        f"Python {platform.python_version()}",
        f"asyncflask {version}",
        f"Flask {_FLASK_VERSION} (interface)",
        f"Werkzeug {importlib.metadata.version('werkzeug')}",
    )
    click.echo("\n".join(lines), color=ctx.color)
    ctx.exit()


version_option = click.Option(
    ["--version"],
    help="Show the versions of Python, asyncflask, Flask's interface and Werkzeug.",
    expose_value=False,
    callback=get_version,
    is_flag=True,
    is_eager=True,
)


def _finishing(callback: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    def wrapper(*args: t.Any, **kwargs: t.Any) -> t.Any:
        return finish(callback(*args, **kwargs))

    return update_wrapper(wrapper, callback)


def _finish_callbacks(command: click.Command) -> None:
    """Put a sync function in the place of every async callback of a command."""
    if command.callback is not None and is_async(command.callback):
        command.callback = _finishing(command.callback)
    for param in command.params:
        if param.callback is not None and is_async(param.callback):
            param.callback = _finishing(param.callback)
    if isinstance(command, click.Group):
        for subcommand in command.commands.values():
            _finish_callbacks(subcommand)


def with_appcontext(f: F) -> F:
    """Have a command's callback run in the context of the program's application.

    Commands of ``app.cli`` and ``blueprint.cli`` have it anyway.

    :param f: may be async.
    """

    @click.pass_context
    def wrapper(ctx: click.Context, /, *args: t.Any, **kwargs: t.Any) -> t.Any:
        if not current_app:
            app = ctx.ensure_object(ScriptInfo).load_app()
            ctx.with_resource(app.app_context())
        return finish(ctx.invoke(f, *args, **kwargs))

    return update_wrapper(wrapper, f)  # type: ignore[return-value]


class AppGroup(click.Group):
    """A :class:`click.Group` whose commands run in the application's context and may be async."""

    def command(  # type: ignore[override]
        self, *args: t.Any, **kwargs: t.Any
    ) -> t.Callable[[t.Callable[..., t.Any]], click.Command]:
        """Register a function as a command, as :meth:`click.Group.command` does.

        :param with_appcontext: ``False`` lets it run without the application's context.
        """
        needs_context = kwargs.pop("with_appcontext", True)
        register = super().command

        def decorator(f: t.Callable[..., t.Any]) -> click.Command:
            command: click.Command = register(*args, **kwargs)(
                with_appcontext(f) if needs_context else f
            )
            return command

        return decorator

    def group(  # type: ignore[override]
        self, *args: t.Any, **kwargs: t.Any
    ) -> t.Callable[[t.Callable[..., t.Any]], click.Group]:
        """Register a function as a group, of this class unless ``cls`` is given."""
        kwargs.setdefault("cls", AppGroup)
        return super().group(*args, **kwargs)  # type: ignore[no-any-return]

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Register a command; callbacks of it that are async are made to be run."""
        _finish_callbacks(cmd)
        super().add_command(cmd, name)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: t.Any,
    ) -> click.Context:
        """Parse arguments into a new context."""
        _finish_callbacks(self)
        return super().make_context(info_name, args, parent=parent, **extra)


def _set_app(ctx: click.Context, param: click.Option, value: str | None) -> str | None:
    if value is not None:
        ctx.ensure_object(ScriptInfo).app_import_path = value
    return value


# Eager, so that the application's commands are known when --help lists them.
_app_option = click.Option(
    ["-A", "--app"],
    metavar="IMPORT",
    help=(
        "The application or its factory as 'module:name'. The module is a dotted name or a file's"
        " path. The name can be left out if it is 'app', 'application', 'create_app' or"
        " 'make_app'; 'name(args)' passes arguments to a factory."
    ),
    is_eager=True,
    expose_value=False,
    callback=_set_app,
)


def _install_as_flask(ctx: click.Context, param: click.Option, value: bool) -> None:
    if value:
        try:
            install_as_flask()
        except RuntimeError as error:
            raise click.ClickException(str(error)) from error


# After --env-file, which may have it, and before anything that imports the application.
_as_flask_option = click.Option(
    ["--as-flask"],
    is_flag=True,
    envvar="ASYNCFLASK_AS_FLASK",
    help="Give asyncflask to all that imports 'flask', the application and its extensions.",
    is_eager=True,
    expose_value=False,
    callback=_install_as_flask,
)


def _set_debug(ctx: click.Context, param: click.Option, value: bool) -> bool | None:
    source = ctx.get_parameter_source(str(param.name))
    if source in (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP):
        return None
    # In the environment a factory sees it already while it makes the application.
    os.environ["FLASK_DEBUG"] = "1" if value else "0"
    return value


_debug_option = click.Option(
    ["--debug/--no-debug"],
    help="Turn debug mode on or off.",
    expose_value=False,
    callback=_set_debug,
)


def _load_env_files(ctx: click.Context, param: click.Option, value: str | None) -> str | None:
    if value is not None and not has_dotenv():
        raise click.BadParameter(
            f"{value!r} cannot be read: install python-dotenv.", ctx=ctx, param=param
        )
    load_defaults = ctx.obj.load_dotenv_defaults
    if value is not None or load_defaults:
        load_dotenv(value, load_defaults=load_defaults)
    return value


# Eager, so that the other options find their variables in the environment.
_env_file_option = click.Option(
    ["-e", "--env-file"],
    type=click.Path(exists=True, dir_okay=False),
    help=(
        "Take environment variables from this file, before those of '.env' and '.flaskenv'."
        " Variables that are set already stay as they are. Needs python-dotenv."
    ),
    is_eager=True,
    expose_value=False,
    callback=_load_env_files,
)


run_command.params.insert(0, _debug_option)


class FlaskGroup(AppGroup):
    """An :class:`AppGroup` with the commands of an application and of installed packages.

    :param add_default_commands: whether ``run``, ``shell`` and ``routes`` are among them.
    :param create_app: makes the application, in place of the ``--app`` option; may be async.
    :param add_version_option: whether there is a ``--version``.
    :param load_dotenv: whether ``.env`` and ``.flaskenv`` are loaded.
    :param set_debug_flag: whether the application's ``debug`` is set from the environment.
    :param extra: for :class:`click.Group`.
    """

    def __init__(
        self,
        add_default_commands: bool = True,
        create_app: t.Callable[..., Flask] | None = None,
        add_version_option: bool = True,
        load_dotenv: bool = True,
        set_debug_flag: bool = True,
        **extra: t.Any,
    ) -> None:
        # Options with callbacks, not a callback of the group: that one is the user's.
        # --env-file stands before --app, which may come from it.
        params = [*(extra.pop("params", None) or ())]
        params += [_env_file_option, _app_option, _debug_option]
        if add_version_option:
            params.append(version_option)
        settings = extra.setdefault("context_settings", {})
        settings.setdefault("auto_envvar_prefix", "FLASK")
        super().__init__(params=params, **extra)

        self.create_app = create_app
        self.load_dotenv = load_dotenv
        self.set_debug_flag = set_debug_flag
        self._plugins: dict[str, EntryPoint] | None = None
        if add_default_commands:
            for command in (run_command, shell_command, routes_command):
                self.add_command(command)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Find a command: of an installed package, of this group or of the application."""
        self._load_plugin(ctx, name)
        command = super().get_command(ctx, name)
        if command is not None:
            return command
        try:
            app = ctx.ensure_object(ScriptInfo).load_app()
        except NoAppException as error:
            _show_error(f"Error: {error.format_message()}")
            return None
        # Pushed here, not by the command, so that callbacks of parameters have it as well.
        if not current_app or current_app._get_current_object() is not app:  # type: ignore[attr-defined]
            ctx.with_resource(app.app_context())
        return app.cli.get_command(ctx, name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands; an application that fails to load only costs its own."""
        names = {*super().list_commands(ctx), *self._unloaded_plugins()}
        try:
            names.update(ctx.ensure_object(ScriptInfo).load_app().cli.list_commands(ctx))
        except NoAppException as error:
            _show_error(f"Error: {error.format_message()}")
        except Exception:
            # The commands that need no application are listed all the same.
            _show_error(traceback.format_exc())
        return sorted(names)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: t.Any,
    ) -> click.Context:
        """Parse arguments into a new context, whose ``obj`` is a :class:`ScriptInfo`."""
        # app.run() does nothing then: importing the application must not start a server.
        os.environ["FLASK_RUN_FROM_CLI"] = "true"
        if "obj" not in extra and "obj" not in self.context_settings:
            extra["obj"] = ScriptInfo(
                create_app=self.create_app,
                set_debug_flag=self.set_debug_flag,
                load_dotenv_defaults=self.load_dotenv,
            )
        return super().make_context(info_name, args, parent=parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the group's own options."""
        help_only = len(args) == 1 and args[0] in self.get_help_option_names(ctx)
        if help_only or (not args and self.no_args_is_help):
            # The help text lists the application's commands, but click writes it before it
            # looks for options in the environment.
            for param in self.params:
                if param in (_env_file_option, _as_flask_option, _app_option):
                    param.handle_parse_result(ctx, {}, [])
        try:
            return super().parse_args(ctx, args)
        except BaseException:
            # Nobody enters a context that was not made, so nobody else would close it.
            ctx.close()
            raise

    def _unloaded_plugins(self) -> dict[str, EntryPoint]:
        if self._plugins is None:
            found = importlib.metadata.entry_points(group=_COMMAND_ENTRY_POINTS)
            self._plugins = {entry_point.name: entry_point for entry_point in found}
        return self._plugins

    def _load_plugin(self, ctx: click.Context, name: str) -> None:
        entry_point = self._unloaded_plugins().pop(name, None)
        if entry_point is None:
            return
        # The application comes first: where it calls install_as_flask(), the package must not
        # have imported Flask before. Whether it loads is for the command to complain about.
        with contextlib.suppress(Exception):
            ctx.ensure_object(ScriptInfo).load_app()
        try:
            self.add_command(entry_point.load(), name)
        except Exception as error:
            _show_error(f"Error: The command {name!r} ({entry_point.value}) is broken: {error!r}")


def _show_error(message: str) -> None:
    click.secho(f"{message}\n", err=True, fg="red")


class _Console(code.InteractiveConsole):
    """Python's console, in which ``await`` works at the top level."""

    def __init__(self, namespace: dict[str, t.Any]) -> None:
        super().__init__(namespace)
        self.namespace = namespace
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT

    def runcode(self, code: CodeType) -> None:
        """Run one statement, and to its end if it awaits."""
        try:
            result = FunctionType(code, self.namespace)()
            # Only code that awaits at the top level gives one; other code has printed its value.
            if inspect.iscoroutine(result):
                finish(result)
        except SystemExit:
            raise
        except BaseException:
            # As the standard shell does, which shows a KeyboardInterrupt and goes on.
            self.showtraceback()


@click.command("shell", short_help="Run a shell in the app context.")
@with_appcontext
def shell_command() -> None:
    """Run a Python shell in the application's context.

    It starts with the names of the application's shell context processors, and understands
    'await'.
    """
    namespace: dict[str, t.Any] = {}
    startup = os.environ.get("PYTHONSTARTUP")
    if startup and os.path.isfile(startup):
        with open(startup, encoding="utf-8") as file:
            exec(compile(file.read(), startup, "exec"), namespace)
    namespace.update(current_app.make_shell_context())
    _set_up_line_editing(namespace)
    _Console(namespace).interact(
        f"Python {sys.version} on {sys.platform}\n"
        f"App: {current_app.import_name}\n"
        f"Instance: {current_app.instance_path}"
    )


def _set_up_line_editing(namespace: dict[str, t.Any]) -> None:
    interactive_hook = getattr(sys, "__interactivehook__", None)
    if interactive_hook is None:
        return
    # Not every Python has readline.
    with contextlib.suppress(ImportError):
        import readline
        from rlcompleter import Completer

        # Of itself it would complete the names of this program's __main__.
        readline.set_completer(Completer(namespace).complete)
    interactive_hook()


@click.command("routes", short_help="Show the routes for the app.")
@click.option(
    "--sort",
    "-s",
    type=click.Choice(("endpoint", "methods", "domain", "rule", "match")),
    default="endpoint",
    help="What to sort by; 'match' is the order in which rules are tried for a request.",
)
@click.option("--all-methods", is_flag=True, help="Show HEAD and OPTIONS as well.")
@with_appcontext
def routes_command(sort: str, all_methods: bool) -> None:
    """Show all routes with their endpoints and methods."""
    columns, rows = _routes_table(current_app.url_map, all_methods)
    if not rows:
        click.echo("No routes were registered.")
        return
    keys = list(columns)
    if sort in keys:
        rows.sort(key=itemgetter(keys.index(sort)))
    titles = list(columns.values())
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    for row in (titles, ["-" * width for width in widths], *rows):
        click.echo("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)))


def _routes_table(url_map: Map, all_methods: bool) -> tuple[dict[str, str], list[list[str]]]:
    """Give the titles of the columns by their sort keys, and one row for each rule."""
    hidden = set() if all_methods else {"HEAD", "OPTIONS"}
    domain_of = "host" if url_map.host_matching else "subdomain"
    rules = list(url_map.iter_rules())
    has_domain = any(getattr(rule, domain_of) for rule in rules)
    columns = {"endpoint": "Endpoint", "methods": "Methods"}
    if has_domain:
        columns["domain"] = domain_of.title()
    columns["rule"] = "Rule"
    rows = []
    for rule in rules:
        row = [rule.endpoint, ", ".join(sorted((rule.methods or set()) - hidden))]
        if has_domain:
            row.append(getattr(rule, domain_of) or "")
        rows.append([*row, rule.rule])
    return columns, rows


cli = FlaskGroup(
    name="asyncflask",
    help="""\
Commands for an asyncflask application.

The application is given with the '--app' option or the environment variable
'FLASK_APP', or is in a 'wsgi.py' or 'app.py' in the current directory.
""",
)


cli.params.insert(cli.params.index(_env_file_option) + 1, _as_flask_option)


def main() -> None:
    """Run the ``asyncflask`` program."""
    cli.main()


if __name__ == "__main__":
    main()
