"""Compares a run with the baseline and the accepted differences, and prints the result."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .runner import Run

KNOWN_FILE = Path(__file__).with_name("known.toml")
#: The share of the baseline that has to pass.
THRESHOLD = 0.97


@dataclass(frozen=True)
class Difference:
    """A test of Flask's that asyncflask does not pass, on purpose."""

    test: str
    transports: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Verdict:
    """How one run compares with the baseline."""

    passed: frozenset[str]
    #: Failing tests that are listed, with the reason.
    accepted: Mapping[str, str]
    failed: tuple[str, ...]
    #: Listed tests that pass, or that are no tests of the baseline.
    stale: tuple[str, ...]
    share: float

    @property
    def good(self) -> bool:
        return not self.failed and not self.stale and self.share >= THRESHOLD


def read_known(path: Path = KNOWN_FILE) -> list[Difference]:
    """Read the accepted differences.

    :raises ValueError: an entry has no reason, or a test is listed twice.
    """
    entries = tomllib.loads(path.read_text(encoding="utf-8")).get("difference", [])
    known = [Difference(e["test"], tuple(e["transports"]), e["reason"].strip()) for e in entries]
    for difference in known:
        if not difference.reason:
            raise ValueError(f"{path.name} gives no reason for {difference.test!r}")
    twice = [test for test, count in Counter(d.test for d in known).items() if count > 1]
    if twice:
        raise ValueError(f"{path.name} lists {twice[0]!r} more than once")
    return known


def judge(
    baseline: Iterable[str],
    passed: Iterable[str],
    known: Iterable[Difference],
    transport: str,
    *,
    whole_suite: bool = True,
) -> Verdict:
    """Compare the tests that passed with those that should have.

    :param whole_suite: false if only a part was run, where a listed test may be missing.
    """
    expected = set(baseline)
    good = expected & set(passed)
    reasons = {d.test: d.reason for d in known if transport in d.transports}
    return Verdict(
        passed=frozenset(good),
        accepted={test: reasons[test] for test in sorted(expected - good) if test in reasons},
        failed=tuple(sorted(expected - good - reasons.keys())),
        stale=tuple(
            test
            for test in sorted(reasons)
            if test in good or (whole_suite and test not in expected)
        ),
        share=len(good) / len(expected) if expected else 0.0,
    )


def print_table(baseline: Iterable[str], verdicts: Mapping[str, Verdict]) -> None:
    """Print, per test module, how many tests of the baseline passed on each transport."""
    wanted = _per_module(baseline)
    columns = {name: _per_module(verdict.passed) for name, verdict in verdicts.items()}
    width = max(map(len, wanted), default=0) + 2
    print(f"\n{'module':{width}}{'flask':>8}" + "".join(f"{name:>8}" for name in columns))
    for module, count in sorted(wanted.items()):
        cells = "".join(f"{column[module]:>8}" for column in columns.values())
        print(f"{module:{width}}{count:>8}{cells}")
    totals = "".join(f"{len(verdict.passed):>8}" for verdict in verdicts.values())
    shares = "".join(f"{verdict.share:>8.1%}" for verdict in verdicts.values())
    print(f"{'all':{width}}{sum(wanted.values()):>8}{totals}\n{'':{width}}{'':>8}{shares}")


def print_failures(transport: str, verdict: Verdict, run: Run) -> None:
    """Print what did not pass and what does not belong on the list."""
    for problem in run.problems:
        print(f"{transport}: {problem}")
    for test in verdict.failed:
        outcome = run.outcomes.get(test, "not run")
        print(f"{transport}: {test}: {outcome}: {run.details.get(test, '')}".rstrip(": "))
    for test, reason in verdict.accepted.items():
        print(f"{transport}: {test}: accepted: {reason}")
    for test in verdict.stale:
        print(f"{transport}: {test}: listed in {KNOWN_FILE.name}, but it passes or does not exist")
    if verdict.share < THRESHOLD:
        print(f"{transport}: {verdict.share:.1%} of the baseline pass, {THRESHOLD:.0%} have to")


def _per_module(tests: Iterable[str]) -> Counter[str]:
    return Counter(test.partition("::")[0].rpartition("/")[2] for test in tests)
