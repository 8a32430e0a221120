"""``install_as_flask``: lets code that imports ``flask`` get this package instead."""

from __future__ import annotations

import sys
import typing as t
from importlib import import_module
from importlib.abc import Loader
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from blinker import NamedSignal
from werkzeug.local import LocalProxy

if t.TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

#: Which module of this package answers for which module of Flask. ``flask.scaffold``
#: is where Flask before 2.3 had the class, and where extensions still try first.
MODULES: t.Final[dict[str, str]] = {
    "flask": "asyncflask",
    "flask.__main__": "asyncflask.__main__",
    "flask.app": "asyncflask.app",
    "flask.blueprints": "asyncflask.blueprints",
    "flask.cli": "asyncflask.cli",
    "flask.config": "asyncflask.config",
    "flask.ctx": "asyncflask.ctx",
    "flask.debughelpers": "asyncflask.debughelpers",
    "flask.globals": "asyncflask.globals",
    "flask.helpers": "asyncflask.helpers",
    "flask.json": "asyncflask.json",
    "flask.json.provider": "asyncflask.json.provider",
    "flask.json.tag": "asyncflask.json.tag",
    "flask.logging": "asyncflask.logging",
    "flask.sansio.app": "asyncflask.application",
    "flask.sansio.blueprints": "asyncflask.blueprints",
    "flask.sansio.scaffold": "asyncflask.scaffold",
    "flask.scaffold": "asyncflask.scaffold",
    "flask.sessions": "asyncflask.sessions",
    "flask.signals": "asyncflask.signals",
    "flask.templating": "asyncflask.templating",
    "flask.testing": "asyncflask.testing",
    "flask.typing": "asyncflask.typing",
    "flask.views": "asyncflask.views",
    "flask.wrappers": "asyncflask.wrappers",
}

_SANSIO = "flask.sansio"


def install_as_flask() -> None:
    """Make ``import flask`` and ``import flask.<module>`` give this package and its modules.

    Call it once, before anything imports Flask or a Flask extension; further
    calls do nothing. Modules that are costly to load are loaded when they are
    first imported under either name.

    :raises RuntimeError: the real Flask has been imported already. What holds a
        reference to it would go on using it beside this package.
    """
    package = import_module("asyncflask")
    if sys.modules.get("flask") is package:
        return

    imported = _real_flask_modules(package)
    if imported:
        raise RuntimeError(_too_late_message(imported))

    sys.modules["flask"] = package
    sys.meta_path.insert(0, _AliasFinder())
    _install_sansio(package)
    for alias, name in MODULES.items():
        # Flask's import loads all of its modules; here the ones already loaded
        # get their second name at once, the others through the finder.
        if name in sys.modules:
            sys.modules[alias] = sys.modules[name]


def is_installed_as_flask() -> bool:
    """Tell whether ``flask`` is this package."""
    return sys.modules.get("flask") is sys.modules[__package__]


class _AliasFinder(MetaPathFinder):
    """Answers for every ``flask.*``, so that no file of ours is loaded under a second name."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        """Find the module that stands for *fullname*.

        :raises ModuleNotFoundError: Flask has no module of this name.
        """
        if not fullname.startswith("flask."):
            return None
        name = MODULES.get(fullname)
        if name is None:
            raise ModuleNotFoundError(
                f"No module named {fullname!r} (asyncflask is installed as 'flask')", name=fullname
            )
        return ModuleSpec(fullname, _AliasLoader(name), origin=name)

    def find_distributions(self, context: t.Any) -> t.Iterable[t.Any]:
        """Find Flask's version where Flask is not installed, for who asks for it."""
        from . import FLASK_API
        from .flask_metadata import find_flask

        return find_flask(context, FLASK_API)


class _AliasLoader(Loader):
    """Loads a module of this package by its own name and leaves it as it is."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.spec: ModuleSpec | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """Import the module itself."""
        module = import_module(self.name)
        self.spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Put back the module's own spec; it has been executed before."""
        # The import system has stamped the alias's spec on it, which would make
        # relative imports inside the module's functions warn or go astray.
        module.__spec__ = self.spec


def _install_sansio(package: ModuleType) -> None:
    """Make ``flask.sansio``, a package that exists under Flask's name alone."""
    sansio = ModuleType(_SANSIO, "Modules of asyncflask under the names Flask has for them.")
    sansio.__path__ = []
    sys.modules[_SANSIO] = sansio
    package.sansio = sansio  # type: ignore[attr-defined]
    for alias, name in MODULES.items():
        if alias.startswith(_SANSIO):
            setattr(sansio, alias.rpartition(".")[2], import_module(name))


def _real_flask_modules(package: ModuleType) -> list[ModuleType]:
    """List the modules named ``flask`` and ``flask.*`` that are not of this package."""
    return [
        module
        for name, module in list(sys.modules.items())
        if (name == "flask" or name.startswith("flask."))
        and isinstance(module, ModuleType)
        and module is not package
    ]


def _too_late_message(imported: list[ModuleType]) -> str:
    holders = sorted(set(_holders(imported)))
    held = ", ".join(repr(name) for name in holders)
    found = (
        f"These modules have imported it already: {held}."
        if holders
        else "No loaded module refers to it any more, but it is in sys.modules."
    )
    return (
        f"install_as_flask() was called after the real Flask ({imported[0].__name__!r} from"
        f" {getattr(imported[0], '__file__', None)!r}) had been imported. {found} Call"
        " install_as_flask() first, before anything that imports flask or a Flask extension."
    )


def _holders(imported: list[ModuleType]) -> Iterator[str]:
    """Name the modules outside of Flask whose globals refer to something of Flask's."""
    own = {id(module) for module in imported}
    own.update(id(value) for module in imported for value in _own_values(module))
    for name, module in list(sys.modules.items()):
        if not isinstance(module, ModuleType) or id(module) in own:
            continue
        # By identity and type alone: reading attributes of strangers could run their code.
        for value in list(vars(module).values()):
            if id(value) in own or _is_flask_name(type(value).__module__):
                yield name
                break


def _own_values(module: ModuleType) -> Iterator[object]:
    """Yield the values of a real Flask module that Flask itself made."""
    for value in vars(module).values():
        if isinstance(value, ModuleType):
            continue
        if type(value) in (LocalProxy, NamedSignal):
            yield value
        elif isinstance(value, type) or callable(value):
            if _is_flask_name(getattr(value, "__module__", None)):
                yield value


def _is_flask_name(name: object) -> bool:
    return isinstance(name, str) and (name == "flask" or name.startswith("flask."))
