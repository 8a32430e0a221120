"""Which protocol an application speaks, told by what it is."""

from __future__ import annotations

import inspect
import typing as t

from ..lanes import is_async

ASGI: t.Final = "asgi"
WSGI: t.Final = "wsgi"
BOTH: t.Final = "both"


def protocol_of(app: t.Any) -> str:
    """Find out which protocol an application speaks.

    :raises TypeError: if that cannot be told.
    """
    if hasattr(app, "asgi_app") and hasattr(app, "wsgi_app"):
        return BOTH
    # A class is called to make one, whatever its instances are.
    if not isinstance(app, type) and is_async(app):
        return ASGI
    fitting = [kind for kind, count in ((WSGI, 2), (ASGI, 3)) if takes(app, count)]
    if len(fitting) != 1:
        raise TypeError(
            f"mount() cannot tell whether {app!r} is an ASGI or a WSGI application: say it, as in"
            " mount(path, app, protocol='wsgi')."
        )
    return fitting[0]


def takes(function: t.Any, count: int) -> bool:
    """Tell whether something can be called with so many arguments; not if nobody can say."""
    try:
        inspect.signature(function).bind(*range(count))
    except (TypeError, ValueError):
        return False
    return True
