"""The ``run`` command: a development server."""

from __future__ import annotations

import contextlib
import json
import os
import typing as t
from importlib import import_module

import click
from werkzeug.utils import import_string

from .discovery import pass_script_info
from .discovery import ScriptInfo
from .helpers import get_debug_flag

if t.TYPE_CHECKING:
    import ssl

    from .app import Flask

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
    help="The interactive debugger, which is not available under ASGI.",
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
    reload = debug if reload is None else reload
    if debugger:
        _show_notice("There is no interactive debugger; tracebacks are printed here.")
    if reload and info.create_app is not None:
        _show_notice("Not reloading: the application comes from a callable, not from an import.")
        reload = False
    elif reload and cert is not None and not isinstance(cert, (str, tuple)):
        _show_notice("Not reloading: an SSLContext cannot be given to another process.")
        reload = False
    show_server_banner(debug, info.app_import_path)

    with _server_options(host, port, cert) as options:
        if reload:
            _serve_reloading(
                info.app_import_path, app, with_threads, extra_files, exclude_patterns, options
            )
        else:
            _apply_threads(app, with_threads)
            _serve(app, None if isinstance(cert, (str, tuple)) else cert, options)


def _show_notice(message: str) -> None:
    click.secho(f" * {message}", err=True, fg="yellow")


@contextlib.contextmanager
def _server_options(host: str, port: int, cert: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Give uvicorn's options; the files of a certificate made on the spot last as long."""
    options: dict[str, t.Any] = {
        "host": host,
        "port": port,
        "workers": 1,
        "interface": "asgi3",
    }
    with contextlib.ExitStack() as stack:
        if cert == "adhoc":
            from tempfile import TemporaryDirectory

            from werkzeug.serving import make_ssl_devcert

            folder = stack.enter_context(TemporaryDirectory(prefix="asyncflask-"))
            cert = make_ssl_devcert(os.path.join(folder, "adhoc"), host=host)
        if isinstance(cert, tuple):
            options["ssl_certfile"], options["ssl_keyfile"] = cert
        yield options


def _serve(app: Flask, ssl_context: ssl.SSLContext | None, options: dict[str, t.Any]) -> None:
    import uvicorn

    if ssl_context is None:
        uvicorn.run(app, **options)
        return
    config = uvicorn.Config(app, **options)
    config.load()
    config.ssl = ssl_context
    uvicorn.Server(config).run()


def _serve_reloading(
    app_import_path: str | None,
    app: Flask,
    with_threads: bool,
    extra_files: list[str] | None,
    exclude_patterns: list[str] | None,
    options: dict[str, t.Any],
) -> None:
    import uvicorn

    os.environ[_RELOAD_VARIABLE] = json.dumps([app_import_path, with_threads])
    folders = {os.getcwd(), app.root_path}
    names = set()
    for path in map(os.path.abspath, extra_files or ()):
        folders.add(path if os.path.isdir(path) else os.path.dirname(path))
        names.add(os.path.basename(path))
    uvicorn.run(
        f"{__name__}:make_reloaded_app",
        factory=True,
        reload=True,
        reload_dirs=sorted(folders),
        reload_includes=sorted(names),
        # uvicorn looks for files that match below the current directory: nothing absolute.
        reload_excludes=[pattern.lstrip(os.sep) for pattern in exclude_patterns or ()],
        **options,
    )


def make_reloaded_app() -> Flask:
    """Load the application in a process that the reloader of ``run`` has started."""
    app_import_path, with_threads = json.loads(os.environ[_RELOAD_VARIABLE])
    app = ScriptInfo(app_import_path=app_import_path).load_app()
    _apply_threads(app, with_threads)
    return app


def _apply_threads(app: Flask, with_threads: bool) -> None:
    if not with_threads:
        app.config["SYNC_THREADS"] = 1
