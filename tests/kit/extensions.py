"""Runs the tests of ``tests/extensions``, each file of them in a process of its own.

There ``flask`` means asyncflask, and what one extension patches reaches no other. Here every test
of a file counts four times, once per way: transport and colour of the views. The files are read,
not imported, to know what is in them; what they need is said in ``tests/extensions/conftest.py``.
``--extensions-table=FILE`` writes the table in that file anew.
"""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import json
import subprocess
import sys
import tempfile
import typing as t
from collections import defaultdict
from functools import cached_property
from pathlib import Path

import pytest

from .pages import replace_table

ROOT = Path(__file__).resolve().parents[2]
TRANSPORTS: t.Final = ("wsgi", "asgi")
COLOURS: t.Final = ("def", "async def")
#: The ways every test is run.
WAYS: t.Final = tuple(itertools.product(TRANSPORTS, COLOURS))
TIMEOUT: t.Final = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that has the table written."""
    parser.addoption("--extensions-table", metavar="FILE", help="write the table of extensions")


def pytest_configure(config: pytest.Config) -> None:
    """Register the writer of the table where one is wanted."""
    path = config.getoption("--extensions-table")
    if path:
        config.pluginmanager.register(_Table(Path(path)))


def id_of(transport: str, colour: str) -> str:
    """Give the part of a test's name that tells the way it is run."""
    return f"{transport}-{colour.replace(' ', '-')}"


class Outcome(t.TypedDict):
    """What a process says of one of its tests."""

    name: str
    failure: str


class ExtensionFile(pytest.File):
    """A file of tests of one extension."""

    def collect(self) -> t.Iterator[ExtensionTest]:
        """Give each test once per way."""
        for node in self.tree.body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                for transport, colour in WAYS:
                    name = f"{node.name}[{id_of(transport, colour)}]"
                    test = ExtensionTest.from_parent(self, name=name)
                    test.function_name, test.line = node.name, node.lineno - 1
                    test.user_properties.append(("extension", self.about(transport, colour)))
                    yield test

    @cached_property
    def tree(self) -> ast.Module:
        """The parsed source."""
        return ast.parse(self.path.read_text(encoding="utf-8"))

    def about(self, transport: str, colour: str) -> dict[str, str]:
        """Tell the table of what extension a test is and how it is run."""
        return {
            "extension": self.constant("EXTENSION"),
            "notes": self.constant("NOTES", ""),
            "transport": transport,
            "colour": colour,
        }

    def constant(self, name: str, default: str | None = None) -> str:
        """Read a string that the file assigns to a name."""
        for node in self.tree.body:
            match node:
                case ast.Assign(targets=[ast.Name(id=found)], value=value) if found == name:
                    return t.cast(str, ast.literal_eval(value))
        if default is None:
            raise self.CollectError(f"{self.path} does not say {name} = '...'")
        return default

    @cached_property
    def failures(self) -> dict[str, str]:
        """What went wrong with each test that was to be run; nothing, where it is empty."""
        functions = [one.function_name for one in self.session.items if one.parent is self]
        outcomes, output = run_apart(self.path, list(dict.fromkeys(functions)))
        failures: dict[str, str] = defaultdict(lambda: f"The test was not run.\n{output}")
        for outcome in outcomes:
            # A test with parameters of its own is run several times under one name.
            name, failure = outcome["name"], outcome["failure"]
            failures[name] = "\n".join(filter(None, [failures.get(name), failure]))
        return failures


class ExtensionTest(pytest.Item):
    """A test of an extension, run one way."""

    parent: ExtensionFile
    function_name: str
    line: int

    def runtest(self) -> None:
        """Fail if the test failed in its process, which the first test of a file starts."""
        if failure := self.parent.failures[self.name]:
            pytest.fail(failure, pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where the test stands."""
        return self.path, self.line, self.name


def run_apart(path: Path, functions: list[str]) -> tuple[list[Outcome], str]:
    """Run tests of a file in a process where ``flask`` is asyncflask.

    :returns: what became of each test, and what pytest printed.
    """
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider"]
    # The plugin of Hypothesis, which takes a second to load, has nothing to do there.
    command += ["-p", "no:hypothesispytest", "-p", "tests.kit.as_flask"]
    command += ["-c", f"{ROOT / 'pyproject.toml'}", f"--rootdir={ROOT}"]
    command += [f"{path}::{function}" for function in functions]
    with tempfile.TemporaryDirectory() as folder:
        outcomes, output = Path(folder, "outcomes"), Path(folder, "output")
        outcomes.touch()
        with output.open("wb") as stream:
            end = _run([*command, f"--outcomes-to={outcomes}"], stream)
        lines = outcomes.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines], output.read_text(errors="replace") + end


def _run(command: list[str], stream: t.IO[bytes]) -> str:
    """Run a program, and tell if it did not end by itself."""
    try:
        subprocess.run(
            command,
            cwd=ROOT,
            stdout=stream,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        return f"{exc}"
    return ""


class _Table:
    """Gathers what became of the tests, and writes it into a page, a row per extension."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[str, _Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take a test of an extension into the table."""
        about = dict(report.user_properties).get("extension")
        if about and report.when == "call":
            row = self._rows.setdefault(about["extension"], _Row(about["extension"]))
            row.notes = about["notes"]
            row.add(report, about["transport"], about["colour"])

    def pytest_sessionfinish(self) -> None:
        """Write the table."""
        ways = [f"{transport}, `{colour}`" for transport, colour in WAYS]
        head = f"| extension | version | what was tested | {' | '.join(ways)} | notes |"
        rule = "|---" * (4 + len(WAYS)) + "|"
        rows = sorted(self._rows.values(), key=lambda row: row.extension.lower())
        replace_table(self._path, [head, rule, *map(str, rows)])


class _Row:
    """What is known of one extension."""

    def __init__(self, extension: str) -> None:
        self.extension = extension
        self.notes = ""
        self._tests: dict[str, None] = {}
        self._passed: dict[tuple[str, str], list[bool]] = defaultdict(list)

    def add(self, report: pytest.TestReport, transport: str, colour: str) -> None:
        """Count one test."""
        name = report.nodeid.rpartition("::")[2].partition("[")[0]
        self._tests[name.removeprefix("test_").replace("_", " ")] = None
        self._passed[transport, colour].append(report.passed)

    def __str__(self) -> str:
        counts = [self._passed[way] for way in WAYS]
        passed = " | ".join(f"{sum(count)} of {len(count)}" for count in counts)
        version = importlib.metadata.version(self.extension)
        tests = "; ".join(self._tests)
        return f"| {self.extension} | {version} | {tests} | {passed} | {self.notes} |"
