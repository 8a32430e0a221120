"""Flask's own test client, its requests taking the way that they take to a mounted application."""

from __future__ import annotations

import typing as t

from flask.testing import FlaskClient

from asyncflask.adapters import AsgiToWsgi
from asyncflask.adapters import WsgiToAsgi

if t.TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse
    from _typeshed.wsgi import WSGIApplication
    from _typeshed.wsgi import WSGIEnvironment

#: In the environ of a client in a ``with`` block: what gets the contexts that are kept.
PRESERVE = "werkzeug.debug.preserve_context"
#: Of the client's environ, what no server would pass on.
OWN = ("wsgi.errors", PRESERVE)


class MountedClient(FlaskClient):
    """The client, with both bridges between itself and the application."""

    def run_wsgi_app(self, environ: WSGIEnvironment, buffered: bool = False) -> t.Any:
        """Make a request, and raise what the application has raised."""
        plain = t.cast("t.Any", self).application
        call = _Call(plain, {key: environ[key] for key in OWN if key in environ})
        self.application = t.cast("t.Any", AsgiToWsgi(WsgiToAsgi(call)))
        try:
            # Contexts that are kept are used by one side at a time: here, after the other's end.
            answer = super().run_wsgi_app(environ, buffered or PRESERVE in environ)
        finally:
            self.application = plain
        if call.error is not None:
            raise call.error
        return answer


class _Call:
    """The application behind the bridges.

    :param app: the application.
    :param passed: more for its environ.
    """

    #: What it has raised: to the client it is an answer, as it is from a server.
    error: BaseException | None = None

    def __init__(self, app: WSGIApplication, passed: WSGIEnvironment) -> None:
        self._app = app
        self._passed = passed

    def __call__(
        self, environ: WSGIEnvironment, start_response: StartResponse
    ) -> t.Iterable[bytes]:
        try:
            return self._app({**environ, **self._passed}, start_response)
        except BaseException as exc:
            self.error = exc
            raise
