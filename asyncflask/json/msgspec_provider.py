"""JSON read by msgspec, for applications that set this provider; the extra ``msgspec``."""

from __future__ import annotations

import typing as t

import msgspec

from .provider import _loads
from .provider import DefaultJSONProvider

_AT_ONCE: t.Final = 1024 * 1024
"""Characters, or bytes, of a text above which it is read in pieces, so that other threads run."""

_decode: t.Final = msgspec.json.Decoder().decode


class MsgspecProvider(DefaultJSONProvider):
    """The default provider, with JSON read by msgspec, and with ``Struct`` values written.

    What msgspec does not take is left to the standard library, so that the values and the errors
    are those of the default provider.
    """

    @staticmethod
    def default(o: t.Any) -> t.Any:
        """Turn a ``Struct`` into an object, anything else as the default provider does.

        Fields have the names that they are encoded by; there are no tags.
        """
        if isinstance(o, msgspec.Struct):
            names = zip(o.__struct_encode_fields__, o.__struct_fields__, strict=True)
            return {encoded: getattr(o, name) for encoded, name in names}
        return DefaultJSONProvider.default(o)

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Read a value from JSON text.

        :param s: the text, or the text in UTF-8.
        :param kwargs: passed to :func:`json.loads`, which then reads it.
        :raises ValueError: if the text is not valid JSON, or nested too deep to be read.
        """
        if kwargs or len(s) > _AT_ONCE:
            return _loads(s, **kwargs)
        try:
            return _decode(s)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            # The standard library takes NaN, and other things that are no JSON.
            return _loads(s)
