"""What something costs in processor time, and how the costs grow with its input."""

from __future__ import annotations

import gc
import time
import typing as t

#: How often it is measured; the best counts.
ATTEMPTS = 4
#: How much more eight times the input may cost.
GROWTH = 12.0
#: Seconds below which a cost is too small to compare.
NOTHING = 0.002
#: How much more than the control a call may suffer from a load, since it has more in its caches.
SLACK = 1.5
#: Seconds that the control takes on a core with nothing else to do.
_CONTROL = 0.004


class Cost(t.NamedTuple):
    """What a call has cost, and how much the control took right before it, of what it takes."""

    seconds: float
    slowness: float = 1.0

    def figure(self, times: float = 1.0) -> str:
        """Say what was measured, in milliseconds.

        :param times: how often the call is to be made for what the figure is about.
        """
        return f"{self.seconds * times * 1000:.1f} ms (control {self.slowness:.1f}x)"


def cost(run: t.Callable[[], t.Any], attempts: int = ATTEMPTS) -> float:
    """Give the processor time of this process that a call takes at best, in seconds."""
    return min(_once(run) for _ in range(attempts))


def check_growth(run: t.Callable[[int], t.Any], *sizes: int) -> list[float]:
    """Assert that the cost of a call grows no faster than its size.

    :param sizes: each eight times the one before.
    :returns: the costs in seconds.
    """
    for _ in range(ATTEMPTS):
        costs = [cost(lambda size=size: run(size), 2) for size in sizes]  # type: ignore[misc]
        pairs = zip(costs, costs[1:], strict=False)
        if all(more <= GROWTH * max(less, NOTHING) for less, more in pairs):
            return costs
    raise AssertionError(f"Sizes {sizes} cost {[round(cost, 4) for cost in costs]} seconds.")


def check_cost(run: t.Callable[[], t.Any], bound: float) -> Cost:
    """Assert that a call costs no more than *bound* seconds of a core with nothing else to do.

    Processor time goes up where others want the same core; a control tells by how much.

    :returns: the cost, whose figure tells of the control.
    """
    for _ in range(3 * ATTEMPTS):
        # One right after the other, so that both meet with the same load.
        slowness = _once(_control) / _CONTROL
        found = Cost(_once(run), slowness)
        allowed = bound * max(1.0, SLACK * slowness)
        if found.seconds <= allowed:
            return found
    raise AssertionError(f"It cost {found.figure()}, allowed {allowed * 1000:.1f} ms")


def check_factor(
    run: t.Callable[[], t.Any], control: t.Callable[[], t.Any], factor: float
) -> tuple[float, float]:
    """Assert that a call costs no more than *factor* times what another one does.

    The garbage collector is off meanwhile: how often it runs depends on what else there is.

    :returns: the costs of both in seconds.
    """
    gc.disable()
    try:
        for _ in range(ATTEMPTS):
            # One right after the other, so that both meet with the same load.
            usual = cost(control, 2)
            seconds = cost(run, 2)
            if seconds <= factor * max(usual, NOTHING):
                return seconds, usual
    finally:
        gc.enable()
    raise AssertionError(f"It cost {seconds:.4f} seconds, more than {factor:g} times {usual:.4f}")


def _control() -> list[str]:
    return [str(number) for number in range(50_000)]


def _once(run: t.Callable[[], t.Any]) -> float:
    began = time.process_time()
    run()
    return time.process_time() - began
