"""Servers that the files about slow clients and slow views share."""

from __future__ import annotations

import typing as t

import pytest

from tests.kit.server import serve
from tests.kit.server import Server


@pytest.fixture(scope="module", params=[("asyncio", "h11"), ("uvloop", "httptools")], ids="-".join)
def server(request: pytest.FixtureRequest) -> t.Iterator[Server]:
    """Serve the module's ``SOURCE`` on each of both stacks, without anything that costs time."""
    loop, http = request.param
    source = request.module.SOURCE
    with serve(source, "--no-access-log", loop=loop, http=http, lint=False) as server:
        yield server


@pytest.fixture(scope="module")
def control() -> t.Iterator[Server]:
    """Serve the control for times, which answers any GET at once."""
    with serve("tests.kit.bare:app", "--no-access-log", lint=False) as server:
        yield server
