"""Starts the servers that have no command: ``python -m tests.kit.small_servers wsgiref x:app``."""

from __future__ import annotations

import sys
import typing as t
from wsgiref.simple_server import make_server

from werkzeug.serving import run_simple
from werkzeug.utils import import_string


def run_wsgiref(app: t.Any) -> None:
    """Serve with the standard library's server, one request after the other."""
    with make_server("127.0.0.1", 0, app) as server:
        print(f"serving on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


def run_werkzeug(app: t.Any) -> None:
    """Serve with the server that Flask develops with, a thread for each request."""
    run_simple("127.0.0.1", 0, app, threaded=True)


if __name__ == "__main__":
    kind, target = sys.argv[1:]
    {"wsgiref": run_wsgiref, "werkzeug": run_werkzeug}[kind](import_string(target))
