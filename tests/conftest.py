"""What every test has: one event loop backend, a clean environment, no context left behind."""

from __future__ import annotations

import os
import typing as t

import pytest


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
def _no_context_left() -> t.Iterator[None]:
    """Fail the test that leaves a context pushed, not the one that trips over it."""
    from asyncflask import globals as asyncflask_globals

    variables = (asyncflask_globals._cv_request, asyncflask_globals._cv_app)
    yield
    left = []
    for variable in variables:
        for _ in range(100):
            if variable.get(None) is None:
                break
            left.append(variable.get())
            variable.get().pop()
    assert left == [], f"the test left contexts pushed: {left!r}"
