"""How long the event loop of a test is kept from running while something else happens."""

from __future__ import annotations

import asyncio
import contextlib
import time
import typing as t

#: Seconds between two looks at the clock.
PAUSE = 0.001
#: How much longer than that of the control a stall may be where the machine is slow.
SLACK = 3.0
#: How often it is tried: a machine with other work to do stalls the best of loops at times.
ATTEMPTS = 4


class Stalls:
    """What was seen, complete when the block has ended."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Look at the clock again and again."""
        last = time.perf_counter()
        while True:
            await asyncio.sleep(PAUSE)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


@contextlib.asynccontextmanager
async def watching() -> t.AsyncIterator[Stalls]:
    """Measure how long the running loop does not run at a time during the block."""
    stalls = Stalls()
    task = asyncio.ensure_future(stalls.watch())
    await asyncio.sleep(0)
    try:
        yield stalls
        await asyncio.sleep(2 * PAUSE)
    finally:
        task.cancel()


def compute() -> None:
    """Compute in plain Python for a tenth of a second: the control of what makes few objects."""
    until = time.perf_counter() + 0.1
    while time.perf_counter() < until:
        sum(range(100))


async def check_stalls(
    run: t.Callable[[], t.Awaitable[t.Any]],
    bound: float,
    control: t.Callable[[], t.Any] = compute,
    slack: float = SLACK,
) -> str:
    """Assert that the loop is never kept from running for longer than *bound* seconds.

    :param control: is called on a thread; what it makes the loop wait is Python's doing.
    :param slack: how much longer than that a stall may be.
    :returns: the figure, for the table of measured ones.
    """
    for _ in range(ATTEMPTS):
        async with watching() as usual:
            await asyncio.to_thread(control)
        async with watching() as stalls:
            await run()
        figure = f"stall {stalls.longest * 1000:.0f} ms (control {usual.longest * 1000:.0f} ms)"
        if stalls.longest <= max(bound, slack * usual.longest):
            return figure
    raise AssertionError(f"{figure}, allowed {bound * 1000:.0f} ms")
