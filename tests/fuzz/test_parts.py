"""The parts of a request that a client may fill with anything, each for itself."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given

from . import strategies
from .asked import Asked
from .differential import Differential
from .differential import in_bulk
from .strategies import batches
from .strategies import few
from .strategies import REQUESTS
from .strategies import SEED

pytestmark = [
    pytest.mark.case("A47"),
    pytest.mark.filterwarnings("ignore:Current server name:UserWarning"),
]


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


#: Where large bodies go ways of their own, the bounds of which are made small here.
BOUNDS = {
    "asyncflask.wrappers.PARSE_OFF_LOOP": 10,
    "asyncflask.wrappers.IN_MEMORY": 20,
    "asyncflask.adapters.body.IN_MEMORY": 20,
    "asyncflask.adapters.body.PREFETCH": 5,
    "asyncflask.adapters.intake.PREFETCH": 5,
    "asyncflask.json.pieces.LONG": 10,
    "asyncflask.json.pieces._PIECE": 6,
    "asyncflask.json.pieces._SHORT": 2,
}


@pytest.mark.parametrize("make", [strategies.json_request, strategies.multipart_request])
def test_bodies_that_count_as_large(
    differential: Differential,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[Random], Asked],
) -> None:
    for name, bound in BOUNDS.items():
        monkeypatch.setattr(name, bound)
    for asked in in_bulk(SEED, 200 + REQUESTS // 20, make):
        # Who looks twice sees more of a large body than in Flask.
        once = re.sub(rb"-[^?]*", b"", asked.target, count=1)
        differential.check([dataclasses.replace(asked, target=once)])


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
