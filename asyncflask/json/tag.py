"""Tagged JSON: JSON that keeps Python types JSON does not know.

A value of such a type is written as an object with one item, whose key is the tag of the type
and whose value is plain JSON: ``(1, 2)`` becomes ``{" t":[1,2]}``. Session cookies are written
this way, so the tags and their order are part of the cookie format and equal Flask's.

A tag for a type of your own; it stands before the tag of ``dict``, of which the type is a
special case::

    class TagOrderedDict(JSONTag):
        __slots__ = ()
        key = " od"

        def check(self, value):
            return isinstance(value, OrderedDict)

        def to_json(self, value):
            return [[key, self.serializer.tag(item)] for key, item in value.items()]

        def to_python(self, value):
            return OrderedDict(value)

    app.session_interface.serializer.register(TagOrderedDict, index=0)
"""

from __future__ import annotations

import typing as t
from base64 import b64decode
from base64 import b64encode
from datetime import datetime
from uuid import UUID

from markupsafe import Markup
from werkzeug.http import http_date
from werkzeug.http import parse_date

from . import _dumps_compact
from . import _is_replaced
from . import loads
from .pieces import loads_short
from .pieces import LONG
from .provider import _loads


class JSONTag:
    """How values of one type are written and read; the base class of all tags.

    :param serializer: the serializer that the tag belongs to.
    """

    __slots__ = ("serializer",)

    #: What marks a value of this type. Without a key the values are plain JSON when written,
    #: and the class only says how to get there.
    key: str = ""

    def __init__(self, serializer: TaggedJSONSerializer) -> None:
        self.serializer = serializer

    def check(self, value: t.Any) -> bool:
        """Tell whether this tag is the one for a value."""
        raise NotImplementedError(f"{type(self).__name__} must define 'check'.")

    def to_json(self, value: t.Any) -> t.Any:
        """Turn a value into something JSON knows, without the tag."""
        raise NotImplementedError(f"{type(self).__name__} must define 'to_json'.")

    def to_python(self, value: t.Any) -> t.Any:
        """Turn what :meth:`to_json` gave back into the value."""
        raise NotImplementedError(f"{type(self).__name__} must define 'to_python'.")

    def tag(self, value: t.Any) -> t.Any:
        """Turn a value into what is written: JSON with the tag around it."""
        return {self.key: self.to_json(value)}


class TagDict(JSONTag):
    """A dict that looks like a tagged value; its key is written with two underscores more."""

    __slots__ = ()
    key = " di"

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is a dict whose only key is a tag."""
        if not isinstance(value, dict) or len(value) != 1:
            return False
        return next(iter(value)) in self.serializer.tags

    def to_json(self, value: t.Any) -> t.Any:
        """Lengthen the key."""
        ((key, item),) = value.items()
        return {f"{key}__": self.serializer.tag(item)}

    def to_python(self, value: t.Any) -> t.Any:
        """Shorten the key again."""
        ((key, item),) = value.items()
        return {key[:-2]: item}


class PassDict(JSONTag):
    """Any other dict, written without a tag. Keys become strings, as always in JSON."""

    __slots__ = ()

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is a dict."""
        return isinstance(value, dict)

    def to_json(self, value: t.Any) -> t.Any:
        """Tag the items."""
        return {key: self.serializer.tag(item) for key, item in value.items()}

    tag = to_json


class TagTuple(JSONTag):
    """A tuple, written as a list."""

    __slots__ = ()
    key = " t"

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is a tuple."""
        return isinstance(value, tuple)

    def to_json(self, value: t.Any) -> t.Any:
        """Tag the items."""
        return [self.serializer.tag(item) for item in value]

    def to_python(self, value: t.Any) -> t.Any:
        """Make a tuple of the list."""
        return tuple(value)


class PassList(JSONTag):
    """A list, written without a tag."""

    __slots__ = ()

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is a list."""
        return isinstance(value, list)

    def to_json(self, value: t.Any) -> t.Any:
        """Tag the items."""
        return [self.serializer.tag(item) for item in value]

    tag = to_json


class TagBytes(JSONTag):
    """Bytes, written in base64."""

    __slots__ = ()
    key = " b"

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is bytes."""
        return isinstance(value, bytes)

    def to_json(self, value: t.Any) -> t.Any:
        """Encode the bytes."""
        return b64encode(value).decode("ascii")

    def to_python(self, value: t.Any) -> t.Any:
        """Decode the bytes."""
        return b64decode(value)


class TagMarkup(JSONTag):
    """Anything with an ``__html__`` method, written as its HTML; read as ``Markup``."""

    __slots__ = ()
    key = " m"

    def check(self, value: t.Any) -> bool:
        """Tell whether the value has an ``__html__`` method."""
        return callable(getattr(value, "__html__", None))

    def to_json(self, value: t.Any) -> t.Any:
        """Take the HTML."""
        return str(value.__html__())

    def to_python(self, value: t.Any) -> t.Any:
        """Declare the text safe again."""
        return Markup(value)


class TagUUID(JSONTag):
    """A UUID, written as 32 hexadecimal digits."""

    __slots__ = ()
    key = " u"

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is a UUID."""
        return isinstance(value, UUID)

    def to_json(self, value: t.Any) -> t.Any:
        """Take the digits."""
        return value.hex

    def to_python(self, value: t.Any) -> t.Any:
        """Make a UUID of the digits."""
        return UUID(value)


class TagDateTime(JSONTag):
    """A datetime, written as an HTTP date: in UTC and whole seconds."""

    __slots__ = ()
    key = " d"

    def check(self, value: t.Any) -> bool:
        """Tell whether the value is a datetime."""
        return isinstance(value, datetime)

    def to_json(self, value: t.Any) -> t.Any:
        """Write the date."""
        return http_date(value)

    def to_python(self, value: t.Any) -> t.Any:
        """Read the date."""
        return parse_date(value)


class TaggedJSONSerializer:
    """Writes and reads tagged JSON; to itsdangerous it is the serializer inside the signature.

    Besides what JSON knows it keeps tuples, bytes, ``Markup``, ``UUID`` and ``datetime`` values
    (in UTC and whole seconds).
    """

    __slots__ = ("tags", "order", "_stock")

    #: The tags that every new serializer registers, in this order.
    default_tags: t.ClassVar[list[type[JSONTag]]] = [
        TagDict,
        PassDict,
        TagTuple,
        PassList,
        TagBytes,
        TagMarkup,
        TagUUID,
        TagDateTime,
    ]

    def __init__(self) -> None:
        #: The tags by their keys, for reading.
        self.tags: dict[str, JSONTag] = {}
        #: The tags in the order in which they are asked about a value, for writing.
        self.order: list[JSONTag] = []
        for tag_class in self.default_tags:
            self.register(tag_class)
        self._stock = [*self.order] if [*map(type, self.order)] == _STOCK else None

    def register(
        self, tag_class: type[JSONTag], force: bool = False, index: int | None = None
    ) -> None:
        """Add a tag.

        :param tag_class: the tag.
        :param force: replace a tag of the same key.
        :param index: where in the order to insert it; a special case of a type goes before the
            type. At the end if ``None``.
        :raises KeyError: if a tag of the same key exists and *force* is false.
        """
        tag = tag_class(self)
        if tag.key:
            if tag.key in self.tags and not force:
                raise KeyError(
                    f"Tag {tag.key!r} is already registered. Pass force=True to replace it,"
                    f" or give {tag_class.__name__} another key."
                )
            self.tags[tag.key] = tag
        self.order.insert(len(self.order) if index is None else index, tag)

    def tag(self, value: t.Any) -> t.Any:
        """Turn a value into plain JSON with tags; the first tag in the order that fits does it."""
        if self._is_plain(value):
            return value.copy() if type(value) is dict else value
        for tag in self.order:
            if tag.check(value):
                return tag.tag(value)
        return value

    def _is_plain(self, value: t.Any) -> bool:
        """Tell whether it is nothing that any of the usual tags changes."""
        if self.order != self._stock:
            return False
        if type(value) is not dict:
            return type(value) in _SCALARS
        if not _SCALARS.issuperset(map(type, value.values())):
            return False
        return len(value) != 1 or next(iter(value)) not in self.tags

    def _is_stock(self) -> bool:
        return self.order == self._stock

    def untag(self, value: dict[str, t.Any]) -> t.Any:
        """Turn a tagged object back into the value it stands for; any other dict stays."""
        if len(value) == 1:
            ((key, item),) = value.items()
            if key in self.tags:
                return self.tags[key].to_python(item)
        return value

    def dumps(self, value: t.Any) -> str:
        """Write a value as tagged JSON without whitespace."""
        plain = type(self).tag is _tag and self._is_plain(value)
        # What would only be copied is not.
        return _dumps_compact(value if plain else self.tag(value))

    def loads(self, value: str) -> t.Any:
        """Read a value from tagged JSON.

        :raises ValueError: if the text is not valid JSON, or nested too deep to be read.
        """
        try:
            if _is_replaced():
                return self._untag_deep(loads(value))
            if type(value) is str and value.find("{", 1) < 0 and "[" not in value:
                # One object of plain values, or one of those.
                data = loads_short(value) if len(value) <= LONG else _loads(value)
                return self.untag(data) if type(data) is dict else data
            return self._untag_deep(_loads(value))
        except RecursionError as error:
            raise ValueError("The tagged JSON is nested too deep to be read.") from error

    def _untag_deep(self, value: t.Any) -> t.Any:
        # Inside out: a tag finds its own content untagged already.
        if isinstance(value, dict):
            return self.untag({key: self._untag_deep(item) for key, item in value.items()})
        if isinstance(value, list):
            return [self._untag_deep(item) for item in value]
        return value


_STOCK: t.Final = [*TaggedJSONSerializer.default_tags]
_tag: t.Final = TaggedJSONSerializer.tag
_SCALARS: t.Final = frozenset({str, int, float, bool, type(None)})
