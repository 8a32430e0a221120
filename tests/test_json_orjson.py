"""orjson's answers are the default provider's."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import json
import typing as t
import uuid
from collections import OrderedDict

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from asyncflask import Flask
from asyncflask import jsonify
from asyncflask import Response
from asyncflask.json.orjson_provider import OrjsonProvider
from asyncflask.json.provider import DefaultJSONProvider


@dataclasses.dataclass
class Point:
    x: int
    when: datetime.date


class Html:
    def __html__(self) -> str:
        return "<p>"


class Pair(t.NamedTuple):
    a: int
    b: str


class Level(enum.IntEnum):
    HIGH = 3


class Colour(enum.Enum):
    RED = "r"


LOOP: list[t.Any] = []
LOOP.append(LOOP)

WRITTEN: list[t.Any] = [
    None,
    True,
    "",
    'text "quoted" \\ / </script> \t\n\r\b\f\x00\x1f',
    {"b": [1, 2.5, True, None], "a": {"z": (), "y": {}, "x": []}},
    [0, -1, 2**53, -(2**63), 2**64 - 1],
    [0.1, -0.0, 1.0, 1e15, 5e-324, 1.7976931348623157e308],
    datetime.date(1975, 1, 5),
    [datetime.datetime(1973, 3, 11, 6, 30, 45)],
    datetime.datetime(2017, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
    decimal.Decimal("0.003"),
    uuid.UUID(int=7),
    Point(1, datetime.date(2020, 1, 1)),
    {"html": Html(), "level": Level.HIGH},
]
LEFT: list[t.Any] = [
    "snow \N{SNOWMAN} \N{GRINNING FACE}",
    "\x7f",
    "\ud800",
    2**64,
    -(2**63) - 1,
    {1: "int key", 10: "ten", 9: "nine"},
    {Markup("key"): 1},
    Markup("<b>"),
    Pair(1, "b"),
    OrderedDict(b=1, a=2),
    object(),
    b"bytes",
    {1, 2},
    datetime.time(1, 2),
    {"a": 1, 2: "mixed keys"},
    LOOP,
    json.loads("[" * 300 + "]" * 300),
]


@pytest.fixture
def app() -> Flask:
    return Flask(__name__)


def answers(app: Flask, value: t.Any, **attributes: t.Any) -> list[t.Any]:
    """Give what both providers make of a value."""
    results: list[t.Any] = []
    for provider in (OrjsonProvider(app), DefaultJSONProvider(app)):
        for name, attribute in attributes.items():
            setattr(provider, name, attribute)
        try:
            response = t.cast(Response, provider.response(value))
            results.append((response.get_data(), response.status, [*response.headers]))
        except (TypeError, ValueError) as error:
            results.append((type(error), str(error)))
    return results


@pytest.mark.parametrize("value", WRITTEN + LEFT, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"sort_keys": False},
        {"ensure_ascii": False},
        {"compact": False},
        {"default": lambda o: f"<{type(o).__name__}>"},
        {"mimetype": "application/vnd.api+json"},
    ],
    ids=str,
)
def test_an_answer_is_the_default_providers(
    app: Flask, value: t.Any, attributes: dict[str, t.Any]
) -> None:
    if "default" in attributes and isinstance(value, uuid.UUID):
        value = [str(value)]
    ours, expected = answers(app, value, **attributes)
    assert ours == expected


@pytest.mark.parametrize("value", WRITTEN, ids=lambda value: repr(value)[:40])
def test_what_is_usual_is_written_by_orjson(app: Flask, value: t.Any) -> None:
    assert OrjsonProvider(app)._encode(value) is not None


@pytest.mark.parametrize("value", LEFT, ids=lambda value: repr(value)[:40])
def test_what_is_not_is_left_to_the_standard_library(app: Flask, value: t.Any) -> None:
    assert OrjsonProvider(app)._encode(value) is None


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text() | st.decimals() | st.uuids(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    ),
    st.booleans(),
)
def test_any_value_is_written_alike(value: t.Any, ensure_ascii: bool) -> None:
    ours, expected = answers(Flask(__name__), value, ensure_ascii=ensure_ascii)
    assert ours == expected


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_the_same_whatever_they_look_like(value: float) -> None:
    ours, expected = answers(Flask(__name__), value)
    assert json.loads(ours[0]) == json.loads(expected[0]) == value


def test_what_differs_is_what_the_documentation_says(app: Flask) -> None:
    assert answers(app, [float("nan"), float("inf")])[0][0] == b"[null,null]\n"
    assert answers(app, 1e-7)[0][0] == b"1e-7\n"
    assert answers(app, Colour.RED)[0][0] == b'"r"\n'
    text = json.dumps(str(uuid.UUID(int=7))).encode()
    assert answers(app, uuid.UUID(int=7), default=repr)[0][0] == text + b"\n"


def test_everything_else_is_the_default_providers(app: Flask) -> None:
    app.json = OrjsonProvider(app)
    expected = DefaultJSONProvider(app)
    value = {"b": float("nan"), "a": Html()}
    assert app.json.dumps(value) == expected.dumps(value)
    assert app.json.dumps(value, separators=(",", ":")) == '{"a":"<p>","b":NaN}'
    assert app.json.loads("18446744073709551616") == 2**64


def test_a_view_answers_with_it(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[t.Any] = []
    dumps = orjson.dumps

    def noting(obj: t.Any, *rest: t.Any) -> bytes:
        written.append(obj)
        return dumps(obj, *rest)

    monkeypatch.setattr(orjson, "dumps", noting)
    app.json = OrjsonProvider(app)

    @app.get("/")
    async def index() -> dict[str, t.Any]:
        return {"b": 1, "a": uuid.UUID(int=7)}

    @app.get("/jsonify")
    def plain() -> Response:
        return jsonify(1, 2)

    client = app.test_client()
    assert client.get("/").data == b'{"a":"%s","b":1}\n' % str(uuid.UUID(int=7)).encode()
    assert client.get("/jsonify").json == [1, 2]
    assert len(written) == 2
    app.debug = True
    assert client.get("/jsonify").data == b"[\n  1,\n  2\n]\n"
    assert len(written) == 2


def test_dumps_of_a_subclass_or_an_instance_is_used(app: Flask) -> None:
    class Own(OrjsonProvider):
        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return "own"

    instance = OrjsonProvider(app)
    instance.dumps = lambda obj, **kwargs: "own"  # type: ignore[method-assign]
    for provider in (Own(app), instance):
        assert t.cast(Response, provider.response(1)).get_data() == b"own\n"


def test_a_response_class_of_ones_own_gets_text(app: Flask) -> None:
    class Own(Response):
        def __init__(self, body: str, mimetype: str) -> None:
            super().__init__(body.upper(), mimetype=mimetype)

    app.response_class = Own
    assert t.cast(Response, OrjsonProvider(app).response("a")).get_data() == b'"A"\n'
    with pytest.raises(TypeError, match="either args or kwargs"):
        OrjsonProvider(app).response(1, a=2)
