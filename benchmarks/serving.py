"""Server processes, whose sockets are open before they run.

Run as a program it is such a process, for one workload of a framework or for several, each of which
has a server and a port of its own in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import typing as t
from collections.abc import Iterator
from collections.abc import Sequence

import psutil
import uvicorn
import uvloop

from .contenders import BY_NAME
from .contenders import Contender
from .workloads import BY_NAME as WORKLOADS
from .workloads import Workload

#: Seconds that a server may take to end before it is killed.
LIMIT = 5.0

GTHREAD = ("--worker-class=gthread", "--threads=8", "--workers=1")
QUIET = ("--log-level=warning", "--no-control-socket")


class Memory(t.NamedTuple):
    """Memory of processes in megabytes: all they hold, and what they alone hold."""

    rss: float
    uss: float


class Server:
    """A server process.

    :param process: the process; it may have children.
    :param ports: the port of each application.
    """

    def __init__(self, process: subprocess.Popen[bytes], ports: dict[str, int]) -> None:
        self.process = process
        self.ports = ports

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time that it has taken so far."""
        return float(sum(sum(one.cpu_times()[:2]) for one in self._every()))

    @property
    def memory(self) -> Memory:
        """What it and its children hold."""
        every = [one.memory_full_info() for one in self._every()]
        return Memory(sum(one.rss for one in every) / 1e6, sum(one.uss for one in every) / 1e6)

    def pin(self, core: int | None) -> None:
        """Let it run on one core only, once it is up: it starts sooner on all of them."""
        if core is not None:
            for process in self._every():
                for thread in process.threads():
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(thread.id, {core})

    def _every(self) -> list[psutil.Process]:
        process = psutil.Process(self.process.pid)
        return [process, *process.children(recursive=True)]

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
def serve(contender: Contender, workloads: Sequence[Workload]) -> Iterator[Server]:
    """Serve the applications of workloads on free ports of the loopback interface.

    Connections can be made at once; they are answered as soon as the server is up. If it does
    not come up, they are refused.

    :param workloads: one, if the server is gunicorn.
    """
    applications = {workload.app: workload for workload in workloads}
    with contextlib.ExitStack() as stack:
        sockets = {
            app: stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=512))
            for app in applications
        }
        files = {app: each.fileno() for app, each in sockets.items()}
        command = write_command(contender, applications, files)
        process = subprocess.Popen(command, pass_fds=[*files.values()])
        ports = {app: each.getsockname()[1] for app, each in sockets.items()}
    server = Server(process, ports)
    try:
        yield server
    finally:
        server.stop()


def write_command(
    contender: Contender, applications: dict[str, Workload], files: dict[str, int]
) -> list[str]:
    """Write the command that serves applications on open files."""
    if contender.server == "gunicorn":
        ((app, workload),) = applications.items()
        command = [sys.executable, "-m", "gunicorn", f"--bind=fd://{files[app]}"]
        return [
            *command,
            *GTHREAD,
            *QUIET,
            f"{__name__}:make({contender.name!r}, {workload.name!r})",
        ]
    pairs = [f"{workload.name}={files[app]}" for app, workload in applications.items()]
    return [sys.executable, "-m", __name__, contender.name, *pairs]


def make(contender: str, workload: str) -> t.Any:
    """Make an application, for a server that asks by name."""
    return BY_NAME[contender].make(WORKLOADS[workload])


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


class OneOfMany(uvicorn.Server):
    """A server that leaves the signals alone: they end the process, with all its servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> t.Generator[None, None, None]:
        yield


async def serve_all(contender: Contender, files: dict[str, int]) -> None:
    """Serve the applications of workloads, each on its file."""
    servers = []
    for name, file in files.items():
        config = uvicorn.Config(
            make(contender.name, name),
            interface="asgi3",
            http="httptools",
            # Clients that are stopped leave errors behind; wrong answers show themselves.
            log_level="critical",
            access_log=False,
            reset_contextvars=contender.server == "uvicorn --reset-contextvars",
        )
        servers.append(OneOfMany(config).serve(sockets=[socket.socket(fileno=file)]))
    await asyncio.gather(*servers)


def main() -> None:
    """Serve what the command line says."""
    name, *pairs = sys.argv[1:]
    files = {workload: int(file) for workload, _, file in (pair.partition("=") for pair in pairs)}
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_all(BY_NAME[name], files))


if __name__ == "__main__":
    main()
