"""A run of the lengths that the suite has can fail, and fails for nothing but what is left."""

from __future__ import annotations

import threading
import typing as t

import pytest

from tests.kit.left import describe_threads
from tests.kit.left import wait_for_threads
from tests.kit.soak import Report
from tests.kit.soak import SAMPLES
from tests.kit.soak import SHORT_RUNS
from tests.kit.soak import SHORT_SOCKETS

PAGE = 4096
COUNTS = [*SHORT_RUNS.values(), SHORT_SOCKETS, 1_000_000]
Held: t.TypeAlias = t.Callable[[int], float]


def report(count: int, memory: Held, blocks: Held = lambda number: 0) -> Report:
    """Make the report of a run, from what is held after a number of requests."""
    found = Report(count, seconds=1.0)
    for number in range(count // SAMPLES, count + 1, count // SAMPLES):
        found.at.append(number)
        found.memory.append(40 * 2**20 + int(memory(number)) // PAGE * PAGE)
        found.blocks.append(300_000 + int(blocks(number)))
    return found


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("leak", [4, 8, 16, 100])
def test_a_leak_of_a_few_bytes_per_request_fails(count: int, leak: int) -> None:
    with pytest.raises(AssertionError, match=rf"\+{leak}\.\d+ KB|\+{leak - 1}\.9\d KB"):
        report(count, lambda number: leak * number).check()


@pytest.mark.parametrize("count", COUNTS)
def test_an_object_left_by_every_fiftieth_request_fails(count: int) -> None:
    with pytest.raises(AssertionError, match=r"\+20.0 objects"):
        report(count, lambda number: 0, lambda number: number // 50).check()


#: What was seen to come and go in runs that leave nothing behind.
HARMLESS: dict[str, Held] = {
    "nothing": lambda part: 0,
    "a warm-up": lambda part: 5_000_000 * min(part, 0.4),
    "a step": lambda part: 60_000 * (part > 0.5),
    "several steps": lambda part: 30_000 * (part > 0.5) + 30_000 * (part > 0.9),
    "a warm-up that is late": lambda part: 100_000 * min(part, 0.75),
    "a moment": lambda part: 400_000 * (0.6 < part < 0.61),
    "less and less": lambda part: -400_000 * part,
}


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("kind", HARMLESS)
def test_what_does_not_go_on_is_no_leak(count: int, kind: str) -> None:
    figure = report(count, lambda number: HARMLESS[kind](number / count)).check()
    assert figure.startswith(f"{count:,} requests")


def test_a_leak_of_much_at_once_fails_though_it_does_not_go_on() -> None:
    with pytest.raises(AssertionError, match="KB"):
        report(40_000, lambda number: 200_000 * (number > 25_000)).check()


@pytest.mark.parametrize("what", ["tasks", "threads", "files", "garbage"])
def test_what_is_left_fails_and_threads_are_named(what: str) -> None:
    found = report(40_000, lambda number: 0)
    setattr(found, what, 1)
    found.left = ["worker: get (queue.py:1)"]
    with pytest.raises(AssertionError, match=r"worker: get \(queue.py:1\)"):
        found.check()


def test_a_thread_that_is_left_is_named_with_what_it_is_in() -> None:
    done = threading.Event()

    def hang() -> None:
        done.wait()

    thread = threading.Thread(target=hang, name="hanging")
    thread.start()
    try:
        left = wait_for_threads(0.01)
    finally:
        done.set()
        thread.join()
    (found,) = [text for text in left if text.startswith("hanging: ")]
    assert ".hang (test_soak.py:" in found
    assert not any(text.startswith("hanging") for text in describe_threads())


def test_threads_that_end_are_waited_for_with_those_that_they_begin() -> None:
    begun: list[threading.Thread] = []

    def first() -> None:
        begun.append(threading.Thread(target=threading.Event().wait, args=(0.05,), name="second"))
        begun[0].start()

    threading.Thread(target=first, name="first").start()
    left = wait_for_threads(1.0)
    assert not any(text.startswith(("first", "second")) for text in left)
    assert not begun[0].is_alive()
