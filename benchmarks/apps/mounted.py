"""Flask's application within an ASGI application, in asyncflask and in the adapters there are."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from . import flask as flask_apps


class MountedApps:
    """Makes the application.

    :param wrap: makes an ASGI application of Flask's.
    """

    def __init__(self, wrap: Callable[[t.Any], t.Any]) -> None:
        self._wrap = wrap

    def mounted(self) -> t.Any:
        return self._wrap(flask_apps.make().hello())


class OwnMountedApps(MountedApps):
    """Makes the application that is mounted below a path, too, which adapters leave to others."""

    mounted_legacy = MountedApps.mounted


def make() -> MountedApps:
    """Mount it below two paths of asyncflask's."""
    return OwnMountedApps(mount)


def make_a2wsgi() -> MountedApps:
    """Put it into a2wsgi's adapter, which has 10 threads by default."""
    return MountedApps(adapt_a2wsgi)


def make_a2wsgi_40() -> MountedApps:
    """Give that adapter as many threads as asyncflask has by default."""
    return MountedApps(lambda app: adapt_a2wsgi(app, workers=40))


def make_asgiref() -> MountedApps:
    """Put it into the adapter that Flask's documentation names."""
    return MountedApps(adapt_asgiref)


def mount(flask_app: t.Any) -> t.Any:
    """Mount an application."""
    from asyncflask import Flask

    app = Flask("benchmarks")
    app.mount("/", flask_app)
    app.mount("/legacy", flask_app)
    return app


def adapt_a2wsgi(flask_app: t.Any, **options: t.Any) -> t.Any:
    """Adapt an application."""
    from a2wsgi import WSGIMiddleware

    return WSGIMiddleware(flask_app, **options)


def adapt_asgiref(flask_app: t.Any) -> t.Any:
    """Adapt an application."""
    from asgiref.wsgi import WsgiToAsgi

    return WsgiToAsgi(flask_app)
