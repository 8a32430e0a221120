"""``python -m tests.compat``: exit code 1 if a test fails that is not in ``known.toml``."""

from __future__ import annotations

import argparse
import sys

from .environment import CACHE
from .environment import exclusive
from .environment import FLASK_VERSION
from .environment import prepare
from .environment import ROOT
from .report import judge
from .report import print_failures
from .report import print_table
from .report import read_known
from .runner import run_suite

#: How many of its tests pass on Flask itself; one fails with Werkzeug 3.1.4 and newer.
BASELINE = 489


def main(arguments: list[str] | None = None) -> int:
    """Run the suite on Flask and on asyncflask and compare."""
    options = _parse(arguments)
    with exclusive():
        return _compare(options)


def _compare(options: argparse.Namespace) -> int:
    selection = ["-k", options.keyword] if options.keyword else []
    known = read_known()
    suite = prepare()

    print(f"running the tests of Flask {FLASK_VERSION} on Flask itself", flush=True)
    reference = run_suite(suite, "flask", selection)
    baseline = reference.passed
    if reference.problems or not baseline or not (selection or len(baseline) >= BASELINE):
        print(f"{len(baseline)} tests pass on Flask itself, expected {BASELINE}: cannot compare")
        print("\n".join([*reference.problems, f"the log is {reference.log}"]))
        return 1

    runs = {}
    for transport in options.transport or ["wsgi", "asgi"]:
        print(f"running them on asyncflask, transport {transport!r}", flush=True)
        runs[transport] = run_suite(suite, transport, selection)
    verdicts = {
        transport: judge(baseline, run.passed, known, transport, whole_suite=not selection)
        for transport, run in runs.items()
    }
    print_table(baseline, verdicts)
    for transport, run in runs.items():
        print_failures(transport, verdicts[transport], run)
    print(f"logs are in {CACHE.relative_to(ROOT)}")
    return int(any(run.problems or not verdicts[name].good for name, run in runs.items()))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument(
        "--transport",
        action="append",
        choices=("wsgi", "asgi", "flask"),
        help="only this one; 'flask' compares Flask with itself, to check this program",
    )
    parser.add_argument("-k", dest="keyword", help="only tests that match, as for pytest")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
