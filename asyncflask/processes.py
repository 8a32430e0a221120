"""What uvicorn is told of the development server's other processes; it starts and ends them."""

from __future__ import annotations

import contextlib
import copy
import fnmatch
import functools
import inspect
import os
import signal
import sys
import typing as t

import uvicorn
from uvicorn.supervisors import ChangeReload
from uvicorn.supervisors import Multiprocess

from .reloader import load_to_serve
from .reloader import make_notice

if t.TYPE_CHECKING:
    import asyncio
    from pathlib import Path
    from socket import socket

    from starlette.types import ASGIApp

STARTUP_FAILURE: t.Final = 3
"""The exit code of a worker whose application does not start; uvicorn's."""


class _Config(uvicorn.Config):
    """Has the application loaded while no loop runs, since that may run one of its own."""

    def get_loop_factory(self) -> t.Callable[[], asyncio.AbstractEventLoop] | None:
        if not self.loaded:
            self.load()
        return super().get_loop_factory()


class _Reloader(ChangeReload):  # type: ignore[misc, valid-type]
    """Starts the process again when code changes, and takes it along when it ends.

    :param exclude_patterns: of whole paths, in which ``*`` stands for folders as well.
    """

    def __init__(
        self, config: uvicorn.Config, sockets: list[socket], exclude_patterns: t.Iterable[str]
    ) -> None:
        super().__init__(config, functools.partial(serve_reloaded, config), sockets)
        self._exclude_patterns = list(exclude_patterns)

    def startup(self) -> None:
        hangup = getattr(signal, "SIGHUP", None)
        # Where nohup has it ignored it stays so.
        if hangup is not None and signal.getsignal(hangup) is signal.SIG_DFL:
            signal.signal(hangup, self.signal_handler)
        super().startup()

    def should_restart(self) -> list[Path] | None:
        changed = super().should_restart()
        return [path for path in changed if not self._is_excluded(path)] if changed else None

    def _is_excluded(self, path: Path) -> bool:
        return any(fnmatch.fnmatch(str(path), pattern) for pattern in self._exclude_patterns)


def supervise(target: str, exclude_patterns: t.Iterable[str], **options: t.Any) -> None:
    """Serve in one process that is reloaded, or in several, until this one is told to stop.

    :param target: where workers import a function that makes the application.
    :param exclude_patterns: of files whose changes do not matter.
    :param options: for :class:`uvicorn.Config`.
    """
    config = _Config(target, factory=True, **options)
    sockets = [config.bind_socket()]
    try:
        with contextlib.suppress(KeyboardInterrupt):
            if config.reload:
                _Reloader(config, sockets, exclude_patterns).run()
            else:
                _run_workers(config, sockets)
    finally:
        if config.uds:
            with contextlib.suppress(FileNotFoundError):
                os.remove(config.uds)


def _run_workers(config: uvicorn.Config, sockets: list[socket]) -> None:
    arguments: dict[str, t.Any] = {"sockets": sockets}
    if "target" in inspect.signature(Multiprocess).parameters:
        # Later releases of uvicorn make the server by themselves.
        arguments["target"] = uvicorn.Server(config).run
    workers = Multiprocess(config, **arguments)
    workers.run()
    if any(worker.process.exitcode == STARTUP_FAILURE for worker in workers.processes):
        sys.exit(STARTUP_FAILURE)


def serve_reloaded(config: uvicorn.Config, sockets: list[socket]) -> None:
    """Load the application and serve it, in the process that a reloader has started."""
    # Where applications look for whether they are in the reloader's process or in the other.
    os.environ["WERKZEUG_RUN_MAIN"] = "true"
    load_to_serve(functools.partial(_serve, config, sockets))


def _serve(config: uvicorn.Config, sockets: list[socket], app: ASGIApp) -> None:
    if not _serve_if_it_starts(config, sockets, app):
        text = "The application did not start: see the terminal.\n"
        _serve_if_it_starts(config, sockets, make_notice(text))


def _serve_if_it_starts(config: uvicorn.Config, sockets: list[socket], app: ASGIApp) -> bool:
    config = copy.copy(config)
    config.app, config.factory = app, False
    server = uvicorn.Server(config)
    try:
        server.run(sockets)
    except KeyboardInterrupt:
        return True
    except SystemExit:
        # uvicorn's way to say that the application failed at its start.
        if server.started:
            raise
    return server.started
