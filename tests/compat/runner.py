"""Runs the suite in a process of its own and reads what the plugin noted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path

from .environment import CACHE
from .environment import ROOT
from .environment import Suite

TEST_TIMEOUT = 20
RUN_TIMEOUT = 900
#: A crash ends the process, and the run goes on behind the test that caused it.
MAX_CRASHES = 10


@dataclass
class Run:
    """What one run of the suite gave."""

    log: Path
    outcomes: dict[str, str] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    #: Things that must not happen at all: crashes, hangs, modules that did not load.
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> set[str]:
        return {test for test, outcome in self.outcomes.items() if outcome == "passed"}


def run_suite(suite: Suite, implementation: str, selection: Sequence[str] = ()) -> Run:
    """Run the suite on one implementation.

    :param implementation: ``"flask"`` for the real one, ``"mounted"`` for the real one behind
        the bridges, else the transport of asyncflask's client.
    :param selection: further arguments for pytest.
    """
    run = Run(log=CACHE / f"{suite.name}-{implementation}.log")
    results = run.log.with_suffix(".jsonl")
    results.unlink(missing_ok=True)
    run.log.unlink(missing_ok=True)
    for _ in range(MAX_CRASHES):
        code = _run_pytest(suite, implementation, selection, results, run.log)
        if _read(results, run):
            break
        run.problems.append(_describe_end(code, run))
        if not results.is_file():
            break
    if code < 0:
        run.problems.append("the process did not end by itself and was killed")
    return run


def _run_pytest(
    suite: Suite, implementation: str, selection: Sequence[str], results: Path, log: Path
) -> int:
    # The console script, unlike "python -m pytest", does not put the folder with
    # Flask's "tests" in front of ours on the path.
    command: list[str | Path] = [suite.python.parent / "pytest", "-p", "tests.compat.plugin"]
    command += ["-p", "no:cacheprovider", "-p", "no:anyio", "--continue-on-collection-errors"]
    environment = os.environ | {
        # The examples are not installed.
        "PYTHONPATH": os.pathsep.join([os.fspath(ROOT), os.fspath(suite.folder)]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "COMPAT_IMPLEMENTATION": implementation,
        "COMPAT_RESULTS": os.fspath(results),
        "COMPAT_TIMEOUT": str(TEST_TIMEOUT),
    }
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*command, *selection],
            cwd=suite.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(RUN_TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.wait()


def _read(results: Path, run: Run) -> bool:
    """Take over what the plugin wrote.

    :returns: whether the run came to its end.
    """
    run.outcomes.clear()
    lines = results.read_text(encoding="utf-8").splitlines() if results.is_file() else []
    ended = False
    for record in map(json.loads, lines):
        if "start" in record:
            run.outcomes[record["start"]] = "crashed"
        elif "test" in record:
            # A failing setup or teardown counts more than a call that passed.
            if run.outcomes.get(record["test"]) in ("crashed", "passed"):
                run.outcomes[record["test"]] = record["outcome"]
                run.details[record["test"]] = record["detail"]
        elif "collect" in record:
            run.problems.append(f"{record['collect']} cannot be loaded: {record['detail']}")
        else:
            ended = True
            if record["foreign"]:
                run.problems.append(f"the real Flask was imported: {', '.join(record['foreign'])}")
    return ended


def _describe_end(code: int, run: Run) -> str:
    if not run.outcomes:
        return f"pytest ended with {code} before any test"
    return f"the process ended with {code} in {list(run.outcomes)[-1]}"
