"""Who is measured: frameworks, each spoken to over one protocol and served by one server."""

from __future__ import annotations

import typing as t
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from .workloads import Workload

Level = t.Literal["inprocess", "http"]
ServerName = t.Literal["uvicorn", "uvicorn --reset-contextvars", "gunicorn"]


@dataclass(frozen=True)
class Contender:
    """A framework with its applications.

    :param apps: where the function is that makes its applications, below ``benchmarks.apps``.
    :param requires: the packages it cannot do without.
    :param forms: the package it cannot read forms without.
    :param over_http: the workloads it takes part in over HTTP; by default all it has.
    :param imports: the modules that the smallest application imports; by default ``requires``.
    """

    name: str
    protocol: t.Literal["asgi", "wsgi"]
    apps: str
    requires: tuple[str, ...]
    forms: str | None = None
    server: ServerName = "uvicorn"
    over_http: tuple[str, ...] | None = None
    imports: tuple[str, ...] = ()

    @property
    def available(self) -> bool:
        """Whether its packages are installed."""
        return all(find_spec(package) for package in self.requires)

    def takes_part(self, workload: Workload, level: Level) -> bool:
        """Whether it has an application for a workload, and is to be measured in it there.

        :raises ModuleNotFoundError: it is not available.
        """
        if workload.app in ("form", "upload") and self.forms and not find_spec(self.forms):
            return False
        if level == "http":
            wanted = self.over_http is None or workload.name in self.over_http
        else:
            wanted = workload.inside and (self.protocol == "asgi" or workload.under_wsgi)
        return wanted and hasattr(self._make_apps(), workload.app)

    def make(self, workload: Workload) -> t.Any:
        """Make its application for a workload."""
        return getattr(self._make_apps(), workload.app)()

    def _make_apps(self) -> t.Any:
        module, _, function = self.apps.partition(":")
        return getattr(import_module(f"{__package__}.apps.{module}"), function)()


SYNC = ("sync-1", "sync-64", "sync-hooks")
FORMS = "python_multipart"

#: The first one that takes part in a workload is what the others are compared with.
CONTENDERS = (
    Contender(
        "Starlette",
        "asgi",
        "starlette:make",
        ("starlette",),
        FORMS,
        imports=("starlette.applications", "starlette.responses", "starlette.routing"),
    ),
    Contender("asyncflask", "asgi", "asyncflask:make", ("asyncflask",)),
    Contender(
        "Starlette, BaseHTTPMiddleware",
        "asgi",
        "starlette:StarletteDispatched",
        ("starlette",),
        imports=("starlette.applications", "starlette.responses", "starlette.routing"),
    ),
    Contender("raw ASGI", "asgi", "raw:make", ()),
    Contender("FastAPI", "asgi", "fastapi:make", ("fastapi",), FORMS),
    Contender("Litestar", "asgi", "litestar:make", ("litestar", "starlette")),
    Contender("Quart", "asgi", "quart:make", ("quart",)),
    Contender("Flask", "wsgi", "flask:make", ("flask",), server="gunicorn", over_http=SYNC),
    Contender(
        "asyncflask, WSGI",
        "wsgi",
        "asyncflask:make_sync",
        ("asyncflask",),
        server="gunicorn",
        over_http=SYNC,
    ),
    Contender("a2wsgi, 10 threads", "asgi", "mounted:make_a2wsgi", ("flask", "a2wsgi")),
    Contender("a2wsgi, 40 threads", "asgi", "mounted:make_a2wsgi_40", ("flask", "a2wsgi")),
    # A request that sees the variables of the one before it fails in this adapter.
    Contender(
        "asgiref",
        "asgi",
        "mounted:make_asgiref",
        ("flask", "asgiref"),
        server="uvicorn --reset-contextvars",
    ),
    Contender("asyncflask, mounted", "asgi", "mounted:make", ("flask", "asyncflask")),
)

BY_NAME = {contender.name: contender for contender in CONTENDERS}


def contenders_of(
    workload: Workload, level: Level, among: Iterable[Contender] = CONTENDERS
) -> list[Contender]:
    """List those that are installed and take part in a workload."""
    return [one for one in among if one.available and one.takes_part(workload, level)]
