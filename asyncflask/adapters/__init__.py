"""Everything that speaks ASGI or WSGI."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from .bridges import AsgiToWsgi as AsgiToWsgi
    from .wsgi_to_asgi import WsgiToAsgi as WsgiToAsgi


def __getattr__(name: str) -> t.Any:
    # What is below of them imports this folder, too.
    if name == "AsgiToWsgi":
        from .bridges import AsgiToWsgi

        return AsgiToWsgi
    if name == "WsgiToAsgi":
        from .wsgi_to_asgi import WsgiToAsgi

        return WsgiToAsgi
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
