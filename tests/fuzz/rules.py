"""The deliberate differences: the only ones that generated requests may show."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass
from dataclasses import field

from .asked import Asked


@dataclass
class Outcome:
    """What came back.

    :param raised: what the application raised to the server, which then says 500.
    """

    status: int
    headers: list[tuple[str, t.Any]] = field(default_factory=list)
    body: bytes = b""
    raised: str | None = None
    seconds: float = 0.0

    def header(self, name: str) -> t.Any:
        """Give a header, empty if it is not there."""
        return next((value for key, value in self.headers if key == name), "")

    @property
    def compared(self) -> tuple[object, ...]:
        """What must be equal."""
        return self.status, self.headers, self.body, self.raised


class Case(t.NamedTuple):
    """One request, and what became of it on both sides."""

    asked: Asked
    flask: Outcome
    ours: Outcome
    way: str


@dataclass(frozen=True)
class Rule:
    """A difference that is meant to be.

    :param reason: why, as docs/differences.md has it.
    :param holds: tells whether a difference is this one and nothing more.
    """

    name: str
    reason: str
    holds: t.Callable[[Case], bool]


RULES: list[Rule] = []
