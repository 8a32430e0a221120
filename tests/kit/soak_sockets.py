"""The same long run against a real server, over real sockets."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter

from .server import Connection
from .server import serve
from .server import Server
from .soak import Kind
from .soak import LIMIT
from .soak import MIXED
from .soak import Report
from .soak import SAMPLES

#: Requests after which a connection is closed and another one opened.
PER_CONNECTION = 500


def run_over_sockets(count: int, loop: str = "uvloop", http: str = "httptools") -> Report:
    """Ask a uvicorn of its own *count* times, and look for what that has left in it."""
    report = Report(count)
    statuses: Counter[int] = Counter()
    options = ["--no-access-log", "--log-level=info"]
    with serve("tests.kit.soak_app:app", *options, loop=loop, http=http, lint=False) as server:
        server.get("/async/1")
        threads, files = server.threads, server.open_files
        began = time.monotonic()
        for number in range(0, count, PER_CONNECTION):
            _ask_on_one_connection(server, range(number, number + PER_CONNECTION), statuses)
            if number // PER_CONNECTION % max(1, count // PER_CONNECTION // SAMPLES) == 0:
                report.at.append(number + PER_CONNECTION)
                # A stream that is just being closed holds hundreds of objects for a moment.
                report.blocks.append(min(int(server.get("/blocks")) for _ in range(3)))
                report.memory.append(server.memory)
        report.seconds = time.monotonic() - began
        _until_quiet(server, threads, files)
        report.threads = server.threads - threads
        if report.threads:
            report.left = json.loads(server.get("/threads"))
        # Before the run a connection may still have been open.
        report.files = max(0, server.open_files - files)
    report.statuses = dict(statuses)
    return report


def _ask_on_one_connection(server: Server, numbers: range, statuses: Counter[int]) -> None:
    with server.connect() as connection:
        for number in numbers:
            kind = MIXED[number % len(MIXED)]
            if kind.leaves:
                with server.connect() as other:
                    statuses[_ask(other, kind, number)] += 1
            else:
                statuses[_ask(connection, kind, number)] += 1


def _ask(connection: Connection, kind: Kind, number: int) -> int:
    path = kind.path.replace("{n}", str(number))
    headers = {name: value.replace("{n}", str(number)) for name, value in kind.headers.items()}
    connection.request(kind.method, path, kind.body, headers)
    response = connection.response(kind.method)
    response.read(1 if kind.leaves else None)
    assert response.status == kind.status, f"{kind} was answered with {response.status}"
    return response.status


def _until_quiet(server: Server, threads: int, files: int) -> None:
    """Wait until connections that were closed, and threads without work, are gone."""
    deadline = time.monotonic() + LIMIT
    while (server.threads > threads or server.open_files > files) and time.monotonic() < deadline:
        threading.Event().wait(0.05)
