"""A plugin for the processes that run tests of extensions: there ``flask`` is asyncflask.

``python -m pytest -p tests.kit.as_flask tests/extensions/test_login.py`` runs a file of them
directly.
"""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

import asyncflask

# When pytest imports this plugin, it has imported no test yet.
asyncflask.install_as_flask()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that has the outcomes written."""
    parser.addoption("--outcomes-to", metavar="FILE", help="write the outcome of each test there")


def pytest_configure(config: pytest.Config) -> None:
    """Register the writer of outcomes, if they are wanted."""
    path = config.getoption("--outcomes-to")
    if path:
        config.pluginmanager.register(_Writer(Path(path)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name each test by its function and way alone, for the process that started this one."""
    for item in items:
        if isinstance(item, pytest.Function):
            way = item.callspec.params["way"]
            item.user_properties.append(("way", (item.originalname, *way)))


class _Writer:
    """Writes a line for each test, and one more for what fails around it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write what became of a test."""
        if report.when == "call" or not report.passed:
            function, *way = dict(report.user_properties)["way"]
            self._write(function, *way, report)

    def _write(self, function: str, transport: str, colour: str, report: pytest.TestReport) -> None:
        from .extensions import id_of

        sections = [f"--- {title} ---\n{text}" for title, text in report.sections]
        failure = "" if report.passed else "\n".join([report.longreprtext, *sections])
        line: dict[str, t.Any] = {
            "name": f"{function}[{id_of(transport, colour)}]",
            "failure": failure,
        }
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
