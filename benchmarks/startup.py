"""Measures the start of a process: the import of a framework, and its first request.

Run as a program it is such a process, for the framework it is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module

if __name__ == "__main__":
    # Nothing of ours is imported before this, so as not to do a part of the work beforehand.
    _start = time.perf_counter()
    for _module in sys.argv[2:]:
        import_module(_module)
    _imported = time.perf_counter() - _start

from .contenders import BY_NAME
from .contenders import Contender
from .contenders import contenders_of
from .figures import Figures
from .figures import Key
from .workloads import BY_NAME as WORKLOADS

LEVEL = "startup"
IMPORT = "import ms"
FIRST = "first request ms"
NAME = "start"

ROUNDS = 9
QUICK_ROUNDS = 2


def measure_starts(contenders: Sequence[Contender], rounds: int, figures: Figures) -> None:
    """Start a process of each framework, in turns."""
    rivals = [
        one
        for one in contenders_of(WORKLOADS["hello"], "inprocess", contenders)
        if one.imports or one.requires
    ]
    # An installed package is compiled once, not at each start.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    # In the round before the first they are.
    for number in range(-1, rounds):
        start = number % max(1, len(rivals))
        for contender in rivals[start:] + rivals[:start]:
            command = [
                sys.executable,
                "-m",
                "benchmarks.startup",
                contender.name,
                *(contender.imports or contender.requires),
            ]
            output = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=env).stdout
            for metric, value in json.loads(output).items() if number >= 0 else ():
                figures.add(Key(LEVEL, NAME, contender.name, metric), value)


def answer_first(name: str) -> float:
    """Make an application and one request.

    :returns: how many milliseconds that took.
    """
    import asyncio

    from .calling import CALLERS

    contender, workload = BY_NAME[name], WORKLOADS["hello"]
    contender.takes_part(workload, "inprocess")

    async def request() -> float:
        start = time.perf_counter()
        app = contender.make(workload)
        await CALLERS[contender.protocol](app, workload, "", None)(1)
        return (time.perf_counter() - start) * 1e3

    return asyncio.run(request())


if __name__ == "__main__":
    print(json.dumps({IMPORT: _imported * 1e3, FIRST: answer_first(sys.argv[1])}))
