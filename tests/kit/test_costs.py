"""A cost is held against what a control costs in the same moment, and the figure says so."""

from __future__ import annotations

import typing as t

import pytest

from tests.kit import costs
from tests.kit.costs import check_cost
from tests.kit.costs import Cost


class Clock:
    """Lets a call and the control take as long as it is told."""

    def __init__(self, call: float, control: float) -> None:
        self._taken = {False: call, True: control}

    def once(self, run: t.Callable[[], t.Any]) -> float:
        return self._taken[run is costs._control]


@pytest.mark.parametrize("slowness", [0.5, 1.0, 3.0])
def test_a_cost_tells_how_slow_the_control_was(
    monkeypatch: pytest.MonkeyPatch, slowness: float
) -> None:
    monkeypatch.setattr(costs, "_once", Clock(0.002, slowness * costs._CONTROL).once)
    found = check_cost(list, 0.01)
    assert found == Cost(0.002, pytest.approx(slowness))
    assert found.figure(4) == f"8.0 ms (control {slowness:.1f}x)"


@pytest.mark.parametrize(("slowness", "allowed"), [(0.5, 10), (1.0, 15), (3.0, 45)])
def test_more_is_allowed_where_the_control_is_slow_and_the_error_says_how_much(
    monkeypatch: pytest.MonkeyPatch, slowness: float, allowed: int
) -> None:
    control = slowness * costs._CONTROL
    monkeypatch.setattr(costs, "_once", Clock(allowed / 1000 - 0.0001, control).once)
    assert check_cost(list, 0.01).seconds < allowed / 1000
    monkeypatch.setattr(costs, "_once", Clock(allowed / 1000 + 0.0001, control).once)
    with pytest.raises(AssertionError, match=rf"control {slowness}x\), allowed {allowed}.0 ms"):
        check_cost(list, 0.01)
