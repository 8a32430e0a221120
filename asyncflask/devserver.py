"""The development server: the ``run`` command, and ``app.run()``."""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import socket
import sys
import typing as t
from importlib import import_module

import click
from werkzeug.utils import import_string

from .discovery import pass_script_info
from .discovery import ScriptInfo
from .flask_alias import is_installed_as_flask
from .helpers import get_debug_flag
from .reloader import equip
from .reloader import find_script
from .reloader import PROCESS_VARIABLE
from .reloader import run_processes
from .reloader import serve_script

if t.TYPE_CHECKING:
    import ssl

    from starlette.types import ASGIApp

    from .app import Flask
    from .reloader import Script

#: Says that app.run() is not to serve: a command of the program imports the application.
FROM_COMMAND_VARIABLE = "FLASK_RUN_FROM_CLI"
#: What a host begins with that is the path of a socket; Werkzeug's.
_UNIX: t.Final = "unix://"
#: Options of Werkzeug's server that have no counterpart, with their defaults.
_WERKZEUGS: t.Final = {
    "use_evalex": True,
    "reloader_type": "auto",
    "processes": 1,
    "request_handler": None,
    "static_files": None,
    "passthrough_errors": False,
}


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
@click.option(
    "--workers",
    default=1,
    type=click.IntRange(min=1),
    help="How many processes serve. Several are not restarted when code changes.",
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
    workers: int,
) -> None:
    """Run a development server.

    It serves with uvicorn. With '--debug' it restarts when code changes.
    """
    if reload and workers > 1:
        raise click.UsageError(f"'--reload' has one process: leave out '--workers {workers}'.")
    app = info.load_app()
    debug = get_debug_flag()
    if reload is None:
        reload = debug and workers == 1
    show_server_banner(debug, info.app_import_path)
    import_path: str | None = info.app_import_path or ""
    if (create_app := info.create_app) is not None:
        is_function = inspect.isfunction(create_app)
        import_path = _path_of(create_app, create_app.__module__) if is_function else None
    _serve(
        app,
        import_path,
        cert,
        reload=reload,
        debugger=debug if debugger is None else debugger,
        threaded=with_threads,
        extra_files=extra_files or (),
        exclude_patterns=exclude_patterns or (),
        options={"host": host, "port": port, "workers": workers},
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

    :param use_reloader: whether to run the script again when code changes; default: in debug mode.
    :param use_debugger: whether errors are shown in Werkzeug's interactive debugger; default: in
        debug mode. There is none outside of debug mode, nor with several workers.
    :param threaded: whether sync views run on several threads.
    :param ssl_context: a pair of files, ``"adhoc"``, or an ``SSLContext``.
    :param extra_files: more files to watch.
    :param exclude_patterns: patterns of files not to watch.
    :param options: for :func:`uvicorn.run`; those of Werkzeug's server are translated or left out.
    """
    if serve_script(app):
        return
    if os.environ.get(FROM_COMMAND_VARIABLE) == "true":
        if PROCESS_VARIABLE not in os.environ:
            _show_notice("Ignoring app.run(): a command is running. Guard it with 'if __name__'.")
        return
    show_server_banner(app.debug, app.name)
    if use_reloader is None:
        use_reloader = app.debug and (options.get("workers") or 1) == 1
    use_debugger = app.debug if use_debugger is None else use_debugger
    other = _other_server()
    if other is not None:
        options = {"ssl_context": ssl_context, "threaded": threaded, **options}
        other(host, port, app, use_reloader=use_reloader, use_debugger=use_debugger, **options)
        return
    # A page without consoles is not worth the risk of one that has them after all.
    use_debugger = use_debugger and options.pop("use_evalex", True)
    _leave_out_werkzeugs(options)
    _serve(
        app,
        _path_of(app, "__main__"),
        ssl_context,
        script=find_script() if use_reloader else None,
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


def _leave_out_werkzeugs(options: dict[str, t.Any]) -> None:
    """Drop the options that uvicorn does not know, and tell of those that would change much."""
    interval = options.pop("reloader_interval", None)
    if interval is not None:
        options["reload_delay"] = interval
    ignored = [
        repr(name)
        for name, default in _WERKZEUGS.items()
        if options.pop(name, default) not in (default, None)
    ]
    if ignored:
        _show_notice(f"Ignoring what only Werkzeug's server knows: {', '.join(ignored)}.")


def _path_of(wanted: t.Any, module: str) -> str | None:
    """Tell which global variable has an application or a factory, as ``--app`` would."""
    names = vars(sys.modules[module]) if module in sys.modules else {}
    found = [name for name, value in names.items() if value is wanted]
    path = names.get("__file__")
    return f"{os.path.abspath(path)}:{found[0]}" if path and found else None


def _show_notice(message: str) -> None:
    click.secho(f" * {message}", err=True, fg="yellow")


def _serve(
    app: Flask,
    import_path: str | None,
    cert: t.Any,
    *,
    script: Script | None = None,
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
    :param script: what is run again when code changes, in place of an import.
    """
    options = {"interface": "asgi3", **options}
    workers = options.pop("workers", None) or 1
    target = import_path if script is None else script["path"]
    if (reload or workers > 1) and (obstacle := _obstacle_to_processes(target, cert)):
        _show_notice(f"{'Not reloading' if reload else 'One process'}: {obstacle}.")
        reload, workers = False, 1
    if debugger and (obstacle := _obstacle_to_debugging(app, workers)):
        _show_notice(f"No debugger: {obstacle}.")
        debugger = False
    debugged_at = options["host"] if debugger else None
    _settle_address(app, cert, options)
    with _certificate_files(cert, options["host"]) as files:
        options |= {**files, "workers": workers}
        if not (reload or workers > 1):
            _serve_here(equip(app, threaded, debugged_at), cert, options)
            return
        if script is None:
            # Importing the application there must not start a server either.
            os.environ[FROM_COMMAND_VARIABLE] = "true"
        run_processes(
            app,
            import_path,
            script=script,
            threaded=threaded,
            debugged_at=debugged_at,
            extra_files=extra_files,
            exclude_patterns=exclude_patterns,
            options={**options, "reload": True} if reload else options,
        )


def _obstacle_to_debugging(app: Flask, workers: int) -> str | None:
    if not app.debug:
        return "the application is not in debug mode"
    if workers != 1:
        return "a worker does not have the errors of the others, so there must be one"
    return None


def _settle_address(app: Flask, cert: t.Any, options: dict[str, t.Any]) -> None:
    """Have uvicorn understand where to listen, see that it can, and show it."""
    host = options["host"]
    if host.startswith(_UNIX):
        options["uds"] = host.removeprefix(_UNIX)
        _show_address(app, host)
    elif not {"uds", "fd"} & options.keys():
        _check_port(host, options["port"])
        _show_address(app, _address(cert, host, options["port"]))


def _check_port(host: str, port: int) -> None:
    """End the program where the port is taken, before the application starts up."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        if os.name == "posix":
            # As uvicorn will: what the last server has left behind is no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OverflowError:
            click.echo(f"{port} is not a port: they go from 0 to 65535.", err=True)
            sys.exit(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                click.echo(
                    f"Port {port} of {host} is in use: stop the program that has it, or choose"
                    " another with '--port' or app.run(port=...).",
                    err=True,
                )
                sys.exit(1)


def _address(cert: t.Any, host: str, port: int) -> str:
    name = f"[{host}]" if ":" in host else host
    url = f"{'https' if cert else 'http'}://{name}"
    return f"{url}:{port}" if port else f"a free port of {url}"


def _show_address(app: Flask, where: str) -> None:
    click.echo(f" * Development server on {where}; in production: {_production_command(app)}")


def _production_command(app: Flask) -> str:
    """Tell what serves an application for good, from the current directory."""
    module = sys.modules.get(app.import_name)
    path = os.path.realpath(getattr(module, "__file__", None) or "")
    stem = os.path.splitext(path)[0].removesuffix(f"{os.sep}__init__")
    name = os.path.relpath(stem, os.path.realpath(os.getcwd())).replace(os.sep, ".")
    found = [key for key, value in vars(module).items() if value is app] if module else []
    if found and not is_installed_as_flask() and name in (app.import_name, app.name):
        return f"uvicorn {name}:{found[0]}"
    return "FLASK_APP=module:name uvicorn asyncflask.serve:app"


def _obstacle_to_processes(import_path: str | None, cert: t.Any) -> str | None:
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
    # As uvicorn.run() does.
    with contextlib.suppress(KeyboardInterrupt):
        uvicorn.Server(config).run()
