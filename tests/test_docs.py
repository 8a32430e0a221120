"""The pages in ``docs/`` and the README say what is so.

Their Python examples run as they stand; one that needs more than this package, a Flask extension
say, is marked ``py`` and not run. Names of the code and of the configuration exist.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from datetime import timedelta
from pathlib import Path
from types import ModuleType

import flask
import pytest
from packaging.requirements import Requirement

import asyncflask
from asyncflask import Blueprint
from asyncflask import Flask

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "asyncflask"
PAGES = [ROOT / "README.md", ROOT / "SECURITY.md", *sorted(DOCS.rglob("*.md"))]

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
ANCHOR = re.compile(r"\]\(([^)#:]*)#([^)]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE_NAME = re.compile(r"`([\w/]+\.py): ([\w.]+)`")
FLOOR = re.compile(r"^\| ([\w ]+) \| ([\d.]+)(?: with ([\d.]+))? \|$", re.MULTILINE)
ROW = re.compile(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)

each_page = pytest.mark.parametrize(
    "page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix()
)


def blocks_of(text: str) -> list[tuple[int, str]]:
    """Find the Python blocks of a page, each with the number of its first line."""
    return [(text.count("\n", 0, m.start(1)), m.group(1)) for m in BLOCK.finditer(text)]


def anchor_of(heading: str) -> str:
    """Give the anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def names_in(path: Path) -> set[str]:
    """List what a module defines: functions, classes, and the members of these."""
    names = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef):
                    names.add(f"{node.name}.{member.name}")
                elif isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
                    names.add(f"{node.name}.{member.target.id}")
    return names


@each_page
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


@each_page
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []
    for name, anchor in ANCHOR.findall(text):
        target = (page.parent / name) if name else page
        headings = HEADING.findall(target.read_text("utf-8"))
        assert anchor in map(anchor_of, headings), f"{name}#{anchor}"


@each_page
def test_code_that_a_page_names_exists(page: Path) -> None:
    named = CODE_NAME.findall(page.read_text("utf-8"))
    missing = [
        f"{file}: {name}"
        for file, name in named
        if not (PACKAGE / file).exists() or name not in names_in(PACKAGE / file)
    ]
    assert missing == []


def test_the_way_of_a_request_names_the_code() -> None:
    assert len(CODE_NAME.findall((DOCS / "lifecycle.md").read_text("utf-8"))) > 40


def test_the_index_links_every_page() -> None:
    links = LINK.findall((DOCS / "index.md").read_text("utf-8"))
    pages = {page.name for page in DOCS.glob("*.md")} - {"index.md"}
    assert pages - set(links) == set()


def test_the_configuration_page_has_every_key_with_its_default() -> None:
    rows = ROW.findall((DOCS / "config.md").read_text("utf-8"))
    known = {"None": None, "True": True, "False": False, "timedelta": timedelta}
    documented = {key: eval(default.strip("`"), known) for key, default, _, _ in rows}
    assert documented == dict(Flask.default_config)
    assert [key for key, *_ in rows if [row[0] for row in rows].count(key) > 1] == []


def test_the_differences_name_what_flask_does_not_have() -> None:
    text = (DOCS / "differences.md").read_text("utf-8")
    ours = {name for name, value in vars(asyncflask).items() if not isinstance(value, ModuleType)}
    beyond = ours - set(dir(flask)) - {"import_module"}
    beyond |= set(dir(Flask)) - set(dir(flask.Flask("app")))
    beyond |= set(dir(Blueprint)) - set(dir(flask.Blueprint("pages", "app")))
    public = {name for name in beyond if not name.startswith("_")}
    assert {name for name in public if not re.search(rf"\b{name}\b", text)} == set()


def test_nothing_with_a_hole_that_the_security_page_tells_of_is_installed() -> None:
    named: dict[str, str] = {}
    for names, *versions in FLOOR.findall((ROOT / "SECURITY.md").read_text("utf-8")):
        named |= zip(names.lower().split(" with "), filter(None, versions), strict=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    installed = {
        requirement.name.removesuffix("2"): one.version
        for requirement in map(Requirement, project["dependencies"])
        for one in requirement.specifier
        if one.operator == ">="
    }
    ours = {"werkzeug", "jinja", "starlette", "uvicorn", "h11"}
    assert named.keys() - installed.keys() == {"gunicorn", "granian"}
    assert {name: named[name] for name in ours} == {name: installed[name] for name in ours}


def test_blocks_are_found_with_their_lines() -> None:
    assert blocks_of("a\n```python\nx = 1\n```\n```console\n$ ls\n```\n") == [(2, "x = 1\n")]
