"""The configuration of an application: a dict that can be filled from files and the environment."""

from __future__ import annotations

import errno
import json
import os
import sys
import types
import typing as t
import warnings
from contextlib import contextmanager
from datetime import timedelta

from werkzeug.datastructures import ImmutableDict
from werkzeug.utils import import_string

if t.TYPE_CHECKING:
    from .application import App

T = t.TypeVar("T")

_NO_SUCH_FILE = frozenset({errno.ENOENT, errno.EISDIR})


DEFAULTS: t.Final[t.Mapping[str, t.Any]] = ImmutableDict(
    {
        "APPLICATION_ROOT": "/",
        "DEBUG": None,
        "EXPLAIN_TEMPLATE_LOADING": False,
        "MAX_CONTENT_LENGTH": None,
        "MAX_COOKIE_SIZE": 4093,
        "MAX_FORM_MEMORY_SIZE": 500_000,
        "MAX_FORM_PARTS": 1_000,
        "PERMANENT_SESSION_LIFETIME": timedelta(days=31),
        "PREFERRED_URL_SCHEME": "http",
        "PROPAGATE_EXCEPTIONS": None,
        "PROVIDE_AUTOMATIC_OPTIONS": True,
        "SECRET_KEY": None,
        "SECRET_KEY_FALLBACKS": None,
        "SEND_FILE_MAX_AGE_DEFAULT": None,
        "SERVER_NAME": None,
        "SESSION_COOKIE_DOMAIN": None,
        "SESSION_COOKIE_HTTPONLY": True,
        "SESSION_COOKIE_NAME": "session",
        "SESSION_COOKIE_PARTITIONED": False,
        "SESSION_COOKIE_PATH": None,
        "SESSION_COOKIE_SAMESITE": None,
        "SESSION_COOKIE_SECURE": False,
        "SESSION_REFRESH_EACH_REQUEST": True,
        "TEMPLATES_AUTO_RELOAD": None,
        "TESTING": False,
        "TRAP_BAD_REQUEST_ERRORS": None,
        "TRAP_HTTP_EXCEPTIONS": False,
        "TRUSTED_HOSTS": None,
        "USE_X_SENDFILE": False,
        # Beyond Flask's: the event loop, threads for sync code, and limits for bodies read ahead.
        "BLOCKED_LOOP_THRESHOLD": 0.1,
        "BODY_TIMEOUT": 60,
        "CANCEL_ON_DISCONNECT": False,
        "MAX_BUFFERED_BODY": 64 * 2**20,
        "MAX_HEADER_SIZE": 64 * 2**10,
        "MAX_FORM_FIELDS": 10_000,
        "MAX_FORM_FILES": 100,
        "SYNC_QUEUE_LIMIT": None,
        "SYNC_QUEUE_TIMEOUT": 30,
        "SYNC_THREADS": 40,
    }
)
"""What every application's configuration starts with."""


class _Deprecated(t.NamedTuple):
    default: t.Any
    successor: str


_DEPRECATED: t.Final = {
    "ENV": _Deprecated("production", "app.debug, or the key 'DEBUG',"),
    "JSON_AS_ASCII": _Deprecated(True, "app.json.ensure_ascii"),
    "JSON_SORT_KEYS": _Deprecated(True, "app.json.sort_keys"),
    "JSONIFY_PRETTYPRINT_REGULAR": _Deprecated(False, "app.json.compact"),
    "JSONIFY_MIMETYPE": _Deprecated("application/json", "app.json.mimetype"),
}


class ConfigAttribute(t.Generic[T]):
    """Descriptor that makes an attribute of the application stand for a config key.

    :param name: the config key.
    :param get_converter: called with the stored value; what it returns is what is read.
    """

    def __init__(self, name: str, get_converter: t.Callable[[t.Any], T] | None = None) -> None:
        self.__name__ = name
        self.get_converter = get_converter

    @t.overload
    def __get__(self, obj: None, owner: type[App] | None = None) -> t.Self: ...

    @t.overload
    def __get__(self, obj: App, owner: type[App] | None = None) -> T: ...

    def __get__(self, obj: App | None, owner: type[App] | None = None) -> T | t.Self:
        if obj is None:
            return self
        value = obj.config[self.__name__]
        return value if self.get_converter is None else self.get_converter(value)

    def __set__(self, obj: App, value: t.Any) -> None:
        obj.config[self.__name__] = value


class Config(dict[str, t.Any]):
    """A dict with ways to fill it from files, objects and environment variables.

    Loading from objects, Python files and mappings takes upper-case names only, so that helper
    values can live beside the settings. Keys that Flask once had and has no longer still act:
    reading one that is not set gives its old default, setting one gives a
    ``DeprecationWarning`` that names what to use instead.

    :param root_path: where relative file names start.
    :param defaults: values to start with; deprecated keys among them do not warn.
    """

    _state: object = None

    #: Called with the key and the value when a deprecated key is set; ``None`` for nobody.
    #: Bind it weakly to the application, which otherwise lives until the garbage collector runs.
    on_deprecated: t.Callable[[str, t.Any], object] | None = None

    def __init__(
        self, root_path: str | os.PathLike[str], defaults: dict[str, t.Any] | None = None
    ) -> None:
        super().__init__(defaults or {})
        self.root_path = root_path
        self._changed()

    def _changed(self) -> None:
        # Whoever keeps something made of the values compares this, after they are set.
        self._state = object()

    def __missing__(self, key: str) -> t.Any:
        if key in _DEPRECATED:
            return _DEPRECATED[key].default
        raise KeyError(key)

    def __setitem__(self, key: str, value: t.Any) -> None:
        self._store({key: value})

    def _store(self, values: dict[str, t.Any]) -> None:
        deprecated = values.keys() & _DEPRECATED.keys()
        for key in sorted(deprecated):
            _warn_deprecated(key)
        super().update(values)
        self._changed()
        if self.on_deprecated is not None:
            for key in sorted(deprecated):
                self.on_deprecated(key, values[key])

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._changed()

    def pop(self, *args: t.Any) -> t.Any:
        """Remove a key and return its value, as :meth:`dict.pop` does."""
        value = super().pop(*args)
        self._changed()
        return value

    def popitem(self) -> tuple[str, t.Any]:
        """Remove the last key and return it with its value, as :meth:`dict.popitem` does."""
        item = super().popitem()
        self._changed()
        return item

    def clear(self) -> None:
        """Remove all keys."""
        super().clear()
        self._changed()

    # Like the dict's own, these go around a subclass's __setitem__ and __getitem__.

    def update(self, *args: t.Any, **kwargs: t.Any) -> None:
        """Set several keys, as :meth:`dict.update` does."""
        self._store(dict(*args, **kwargs))

    def setdefault(self, key: str, default: t.Any = None) -> t.Any:
        """Return the value of *key*, after setting it to *default* if it is not set."""
        if key not in self:
            self._store({key: default})
        return super().setdefault(key, default)

    def __ior__(self, other: t.Any) -> t.Self:  # type: ignore[override,misc]
        self._store(dict(other))
        return self

    def __getstate__(self) -> dict[str, t.Any]:
        # A copied or pickled config must not drag the application along.
        left_out = {"on_deprecated", "_state"}
        return {name: value for name, value in vars(self).items() if name not in left_out}

    def from_envvar(self, variable_name: str, silent: bool = False) -> bool:
        """Load the Python file that an environment variable names; see :meth:`from_pyfile`.

        :param variable_name: the environment variable.
        :param silent: return ``False`` if the variable is unset or the file is missing.
        :returns: whether the file was loaded.
        :raises RuntimeError: if the variable is unset or empty.
        """
        filename = os.environ.get(variable_name)
        if filename:
            return self.from_pyfile(filename, silent=silent)
        if silent:
            return False
        raise RuntimeError(
            f"The environment variable {variable_name!r} is not set, so there is no configuration"
            " file to load. Set it to the path of one, or pass silent=True if it is optional."
        )

    def from_prefixed_env(
        self, prefix: str = "FLASK", *, loads: t.Callable[[str], t.Any] = json.loads
    ) -> bool:
        """Load every environment variable whose name begins with a prefix and an underscore.

        The rest of the name is the key. Two underscores lead into nested dicts, which are made
        as needed: ``FLASK_DB__POOL__SIZE=5`` sets ``config["DB"]["POOL"]["SIZE"]``. Variables
        are taken in sorted order; lower-case keys are taken too.

        :param prefix: the prefix, without the underscore.
        :param loads: turns the text into a value; where it raises, the text is kept.
        :returns: always ``True``.
        """
        prefix += "_"
        for name in sorted(os.environ):
            if not name.startswith(prefix):
                continue
            *parents, key = name.removeprefix(prefix).split("__")
            target: dict[str, t.Any] = self
            for parent in parents:
                if parent not in target:
                    target[parent] = {}
                target = target[parent]
            target[key] = _load_or_keep(os.environ[name], loads)
        return True

    def from_pyfile(self, filename: str | os.PathLike[str], silent: bool = False) -> bool:
        """Run a Python file and take over its upper-case names.

        :param filename: the file, relative to the root path.
        :param silent: return ``False`` if the file is missing.
        :returns: whether the file was loaded.
        :raises OSError: if the file cannot be read.
        """
        path = os.path.join(self.root_path, filename)
        module = types.ModuleType("config")
        module.__file__ = path
        with _explained(_NO_SUCH_FILE | {errno.ENOTDIR} if silent else ()):
            with open(path, "rb") as file:
                exec(compile(file.read(), path, "exec"), vars(module))
            self.from_object(module)
            return True
        return False

    def from_object(self, obj: object | str) -> None:
        """Take over the upper-case attributes of an object, usually a module or a class.

        A dict has no such attributes: use :meth:`from_mapping` for it. Properties are read only
        from an instance, so pass one if the class has any.

        :param obj: the object, or its import path as a string.
        """
        if isinstance(obj, str):
            obj = import_string(obj)
        for name in dir(obj):
            if name.isupper():
                self[name] = getattr(obj, name)

    def from_file(
        self,
        filename: str | os.PathLike[str],
        load: t.Callable[[t.IO[t.Any]], t.Mapping[str, t.Any]],
        silent: bool = False,
        text: bool = True,
    ) -> bool:
        """Load a data file and take over its upper-case keys.

        :param filename: the file, relative to the root path.
        :param load: reads the open file, as ``json.load`` or ``tomllib.load`` do.
        :param silent: return ``False`` if the file is missing.
        :param text: open the file as text; pass ``False`` for ``tomllib.load``.
        :returns: whether the file was loaded.
        :raises OSError: if the file cannot be read.
        """
        path = os.path.join(self.root_path, filename)
        with _explained(_NO_SUCH_FILE if silent else ()):
            with open(path, "r" if text else "rb") as file:
                loaded = load(file)
            return self.from_mapping(loaded)
        return False

    def from_mapping(self, mapping: t.Mapping[str, t.Any] | None = None, **kwargs: t.Any) -> bool:
        """Take over the upper-case keys of a mapping, of keyword arguments, or of both.

        :param mapping: a mapping or an iterable of pairs.
        :returns: always ``True``.
        """
        given = dict(mapping or {}, **kwargs)
        for key, value in given.items():
            if key.isupper():
                self[key] = value
        return True

    def get_namespace(
        self, namespace: str, lowercase: bool = True, trim_namespace: bool = True
    ) -> dict[str, t.Any]:
        """Collect the keys that begin with a prefix, ready to be passed as keyword arguments.

        :param namespace: the prefix.
        :param lowercase: turn the keys into lower case.
        :param trim_namespace: leave the prefix out of the keys.
        """
        cut = len(namespace) if trim_namespace else 0
        found = {key[cut:]: value for key, value in self.items() if key.startswith(namespace)}
        if lowercase:
            return {key.lower(): value for key, value in found.items()}
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {super().__repr__()}>"


@contextmanager
def _explained(ignored: t.Collection[int]) -> t.Iterator[None]:
    """Say in an ``OSError`` what could not be loaded, or swallow it if its number is ignored."""
    try:
        yield
    except OSError as error:
        if error.errno not in ignored:
            error.strerror = f"Unable to load configuration file ({error.strerror})"
            raise


def _load_or_keep(text: str, loads: t.Callable[[str], t.Any]) -> t.Any:
    try:
        return loads(text)
    except Exception:
        # The function is the user's, and says with whatever it raises that this is plain text.
        return text


def _warn_deprecated(key: str) -> None:
    warnings.warn(
        f"The config key {key!r} is deprecated; use {_DEPRECATED[key].successor} instead.",
        DeprecationWarning,
        stacklevel=_frames_in_here(),
    )


def _frames_in_here() -> int:
    """Count the frames up to the first outside this file, for a warning to point there."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_code.co_filename == __file__ and frame.f_back is not None:
        frame = frame.f_back
        level += 1
    return level
