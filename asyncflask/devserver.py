"""The development server: the ``run`` command, and ``app.run()``."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import typing as t
from importlib import import_module

import click
from werkzeug.utils import import_string

from .discovery import pass_script_info
from .discovery import ScriptInfo
from .helpers import get_debug_flag

if t.TYPE_CHECKING:
    import ssl

    from starlette.types import ASGIApp

    from .app import Flask

#: Says that app.run() is not to serve: a command of the program imports the application.
_FROM_COMMAND_VARIABLE = "FLASK_RUN_FROM_CLI"
#: Tells the processes that the reloader starts which application to load, and how.
_RELOAD_VARIABLE = "ASYNCFLASK_RELOAD"


def show_server_banner(debug: bool, app_import_path: str | None) -> None:
    """Say what is served, unless this is a process that a reloader has started."""
    from werkzeug.serving import is_running_from_reloader

    if is_running_from_reloader():
        return
    if app_import_path is not None:
        click.echo(f" * Serving asyncflask app {app_import_path!r}")
    if debug is not None:
        click.echo(f" * Debug mode: {'on' if debug else 'off'}")


class CertParamType(click.ParamType):  # type: ignore[type-arg]
    """The type of ``--cert``: a file, ``adhoc``, or where to import an ``SSLContext`` from."""

    name = "path"

    def __init__(self) -> None:
        self.path_type = click.Path(exists=True, dir_okay=False, resolve_path=True)

    def convert(
        self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> t.Any:
        """Give the file's path, ``"adhoc"``, or the imported context."""
        try:
            import ssl
        except ImportError:
            raise click.BadParameter(
                "This Python has no SSL support, which a certificate needs.", ctx, param
            ) from None
        try:
            return self.path_type(value, param, ctx)
        except click.BadParameter:
            name = click.STRING(value, param, ctx)
            if name.lower() == "adhoc":
                return self._check_adhoc(name.lower(), param, ctx)
            context = import_string(name, silent=True)
            if isinstance(context, ssl.SSLContext):
                return context
            raise

    def _check_adhoc(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        try:
            import_module("cryptography")
        except ImportError:
            raise click.BadParameter(
                f"A certificate made on the spot ({value!r}) needs the package 'cryptography'.",
                ctx,
                param,
            ) from None
        return value


def _validate_key(ctx: click.Context, param: click.Parameter, value: t.Any) -> t.Any:
    """Check that ``--cert`` and ``--key`` go together, and make them one pair."""
    cert = ctx.params.get("cert")
    is_file = isinstance(cert, str) and cert != "adhoc"
    if value is None:
        if is_file:
            raise click.BadParameter("It is needed with a '--cert' that is a file.", ctx, param)
        return None
    if not cert:
        raise click.BadParameter("'--cert' is needed with it.", ctx, param)
    if not is_file:
        raise click.BadParameter(
            "It is of no use with a '--cert' that is 'adhoc' or an SSLContext.", ctx, param
        )
    ctx.params["cert"] = cert, value
    return value


class SeparatedPathType(click.Path):
    """The type of an option that takes several paths with the system's separator between."""

    def convert(
        self, value: t.Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> t.Any:
        """Give the list of paths, each checked as :class:`click.Path` does it."""
        convert_one = super().convert
        return [convert_one(path, param, ctx) for path in self.split_envvar_value(value)]


@click.command("run", short_help="Run a development server.")
@click.option("--host", "-h", default="127.0.0.1", help="The interface to bind to.")
@click.option("--port", "-p", default=5000, help="The port to bind to.")
@click.option(
    "--cert",
    type=CertParamType(),
    help="The certificate file for HTTPS, 'adhoc', or an SSLContext to import.",
    is_eager=True,
)
@click.option(
    "--key",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True),
    callback=_validate_key,
    expose_value=False,
    help="The key file of the certificate.",
)
@click.option(
    "--reload/--no-reload",
    default=None,
    help="Restart the server when code changes. Done in debug mode unless turned off.",
)
@click.option(
    "--debugger/--no-debugger",
    default=None,
    help="Show errors in the interactive debugger. Done in debug mode unless turned off.",
)
@click.option(
    "--with-threads/--without-threads",
    default=True,
    help="Run sync views on several threads or on one.",
)
@click.option(
    "--extra-files",
    default=None,
    type=SeparatedPathType(),
    help=f"More files to watch for changes, separated by {os.path.pathsep!r}.",
)
@click.option(
    "--exclude-patterns",
    default=None,
    type=SeparatedPathType(),
    help=f"Patterns of files not to watch, separated by {os.path.pathsep!r}.",
)
@pass_script_info
def run_command(
    info: ScriptInfo,
    host: str,
    port: int,
    reload: bool | None,
    debugger: bool | None,
    with_threads: bool,
    cert: ssl.SSLContext | tuple[str, str | None] | t.Literal["adhoc"] | None,
    extra_files: list[str] | None,
    exclude_patterns: list[str] | None,
) -> None:
    """Run a development server.

    It serves with uvicorn in one process. With '--debug' it restarts when code changes.
    """
    app = info.load_app()
    debug = get_debug_flag()
    show_server_banner(debug, info.app_import_path)
    _serve(
        app,
        None if info.create_app is not None else info.app_import_path or "",
        cert,
        reload=debug if reload is None else reload,
        debugger=debug if debugger is None else debugger,
        threaded=with_threads,
        extra_files=extra_files or (),
        exclude_patterns=exclude_patterns or (),
        options={"host": host, "port": port},
    )


def run_app(
    app: Flask,
    host: str,
    port: int,
    *,
    use_reloader: bool | None = None,
    use_debugger: bool | None = None,
    threaded: bool = True,
    ssl_context: t.Any = None,
    extra_files: t.Iterable[str] = (),
    exclude_patterns: t.Iterable[str] = (),
    **options: t.Any,
) -> None:
    """Serve an application from a script of its own, for ``app.run()``.

    It does nothing when the script is imported by a command of ``asyncflask``.

    :param use_reloader: whether to restart when code changes; default: in debug mode. The script
        must have the application in a global variable for that.
    :param use_debugger: whether errors are shown in Werkzeug's interactive debugger; default: in
        debug mode. There is none outside of debug mode, nor with several workers.
    :param threaded: whether sync views run on several threads.
    :param ssl_context: a pair of files, ``"adhoc"``, or an ``SSLContext``.
    :param extra_files: more files to watch.
    :param exclude_patterns: patterns of files not to watch.
    :param options: for :func:`uvicorn.run`.
    """
    if os.environ.get(_FROM_COMMAND_VARIABLE) == "true":
        if _RELOAD_VARIABLE not in os.environ:
            _show_notice("Ignoring app.run(): a command is running. Guard it with 'if __name__'.")
        return
    show_server_banner(app.debug, app.name)
    use_reloader = app.debug if use_reloader is None else use_reloader
    use_debugger = app.debug if use_debugger is None else use_debugger
    other = _other_server()
    if other is not None:
        options = {"ssl_context": ssl_context, "threaded": threaded, **options}
        other(host, port, app, use_reloader=use_reloader, use_debugger=use_debugger, **options)
        return
    _serve(
        app,
        _path_in_script(app),
        ssl_context,
        reload=use_reloader,
        debugger=use_debugger,
        threaded=threaded,
        extra_files=extra_files or (),
        exclude_patterns=exclude_patterns or (),
        options={"host": host, "port": port, **options},
    )


def _other_server() -> t.Callable[..., t.Any] | None:
    """Give what a tool or a test has put in the place of Werkzeug's server.

    ``app.run()`` of Flask goes through that function, so whoever wants to catch it replaces it.
    """
    from werkzeug import serving

    run_simple = serving.run_simple
    own = getattr(run_simple, "__module__", None) == serving.__name__
    return None if own else run_simple


def _path_in_script(app: Flask) -> str | None:
    """Tell where the running script has the application, as ``--app`` would."""
    script = sys.modules["__main__"]
    path = getattr(script, "__file__", None)
    names = [name for name, value in vars(script).items() if value is app]
    return f"{os.path.abspath(path)}:{names[0]}" if path and names else None


def _show_notice(message: str) -> None:
    click.secho(f" * {message}", err=True, fg="yellow")


def _serve(
    app: Flask,
    import_path: str | None,
    cert: t.Any,
    *,
    reload: bool,
    debugger: bool,
    threaded: bool,
    extra_files: t.Iterable[str],
    exclude_patterns: t.Iterable[str],
    options: dict[str, t.Any],
) -> None:
    """Serve until the process is told to stop.

    :param import_path: where another process finds the application, ``""`` if it is to look in
        the usual places; ``None`` if it cannot.
    """
    options = {"workers": 1, "interface": "asgi3", **options}
    obstacle = _obstacle_to_debugging(app, options) if debugger else None
    if obstacle is not None:
        _show_notice(f"No debugger: {obstacle}.")
        debugger = False
    obstacle = _obstacle_to_reloading(import_path, cert) if reload else None
    if obstacle is not None:
        _show_notice(f"Not reloading: {obstacle}.")
        reload = False
    with _certificate_files(cert, options["host"]) as files:
        options |= files
        if reload:
            options |= _reload_options(app, extra_files, exclude_patterns)
            _serve_reloading(app, import_path, threaded, debugger, options)
        else:
            _apply_threads(app, threaded)
            _serve_here(_debugged(app, options["host"]) if debugger else app, cert, options)


def _obstacle_to_debugging(app: Flask, options: dict[str, t.Any]) -> str | None:
    if not app.debug:
        return "the application is not in debug mode"
    if options["workers"] != 1:
        return "a worker does not have the errors of the others, so there must be one"
    return None


def _debugged(app: Flask, host: str) -> ASGIApp:
    """Put the debugger around an application, and tell the PIN."""
    from .debugger import Debugger

    debugger = Debugger(app, [host])
    debugger.consoles.announce()
    return debugger


def _obstacle_to_reloading(import_path: str | None, cert: t.Any) -> str | None:
    if import_path is None:
        return "the application cannot be imported, since a callable or local code made it"
    if cert is not None and not isinstance(cert, (str, tuple)):
        return "an SSLContext cannot be given to another process"
    return None


@contextlib.contextmanager
def _certificate_files(cert: t.Any, host: str) -> t.Iterator[dict[str, t.Any]]:
    """Give uvicorn's options for a certificate; one that is made on the spot lasts as long."""
    with contextlib.ExitStack() as stack:
        if cert == "adhoc":
            from tempfile import TemporaryDirectory

            from werkzeug.serving import make_ssl_devcert

            folder = stack.enter_context(TemporaryDirectory(prefix="asyncflask-"))
            cert = make_ssl_devcert(os.path.join(folder, "adhoc"), host=host)
        if isinstance(cert, tuple):
            yield {"ssl_certfile": cert[0], "ssl_keyfile": cert[1]}
        else:
            yield {}


def _serve_here(app: ASGIApp, cert: t.Any, options: dict[str, t.Any]) -> None:
    import uvicorn

    if cert is None or isinstance(cert, (str, tuple)):
        uvicorn.run(app, **options)
        return
    config = uvicorn.Config(app, **options)
    config.load()
    config.ssl = cert
    uvicorn.Server(config).run()


def _serve_reloading(
    app: Flask,
    import_path: str | None,
    threaded: bool,
    debugger: bool,
    options: dict[str, t.Any],
) -> None:
    import uvicorn

    debugged_at = options["host"] if debugger else None
    os.environ[_RELOAD_VARIABLE] = json.dumps([import_path, threaded, debugged_at])
    os.environ[_FROM_COMMAND_VARIABLE] = "true"
    os.environ["FLASK_DEBUG"] = "1" if app.debug else "0"
    uvicorn.run(f"{__name__}:make_reloaded_app", factory=True, reload=True, **options)


def _reload_options(
    app: Flask, extra_files: t.Iterable[str], exclude_patterns: t.Iterable[str]
) -> dict[str, list[str]]:
    folders = {os.getcwd(), app.root_path}
    names = set()
    for path in map(os.path.abspath, extra_files):
        folders.add(path if os.path.isdir(path) else os.path.dirname(path))
        names.add(os.path.basename(path))
    return {
        "reload_dirs": sorted(folders),
        "reload_includes": sorted(names),
        # uvicorn looks for files that match below the current directory: nothing absolute.
        "reload_excludes": [pattern.lstrip(os.sep) for pattern in exclude_patterns],
    }


def make_reloaded_app() -> ASGIApp:
    """Load the application in a process that the reloader has started."""
    import_path, threaded, debugged_at = json.loads(os.environ[_RELOAD_VARIABLE])
    app = ScriptInfo(app_import_path=import_path).load_app()
    _apply_threads(app, threaded)
    return app if debugged_at is None else _debugged(app, debugged_at)


def _apply_threads(app: Flask, threaded: bool) -> None:
    if not threaded:
        app.config["SYNC_THREADS"] = 1
