"""Which handler answers which error: pure look-ups, without an application."""

from __future__ import annotations

import typing as t

import pytest
from werkzeug.exceptions import BadRequestKeyError
from werkzeug.exceptions import Forbidden
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import InternalServerError
from werkzeug.exceptions import NotFound

from asyncflask.pipeline.errors import ErrorHandlerSpec
from asyncflask.pipeline.errors import find_handler


class Special(Forbidden):
    pass


class NoCode(HTTPException):
    pass


def handler(name: str) -> t.Callable[[t.Any], str]:
    return lambda error: name


def found(spec: ErrorHandlerSpec, error: Exception, *blueprints: str) -> t.Any:
    answer = find_handler(spec, blueprints, error)
    return None if answer is None else answer(error)


def test_nothing_fits_an_empty_registry() -> None:
    assert found({}, NotFound()) is None
    assert found({None: {}}, ValueError(), "bp") is None


def test_a_code_comes_before_a_class_and_the_blueprint_before_the_app() -> None:
    spec: ErrorHandlerSpec = {
        "bp": {403: {Forbidden: handler("bp code")}, None: {Exception: handler("bp class")}},
        None: {403: {Forbidden: handler("app code")}, None: {Exception: handler("app class")}},
    }
    order = []
    for scope, code in (("bp", 403), (None, 403), ("bp", None), (None, None)):
        order.append(found(spec, Forbidden(), "bp"))
        del spec[scope][code]
    assert order == ["bp code", "app code", "bp class", "app class"]
    assert found(spec, Forbidden(), "bp") is None


def test_the_innermost_blueprint_comes_first() -> None:
    spec: ErrorHandlerSpec = {
        "outer": {None: {ValueError: handler("outer")}},
        "outer.inner": {None: {Exception: handler("inner")}},
    }
    assert found(spec, ValueError(), "outer.inner", "outer") == "inner"
    assert found(spec, ValueError(), "outer") == "outer"
    assert found(spec, ValueError()) is None


def test_the_closest_class_wins_within_a_scope() -> None:
    spec: ErrorHandlerSpec = {
        None: {None: {OSError: handler("os"), ConnectionError: handler("connection")}}
    }
    assert found(spec, ConnectionRefusedError()) == "connection"
    assert found(spec, FileNotFoundError()) == "os"
    assert found(spec, KeyError()) is None


@pytest.mark.parametrize(
    ("error", "expected"),
    [(Special(), "special"), (Forbidden(), "forbidden"), (NotFound(), "http"), (NoCode(), "http")],
)
def test_a_subclass_of_an_http_error_has_its_own_handler(error: Exception, expected: str) -> None:
    spec: ErrorHandlerSpec = {
        None: {
            403: {Special: handler("special"), Forbidden: handler("forbidden")},
            None: {HTTPException: handler("http")},
        }
    }
    assert found(spec, error) == expected


def test_the_code_of_an_instance_does_not_count() -> None:
    spec: ErrorHandlerSpec = {None: {404: {NotFound: handler("not found")}}}
    error = HTTPException()
    error.code = 404
    assert found(spec, error) is None


def test_a_handler_for_500_does_not_get_other_errors_by_itself() -> None:
    spec: ErrorHandlerSpec = {None: {500: {InternalServerError: handler("500")}}}
    assert found(spec, ZeroDivisionError()) is None
    assert found(spec, InternalServerError()) == "500"


def test_a_key_error_of_the_request_is_answered_as_a_bad_request() -> None:
    spec: ErrorHandlerSpec = {
        None: {400: {BadRequestKeyError: handler("key")}, None: {KeyError: handler("class")}}
    }
    assert found(spec, BadRequestKeyError()) == "key"
    del spec[None][400]
    assert found(spec, BadRequestKeyError()) == "class"


def test_the_look_up_leaves_the_registry_as_it_was() -> None:
    spec: ErrorHandlerSpec = {None: {404: {NotFound: handler("x")}}}
    found(spec, ValueError(), "a", "b")
    assert list(spec) == [None]
    assert list(spec[None]) == [404]
