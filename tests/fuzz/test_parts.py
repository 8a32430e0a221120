"""The parts of a request that a client may fill with anything, each for itself."""

from __future__ import annotations

import pytest
from hypothesis import given

from . import strategies
from .asked import Asked
from .differential import Differential
from .strategies import batches
from .strategies import few

pytestmark = pytest.mark.case("A47")


@few
@given(batch=batches(strategies.form_request))
def test_urlencoded_forms(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.multipart_request))
def test_multipart_forms(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.json_request))
def test_json(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.query_request))
def test_queries(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.url_request))
def test_paths(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.cookie_request))
def test_cookies(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.file_request))
def test_ranges_and_conditions(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


@few
@given(batch=batches(strategies.header_request))
def test_headers_with_options(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)
