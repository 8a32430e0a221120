"""The pytest plugin of a compatibility run: puts asyncflask in Flask's place, notes results.

Loaded with ``-p``, so before any ``conftest.py`` and before anything imports Flask. The
results are written line by line as they come: what a crash leaves behind can be read.
"""

from __future__ import annotations

import contextvars
import faulthandler
import importlib.metadata
import json
import os
import signal
import sys
import typing as t
from pathlib import Path

import pytest
from _pytest.runner import pytest_runtest_protocol as run_protocol

IMPLEMENTATION = os.environ["COMPAT_IMPLEMENTATION"]
RESULTS = Path(os.environ["COMPAT_RESULTS"])
TIMEOUT = float(os.environ["COMPAT_TIMEOUT"])
#: Where tracebacks of a hang go: pytest has not yet put its own file in the place of stderr.
STDERR = os.dup(2)


def _put_in_place() -> None:
    """Install asyncflask as Flask, with the transport that this run is for."""
    import asyncflask

    asyncflask.install_as_flask()
    from asyncflask.testing import FlaskClient

    if not hasattr(FlaskClient, "transport"):
        raise RuntimeError("asyncflask.testing.FlaskClient has no attribute 'transport' to set")
    FlaskClient.transport = IMPLEMENTATION


def _mount() -> None:
    """Have the clients of the real Flask go through the bridges that mount an application."""
    from flask import Flask

    from .mounted import MountedClient

    Flask.test_client_class = MountedClient


if IMPLEMENTATION in ("wsgi", "asgi"):
    _put_in_place()
elif IMPLEMENTATION == "mounted":
    _mount()


def _write(**record: t.Any) -> None:
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what ran before a crash of the run that this one continues."""
    if not RESULTS.is_file():
        return
    records = map(json.loads, RESULTS.read_text(encoding="utf-8").splitlines())
    done = {record["start"] for record in records if "start" in record}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in done])
    items[:] = [item for item in items if item.nodeid not in done]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Note the modules that cannot be imported."""
    if report.failed:
        _write(collect=report.nodeid, detail=_last_line(report))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test in limited time: a signal first, then the end of the process."""
    _write(start=item.nodeid)
    signal.signal(signal.SIGALRM, _on_alarm)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT)
    faulthandler.dump_traceback_later(2 * TIMEOUT, exit=True, file=STDERR)
    try:
        # In a Context of its own: a context that a test leaves pushed fails this test
        # (by a fixture of the suite), and not all that follow.
        contextvars.copy_context().run(run_protocol, item, nextitem)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
    return True


def _on_alarm(number: int, frame: object) -> t.NoReturn:
    # Not an Exception: the application under test must not answer it with a 500.
    raise pytest.fail.Exception(f"no result after {TIMEOUT:.0f} s")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note each phase that says something: the call, or a setup or teardown that fails."""
    if report.when == "call" or not report.passed:
        outcome = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        _write(test=report.nodeid, outcome=outcome, detail=_last_line(report))


def pytest_sessionfinish() -> None:
    """Note the end, and any module of the real Flask that came in by a back door."""
    foreign = _real_flask_modules() if IMPLEMENTATION in ("wsgi", "asgi") else []
    _write(end=True, foreign=foreign)


def _real_flask_modules() -> list[str]:
    folder = str(importlib.metadata.distribution("flask").locate_file("flask"))
    return [
        name
        for name, module in sorted(sys.modules.items())
        if (getattr(module, "__file__", None) or "").startswith(folder + os.sep)
    ]


def _last_line(report: pytest.CollectReport | pytest.TestReport) -> str:
    if report.passed:
        return ""
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message.splitlines()[0])
    return report.longreprtext.rstrip().rpartition("\n")[2]
