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

_serve_script: t.Callable[[Flask], None] | None = None


class Script(t.TypedDict):
    """A script to be run again as it was."""

    path: str
    package: str | None


def run_processes(
    app: Flask,
    import_path: str | None,
    *,
    script: Script | None = None,
    threaded: bool,
    debugged_at: str | None,
    extra_files: t.Iterable[str],
    exclude_patterns: t.Iterable[str],
    options: dict[str, t.Any],
) -> None:
    """Serve in other processes than this one, which watches over them.

    :param import_path: where they find the application, ``""`` for the usual places.
    :param script: what is to be run again instead when code changes, for ``app.run()`` in it.
    :param debugged_at: the host by which the debugger may be reached; ``None`` for no debugger.
    :param options: for :func:`uvicorn.run`; ``reload`` or ``workers`` among them.
    """
    from .processes import supervise

    if options.get("reload"):
        options = {**options, **_reload_options(app, extra_files, exclude_patterns)}
    settings = {
        "app": import_path,
        "script": script,
        "threaded": threaded,
        "debugged_at": debugged_at,
        "as_flask": is_installed_as_flask(),
        "reload": options.get("reload", False),
    }
    os.environ[PROCESS_VARIABLE] = json.dumps(settings)
    os.environ["FLASK_DEBUG"] = "1" if app.debug else "0"
    with _another_main():
        supervise(f"{__name__}:make_app", exclude_patterns, **options)


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
    except (Exception, SystemExit):
        if not settings["reload"]:
            raise
        return make_notice(traceback.format_exc())
    return equip(app, settings["threaded"], settings["debugged_at"])


def load_to_serve(serve: t.Callable[[ASGIApp], None]) -> None:
    """Load the application, or run the script whose ``app.run()`` tells it, and serve it.

    :param serve: serves until the process is told to stop.
    """
    settings = json.loads(os.environ[PROCESS_VARIABLE])
    if settings["script"] is None:
        serve(make_app())
        return
    served: list[Flask] = []

    def serve_first(app: Flask) -> None:
        served.append(app)
        debugged_at = settings["debugged_at"] if app.debug else None
        serve(equip(app, settings["threaded"], debugged_at))

    global _serve_script
    _serve_script = serve_first
    text = "The script came to its end without app.run(): nothing is served.\n"
    try:
        _run_script(settings["script"])
    except (Exception, SystemExit):
        if served:
            raise
        text = traceback.format_exc()
    if not served:
        serve(make_notice(text))


def serve_script(app: Flask) -> bool:
    """Serve the application of a script that a reloader runs; tells whether one does."""
    if _serve_script is None:
        return False
    _serve_script(app)
    return True


def find_script() -> Script | None:
    """Find the script that this process runs; ``None`` if it is no file to be run again."""
    main = sys.modules["__main__"]
    path = getattr(main, "__file__", None)
    if path is None or not os.path.isfile(path):
        return None
    return {"path": os.path.abspath(path), "package": getattr(main, "__package__", None)}


def _run_script(script: Script) -> None:
    main = ModuleType("__main__")
    main.__file__, main.__package__ = script["path"], script["package"]
    # It stays there, where pickles and the application's root path are looked up.
    sys.modules["__main__"] = main
    with open(script["path"], "rb") as file:
        exec(compile(file.read(), script["path"], "exec"), vars(main))  # noqa: S102


def make_notice(text: str) -> Flask:
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
