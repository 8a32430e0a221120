"""JSON as the active application does it, or as the standard library does where there is none."""

from __future__ import annotations

import json as _json
import typing as t

from ..globals import _cv_app
from ..globals import current_app
from .provider import _default
from .provider import _loads
from .provider import DefaultJSONProvider

if t.TYPE_CHECKING:
    from ..wrappers import Response
    from .provider import JSONProvider


def dumps(obj: t.Any, **kwargs: t.Any) -> str:
    """Serialize a value to JSON text.

    :param obj: the value.
    :param kwargs: passed to ``app.json.dumps``, or to :func:`json.dumps` without an application.
    """
    provider = _active_provider()
    if provider is not None:
        return provider.dumps(obj, **kwargs)
    kwargs.setdefault("default", _default)
    return _json.dumps(obj, **kwargs)


def _dumps_compact(obj: t.Any) -> str:
    """Serialize a value to JSON text without whitespace.

    :param obj: the value.
    """
    provider = _active_provider()
    if isinstance(provider, DefaultJSONProvider):
        return provider._dumps_compact(obj)
    return dumps(obj, separators=(",", ":"))


def dump(obj: t.Any, fp: t.IO[str], **kwargs: t.Any) -> None:
    """Serialize a value into a text file.

    :param obj: the value.
    :param fp: a file open for writing text; JSON wants UTF-8.
    :param kwargs: passed to ``app.json.dump``, or to :func:`json.dump` without an application.
    """
    provider = _active_provider()
    if provider is not None:
        provider.dump(obj, fp, **kwargs)
    else:
        kwargs.setdefault("default", _default)
        _json.dump(obj, fp, **kwargs)


def loads(s: str | bytes, **kwargs: t.Any) -> t.Any:
    """Read a value from JSON text.

    :param s: the text, or the text in UTF-8.
    :param kwargs: passed to ``app.json.loads``, or to :func:`json.loads` without an application.
    :raises ValueError: if the text is not valid JSON, or nested too deep to be read.
    """
    provider = _active_provider()
    if provider is not None:
        return provider.loads(s, **kwargs)
    return _loads(s, **kwargs)


def load(fp: t.IO[t.AnyStr], **kwargs: t.Any) -> t.Any:
    """Read a value from a file of JSON text.

    :param fp: a file open for reading text or UTF-8 bytes.
    :param kwargs: passed to ``app.json.load``, or to :func:`json.loads` without an application.
    :raises ValueError: if the text is not valid JSON, or nested too deep to be read.
    """
    provider = _active_provider()
    if provider is not None:
        return provider.load(fp, **kwargs)
    return _loads(fp.read(), **kwargs)


def jsonify(*args: t.Any, **kwargs: t.Any) -> Response:
    """Make a JSON response; a view may as well return a dict or a list.

    :param args: one value, or several to be sent as a list.
    :param kwargs: the items of an object, if there are no positional arguments. With neither,
        the response is ``null``.
    :raises TypeError: if both kinds of arguments are given.
    :raises RuntimeError: if no application is active.
    """
    return t.cast("Response", current_app.json.response(*args, **kwargs))


def _active_provider() -> JSONProvider | None:
    context = _cv_app.get(None)
    return None if context is None else context.app.json


def _is_replaced() -> bool:
    """Tell whether the active application has JSON read by a function of its own."""
    context = _cv_app.get(None)
    if context is None:
        return False
    provider = context.app.json
    return getattr(provider.loads, "__func__", None) is not DefaultJSONProvider.loads
