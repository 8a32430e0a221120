"""Which test is for which case of the reliability list, and what was measured.

A test says with ``@pytest.mark.case("A8")`` what it is for, and notes with the fixture ``figure``
what it has seen. ``--reliability-table=FILE`` writes the table in that file anew.
"""

from __future__ import annotations

import tomllib
import typing as t
from collections import defaultdict
from pathlib import Path

import pytest

from .lint import Lint
from .pages import replace_table

#: The cases by their ids, and what each is about.
CASES: dict[str, str] = tomllib.loads(
    Path(__file__).with_name("cases.toml").read_text(encoding="utf-8")
)["cases"]

Figure: t.TypeAlias = t.Callable[[str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that has the table written."""
    parser.addoption("--reliability-table", metavar="FILE", help="write the table of cases there")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known, and the writer of the table where one is wanted."""
    config.addinivalue_line("markers", "case(*ids): the cases of docs/reliability.md it is for")
    path = config.getoption("--reliability-table")
    if path:
        config.pluginmanager.register(_Table(Path(path)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Take note of each test's cases, and refuse those that do not exist."""
    for item in items:
        for marker in item.iter_markers("case"):
            unknown = set(marker.args) - CASES.keys()
            if unknown:
                raise pytest.UsageError(f"{item.nodeid} is for unknown cases: {unknown}")
            item.user_properties += [("case", case) for case in marker.args]


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Figure:
    """Note what was measured: ``figure("A8", "p99 12 ms")``, or without a case for all of them."""

    def note(*what: str) -> None:
        request.node.user_properties.append(("figure", what))

    return note


class _Table:
    """Gathers what the tests report, and writes it into a page between two marks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._tests: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        self._figures: dict[str, list[str]] = defaultdict(list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test into the table, if it passed."""
        if report.when != "call" or not report.passed:
            return
        cases = [value for name, value in report.user_properties if name == "case"]
        function = report.nodeid.partition("[")[0]
        for case in dict.fromkeys(cases):
            self._tests[case][function] += 1
        for name, what in report.user_properties:
            if name == "figure":
                *only, text = t.cast("tuple[str, ...]", what)
                for case in only or cases:
                    self._figures[case].append(text)

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        self._figures["A45"].append(f"{Lint.checked:,} requests in process without a violation")
        rows = [self._row(case) for case in CASES]
        head = ["| case | what | tests | measured |", "|---|---|---|---|"]
        replace_table(self._path, [*head, *rows])

    def _row(self, case: str) -> str:
        by_file: dict[str, int] = defaultdict(int)
        for function, count in self._tests[case].items():
            by_file[function.partition("::")[0].removeprefix("tests/")] += count
        tests = "; ".join(f"`{file}` ({count})" for file, count in sorted(by_file.items()))
        figures = "; ".join(dict.fromkeys(self._figures[case]))
        return f"| {case} | {CASES[case]} | {tests} | {figures} |"
