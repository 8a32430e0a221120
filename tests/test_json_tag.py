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
from markupsafe import Markup

from asyncflask.json import tag
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
