"""How an application turns Python values into JSON and back."""

from __future__ import annotations

import dataclasses
import decimal
import json
import typing as t
import uuid
import weakref
from datetime import date
from functools import cached_property
from json.encoder import c_make_encoder  # type: ignore[attr-defined]
from json.encoder import encode_basestring
from json.encoder import encode_basestring_ascii

from werkzeug.http import http_date

from . import pieces

if t.TYPE_CHECKING:
    from werkzeug.sansio.response import Response

    from ..application import App

# More sets of options than any application uses; a bound in case one makes them up as it goes.
_MAX_ENCODERS: t.Final = 32


class JSONProvider:
    """The JSON operations of an application; subclass it to use another JSON library.

    A subclass implements :meth:`dumps` and :meth:`loads`; the rest builds on these. Set it as
    ``json_provider_class`` of a ``Flask`` subclass, or an instance as ``app.json``.

    :param app: the application; kept as a weak proxy in ``_app``.
    """

    def __init__(self, app: App) -> None:
        self._app: App = weakref.proxy(app)

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Serialize a value to JSON text.

        :param obj: the value.
        :param kwargs: for the JSON library.
        """
        raise NotImplementedError(f"{type(self).__name__} must define 'dumps'.")

    def dump(self, obj: t.Any, fp: t.IO[str], **kwargs: t.Any) -> None:
        """Serialize a value into a text file.

        :param obj: the value.
        :param fp: a file open for writing text; JSON wants UTF-8.
        :param kwargs: passed to :meth:`dumps`.
        """
        fp.write(self.dumps(obj, **kwargs))

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Read a value from JSON text.

        :param s: the text, or the text in UTF-8.
        :param kwargs: for the JSON library.
        :raises ValueError: if the text is not valid JSON.
        """
        raise NotImplementedError(f"{type(self).__name__} must define 'loads'.")

    def load(self, fp: t.IO[t.AnyStr], **kwargs: t.Any) -> t.Any:
        """Read a value from a file of JSON text.

        :param fp: a file open for reading text or UTF-8 bytes.
        :param kwargs: passed to :meth:`loads`.
        """
        return self.loads(fp.read(), **kwargs)

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Make a JSON response; this is what ``jsonify`` calls.

        :param args: one value, or several to be sent as a list.
        :param kwargs: the items of an object, if there are no positional arguments. With
            neither, the response is ``null``.
        :raises TypeError: if both kinds of arguments are given.
        """
        obj = self._prepare_response_obj(args, kwargs)
        return self._app.response_class(self.dumps(obj), mimetype="application/json")

    def _prepare_response_obj(self, args: tuple[t.Any, ...], kwargs: dict[str, t.Any]) -> t.Any:
        if args and kwargs:
            raise TypeError(
                "app.json.response() takes either args or kwargs, not both, but got"
                f" {len(args)} positional and {sorted(kwargs)!r}. Put everything in one dict."
            )
        if len(args) == 1:
            return args[0]
        return args or kwargs or None


def _default(o: t.Any) -> t.Any:
    if isinstance(o, date):
        return http_date(o)
    if isinstance(o, decimal.Decimal | uuid.UUID):
        return str(o)
    if dataclasses.is_dataclass(o) and not isinstance(o, type):
        return dataclasses.asdict(o)
    if hasattr(o, "__html__"):
        return str(o.__html__())
    raise TypeError(
        f"Object of type {type(o).__name__} is not JSON serializable: {o!r}. Convert it first,"
        " or set app.json.default to a function that does."
    )


_Chunks: t.TypeAlias = t.Callable[[t.Any, int], t.Iterable[str]]


def _chunks_with(encoder: json.JSONEncoder) -> _Chunks:
    """Give what makes the encoder's text in parts, made once and not anew for each value."""
    if c_make_encoder is None or encoder.indent is not None:
        return lambda obj, level: encoder.iterencode(obj)
    as_string = encode_basestring_ascii if encoder.ensure_ascii else encode_basestring
    chunks: _Chunks = c_make_encoder(
        # What it has met on its way would be shared by all threads.
        None,
        encoder.default,
        as_string,
        None,
        encoder.key_separator,
        encoder.item_separator,
        encoder.sort_keys,
        encoder.skipkeys,
        encoder.allow_nan,
    )
    return chunks


def _encode_with(encoder: json.JSONEncoder) -> t.Callable[[t.Any], str]:
    """Give the encoder's ``encode`` on a shorter way."""
    chunks = _chunks_with(encoder)

    def encode(obj: t.Any) -> str:
        try:
            return "".join(chunks(obj, 0))
        except RecursionError:
            # It tells a value that contains itself from one that is nested too deep.
            return encoder.encode(obj)

    return encode


class DefaultJSONProvider(JSONProvider):
    """The JSON operations of the standard library's :mod:`json`, for a few more types.

    Dates become HTTP dates, ``Decimal`` and ``UUID`` strings, dataclasses objects, and whatever
    has an ``__html__`` method the string that it returns.
    """

    #: Turns a value that :mod:`json` does not know into one that it does, or raises ``TypeError``.
    default: t.Callable[[t.Any], t.Any] = staticmethod(_default)

    #: Write everything beyond ASCII as escape sequences.
    ensure_ascii = True

    #: Sort the keys of objects, which then all have to be strings.
    sort_keys = True

    #: Whether :meth:`response` leaves out whitespace; ``None``: it does unless in debug mode.
    compact: bool | None = None

    #: The mimetype of :meth:`response`.
    mimetype = "application/json"

    _compact: tuple[t.Any, _Chunks] | None = None

    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        """Serialize a value to JSON text.

        :param obj: the value.
        :param kwargs: passed to :func:`json.dumps`, over the attributes of the provider.
        """
        if "default" in kwargs or "cls" in kwargs:
            return json.dumps(obj, **self._options(kwargs))
        key = (self.default, self.ensure_ascii, self.sort_keys, *kwargs.items())
        try:
            encode = self._encoders.get(key)
        except TypeError:  # unhashable, such as separators given as a list
            return json.dumps(obj, **self._options(kwargs))
        if encode is None:
            encode = _encode_with(json.JSONEncoder(**self._options(kwargs)))
            if len(self._encoders) >= _MAX_ENCODERS:
                self._encoders.clear()
            self._encoders[key] = encode
        return encode(obj)

    def _dumps_compact(self, obj: t.Any) -> str:
        """Serialize a value to JSON text without whitespace, as :meth:`dumps` does."""
        if type(self).dumps is not _dumps or "dumps" in self.__dict__:
            return self.dumps(obj, separators=(",", ":"))
        settings = self.default, self.ensure_ascii, self.sort_keys
        kept = self._compact
        if kept is None or kept[0] != settings:
            encoder = json.JSONEncoder(**self._options({"separators": (",", ":")}))
            # One assignment of a pair: another thread sees all of it or nothing.
            kept = self._compact = (settings, _chunks_with(encoder))
        try:
            return "".join(kept[1](obj, 0))
        except RecursionError:
            return self.dumps(obj, separators=(",", ":"))

    @cached_property
    def _encoders(self) -> dict[t.Hashable, t.Callable[[t.Any], str]]:
        return {}

    def _options(self, kwargs: dict[str, t.Any]) -> dict[str, t.Any]:
        return {
            "default": self.default,
            "ensure_ascii": self.ensure_ascii,
            "sort_keys": self.sort_keys,
            **kwargs,
        }

    def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
        """Read a value from JSON text.

        :param s: the text, or the text in UTF-8.
        :param kwargs: passed to :func:`json.loads`.
        :raises ValueError: if the text is not valid JSON, or nested too deep to be read.
        """
        return _loads(s, **kwargs)

    def response(self, *args: t.Any, **kwargs: t.Any) -> Response:
        """Make a JSON response of the type :attr:`mimetype`, indented if not :attr:`compact`.

        :param args: one value, or several to be sent as a list.
        :param kwargs: the items of an object, if there are no positional arguments. With
            neither, the response is ``null``.
        :raises TypeError: if both kinds of arguments are given.
        """
        obj = self._prepare_response_obj(args, kwargs)
        app = self._app
        compact = not app.debug if self.compact is None else self.compact
        text = self._dumps_compact(obj) if compact else self.dumps(obj, indent=2)
        kind: t.Any = app.response_class
        if getattr(kind, "_quick", False):
            # Whose constructor it is, is known; by keyword it takes half as long again.
            return kind(f"{text}\n", None, None, self.mimetype)  # type: ignore[no-any-return]
        return kind(f"{text}\n", mimetype=self.mimetype)  # type: ignore[no-any-return]


_dumps: t.Final = DefaultJSONProvider.dumps


def _loads(s: str | bytes, **kwargs: t.Any) -> t.Any:
    try:
        if kwargs:
            return json.loads(s, **kwargs)
        if len(s) > pieces.LONG:
            return pieces.loads(s)
        if type(s) is bytes and s[:1] in (b"{", b"[") and s[1:2] != b"\0":
            # The encoding of anything else is guessed; in this one the parser has surrogates, too.
            return pieces.loads_short(s.decode("utf-8", "surrogatepass"))
        return pieces.loads_short(s) if type(s) is str else json.loads(s)
    except RecursionError as error:
        # Callers take a ValueError for bad input; anything else would be a server error.
        raise ValueError("The JSON data is nested too deep to be read: flatten it.") from error
