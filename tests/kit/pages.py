"""Tables in the pages of ``docs/`` that test runs write."""

from __future__ import annotations

import typing as t

if t.TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEGIN = "<!-- table: begin -->"
END = "<!-- table: end -->"


def replace_table(path: Path, lines: Iterable[str]) -> None:
    """Write the table of a page anew, between the two marks."""
    page = path.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + "\n".join([BEGIN, *lines, END]) + after, encoding="utf-8")
