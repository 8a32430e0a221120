"""``python -m tests.compat``: exit code 1 if a test fails that is not in ``known.toml``.

Flask's own suite and those of its examples run on Flask, on asyncflask, once per transport of the
test client, and on Flask as it is mounted in an ASGI server.
"""

from __future__ import annotations

import argparse
import sys

from .environment import CACHE
from .environment import exclusive
from .environment import FLASK_VERSION
from .environment import prepare
from .environment import ROOT
from .environment import Suite
from .report import Difference
from .report import judge
from .report import print_failures
from .report import print_table
from .report import read_known
from .runner import run_suite

#: How many tests of Flask's pass on Flask itself; one fails with Werkzeug 3.1.4 and newer.
BASELINE = 489
#: How many tests each of its examples has.
EXAMPLES = {"tutorial": 24, "javascript": 8}
TRANSPORTS = ("wsgi", "asgi", "mounted")


def main(arguments: list[str] | None = None) -> int:
    """Run the suites on Flask and on asyncflask and compare."""
    options = _parse(arguments)
    with exclusive():
        suite = prepare()
        good = [_compare(suite, BASELINE, read_known(), options)]
        if not options.keyword:
            good += [
                _compare(suite.example(name), count, [], options)
                for name, count in EXAMPLES.items()
            ]
    print(f"logs are in {CACHE.relative_to(ROOT)}")
    return int(not all(good))


def _compare(
    suite: Suite, count: int, known: list[Difference], options: argparse.Namespace
) -> bool:
    selection = ["-k", options.keyword] if options.keyword else []
    print(f"\nrunning the tests of {suite.name} on Flask {FLASK_VERSION} itself", flush=True)
    reference = run_suite(suite, "flask", selection)
    baseline = reference.passed
    if reference.problems or not baseline or not (selection or len(baseline) >= count):
        print(f"{len(baseline)} tests pass on Flask itself, expected {count}: cannot compare")
        print("\n".join([*reference.problems, f"the log is {reference.log}"]))
        return False

    runs = {}
    for transport in options.transport or TRANSPORTS:
        print(f"running them with transport {transport!r}", flush=True)
        runs[transport] = run_suite(suite, transport, selection)
    verdicts = {
        transport: judge(baseline, run.passed, known, transport, whole_suite=not selection)
        for transport, run in runs.items()
    }
    print_table(baseline, verdicts)
    for transport, run in runs.items():
        print_failures(transport, verdicts[transport], run)
    return not any(run.problems or not verdicts[name].good for name, run in runs.items())


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument(
        "--transport",
        action="append",
        choices=(*TRANSPORTS, "flask"),
        help="only this one; 'mounted' is Flask itself behind AsgiToWsgi(WsgiToAsgi(app)),"
        " 'flask' compares Flask with itself, to check this program",
    )
    parser.add_argument("-k", dest="keyword", help="only tests that match, as for pytest")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
