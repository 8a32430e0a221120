"""Cookies are read and written as Werkzeug does it."""

from __future__ import annotations

import typing as t
import warnings
from datetime import datetime
from datetime import timedelta
from datetime import timezone
from datetime import tzinfo
from datetime import UTC

import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.datastructures import Headers
from werkzeug.datastructures import ImmutableMultiDict
from werkzeug.datastructures import MultiDict
from werkzeug.http import dump_cookie
from werkzeug.sansio.http import parse_cookie
from werkzeug.wrappers import Response as WerkzeugResponse

from asyncflask import Flask
from asyncflask import Request
from asyncflask import Response
from asyncflask.adapters import wire
from asyncflask.cookies import parse_cookies
from asyncflask.cookies import plain_cookie

SPECIAL = 'ab=;; "\\\t,\n\0é\xff:/'
PARTS = st.lists(st.sampled_from(["a=b", "; ", ";", "=", " ", '"', "a", "c=", "=d", "e=f=g", "\t"]))
KEYS = st.sampled_from(["a", "session", "é", "", "a b"]) | st.text(SPECIAL, max_size=4)
EXPIRES = (
    st.none()
    | st.text(max_size=5)
    | st.integers(0, 2**33)
    | st.datetimes(datetime(1971, 1, 1), datetime(2900, 1, 1), timezones=st.none() | st.just(UTC))
    | st.just(datetime(2026, 1, 1, 5, 6, 7, 999_999, tzinfo=timezone(timedelta(hours=5))))
)
ATTRIBUTES = st.fixed_dictionaries(
    {},
    optional={
        "path": st.none() | st.sampled_from(["/", "/a b", "/ü;x", ""]),
        "domain": st.none() | st.sampled_from(["", "example.com", ".example.com:80", "bücher.de"]),
        "secure": st.booleans() | st.just(1),
        "httponly": st.booleans() | st.just(0),
        "samesite": st.none() | st.sampled_from(["lax", "Strict", "none", "", "wrong"]),
        "partitioned": st.booleans(),
        "max_age": st.none() | st.just(60) | st.just(timedelta(days=1)),
    },
)


def outcome(func: t.Callable[..., t.Any], *args: t.Any, **kwargs: t.Any) -> t.Any:
    """Give a result with the warnings on its way, or the error."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            return type(error), str(error)
    return result, [str(warning.message) for warning in caught]


@given(st.text(SPECIAL) | PARTS.map("".join) | PARTS.map("; ".join))
@example("")
@example("a=b; c=d; a=e")
@example("a=b;c=d")
@example("a=b; c=d;")
@example("a=b;  c=d")
@example("a; b=c")
@example('a="b; c"; d=e')
def test_a_header_is_read_as_by_werkzeug(header: str) -> None:
    ours: t.Any = parse_cookies(header, ImmutableMultiDict)
    theirs: t.Any = parse_cookie(header, ImmutableMultiDict)
    assert ours == theirs and type(ours) is type(theirs)
    assert list(ours.items(multi=True)) == list(theirs.items(multi=True))


def test_cookies_have_the_class_that_is_asked_for() -> None:
    cookies = parse_cookies("a=b; a=c", MultiDict)
    assert type(cookies) is MultiDict
    assert cookies.getlist("a") == ["b", "c"]


class Ours(Response):
    max_cookie_size = 60


class Werkzeugs(WerkzeugResponse):
    max_cookie_size = 60


@given(KEYS, st.text("ab.-_", max_size=5) | st.text(SPECIAL), EXPIRES, ATTRIBUTES)
def test_a_cookie_is_set_as_by_werkzeug(
    key: str, value: str, expires: t.Any, attributes: dict[str, t.Any]
) -> None:
    results = []
    for response in (Ours("x"), Werkzeugs("x")):
        result = outcome(response.set_cookie, key, value, expires=expires, **attributes)
        results.append((result, response.headers.getlist("Set-Cookie")))
    if "max_age" not in attributes or attributes["max_age"] is None or expires is not None:
        assert results[0] == results[1]
    else:
        # The date counts from now.
        assert results[0][0] == results[1][0]


@given(st.text("abc.-_019", max_size=20), EXPIRES)
def test_plain_cookies_take_the_short_way(value: str, expires: t.Any) -> None:
    attributes = ("/", None, False, True, "Lax", False)
    names = ("path", "domain", "secure", "httponly", "samesite", "partitioned")
    expected = dump_cookie("a", value, expires=expires, **dict(zip(names, attributes, strict=True)))
    assert plain_cookie("a", value, expires, *attributes) == expected


def test_equal_attributes_of_other_types_are_told_apart() -> None:
    assert (
        plain_cookie("a", "b", None, "/", None, True, False, None, False) == "a=b; Secure; Path=/"
    )
    assert plain_cookie("a", "b", None, "/", None, 1, 0, None, False) == dump_cookie(
        "a", "b", secure=t.cast(bool, 1), httponly=t.cast(bool, 0)
    )


class Ambiguous(tzinfo):
    """Has an hour twice."""

    def utcoffset(self, moment: datetime | None) -> timedelta:
        return timedelta(hours=1 if moment and moment.fold else 2)


def test_equal_dates_of_an_hour_that_is_there_twice_are_told_apart() -> None:
    first = datetime(2030, 10, 27, 2, 30, tzinfo=Ambiguous())
    for expires in (first, first.replace(fold=1)):
        cookie = plain_cookie("a", "b", expires, "/", None, False, False, None, False)
        assert cookie == dump_cookie("a", "b", expires=expires)


class Text(str):
    """Text that shows itself in its own way."""

    def __format__(self, spec: str) -> str:
        return "formatted"


@pytest.mark.parametrize(
    ("key", "value"), [(Text("a"), "b"), ("a", Text("b")), ("a", 5), (b"a", "b")]
)
def test_what_is_not_quite_text_is_left_to_werkzeug(key: t.Any, value: t.Any) -> None:
    ours, theirs = Response("x"), WerkzeugResponse("x")
    results = [outcome(response.set_cookie, key, value) for response in (ours, theirs)]
    assert results[0] == results[1]
    assert ours.headers.getlist("Set-Cookie") == theirs.headers.getlist("Set-Cookie")


def test_a_cookie_over_the_applications_limit_is_warned_about() -> None:
    app = Flask(__name__)
    app.config["MAX_COOKIE_SIZE"] = 20
    with app.app_context(), pytest.warns(UserWarning, match="'a' cookie is too large"):
        Response("x").set_cookie("a", "b" * 20)


# -- those of a request ----------------------------------------------------------------------


def scope_with(*headers: tuple[bytes, bytes]) -> dict[str, t.Any]:
    return {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": headers}


@given(st.lists(st.tuples(st.sampled_from([b"cookie", b"Cookie", b"cookies", b"x"]), st.binary())))
def test_a_scopes_cookies_are_those_of_its_headers(headers: list[tuple[bytes, bytes]]) -> None:
    at_once = Request.from_scope(scope_with(*headers))
    by_headers = Request.from_scope(scope_with(*headers))
    assert by_headers.headers is by_headers.headers
    assert at_once.cookies == by_headers.cookies
    assert at_once.cookies is at_once.cookies


def test_headers_and_cookies_can_be_replaced() -> None:
    request = Request.from_scope(scope_with((b"cookie", b"a=b")))
    request.headers = Headers({"Cookie": "c=d"})
    assert request.cookies.to_dict() == {"c": "d"}
    request.cookies = ImmutableMultiDict({"e": "f"})
    assert request.cookies.to_dict() == {"e": "f"}


def test_a_request_class_with_headers_of_its_own_has_their_cookies() -> None:
    class Replaced(Request):
        @property
        def headers(self) -> t.Any:
            return Headers({"Cookie": "c=d"})

    assert Replaced.from_scope(scope_with((b"cookie", b"a=b"))).cookies.to_dict() == {"c": "d"}


# -- on the wire -----------------------------------------------------------------------------


@given(st.text(SPECIAL + "_.-") | st.just("a=b; Path=/"))
@example("a=b ")
@example("=b")
@example("a")
def test_a_plain_cookie_is_encoded_as_any_header(value: str) -> None:
    def long_way() -> tuple[bytes, bytes]:
        name, cleaned = wire.clean_header(("Set-Cookie", value))
        return name.lower().encode(), cleaned.encode("latin-1")

    assert outcome(wire.encode_header, ("Set-Cookie", value)) == outcome(long_way)
