"""Which threads a run has left in this process, and what they are doing."""

from __future__ import annotations

import sys
import threading
import time
from types import FrameType

#: How many functions are named of what a thread is in.
DEEP = 4


def wait_for_threads(seconds: float) -> list[str]:
    """Wait until no thread but the calling one is alive, at most *seconds* for all of them.

    :returns: the threads that are, each with its name and the functions it is in, innermost first.
    """
    deadline = time.monotonic() + seconds
    while others := other_threads():
        # One at a time, since a thread that ends may have begun another one.
        others[0].join(max(0.0, deadline - time.monotonic()))
        if time.monotonic() >= deadline:
            break
    return describe_threads()


def other_threads() -> list[threading.Thread]:
    """List all threads but the calling one."""
    return [thread for thread in threading.enumerate() if thread is not threading.current_thread()]


def describe_threads() -> list[str]:
    """Name all threads but the calling one, each with the functions it is in, innermost first."""
    frames = sys._current_frames()
    return [f"{one.name}: {_inside(frames.get(one.ident or 0))}" for one in other_threads()]


def _inside(frame: FrameType | None) -> str:
    places = []
    while frame is not None and len(places) < DEEP:
        code = frame.f_code
        file = code.co_filename.rpartition("/")[2]
        places.append(f"{code.co_qualname} ({file}:{frame.f_lineno})")
        frame = frame.f_back
    return " < ".join(places) or "nothing"
