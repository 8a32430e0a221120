"""The two frameworks, side by side."""

from __future__ import annotations

import typing as t

import pytest

from .differential import Differential


@pytest.fixture(scope="session")
def differential(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Differential]:
    """Give the applications on both frameworks, made once."""
    found = Differential(tmp_path_factory.mktemp("fuzz"))
    yield found
    found.close()
