"""The processes that the development server starts: one that is reloaded, or several workers."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import sysconfig
import traceback
import typing as t
from types import ModuleType

from .app import Flask
from .discovery import ScriptInfo
from .flask_alias import install_as_flask
from .flask_alias import is_installed_as_flask
from .helpers import get_debug_flag

if t.TYPE_CHECKING:
    from starlette.types import ASGIApp

#: Tells the processes which application to load, and how.
PROCESS_VARIABLE: t.Final = "ASYNCFLASK_PROCESS"


def run_processes(
    app: Flask,
    import_path: str,
    *,
    threaded: bool,
    debugged_at: str | None,
    extra_files: t.Iterable[str],
    exclude_patterns: t.Iterable[str],
    options: dict[str, t.Any],
) -> None:
    """Serve in other processes than this one, which watches over them.

    :param import_path: where they find the application, ``""`` for the usual places.
    :param debugged_at: the host by which the debugger may be reached; ``None`` for no debugger.
    :param options: for :func:`uvicorn.run`; ``reload`` or ``workers`` among them.
    """
    import uvicorn

    if options.get("reload"):
        options = {**options, **_reload_options(app, extra_files, exclude_patterns)}
    settings = {
        "app": import_path,
        "threaded": threaded,
        "debugged_at": debugged_at,
        "as_flask": is_installed_as_flask(),
        "reload": options.get("reload", False),
    }
    os.environ[PROCESS_VARIABLE] = json.dumps(settings)
    os.environ["FLASK_DEBUG"] = "1" if app.debug else "0"
    with _another_main():
        uvicorn.run(f"{__name__}:make_app", factory=True, **options)


@contextlib.contextmanager
def _another_main() -> t.Iterator[None]:
    """Keep the started processes from running the script of this one again.

    That is what :mod:`multiprocessing` has them do, and where it fails they never get to load
    the application, and to show why that fails.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _reload_options(
    app: Flask, extra_files: t.Iterable[str], exclude_patterns: t.Iterable[str]
) -> dict[str, list[str]]:
    folders = {os.getcwd(), app.root_path, *_own_packages()}
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


def _own_packages() -> t.Iterator[str]:
    """Name the folders of the loaded packages that are neither installed nor Python's."""
    installed = tuple(os.path.join(path, "") for path in sysconfig.get_paths().values())
    for name, module in list(sys.modules.items()):
        # Not by getattr(): modules may load others when asked for what they do not have.
        names = getattr(module, "__dict__", {})
        path = names.get("__file__") if "__path__" in names else None
        if path and "." not in name and name != __package__ and not path.startswith(installed):
            yield os.path.dirname(os.path.abspath(path))


def make_app() -> ASGIApp:
    """Load the application in a process that :func:`run_processes` has started."""
    settings = json.loads(os.environ[PROCESS_VARIABLE])
    if settings["as_flask"]:
        install_as_flask()
    try:
        app = ScriptInfo(app_import_path=settings["app"]).load_app()
    except Exception:
        if not settings["reload"]:
            raise
        return _make_notice(traceback.format_exc())
    return equip(app, settings["threaded"], settings["debugged_at"])


def _make_notice(text: str) -> Flask:
    """Make what is served until an application that does not load has been mended."""
    print(text, file=sys.stderr, flush=True)
    shown = text if get_debug_flag() else "The application cannot be loaded: see the terminal.\n"
    app = Flask(__name__, static_folder=None)
    app.before_request(lambda: (shown, 500, {"Content-Type": "text/plain; charset=utf-8"}))
    return app


def equip(app: Flask, threaded: bool, debugged_at: str | None) -> ASGIApp:
    """Make an application what the server is to serve, and tell the PIN of its debugger.

    :param debugged_at: the host by which the debugger may be reached; ``None`` for no debugger.
    """
    if not threaded:
        app.config["SYNC_THREADS"] = 1
    if debugged_at is None:
        return app
    from .debugger import Debugger

    debugger = Debugger(app, [debugged_at])
    debugger.consoles.announce()
    return debugger
