"""The package is built in layers: ``layers.toml`` says what each module may import."""

from __future__ import annotations

import ast
import tomllib
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "asyncflask"
FOLDER = Path(__file__).resolve().parents[1] / PACKAGE
LONGEST_FILE = 700

TABLE = tomllib.loads(Path(__file__).with_name("layers.toml").read_text(encoding="utf-8"))
INSIDE_FUNCTIONS: dict[str, list[str]] = TABLE.pop("inside_functions")
HEAVY: frozenset[str] = frozenset(TABLE.pop("heavy")["packages"])
ROWS: dict[str, list[str]] = {name: row for layer in TABLE.values() for name, row in layer.items()}
ORDER = {name: position for position, name in enumerate(ROWS)}


def module_name(path: Path) -> str:
    """Name a file as the table does: ``json/tag.py`` is ``json.tag``."""
    parts = path.relative_to(FOLDER).with_suffix("").parts
    if parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts) or PACKAGE


FILES = {module_name(path): path for path in sorted(FOLDER.rglob("*.py"))}


@dataclass(frozen=True)
class Import:
    line: int
    #: A module of the package as the table names it, or the name of an outside package.
    target: str
    ours: bool
    inside_function: bool


def imports_of(source: str, module: str, *, is_package: bool = False) -> list[Import]:
    """List what a module imports at run time."""
    found: list[Import] = []

    def walk(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for child in node.orelse:
                walk(child, inside)
            return
        if isinstance(node, ast.Import):
            targets = [(alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = absolute(node, module, is_package)
            targets = [(base, alias.name) for alias in node.names]
        else:
            targets = []
        found.extend(
            Import(node.lineno, *resolve(base, name), inside)  # type: ignore[attr-defined]
            for base, name in targets
        )
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            walk(child, inside)

    walk(ast.parse(source), False)
    return found


def absolute(node: ast.ImportFrom, module: str, is_package: bool) -> str:
    """Make the module of a ``from`` import absolute."""
    if not node.level:
        return node.module or ""
    here = [PACKAGE] if module == PACKAGE else [PACKAGE, *module.split(".")]
    up = node.level - 1 if is_package else node.level
    return ".".join([*here[: len(here) - up], *filter(None, [node.module])])


def resolve(base: str, name: str) -> tuple[str, bool]:
    """Tell which module ``from base import name`` loads and whether it is one of ours."""
    first, _, rest = base.partition(".")
    if first != PACKAGE:
        return first, False
    longer = f"{rest}.{name}".strip(".")
    return (longer if longer in FILES else rest or PACKAGE), True


def may_import(row: list[str], module: str, target: str) -> bool:
    """Tell whether a row of the table names a module."""
    if "*" in row or target in row:
        return True
    return target != module and any(
        (target + ".").startswith(entry[:-1].replace("/", ".")) for entry in row if "/" in entry
    )


def broken_rules(module: str, imports: t.Iterable[Import]) -> t.Iterator[str]:
    """Say which imports of a module the table does not allow."""
    late = INSIDE_FUNCTIONS.get(module, [])
    for found in imports:
        if not found.ours:
            if found.inside_function and found.target not in HEAVY:
                yield f"line {found.line}: imports {found.target!r} inside a function"
        elif found.inside_function and may_import(late, module, found.target):
            continue
        elif ORDER.get(found.target, len(ORDER)) >= ORDER[module]:
            yield f"line {found.line}: imports {found.target!r}, which stands higher"
        elif not may_import(ROWS[module], module, found.target):
            yield f"line {found.line}: imports {found.target!r}, which its row does not list"


@pytest.mark.parametrize("module", FILES)
def test_module_imports_only_what_its_row_lists(module: str) -> None:
    assert module in ROWS, f"{FILES[module].name} has no row in layers.toml"
    path = FILES[module]
    imports = imports_of(path.read_text("utf-8"), module, is_package=path.name == "__init__.py")
    problems = list(broken_rules(module, imports))
    assert not problems, "\n".join([str(path.relative_to(FOLDER)), *problems])


@pytest.mark.parametrize("module", FILES)
def test_module_is_short_enough_to_read(module: str) -> None:
    lines = FILES[module].read_text("utf-8").count("\n")
    assert lines <= LONGEST_FILE, f"{FILES[module].name} has {lines} lines: look for a seam"


def test_rows_name_only_modules_of_the_table() -> None:
    named = {entry for row in [*ROWS.values(), *INSIDE_FUNCTIONS.values()] for entry in row}
    plain = {entry for entry in named if "*" not in entry}
    assert plain <= ROWS.keys()
    assert {entry.partition("/")[0] for entry in named if "/" in entry} <= ROWS.keys()


def test_row_of_a_lower_layer_never_lists_a_higher_one() -> None:
    higher = {
        (module, entry)
        for module, row in ROWS.items()
        for entry in row
        if "*" not in entry and ORDER[entry] >= ORDER[module]
    }
    assert higher == set()


def test_import_of_a_higher_module_is_found() -> None:
    found = imports_of("from .app import Flask\nfrom . import ctx", "globals")
    assert len(list(broken_rules("globals", found))) == 2


def test_import_for_type_checkers_does_not_count() -> None:
    source = "import typing as t\nif t.TYPE_CHECKING:\n    from .app import Flask"
    assert [found.target for found in imports_of(source, "globals")] == ["typing"]


def test_import_inside_a_function_is_found() -> None:
    found = imports_of("def f():\n    from ..app import Flask\n    import click", "lanes.driver")
    assert [problem[:6] for problem in broken_rules("lanes.driver", found)] == ["line 2"]
