"""Every server that an application has to run on, each started with one worker.

::

    with start("gunicorn-asgi", "tests.servers.app:app") as server:
        print(server.get("/async"))
"""

from __future__ import annotations

import contextlib
import typing as t

from .server import module_of
from .server import running
from .server import Server

GUNICORN = ["-m", "gunicorn", "--bind=127.0.0.1:0", "--no-control-socket"]
GRANIAN = ["-m", "granian", "--port=0"]
#: What to pass to Python in front of the import string of an application.
ASGI: dict[str, list[str]] = {
    "uvicorn": ["-m", "uvicorn", "--port=0"],
    "hypercorn": ["-m", "hypercorn", "--bind=127.0.0.1:0"],
    "granian": [*GRANIAN, "--interface=asgi"],
    "gunicorn-asgi": [*GUNICORN, "--worker-class=asgi"],
    "gunicorn-uvicorn": [*GUNICORN, "--worker-class=uvicorn_worker.UvicornWorker"],
}
WSGI: dict[str, list[str]] = {
    "gunicorn-sync": GUNICORN,
    "gunicorn-gthread": [*GUNICORN, "--threads=40"],
    "granian-wsgi": [*GRANIAN, "--interface=wsgi", "--blocking-threads=40"],
    "waitress": ["-m", "waitress", "--listen=127.0.0.1:0"],
    "werkzeug": ["-m", "tests.kit.small_servers", "werkzeug"],
    "wsgiref": ["-m", "tests.kit.small_servers", "wsgiref"],
}
COMMANDS = ASGI | WSGI
#: Those that serve more than a handful of requests at a time.
CONCURRENT = [*ASGI, "gunicorn-gthread", "granian-wsgi", "werkzeug"]
#: Hypercorn does not recognise the application on Python 3.11: it has to be told.
PREFIXES = {"hypercorn": "asgi:"}


@contextlib.contextmanager
def start(
    name: str, target: str, *options: str, env: t.Mapping[str, str] | None = None
) -> t.Iterator[Server]:
    """Serve an application on a free port of the loopback interface.

    :param name: a key of :data:`COMMANDS`.
    :param target: an import string, or the source of a module with an ``app`` in it.
    :param options: more options of that server.
    :param env: more for the environment.
    :raises NotServing: if the server does not come up.
    """
    with module_of(target) as (served, folder):
        command = [*COMMANDS[name], *options, PREFIXES.get(name, "") + served]
        with running(command, folder, env) as server:
            server.name = name
            yield server
