"""Runs a real server process on the loopback interface, with a time limit on everything.

::

    with serve("examples.blog:app", loop="uvloop", http="httptools") as server:
        with server.connect() as connection:
            connection.request("GET", "/")
            print(connection.response().read(), server.output)

:func:`serve` is for uvicorn; tests/kit/fleet.py has the other servers.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import typing as t
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
#: The variable that tells tests/kit/linted.py what to serve.
TARGET = "LINTED_TARGET"
#: What a line of output begins with that tells of a violation.
FOUND = "ASGI lint found:"
#: Seconds that a server may take to answer, and to end.
LIMIT = 20.0
#: Seconds between two looks at a port that is not open yet.
PAUSE = 0.02

_find_address = re.compile(
    r"(?:running on|listening at:|serving on) https?://([\d.]+):(\d+)", re.IGNORECASE
).search


class NotServing(Exception):
    """The server ended before it served anything.

    :param code: its exit code.
    :param output: what it wrote.
    """

    def __init__(self, code: int, output: str) -> None:
        super().__init__(f"The server ended with {code}:\n{output}")
        self.code = code
        self.output = output


class Server:
    """A server process that answers, made by :func:`serve`.

    :param process: the process, whose output is read from its ``stdout``.
    """

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        #: What the server is called in messages.
        self.name = "uvicorn"
        self.host = "127.0.0.1"
        self.port = 0
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._reader = threading.Thread(target=self._read, name="server-output", daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        """What the server has written so far, standard output and error."""
        return "".join(self._lines)

    @property
    def memory(self) -> int:
        """Bytes of memory that the process holds."""
        return int(psutil.Process(self.process.pid).memory_info().rss)

    @property
    def children(self) -> list[psutil.Process]:
        """The processes that the server has started, its workers for example."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    @property
    def threads(self) -> int:
        """How many threads the process has."""
        return int(psutil.Process(self.process.pid).num_threads())

    @property
    def open_files(self) -> int:
        """How many file descriptors the process has open, sockets included."""
        return int(psutil.Process(self.process.pid).num_fds())

    @property
    def cpu_seconds(self) -> float:
        """Seconds of processor time that the process has taken so far."""
        return sum(psutil.Process(self.process.pid).cpu_times()[:2])

    @property
    def url(self) -> str:
        """The root of what it serves, without a slash at the end."""
        return f"http://{self.host}:{self.port}"

    def wait_until_serving(self) -> None:
        """Wait for its address and for an open port.

        :raises NotServing: if it ends instead.
        """
        found = self._wait(lambda: _find_address(self.output))
        if found is None:
            code = self.stop()
            raise NotServing(code, self.output)
        self.host, self.port = found[1], int(found[2]) or self._listening_port()
        self._wait_for_port()

    def _wait_for_port(self) -> None:
        """Wait until it is open: some servers tell of it before one of their workers listens."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                socket.create_connection((self.host, self.port), timeout=LIMIT).close()
            except ConnectionRefusedError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(PAUSE)
            else:
                return

    def _listening_port(self) -> int:
        """Ask the system for the port, where a server tells that it was given none."""
        self.wait_for_output("Started worker")
        family = [psutil.Process(self.process.pid), *self.children]
        sockets = [one for process in family for one in process.net_connections("tcp")]
        return next(int(one.laddr.port) for one in sockets if one.status == psutil.CONN_LISTEN)

    def wait_for_output(self, text: str, count: int = 1) -> str:
        """Wait until the server has written *text* so many times.

        :returns: all the output so far.
        :raises AssertionError: if it does not within the limit.
        """
        if not self._wait(lambda: self.output.count(text) >= count):
            raise AssertionError(f"The server did not write {text!r} {count} times:\n{self.output}")
        return self.output

    def connect(self) -> Connection:
        """Open a connection."""
        return Connection(self.host, self.port)

    def get(self, path: str) -> str:
        """Make a request of its own connection and give the body."""
        with self.connect() as connection:
            connection.request("GET", path)
            return connection.response().read().decode()

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> int:
        """Stop the process, by force if it does not end in time.

        :returns: its exit code; after a stop by force that of the kill.
        """
        if self.process.poll() is None:
            self.process.send_signal(sig)
        try:
            self.process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            for process in self.children:
                process.kill()
            self.process.kill()
            self.process.wait(LIMIT)
        self._reader.join(LIMIT)
        return self.process.returncode

    def _wait(self, look: t.Callable[[], t.Any]) -> t.Any:
        """Wait until *look* finds something in the output, which may have ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or look(), timeout=LIMIT)
            return look()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            for line in stream:
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()


@contextlib.contextmanager
def serve(
    target: str,
    *options: str,
    loop: str = "asyncio",
    http: str = "h11",
    env: t.Mapping[str, str] | None = None,
    lint: bool = True,
) -> t.Iterator[Server]:
    """Serve an application with uvicorn on a free port of the loopback interface.

    :param target: an import string (``"package.module:app"``), or the source of a module with
        an ``app`` in it.
    :param options: more of uvicorn's options.
    :param loop: ``"asyncio"`` or ``"uvloop"``.
    :param http: ``"h11"`` or ``"httptools"``.
    :param env: more for the environment.
    :param lint: whether a :class:`~tests.kit.lint.Lint` is around the application, as it is for
        all that is not about the time or the memory something takes.
    :raises NotServing: if the server does not come up.
    :raises AssertionError: at the end, if the application broke a rule of ASGI.
    """
    # Port 0: the server takes a free one and says which.
    command = ["-m", "uvicorn", "--port=0", f"--loop={loop}", f"--http={http}", *options]
    with module_of(target) as (name, folder):
        command.append("tests.kit.linted:app" if lint else name)
        with running(command, folder, {TARGET: name, **(env or {})}) as server:
            yield server
    assert FOUND not in server.output, server.output


@contextlib.contextmanager
def module_of(target: str) -> t.Iterator[tuple[str, str]]:
    """Give the import string of a target, and the folder to start its server in.

    :param target: an import string, which comes back as it is, or the source of a module.
    """
    with tempfile.TemporaryDirectory() as folder:
        if "\n" in target:
            Path(folder, "served.py").write_text(textwrap.dedent(target), encoding="utf-8")
            target = "served:app"
        yield target, folder


@contextlib.contextmanager
def running(
    command: t.Sequence[str], folder: str, env: t.Mapping[str, str] | None = None
) -> t.Iterator[Server]:
    """Run a server for as long as the ``with`` block takes.

    :param command: what to pass to Python.
    :param folder: where to start it; modules in it can be imported.
    :param env: more for the environment.
    :raises NotServing: if the server does not come up.
    """
    process = subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([folder, str(ROOT)]),
            "PYTHONUNBUFFERED": "1",
            **(env or {}),
        },
    )
    server = Server(process)
    try:
        server.wait_until_serving()
        yield server
    finally:
        server.stop()


class Connection:
    """A raw connection to a server, for requests as they are on the wire.

    Several requests may be sent before the first response is read.
    """

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=LIMIT)
        self._file = self.socket.makefile("rb")

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: t.Mapping[str, str] | None = None,
    ) -> None:
        """Send a request."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1") + body)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data)

    def response(self, method: str = "GET") -> http.client.HTTPResponse:
        """Read the head of the next response.

        Its ``read()`` raises :class:`http.client.IncompleteRead` where a body is cut off.

        :param method: that of the request, which says whether there is a body.
        """
        shared = t.cast(socket.socket, _Shared(self._file))
        response = http.client.HTTPResponse(shared, method=method)
        response.begin()
        return response

    def raw(self) -> bytes:
        """Read all that comes until the server closes the connection."""
        return self._file.read()

    def reset(self) -> None:
        """Close the connection with a reset, whatever is on its way."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._file.close()
        self.socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class _Shared:
    """Lets responses read from one file in turns, none of which closes it."""

    def __init__(self, file: t.BinaryIO) -> None:
        self._file = file

    def makefile(self, mode: str) -> _Shared:
        return self

    def __getattr__(self, name: str) -> t.Any:
        return getattr(self._file, name)

    def close(self) -> None:
        """The connection closes the file, not a response."""
