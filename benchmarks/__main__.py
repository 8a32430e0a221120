"""Measures asyncflask beside other frameworks.

For the loop of changing and measuring, say what is of interest, as in
``make bench ARGS="--level inprocess --only hello,json --against Starlette"``.
"""

from __future__ import annotations

import argparse
import signal
import sys
import typing as t
from collections.abc import Sequence
from pathlib import Path

from . import contenders
from . import http
from . import inprocess
from . import machine
from . import memory
from . import results
from . import startup
from . import workloads
from . import wrk
from .contenders import Contender
from .contenders import CONTENDERS
from .figures import Figures
from .results import Results
from .tables import as_text
from .tables import target_table
from .tables import workload_table
from .targets import judge
from .targets import TARGETS
from .workloads import Workload
from .workloads import WORKLOADS

T = t.TypeVar("T")
LEVELS = ("inprocess", "http", "startup", "memory")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it; save the results of a run that has everything."""
    options = parse(arguments)
    if not options.tables:
        # Unlike the signal itself, an exception lets the servers be stopped.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        figures = measure(options)
        print_figures(figures)
        everything = (LEVELS, WORKLOADS, CONTENDERS)
        if options.save or (options.level, options.only, options.against) == everything:
            client = "wrk" if wrk.find() else "the client in Python"
            results.save(Results(machine.describe(quick=options.quick, client=client), figures))
    if options.tables:
        page = options.tables.read_text("utf-8")
        text = results.write_markdown(results.load())
        options.tables.write_text(results.put_between_marks(page, text), "utf-8")


def measure(options: argparse.Namespace) -> Figures:
    """Measure what is asked for."""
    figures, quick = Figures(), options.quick
    if "inprocess" in options.level:
        rounds = inprocess.QUICK_ROUNDS if quick else inprocess.ROUNDS
        turn = inprocess.QUICK_TURN if quick else inprocess.TURN
        inprocess.measure_workloads(options.only, options.against, rounds, turn, figures)
    if "http" in options.level:
        rounds = http.QUICK_ROUNDS if quick else http.ROUNDS
        turn = http.QUICK_TURN if quick else http.TURN
        http.measure_workloads(options.only, options.against, rounds, turn, figures, shared=quick)
    if "startup" in options.level:
        rounds = startup.QUICK_ROUNDS if quick else startup.ROUNDS
        startup.measure_starts(options.against, rounds, figures)
    if "memory" in options.level:
        memory.measure_processes(options.against, figures, quick=quick)
    return figures


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds, so more noise")
    parser.add_argument("--level", type=levels, default=LEVELS, help=f"some of {', '.join(LEVELS)}")
    parser.add_argument(
        "--only",
        metavar="WORKLOADS",
        type=chosen_workloads,
        default=WORKLOADS,
        help=f"some of {', '.join(workloads.BY_NAME)}",
    )
    parser.add_argument(
        "--against",
        metavar="FRAMEWORKS",
        type=chosen_contenders,
        default=CONTENDERS,
        help="asyncflask and some of "
        + ", ".join(repr(name) for name in contenders.BY_NAME if "asyncflask" not in name),
    )
    parser.add_argument(
        "--save", action="store_true", help="save the results, though they are not of everything"
    )
    parser.add_argument(
        "--tables",
        metavar="PAGE",
        type=Path,
        help="measure nothing; write the saved results between the marks of a page",
    )
    return parser.parse_args(arguments)


def levels(text: str) -> list[str]:
    """Split a list of levels."""
    return [pick({level: level for level in LEVELS}, name) for name in text.split(",")]


def chosen_workloads(text: str) -> list[Workload]:
    """Split a list of workloads."""
    return [pick(workloads.BY_NAME, name) for name in text.split(",")]


def chosen_contenders(text: str) -> list[Contender]:
    """Split a list of frameworks; those of asyncflask are there without being named."""
    named = [pick(contenders.BY_NAME, name) for name in text.split(";" if ";" in text else ",")]
    return [one for one in CONTENDERS if one in named or one.name.startswith("asyncflask")]


def pick(choices: dict[str, T], name: str) -> T:
    """Find a choice by name."""
    if name.strip() not in choices:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(choices)}")
    return choices[name.strip()]


def print_figures(figures: Figures) -> None:
    """Print a table for each workload, and the targets."""
    for level in LEVELS:
        for name in figures.workloads(level):
            title = f"{level}: {results.title_of(level, name)}"
            print(as_text(workload_table(figures, level, name, title)), end="\n\n")
    print("median [quartiles]; calls: Python functions called for one request")
    verdicts = [verdict for verdict in (judge(each, figures) for each in TARGETS)]
    known = [verdict for verdict in verdicts if verdict.met is not None]
    if known:
        print("\n" + as_text(target_table(known)))


if __name__ == "__main__":
    main()
