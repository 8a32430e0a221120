"""Generated requests get the same answers from asyncflask and from Flask."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from hypothesis import given

from tests.kit.cases import Figure

from .application import VARIANTS
from .asked import Asked
from .corpus import CORPUS
from .corpus import KNOWN
from .differential import Differential
from .differential import in_bulk
from .differential import TURNS
from .rules import RULES
from .strategies import any_request
from .strategies import batches
from .strategies import few
from .strategies import REQUESTS
from .strategies import SEED

pytestmark = [
    pytest.mark.case("A47"),
    pytest.mark.filterwarnings("ignore:Current server name:UserWarning"),
]

BATCHES = 10
SLICE = 100 * BATCHES


@pytest.mark.slow
@pytest.mark.parametrize("number", range(-(-REQUESTS // SLICE)))
def test_generated_requests_get_flasks_answers(
    differential: Differential, figure: Figure, number: int
) -> None:
    for turn in range(number * BATCHES, (number + 1) * BATCHES):
        # Most go to the usual settings, every fourth batch to all the settings in turn.
        variant = "plain" if turn % 4 else [*VARIANTS][turn // 4 % len(VARIANTS)]
        ways = TURNS[turn // 3 % len(TURNS)]
        differential.check(in_bulk(SEED * 1_000_003 + turn, 100, any_request), variant, ways)
    if (number + 1) * SLICE >= REQUESTS:
        figure(f"{differential.counts['requests']:,} requests, none answered in another way")


@pytest.mark.parametrize("asked", [pytest.param(one, id=name) for name, one in CORPUS.items()])
@pytest.mark.parametrize("variant", VARIANTS)
def test_what_was_found_before_gets_flasks_answer(
    differential: Differential, asked: Asked, variant: str
) -> None:
    differential.check([asked], variant)


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_every_known_difference_is_still_there(differential: Differential, rule: str) -> None:
    before = differential.counts[rule]
    for variant in ("plain", "named"):
        differential.check([KNOWN[rule]], variant)
    assert differential.counts[rule] > before


@few
@given(batch=batches(any_request))
def test_requests_that_hypothesis_makes(differential: Differential, batch: list[Asked]) -> None:
    differential.check(batch)


def test_a_difference_is_found_and_cut_down(tmp_path: Path) -> None:
    differential = Differential(tmp_path)

    def break_it(response: t.Any) -> t.Any:
        response.headers["X-Broken"] = "yes"
        return response

    differential.pairs["plain"].ours["asgi", "async"].after_request(break_it)
    headers = (("Host", "localhost"), ("Accept", "text/html"))
    with pytest.raises(AssertionError, match=r"over asgi, async.*\n.*headers=\(\)"):
        differential.check([Asked(target=b"/url?a=1", headers=headers)])
    differential.close()
