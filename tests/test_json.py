from __future__ import annotations

import dataclasses
import datetime
import decimal
import gc
import io
import json as stdlib_json
import typing as t
import uuid
import weakref
from types import SimpleNamespace

import pytest
from flask import json as flask_json
from flask.json.provider import DefaultJSONProvider as FlaskProvider
from markupsafe import Markup
from werkzeug.wrappers import Response

import asyncflask
from asyncflask import json
from asyncflask.globals import _cv_app
from asyncflask.json.provider import DefaultJSONProvider
from asyncflask.json.provider import JSONProvider


@dataclasses.dataclass
class Point:
    x: int
    label: str


class Html:
    def __html__(self) -> str:
        return "<p>"


VALUES: list[t.Any] = [
    None,
    "snow \N{SNOWMAN} </script>",
    {"b": [1, 2.5, True], "a": {"z": (), "y": {}}},
    {1: "int key", 2: "other"},
    float("nan"),
    datetime.date(1975, 1, 5),
    datetime.datetime(1973, 3, 11, 6, 30, 45),
    datetime.datetime(2017, 1, 1, 12, tzinfo=datetime.timezone(datetime.timedelta(hours=9))),
    decimal.Decimal("0.003"),
    uuid.UUID(int=7),
    Point(1, "p"),
    Markup("<b>"),
    Html(),
    [Point(1, "p"), {"when": datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)}],
]
OPTIONS: list[dict[str, t.Any]] = [
    {},
    {"indent": 2},
    {"indent": "\t", "sort_keys": False},
    {"separators": (",", ":")},
    {"separators": [",", ":"]},
    {"ensure_ascii": False},
    {"default": repr},
    {"cls": stdlib_json.JSONEncoder},
    {"skipkeys": True, "check_circular": False},
]


class FakeApp:
    debug = False
    response_class = Response


@pytest.fixture
def app() -> t.Any:
    return FakeApp()


@pytest.fixture
def provider(app: t.Any) -> DefaultJSONProvider:
    return DefaultJSONProvider(app)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_dumps_equals_flasks(app: t.Any, value: t.Any, options: dict[str, t.Any]) -> None:
    ours, flasks = DefaultJSONProvider(app), FlaskProvider(app)
    for _ in range(2):
        assert ours.dumps(value, **options) == flasks.dumps(value, **options)
    if options:
        assert ours.dumps(value) == flasks.dumps(value)
    assert json.dumps(value, **options) == flask_json.dumps(value, **options)


@pytest.mark.parametrize("value", [object(), {1, 2}, Point, b"bytes", {"a": 1, 2: "mixed keys"}])
def test_what_cannot_be_serialized_is_a_type_error(
    provider: DefaultJSONProvider, value: object
) -> None:
    with pytest.raises(TypeError):
        provider.dumps(value)


def test_the_error_names_the_type_and_the_remedy() -> None:
    with pytest.raises(TypeError, match=r"type set is not JSON serializable: \{1\}.*default"):
        json.dumps({1})


def test_the_options_are_checked_as_json_does(provider: DefaultJSONProvider) -> None:
    loop: list[t.Any] = []
    loop.append(loop)
    with pytest.raises(ValueError, match="Circular"):
        provider.dumps(loop)
    with pytest.raises(TypeError, match="unknown"):
        provider.dumps([], unknown=True)


def test_attributes_take_effect_at_the_next_call(provider: DefaultJSONProvider) -> None:
    value = {"b": "\N{SNOWMAN}", "a": object}
    provider.default = lambda o: "first"
    assert provider.dumps(value) == '{"a": "first", "b": "\\u2603"}'
    provider.default = lambda o: "second"
    provider.ensure_ascii = provider.sort_keys = False
    assert provider.dumps(value) == '{"b": "\N{SNOWMAN}", "a": "second"}'
    del provider.ensure_ascii, provider.sort_keys, provider.default
    assert provider.dumps({"b": Html()}) == '{"b": "<p>"}'


def test_default_may_be_overridden_as_any_kind_of_method(app: t.Any) -> None:
    class Static(DefaultJSONProvider):
        @staticmethod
        def default(o: t.Any) -> t.Any:
            return "set" if isinstance(o, set) else DefaultJSONProvider.default(o)

    class Bound(DefaultJSONProvider):
        def default(self, o: t.Any) -> t.Any:
            return Static.default(o)

    for cls in (Static, Bound):
        assert cls(app).dumps([set(), uuid.UUID(int=7)]) == f'["set", "{uuid.UUID(int=7)}"]'


def test_the_encoder_is_built_once_per_set_of_options(
    provider: DefaultJSONProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []

    class Counted(stdlib_json.JSONEncoder):
        def __init__(self, **options: t.Any) -> None:
            built.append(options)
            super().__init__(**options)

    monkeypatch.setattr(stdlib_json, "JSONEncoder", Counted)
    for _ in range(5):
        provider.dumps([1])
        provider.dumps([1], indent=2)
    assert len(built) == 2


def test_made_up_options_do_not_pile_up(provider: DefaultJSONProvider) -> None:
    for indent in range(200):
        assert provider.dumps([1], indent=indent) == f"[\n{' ' * indent}1\n]"
    assert len(provider._encoders) < 100


def test_the_provider_does_not_keep_the_application_alive() -> None:
    app: t.Any = FakeApp()
    app.json = DefaultJSONProvider(app)
    app.json.dumps([1])
    seen = weakref.ref(app)
    gc.disable()
    try:
        del app
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 50_000, b"[" * 100_000], ids=len)
def test_json_nested_too_deep_is_a_value_error(
    provider: DefaultJSONProvider, text: str | bytes
) -> None:
    for loads in (provider.loads, json.loads):
        with pytest.raises(ValueError, match="nested too deep"):
            loads(text)
    with pytest.raises(ValueError, match="nested too deep"):
        json.load(io.StringIO("[" * 100_000))


@pytest.mark.parametrize("text", ["", "{", "[1,]", b"\xff", "9" * 5000], ids=repr)
def test_bad_json_is_a_value_error(provider: DefaultJSONProvider, text: str | bytes) -> None:
    for loads in (provider.loads, json.loads, flask_json.loads):
        with pytest.raises(ValueError):
            loads(text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_bytes_may_be_in_any_utf(provider: DefaultJSONProvider, encoding: str) -> None:
    data = '{"a": "\N{SNOWMAN}"}'.encode(encoding)
    assert provider.loads(data) == json.loads(data) == {"a": "\N{SNOWMAN}"}


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le")
TEXTS = ("{}", "[]", "{", "[1", "", '{"a": "\N{SNOWMAN}"}', "[1] ", " [1]", "[1]]", '["\\ud800"]')


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("text", TEXTS)
def test_bytes_are_decoded_as_json_decodes_them(
    provider: DefaultJSONProvider, text: str, encoding: str
) -> None:
    def outcome(loads: t.Callable[[bytes], t.Any], data: bytes) -> t.Any:
        try:
            return loads(data)
        except ValueError as error:
            return type(error), str(error)

    encoded = text.encode(encoding)
    for data in (
        encoded,
        encoded[:1],
        encoded[:2],
        encoded[:3],
        encoded + b"\xff",
        b'["\xed\xa0\x80"]',
    ):
        assert outcome(provider.loads, data) == outcome(stdlib_json.loads, data)


def test_loads_takes_the_options_of_json(provider: DefaultJSONProvider) -> None:
    for loads in (provider.loads, json.loads):
        assert loads("[1.5]", parse_float=decimal.Decimal) == [decimal.Decimal("1.5")]
        assert loads('{"a": {}}', object_hook=len) == 1


def test_files_are_written_and_read(provider: DefaultJSONProvider) -> None:
    for module in (provider, json):
        file = io.StringIO()
        module.dump({"b": 1, "a": Html()}, file, sort_keys=True)
        assert file.getvalue() == '{"a": "<p>", "b": 1}'
        file.seek(0)
        assert module.load(file) == {"a": "<p>", "b": 1}
        assert module.load(io.BytesIO(b"[1]")) == [1]


@pytest.mark.parametrize("debug", [True, False])
@pytest.mark.parametrize("compact", [True, False, None])
@pytest.mark.parametrize(
    ("args", "kwargs"), [((), {}), (({"b": [1]},), {}), ((1, 2), {}), ((), {"b": 1, "a": 2})]
)
def test_response_equals_flasks(
    app: t.Any, debug: bool, compact: bool | None, args: t.Any, kwargs: t.Any
) -> None:
    app.debug = debug
    ours, flasks = DefaultJSONProvider(app), FlaskProvider(app)
    ours.compact = flasks.compact = compact
    ours.mimetype = flasks.mimetype = "application/vnd.api+json"
    got, expected = ours.response(*args, **kwargs), flasks.response(*args, **kwargs)
    assert t.cast(Response, got).get_data() == t.cast(Response, expected).get_data()
    assert got.content_type == expected.content_type == "application/vnd.api+json"


def shout(obj: t.Any, **kwargs: t.Any) -> str:
    return f"{obj}! {sorted(kwargs)}"


class Shouting(DefaultJSONProvider):
    def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
        return shout(obj, **kwargs)


def test_a_response_is_written_by_dumps_wherever_that_was_replaced(
    app: t.Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider, replaced = DefaultJSONProvider(app), DefaultJSONProvider(app)
    replaced.dumps = shout  # type: ignore[method-assign]
    assert t.cast(Response, provider.response(1)).get_data() == b"1\n"
    monkeypatch.setattr(DefaultJSONProvider, "dumps", lambda self, *args, **kw: shout(*args, **kw))
    for replacing in (Shouting(app), replaced, provider):
        assert t.cast(Response, replacing.response(1)).get_data() == b"1! ['separators']\n"


CHANGES: list[tuple[str, t.Any]] = [
    ("default", lambda o: "first"),
    ("default", lambda o: "second"),
    ("ensure_ascii", False),
    ("sort_keys", False),
    ("mimetype", "text/x-json"),
]


def test_attributes_take_effect_at_the_next_response(app: t.Any) -> None:
    value = {"b": "\N{SNOWMAN}", "a": object}
    responses: list[list[bytes]] = []
    for provider in (DefaultJSONProvider(app), FlaskProvider(app)):
        responses.append([])
        for name, attribute in CHANGES:
            setattr(provider, name, attribute)
            response = t.cast(Response, provider.response(value))
            responses[-1].append(response.get_data() + str(response.mimetype).encode())
    assert responses[0] == responses[1]
    assert len(set(responses[0])) == 5


def test_what_cannot_be_a_response_is_the_error_that_dumps_has(app: t.Any) -> None:
    loop: list[t.Any] = []
    loop.append(loop)
    deep: list[t.Any] = []
    for _ in range(100_000):
        deep = [deep]
    for provider in (DefaultJSONProvider(app), FlaskProvider(app)):
        with pytest.raises(ValueError, match="Circular"):
            provider.response(loop)
        with pytest.raises(RecursionError):
            provider.response(deep)
        with pytest.raises(TypeError):
            provider.response(object())


def test_a_response_class_with_a_constructor_of_its_own_is_called_as_by_flask(app: t.Any) -> None:
    class Own(asyncflask.Response):
        def __init__(self, body: str, *, mimetype: str) -> None:
            super().__init__(body.upper(), 201, {"X-Own": "1"}, mimetype)

    for kind in (Own, asyncflask.Response, Response):
        app.response_class = kind
        ours, flasks = DefaultJSONProvider(app).response("a"), FlaskProvider(app).response("a")
        assert list(ours.headers) == list(flasks.headers)
        assert ours.status == flasks.status
        assert t.cast(Response, ours).get_data() == t.cast(Response, flasks).get_data()


def test_response_takes_one_kind_of_arguments(provider: DefaultJSONProvider) -> None:
    with pytest.raises(TypeError, match="either args or kwargs, not both"):
        provider.response(1, a=2)


def test_a_provider_needs_dumps_and_loads_only(app: t.Any) -> None:
    class Reversed(JSONProvider):
        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return str(obj)[::-1]

        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            return s[::-1]

    provider, file = Reversed(app), io.StringIO()
    provider.dump("abc", file)
    assert file.getvalue() == "cba"
    assert provider.load(io.StringIO("abc")) == "cba"
    response = t.cast(Response, provider.response("abc"))
    assert (response.get_data(), response.mimetype) == (b"cba", "application/json")


def test_the_base_provider_leaves_the_library_open(app: t.Any) -> None:
    for call in (JSONProvider(app).dumps, JSONProvider(app).loads):
        with pytest.raises(NotImplementedError):
            call("1")


def test_the_active_applications_provider_is_used(app: t.Any) -> None:
    class Marked(DefaultJSONProvider):
        def dumps(self, obj: t.Any, **kwargs: t.Any) -> str:
            return "!" + super().dumps(obj, **kwargs)

        def loads(self, s: str | bytes, **kwargs: t.Any) -> t.Any:
            return super().loads(s[1:], **kwargs)

    app.json = Marked(app)
    token, file = _cv_app.set(t.cast(t.Any, SimpleNamespace(app=app))), io.StringIO()
    try:
        json.dump([json.dumps([1]), json.loads("![2]")], file)
        assert file.getvalue() == '!["![1]", [2]]'
        file.seek(0)
        assert json.load(file) == ["![1]", [2]]
        assert json.jsonify(3).get_data() == b"!3\n"
    finally:
        _cv_app.reset(token)


def test_jsonify_needs_an_application() -> None:
    with pytest.raises(RuntimeError, match="application context"):
        json.jsonify(1)
