from __future__ import annotations

import typing as t
from collections import OrderedDict
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from datetime import UTC
from uuid import UUID

import pytest
from flask.json import tag as flask_tag
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from asyncflask import Flask
from asyncflask.json import tag
from asyncflask.json.provider import DefaultJSONProvider
from asyncflask.json.tag import JSONTag
from asyncflask.json.tag import TaggedJSONSerializer

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)
VALUES: list[t.Any] = [
    None,
    "text \N{SNOWMAN}",
    [1, 2.5, True],
    {},
    {"b": 1, "a": {"c": []}},
    (),
    (1, (2, [3, (4,)])),
    b"\xff\x00",
    Markup("<html>"),
    UUID(int=7),
    NOON,
    {" t": (1, 2)},
    {" t__": b"a"},
    {" di": " di"},
    {" b": {" b": {" b": b""}}},
    {" unknown": 1},
    {" t": 1, "x": 2},
    {"user": (UUID(int=1), {"seen": NOON, "html": [Markup("&amp;")]})},
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_the_text_equals_flasks_and_is_read_by_both(value: t.Any) -> None:
    ours, flasks = TaggedJSONSerializer(), flask_tag.TaggedJSONSerializer()
    text = ours.dumps(value)
    assert text == flasks.dumps(value)
    assert ours.loads(text) == flasks.loads(text) == value
    assert type(ours.loads(text)) is type(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ((1, "a"), '{" t":[1,"a"]}'),
        (b"\xff", '{" b":"/w=="}'),
        (Markup("<b>"), '{" m":"<b>"}'),
        (UUID(int=7), '{" u":"00000000000000000000000000000007"}'),
        (NOON, '{" d":"Thu, 29 Feb 2024 12:00:00 GMT"}'),
        ({" t": 1}, '{" di":{" t__":1}}'),
    ],
)
def test_each_type_has_its_fixed_form(value: t.Any, text: str) -> None:
    assert TaggedJSONSerializer().dumps(value) == text


def test_what_json_cannot_tell_apart_comes_back_changed() -> None:
    s = TaggedJSONSerializer()
    local = NOON.astimezone(timezone(timedelta(hours=5))).replace(microsecond=5)
    assert s.loads(s.dumps({1: local})) == {"1": NOON}
    assert s.loads(s.dumps(NOON.replace(tzinfo=None))) == NOON


def test_anything_with_html_comes_back_as_markup() -> None:
    class Widget:
        def __html__(self) -> str:
            return "<b>"

    s = TaggedJSONSerializer()
    result = s.loads(s.dumps(Widget()))
    assert (type(result), result) == (Markup, "<b>")


def test_an_unknown_type_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        TaggedJSONSerializer().dumps({"a": object()})


def test_json_nested_too_deep_is_a_value_error() -> None:
    for depth in (600, 100_000):
        with pytest.raises(ValueError, match="nested too deep"):
            TaggedJSONSerializer().loads("[" * depth + "]" * depth)


def test_a_tag_of_ones_own_reads_its_content_untagged() -> None:
    class TagOrderedDict(JSONTag):
        __slots__ = ()
        key = " od"

        def check(self, value: t.Any) -> bool:
            return isinstance(value, OrderedDict)

        def to_json(self, value: t.Any) -> t.Any:
            return [[key, self.serializer.tag(item)] for key, item in value.items()]

        def to_python(self, value: t.Any) -> t.Any:
            return OrderedDict(value)

    s = TaggedJSONSerializer()
    s.register(TagOrderedDict, index=0)
    value = OrderedDict(b=(1,), a=OrderedDict())
    assert s.dumps(value) == '{" od":[["b",{" t":[1]}],["a",{" od":[]}]]}'
    assert s.loads(s.dumps(value)) == value


def test_a_key_is_registered_once_unless_forced() -> None:
    class Other(JSONTag):
        key = " d"

    s = TaggedJSONSerializer()
    with pytest.raises(KeyError, match="' d' is already registered.*force=True"):
        s.register(Other)
    s.register(Other, force=True, index=0)
    assert isinstance(s.tags[" d"], Other)
    assert isinstance(s.order[0], Other)


@pytest.mark.parametrize("index", [None, 0, -1, 3, 100])
def test_the_order_of_tags_equals_flasks(index: int | None) -> None:
    orders = []
    for module in (tag, flask_tag):
        s = t.cast(t.Any, module).TaggedJSONSerializer()
        s.register(type("Mine", (t.cast(t.Any, module).JSONTag,), {"key": " x"}), index=index)
        orders.append(([type(item).__name__ for item in s.order], list(s.tags)))
    assert orders[0] == orders[1]


def test_untag_leaves_what_is_not_tagged() -> None:
    s = TaggedJSONSerializer()
    for value in ({}, {"a": 1}, {" t": [], "a": 1}):
        assert s.untag(value) is value
    assert s.untag({" t": [1]}) == (1,)


def test_the_base_class_leaves_everything_open() -> None:
    base = JSONTag(TaggedJSONSerializer())
    for method in (base.check, base.to_json, base.to_python, base.tag):
        with pytest.raises(NotImplementedError):
            method(None)


def test_the_module_has_flasks_public_classes() -> None:
    names = {name for name, value in vars(flask_tag).items() if isinstance(value, type)}
    assert names <= set(vars(tag))


LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.uuids()
    | st.builds(Markup, st.text())
)
NAMES = st.text(max_size=4) | st.sampled_from([" t", " di", " b", " t__", "{", '["'])
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(NAMES, inner, max_size=3)
    ),
    max_leaves=8,
)


@given(TREES | st.dictionaries(NAMES, LEAVES, max_size=3))
@example({" t": 1})
@example({" t": "{"})
@example({"a": "[", "b": 1})
@example({"a": True})
def test_any_value_is_written_and_read_as_by_flask(value: t.Any) -> None:
    ours, flasks = TaggedJSONSerializer(), flask_tag.TaggedJSONSerializer()
    text = flasks.dumps(value)
    assert ours.dumps(value) == text
    assert repr(ours.loads(text)) == repr(flasks.loads(text))


TEXTS = st.text('{}[]": tdib1,\\u0', max_size=20)


@given(TEXTS | TREES.map(flask_tag.TaggedJSONSerializer().dumps))
@example('{" t":[1]}')
@example(' {" t":1}')
@example('{" t":1} ')
@example('"{"')
@example("")
@example("\ufeff1")
def test_any_text_is_read_as_by_flask(text: str) -> None:
    results = []
    for serializer in (TaggedJSONSerializer(), flask_tag.TaggedJSONSerializer()):
        try:
            results.append(repr(serializer.loads(text)))
        except Exception as error:
            results.append(f"{type(error)} {error}")
    assert results[0] == results[1]


@pytest.mark.parametrize("text", [b'{" t":[1]}', b'{"a":1}', bytearray(b"5")])
def test_bytes_are_read_as_by_flask(text: t.Any) -> None:
    assert TaggedJSONSerializer().loads(text) == flask_tag.TaggedJSONSerializer().loads(text)


class Shouting(JSONTag):
    """A tag for text, which no tag of the default ones changes."""

    __slots__ = ()
    key = " s"

    def check(self, value: t.Any) -> bool:
        return isinstance(value, str)

    def to_json(self, value: t.Any) -> t.Any:
        return value.upper()

    def to_python(self, value: t.Any) -> t.Any:
        return value.lower()


def test_a_tag_for_a_plain_type_is_asked() -> None:
    class Own(TaggedJSONSerializer):
        default_tags = [*TaggedJSONSerializer.default_tags, Shouting]

    registered, ordered = TaggedJSONSerializer(), TaggedJSONSerializer()
    registered.register(Shouting)
    ordered.order.insert(0, Shouting(ordered))
    for serializer in (Own(), registered, ordered):
        assert serializer.dumps({"a": "b", "c": 1}) == '{"a":{" s":"B"},"c":1}'
    assert Own().loads('{"a":{" s":"B"}}') == {"a": "b"}


def test_a_serializer_may_tag_in_its_own_way() -> None:
    class Own(TaggedJSONSerializer):
        def tag(self, value: t.Any) -> t.Any:
            return {"own": super().tag(value)}

    assert Own().dumps({"a": 1}) == '{"own":{"a":1}}'


def test_what_was_tagged_is_another_dict() -> None:
    value = {"a": 1}
    tagged = TaggedJSONSerializer().tag(value)
    assert tagged == value and tagged is not value


def test_the_applications_json_is_used() -> None:
    app = Flask(__name__)
    serializer = TaggedJSONSerializer()
    with app.app_context():
        assert serializer.dumps({"b": "\xe9", "a": 1}) == '{"a":1,"b":"\\u00e9"}'
        t.cast(DefaultJSONProvider, app.json).ensure_ascii = False
        assert serializer.dumps({"b": "\xe9", "a": 1}) == '{"a":1,"b":"\xe9"}'
        t.cast(DefaultJSONProvider, app.json).sort_keys = False
        assert serializer.dumps({"b": "\xe9", "a": 1}) == '{"b":"\xe9","a":1}'
        app.json.dumps = lambda obj, **kwargs: repr((obj, kwargs))  # type: ignore[method-assign]
        assert serializer.dumps({}) == "({}, {'separators': (',', ':')})"


def test_a_json_provider_of_ones_own_writes_and_reads() -> None:
    class Nested(DefaultJSONProvider):
        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return "text"

        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            return [{" t": [1]}]

    app = Flask(__name__)
    app.json = Nested(app)
    with app.app_context():
        assert TaggedJSONSerializer().dumps({}) == "text"
        assert TaggedJSONSerializer().loads("text") == [(1,)]
