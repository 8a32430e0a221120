"""How fast a server answers is judged leniently, but not in silence."""

from __future__ import annotations

import pytest

from tests.kit.pings import ATTEMPTS
from tests.kit.pings import check_repeated
from tests.kit.pings import Pings

SLOW = Pings([0.2] * 100, [0.01] * 100)
FAST = Pings([0.01] * 100, [0.01] * 100)


def test_an_attempt_that_passes_at_once_is_all_there_is_to_tell() -> None:
    assert check_repeated(0.05, lambda: FAST) == FAST.figure()


def test_a_later_attempt_tells_which_it_is_and_what_those_before_it_showed() -> None:
    attempts = iter([SLOW, SLOW, FAST])
    assert check_repeated(0.05, lambda: next(attempts)) == (
        f"{FAST.figure()} in attempt 3 of 3, before it"
        f" {SLOW.figure()}, allowed 50 ms and {SLOW.figure()}, allowed 50 ms"
    )


def test_what_is_always_slow_fails_with_all_that_was_seen() -> None:
    with pytest.raises(AssertionError) as caught:
        check_repeated(0.05, lambda: SLOW)
    assert str(caught.value).count(SLOW.figure()) == ATTEMPTS


def test_too_few_answers_are_no_proof() -> None:
    with pytest.raises(AssertionError, match="only 3 answers"):
        check_repeated(0.05, lambda: Pings([0.01] * 3))
