"""The Python examples of the README and of every page in ``docs/`` run as they stand.

A block that needs more than this package, a Flask extension say, is marked ``py`` and not run.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")


def blocks_of(text: str) -> list[tuple[int, str]]:
    """Find the Python blocks of a page, each with the number of its first line."""
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(text)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_examples_of_a_page_run_in_order(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("docs_page")
    module.__file__ = str(tmp_path / "docs_page.py")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.chdir(tmp_path)
    for line, source in blocks_of(page.read_text("utf-8")):
        # The empty lines in front make tracebacks show the line of the page.
        exec(compile("\n" * line + source, str(page), "exec"), vars(module))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    links = LINK.findall(page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_blocks_are_found_with_their_lines() -> None:
    assert blocks_of("a\n```python\nx = 1\n```\n```console\n$ ls\n```\n") == [(2, "x = 1\n")]
