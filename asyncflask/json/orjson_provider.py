"""JSON answers written by orjson, for applications that set this provider; the extra ``orjson``."""

from __future__ import annotations

import typing as t

import orjson

from .provider import _dumps
from .provider import DefaultJSONProvider

if t.TYPE_CHECKING:
    from werkzeug.sansio.response import Response

# What is left to the provider's own ``default``, or to the standard library.
_OPTIONS: t.Final = (
    orjson.OPT_APPEND_NEWLINE
    | orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)
_BUILT_IN: t.Final = (str, int, float, dict, list, tuple)


class OrjsonProvider(DefaultJSONProvider):
    """The default provider, with compact answers written by orjson.

    What orjson cannot write, or not as the standard library does, is left to the latter: text
    beyond ASCII unless :attr:`ensure_ascii` is off, keys that are no strings, large numbers.
    Three things differ: NaN and infinities become ``null``, the exponents of numbers may be
    spelt in another way, and an ``Enum`` becomes its value. UUIDs are not given to
    :attr:`default`. Everything but answers is the default provider's.
    """

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Make a JSON response of the type :attr:`mimetype`, indented if not :attr:`compact`.

        :param args: one value, or several to be sent as a list.
        :param kwargs: the items of an object, if there are no positional arguments. With
            neither, the response is ``null``.
        :raises TypeError: if both kinds of arguments are given.
        """
        app = self._app
        compact = not app.debug if self.compact is None else self.compact
        if not compact or type(self).dumps is not _dumps or "dumps" in self.__dict__:
            return super().response(*args, **kwargs)
        data = self._encode(self._prepare_response_obj(args, kwargs))
        if data is None:
            return super().response(*args, **kwargs)
        kind: t.Any = app.response_class
        # A constructor of the user's gets text, as from the default provider.
        body = data if getattr(kind, "_quick", False) else data.decode()
        return kind(body, mimetype=self.mimetype)  # type: ignore[no-any-return]

    def _encode(self, obj: t.Any) -> bytes | None:
        """Give a value as JSON with a newline, ``None`` if the standard library has to do it."""
        options = _OPTIONS | orjson.OPT_SORT_KEYS if self.sort_keys else _OPTIONS
        try:
            data: bytes = orjson.dumps(obj, self._pass_on, options)
        except TypeError:
            return None
        if self.ensure_ascii and (not data.isascii() or b"\x7f" in data):
            return None
        return data

    def _pass_on(self, o: t.Any) -> t.Any:
        if isinstance(o, _BUILT_IN):
            raise TypeError("The standard library writes it as what it is derived from.")
        return self.default(o)
