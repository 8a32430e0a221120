"""The tests of extensions: what goes wrong in their processes is told, test by test."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from .extensions import COLOURS
from .extensions import ROOT
from .extensions import TRANSPORTS

GOOD_AND_BAD = """
import asyncflask, flask, pytest

EXTENSION = "pytest"
NOTES = "is none"

@pytest.fixture
def lost():
    yield
    raise OSError("lost")

def test_flask_is_asyncflask(app, client, painted, way):
    assert flask is asyncflask
    app.add_url_rule("/", "index", painted(lambda: f"{way}"))
    assert client.get("/").text == f"{way}" and client.transport == way[0]

@pytest.mark.parametrize("number", [1, 2])
def test_one_of_two_fails(number):
    assert number == 1

def test_end_fails(lost):
    print("so far, so good")
"""
CANNOT_BE_IMPORTED = """
import nothing_of_the_kind

EXTENSION = "pytest"

def test_it():
    pass
"""


def run(folder: Path, **files: str) -> str:
    """Run files as tests of extensions and return what pytest prints."""
    (folder / "conftest.py").write_text("from tests.extensions.conftest import *")
    (folder / "page.md").write_text("Before\n<!-- table: begin -->\n<!-- table: end -->\nAfter\n")
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", f"{ROOT / 'pyproject.toml'}", f"{folder}"]
    command += [f"--rootdir={ROOT}", "-p", "no:cacheprovider", "-p", "no:hypothesispytest", "-v"]
    command += [f"--extensions-table={folder / 'page.md'}"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90)
    return result.stdout


def verdicts(output: str) -> dict[str, set[str]]:
    """Read what became of each function."""
    found: dict[str, set[str]] = {}
    for name, verdict in re.findall(r"::(\w+)\[\S+\] ([A-Z]+) ", output):
        found.setdefault(name, set()).add(verdict)
    return found


def test_outcomes_are_those_of_the_processes(tmp_path: Path) -> None:
    output = run(tmp_path, test_a=GOOD_AND_BAD, test_b=CANNOT_BE_IMPORTED)
    assert verdicts(output) == {
        "test_flask_is_asyncflask": {"PASSED"},
        "test_one_of_two_fails": {"FAILED"},
        "test_end_fails": {"FAILED"},
        "test_it": {"FAILED"},
    }
    assert output.count("PASSED") == len(TRANSPORTS) * len(COLOURS)
    assert "assert 2 == 1" in output
    assert "OSError: lost" in output and "so far, so good" in output
    assert "No module named 'nothing_of_the_kind'" in output


def test_table_counts_what_failed(tmp_path: Path) -> None:
    run(tmp_path, test_a=GOOD_AND_BAD)
    before, head, _, row, after = filter(
        lambda line: "table:" not in line, (tmp_path / "page.md").read_text().splitlines()
    )
    assert (before, after) == ("Before", "After")
    assert "| wsgi, `def` | wsgi, `async def` | asgi, `def` | asgi, `async def` |" in head
    tested = "flask is asyncflask; one of two fails; end fails"
    counts = " | ".join(["1 of 3"] * 4)
    assert row == f"| pytest | {pytest.__version__} | {tested} | {counts} | is none |"


def test_file_that_names_no_extension_is_an_error(tmp_path: Path) -> None:
    output = run(tmp_path, test_a="def test_it():\n    pass\n")
    assert "does not say EXTENSION = '...'" in output
