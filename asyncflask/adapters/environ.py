"""A WSGI environ (PEP 3333) made from an ASGI scope, for code that wants one."""

from __future__ import annotations

import io
import sys
import typing as t

from werkzeug.datastructures import Headers
from werkzeug.datastructures.mixins import ImmutableHeadersMixin
from werkzeug.exceptions import BadRequestKeyError

if t.TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment
    from starlette.types import Scope

    from .body import Body

_GATEWAY_KEYS: t.Final = frozenset(
    {
        "REQUEST_METHOD",
        "SCRIPT_NAME",
        "PATH_INFO",
        "QUERY_STRING",
        "CONTENT_TYPE",
        "CONTENT_LENGTH",
        "SERVER_NAME",
        "SERVER_PORT",
        "SERVER_PROTOCOL",
    }
)
"""What PEP 3333 defines and the scope says better than an environ it came from."""


def route_path(scope: Scope) -> tuple[str, str]:
    """Split a scope's path into the prefix of the mount and the path below it.

    ASGI's ``path`` includes ``root_path``; servers that leave it out are understood as well. A
    prefix ends at a slash only.

    :returns: the prefix without a slash at its end, and the rest.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if not root:
        return "", path
    root = root.rstrip("/")
    if path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/"):
        path = path[len(root) :]
    return root, path


def joined_headers(scope: Scope) -> dict[str, str]:
    """Give the headers of a scope by their lower-case names, repeated ones joined as in WSGI.

    Names with an underscore are left out: in an environ they could not be told from those
    with a hyphen that a proxy sets.
    """
    joined: dict[str, list[str]] = {}
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").lower()
        if "_" not in name:
            joined.setdefault(name, []).append(raw_value.decode("latin-1"))
    return {
        name: values[0] if len(values) == 1 else ("; " if name == "cookie" else ",").join(values)
        for name, values in joined.items()
    }


def environ_from_scope(scope: Scope, body: Body | None) -> WSGIEnvironment:
    """Make the environ of an HTTP request.

    :param scope: its ASGI scope. Keys of an environ under ``wsgi_environ`` that the scope does
        not cover are taken over.
    :param body: what ``wsgi.input`` reads; ``None`` for an empty body.
    """
    root, path = route_path(scope)
    host, port = scope.get("server") or ("localhost", None)
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": _as_latin1(root),
        "PATH_INFO": _as_latin1(path),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": "" if port is None else str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": io.BytesIO() if body is None else body.open(),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if scope.get("client"):
        environ["REMOTE_ADDR"], environ["REMOTE_PORT"] = scope["client"][0], str(scope["client"][1])
    for name, value in joined_headers(scope).items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        environ[key] = value
    for key, value in scope.get("wsgi_environ", {}).items():
        gateway = key in _GATEWAY_KEYS or key.startswith(("HTTP_", "wsgi."))
        if not gateway or key == "wsgi.errors":
            environ[key] = value
    return environ


def _as_latin1(path: str) -> str:
    # PEP 3333, "Unicode Issues": bytes of the path, each as one character.
    return path.encode("utf-8", "surrogateescape").decode("latin-1")


class ScopeHeaders(ImmutableHeadersMixin, Headers):  # type: ignore[misc]
    """The headers of an ASGI scope, read-only, repeated ones joined as a WSGI server does."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self._joined = joined_headers(scope)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ScopeHeaders):
            return NotImplemented
        return self._joined == other._joined

    __hash__ = None

    def __getitem__(self, key: str) -> str:  # type: ignore[override]
        return self._get_key(key)

    def _get_key(self, key: str) -> str:
        if not isinstance(key, str):
            raise BadRequestKeyError(key)
        return self._joined[key.lower()]

    def __len__(self) -> int:
        return len(self._joined)

    def __iter__(self) -> t.Iterator[tuple[str, str]]:
        for name, value in self._joined.items():
            yield name.title(), value

    def copy(self) -> t.NoReturn:
        raise TypeError(
            "The headers of a request are read-only: Headers(request.headers) copies them."
        )
