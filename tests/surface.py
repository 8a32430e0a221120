"""Compares the public surface of one module, class or function with that of another."""

from __future__ import annotations

import ast
import inspect
import typing as t
from collections.abc import Iterator
from types import ModuleType

#: Where a difference is, and what it is.
Difference = tuple[str, str]

#: Entries of a class that the compiler or a base class makes.
NOT_WRITTEN = frozenset(
    "__module__ __doc__ __dict__ __weakref__ __annotations__ __abstractmethods__ __parameters__"
    " __orig_bases__ __slots__ __qualname__ __firstlineno__ __static_attributes__".split()
)
PLAIN = (type(None), bool, int, float, str, bytes, tuple, frozenset)
POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def defined_names(module: ModuleType) -> list[str]:
    """List the public names a module defines itself, type variables left out."""
    names: list[str] = []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.append(node.target.id)
    return [name for name in names if is_public(name) and is_surface(vars(module).get(name))]


def is_public(name: str) -> bool:
    return not name.startswith("_")


def is_surface(value: object) -> bool:
    return not isinstance(value, t.TypeVar)


def compare_names(
    names: t.Iterable[str], theirs: ModuleType, ours: ModuleType, path: str
) -> Iterator[Difference]:
    """Compare what two modules have under each of the names."""
    for name in names:
        if not hasattr(theirs, name):
            continue
        if not hasattr(ours, name):
            yield f"{path}.{name}", "is missing"
        else:
            yield from compare(getattr(theirs, name), getattr(ours, name), f"{path}.{name}")


def compare(theirs: object, ours: object, path: str) -> Iterator[Difference]:
    """Compare two objects of the same name."""
    if theirs is ours or isinstance(theirs, ModuleType):
        return
    if isinstance(theirs, type) and getattr(theirs, "__module__", "").startswith("flask"):
        if isinstance(ours, type):
            yield from compare_classes(theirs, ours, path)
        else:
            yield path, f"is a class in Flask, here {ours!r}"
    elif inspect.isroutine(theirs):
        yield from compare_callables(theirs, ours, path)
    elif isinstance(theirs, PLAIN):
        if theirs != ours:
            yield path, f"is {theirs!r} in Flask, here {ours!r}"


def compare_classes(theirs: type, ours: type, path: str) -> Iterator[Difference]:
    """Compare the members of two classes, inherited ones included."""
    for name in class_names(theirs):
        their_member = inspect.getattr_static(theirs, name)
        if not has_static(ours, name):
            yield f"{path}.{name}", "is missing"
            continue
        our_member = inspect.getattr_static(ours, name)
        if is_method(their_member):
            callables = getattr(theirs, name), getattr(ours, name)
            yield from compare_callables(*callables, f"{path}.{name}")
        elif is_method(our_member):
            yield f"{path}.{name}", "is an attribute in Flask, a method here"
        elif isinstance(their_member, PLAIN) and their_member != our_member:
            yield f"{path}.{name}", f"is {their_member!r} in Flask, here {our_member!r}"


def class_names(cls: type) -> list[str]:
    """List the public members of a class and the special methods Flask's part of it defines."""
    special = {
        name
        for base in cls.__mro__
        if base.__module__.startswith("flask")
        for name in vars(base)
        if name.startswith("__") and name not in NOT_WRITTEN
    }
    return sorted(special.union(name for name in dir(cls) if is_public(name)))


def compare_instances(theirs: object, ours: object, path: str) -> Iterator[Difference]:
    """Compare which attributes two objects have, those set by ``__init__`` included."""
    here = set(dir(ours))
    for name in dir(theirs):
        if is_public(name) and name not in here:
            yield f"{path}.{name}", "is missing on an instance"


def compare_callables(theirs: t.Any, ours: t.Any, path: str) -> Iterator[Difference]:
    """Compare parameters: each of Flask's must be there, each further one be optional."""
    if not callable(ours):
        yield path, f"can be called in Flask, here it is {ours!r}"
        return
    try:
        expected, found = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
    except ValueError:  # builtins without a signature
        return
    if not same_order(expected, found):
        yield path, f"takes ({', '.join(expected)}) in Flask, here ({', '.join(found)})"
        return
    for name, parameter in expected.items():
        if parameter.kind is not parameter.POSITIONAL_ONLY:
            yield from compare_parameters(parameter, found.get(name), f"{path}({name})")
    for name, parameter in found.items():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if name not in expected and not variable and parameter.default is parameter.empty:
            yield f"{path}({name})", "is not in Flask, but required here"


def same_order(
    expected: t.Mapping[str, inspect.Parameter], found: t.Mapping[str, inspect.Parameter]
) -> bool:
    """Tell whether what is passed by position to theirs arrives in the same place in ours."""
    theirs, ours = positional(expected), positional(found)
    return len(theirs) <= len(ours) and all(
        mine == name or expected[name].kind is inspect.Parameter.POSITIONAL_ONLY
        for name, mine in zip(theirs, ours, strict=False)
    )


def positional(parameters: t.Mapping[str, inspect.Parameter]) -> list[str]:
    return [name for name, parameter in parameters.items() if parameter.kind in POSITIONAL]


def compare_parameters(
    theirs: inspect.Parameter, ours: inspect.Parameter | None, path: str
) -> Iterator[Difference]:
    """Compare one parameter: its presence, kind and default."""
    if ours is None:
        yield path, "is missing"
    elif theirs.kind is not ours.kind:
        yield path, f"is {theirs.kind.description} in Flask, here {ours.kind.description}"
    elif not same_default(theirs.default, ours.default):
        yield path, f"is {theirs.default!r} by default in Flask, here {ours.default!r}"


def same_default(theirs: t.Any, ours: t.Any) -> bool:
    """Tell whether two defaults mean the same: sentinels and classes have counterparts."""
    if theirs is ours or (type(theirs) is object and type(ours) is object):
        return True
    if isinstance(theirs, type) and isinstance(ours, type):
        return theirs.__name__ == ours.__name__
    return type(theirs) is type(ours) and bool(theirs == ours)


def is_method(member: object) -> bool:
    return inspect.isroutine(member) or isinstance(member, staticmethod | classmethod)


def has_static(cls: type, name: str) -> bool:
    try:
        inspect.getattr_static(cls, name)
    except AttributeError:
        return False
    return True
