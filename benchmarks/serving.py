"""Server processes, each on a socket that is open before the server runs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import typing as t
from collections.abc import Callable
from collections.abc import Iterator

import psutil
import uvicorn

#: Seconds that a server may take to end before it is killed.
LIMIT = 5.0

GTHREAD = ("--worker-class=gthread", "--threads=8", "--workers=1")


def uvicorn_command(make: Callable[[], t.Any], fd: int) -> list[str]:
    """Serve with uvicorn, by this module."""
    return [sys.executable, "-m", __name__, import_string(make), str(fd)]


def uvicorn_reset_command(make: Callable[[], t.Any], fd: int) -> list[str]:
    """Serve with uvicorn, each request in a context of its own."""
    return [*uvicorn_command(make, fd), "--reset-contextvars"]


def gunicorn_command(make: Callable[[], t.Any], fd: int) -> list[str]:
    """Serve with gunicorn and its threads."""
    quiet = ("--log-level=warning", "--no-control-socket")
    command = [sys.executable, "-m", "gunicorn", f"--bind=fd://{fd}", *GTHREAD, *quiet]
    return [*command, import_string(make) + "()"]


def import_string(make: Callable[[], t.Any]) -> str:
    """Say where a function is."""
    return f"{make.__module__}:{make.__name__}"


COMMANDS = {
    "uvicorn": uvicorn_command,
    "uvicorn --reset-contextvars": uvicorn_reset_command,
    "gunicorn": gunicorn_command,
}


class Server:
    """A server process.

    :param process: the process; it may have children.
    """

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time that it has taken so far."""
        process = psutil.Process(self.process.pid)
        every = [process, *process.children(recursive=True)]
        return float(sum(sum(one.cpu_times()[:2]) for one in every))

    def stop(self) -> None:
        """Stop the process, by force if it does not end in time."""
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        # What a killed parent leaves behind would go on taking its core.
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()


@contextlib.contextmanager
def serve(name: str, make: Callable[[], t.Any], core: int | None) -> Iterator[Server]:
    """Serve an application on a free port of the loopback interface.

    Connections can be made at once; they are answered as soon as the server is up. If it does
    not come up, they are refused.

    :param name: which of the servers.
    :param make: makes the application.
    :param core: the only core it may run on.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        port = listener.getsockname()[1]
        command = COMMANDS[name](make, listener.fileno())
        with on_core(core):
            process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    server = Server(process, port)
    try:
        yield server
    finally:
        server.stop()


def two_cores() -> tuple[int | None, int | None]:
    """Choose a core for the server and one for the client, if they can have one each."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    cores = sorted(os.sched_getaffinity(0))
    return (cores[0], cores[1]) if len(cores) > 1 else (None, None)


def pin(core: int | None) -> None:
    """Let this thread, and what it starts from now on, run on one core only."""
    if core is not None:
        os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """Start processes that run on one core only."""
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def main() -> None:
    """Serve the application of an import string on a file descriptor."""
    # The option --fd of uvicorn's own command takes the socket for one of the file system.
    make, fd, *options = sys.argv[1:]
    config = uvicorn.Config(
        make,
        factory=True,
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
        reset_contextvars="--reset-contextvars" in options,
    )
    uvicorn.Server(config).run(sockets=[socket.socket(fileno=int(fd))])


if __name__ == "__main__":
    main()
