"""The page of cases is about all of them, and each has tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.kit.cases import CASES

TESTS = Path(__file__).resolve().parents[1]
PAGE = TESTS.parent / "docs" / "reliability.md"

_marked = re.compile(r"mark\.case\(([^)]*)\)").findall
_row = re.compile(r"^\| (A\d+) \| .+? \| (.+?) \| .*\|$", re.MULTILINE).findall


def test_every_case_has_tests() -> None:
    sources = (path.read_text(encoding="utf-8") for path in TESTS.rglob("test_*.py"))
    marked = set(re.findall(r"A\d+", " ".join(ids for text in sources for ids in _marked(text))))
    assert CASES.keys() - marked == set()


def test_the_page_has_a_row_for_every_case_and_names_tests_that_exist() -> None:
    rows = dict(_row(PAGE.read_text(encoding="utf-8")))
    assert list(rows) == list(CASES)
    for case, cell in rows.items():
        files = re.findall(r"`([^`]+)`", cell)
        assert files, case
        assert [file for file in files if not (TESTS / file).exists()] == []
