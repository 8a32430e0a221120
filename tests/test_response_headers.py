"""The headers of a response do what Werkzeug's do, whatever is set in them and how."""

from __future__ import annotations

import pickle
import typing as t

import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers as Reference

from asyncflask import Response
from asyncflask.response_headers import Headers

NAMES = st.sampled_from(["X-A", "x-a", "X-B", "Content-Type", "content-length", "", "Ä"])
VALUES = st.one_of(
    st.sampled_from(["1", "", "a b", "é", "\x80", "\t", " x ", "a\r\nb", "a\nb", "\u2028", "☃"]),
    st.sampled_from([b"bytes", 7, None, 1.5, ("a", "b")]),
    st.text(max_size=3),
)
STEPS = st.lists(st.tuples(NAMES, VALUES), max_size=6)


def set_item(headers: t.Any, key: t.Any, value: t.Any) -> str:
    """Set an item, and tell what comes of it."""
    try:
        headers[key] = value
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "set"


@given(STEPS)
def test_setting_headers_does_what_werkzeug_does(steps: list[tuple[str, t.Any]]) -> None:
    ours: t.Any = Response("text").headers
    reference = Reference(list(ours))
    assert type(ours) is Headers
    for key, value in steps:
        assert set_item(ours, key, value) == set_item(reference, key, value)
        assert list(ours) == list(reference)


@pytest.mark.parametrize("key", [0, -1, slice(0, 1), slice(1, 9)])
@pytest.mark.parametrize("value", [("A", "b"), [("A", "b")], [("A", "b\n")], "ab", 3])
def test_setting_by_position_does_what_werkzeug_does(key: t.Any, value: t.Any) -> None:
    ours: t.Any = Response("text").headers
    reference = Reference(list(ours))
    assert set_item(ours, key, value) == set_item(reference, key, value)
    assert list(ours) == list(reference)


def test_a_name_that_is_there_twice_is_replaced_as_one() -> None:
    headers = Response("text").headers
    headers.add("Vary", "Cookie")
    headers.add("vary", "Origin")
    headers["VARY"] = "*"
    assert headers.getlist("Vary") == ["*"]


def test_they_equal_those_of_werkzeug() -> None:
    ours, reference = Response("text").headers, Reference(list(Response("text").headers))
    assert ours == reference
    assert reference == ours
    reference["X-A"] = "1"
    assert ours != reference
    assert reference != ours
    assert ours != list(ours)
    assert repr(ours) == repr(Reference(list(ours)))
    with pytest.raises(TypeError, match="unhashable"):
        hash(ours)


def test_they_are_copied_and_pickled() -> None:
    headers = Response("text").headers
    copied: t.Any = headers.copy()
    copied["X-A"] = "1"
    assert "X-A" not in headers
    assert pickle.loads(pickle.dumps(copied)) == copied


def test_headers_of_one_response_are_not_those_of_another() -> None:
    first, second = Response("text"), Response("text")
    first.headers["X-A"] = "1"
    assert "X-A" not in second.headers
