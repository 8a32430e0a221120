"""Measures asyncflask beside other frameworks.

For the loop of changing and measuring, say what is of interest, as in
``make bench ARGS="--level inprocess --only hello,json --against Starlette"``.
"""

from __future__ import annotations

import argparse
import typing as t
from collections.abc import Sequence

from . import contenders
from . import inprocess
from . import workloads
from .contenders import Contender
from .contenders import CONTENDERS
from .figures import Figures
from .tables import as_text
from .tables import target_table
from .tables import workload_table
from .targets import judge
from .targets import TARGETS
from .workloads import Workload
from .workloads import WORKLOADS

T = t.TypeVar("T")
LEVELS = ("inprocess",)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is asked for and print it."""
    options = parse(arguments)
    figures = Figures()
    if "inprocess" in options.level:
        rounds = inprocess.QUICK_ROUNDS if options.quick else inprocess.ROUNDS
        inprocess.measure_workloads(options.only, options.against, rounds, figures)
    print_figures(figures)


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
            title = f"{level}: {workloads.BY_NAME[name].title} ({name})"
            print(as_text(workload_table(figures, level, name, title)), end="\n\n")
    print("median [quartiles]; calls: Python functions called for one request")
    verdicts = [verdict for verdict in (judge(each, figures) for each in TARGETS)]
    known = [verdict for verdict in verdicts if verdict.met is not None]
    if known:
        print("\n" + as_text(target_table(known)))


if __name__ == "__main__":
    main()
