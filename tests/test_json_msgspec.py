"""msgspec reads what the default provider reads."""

from __future__ import annotations

import json
import typing as t
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncflask import Flask
from asyncflask import request
from asyncflask.json import msgspec_provider
from asyncflask.json.msgspec_provider import MsgspecProvider
from asyncflask.json.provider import DefaultJSONProvider

APP = Flask(__name__)
OURS, EXPECTED = MsgspecProvider(APP), DefaultJSONProvider(APP)

TEXTS: list[str | bytes] = [
    "",
    " ",
    "null",
    ' {"a": [1, 2.5, true, null]}\n',
    '{"a": 1, "a": 2}',
    "18446744073709551616",
    "-9223372036854775809",
    "9" * 5000,
    "123456789012345678901234567890.5",
    "1e400",
    "-0",
    "[1E5, 0.1e1, -0.0, 1e-400]",
    "NaN",
    "[Infinity, -Infinity]",
    "[1,]",
    "{",
    "01",
    '"\\ud800"',
    '"\\ud83d\\ude00 \\u0041 \\/"',
    '"\ud800"',
    '"\x00"',
    '"\x7f"',
    "[" * 100_000,
    '{"a":' * 50_000,
    "[" * 900 + "]" * 900,
    b"\xff",
    b'"\xed\xa0\x80"',
    b'\xef\xbb\xbf{"a": 1}',
    '{"a": "\N{SNOWMAN}"}'.encode("utf-16"),
    '{"a": "\N{SNOWMAN}"}'.encode("utf-32"),
    bytearray(b"[1]"),
]


def outcome(loads: t.Callable[..., t.Any], text: t.Any, **kwargs: t.Any) -> str:
    """Give what is read, or what is said to be wrong with the text."""
    try:
        return repr(loads(text, **kwargs))
    except (TypeError, ValueError) as error:
        return f"{type(error)} {error}"


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: repr(text)[:30])
def test_a_text_is_read_as_by_the_default_provider(text: t.Any) -> None:
    assert outcome(OURS.loads, text) == outcome(EXPECTED.loads, text)


@given(st.text() | st.text('[]{}",:0123456789.-+eE truefalsn\\u') | st.binary())
def test_any_text_has_the_same_outcome(text: str | bytes) -> None:
    assert outcome(OURS.loads, text) == outcome(EXPECTED.loads, text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    ),
    st.booleans(),
)
def test_any_value_is_read_back(value: t.Any, ensure_ascii: bool) -> None:
    text = json.dumps(value, ensure_ascii=ensure_ascii)
    assert repr(OURS.loads(text)) == repr(EXPECTED.loads(text)) == repr(value)


def test_options_are_those_of_json() -> None:
    assert OURS.loads("[1]", parse_int=str) == ["1"]


def test_a_long_text_is_read_in_pieces() -> None:
    text = json.dumps(["a" * 100] * 20_000)
    with mock.patch.object(msgspec_provider, "_decode") as decode:
        assert OURS.loads(text) == ["a" * 100] * 20_000
        assert not decode.called
        OURS.loads("[]")
        assert decode.called


def test_a_view_reads_with_it_and_answers_with_structs() -> None:
    class User(msgspec.Struct, rename={"name": "called"}):
        name: str
        friends: list[User] = []

    app = Flask(__name__)
    app.json = MsgspecProvider(app)

    @app.post("/")
    async def index() -> dict[str, t.Any]:
        name = request.get_json()["name"]
        return {"user": User(name, [User("b")])}

    expected = {"user": {"called": "a", "friends": [{"called": "b", "friends": []}]}}
    assert app.test_client().post("/", json={"name": "a"}).json == expected
    assert app.test_client().post("/", data="{", content_type="application/json").status_code == 400
    with pytest.raises(TypeError, match="not JSON serializable"):
        app.json.dumps(object())
