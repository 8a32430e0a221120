"""The cookie of the default session interface, under settings that stay as they are."""

from __future__ import annotations

import inspect
import operator
import typing as t
from datetime import timedelta

from werkzeug.datastructures import ImmutableMultiDict

from .config import ConfigAttribute
from .cookies import around_date
from .cookies import expiry
from .cookies import plain_cookie
from .response_headers import Headers
from .responses import Response
from .signing import KeptSerializer

if t.TYPE_CHECKING:
    from datetime import datetime

    from .app import Flask
    from .sessions import SecureCookieSessionInterface
    from .signing import Signing
    from .wrappers import Request

_ATTRIBUTES: t.Final = {
    "secret_key": "SECRET_KEY",
    "permanent_session_lifetime": "PERMANENT_SESSION_LIFETIME",
}
"""What of an application is read besides its configuration, and the keys it stands for."""


_METHODS: t.Final = (
    "get_signing_serializer",
    "get_cookie_name",
    "get_cookie_domain",
    "get_cookie_path",
    "get_cookie_secure",
    "get_cookie_httponly",
    "get_cookie_samesite",
    "get_cookie_partitioned",
)
"""Methods of an interface whose results are kept, where nobody has others of these names."""

_SIGNED_WITH: t.Final = ("salt", "serializer", "key_derivation", "digest_method")

code_of: t.Final = operator.attrgetter(*_METHODS, *_SIGNED_WITH)
"""Gives what an interface's class has that says how the cookie looks."""


_LASTING: t.Final = frozenset({str, bytes, bool, int, timedelta, type(None)})
"""Types of settings that stay as they are till others are set; a proxy has another one."""


class SessionCookie:
    """Reads and writes the cookie, with what its settings come to worked out once.

    :param name: the cookie's name.
    :param signing: signs its value.
    :param serializer: makes the text that is signed.
    :param max_age: seconds for which a signature is good.
    :param around: what stands in the header before and after the date.
    """

    def __init__(
        self,
        name: str,
        signing: Signing,
        serializer: t.Any,
        max_age: int,
        around: tuple[str, str],
    ) -> None:
        self._name = name
        self._signing = signing
        self._serializer = serializer
        self._max_age = max_age
        self._before, self._after = around

    def read(self, request: Request) -> dict[str, t.Any] | None:
        """Give the items of the session that came with a request, none if none came.

        :returns: ``None`` where the interface's longer way has to tell what is wrong.
        """
        cookies = request.cookies
        if type(cookies) is ImmutableMultiDict:
            # It is a dict of lists, whose own methods show the first item of each.
            found = dict.get(cookies, self._name)
            signed = found[0] if found else None
        else:
            signed = cookies.get(self._name)
        if not signed:
            return {}
        try:
            text = self._signing.verified(signed, self._max_age)
            items = None if text is None else self._serializer.loads(text)
        except Exception:
            return None
        return items if type(items) is dict else None

    def write(self, items: dict[str, t.Any], response: Response, expires: datetime | None) -> bool:
        """Set the cookie, and tell whether that is so: not if the response has a say in it."""
        if getattr(response.set_cookie, "__func__", None) is not _set_cookie:
            return False
        headers = response.headers
        if type(headers) is not Headers:
            return False
        value = self._signing.sign(self._serializer.dumps(items))
        text = f"{self._name}={value}{self._before}{expiry(expires)}{self._after}"
        limit = response.max_cookie_size
        if limit and len(text) > limit:
            return False
        # All of it was checked when the settings were.
        headers._list.append(("Set-Cookie", text))
        return True


_set_cookie: t.Final = Response.set_cookie


class Kept(t.NamedTuple):
    """A cookie, and what has to be the same for it to be used."""

    app_class: type[Flask]
    code: tuple[t.Any, ...]
    cookie: SessionCookie | None


def keep(interface: SecureCookieSessionInterface, app: Flask, stock: tuple[t.Any, ...]) -> Kept:
    """Work a cookie out, unless others' code has a say in how it looks.

    :param stock: what :func:`code_of` gives where nobody has overridden anything.
    """
    cls = type(interface)
    code = code_of(cls)
    cookie = None
    if (
        code[: len(_METHODS)] == stock[: len(_METHODS)]
        and vars(interface).keys().isdisjoint(_METHODS)
        and not any(_is_computed(cls, name) for name in _SIGNED_WITH)
        and _is_configured(app)
    ):
        try:
            cookie = _new_cookie(interface, app)
        except Exception:
            # Settings that cannot be used: the long way finds out when it comes to it.
            cookie = None
    return Kept(type(app), code, cookie)


def _is_computed(cls: type, name: str) -> bool:
    """Tell whether an attribute may have another value each time."""
    kind = type(inspect.getattr_static(cls, name))
    return hasattr(kind, "__get__") and kind is not staticmethod


def _new_cookie(interface: SecureCookieSessionInterface, app: Flask) -> SessionCookie | None:
    settings = interface._signing_settings(app)
    name = interface.get_cookie_name(app)
    options = interface._cookie_options(app)
    given = (
        name,
        app.config["PERMANENT_SESSION_LIFETIME"],
        interface.salt,
        interface.key_derivation,
        *options.values(),
    )
    if not _LASTING.issuperset(map(type, given)):
        return None
    around = _attributes_around(name, options)
    signing = None if settings is None else make_serializer(*settings).signing()
    if signing is None or around is None:
        return None
    max_age = int(app.permanent_session_lifetime.total_seconds())
    return SessionCookie(name, signing, interface.serializer, max_age, around)


def make_serializer(
    keys: tuple[t.Any, ...],
    salt: str,
    serializer: t.Any,
    key_derivation: str,
    digest_method: t.Any,
) -> KeptSerializer:
    """Make what signs and verifies with these settings of an interface."""
    return KeptSerializer(
        keys,
        salt=salt,
        serializer=serializer,
        signer_kwargs={"key_derivation": key_derivation, "digest_method": digest_method},
    )


def _attributes_around(name: str, options: dict[str, t.Any]) -> tuple[str, str] | None:
    """Give what stands in a header before and after the date.

    :param name: the cookie's name.
    :param options: the cookie's attributes, as ``set_cookie()`` takes them.
    :returns: ``None`` if a cookie of that kind cannot be sent as it is.
    """
    order = ("path", "domain", "secure", "httponly", "samesite", "partitioned")
    attributes = [options[key] for key in order]
    text = plain_cookie(name, "", None, *attributes)
    return around_date(*attributes) if text is not None and text.isprintable() else None


def _is_configured(app: Flask) -> bool:
    """Tell whether it is the configuration, and nothing but that, which says what is signed."""
    config = app.config
    if config._state is None:
        # Of a copy, which is like other copies.
        return False
    if type(config["SECRET_KEY"]) not in _LASTING:
        return False
    for name, key in _ATTRIBUTES.items():
        attribute = inspect.getattr_static(type(app), name)
        if type(attribute) is not ConfigAttribute or attribute.__name__ != key:
            return False
    return True
