"""What the tests' servers serve: the application they are told, with a lint around it."""

from __future__ import annotations

import os
import sys
import typing as t

from uvicorn.importer import import_from_string

from .lint import Lint
from .lint import Violation
from .server import FOUND
from .server import TARGET


class _Telling(list[Violation]):
    """Tells of each violation at once: the process is ended by a signal."""

    def append(self, violation: Violation) -> None:
        print(FOUND, violation, file=sys.stderr, flush=True)


def _load() -> t.Any:
    lint = Lint(import_from_string(os.environ[TARGET]))
    lint.violations = _Telling()
    return lint


app = _load()
