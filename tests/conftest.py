"""What every test has: one event loop backend, a clean environment, no context left behind."""

from __future__ import annotations

import contextvars
import logging
import os
import typing as t

import pytest
from _pytest.runner import pytest_runtest_protocol as run_protocol


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run each test in a Context of its own: what one leaves behind fails no other."""
    contextvars.copy_context().run(run_protocol, item, nextitem)
    return True


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio; a test for another backend parametrizes this fixture."""
    return "asyncio"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide variables of the caller's shell that applications and commands read."""
    for name in os.environ:
        if name.startswith(("FLASK_", "WERKZEUG_")):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _loggers_as_before() -> t.Iterator[None]:
    """Undo what a test does to loggers: applications of one name share theirs."""
    before = {one: (one.disabled, one.propagate, one.handlers[:]) for one in loggers()}
    yield
    for logger in loggers():
        known = before.get(logger, (False, True, logger.handlers))
        logger.disabled, logger.propagate, logger.handlers[:] = known


def loggers() -> list[logging.Logger]:
    """List the loggers there are."""
    found = logging.root.manager.loggerDict.values()
    return [logger for logger in found if isinstance(logger, logging.Logger)]


@pytest.fixture(autouse=True)
def _no_context_left() -> t.Iterator[None]:
    """Fail the test that leaves a context pushed."""
    from asyncflask.globals import _cv_app
    from asyncflask.globals import _cv_request

    yield
    left = [pushed for pushed in (_cv_request.get(None), _cv_app.get(None)) if pushed is not None]
    assert left == [], f"the test left contexts pushed: {left!r}"
